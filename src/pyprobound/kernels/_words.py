"""Words of probes in compiled code: what all kernels that read letters share.

A probe of letters, with padding at its ends only, is read with the tables of letters,
within the span from its first letter to its last. Any other probe (a wildcard, padding
inside) is mixed: it has no span, and is read on its own with the tables of all codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pyprobound._chunking import memory_budget
from pyprobound.kernels._blocks import (
    MOST_CODE_WORDS,
    Blocks,
    block_tables,
    code_filters,
)
from pyprobound.kernels._numba import Array, array_of, inline, jit, run, stretches

U = np.uint64
ZERO, ONE, TWO = U(0), U(1), U(2)
"""Indices are unsigned throughout: one that may be negative costs a test each time, and
keeps the compiler from making vector code."""

LETTERS, MIXED, UNKNOWN = 0, 1, 2
"""With which tables a probe is read; UNKNOWN if it holds what is no code."""

TILE = 64
"""Probes whose words are made at a time where they are not kept."""


# == what a call needs ================================================================


@dataclass(frozen=True)
class Words:
    """The tables of a call, and how words are laid.

    Attributes:
        letters: (blocks, words, C) of words of letters.
        codes: The same of words of all codes; (0, 0, C) where no probe needs it.
        letter_blocks: How words of letters lie.
        code_blocks: How words of codes lie, None where no probe needs them.
        known: (N, words) of letters as int16, for a table that was seen before; else
            empty, and they are made on the way.
        spans: (N, 2) where the letters of each probe begin and end, both 0 for one
            that is mixed; empty if all are whole.
        mixed: (M,) the probes that are read with the tables of codes.
    """

    letters: Tensor
    codes: Tensor
    letter_blocks: Blocks
    code_blocks: Blocks | None
    known: Tensor
    spans: Tensor
    mixed: Tensor

    @classmethod
    def of(
        cls,
        seqs: Tensor,
        filters: Sequence[Tensor],
        embedding: Tensor,
        pad: int,
        dilation: int,
    ) -> "Words | None":
        """Make the tables for some probes, None where there are no words for them.

        Raises:
            IndexError: A code is none of the embedding's.
        """
        _, n_letters, size = filters[0].shape
        distance = len(filters) - 1
        letter_blocks = Blocks.of(n_letters, size, distance, dilation)
        if letter_blocks is None or pad < n_letters or not _one_hot(embedding):
            return None
        survey = _surveyed(seqs, n_letters, len(embedding), pad)
        if survey.kind == UNKNOWN:
            raise IndexError(
                f"seqs holds a code that is none of 0 … {len(embedding) - 1}"
            )
        letters = block_tables(filters, letter_blocks)
        codes, code_blocks = letters.new_zeros(0, 0, letters.shape[2]), None
        if survey.kind == MIXED:
            n_codes = len(embedding)
            most_words = max(n_codes, MOST_CODE_WORDS)
            if n_codes <= MOST_CODES:
                code_blocks = Blocks.of(n_codes, size, distance, dilation, most_words)
            if code_blocks is None:
                return None
            weights = code_filters(filters, embedding.to(filters[0]), pad)
            codes = block_tables(weights, code_blocks)
        return cls(
            letters,
            codes,
            letter_blocks,
            code_blocks,
            survey.words_of(seqs, letter_blocks),
            survey.spans,
            survey.mixed,
        )

    def with_channel_bias(self, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return both tables with the bias (C,) of each channel in the first block."""
        if bias is None:
            return self.letters, self.codes
        made = []
        for table in (self.letters, self.codes):
            shares = table.new_zeros(len(table), 1, 1)
            shares[:1] = 1
            made.append(table + shares * bias)
        return made[0], made[1]

    def layout(self) -> list[int]:
        """Return the layout as plain numbers, as an operator takes it."""
        return [*_numbers(self.letter_blocks), *_numbers(self.code_blocks)]


def narrow(seqs: Tensor) -> Tensor:
    """Return codes in a small unsigned type: kernels are compiled for each type.

    Raises:
        IndexError: A code is negative.
    """
    if seqs.dtype == torch.uint8 or seqs.numel() == 0:
        return seqs
    least, most = (int(value) for value in seqs.aminmax())
    if least < 0:
        raise IndexError(f"seqs holds the negative number {least}, which is no code")
    return seqs.to(torch.uint8 if most < 256 else torch.int32)


