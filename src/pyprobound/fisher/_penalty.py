"""The penalty of a model up to second order.

Magnitudes, λ₁ |θ|, are told apart: they have a kink where a fit may end. Where only
products with the curvature can be had, each is taken for the parabola with the same
value, slope and minimum 0, whose curvature is λ₁ / |θ|.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pyprobound.fisher._parameters import FreeParameters
from pyprobound.loss import MultiExperimentLoss

SMALL = 1e-4
"""The magnitude below which λ₁ takes a parameter for 0."""


def penalty_of(
    model: MultiExperimentLoss, free: FreeParameters
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the penalty without magnitudes, its gradient (P,) and curvature (P, P)."""
    size = len(free)
    with torch.enable_grad(), _set(model, lambda_l1=0):
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
    return value.detach(), gradient, (curvature + curvature.T) / 2


def prices_of(model: MultiExperimentLoss, free: FreeParameters) -> Tensor | None:
    """Return what the magnitude of each parameter costs, (P,), None if nothing.

    It is the same wherever the parameters are.
    """
    if model.lambda_l1 == 0 or len(free) == 0:
        return None
    here = free.get()
    free.set(torch.ones_like(here))  # where magnitudes have a slope
    only = {"lambda_l2": 0, "exponential_bound": math.inf, "pseudocount": 0}
    try:
        with torch.enable_grad(), _set(model, **only):
            cost = model.penalty()
            if not cost.requires_grad:
                return None
            slopes = torch.autograd.grad(cost, free.tensors, allow_unused=True)
    finally:
        free.set(here)
    return free.gather(slopes)


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
    prices = prices_of(model, free)
    if prices is None:
        return torch.zeros(len(free), dtype=torch.float64)
    return prices / free.get().abs().clamp(min=SMALL)


@contextmanager
def _set(model: MultiExperimentLoss, **settings: float) -> Iterator[None]:
    """Let settings of a loss be others for a while."""
    before = {name: getattr(model, name) for name in settings}
    for name, value in settings.items():
        setattr(model, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)


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
