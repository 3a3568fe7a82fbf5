"""What binds, how much of it, and how well the counts scatter as they should."""

from collections.abc import Iterator

from pyprobound.config import BuiltExperiment, BuiltModel
from pyprobound.diagnosis._evidence import Evidence, shares
from pyprobound.diagnosis._findings import Finding, Severity
from pyprobound.layers import Conv0d
from pyprobound.mode import Mode
from pyprobound.report import Json
from pyprobound.report_errors import present_parts, selections
from pyprobound.rounds import BoundRound
from pyprobound.uncertainty import ErrorBars, Uncertainty

NEGLIGIBLE = 1e-3
"""The share of what is bound, in any round, of what is as good as absent."""

SCATTERED = 1.5
"""The dispersion from which on errors and tests are taken with care."""

UNSATURATED = 0.02
"""The occupancy of the best 1% of reads, below which saturation leaves no trace."""

FEW_READS = 20.0
"""Reads for each parameter."""


def activities(
    built: BuiltModel,
    evidence: Evidence | None,
    errors: ErrorBars | None,
    n_reads: float,
    numbers: dict[str, Json],
) -> list[Finding]:
    """Look at the activities, the dispersion and the reads of a model."""
    findings: list[Finding] = []
    for index, each in enumerate(built.experiments):
        findings += _absent(each)
        if errors is not None:
            findings += _saturation(each, errors)
        if isinstance(errors, Uncertainty):
            findings += _dispersion(each, errors.dispersion[index], numbers)
    if evidence is not None:
        findings += _shares(evidence, numbers)
        findings += _reads(evidence, n_reads, numbers)
    return findings


def _absent(each: BuiltExperiment) -> Iterator[Finding]:
    name = str(each.experiment.name)
    rounds = selections(each).values()
    present = {key for selected in rounds for key in present_parts(each, selected)}
    meant = {
        key
        for key, binding in each.bindings.items()
        if any(
            part.binding is binding
            for selected in rounds
            for part in selected.aggregate.components()
        )
    }
    for key in sorted(meant - present):
        yield Finding(
            Severity.CAUTION,
            "absent-binding",
            f"{key} binds in no round of {name}: its activity is zero.",
            "Leave it out, or fit it again with another seed.",
            {"mode": key, "experiment": name},
            0.0,
            weight=0.05,
        )


def _shares(evidence: Evidence, numbers: dict[str, Json]) -> Iterator[Finding]:
    table: dict[str, Json] = {}
    numbers["shares"] = table
    for sample in evidence.samples:
        plain = sample.plain
        weights = plain.counts.double()
        # by the reads of each round that was selected, the largest of all rounds
        by_read = shares(plain) @ weights / weights.sum(0).clamp(min=1)
        largest = by_read.amax((0, 2))
        names = {id(b): name for name, b in sample.built.bindings.items()}
        own: dict[str, Json] = {}
        table[sample.name] = own
        for binding, share in zip(
            plain.selection.bindings, largest.tolist(), strict=True
        ):
            name = names[id(binding)]
            own[name] = share
            if share >= NEGLIGIBLE:
                continue
            is_background = isinstance(binding, Mode) and isinstance(
                binding.chain[-1], Conv0d
            )
            yield Finding(
                Severity.FINE if is_background else Severity.CAUTION,
                "negligible-binding",
                f"{name} has at most {share:.1g} of what is bound in any round of"
                f" {sample.name}.",
                "" if is_background else "It is as good as absent: leave it out.",
                {"mode": name, "experiment": sample.name},
                share,
                weight=0.05,
            )


def _saturation(each: BuiltExperiment, errors: ErrorBars) -> Iterator[Finding]:
    name = str(each.experiment.name)
    for label, selected in each.rounds.items():
        if not isinstance(selected, BoundRound):
            continue
        parts = present_parts(each, selected)
        known = [errors.log_activity(part) for part in parts.values()]
        if known and not any(bool(found.is_identified) for found in known):
            yield Finding(
                Severity.CAUTION,
                "saturation",
                f"How much of {name} is bound in round {label} cannot be told: nothing"
                " in it is saturated, or everything.",
                'Affinities are relative; kind = "bound_unsaturated" fits as well.',
                {"experiment": name, "round": label},
                0.0,
                weight=0.02,
            )


def _dispersion(
    each: BuiltExperiment, value: float, numbers: dict[str, Json]
) -> Iterator[Finding]:
    name = str(each.experiment.name)
    known = numbers.setdefault("dispersion", {})
    assert isinstance(known, dict)
    known[name] = value if value == value else None  # noqa: PLR0124 NaN without freedom
    if value > SCATTERED:
        yield Finding(
            Severity.CAUTION,
            "over-dispersed",
            f"Reads of {name} scatter {value:.1f} times as much as by chance around"
            " what the model says.",
            "The errors are widened by it. Duplicated reads (PCR) do that, and so does"
            " all that the model lacks.",
            {"experiment": name},
            value,
            weight=0.005 * min(value, 10.0),
        )


def _reads(
    evidence: Evidence, n_reads: float, numbers: dict[str, Json]
) -> Iterator[Finding]:
    rank = evidence.tests.rank()
    ratio = n_reads / max(rank, 1)
    numbers["reads_per_parameter"] = ratio
    if ratio < FEW_READS:
        yield Finding(
            Severity.CAUTION,
            "few-reads",
            f"There are {ratio:.0f} reads for each of {rank} parameters.",
            "Take a smaller motif, or more reads.",
            number=ratio,
            weight=0.1,
        )
