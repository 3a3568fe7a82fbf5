"""Sums over pairs of windows: against plain loops, at every scale of energies."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound import kernels
from pyprobound._chunking import set_memory_budget
from pyprobound.kernels._backends import use_backend
from pyprobound.kernels.log_sum_dimers import _numba, _reference
from tests.kernels import oracles
from tests.kernels.backends import (
    FLOATS,
    Backend,
    Check,
    assert_close,
    every,
    tolerance,
)
from tests.kernels.oracles import NEG_INF, Dimers, DimerSums, random_dimers


def limited(dimers: Dimers, offsets: range, *, opposite: bool = True) -> Dimers:
    """Return dimers with these offsets n − m only, perhaps on the same strand only."""
    _, strands_a, strands_b, n_windows_a, n_windows_b = dimers.log_omega.shape
    n, m = torch.arange(n_windows_b), torch.arange(n_windows_a)[:, None]
    never = (n - m < offsets.start) | (n - m >= offsets.stop)
    apart = torch.arange(strands_a)[:, None] != torch.arange(strands_b)
    if not opposite:
        never = never | apart[..., None, None]
    return replace(dimers, log_omega=dimers.log_omega.masked_fill(never, NEG_INF))


CASES = {
    "plain": random_dimers(50),
    "nothing absent": random_dimers(51, absent=0.0),
    "mostly absent": random_dimers(52, absent=0.8),
    "one strand": random_dimers(53, strands=(1, 1)),
    "one and two strands": random_dimers(54, strands=(1, 2), windows=(6, 3)),
    "hill": random_dimers(55, hill=2.5),
    "groups": random_dimers(56, groups=3),
    "more groups than probes": random_dimers(57, groups=40, hill=0.5),
    "one pair": random_dimers(58, strands=(1, 1), windows=(1, 1)),
    "one probe": random_dimers(59, n_probes=1),
    "no probe": random_dimers(60, n_probes=0),
    "no probe in groups": random_dimers(61, n_probes=0, groups=2),
    "one window and many": random_dimers(71, strands=(1, 2), windows=(1, 9)),
    "several tiles": random_dimers(72, n_probes=300, strands=(1, 2), windows=(3, 2)),
    "several tiles of groups": random_dimers(
        73, n_probes=300, strands=(2, 1), windows=(2, 3), groups=3, hill=1.5
    ),
    "spacing limits": limited(random_dimers(74, windows=(11, 9)), range(2, 5)),
    "spacing limits, same strand": limited(
        random_dimers(75, windows=(7, 10), groups=3), range(-3, 0), opposite=False
    ),
    "no spacing": limited(random_dimers(76), range(100, 101)),
    "steep, spacing limits": limited(
        random_dimers(77, windows=(8, 8), spread=60.0), range(3, 6)
    ),
    "steep": random_dimers(62, spread=60.0, groups=2),
    "extreme": random_dimers(63, spread=300.0),
    "extreme, absent": random_dimers(64, spread=300.0, absent=0.6),
    "extreme, groups": random_dimers(64, spread=300.0, absent=0.4, groups=2),
    "extreme, hill": random_dimers(65, spread=300.0, absent=0.6, hill=1.7),
}


def run(
    backend: Backend, dimers: Dimers, weights: Sequence[float], dtype: torch.dtype
) -> DimerSums:
    """Return the sums and gradients that the backend finds."""
    a, b, log_omega, hill = (
        values.detach().clone().to(backend.device, dtype).requires_grad_()
        for values in (
            dimers.a,
            dimers.b,
            dimers.log_omega,
            torch.tensor(dimers.hill, dtype=torch.float64),
        )
    )
    group = None if dimers.group is None else dimers.group.to(backend.device)
    found = backend.log_sum_dimers(a, b, log_omega, group=group, hill=hill)
    assert found.dtype == dtype
    gradients = torch.autograd.grad(
        found,
        [a, b, log_omega, hill],
        torch.tensor(weights, device=backend.device, dtype=dtype),
    )
    assert all(gradient.isfinite().all() for gradient in gradients)
    by_a, by_b, by_omega, by_hill = gradients
    return DimerSums(found.detach(), by_a, by_b, by_omega, float(by_hill))


def check_sums_and_gradients_agree_with_plain_loops(backend: Backend) -> None:
    for dtype in FLOATS:
        for dimers in CASES.values():
            # what the backend sees, so that only its own errors count
            seen = replace(
                dimers,
                a=dimers.a.to(dtype).double(),
                b=dimers.b.to(dtype).double(),
                log_omega=dimers.log_omega.to(dtype).double(),
                hill=float(torch.tensor(dimers.hill, dtype=dtype)),
            )
            weights = torch.linspace(-1.0, 2.0, len(dimers.a)).tolist()
            expected = oracles.log_sum_dimers(seen, weights)
            found = run(backend, dimers, weights, dtype)
            assert_close(found.log_sums, expected.log_sums, tolerance(dtype))
            # an energy of size E is only known to E·eps, and so is log of a gradient
            energies = [t[t > NEG_INF] for t in (seen.a, seen.b, seen.log_omega)]
            largest = max(float(t.abs().max()) if len(t) else 0.0 for t in energies)
            slack = tolerance(dtype) * max(1.0, seen.hill * largest)
            assert_close(found.a, expected.a, slack)
            assert_close(found.b, expected.b, slack)
            assert_close(found.log_omega, expected.log_omega, slack)
            assert abs(found.hill - expected.hill) <= slack * max(1.0, 3 * largest)


def check_sums_too_small_for_the_product_are_exact(backend: Backend) -> None:
    # The best window of a and the best of b exclude each other, by more than the
    # range of the exponential; what is left lies `gap` below.
    for dtype in FLOATS:
        for gap in (1.0, 40.0, 80.0, 100.0, 300.0, 700.0, 2000.0):
            a = torch.tensor([[[0.0, -gap]]], dtype=dtype, device=backend.device)
            log_omega = torch.tensor(
                [[[[[NEG_INF, -3.0], [-1.0, 0.0]]]]], dtype=dtype, device=backend.device
            )
            found = backend.log_sum_dimers(a, a, log_omega)
            terms = [-3.0 - gap, -1.0 - gap, -2 * gap]
            expected = torch.tensor([oracles.log_sum_exp(terms)], dtype=torch.float64)
            assert_close(found, expected, tolerance(dtype))


def check_many_pairs_too_small_for_the_product_add_up(backend: Backend) -> None:
    # e^−100 keeps five bits in float32, and a million of them are a normal number.
    n_small, gap = 1_000_000, 50.0
    a = torch.tensor([[[0.0, -gap]]], device=backend.device)
    b = torch.full((1, 1, 1 + n_small), -gap, device=backend.device)
    b[..., 0] = 0.0
    log_omega = torch.zeros(1, 1, 1, 2, 1 + n_small, device=backend.device)
    log_omega[..., 0, :] = NEG_INF
    log_omega[..., 0] = NEG_INF
    expected = torch.tensor([-2 * gap + math.log(n_small)], dtype=torch.float64)
    found = backend.log_sum_dimers(a, b, log_omega)
    assert_close(found, expected, tolerance(torch.float32))


def check_a_homodimer_is_a_dimer_of_two_equal_modes(backend: Backend) -> None:
    dimers = random_dimers(66, windows=(4, 4))
    a = dimers.a.to(backend.device).requires_grad_()
    one, other = (a.detach().clone().requires_grad_() for _ in range(2))
    log_omega = dimers.log_omega.to(backend.device)
    homodimer = backend.log_sum_dimers(a, a, log_omega)
    heterodimer = backend.log_sum_dimers(one, other, log_omega)
    assert_close(homodimer, heterodimer.detach().cpu(), 1e-14)
    (gradient,) = torch.autograd.grad(homodimer.sum(), [a])
    halves = torch.autograd.grad(heterodimer.sum(), [one, other])
    assert_close(gradient, sum(halves, torch.zeros_like(gradient)).cpu(), 1e-14)


def check_homodimers_agree_with_plain_loops(backend: Backend) -> None:
    square = partial(random_dimers, windows=(5, 5))
    cases = [
        square(80),
        square(81, strands=(1, 1), groups=3, hill=1.7),
        square(82, n_probes=300, strands=(1, 1), absent=0.0, hill=0.6),
        square(83, spread=60.0, groups=2),
        square(84, spread=300.0, absent=0.6, hill=1.7),
        limited(square(85), range(1, 3)),
        limited(square(86, spread=60.0), range(-2, 5), opposite=False),
    ]
    # the same with a cooperativity that reads the same for swapped modes
    cases += [replace(dimers, log_omega=symmetric(dimers)) for dimers in cases]
    for dtype, dimers in itertools.product(FLOATS, cases):
        a, log_omega, hill = (
            values.to(dtype, copy=True)
            for values in (dimers.a, dimers.log_omega, torch.tensor(dimers.hill))
        )
        a[1] = NEG_INF
        seen = Dimers(
            a.double(), a.double(), log_omega.double(), dimers.group, float(hill)
        )
        weights = torch.linspace(-1.0, 2.0, len(a)).tolist()
        expected = oracles.log_sum_dimers(seen, weights)
        leaves = [
            t.to(backend.device, copy=True).requires_grad_()
            for t in (a, log_omega, hill)
        ]
        group = None if seen.group is None else seen.group.to(backend.device)
        found = backend.log_sum_dimers(
            leaves[0], leaves[0], leaves[1], group=group, hill=leaves[2]
        )
        by_a, by_omega, by_hill = torch.autograd.grad(
            found, leaves, torch.tensor(weights, device=backend.device, dtype=dtype)
        )
        finite = [t[t > NEG_INF] for t in (seen.a, seen.log_omega)]
        largest = max(float(t.abs().max()) for t in finite)
        slack = tolerance(dtype) * max(1.0, seen.hill * largest)
        assert_close(found, expected.log_sums, tolerance(dtype))
        assert_close(by_a, expected.a + expected.b, slack)
        assert_close(by_omega, expected.log_omega, slack)
        energy = max(1.0, 3 * largest, abs(expected.hill))
        assert abs(float(by_hill) - expected.hill) <= slack * energy


def symmetric(dimers: Dimers) -> Tensor:
    """Return ω that is the same for (s, m), (t, n) and (t, n), (s, m)."""
    swapped = dimers.log_omega.transpose(1, 2).transpose(3, 4)
    return torch.maximum(dimers.log_omega, swapped)


def check_swapping_the_modes_transposes_the_cooperativity(backend: Backend) -> None:
    dimers = random_dimers(67, strands=(1, 2), spread=80.0)
    a, b, log_omega = (
        t.to(backend.device) for t in (dimers.a, dimers.b, dimers.log_omega)
    )
    swapped = log_omega.transpose(1, 2).transpose(3, 4)
    found = backend.log_sum_dimers(b, a, swapped)
    assert_close(found, backend.log_sum_dimers(a, b, log_omega).cpu(), 1e-13)


def check_independent_windows_factorise(backend: Backend) -> None:
    dimers = random_dimers(68)
    a, b = dimers.a.to(backend.device), dimers.b.to(backend.device)
    found = backend.log_sum_dimers(a, b, torch.zeros_like(dimers.log_omega).to(a))
    assert_close(found, (backend.log_sum(a) + backend.log_sum(b)).cpu(), 1e-14)


def check_sums_do_not_depend_on_the_memory_budget(backend: Backend) -> None:
    for name in ("groups", "extreme, groups", "hill"):
        dimers = CASES[name]
        weights = [1.0] * len(dimers.a)
        expected = run(backend, dimers, weights, torch.float64)
        for n_bytes in (1, 4000):
            set_memory_budget(n_bytes)
            found = run(backend, dimers, weights, torch.float64)
            assert_close(found.log_sums, expected.log_sums.cpu(), 1e-14)
            assert_close(found.a, expected.a.cpu(), 1e-13)
            assert_close(found.log_omega, expected.log_omega.cpu(), 1e-13)
            assert abs(found.hill - expected.hill) < 1e-10
        set_memory_budget(None)


def check_gradients(backend: Backend) -> None:
    small = partial(random_dimers, n_probes=4, windows=(3, 2), strands=(1, 2))
    cases = [
        small(69, absent=0.3, groups=2),
        # far below the range of the product for some probes, within it for others
        small(70, absent=0.5, spread=250.0),
    ]
    for dimers in cases:
        hill = torch.tensor(1.2, dtype=torch.float64)
        whole = [dimers.a, dimers.b, dimers.log_omega, hill]
        absent = [(values == NEG_INF).to(backend.device) for values in whole]
        leaves = [
            values.masked_fill(values == NEG_INF, 0.0)
            .to(backend.device)
            .requires_grad_()
            for values in whole
        ]
        group = None if dimers.group is None else dimers.group.to(backend.device)

        def total(
            *leaves: Tensor,
            absent: list[Tensor] = absent,
            group: Tensor | None = group,
        ) -> Tensor:
            a, b, log_omega, hill = (
                leaf.masked_fill(gone, NEG_INF)
                for leaf, gone in zip(leaves, absent, strict=True)
            )
            found = backend.log_sum_dimers(a, b, log_omega, group=group, hill=hill)
            return found.masked_fill(found == NEG_INF, 0.0)

        for n_bytes in (None, 1):
            set_memory_budget(n_bytes)
            assert gradcheck(total, leaves)
            assert gradgradcheck(total, leaves)


def check_gradients_of_homodimers(backend: Backend) -> None:
    dimers = limited(
        random_dimers(78, n_probes=3, windows=(3, 3), groups=2, absent=0.0),
        range(-1, 3),
    )
    absent = (dimers.log_omega == NEG_INF).to(backend.device)
    group = None if dimers.group is None else dimers.group.to(backend.device)
    hill = torch.tensor(1.3, dtype=torch.float64)
    a = dimers.b.contiguous()
    a[1] = dimers.a[1]
    log_omega = dimers.log_omega.masked_fill(dimers.log_omega == NEG_INF, 0.0)
    leaves = [t.to(backend.device).requires_grad_() for t in (a, log_omega, hill)]

    def total(a: Tensor, log_omega: Tensor, hill: Tensor) -> Tensor:
        limits = log_omega.masked_fill(absent, NEG_INF)
        return backend.log_sum_dimers(a, a, limits, group=group, hill=hill)

    assert gradcheck(total, leaves)
    assert gradgradcheck(total, leaves)


def check_a_gradient_does_not_depend_on_which_others_are_wanted(
    backend: Backend,
) -> None:
    dimers = random_dimers(79, groups=2, hill=1.4, spread=40.0, windows=(4, 4))
    values = [
        t.to(backend.device)
        for t in (dimers.a, dimers.b, dimers.log_omega, torch.tensor(dimers.hill))
    ]
    group = None if dimers.group is None else dimers.group.to(backend.device)

    def gradients(wanted: Sequence[int], second: int) -> list[Tensor]:
        leaves = [t.double().requires_grad_(i in wanted) for i, t in enumerate(values)]
        a, _, log_omega, hill = leaves
        found = backend.log_sum_dimers(
            a, leaves[second], log_omega, group=group, hill=hill
        )
        return list(torch.autograd.grad(found.sum(), [leaves[i] for i in wanted]))

    for second, inputs in ((1, (0, 1, 2, 3)), (0, (0, 2, 3))):
        together = gradients(inputs, second)
        for i, gradient in zip(inputs, together, strict=True):
            (alone,) = gradients([i], second)
            assert_close(alone, gradient.cpu(), 1e-14)


def check_a_probe_without_pairs_passes_no_gradient(backend: Backend) -> None:
    a, b = torch.randn(2, 3, 1, 4, dtype=torch.float64, device=backend.device)
    a[0] = NEG_INF
    b[1] = NEG_INF
    a[2, 0, 1:] = NEG_INF
    log_omega = torch.zeros(1, 1, 1, 4, 4, dtype=torch.float64, device=backend.device)
    log_omega[..., 0, :] = NEG_INF  # the only window of probe 2 has no partner
    hill = torch.tensor(2.0, dtype=torch.float64, device=backend.device)
    leaves = [leaf.requires_grad_() for leaf in (a, b, log_omega, hill)]
    for n_bytes in (None, 1):
        set_memory_budget(n_bytes)
        found = backend.log_sum_dimers(a, b, log_omega, hill=hill)
        assert (found == NEG_INF).all()
        for gradient in torch.autograd.grad(found.sum(), leaves):
            assert (gradient == 0).all()


def check_a_mode_without_windows_makes_no_dimer(backend: Backend) -> None:
    some = torch.randn(3, 2, 4, device=backend.device)
    none = torch.zeros(3, 2, 0, device=backend.device)
    for a, b in ((some, none), (none, some), (none, none)):
        leaves = [a.clone().requires_grad_(), b.clone().requires_grad_()]
        log_omega = torch.zeros(1, 2, 2, a.shape[2], b.shape[2], device=backend.device)
        found = backend.log_sum_dimers(*leaves, log_omega)
        assert found.shape == (3,)
        assert (found == NEG_INF).all()
        empty = [leaf for leaf in leaves if leaf.numel() == 0]
        for gradient in torch.autograd.grad(found.sum(), empty[:1]):
            assert gradient.numel() == 0  # there is a graph to go back through


CHECKS: list[Check] = [
    check_sums_and_gradients_agree_with_plain_loops,
    check_sums_too_small_for_the_product_are_exact,
    check_many_pairs_too_small_for_the_product_add_up,
    check_a_homodimer_is_a_dimer_of_two_equal_modes,
    check_homodimers_agree_with_plain_loops,
    check_swapping_the_modes_transposes_the_cooperativity,
    check_independent_windows_factorise,
    check_sums_do_not_depend_on_the_memory_budget,
    check_gradients,
    check_gradients_of_homodimers,
    check_a_gradient_does_not_depend_on_which_others_are_wanted,
    check_a_probe_without_pairs_passes_no_gradient,
    check_a_mode_without_windows_makes_no_dimer,
]


@every(CHECKS)
def test_log_sum_dimers(backend: Backend, check: Check) -> None:
    check(backend)


@pytest.mark.parametrize("dtype", FLOATS)
def test_cases_of_these_tests_need_both_domains(dtype: torch.dtype) -> None:
    trusted_sums, lost_sums = 0, 0
    for dimers in CASES.values():
        if dimers.group is not None:
            continue
        a, b = dimers.a.to(dtype).flatten(1), dimers.b.to(dtype).flatten(1)
        log_w = dimers.log_omega[0].transpose(1, 2).reshape(a.shape[1], -1).to(dtype)
        w = (log_w - log_w.max()).exp()
        trusted = _reference._exponential_domain(a, b, w, None) > NEG_INF
        binds = _reference._has_pair(a, b, log_w)
        assert not binds[:2].any()
        trusted_sums += int((binds & trusted).sum())
        lost_sums += int((binds & ~trusted).sum())
    assert trusted_sums > 20
    assert lost_sums > 5


def test_arguments_that_do_not_fit_are_refused() -> None:
    a, b, omega = torch.zeros(5, 2, 3), torch.zeros(5, 2, 4), torch.zeros(1, 2, 2, 3, 4)
    dimers = kernels.log_sum_dimers
    with pytest.raises(ValueError, match=r"windows_b .* with N = 5"):
        dimers(a, b[:4], omega)
    with pytest.raises(ValueError, match=r"windows_a .*not \(N, strands, windows\)"):
        dimers(a[0], b, omega)
    with pytest.raises(ValueError, match=r"need \(groups, 2, 2, 3, 4\)"):
        dimers(a, b, omega.transpose(3, 4))
    with pytest.raises(ValueError, match="2 groups without `group`"):
        dimers(a, b, torch.zeros(2, 2, 2, 3, 4))
    with pytest.raises(ValueError, match="the groups are 0 to 0"):
        dimers(a, b, omega, group=torch.ones(5).long())
    with pytest.raises(ValueError, match="one number for all probes"):
        dimers(a, b, omega, hill=torch.ones(1))
    with pytest.raises(TypeError, match="windows_b has type"):
        dimers(a, b.double(), omega)
    with pytest.raises(TypeError, match="log_omega has type"):
        dimers(a, b, omega.double())


# == the compiled loops ===============================================================


def many_probes(groups: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return a, b, ω and groups of so many probes that threads share them."""
    dimers = random_dimers(90, n_probes=2000, windows=(6, 7), groups=groups)
    group = torch.zeros(2000).long() if dimers.group is None else dimers.group
    scores = [t.to(dtype) for t in (dimers.a, dimers.b, dimers.log_omega)]
    return [*scores, group]


