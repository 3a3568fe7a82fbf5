"""Reading count tables from files: what is a count, and what is wrong with a line.

A file is headerless TSV, gzipped or not, with the probe first and then any number of
counts, or Parquet with its columns in that order. It is read whole or a piece at a
time.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyprobound._texts import NotTextError, Texts
from pyprobound.alphabets import shorten
from pyprobound.errors import InputError

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"


def read_pieces(path: Path, n_rows: int | None = None) -> Iterator[pd.DataFrame]:
    """Iterate over a file's counts by probe; a probe that repeats is left as it is.

    Args:
        path: The file.
        n_rows: The most rows of a piece; by default the file is one piece.

    Raises:
        InputError: It cannot be read as a count table.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_PARQUET))
        if magic == _PARQUET:
            yield from _parquet_pieces(path, n_rows)
        else:
            compression = "gzip" if magic.startswith(_GZIP) else None
            yield from _tsv_pieces(path, compression, n_rows)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise InputError(msg) from None
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: cannot be read ({_one_line(error)})"
        raise InputError(msg) from error


# == TSV ======================================================================


def _tsv_pieces(
    path: Path, compression: str | None, n_rows: int | None
) -> Iterator[pd.DataFrame]:
    """Iterate over the counts of a headerless TSV file."""
    try:
        for frame in _tsv_frames(path, compression, n_rows):
            yield _tsv_counts(path, compression, frame)
    except pd.errors.EmptyDataError:
        msg = f"{path}: the file is empty; expected probe<TAB>count<TAB>… in each line"
        raise InputError(msg) from None
    except InputError:
        raise
    except ValueError as error:
        problem = _first_bad_line(path, compression) or _one_line(error)
        msg = f"{path}: {problem}"
        raise InputError(msg) from error


def _tsv_counts(
    path: Path, compression: str | None, frame: pd.DataFrame
) -> pd.DataFrame:
    """Return the counts of some lines."""
    counts = None
    if all(isinstance(x, np.dtype) and x.kind in "iuf" for x in frame.dtypes[1:]):
        counts = _whole_counts(frame[0], frame.iloc[:, 1:].to_numpy())
    if counts is None:
        fault = _first_bad_line(path, compression)
        msg = f"{path}: {fault or 'the counts cannot be read'}"
        raise InputError(msg)
    return counts


def _tsv_frames(
    path: Path, compression: str | None, n_rows: int | None
) -> Iterator[pd.DataFrame]:
    arguments: dict[str, Any] = {
        "sep": "\t",
        "header": None,
        "dtype": {0: str},
        "na_filter": False,  # NA is two amino acids, and no count may be missing
        "low_memory": False,
        "compression": compression,
    }
    if n_rows is None:
        yield pd.read_csv(path, **arguments)
        return
    with pd.read_csv(path, chunksize=n_rows, **arguments) as frames:
        yield from frames


def _first_bad_line(path: Path, compression: str | None) -> str | None:
    """Return the number and fault of the first line that is no row of a count table."""
    opened = gzip.open if compression == "gzip" else open
    width = None
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = [x.strip('"') for x in line.rstrip("\r\n").split("\t")]
            if fields == [""]:
                continue
            width = width or len(fields)
            fault = _fault(fields, width)
            if fault is not None:
                header = " (a header line is not expected)" if number == 1 else ""
                return f"line {number}: {fault}{header}"
    return None


def _fault(fields: list[str], width: int) -> str | None:
    """Return what is wrong with the fields of a line, None if nothing is."""
    if len(fields) == 1:
        return f"{shorten(fields[0])} has no count column after a tab"
    if len(fields) != width:
        return f"{len(fields)} columns where the first line has {width}"
    if not fields[0]:
        return "the probe is missing"
    for column, field in enumerate(fields[1:], 2):
        fault = _count_fault(field)
        if fault is not None:
            return f"column {column} is {shorten(field)}, {fault}"
    return None


def _count_fault(field: str) -> str | None:
    """Return why a text is no count, None if it is one."""
    try:
        value = float(field)
    except ValueError:
        return "not a count"
    if value < 0:
        return "a negative count"
    if not value.is_integer():
        return "not a whole number"
    return "too large for a count" if value >= 2**53 else None


def _one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


# == Parquet ==================================================================


def _parquet_pieces(path: Path, n_rows: int | None) -> Iterator[pd.DataFrame]:
    """Iterate over the counts of a Parquet file: probe first, or in the index."""
    first = 0
    try:
        for frame in _parquet_frames(path, n_rows):
            yield _parquet_counts(path, frame, first)
            first += len(frame)
    except ImportError:
        msg = f"{path}: reading Parquet needs pyarrow; run `pip install pyarrow`"
        raise InputError(msg) from None
    except InputError:
        raise
    except ValueError as error:
        msg = f"{path}: cannot be read as Parquet ({_one_line(error)})"
        raise InputError(msg) from error


