"""The switch between implementations, and what a machine without them does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

import pyprobound
from pyprobound.errors import PyProBoundError
from pyprobound.kernels import _backends
from pyprobound.kernels._backends import (
    BACKEND_VARIABLE,
    INTERPRET_VARIABLE,
    LITTLE_WORK,
    backend,
    implementation,
    use_backend,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be chosen beforehand."""
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    monkeypatch.delenv(INTERPRET_VARIABLE, raising=False)
    monkeypatch.setattr(_backends._state, "broken", set())
    with use_backend("auto"):
        _backends._state.asked = None
        yield


def name_of(module: ModuleType | None) -> str:
    return "reference" if module is None else module.__name__.rsplit("._", 1)[1]


def chosen(device: torch.device = CPU, n_scores: int = LITTLE_WORK) -> str:
    return name_of(implementation("log_sum_windows", device, n_scores))


def test_much_work_on_the_cpu_goes_to_numba_and_little_to_the_reference() -> None:
    assert chosen(n_scores=LITTLE_WORK) == "numba"
    assert chosen(n_scores=LITTLE_WORK - 1) == "reference"


def test_the_switch_holds_until_it_is_set_again() -> None:
    pyprobound.use_backend("reference")
    assert chosen() == "reference"
    pyprobound.use_backend("numba")
    assert chosen(n_scores=1) == "numba"


def test_the_switch_goes_back_after_a_with_statement() -> None:
    with pytest.raises(KeyError), use_backend("reference"):
        assert backend() == "reference"
        raise KeyError
    assert backend() == "auto"


def test_the_environment_chooses_where_nothing_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "reference")
    assert chosen() == "reference"
    with use_backend("numba"):
        assert chosen() == "numba"


def test_a_backend_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PyProBoundError, match="no backend 'fast'; choose one of auto"):
        use_backend("fast")  # type: ignore[arg-type]
    assert backend() == "auto"
    monkeypatch.setenv(BACKEND_VARIABLE, "fast")
    with pytest.raises(PyProBoundError, match=BACKEND_VARIABLE):
        backend()


def test_numba_leaves_other_devices_to_the_reference() -> None:
    with use_backend("numba"):
        assert chosen(CUDA) == "reference"


def test_triton_leaves_the_cpu_to_the_reference() -> None:
    with use_backend("triton"):
        assert chosen(CPU) == "reference"


def test_what_cannot_be_loaded_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise OSError(f"{name}: libllvm.so is missing")

    monkeypatch.setattr(_backends, "import_module", broken)
    with pytest.warns(RuntimeWarning, match="numba cannot be used.*libllvm") as caught:
        found = [chosen() for _ in range(2)]
    assert found == ["reference", "reference"]
    assert len(caught) == 1


def test_scores_without_numba_are_those_of_the_reference() -> None:
    code = """
import sys, warnings, torch
sys.modules["numba"] = None  # as on a machine without it
from pyprobound.kernels import log_sum_windows
torch.manual_seed(0)
seqs = torch.randint(0, 4, (5000, 20), dtype=torch.uint8)
arguments = seqs, [torch.randn(2, 4, 6)], torch.eye(5, 4), 4
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = [log_sum_windows(*arguments) for _ in range(2)]
assert len(caught) == 1 and "numba cannot be used" in str(caught[0].message)
import pyprobound
pyprobound.use_backend("reference")
assert torch.equal(found[0], log_sum_windows(*arguments))
assert torch.equal(found[0], found[1])
"""
    run(code)


def test_importing_the_package_does_not_import_numba() -> None:
    run(
        "import sys, pyprobound.kernels\n"
        "assert 'numba' not in sys.modules and 'triton' not in sys.modules"
    )


def run(code: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != BACKEND_VARIABLE}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
