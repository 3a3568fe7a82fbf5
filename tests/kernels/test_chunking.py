"""The memory budget, and functions mapped over probes some at a time."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound._chunking import (
    BUDGET_VARIABLE,
    CACHE_BYTES,
    DEFAULT_BUDGET,
    chunk_length,
    map_chunks,
    memory_budget,
    set_memory_budget,
)
from pyprobound.errors import PyProBoundError


def test_a_budget_that_was_set_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert memory_budget() == DEFAULT_BUDGET
    monkeypatch.setenv(BUDGET_VARIABLE, "1.5")
    assert memory_budget() == 3 * 2**19
    set_memory_budget(1000)
    assert memory_budget() == 1000
    set_memory_budget(None)
    assert memory_budget() == 3 * 2**19


@pytest.mark.parametrize("text", ["", "lots", "0", "-3", "nan", "inf"])
def test_an_environment_without_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(BUDGET_VARIABLE, text)
    with pytest.raises(PyProBoundError, match=f"{BUDGET_VARIABLE}='{text}' is not"):
        memory_budget()


@pytest.mark.parametrize("n_bytes", [0, -1])
def test_a_budget_that_is_not_positive_is_refused(n_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"memory budget {n_bytes} is not positive"):
        set_memory_budget(n_bytes)


def test_chunks_fit_the_budget_and_on_a_cpu_the_cache() -> None:
    set_memory_budget(1000)
    assert chunk_length(100) == 10
    assert chunk_length(100, share=4) == 2
    assert chunk_length(1001) == 1  # one probe has to fit
    assert chunk_length(0) == 1000
    set_memory_budget(10 * CACHE_BYTES)
    assert chunk_length(CACHE_BYTES // 4) == 4
    assert chunk_length(CACHE_BYTES // 4, torch.device("cpu")) == 4
    assert chunk_length(CACHE_BYTES // 4, torch.device("cuda")) == 40


def power(x: Tensor, nothing: Tensor | None, exponent: Tensor) -> Tensor:
    assert nothing is None
    return x**exponent


@pytest.mark.parametrize("n_bytes", [30, 70, 10**6])
def test_chunks_join_to_the_whole_with_its_gradients(n_bytes: int) -> None:
    set_memory_budget(n_bytes)  # chunks of 3 and 7 probes, and all 10 at once
    x = torch.rand(10, 2, dtype=torch.float64) + 1
    exponent = torch.tensor(2.5, dtype=torch.float64)

    def function(x: Tensor, exponent: Tensor) -> Tensor:
        return map_chunks(power, [x, None], [exponent], bytes_per_probe=10)

    assert torch.equal(function(x, exponent), x**2.5)
    leaves = (x.requires_grad_(), exponent.requires_grad_())
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


@pytest.mark.parametrize(
    ("n_bytes", "share", "calls"),
    [(100, 1, 1), (99, 1, 4), (199, 2, 4), (200, 2, 1)],
)
def test_what_does_not_fit_is_computed_again_for_the_gradient(
    n_bytes: int, share: int, calls: int
) -> None:
    seen = []

    def square(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x**2

    set_memory_budget(n_bytes)
    x = torch.ones(10, requires_grad=True)
    found = map_chunks(square, [x], bytes_per_probe=10, share=share)
    torch.autograd.grad(found.sum(), x)
    assert seen == ([10] if calls == 1 else [9, 1, 1, 9])
    assert len(seen) == calls


def test_nothing_is_computed_again_without_a_gradient() -> None:
    seen = []

    def square(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x**2

    set_memory_budget(50)
    x = torch.ones(10, requires_grad=True)
    with torch.no_grad():
        assert not map_chunks(square, [x], bytes_per_probe=10).requires_grad
    map_chunks(square, [x.detach()], bytes_per_probe=10)
    assert seen == [5, 5, 5, 5]


def test_no_probes_give_an_empty_result() -> None:
    found = map_chunks(torch.square, [torch.ones(0, 3)], bytes_per_probe=10)
    assert found.shape == (0, 3)


def test_something_must_say_how_many_probes_there_are() -> None:
    with pytest.raises(ValueError, match="the first of per_probe"):
        map_chunks(power, [None], bytes_per_probe=10)
