"""Probes in codes, before a table lays them out: made of a frame, or read from a file.

A file is read a piece at a time, and of each piece only the codes (a byte for each
letter) and the counts (four bytes each) are kept: the strings of a large table would
take ten times their room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound._count_files import number_matrix, read_pieces
from pyprobound._distinct import Distinct
from pyprobound._texts import NotTextError, Texts
from pyprobound.alphabets import PADDING, Alphabet, shorten
from pyprobound.errors import InputError, PyProBoundError

_ROWS_AT_ONCE = 2**16
_GROWTH = 5, 4  # an array that is full grows to 5/4 of its length


@dataclass(frozen=True, eq=False)
class EncodedCounts:
    """Variable regions and their counts.

    Attributes:
        codes: Integer codes, left-aligned and padded with ' ', (probe, longest).
        lengths: Letters of each probe, (probe,) int32.
        target: Counts in float32, (probe, round).
    """

    codes: Tensor
    lengths: Tensor
    target: Tensor

    def __len__(self) -> int:
        """Return the number of probes."""
        return len(self.codes)

    @property
    def shortest(self) -> int:
        """Letters of the shortest probe."""
        return int(self.lengths.min())

    @property
    def longest(self) -> int:
        """Letters of the longest probe."""
        return int(self.lengths.max())

    def selected(self, rows: Tensor) -> "EncodedCounts":
        """Return some of the probes, given by their numbers or a mask."""
        return EncodedCounts(self.codes[rows], self.lengths[rows], self.target[rows])

    def summed(self) -> "EncodedCounts":
        """Return each probe once, in order of appearance, its counts summed."""
        distinct = Distinct.of(self.codes, self.target)
        if distinct.inverse is None:
            return self
        lengths = self.lengths.new_empty(len(distinct.seqs))
        lengths[distinct.inverse] = self.lengths
        return EncodedCounts(distinct.seqs, lengths, distinct.target)


def transliterated(texts: Texts, rules: Mapping[str, str]) -> Texts:
    """Return strings after each replacement in turn.

    Raises:
        PyProBoundError: A text to replace is empty.
    """
    for old, new in rules.items():
        if not old:
            msg = f"cannot transliterate the empty text to {new!r}"
            raise PyProBoundError(msg)
        texts = texts.replaced(old, new)
    return texts


def encode_frame(
    dataframe: pd.DataFrame,
    alphabet: Alphabet,
    transliterate: Mapping[str, str],
    first: int = 0,
) -> EncodedCounts:
    """Encode a frame of counts that is indexed by probes.

    Args:
        dataframe: Counts, probes in rows.
        alphabet: What the probes are written in.
        transliterate: Replacements made in the probes before.
        first: The number of the first row, for messages.

    Raises:
        InputError: A number or a probe is none; the message names its row.
        PyProBoundError: A text to replace is empty.
    """
    target = number_matrix(dataframe, first).astype(np.float32)
    try:
        texts = Texts.of(dataframe.index)
    except NotTextError as error:
        row, value = first + error.row, error.value
        msg = f"row {row} (from 0): index {value!r} is not a probe sequence"
        raise InputError(msg) from None
    texts = transliterated(texts.stripped(PADDING), transliterate)
    codes = alphabet.encode_texts(texts, first=first)
    lengths = torch.from_numpy(
        (texts.lengths // alphabet.monomer_length).astype(np.int32)
    )
    if texts.holds(PADDING):
        _check_no_inner_padding(codes, lengths, texts, alphabet, first)
    return EncodedCounts(codes, lengths, torch.from_numpy(target))


def _check_no_inner_padding(
    codes: Tensor, lengths: Tensor, texts: Texts, alphabet: Alphabet, first: int
) -> None:
    """Raise InputError if ' ' stands between the letters of a probe."""
    n_letters = (codes != alphabet.neginf_pad).sum(1)
    broken = (n_letters != lengths).nonzero()
    if len(broken):
        row = int(broken[0])
        msg = (
            f"row {first + row} (from 0), {shorten(texts[row])}: ' ' is padding and may"
            " only stand at the end; write '*' for any letter"
        )
        raise InputError(msg)


def read_encoded(
    path: Path, alphabet: Alphabet, transliterate: Mapping[str, str]
) -> EncodedCounts:
    """Read and encode one file of counts, never holding all of its strings.

    A probe that the file lists twice is summed, with a warning.

    Args:
        path: The file.
        alphabet: What the probes are written in.
        transliterate: Replacements made in the probes before they are encoded.

    Raises:
        InputError: It cannot be read as a count table, or a probe has an unknown
            letter; the message is one line with file, line or row, and reason.
        PyProBoundError: A text to replace is empty.
    """
    codes = _GrowingRows(alphabet.neginf_pad)
    lengths, target = _GrowingRows(0), _GrowingRows(0)
    for frame in read_pieces(path, _ROWS_AT_ONCE):
        try:
            piece = encode_frame(frame, alphabet, transliterate, codes.n_rows)
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from None
        codes.append(piece.codes.numpy())
        lengths.append(piece.lengths.numpy()[:, None])
        target.append(piece.target.numpy())
    if codes.n_rows == 0:
        msg = f"{path}: the table has no rows; at least one probe is needed"
        raise InputError(msg)
    listed = EncodedCounts(codes.done(), lengths.done()[:, 0], target.done())
    found = listed.summed()
    repeated = len(listed) - len(found)
    if repeated:
        warn(
            f"{path}: {repeated} rows repeat an earlier probe; their counts are summed",
            UserWarning,
            stacklevel=3,
        )
    return found


class _GrowingRows:
    """Rows of a matrix that become more, without a second copy of them.

    Attributes:
        n_rows: How many there are.
    """

    def __init__(self, padding: int) -> None:
        """Begin with no row; the ends of rows that are too short get `padding`."""
        self.n_rows = 0
        self._padding = padding
        self._rows: NDArray[Any] | None = None

    def append(self, rows: NDArray[Any]) -> None:
        """Take further rows, as wide as the widest so far or not."""
        if self._rows is None:
            self._rows = rows.copy()
        width = max(rows.shape[1], self._rows.shape[1])
        if width > self._rows.shape[1]:
            self._rows = self._padded(self._rows[: self.n_rows], width)
        stop = self.n_rows + len(rows)
        if stop > len(self._rows):
            more, of = _GROWTH
            # the pages of a large array are moved by the system, not copied
            self._rows.resize((max(stop, stop * more // of), width), refcheck=False)
        self._rows[self.n_rows : stop] = self._padded(rows, width)
        self.n_rows = stop

    def _padded(self, rows: NDArray[Any], width: int) -> NDArray[Any]:
        if rows.shape[1] == width:
            return rows
        missing = (0, 0), (0, width - rows.shape[1])
        return np.pad(rows, missing, constant_values=self._padding)

    def done(self) -> Tensor:
        """Return all rows."""
        rows, self._rows = self._rows, None
        assert rows is not None
        rows.resize((self.n_rows, rows.shape[1]), refcheck=False)
        return torch.from_numpy(rows)
