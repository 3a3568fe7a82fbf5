"""The information of counts in one pass over the probes, compiled.

Probes go through all steps some at a time, as in `selection`, whose parts are used. All
is float64: what parameters of the rounds and the scores have in common cancels in some
directions, which must stay without information.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound.kernels._numba import Array, array_of, exp, inline, jit, run, stretches
from pyprobound.kernels._numba_log import log
from pyprobound.kernels.selection import Chain
from pyprobound.kernels.selection._numba import (
    EXPONENTIAL,
    INITIAL,
    RHO_GAMMA,
    enrich,
    factors_of,
    flat_counts,
    is_regular,
    load,
    log_sums,
    log_sums_of_shared,
)
from pyprobound.kernels.selection_information import _found, _reference
from pyprobound.kernels.selection_information._found import Found

BLOCK = 64
"""Probes of a block: the derivatives of all quantities stay in the second cache."""

WEIGHT, SETTING = _found.WEIGHT, _found.SETTING


def selection_information(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    chain: Chain,
    own: Sequence[tuple[int, int, int]],
    live: Sequence[int],
) -> Callable[[slice], Found]:
    """Return what finds them for a piece of the probes; see the public function."""
    given = scores, log_weights, settings, log_depths
    if not len(scores) or not all(map(is_regular, given)):
        return _reference.selection_information(*given, counts, chain, own, live, {})
    n_own, n_live = len(own), len(live)
    n_sums = 3 + len(chain.observed)
    reads, steps = flat_counts(counts)
    weights = array_of(log_weights)
    fixed = (
        *(array_of(scores), weights, *factors_of(weights, torch.float64)),
        *(array_of(settings), array_of(log_depths), array_of(reads), *steps),
        *_tables(chain),
        np.array(own, np.int64).reshape(-1, 3),
        np.array(live, np.int64),
    )

    def found(piece: slice) -> Found:
        start, size = piece.start, piece.stop - piece.start
        sums = np.zeros((len(stretches(size)), n_sums + n_own + n_own * n_own))
        slopes = np.zeros((n_live, size))
        coupling = np.zeros((n_live, n_live, size))
        crossing = np.zeros((n_live, n_own, size))

        def arguments(i: int, rows: slice) -> tuple[Any, ...]:
            at = start, rows.start, rows.stop
            return *fixed, *at, sums[i], slopes, coupling, crossing

        run(_information, size, arguments)
        total = torch.from_numpy(sums.sum(0))
        end = n_sums + n_own
        return Found(
            float(total[0]),
            float(total[1]),
            int(total[2]),
            total[3:n_sums],
            total[n_sums:end],
            total[end:].view(n_own, n_own),
            torch.from_numpy(slopes),
            torch.from_numpy(coupling),
            torch.from_numpy(crossing),
        )

    return found


def _tables(chain: Chain) -> tuple[Array, Array, Array]:
    """Return links, observed links, and which links each column went through."""
    links = np.array([[int(k.kind), k.aggregate, k.reference] for k in chain.links])
    observed = np.array(chain.observed, np.int64)
    passed = np.zeros((len(observed), len(links)), np.bool_)
    for column, index in enumerate(chain.observed):
        at = index
        while at >= 0:
            passed[column, at] = True
            at = chain.links[at].reference
    return links.astype(np.int64), observed, passed


@jit
def _information(
    scores: Array,  # (bindings, probes)
    weights: Array,  # (aggregates, bindings)
    scale: Array,
    factors: Array,
    settings: Array,  # (links, settings)
    depths: Array,  # (columns,)
    counts: Array,  # (probes · columns,)
    by_probe: int,
    by_column: int,
    links: Array,  # (links, 3): kind, aggregate, reference
    observed: Array,  # (columns,)
    passed: Array,  # (columns, links)
    own: Array,  # (Q, 3)
    live: Array,  # (V,)
    begin: int,  # of the piece
    start: int,  # within the piece
    stop: int,
    sums: Array,  # loss, χ², freedom, expected, gradient, information
    slopes: Array,  # (V, probes of the piece)
    coupling: Array,  # (V, V, probes of the piece)
    crossing: Array,  # (V, Q, probes of the piece)
) -> None:
    n_aggregates, n_bindings = weights.shape
    n_links, n_columns = links.shape[0], observed.shape[0]
    n_live, n_own = live.shape[0], own.shape[0]
    x = np.empty((n_bindings, BLOCK))
    shares = np.empty((n_aggregates * n_bindings, BLOCK))
    log_z = np.empty((n_aggregates, BLOCK))
    enriched = np.empty((n_links, BLOCK))
    slope = np.empty((n_links, BLOCK))
    extra = np.empty((n_links, BLOCK))
    through = np.empty((n_columns * n_aggregates, BLOCK))
    p = np.empty((n_columns, BLOCK))
    k = np.empty((n_columns, BLOCK))
    rest = np.empty((n_columns, BLOCK))
    work = np.empty((4, BLOCK))
    u = np.zeros((n_live + n_own, n_columns, BLOCK))
    v = np.zeros((n_live + n_own, n_columns, BLOCK))
    for first in range(start, stop, BLOCK):
        n = min(BLOCK, stop - first)
        load(scores, counts, by_probe, by_column, begin + first, n, x, k)
        if len(factors):
            log_sums_of_shared(x, scale, factors, n, True, work, shares, log_z)
        else:
            log_sums(x, weights, n, True, work, shares, log_z)
        for r in range(n_links):
            enrich(r, links, settings, log_z, n, enriched, slope, extra)
        _compare(enriched, observed, depths, k, n, work, p, rest, sums)
        _slopes_by_aggregate(links, passed, slope, n, through, n_aggregates)
        for a in range(n_live):
            _by_score(a, live[a], n_aggregates, n_bindings, through, shares, n, u)
        for q in range(n_own):
            _by_own(
                n_live + q, own[q], n_aggregates, n_bindings, links, passed, through,
                shares, log_z, extra, n, u,
            )  # fmt: skip
        _centre(p, work, n, u, v)
        _add_own(n_live, n_own, rest, n, u, v, sums[3 + n_columns :])
        _write_scores(n_live, n_own, rest, first, n, u, v, slopes, coupling, crossing)


@inline
def _compare(
    enriched: Array,
    observed: Array,
    depths: Array,
    k: Array,
    n: int,
    work: Array,
    p: Array,
    rest: Array,
    sums: Array,
) -> None:
    """Set p, K in work[2] and K p − k in rest; add loss, χ², freedom and K p."""
    for i in range(n):
        work[0, i] = -np.inf
        work[1, i] = 0.0
        work[2, i] = 0.0
        work[3, i] = 0.0
    n_columns = observed.shape[0]
    for o in range(n_columns):
        r, depth = observed[o], depths[o]
        for i in range(n):
            logit = depth + enriched[r, i]
            p[o, i] = logit
            work[0, i] = max(work[0, i], logit)
    for i in range(n):
        top = work[0, i]
        work[0, i] = top if top > -np.inf else 0.0
    for o in range(n_columns):
        for i in range(n):
            logit = p[o, i] - work[0, i]
            reads = k[o, i]
            work[3, i] -= reads * (logit if reads > 0.0 else 0.0)
            share = exp(logit)
            p[o, i] = share
            work[1, i] += share
            work[2, i] += reads
    for i in range(n):
        total = work[1, i]
        some = total > 0.0
        work[3, i] += work[2, i] * log(total if some else 1.0)
        sums[0] += work[3, i]
        work[1, i] = 1.0 / total if some else 0.0
        work[2, i] = work[2, i] if some else 0.0
        work[3, i] = 0.0  # the columns that can hold the probe
    for o in range(n_columns):
        expected, chi2 = 0.0, 0.0
        for i in range(n):
            p[o, i] *= work[1, i]
            mean = work[2, i] * p[o, i]
            reads = k[o, i] if work[1, i] > 0.0 else 0.0
            rest[o, i] = mean - reads
            may_be = mean > 0.0
            work[3, i] += 1.0 if may_be else 0.0
            expected += mean
            misfit = rest[o, i] * rest[o, i] / (mean if may_be else 1.0)
            chi2 += misfit if may_be else 0.0
        sums[1] += chi2
        sums[3 + o] += expected
    for i in range(n):
        sums[2] += max(work[3, i] - 1.0, 0.0)


@inline
def _slopes_by_aggregate(
    links: Array, passed: Array, slope: Array, n: int, through: Array, n_aggregates: int
) -> None:
    """Set the derivative of each column's logit by log Z of each aggregate."""
    through[:] = 0.0
    for o in range(passed.shape[0]):
        for r in range(links.shape[0]):
            if passed[o, r] and links[r, 0] != INITIAL:
                row = o * n_aggregates + links[r, 1]
                for i in range(n):
                    through[row, i] += slope[r, i]


