"""Which fits go by the Fisher information, and how they begin."""

from collections.abc import Sequence

import torch

from pyprobound.fisher._objective import CountObjective
from pyprobound.fisher._trust_region import TOLERANCE, TrustRegion
from pyprobound.loss import BaseLoss, MultiExperimentLoss
from pyprobound.table import CountBatch

MOST_PARAMETERS = 4096
"""Free parameters for which a matrix of their pairs is worth its memory and time."""

MOST_COLUMNS = 128
"""Free parameters that may be differentiated one at a time."""

ROUNDING = {torch.float64: 1e-12}
ROUNDING_OTHERWISE = 1e-7

_METHODS = {
    "forward": BaseLoss,
    "_mean_losses": BaseLoss,
    "negloglik": MultiExperimentLoss,
}


def has_information(model: object) -> bool:
    """Tell whether a loss is the likelihood of counts, unchanged by a subclass."""
    return isinstance(model, MultiExperimentLoss) and all(
        getattr(type(model), name) is getattr(owner, name)
        for name, owner in _METHODS.items()
    )


def trust_region_of(
    model: object, batches: Sequence[CountBatch], tolerance: float = TOLERANCE
) -> TrustRegion[CountObjective] | None:
    """Return a fit of a model by its Fisher information, None where there is none.

    Args:
        model: A loss. Only the likelihood of counts has this information; a subclass
            that changes it does not.
        batches: A table for each of its components.
        tolerance: The predicted decrease that ends the fit.
    """
    if not isinstance(model, MultiExperimentLoss) or not has_information(model):
        return None
    n_free = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not 0 < n_free <= MOST_PARAMETERS:
        return None
    objective = CountObjective(model, batches)
    if len(objective.free) == 0 or objective.n_single_columns > MOST_COLUMNS:
        return None
    precisions = {parameter.dtype for parameter in objective.free.tensors}
    rounding = max(ROUNDING.get(each, ROUNDING_OTHERWISE) for each in precisions)
    return TrustRegion(objective, tolerance=tolerance, rounding=rounding)
