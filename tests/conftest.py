"""What all tests share: seeds, threads, Hypothesis settings and the shared data."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("PYPROBOUND_SHARED", REPOSITORY.parent / "shared"))
SEED = 20220523

torch.set_num_threads(1)

# The same examples in every run; look further with --hypothesis-profile=explore.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=50, database=None
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use `shared`; skip what is marked where it is absent."""
    absent = pytest.mark.skip(
        reason="needs ../shared (golden numbers and real data), absent here"
    )
    for item in items:
        if isinstance(item, pytest.Function) and "shared" in item.fixturenames:
            item.add_marker(pytest.mark.shared)
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(absent)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers and real data that lies beside the repository."""
    return SHARED


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start every test from the same random state, whatever ran before it."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - pandas' samplers fall back on the legacy state
    torch.manual_seed(SEED)
