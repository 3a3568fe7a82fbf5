"""Reading the count tables that a configuration names."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pyprobound._encoded import EncodedCounts
from pyprobound.alphabets import DNA, RNA, Alphabet, Codon, Protein
from pyprobound.config._positions import Place
from pyprobound.config._read import Document
from pyprobound.config._resolve import Probes
from pyprobound.config._schema import AlphabetSection, ExperimentSection
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.table import CountTable, encoded_counts, sample_encoded

_ALPHABETS = {"DNA": DNA, "RNA": RNA, "protein": Protein, "codon": Codon}


@dataclass(frozen=True)
class Counts:
    """What the files of one experiment hold.

    Attributes:
        encoded: The probes, encoded, and their counts.
        probes: What a model has to know of them.
        files: Their names, for messages.
    """

    encoded: EncodedCounts
    probes: Probes
    files: str


def make_alphabet(document: Document) -> Alphabet:
    """Return the alphabet of a configuration.

    Raises:
        ConfigError: The letters or codes of a custom alphabet contradict each other.
    """
    section = document.config.alphabet
    try:
        return _alphabet_of(section)
    except ValueError as error:
        raise document.error(("alphabet",), error) from error


def _alphabet_of(section: AlphabetSection) -> Alphabet:
    if section.name in _ALPHABETS:
        if section.letters or section.codes or section.complement:
            msg = f"{section.name} has its letters; leave out name for your own"
            raise ValueError(msg)
        return _ALPHABETS[section.name]()
    return Alphabet(
        section.letters,
        complement=section.complement,
        monomer_length=len(section.letters[0]) if section.letters else 1,
        encoding=section.codes,
    )


def read_counts(document: Document) -> list[Counts]:
    """Read the tables of all experiments, and check them and the flanks.

    Raises:
        ConfigError: A file is missing, is not the one that a checksum was made of, or
            a flank does not fit.
        InputError: A file is no count table; the message names file, line and reason.
    """
    alphabet = make_alphabet(document)
    # files first: a missing one is to be told before a long one has been read
    paths = [
        _paths_of(document, index) for index in range(len(document.config.experiments))
    ]
    return [
        _counts_of(document, alphabet, index, each) for index, each in enumerate(paths)
    ]


def _paths_of(document: Document, index: int) -> list[Path]:
    experiment = document.config.experiments[index]
    place: Place = ("experiments", index, "table")
    if not experiment.table:
        raise document.error(place, "missing; name the file with the counts")
    paths = [document.folder / name for name in experiment.table]
    for path in paths:
        if not path.exists():
            raise document.error(place, f"{path}: no such file")
        if path.is_dir():
            raise document.error(place, f"{path}: is a folder, not a file")
    return paths


def _counts_of(
    document: Document, alphabet: Alphabet, index: int, paths: list[Path]
) -> Counts:
    experiment = document.config.experiments[index]
    place: Place = ("experiments", index)
    _check_flanks(document, place, experiment, alphabet)
    sums = tuple(_sha256(path) for path in paths)
    if experiment.sha256 and tuple(experiment.sha256) != sums:
        rule = "another table than the one of this checksum; remove it to use this one"
        raise document.error((*place, "sha256"), rule)
    encoded = _encoded(document, alphabet, index, paths)
    shortest, longest = experiment.min_variable_length, experiment.max_variable_length
    probes = Probes(
        encoded.shortest if shortest is None else shortest,
        encoded.longest if longest is None else longest,
        n_columns=encoded.target.shape[1],
        sha256=sums,
    )
    return Counts(encoded, probes, _names(paths))


def _encoded(
    document: Document, alphabet: Alphabet, index: int, paths: list[Path]
) -> EncodedCounts:
    rules = document.config.experiments[index].transliterate
    try:
        return encoded_counts(paths, alphabet, rules)
    except InputError as error:
        # of several files the message names the bad one, unless it is about their sum
        named = any(str(error).startswith(f"{path}: ") for path in paths)
        raise InputError(str(error) if named else f"{_names(paths)}: {error}") from None
    except PyProBoundError as error:
        raise document.error(("experiments", index), error) from None


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_flanks(
    document: Document,
    place: Place,
    experiment: ExperimentSection,
    alphabet: Alphabet,
) -> None:
    for key in ("left_flank", "right_flank"):
        try:
            alphabet.translate(getattr(experiment, key))
        except InputError as error:
            raise document.error((*place, key), error) from None


def make_table(
    experiment: ExperimentSection,
    counts: pd.DataFrame | EncodedCounts,
    alphabet: Alphabet,
) -> CountTable:
    """Return the count table of an experiment."""
    return CountTable(
        counts,
        alphabet,
        transliterate=experiment.transliterate,
        transliterate_flanks=experiment.transliterate_flanks,
        left_flank=experiment.left_flank,
        right_flank=experiment.right_flank,
        left_flank_length=experiment.left_flank_length or 0,
        right_flank_length=experiment.right_flank_length or 0,
        max_left_flank_length=experiment.max_left_flank_length,
        max_right_flank_length=experiment.max_right_flank_length,
        wildcard_pad=experiment.wildcard_pad,
        min_variable_length=experiment.min_variable_length,
        max_variable_length=experiment.max_variable_length,
    )


def make_tables(
    document: Document, counts: Sequence[Counts]
) -> tuple[list[CountTable], list[CountTable] | None]:
    """Return the training tables, and the validation tables where a part is held out.

    Args:
        document: The resolved configuration.
        counts: What was read for each experiment.

    Raises:
        ConfigError: A setting does not fit a table.
        InputError: A table holds what its alphabet does not know.
    """
    fraction = document.config.optimizer.validation_fraction
    if fraction == 0:
        return _tables_of(document, counts, [each.encoded for each in counts]), None
    seed = document.config.seed
    parts = [sample_encoded(each.encoded, fraction, seed) for each in counts]
    if any(len(part) == 0 or len(rest) == 0 for part, rest in parts):
        rule = f"{fraction} leaves no probe on one side; choose another fraction"
        raise document.error(("optimizer", "validation_fraction"), rule)
    return (
        _tables_of(document, counts, [rest for _, rest in parts]),
        _tables_of(document, counts, [part for part, _ in parts]),
    )


def _tables_of(
    document: Document, counts: Sequence[Counts], parts: Sequence[EncodedCounts]
) -> list[CountTable]:
    alphabet = make_alphabet(document)
    tables = []
    for index, (each, part) in enumerate(zip(counts, parts, strict=True)):
        try:
            experiment = document.config.experiments[index]
            tables.append(make_table(experiment, part, alphabet))
        except InputError as error:
            msg = f"{each.files}: {error}"
            raise InputError(msg) from None
        except PyProBoundError as error:
            raise document.error(("experiments", index), error) from None
    return tables
