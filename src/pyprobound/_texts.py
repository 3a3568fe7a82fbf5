"""Many strings at once: their characters end to end, worked on without a loop.

    characters   A C G T A C A …   one byte each, or four where one is not ASCII
    bounds       0 4 7 …           string i is characters[bounds[i] : bounds[i + 1]]

Strings that pandas keeps in Arrow's memory are read where they lie: no Python string is
made of any of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_ARROW_OFFSETS = {"string": np.int32, "large_string": np.int64}


class NotTextError(TypeError):
    """One of many values is not a string.

    Attributes:
        row: Its number.
        value: The value.
    """

    def __init__(self, row: int, value: object) -> None:
        """Name the value and its number."""
        super().__init__(f"value {row} is {value!r}, not a string")
        self.row = row
        self.value = value


@dataclass(frozen=True, eq=False)
class Texts:
    """Strings laid end to end.

    Attributes:
        characters: Code points, uint8 if all are ASCII, else uint32.
        bounds: Where the strings begin, and where the last one ends.
    """

    characters: NDArray[np.uint8] | NDArray[np.uint32]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Collection[str]) -> "Texts":
        """Lay strings end to end: a list, an array, a pandas Index or Series.

        Raises:
            NotTextError: One of the values is not a string.
        """
        found = _from_arrow(strings)
        return cls._from_list(_as_list(strings)) if found is None else found

    @classmethod
    def _from_list(cls, strings: list[Any]) -> Self:
        try:
            text = "".join(strings)
        except TypeError:
            row = next(i for i, x in enumerate(strings) if not isinstance(x, str))
            raise NotTextError(row, strings[row]) from None
        bounds = np.zeros(len(strings) + 1, np.int64)
        np.cumsum(
            np.fromiter(map(len, strings), np.int64, len(strings)), out=bounds[1:]
        )
        return cls(_characters(text), bounds)

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.bounds) - 1

    def __getitem__(self, row: int) -> str:
        """Return one of the strings."""
        return _text(self.characters[self.bounds[row] : self.bounds[row + 1]])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Characters of each string."""
        return np.diff(self.bounds)

    def holds(self, character: str) -> bool:
        """Tell whether a character occurs anywhere."""
        return bool((self.characters == ord(character)).any())

    def stripped(self, character: str) -> "Texts":
        """Return the strings without the characters of one kind at their ends."""
        is_kept = self.characters != ord(character)
        if is_kept.all():
            return self
        # the last place at or before each that is kept; −1 before the first of them
        places = np.where(is_kept, np.arange(len(is_kept)), -1)
        last = np.concatenate(([-1], np.maximum.accumulate(places)))[self.bounds[1:]]
        lengths = np.maximum(last + 1 - self.bounds[:-1], 0)
        if (lengths == self.lengths).all():
            return self
        step = np.zeros(len(is_kept) + 1, np.int32)
        np.add.at(step, self.bounds[:-1], 1)
        np.add.at(step, self.bounds[:-1] + lengths, -1)
        within = np.cumsum(step[:-1]) > 0
        return Texts(self.characters[within], _bounds_of(lengths))

    def replaced(self, old: str, new: str) -> "Texts":
        """Return the strings after each `old`, from the left, has given way to `new`.

        No match reaches from one string into the next.
        """
        mark = self._unused(old + new)
        joined = np.full(len(self.characters) + len(self), ord(mark), np.uint32)
        is_mark = np.zeros(len(joined), dtype=bool)
        is_mark[self.bounds[1:] + np.arange(len(self))] = True
        joined[~is_mark] = self.characters
        characters = _characters(_text(joined).replace(old, new))
        ends = np.flatnonzero(characters == ord(mark))
        bounds = np.concatenate(([0], ends - np.arange(len(ends))))
        return Texts(characters[characters != ord(mark)], bounds)

    def _unused(self, more: str) -> str:
        """Return a character that neither the strings nor `more` hold."""
        return next(
            x for x in map(chr, range(0x10000)) if x not in more and not self.holds(x)
        )


def _from_arrow(strings: Collection[str]) -> Texts | None:
    """Return the strings of a pandas object that keeps them in Arrow's memory."""
    if getattr(getattr(strings, "dtype", None), "storage", None) != "pyarrow":
        return None
    array: Any = getattr(strings, "array", strings)
    arrow = array.__arrow_array__()
    chunks = getattr(arrow, "chunks", [arrow])
    if arrow.null_count or str(arrow.type) not in _ARROW_OFFSETS:
        return None
    offset_type = np.dtype(_ARROW_OFFSETS[str(arrow.type)])
    parts, lengths = [np.empty(0, np.uint8)], [np.empty(0, np.int64)]
    for chunk in chunks:
        _, offsets, data = chunk.buffers()
        if len(chunk) == 0:
            continue
        first = chunk.offset * offset_type.itemsize
        bounds = np.frombuffer(offsets, offset_type, len(chunk) + 1, first)
        lengths.append(np.diff(bounds).astype(np.int64, copy=False))
        if data is not None:
            parts.append(np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]])
    # one part is read where it lies
    whole = parts[1] if len(parts) == 2 else np.concatenate(parts)
    return _decoded(whole, _bounds_of(np.concatenate(lengths)))


def _decoded(data: NDArray[np.uint8], bounds: NDArray[np.int64]) -> Texts:
    """Return strings, given as UTF-8 with bounds in bytes."""
    if not data.size or data.max() < 0x80:
        return Texts(data, bounds)
    begins = (data & 0xC0) != 0x80  # every other byte goes on with a character
    before = np.concatenate(([0], np.cumsum(begins)))
    return Texts(_characters(data.tobytes().decode()), before[bounds])


def _as_list(strings: Collection[str]) -> list[Any]:
    if hasattr(strings, "__array__"):
        # the fastest way out of a pandas Index of any string type
        listed: list[Any] = np.asarray(strings, dtype=object).tolist()
        return listed
    return list(strings)


def _bounds_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def _characters(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the code points of a text."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def _text(characters: NDArray[np.uint8] | NDArray[np.uint32]) -> str:
    """Return the text of code points."""
    if characters.dtype == np.uint8:
        return characters.tobytes().decode("ascii")
    return characters.tobytes().decode("utf-32-le", "surrogatepass")
