"""The compiled loops over tiles of probes that `_numba` prepares and runs.

A tile holds up to LANES probes side by side: row p is window p of all of them, so that
inner loops run over neighbours in memory. In what follows P and Q are the windows
of the modes (over both strands); w and log_w are the cooperativity of one group of
probes. Rows of tiles and weights are padded with zeros to a multiple of SIDE.
"""

import math

import numpy as np

from pyprobound.kernels._numba import exp, jit
from pyprobound.kernels._vectors import (
    add_up,
    larger,
    load,
    multiply_add,
    repeat,
    store,
    width,
    zeros,
)

LANES = 128
"""Most probes of a tile. With 46 windows of either mode, it stays in the L2 cache."""

LEAST_LANES = 16
"""Two vectors of float32: the number of lanes is a multiple of it."""

# Unsigned indices: a signed one costs a look whether it counts from the end.
_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_LINE = np.uint64(16)  # scores of a cache line, in float32


# == a tile ===========================================================================


@jit
def read_tile(windows, probes, hill, e, top):
    """Write e^{h·(score − top)} of a tile, 0 for lanes without a probe.

    Args:
        windows: (N, P) scores.
        probes: (n,) rows of it, n at most the number of lanes.
        hill: Hill coefficient h.
        e: (≥ P, lanes), written up to P.
        top: (1, lanes) largest score of each probe, 0 where all are absent; written.
    """
    lanes = np.uint64(e.shape[1])
    n, size = np.uint64(len(probes)), np.uint64(windows.shape[1])
    # Where probes lie apart, ask for all of their cache lines before one is needed.
    apart = probes[-1] - probes[0] >= len(probes)
    for p in range(_0, size if apart else _0, _LINE):
        for lane in range(n):
            e[p, lane] = windows[np.uint64(probes[lane]), p]
    for lane in range(n):
        i = np.uint64(probes[lane])
        for p in range(size):
            e[p, lane] = windows[i, p]
    for p in range(size if n < lanes else _0):
        for lane in range(n, lanes):
            e[p, lane] = -np.inf
    for lane in range(_0, lanes, width(e)):
        most = load(e, _0, lane)
        for p in range(_1, size):
            most = larger(most, load(e, p, lane))
        store(top, _0, lane, most)
    for lane in range(lanes):
        top[_0, lane] = top[_0, lane] if top[_0, lane] > -np.inf else e.dtype.type(0)
    for p in range(size):
        for lane in range(lanes):
            e[p, lane] = exp(hill * (e[p, lane] - top[_0, lane]))


@jit
def write_tile(tile, probes, factor, gradient):
    """Write factor · tile to the rows `probes` of the gradient (N, P)."""
    for lane in range(np.uint64(len(probes))):
        i = np.uint64(probes[lane])
        for p in range(np.uint64(gradient.shape[1])):
            gradient[i, p] = factor * tile[p, lane]


@jit
def clear(tile):
    """Write zeros."""
    lanes = np.uint64(tile.shape[1])
    for p in range(np.uint64(len(tile))):
        for lane in range(lanes):
            tile[p, lane] = 0


@jit
def add(tile, to):
    """Add a tile to another."""
    lanes = np.uint64(tile.shape[1])
    for p in range(np.uint64(len(tile))):
        for lane in range(lanes):
            to[p, lane] += tile[p, lane]


@jit
def energy(tile, probes, windows):
    """Return Σ tile · score over the probes of a tile."""
    total = 0.0
    for lane in range(np.uint64(len(probes))):
        i = np.uint64(probes[lane])
        for p in range(np.uint64(windows.shape[1])):
            score = windows[i, p] if windows[i, p] > -np.inf else windows.dtype.type(0)
            total += tile[p, lane] * score
    return total


# == pairs ============================================================================


@jit
def add_weighted(w, runs, b, y):
    """Add Σ_q w[p,q] b[q] to y[p].

    Args:
        w: (≥ P, ≥ Q) weights.
        runs: (n, 3) where each run of pairs begins, (p, q), with even q, and the q
            after its last; it has SIDE rows. Weights of no run are 0.
        b: (≥ Q, lanes).
        y: (≥ P, lanes), added to.
    """
    lanes = np.uint64(y.shape[1])
    step = width(y)
    for run in range(len(runs)):
        p0, start, stop = np.uint64(runs[run, 0]), runs[run, 1], runs[run, 2]
        p1, p2, p3 = p0 + _1, p0 + _2, p0 + _3
        for i in range(np.uint64(0), lanes, _2 * step):
            j = i + step
            x0, x1, x2, x3 = (
                load(y, p0, i),
                load(y, p1, i),
                load(y, p2, i),
                load(y, p3, i),
            )
            y0, y1, y2, y3 = (
                load(y, p0, j),
                load(y, p1, j),
                load(y, p2, j),
                load(y, p3, j),
            )
            for q in range(np.uint64(start), np.uint64(stop)):
                left, right = load(b, q, i), load(b, q, j)
                weight = repeat(w, p0, q)
                x0, y0 = multiply_add(weight, left, x0), multiply_add(weight, right, y0)
                weight = repeat(w, p1, q)
                x1, y1 = multiply_add(weight, left, x1), multiply_add(weight, right, y1)
                weight = repeat(w, p2, q)
                x2, y2 = multiply_add(weight, left, x2), multiply_add(weight, right, y2)
                weight = repeat(w, p3, q)
                x3, y3 = multiply_add(weight, left, x3), multiply_add(weight, right, y3)
            store(y, p0, i, x0)
            store(y, p1, i, x1)
            store(y, p2, i, x2)
            store(y, p3, i, x3)
            store(y, p0, j, y0)
            store(y, p1, j, y1)
            store(y, p2, j, y2)
            store(y, p3, j, y3)


