"""Sequences to score, whole or piece by piece."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pyprobound.alphabets import PADDING, Alphabet, shorten
from pyprobound.errors import InputError

LETTERS_AT_ONCE = 2**20
"""Letters of one sequence, or of several, that are worked on together."""

_RECORDS_AT_ONCE = 2**15


@dataclass(frozen=True)
class Record:
    """One sequence.

    Attributes:
        name: What it is called: the identifier of FASTA, else the sequence.
        sequence: Its letters.
        where: FILE:LINE at which it begins.
    """

    name: str
    sequence: str
    where: str


class Part(NamedTuple):
    """A sequence, or a piece of a long one.

    Attributes:
        record: The sequence; its letters are those of the piece.
        start: Letters of the sequence before the piece.
        is_last: Whether the sequence ends with it.
    """

    record: Record
    start: int
    is_last: bool


def parts_of(
    texts: Sequence[str], names: Iterable[object], width: int
) -> Iterator[Part]:
    """Iterate over texts in pieces.

    Args:
        texts: The sequences.
        names: What they are called in messages.
        width: Characters of a letter.
    """
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str):
            raise InputError(f"sequence {name}: {text!r} is no string")
        start, step = 0, LETTERS_AT_ONCE * width
        while start + step < len(text):
            piece = Record(str(name), text[start : start + step], "sequence")
            yield Part(piece, start // width, is_last=False)
            start += step
        yield Part(Record(str(name), text[start:], "sequence"), start // width, True)


def capitals(part: Part) -> Part:
    """Return a piece in capitals."""
    record = part.record
    large = Record(record.name, record.sequence.upper(), record.where)
    return Part(large, part.start, part.is_last)


def batches(
    parts: Iterable[Part], most_letters: int = LETTERS_AT_ONCE
) -> Iterator[list[Part]]:
    """Iterate over lists of pieces that are worked on together.

    Each sequence has one piece in a list.
    """
    batch: list[Part] = []
    letters = 0
    for part in parts:
        full = letters + len(part.record.sequence) > most_letters
        if batch and (full or len(batch) == _RECORDS_AT_ONCE):
            yield batch
            batch, letters = [], 0
        batch.append(part)
        letters += len(part.record.sequence)
        if not part.is_last:  # its next piece is added to what is found of this one
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def refuse_unknown(alphabet: Alphabet, parts: Sequence[Part]) -> None:
    """Check the letters of sequences.

    Raises:
        InputError: One is unknown, or a blank; the message names the record.
    """
    for record, start, _ in parts:
        try:
            alphabet.encode([record.sequence])
        except InputError as error:
            rule = f"{error}; {start} letters come before" if start else error
            raise error_of(record, rule) from None
        if PADDING in record.sequence:
            blank = record.sequence.index(PADDING)
            raise error_of(record, f"a blank at position {start + blank}")


def error_of(record: Record, rule: object) -> InputError:
    """Return an error about a sequence."""
    return InputError(f"{record.where}: {shorten(record.name)}: {rule}")
