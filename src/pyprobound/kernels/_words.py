"""Words of a probe in compiled code: what all kernels that read letters share.

A probe of letters, with padding at its ends only, is read with the tables of letters,
from its first letter to its last. Any other probe (a wildcard, padding inside) is read
with the tables of codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

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

LETTERS, CODES, UNKNOWN = 0, 1, 2
"""With which tables a probe is read; UNKNOWN if it holds what is no code."""


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
    """

    letters: Tensor
    codes: Tensor
    letter_blocks: Blocks
    code_blocks: Blocks | None
    known: Tensor

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
        kind = survey.kind
        if kind == UNKNOWN:
            raise IndexError(
                f"seqs holds a code that is none of 0 … {len(embedding) - 1}"
            )
        letters = block_tables(filters, letter_blocks)
        if kind == LETTERS:
            none = letters.new_zeros(0, 0, letters.shape[2])
            known = survey.words_of(seqs, letter_blocks)
            return cls(letters, none, letter_blocks, None, known)
        n_codes = len(embedding)
        most_words = max(n_codes, MOST_CODE_WORDS)
        code_blocks = Blocks.of(n_codes, size, distance, dilation, most_words)
        if code_blocks is None:
            return None
        weights = code_filters(filters, embedding.to(filters[0]), pad)
        codes = block_tables(weights, code_blocks)
        return cls(letters, codes, letter_blocks, code_blocks, NOT_KNOWN)

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


NOT_KNOWN = torch.empty(0, 0, dtype=torch.int16)


@dataclass
class Survey:
    """What is known of a table of codes.

    Attributes:
        kind: The worst kind of its probes.
        is_whole: Whether all its letters are letters, without padding.
        requests: How often words were asked for.
        words: Those that were made, by the shapes they have.
    """

    kind: int
    is_whole: bool
    requests: int = 0
    words: dict[tuple[tuple[int, ...], ...], Tensor] = field(default_factory=dict)

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
        if (
            not self.is_whole
            or self.requests < 2
            or held + n_bytes > memory_budget() // 4
        ):
            return NOT_KNOWN
        shapes = np.array(blocks.shapes, U)
        made = np.empty((len(seqs), seqs.shape[1] * len(shapes)), np.uint16)
        codes = seqs.numpy()
        run(
            _write_all,
            len(codes),
            lambda _, rows: (codes[rows], blocks.n_symbols, shapes, made[rows]),
        )
        self.words[blocks.shapes] = torch.from_numpy(made.view(np.int16))
        return self.words[blocks.shapes]


_surveys = WeakTensorKeyDictionary()
"""What is known of tables, while they are alive: by table, version and alphabet."""


def _surveyed(seqs: Tensor, n_letters: int, n_codes: int, pad: int) -> Survey:
    """Look through a table once, and again when it was written to."""
    if seqs.is_inference():
        return _survey_of(seqs, n_letters, n_codes, pad)
    key = seqs._version, n_letters, n_codes, pad  # noqa: SLF001 torch's own name
    known: tuple[object, Survey] | None = _surveys.get(seqs)
    if known is None or known[0] != key:
        known = key, _survey_of(seqs, n_letters, n_codes, pad)
        _surveys[seqs] = known
    return known[1]


def _survey_of(seqs: Tensor, n_letters: int, n_codes: int, pad: int) -> Survey:
    codes = array_of(seqs)
    found = np.zeros((len(stretches(len(codes))), 2), np.int64)

    def arguments(stretch: int, rows: slice) -> tuple[object, ...]:
        return codes[rows], n_letters, n_codes, pad, found[stretch]

    run(_survey, len(codes), arguments)
    return Survey(int(found[:, 0].max()), not found.any())


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


# == one probe ========================================================================


