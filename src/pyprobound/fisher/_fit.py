"""Which fits go by the Fisher information, and how they begin."""

from collections.abc import Sequence

import torch
from torch import nn

from pyprobound.fisher._objective import CountObjective
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._products import ProductObjective
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
) -> TrustRegion[CountObjective] | TrustRegion[ProductObjective] | None:
    """Return a fit of a model by its Fisher information, None where there is none.

    The information is written down where it is not too large; else there are products
    with it.

    Args:
        model: A loss. Only the likelihood of counts has this information; a subclass
            that changes it does not. A part that is random, or treats probes together,
            or cannot be differentiated twice, leaves none.
        batches: A table for each of its components.
        tolerance: The predicted decrease that ends the fit.
    """
    if (
        not isinstance(model, MultiExperimentLoss)
        or not has_information(model)
        or any(map(_mixes_probes, model.modules()))
    ):
        return None
    free = FreeParameters(model)
    if len(free) == 0:
        return None
    precisions = {parameter.dtype for parameter in free.tensors}
    rounding = max(ROUNDING.get(each, ROUNDING_OTHERWISE) for each in precisions)
    if len(free) <= MOST_PARAMETERS:
        objective = CountObjective(model, batches)
        if objective.n_single_columns > MOST_COLUMNS:
            return None  # networks: L-BFGS gains more in the same time
        return TrustRegion(objective, tolerance=tolerance, rounding=rounding)
    products = ProductObjective(model, batches)
    if not _has_products(model, batches):
        return None
    return TrustRegion(products, tolerance=tolerance, rounding=rounding)


def _mixes_probes(module: nn.Module) -> bool:
    """Tell whether a part of a model is random, or depends on which probes it is given.

    So are dropout and the normalisation of batches, while they are trained.
    """
    kinds = nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd  # noqa: SLF001 the common bases have no public name
    return module.training and isinstance(module, kinds)


def _has_products(model: MultiExperimentLoss, batches: Sequence[CountBatch]) -> bool:
    """Tell whether a model can be differentiated twice, by trying with two probes."""
    few = [
        batch if batch.seqs.ndim == 1 else CountBatch(batch.seqs[:2], batch.target[:2])
        for batch in batches
    ]
    return ProductObjective(model, few).has_products()
