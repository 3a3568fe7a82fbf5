"""Least squares by Gauss–Newton steps, damped as Levenberg and Marquardt do.

With r_i = (pred_i − obs_i)/σ_i and J_ip = ∂r_i/∂θ_p,

    loss = mean r²,     A = JᵀJ/n,     g = Jᵀr/n,     Δθ = −(A + λ diag A)⁻¹ g

Steps do not depend on the units of the parameters: a slope of 10⁵ counts per unit of Z
and an activity are learnt alike. Derivatives of log Z are in closed form (`fisher`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pyprobound._chunking import memory_budget
from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.aggregate import Aggregate
from pyprobound.base import Component
from pyprobound.fisher import FreeParameters, columns_of, derivatives_of
from pyprobound.fitting._measured import half_bar, measured
from pyprobound.table import CountBatch

Slopes = Callable[[slice], Tensor]
"""Maps a piece of the probes to the derivatives of a binding's score."""

MOST_STEPS = 100
CONVERGED = 1e-8
"""The part of the loss that a step gains when a fit has ended."""

MOST_LOGS = 3.0
"""The farthest that a step moves a logarithm."""

RANK = 1e-8
"""Curvature, relative to that of one parameter alone, that may be rounding."""

FLOOR = 1e-6
"""The least curvature of a logarithm, relative to the largest, that steps believe."""

HELD = 1e-7
"""The part of a parameter's squared effect that is left when it counts as its own."""

AT_ONCE = 65_536  # probes whose derivatives are in memory together


