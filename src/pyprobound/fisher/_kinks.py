"""Steps of a fit with λ₁: each magnitude is taken as it is, with its kink at 0.

A step from θ to x minimises, within |x − θ| ≤ Δ, the parabola of all else and the
magnitudes,

    gᵀ(x − θ) + (x − θ)ᵀH(x − θ)/2 + Σ w |x|

As long as no sign changes that is a parabola. So Newton steps lead from orthant to
orthant: those parameters take part that are not 0, or that the slope pushes off it by
more than w; where a sign would change, the parameter stays at 0 (Andrew and Gao 2007 do
so with the objective itself; here no step of it costs a pass through the tables).

The least of all slopes at a kink (`least_slope`) is 0 exactly at the minimum.
"""

import math

import torch
from torch import Tensor

from pyprobound.fisher._quadratic import Kinks, Step, least_slope

FLOOR = 1e-12
"""The least damping, relative to the largest curvature."""

ENOUGH = 1e-4
"""The part of a step's gain that may be lacking."""

MOST_ORTHANTS = 200
MOST_DAMPINGS = 30


class KinkedParabola:
    """A parabola and magnitudes."""

    def __init__(self, gradient: Tensor, curvature: Tensor, kinks: Kinks) -> None:
        """Begin at the point of the kinks.

        Args:
            gradient: g, (P,), without the magnitudes.
            curvature: H, (P, P).
            kinks: The magnitudes.
        """
        self._gradient, self._curvature, self._kinks = gradient, curvature, kinks
        top = float(curvature.diagonal().abs().max()) if len(gradient) else 0.0
        self._start = kinks.point
        self._least = max(FLOOR * top, 1e-300)
        is_convex = self._is_convex()
        while not self._is_convex():
            self._least = max(4 * self._least, 1e-6 * top)
        self._longest = self._step(self._least)
        self.newton = self._longest if is_convex else None

    def _is_convex(self) -> bool:
        """Tell whether H has no direction without a minimum, with the least damping."""
        shifted = self._curvature.clone()
        shifted.diagonal().add_(self._least)
        return int(torch.linalg.cholesky_ex(shifted).info) == 0

    def within(self, radius: float) -> Step:
        """Return the best step of at most (nearly) this length.

        One over the length is nearly linear in the damping μ, which is sought between
        bounds by that line, and by halves (of its logarithm) where that is slow.
        """
        long = self._longest
        if long.length <= radius:
            return long
        # |x − θ| ≤ (least slope) / (μ − least μ)
        slope = float(least_slope(self._gradient, self._kinks).norm())
        low, high = self._least, self._least + slope / radius
        step = self._step(high)
        for trial in range(MOST_DAMPINGS):
            if step.length >= 0.9 * radius or high < 1.01 * low:
                break
            damping = math.sqrt(low * high)
            if trial % 2 == 0:
                ends = 1 / long.length, 1 / max(step.length, 1e-300)
                part = (1 / radius - ends[0]) / (ends[1] - ends[0])
                damping = low + min(max(part, 0.01), 0.99) * (high - low)
            tried = self._step(damping)
            if tried.length > radius:
                low, long = damping, tried
            else:
                high, step = damping, tried
        return step

    def _step(self, damping: float) -> Step:
        place = self._minimum(damping, self._start)
        self._start = place
        change = place - self._kinks.point
        gain = -self._value(place, self._curvature)
        return Step(change, float(change.norm()), gain)

    def _minimum(self, damping: float, start: Tensor) -> Tensor:
        """Return the minimum with a damping, (P,).

        Args:
            damping: μ, added to the diagonal of H.
            start: (P,) Where to begin; the nearer the quicker.
        """
        curvature = self._curvature.clone()
        curvature.diagonal().add_(damping)
        place, value = start, self._value(start, curvature)
        for _ in range(MOST_ORTHANTS):
            found = self._orthant_step(place, curvature)
            if found is None:
                break
            signs, ahead, promised = found
            moved = place + ahead
            moved = torch.where(moved.sign() == signs, moved, 0.0)
            reached = self._value(moved, curvature)
            if not value - reached > ENOUGH * promised:
                # up to the first kink everything is as promised
                moved = _up_to_a_kink(place, ahead, signs)
                reached = self._value(moved, curvature)
            if not reached < value:
                break
            place, value = moved, reached
            if promised < ENOUGH * -value:
                break
        return place

    def _value(self, place: Tensor, curvature: Tensor) -> float:
        """Return the objective at a place, less that at the point."""
        change = place - self._kinks.point
        smooth = change @ (self._gradient + curvature @ change / 2)
        return float(smooth + self._kinks.prices @ place.abs()) - self._kinks.cost

    def _orthant_step(
        self, place: Tensor, curvature: Tensor
    ) -> tuple[Tensor, Tensor, float] | None:
        """Return the signs of the orthant ahead, the step to its minimum, its gain."""
        gradient = self._gradient + curvature @ (place - self._kinks.point)
        slope = least_slope(gradient, Kinks(place, self._kinks.prices))
        signs = torch.where(place == 0, -slope.sign(), place.sign())
        moves = signs != 0
        while bool(moves.any()):
            ahead = torch.zeros_like(place)
            factor, info = torch.linalg.cholesky_ex(curvature[moves][:, moves])
            if int(info) != 0:
                return None
            ahead[moves] = -torch.cholesky_solve(slope[moves][:, None], factor)[:, 0]
            outwards = moves & (place == 0) & (ahead.sign() != signs)
            if not bool(outwards.any()):
                return signs * moves, ahead, -float(slope @ ahead) / 2
            moves &= ~outwards
        return None


def _up_to_a_kink(place: Tensor, ahead: Tensor, signs: Tensor) -> Tensor:
    """Return where a step ends that goes no farther than the first sign to change."""
    crosses = (place != 0) & ((place + ahead).sign() != signs)
    if not bool(crosses.any()):
        return place + ahead
    parts = torch.where(crosses, -place / ahead, torch.inf)
    first = parts.min()
    return torch.where(parts == first, 0.0, place + first * ahead)
