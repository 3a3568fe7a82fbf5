"""JASPAR: counts, one row for each letter, with or without the letters before them."""

from collections.abc import Sequence

import numpy as np

from pyprobound.motifs._lines import Lines, row, shown, word_of
from pyprobound.motifs._motif import DNA, Motif


def read(lines: Lines) -> list[Motif]:
    """Return the motifs of a file."""
    motifs = []
    for line in lines:
        if not line.strip():
            continue
        if not line.startswith(">"):
            lines.fail(f"{shown(line)}: a motif begins with '>'")
        motifs.append(_matrix(lines, line))
    return motifs


def _matrix(lines: Lines, header: str) -> Motif:
    number = lines.number
    words = header[1:].split(maxsplit=1)
    letters = ""
    rows: list[list[float]] = []
    while (line := lines.peek()) is not None and not line.startswith(">"):
        next(iter(lines))
        found = line.replace("[", " ").replace("]", " ").split()
        if not found:
            continue
        letter = DNA[len(rows) : len(rows) + 1]
        if found[0].upper() in {*DNA, "U"}:
            letter, found = found[0].upper(), found[1:]
        letters += letter
        rows.append(lines.numbers(found, len(rows[0]) if rows else None))
    if len(rows) != 4 or set(letters) not in (set(DNA), set("ACGU")):
        lines.fail(f"a matrix of {len(rows)} rows; A, C, G and T need four", number)
    if not rows[0]:
        lines.fail("a matrix without positions", number)
    identifier, name = words if len(words) == 2 else ("", "".join(words) or "motif")
    ordered = "".join(sorted(letters))
    values = np.array([rows[letters.index(letter)] for letter in ordered])
    return lines.made(
        lambda: Motif(name.strip(), ordered, values, "counts", identifier), number
    )


def _header(motif: Motif) -> str:
    if not motif.identifier:
        return f">{word_of(motif.name)}"
    return f">{word_of(motif.identifier)}\t{' '.join(motif.name.split())}".rstrip()


def write(motifs: Sequence[Motif]) -> str:
    """Return the text of a file with letters and brackets."""
    parts = []
    for motif in motifs:
        parts.append(_header(motif))
        for letter, values in zip(motif.letters, motif.counts(), strict=True):
            parts.append(f"{letter} [ {row(values, ' ')} ]")
    return "\n".join(parts) + "\n"


def write_pfm(motifs: Sequence[Motif]) -> str:
    """Return the text of a file without them."""
    parts = []
    for motif in motifs:
        parts += [_header(motif), *(row(values) for values in motif.counts())]
    return "\n".join(parts) + "\n"
