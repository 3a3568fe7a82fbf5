"""The cost of counts and its gradient in one pass over the probes, compiled.

Probes go through all steps some at a time, so that what the steps hand on stays in the
first cache: arrays [quantity, probe], whose loops over probes are vector code. With
p the shares of a probe, k its counts and K their sum, the gradient runs back as

    by log p     g_o = K p_o − k_o                       also that of log η_o
    by log C     G_r = g of the round's column + Σ G of the rounds selected from it
    by log Z     h_a = Σ_r of the aggregate G_r · d log enrichment_r / d log Z
    by X and w   h_a · (share of the binding in Z_a)
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound.kernels._numba import Array, array_of, exp, inline, jit, run, stretches
from pyprobound.kernels._numba_log import log, log1p
from pyprobound.kernels.selection._chain import Kind
from pyprobound.kernels.selection._operator import cost_operator

BLOCK = 128
"""Probes of a block: a few dozen quantities of them fill the first cache."""

WIDEST = {torch.float32: 60.0, torch.float64: 500.0}
"""How far, as a logarithm, sums of exponentials may lie below their largest term.

What is lost below e^−87 (e^−700) is then beyond the precision.
"""

INITIAL, BOUND, UNSATURATED, UNBOUND, RHO_GAMMA, EXPONENTIAL = (int(k) for k in Kind)

# == the operator =====================================================================


def cost_and_gradient(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    links: Sequence[int],
    observed: Sequence[int],
    with_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the cost, and its gradients if they are wanted; see `cost_operator`."""
    n_probes = len(counts)
    n_threads = max(1, len(stretches(n_probes)))
    total = np.zeros((n_threads, 1))
    sums = [
        np.zeros((n_threads, *each.shape))
        for each in (log_weights, settings, log_depths)
    ]
    by_scores = scores.new_empty(scores.shape if with_gradient else (0, 0))
    reads, steps = flat_counts(counts)
    arrays = [array_of(each) for each in (scores, log_weights)]
    arrays += factors_of(arrays[1], scores.dtype)
    arrays += [array_of(each) for each in (settings, log_depths, reads)]
    table = np.array(links, dtype=np.int64).reshape(-1, 3)
    columns = np.array(observed, dtype=np.int64)

    def arguments(thread: int, rows: slice) -> tuple[Any, ...]:
        own = [each[thread] for each in sums]
        return (
            *(*arrays, *steps, table, columns, rows.start, rows.stop, with_gradient),
            *(total[thread], by_scores.numpy(), *own),
        )

    run(_cost, n_probes, arguments)
    by_weights, by_settings, by_depths = (
        torch.from_numpy(each.sum(0)).to(scores.dtype)
        if with_gradient
        else scores.new_empty((0,) * (each.ndim - 1))
        for each in sums
    )
    cost = torch.tensor(total.sum(), dtype=torch.float64)
    return cost, by_scores, by_weights, by_settings, by_depths


