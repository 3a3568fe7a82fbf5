"""What a diagnosis says, in words and as JSON."""

import ast
import json
import math
from pathlib import Path

import pyprobound.diagnosis
from pyprobound.diagnosis import Diagnosis, Finding, Severity


def finding(severity: Severity, code: str, weight: float = 0.0) -> Finding:
    return Finding(severity, code, f"It is {code}.", "Mend it.", weight=weight)


def test_the_worst_comes_first() -> None:
    found = [
        finding(Severity.FINE, "a", 9),
        finding(Severity.CAUTION, "b", 0.1),
        finding(Severity.PROBLEM, "c", 0.1),
        finding(Severity.CAUTION, "d", 0.2),
        finding(Severity.PROBLEM, "e", 0.3),
    ]
    assert [f.code for f in Diagnosis.of(found, {}).findings] == list("ecdba")


def test_the_verdict_counts_what_speaks_against_a_fit() -> None:
    fine = finding(Severity.FINE, "a")
    caution = finding(Severity.CAUTION, "b")
    problem = finding(Severity.PROBLEM, "c")
    assert Diagnosis.of([fine], {}).verdict == "Nothing speaks against this fit."
    assert Diagnosis.of([], {}).severity == Severity.FINE
    one = Diagnosis.of([fine, caution], {})
    assert one.verdict == "Usable with care: 1 caution."
    assert one.severity == Severity.CAUTION
    some = Diagnosis.of([caution, problem, caution, problem], {})
    assert some.verdict == ("Not to be believed yet: 2 problems and 2 cautions.")


def test_what_is_fine_is_not_printed() -> None:
    found = [finding(Severity.FINE, "a"), finding(Severity.CAUTION, "b")]
    assert Diagnosis.of(found, {}).lines() == [
        "Verdict: Usable with care: 1 caution.",
        "  caution (b): It is b. Mend it.",
    ]
    assert str(finding(Severity.FINE, "a")) == "fine (a): It is a. Mend it."


def test_json_keeps_all_but_what_is_no_number() -> None:
    where = {"mode": "tf", "position": 3}
    found = Finding(Severity.CAUTION, "b", "What.", "Do.", where, 0.25, 0.5)
    whole = Diagnosis.of([found], {"a": {"b": [1.0, math.nan]}, "c": None})
    text = json.dumps(whole.to_json(), allow_nan=False)
    again = Diagnosis.from_json(json.loads(text))
    assert again.findings == (found,)
    assert again.numbers == {"a": {"b": [1.0, None]}, "c": None}
    assert again.verdict == whole.verdict


def codes_in_source() -> set[str]:
    """Return the second argument of every finding that the package makes."""
    folder = Path(str(pyprobound.diagnosis.__file__)).parent
    found = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_finding = isinstance(node, ast.Call) and (
                isinstance(node.func, ast.Name) and node.func.id == "Finding"
            )
            if is_finding and len(node.args) > 1:
                code = node.args[1]
                assert isinstance(code, ast.Constant)
                found.add(str(code.value))
    return found


def test_every_code_is_documented() -> None:
    codes = codes_in_source()
    assert {"flanks", "nothing-learned", "kernel-too-small"} <= codes
    page = Path(__file__).parents[2] / "docs" / "verdict.md"
    text = page.read_text(encoding="utf-8")
    assert sorted(code for code in codes if f"`{code}`" not in text) == []
