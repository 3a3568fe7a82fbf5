"""Sums over windows as sums of products of exponentials, and their gradient.

Entries of tables and of the position bias are exponentials. A window costs a look-up
and a product for each block, and the backward pass repeats them. Where a sum is so low
that underflow may have spoilt it, the probe is marked as lost, for `_numba_logs`.
"""

import math

import numpy as np

from pyprobound.kernels._numba import jit, melt
from pyprobound.kernels._numba_tables import add_to_entries, entry_of
from pyprobound.kernels._vectors import (
    add_up,
    doubled,
    entry,
    no_entry,
    plus,
    scaled,
    set_entry,
    times,
)
from pyprobound.kernels._words import (
    TILE,
    ZERO,
    U,
    room_for,
    windows_of,
    words_of_tile,
)


@melt
def sum_of_part(tables, bias, words, at, part, group, first, last, keep, p):
    """Return the sum of the products of a part of the channels of a probe.

    Args:
        tables: Factors.
        bias: (parts, groups, windows · lanes) factors, or None.
        words: Words of some probes, flat.
        at: Where those of the probe begin.
        part: Which of the channels.
        group: Which of the groups.
        first: The first window.
        last: The one after the last.
        keep: Whether to write p.
        p: (parts · windows · lanes,).
    """
    lanes = tables.lanes
    total = no_entry(tables.entries, lanes)
    if bias is not None:
        row = bias[part, group]
    for x in range(first, last):
        i = entry_of(tables, words, at, part, 0, x)
        product = entry(tables.entries, i, lanes)
        for block in range(1, len(tables.bases)):
            i = entry_of(tables, words, at, part, block, x)
            product = times(product, entry(tables.entries, i, lanes))
        if bias is not None:
            product = times(product, entry(row, x, lanes))
        if keep:
            set_entry(p, part * tables.n_windows + x, product)
        total = plus(total, product)
    return add_up(total)


@jit
def forward(reading, tables, bias, groups, shift, trust, sums, lost):
    """Write the log sums of some probes.

    Args:
        reading: The probes, and how they are read.
        tables: Factors.
        bias: (parts, groups, windows · lanes) factors, or None.
        groups: (n,) rows of the bias; empty if there is one.
        shift: What was subtracted from the logarithms of factors, in sum.
        trust: The least sum that underflow cannot have spoilt.
        sums: (n,), written where it has not.
        lost: (n,), set where it may have.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    room, nothing = room_for(reading), np.empty(0, sums.dtype)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            if first == last:
                sums[n] = -np.inf
                continue
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            total = sums.dtype.type(0)
            for part in range(tables.n_parts):
                total += sum_of_part(
                    tables, bias, words, at, part, group, first, last, False, nothing
                )
            if total >= trust:
                sums[n] = math.log(total) + shift
            else:
                lost[n] = True


@jit
def backward(
    reading, tables, bias, groups, trust, grad, to_entries, to_bias, lost
):  # fmt: skip
    """Add the gradients of tables and bias.

    Args:
        reading: As in `forward`, and so are others.
        tables: Factors.
        bias: Factors, or None.
        groups: Rows of the bias.
        trust: The least sum.
        grad: (n,) gradient of the log sums.
        to_entries: Gradient of entries, float64; or (0,).
        to_bias: (parts, groups, windows · lanes), float64; no groups if not wanted.
        lost: (n,), set where underflow may have spoilt a sum, and nothing was added.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    lanes = U(len(tables.lanes))
    p = np.empty(tables.n_parts * tables.n_windows * lanes, grad.dtype)
    room = room_for(reading)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            if first == last:
                continue
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            total = grad.dtype.type(0)
            for part in range(tables.n_parts):
                total += sum_of_part(
                    tables, bias, words, at, part, group, first, last, True, p
                )
            if total < trust:
                lost[n] = True
                continue
            scale = np.float64(grad[n]) / np.float64(total)
            for part in range(tables.n_parts):
                if len(to_entries):
                    add_to_entries(
                        tables, words, at, part, first, last, scale, p, to_entries
                    )
                _add_to_bias(tables, part, group, first, last, scale, p, to_bias)


@melt
def _add_to_bias(tables, part, group, first, last, scale, p, to_bias):
    """Add scale · p of windows of a probe to the bias of its group."""
    if to_bias is not None:
        if to_bias.shape[1] == 0:
            return
        row = to_bias[part, group]
        for x in range(first, last):
            share = entry(p, part * tables.n_windows + x, tables.lanes)
            share = scaled(scale, doubled(share))
            set_entry(row, x, plus(entry(row, x, tables.lanes), share))
