"""Absolute K_D and effective rates, as counts tell them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from pyprobound import CountBatch, Experiment
from pyprobound.errors import PyProBoundError
from pyprobound.plotting import (
    Counts,
    kd_consistency,
    keff_consistency,
    predicted_counts,
)
from tests.plots.selections import (
    SCORES,
    counts_of,
    drawn,
    kd_seq,
    kinetics,
    log_aggregate,
    selex,
)
from tests.unit.bindings import DOUBLE


def points_of(figure: Figure) -> list[np.ndarray]:
    """Predicted and observed values of each set of points, (points, 2)."""
    return [
        np.asarray(each.get_offsets())
        for each in figure.axes[0].collections
        if isinstance(each, PathCollection)
    ]


def kd_of(batch: CountBatch, **kwargs: Any) -> Figure:
    experiment = kd_seq()
    experiment.counts_per_round = batch.target.sum(0)
    return kd_consistency(experiment, 0, 1, 2, batch, **kwargs)


def test_kd_is_free_protein_over_z() -> None:
    experiment = kd_seq()
    # one probe of each kind, each its own pool, its counts as expected
    seqs = torch.tensor([[a, b, 3, 3] for a in range(4) for b in range(4)]).byte()
    totals = torch.full((16, 1), 1e6, dtype=DOUBLE)
    batch = CountBatch(seqs, totals * experiment(seqs).detach().exp())
    figure = kd_of(batch, kernel=1, free_protein=7.0)
    (points,) = points_of(figure)
    expected = sorted(7.0 / math.exp(log_aggregate(seq, 50.0, -5.0)) for seq in seqs)
    # the highest K_D is the least bound, and comes first
    np.testing.assert_allclose(np.sort(points[:, 0]), expected, rtol=1e-6)
    np.testing.assert_allclose(points[:, 1], points[:, 0], rtol=1e-9)


def test_kd_of_pools_is_that_of_plain_python() -> None:
    experiment = kd_seq()
    batch = drawn(experiment, 200, 60)
    counts = predicted_counts(experiment, batch)
    counts.predicted.mul_(1 + 1e-9 * torch.rand_like(counts.predicted))
    totals = batch.target.sum(0).tolist()
    figure = kd_of(batch, kernel=50, counts=counts, unit="nM")
    (points,) = points_of(figure)
    share = totals[1] / totals[0] * math.exp(0.0 - 1.0)  # depths of the fixture
    free = 50 - 20 * share
    order = sorted(
        range(200),
        key=lambda i: -float(counts.predicted[i, 2] / counts.predicted[i, 1]),
    )
    for pool, start in enumerate(range(0, 200, 50)):
        rows = order[start : start + 50]
        for column, values in enumerate((counts.predicted, counts.observed)):
            unbound = math.fsum(values[rows, 2].tolist()) / math.exp(0.0)
            bound = math.fsum(values[rows, 1].tolist()) / math.exp(1.0)
            expected = free * unbound / bound
            assert points[pool, column] == pytest.approx(expected, rel=1e-6)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Predicted $K_D$ (nM)"
    assert axes.get_ylabel() == "Observed $K_D$ (nM)"
    assert f"[P]$_F$ = {free:.3g} nM" in axes.texts[0].get_text()


def test_kd_needs_free_protein() -> None:
    batch = drawn(kd_seq(), 20)
    with pytest.raises(PyProBoundError, match="free protein of -3 allows for no K_D"):
        kd_of(batch, free_protein=-3.0)
    with pytest.raises(ValueError, match="read counts; give counts_per_round"):
        kd_consistency(kd_seq(), 0, 1, 2, batch)


def test_kd_needs_both_parts_of_a_selection() -> None:
    batch = drawn(kd_seq(), 20)
    with pytest.raises(PyProBoundError, match="bound and an unbound round"):
        kd_consistency(kd_seq(), 0, 2, 1, batch, free_protein=1.0)
    with pytest.raises(PyProBoundError, match="column 3 is none of"):
        kd_consistency(kd_seq(), 0, 1, 3, batch, free_protein=1.0)
    with pytest.raises(PyProBoundError, match="bound and an unbound round"):
        kd_consistency(selex(), 0, 1, 2, drawn(selex(), 20), free_protein=1.0)


# == rates ============================================================================


@pytest.mark.parametrize("delta", [-15.0, -3.0, 2.0])
def test_rate_is_z_over_concentration(delta: float) -> None:
    experiment = kinetics(delta)
    seqs = torch.tensor([[a, b, 2, 3] for a in range(4) for b in range(4)]).byte()
    totals = torch.full((16, 1), 1e6, dtype=DOUBLE)
    batch = CountBatch(seqs, totals * experiment(seqs).detach().exp())
    figure = keff_consistency(experiment, batch, kernel=1)
    expected = sorted(math.exp(log_aggregate(seq, 1.0, -4.0)) for seq in seqs)
    early, late = points_of(figure)
    for points in (early, late):
        np.testing.assert_allclose(np.sort(points[:, 0]), expected, rtol=1e-7)
        np.testing.assert_allclose(points[:, 1], points[:, 0], rtol=1e-7)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [name.split(",")[0] for name in names] == ["early", "late"]


def rates_of(observed: list[list[float]], delta: float = -6.0) -> Figure:
    experiment = kinetics(delta)
    seqs = torch.zeros(len(observed), 4).byte()
    seqs[:, 0] = torch.arange(len(observed)) % len(SCORES)
    predicted = [[100.0, 40 + i, 60 + i] for i in range(len(observed))]
    counts = counts_of(observed, predicted)
    return keff_consistency(
        experiment,
        CountBatch(seqs, counts.observed),
        [0, 1],
        kernel=1,
        counts=counts,
        unit="1/min",
    )


def test_rates_of_more_than_all_are_infinite_and_of_less_than_none_0() -> None:
    # depth e^1.5: the ratio of counts at which all are modified is 4.5
    figure = rates_of([[100.0, 90, 5], [100, 900, 5], [100, 1, 5], [100, 50, 5]])
    axes = figure.axes[0]
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert "∞" in ticks
    assert "0" in ticks
    (*edges, finite) = points_of(figure)
    assert [len(each) for each in edges] == [1, 1]
    assert len(finite) == 2
    assert axes.get_ylabel() == "Observed effective rate (1/min)"


@pytest.mark.parametrize("delta", [-6.0, 6.0])
def test_intervals_of_rates_hold_the_points(delta: float) -> None:
    figure = rates_of(
        [[1000.0, 2240, 5], [1000, 1500, 5]]
        if delta > 0
        else [[1000.0, 900, 5], [1000, 800, 5]],
        delta,
    )
    line = next(x for x in figure.axes[0].lines if len(x.get_ydata()) > 2)
    ends = np.asarray(line.get_ydata()).reshape(-1, 3)[:, :2]
    (points,) = points_of(figure)[-1:]
    assert (ends[:, 0] < points[:, 1]).all()
    assert (points[:, 1] < ends[:, 1]).all()


def test_a_reaction_that_cannot_be_told_has_no_rate() -> None:
    with pytest.raises(PyProBoundError, match="δ = 0"):
        rates_of([[100.0, 90, 5]], delta=0.0)


@pytest.mark.parametrize(
    ("experiment", "columns", "message"),
    [
        (selex(), None, "no column of .* is an exponential round"),
        (kinetics(), [0], "no column of .0. is an exponential round"),
        (kinetics(), [4], "column 4 is none of the observed rounds"),
    ],
)
def test_rates_need_exponential_rounds(
    experiment: Experiment, columns: list[int] | None, message: str
) -> None:
    with pytest.raises(PyProBoundError, match=message):
        keff_consistency(experiment, drawn(experiment, 20), columns)


def test_rounds_without_reads_have_no_rate() -> None:
    experiment = kinetics()
    batch = drawn(experiment, 40)
    batch.target[:, 1] = 0
    figure = keff_consistency(experiment, batch, kernel=20)
    assert sum(map(len, points_of(figure))) == 2, "those of the late round"
    with pytest.raises(PyProBoundError, match=r"columns \[0, 1\] must be two"):
        keff_consistency(experiment, batch, [1])
    batch.target[:, 0] = 0
    with pytest.raises(PyProBoundError, match="no column"):
        keff_consistency(experiment, batch)


def test_counts_are_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = kinetics()
    batch = drawn(experiment, 40)
    counts = predicted_counts(experiment, batch)
    monkeypatch.setattr(Experiment, "forward", None)
    assert isinstance(counts, Counts)
    keff_consistency(experiment, batch, kernel=10, counts=counts)
