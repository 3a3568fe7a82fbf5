"""A motif: numbers by letter and position, and what they mean.

    energies E        −ΔΔG/RT, natural logarithms
    probabilities p   of the letters in bound sites: p_b ∝ q_b · e^(E_b)
    background q      of the letters elsewhere
    counts n          of the letters in aligned sites

From counts to energies: p_b = (n_b + c·q_b) / (N + c), E_b = log(p_b / q_b), less the
largest E of the position, so that the best letter has 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pyprobound import alphabets
from pyprobound.alphabets import Alphabet
from pyprobound.probound._coefficients import ModeNumbers
from pyprobound.probound._transforms import mismatch_gauge
from pyprobound.report import consensus

Array = NDArray[np.float64]
Kind = Literal["energies", "probabilities", "counts"]

DNA = "ACGT"
SITES = 1000
"""How many sites counts are of, where a motif does not say."""

_ALPHABETS = {
    DNA: alphabets.DNA,
    "ACGU": alphabets.RNA,
    "ACDEFGHIKLMNPQRSTVWY": alphabets.Protein,
}

LOWEST = -20.0
"""The energy of a letter whose probability is 0."""

_SUM = 0.02
"""How far the probabilities of a position, as printed, may sum from 1."""


@dataclass(frozen=True, eq=False)
class Motif:
    """A motif, or one binding mode of a model.

    Attributes:
        name: What it is called.
        letters: The letters, in the order of the rows.
        values: (letters, positions) numbers of the kind said.
        kind: Energies −ΔΔG/RT, probabilities, or counts.
        identifier: Its accession, if it has one besides its name.
        background: (letters,) probabilities q of the letters outside of sites; uniform
            where it is left empty.
        n_sites: How many sites probabilities are of.
        pseudocount: The c that is added to the counts of a position, spread like the
            background. By default √N for counts, as TFBS and Biopython have it for
            JASPAR, and 0 for probabilities.
        pairs: What letter pairs add, by distance d from 1: (positions − d, letters,
            letters).
        log_activity: log α, the scale of one mode among others.
        complement: The complement of each letter; empty where only one strand binds.
        metadata: What else its file says.
        left_out: What its source holds and a motif does not, in words.
    """

    name: str
    letters: str
    values: Array
    kind: Kind = "energies"
    identifier: str = ""
    background: Array = field(default_factory=lambda: np.zeros(0))
    n_sites: float | None = None
    pseudocount: float | None = None
    pairs: tuple[Array, ...] = ()
    log_activity: float = 0.0
    complement: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the numbers are what they are said to be.

        Raises:
            ValueError: They are not; the message says where.
        """
        n = len(self.letters)
        if np.size(self.background) == 0:
            object.__setattr__(self, "background", np.full(n, 1 / max(n, 1)))
        if self.complement is None:
            paired = "TGCA" if self.letters == DNA else ""
            object.__setattr__(self, "complement", paired)
        for name in ("values", "background"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        n = len(self.letters)
        if n < 2 or len(set(self.letters)) < n:
            raise ValueError(f"letters {self.letters!r} are not two or more different")
        if self.values.ndim != 2 or len(self.values) != n:
            rule = f"not (letters, positions) of {n} letters"
            raise ValueError(f"values of shape {self.values.shape} are {rule}")
        if not np.isfinite(self.values).all():
            raise ValueError("a value is not finite")
        if self.kind != "energies":
            self._check_frequencies()
        if self.n_sites is not None and not 0 < self.n_sites < math.inf:
            raise ValueError(f"{self.n_sites:g} sites")
        if self.pseudocount is not None and not 0 <= self.pseudocount < math.inf:
            raise ValueError(f"a pseudocount of {self.pseudocount:g} is below 0")
        for distance, each in enumerate(self.pairs, 1):
            if each.shape != (self.size - distance, n, n):
                rule = f"not (positions − {distance}, letters, letters)"
                raise ValueError(f"pairs of shape {each.shape} are {rule}")
        q = self.background
        if q.shape != (n,) or not (q > 0).all() or abs(q.sum() - 1) > _SUM:
            rule = f"are not {n} probabilities above 0"
            raise ValueError(f"background frequencies {q.tolist()} {rule}")

    def _check_frequencies(self) -> None:
        sums = self.values.sum(0)
        if (self.values < 0).any():
            position = int((self.values < 0).any(0).argmax()) + 1
            raise ValueError(f"position {position}: {self.kind} below 0")
        off = abs(sums - 1) > _SUM if self.kind == "probabilities" else ~(sums > 0)
        if off.any():
            position = int(off.argmax())
            wanted = "1" if self.kind == "probabilities" else "more than 0"
            msg = f"position {position + 1}: {self.kind} sum to {sums[position]:g},"
            raise ValueError(f"{msg} not {wanted}")

    @property
    def size(self) -> int:
        """The number of positions."""
        return int(self.values.shape[1])

    @property
    def is_specific(self) -> bool:
        """Whether it tells letters apart at all; non-specific binding does not."""
        told = self.kind != "energies" or bool((np.ptp(self.values, 0) > 0).any())
        return self.size > 0 and (told or any(each.any() for each in self.pairs))

    # --- the same in other words ---------------------------------------------------

    def energies(self) -> Array:
        """Return −ΔΔG/RT, (letters, positions).

        Energies are given as they are. Those of probabilities or counts have their
        largest value at 0 in every position; a letter that never occurs has −20, or
        as little as the rarest letter of the position.
        """
        if self.kind == "energies":
            return self.values.copy()
        q = self.background[:, None] / self.background.sum()
        totals = self.values.sum(0)
        sites = totals if self.kind == "counts" else np.full(self.size, self._sites)
        added = self.pseudocount
        if added is None:
            added = np.sqrt(sites.mean()) if self.kind == "counts" else 0.0
        seen = self.values / totals * sites + added * q
        with np.errstate(divide="ignore"):
            odds = np.log(seen / q)
        odds -= odds.max(0)
        lowest = np.where(np.isfinite(odds), odds, 0).min(0)
        found: Array = np.where(np.isfinite(odds), odds, np.minimum(lowest, LOWEST))
        return found

    def probabilities(self) -> Array:
        """Return the letters' probabilities in bound sites, (letters, positions).

        Counts are divided by their sum, without pseudocounts.
        """
        if self.kind == "energies":
            weights = np.exp(self.values - self.values.max(0, initial=-math.inf))
            weights *= self.background[:, None]
            found: Array = weights / weights.sum(0)
            return found
        shares: Array = self.values / self.values.sum(0)
        return shares

    def counts(self) -> Array:
        """Return the letters' counts in aligned sites, (letters, positions)."""
        if self.kind == "counts":
            return self.values.copy()
        return self.probabilities() * self._sites

    @property
    def _sites(self) -> float:
        return SITES if self.n_sites is None else self.n_sites

    def single_letters(self) -> "Motif":
        """Return the motif without letter pairs.

        Its energies are then those of the single mutants of its best sequence.
        """
        if not any(each.any() for each in self.pairs):
            return replace(self, pairs=()) if self.pairs else self
        numbers = ModeNumbers(self.values.T, list(self.pairs), [])
        return replace(self, values=mismatch_gauge(numbers)[0].letters.T, pairs=())

    def at_best(self) -> "Motif":
        """Return its energies with the best letter of every position at 0."""
        values = self.energies()
        return replace(
            self, values=values - values.max(0, initial=-math.inf), kind="energies"
        )

    @property
    def consensus(self) -> str:
        """A code for each position: capital where strong, '.' where weak."""
        alphabet = _ALPHABETS.get(self.letters)
        made = alphabet() if alphabet else Alphabet(list(self.letters))
        return consensus(self.single_letters().energies().tolist(), made)

    def with_pseudocount(self, pseudocount: float | None) -> "Motif":
        """Return the motif with another pseudocount, None for the usual one."""
        return replace(self, pseudocount=pseudocount)
