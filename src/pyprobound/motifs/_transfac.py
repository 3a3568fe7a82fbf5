"""TRANSFAC: counts, one row for each position."""

from collections.abc import Sequence

import numpy as np

from pyprobound.motifs._lines import Lines, line_of, row, shown, word_of
from pyprobound.motifs._motif import Motif


class _Reader:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.motifs: list[Motif] = []
        self._begin()

    def _begin(self) -> None:
        self.said: dict[str, str] = {}
        self.letters = ""
        self.rows: list[list[float]] = []
        self.number = 0

    def read(self) -> list[Motif]:
        for line in self.lines:
            key, _, rest = line.strip().partition(" ")
            key, _, more = key.partition("\t")
            rest = f"{more} {rest}".strip()
            if key == "//":
                self._end()
            elif key.upper() in ("P0", "PO"):
                self.letters, self.number = self._letters(rest), self.lines.number
            elif self.letters and key.isdigit():
                self._row(rest.split())
            elif key in ("AC", "ID", "NA") and rest:
                self.said.setdefault(key, rest)
        if self.letters:
            self.lines.fail("the file ends before the '//' of its last motif")
        return self.motifs

    def _letters(self, rest: str) -> str:
        words = [word for word in rest.split() if len(word) == 1]
        letters = "".join(words).upper()
        if len(letters) < 2 or len(set(letters)) < len(letters):
            self.lines.fail(f"{shown(rest)}: the letters of the columns are wanted")
        return letters

    def _row(self, words: list[str]) -> None:
        n = len(self.letters)
        if len(words) == n + 1:  # the consensus letter
            words = words[:n]
        self.rows.append(self.lines.numbers(words, n))

    def _end(self) -> None:
        if not self.letters:
            self.said = {}
            return
        if not self.rows:
            self.lines.fail("a matrix without positions", self.number)
        order = sorted(self.letters)
        values = np.array(self.rows).T
        values = values[[self.letters.index(letter) for letter in order]]
        identifier = self.said.get("AC", "")
        name = self.said.get("NA") or self.said.get("ID") or identifier or "motif"
        motif = self.lines.made(
            lambda: Motif(
                name,
                "".join(order),
                values,
                "counts",
                identifier if identifier != name else "",
            ),
            self.number,
        )
        self.motifs.append(motif)
        self._begin()


def read(lines: Lines) -> list[Motif]:
    """Return the motifs of a file."""
    return _Reader(lines).read()


def write(motifs: Sequence[Motif]) -> str:
    """Return the text of a file."""
    parts = []
    for motif in motifs:
        if motif.identifier:
            parts += [f"AC  {word_of(motif.identifier)}", "XX"]
        parts += [f"ID  {line_of(motif.name)}", "XX"]
        parts.append("\t".join(["P0", *motif.letters]))
        for number, (values, letter) in enumerate(
            zip(motif.counts().T, motif.consensus.replace(".", "N"), strict=True), 1
        ):
            parts.append(f"{number:02d}\t{row(values)}\t{letter.upper()}")
        parts += ["XX", "//"]
    return "\n".join(parts) + "\n"