def sums_and_gradients(a: Tensor, b: Tensor, log_omega: Tensor, group: Tensor) -> list:
    """Return what the compiled loops find, b being a for homodimers."""
    leaves = [t.clone().requires_grad_() for t in (a, b, log_omega)]
    if b is a:
        leaves[1] = leaves[0]
    hill = torch.tensor(1.3, dtype=a.dtype, requires_grad=True)
    leaves.append(hill)
    with use_backend("numba"):
        found = kernels.log_sum_dimers(*leaves[:3], group=group, hill=hill)
    unlike = [leaf for i, leaf in enumerate(leaves) if i != 1 or b is not a]
    return [found, *torch.autograd.grad(found.sum(), unlike)]


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads, and go back to what it was."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("groups", [1, 7])
def test_repeats_are_bit_identical_whatever_the_threads(
    groups: int, set_threads: Callable[[int], None]
) -> None:
    a, b, log_omega, group = many_probes(groups)
    for threads in (1, 2, 3):
        set_threads(threads)
        once = sums_and_gradients(a, b, log_omega, group)
        again = sums_and_gradients(a, b, log_omega, group)
        assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))


@pytest.mark.parametrize("groups", [1, 7, 1500])
@pytest.mark.parametrize("homodimer", [False, True])
def test_threads_agree(
    groups: int, homodimer: bool, set_threads: Callable[[int], None]
) -> None:
    a, b, log_omega, group = many_probes(groups, torch.float64)
    if homodimer:
        b, log_omega = a, log_omega[..., :6]
    set_threads(1)
    alone = sums_and_gradients(a, b, log_omega, group)
    for threads in (2, 3):
        set_threads(threads)
        shared = sums_and_gradients(a, b, log_omega, group)
        for found, expected in zip(shared, alone, strict=True):
            assert_close(found, expected.detach(), 1e-13)


