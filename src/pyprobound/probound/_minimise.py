"""Minimising the objective of a file over some of its free parameters.

The parts of a model have parameters of their own; what the file ties is one variable
here: with M the 0/1 matrix from variables to parameters, the gradient is Mᵀg and the
curvature MᵀHM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from pyprobound.fisher import CountObjective, Quadratic, TrustRegion
from pyprobound.loss import Loss
from pyprobound.probound._model import Numbers
from pyprobound.probound._objective import Active, ProBoundLoss
from pyprobound.probound._packing import FIXED
from pyprobound.table import CountBatch

EXACT = 1e-12
"""The predicted decrease per read that ends a fit."""


@dataclass(frozen=True)
class Minimum:
    """Where a fit ended.

    Attributes:
        value: The objective.
        passes: How often the tables have been gone through.
        reason: Why it ended, in words.
    """

    value: float
    passes: float
    reason: str


class Variables:
    """The free parameters that are fitted, as one float64 vector."""

    def __init__(self, numbers: Numbers, active: Active) -> None:
        """Choose the parameters of some arrays of the file."""
        chosen = torch.zeros(len(numbers.packing), dtype=torch.bool)
        start = 0
        for place, shape in numbers.arrays:
            size = int(torch.tensor(shape).prod())
            chosen[start : start + size] = active(place)
            start += size
        chosen &= numbers.packing >= 0
        free = numbers.packing[chosen].unique()
        renumbered = torch.full((max(numbers.n_free, 1),), FIXED)
        renumbered[free] = torch.arange(len(free))
        ties = numbers.ties
        found = torch.where(ties >= 0, renumbered[ties.clamp(min=0)], FIXED)
        self._parameters = numbers.parameters
        self._of = torch.split(found, [p.numel() for p in numbers.parameters])
        self._size = len(free)

    def __len__(self) -> int:
        """Return their number."""
        return self._size

    def of(self, parameter: Tensor) -> Tensor:
        """Return the variable of each entry of a parameter, −1 where none."""
        for known, own in zip(self._parameters, self._of, strict=True):
            if known is parameter:
                return own
        return torch.full((parameter.numel(),), FIXED)

    def live(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that hold any."""
        for parameter, own in zip(self._parameters, self._of, strict=True):
            if bool((own >= 0).any()):
                yield parameter

    def get(self) -> Tensor:
        """Return the values, (variables,) float64."""
        values = torch.zeros(self._size, dtype=torch.float64)
        for parameter in self.live():
            own = self.of(parameter)
            is_free = own >= 0
            values[own[is_free]] = parameter.detach().double().flatten()[is_free]
        return values

    def set(self, values: Tensor) -> None:
        """Write values, (variables,), wherever they stand."""
        with torch.no_grad():
            for parameter in self.live():
                own = self.of(parameter)
                is_free = own >= 0
                flat = parameter.flatten().clone()
                flat[is_free] = values[own[is_free]].to(flat)
                parameter.copy_(flat.view_as(parameter))


class TiedObjective:
    """The objective of count tables as a function of variables.

    Attributes:
        free: The variables.
    """

    def __init__(
        self, loss: ProBoundLoss, tables: Sequence[CountBatch], variables: Variables
    ) -> None:
        """Prepare for a model as it is."""
        self.free = variables
        self._whole = CountObjective(loss, tables)
        known = self._whole.free
        columns = [variables.of(tensor) for tensor in known.tensors]
        self._tie = torch.full((len(known),), FIXED)
        for tensor, own in zip(known.tensors, columns, strict=True):
            at = known.columns_of(tensor)
            self._tie[at[at >= 0]] = own[at >= 0]

    @property
    def passes(self) -> float:
        """How often the tables have been gone through."""
        return self._whole.passes

    def loss(self) -> Loss:
        """Return the objective, without derivatives."""
        return self._whole.loss()

    def quadratic(self) -> Quadratic:
        """Return the objective up to second order."""
        found = self._whole.quadratic()
        kept = (self._tie >= 0).nonzero().squeeze(1)
        tie = self._tie[kept]
        gradient = torch.zeros(len(self.free), dtype=torch.float64)
        gradient.index_add_(0, tie, found.gradient[kept])
        rows = torch.zeros(len(self.free), len(kept), dtype=torch.float64)
        rows.index_add_(0, tie, found.curvature[kept][:, kept])
        curvature = torch.zeros(len(self.free), len(self.free), dtype=torch.float64)
        curvature.index_add_(1, tie, rows)
        return replace(found, gradient=gradient, curvature=curvature)

    def balance(self) -> bool:
        """Set the depths to what balances the reads; see `CountObjective`."""
        return self._whole.balance()


def minimise(
    loss: ProBoundLoss,
    tables: Sequence[CountBatch],
    active: Active,
    *,
    tolerance: float = EXACT,
    most_steps: int = 500,
) -> Minimum:
    """Minimise the objective over the parameters of some arrays.

    Args:
        loss: The objective; its model is left at the minimum.
        tables: A table for each of its experiments.
        active: Which arrays are fitted.
        tolerance: The predicted decrease per read that ends the fit.
        most_steps: The most steps.
    """
    variables = Variables(loss.numbers, active)
    live = {id(parameter) for parameter in variables.live()}
    for parameter in loss.parameters():
        parameter.requires_grad_(id(parameter) in live)
    if not live:
        with torch.no_grad():
            parts = loss(tables)
        return Minimum(float(sum(parts)), 1, "converged: nothing to fit")
    if not loss.has_plain_counts:
        return _by_gradient(loss, tables, variables, most_steps)
    objective = TiedObjective(loss, tables, variables)
    exact = all(each.dtype == torch.float64 for each in variables.live())
    rounding = 1e-14 if exact else 1e-7
    region = TrustRegion(objective, tolerance=tolerance, rounding=rounding)
    value, reason = float("inf"), ""
    for parts in islice(region.iterate(), most_steps + 1):
        value = float(parts.negloglik + parts.regularization)
    reason = region.reason or f"stopped: {most_steps} steps"
    return Minimum(value, objective.passes, reason)


def _by_gradient(
    loss: ProBoundLoss,
    tables: Sequence[CountBatch],
    variables: Variables,
    most_steps: int,
) -> Minimum:
    """Minimise losses that have no Fisher information of counts, by L-BFGS."""
    theta = variables.get().requires_grad_()
    engine = torch.optim.LBFGS(
        [theta],
        max_iter=most_steps,
        history_size=100,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )
    passes = 0

    def closure() -> Tensor:
        nonlocal passes
        passes += 1
        variables.set(theta.detach())
        loss.zero_grad()
        parts = loss(tables)
        total: Tensor = parts.negloglik + parts.regularization
        total.backward()
        gradient = torch.zeros_like(theta)
        for parameter in variables.live():
            own = variables.of(parameter)
            if parameter.grad is not None:
                flat = parameter.grad.double().flatten()
                gradient.index_add_(0, own[own >= 0], flat[own >= 0])
        theta.grad = gradient
        return total.detach()

    start = variables.get()
    first = float(closure())
    engine.step(closure)
    value = float(closure())
    if not value <= first:  # also where it is not a number
        variables.set(start)
        return Minimum(first, passes, "stuck: no step lowers the objective")
    return Minimum(value, passes, "converged: L-BFGS ends")