@inline
def _by_score(
    key: int,
    binding: int,
    n_aggregates: int,
    n_bindings: int,
    through: Array,
    shares: Array,
    n: int,
    u: Array,
) -> None:
    """Set the derivatives of the logits by the score of a binding."""
    for o in range(u.shape[1]):
        for i in range(n):
            u[key, o, i] = 0.0
        for a in range(n_aggregates):
            row, share = o * n_aggregates + a, a * n_bindings + binding
            for i in range(n):
                u[key, o, i] += through[row, i] * shares[share, i]


@inline
def _by_own(
    key: int,
    quantity: Array,
    n_aggregates: int,
    n_bindings: int,
    links: Array,
    passed: Array,
    through: Array,
    shares: Array,
    log_z: Array,
    extra: Array,
    n: int,
    u: Array,
) -> None:
    """Set the derivatives of the logits by a quantity of the rounds."""
    what, first, second = quantity[0], quantity[1], quantity[2]
    for o in range(u.shape[1]):
        if what == WEIGHT:
            row, share = o * n_aggregates + first, first * n_bindings + second
            for i in range(n):
                u[key, o, i] = through[row, i] * shares[share, i]
        elif what == SETTING:
            kind, a = links[first, 0], links[first, 1]
            direct = kind == EXPONENTIAL or (kind == RHO_GAMMA and second == 1)
            for i in range(n):
                value = extra[first, i] if direct else log_z[a, i]
                value = value if value > -np.inf else 0.0
                u[key, o, i] = value if passed[o, first] else 0.0
        else:
            for i in range(n):
                u[key, o, i] = 1.0 if o == first else 0.0


