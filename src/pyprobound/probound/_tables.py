"""Reading the count tables that a file of the Java program names."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pyprobound.alphabets import Alphabet
from pyprobound.probound._files import Document
from pyprobound.table import CountTable, get_dataframe


def read_table(
    document: Document,
    index: int,
    alphabet: Alphabet,
    flank: int,
    path: Path | None = None,
) -> CountTable:
    """Return a count table, the columns in the likelihood only.

    Args:
        document: What names it; relative paths begin beside the file.
        index: Which one.
        alphabet: What its probes are written in.
        flank: Letters of either flank that are scored.
        path: Where it is, if not where the document says.

    Raises:
        InputError: It cannot be read, or is not as it is described.
    """
    settings = document.content.model_settings.count_table[index]
    where = f"modelSettings.countTable[{index}]"
    if settings.input_file_type not in ("tsv", "tsv.gz"):
        rule = f"inputFileType {settings.input_file_type!r} is not read; count first"
        raise document.error(f"{where}: {rule}, and give a tsv")
    if path is None:
        path = found_path(document, settings.count_table_file)
    frame = get_dataframe([str(path)])
    return table_of(document, index, frame, alphabet, flank, str(path))


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
    paths = given or [
        found_path(document, each.count_table_file) for each in settings.count_table
    ]
    tables = [
        each.model_copy(update={"count_table_file": _seen_from(folder, path)})
        for each, path in zip(settings.count_table, paths, strict=True)
    ]
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
