"""Comparing models by probes that they were not fitted to.

With c_i the cost −Σ_r k_ir log p_ir of a held-out sequence and n_i its reads, pooled
over the folds, the held-out loss of a model is, for each table e and in all,

    L_e = Σ_i c_ei / Σ_i n_ei,        L = Σ_e w_e L_e

and its standard error, sequences being the independent units, with N of them,

    u_i = Σ_e w_e (c_ei − L_e n_ei) / Σ_j n_ej,     error² = N / (N−1) Σ_i u_i²

The difference of two models has the same formulas with c_i^A − c_i^B for c_i. Both are
judged on the same sequences, so what makes a sequence hard for either cancels: the
error of the difference is much smaller than that of either loss. It is the error by
which models are told apart. Reads of one sequence are not independent (counts scatter
more than their multinomial, and a model is wrong for all of them alike), so they are
taken together, and over-dispersion is in the error.

The model to keep is the simplest, by its number of trained parameters, of those whose
difference to the best is at most the standard error of that difference.
"""

import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import torch
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.fisher import FreeParameters
from pyprobound.held_out import Split, split_by_sequence
from pyprobound.loss import MultiExperimentLoss
from pyprobound.optimizer import Optimizer
from pyprobound.structure import flank_lengths, set_flank_lengths
from pyprobound.table import CountTable, score

Build: TypeAlias = Callable[[list[CountTable]], MultiExperimentLoss]
"""Makes a model for training tables, whose scored flanks it may change before."""

Fit: TypeAlias = Callable[[MultiExperimentLoss, list[CountTable]], object]
"""Fits a model to its tables."""


@dataclass(frozen=True)
class Row:
    """What became of one candidate.

    Attributes:
        candidate: Its name.
        parameters: The numbers that are trained; of several folds, the most.
        train_loss: Negative log likelihood per read of what it was fitted to, the
            mean over the folds.
        held_out_loss: L, of what was held out.
        held_out_error: Its standard error.
        difference: L less that of the best candidate.
        difference_error: The standard error of the difference.
        best: Whether no other candidate has a lower held-out loss.
        chosen: Whether it is the one to keep.
        seconds: How long it took.
        failure: Why there are no numbers, in one line; None where there are.
    """

    candidate: str
    parameters: int | None = None
    train_loss: float | None = None
    held_out_loss: float | None = None
    held_out_error: float | None = None
    difference: float | None = None
    difference_error: float | None = None
    best: bool = False
    chosen: bool = False
    seconds: float = 0.0
    failure: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Candidates and how well they predict what they have not seen.

    Attributes:
        rows: One for each candidate, in the order in which they were given.
    """

    rows: Sequence[Row]

    @property
    def chosen(self) -> str | None:
        """The name of the candidate to keep, None if all have failed."""
        return next((row.candidate for row in self.rows if row.chosen), None)

    @property
    def best(self) -> str | None:
        """The name of the candidate with the lowest held-out loss."""
        return next((row.candidate for row in self.rows if row.best), None)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table, the columns named as the attributes of a row."""
        columns = [each.name for each in fields(Row)]
        frame = pd.DataFrame([asdict(row) for row in self.rows], columns=columns)
        return frame.astype({"parameters": "Int64"})