def _one_hot(embedding: Tensor) -> bool:
    n_letters = embedding.shape[1]
    eye = torch.eye(n_letters, dtype=embedding.dtype, device=embedding.device)
    return torch.equal(embedding[:n_letters], eye)


MOST_CODES = 2**16
"""Words are kept in 16 bits."""

NOT_KNOWN = torch.empty(0, 0, dtype=torch.int16)


@dataclass
class Survey:
    """What is known of a table of codes.

    Attributes:
        kind: The worst kind of its probes.
        spans: (N, 2) from the first letter of each probe to the one after its last,
            both 0 if it is mixed; (0, 2) if all are whole.
        mixed: (M,) the probes that are mixed.
        requests: How often words were asked for.
        words: Those that were made, by the shapes they have.
    """

    kind: int
    spans: Tensor
    mixed: Tensor
    requests: int = 0
    words: dict[tuple[tuple[int, ...], ...], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, seqs: Tensor, n_letters: int, n_codes: int, pad: int) -> "Survey":
        """Look through a table; twice, if not all its probes are whole."""
        codes = array_of(seqs)
        n_probes, length = codes.shape
        numbers = n_letters, n_codes, pad
        found = np.zeros((len(stretches(n_probes)), 2), np.int64)
        run(_survey, n_probes, lambda i, rows: (codes[rows], *numbers, found[i]))
        kind, is_padded = int(found[:, 0].max()), bool(found[:, 1].any())
        n_spans = n_probes if kind == MIXED or (kind == LETTERS and is_padded) else 0
        spans = np.zeros((n_spans, 2), np.uint8 if length < 256 else np.int32)
        mixed = np.zeros(n_spans, np.bool_)
        run(
            _write_spans,
            n_spans,
            lambda _, rows: (codes[rows], *numbers, spans[rows], mixed[rows]),
        )
        return cls(kind, torch.from_numpy(spans), torch.from_numpy(mixed.nonzero()[0]))

    def words_of(self, seqs: Tensor, blocks: Blocks) -> Tensor:
        """Return the words of all probes, if they are worth their memory.

        They are two bytes for each letter, and half of the time of a sum over windows;
        they are made for a table that is summed again, which a fit does hundreds of
        times, and within a quarter of the memory budget.
        """
        self.requests += 1
        found = self.words.get(blocks.shapes)
        if found is not None:
            return found
        n_bytes = 2 * seqs.numel() * len(blocks.shapes)
        held = sum(each.nbytes for each in self.words.values())
        if self.requests < 2 or held + n_bytes > memory_budget() // 4:
            return NOT_KNOWN
        shapes = np.array(blocks.shapes, U)
        made = np.empty((len(seqs), seqs.shape[1] * len(shapes)), np.uint16)
        codes, n_symbols = array_of(seqs), U(blocks.n_symbols)
        run(
            write_words,
            len(codes),
            lambda _, rows: (codes[rows], n_symbols, shapes, made[rows]),
        )
        self.words[blocks.shapes] = torch.from_numpy(made.view(np.int16))
        return self.words[blocks.shapes]


_surveys = WeakTensorKeyDictionary()
"""What is known of tables, while they are alive: by table, version and alphabet."""


def _surveyed(seqs: Tensor, n_letters: int, n_codes: int, pad: int) -> Survey:
    """Look through a table once, and again when it was written to."""
    if seqs.is_inference():
        return Survey.of(seqs, n_letters, n_codes, pad)
    key = seqs._version, n_letters, n_codes, pad  # noqa: SLF001 torch's own name
    known: tuple[object, Survey] | None = _surveys.get(seqs)
    if known is None or known[0] != key:
        known = key, Survey.of(seqs, n_letters, n_codes, pad)
        _surveys[seqs] = known
    return known[1]


@dataclass(frozen=True)
class Layout:
    """How words of one kind lie, as compiled code reads it.

    Attributes:
        n_symbols: What words are made of.
        reach: Letters from the first to the last that a window reads.
        shapes: (shapes, width): the letters of a word, from its first.
        places: (blocks, 2): the shape of a block, and the letters it is moved by.
    """

    n_symbols: int
    reach: int
    shapes: Array
    places: Array

    def bases(self, length: int) -> Array:
        """Return where the words of each block begin among those of a probe."""
        bases: Array = self.places[:, 0] * U(length) + self.places[:, 1]
        return bases


