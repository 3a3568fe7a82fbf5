"""An objective around a point, up to second order."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pyprobound.loss import Loss


@dataclass(frozen=True)
class Quadratic:
    """The objective around a point, up to second order.

    Attributes:
        loss: Negative log likelihood and penalty.
        gradient: (P,) of their sum.
        curvature: (P, P) Fisher information plus the curvature of the penalty.
    """

    loss: Loss
    gradient: Tensor
    curvature: Tensor

    @property
    def value(self) -> float:
        """The objective."""
        return float(self.loss.negloglik + self.loss.regularization)


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
