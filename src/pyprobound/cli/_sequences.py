"""Reading sequences one after the other: FASTA, or one per line with TSV columns."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from pyprobound.errors import InputError
from pyprobound.scoring._records import LETTERS_AT_ONCE, Part, Record

STDIN = "-"
_GZIP = b"\x1f\x8b"


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
    return (part.record for part in parts(source, lines, most=None))


def parts(
    source: str,
    lines: Iterable[str],
    width: int = 1,
    most: int | None = LETTERS_AT_ONCE,
) -> Iterator[Part]:
    """Iterate over the records of a file, long ones of FASTA in pieces.

    Args:
        source: Its name, for messages.
        lines: Its lines.
        width: Characters of a letter.
        most: Letters after which a record is cut; None for never.
    """
    numbered = ((i, line.rstrip("\r\n")) for i, line in enumerate(lines, 1))
    filled = ((i, line) for i, line in numbered if line.strip())
    first = next(filled, None)
    if first is None:
        return
    rest = chain([first], filled)
    name = shown(source)
    if is_fasta(first[1]):
        yield from _fasta(name, rest, width, most)
    else:
        yield from _rows(name, rest)


def _rows(source: str, lines: Iterable[tuple[int, str]]) -> Iterator[Part]:
    for number, line in lines:
        sequence = line.split("\t", 1)[0].strip()
        yield Part(Record(sequence, sequence, f"{source}:{number}"), 0, is_last=True)


def _fasta(
    source: str, lines: Iterable[tuple[int, str]], width: int, most: int | None
) -> Iterator[Part]:
    name, where, texts = "", "", list[str]()
    start, length = 0, 0  # letters in pieces that have gone, characters in the next
    for number, line in lines:
        if is_fasta(line):
            if where:
                yield Part(Record(name, "".join(texts), where), start, is_last=True)
            words = line[1:].split()
            name, where = words[0] if words else "", f"{source}:{number}"
            texts, start, length = [], 0, 0
            continue
        texts.append(line.strip())
        length += len(texts[-1])
        if most is not None and length > most * width:
            text = "".join(texts)
            n_letters = length // width
            piece = Record(name, text[: n_letters * width], where)
            yield Part(piece, start, is_last=False)
            texts = [text[n_letters * width :]]
            start, length = start + n_letters, len(texts[0])
    yield Part(Record(name, "".join(texts), where), start, is_last=True)