@inline
def read_kind(codes, n, n_letters, n_codes, pad):
    """Return with which tables probe n is read, its first letter and where it ends.

    Args:
        codes: (probes, length).
        n: The probe, unsigned as all indices here: an index that may be negative costs
            a test each time, and keeps the compiler from making vector code.
        n_letters: The codes below are letters.
        n_codes: The codes below are known.
        pad: Code of padding.
    """
    length = U(codes.shape[1])
    top = codes[n, U(0)]
    for p in range(length):
        top = max(top, codes[n, p])
    if U(top) < U(n_letters):
        return LETTERS, U(0), length
    if U(top) >= U(n_codes):
        return UNKNOWN, U(0), U(0)
    first, end = U(0), length
    while first < end and codes[n, first] == pad:
        first += U(1)
    while first < end and codes[n, end - U(1)] == pad:
        end -= U(1)
    for p in range(first, end):
        if codes[n, p] >= n_letters:
            return CODES, U(0), length
    return LETTERS, first, end


@jit
def _survey(codes, n_letters, n_codes, pad, found):
    """Note the worst kind of all probes, and whether any is padded."""
    for n in range(U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        found[0] = max(found[0], kind)
        if first > U(0) or end < U(codes.shape[1]):
            found[1] = 1


@jit
def _write_all(codes, n_symbols, shapes, made):
    """Write the words of all probes, which are whole."""
    words, paired = words_for(shapes, U(codes.shape[1]))
    for n in range(U(codes.shape[0])):
        write_words(codes, n, n_symbols, shapes, paired, words)
        for i in range(U(made.shape[1])):
            made[n, i] = words[i]


@inline
def words_for(shapes, length):
    """Return room for the words of a probe, and whether `write_words` may pair letters.

    It may where all shapes are made of neighbours, two by two, and a last one if odd.
    """
    paired = shapes.shape[1] >= 4
    for shape in range(shapes.shape[0]):
        for j in range(0, shapes.shape[1] - 1, 2):
            paired &= shapes[shape, j] + U(1) == shapes[shape, j + 1]
    return np.empty((U(shapes.shape[0]) + U(1)) * length, np.uint32), paired


@inline
def write_words(codes, n, n_symbols, shapes, paired, words):
    """Write the words of each shape that begin at each letter of probe n.

    Args:
        codes: (probes, length).
        n: The probe.
        n_symbols: What words are made of.
        shapes: (shapes, width).
        paired: From `words_for`: half of the work, for filters without gaps.
        words: From `words_for`; the words of all shapes are written, and after them
            pairs of letters. Meaningless where a word would end beyond the probe or
            holds what is no symbol.
    """
    length, base = U(codes.shape[1]), np.uint32(n_symbols)
    n_shapes, width = U(shapes.shape[0]), U(shapes.shape[1])
    if not paired:
        for shape in range(n_shapes):
            at = shape * length
            count = length - shapes[shape, width - U(1)]
            for p in range(count):
                words[at + p] = np.uint32(codes[n, p])
            for j in range(U(1), width):
                offset = shapes[shape, j]
                for p in range(count):
                    letter = np.uint32(codes[n, p + offset])
                    words[at + p] = np.uint32(words[at + p] * base + letter)
        return
    pairs, square = n_shapes * length, np.uint32(base * base)
    for p in range(length - U(1)):
        letter = np.uint32(codes[n, p])
        words[pairs + p] = np.uint32(letter * base + np.uint32(codes[n, p + U(1)]))
    for shape in range(n_shapes):
        at = shape * length
        count = length - shapes[shape, width - U(1)]
        second = pairs + shapes[shape, U(2)]
        for p in range(count):
            words[at + p] = np.uint32(words[pairs + p] * square + words[second + p])
        for j in range(U(4), width - U(1), U(2)):
            on = pairs + shapes[shape, j]
            for p in range(count):
                words[at + p] = np.uint32(words[at + p] * square + words[on + p])
        if width % U(2):
            offset = shapes[shape, width - U(1)]
            for p in range(count):
                letter = np.uint32(codes[n, p + offset])
                words[at + p] = np.uint32(words[at + p] * base + letter)
