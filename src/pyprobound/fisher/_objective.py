"""The loss of count tables with its gradient and its Fisher information, in one pass.

With J_i = ∂logits_i/∂θ (rounds × P) of probe i, its K_i reads k_i and shares p_i,

    ∇NLL = Σ_i J_iᵀ (K_i p_i − k_i)
    F    = Σ_i K_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i

divided by the reads of the table, weighted over tables (`_tables`), and with the exact
curvature of the penalty added. Magnitudes, which λ₁ prices, are told apart (`_kinks`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound.experiment import Experiment
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._penalty import penalty_of, prices_of
from pyprobound.fisher._quadratic import Kinks, Quadratic
from pyprobound.fisher._tables import Moments, balance, table_of
from pyprobound.loss import Loss, MultiExperimentLoss
from pyprobound.table import CountBatch


class CountObjective:
    """What a fit of count tables minimises, as a function of its free parameters.

    Attributes:
        free: The free parameters.
        passes: How often the tables have been gone through.
    """

    def __init__(
        self, model: MultiExperimentLoss, batches: Sequence[CountBatch]
    ) -> None:
        """Prepare for a model as it is: what is trained must not change afterwards.

        Args:
            model: The loss.
            batches: A table (or batch) for each of its experiments.
        """
        self.model = model
        self.free = FreeParameters(model)
        self._prices = prices_of(model, self.free)
        self.passes = 0
        self._tables = [
            table_of(experiment, batch, self.free, full=model.full_loss)
            for experiment, batch in zip(model.components(), batches, strict=True)
            if isinstance(experiment, Experiment)
        ]

    @property
    def n_probes(self) -> int:
        """The distinct probes of all tables."""
        return sum(len(table.seqs) for table in self._tables)

    @property
    def n_single_columns(self) -> int:
        """The free parameters that are differentiated one at a time, by autograd."""
        return sum(table.n_single_columns for table in self._tables)

    def loss(self) -> Loss:
        """Return the loss at the current parameters, without derivatives."""
        self.passes += 1
        with torch.no_grad():
            losses = [table.loss() for table in self._tables]
            negloglik, _ = self._combined(losses)
            return Loss(negloglik, self.model.penalty())

    def moments(self) -> list[Moments]:
        """Return loss and derivatives of each table."""
        self.passes += 1
        return [table.moments() for table in self._tables]

    def quadratic(self) -> Quadratic:
        """Return the objective up to second order at the current parameters."""
        moments = self.moments()
        losses = [
            table.mean_loss(each.loss)
            for table, each in zip(self._tables, moments, strict=True)
        ]
        negloglik, weights = self._combined(losses)
        penalty, gradient, curvature = penalty_of(self.model, self.free)
        kinks = None
        if self._prices is not None:
            kinks = Kinks(self.free.get(), self._prices)
            with torch.no_grad():
                penalty = self.model.penalty()
        for weight, each in zip(weights.tolist(), moments, strict=True):
            scale = weight / each.n_reads if each.n_reads > 0 else weight
            gradient = gradient + scale * each.gradient
            curvature = curvature + scale * each.information
        return Quadratic(Loss(negloglik, penalty), gradient, curvature, kinks)

    def balance(self) -> bool:
        """Set the depths to what makes expected reads of rounds the observed ones.

        It holds for the shares as the last derivatives had them, and is what Newton
        steps, each of which changes a depth by about 1, take long to reach.

        Returns:
            Whether much could be gained, and the depths have been changed.
        """
        return balance(self._tables, self.free)

    def _combined(self, losses: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of mean losses, and the weights."""
        stacked = torch.tensor(losses, dtype=torch.float64)
        weights = self.model.weights_for(stacked)
        return (weights * stacked).sum(), weights
