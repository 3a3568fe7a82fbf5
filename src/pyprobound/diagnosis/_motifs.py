"""What the motifs and dimers themselves say: copies, empty columns, flat spacings."""

import math
from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from pyprobound.config import BuiltModel
from pyprobound.cooperativity import Cooperativity
from pyprobound.diagnosis._findings import Finding, Severity
from pyprobound.layers import PSAM
from pyprobound.report import Json, letter_energies
from pyprobound.report_errors import largest_dimers
from pyprobound.uncertainty import ErrorBars

EMPTY = 0.05
"""Bits of a position that says next to nothing."""

MANY_EMPTY = 3
"""Such positions at the ends of a motif that are worth a word."""

ALIKE = 0.9
"""The correlation of two motifs that are copies."""

LEAST_OVERLAP = 5
"""Positions that two motifs must share to be compared."""

LARGE_ERROR = 0.3
"""Of a letter, in RT, in the middle of all: a factor of 1.35 in affinity."""

SURE = 3.0
"""Standard errors."""

SYMMETRIC = 0.98
"""The correlation of a motif with its reverse complement that is worth a word."""


def motifs(
    built: BuiltModel, errors: ErrorBars | None, numbers: dict[str, Json]
) -> list[Finding]:
    """Look at the motifs and dimers of a model."""
    psams = {
        name: spec for name, spec in built.specs.modes.items() if isinstance(spec, PSAM)
    }
    energies = {
        name: torch.tensor(letter_energies(psam), dtype=torch.float64)
        for name, psam in psams.items()
    }
    numbers["bits"] = {
        name: [psam.get_information(i) for i in range(psam.kernel_size)]
        for name, psam in psams.items()
    }
    findings: list[Finding] = []
    for name, psam in psams.items():
        findings += _columns(name, psam)
        findings += _symmetry(name, psam, energies[name])
        if errors is not None:
            findings += _letters(name, psam, errors)
    for (first, a), (second, b) in combinations(psams.items(), 2):
        both = a.score_reverse and b.score_reverse
        findings += _copies(first, second, energies[first], energies[second], both=both)
    if errors is not None:
        for name, dimer in largest_dimers(built).items():
            findings += _spacing(name, dimer, errors)
    return findings


def _columns(name: str, psam: PSAM) -> Iterator[Finding]:
    bits = [psam.get_information(i) for i in range(psam.kernel_size)]
    full = [i for i, each in enumerate(bits) if each >= EMPTY]
    empty = len(bits) - (full[-1] + 1 - full[0]) if full else len(bits)
    if not full:
        yield Finding(
            Severity.CAUTION,
            "empty-motif",
            f"No position of {name} prefers any letter by {EMPTY} bits.",
            "It has learned nothing of its own; leave it out.",
            {"mode": name},
            sum(bits),
            weight=0.2,
        )
    elif empty >= MANY_EMPTY:
        yield Finding(
            Severity.FINE,
            "kernel-too-large",
            f"{empty} positions at the ends of {name} say next to nothing (below"
            f" {EMPTY} bits).",
            "A smaller motif says the same with smaller errors.",
            {"mode": name},
            float(empty),
        )


def _symmetry(name: str, psam: PSAM, energies: Tensor) -> Iterator[Finding]:
    free = len(set(psam.symmetry)) == len(psam.symmetry)
    if not (psam.score_reverse and free and psam.kernel_size >= LEAST_OVERLAP):
        return
    alike = correlation(energies, energies.flip((0, 1)))
    if alike > SYMMETRIC:
        yield Finding(
            Severity.FINE,
            "palindrome",
            f"{name} is nearly its own reverse complement (r = {alike:.3f}).",
            'symmetry = "palindrome" would halve its parameters.',
            {"mode": name},
            alike,
        )


def _letters(name: str, psam: PSAM, errors: ErrorBars) -> Iterator[Finding]:
    found = errors.letters(psam)
    where = {"mode": name}
    unknown = found.error.isnan()
    if bool(unknown.any()):
        positions = unknown.any(1)[0].nonzero().flatten() + 1
        shown = ", ".join(str(int(each)) for each in positions)
        yield Finding(
            Severity.CAUTION,
            "not-identified",
            f"{int(unknown.sum())} letters of {name} are not identified by the reads"
            f" (positions {shown}).",
            "Read nothing into them; the penalty alone decides their values.",
            {"mode": name, "position": int(positions[0])},
            float(unknown.sum()),
            weight=0.1 * float(unknown.double().mean()),
        )
    known = found.error[~unknown]
    middle = float(known.median()) if len(known) else math.nan
    if middle > LARGE_ERROR:
        yield Finding(
            Severity.CAUTION,
            "large-errors",
            f"The letters of {name} are known to ± {middle:.2f} RT only.",
            "More reads, a smaller motif or a symmetry would make them smaller.",
            where,
            middle,
            weight=0.1 * middle,
        )


# --- pairs of motifs ---------------------------------------------------------------


def _copies(
    first: str, second: str, a: Tensor, b: Tensor, *, both: bool
) -> Iterator[Finding]:
    best, strand = max(
        (best_correlation(a, b), ""),
        (best_correlation(a, b.flip((0, 1))) if both else -1.0, "the reverse of "),
    )
    if best > ALIKE:
        yield Finding(
            Severity.CAUTION,
            "copies",
            f"{first} and {strand}{second} are the same motif (r = {best:.2f}).",
            "Leave one of them out, or give the second a seed of its own.",
            {"mode": first},
            best,
            weight=0.1,
        )


def correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's r of energies, (letters, positions), of mean 0."""
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def best_correlation(a: Tensor, b: Tensor) -> float:
    """Return the largest r of two motifs, one shifted along the other.

    Only shifts count in which both keep most of their energies: what is left of a
    motif's flank is like any other's.
    """
    best = -1.0
    for shift in range(LEAST_OVERLAP - b.shape[1], a.shape[1] - LEAST_OVERLAP + 1):
        start, stop = max(0, shift), min(a.shape[1], shift + b.shape[1])
        if stop - start < LEAST_OVERLAP:
            continue
        own, other = a[:, start:stop], b[:, start - shift : stop - shift]
        kept = min(_part(own, a), _part(other, b))
        if kept > 0.75:
            best = max(best, correlation(own, other))
    return best


def _part(some: Tensor, whole: Tensor) -> float:
    total = float(whole.square().sum())
    return float(some.square().sum()) / total if total > 0 else 0.0


# --- dimers ------------------------------------------------------------------------


def _spacing(name: str, dimer: Cooperativity, errors: ErrorBars) -> Iterator[Finding]:
    found = errors.log_omega(dimer)
    possible = found.value.isfinite()
    known = possible & ~found.error.isnan() & (found.error > 0)
    where = {"mode": name}
    if not bool(known.any()):
        yield Finding(
            Severity.CAUTION,
            "spacing-not-identified",
            f"No arrangement of {name} can be told from another one.",
            "The reads say nothing about its spacing: leave the dimer out.",
            where,
            0.0,
            weight=0.1,
        )
        return
    z = largest_contrast(found.value[known], found.error[known])
    if z < SURE:
        yield Finding(
            Severity.CAUTION,
            "flat-spacing",
            f"All arrangements of {name} are alike within their errors (at most"
            f" {z:.1f} standard errors).",
            "There is no sign that the two notice each other: compare with a model"
            " without the dimer (pyprobound select).",
            where,
            z,
            weight=0.1,
        )


def largest_contrast(values: Tensor, errors: Tensor) -> float:
    """Return by how many errors a value differs most from the 0 of the reference."""
    return float((values.abs() / errors).max())
