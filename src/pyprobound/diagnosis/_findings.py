"""What a diagnosis says, as plain data: for a page, for a terminal, for result.json."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pyprobound.report import Json, finite

Place: TypeAlias = Mapping[str, str | int]
"""Where something is: any of mode, experiment, round, position."""


class Severity(enum.IntEnum):
    """How much a finding matters; the worst is the smallest."""

    PROBLEM = 0
    CAUTION = 1
    FINE = 2

    @property
    def word(self) -> str:
        """The word for it: problem, caution or fine."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what was found.

    Attributes:
        severity: How much it matters.
        code: What it is, as one stable word (docs/verdict.md lists all).
        what: One sentence.
        advice: What to do about it; empty where nothing is to be done.
        where: Any of mode, experiment, round, position.
        number: What it rests on; None where there is no number.
        weight: What orders findings of the same severity: larger is worse. In general
            the log-likelihood at stake, as a share of what the motifs explain.
    """

    severity: Severity
    code: str
    what: str
    advice: str = ""
    where: Place = field(default_factory=dict)
    number: float | None = None
    weight: float = 0.0

    def __str__(self) -> str:
        """Show the finding in one line."""
        text = f"{self.severity.word} ({self.code}): {self.what}"
        return f"{text} {self.advice}".rstrip()

    def to_json(self) -> dict[str, Json]:
        """Return the finding as JSON has it."""
        return {
            "severity": self.severity.word,
            "code": self.code,
            "what": self.what,
            "advice": self.advice,
            "where": dict(self.where),
            "number": finite_only(self.number),
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, numbers: Mapping[str, object]) -> "Finding":
        """Return a finding as `to_json` has written it."""
        known = dict(numbers)
        severity = Severity[str(known.pop("severity")).upper()]
        return cls(severity=severity, **known)  # type: ignore[arg-type]  # as to_json wrote it


@dataclass(frozen=True)
class Diagnosis:
    """Whether a fit is to be believed, and why.

    Attributes:
        findings: All that was found, the worst first.
        numbers: What was measured, by name.
    """

    findings: Sequence[Finding]
    numbers: Mapping[str, Json]

    @classmethod
    def of(cls, found: Iterable[Finding], numbers: Mapping[str, Json]) -> "Diagnosis":
        """Put findings in order."""
        ranked = sorted(found, key=lambda each: (each.severity, -each.weight))
        return cls(tuple(ranked), numbers)

    def of_severity(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity, the worst first."""
        return [each for each in self.findings if each.severity == severity]

    @property
    def severity(self) -> Severity:
        """That of the worst finding."""
        return min((each.severity for each in self.findings), default=Severity.FINE)

    @property
    def verdict(self) -> str:
        """The whole in one sentence."""
        problems = self.of_severity(Severity.PROBLEM)
        cautions = self.of_severity(Severity.CAUTION)
        if problems:
            more = f" and {_counted(len(cautions), 'caution')}" if cautions else ""
            return (
                f"Not to be believed yet: {_counted(len(problems), 'problem')}{more}."
            )
        if cautions:
            return f"Usable with care: {_counted(len(cautions), 'caution')}."
        return "Nothing speaks against this fit."

    def lines(self) -> list[str]:
        """Return the verdict and its problems and cautions, one line each."""
        shown = [each for each in self.findings if each.severity < Severity.FINE]
        return [f"Verdict: {self.verdict}", *(f"  {each}" for each in shown)]

    def __str__(self) -> str:
        """Show the verdict with its problems and cautions."""
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Json]:
        """Return the diagnosis as result.json has it."""
        return {
            "severity": self.severity.word,
            "verdict": self.verdict,
            "findings": [each.to_json() for each in self.findings],
            "numbers": finite_only(self.numbers),
        }

    @classmethod
    def from_json(cls, numbers: Mapping[str, object]) -> "Diagnosis":
        """Return a diagnosis as `to_json` has written it."""
        found, measured = numbers["findings"], numbers["numbers"]
        assert isinstance(found, Sequence)
        assert isinstance(measured, Mapping)
        return cls(tuple(map(Finding.from_json, found)), dict(measured))


def finite_only(value: Json) -> Json:
    """Return numbers as JSON has them: null where they are not finite."""
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {key: finite_only(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite_only(each) for each in value]
    return value


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
