"""Sums over pairs of windows: against plain loops, at every scale of energies."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound import kernels
from pyprobound._chunking import set_memory_budget
from pyprobound.kernels.log_sum_dimers import _reference
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
    assert torch.equal(homodimer, heterodimer)
    (gradient,) = torch.autograd.grad(homodimer.sum(), [a])
    halves = torch.autograd.grad(heterodimer.sum(), [one, other])
    assert_close(gradient, sum(halves, torch.zeros_like(gradient)).cpu(), 1e-14)


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
    check_swapping_the_modes_transposes_the_cooperativity,
    check_independent_windows_factorise,
    check_sums_do_not_depend_on_the_memory_budget,
    check_gradients,
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
