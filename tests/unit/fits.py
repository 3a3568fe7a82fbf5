"""A small experiment with a motif in it, and models to fit it with."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    Spacing,
    alphabets,
    layers,
    rounds,
)
from pyprobound.optimizer import EndEvent, ProgressEvent

DNA = alphabets.DNA()
FLANKS: dict[str, Any] = {"left_flank": "GACTTAG", "right_flank": "CCTATCG"}
MOTIF = "TGACA"


def reads_of(
    number: int = 120, length: int = 9, seed: int = 0, motif: str = MOTIF
) -> pd.DataFrame:
    """Return reads before and after a selection that favours a motif.

    Each letter of the motif multiplies what is selected by 3.
    """
    rng = random.Random(seed)
    rows: dict[str, tuple[float, float]] = {}
    while len(rows) < number:
        letters = rng.choices("ACGT", k=length)
        if rng.random() < 0.5:  # half of the probes hold the motif, letters amiss
            start = rng.randrange(length - len(motif) + 1)
            hits = [x if rng.random() < 0.8 else rng.choice("ACGT") for x in motif]
            letters[start : start + len(motif)] = hits
        text = "".join(letters)
        starts = range(length - len(motif) + 1)
        strength = sum(3.0 ** _matches(text[x:], motif) for x in starts)
        rows[text] = (20.0, float(round(strength / 4)))
    return pd.DataFrame(rows.values(), index=list(rows))


def _matches(text: str, motif: str) -> int:
    return sum(x == y for x, y in zip(text, motif, strict=False))


def table_of(frame: pd.DataFrame, **arguments: Any) -> CountTable:
    """Return a table with flanks, none of which is scored."""
    return CountTable(frame, DNA, **(FLANKS | arguments))


@dataclass
class Fit:
    """A model of one experiment, its parts by name."""

    table: CountTable
    psams: list[layers.PSAM]
    modes: list[Mode]
    selected: rounds.Round
    model: MultiExperimentLoss
    dimer: Cooperativity | None = None
    val: CountTable | None = None
    events: list[ProgressEvent] = field(default_factory=list)
    ends: list[EndEvent] = field(default_factory=list)

    @property
    def tables(self) -> list[CountTable]:
        """The training table and, if there is one, the validation table."""
        return [self.table] if self.val is None else [self.table, self.val]

    def optimizer(self, folder: Path, **arguments: Any) -> Optimizer[Any]:
        """Return an optimizer that writes into a folder and records its progress."""
        settings: dict[str, Any] = {
            "checkpoint": folder / "model.pt",
            "output": folder / "fit.log",
            "device": "cpu",
            "on_progress": self.events.append,
            "on_end": self.ends.append,
        }
        val = None if self.val is None else [self.val]
        return Optimizer(self.model, [self.table], val, **(settings | arguments))

    def loss(self, table: CountTable | None = None) -> float:
        """Return negative log likelihood and penalty together."""
        with torch.no_grad():
            loss = self.model([self.table if table is None else table])
        return float(loss.negloglik + loss.regularization)


def fit_of(
    *psams: layers.PSAM,
    frame: pd.DataFrame | None = None,
    val: pd.DataFrame | None = None,
    dimer: bool = False,
    nonspecific: bool = True,
    kind: type[MultiExperimentLoss] = MultiExperimentLoss,
    **arguments: Any,
) -> Fit:
    """Return a model of non-specific binding, motifs and their dimer."""
    table = table_of(reads_of() if frame is None else frame, **arguments)
    held_out = None if val is None else table_of(val, **arguments)
    specs = list(psams) or [layers.PSAM(5, DNA, name="a")]
    own = [Mode.from_psam(spec, table) for spec in specs]
    modes = list(own)
    if nonspecific:
        spec = layers.NonSpecific(DNA, name="ns")
        modes.insert(0, Mode.from_nonspecific(spec, table))
    pair = None
    if dimer:
        pair = Cooperativity(Spacing(own[0].key(), own[-1].key()), own[0], own[-1])
    start = rounds.InitialRound()
    bindings = [*modes, *([pair] if pair else [])]
    selected = rounds.BoundUnsaturatedRound.from_binding(bindings, start)
    experiment = Experiment([start, selected], counts_per_round=table.counts_per_round)
    model = kind([experiment])
    return Fit(table, specs, modes, selected, model, dimer=pair, val=held_out)


def state_of(fit: Fit) -> dict[str, Any]:
    """Return everything that an edit can change, as one flat dict."""
    fit.model.settle()
    state: dict[str, Any] = dict(_flat("model", fit.model.state_dict()))
    for index, table in enumerate(fit.tables):
        state[f"seqs {index}"] = table.seqs.clone()
        state[f"flanks {index}"] = (table.left_flank_length, table.right_flank_length)
    return state


def _flat(path: str, value: object) -> list[tuple[str, Any]]:
    if isinstance(value, Tensor):
        return [(path, value.detach().clone())]
    if isinstance(value, dict):
        return [x for key in value for x in _flat(f"{path}.{key}", value[key])]
    if isinstance(value, list | tuple):
        return [x for i, part in enumerate(value) for x in _flat(f"{path}.{i}", part)]
    return [(path, value)]


def assert_same_state(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that two states agree to the last bit."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, Tensor):
            assert torch.equal(found[key].nan_to_num(7), value.nan_to_num(7)), key
        else:
            assert found[key] == value, key