def flat_counts(counts: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return counts as they lie, and the steps from probe to probe and column.

    Tables lie column by column as a rule, which is how the loops take them.
    """
    if counts.dtype != torch.float32:
        counts = counts.to(torch.float64)
    if counts.t().is_contiguous():
        return counts.t().reshape(-1), (1, len(counts))
    return counts.reshape(-1), (counts.shape[1], 1)


def factors_of(log_weights: Array, dtype: torch.dtype) -> tuple[Array, Array]:
    """Return the largest weight of each binding, and e to all weights below it.

    There are none where one exponential of each score cannot serve all aggregates: it
    can where the weights of a binding differ so little that no term is lost that
    counts, as the largest term of any aggregate is then no less than e^−range.
    """
    serves = len(log_weights) > 1 and bool(np.isfinite(log_weights).all())
    if not serves or np.ptp(log_weights, axis=0).max() > WIDEST[dtype]:
        nothing = np.empty((0, 0), log_weights.dtype)
        return nothing, nothing
    scale = log_weights.max(axis=0, keepdims=True)
    return scale, np.exp(log_weights - scale)


def is_regular(values: Tensor) -> bool:
    """Tell whether all values are finite or −∞: fast arithmetic knows no NaN."""
    return values.numel() == 0 or values.detach().sum().item() < math.inf


# What is not regular shows that a fit diverged, and is for the reference to say.
selection_cost = cost_operator("selection_cost", cost_and_gradient, can_take=is_regular)


# == the loops ========================================================================


@jit
def _cost(
    scores: Array,  # (bindings, probes)
    weights: Array,  # (aggregates, bindings)
    scale: Array,  # (1, bindings): the largest weights
    factors: Array,  # (aggregates, bindings): e to the weights below; none if not used
    settings: Array,  # (links, 2)
    depths: Array,  # (columns,)
    counts: Array,  # (probes · columns,)
    by_probe: int,  # steps between counts
    by_column: int,
    links: Array,  # (links, 3): kind, aggregate, reference
    observed: Array,  # (columns,)
    start: int,
    stop: int,
    wanted: bool,
    total: Array,  # (1,), and the gradients:
    by_scores: Array,
    by_weights: Array,
    by_settings: Array,
    by_depths: Array,
) -> None:
    n_bindings, n_aggregates = weights.shape[1], weights.shape[0]
    n_links, n_columns = links.shape[0], observed.shape[0]
    x = np.empty((n_bindings, BLOCK), scores.dtype)
    shares = np.empty((n_aggregates * n_bindings, BLOCK), scores.dtype)
    log_z = np.empty((n_aggregates, BLOCK), scores.dtype)
    enriched = np.empty((n_links, BLOCK), scores.dtype)
    slopes = np.empty((n_links, BLOCK), scores.dtype)
    extra = np.empty((n_links, BLOCK), scores.dtype)
    p = np.empty((n_columns, BLOCK), scores.dtype)
    k = np.empty((n_columns, BLOCK), scores.dtype)
    work = np.empty((4, BLOCK), scores.dtype)
    by_links = np.empty((n_links, BLOCK), scores.dtype)
    by_log_z = np.empty((n_aggregates, BLOCK), scores.dtype)
    cost = 0.0
    for first in range(start, stop, BLOCK):
        n = min(BLOCK, stop - first)
        load(scores, counts, by_probe, by_column, first, n, x, k)
        if len(factors):
            log_sums_of_shared(x, scale, factors, n, wanted, work, shares, log_z)
        else:
            log_sums(x, weights, n, wanted, work, shares, log_z)
        for r in range(n_links):
            enrich(r, links, settings, log_z, n, enriched, slopes, extra)
        cost += _compare(enriched, observed, depths, k, n, wanted, work, p)
        if not wanted:
            continue
        _back_to_links(p, observed, n, by_links, by_depths)
        _back_to_log_z(links, log_z, slopes, extra, n, by_links, by_log_z, by_settings)
        _back_to_scores(shares, by_log_z, first, n, by_scores, by_weights)
    total[0] = cost


@inline
def load(
    scores: Array,
    counts: Array,
    by_probe: int,
    by_column: int,
    first: int,
    n: int,
    x: Array,
    k: Array,
) -> None:
    """Take the scores and counts of a block."""
    for m in range(x.shape[0]):
        for i in range(n):
            x[m, i] = scores[m, first + i]
    for o in range(k.shape[0]):
        start = o * by_column + first * by_probe
        if by_probe == 1:
            for i in range(n):
                k[o, i] = counts[start + i]
        else:
            for i in range(n):
                k[o, i] = counts[start + i * by_probe]


@inline
def log_sums(
    x: Array,
    weights: Array,
    n: int,
    wanted: bool,
    work: Array,
    shares: Array,
    log_z: Array,
) -> None:
    """Set log Z = log Σ_m exp(w_m + x_m), and the share of each term."""
    zero = x.dtype.type(0)
    n_bindings = weights.shape[1]
    for a in range(weights.shape[0]):
        _set_tops(x, weights, a, n, work)
        for i in range(n):
            work[1, i] = zero
        for m in range(n_bindings):
            w = weights[a, m]
            row = a * n_bindings + m
            for i in range(n):
                term = exp((w + x[m, i]) - work[0, i])
                shares[row, i] = term
                work[1, i] += term
        _finish_log_sums(a, n_bindings, n, wanted, work, shares, log_z)


@inline
def log_sums_of_shared(
    x: Array,
    scale: Array,  # (1, bindings)
    factors: Array,
    n: int,
    wanted: bool,
    work: Array,
    shares: Array,
    log_z: Array,
) -> None:
    """Do the same where all aggregates weigh all bindings, within some range.

    Then one exponential of each binding serves all of them; it takes the place of x.
    """
    zero = x.dtype.type(0)
    n_bindings = factors.shape[1]
    _set_tops(x, scale, 0, n, work)
    for m in range(n_bindings):
        largest = scale[0, m]
        for i in range(n):
            x[m, i] = exp((largest + x[m, i]) - work[0, i])
    for a in range(factors.shape[0]):
        for i in range(n):
            work[1, i] = zero
        for m in range(n_bindings):
            factor = factors[a, m]
            row = a * n_bindings + m
            for i in range(n):
                term = factor * x[m, i]
                shares[row, i] = term
                work[1, i] += term
        _finish_log_sums(a, n_bindings, n, wanted, work, shares, log_z)


@inline
def _set_tops(x: Array, weights: Array, a: int, n: int, work: Array) -> None:
    """Set the largest w + x of each probe, 0 where all are −∞."""
    zero, absent = x.dtype.type(0), x.dtype.type(-np.inf)
    for i in range(n):
        work[0, i] = absent
    for m in range(x.shape[0]):
        w = weights[a, m]
        for i in range(n):
            work[0, i] = max(work[0, i], w + x[m, i])
    for i in range(n):
        top = work[0, i]
        work[0, i] = top if top > absent else zero


@inline
def _finish_log_sums(
    a: int,
    n_bindings: int,
    n: int,
    wanted: bool,
    work: Array,
    shares: Array,
    log_z: Array,
) -> None:
    """Turn sums of terms relative to e^top, and the terms, into log Z and shares."""
    zero, one, absent = work.dtype.type(0), work.dtype.type(1), work.dtype.type(-np.inf)
    for i in range(n):
        total = work[1, i]
        some = total > zero
        log_total = log(total if some else one)
        log_z[a, i] = work[0, i] + log_total if some else absent
        work[2, i] = one / (total if some else one)
    if not wanted:
        return
    for m in range(n_bindings):
        row = a * n_bindings + m
        for i in range(n):
            shares[row, i] *= work[2, i]


@inline
def enrich(
    r: int,
    links: Array,
    settings: Array,
    log_z: Array,
    n: int,
    enriched: Array,
    slopes: Array,
    extra: Array,
) -> None:
    """Set log C of a link, and d log enrichment / d log Z and by γ or δ."""
    kind, a, reference = links[r, 0], links[r, 1], links[r, 2]
    if kind == INITIAL:
        for i in range(n):
            enriched[r, i] = 0
    elif kind == UNSATURATED:
        for i in range(n):
            enriched[r, i] = log_z[a, i]
            slopes[r, i] = 1
    elif kind == BOUND:
        _enrich_bound(r, a, log_z, n, enriched, slopes)
    elif kind == UNBOUND:
        _enrich_unbound(r, a, log_z, n, enriched, slopes)
    elif kind == RHO_GAMMA:
        rho, gamma = settings[r, 0], settings[r, 1]
        _enrich_rho_gamma(r, a, rho, gamma, log_z, n, enriched, slopes, extra)
    else:
        _enrich_exponentially(r, a, settings[r, 0], log_z, n, enriched, slopes, extra)
    if reference >= 0:
        for i in range(n):
            enriched[r, i] += enriched[reference, i]


@inline
def _enrich_bound(
    r: int, a: int, log_z: Array, n: int, enriched: Array, slopes: Array
) -> None:
    """Set log Z − log(1+Z) and its slope."""
    zero, one = log_z.dtype.type(0), log_z.dtype.type(1)
    for i in range(n):
        z = log_z[a, i]
        small = exp(-abs(z))
        enriched[r, i] = min(z, zero) - log1p(small)
        slopes[r, i] = (small if z >= zero else one) / (one + small)


@inline
def _enrich_unbound(
    r: int, a: int, log_z: Array, n: int, enriched: Array, slopes: Array
) -> None:
    """Set −log(1+Z) and its slope."""
    zero, one = log_z.dtype.type(0), log_z.dtype.type(1)
    for i in range(n):
        z = log_z[a, i]
        small = exp(-abs(z))
        enriched[r, i] = -max(z, zero) - log1p(small)
        slopes[r, i] = -(one if z >= zero else small) / (one + small)


@inline
def _enrich_rho_gamma(
    r: int,
    a: int,
    rho: float,
    gamma: float,
    log_z: Array,
    n: int,
    enriched: Array,
    slopes: Array,
    extra: Array,
) -> None:
    """Set ρ log Z + γ log(1+Z) and its slopes; nothing binds where Z is 0."""
    zero, one, absent = (
        log_z.dtype.type(0),
        log_z.dtype.type(1),
        log_z.dtype.type(-np.inf),
    )
    nothing = absent if rho != zero else zero
    for i in range(n):
        z = log_z[a, i]
        some = z > absent
        small = exp(-abs(z))
        softplus = max(z, zero) + log1p(small)
        enriched[r, i] = (rho * z if some else nothing) + gamma * softplus
        slope = rho + gamma * ((one if z >= zero else small) / (one + small))
        slopes[r, i] = slope if some else zero
        extra[r, i] = softplus


@inline
def _enrich_exponentially(
    r: int,
    a: int,
    delta: float,
    log_z: Array,
    n: int,
    enriched: Array,
    slopes: Array,
    extra: Array,
) -> None:
    """Set log[σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z})] and its slopes."""
    number = log_z.dtype.type
    zero, one, absent = number(0), number(1), number(-np.inf)
    limit, half = number(80), number(0.5)
    odds = math.exp(-abs(delta))
    wrong = number((1.0 if delta >= 0.0 else odds) / (1.0 + odds))  # σ(δ)
    right = number((odds if delta >= 0.0 else 1.0) / (1.0 + odds))
    log_wrong = number(min(delta, 0.0) - math.log1p(odds))
    log_right = number(-max(delta, 0.0) - math.log1p(odds))
    for i in range(n):
        log_value = log_z[a, i]
        z = min(log_value, limit)  # beyond it, both terms are at their limits
        inverse = _exp(-max(z, zero))
        value = _exp(min(z, zero)) / inverse
        left = _exp(-value)
        small = value < half
        # (1 − e^−Z) / Z where the difference would cancel
        rest = _series(value, one) if small else one - left
        log_modified = (z if small else zero) + log(rest)
        modified_slope = (one if small else value) * left / rest
        unmodified = log_wrong - value
        modified = log_right + log_modified
        top = max(unmodified, modified)
        some = top > absent
        shift = top if some else zero
        share, other = _exp(unmodified - shift), _exp(modified - shift)
        total = share + other if some else one
        enriched[r, i] = shift + log(total) if some else absent
        value_slope = value if log_value < limit else zero
        slopes[r, i] = (other * modified_slope - share * value_slope) / total
        extra[r, i] = (share * right - other * wrong) / total


@inline
def _exp(value: float) -> float:
    """Return exp(value): a call of its own, as Numba inlines one in a loop at most."""
    return exp(value)


@inline
def _series(value: float, one: float) -> float:
    """Return (1 − e^−value) / value for 0 ≤ value < ½: Σ (−value)^n / (n+1)!."""
    power: Any = one
    for n in range(15, 1, -1):
        power = one - value * power / np.float32(n)  # of the type of `one`
    result: float = power
    return result


@inline
def _compare(
    enriched: Array,
    observed: Array,
    depths: Array,
    k: Array,
    n: int,
    wanted: bool,
    work: Array,
    p: Array,
) -> float:
    """Return −Σ k log p; set p to K p − k, the gradient by the logits."""
    zero, one, absent = p.dtype.type(0), p.dtype.type(1), p.dtype.type(-np.inf)
    for i in range(n):
        work[0, i] = absent
        work[1, i] = zero
        work[2, i] = zero
        work[3, i] = zero
    for o in range(observed.shape[0]):
        r, depth = observed[o], depths[o]
        for i in range(n):
            logit = depth + enriched[r, i]
            p[o, i] = logit
            work[0, i] = max(work[0, i], logit)
    for i in range(n):
        top = work[0, i]
        work[0, i] = top if top > absent else zero
    for o in range(observed.shape[0]):
        for i in range(n):
            logit = p[o, i] - work[0, i]
            reads = k[o, i]
            # where there is no read, p may be 0
            work[3, i] -= reads * (logit if reads > zero else zero)
            share = exp(logit)
            p[o, i] = share
            work[1, i] += share
            work[2, i] += reads
    for i in range(n):
        total, reads = work[1, i], work[2, i]
        some = total > zero
        work[3, i] += reads * log(total if some else one)
        # K / Σ, or 0 where no round can hold the probe
        work[1, i] = reads / total if some else zero
        work[2, i] = one if some else zero
    if wanted:
        for o in range(observed.shape[0]):
            for i in range(n):
                p[o, i] = work[1, i] * p[o, i] - work[2, i] * k[o, i]
    cost: float = _sum(3, work, n)
    return cost


@inline
def _sum(row: int, values: Array, n: int) -> float:
    """Return the sum of a row in float64, in a loop that does nothing else.

    A loop takes as many numbers at once as there are of the widest type in it.
    """
    total = 0.0
    for i in range(n):
        total += float(values[row, i])
    return total


@inline
def _back_to_links(
    by_logits: Array, observed: Array, n: int, by_links: Array, by_depths: Array
) -> None:
    """Set the gradient by log C that comes from the columns; add to that of log η."""
    zero = by_links.dtype.type(0)
    for r in range(by_links.shape[0]):
        for i in range(n):
            by_links[r, i] = zero
    for o in range(observed.shape[0]):
        r = observed[o]
        for i in range(n):
            by_links[r, i] += by_logits[o, i]
        by_depths[o] += _sum(o, by_logits, n)


@inline
def _back_to_log_z(
    links: Array,
    log_z: Array,
    slopes: Array,
    extra: Array,
    n: int,
    by_links: Array,
    by_log_z: Array,
    by_settings: Array,
) -> None:
    """Hand gradients down the chain; set those by log Z, add to those of settings."""
    zero = log_z.dtype.type(0)
    for a in range(by_log_z.shape[0]):
        for i in range(n):
            by_log_z[a, i] = zero
    for r in range(links.shape[0] - 1, -1, -1):
        kind, a, reference = links[r, 0], links[r, 1], links[r, 2]
        if reference >= 0:
            for i in range(n):
                by_links[reference, i] += by_links[r, i]
        if kind == INITIAL:
            continue
        for i in range(n):
            by_log_z[a, i] += by_links[r, i] * slopes[r, i]
        if kind == RHO_GAMMA:
            _blank(a, log_z, n)
            by_settings[r, 0] += _product(r, by_links, a, log_z, n)
            by_settings[r, 1] += _product(r, by_links, r, extra, n)
        elif kind == EXPONENTIAL:
            by_settings[r, 0] += _product(r, by_links, r, extra, n)


@inline
def _blank(row: int, values: Array, n: int) -> None:
    """Set to 0 what is −∞: it has no part in a gradient."""
    zero, absent = values.dtype.type(0), values.dtype.type(-np.inf)
    for i in range(n):
        value = values[row, i]
        values[row, i] = value if value > absent else zero


@inline
def _product(row: int, values: Array, other_row: int, others: Array, n: int) -> float:
    """Return the scalar product of two rows."""
    total = 0.0
    for i in range(n):
        total += float(values[row, i]) * float(others[other_row, i])
    return total


@inline
def _back_to_scores(
    shares: Array,
    by_log_z: Array,
    first: int,
    n: int,
    by_scores: Array,
    by_weights: Array,
) -> None:
    """Set the gradient by the scores, and add to that by the weights."""
    zero = shares.dtype.type(0)
    n_aggregates, n_bindings = by_weights.shape
    for m in range(n_bindings):
        for i in range(n):
            by_scores[m, first + i] = zero
        for a in range(n_aggregates):
            row = a * n_bindings + m
            for i in range(n):
                shares[row, i] *= by_log_z[a, i]
                by_scores[m, first + i] += shares[row, i]
            by_weights[a, m] += _sum(row, shares, n)
