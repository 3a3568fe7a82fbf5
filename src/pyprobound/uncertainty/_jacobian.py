"""Derivatives of a few values with respect to all free parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound.fisher import FreeParameters, LinearMap


def gradients(
    value: Tensor, free: FreeParameters, leaves: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the gradient of each entry of a tensor.

    Args:
        value: Of any shape, with its graph.
        free: The parameters.
        leaves: Further tensors that it may be made of, each of one dimension.

    Returns:
        (entries, P) with respect to the parameters, and (entries, length) with respect
        to each leaf.
    """
    entries = value.flatten()
    own = torch.zeros(len(entries), len(free), dtype=torch.float64)
    others = [
        torch.zeros(len(entries), len(leaf), dtype=torch.float64) for leaf in leaves
    ]
    wanted = [*free.tensors, *leaves]
    for index, entry in enumerate(entries if entries.requires_grad else ()):
        found = torch.autograd.grad(entry, wanted, retain_graph=True, allow_unused=True)
        own[index] = free.gather(found[: len(free.tensors)])
        for other, slope in zip(others, found[len(free.tensors) :], strict=True):
            if slope is not None:
                other[index] = slope
    return own, others


def linear(value: Tensor, free: FreeParameters) -> Tensor:
    """Return the gradients of what depends linearly on the parameters, (entries, P).

    Args:
        value: Of any shape, with its graph.
        free: The parameters.
    """
    found = LinearMap.of(value, free)
    dense = torch.zeros(found.n_entries, len(free), dtype=torch.float64)
    dense[found.entry, found.column] = found.value
    return dense
