"""Formats with named rows or columns of probabilities: UniPROBE and CIS-BP."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyprobound.motifs._lines import Lines, line_of, row, shown
from pyprobound.motifs._motif import Motif


def read_uniprobe(lines: Lines) -> list[Motif]:
    """Return the motifs of a file: a line of text, then a row for each letter."""
    motifs: list[Motif] = []
    name, said = Path(lines.file).stem, False
    rows: dict[str, list[float]] = {}
    number = 0

    def end() -> None:
        if not rows:
            return
        letters = "".join(sorted(rows))
        if letters not in ("ACGT", "ACGU"):
            lines.fail(f"rows of {letters}; A, C, G and T are wanted", number)
        values = np.array([rows[letter] for letter in letters])
        title = name
        motifs.append(
            lines.made(lambda: Motif(title, letters, values, "probabilities"), number)
        )

    for line in lines:
        words = line.split()
        if words and len(words[0]) == 2 and words[0][1] == ":":
            letter = words[0][0].upper()
            if letter in rows:
                end()
                rows, name = {}, f"{name}.{len(motifs) + 1}"
            number = number if rows else lines.number
            wanted = len(next(iter(rows.values()))) if rows else None
            rows[letter] = lines.numbers(words[1:], wanted)
            if not rows[letter]:
                lines.fail("a row without numbers")
        elif words:
            end()
            if rows or not said:
                name, said = _uniprobe_name(line), True
            rows = {}
    end()
    return motifs


def _uniprobe_name(line: str) -> str:
    first = line.partition("\t")[0].strip()
    label, _, rest = first.partition(":")
    known = label.strip().lower() in ("protein", "motif", "gene", "name")
    return (rest if known else first).strip() or "motif"


def write_uniprobe(motifs: Sequence[Motif]) -> str:
    """Return the text of a file."""
    parts = []
    for motif in motifs:
        parts.append(f"Protein: {line_of(motif.name)}")
        for letter, values in zip(motif.letters, motif.probabilities(), strict=True):
            parts.append(f"{letter}:\t{row(values)}")
        parts.append("")
    return "\n".join(parts)


_CISBP_KEYS = ("TF", "TF Name", "Gene", "Motif", "Family", "Species")


def read_cisbp(lines: Lines) -> list[Motif]:
    """Return the motifs of a file: facts, the letters, then a row for each position."""
    motifs: list[Motif] = []
    said: dict[str, str] = {}
    for line in lines:
        words = line.rstrip("\n").split("\t")
        key = words[0].strip()
        if not line.strip():
            continue
        if key in _CISBP_KEYS:
            said[key] = " ".join(words[1:]).strip()
        elif key == "Pos":
            motifs.append(_cisbp_matrix(lines, words[1:], said))
            said = {}
        else:
            lines.fail(f"{shown(line)}: 'Pos' and the letters are wanted first")
    return motifs


def _cisbp_matrix(lines: Lines, words: list[str], said: dict[str, str]) -> Motif:
    number, rows = lines.number, []
    given = "".join(word.strip().upper() for word in words)
    letters = "".join(sorted(given))
    if letters not in ("ACGT", "ACGU"):
        lines.fail(f"columns {shown(' '.join(words))}; A, C, G and T are wanted")
    while (line := lines.peek()) is not None and line[:1].isdigit():
        next(iter(lines))
        rows.append(lines.numbers(line.split()[1:], 4))
    if not rows:
        lines.fail("a matrix without positions", number)
    values = np.array(rows).T[[given.index(letter) for letter in letters]]
    name = said.get("TF Name") or said.get("Motif") or Path(lines.file).stem
    identifier = said.get("Motif", "")
    metadata = {
        key: said[key] for key in ("TF", "Gene", "Family", "Species") if key in said
    }
    return lines.made(
        lambda: Motif(
            name,
            letters,
            values,
            "probabilities",
            identifier if identifier != name else "",
            metadata={"cisbp": metadata} if metadata else {},
        ),
        number,
    )


def write_cisbp(motifs: Sequence[Motif]) -> str:
    """Return the text of a file."""
    parts = []
    for motif in motifs:
        for key, value in motif.metadata.get("cisbp", {}).items():
            parts.append(f"{key}\t{value}")
        parts.append(f"TF Name\t{line_of(motif.name)}")
        if motif.identifier:
            parts.append(f"Motif\t{line_of(motif.identifier)}")
        parts.append("\t".join(["Pos", *motif.letters]))
        for number, values in enumerate(motif.probabilities().T, 1):
            parts.append(f"{number}\t{row(values)}")
        parts.append("")
    return "\n".join(parts)