@inline
def _centre(p: Array, work: Array, n: int, u: Array, v: Array) -> None:
    """Take the mean over a probe's shares off its derivatives; weigh them with K p."""
    for key in range(u.shape[0]):
        for i in range(n):
            work[0, i] = 0.0
        for o in range(u.shape[1]):
            for i in range(n):
                work[0, i] += p[o, i] * u[key, o, i]
        for o in range(u.shape[1]):
            for i in range(n):
                u[key, o, i] -= work[0, i]
                v[key, o, i] = work[2, i] * p[o, i] * u[key, o, i]


@inline
def _add_own(
    n_live: int, n_own: int, rest: Array, n: int, u: Array, v: Array, sums: Array
) -> None:
    """Add gradient and information of the rounds' own quantities."""
    for q in range(n_own):
        total = 0.0
        for o in range(u.shape[1]):
            for i in range(n):
                total += u[n_live + q, o, i] * rest[o, i]
        sums[q] += total
        for other in range(q + 1):
            total = 0.0
            for o in range(u.shape[1]):
                for i in range(n):
                    total += u[n_live + q, o, i] * v[n_live + other, o, i]
            sums[n_own + q * n_own + other] += total
            if other < q:
                sums[n_own + other * n_own + q] += total


@inline
def _write_scores(
    n_live: int,
    n_own: int,
    rest: Array,
    first: int,
    n: int,
    u: Array,
    v: Array,
    slopes: Array,
    coupling: Array,
    crossing: Array,
) -> None:
    """Add what belongs to scores, probe by probe."""
    for a in range(n_live):
        for o in range(u.shape[1]):
            for i in range(n):
                slopes[a, first + i] += u[a, o, i] * rest[o, i]
            for b in range(n_live):
                for i in range(n):
                    coupling[a, b, first + i] += u[a, o, i] * v[b, o, i]
            for q in range(n_own):
                for i in range(n):
                    crossing[a, q, first + i] += u[a, o, i] * v[n_live + q, o, i]
