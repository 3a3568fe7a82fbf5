"""The penalty of a model up to second order.

The curvature is exact but for λ₁ |θ|, which has none: there it is that of the parabola
with the same value, slope and minimum 0, λ₁ / |θ|.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound.fisher._parameters import FreeParameters
from pyprobound.loss import MultiExperimentLoss

SMALL = 1e-4
"""The magnitude below which λ₁ takes a parameter for 0."""


def penalty_of(
    model: MultiExperimentLoss, free: FreeParameters
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the penalty, its gradient (P,) and its curvature (P, P)."""
    size = len(free)
    with torch.enable_grad():
        value = model.penalty()
        gradient = torch.zeros(size, dtype=torch.float64)
        curvature = torch.zeros(size, size, dtype=torch.float64)
        if not value.requires_grad or size == 0:
            return value.detach(), gradient, curvature
        slopes = torch.autograd.grad(
            value, free.tensors, create_graph=True, allow_unused=True
        )
        gradient = free.gather(slopes)
        curvature += _second(slopes, free)
    curvature += torch.diag(_parabolas(model, free))
    return value.detach(), gradient, (curvature + curvature.T) / 2


def penalty_times(
    model: MultiExperimentLoss, free: FreeParameters, direction: Tensor
) -> Tensor:
    """Return the product of the penalty's curvature with a direction, (P,)."""
    product = _parabolas(model, free) * direction
    with torch.enable_grad():
        value = model.penalty()
        if not value.requires_grad:
            return product
        slopes = torch.autograd.grad(
            value, free.tensors, create_graph=True, allow_unused=True
        )
        along = free.dot(slopes, direction)
        if not along.requires_grad:
            return product
        second = torch.autograd.grad(along, free.tensors, allow_unused=True)
    return product + free.gather(second)


def _parabolas(model: MultiExperimentLoss, free: FreeParameters) -> Tensor:
    """Return λ₁ / |θ| times how often each parameter is counted, (P,)."""
    strength = model.lambda_l1
    if strength == 0:
        return torch.zeros(len(free), dtype=torch.float64)
    with torch.enable_grad():
        model.lambda_l1 = 0
        try:
            without = model.penalty()
        finally:
            model.lambda_l1 = strength
        slopes = torch.autograd.grad(
            model.penalty() - without, free.tensors, allow_unused=True
        )
    size = free.get().abs().clamp(min=SMALL)
    return free.gather(slopes).abs() / size


def _second(slopes: Sequence[Tensor | None], free: FreeParameters) -> Tensor:
    """Return the derivatives of slopes, (P, P)."""
    live = [g for g in slopes if g is not None and g.requires_grad]
    size = len(free)
    result = torch.zeros(size, size, dtype=torch.float64)
    if not live:
        return result
    rows = torch.cat([g.flatten() for g in live])
    identity = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    second = torch.autograd.grad(
        rows, free.tensors, identity, is_grads_batched=True, allow_unused=True
    )
    derivatives = free.gather(second, lead=1)  # (entries of live, P)
    columns = torch.cat(
        [
            free.columns_of(tensor)
            for tensor, g in zip(free.tensors, slopes, strict=True)
            if g is not None and g.requires_grad
        ]
    )
    kept = columns >= 0
    result[columns[kept]] = derivatives[kept]
    return result
