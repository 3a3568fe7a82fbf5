"""The cost of counts as an operator whose gradients are found along with the value.

They wait for the backward pass, which only multiplies them.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyprobound.kernels._operators import differentiable
from pyprobound.kernels.selection import _reference
from pyprobound.kernels.selection._chain import Chain, Kind, Link


def cost_operator(
    name: str, cost_and_gradient: Callable[..., tuple[Tensor, ...]]
) -> Callable[..., Tensor]:
    """Register the operator of a backend.

    Args:
        name: Of the operator.
        cost_and_gradient: Takes scores (bindings, probes), log_weights, settings,
            log_depths, counts; then the numbers of links (kind, aggregate, reference;
            kind, …), the links of the columns, and whether gradients are wanted.
            Returns the cost and the gradients of the first four, empty if not wanted.

    Returns:
        The function of the same arguments as the public one.
    """
    operator = differentiable(
        name,
        cost_and_gradient,
        _times,
        empty=_empty,
        reference=_in_torch,
        leaves=["scores", "log_weights", "settings", "log_depths"],
    )

    def selection_cost(
        scores: Sequence[Tensor],
        log_weights: Tensor,
        settings: Tensor,
        log_depths: Tensor,
        counts: Tensor,
        chain: Chain,
    ) -> Tensor:
        """Return the cost of counts; see the public function."""
        leaves = torch.stack(tuple(scores)), log_weights, settings, log_depths
        found: tuple[Tensor, ...] = operator(
            *leaves,
            counts,
            [number for link in chain.links for number in _numbers(link)],
            list(chain.observed),
            torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves),
        )
        return found[0]

    return selection_cost


def _numbers(link: Link) -> tuple[int, int, int]:
    return int(link.kind), link.aggregate, link.reference


def _empty(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    links: Sequence[int],
    observed: Sequence[int],
    with_gradient: bool,
) -> tuple[Tensor, ...]:
    del counts, links, observed
    leaves = scores, log_weights, settings, log_depths
    gradients = [
        each.new_empty(each.shape if with_gradient else (0,) * each.ndim)
        for each in leaves
    ]
    return scores.new_empty((), dtype=torch.float64), *gradients


def _times(
    grad: Tensor, results: Sequence[Tensor], *arguments: object
) -> list[Tensor | None]:
    """Return the gradients, known already, times that of the cost."""
    wanted = arguments[-1]
    assert isinstance(wanted, Sequence)
    return [
        grad.to(each.dtype) * each if yes else None
        for each, yes in zip(results[1:], wanted, strict=True)
    ]


def _in_torch(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    links: Sequence[int],
    observed: Sequence[int],
    with_gradient: bool,
) -> Tensor:
    del with_gradient
    numbers = iter(links)
    chain = Chain(
        tuple(Link(Kind(k), a, r) for k, a, r in zip(*[numbers] * 3, strict=True)),
        tuple(observed),
    )
    leaves = log_weights, settings, log_depths
    return _reference.selection_cost(scores.unbind(0), *leaves, counts, chain)
