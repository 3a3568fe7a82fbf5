"""The objective where its curvature is too large to be written down: products with it.

With J_i of `_tables`, and v a direction,

    F v = Σ_i K_i J_iᵀ (diag p_i − p_i p_iᵀ) (J_i v)

takes J_i v, for which the gradient of u ↦ vᵀ J_iᵀ u is taken by u, and then one more
backward pass. It asks of a model no more than that it can be differentiated twice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound.experiment import Experiment
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._penalty import penalty_times
from pyprobound.fisher._quadratic import ProductQuadratic
from pyprobound.fisher._tables import Sums, Table, balance
from pyprobound.kernels.selection_information import information_of
from pyprobound.loss import Loss, MultiExperimentLoss
from pyprobound.table import CountBatch

CLOSE = 1e-3
"""The relative difference of two ways to the same number that may be rounding."""


class ProductObjective:
    """What a fit of count tables minimises, where all pairs of parameters are too many.

    Attributes:
        free: The free parameters.
        passes: How often the tables have been gone through: once for each loss, for
            each gradient, and for each product.
    """

    def __init__(
        self, model: MultiExperimentLoss, batches: Sequence[CountBatch]
    ) -> None:
        """Prepare for a model as it is: what is trained must not change afterwards.

        Args:
            model: The loss.
            batches: A table (or batch) for each of its experiments.
        """
        self.model, self._batches = model, list(batches)
        self.free = FreeParameters(model)
        self.passes = 0
        self._tables = [
            ProductTable(experiment, batch, self.free, full=False)
            for experiment, batch in zip(model.components(), batches, strict=True)
            if isinstance(experiment, Experiment)
        ]

    def loss(self) -> Loss:
        """Return the loss at the current parameters, without derivatives."""
        self.passes += 1
        with torch.no_grad():
            loss: Loss = self.model(self._batches)
        return loss

    def quadratic(self) -> ProductQuadratic:
        """Return the objective up to second order at the current parameters."""
        self.passes += 1
        with torch.enable_grad():
            loss: Loss = self.model(self._batches)
            total = loss.negloglik + loss.regularization
            slopes: Sequence[Tensor | None] = [None] * len(self.free.tensors)
            if total.requires_grad:
                slopes = torch.autograd.grad(
                    total, self.free.tensors, allow_unused=True
                )
        detached = Loss(loss.negloglik.detach(), loss.regularization.detach())
        point = self.free.get()
        return ProductQuadratic(
            detached, self.free.gather(slopes), lambda v: self.product(point, v)
        )

    def product(self, point: Tensor, direction: Tensor) -> Tensor:
        """Return the curvature at a point times a direction.

        The curvature is the Fisher information plus that of the penalty.

        Args:
            point: (P,); the parameters are there meanwhile.
            direction: (P,).
        """
        self.passes += 1
        before = self.free.get()
        self.free.set(point)
        try:
            total = penalty_times(self.model, self.free, direction)
            for weight, table in zip(self._weights(), self._tables, strict=True):
                total = total + weight * table.times(direction)
        finally:
            self.free.set(before)
        return total

    def has_products(self) -> bool:
        """Tell whether the model can be differentiated twice, by trying."""
        return all(table.has_products() for table in self._tables)

    def _weights(self) -> list[float]:
        """Return the weight of each table per read."""
        reads = [table.n_reads or 1.0 for table in self._tables]
        losses = torch.ones(len(reads), dtype=torch.float64)
        if self.model.equalize_contribution:
            with torch.no_grad():
                pairs = zip(self.model.components(), self._batches, strict=True)
                sums = [
                    self.model.negloglik(experiment, batch)[0].double().cpu()
                    for experiment, batch in pairs
                    if isinstance(experiment, Experiment)
                ]
            losses = torch.stack(sums) / torch.tensor(reads, dtype=torch.float64)
        weights = self.model.weights_for(losses)
        return [w / n for w, n in zip(weights.tolist(), reads, strict=True)]

    def balance(self) -> bool:
        """Set the depths to what makes expected reads of rounds the observed ones.

        Returns:
            Whether any depth was far from it and has been changed.
        """
        self.passes += 1
        for table in self._tables:
            table.moments()
        return balance(self._tables, self.free)


class ProductTable(Table):
    """Any experiment with its table: products with its information."""

    @property
    def n_single_columns(self) -> int:
        """No column is made."""
        return 0

    def add_moments(self, total: Sums) -> None:
        """Add the loss, without derivatives."""
        with torch.no_grad():
            for log_p, k in self.scored():
                nothing = k.new_zeros((0, *k.shape))
                total.add_fit(information_of(log_p.double(), nothing, k, n_live=0))

    def times(self, direction: Tensor) -> Tensor:
        """Return the information times a direction, (P,), summed over reads."""
        total = torch.zeros(len(self.free), dtype=torch.float64)
        with torch.enable_grad():
            for log_p, k in self.scored():
                change = self._change(log_p, direction)
                if change is None:
                    continue
                pull = _pull(log_p.detach().double(), k, change.double())
                total += self._pulled(log_p, pull.to(log_p.dtype))
        return total

    def has_products(self) -> bool:
        """Tell whether the first derivatives can be differentiated, by trying.

        With g = Jᵀ u there must be uᵀ (J v) = gᵀ v; v is ± 1 so that gᵀ v is large. A
        part that can be differentiated but once may say so, or drop out silently.
        """
        with torch.enable_grad():
            for log_p, _ in self.scored():
                u = torch.linspace(0.5, 1.5, log_p.numel()).view_as(log_p).to(log_p)
                slopes = self._pulled(log_p, u)
                direction = slopes.sign()
                try:
                    change = self._change(log_p, direction)
                except (RuntimeError, NotImplementedError):
                    return False
                expected = float(slopes @ direction)
                found = 0.0 if change is None else float((u * change).sum())
                if not abs(found - expected) <= CLOSE * expected:
                    return False
        return True

    def _pulled(self, log_p: Tensor, pull: Tensor) -> Tensor:
        """Return the gradient of log p, each times a number, (P,)."""
        if not log_p.requires_grad:
            return torch.zeros(len(self.free), dtype=torch.float64)
        found = torch.autograd.grad(
            log_p, self.free.tensors, pull, allow_unused=True, retain_graph=True
        )
        return self.free.gather(found)

    def _change(self, log_p: Tensor, direction: Tensor) -> Tensor | None:
        """Return the change of log p along a direction, None where there is none."""
        if not log_p.requires_grad:
            return None
        u = torch.zeros_like(log_p, requires_grad=True)
        slopes = torch.autograd.grad(
            log_p, self.free.tensors, u, create_graph=True, allow_unused=True
        )
        along = self.free.dot(slopes, direction)
        if not along.requires_grad:
            return None
        (change,) = torch.autograd.grad(along, u, retain_graph=True)
        return change


def _pull(log_p: Tensor, counts: Tensor, change: Tensor) -> Tensor:
    """Return K (diag p − p pᵀ) times a change of log p, all (rounds, n)."""
    p = log_p.exp()  # 0 in all rounds where none can hold a probe
    change = change - (change * p).sum(0)
    return counts.sum(0) * p * change
