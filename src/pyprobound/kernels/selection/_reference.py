"""The cost of counts, step by step in PyTorch: the definition of what it is.

log Z_ia  = log Σ_m exp( w_am + X_im )
log C_ir  = log enrichment(kind of r, log Z_ia of r) + log C_i,reference of r
log p_io  = log softmax over columns o of ( log η_o + log C_i,round of o )
cost      = −Σ_io k_io log p_io
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.errors import PyProBoundError
from pyprobound.kernels.selection._chain import Chain, Kind
from pyprobound.kernels.selection._enrichment import log_enrichment


def selection_cost(
    scores: Sequence[Tensor],
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    chain: Chain,
) -> Tensor:
    """Return the cost of counts; see the public function."""
    nothing = log_depths.new_zeros(len(counts))
    log_aggregates = [
        logsumexp(torch.stack([w + x for w, x in zip(row, scores, strict=True)]), 0)
        if scores
        else nothing + NEG_INF
        for row in log_weights.unbind(0)
    ]
    cumulative: list[Tensor] = []
    for link, (first, second) in zip(chain.links, settings.unbind(0), strict=True):
        if link.kind is Kind.INITIAL:
            total = nothing
        else:
            log_z = log_aggregates[link.aggregate]
            total = log_enrichment(link.kind, log_z, first, second)
        if link.reference >= 0:
            total = total + cumulative[link.reference]
        cumulative.append(total)
    outputs = torch.stack([cumulative[each] for each in chain.observed], 1)
    return counts_cost(log_shares(outputs + log_depths), counts)


def log_shares(logits: Tensor) -> Tensor:
    """Return log softmax over rounds, −∞ where all are −∞.

    Args:
        logits: (probes, rounds).
    """
    nowhere = (logits == NEG_INF).all(1, keepdim=True)
    log_p = logits.masked_fill(nowhere, 0.0).log_softmax(1)
    return log_p.masked_fill(nowhere, NEG_INF)


def counts_cost(log_p: Tensor, counts: Tensor) -> Tensor:
    """Return −Σ k log p, a float64 scalar; where k is 0, p may be 0.

    Args:
        log_p: (probes, rounds).
        counts: k, (probes, rounds).

    Raises:
        PyProBoundError: There is not one column for each round.
    """
    check_columns(counts, log_p.shape[1])
    # float64: float32 loses single reads in large tables.
    k = counts.to(log_p.device, torch.float64)
    return -(k * log_p.to(torch.float64).masked_fill(k == 0, 0.0)).sum()


def check_columns(counts: Tensor, n_rounds: int) -> None:
    """Check that counts have one column for each observed round.

    Raises:
        PyProBoundError: They do not.
    """
    if counts.ndim != 2 or counts.shape[1] != n_rounds:
        raise PyProBoundError(
            f"the table has {counts.shape[-1]} columns, but the experiment has"
            f" {n_rounds} observed rounds; give each round a column"
        )
