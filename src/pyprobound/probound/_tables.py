"""Reading the count tables that a file of the Java program names."""

import gzip
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyprobound.alphabets import Alphabet
from pyprobound.errors import InputError
from pyprobound.probound._files import Document
from pyprobound.probound._schema import CountTableSettings
from pyprobound.table import CountTable, get_dataframe

Part = Literal["train", "test"]
"""The rows that a model is fitted to, or those of the folds held out."""


def read_table(
    document: Document,
    index: int,
    alphabet: Alphabet,
    flank: int,
    path: Path | None = None,
    part: Part = "train",
) -> CountTable:
    """Return a count table, the columns in the likelihood only.

    Args:
        document: What names it; relative paths begin beside the file.
        index: Which one.
        alphabet: What its probes are written in.
        flank: Letters of either flank that are scored.
        path: Where it is, if not where the document says.
        part: Which rows, where folds are held out.

    Raises:
        InputError: It cannot be read, or is not as it is described.
    """
    settings = document.content.model_settings.count_table[index]
    where = f"modelSettings.countTable[{index}]"
    kind = settings.input_file_type
    if kind == "dat":
        rule = "inputFileType 'dat' is not read; count the reads, and give a tsv"
        raise document.error(f"{where}: {rule}")
    if kind == "fastq":
        names = str(path or settings.count_table_file).split(",")
        paths = [found_path(document, name) for name in names]
        frame = _counted(settings, alphabet, paths)
        return table_of(document, index, frame, alphabet, flank, ", ".join(names))
    if path is None:
        path = found_path(document, settings.count_table_file)
    frame = get_dataframe([str(path)])
    if settings.test_folds:
        frame = frame[_rows_of(document, where, settings, path, len(frame), part)]
    return table_of(document, index, frame, alphabet, flank, str(path))


def _counted(
    settings: CountTableSettings, alphabet: Alphabet, paths: Sequence[Path]
) -> pd.DataFrame:
    """Return how often each probe stands between the flanks in each of some files."""
    letters = "".join(map(re.escape, alphabet.alphabet))
    probe = f"([{letters}]{{{settings.variable_region_length}}})"
    pattern = re.compile(settings.left_flank + probe + settings.right_flank)
    columns = []
    for path in paths:
        counts: Counter[str] = Counter()
        with _lines_of(path) as lines:
            for line in lines:
                found = pattern.search(line)
                if found is not None:
                    counts[found[1]] += 1
        if not counts:
            raise InputError(f"{path}: no line has a probe between the flanks")
        columns.append(pd.Series(counts, dtype="int64"))
    frame = pd.concat(columns, axis=1, sort=True).fillna(0).astype("int64")
    return frame.set_axis(range(len(columns)), axis=1)


@contextmanager
def _lines_of(path: Path) -> Iterator[Iterable[str]]:
    """Yield the lines of a text file, gzipped or not.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        opened = gzip.open if zipped else open
        with opened(path, "rt", encoding="utf-8") as lines:
            yield lines
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or no text"
        raise InputError(f"{path}: cannot be read ({reason})") from None


def _rows_of(
    document: Document,
    where: str,
    settings: CountTableSettings,
    path: Path,
    n_rows: int,
    part: Part,
) -> NDArray[np.bool_]:
    """Return which rows are fitted to, or held out, by the fold of each row.

    Raises:
        InputError: The file of folds is missing, or has another number of rows.
    """
    if not path.name.endswith("tsv.gz"):
        raise document.error(f"{where}: testFolds need a table of the type tsv.gz")
    folds = path.with_name(path.name.removesuffix("tsv.gz") + "folds.gz")
    with _lines_of(folds) as lines:
        texts = [line.strip() for line in lines if line.strip()]
    if len(texts) != n_rows or not all(text.lstrip("-").isdigit() for text in texts):
        rule = f"has not one whole number for each of the {n_rows} probes of {path}"
        raise InputError(f"{folds}: {rule}")
    held_out = np.isin(np.array(texts, dtype=np.int64), settings.test_folds)
    chosen = held_out if part == "test" else ~held_out
    if not chosen.any():
        raise InputError(
            f"{folds}: folds {settings.test_folds} leave no probe to {part}"
        )
    return chosen


def table_of(
    document: Document,
    index: int,
    frame: pd.DataFrame,
    alphabet: Alphabet,
    flank: int,
    name: str = "the table",
) -> CountTable:
    """Return a count table of counts that were read already.

    Args:
        document: What describes it.
        index: Which of its tables.
        frame: The counts of all columns, indexed by probe.
        alphabet: What the probes are written in.
        flank: Letters of either flank that are scored.
        name: Of the table, in messages.

    Raises:
        InputError: It is not as it is described.
    """
    settings = document.content.model_settings.count_table[index]
    where = f"modelSettings.countTable[{index}]"
    if frame.shape[1] != settings.n_columns:
        rule = f"{name} has {frame.shape[1]} columns of counts, not nColumns"
        raise document.error(f"{where}: {rule} {settings.n_columns}")
    frame = _transliterated(
        frame, settings.transliterate.from_, settings.transliterate.to
    )
    wrong = frame.index.str.len() != settings.variable_region_length
    if bool(wrong.any()):
        first = str(frame.index[int(wrong.argmax())])
        rule = f"{name}: probe {first!r} has {len(first)} letters, not"
        raise document.error(
            f"{where}: {rule} variableRegionLength {settings.variable_region_length}"
        )
    return CountTable(
        frame[[frame.columns[i] for i in settings.columns]],
        alphabet,
        left_flank=settings.left_flank,
        right_flank=settings.right_flank,
        left_flank_length=flank,
        right_flank_length=flank,
    )


def found_path(document: Document, name: str) -> Path:
    """Return where a table is: beside the document, by its path or its name alone."""
    wanted = document.folder / name
    beside = document.folder / Path(name).name
    return wanted if wanted.exists() or not beside.exists() else beside


def relocated(
    document: Document, folder: Path, given: Sequence[Path] | None = None
) -> Document:
    """Return a document whose tables are found from another folder.

    Args:
        document: What names them.
        folder: Where it is to stand.
        given: Where they are, if not where the document says.
    """
    settings = document.content.model_settings
    names = [each.count_table_file for each in settings.count_table]
    if given:
        names = [str(path) for path in given]
    tables = []
    for each, name in zip(settings.count_table, names, strict=True):
        several = each.input_file_type == "fastq"
        files = name.split(",") if several else [name]
        seen = [
            _seen_from(folder, Path(file) if given else found_path(document, file))
            for file in files
        ]
        tables.append(each.model_copy(update={"count_table_file": ",".join(seen)}))
    moved = settings.model_copy(update={"count_table": tables})
    return Document(
        folder / document.path.name,
        document.content.model_copy(update={"model_settings": moved}),
    )


def _seen_from(folder: Path, path: Path) -> str:
    if path.is_absolute():
        return path.as_posix()
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _transliterated(
    frame: pd.DataFrame, found: list[str], wanted: list[str]
) -> pd.DataFrame:
    if not found:
        return frame
    probes = pd.Series(frame.index)
    for before, after in zip(found, wanted, strict=False):
        probes = probes.str.replace(before, after, regex=True)
    return frame.set_axis(pd.Index(probes), axis=0)
