"""`pyprobound score`: what a model says of sequences, some at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast
from warnings import warn

import numpy as np
import pandas as pd

from pyprobound._chunking import memory_budget
from pyprobound.cli._columns import Columns, ErrorColumns, PlainColumns
from pyprobound.cli._sequences import opened, parts, records, shown
from pyprobound.cli._written import written
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.run_directory import open_errors, open_run
from pyprobound.scoring._records import LETTERS_AT_ONCE, Part, Record, capitals
from pyprobound.scoring._sources import open_model, place_of
from pyprobound.scoring._stream import stream
from pyprobound.scoring._tables import WINDOWS_AT_ONCE, profiles
from pyprobound.scoring._trained import ENRICHMENT, LOG_Z, SCORES, make_scorer
from pyprobound.scoring._values import Columns as SiteColumns
from pyprobound.scoring._values import What

_LETTERS_AT_ONCE = LETTERS_AT_ONCE
_BYTES_PER_LETTER = 64  # codes and the scores of windows, on both strands
_OF_PROBES = {SCORES, LOG_Z, ENRICHMENT}


@dataclass(frozen=True)
class ScoreOptions:
    """The arguments of the command, see its help."""

    model: Path
    sequences: str
    what: tuple[str, ...]
    output: Path | None
    experiment: str | None
    flanks: bool
    upper: bool
    errors: bool = False
    reference: str | None = None
    concentration: float | None = None
    profile: bool = False
    allow_short: bool = False
    modifications: tuple[str, ...] = ()
    format: str | None = None


def run_score(options: ScoreOptions) -> None:
    """Score all sequences and print a table."""
    if options.flanks or options.errors or options.reference is not None:
        tables = _of_probes(options)
    elif options.profile:
        tables = _profiles(options)
    else:
        tables = _of_sequences(options)
    first = next(tables, None)  # bad input prints nothing, and writes no file
    with written(options.output, options.format) as writer:
        for table in chain([] if first is None else [first], tables):
            writer.add(table)


# --- sequences of any length -------------------------------------------------------


def _of_sequences(options: ScoreOptions) -> Iterator[pd.DataFrame]:
    model = open_model(
        options.model,
        experiment=options.experiment,
        modifications=options.modifications,
    )
    what = cast("tuple[What, ...]", options.what)
    columns = SiteColumns(model, what, options.concentration)
    if columns.is_relative:
        warn(
            "no absolute K_D is known: --concentration is in units of the concentration"
            " at which Z is 1",
            stacklevel=2,
        )
    label = ""
    for chunk, found in stream(
        model,
        _parts(options, model.alphabet.monomer_length),
        with_sites=columns.with_sites,
        allow_short=options.allow_short,
        most_letters=_LETTERS_AT_ONCE,
    ):
        label = label or _label(chunk[0])
        names = np.array([each.name for each in chunk], dtype=object)
        yield pd.DataFrame({label: names} | columns.values(found))


def _profiles(options: ScoreOptions) -> Iterator[pd.DataFrame]:
    if options.what != (SCORES,) or options.concentration is not None:
        raise PyProBoundError("--profile prints windows: leave out --what")
    model = open_model(
        options.model,
        experiment=options.experiment,
        modifications=options.modifications,
    )
    read = _parts(options, model.alphabet.monomer_length, WINDOWS_AT_ONCE)
    for table in profiles(model, read):
        yield table.drop(columns="sequence")


def _label(record: Record) -> str:
    return "sequence" if record.name == record.sequence else "name"


def _parts(
    options: ScoreOptions, width: int, most: int = LETTERS_AT_ONCE
) -> Iterator[Part]:
    """Iterate over the pieces of the sequences.

    Raises:
        InputError: There is none.
    """
    is_empty = True
    with opened(options.sequences) as lines:
        for part in parts(options.sequences, lines, width, most):
            is_empty = False
            yield capitals(part) if options.upper else part
    if is_empty:
        raise InputError(f"{shown(options.sequences)}: holds no sequence")


# --- sequences as probes, and errors -----------------------------------------------


def _of_probes(options: ScoreOptions) -> Iterator[pd.DataFrame]:
    other = next((each for each in options.what if each not in _OF_PROBES), None)
    for given, name in (
        (other is not None, f"--what {other}"),
        (options.profile, "--profile"),
        (options.allow_short, "--allow-short"),
        (bool(options.modifications), "--modification"),
        (options.concentration is not None, "--concentration"),
    ):
        if given:
            rule = "goes without --flanks, --errors and --reference"
            raise PyProBoundError(f"{name} {rule}")
    columns = _columns(options)
    with opened(options.sequences) as lines:
        found = iter(records(options.sequences, lines))
        first = next(found, None)
        if first is None:
            msg = f"{shown(options.sequences)}: holds no sequence"
            raise InputError(msg)
        for chunk in _chunks(first, found, columns.most, upper=options.upper):
            values = columns.values(chunk).double().numpy()
            table = pd.DataFrame(values, columns=columns.names)
            table.insert(0, _label(first), [each.name for each in chunk])
            yield table
    columns.close()


def _columns(options: ScoreOptions) -> Columns:
    if place_of(options.model)[0].suffix == ".json":
        rule = "--flanks, --errors and --reference are for runs"
        raise PyProBoundError(f"{options.model}: {rule}")
    document, built = open_run(options.model)
    errors = open_errors(options.model, built) if options.errors else None
    scorer = make_scorer(document, built, options.experiment, as_probes=options.flanks)
    reference = None
    if options.reference is not None:
        text = options.reference.upper() if options.upper else options.reference
        reference = Record(text, text, "--reference")
    if errors is None:
        return PlainColumns(scorer, options.what, reference)
    return ErrorColumns(scorer, options.what, reference, errors)


def _chunks(
    first: Record, rest: Iterable[Record], most_records: int, *, upper: bool
) -> Iterator[list[Record]]:
    """Iterate over lists of records that fit in memory together."""
    chunk: list[Record] = []
    longest = 0
    most = min(_LETTERS_AT_ONCE, memory_budget() // _BYTES_PER_LETTER)
    for each in chain([first], rest):
        sequence = each.sequence.upper() if upper else each.sequence
        record = Record(each.name, sequence, each.where)
        wider = max(longest, len(sequence))
        full = (len(chunk) + 1) * wider > most
        if chunk and (full or len(chunk) == most_records):
            yield chunk
            chunk, wider = [], len(sequence)
        chunk.append(record)
        longest = wider
    yield chunk
