"""Features of windows on the CPU, letter by letter.

A letter at position p is met by position j of the filter in window p − j·dilation. So
its entries gain a stretch of the weights, and with the positions of the filter counted
from its end, m = k − 1 − j, the stretch runs forward:

    entry[a, m, c] += weights[p − (k − 1 − m)·dilation, c]      for all m, c

which is one short sum of two arrays, as both lie in the order of (m, c). The weights
are padded with zeros where no window begins. A pair of letters is one letter of a
larger alphabet. A code that stands for several letters adds its fraction to each.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyprobound.kernels._numba import Array, array_of, inline, jit, run

U = np.uint64
ZERO, ONE, TWO = U(0), U(1), U(2)

WIDTH = U(8)
"""Numbers of a vector operation: stretches are rounded up to it."""

AHEAD = U(16)
"""Probes whose weights are copied ahead."""


def window_features(
    seqs: Tensor, places: Sequence[Tensor], embedding: Tensor, dilation: int
) -> Callable[[slice, Tensor, Tensor], None]:
    """Return what adds the features of a piece; see the public function."""
    codes, fractions = array_of(seqs), array_of(embedding)
    tables = [array_of(columns.flatten(1, -2)) for columns in places]
    known: dict[tuple[int, np.dtype[Any]], list[tuple[Any, ...]]] = {}

    def add(piece: slice, weights: Tensor, out: Tensor) -> None:
        own, sums = codes[piece], array_of(out)
        factors = array_of(weights.transpose(1, 2)).reshape(len(own), -1)  # (n, W·C)
        key = out.shape[1], factors.dtype
        if key not in known:
            parts = fractions.astype(factors.dtype)
            known[key] = [
                _fixed(table, out.shape[1], parts, distance, dilation)
                for distance, table in enumerate(tables)
            ]
        for fixed in known[key]:

            def arguments(
                _: int, rows: slice, fixed: tuple[Any, ...] = fixed
            ) -> tuple[Any, ...]:
                return own[rows], factors[rows], *fixed, sums[rows]

            run(_add, len(own), arguments)

    return add


def _fixed(
    table: Array, n_columns: int, fractions: Array, distance: int, dilation: int
) -> tuple[Any, ...]:
    """Return what is the same for all probes, of pairs at one distance."""
    channels, _, size = table.shape
    begins = _begins_of(fractions, _rounded_up(size * channels), distance, dilation)
    shape = U(channels), U(size), U(dilation), U(distance)
    return _sources_of(table, n_columns), fractions, begins, shape


def _rounded_up(n_entries: int) -> int:
    return -(-n_entries // int(WIDTH)) * int(WIDTH)


def _begins_of(fractions: Array, step: int, distance: int, dilation: int) -> Array:
    """Return where the entries of each code (or pair of codes) begin.

    They begin after all others where a code is no single letter, or where its stretch
    of the weights has gaps.
    """
    n_letters = fractions.shape[1]
    features = np.where(fractions.max(1) == 1, fractions.argmax(1), n_letters**2)
    if distance:
        features = (features[:, None] * n_letters + features).reshape(-1)
    count = n_letters**2 if distance else n_letters
    known = (features < count) & (dilation == 1)
    begins: Array = np.where(known, features, count).astype(np.uint64) * U(step)
    return begins


def _sources_of(columns: Array, n_columns: int) -> Array:
    """Return the entries that each column sums up, (most of any, columns).

    Entries are counted in the order (letters, positions from the last, channels), each
    letter's rounded up to `WIDTH`; where a column has fewer than others, there is the
    one after the last, which is 0.
    """
    by_letter = columns.transpose(1, 2, 0)[:, ::-1]
    table = by_letter.reshape(len(by_letter), -1)
    n_features, n_entries = table.shape
    step = _rounded_up(n_entries)
    entries = np.arange(n_features)[:, None] * step + np.arange(n_entries)
    order = np.argsort(table, axis=None, kind="stable")
    order = order[table.reshape(-1)[order] >= 0]
    column = table.reshape(-1)[order]
    counts = np.bincount(column, minlength=n_columns)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    sources = np.full((counts.max(initial=0), n_columns), n_features * step, np.uint32)
    sources[rank, column] = entries.reshape(-1)[order]
    return sources


@jit
def _add(codes, weights, sources, fractions, begins, shape, out):
    """Add the features of some probes.

    Weights are copied some probes ahead: what was written just now is slow to read.

    Args:
        codes: (probes, length).
        weights: (probes, windows · C).
        sources: From `_sources_of`.
        fractions: (codes, letters).
        begins: From `_begins_of`.
        shape: Channels, positions of the filter, dilation, and the distance between the
            letters of a pair (0 for single letters).
        out: (probes, columns).
    """
    channels, size, dilation, distance = shape
    n_letters = U(fractions.shape[1])
    n_features = n_letters * n_letters if distance else n_letters
    n_weights, length = U(weights.shape[1]), U(codes.shape[1])
    margin = (size - ONE) * dilation * channels
    step = (size * channels + WIDTH - ONE) // WIDTH * WIDTH
    wide = n_weights + TWO * margin + WIDTH
    padded = np.zeros(AHEAD * wide, weights.dtype)
    entries = np.zeros(n_features * step + ONE, weights.dtype)
    row = np.empty(U(sources.shape[1]), weights.dtype)
    for start in range(ZERO, U(codes.shape[0]), AHEAD):
        count = min(AHEAD, U(codes.shape[0]) - start)
        for ahead in range(count):
            at = ahead * wide + margin
            for i in range(n_weights):
                padded[at + i] = weights[start + ahead, i]
        for ahead in range(count):
            n = start + ahead
            for i in range(n_features * step):
                entries[i] = 0
            at = ahead * wide
            if dilation == ONE and _is_plain(codes, n, n_letters):
                for p in range(length - distance):
                    feature = U(codes[n, p])
                    if distance:
                        feature = feature * n_letters + U(codes[n, p + distance])
                    _gain(entries, feature * step, padded, at + p * channels, step)
            else:
                _add_any(codes, n, fractions, begins, entries, step, padded, at, shape)
            _gather(entries, sources, row, out, n)


@inline
def _is_plain(codes, n, n_letters):
    """Tell whether a probe is all letters."""
    top = codes[n, ZERO]
    for p in range(U(codes.shape[1])):
        top = max(top, codes[n, p])
    return U(top) < n_letters


@inline
def _gain(entries, to, padded, at, step):
    """Add a stretch of the weights to the entries of a feature."""
    for i in range(step):  # what lies beyond the filter is not read
        entries[to + i] += padded[at + i]


@inline
def _add_any(codes, n, fractions, begins, entries, step, padded, start, shape):
    """Add the features of a probe that is not all letters."""
    channels, size, dilation, distance = shape
    n_codes, end = U(fractions.shape[0]), U(len(entries)) - ONE
    for p in range(U(codes.shape[1]) - distance):
        first, second = U(codes[n, p]), U(codes[n, p + distance])
        begin = begins[first * n_codes + second if distance else first]
        if begin < end:
            _gain(entries, begin, padded, start + p * channels, step)
            continue
        for feature in range(end // step):
            part = _part(fractions, first, second, feature, distance)
            if part > 0:
                for m in range(size):
                    for channel in range(channels):
                        at = start + (p + m * dilation) * channels + channel
                        to = feature * step + m * channels + channel
                        entries[to] += part * padded[at]


@inline
def _part(fractions, first, second, feature, distance):
    """Return how much of a feature two codes (or, without a distance, one) are."""
    if not distance:
        return fractions[first, feature]
    n_letters = U(fractions.shape[1])
    x, y = feature // n_letters, feature % n_letters
    return fractions[first, x] * fractions[second, y]


@inline
def _gather(entries, sources, row, out, n):
    """Add the entries of a probe to the columns that sum them up."""
    for i in range(U(len(row))):
        row[i] = 0
    for j in range(U(sources.shape[0])):
        for i in range(U(len(row))):
            row[i] += entries[sources[j, i]]
    for i in range(U(len(row))):
        out[n, i] += row[i]
