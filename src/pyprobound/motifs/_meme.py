"""MEME: probabilities, with their background and the number of sites."""

from collections.abc import Sequence

import numpy as np

from pyprobound.motifs._lines import Lines, digits, row, shown, word_of
from pyprobound.motifs._motif import DNA, Motif

_BY_SIZE = {4: DNA, 20: "ACDEFGHIKLMNPQRSTVWY"}
_KNOWN = (DNA, "ACGU", _BY_SIZE[20])


class _Reader:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.letters = ""
        self.background: dict[str, float] = {}
        self.one_strand = False
        self.name: tuple[str, str] | None = None
        self.motifs: list[Motif] = []

    def read(self) -> list[Motif]:
        for line in self.lines:
            text = line.strip()
            word = text.upper()
            if word.startswith("ALPHABET"):
                self._alphabet(text)
            elif word.startswith("STRANDS:"):
                self.one_strand = "-" not in text.split(":", 1)[1]
            elif word.startswith("BACKGROUND LETTER FREQUENCIES"):
                self._background()
            elif text.startswith("MOTIF"):
                self._named(text)
            elif word.startswith("LETTER-PROBABILITY MATRIX"):
                self._matrix(text)
        return self.motifs

    def _alphabet(self, text: str) -> None:
        _, is_given, letters = text.partition("=")
        if not is_given or letters.strip().upper() not in _KNOWN:
            self.lines.fail(
                f"{shown(text)}: only the letters ACGT, ACGU or the 20 amino acids"
            )
        self.letters = letters.strip().upper()

    def _background(self) -> None:
        while (line := self.lines.peek()) is not None:
            words = line.split()
            if not words or len(words) % 2 or len(words[0]) > 1:
                return
            next(iter(self.lines))
            values = self.lines.numbers(words[1::2])
            self.background.update(zip(map(str.upper, words[::2]), values, strict=True))

    def _named(self, text: str) -> None:
        words = text.split()[1:]
        if not words:
            self.lines.fail("a motif without a name")
        # in MEME's own report: MOTIF CACGTG MEME-1  width = 6  sites = …
        alone = len(words) == 1 or words[1] == "width"
        self.name = ("", words[0]) if alone else (words[0], words[1])

    def _matrix(self, text: str) -> None:
        number = self.lines.number
        facts = self._facts(text)
        letters = self.letters or _BY_SIZE.get(int(facts.get("alength", 4)), "")
        if not letters or int(facts.get("alength", len(letters))) != len(letters):
            self.lines.fail(f"alength= {facts['alength']:g} without an ALPHABET of it")
        rows = []
        while (line := self.lines.peek()) is not None:
            words = line.split()
            if (
                not words
                or words[0][0] not in "0123456789.+-"
                or line.strip("- ") == ""
            ):
                break
            next(iter(self.lines))
            rows.append(self.lines.numbers(words, len(letters)))
        if not rows or len(rows) != int(facts.get("w", len(rows))):
            wanted = f"{facts['w']:g}" if "w" in facts else "any"
            self.lines.fail(f"a matrix of {len(rows)} rows, not {wanted}", number)
        identifier, name = self.name or ("", f"motif{len(self.motifs) + 1}")
        q = [self.background.get(letter, 0.0) for letter in letters]
        motif = self.lines.made(
            lambda: Motif(
                name,
                letters,
                np.array(rows).T,
                "probabilities",
                identifier,
                background=np.array(q) if any(q) else np.zeros(0),
                n_sites=facts.get("nsites") or None,
                complement="" if self.one_strand else None,
            ),
            number,
        )
        self.motifs.append(motif)
        self.name = None

    def _facts(self, text: str) -> dict[str, float]:
        words = text.partition(":")[2].replace("=", " = ").split()
        facts = {}
        for i in range(1, len(words) - 1):
            if words[i] == "=" and words[i - 1] in ("alength", "w", "nsites"):
                facts[words[i - 1]] = self.lines.numbers([words[i + 1]])[0]
        return facts


def read(lines: Lines) -> list[Motif]:
    """Return the motifs of a file."""
    return _Reader(lines).read()


def write(motifs: Sequence[Motif]) -> str:
    """Return the text of a file, of motifs that share their letters and background."""
    first = motifs[0]
    parts = ["MEME version 5", "", f"ALPHABET= {first.letters}", ""]
    if first.letters == DNA:
        parts += [f"strands: {'+ -' if first.complement else '+'}", ""]
    pairs = zip(first.letters, first.background, strict=True)
    parts += [
        "Background letter frequencies",
        " ".join(f"{letter} {digits(q)}" for letter, q in pairs),
        "",
    ]
    for motif in motifs:
        names = filter(None, (motif.identifier, motif.name))
        p = motif.probabilities()
        sites = motif.n_sites
        if motif.kind == "counts":
            sites = float(motif.values.sum(0).mean())
        known = "" if sites is None else f" nsites= {digits(sites)} E= 0"
        head = f"alength= {len(motif.letters)} w= {motif.size}{known}"
        parts += [
            f"MOTIF {' '.join(map(word_of, names))}",
            f"letter-probability matrix: {head}",
            *(row(each, " ") for each in p.T),
            "",
        ]
    return "\n".join(parts)
