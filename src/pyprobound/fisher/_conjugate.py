"""Steps within a trust region from products with the curvature (Steihaug and Toint).

Conjugate gradients from 0 lower the parabola gᵀs + sᵀHs/2 step by step, and |s| grows
all the way: where it would leave the region, the step ends on the border. The way is
kept, so that a smaller region costs no product.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from pyprobound.fisher._quadratic import Step

ACCURACY = 0.1
"""The part of the gradient that may be left at the end of the way."""

FINE = 1e-3
"""The least part, where the gradient is small."""

MOST_PRODUCTS = 100
"""Products for one step: what is lacking is small then, or hidden by rounding."""


class ProductParabola:
    """The parabola gᵀs + sᵀHs/2, of which products H·v can be had."""

    def __init__(self, gradient: Tensor, product: Callable[[Tensor], Tensor]) -> None:
        """Begin at 0.

        Args:
            gradient: g, (P,).
            product: Maps v, (P,), to H·v.
        """
        self._product = product
        self._rest = gradient.clone()  # the gradient where the way has come to
        self._ahead = -self._rest
        slope = float(gradient.norm())
        self._enough = slope * max(FINE, min(ACCURACY, math.sqrt(slope)))
        # places on the way, with the gain and H·s of each
        self._way = [(torch.zeros_like(gradient), 0.0)]
        self._border: tuple[Tensor, float, float] | None = None
        self._is_over = slope == 0.0

    @property
    def newton(self) -> Step | None:
        """The end of the way, None where it was not gone to the end."""
        if not self._is_over or self._border is not None:
            return None
        change, gain = self._way[-1]
        return _step(change, gain)

    def within(self, radius: float) -> Step:
        """Return the step to the end of the way, or to where it leaves the region."""
        while not self._is_over and float(self._way[-1][0].norm()) < radius:
            self._go_on()
        for (start, gain), (end, more) in pairwise(self._way):
            if float(end.norm()) > radius:
                part = _reach(start, end - start, radius)
                change = start + part * (end - start)
                return _step(change, gain + (2 * part - part**2) * (more - gain))
        start, gain = self._way[-1]
        if self._border is not None:
            ahead, fall, bend = self._border
            size = _reach(start, ahead, radius)
            gain += size * fall - size**2 * bend / 2
            return _step(start + size * ahead, gain)
        return _step(start, gain)

    def _go_on(self) -> None:
        ahead, rest = self._ahead, self._rest
        product = self._product(ahead)
        bend, fall = float(ahead @ product), float(rest @ rest)
        start, gain = self._way[-1]
        if not bend > 0:
            # no way back up: straight on to the border
            self._border = ahead, fall, max(bend, 0.0)
            self._is_over = True
            return
        size = fall / bend
        self._way.append((start + size * ahead, gain + size * fall / 2))
        self._rest = rest + size * product
        left = float(self._rest @ self._rest)
        self._ahead = -self._rest + (left / fall) * ahead
        done = len(self._way) > min(MOST_PRODUCTS, len(rest))
        self._is_over = done or math.sqrt(left) <= self._enough


def _step(change: Tensor, gain: float) -> Step:
    return Step(change, float(change.norm()), gain)


def _reach(start: Tensor, ahead: Tensor, radius: float) -> float:
    """Return how often `ahead` leads from within a radius to it."""
    a, b = float(ahead @ ahead), float(start @ ahead)
    c = max(radius**2 - float(start @ start), 0.0)
    return (math.sqrt(b**2 + a * c) - b) / a