@jit
def add_products(w, runs, a, b, shares):
    """Add w[p,q] Σ_lanes a[p] b[q] to shares[p,q].

    Args:
        w: (≥ P, ≥ Q) weights.
        runs: As in `add_weighted`. Columns are taken by two: the one after a run has no
            weight, or is padding.
        a: (≥ P, lanes).
        b: (≥ Q, lanes).
        shares: (≥ P, ≥ Q) float64, added to.
    """
    lanes = np.uint64(a.shape[1])
    for run in range(len(runs)):
        p0, start, stop = np.uint64(runs[run, 0]), runs[run, 1], runs[run, 2]
        p1, p2, p3 = p0 + _1, p0 + _2, p0 + _3
        for q in range(np.uint64(start), np.uint64(stop), _2):
            r = q + _1
            x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = zeros(a)
            for i in range(np.uint64(0), lanes, width(a)):
                left, right = load(b, q, i), load(b, r, i)
                factor = load(a, p0, i)
                x0, y0 = multiply_add(factor, left, x0), multiply_add(factor, right, y0)
                factor = load(a, p1, i)
                x1, y1 = multiply_add(factor, left, x1), multiply_add(factor, right, y1)
                factor = load(a, p2, i)
                x2, y2 = multiply_add(factor, left, x2), multiply_add(factor, right, y2)
                factor = load(a, p3, i)
                x3, y3 = multiply_add(factor, left, x3), multiply_add(factor, right, y3)
            shares[p0, q] += w[p0, q] * add_up(x0)
            shares[p1, q] += w[p1, q] * add_up(x1)
            shares[p2, q] += w[p2, q] * add_up(x2)
            shares[p3, q] += w[p3, q] * add_up(x3)
            shares[p0, r] += w[p0, r] * add_up(y0)
            shares[p1, r] += w[p1, r] * add_up(y1)
            shares[p2, r] += w[p2, r] * add_up(y2)
            shares[p3, r] += w[p3, r] * add_up(y3)


@jit
def weigh(w, runs, a, b, y, total):
    """Write y[p] = Σ_q w[p,q] b[q] and, to `total` (lanes,), Σ_p a[p] y[p]."""
    lanes = np.uint64(y.shape[1])
    clear(y)
    add_weighted(w, runs, b, y)
    for lane in range(lanes):
        total[lane] = 0
    for p in range(np.uint64(len(a))):
        for lane in range(lanes):
            total[lane] += a[p, lane] * y[p, lane]


# == one probe in the log domain ======================================================


@jit
def log_scores(windows, i, hill, top, scores):
    """Write h·(score − top) of the windows of probe i."""
    for p in range(np.uint64(len(scores))):
        scores[p] = hill * (windows[i, p] - top)


@jit
def pair_sum(log_w, a, b):
    """Return the largest a[p] + log_w[p,q] + b[q], and Σ_{p,q} of exp relative to it.

    Args:
        log_w: (P, Q).
        a: (P,) of one probe.
        b: (Q,).

    Returns:
        Both numbers, the sum in float64; −∞ and 0 if no pair can be.
    """
    rows, columns = np.uint64(len(a)), np.uint64(len(b))
    top = a.dtype.type(-np.inf)
    for p in range(rows):
        if a[p] == -np.inf:
            continue
        best = a.dtype.type(-np.inf)
        for q in range(columns):
            score = log_w[p, q] + b[q]
            best = max(best, score)
        top = max(top, a[p] + best)
    total = 0.0
    if top == -np.inf:
        return top, total
    for p in range(rows):
        if a[p] == -np.inf:
            continue
        part = a.dtype.type(0)
        for q in range(columns):
            part += exp(a[p] + log_w[p, q] + b[q] - top)
        total += part
    return top, total