def compare(
    candidates: Mapping[str, Build],
    tables: Sequence[CountTable],
    *,
    held_out: float = 0.2,
    folds: int = 1,
    sample: int | None = None,
    seed: int = 0,
    fit: Fit | None = None,
    on_candidate: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Fit several models to a part of the data and judge them by the rest.

        sizes = {str(size): partial(build, size) for size in (8, 10, 12)}
        print(compare(sizes, [table]).frame())

    A candidate that cannot be built, fitted or scored is reported as failed.

    Args:
        candidates: By name, what makes each model; of two with the same number of
            parameters the earlier one counts as simpler. Tables count by the weights
            of the first model.
        tables: One table for each experiment of the models; they are not changed.
        held_out: The fraction of the sequences that is held out, with one fold.
        folds: How often each candidate is fitted; with two or more, every sequence is
            held out once.
        sample: How many sequences to use, by default all.
        seed: Of the split, and of each candidate's random numbers.
        fit: Fits a model; by default `Optimizer.train_sequential`.
        on_candidate: Called after each candidate with the comparison so far.

    Raises:
        ValueError: There is no candidate or no table, or the tables cannot be divided.
    """
    if not tables:
        msg = "a comparison needs at least one table"
        raise PyProBoundError(msg)
    splits = split_by_sequence(tables, held_out, folds, sample, seed)
    return compare_on_splits(
        candidates, splits, seed=seed, fit=fit, on_candidate=on_candidate
    )


def compare_on_splits(
    candidates: Mapping[str, Build],
    splits: Sequence[Split],
    *,
    seed: int = 0,
    fit: Fit | None = None,
    on_candidate: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Compare models as `compare` does, on divisions that are already made.

    Args:
        candidates: See `compare`, here and below.
        splits: What is fitted and what is held out, one for each fold.
        seed: Of each candidate's random numbers.
        fit: Fits a model.
        on_candidate: Called after each candidate.

    Raises:
        ValueError: There is no candidate.
    """
    if not candidates:
        msg = "a comparison needs at least one candidate"
        raise PyProBoundError(msg)
    pool = _Pool.of(splits)
    trials: list[_Trial] = []
    for name, build in candidates.items():
        trials.append(_tried(name, build, fit or fit_sequentially, splits, seed))
        if on_candidate is not None:
            on_candidate(_compared(trials, pool))
    return _compared(trials, pool)


def fit_sequentially(model: MultiExperimentLoss, tables: list[CountTable]) -> None:
    """Fit one binding after the other, with the default engine and without a word."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pt"
        output = io.StringIO()
        Optimizer(
            model, tables, checkpoint=checkpoint, output=output
        ).train_sequential()


# --- one candidate -----------------------------------------------------------------


@dataclass(frozen=True)
class _Trial:
    """A candidate after its fits.

    Attributes:
        row: Without what depends on other candidates.
        costs: c of each held-out row, fold after fold, one (rows,) for each table;
            empty if it failed.
        weights: The weight of each table.
    """

    row: Row
    costs: Sequence[Tensor] = ()
    weights: Sequence[float] = ()


def _tried(
    name: str, build: Build, fit: Fit, splits: Sequence[Split], seed: int
) -> _Trial:
    """Fit a candidate to each fold and score what that holds out."""
    clock = time.perf_counter()
    try:
        done = [_fitted(build, fit, split, seed) for split in splits]
    # the library's errors: what it raises of settings that do not go together
    except (ValueError, RuntimeError) as error:
        seconds = time.perf_counter() - clock
        return _Trial(Row(name, seconds=seconds, failure=_one_line(error)))
    costs = [torch.cat(parts) for parts in zip(*(e.costs for e in done), strict=True)]
    row = Row(
        name,
        parameters=max(each.parameters for each in done),
        train_loss=sum(each.train_loss for each in done) / len(done),
        seconds=time.perf_counter() - clock,
    )
    if not all(bool(cost.isfinite().all()) for cost in costs):
        failure = "the loss of a held-out sequence is not finite"
        return _Trial(replace(row, failure=failure))
    return _Trial(row, costs, done[0].weights)


@dataclass(frozen=True)
class _Fold:
    """A candidate after one fit."""

    parameters: int
    train_loss: float
    costs: Sequence[Tensor]
    weights: Sequence[float]


def _fitted(build: Build, fit: Fit, split: Split, seed: int) -> _Fold:
    train = split.train_tables()
    # of its own, so that a candidate's result does not depend on those before it
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        model = build(train)
        fit(model, train)
    held_out = split.held_out_tables()
    set_flank_lengths(held_out, flank_lengths(train))  # as the fit has left them
    model.unfreeze()
    train_loss = sum(
        weight * float(cost.sum() / table.counts_per_round.sum())
        for weight, cost, table in zip(
            model.weights, _costs(model, train), train, strict=True
        )
    )
    n_parameters = len(FreeParameters(model))
    return _Fold(n_parameters, train_loss, _costs(model, held_out), model.weights)


def _costs(model: MultiExperimentLoss, tables: Sequence[CountTable]) -> list[Tensor]:
    """Return −Σ_r k log p of each row, (rows,) float64 for each table."""
    costs = []
    for experiment, table in zip(model.components(), tables, strict=True):
        counts, log_p = score(experiment, table)
        # a round that was not read in costs nothing, possible or not
        log_p = log_p.double().masked_fill(counts == 0, 0.0)
        costs.append(-(counts.double() * log_p).sum(1))
    return costs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# --- all of them -------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool:
    """What is held out, fold after fold: the same for all candidates.

    Attributes:
        reads: n of each row, one (rows,) for each table.
        sequences: The number of each row's sequence, (rows,) for each table.
        n_sequences: The numbers there are.
        n_read: N, how many sequences have reads.
    """

    reads: Sequence[Tensor]
    sequences: Sequence[Tensor]
    n_sequences: int
    n_read: int

    @classmethod
    def of(cls, splits: Sequence[Split]) -> "_Pool":
        tables = range(len(splits[0].tables))
        reads = [
            torch.cat([s.tables[i].target.cpu()[s.held_out[i]] for s in splits])
            for i in tables
        ]
        numbers = [
            torch.cat([s.sequences[i][s.held_out[i]] for s in splits]) for i in tables
        ]
        by_row = [each.sum(1, dtype=torch.float64) for each in reads]
        _, compact = torch.cat(numbers).unique(return_inverse=True)
        n_read = int(compact[torch.cat(by_row) > 0].unique().numel())
        sequences = compact.split([len(each) for each in numbers])
        return cls(by_row, sequences, 1 + int(compact.max()), n_read)

    def loss(
        self, costs: Sequence[Tensor], weights: Sequence[float]
    ) -> tuple[float, float]:
        """Return a loss per read, or a difference of two, and its standard error."""
        total = 0.0
        residuals = torch.zeros(self.n_sequences, dtype=torch.float64)
        for cost, reads, numbers, weight in zip(
            costs, self.reads, self.sequences, weights, strict=True
        ):
            n_reads = reads.sum()
            mean = cost.sum() / n_reads
            residuals.index_add_(0, numbers, weight * (cost - mean * reads) / n_reads)
            total += weight * float(mean)
        freedom = self.n_read / (self.n_read - 1)
        return total, math.sqrt(freedom * float(residuals.square().sum()))


def _compared(trials: Sequence[_Trial], pool: _Pool) -> Comparison:
    """Compare trials with the best of them and mark the one to keep."""
    scored = [trial for trial in trials if trial.row.failure is None]
    if not scored:
        return Comparison([trial.row for trial in trials])
    weights = scored[0].weights
    losses = {t.row.candidate: pool.loss(t.costs, weights) for t in scored}
    best = min(scored, key=lambda trial: losses[trial.row.candidate][0])
    rows = {t.row.candidate: _judged(t, best, pool, losses) for t in scored}
    close = [
        row
        for row in rows.values()
        if (row.difference or 0.0) <= (row.difference_error or 0.0)
    ]
    # min takes the first of equals
    chosen = min(close, key=lambda row: row.parameters or 0)
    rows[chosen.candidate] = replace(chosen, chosen=True)
    return Comparison([rows.get(t.row.candidate, t.row) for t in trials])


def _judged(
    trial: _Trial,
    best: _Trial,
    pool: _Pool,
    losses: Mapping[str, tuple[float, float]],
) -> Row:
    loss, error = losses[trial.row.candidate]
    apart = [own - other for own, other in zip(trial.costs, best.costs, strict=True)]
    difference, difference_error = pool.loss(apart, best.weights)
    return replace(
        trial.row,
        held_out_loss=loss,
        held_out_error=error,
        difference=difference,
        difference_error=difference_error,
        best=trial is best,
    )
