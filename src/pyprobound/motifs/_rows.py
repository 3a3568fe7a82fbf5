"""Formats of a '>' line and one row for each position: HOMER and HOCOMOCO."""

from collections.abc import Callable, Sequence

import numpy as np

from pyprobound.motifs._lines import Lines, digits, line_of, row, shown
from pyprobound.motifs._motif import DNA, Array, Kind, Motif


def _matrices(lines: Lines, make: Callable[[str, Array, int], Motif]) -> list[Motif]:
    """Return what is made of each header, its rows (letters, positions) and number."""
    motifs = []
    for line in lines:
        if not line.strip():
            continue
        if not line.startswith(">"):
            lines.fail(f"{shown(line)}: a motif begins with '>'")
        number, rows = lines.number, []
        while (following := lines.peek()) is not None and not following.startswith(">"):
            next(iter(lines))
            if following.strip():
                rows.append(lines.numbers(following.split(), 4))
        if not rows:
            lines.fail("a matrix without positions", number)
        values = np.array(rows).T
        header = line[1:]
        motifs.append(
            lines.made(lambda h=header, v=values, n=number: make(h, v, n), number)  # type: ignore[misc]  # mypy does not infer a lambda with defaults
        )
    return motifs


# --- HOMER --------------------------------------------------------------------------


def read_homer(lines: Lines) -> list[Motif]:
    """Return the motifs of a file.

    A line has the consensus, the name and the threshold; probabilities follow.
    """

    def make(header: str, values: Array, number: int) -> Motif:
        words = header.split("\t")
        if len(words) < 3:
            rule = "the consensus, a name and the threshold of a motif, with tabs"
            lines.fail(f"{shown(header)} is not {rule}", number)
        metadata = {"homer": tuple(words[2:])}
        name = words[1].strip() or words[0].strip()
        return Motif(name, DNA, values, "probabilities", metadata=metadata)

    return _matrices(lines, make)


def write_homer(motifs: Sequence[Motif]) -> str:
    """Return the text of a file.

    The threshold of a motif that had none is 70 % of its best log-odds score.
    """
    parts = []
    for motif in motifs:
        p = motif.probabilities()
        known = motif.metadata.get("homer")
        if known is None:
            best = np.log(p.max(0) / 0.25).sum()
            known = (digits(round(0.7 * float(best), 6)),)
        consensus = motif.consensus.upper().replace(".", "N")
        parts.append("\t".join([f">{consensus}", line_of(motif.name), *known]))
        parts += [row(each) for each in p.T]
    return "\n".join(parts) + "\n"


# --- HOCOMOCO -----------------------------------------------------------------------


def read_hocomoco(kind: Kind) -> Callable[[Lines], list[Motif]]:
    """Return the reader of matrices of a kind."""

    def read(lines: Lines) -> list[Motif]:
        def make(header: str, values: Array, _: int) -> Motif:
            return Motif(" ".join(header.split()) or "motif", DNA, values, kind)

        return _matrices(lines, make)

    return read


def write_hocomoco(kind: Kind) -> Callable[[Sequence[Motif]], str]:
    """Return the writer of matrices of a kind."""

    def values_of(motif: Motif) -> Array:
        if kind == "counts":
            return motif.counts()
        return motif.at_best().values

    def write(motifs: Sequence[Motif]) -> str:
        parts = []
        for motif in motifs:
            parts.append(f">{line_of(motif.name)}")
            parts += [row(each) for each in values_of(motif).T]
        return "\n".join(parts) + "\n"

    return write
