"""Fits that leave the finite numbers: the best model stays, and a line says why."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    layers,
    rounds,
)
from pyprobound._finite import n_finite
from pyprobound.errors import PyProBoundError
from tests.unit.fits import DNA, fit_of

ROWS = {"ACGTA": (3, 1), "TTGCA": (2, 5), "GG": (1, 4), "CATGC": (4, 2)}


def kinase() -> tuple[MultiExperimentLoss, CountTable, rounds.Round]:
    """Return a motif that alone modifies probes."""
    frame = pd.DataFrame(ROWS.values(), index=list(ROWS))
    table = CountTable(frame, DNA)
    mode = Mode.from_psam(layers.PSAM(2, DNA, name="a"), table)
    start = rounds.InitialRound()
    selected = rounds.ExponentialRound.from_binding([mode], start)
    experiment = Experiment([start, selected], counts_per_round=table.counts_per_round)
    return MultiExperimentLoss([experiment], exponential_bound=5), table, selected


def optimizer_of(
    model: MultiExperimentLoss, table: CountTable, folder: Path, **arguments: Any
) -> Optimizer[Any]:
    settings = {"checkpoint": folder / "model.pt", "output": folder / "fit.log"}
    return Optimizer(model, [table], device="cpu", **(settings | arguments))


def test_a_parameter_thrown_out_of_the_finite_numbers_is_no_improvement(
    tmp_path: Path,
) -> None:
    model, table, selected = kinase()
    optimizer = optimizer_of(
        model, table, tmp_path, optimizer=torch.optim.SGD, optim_args={"lr": 0.1}
    )
    with torch.no_grad():
        for part in selected.aggregate.components():
            part.log_activity.fill_(0)
        start = model([table])
    # The penalty's slope at δ = −15 is e^10: the first step overshoots, the second one
    # leaves the finite numbers, and with δ absent there would be no penalty.
    found = optimizer.train_simultaneous()
    assert optimizer.reason.startswith("stuck: the loss, or a parameter, is not")
    assert float(found) <= float(start.negloglik + start.regularization)
    assert n_finite(model.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("sequential", [True, False])
def test_reads_that_cannot_be_are_named(tmp_path: Path, sequential: bool) -> None:
    frame = pd.DataFrame(ROWS.values(), index=list(ROWS))
    table = CountTable(frame, DNA, left_flank="T", left_flank_length=1)
    mode = Mode.from_psam(layers.PSAM(3, DNA, name="a"), table)
    conv = mode.chain[-1]
    assert isinstance(conv, layers.Conv1d)
    with torch.no_grad():  # no window can be bound
        conv.log_posbias.fill_(-math.inf)
    chain = rounds.repeat_round([mode], 1, rounds.BoundUnsaturatedRound)
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    optimizer = optimizer_of(MultiExperimentLoss([experiment]), table, tmp_path)
    train = optimizer.train_sequential if sequential else optimizer.train_simultaneous
    with pytest.raises(PyProBoundError, match=r"'TACGTA' has reads in round 1") as told:
        train()
    assert "add non-specific binding" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_penalty_beyond_all_numbers_is_named(tmp_path: Path) -> None:
    fit = fit_of()
    with torch.no_grad():
        fit.psams[0].betas["2-1"].fill_(-900)
    optimizer = fit.optimizer(tmp_path)
    with pytest.raises(PyProBoundError, match=r"penalty of .*betas\.0 = -900 is not"):
        optimizer.train_simultaneous()


def test_held_out_probes_do_not_choose_an_infinite_objective(tmp_path: Path) -> None:
    model, table, selected = kinase()
    with torch.no_grad():
        for part in selected.aggregate.components():
            part.log_activity.fill_(0)
    optimizer = optimizer_of(
        model,
        table,
        tmp_path,
        val_tables=[table],
        optimizer=torch.optim.SGD,
        optim_args={"lr": 0.1},
    )
    optimizer.train_simultaneous()
    with torch.no_grad():
        assert bool(model([table]).regularization.isfinite())
