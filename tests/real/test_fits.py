"""Short fits of real experiments: parts of the tables, whole procedures."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    Spacing,
    alphabets,
    get_dataframe,
    layers,
    rounds,
    sample_dataframe,
)
from pyprobound.optimizer import ProgressEvent

DNA = alphabets.DNA()
BCD_FLANKS: dict[str, Any] = {
    "left_flank": "CGACGCTCTTCCGATCTTGCCG",
    "right_flank": "TAATCGTATGCCGTCTTCTGCTTGCCGACTCCG",
    "left_flank_length": 5,
    "right_flank_length": 5,
}
EXD_HOX_FLANKS: dict[str, Any] = {
    "left_flank": "GTTCAGAGTTCTACAGTCCGACGATCTGG",
    "right_flank": "CCAGCTGTCGTATGCCGTCTTCTGCTTG",
    "left_flank_length": 3,
    "right_flank_length": 3,
}


def consensus(psam: layers.PSAM) -> tuple[str, str]:
    """The best letters of either strand."""
    best = psam.get_filter(0).detach().argmax(1)
    forward, reverse = ("".join("ACGT"[i] for i in row) for row in best.tolist())
    return forward, reverse


@pytest.mark.slow
def test_a_part_of_the_bcd_table_shows_the_bicoid_motif(
    shared: Path, tmp_path: Path
) -> None:
    path = "data/bcd/countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz"
    frame = get_dataframe(str(shared / path))
    part = frame.sample(20_000, random_state=0)
    table = CountTable(part, DNA, **BCD_FLANKS)
    psam = layers.PSAM(12, DNA)
    bindings = [
        Mode.from_nonspecific(layers.NonSpecific(DNA), table),
        Mode.from_psam(psam, table),
    ]
    chain = rounds.repeat_round(bindings, 4, rounds.BoundUnsaturatedRound)
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    # As strong, per read, as the published fit's 20 in the whole table.
    share = float(table.counts_per_round.sum()) / 4e5
    model = MultiExperimentLoss([experiment], pseudocount=20 * share)
    optimizer = Optimizer(
        model, [table], checkpoint=tmp_path / "model.pt", output=tmp_path / "fit.log"
    )
    best = float(optimizer.train_sequential())
    # Between the published objective and what a small sample's noise lets fit.
    assert best < 1.26
    assert any("GGATTA" in strand for strand in consensus(psam))


def fitted_exd_hox(
    shared: Path, folder: Path, *, dimer: bool
) -> tuple[float, list[ProgressEvent], list[layers.PSAM]]:
    """Fit a part of the Exd-Hox table; return what the held-out part says."""
    path = "data/exd_hox/countTable.ExdHox.R0_R2.GC.tsv.gz"
    frame = get_dataframe(str(shared / path))
    held_out, kept = sample_dataframe(
        frame.sample(6_000, random_state=0), 0.2, random_state=0
    )
    train = CountTable(kept, DNA, **EXD_HOX_FLANKS)
    val = CountTable(held_out, DNA, **EXD_HOX_FLANKS)
    psams = [layers.PSAM(6, DNA, name=name) for name in "ab"]
    modes = [Mode.from_psam(psam, train) for psam in psams]
    bindings: list[Mode | Cooperativity] = [
        Mode.from_nonspecific(layers.NonSpecific(DNA), train),
        *modes,
    ]
    if dimer:
        first, second = modes
        spacing = Spacing(first.key(), second.key(), max_overlap=2, max_spacing=6)
        bindings.append(Cooperativity(spacing, first, second))
    chain = rounds.repeat_round(bindings, 1, rounds.BoundUnsaturatedRound)
    experiment = Experiment(chain, counts_per_round=train.counts_per_round)
    model = MultiExperimentLoss([experiment], pseudocount=20)
    events: list[ProgressEvent] = []
    optimizer = Optimizer(
        model,
        [train],
        [val],
        checkpoint=folder / f"{dimer}.pt",
        output=folder / f"{dimer}.log",
        on_progress=events.append,
    )
    optimizer.train_sequential()
    with torch.no_grad():
        return model([val]).negloglik.item(), events, psams


@pytest.mark.slow
def test_the_exd_hox_dimer_explains_probes_held_out(
    shared: Path, tmp_path: Path
) -> None:
    alone, _, _ = fitted_exd_hox(shared, tmp_path, dimer=False)
    together, events, psams = fitted_exd_hox(shared, tmp_path, dimer=True)
    for event in events:
        assert math.isfinite(event.train_loss)
        assert math.isfinite(event.train_regularization)
        assert event.val_loss is not None
        assert math.isfinite(event.val_loss)
    assert {event.binding for event in events} >= {"PSAM-a", "PSAM-b", "Spacing-a-b"}
    assert together < alone - 0.02
    # Either half of ATGATTGAT, with or without its first letters.
    halves = {"ATGA", "TGAT", "GATT", "ATTA"}
    for psam in psams:
        assert any(half in strand for strand in consensus(psam) for half in halves)
