"""Sums and products of numbers kept as logarithms, −∞ (absent) included.

A plain ``torch.logsumexp`` over entries that are all −∞ has a NaN gradient; so has
h·(−∞) with respect to h. These have the limits instead: an absent term adds nothing
and receives no gradient.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEG_INF = float("-inf")


def logsumexp(values: Tensor, dim: int | Sequence[int]) -> Tensor:
    """Return log Σ exp(values) over `dim`: −∞, with zero gradient, where all are −∞.

    Args:
        values: Log values of any shape; −∞ marks what is absent.
        dim: Axis or axes summed over (removed from the result).
    """
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    if any(values.shape[axis] == 0 for axis in axes):
        return values.sum(axes) + NEG_INF
    top = values.detach().amax(axes, keepdim=True)
    top = top.masked_fill(top == NEG_INF, 0.0)
    total = (values - top).exp().sum(axes)
    absent = total == 0
    log_total = total.masked_fill(absent, 1.0).log().masked_fill(absent, NEG_INF)
    return log_total + top.squeeze(axes)


def scale_log(values: Tensor, factor: Tensor) -> Tensor:
    """Return factor · values, leaving −∞ as it is, out of both gradients.

    Args:
        values: Log values of any shape.
        factor: A positive scalar (a Hill coefficient).
    """
    absent = values == NEG_INF
    return (values.masked_fill(absent, 0.0) * factor).masked_fill(absent, NEG_INF)


def log1mexp(values: Tensor) -> Tensor:
    """Return log(1 − exp(−values)) for values > 0, accurate at both ends.

    Mächler (2012), "Accurately computing log(1 − exp(−|a|))".
    """
    small = values < 0.6931471805599453  # log 2: where the two forms are equally good
    near = torch.where(small, values, 1.0)
    far = torch.where(small, 1.0, values)
    return torch.where(
        small, torch.log(-torch.expm1(-near)), torch.log1p(-torch.exp(-far))
    )
