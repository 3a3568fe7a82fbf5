"""The information of counts in PyTorch: what it is.

Everything is elementwise in the probes, so the derivatives of all of them by a quantity
come from one backward pass, with a copy of the quantity for each probe.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.kernels.selection import NONE, Chain
from pyprobound.kernels.selection._enrichment import log_enrichment
from pyprobound.kernels.selection_information._found import (
    DEPTH,
    SETTING,
    WEIGHT,
    Enrichment,
    Found,
)


def selection_information(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    chain: Chain,
    own: Sequence[tuple[int, int, int]],
    live: Sequence[int],
    others: Mapping[int, Enrichment],
) -> Callable[[slice], Found]:
    """Return what finds them for a piece of the probes; see the public function."""
    numbers = [each.to(scores.device) for each in (log_weights, settings, log_depths)]

    def found(rows: slice) -> Found:
        own_scores = scores[:, rows].detach().double().clone()
        size = own_scores.shape[1]
        spread = [
            each.expand(size, *each.shape).movedim(0, -1).clone() for each in numbers
        ]
        leaves = [own_scores, *spread]
        with torch.enable_grad():
            for leaf in leaves:
                leaf.requires_grad_()
            logits = _logits(leaves, chain, others)
            jacobian = _jacobian(logits, leaves, own, live)  # (V + Q, columns, n)
        reads = counts[rows].to(scores.device).T
        return information_of(logits.detach(), jacobian, reads, len(live))

    return found


def information_of(
    logits: Tensor, jacobian: Tensor, counts: Tensor, n_live: int
) -> Found:
    """Return what is found of probes whose logits have these derivatives.

    Args:
        logits: (columns, n), float64, up to a constant of each probe; −∞ where a column
            cannot hold a probe.
        jacobian: Their derivatives, (V + Q, columns, n).
        counts: (columns, n).
        n_live: V, the number of scores among what they are taken by.
    """
    total = logsumexp(logits, 0)
    nowhere = total == NEG_INF
    log_p = logits - total.masked_fill(nowhere, 0.0)
    k = counts.double()
    loss = -float((k * log_p.masked_fill(k == 0, 0.0)).sum())
    p, k = log_p.exp(), k.masked_fill(nowhere, 0.0)
    expected = k.sum(0) * p
    may_be = expected > 0
    misfit = (k - expected).square() / expected.masked_fill(~may_be, 1.0)
    jacobian = jacobian - (jacobian * p).sum(1, keepdim=True)
    pull = jacobian * (expected - k)
    ours, theirs = jacobian[:n_live], jacobian[n_live:]
    weighted = theirs * expected
    return Found(
        loss,
        float(misfit.masked_fill(~may_be, 0.0).sum()),
        int((may_be.sum(0) - 1).clamp(min=0).sum()),
        expected.sum(1).cpu(),
        pull[n_live:].sum((1, 2)).cpu(),
        (weighted.flatten(1) @ theirs.flatten(1).T).cpu(),
        pull[:n_live].sum(1),
        torch.einsum("aon,bon->abn", ours * expected, ours),
        torch.einsum("aon,qon->aqn", ours, weighted),
    )


def _logits(
    leaves: Sequence[Tensor], chain: Chain, others: Mapping[int, Enrichment]
) -> Tensor:
    """Return log η + log cumulative enrichment, (columns, n), of each probe."""
    scores, log_weights, settings, log_depths = leaves
    log_z = logsumexp(log_weights + scores, 1)  # (aggregates, n)
    enriched: list[Tensor] = []
    for index, (link, setting) in enumerate(zip(chain.links, settings, strict=True)):
        if link.aggregate == NONE:
            own = torch.zeros_like(log_depths[0])
        elif index in others:
            own = others[index](log_z[link.aggregate], setting)
        else:
            own = log_enrichment(link.kind, log_z[link.aggregate], *setting[:2])
        if link.reference != NONE:
            own = own + enriched[link.reference]
        enriched.append(own)
    columns = [enriched[index] for index in chain.observed]
    return log_depths + torch.stack(columns)


def _jacobian(
    logits: Tensor,
    leaves: Sequence[Tensor],
    own: Sequence[tuple[int, int, int]],
    live: Sequence[int],
) -> Tensor:
    """Return the derivatives of the logits, (V + Q, columns, n)."""
    if not own and not live:
        return logits.detach().new_zeros(0, *logits.shape)
    places = {WEIGHT: 1, SETTING: 2, DEPTH: 3}
    columns = []
    for row in logits:
        found = torch.autograd.grad(
            row.sum(), leaves, retain_graph=True, materialize_grads=True
        )
        by_scores = [found[0][m] for m in live]
        by_own = [
            found[places[kind]][(i,) if kind == DEPTH else (i, j)] for kind, i, j in own
        ]
        columns.append([*by_scores, *by_own])
    return torch.stack([torch.stack(each) for each in columns], 1)