def _numbers(blocks: Blocks | None) -> list[int]:
    if blocks is None:
        return [0, 0, 0, 0, 0]
    shapes = [offset for shape in blocks.shapes for offset in shape]
    places = [number for place in blocks.places for number in place]
    head = [blocks.n_symbols, blocks.reach, blocks.width]
    return [*head, len(shapes), len(places), *shapes, *places]


def layouts(numbers: Sequence[int]) -> tuple[Layout, Layout]:
    """Return the layouts of letters and of codes from `Words.layout`."""
    rest = list(numbers)
    made = []
    for _ in range(2):
        n_symbols, reach, width, n_shapes, n_places = rest[:5]
        shapes = np.array(rest[5 : 5 + n_shapes], U)
        places = np.array(rest[5 + n_shapes : 5 + n_shapes + n_places], U)
        rest = rest[5 + n_shapes + n_places :]
        layout = Layout(
            n_symbols, reach, shapes.reshape(-1, max(1, width)), places.reshape(-1, 2)
        )
        made.append(layout)
    return made[0], made[1]


# == compiled code ====================================================================


class Reading(NamedTuple):
    """Some probes, and how words are read from them, as compiled code takes it.

    Attributes:
        codes: (n, length).
        known: (n, shapes · length) their words, or (0, 0) to make them on the way.
        spans: (n, 2) as of `Survey`, or (0, 2) if all are whole.
        n_symbols: What words are made of.
        shapes: (shapes, width): the letters of a word, from its first.
        reach: Letters from the first to the last that a window reads.
    """

    codes: Array
    known: Array
    spans: Array
    n_symbols: Any
    shapes: Array
    reach: Any

    @classmethod
    def of(cls, codes: Array, known: Array, spans: Array, layout: Layout) -> "Reading":
        """Return how some probes are read."""
        numbers = U(layout.n_symbols), layout.shapes, U(layout.reach)
        return cls(codes, known, spans, *numbers)

    def at(self, rows: Any) -> "Reading":
        """Return some of the probes, as a slice or by their numbers."""
        known = self.known[rows] if len(self.known) else self.known
        spans = self.spans[rows] if len(self.spans) else self.spans
        return self._replace(codes=self.codes[rows], known=known, spans=spans)


def readings(
    codes: Tensor, known: Tensor, spans: Tensor, mixed: Tensor, layout: Sequence[int]
) -> list[tuple[int, Array | None, Reading, Layout]]:
    """Return how probes are read with the tables of letters and, if any, of codes.

    Args:
        codes: (N, length).
        known: As of `Words`, and so are spans and mixed.
        spans: Where letters begin and end.
        mixed: The probes that are read with the tables of codes.
        layout: From `Words.layout`.

    Returns:
        LETTERS or MIXED, the numbers of the probes (None if they are all), how they are
        read, and how words lie.
    """
    of_letters, of_codes = layouts(layout)
    words = array_of(known).view(np.uint16)
    every = Reading.of(array_of(codes), words, array_of(spans), of_letters)
    found: list[tuple[int, Array | None, Reading, Layout]]
    found = [(LETTERS, None, every, of_letters)]
    if len(mixed):
        rows = array_of(mixed)
        own = Reading.of(every.codes[rows], words[:0], every.spans[:0], of_codes)
        found.append((MIXED, rows, own, of_codes))
    return found


@inline
def words_of_tile(reading, start, room):
    """Return the words of probes from `start` on, flat.

    Args:
        reading: Of which probes and how.
        start: The first of a tile.
        room: From `room_for`, overwritten where words are not known.
    """
    if len(reading.known):
        return reading.known[start : start + U(TILE)].reshape(-1)
    codes = reading.codes[start : start + U(TILE)]
    write_words(codes, reading.n_symbols, reading.shapes, room)
    return room.reshape(-1)


@inline
def room_for(reading):
    """Return room for the words of a tile, where they are not known."""
    n_probes = 0 if len(reading.known) else TILE
    width = reading.shapes.shape[0] * reading.codes.shape[1]
    return np.empty((n_probes, width), np.uint16)


@inline
def windows_of(reading, n):
    """Return the first window of probe n, and the one after its last."""
    first, end = ZERO, U(reading.codes.shape[1])
    if len(reading.spans):
        first, end = U(reading.spans[n, ZERO]), U(reading.spans[n, ONE])
    if end < first + reading.reach:
        return ZERO, ZERO
    return first, end + ONE - reading.reach