@jit
def add_shares(log_w, a, b, top, scale, lane, to_a, to_b, shares):
    """Add scale · exp(a[p] + log_w[p,q] + b[q] − top) to all that have part in a pair.

    Args:
        log_w: (P, Q).
        a: (P,) of one probe.
        b: (Q,).
        top: From `pair_sum`, finite.
        scale: Gradient of the probe's log sum over the sum from `pair_sum`.
        lane: The probe's place in the tile.
        to_a: (≥ P, lanes), column `lane` added to; or (0, 0).
        to_b: (≥ Q, lanes) or (0, 0).
        shares: (≥ P, ≥ Q) float64, or (0, 0).
    """
    for p in range(np.uint64(len(a))):
        if a[p] == -np.inf:
            continue
        for q in range(np.uint64(len(b))):
            share = scale * exp(a[p] + log_w[p, q] + b[q] - top)
            if len(to_a):
                to_a[p, lane] += share
            if len(to_b):
                to_b[q, lane] += share
            if len(shares):
                shares[p, q] += share


# == a stretch of probes ==============================================================


@jit
def forward(
    a, b, same, probes, ends, lanes, start, stop, cooperativity, hill, least,
    sums,
):  # fmt: skip
    """Write the log sums of a stretch of the probes.

    Args:
        a: (N, P) scores of the first mode.
        b: (N, Q) of the second.
        same: Whether both are the same and the pairs are folded to one triangle.
        probes: (N,) rows of a and b, sorted by group.
        ends: (G + 1,) where each group begins in `probes`, and N.
        lanes: Most probes of a tile.
        start: First of `probes` to work on.
        stop: The one after the last.
        cooperativity: log_w (G, P, Q), what was subtracted from it (G,), w (G, ≥ P,
            ≥ Q), its runs of pairs (n, 3) and where each group begins in them (G + 1,).
        hill: Hill coefficient.
        least: The least total that underflow cannot have spoilt.
        sums: (N,), written.
    """
    all_log_w, shifts, all_w, all_runs, begins = cooperativity
    kind = all_w.dtype
    a_tile, a_top = np.zeros((all_w.shape[1], lanes), kind), np.zeros((1, lanes), kind)
    b_tile, b_top = a_tile, a_top
    if not same:
        b_tile, b_top = np.zeros((all_w.shape[2], lanes), kind), np.zeros_like(a_top)
    a_scores, b_scores = np.empty(a.shape[1], kind), np.empty(b.shape[1], kind)
    paired, total = np.zeros_like(a_tile), np.zeros(lanes, kind)
    for g in range(len(ends) - 1):
        w, log_w, shift = all_w[g], all_log_w[g], shifts[g]
        runs = all_runs[begins[g] : begins[g + 1]]
        last = min(ends[g + 1], stop)
        for at in range(max(ends[g], start), last, lanes):
            tile = probes[at : min(at + lanes, last)]
            read_tile(a, tile, hill, a_tile, a_top)
            if not same:
                read_tile(b, tile, hill, b_tile, b_top)
            weigh(w, runs, a_tile, b_tile, paired, total)
            for lane in range(len(tile)):
                i, top, found = tile[lane], kind.type(0), np.float64(total[lane])
                if total[lane] < least:
                    log_scores(a, i, hill, a_top[0, lane], a_scores)
                    log_scores(b, i, hill, b_top[0, lane], b_scores)
                    top, found = pair_sum(log_w, a_scores, b_scores)
                relative_to = hill * (a_top[0, lane] + b_top[0, lane]) + shift + top
                sums[i] = relative_to + math.log(found) if found > 0 else -np.inf


@jit
def share_out(w, runs, transposed, a, b, scale, scaled, of_a, of_b, pairs):
    """Give each window and pair its share in the sums, times a scale for each probe.

    Args:
        w: (≥ P, ≥ Q) weights.
        runs: (n, 3) as `add_weighted` takes them.
        transposed: The transpose of w, and its runs.
        a: (≥ P, lanes) from `read_tile`.
        b: (≥ Q, lanes).
        scale: (lanes,).
        scaled: (≥ P, lanes), overwritten.
        of_a: (≥ P, lanes) Σ_q w[p,q] b[q], multiplied by scale · a[p].
        of_b: (≥ Q, lanes), written; or (0, lanes).
        pairs: (≥ P, ≥ Q) float64, added to; or (0, 0).
    """
    lanes = np.uint64(a.shape[1])
    for p in range(np.uint64(len(a))):
        for lane in range(lanes):
            scaled[p, lane] = a[p, lane] * scale[lane]
            of_a[p, lane] *= scaled[p, lane]
    if len(of_b):
        clear(of_b)
        add_weighted(transposed[0], transposed[1], scaled, of_b)
        for q in range(np.uint64(len(b))):
            for lane in range(lanes):
                of_b[q, lane] *= b[q, lane]
    if len(pairs):
        add_products(w, runs, scaled, b, pairs)


