"""Standard errors of a fitted model, from its Fisher information.

With F_e the information in the reads of table e, a_e its weight per read, and φ_e the
dispersion of its counts, a fit of Σ_e a_e NLL_e scatters around the truth with

    H = Σ_e a_e F_e,      V = Σ_e a_e² φ_e F_e,      covariance = H⁻¹ V H⁻¹

which is φ F⁻¹ for one table. A function f of the parameters has the variance
∇fᵀ · covariance · ∇f (delta method).

Some directions of the parameters change nothing (the mean of a position's letters
against an activity) or nearly nothing (a letter that was never seen). Directions in
which a standard error would exceed `LARGEST_ERROR` are projected out, and a function
that depends on them is reported as not identified. The penalty is no information: it
enters neither.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound.aggregate import Contribution
from pyprobound.base import Binding
from pyprobound.errors import PyProBoundError
from pyprobound.fisher import CountObjective, FreeParameters, Moments
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.psam import PSAM
from pyprobound.loss import MultiExperimentLoss
from pyprobound.mode import Mode
from pyprobound.table import CountBatch

LARGEST_ERROR = 10.0
"""In natural logarithms: what is not known to a factor of e^10 is not known at all."""

UNRESOLVED = 1e-12
"""Information that is rounding, relative to the largest."""

OUTSIDE = 1e-3
"""The part of a gradient in directions without information that is not rounding."""

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Attributes:
        value: What the fitted model says, of any shape, float64.
        error: Its standard error; NaN where the data do not identify it.
    """

    value: Tensor
    error: Tensor

    @property
    def is_identified(self) -> Tensor:
        """Where the data say anything about the value."""
        return ~self.error.isnan()

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The 95% interval, from and to; NaN where the value is not identified."""
        reach = NORMAL_95 * self.error
        return self.value - reach, self.value + reach


class Uncertainty:
    """How well the data determine a model.

    Attributes:
        free: The parameters, in the order of the covariance.
        covariance: (P, P), 0 in directions that are not identified.
        dispersion: Pearson's χ² per degree of freedom of each table: 1 where counts
            scatter as the model says, more where they scatter more.
        unidentified: (P, directions) orthonormal directions that are projected out.
    """

    def __init__(
        self,
        model: MultiExperimentLoss,
        tables: Sequence[CountBatch],
        *,
        widen: bool = True,
        largest_error: float = LARGEST_ERROR,
    ) -> None:
        """Compute the information of a fitted model at its parameters.

        All parameters that can be trained take part, frozen now or not, those that are
        not finite (absent activities, excluded windows) excepted.

        Args:
            model: The fitted model.
            tables: What it was fitted to.
            widen: Whether to widen errors by the dispersion, where it is above 1.
            largest_error: The standard error, in natural logarithms, above which a
                direction counts as not identified.

        Raises:
            PyProBoundError: There is nothing to train, or no information.
        """
        with _all_trained(model):
            objective = CountObjective(model, tables)
            self.free = objective.free
            if len(self.free) == 0:
                raise PyProBoundError("the model has no parameter that can be trained")
            moments = objective.moments()
        self.dispersion = [_dispersion(each, len(self.free)) for each in moments]
        total = sum((each.information for each in moments), torch.zeros(()))
        if not bool(total.isfinite().all()):
            raise PyProBoundError(
                "the information is not finite at these parameters; fit the model first"
            )
        values, vectors = torch.linalg.eigh(total)
        least = max(1 / largest_error**2, UNRESOLVED * float(values[-1]))
        known = vectors[:, values > least]
        self.unidentified = vectors[:, values <= least]
        shares = _weights_per_read(model, moments)
        factors = [max(1.0, each) if widen else 1.0 for each in self.dispersion]
        bread = torch.zeros_like(total)
        filling = torch.zeros_like(total)
        for share, factor, each in zip(shares, factors, moments, strict=True):
            bread += share * each.information
            filling += share**2 * factor * each.information
        inner = torch.linalg.pinv(known.T @ bread @ known, hermitian=True)
        scatter = inner @ (known.T @ filling @ known) @ inner
        self.covariance = known @ scatter @ known.T

    def of(self, function: Callable[[], Tensor]) -> Estimate:
        """Return the value and the standard errors of a function of the parameters.

            uncertainty.of(lambda: mode(seqs))

        Args:
            function: Computes a tensor of any shape from the model.
        """
        with torch.enable_grad(), _with_gradients(self.free):
            value = function()
            rows = [self._gradient(entry) for entry in value.flatten()]
        if not rows:
            empty = value.detach().double().cpu()
            return Estimate(empty, empty.clone())
        jacobian = torch.stack(rows)
        variance = ((jacobian @ self.covariance) * jacobian).sum(1)
        outside = (jacobian @ self.unidentified).norm(dim=1)
        unknown = outside > OUTSIDE * jacobian.norm(dim=1)
        unknown |= ~jacobian.isfinite().all(1)
        error = variance.clamp(min=0).sqrt().masked_fill(unknown, math.nan)
        detached = value.detach().double().cpu()
        return Estimate(detached, error.view_as(detached))

    def _gradient(self, entry: Tensor) -> Tensor:
        if not entry.requires_grad:
            return torch.zeros(len(self.free), dtype=torch.float64)
        found = torch.autograd.grad(
            entry, self.free.tensors, retain_graph=True, allow_unused=True
        )
        return self.free.gather(found)

    def parameters(self) -> list[tuple[str, float, float]]:
        """Return (name, value, standard error) of every parameter, as it stands.

        Single parameters are often not identified where their differences are.
        """
        identity = torch.eye(len(self.free), dtype=torch.float64)
        outside = (identity @ self.unidentified).norm(dim=1)
        errors = self.covariance.diagonal().clamp(min=0).sqrt()
        errors = errors.masked_fill(outside > OUTSIDE, math.nan)
        return list(
            zip(
                self.free.labels(),
                self.free.get().tolist(),
                errors.tolist(),
                strict=True,
            )
        )

    def letters(self, psam: PSAM) -> Estimate:
        """Return −ΔΔG/RT of every letter, less the mean of its position.

        Args:
            psam: One of the model's.

        Returns:
            (forward channels, letters, positions).
        """
        return self.of(lambda: _centred(psam))

    def letter_differences(self, psam: PSAM) -> Estimate:
        """Return −ΔΔG/RT of every letter, less that of the best one of its position.

        Args:
            psam: One of the model's.

        Returns:
            (forward channels, letters, positions); the best ones are 0 without error.
        """

        def differences() -> Tensor:
            letters = _centred(psam)
            best = letters.detach().argmax(1, keepdim=True)
            return letters - letters.gather(1, best)

        return self.of(differences)

    def activity_ratio(self, first: Contribution, second: Contribution) -> Estimate:
        """Return the log ratio of two activities, each of a motif with centred letters.

        Args:
            first: A contribution.
            second: Another one, of the same binding in another round, say.
        """
        return self.of(lambda: _centred_activity(first) - _centred_activity(second))


def _centred(psam: PSAM) -> Tensor:
    """Return the letters of the forward strand, each position's mean taken off."""
    letters = psam.get_filter(0)[: psam.out_channels // psam.n_strands]
    return letters - letters.mean(1, keepdim=True)


def _centred_activity(part: Contribution) -> Tensor:
    """Return log α of a binding whose letters are centred: it takes up their means."""
    return part.log_activity + _mean_score(part.binding)


def _mean_score(binding: Binding) -> Tensor | float:
    """Return what centring the letters of a motif takes from its scores."""
    if not isinstance(binding, Mode):
        return 0.0
    last = binding.chain[-1]
    if not isinstance(last, Conv1d) or last.layer_spec.out_channels > 2:
        return 0.0
    psam = last.layer_spec
    return psam.get_filter(0)[0].mean(0).sum() + psam.get_bias()[0]


def _dispersion(moments: Moments, n_parameters: int) -> float:
    """Return Pearson's χ² per degree of freedom, NaN without any."""
    freedom = moments.freedom - n_parameters
    return moments.chi2 / freedom if freedom > 0 else math.nan


def _weights_per_read(
    model: MultiExperimentLoss, moments: Sequence[Moments]
) -> list[float]:
    reads = [each.n_reads or 1.0 for each in moments]
    losses = [each.loss / n for each, n in zip(moments, reads, strict=True)]
    weights = model.weights_for(torch.tensor(losses, dtype=torch.float64))
    return [weight / n for weight, n in zip(weights.tolist(), reads, strict=True)]


@contextmanager
def _all_trained(model: MultiExperimentLoss) -> Iterator[None]:
    """Unfreeze everything for a while."""
    before = {id(p): p.requires_grad for p in model.parameters()}
    model.unfreeze()
    try:
        yield
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(before.get(id(parameter), False))


@contextmanager
def _with_gradients(free: FreeParameters) -> Iterator[None]:
    """Let some parameters have gradients for a while."""
    before = [parameter.requires_grad for parameter in free.tensors]
    for parameter in free.tensors:
        parameter.requires_grad_()
    try:
        yield
    finally:
        for parameter, was in zip(free.tensors, before, strict=True):
            parameter.requires_grad_(was)
