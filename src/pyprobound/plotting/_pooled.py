"""Observed and predicted counts, summed over probes that are predicted alike.

    enrichment of round s over round r    (Σ_i k_is / K_s) / (Σ_i k_ir / K_r)

with i the probes of a pool, and K the reads of all probes.

A count of one probe says little, and most are 0. Probes are ordered by what the model
predicts, which no noise of the counts enters, and counts are summed before they are
divided, so that no read is lost and none counts more than another.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.table import CountBatch, score
from pyprobound.uncertainty import NORMAL_95

Floats: TypeAlias = NDArray[np.float64]

NONE_SEEN_95 = -math.log(0.025)
"""The largest expected number of reads of which none is seen once in 40 times."""

FEWEST_READS = 10.0
"""Predicted reads of a pool in either round: fewer would leave it without any."""


class Counts(NamedTuple):
    """What was read, and what a model makes of it.

    Attributes:
        observed: Reads, (probe, round).
        predicted: Expected reads, (probe, round), given how often each probe was read.
    """

    observed: Tensor
    predicted: Tensor


def predicted_counts(
    experiment: Experiment, batch: CountBatch, max_split: int | None = None
) -> Counts:
    """Return the counts of a batch beside those that a model expects.

    A probe's reads in all rounds, taken together, are shared out as the experiment
    predicts: E[k_ir] = p_ir Σ_r k_ir. Every function that compares both takes the
    result, so that the probes of several pictures are scored once.

    Args:
        experiment: The model of the table's rounds.
        batch: Probes and their counts, a table for instance.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.

    Returns:
        Observed and predicted counts, (probe, round) each, on the CPU.

    Raises:
        PyProBoundError: (a ValueError) The batch has not one column for each observed
            round.
    """
    n_rounds = len(experiment.rounds)
    if batch.target.shape[-1] != n_rounds:
        msg = (
            f"{experiment} has {n_rounds} observed rounds, but the batch has "
            f"{batch.target.shape[-1]} columns; give the table that belongs to it"
        )
        raise PyProBoundError(msg)
    observed, log_shares = score(experiment, batch, max_split=max_split)
    observed = observed.detach().reshape(-1, n_rounds)
    totals = observed.sum(1, dtype=torch.float64).to(log_shares)
    return Counts(observed, log_shares.exp_().mul_(totals[:, None]))


# == columns ==========================================================================


def compared_columns(counts: Counts, columns: Sequence[int] | None) -> tuple[int, int]:
    """Return the two columns that are compared: as given, or the outermost ones read.

    Args:
        counts: Observed and predicted counts, (probe, round) each.
        columns: Two columns, before the selection and after it.

    Raises:
        PyProBoundError: (a ValueError) They are not two different columns with reads;
            or there are not two.
    """
    check_counts(counts)
    totals = counts.observed.sum(0, dtype=torch.float64).tolist()
    read = [column for column, total in enumerate(totals) if total > 0]
    if columns is None:
        if len(read) < 2:
            msg = (
                f"enrichment compares two rounds, but {_listed(read, totals)} of the "
                "table has reads; give counts of another one"
            )
            raise PyProBoundError(msg)
        return read[0], read[-1]
    if len(columns) != 2 or columns[0] == columns[1] or not set(columns) <= set(read):
        msg = (
            f"columns {list(columns)} must be two different rounds with reads, before "
            f"and after selection; {_listed(read, totals)} of the table has reads"
        )
        raise PyProBoundError(msg)
    return columns[0], columns[1]


def _listed(read: list[int], totals: list[float]) -> str:
    if not read:
        return "no column"
    return f"only column {', '.join(map(str, read))} (of 0 … {len(totals) - 1})"


def check_counts(counts: Counts) -> None:
    """Check that both are tables of the same probes and rounds.

    Raises:
        PyProBoundError: (a ValueError) They are not.
    """
    observed, predicted = counts
    if observed.ndim != 2 or observed.shape != predicted.shape:
        msg = (
            f"observed counts of shape {tuple(observed.shape)} and predicted ones of "
            f"{tuple(predicted.shape)} must both be (probes, rounds)"
        )
        raise PyProBoundError(msg)


def check_kernel(kernel: int) -> None:
    """Check the number of probes that are pooled.

    Raises:
        PyProBoundError: (a ValueError) It is less than 1.
    """
    if kernel < 1:
        msg = f"kernel {kernel} must be at least 1: it is how many probes are pooled"
        raise PyProBoundError(msg)


# == pools ============================================================================


@dataclass(frozen=True)
class Pools:
    """Reads of pools of probes in two rounds, before and after selection.

    Attributes:
        observed: (pool, 2).
        predicted: (pool, 2).
        n_probes: Probes of each pool, (pool,).
    """

    observed: Floats
    predicted: Floats
    n_probes: NDArray[np.int64]

    def joined(self, least: int) -> "Pools":
        """Return neighbours joined until they are large enough to be divided.

        Args:
            least: The fewest probes of a pool.
        """
        sizes = np.column_stack([self.n_probes, self.predicted])
        starts = starts_of(sizes, (least, FEWEST_READS, FEWEST_READS))
        if not len(starts):
            return self
        return Pools(
            np.add.reduceat(self.observed, starts),
            np.add.reduceat(self.predicted, starts),
            np.add.reduceat(self.n_probes, starts),
        )


def pools_of(counts: Counts, columns: tuple[int, int], kernel: int) -> Pools:
    """Order probes by predicted enrichment and sum the counts of each `kernel` of them.

    Probes without any read are left out. Neighbouring pools are joined, the most
    enriched ones first, until ten reads are predicted in either round, unless probes
    stand alone (`kernel` 1): what is joined does not depend on what was observed in
    one round rather than in the other.

    Args:
        counts: Observed and predicted counts, (probe, round) each.
        columns: Before the selection and after it.
        kernel: Probes to pool.

    Returns:
        The pools, the most enriched one first; none of an empty table.

    Raises:
        PyProBoundError: (a ValueError) `kernel` is less than 1.
    """
    check_kernel(kernel)
    chosen = list(columns)
    is_read = counts.observed.sum(1) > 0
    observed = counts.observed[:, chosen][is_read].numpy()
    predicted = counts.predicted[:, chosen][is_read].numpy()
    order = enriched_first(predicted)
    n_pools = max(1, len(order) // kernel) if len(order) else 0
    starts = np.arange(n_pools + 1) * len(order) // max(1, n_pools)
    pools = Pools(
        _summed(observed, order, starts[:-1]),
        _summed(predicted, order, starts[:-1]),
        np.diff(starts),
    )
    return pools if kernel == 1 else pools.joined(least=1)


def enriched_first(predicted: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return what orders rows of predicted counts, (row, 2), by their ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = predicted[:, 1] / predicted[:, 0]
    # what the model takes for impossible in both rounds is enriched the least
    return (-np.nan_to_num(ratio, nan=-1.0, posinf=np.inf)).argsort(kind="stable")


def starts_of(sizes: Floats, least: Sequence[float]) -> NDArray[np.int64]:
    """Divide a row of things so that all sizes of each stretch are large enough.

    What is left over at the end belongs to the last stretch.

    Args:
        sizes: (thing, kind of size).
        least: The smallest sum of each kind in a stretch.
    """
    ends = np.concatenate([np.zeros((1, sizes.shape[1])), sizes.cumsum(0)])
    starts: list[int] = []
    start = 0
    while start < len(sizes):
        enough = [
            ends[:, kind].searchsorted(ends[start, kind] + size)
            for kind, size in enumerate(least)
        ]
        if starts and max(enough) > len(sizes):
            break
        starts.append(start)
        start = max(start + 1, *enough)
    return np.array(starts, np.int64)


def _summed(
    values: NDArray[np.floating], order: NDArray[np.intp], starts: NDArray[np.int64]
) -> Floats:
    """Return sums over stretches of ordered rows, (stretch, column), in float64."""
    sums = np.zeros((len(starts), values.shape[1]))
    for column in range(values.shape[1] if len(starts) else 0):
        ordered = values[order, column]
        np.add.reduceat(ordered, starts, dtype=np.float64, out=sums[:, column])
    return sums


def dispersion_of(counts: Counts) -> float:
    """Return Pearson's χ² per degree of freedom: 1 where counts scatter as drawn ones.

    Reads of a probe are shared between rounds, so that it has one degree of freedom
    less than it has rounds in which it can be read. NaN without any.

    Args:
        counts: Observed and predicted counts, (probe, round) each.
    """
    is_used = counts.observed.sum(0) > 0
    chi2, freedom = 0.0, 0
    seen = torch.zeros(len(counts.observed), dtype=torch.bool)
    for observed, predicted, used in zip(
        counts.observed.T, counts.predicted.T, is_used.tolist(), strict=True
    ):
        possible = predicted > 0
        if used:
            squares = (observed - predicted).square_().div_(predicted)
            chi2 += float(squares[possible].sum(dtype=torch.float64))
            freedom += int(possible.sum())
            seen |= possible
    freedom -= int(seen.sum())
    return chi2 / freedom if freedom > 0 else math.nan


def dispersion_or_estimate(given: float | None, counts: Counts) -> float:
    """Return how much counts scatter: as given or as found, but at least 1."""
    if given is None:
        given = dispersion_of(counts)
    return given if given > 1 else 1.0


# == agreement ========================================================================


@dataclass(frozen=True)
class Agreement:
    """A quantity of each pool as observed and as predicted, in logarithms.

    Attributes:
        observed: (pool,); infinite where no read was seen in one of the rounds.
        low: Lower end of the 95% interval of what was observed.
        high: Its upper end.
        predicted: (pool,).
        n_probes: Probes of each pool.
    """

    observed: Floats
    low: Floats
    high: Floats
    predicted: Floats
    n_probes: NDArray[np.int64]

    @property
    def r2(self) -> float:
        """R² of the observed logarithms about the predicted ones.

            1 − Σ w (observed − predicted)² / Σ w (observed − mean)²

        A pool weighs w = 1 / (width of its interval)², so that one without a read in
        one of the rounds has no weight. Nothing is fitted: where a prediction is
        biased, R² is less than the square of the correlation, and may be negative. NaN
        of fewer than two pools, and where more than one in twenty has no weight: what
        is left would be a selection of those that happened to be read.
        """
        values = np.stack([self.observed, self.predicted, self.low, self.high])
        observed, predicted, low, high = values[:, np.isfinite(values).all(0)]
        weight = (high - low) ** -2.0
        if len(observed) < max(2.0, 0.95 * len(self.observed)):
            return math.nan
        mean = np.average(observed, weights=weight)
        total = float((weight * (observed - mean) ** 2).sum())
        rest = float((weight * (observed - predicted) ** 2).sum())
        return 1 - rest / total if total > 0 else math.nan

    @classmethod
    def of_all(cls, parts: Sequence["Agreement"]) -> "Agreement":
        """Return the points of several as one."""
        return cls(
            *(
                np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(cls)
            )
        )

    def shifted(self, by: float) -> "Agreement":
        """Return the same with a number added to all logarithms."""
        return self.mapped(lambda values: values + by)

    def mapped(self, function: Callable[[Floats], Floats]) -> "Agreement":
        """Return an increasing function of all of them."""
        return replace(
            self,
            observed=function(self.observed),
            low=function(self.low),
            high=function(self.high),
            predicted=function(self.predicted),
        )


def log_ratios(pools: Pools, dispersion: float) -> Agreement:
    """Return log Σ k_is − log Σ k_ir of pools, with intervals of counting noise.

    The variance of the observed one is φ (1/Σ k_is + 1/Σ k_ir). Of a round without a
    read, the most is taken that is missed altogether once in 40 times; the interval
    has no end on the other side.

    Args:
        pools: Reads before selection and after it.
        dispersion: φ, how much counts scatter compared with drawn ones.
    """
    before, after = pools.observed.T
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.log(after) - np.log(before)
        predicted = np.log(pools.predicted[:, 1]) - np.log(pools.predicted[:, 0])
        spread = NORMAL_95 * np.sqrt(dispersion * (1 / before + 1 / after))
        low, high = observed - spread, observed + spread
        unseen = dispersion * NONE_SEEN_95
        low[before == 0] = (np.log(after) - np.log(unseen))[before == 0]
        high[before == 0] = np.inf
        low[after == 0] = -np.inf
        high[after == 0] = (np.log(unseen) - np.log(before))[after == 0]
        low[(before == 0) & (after == 0)] = -np.inf
        high[(before == 0) & (after == 0)] = np.inf
    return Agreement(observed, low, high, predicted, pools.n_probes)


def log_library_ratio(counts: Counts, columns: tuple[int, int]) -> float:
    """Return the log ratio of all reads after the selection to all before it."""
    before, after = counts.observed[:, list(columns)].sum(0, dtype=torch.float64)
    return float(after.log() - before.log())
