"""The cost of counts and its gradient as one Triton kernel.

A program takes a tile of probes, one to a lane, from the scores to the cost and back:
tiles [aggregate, probe], [link, probe] and [column, probe], of which a lane holds its
own column, so that nothing but scores, counts and the gradient by the scores passes
through memory. With p the shares of a probe, k its counts and K their sum,

    by log p     g_o = K p_o − k_o                       also that of log η_o
    by log C     G_r = Σ g of the link's columns + Σ G of the links selected from it
    by log Z     h_a = Σ_r of the aggregate G_r · d log enrichment_r / d log Z
    by X and w   h_a · (share of the binding in Z_a)

Sums over probes are float64, and those of the programs are added in order. The rounds
are numbers that the kernel reads: another chain is not compiled again, unless it has
more than the next power of two of anything. Tables without probes or bindings, which
leave nothing to launch, go to the reference.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound.kernels._triton import (
    OPTIONS,
    Stretches,
    finite_or_zero,
    jit,
    on_device,
    stretch_of_program,
)
from pyprobound.kernels.selection._chain import NONE, Kind
from pyprobound.kernels.selection._operator import cost_operator

__all__ = ["selection_cost"]

CELLS = 1024
"""Entries of a tile: eight to a thread. The dozen tiles of a program then stay in
registers: compiled for sm_80, those of 8, 16 and 32 links take 238, 255 and 247."""

MOST_LANES, FEWEST_LANES = 128, 16
"""Probes of a tile: one to a thread, and fewer where there are many rounds."""

NOWHERE = tl.constexpr(NONE)
BOUND = tl.constexpr(int(Kind.BOUND))
UNSATURATED = tl.constexpr(int(Kind.UNSATURATED))
UNBOUND = tl.constexpr(int(Kind.UNBOUND))
RHO_GAMMA = tl.constexpr(int(Kind.RHO_GAMMA))
EXPONENTIAL = tl.constexpr(int(Kind.EXPONENTIAL))


# == the operator =====================================================================


def _cost_and_gradient(
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
    n_bindings, n_probes = scores.shape
    shared = log_weights, settings, log_depths
    sizes = [1, *(each.numel() for each in shared if with_gradient)]
    by_scores = scores.new_empty(scores.shape if with_gradient else (0, 0))
    stretches = Stretches.of(n_probes, scores.device, 8 * sum(sizes))
    parts = torch.empty(
        (stretches.per_group, sum(sizes)), dtype=torch.float64, device=scores.device
    )
    widths = [
        triton.next_power_of_2(max(1, n))
        for n in (*log_weights.shape, len(settings), len(observed))
    ]
    lanes = min(MOST_LANES, max(FEWEST_LANES, CELLS // max(widths)))
    counts = counts.to(scores.device)
    with on_device(scores):
        _cost[stretches.grid](
            scores.contiguous(),
            *(each.contiguous() for each in shared),
            counts,
            _on(scores.device, tuple(links)),
            _on(scores.device, tuple(observed)),
            stretches.ends,
            parts,
            by_scores,
            n_probes,
            len(log_weights),
            n_bindings,
            len(settings),
            len(observed),
            *counts.stride(),
            sum(sizes),
            WITH_GRADIENT=with_gradient,
            AGGREGATES=widths[0],
            BINDINGS=widths[1],
            LINKS=widths[2],
            COLUMNS=widths[3],
            PROBES=lanes,
            **OPTIONS,
        )
    cost, *sums = parts.sum(0).split(sizes)
    shapes = [each.shape if with_gradient else (0,) * each.ndim for each in shared]
    sums = sums if with_gradient else [cost[:0]] * len(shared)
    by_weights, by_settings, by_depths = (
        # a copy: results of an operator share no memory
        total.to(scores.dtype, copy=True).view(shape)
        for total, shape in zip(sums, shapes, strict=True)
    )
    return cost[0].clone(), by_scores, by_weights, by_settings, by_depths


@lru_cache(maxsize=64)
def _on(device: torch.device, numbers: tuple[int, ...]) -> Tensor:
    """Return numbers as a tensor, which need not be sent to the device each time."""
    return torch.tensor(numbers, dtype=torch.int32, device=device)


selection_cost = cost_operator("triton_selection_cost", _cost_and_gradient)


# == rows of tiles, functions =========================================================


@jit
def _row(tile: tl.tensor, names: tl.tensor, name: tl.tensor) -> tl.tensor:
    """Return the sum of the rows of that name; 0 where there is none."""
    return tl.sum(tl.where(names[:, None] == name, tile, 0.0), 0)


@jit
def _add_row(
    tile: tl.tensor, names: tl.tensor, name: tl.tensor, values: tl.tensor
) -> tl.tensor:
    """Return the tile with values added to the rows of that name."""
    return tl.where(names[:, None] == name, tile + values[None, :], tile)


@jit
def _log1p(value: tl.tensor) -> tl.tensor:
    """Return log(1 + value) for 0 ≤ value ≤ 1, exact to a few last bits.

    What 1 + value loses by rounding is made good by the slope of the logarithm.
    """
    whole = 1.0 + value
    added = whole - 1.0
    tiny = added == 0.0
    return tl.where(tiny, value, tl.log(whole) * (value / tl.where(tiny, 1.0, added)))


@jit
def _part_to_one(value: tl.tensor) -> tl.tensor:
    """Return (1 − e^−value) / value for 0 ≤ value < ½: Σ (−value)^n / (n+1)!."""
    power = tl.zeros_like(value) + 1.0
    for n in tl.static_range(15, 1, -1):
        power = 1.0 - value * power / n
    return power


# == enrichment =======================================================================


@jit
def _exponential(log_z: tl.tensor, delta: tl.tensor) -> tl.tensor:
    """Return log[σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z})], and its slopes by log Z and δ."""
    odds = tl.exp(-tl.abs(delta))
    log_one_and_odds = _log1p(odds)
    wrong = tl.where(delta >= 0.0, 1.0, odds) / (1.0 + odds)  # σ(δ)
    right = tl.where(delta >= 0.0, odds, 1.0) / (1.0 + odds)
    log_wrong = tl.where(delta < 0.0, delta, 0.0) - log_one_and_odds
    log_right = tl.where(delta > 0.0, -delta, 0.0) - log_one_and_odds
    # beyond e^80 (float32 ends at e^88) both terms are at their limits
    within = ~(log_z >= 80.0)  # NaN, too
    z = tl.where(within, log_z, 80.0)
    value = tl.exp(z)
    left = tl.exp(-value)
    # (1 − e^−Z) / Z where the difference would cancel
    small = value < 0.5
    rest = tl.where(small, _part_to_one(tl.where(small, value, 0.0)), 1.0 - left)
    log_modified = tl.where(small, z, 0.0) + tl.log(rest)
    modified_slope = tl.where(small, 1.0, value) * left / rest
    unmodified = log_wrong - value
    modified = log_right + log_modified
    top = finite_or_zero(tl.maximum(unmodified, modified))
    share, other = tl.exp(unmodified - top), tl.exp(modified - top)
    total = share + other
    absent = total == 0.0
    total = tl.where(absent, 1.0, total)
    enriched = tl.where(absent, float("-inf"), top + tl.log(total))
    value_slope = tl.where(within, value, 0.0)
    slope = (other * modified_slope - share * value_slope) / total
    return enriched, slope, (share * right - other * wrong) / total


@jit
def _enrichment(
    kind: tl.tensor, log_z: tl.tensor, first: tl.tensor, second: tl.tensor
) -> tl.tensor:
    """Return the log enrichment, and its slopes by log Z and by both settings.

    Args:
        kind: A number of `Kind`.
        log_z: Of each lane.
        first: ρ or δ, read only by the kinds that have it.
        second: γ.
    """
    zero = tl.zeros_like(log_z)
    enriched, slope, by_first, by_second = zero, zero, zero, zero
    if kind == UNSATURATED:
        enriched, slope = log_z, zero + 1.0
    elif kind == EXPONENTIAL:
        enriched, slope, by_first = _exponential(log_z, first)
    elif (kind == BOUND) | (kind == UNBOUND) | (kind == RHO_GAMMA):
        # log(1+Z) and Z / (1+Z)
        small = tl.exp(-tl.abs(log_z))
        softplus = tl.maximum(log_z, 0.0) + _log1p(small)
        sigmoid = tl.where(log_z >= 0.0, 1.0, small) / (1.0 + small)
        if kind == BOUND:
            enriched = tl.minimum(log_z, 0.0) - _log1p(small)
            slope = tl.where(log_z >= 0.0, small, 1.0) / (1.0 + small)
        elif kind == UNBOUND:
            enriched, slope = -softplus, -sigmoid
        else:
            present = log_z != float("-inf")
            by_first, by_second = finite_or_zero(log_z), softplus
            # where nothing binds, Z^ρ is 0, and 1 for ρ = 0
            power = tl.where(first != 0.0, float("-inf"), zero)
            power = tl.where(present, first * by_first, power)
            enriched = power + second * softplus
            slope = tl.where(present, first + second * sigmoid, 0.0)
    return enriched, slope, by_first, by_second


# == a tile of probes =================================================================


@jit
def _log_sums(
    scores: tl.tensor,
    known: tl.tensor,
    weights: tl.tensor,
    n_probes: tl.tensor,
    n_bindings: tl.tensor,
    aggregate: tl.tensor,
    n_aggregates: tl.tensor,
) -> tl.tensor:
    """Return log Z, [aggregate, probe].

    Args:
        scores: Where the first binding's score of each probe lies.
        known: Lanes that have a probe.
        weights: (aggregates, bindings).
        n_probes: From the score of a binding to that of the next.
        n_bindings: Bindings.
        aggregate: Numbers of the rows.
        n_aggregates: Aggregates; rows beyond are −∞.
    """
    absent = float("-inf")
    there = aggregate < n_aggregates
    place, weight = scores, weights + aggregate * n_bindings
    top = tl.full((aggregate.shape[0], known.shape[0]), absent, scores.dtype.element_ty)
    for _ in range(n_bindings):
        x = tl.load(place, mask=known, other=absent)
        w = tl.load(weight, mask=there, other=absent)
        top = tl.maximum(top, w[:, None] + x[None, :])
        place += n_probes
        weight += 1
    base = finite_or_zero(top)
    total = tl.zeros_like(top)
    place, weight = scores, weights + aggregate * n_bindings
    for _ in range(n_bindings):
        x = tl.load(place, mask=known, other=absent)
        w = tl.load(weight, mask=there, other=absent)
        total += tl.exp(w[:, None] + x[None, :] - base)
        place += n_probes
        weight += 1
    nothing = total == 0.0
    return tl.where(nothing, absent, base + tl.log(tl.where(nothing, 1.0, total)))


@jit
def _logits(
    log_z: tl.tensor,
    aggregate: tl.tensor,
    link: tl.tensor,
    n_links: tl.tensor,
    links: tl.tensor,
    settings: tl.tensor,
    column_link: tl.tensor,
    depth: tl.tensor,
) -> tl.tensor:
    """Return log η + log C, [column, probe]; −∞ in rows that are no column.

    Args:
        log_z: [aggregate, probe].
        aggregate: Numbers of its rows.
        link: 0, 1, … up to a power of two.
        n_links: Links.
        links: (links, 3): kind, aggregate, reference.
        settings: (links, 2).
        column_link: The link of each column, or NONE.
        depth: log η of each column.
    """
    dtype: tl.constexpr = log_z.dtype
    cumulative = tl.zeros((link.shape[0], log_z.shape[1]), dtype)
    logits = tl.full((depth.shape[0], log_z.shape[1]), float("-inf"), dtype)
    for r in range(n_links):
        own = _row(log_z, aggregate, tl.load(links + 3 * r + 1))
        first = tl.load(settings + 2 * r)
        second = tl.load(settings + 2 * r + 1)
        total, _, _, _ = _enrichment(tl.load(links + 3 * r), own, first, second)
        total += _row(cumulative, link, tl.load(links + 3 * r + 2))
        cumulative = _add_row(cumulative, link, r, total)
        here = column_link[:, None] == r
        logits = tl.where(here, depth[:, None] + total[None, :], logits)
    return logits


@jit
def _compare(logits: tl.tensor, reads: tl.tensor) -> tl.tensor:
    """Return −Σ k log p of each probe, float64, and K p − k, the gradient by logits.

    Args:
        logits: [column, probe].
        reads: k, [column, probe], in any type of number.
    """
    k = reads.to(logits.dtype)
    shifted = logits - finite_or_zero(tl.max(logits, 0))[None, :]
    exponentials = tl.exp(shifted)
    total = tl.sum(exponentials, 0)
    nowhere = total == 0.0
    total = tl.where(nowhere, 1.0, total)
    # where there is no read, p may be 0
    surprise = tl.where(k == 0.0, 0.0, tl.log(total)[None, :] - shifted)
    cost = tl.sum(reads.to(tl.float64) * surprise.to(tl.float64), 0)
    scale = tl.where(nowhere, 0.0, tl.sum(k, 0) / total)
    change = scale[None, :] * exponentials - tl.where(nowhere[None, :], 0.0, k)
    return cost, change


@jit
def _back_to_log_z(
    by_logits: tl.tensor,
    column_link: tl.tensor,
    log_z: tl.tensor,
    aggregate: tl.tensor,
    link: tl.tensor,
    n_links: tl.tensor,
    links: tl.tensor,
    settings: tl.tensor,
) -> tl.tensor:
    """Hand gradients down the chain; arguments are as in `_logits`.

    Returns:
        The gradient by log Z, [aggregate, probe], and those by both settings, [link,
        probe].
    """
    by_log_z = tl.zeros_like(log_z)
    by_links = tl.zeros((link.shape[0], log_z.shape[1]), log_z.dtype)
    by_first, by_second = by_links, by_links
    for i in range(n_links):
        r = n_links - 1 - i
        own = tl.load(links + 3 * r + 1)
        by_link = _row(by_links, link, r) + _row(by_logits, column_link, r)
        _, slope, first_slope, second_slope = _enrichment(
            tl.load(links + 3 * r),
            _row(log_z, aggregate, own),
            tl.load(settings + 2 * r),
            tl.load(settings + 2 * r + 1),
        )
        by_links = _add_row(by_links, link, tl.load(links + 3 * r + 2), by_link)
        by_log_z = _add_row(by_log_z, aggregate, own, by_link * slope)
        by_first = _add_row(by_first, link, r, by_link * first_slope)
        by_second = _add_row(by_second, link, r, by_link * second_slope)
    return by_log_z, by_first, by_second


@jit
def _back_to_scores(
    by_log_z: tl.tensor,
    log_z: tl.tensor,
    scores: tl.tensor,
    by_scores: tl.tensor,
    known: tl.tensor,
    weights: tl.tensor,
    n_probes: tl.tensor,
    n_bindings: tl.tensor,
    binding: tl.tensor,
    aggregate: tl.tensor,
    n_aggregates: tl.tensor,
) -> tl.tensor:
    """Write the gradient by the scores; return that by the weights, summed, float64.

    Args:
        by_log_z: [aggregate, probe], as are `log_z`.
        log_z: From `_log_sums`, and other arguments as there.
        scores: As there.
        by_scores: Where to write, for the first binding of each probe.
        known: As in `_log_sums`.
        weights: As there.
        n_probes: As there.
        n_bindings: As there.
        binding: 0, 1, … up to a power of two.
        aggregate: As there.
        n_aggregates: As there.
    """
    absent = float("-inf")
    there = aggregate < n_aggregates
    base = finite_or_zero(log_z)
    by_weights = tl.zeros((aggregate.shape[0], binding.shape[0]), tl.float64)
    weight = weights + aggregate * n_bindings
    for m in range(n_bindings):
        x = tl.load(scores, mask=known, other=absent)
        w = tl.load(weight, mask=there, other=absent)
        part = tl.exp(w[:, None] + x[None, :] - base) * by_log_z
        tl.store(by_scores, tl.sum(part, 0), mask=known)
        total = tl.sum(part.to(tl.float64), 1)
        by_weights += tl.where(binding[None, :] == m, total[:, None], 0.0)
        scores += n_probes
        by_scores += n_probes
        weight += 1
    return by_weights


@jit
def _cost(
    scores: tl.tensor,
    weights: tl.tensor,
    settings: tl.tensor,
    depths: tl.tensor,
    counts: tl.tensor,
    links: tl.tensor,
    observed: tl.tensor,
    ends: tl.tensor,
    parts: tl.tensor,
    by_scores: tl.tensor,
    n_probes: tl.tensor,
    n_aggregates: tl.tensor,
    n_bindings: tl.tensor,
    n_links: tl.tensor,
    n_columns: tl.tensor,
    by_probe: tl.tensor,
    by_column: tl.tensor,
    n_sums: tl.tensor,
    WITH_GRADIENT: tl.constexpr,
    AGGREGATES: tl.constexpr,
    BINDINGS: tl.constexpr,
    LINKS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PROBES: tl.constexpr,
) -> None:
    """Add up the cost of this program's stretch of probes, and its gradients.

    Of the gradients, that by the scores is written; the others are summed, and follow
    the cost in the program's row of `parts`.
    """
    aggregate, binding = tl.arange(0, AGGREGATES), tl.arange(0, BINDINGS)
    link, column = tl.arange(0, LINKS), tl.arange(0, COLUMNS)
    column_link = tl.load(observed + column, mask=column < n_columns, other=NOWHERE)
    depth = tl.load(depths + column, mask=column < n_columns, other=0.0)
    cost = tl.zeros((PROBES,), tl.float64)
    by_weights = tl.zeros((AGGREGATES, BINDINGS), tl.float64)
    by_first = tl.zeros((LINKS,), tl.float64)
    by_second = tl.zeros((LINKS,), tl.float64)
    by_depths = tl.zeros((COLUMNS,), tl.float64)
    first_probe, stop = stretch_of_program(ends, 0)
    for start in range(first_probe, stop, PROBES):
        probe = start + tl.arange(0, PROBES)
        known = probe < stop
        log_z = _log_sums(
            scores + probe,
            known,
            weights,
            n_probes,
            n_bindings,
            aggregate,
            n_aggregates,
        )
        logits = _logits(
            log_z, aggregate, link, n_links, links, settings, column_link, depth
        )
        place = counts + probe[None, :] * by_probe + column[:, None] * by_column
        inside = known[None, :] & (column < n_columns)[:, None]
        more, by_logits = _compare(logits, tl.load(place, mask=inside, other=0))
        cost += more
        if WITH_GRADIENT:
            by_depths += tl.sum(by_logits.to(tl.float64), 1)
            by_log_z, firsts, seconds = _back_to_log_z(
                by_logits, column_link, log_z, aggregate, link, n_links, links, settings
            )
            by_first += tl.sum(firsts.to(tl.float64), 1)
            by_second += tl.sum(seconds.to(tl.float64), 1)
            by_weights += _back_to_scores(
                by_log_z,
                log_z,
                scores + probe,
                by_scores + probe,
                known,
                weights,
                n_probes,
                n_bindings,
                binding,
                aggregate,
                n_aggregates,
            )
    part = parts + tl.program_id(0).to(tl.int64) * n_sums
    tl.store(part, tl.sum(cost, 0))
    if WITH_GRADIENT:
        part += 1
        place = aggregate[:, None] * n_bindings + binding[None, :]
        inside = (aggregate < n_aggregates)[:, None] & (binding < n_bindings)[None, :]
        tl.store(part + place, by_weights, mask=inside)
        part += n_aggregates * n_bindings
        tl.store(part + 2 * link, by_first, mask=link < n_links)
        tl.store(part + 2 * link + 1, by_second, mask=link < n_links)
        tl.store(part + 2 * n_links + column, by_depths, mask=column < n_columns)
