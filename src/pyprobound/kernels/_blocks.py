"""Filters as tables of words: a window's score is the sum of a few table entries.

A block covers a few positions of the filter. Its table has an entry for every word of
that many letters: the sum of all weights (single letters and pairs) that the word meets
in the block. With w_b(x) the word at the positions of block b in window x,

    score[n, c, x] = Σ_b table_b[w_b(x), c]

A weight belongs to the first block that holds all its positions. Blocks of neighbouring
positions overlap by the largest pair distance; where pairs are further apart than a
block is wide, a block is two stretches of neighbours, one for each end of a pair:

    size 12, width 6, no pairs         AAAAAABBBBBB
    size 12, width 6, distance 1       AAAAAA······  ·····BBBBBB  ······CCCCCC
    size 12, width 6, distance 11      AAAAAA······  AAA···BBB···  AAA······CCC  …

Tables are products of a matrix of zeros and ones with the weights, through which
gradients reach the filters. Words of codes other than letters (wildcards, padding
between letters) have tables of their own, of shorter words of all codes, whose weights
are the means that the codes stand for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF

MOST_WORDS = 8192
"""Entries of a table: with two channels of float32 they take 64 KiB, half of an L2."""

MOST_CODE_WORDS = 1024
"""The same for words of all codes: few probes need them, and they take much to make."""

MOST_BLOCKS = 64
"""Blocks beyond which a product of matrices is as fast."""


@dataclass(frozen=True)
class Blocks:
    """How a filter is cut into blocks.

    Attributes:
        n_symbols: Letters, or codes, that words are made of.
        size: Positions of the filter.
        distance: The largest pair distance.
        dilation: Letters from one position to the next.
        positions: The positions of each block, ascending and all equally many.
    """

    n_symbols: int
    size: int
    distance: int
    dilation: int
    positions: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        n_symbols: int,
        size: int,
        distance: int,
        dilation: int = 1,
        most_words: int = MOST_WORDS,
    ) -> "Blocks | None":
        """Cut a filter into the fewest blocks; None where that is no gain."""
        if n_symbols > most_words:
            return None
        widest = 1
        while widest < size and n_symbols ** (widest + 1) <= most_words:
            widest += 1
        cuts = [
            cut(size, distance, width)
            for width in range(1, widest + 1)
            for cut in (_neighbours, _stretches)
        ]
        # Of equally many blocks, the narrowest: their tables are the smallest.
        positions = min((cut for cut in cuts if cut), key=len, default=())
        if not 0 < len(positions) <= MOST_BLOCKS:
            return None
        return cls(n_symbols, size, distance, dilation, positions)

    @property
    def width(self) -> int:
        """The letters of a word."""
        return len(self.positions[0])

    @property
    def n_words(self) -> int:
        """The number of entries of a table."""
        return int(self.n_symbols**self.width)

    @property
    def reach(self) -> int:
        """The letters from the first to the last that a window reads."""
        return self.dilation * (self.size - 1) + 1

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The different blocks, moved to 0: their words are made once for a probe."""
        return tuple(sorted({self._shape(block) for block in self.positions}))

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Of each block, the number of its shape and the letters it is moved by."""
        return tuple(
            (self.shapes.index(self._shape(block)), self.dilation * block[0])
            for block in self.positions
        )

    def _shape(self, block: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.dilation * (position - block[0]) for position in block)

    def weights_of(self, block: int, distance: int) -> list[int]:
        """Return the (first) positions of the weights that belong to a block."""
        return [
            position
            for position in range(self.size - distance)
            if self._home(position, position + distance) == block
        ]

    def _home(self, first: int, second: int) -> int:
        return next(
            block
            for block, positions in enumerate(self.positions)
            if first in positions and second in positions
        )


def _neighbours(size: int, distance: int, width: int) -> tuple[tuple[int, ...], ...]:
    """Return blocks of neighbouring positions, none where a pair is too wide."""
    if width < size and width <= distance:
        return ()
    last = size - width
    starts = [*range(0, last, max(1, width - distance)), last]
    return tuple(tuple(range(start, start + width)) for start in starts)


def _stretches(size: int, distance: int, width: int) -> tuple[tuple[int, ...], ...]:
    """Return blocks of two stretches each, none where a word has room for one only."""
    half = width // 2
    if half == 0 or size < 2 * half or distance < width:
        return ()
    starts = [*range(0, size - half, half), size - half]
    blocks = []
    for a, b in combinations(starts, 2):
        if b < a + half:  # the last stretch overlaps the one before
            blocks.append(tuple(range(b - half, b + half)))
        elif b - a - half < distance:
            blocks.append((*range(a, a + half), *range(b, b + half)))
    return tuple(blocks)


@lru_cache(maxsize=32)
def _design(blocks: Blocks, block: int, dtype: torch.dtype) -> Tensor:
    """Return which weights of a block each word meets, (words, weights) of 0 and 1."""
    n, positions = blocks.n_symbols, blocks.positions[block]
    place = torch.arange(blocks.width - 1, -1, -1)
    words = torch.arange(blocks.n_words)[:, None] // n**place % n  # (words, width)
    columns = []
    for distance in range(blocks.distance + 1):
        own = blocks.weights_of(block, distance)
        if not own:
            continue
        symbols = words[:, [positions.index(p) for p in own]]
        count = n
        if distance:
            second = words[:, [positions.index(p + distance) for p in own]]
            symbols, count = symbols * n + second, n * n
        # (words, symbols, positions), as the weights (C, symbols, positions) lie
        met = symbols[:, None, :] == torch.arange(count)[:, None]
        columns.append(met.flatten(1))
    return torch.cat(columns, 1).to(dtype)


def block_tables(filters: Sequence[Tensor], blocks: Blocks) -> Tensor:
    """Return the tables of all blocks, (blocks, words, C).

    Args:
        filters: (C, A, k), then (C, A, A, k − d); −∞ forbids every word that meets it.
        blocks: How they are cut.
    """
    barred = any(bool((weights == NEG_INF).any()) for weights in filters)
    tables = []
    for block in range(len(blocks.positions)):
        weights = torch.cat(
            [
                filters[distance].flatten(1, -2)[..., own].flatten(1)
                for distance in range(blocks.distance + 1)
                if (own := blocks.weights_of(block, distance))
            ],
            1,
        )
        design = _design(blocks, block, weights.dtype).to(weights.device)
        forbidden = weights.detach() == NEG_INF
        table = design @ weights.masked_fill(forbidden, 0.0).t()
        if barred:
            met = design @ forbidden.to(design.dtype).t()
            table = table.masked_fill(met > 0, NEG_INF)
        tables.append(table)
    return torch.stack(tables)


def code_filters(
    filters: Sequence[Tensor], embedding: Tensor, pad: int
) -> list[Tensor]:
    """Return the weights of codes: the means of those of the letters they stand for.

    Args:
        filters: (C, A, k), then (C, A, A, k − d).
        embedding: Fractions (n_codes, A).
        pad: The code whose weights are −∞.

    Returns:
        (C, n_codes, k), then (C, n_codes, n_codes, k − d).
    """
    single = _mean(filters[0], 1, embedding)
    is_pad = torch.arange(len(embedding), device=embedding.device) == pad
    # Padding is −∞ as a single letter; in pairs it weighs nothing.
    pairs = (_mean(_mean(each, 1, embedding), 2, embedding) for each in filters[1:])
    return [single.masked_fill(is_pad[:, None], NEG_INF), *pairs]


def _mean(weights: Tensor, axis: int, embedding: Tensor) -> Tensor:
    """Return Σ_a embedding[·, a] · weights[a] over an axis, −∞ if any a present is."""
    forbidden = weights == NEG_INF
    finite = weights.masked_fill(forbidden, 0.0).movedim(axis, -1)
    means = (finite @ embedding.t()).movedim(-1, axis)
    if not bool(forbidden.any()):
        return means
    present = (embedding > 0).to(weights.dtype)
    met = (forbidden.to(weights.dtype).movedim(axis, -1) @ present.t()).movedim(
        -1, axis
    )
    return means.masked_fill(met > 0, NEG_INF)
