"""What the tests of the kernels share: the budget goes back to its default."""

from collections.abc import Iterator

import pytest

from pyprobound._chunking import BUDGET_VARIABLE, set_memory_budget


@pytest.fixture(autouse=True)
def default_budget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run each test with the default memory budget, and leave none behind."""
    monkeypatch.delenv(BUDGET_VARIABLE, raising=False)
    set_memory_budget(None)
    yield
    set_memory_budget(None)
