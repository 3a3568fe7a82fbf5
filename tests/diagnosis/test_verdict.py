"""Fits that are good, and fits that are spoilt on purpose: what is said of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyprobound.diagnosis import Diagnosis, Severity, diagnose
from tests.diagnosis.cases import LEFT, RIGHT, drawn, fitted, opened, shuffled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables drawn from a truth."""
    made = tmp_path_factory.mktemp("fits")
    drawn(made)
    return made


@pytest.fixture(scope="module")
def good(folder: Path) -> Mapping[str, Any]:
    """The result of a fit as the truth is."""
    return fitted(folder, "good")


def of(result: Mapping[str, Any]) -> Diagnosis:
    return Diagnosis.from_json(result["verdict"])


def codes(result: Mapping[str, Any], severity: Severity) -> list[str]:
    return [each.code for each in of(result).of_severity(severity)]


def test_nothing_speaks_against_a_good_fit(good: Mapping[str, Any]) -> None:
    found = of(good)
    assert found.lines() == ["Verdict: Nothing speaks against this fit."]
    fine = {each.code for each in found.findings}
    assert {"converged", "learned", "agreement", "none-held-out"} <= fine
    assert found.numbers["explained_in_units_of_chance"] > 100  # type: ignore[operator]


def test_wrong_flanks_are_named_first(folder: Path) -> None:
    changes = {LEFT: "TTGACCATGGTAAGC", RIGHT: "GTACGATTGGACCTA"}
    found = of(fitted(folder, "flanks", changes=changes)).findings[0]
    assert (found.severity, found.code) == (Severity.PROBLEM, "flanks")
    assert found.where == {"mode": "tf", "experiment": "drawn"}
    assert found.number is not None
    assert found.number > 0.05


def test_flanks_of_the_wrong_sense_are_named(folder: Path) -> None:
    other = {"A": "T", "C": "G", "G": "C", "T": "A"}
    changes = {
        flank: "".join(other[letter] for letter in reversed(flank))
        for flank in (LEFT, RIGHT)
    }
    found = of(fitted(folder, "sense", changes=changes)).findings[0]
    assert found.code == "flanks"
    assert "it looks as if each was its reverse complement" in found.advice


def test_a_motif_too_small_is_named_first(
    folder: Path, good: Mapping[str, Any]
) -> None:
    result = fitted(folder, "small", size=6)
    found = of(result).findings[0]
    assert (found.severity, found.code) == (Severity.PROBLEM, "kernel-too-small")
    # and what it would gain is foretold, from the little that is known at its edges
    (site,) = of(result).numbers["sites"]  # type: ignore[misc,union-attr]
    foretold = site["letters_outside"]["gain_per_read"]  # type: ignore[index,call-overload]
    gained = result["loss_per_read"]["data"] - good["loss_per_read"]["data"]
    assert foretold == pytest.approx(gained, rel=0.5)


def test_shuffled_counts_are_named_first(folder: Path) -> None:
    result = fitted(folder, "shuffled", table=shuffled(folder))
    found = of(result).findings[0]
    assert (found.severity, found.code) == (Severity.PROBLEM, "nothing-learned")
    # of a motif that says nothing nothing is missing
    assert "sites" not in of(result).numbers


def test_flank_letters_that_are_not_scored_are_missed(folder: Path) -> None:
    changes = {"flank_length = 4": "flank_length = 0"}
    result = fitted(folder, "short", changes=changes)
    assert "flank-too-short" in codes(result, Severity.PROBLEM)


def test_a_fit_out_of_epochs_says_so(folder: Path) -> None:
    settings = '[optimizer]\noptimizer = "SGD"\nepochs = 2\narguments = { lr = 0.01 }'
    result = fitted(folder, "budget", changes={"[loss]": f"{settings}\n[loss]"})
    assert result["ended"].startswith("budget")
    found = [f for f in of(result).findings if f.code == "not-converged"]
    assert len(found) == 1
    assert found[0].severity == Severity.PROBLEM
    assert found[0].number is not None
    assert found[0].number > 1e-4


def test_held_out_probes_are_judged(folder: Path) -> None:
    changes = {"[loss]": "[optimizer]\nvalidation_fraction = 0.2\n[loss]"}
    result = fitted(folder, "held", changes=changes)
    assert codes(result, Severity.PROBLEM) == codes(result, Severity.CAUTION) == []
    fine = {each.code: each for each in of(result).findings}
    assert "none-held-out" not in fine
    own = of(result).numbers["experiments"]["drawn"]  # type: ignore[index,call-overload]
    assert fine["held-out"].number == own["held_out_explained_per_read"]
    assert own["held_out_explained_per_read"] == pytest.approx(
        own["explained_per_read"], rel=0.1
    )


def test_a_run_can_be_judged_again(folder: Path, good: Mapping[str, Any]) -> None:
    own = opened(folder / "good")
    before = {id(p): p.requires_grad for p in own.built.loss.parameters()}
    found = diagnose(own.document, own.built, own.tables, good)
    assert {id(p): p.requires_grad for p in own.built.loss.parameters()} == before
    assert found.severity == Severity.FINE
    said = of(good).numbers["explained_in_units_of_chance"]
    assert found.numbers["explained_in_units_of_chance"] == pytest.approx(said)


def test_without_a_result_nothing_is_said_of_its_end(
    folder: Path, good: Mapping[str, Any]
) -> None:
    own = opened(folder / "good")
    found = diagnose(own.document, own.built, own.tables)
    assert "ended" not in found.numbers
    interrupted = {**good, "interrupted": True}
    worst = diagnose(own.document, own.built, own.tables, interrupted).findings[0]
    assert (worst.code, worst.severity) == ("interrupted", Severity.PROBLEM)
    stuck = {**good, "ended": "stuck: the loss is not a number"}
    worst = diagnose(own.document, own.built, own.tables, stuck).findings[0]
    assert (worst.code, worst.severity) == ("stuck", Severity.PROBLEM)
