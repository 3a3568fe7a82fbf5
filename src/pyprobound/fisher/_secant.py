"""What the Fisher information lacks of the second derivative, learnt from the steps.

Where a model does not hold, or has been given few reads, the second derivative of the
objective is H = F + A. A step s from gradient g₀ to g₁ shows A in one direction,

    A s ≈ y = g₁ − g₀ − ½ (F₀ + F₁) s,

and A is changed by the symmetric matrix of rank one that makes it so. F alone leads to
the minimum by steps that shrink by some factor, F + A ever faster (Dennis, Gay and
Welsch 1981 do the same for least squares).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyprobound.fisher._quadratic import Quadratic

LEAST_ANGLE = 1e-4
"""An update whose denominator is smaller, relative to its factors, is left out."""


class Secant:
    """The part A, and whether it is to be believed.

    Attributes:
        lacking: (P, P) A as far as it is known.
        is_used: Whether it foretold the objective better, in the last step, than the
            information alone.
    """

    def __init__(self, size: int) -> None:
        """Start with nothing known about that many parameters."""
        self.lacking = torch.zeros(size, size, dtype=torch.float64)
        self.is_used = False

    @property
    def state(self) -> dict[str, Any]:
        """All that is known."""
        return {"lacking": self.lacking.clone(), "is_used": self.is_used}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Know what `state` has been."""
        self.lacking, self.is_used = state["lacking"].clone(), state["is_used"]

    def learn(self, before: Quadratic, after: Quadratic, step: Tensor) -> None:
        """Take in a step that has been made.

        Args:
            before: The objective where it began.
            after: The objective where it ended.
            step: (P,) The change of the parameters.
        """
        middle = (before.curvature + after.curvature) / 2
        wanted = after.gradient - before.gradient - middle @ step
        if not bool(wanted.isfinite().all()):
            return
        known = self.lacking @ step
        plain = float(before.gradient @ step + step @ (before.curvature @ step) / 2)
        bend = float(step @ known)
        missed = after.smooth_value - before.smooth_value - plain
        self.is_used = abs(missed - bend / 2) < abs(missed)
        # Farther away the part may have been larger than it is here.
        shown = abs(float(step @ wanted))
        if abs(bend) > shown:
            self.lacking *= shown / abs(bend)
            known *= shown / abs(bend)
        rest = wanted - known
        slope = float(rest @ step)
        if abs(slope) > LEAST_ANGLE * float(rest.norm() * step.norm()):
            self.lacking += torch.outer(rest, rest) / slope
