"""Newton steps with the Fisher information, as long as they can be trusted.

A step s minimises the parabola gᵀs + sᵀHs/2 within |s| ≤ Δ; so

    (H + μ) s = −g,      μ = 0, or such that |s| = Δ

Δ grows where the objective falls as predicted, and shrinks where it does not. All
parameters are natural logarithms, for which 1 is a large step, so that the plain length
of s is the measure. μ also takes care of directions without curvature (gauges).

H is the Fisher information, and what it lacks of the second derivative as far as the
steps so far have shown it (`_secant`). Magnitudes that λ₁ prices are no part of the
parabola but taken as they are (`_kinks`). A point that is likely to be kept is visited
once: the objective is computed there with its derivatives.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from pyprobound.fisher._conjugate import ProductParabola
from pyprobound.fisher._kinks import KinkedParabola
from pyprobound.fisher._quadratic import ProductQuadratic, Quadratic, Step
from pyprobound.fisher._secant import Secant
from pyprobound.loss import Loss

Here: TypeAlias = Quadratic | ProductQuadratic

TOLERANCE = 1e-8
"""A predicted decrease of the objective, in nats per read, that ends a fit."""

FLOOR = 1e-12
"""The least μ, relative to the largest curvature."""

LEAST_GAIN = 1e-3
"""A step is taken if it gains this part of what was predicted."""

POOR_GAIN, GOOD_GAIN, FINE_GAIN = 0.25, 0.75, 0.95
START_RADIUS = 0.5  # times the root of the number of parameters, and at least 1
NEAR = 1e-3
"""A predicted decrease, in nats per read, whose step may be of any length."""

LARGEST_RADIUS, LEAST_RADIUS = 100.0, 1e-7
MOST_TRIALS = 40


class Variables(Protocol):
    """What an objective is a function of, as one float64 vector."""

    def __len__(self) -> int:
        """Return how many there are."""

    def get(self) -> Tensor:
        """Return the values."""

    def set(self, values: Tensor) -> None:
        """Write the values into the model."""


class Objective(Protocol):
    """What can be minimised: the loss of a model, as a function of its parameters."""

    @property
    def free(self) -> Variables:
        """The parameters."""

    def loss(self) -> Loss:
        """Return the loss at the current parameters."""

    def quadratic(self) -> Here:
        """Return it up to second order."""

    def balance(self) -> bool:
        """Move some parameters at once to where they fit the others, if they are far.

        Returns:
            Whether any has been changed.
        """


ObjectiveT = TypeVar("ObjectiveT", bound=Objective)


class Subproblem(Protocol):
    """A parabola around a point, of which steps can be had."""

    @property
    def newton(self) -> Step | None:
        """The step to its minimum, None where that is not known."""

    def within(self, radius: float) -> Step:
        """Return the best step of at most (nearly) this length."""


class Parabola:
    """The parabola gᵀs + sᵀHs/2."""

    def __init__(self, gradient: Tensor, curvature: Tensor) -> None:
        """Scale nothing: the parameters have a common scale."""
        self._gradient, self._curvature = gradient, curvature
        self._top = float(curvature.diagonal().abs().max()) if len(gradient) else 0.0
        # Without any curvature the step is along the gradient.
        self._least = max(FLOOR * self._top, 1e-300)
        self.newton = self._step(self._least)

    def within(self, radius: float) -> Step:
        """Return the best step of at most (nearly) this length."""
        damping, step = self._least, self.newton
        if step is not None and step.length <= radius:
            return step
        for _ in range(100):
            if step is None:  # not convex: more damping
                damping = max(4 * damping, 1e-6 * self._top)
            elif abs(step.length - radius) <= 0.1 * radius:
                break
            else:
                damping = self._better(damping, step, radius)
            step = self._step(damping)
        if step is None or step.length > 2 * radius:
            length = float(self._gradient.norm())
            return self._made(-self._gradient * (radius / max(length, 1e-300)))
        return step

    def _better(self, damping: float, step: Step, radius: float) -> float:
        """Return the next damping, by Newton's method on 1/|s| (Moré and Sorensen)."""
        factor = self._factor(damping)
        assert factor is not None
        half = torch.linalg.solve_triangular(factor, step.change[:, None], upper=False)
        slope = (step.length / float(half.norm())) ** 2
        moved = damping + slope * (step.length - radius) / radius
        return max(moved, self._least, 0.1 * damping)

    def _factor(self, damping: float) -> Tensor | None:
        shifted = self._curvature.clone()
        shifted.diagonal().add_(damping)
        factor, info = torch.linalg.cholesky_ex(shifted)
        return factor if int(info) == 0 else None

    def _step(self, damping: float) -> Step | None:
        factor = self._factor(damping)
        if factor is None:
            return None
        change = -torch.cholesky_solve(self._gradient[:, None], factor)[:, 0]
        return self._made(change) if bool(change.isfinite().all()) else None

    def _made(self, change: Tensor) -> Step:
        bend = change @ (self._curvature @ change)
        gain = -float(self._gradient @ change + bend / 2)
        return Step(change, float(change.norm()), gain)


