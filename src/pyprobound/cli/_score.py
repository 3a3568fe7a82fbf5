"""`pyprobound score`: what a trained model says of sequences, some at a time."""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from pyprobound._chunking import memory_budget
from pyprobound._files import replacing
from pyprobound.cli._columns import Columns, ErrorColumns, PlainColumns
from pyprobound.cli._scorer import make_scorer
from pyprobound.cli._sequences import Record, opened, records, shown
from pyprobound.errors import InputError
from pyprobound.run_directory import open_errors, open_run

_LETTERS_AT_ONCE = 2**21
_BYTES_PER_LETTER = 64  # codes and the scores of windows, on both strands


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


def run_score(options: ScoreOptions) -> None:
    """Score all sequences and print a table."""
    document, built = open_run(options.model)
    errors = open_errors(options.model, built) if options.errors else None
    scorer = make_scorer(document, built, options.experiment, as_probes=options.flanks)
    reference = None
    if options.reference is not None:
        text = options.reference.upper() if options.upper else options.reference
        reference = Record(text, text, "--reference")
    if errors is None:
        columns: Columns = PlainColumns(scorer, options.what, reference)
    else:
        columns = ErrorColumns(scorer, options.what, reference, errors)
    with opened(options.sequences) as lines, _written(options.output) as file:
        found = iter(records(options.sequences, lines))
        first = next(found, None)
        if first is None:
            msg = f"{shown(options.sequences)}: holds no sequence"
            raise InputError(msg)
        label = "sequence" if first.name == first.sequence else "name"
        header = "\t".join([label, *columns.names])
        for chunk in _chunks(first, found, columns.most, upper=options.upper):
            values = columns.values(chunk)
            if header:  # not before the first values: bad input prints nothing
                print(header, file=file)
                header = ""
            for record, row in zip(chunk, values.tolist(), strict=True):
                cells = [f"{value:.7g}" for value in row]
                print("\t".join([record.name, *cells]), file=file)
    columns.close()


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a file that appears once it is complete."""
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8")
        yield text
        text.flush()
        text.detach()


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
