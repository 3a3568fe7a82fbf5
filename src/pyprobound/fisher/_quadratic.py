"""An objective around a point, up to second order."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound.loss import Loss


@dataclass(frozen=True)
class Kinks:
    """What magnitudes cost at a point.

    Attributes:
        point: (P,) The parameters θ.
        prices: (P,) The price w of each magnitude.
    """

    point: Tensor
    prices: Tensor

    @property
    def cost(self) -> float:
        """What all magnitudes cost, Σ w |θ|."""
        return float(self.prices @ self.point.abs())


def least_slope(gradient: Tensor, kinks: Kinks) -> Tensor:
    """Return the least slope among those that the objective has at a point, (P,).

    Args:
        gradient: (P,) of all but the magnitudes.
        kinks: The magnitudes.
    """
    beside = gradient + kinks.prices * kinks.point.sign()
    at_kink = gradient.sign() * (gradient.abs() - kinks.prices).clamp(min=0)
    return torch.where(kinks.point == 0, at_kink, beside)


@dataclass(frozen=True)
class Quadratic:
    """The objective around a point, up to second order.

    Attributes:
        loss: Negative log likelihood and penalty.
        gradient: (P,) of their sum, but for what the kinks cost.
        curvature: (P, P) Fisher information plus the curvature of the penalty.
        kinks: What magnitudes cost; None if nothing.
    """

    loss: Loss
    gradient: Tensor
    curvature: Tensor
    kinks: Kinks | None = None

    @property
    def value(self) -> float:
        """The objective."""
        return float(self.loss.negloglik + self.loss.regularization)

    @property
    def smooth_value(self) -> float:
        """The objective but for what the kinks cost."""
        return self.value - (0.0 if self.kinks is None else self.kinks.cost)

    @property
    def slope(self) -> float:
        """The norm of the gradient, at kinks of the least there is."""
        if self.kinks is None:
            return float(self.gradient.norm())
        return float(least_slope(self.gradient, self.kinks).norm())


@dataclass(frozen=True)
class ProductQuadratic:
    """The same where the curvature is not written down.

    Attributes:
        loss: Negative log likelihood and penalty.
        gradient: (P,) of their sum.
        curvature: Multiplies the curvature with a direction (P,).
    """

    loss: Loss
    gradient: Tensor
    curvature: Callable[[Tensor], Tensor]

    @property
    def value(self) -> float:
        """The objective."""
        return float(self.loss.negloglik + self.loss.regularization)

    @property
    def slope(self) -> float:
        """The norm of the gradient."""
        return float(self.gradient.norm())


@dataclass(frozen=True)
class Step:
    """A step and what it is expected to gain.

    Attributes:
        change: (P,).
        length: Its length.
        gain: The predicted decrease.
    """

    change: Tensor
    length: float
    gain: float
