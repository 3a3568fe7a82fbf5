"""Models of ours, written as files of ProBound and read again."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pyprobound import (
    Aggregate,
    Contribution,
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
)
from pyprobound.alphabets import DNA, Alphabet, Protein
from pyprobound.base import Binding
from pyprobound.layers import PSAM, NonSpecific
from pyprobound.probound import (
    CannotHoldError,
    build,
    exported,
    read,
    to_json,
    value_of,
)
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
    UnboundRound,
)

Rounds = Callable[[list[Binding]], list[BaseRound]]


def table_of(alphabet: Alphabet, columns: int, length: int = 9) -> CountTable:
    draw = np.random.default_rng(4)
    letters = list(alphabet.alphabet)
    probes = sorted({"".join(draw.choice(letters, length)) for _ in range(20)})
    counts = draw.integers(1, 20, (len(probes), columns))
    flanks = {"left_flank": "".join(letters[:4]), "right_flank": "".join(letters[-4:])}
    return CountTable(
        pd.DataFrame(counts, index=probes),
        alphabet,
        left_flank_length=2,
        right_flank_length=2,
        **flanks,
    )


def chain(kind: type[BoundRound] | type[BoundUnsaturatedRound]) -> Rounds:
    def made(bindings: list[Binding]) -> list[BaseRound]:
        rounds: list[BaseRound] = [InitialRound()]
        for _ in range(2):
            rounds.append(kind.from_binding(bindings, rounds[-1]))
        return rounds

    return made


def kd_seq(bindings: list[Binding]) -> list[BaseRound]:
    start = InitialRound()
    bound = BoundRound.from_binding(bindings, start, target_concentration=3.0)
    return [start, bound, UnboundRound.from_round(bound)]


def kinetics(bindings: list[Binding]) -> list[BaseRound]:
    start = InitialRound()
    first = ExponentialRound.from_binding(bindings, start, delta=-2.0)
    return [start, first, ExponentialRound.from_round(first, target_concentration=4.0)]


def powers(bindings: list[Binding]) -> list[BaseRound]:
    start = InitialRound()
    return [start, RhoGammaRound.from_binding(bindings, start, rho=0.7, gamma=-0.4)]


def model_of(
    rounds: Rounds, bindings: list[Binding], table: CountTable
) -> MultiExperimentLoss:
    """Return a model with random parameters."""
    made = rounds(bindings)
    for each in made:
        for aggregate in each.components():
            for part in aggregate.components():
                part.set_contribution(0.0)
    model = MultiExperimentLoss([Experiment(made)], lambda_l2=1e-3)
    model.to(torch.float64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            moves = parameter.requires_grad and not name.endswith("concentration")
            if moves and bool(parameter.isfinite().all()):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    assert table.target.shape[1] == len(made)
    return model


def psam(alphabet: Alphabet, size: int = 4, **options: object) -> PSAM:
    return PSAM(size, alphabet, **options)  # type: ignore[arg-type]


def simple(table: CountTable) -> list[Binding]:
    alphabet = table.alphabet
    return [
        Mode.from_nonspecific(NonSpecific(alphabet), table),
        Mode.from_psam(psam(alphabet, pairwise_distance=2), table, train_posbias=True),
    ]


def dimers(table: CountTable) -> list[Binding]:
    alphabet = table.alphabet
    mode_a = Mode.from_psam(psam(alphabet), table, train_posbias=True)
    mode_b = Mode.from_psam(psam(alphabet, 3, train_bias=True), table)
    spacing = Spacing(mode_a.key(), mode_b.key(), max_overlap=1, max_spacing=5)
    twin = Spacing(mode_b.key(), mode_b.key(), score_mode="positive")
    return [
        mode_a,
        mode_b,
        Cooperativity(spacing, mode_a, mode_b),
        Cooperativity(twin, mode_b, mode_b, train_posbias=True),
    ]


CASES: dict[str, tuple[Rounds, Callable[[CountTable], list[Binding]], int]] = {
    "chain": (chain(BoundUnsaturatedRound), simple, 3),
    "saturated chain": (chain(BoundRound), simple, 3),
    "Kd-seq": (kd_seq, simple, 3),
    "kinetics": (kinetics, simple, 3),
    "powers": (powers, simple, 2),
    "dimers": (chain(BoundUnsaturatedRound), dimers, 3),
}


def log_p(model: MultiExperimentLoss, table: CountTable) -> Tensor:
    (experiment,) = model.components()
    with torch.no_grad():
        found: Tensor = experiment(table.seqs)
    return found


@pytest.mark.parametrize("alphabet", [DNA(), Protein()], ids=["DNA", "protein"])
@pytest.mark.parametrize("name", CASES)
def test_shares_stay_when_written_and_read(
    name: str, alphabet: Alphabet, tmp_path: Path
) -> None:
    rounds, bindings, columns = CASES[name]
    table = table_of(alphabet, columns)
    model = model_of(rounds, bindings(table), table)
    document, numbers = exported(model, [table])
    path = tmp_path / "model.json"
    path.write_text(json.dumps(to_json(document, numbers)))
    again = build(read(path))
    assert again.flanks == [2]
    found = log_p(again.loss, table)
    torch.testing.assert_close(found, log_p(model, table), rtol=1e-9, atol=1e-9)
    loss = float(model([table]).negloglik.detach())
    assert value_of(again.loss, [table]).losses[0] == pytest.approx(loss, rel=1e-9)


def refused(model: MultiExperimentLoss, table: CountTable, match: str) -> None:
    with pytest.raises(CannotHoldError, match=match):
        exported(model, [table])


def test_what_the_format_has_no_words_for_is_named() -> None:
    alphabet = DNA()
    table = table_of(alphabet, 3)
    rounds = chain(BoundRound)
    hill = Mode.from_psam(psam(alphabet), table, train_hill=True)
    refused(model_of(rounds, [hill], table), table, "a Hill coefficient")
    apart = Mode.from_psam(psam(alphabet, dilation=2), table)
    refused(model_of(rounds, [apart], table), table, "2 letters apart")
    uneven = table_of(alphabet, 3)
    uneven.set_flank_length(left=1, right=2)
    mode = Mode.from_psam(psam(alphabet), uneven)
    refused(model_of(rounds, [mode], uneven), uneven, "1 letters of the left flank")
    start = InitialRound()
    mode = Mode.from_psam(psam(alphabet), table)
    hidden = BoundRound.from_binding([mode], start, train_depth=False)
    seen = BoundRound.from_binding([mode], hidden)
    model = MultiExperimentLoss([Experiment([start, seen])])
    refused(model, table_of(alphabet, 2), "a round without a column")


def test_absent_bindings_stay_absent() -> None:
    table = table_of(DNA(), 2)
    mode = Mode.from_psam(psam(DNA()), table)
    other = Mode.from_psam(psam(DNA(), 3), table)
    parts = [Contribution(mode, log_activity=0.5), Contribution(other)]
    start = InitialRound()
    model = MultiExperimentLoss(
        [Experiment([start, BoundRound(Aggregate(parts), start)])]
    )
    model.to(torch.float64)
    document, numbers = exported(model, [table])
    found = log_p(build(document, numbers).loss, table)
    torch.testing.assert_close(found, log_p(model, table), rtol=1e-9, atol=1e-9)
