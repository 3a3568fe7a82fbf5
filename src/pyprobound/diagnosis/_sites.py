"""What score tests say is missing: letters outside a motif, flanks, places, words."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pyprobound.diagnosis._evidence import Evidence, Sample
from pyprobound.diagnosis._findings import Finding, Severity
from pyprobound.diagnosis._flank_guesses import guesses
from pyprobound.diagnosis._learned import Learned
from pyprobound.diagnosis._score_tests import Tested
from pyprobound.diagnosis._windows import Motif, outside_positions
from pyprobound.report import Json

CAUTION, PROBLEM = 0.01, 0.05
"""What is missing, as a share of what the motifs explain."""

MOST = 0.5
"""Of what wrong flanks miss, what a mistake must explain to be named."""

NEAR_ONE = 0.5, 2.0
"""The step that a fit would begin with, where it would end at 1."""

LOG_P = -14.0
"""The log probability by chance, below which a test counts: 10⁻⁶."""


class Judge:
    """Decides what a test is worth."""

    def __init__(self, evidence: Evidence, learned: Learned) -> None:
        """Take the tests, and what the model explains to hold them against."""
        self.evidence, self.tests = evidence, evidence.tests
        self._explained = max(learned.gain * evidence.tests.n_reads, 1e-300)

    def share(self, tested: Tested) -> float:
        """Return the gain of a test as a share of what the model explains."""
        return tested.gain / self._explained

    def severity(self, tested: Tested, n_tests: int = 1) -> Severity:
        """Return what a finding would be.

        Args:
            tested: The result of a test.
            n_tests: How many such tests it was chosen from.
        """
        share = self.share(tested)
        if tested.log_p + math.log(n_tests) > LOG_P or share < CAUTION:
            return Severity.FINE
        return Severity.PROBLEM if share >= PROBLEM else Severity.CAUTION


def sites(
    evidence: Evidence, learned: Learned, numbers: dict[str, Json]
) -> list[Finding]:
    """Test each motif of each experiment for what the model leaves out."""
    judge = Judge(evidence, learned)
    findings: list[Finding] = []
    measured: list[Json] = []
    for sample in evidence.samples:
        for motif in sample.motifs.values():
            if not evidence.has(f"letters {sample.name} {motif.name}"):
                continue
            own: dict[str, Json] = {"experiment": sample.name, "mode": motif.name}
            measured.append(own)
            findings += _of_motif(judge, sample, motif, own)
        findings += _words(judge, sample, numbers)
    numbers["sites"] = measured
    return findings


def _of_motif(
    judge: Judge, sample: Sample, motif: Motif, own: dict[str, Json]
) -> Iterator[Finding]:
    tests = judge.tests
    letters = tests.columns([f"letters {sample.name} {motif.name}"])
    places = tests.columns([f"places {sample.name} {motif.name}"])
    n_inside = judge.evidence.places[sample.name, motif.name].n_inside
    inside, touching = places[:n_inside], places[n_inside:]
    missing = {
        side: tests.columns([key])
        for side in ("left", "right")
        if judge.evidence.has(key := f"missing {sample.name} {motif.name} {side}")
    }
    nothing = torch.zeros(0, dtype=torch.int64)
    absent = torch.cat([nothing, *missing.values()])
    where: dict[str, str | int] = {"mode": motif.name, "experiment": sample.name}

    yield from _kernel(judge, motif, letters, torch.cat([places, absent]), where, own)
    ends = [
        *_flanks(judge, sample, motif, torch.cat([letters, absent]), where, own),
        *_too_short(judge, motif, missing, where, own),
    ]
    yield from ends
    given = torch.cat([letters, absent, touching])
    found = tests.test(inside, given)
    own["places"] = _numbers(judge, found)
    # What is wrong at the ends of a probe is seen further inside as well.
    is_its_own = judge.share(found) > 2 * sum(each.weight for each in ends)
    if judge.severity(found) < Severity.FINE and is_its_own:
        yield _position_bias(judge, motif, found, where)


def _numbers(judge: Judge, found: Tested) -> dict[str, Json]:
    return {
        "chi2": found.chi2,
        "freedom": found.freedom,
        "gain_per_read": found.gain / judge.tests.n_reads,
        "share": judge.share(found),
    }


def _kernel(
    judge: Judge,
    motif: Motif,
    letters: Tensor,
    given: Tensor,
    where: dict[str, str | int],
    own: dict[str, Json],
) -> Iterator[Finding]:
    found = judge.tests.test(letters, given)
    own["letters_outside"] = _numbers(judge, found)
    positions = outside_positions(motif)
    n_letters = len(letters) // len(positions)
    single = [judge.tests.test(columns, given) for columns in letters.split(n_letters)]
    severity = judge.severity(found)
    if severity == Severity.FINE:
        return
    gains = [each.gain for each in single]
    best = gains.index(max(gains))
    size = motif.conv.layer_spec.kernel_size
    half = len(positions) // 2
    left, right = max(gains[:half]), max(gains[half:])
    if min(left, right) > max(left, right) / 4:
        side, more = "on both sides", 2
    else:
        side, more = ("on the left" if left > right else "on the right"), 1
    share = judge.share(found)
    yield Finding(
        severity,
        "kernel-too-small",
        f"The letters just outside {motif.name} ({side}) decide about binding:"
        f" they would add {share:.1%} to what is explained.",
        f"Enlarge it from {size} to {size + more} positions or more, or let it grow"
        " (increment_footprint).",
        where | {"position": positions[best]},
        share,
        weight=share,
    )


def _flanks(
    judge: Judge,
    sample: Sample,
    motif: Motif,
    given: Tensor,
    where: dict[str, str | int],
    own: dict[str, Json],
) -> Iterator[Finding]:
    key = f"places {sample.name} {motif.name}"
    n_inside = judge.evidence.places[sample.name, motif.name].n_inside
    found = judge.tests.test(judge.tests.columns([key])[n_inside:], given)
    own["flanks"] = _numbers(judge, found)
    severity, share = judge.severity(found), judge.share(found)
    if severity == Severity.FINE:
        return
    mistakes = guesses(sample, motif, judge.tests.n_parameters)
    yield Finding(
        severity,
        "flanks",
        f"Sites of {motif.name} that overlap a flank ({_sides(judge, sample, motif)})"
        " bind otherwise than the given flank letters say:"
        f" {share:.1%} of what is explained is missed there.",
        _advice_on_flanks(sample, mistakes, found),
        where,
        share,
        weight=share,
    )


def _advice_on_flanks(
    sample: Sample, mistakes: Mapping[str, Tested], found: Tested
) -> str:
    """Return what to do: what the mistake is, if one explains most of what is found."""
    gains = {
        mistake: tested.gain
        for mistake, tested in mistakes.items()
        if NEAR_ONE[0] < float(tested.change[0]) < NEAR_ONE[1]
    }
    best = max(gains, key=lambda mistake: gains[mistake], default=None)
    if best is not None and gains[best] > MOST * found.gain:
        part = min(1.0, gains[best] / found.gain)
        return (
            f"Check the flanks of {sample.name}: it looks as if {best}, which would"
            f" explain {part:.0%} of it."
        )
    return (
        f"Check the letters of the flanks of {sample.name}: of another library, or off"
        " by letters from the probe? If they are right, let the mode have a"
        " position_bias."
    )


def _sides(judge: Judge, sample: Sample, motif: Motif) -> str:
    """Return on which side windows that overlap a flank are off."""
    key = f"places {sample.name} {motif.name}"
    places = judge.evidence.places[sample.name, motif.name]
    columns = judge.tests.columns([key])
    letters = judge.tests.columns([f"letters {sample.name} {motif.name}"])
    gains = {}
    for side in ("left", "right"):
        of_side = [i for i, each in enumerate(places.overlaps) if each[1] == side]
        chosen = columns[[places.n_inside + i for i in of_side]]
        gains[side] = judge.tests.test(chosen, letters).gain if of_side else 0.0
    best = max(gains, key=lambda side: gains[side])
    return "both" if min(gains.values()) > max(gains.values()) / 4 else best


def _position_bias(
    judge: Judge, motif: Motif, found: Tested, where: dict[str, str | int]
) -> Finding:
    share = judge.share(found)
    return Finding(
        judge.severity(found),
        "position-bias",
        f"Sites of {motif.name} bind otherwise in some places of the probe: that would"
        f" add {share:.1%} to what is explained.",
        "Let the mode have a position_bias, and see whether it is smooth.",
        where,
        share,
        weight=share,
    )


def _too_short(
    judge: Judge,
    motif: Motif,
    missing: dict[str, Tensor],
    where: dict[str, str | int],
    own: dict[str, Json],
) -> Iterator[Finding]:
    """Say where windows beyond the scored flank letters belong to be scored."""
    lacking = []
    for side, column in missing.items():
        rest = [other for key, other in missing.items() if key != side]
        found = judge.tests.test(column, torch.cat([column[:0], *rest]))
        own[f"beyond_{side}"] = _numbers(judge, found)
        is_bound = bool((found.change > 0).all())
        if is_bound and judge.severity(found) < Severity.FINE:
            lacking.append(side)
    if not lacking:
        return
    found = judge.tests.test(torch.cat([missing[side] for side in lacking]))
    share, size = judge.share(found), motif.conv.layer_spec.kernel_size
    seen = " and ".join(str(motif.flanks[side == "right"]) for side in lacking)
    yield Finding(
        judge.severity(found),
        "flank-too-short",
        f"Sites of {motif.name} are bound that reach further into the"
        f" {' and the '.join(lacking)} flank than the {seen} letters scored: they would"
        f" add {share:.1%} to what is explained.",
        f"Raise its flank_length, up to {size - 1}.",
        where,
        share,
        weight=share,
    )


# --- words -------------------------------------------------------------------------


def _words(judge: Judge, sample: Sample, numbers: dict[str, Json]) -> Iterator[Finding]:
    tests = judge.tests
    given = torch.cat(
        [
            torch.zeros(0, dtype=torch.int64),
            *(
                tests.columns([key])
                for key in tests.places
                if not key.startswith("word")
            ),
        ]
    )
    residuals = judge.evidence.residuals[sample.name]
    found = []
    for each in residuals:
        tested = tests.test([each.key], given)
        if tested.log_p + math.log(each.n_words) < LOG_P:
            found.append((tested, each))
    found.sort(key=lambda pair: -pair[0].chi2)
    table = numbers.setdefault("words", {})
    assert isinstance(table, dict)
    table[sample.name] = [
        {"word": each.word, **_numbers(judge, tested)} for tested, each in found
    ]
    if not found:
        return
    together = tests.test([each.key for _, each in found], given)
    severity = judge.severity(together)
    if severity == Severity.FINE:
        return
    share = judge.share(together)
    shown = ", ".join(each.word for _, each in found[:3])
    yield Finding(
        severity,
        "missing-motif",
        f"Probes of {sample.name} with {shown} are enriched beyond what the model says:"
        f" {share:.1%} would be added to what is explained.",
        "Add a mode (its seed may be the first word), or enlarge the one that it is"
        " part of.",
        {"experiment": sample.name},
        share,
        weight=share,
    )