@inline
def _kind(codes, n, n_letters, n_codes, pad):
    """Return with which tables probe n is read, its first letter and where it ends.

    Args:
        codes: (probes, length).
        n: The probe.
        n_letters: The codes below are letters.
        n_codes: The codes below are known.
        pad: Code of padding.
    """
    length = U(codes.shape[1])
    top = codes[n, ZERO]
    for p in range(length):
        top = max(top, codes[n, p])
    if U(top) < U(n_letters):
        return LETTERS, ZERO, length
    if U(top) >= U(n_codes):
        return UNKNOWN, ZERO, ZERO
    first, end = ZERO, length
    while first < end and codes[n, first] == pad:
        first += ONE
    while first < end and codes[n, end - ONE] == pad:
        end -= ONE
    for p in range(first, end):
        if codes[n, p] >= n_letters:
            return MIXED, ZERO, ZERO
    return LETTERS, first, end


@jit
def _survey(codes, n_letters, n_codes, pad, found):
    """Note the worst kind of all probes, and whether any is padded."""
    for n in range(U(codes.shape[0])):
        kind, first, end = _kind(codes, n, n_letters, n_codes, pad)
        found[0] = max(found[0], kind)
        if first > ZERO or end < U(codes.shape[1]):
            found[1] = 1


@jit
def _write_spans(codes, n_letters, n_codes, pad, spans, mixed):
    """Write the span of each probe, and whether it is mixed."""
    for n in range(U(codes.shape[0])):
        kind, first, end = _kind(codes, n, n_letters, n_codes, pad)
        spans[n, ZERO], spans[n, ONE] = first, end
        mixed[n] = kind == MIXED


@jit
def write_words(codes, n_symbols, shapes, words):
    """Write the words of each shape that begin at each letter of some probes.

    Args:
        codes: (probes, length).
        n_symbols: What words are made of.
        shapes: (shapes, width), each from 0 on.
        words: (≥ probes, shapes · length), written. Meaningless where a word would end
            beyond the probe or holds what is no symbol.
    """
    length, width = U(codes.shape[1]), U(shapes.shape[1])
    neighbours = width >= U(4)
    for shape in range(shapes.shape[0]):
        for j in range(0, shapes.shape[1] - 1, 2):
            neighbours &= shapes[shape, j] + ONE == shapes[shape, j + 1]
    pairs = np.empty(length, np.uint16)
    for n in range(U(codes.shape[0])):
        if neighbours:
            for p in range(length - ONE):
                pair = U(codes[n, p]) * n_symbols + U(codes[n, p + ONE])
                pairs[p] = np.uint16(pair)
        for shape in range(U(shapes.shape[0])):
            own, offsets = words[n, shape * length :], shapes[shape]
            if neighbours:
                _join_pairs(codes[n], pairs, n_symbols, offsets, own)
            else:
                _join_letters(codes[n], n_symbols, offsets, own)


@inline
def _join_letters(codes, n_symbols, offsets, words):
    """Write the words of one shape of a probe."""
    base = np.uint16(n_symbols)
    count = U(len(codes)) - offsets[-1] if offsets[-1] < len(codes) else ZERO
    for p in range(count):
        words[p] = np.uint16(codes[p])
    for j in range(ONE, U(len(offsets))):
        offset = offsets[j]
        for p in range(count):
            words[p] = np.uint16(words[p] * base + np.uint16(codes[p + offset]))


@inline
def _join_pairs(codes, pairs, n_symbols, offsets, words):
    """Do the same in half of the steps, where letters are neighbours two by two."""
    base, square = np.uint16(n_symbols), np.uint16(n_symbols * n_symbols)
    width = U(len(offsets))
    count = U(len(codes)) - offsets[-1] if offsets[-1] < len(codes) else ZERO
    second = offsets[TWO]
    for p in range(count if width >= U(4) else ZERO):
        words[p] = np.uint16(pairs[p] * square + pairs[p + second])
    for j in range(U(4), width - ONE, TWO):
        offset = offsets[j]
        for p in range(count):
            words[p] = np.uint16(words[p] * square + pairs[p + offset])
    if width % TWO:
        offset = offsets[width - ONE]
        for p in range(count):
            words[p] = np.uint16(words[p] * base + np.uint16(codes[p + offset]))