def _parquet_frames(path: Path, n_rows: int | None) -> Iterator[pd.DataFrame]:
    if n_rows is None:
        yield pd.read_parquet(path)
        return
    import pyarrow as pa  # noqa: PLC0415 optional
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 optional

    with ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=n_rows):
            yield pa.Table.from_batches([batch]).to_pandas()


def _parquet_counts(path: Path, frame: pd.DataFrame, first: int) -> pd.DataFrame:
    """Return the counts of some rows, the first of which has this number."""
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    probes = frame.iloc[:, 0]
    if not isinstance(probes.dtype, pd.StringDtype):
        probes = probes.astype(object)
    missing = _missing_probe(probes)
    if missing is not None:
        msg = f"{path}: row {first + missing} (from 0) has no probe sequence"
        raise InputError(msg)
    try:
        numbers = count_matrix(frame.iloc[:, 1:].set_axis(pd.Index(probes)), first)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    counts = _whole_counts(probes, numbers)
    if counts is None:
        msg = f"{path}: the counts are not all whole numbers"
        raise InputError(msg)
    return counts


def _missing_probe(probes: "pd.Series[Any]") -> int | None:
    """Return the number of the first probe that is empty or no text."""
    try:
        empty = np.flatnonzero(Texts.of(cast("Any", probes)).lengths == 0)
    except NotTextError as error:
        return error.row
    return int(empty[0]) if empty.size else None


# == counts ===================================================================


def _whole_counts(
    probes: "pd.Series[Any]", numbers: NDArray[Any]
) -> pd.DataFrame | None:
    """Return integer counts by probe, None where a probe or a count is not one."""
    if numbers.shape[1] == 0 or (probes == "").any():
        return None
    # the largest count that float64, too, tells from its neighbours
    if not ((numbers >= 0) & (numbers < 2**53)).all():
        return None
    whole = numbers.astype(np.int64, copy=False)
    if (whole != numbers).any():
        return None
    return pd.DataFrame(whole, pd.Index(probes).rename(None), copy=False)


def count_matrix(dataframe: pd.DataFrame, first: int = 0) -> NDArray[np.float64]:
    """Return the counts of a frame in float64, shape (probe, round).

    Args:
        dataframe: Counts, probes in rows.
        first: The number of its first row, for messages.

    Raises:
        InputError: The frame is empty, or a value is missing, infinite, negative or
            no number; the message names its row.
    """
    counts = number_matrix(dataframe, first)
    if (counts < 0).any():
        row, column = np.argwhere(counts < 0)[0].tolist()
        raise InputError(bad_count(dataframe, row, column, "negative", first))
    return counts


def number_matrix(dataframe: pd.DataFrame, first: int = 0) -> NDArray[np.float64]:
    """Return the counts, or measurements, of a frame in float64.

    Args:
        dataframe: Numbers, probes in rows.
        first: The number of its first row, for messages.

    Raises:
        InputError: The frame is empty, or a value is missing, infinite or no number;
            the message names its row.
    """
    if dataframe.shape[0] == 0:
        msg = "the table has no rows; at least one probe is needed"
        raise InputError(msg)
    if dataframe.shape[1] == 0:
        msg = "the table has no count column; at least one round is needed"
        raise InputError(msg)
    for column in range(dataframe.shape[1]):
        if pd.api.types.is_numeric_dtype(dataframe.dtypes.iloc[column]):
            continue
        for row, value in enumerate(dataframe.iloc[:, column]):
            if not isinstance(value, int | float | np.number):
                rule = "not a number"
                raise InputError(bad_count(dataframe, row, column, rule, first))
    counts = dataframe.to_numpy(dtype=np.float64, na_value=np.nan)
    valid = np.isfinite(counts)
    if not valid.all():
        row, column = np.argwhere(~valid)[0].tolist()
        rule = "not a finite number"
        raise InputError(bad_count(dataframe, row, column, rule, first))
    return counts


def bad_count(
    dataframe: pd.DataFrame, row: int, column: int, rule: str, first: int = 0
) -> str:
    """Return the message about a value of a frame that is no count."""
    value = dataframe.iat[row, column]  # noqa: PD009 (by position: labels may repeat)
    shown = shorten(value) if isinstance(value, str) else str(value)
    probe = shorten(str(dataframe.index[row]))
    return (
        f"row {first + row} (from 0), {probe}: count {shown} in column {column} is"
        f" {rule}"
    )
