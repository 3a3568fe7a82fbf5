"""Tables of words in compiled code: entries of a few channels, read in one go.

Two channels (the strands) of an entry lie side by side and are one vector (`_vectors`),
and so they are in gradients. Where channels are odd in number, an entry is one number.
Compiled code knows the number of blocks, up to a few, and of lanes, because they are
lengths of tuples: its loops over them are laid out, with nothing between the look-ups.
"""

from typing import Any, NamedTuple

import numpy as np

from pyprobound.kernels._numba import Array, melt
from pyprobound.kernels._vectors import doubled, entry, plus, scaled, set_entry
from pyprobound.kernels._words import Layout, U

MOST_LAID_OUT = 8
"""Blocks that loops are laid out for; of more, there is one kernel for any number."""


class Tables(NamedTuple):
    """Tables of all blocks, as compiled code takes them.

    Attributes:
        bases: Where the words of each block begin among those of a probe: a tuple, or
            an array of many.
        lanes: As many things as an entry has numbers: channels that are read together.
        n_parts: Channels / lanes.
        n_words: Entries of a block.
        n_windows: Windows of a whole probe.
        entries: (parts · blocks · words · lanes,).
    """

    bases: Any
    lanes: Any
    n_parts: Any
    n_words: Any
    n_windows: Any
    entries: Array

    @classmethod
    def of(
        cls, values: Array, layout: Layout, length: int, *, laid_out: bool = True
    ) -> "Tables":
        """Return tables (blocks, words, C) of probes of so many letters."""
        bases = layout.bases(length)
        lanes = lanes_of(values.shape[2])
        return cls(
            tuple(bases) if laid_out and len(bases) <= MOST_LAID_OUT else bases,
            (False,) * lanes,
            U(values.shape[2] // lanes),
            U(values.shape[1]),
            U(length + 1) - U(layout.reach),
            in_parts(values),
        )


def lanes_of(channels: int) -> int:
    """Return how many channels are read together."""
    return 1 if channels % 2 else 2


def in_parts(values: Array) -> Array:
    """Return values (…, C) as (parts, …, lanes), flat."""
    lanes = lanes_of(values.shape[-1])
    parts = values.reshape(*values.shape[:-1], values.shape[-1] // lanes, lanes)
    return np.ascontiguousarray(np.moveaxis(parts, -2, 0)).reshape(-1)


def from_parts(flat: Array, shape: tuple[int, ...]) -> Array:
    """Return as (…, C) what `in_parts` made flat."""
    lanes = lanes_of(shape[-1])
    parts = flat.reshape(shape[-1] // lanes, *shape[:-1], lanes)
    return np.moveaxis(parts, 0, -2).reshape(shape)


@melt
def entry_of(tables, words, at, part, block, x):
    """Return the number of the entry of window x in a block.

    Args:
        tables: Which.
        words: Words of some probes, flat.
        at: Where those of the probe begin.
        part: Which of the channels.
        block: Which.
        x: The window.
    """
    word = U(words[at + tables.bases[block] + x])
    table = part * U(len(tables.bases)) + U(block)
    return table * tables.n_words + word


@melt
def add_to_entries(tables, words, at, part, first, last, scale, p, gradient):
    """Add scale · p of windows of a probe to the entries that they came from.

    Args:
        tables: Which.
        words: Words of some probes, flat.
        at: Where those of the probe begin.
        part: Which of the channels.
        first: The first window.
        last: The one after the last.
        scale: A number in float64.
        p: (parts · windows · lanes,).
        gradient: As the entries of the tables, float64.
    """
    for x in range(first, last):
        share = entry(p, part * tables.n_windows + x, tables.lanes)
        share = scaled(scale, doubled(share))
        for block in range(len(tables.bases)):
            i = entry_of(tables, words, at, part, block, x)
            set_entry(gradient, i, plus(entry(gradient, i, tables.lanes), share))
