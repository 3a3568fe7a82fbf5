"""Tables on their way out, some rows at a time: TSV, JSON lines, Parquet."""

import abc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pyprobound._files import replacing
from pyprobound.errors import PyProBoundError

TSV, JSONL, PARQUET = "tsv", "jsonl", "parquet"
_BY_SUFFIX = {".parquet": PARQUET, ".pq": PARQUET, ".jsonl": JSONL, ".ndjson": JSONL}


class Writer(abc.ABC):
    """Takes the rows of a table as they come; the first ones say its columns."""

    @abc.abstractmethod
    def add(self, rows: pd.DataFrame) -> None:
        """Write some rows."""

    def close(self) -> None:  # noqa: B027 most have nothing to do
        """Write what is left."""


class _Lines(Writer):
    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.is_first = True

    def _print(self, lines: list[str]) -> None:
        self.file.write("".join(f"{line}\n" for line in lines).encode())


class _Tsv(_Lines):
    """Seven digits of floating-point numbers."""

    def add(self, rows: pd.DataFrame) -> None:
        """Write some rows."""
        if self.is_first:
            self._print(["\t".join(rows.columns)])
            self.is_first = False
        columns = [_texts(rows[name].to_numpy()) for name in rows.columns]
        self._print(["\t".join(cells) for cells in zip(*columns, strict=True)])


def _texts(values: "np.ndarray[Any, Any]") -> list[str]:
    if values.dtype.kind == "f":
        return [f"{value:.7g}" for value in values.tolist()]
    return [str(value) for value in values.tolist()]


class _JsonLines(_Lines):
    """All digits; what is infinite or no number is null."""

    def add(self, rows: pd.DataFrame) -> None:
        """Write some rows."""
        columns = [_plain(rows[name].to_numpy()) for name in rows.columns]
        names = list(rows.columns)
        self._print(
            [
                json.dumps(dict(zip(names, cells, strict=True)))
                for cells in zip(*columns, strict=True)
            ]
        )


def _plain(values: "np.ndarray[Any, Any]") -> list[Any]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return [value if np.isfinite(value) else None for value in values.tolist()]
    plain: list[Any] = values.tolist()
    return plain


class _Parquet(Writer):
    def __init__(self, file: IO[bytes]) -> None:
        try:
            from pyarrow import parquet
        except ImportError:
            rule = "Parquet needs pyarrow: pip install 'pyprobound-engine[parquet]'"
            raise PyProBoundError(rule) from None
        self.file = file
        self._parquet: Any = parquet
        self._writer: Any = None

    def add(self, rows: pd.DataFrame) -> None:
        """Write some rows."""
        import pyarrow as pa

        table = pa.Table.from_pandas(rows, preserve_index=False)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self.file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()


_WRITERS: Mapping[str, Callable[[IO[bytes]], Writer]] = {
    TSV: _Tsv,
    JSONL: _JsonLines,
    PARQUET: _Parquet,
}


@contextmanager
def written(path: Path | None, name: str | None) -> Iterator[Writer]:
    """Yield a writer to standard output, or to a file that appears once complete.

    Args:
        path: The file; None is standard output.
        name: "tsv", "jsonl" or "parquet"; by default as the file's name ends.

    Raises:
        PyProBoundError: Parquet is to go to standard output, or cannot be written.
    """
    if name is None:
        name = TSV if path is None else _BY_SUFFIX.get(path.suffix.lower(), TSV)
    if path is None:
        if name == PARQUET:
            raise PyProBoundError(
                "Parquet is no text: name a file with -o FILE.parquet"
            )
        yield _WRITERS[name](sys.stdout.buffer)
        return
    with replacing(path) as file:
        writer = _WRITERS[name](file)
        yield writer
        writer.close()