def test_an_unsorted_sequence_of_groups_changes_nothing() -> None:
    a, b, log_omega, group = many_probes(5, torch.float64)
    order = group.argsort()
    found, by_a, *others = sums_and_gradients(a, b, log_omega, group)
    sorted_, sorted_by_a, *sorted_others = sums_and_gradients(
        a[order], b[order], log_omega, group[order].int()
    )
    assert_close(found[order], sorted_.detach(), 1e-14)
    assert_close(by_a[order], sorted_by_a, 1e-14)
    for one, other in zip(others[1:], sorted_others[1:], strict=True):
        assert_close(one, other, 1e-13)


@pytest.mark.parametrize("homodimer", [False, True])
def test_the_operators_are_registered_as_torch_wants_them(homodimer: bool) -> None:
    dimers = random_dimers(91, windows=(3, 3), groups=2, absent=0.0)
    a, b, log_omega = (
        t.clone().requires_grad_()
        for t in (dimers.b[2:], dimers.a[2:], dimers.log_omega)
    )
    hill = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    group = torch.zeros(len(a)).long() if dimers.group is None else dimers.group[2:]
    scores = a, None if homodimer else b, log_omega
    grad = torch.linspace(0.5, 1.5, len(a), dtype=torch.float64, requires_grad=True)
    for given, exponent in ((group, hill), (None, None)):
        omega = log_omega if given is not None else log_omega[:1].detach()
        inputs = (*scores[:2], omega, given, exponent)
        torch.library.opcheck(_numba._log_sums, inputs)
        every = [True, not homodimer, True, exponent is not None]
        for wanted in (every, [True, False, False, False]):
            # not through the second derivative: that is the reference's
            checks = ("test_schema", "test_autograd_registration", "test_faketensor")
            torch.library.opcheck(
                torch.ops.pyprobound.log_sum_dimers_backward,
                (grad, [], *inputs, wanted),
                test_utils=checks,
            )


def test_forbidden_pairs_are_left_out_of_the_work() -> None:
    dimers = limited(random_dimers(92, windows=(20, 20), absent=0.0), range(8, 12))
    work = _numba._Work.of(dimers.a, dimers.b, dimers.log_omega, None, None)
    for _, runs, _ in (work.cooperativity[2:], work.transposed):
        pairs = 4 * int((runs[:, 2] - runs[:, 1]).sum())
        possible = int((dimers.log_omega > NEG_INF).sum())
        assert possible <= pairs < 2 * possible < 1600


def test_half_of_the_pairs_of_a_homodimer_are_left_out() -> None:
    dimers = random_dimers(93, windows=(20, 20), absent=0.0)
    work = _numba._Work.of(dimers.a, None, dimers.log_omega, None, None)
    runs = work.cooperativity[3]
    pairs = 4 * int((runs[:, 2] - runs[:, 1]).sum())
    assert 40 * 41 / 2 <= pairs < 0.6 * 1600
