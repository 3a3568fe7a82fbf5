"""Counts of probes that are predicted alike, summed before they are compared."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest
import torch

from pyprobound import CountBatch
from pyprobound.errors import PyProBoundError
from pyprobound.plotting import Counts, predicted_counts
from pyprobound.plotting._pooled import (
    FEWEST_READS,
    Agreement,
    Pools,
    compared_columns,
    dispersion_of,
    log_library_ratio,
    log_ratios,
    pools_of,
    starts_of,
)
from pyprobound.uncertainty import NORMAL_95
from tests.plots.selections import counts_of, drawn, selex

INF = math.inf


def test_predicted_counts_share_out_what_each_probe_was_read() -> None:
    experiment = selex()
    batch = drawn(experiment, 50)
    counts = predicted_counts(experiment, batch, max_split=7)
    for seq, read, predicted in zip(batch.seqs, *counts, strict=True):
        log_shares = experiment(seq[None])[0].detach()
        total = math.fsum(read.tolist())
        expected = [total * math.exp(share) for share in log_shares.tolist()]
        assert predicted.tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(counts.observed, batch.target)


def test_predicted_counts_take_a_single_probe() -> None:
    experiment = selex()
    one = drawn(experiment, 3)
    counts = predicted_counts(experiment, CountBatch(one.seqs[0], one.target[0]))
    assert counts.observed.shape == counts.predicted.shape == (1, 3)


def test_a_table_of_other_rounds_is_refused() -> None:
    with pytest.raises(PyProBoundError, match=r"3 observed rounds.*2 columns"):
        predicted_counts(
            selex(), CountBatch(torch.zeros(1, 4).byte(), torch.ones(1, 2))
        )


# == columns ==========================================================================

READ = [[0.0, 3, 1, 0], [0, 2, 5, 0]]


def test_the_outermost_columns_with_reads_are_compared() -> None:
    assert compared_columns(counts_of(READ, READ), None) == (1, 2)
    assert compared_columns(counts_of(READ, READ), [2, 1]) == (2, 1)


@pytest.mark.parametrize("columns", [[0, 1], [1, 1], [1], [1, 4], [-3, 2], [1, 2, 1]])
def test_other_columns_are_refused_in_one_line(columns: list[int]) -> None:
    with pytest.raises(PyProBoundError, match="only column 1, 2") as error:
        compared_columns(counts_of(READ, READ), columns)
    assert str(columns) in str(error.value)
    assert "\n" not in str(error.value)


def test_one_column_with_reads_is_too_few() -> None:
    one = [[0.0, 3]]
    with pytest.raises(PyProBoundError, match=r"compares two rounds.*only column 1"):
        compared_columns(counts_of(one, one), None)
    none = [[0.0, 0]]
    with pytest.raises(PyProBoundError, match="no column"):
        compared_columns(counts_of(none, none), None)


def test_counts_must_be_of_the_same_probes() -> None:
    with pytest.raises(PyProBoundError, match="must both be"):
        compared_columns(Counts(torch.ones(2, 2), torch.ones(3, 2)), None)


# == pools ============================================================================


Pool: TypeAlias = tuple[int, list[float], list[float]]
"""How many probes; reads before and after; those predicted."""


def pooled_slowly(counts: Counts, columns: tuple[int, int], kernel: int) -> list[Pool]:
    """Pools, one probe after the other, in plain Python."""
    rows = [
        (read, predicted)
        for read, predicted in zip(
            counts.observed.tolist(), counts.predicted.tolist(), strict=True
        )
        if sum(read)
    ]
    before, after = columns
    rows.sort(key=lambda row: -row[1][after] / row[1][before])
    n_pools = max(1, len(rows) // kernel)
    bounds = [i * len(rows) // n_pools for i in range(n_pools + 1)]
    pools: list[Pool] = []
    for start, stop in pairwise(bounds):
        sums = [
            [
                math.fsum(row[kind][column] for row in rows[start:stop])
                for column in columns
            ]
            for kind in (0, 1)
        ]
        pools.append((stop - start, sums[0], sums[1]))
    return pools if kernel == 1 else joined_slowly(pools)


def joined_slowly(pools: Sequence[Pool]) -> list[Pool]:
    joined: list[Pool] = []
    rest = list(pools)
    while rest:
        taken = rest.pop(0)
        while rest and min(taken[2]) < FEWEST_READS:
            taken = added(taken, rest.pop(0))
        if joined and min(taken[2]) < FEWEST_READS:
            taken = added(joined.pop(), taken)
        joined.append(taken)
    return joined


def added(a: Pool, b: Pool) -> Pool:
    read = [x + y for x, y in zip(a[1], b[1], strict=True)]
    return a[0] + b[0], read, [x + y for x, y in zip(a[2], b[2], strict=True)]


@pytest.mark.parametrize("kernel", [1, 7, 20, 1000])
@pytest.mark.parametrize("reads", [40, 1])
def test_pools_are_those_of_plain_python(kernel: int, reads: int) -> None:
    experiment = selex()
    counts = predicted_counts(experiment, drawn(experiment, 101, reads))
    # no two alike, so that their order is known
    counts.predicted.mul_(1 + 1e-9 * torch.rand_like(counts.predicted))
    pools = pools_of(counts, (0, 2), kernel)
    expected = pooled_slowly(counts, (0, 2), kernel)
    assert pools.n_probes.tolist() == [each[0] for each in expected]
    np.testing.assert_allclose(pools.observed, [each[1] for each in expected])
    np.testing.assert_allclose(pools.predicted, [each[2] for each in expected])


def test_no_read_is_lost_in_pools() -> None:
    experiment = selex()
    counts = predicted_counts(experiment, drawn(experiment, 333, 1))
    pools = pools_of(counts, (0, 2), 10)
    totals = counts.observed[:, [0, 2]].sum(0)
    np.testing.assert_allclose(pools.observed.sum(0), totals)
    n_read = int((counts.observed.sum(1) > 0).sum())
    assert n_read < 333, "some probes of this table have no read"
    assert pools.n_probes.sum() == n_read
    assert (pools.predicted >= FEWEST_READS).all()


def test_impossible_probes_are_the_least_enriched() -> None:
    observed = [[5.0, 5], [1, 0], [1, 7], [0, 9]]
    predicted = [[5.0, 5], [0, 0], [2, 6], [0, 9]]
    pools = pools_of(counts_of(observed, predicted), (0, 1), 1)
    assert pools.observed.tolist() == [[0, 9], [1, 7], [5, 5], [1, 0]]


def test_an_empty_table_has_no_pool() -> None:
    empty = Counts(torch.zeros(0, 2), torch.zeros(0, 2))
    assert pools_of(empty, (0, 1), 500).observed.shape == (0, 2)


def test_pools_need_a_probe() -> None:
    with pytest.raises(PyProBoundError, match="kernel 0"):
        pools_of(counts_of(READ, READ), (1, 2), 0)


def test_stretches_are_large_enough_in_every_respect() -> None:
    sizes = np.random.default_rng(5).integers(0, 4, (200, 2)).astype(float)
    starts = starts_of(sizes, (5, 7)).tolist()
    bounds = [*starts, len(sizes)]
    for start, stop in pairwise(bounds):
        assert (sizes[start:stop].sum(0) >= (5, 7)).all()
    for start, stop in pairwise(bounds[:-1]):
        assert not (sizes[start : stop - 1].sum(0) >= (5, 7)).all(), "no larger"
    assert starts_of(sizes, (1e9, 1)).tolist() == [0]


# == dispersion =======================================================================


def test_dispersion_is_chi2_per_degree_of_freedom() -> None:
    experiment = selex()
    counts = predicted_counts(experiment, drawn(experiment, 60))
    chi2, freedom = 0.0, 0
    for read, predicted in zip(*(each.tolist() for each in counts), strict=True):
        chi2 += sum((k - m) ** 2 / m for k, m in zip(read, predicted, strict=True))
        freedom += len(read) - 1
    assert dispersion_of(counts) == pytest.approx(chi2 / freedom, rel=1e-12)
    assert dispersion_of(counts) == pytest.approx(1, abs=0.2), "counts are drawn"


def test_empty_rounds_and_unread_probes_say_nothing_of_dispersion() -> None:
    counts = counts_of(
        [[0.0, 4, 6], [0, 0, 0], [0, 5, 1]], [[0.1, 5, 5], [0, 0, 0], [0.1, 3, 3]]
    )
    chi2 = (1 + 1) / 5 + (4 + 4) / 3
    assert dispersion_of(counts) == pytest.approx(chi2 / 2)
    assert math.isnan(dispersion_of(counts_of([[0.0, 0]], [[0.0, 0]])))


# == ratios ===========================================================================


def test_ratios_have_the_noise_of_counts() -> None:
    pools = Pools(np.array([[10.0, 40]]), np.array([[20.0, 60]]), np.array([3]))
    part = log_ratios(pools, dispersion=2.0)
    spread = NORMAL_95 * math.sqrt(2 * (1 / 10 + 1 / 40))
    assert part.observed[0] == pytest.approx(math.log(4))
    assert part.predicted[0] == pytest.approx(math.log(3))
    assert part.low[0] == pytest.approx(math.log(4) - spread)
    assert part.high[0] == pytest.approx(math.log(4) + spread)


def test_intervals_hold_the_truth_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(1)
    expected = np.array([30.0, 80.0])
    observed = rng.poisson(expected, (4000, 2)).astype(float)
    pools = Pools(observed, np.tile(expected, (4000, 1)), np.ones(4000, np.int64))
    part = log_ratios(pools, 1.0)
    covered = (part.low <= part.predicted) & (part.predicted <= part.high)
    assert covered.mean() == pytest.approx(0.95, abs=0.01)


def test_a_round_without_a_read_bounds_the_ratio_on_one_side() -> None:
    observed = np.array([[0.0, 50], [50, 0], [0, 0]])
    part = log_ratios(Pools(observed, observed + 1, np.ones(3, np.int64)), 1.0)
    unseen = -math.log(0.025)  # a Poisson mean that gives 0 with probability 0.025
    assert part.observed[:2].tolist() == [INF, -INF]
    assert math.isnan(part.observed[2])
    assert part.low.tolist() == pytest.approx([math.log(50 / unseen), -INF, -INF])
    assert part.high.tolist() == pytest.approx([INF, math.log(unseen / 50), INF])


def test_library_sizes_do_not_matter() -> None:
    counts = counts_of([[10.0, 300], [30, 100]], [[10.0, 300], [30, 100]])
    assert log_library_ratio(counts, (0, 1)) == pytest.approx(math.log(10))


# == R² ===============================================================================


def agreement(
    observed: list[float], predicted: list[float], width: list[float]
) -> Agreement:
    x, half = np.array(observed), np.array(width) / 2
    return Agreement(x, x - half, x + half, np.array(predicted), np.ones(len(x), int))


def test_r2_is_weighted_by_intervals() -> None:
    observed, predicted, width = [0.0, 1.0, 2.5], [0.2, 0.9, 2.0], [1.0, 2.0, 0.5]
    weights = [x**-2 for x in width]
    mean = sum(w * y for w, y in zip(weights, observed, strict=True)) / sum(weights)
    rest = sum(
        w * (y - p) ** 2 for w, y, p in zip(weights, observed, predicted, strict=True)
    )
    total = sum(w * (y - mean) ** 2 for w, y in zip(weights, observed, strict=True))
    found = agreement(observed, predicted, width).r2
    assert found == pytest.approx(1 - rest / total, rel=1e-12)


def test_r2_is_not_that_of_a_line_through_the_points() -> None:
    y = [0.0, 1.0, 2.0]
    assert agreement(y, y, [1.0] * 3).r2 == 1
    assert agreement(y, [x + 5 for x in y], [1.0] * 3).r2 < 0


@pytest.mark.parametrize(
    ("observed", "width"),
    [([1.0], [1.0]), ([1.0, 1.0], [1.0, 1.0]), ([0.0, 1.0, INF], [1.0, 1.0, 1.0])],
    ids=["one pool", "no spread", "a third without reads"],
)
def test_r2_is_not_always_defined(observed: list[float], width: list[float]) -> None:
    assert math.isnan(agreement(observed, observed, width).r2)


def test_few_pools_without_reads_have_no_weight_in_r2() -> None:
    y = [*np.linspace(0, 1, 30), INF]
    predicted = [*np.linspace(0, 1.1, 30), 9.0]
    with_it = agreement(y, predicted, [1.0] * 31).r2
    assert with_it == agreement(y[:-1], predicted[:-1], [1.0] * 30).r2