@jit
def redo(
    a, b, tile, hill, log_w, least, a_top, b_top, total, grad,
    of_a, of_b, pairs,
):  # fmt: skip
    """Share out the sums of those probes of a tile that underflow may have spoilt.

    Args:
        a: (N, P) scores of the first mode.
        b: (N, Q) of the second.
        tile: (n,) rows of a and b.
        hill: Hill coefficient.
        log_w: (P, Q) cooperativity.
        least: The least total that underflow cannot have spoilt.
        a_top: (1, lanes) from `read_tile`.
        b_top: (1, lanes).
        total: (lanes,) from `weigh`.
        grad: (N,) of the log sums.
        of_a: (≥ P, lanes) shares of windows, added to.
        of_b: (≥ Q, lanes) or (0, lanes).
        pairs: (≥ P, ≥ Q) float64 shares of pairs, added to; or (0, 0).
    """
    a_scores, b_scores = np.empty(a.shape[1], a.dtype), np.empty(b.shape[1], a.dtype)
    for lane in range(len(tile)):
        if total[lane] >= least:
            continue
        i = tile[lane]
        log_scores(a, i, hill, a_top[0, lane], a_scores)
        log_scores(b, i, hill, b_top[0, lane], b_scores)
        top, found = pair_sum(log_w, a_scores, b_scores)
        if found > 0:
            scale = a.dtype.type(grad[i] / found)
            add_shares(log_w, a_scores, b_scores, top, scale, lane, of_a, of_b, pairs)


@jit
def backward(
    a, b, same, probes, ends, lanes, start, stop, cooperativity, hill, least,
    transposed, grad, to_a, to_b, first_group, to_pairs, to_hill,
):  # fmt: skip
    """Write the gradients of a stretch of the probes.

    The arguments are those of `forward`, but for the sums, and these.

    Args:
        transposed: w (G, ≥ Q, ≥ P), its runs, and where each group begins in them.
        grad: (N,) of the log sums.
        to_a: (N, P) gradient of a, written; of both modes if they are the same; or
            (0, 0).
        to_b: (N, Q) of b; or (0, 0).
        first_group: Group of the first probe of the stretch.
        to_pairs: (groups of the stretch, ≥ P, ≥ Q) float64, added to: the shares of
            pairs in the sums, times grad; or (0, 0, 0).
        to_hill: (1,) float64, added to: shares times scores of a and b; or (0,).
    """
    all_log_w, _, all_w, all_runs, begins = cooperativity
    kind = all_w.dtype
    a_tile, a_top = np.zeros((all_w.shape[1], lanes), kind), np.zeros((1, lanes), kind)
    b_tile, b_top = a_tile, a_top
    if not same:
        b_tile, b_top = np.zeros((all_w.shape[2], lanes), kind), np.zeros_like(a_top)
    scaled, of_a = np.zeros_like(a_tile), np.zeros_like(a_tile)
    wants_b = same or len(to_b) > 0 or len(to_hill) > 0
    of_b = np.zeros((all_w.shape[2] if wants_b else 0, lanes), kind)
    total, scale, pairs = np.zeros(lanes, kind), np.zeros(lanes, kind), np.zeros((0, 0))
    for g in range(len(ends) - 1):
        first, last = max(ends[g], start), min(ends[g + 1], stop)
        w, log_w = all_w[g], all_log_w[g]
        runs = all_runs[begins[g] : begins[g + 1]]
        turned = (
            transposed[0][g],
            transposed[1][transposed[2][g] : transposed[2][g + 1]],
        )
        if first < last and len(to_pairs):
            pairs = to_pairs[g - first_group]
        for at in range(first, last, lanes):
            tile = probes[at : min(at + lanes, last)]
            read_tile(a, tile, hill, a_tile, a_top)
            if not same:
                read_tile(b, tile, hill, b_tile, b_top)
            weigh(w, runs, a_tile, b_tile, of_a, total)
            for lane in range(lanes):
                trusted = lane < len(tile) and total[lane] >= least
                scale[lane] = grad[tile[lane]] / total[lane] if trusted else 0
            share_out(w, runs, turned, a_tile, b_tile, scale, scaled, of_a, of_b, pairs)
            redo(
                a, b, tile, hill, log_w, least, a_top, b_top, total, grad,
                of_a, of_b, pairs,
            )  # fmt: skip
            if same:
                add(of_b, of_a)
            if len(to_a):
                write_tile(of_a, tile, hill, to_a)
            if len(to_b):
                write_tile(of_b, tile, hill, to_b)
            if len(to_hill):
                to_hill[0] += energy(of_a, tile, a)
                if not same:
                    to_hill[0] += energy(of_b, tile, b)
