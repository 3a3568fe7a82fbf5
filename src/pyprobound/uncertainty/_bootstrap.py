"""Standard errors by repeating the experiment on paper.

Counts are drawn from the fitted model with the reads that each probe has,

    k_i ~ Multinomial(K_i, p_i)

and the model is fitted to them again, from where it stands. The scatter of what comes
out checks the Fisher information, which takes the likelihood for a parabola. Counts
drawn like this scatter as the model says: where those of the data scatter more, compare
with an `Uncertainty` of widen=False.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.fisher import trust_region_of
from pyprobound.loss import MultiExperimentLoss
from pyprobound.table import CountBatch
from pyprobound.uncertainty._estimate import Estimate
from pyprobound.uncertainty._fisher import Uncertainty, all_trained, with_gradients
from pyprobound.uncertainty._named import ErrorBars

_AT_ONCE = 65_536


class Bootstrap(ErrorBars):
    """Fits of a model to counts drawn from it.

    Attributes:
        fisher: The standard errors that are to be checked, not widened.
        replicates: (fits, P) the parameters of each fit, in the order of `fisher.free`.
        reasons: Why each fit ended, in words.
    """

    def __init__(
        self,
        fisher: Uncertainty,
        replicates: Tensor,
        reads: Sequence[Sequence[Tensor]],
        reasons: Sequence[str],
        experiments: Sequence[Experiment],
    ) -> None:
        """Take what the fits have found; see `bootstrap`."""
        self.fisher = fisher
        self.replicates = replicates
        self.reasons = list(reasons)
        self._reads = reads
        self._experiments = experiments
        self._current: Sequence[Tensor] | None = None

    @property
    def covariance(self) -> Tensor:
        """The covariance of the parameters over the fits, (P, P).

        Along directions that the data do not determine it is what the penalty and the
        start leave; functions that do not depend on them are comparable.
        """
        return self.replicates.T.cov()

    def of(
        self, function: Callable[[], Tensor], *, is_linear: bool = False
    ) -> Estimate:
        """Return the value of a function and how it scatters over the fits.

        Args:
            function: Computes a tensor of any shape from the model.
            is_linear: A promise that it sums parameters, which saves time.
        """
        expected = self.fisher.of(function, is_linear=is_linear)
        found = []
        with self._restored(), torch.no_grad(), with_gradients(self._tensors):
            for values, reads in zip(self.replicates, self._reads, strict=True):
                self.fisher.free.set(values)
                self._current = reads
                found.append(function().double().cpu())
        error = torch.stack(found).std(0)
        unknown = expected.error.isnan()
        return Estimate(expected.value, error.masked_fill(unknown, math.nan))

    @property
    def _tensors(self) -> Sequence[Tensor]:
        return self.fisher.free.tensors

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """Put the parameters back at the end."""
        with _parameters_kept(self.fisher):
            try:
                yield
            finally:
                self._current = None

    def seen(self, parameter: Tensor) -> Tensor:
        """Return which entries of a parameter the data say anything about.

        Args:
            parameter: One of the model's. What is not trained counts as known.

        Returns:
            Booleans, shaped as the parameter.
        """
        return self.fisher.seen(parameter)

    def reference(self, dimer: Cooperativity) -> int | None:
        """Return the arrangement that others are compared with, as `fisher` does.

        Args:
            dimer: One of the model's.

        Returns:
            Its place in the flattened (strands_a, strands_b, offsets).
        """
        return self.fisher.reference(dimer)

    def _log_reads(self, experiment: Experiment) -> Tensor:
        if self._current is None:
            return self.fisher._log_reads(experiment)  # noqa: SLF001 the same family
        for known, reads in zip(self._experiments, self._current, strict=True):
            if known is experiment:
                return reads.log()
        msg = f"{experiment} is no experiment of this model"
        raise PyProBoundError(msg)


def bootstrap(
    model: MultiExperimentLoss,
    tables: Sequence[CountBatch],
    n: int = 100,
    seed: int = 0,
) -> Bootstrap:
    """Draw counts from a fitted model n times, and fit it to each.

    The model is left as it was. The fits are those of the default optimizer, by the
    Fisher information, all parameters at once.

    Args:
        model: The fitted model.
        tables: What it was fitted to: their probes, each with the reads that it has.
        n: The number of fits; the error of a standard error is 1/√(2n) of it.
        seed: Of the draws.

    Raises:
        PyProBoundError: n is less than 2, a probe's reads are no whole number, or the
            model cannot be fitted by its Fisher information.
    """
    if n < 2:
        msg = f"n = {n}: a scatter needs at least 2 fits"
        raise PyProBoundError(msg)
    rng = np.random.default_rng(seed)
    fisher = Uncertainty(model, tables, widen=False)
    experiments = [each for each in model.components() if isinstance(each, Experiment)]
    shares = [
        _shares(experiment, table.seqs)
        for experiment, table in zip(experiments, tables, strict=True)
    ]
    totals = [_totals(table) for table in tables]
    start = fisher.free.get()
    replicates, reads, reasons = [], [], []
    with _parameters_kept(fisher), all_trained(model):
        for _ in range(n):
            fisher.free.set(start)
            drawn = [
                CountBatch(table.seqs, _drawn(rng, total, p).to(table.target))
                for table, total, p in zip(tables, totals, shares, strict=True)
            ]
            reasons.append(_fitted(model, drawn))
            replicates.append(fisher.free.get())
            reads.append([each.target.double().sum(0).cpu() for each in drawn])
    return Bootstrap(fisher, torch.stack(replicates), reads, reasons, experiments)


@contextmanager
def _parameters_kept(fisher: Uncertainty) -> Iterator[None]:
    kept = [tensor.detach().clone() for tensor in fisher.free.tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, values in zip(fisher.free.tensors, kept, strict=True):
                tensor.copy_(values)


def _shares(experiment: Experiment, seqs: Tensor) -> Tensor:
    """Return p of each probe, (probes, rounds) float64."""
    with torch.no_grad():
        parts = [experiment(part) for part in torch.split(seqs, _AT_ONCE)]
    p = torch.cat(parts).double().exp().cpu()
    total = p.sum(1, keepdim=True)
    # a probe that no round can contain has no reads to spread
    return torch.where(total > 0, p / total.clamp(min=1e-300), 1 / p.shape[1])


def _totals(table: CountBatch) -> Tensor:
    totals = table.target.double().sum(1).cpu()
    if not bool((totals == totals.round()).all()):
        msg = "reads that are no whole numbers cannot be drawn; give a table of counts"
        raise PyProBoundError(msg)
    return totals


def _drawn(rng: np.random.Generator, totals: Tensor, p: Tensor) -> Tensor:
    counts = rng.multinomial(totals.long().numpy(), p.numpy())
    return torch.from_numpy(counts)


def _fitted(model: MultiExperimentLoss, tables: Sequence[CountBatch]) -> str:
    """Fit a model from where it stands; return why the fit ended."""
    fit = trust_region_of(model, tables)
    if fit is None:
        msg = (
            "the model is too large, or of too unusual a kind, to be fitted by its"
            " Fisher information; a bootstrap needs that"
        )
        raise PyProBoundError(msg)
    for _ in fit.iterate():
        pass
    return fit.reason
