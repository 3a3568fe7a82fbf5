"""Lines of a text file, and errors that name one."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyprobound.errors import InputError

Made = TypeVar("Made")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LONGEST_SHOWN = 40


class Lines:
    """The lines of a file, read one after another.

    Attributes:
        file: Where they are from, a path or an address.
        number: The number of the line given last, from 1.
    """

    def __init__(self, file: Path | str, text: str) -> None:
        """Begin before the first line."""
        self.file = file
        self._lines = text.removeprefix("\ufeff").splitlines()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the lines to come."""
        while self.number < len(self._lines):
            self.number += 1
            yield self._lines[self.number - 1]

    def peek(self) -> str | None:
        """Return the next line and stay before it, None at the end."""
        rest = self._lines[self.number : self.number + 1]
        return rest[0] if rest else None

    def fail(self, reason: str, number: int | None = None) -> NoReturn:
        """Raise an error about a line, by default the one given last."""
        line = max(self.number if number is None else number, 1)
        raise InputError(f"{self.file}, line {line}: {reason}")

    def numbers(self, words: Sequence[str], wanted: int | None = None) -> list[float]:
        """Return the numbers of a line.

        Raises:
            InputError: One is no number, or there are more or fewer than wanted.
        """
        if wanted is not None and len(words) != wanted:
            self.fail(f"{len(words)} numbers, not {wanted}")
        for word in words:
            if not _NUMBER.fullmatch(word):
                self.fail(f"{shown(word)} is no number")
        found = [float(word) for word in words]
        if not np.isfinite(found).all():
            self.fail("a number is too large")
        return found

    def made(self, make: Callable[[], Made], number: int) -> Made:
        """Return what is made of lines up to here, of which the first has a number.

        Raises:
            InputError: It contradicts itself.
        """
        try:
            return make()
        except InputError:
            raise
        except ValueError as error:
            self.fail(str(error), number)


def shown(word: str) -> str:
    """Return a word as a message may show it."""
    short = word if len(word) <= _LONGEST_SHOWN else f"{word[:_LONGEST_SHOWN]}…"
    return repr(short)


def digits(value: float) -> str:
    """Return a number with as many digits as it has."""
    return repr(float(value)).removesuffix(".0")


def row(values: NDArray[np.float64], between: str = "\t") -> str:
    """Return numbers side by side."""
    return between.join(map(digits, values))


def word_of(text: str, default: str = "motif") -> str:
    """Return a text as one word."""
    return re.sub(r"\s+", "_", text.strip()) or default


def line_of(text: str, default: str = "motif") -> str:
    """Return a text as one line without tabs."""
    return " ".join(text.split()) or default
