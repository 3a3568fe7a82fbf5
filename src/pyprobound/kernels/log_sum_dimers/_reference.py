"""Sums over pairs of windows as a matrix product in the exponential domain.

    log 1/K_ab(S_i) = log Σ_{p,q} exp( h · (a[i, p] + ω[p, q] + b[i, q]) )
                    = log [ ( e^{h·a} · e^{h·ω} ) ∘ e^{h·b} ] · 1

with p = (strand, window) of mode a and q of mode b. The exponentials are relative to
the largest a and b of each probe and to the largest ω. Where these maxima exclude each
other, the sum can be so small that terms were lost to underflow; those probes are done
again in the log domain, pair by pair. See `trusted_sum`.

Beyond the memory budget there are only copies of scores: of all probes where several
groups have to be sorted, and of those that are done again.
"""

import math

import torch
from torch import Tensor

from pyprobound._chunking import map_chunks
from pyprobound._numerics import NEG_INF, logsumexp, scale_log


def log_sum_dimers(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Sum over all pairs of windows; see the public function."""
    for windows in (windows_a, windows_b):
        if 0 in windows.shape[1:]:
            return logsumexp(windows, (1, 2))  # no window, no pair
    a, b = windows_a.flatten(1), windows_b.flatten(1)  # (N, P), (N, Q)
    log_w = log_omega.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (G, P, Q)
    if hill is not None:
        log_w = scale_log(log_w, hill)
    if len(a) == 0:
        return a.sum(1) + b.sum(1) + log_w.sum()  # nothing, made of everything
    if group is None:
        return _one_group(a, b, log_w[0], hill, share=2)
    counts = group.bincount(minlength=len(log_w)).tolist()
    if len(a) in counts:
        return _one_group(a, b, log_w[counts.index(len(a))], hill, share=2)
    # sorted by group once: a selection per group would have a gradient of all N rows
    order = group.argsort(stable=True)
    a_by_group = torch.split(a.index_select(0, order), counts)
    b_by_group = torch.split(b.index_select(0, order), counts)
    share = 2 * (len(counts) - counts.count(0))
    sums = [
        _one_group(rows_a, rows_b, w, hill, share=share)
        for rows_a, rows_b, w in zip(a_by_group, b_by_group, log_w, strict=True)
        if len(rows_a)
    ]
    return torch.cat(sums).index_select(0, order.argsort())


def _one_group(
    a: Tensor, b: Tensor, log_w: Tensor, hill: Tensor | None, *, share: int
) -> Tensor:
    """Return the log sums (n,) of probes with the same cooperativity.

    Args:
        a: Scores (n, P).
        b: Scores (n, Q).
        log_w: Cooperativity h·ω, (P, Q).
        hill: Hill coefficient h.
        share: Part of the memory budget for each domain, 2 being one half.
    """
    top = _top(log_w, (0, 1))
    log_w = log_w - top
    n_pairs, n_bytes = log_w.numel(), log_w.element_size()
    # of each window: scaled, exponentiated, multiplied, and as many gradients
    per_probe = 8 * n_bytes * (a.shape[1] + b.shape[1])
    sums = map_chunks(
        _exponential_domain,
        [a, b],
        [log_w.exp(), hill],
        bytes_per_probe=per_probe,
        share=share,
    )
    lost = (sums == NEG_INF).nonzero().squeeze(1)
    if len(lost):
        may_bind = map_chunks(
            _has_pair,
            [a.detach().index_select(0, lost), b.detach().index_select(0, lost)],
            [log_w.detach()],
            bytes_per_probe=per_probe,
            share=share,
        )
        lost = lost[may_bind]
    if len(lost):
        exact = map_chunks(
            _log_domain,
            [a.index_select(0, lost), b.index_select(0, lost)],
            [log_w, hill],
            bytes_per_probe=5 * n_bytes * n_pairs,
            share=share,
        )
        sums = sums.index_copy(0, lost, exact)
    return sums + top.squeeze()


def _exponential_domain(a: Tensor, b: Tensor, w: Tensor, hill: Tensor | None) -> Tensor:
    """Return log Σ_{p,q} e^{h·a} w e^{h·b}, (n,), or −∞ where it is not to be trusted.

    Args:
        a: Scores (n, P).
        b: Scores (n, Q).
        w: Cooperativity exp(h·ω), (P, Q), at most 1.
        hill: Hill coefficient h.
    """
    if hill is not None:
        a, b = scale_log(a, hill), scale_log(b, hill)
    top_a, top_b = _top(a, (1,)), _top(b, (1,))
    paired = (a - top_a).exp() @ w  # (n, Q)
    total = (paired * (b - top_b).exp()).sum(1)
    lost = total < trusted_sum(w)
    log_total = total.masked_fill(lost, 1.0).log().masked_fill(lost, NEG_INF)
    return log_total + (top_a + top_b).squeeze(1)


def trusted_sum(w: Tensor) -> float:
    """Return the least sum over the pairs of w that underflow cannot have spoilt.

    A term e^a · w · e^b has no factor above 1. Each of its three exponentials and two
    products may have been flushed to zero below `tiny`, the least normal number, so it
    is off by at most 5·tiny, and the sum over P·Q pairs by 5·P·Q·tiny. That is below
    the rounding error eps·total if total ≥ 5·P·Q·tiny/eps (float32: 7e-28 for 38 × 38
    pairs). The gradient divides by total and the second derivative by its square, which
    overflows unless total ≥ sqrt(tiny) (float32: 1e-19, float64: 1e-154); with fewer
    than 10^11 pairs this is the stricter of the two.
    """
    limits = torch.finfo(w.dtype)
    return max(math.sqrt(limits.tiny), 5 * w.numel() * limits.tiny / limits.eps)


def _has_pair(a: Tensor, b: Tensor, log_w: Tensor) -> Tensor:
    """Tell which probes have a finite pair, (n,): the others need no second look."""
    allowed = (log_w > NEG_INF).to(a.dtype)
    partners = (a > NEG_INF).to(a.dtype) @ allowed  # (n, Q): windows of a for each of b
    return ((partners > 0) & (b > NEG_INF)).any(1)


def _log_domain(a: Tensor, b: Tensor, log_w: Tensor, hill: Tensor | None) -> Tensor:
    """Return log Σ_{p,q} exp(h·a + log_w + h·b), (n,), from all (n, P, Q) pairs."""
    if hill is not None:
        a, b = scale_log(a, hill), scale_log(b, hill)
    return logsumexp(a[:, :, None] + log_w + b[:, None, :], (1, 2))


def _top(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the maximum over `dims`, kept as axes, 0 where all are −∞; no gradient."""
    top = values.detach().amax(dims, keepdim=True)
    return top.masked_fill(top == NEG_INF, 0.0)
