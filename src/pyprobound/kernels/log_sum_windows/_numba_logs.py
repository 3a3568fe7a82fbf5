"""Sums over windows in the log domain, for probes whose products underflow.

There are few of them, so this is one plain loop for all numbers of blocks and channels.
"""

import math

import numpy as np

from pyprobound.kernels._numba import exp, inline, jit
from pyprobound.kernels._numba_tables import entry_of
from pyprobound.kernels._words import (
    TILE,
    ZERO,
    U,
    room_for,
    windows_of,
    words_of_tile,
)


@inline
def fractions(tables, bias, words, at, group, first, last, p):
    """Return the log sum of a probe, and the sum of the terms in p.

    Args:
        tables: Logarithms.
        bias: (parts, groups, windows · lanes), no groups if there is none.
        words: Words of some probes, flat.
        at: Where those of the probe begin.
        group: Which of the groups.
        first: The first window.
        last: The one after the last.
        p: (parts, windows · lanes), written from first to last.
    """
    lanes, top = U(len(tables.lanes)), -np.inf
    for part in range(tables.n_parts):
        for x in range(first, last):
            for lane in range(lanes):
                score = 0.0
                for block in range(len(tables.bases)):
                    i = entry_of(tables, words, at, part, block, x)
                    score += tables.entries[i * lanes + lane]
                if bias.shape[1]:
                    score += bias[part, group, x * lanes + lane]
                p[part, x * lanes + lane] = score
                top = max(top, score)
    total = 0.0
    if top == -np.inf:
        return top, total
    for part in range(tables.n_parts):
        for i in range(first * lanes, last * lanes):
            p[part, i] = exp(min(p[part, i] - p.dtype.type(top), p.dtype.type(0)))
            total += p[part, i]
    return top + math.log(total), total


@jit
def forward(reading, tables, bias, groups, sums):
    """Write the log sums of some probes.

    Args:
        reading: The probes, and how they are read.
        tables: Logarithms.
        bias: (parts, groups, windows · lanes), no groups if there is none.
        groups: (n,) rows of the bias; empty if there is one.
        sums: (n,), written.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    width = tables.n_windows * U(len(tables.lanes))
    p, room = np.empty((tables.n_parts, width), sums.dtype), room_for(reading)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            log_sum, _ = fractions(tables, bias, words, at, group, first, last, p)
            sums[n] = log_sum


@jit
def backward(reading, tables, bias, groups, grad, to_entries, to_bias):
    """Add the gradients of tables and bias.

    Args:
        reading: As in `forward`, and so are others.
        tables: Logarithms.
        bias: Logarithms.
        groups: Rows of the bias.
        grad: (n,) gradient of the log sums.
        to_entries: Gradient of entries, float64; or (0,).
        to_bias: (parts, groups, windows · lanes), float64; no groups if not wanted.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    lanes = U(len(tables.lanes))
    width = tables.n_windows * lanes
    p, room = np.empty((tables.n_parts, width), grad.dtype), room_for(reading)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            log_sum, total = fractions(tables, bias, words, at, group, first, last, p)
            if log_sum == -np.inf:
                continue
            scale = grad[n] / total
            for part in range(tables.n_parts):
                for i in range(first * lanes, last * lanes):
                    x, lane, share = i // lanes, i % lanes, scale * p[part, i]
                    if to_bias.shape[1]:
                        to_bias[part, group, i] += share
                    for block in range(len(tables.bases) if len(to_entries) else 0):
                        j = entry_of(tables, words, at, part, block, x)
                        to_entries[j * lanes + lane] += share
