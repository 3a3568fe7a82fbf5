"""Features of windows on the CPU, letter by letter.

A letter at position p is met by position j of the filter in window p − j·dilation. So
its entries gain a stretch of the weights, read backwards: with the weights reversed,
and padded with zeros where no window begins, it is one short sum of two arrays.

    entry[a, c, j] += reversed[c, W − 1 − p + j·dilation]       for all c, j

A pair of letters is one letter of a larger alphabet. A code that stands for several
letters adds its fraction to each of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyprobound.kernels._numba import Array, array_of, jit, run

NOTHING, SEVERAL = -2, -1
"""What codes stand for that are no single letter."""


def window_features(
    seqs: Tensor,
    weights: Tensor,
    places: Sequence[Tensor],
    embedding: Tensor,
    out: Tensor,
    dilation: int,
) -> None:
    """Add the features to `out`; see the public function."""
    codes, factors, sums = array_of(seqs), array_of(weights), array_of(out)
    fractions = array_of(embedding).astype(np.float64)
    letters = _letters_of(fractions)
    for distance, columns in enumerate(places):
        # (features, C, positions): a stretch of positions lies together
        table = array_of(columns.flatten(1, -2).transpose(0, 1)).astype(np.uint32)

        def arguments(
            _: int, rows: slice, gap: int = distance, table: Array = table
        ) -> tuple[Any, ...]:
            read = codes[rows], factors[rows], table, fractions, letters
            return *read, gap, dilation, sums[rows]

        run(_add, len(codes), arguments)


def _letters_of(fractions: Array) -> Array:
    """Return the letter that each code stands for, or that it is none or several."""
    top = fractions.max(1)
    letters = np.where(top == 1, fractions.argmax(1), SEVERAL)
    return np.where(top == 0, NOTHING, letters)


@jit
def _add(codes, weights, columns, fractions, letters, distance, dilation, out):
    n_features, channels, size = columns.shape
    n_letters = fractions.shape[1]
    n_windows = weights.shape[2]
    margin = (size - 1) * dilation
    behind = np.zeros((channels, n_windows + 2 * margin))
    entries = np.zeros((n_features, channels, size))
    for n in range(np.uint64(len(codes))):
        for channel in range(channels):
            for window in range(n_windows):
                place = margin + n_windows - 1 - window
                behind[channel, place] = weights[n, channel, window]
        entries[:] = 0
        for p in range(codes.shape[1] - distance):
            start = margin + n_windows - 1 - p
            first, second = codes[n, p], codes[n, p + distance]
            a, b = letters[first], letters[second]
            if a >= 0 and b >= 0:
                feature = a * n_letters + b if distance else a
                _gain(entries, feature, 1.0, behind, start, dilation)
            elif min(a, b) != NOTHING:
                for feature in range(n_features):
                    part = _part(fractions, first, second, feature, distance)
                    if part > 0:
                        _gain(entries, feature, part, behind, start, dilation)
        _spread(entries, columns, out, n)


@jit
def _part(fractions, first, second, feature, distance):
    """Return how much of a feature two codes (or, without a distance, one) are."""
    if not distance:
        return fractions[first, feature]
    n_letters = fractions.shape[1]
    x, y = feature // n_letters, feature % n_letters
    return fractions[first, x] * fractions[second, y]


@jit
def _spread(entries, columns, out, n):
    """Add the entries of a probe to their columns."""
    n_features, channels, size = entries.shape
    for feature in range(np.uint64(n_features)):
        for channel in range(np.uint64(channels)):
            for j in range(np.uint64(size)):
                at = columns[feature, channel, j]
                out[n, at] += entries[feature, channel, j]


@jit
def _gain(entries, feature, part, behind, start, dilation):
    """Add a part of a stretch of the weights to the entries of a feature."""
    # unsigned: an index that might be negative is checked, and no vector code is made
    at, to = np.uint64(start), np.uint64(feature)
    _, channels, size = entries.shape
    for channel in range(np.uint64(channels)):
        if dilation == 1:
            for j in range(np.uint64(size)):
                entries[to, channel, j] += part * behind[channel, at + j]
        else:
            step = np.uint64(dilation)
            for j in range(np.uint64(size)):
                entries[to, channel, j] += part * behind[channel, at + j * step]
