"""The memory that kernels take beyond their results, counted allocation by allocation.

Every tensor that an operation makes is counted until its storage is freed, in the
forward pass and in the backward pass.
"""

import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyprobound import kernels
from pyprobound._chunking import set_memory_budget
from pyprobound.kernels._backends import use_backend
from tests.kernels import oracles
from tests.kernels.oracles import NEG_INF

MIB = 2**20


@pytest.fixture(autouse=True)
def reference() -> Iterator[None]:
    """Count what the reference makes: it alone has temporaries for each window."""
    with use_backend("reference"):
        yield


class Allocations(TorchDispatchMode):
    """Count the bytes alive of what is made while this is on: the peak, the largest."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.largest = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        for tensor in tree_leaves([args, kwargs]):
            if isinstance(tensor, Tensor):
                self.add(tensor.untyped_storage(), n_bytes=0)  # was there before
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.add(tensor.untyped_storage(), tensor.untyped_storage().nbytes())
        return made

    def add(self, storage: torch.UntypedStorage, n_bytes: int) -> None:
        key = storage.data_ptr()
        if key in self.known or key == 0:
            return
        self.known.add(key)
        self.alive += n_bytes
        self.peak = max(self.peak, self.alive)
        self.largest = max(self.largest, n_bytes)
        weakref.finalize(storage, self.remove, key, n_bytes)

    def remove(self, key: int, n_bytes: int) -> None:
        self.known.discard(key)
        self.alive -= n_bytes


def allocations(function: Callable[..., Tensor], leaves: list[Tensor]) -> Allocations:
    """Count what `function(*leaves)` and its gradients take."""
    counted = Allocations()
    with counted:
        found = function(*leaves)
        finite = torch.where(found == NEG_INF, 0.0, found)
        torch.autograd.grad(finite.sum(), leaves)
    return counted


def test_the_count_sees_what_is_alive_and_what_is_freed() -> None:
    before = torch.zeros(4 * MIB, dtype=torch.uint8)
    with Allocations() as counted:
        before[1:].view(-1).add_(1)
        kept = torch.zeros(MIB, dtype=torch.uint8)
        for _ in range(3):
            torch.zeros(2 * MIB, dtype=torch.uint8).add_(1)
        view = kept[10:]
        leaf = torch.zeros(MIB // 4, requires_grad=True)
        graph = leaf.exp().sum()  # the exponentials live on in the graph alone
    assert counted.largest == 2 * MIB
    assert 3 * MIB <= counted.alive == counted.peak < 3 * MIB + 100
    del kept, view
    torch.autograd.grad(graph, leaf)
    del graph
    assert counted.alive < 2 * MIB


N_PROBES, LENGTH, SIZE, CHANNELS = 2000, 20, 8, 2
N_WINDOWS = LENGTH - SIZE + 1


def sum_windows(
    pair_distances: int, n_probes: int = N_PROBES
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    shapes: list[tuple[int, ...]] = [(CHANNELS, 4, SIZE)]
    shapes += [(CHANNELS, 4, 4, SIZE - d) for d in range(1, pair_distances + 1)]
    filters = [torch.randn(shape, requires_grad=True) for shape in shapes]
    seqs = torch.randint(0, 6, (n_probes, LENGTH), dtype=torch.uint8)
    table = oracles.embedding_table(4)

    def function(*filters: Tensor) -> Tensor:
        return kernels.log_sum_windows(seqs, filters, table, 4)

    return function, filters


def sum_dimers(
    n_probes: int, spread: float, groups: int
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    def draw(*shape: int) -> Tensor:
        return (spread * torch.randn(shape)).requires_grad_()

    a, b = draw(n_probes, 2, N_WINDOWS), draw(n_probes, 2, N_WINDOWS)
    log_omega = draw(groups, 2, 2, N_WINDOWS, N_WINDOWS)
    group = torch.arange(n_probes) % groups

    def function(a: Tensor, b: Tensor, log_omega: Tensor) -> Tensor:
        return kernels.log_sum_dimers(a, b, log_omega, group=group)

    return function, [a, b, log_omega]


@pytest.mark.parametrize("pair_distances", [0, 1])
@pytest.mark.parametrize("mebibytes", [1, 32])
def test_summing_windows_stays_within_the_budget(
    pair_distances: int, mebibytes: int
) -> None:
    function, leaves = sum_windows(pair_distances)
    set_memory_budget(mebibytes * MIB)
    counted = allocations(function, leaves)
    bands = sum(leaf.nbytes * LENGTH * N_WINDOWS for leaf in leaves) / SIZE
    results = 20 * N_PROBES * 4
    assert counted.peak < mebibytes * MIB + 8 * bands + results


@pytest.mark.parametrize(
    ("spread", "groups"), [(1.0, 1), (1.0, 3), (200.0, 1), (200.0, 3)]
)
@pytest.mark.parametrize("mebibytes", [1, 32])
def test_summing_dimers_takes_the_budget_and_copies_of_the_scores(
    spread: float, groups: int, mebibytes: int
) -> None:
    function, leaves = sum_dimers(N_PROBES // 2, spread, groups)
    set_memory_budget(mebibytes * MIB)
    counted = allocations(function, leaves)
    scores = sum(leaf.nbytes for leaf in leaves)
    # gradients of the scores, and the scores sorted by group and selected
    assert counted.peak < mebibytes * MIB + 3 * scores
    # no tensor of all pairs of all probes: half of the budget is for each domain
    assert counted.largest < max(leaves[0].nbytes + 1, mebibytes * MIB / 2)


def test_summing_dimers_without_gradients_takes_the_budget_alone() -> None:
    function, leaves = sum_dimers(20 * N_PROBES, spread=1.0, groups=1)
    set_memory_budget(MIB)
    assert leaves[0].nbytes > 3 * MIB
    with Allocations() as counted, torch.no_grad():
        function(*leaves)
    results = 5 * 20 * N_PROBES * 4
    assert counted.peak < MIB + results


@pytest.mark.parametrize("pair_distances", [0, 1])
def test_numba_stores_nothing_per_window(pair_distances: int) -> None:
    n_probes = 50_000
    function, leaves = sum_windows(pair_distances, n_probes)
    with use_backend("numba"):
        counted = allocations(function, leaves)
    # the results, and tables of words with what they are made from
    assert counted.peak < 3 * n_probes * 4 + 3 * MIB
    assert counted.peak < n_probes * CHANNELS * N_WINDOWS * 4
