"""Motif files: converting them, and looking models up in a MotifCentral file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyprobound.errors import PyProBoundError
from pyprobound.motifs import (
    Entry,
    Motif,
    find_entries,
    read_entries,
    read_motifs,
    write_fit,
    write_motifs,
)


@dataclass(frozen=True)
class ConvertOptions:
    """What the command line asks of `convert`."""

    source: Path
    target: Path
    source_format: str | None
    target_format: str | None
    select: str | None
    pseudocount: float | None
    whole: bool


def run_convert(options: ConvertOptions) -> None:
    """Write the motifs of one file as another.

    Raises:
        PyProBoundError: The one cannot be read, or the other not be written.
    """
    if options.whole:
        _convert_whole(options)
        return
    motifs = read_motifs(options.source, options.source_format, options.pseudocount)
    if options.select is not None:
        motifs = selected(options.source, motifs, options.select)
    write_motifs(options.target, motifs, options.target_format)


def _convert_whole(options: ConvertOptions) -> None:
    given = (options.select, options.pseudocount, options.source_format)
    if any(each is not None for each in given) or options.target_format not in (
        None,
        "probound",
    ):
        msg = "--whole writes a run directory as ProBound's JSON, without other options"
        raise PyProBoundError(msg)
    write_fit(options.source, options.target)


def selected(file: Path, motifs: Sequence[Motif], name: str) -> list[Motif]:
    """Return the motifs of an accession (a fit_id), a name or a gene.

    Raises:
        PyProBoundError: There is none.
    """
    asked = name.lower()
    found = [each for each in motifs if each.identifier.lower() == asked]
    found = found or [
        each for each in motifs if asked in (each.name.lower(), *_genes(each))
    ]
    if not found:
        raise PyProBoundError(f"{file}: none of {len(motifs)} motifs is {name!r}")
    return found


def _genes(motif: Motif) -> list[str]:
    return motif.name.lower().split("-")


@dataclass(frozen=True)
class ModelsOptions:
    """What the command line asks of `models`."""

    file: Path
    gene: str | None
    species: str | None
    study: str | None
    factor: str | None
    as_json: bool


def run_models(options: ModelsOptions) -> None:
    """Print the entries of a MotifCentral file that agree with what is asked for.

    Raises:
        PyProBoundError: It cannot be read, or none agrees.
    """
    entries = read_entries(options.file)
    found = find_entries(
        entries, options.gene, options.species, options.study, options.factor
    )
    if not found:
        raise PyProBoundError(
            f"{options.file}: none of {len(entries)} models agrees; leave out an"
            " option, or write --gene with *"
        )
    if options.as_json:
        print(json.dumps([_facts(each) for each in found], ensure_ascii=False))
        return
    rows = [_HEADER, *(_row(each) for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


_HEADER = ["fit_id", "gene", "species", "study", "size", "consensus"]


def _row(entry: Entry) -> list[str]:
    return [
        str(entry.fit_id),
        "-".join(entry.genes),
        ",".join(entry.species),
        ",".join(entry.studies),
        str(entry.motif.size),
        entry.motif.consensus,
    ]


def _facts(entry: Entry) -> dict[str, object]:
    return {
        "fit_id": entry.fit_id,
        "genes": entry.genes,
        "factors": entry.factors,
        "tax_ids": entry.taxa,
        "species": entry.species,
        "studies": entry.studies,
        "experiments": entry.experiments,
        "size": entry.motif.size,
        "consensus": entry.motif.consensus,
    }