class Regression(Protocol):
    """A regression, as least squares see it."""

    @property
    def aggregate(self) -> Aggregate:
        """What gives log Z."""

    @property
    def offset(self) -> list[nn.Parameter]:
        """The parameters of the regression itself."""

    @property
    def is_log(self) -> bool:
        """Whether those are logarithms, as the parameters of the model are."""

    def obs_pred(
        self, seqs: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return what was observed, predicted, and the ends of error bars."""

    def observed(self, y: Tensor) -> Tensor:
        """Return measurements on the scale on which they are compared."""

    def predicted(self, log_z: Tensor) -> Tensor:
        """Return what is predicted, given log Z."""


@dataclass(frozen=True)
class Normal:
    """The normal equations at a point.

    Attributes:
        loss: The mean of r².
        gradient: g, (P,).
        gram: A, (P, P).
    """

    loss: float
    gradient: Tensor
    gram: Tensor


class LeastSquares:
    """The mean of r² as a function of what is trained now.

    Attributes:
        free: The parameters.
        n: The number of measurements.
    """

    def __init__(self, fit: Regression, batch: CountBatch) -> None:
        """Prepare for a regression as it is: what is trained must not change."""
        assert isinstance(fit, Component)
        self.free = FreeParameters(fit)
        self.n = batch.batchlen()
        self._fit: Regression = fit
        place = fit.aggregate.log_target_concentration.device
        self._seqs = batch.seqs.to(place)
        self._target = batch.target.to(place)
        self._parts = fit.aggregate.present()
        self._derivatives = [
            derivatives_of(part.binding, self.free, self._seqs) for part in self._parts
        ]

    @property
    def linear(self) -> Tensor:
        """Which parameters are no logarithms, (P,)."""
        linear = torch.zeros(len(self.free), dtype=torch.bool)
        for each in self._fit.offset:
            if self.free.has(each) and not self._fit.is_log:
                linear[self._column(each)] = True
        return linear

    def loss(self) -> float:
        """Return the mean of r² at the current parameters."""
        total = 0.0
        with torch.no_grad():
            for rows in self._pieces():
                found = self._fit.obs_pred(self._seqs[rows], self._target[rows])
                obs, pred, sigma = found[0], found[1], half_bar(found[0], *found[2:])
                r = (pred - obs) if sigma is None else (pred - obs) / sigma
                total += float(r.square().sum())
        return total / self.n

    def normal(self) -> Normal:
        """Return loss, gradient and A at the current parameters."""
        size = len(self.free)
        total, gradient = 0.0, torch.zeros(size, dtype=torch.float64)
        gram = torch.zeros(size, size, dtype=torch.float64)
        scores = self._scores()
        slopes = [
            None if each is None else each.at(own)
            for each, own in zip(self._derivatives, scores, strict=True)
        ]
        for rows in self._pieces():
            found = measured(self._target[rows], self._fit.observed)
            sigma = half_bar(*found)
            log_z, by_model = self._log_z([own[rows] for own in scores], slopes, rows)
            pred, jacobian = self._predicted(log_z, by_model)
            r = pred - found.obs
            if sigma is not None:
                r, jacobian = r / sigma, jacobian / sigma[:, None]
            total += float(r.square().sum())
            gradient += (jacobian.T @ r).cpu()
            gram += (jacobian.T @ jacobian).cpu()
        return Normal(total / self.n, gradient / self.n, gram / self.n)

    def _pieces(self) -> list[slice]:
        """Return the pieces in which probes are worked through."""
        known = [each.bytes_per_probe() for each in self._derivatives if each]
        cost = sum(known) + 8 * 3 * len(self.free)
        step = max(1, min(AT_ONCE, memory_budget() // (4 * max(1, cost))))
        return [slice(i, i + step) for i in range(0, self.n, step)]

    def _scores(self) -> list[Tensor]:
        """Return the log score of each binding, (probes,) float64 each."""
        pieces = []
        with torch.no_grad():
            for rows in self._pieces():
                evaluation = Evaluation(self._seqs[rows])
                pieces.append(
                    [evaluation(part.binding.evaluate).double() for part in self._parts]
                )
        return [torch.cat(own) for own in zip(*pieces, strict=True)]

    def _log_z(
        self, scores: Sequence[Tensor], slopes: Sequence[Slopes | None], rows: slice
    ) -> tuple[Tensor, Tensor]:
        """Return log Z of some probes with its derivatives, (n,) and (n, P).

        With π_a the part of binding a in Z,  ∂log Z/∂θ = Σ_a π_a ∂(log α_a + X_a)/∂θ.
        """
        with torch.no_grad():
            terms = [
                part.log_activity.double() + own
                for part, own in zip(self._parts, scores, strict=True)
            ]
            log_total = logsumexp(torch.stack(terms), 0)
            # Where nothing binds there is nothing to differentiate.
            reference = log_total.masked_fill(log_total == NEG_INF, 0.0)
            jacobian = log_total.new_zeros(len(log_total), len(self.free))
            for index, (part, term) in enumerate(zip(self._parts, terms, strict=True)):
                share = (term - reference).exp()
                column = self.free.column_of(part.log_activity)
                if column is not None:
                    jacobian[:, column] += share
                own, slope = self._derivatives[index], slopes[index]
                if own is not None and slope is not None:
                    jacobian[:, own.columns] += share[:, None] * slope(rows)
            concentration = self._fit.aggregate.log_target_concentration.double()
            return concentration + log_total, jacobian

    def _predicted(self, log_z: Tensor, by_model: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions with their derivatives, (n,) and (n, P)."""
        leaf = log_z.clone().requires_grad_()
        with torch.enable_grad():
            pred = self._fit.predicted(leaf)
        slope: Tensor | None = torch.autograd.grad(
            pred.sum(), leaf, retain_graph=True, allow_unused=True
        )[0]
        jacobian = torch.zeros_like(by_model)
        if slope is not None:
            slope = slope.masked_fill(~log_z.isfinite(), 0.0)
            jacobian += slope[:, None] * by_model
        own = [each for each in self._fit.offset if self.free.has(each)]
        places = [(i, 0, self._column(each)) for i, each in enumerate(own)]
        for column, derivative in columns_of(pred, own, places):
            jacobian[:, column] += derivative
        return pred.detach(), jacobian

    def _column(self, parameter: Tensor) -> int:
        column = self.free.column_of(parameter)
        assert column is not None
        return column


def descend(problem: LeastSquares, say: Callable[[str], None]) -> float:
    """Go to the minimum near the current parameters; return its loss.

    Args:
        problem: The regression; what it left in its parameters is the best point,
            wherever it is interrupted.
        say: Is told of every step.
    """
    free, damping = problem.free, 1e-3
    linear = problem.linear
    here = free.get()
    found = problem.normal()
    say(f"\t\tstep 0: loss {found.loss:.9g}")
    for number in range(1, MOST_STEPS + 1):
        steps = _Steps.of(found, linear)
        accepted = False
        while not accepted and damping < 1e12:
            step = _limited(steps.at(damping), linear)
            if steps.gain_at(damping) <= CONVERGED * found.loss:
                break
            free.set(here + step)
            try:
                loss = problem.loss()
                accepted = loss < found.loss
            finally:
                if not accepted:
                    free.set(here)
            damping = max(damping / 10, RANK) if accepted else damping * 10
        if not accepted:
            say("\t\tconverged")
            break
        here, before = free.get(), found.loss
        found = problem.normal()
        say(f"\t\tstep {number}: loss {found.loss:.9g}")
        if before - found.loss <= CONVERGED * before:
            say("\t\tconverged")
            break
    else:
        say(f"\t\tbudget: {MOST_STEPS} steps")
    return found.loss


@dataclass(frozen=True)
class _Steps:
    """All damped steps from one point: A, scaled to a unit diagonal, diagonalised."""

    scale: Tensor
    values: Tensor
    vectors: Tensor
    gradient: Tensor

    @classmethod
    def of(cls, found: Normal, linear: Tensor) -> "_Steps":
        diagonal = found.gram.diagonal()
        # An activity that hardly matters any more must not run away.
        top = diagonal.masked_fill(linear, 0.0).max()
        diagonal = torch.where(linear, diagonal, diagonal.clamp(min=FLOOR * top))
        scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
        scaled = scale[:, None] * found.gram * scale
        values, vectors = torch.linalg.eigh(scaled)
        gradient = vectors.T @ (scale * found.gradient)
        return cls(scale, values.clamp(min=0), vectors, gradient)

    def at(self, damping: float) -> Tensor:
        """Return the step of a damping."""
        along = self.gradient / (self.values + damping + RANK)
        return -self.scale * (self.vectors @ along)

    def gain_at(self, damping: float) -> float:
        """Return by how much the loss of the linearised problem falls."""
        inverse = 1 / (self.values + damping + RANK)
        gain = self.gradient.square() * inverse * (2 - self.values * inverse)
        return float(gain.sum())


def _limited(step: Tensor, linear: Tensor) -> Tensor:
    """Return a step that moves no logarithm too far.

    Each is held back by itself: an activity that hardly matters any more would hold
    back all others.
    """
    return torch.where(linear, step, step.clamp(-MOST_LOGS, MOST_LOGS))


def covariance(found: Normal, n: int, order: list[int]) -> Tensor:
    """Return the inverse of n·A, NaN where a parameter is not identified.

    Parameters are taken one by one; one whose effect can be made by those before it is
    held where it is, and has no error.

    Args:
        found: The normal equations at the minimum.
        n: The number of measurements.
        order: The parameters, those that matter first.

    Returns:
        (P, P), NaN in the rows and columns of parameters that are held.
    """
    gram = n * found.gram
    diagonal = gram.diagonal()
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    unit = scale[:, None] * gram * scale
    kept = _independent(unit, [each for each in order if diagonal[each] > 0])
    out = torch.full_like(gram, torch.nan)
    places = torch.tensor(kept, dtype=torch.int64)
    inverse = torch.linalg.inv(unit[places[:, None], places])
    out[places[:, None], places] = scale[places, None] * inverse * scale[places]
    return out


def _independent(unit: Tensor, order: list[int]) -> list[int]:
    """Return the columns that those before them do not explain (Cholesky, in order)."""
    rows = torch.zeros_like(unit)
    kept: list[int] = []
    for each in order:
        size = len(kept)
        known = unit[kept, each][:, None]
        row = torch.linalg.solve_triangular(rows[:size, :size], known, upper=False)
        left = 1 - float(row.square().sum())
        if left > HELD:
            rows[size, :size] = row[:, 0]
            rows[size, size] = left**0.5
            kept.append(each)
    return kept
