"""Reading sequences one after the other: FASTA, or one per line with TSV columns."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from pyprobound.errors import InputError

STDIN = "-"
_GZIP = b"\x1f\x8b"


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


@contextmanager
def opened(source: str) -> Iterator[Iterator[str]]:
    """Open a file of sequences, or standard input, and yield its lines.

    Raises:
        InputError: It cannot be read, now or when a line is asked for.
    """
    if source == STDIN:
        yield _lines(source, cast("io.BufferedReader", sys.stdin.buffer))
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 closed below
    except OSError as error:
        raise _unreadable(source, error) from None
    with file:
        yield _lines(source, file)


def _lines(source: str, file: io.BufferedReader) -> Iterator[str]:
    packed = file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
    content = gzip.GzipFile(fileobj=file) if packed else file
    try:
        yield from io.TextIOWrapper(cast("BinaryIO", content), encoding="utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise _unreadable(source, error) from None


def _unreadable(source: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(f"{shown(source)}: cannot be read ({reason})")


def shown(source: str) -> str:
    """Return what a source is called in messages."""
    return "standard input" if source == STDIN else source


def is_fasta(line: str) -> bool:
    """Tell whether a line begins a FASTA record."""
    return line.startswith(">")


def records(source: str, lines: Iterable[str]) -> Iterator[Record]:
    """Iterate over the records of a file, whose first line says what it is.

    Args:
        source: Its name, for messages.
        lines: Its lines.
    """
    numbered = ((i, line.rstrip("\r\n")) for i, line in enumerate(lines, 1))
    filled = ((i, line) for i, line in numbered if line.strip())
    first = next(filled, None)
    if first is None:
        return
    rest = chain([first], filled)
    name = shown(source)
    yield from _fasta(name, rest) if is_fasta(first[1]) else _rows(name, rest)


def _rows(source: str, lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
    for number, line in lines:
        sequence = line.split("\t", 1)[0].strip()
        yield Record(sequence, sequence, f"{source}:{number}")


def _fasta(source: str, lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
    name, where, parts = "", "", list[str]()
    for number, line in lines:
        if not is_fasta(line):
            parts.append(line.strip())
            continue
        if where:
            yield Record(name, "".join(parts), where)
        words = line[1:].split()
        name, where, parts = words[0] if words else "", f"{source}:{number}", []
    yield Record(name, "".join(parts), where)
