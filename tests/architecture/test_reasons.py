"""Every exception to the rules of a linter says why."""

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
BARE = re.compile(
    r"#\s*(noqa(: [A-Z]+\d+(, [A-Z]+\d+)*)?|type: ignore(\[[\w, -]+\])?)$"
)


def without_reason(text: str) -> list[int]:
    """Return the numbers of lines whose exception gives no reason."""
    lines = enumerate(text.splitlines(), 1)
    return [number for number, line in lines if BARE.search(line.rstrip())]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x = 1  # noqa: E501", [1]),
        ("x = 1  # noqa: E501, F401", [1]),
        ("x = 1  # noqa: E501 a table", []),
        ("x = 1  # type: ignore[misc]", [1]),
        ("x = 1  # type: ignore[misc]  # a lambda", []),
        ("x = 1", []),
    ],
)
def test_what_counts_as_a_reason(line: str, expected: list[int]) -> None:
    assert without_reason(line) == expected


def test_every_exception_in_the_sources_has_a_reason() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert files
    found = {
        str(path.relative_to(SOURCE)): lines
        for path in files
        if (lines := without_reason(path.read_text(encoding="utf-8")))
    }
    assert found == {}