class TrustRegion(Generic[ObjectiveT]):
    """A fit that goes on as long as its steps lower the objective.

    Attributes:
        objective: What is minimised.
        reason: Why it ended, in words; empty while it goes on.
        trials: Points at which the objective was computed.
    """

    def __init__(
        self,
        objective: ObjectiveT,
        *,
        tolerance: float = TOLERANCE,
        rounding: float = 1e-7,
    ) -> None:
        """Start from where the parameters are.

        Args:
            objective: What is minimised.
            tolerance: The predicted decrease that ends the fit.
            rounding: Differences of the objective that may be rounding, relative to
                it: predictions below it that fail end the fit too.
        """
        self.objective = objective
        self._tolerance, self._rounding = tolerance, rounding
        self._radius = max(1.0, START_RADIUS * math.sqrt(len(objective.free)))
        self._here: Here | None = None
        self._is_told = self._is_balanced = self._is_widened = False
        self._secant: Secant | None = None
        self._is_sure = True
        self.reason = ""
        self.trials = 0

    @property
    def state(self) -> dict[str, Any]:
        """What a fit needs, besides the parameters, to go on from here."""
        return {
            "radius": self._radius,
            "is_balanced": self._is_balanced,
            "is_widened": self._is_widened,
            "is_sure": self._is_sure,
            "trials": self.trials,
            "secant": None if self._secant is None else self._secant.state,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from the parameters as they are: their loss is not yielded again."""
        self._is_told, self._is_balanced = True, bool(state["is_balanced"])
        self._is_widened, self._is_sure = state["is_widened"], state["is_sure"]
        self._radius, self.trials = state["radius"], int(state["trials"])
        if state["secant"] is not None:
            self._secant = Secant(len(self.objective.free))
            self._secant.resume(state["secant"])

    def iterate(self) -> Iterator[Loss]:
        """Yield the loss at the start, and after every step."""
        here = self._seen(self.objective.quadratic())
        if not self._is_told:
            yield here.loss
        balanced = None if self._is_balanced else self._balanced(here)
        self._is_balanced = True
        if balanced is not None:
            here = self._seen(balanced)
            yield here.loss
        if not self._is_widened:
            self._widen(here)
            self._is_widened = True
        while True:
            following = self._improved(here)
            if following is None:
                return
            here = self._seen(following)
            yield here.loss

    def _seen(self, here: Here) -> Here:
        self._here = here
        return here

    @property
    def promise(self) -> float:
        """What the objective will end at, if it is the parabola that it seems."""
        if self._here is None or not _is_finite(self._here):
            return math.inf
        newton = _plain(self._here).newton
        return self._here.value - (0.0 if newton is None else max(newton.gain, 0.0))

    def _widen(self, here: Here) -> None:
        """Trust a first step of any length, if it has little to gain.

        What is long then are directions that hardly matter.
        """
        if _is_finite(here):
            newton = _plain(here).newton
            if newton is not None and newton.gain < NEAR:
                self._radius = min(max(self._radius, newton.length), LARGEST_RADIUS)

    def _balanced(self, here: Here) -> Here | None:
        """Return the objective with depths set to fit, None if that does not help."""
        start = self.objective.free.get()
        if not self.objective.balance():
            return None
        self.trials += 1
        found = self.objective.quadratic()
        if found.value < here.value:
            return found
        self.objective.free.set(start)
        return None

    def _improved(self, here: Here) -> Here | None:
        """Take one step; return None, with the reason, where there is none."""
        if not _is_finite(here):
            self.reason = "stuck: the loss, or its derivative, is not a finite number"
            return None
        parabola = self._parabola(here)
        if isinstance(parabola, ProductParabola):
            parabola.within(self._radius)  # products lead to the minimum by and by
        newton = parabola.newton
        if newton is not None and newton.gain < self._tolerance:
            self.reason = (
                f"converged: predicted decrease {max(0.0, newton.gain):.1g}"
                f" below {self._tolerance:.0e}, gradient {here.slope:.1g}"
            )
            return None
        free = self.objective.free
        start = free.get()
        try:
            following = self._lower(here, parabola, start)
        except BaseException:
            free.set(start)
            raise
        if following is None:
            free.set(start)
            return None
        if isinstance(here, Quadratic) and isinstance(following, Quadratic):
            self._secant = self._secant or Secant(len(free))
            self._secant.learn(here, following, free.get() - start)
        return following

    def _parabola(self, here: Here) -> Subproblem:
        """Return the best parabola known here that has a minimum."""
        known = self._secant is not None and self._secant.is_used
        if known and isinstance(here, Quadratic):
            assert self._secant is not None
            parabola = _of(here, here.curvature + self._secant.lacking)
            if parabola.newton is not None:
                return parabola
        return _plain(here)

    def _lower(self, here: Here, parabola: Subproblem, start: Tensor) -> Here | None:
        """Move the parameters by a step that lowers the objective, if there is one."""
        value = here.value
        step = parabola.within(self._radius)
        for _ in range(MOST_TRIALS):
            self.objective.free.set(start + step.change)
            reached, following = self._tried()
            gained = value - reached
            gain = gained / step.gain if step.gain > 0 else 0.0
            self._adapt(gain, step)
            if gained > 0 and gain > LEAST_GAIN:
                return following or self.objective.quadratic()
            if step.gain < self._rounding * max(1.0, abs(value)):
                self.reason = (
                    f"converged: no step lowers the loss, predicted decrease"
                    f" {step.gain:.1g} is within rounding"
                )
                return None
            if self._radius < LEAST_RADIUS:
                break
            step = parabola.within(self._radius)
        self.reason = (
            f"stuck: no step down to a length of {step.length:.1g} lowers the loss,"
            f" gradient {here.slope:.1g}"
        )
        return None

    def _tried(self) -> tuple[float, Here | None]:
        """Return the objective here, derivatives and all if it is likely to be kept."""
        self.trials += 1
        if self._is_sure:
            found = self.objective.quadratic()
            return found.value, found
        loss = self.objective.loss()
        return float(loss.negloglik + loss.regularization), None

    def _adapt(self, gain: float, step: Step) -> None:
        """Change the radius after a trial; a gain that is not a number is poor."""
        self._is_sure = gain >= POOR_GAIN
        if not gain >= POOR_GAIN:
            self._radius = min(self._radius, step.length) / 4
        elif gain > GOOD_GAIN and step.length > 0.8 * self._radius:
            factor = 4 if FINE_GAIN < gain < 1 / FINE_GAIN else 2
            self._radius = min(factor * self._radius, LARGEST_RADIUS)


def _plain(here: Here) -> Subproblem:
    """Return the parabola of the information alone."""
    if isinstance(here, Quadratic):
        return _of(here, here.curvature)
    return ProductParabola(here.gradient, here.curvature)


def _of(here: Quadratic, curvature: Tensor) -> Parabola | KinkedParabola:
    """Return the parabola of a curvature, with the kinks that there are."""
    if here.kinks is None:
        return Parabola(here.gradient, curvature)
    return KinkedParabola(here.gradient, curvature, here.kinks)


def _is_finite(here: Here) -> bool:
    known = not isinstance(here, Quadratic) or bool(here.curvature.isfinite().all())
    return known and bool(here.gradient.isfinite().all()) and math.isfinite(here.value)
