"""The cost of counts as an operator whose gradients are found along with the value.

They wait for the backward pass, which only multiplies them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyprobound.kernels._operators import differentiable, direct
from pyprobound.kernels.selection import _reference
from pyprobound.kernels.selection._chain import Chain, Kind, Link


def cost_operator(
    name: str,
    cost_and_gradient: Callable[..., tuple[Tensor, ...]],
    *,
    can_take: Callable[[Tensor], bool] = lambda _: True,
) -> Callable[..., Tensor]:
    """Register the operator of a backend.

    Args:
        name: Of the operator.
        cost_and_gradient: Takes scores (bindings, probes), log_weights, settings,
            log_depths, counts; then the numbers of links (kind, aggregate, reference;
            kind, …), the links of the columns, and whether gradients are wanted.
            Returns the cost and the gradients of the first four, empty if not wanted.
        can_take: Whether it can compute with such scores or parameters.

    Returns:
        The function of the same arguments as the public one. What leaves nothing to
        compute, or cannot be taken, goes to the reference.
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
        given = log_weights, settings, log_depths
        something = len(scores) > 0 and len(counts) > 0
        if not something or not all(map(can_take, (*scores, *given))):
            return _reference.selection_cost(scores, *given, counts, chain)
        leaves = torch.stack(tuple(scores)), *given
        found: tuple[Tensor, ...] = direct(operator)(
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


def _empty(scores: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    log_weights, settings, log_depths, *_, with_gradient = rest
    gradients = [
        each.new_empty(each.shape if with_gradient else (0,) * each.ndim)
        for each in (scores, log_weights, settings, log_depths)
    ]
    return scores.new_empty((), dtype=torch.float64), *gradients


def _times(grad: Tensor, results: Sequence[Tensor], *rest: Any) -> list[Tensor | None]:
    """Return the gradients, known already, times that of the cost."""
    *_, wanted = rest
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
    *_: object,
) -> Tensor:
    numbers = iter(links)
    chain = Chain(
        tuple(Link(Kind(k), a, r) for k, a, r in zip(*[numbers] * 3, strict=True)),
        tuple(observed),
    )
    leaves = log_weights, settings, log_depths
    return _reference.selection_cost(scores.unbind(0), *leaves, counts, chain)
