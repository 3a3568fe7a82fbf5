"""Sums over windows: against plain loops, with every bias, and their gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound import kernels
from pyprobound._chunking import set_memory_budget
from tests.kernels import oracles
from tests.kernels.backends import (
    FLOATS,
    Backend,
    Check,
    assert_close,
    every,
    tolerance,
)
from tests.kernels.oracles import NEG_INF, Model, random_model

MODELS = [
    random_model(30),
    random_model(31, channels=1, bias=True),
    random_model(32, pair_distances=2, bias=True),
    random_model(33, dilation=3, size=3, bias=True),
    random_model(34, forbidden=0.2, size=3),
    random_model(35, forbidden=0.1, size=3, pair_distances=2),
    random_model(36, forbidden=1.0, size=2),
    random_model(37, length=4, size=4),
    random_model(38, length=3, size=4),
    random_model(39, length=0, size=4, bias=True),
    random_model(40, n_probes=0),
    random_model(41, n_probes=3, length=75, size=5, pair_distances=1),
]


@dataclass(frozen=True)
class Extras:
    """What is added to the scores of a model before they are summed."""

    log_bias: Tensor | None = None  # (G, C, W)
    group: Tensor | None = None  # (N,)
    hill: float | None = None


def random_extras(model: Model, groups: int) -> Extras:
    shape = (groups, len(model.filters[0]), model.n_windows)
    log_bias = torch.randn(shape, dtype=torch.float64)
    log_bias = log_bias.masked_fill(torch.rand(shape) < 0.2, NEG_INF)
    group = torch.randint(0, groups, (len(model.seqs),))
    return Extras(log_bias, group if groups > 1 else None, 0.7)


def all_extras(model: Model) -> list[Extras]:
    one, many = random_extras(model, 1), random_extras(model, 3)
    return [
        Extras(),
        Extras(hill=2.5),
        Extras(one.log_bias),
        one,
        Extras(one.log_bias, torch.zeros(len(model.seqs), dtype=torch.int32)),
        Extras(many.log_bias, many.group),
        many,
    ]


def sums(
    backend: Backend,
    model: Model,
    extras: Extras | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    extras = extras or Extras()

    def put(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.to(backend.device, dtype)

    hill = None if extras.hill is None else torch.tensor(extras.hill, dtype=dtype)
    return backend.log_sum_windows(
        model.seqs.to(backend.device),
        [put(weights) for weights in model.filters],
        model.embedding.to(backend.device),
        model.pad,
        dilation=model.dilation,
        bias=put(model.bias),
        log_bias=put(extras.log_bias),
        group=None if extras.group is None else extras.group.to(backend.device),
        hill=put(hill),
    )


def expected_sums(model: Model, extras: Extras) -> Tensor:
    windows = oracles.window_scores(model)
    if extras.log_bias is not None:
        windows = windows + extras.log_bias[0 if extras.group is None else extras.group]
    return oracles.log_sum(windows, extras.hill or 1.0)


def check_sums_agree_with_plain_loops(backend: Backend) -> None:
    for dtype in FLOATS:
        for model in MODELS:
            for extras in all_extras(model):
                found = sums(backend, model, extras, dtype)
                assert found.dtype == dtype
                assert_close(found, expected_sums(model, extras), tolerance(dtype))


def check_sums_of_stored_windows_agree(backend: Backend) -> None:
    for dtype in FLOATS:
        for model in MODELS:
            windows = oracles.window_scores(model)
            found = backend.log_sum(windows.to(backend.device, dtype))
            assert_close(found, oracles.log_sum(windows), tolerance(dtype))
            hill = torch.tensor(1.5, dtype=dtype, device=backend.device)
            found = backend.log_sum(windows.to(backend.device, dtype), hill=hill)
            assert_close(found, oracles.log_sum(windows, 1.5), tolerance(dtype))


def check_extreme_energies_neither_overflow_nor_vanish(backend: Backend) -> None:
    for scale in (1.0, -1.0):
        model = random_model(42)
        model.filters[0].add_(scale * 300)
        for dtype in FLOATS:
            expected = expected_sums(model, Extras())
            assert_close(sums(backend, model, dtype=dtype), expected, tolerance(dtype))
            windows = oracles.window_scores(model).to(backend.device, dtype)
            assert_close(backend.log_sum(windows), expected, tolerance(dtype))


def check_sums_do_not_depend_on_the_memory_budget(backend: Backend) -> None:
    model = MODELS[2]
    extras = random_extras(model, 3)
    results = []
    for n_bytes in (None, 1, 10_000):
        set_memory_budget(n_bytes)
        total, leaves = differentiable_sums(backend, model, extras)
        found = total(*leaves)
        gradients = torch.autograd.grad(found[found.isfinite()].sum(), leaves)
        results.append([found.detach(), *gradients])
    for others in results[1:]:
        for found, expected in zip(others, results[0], strict=True):
            assert_close(found, expected.cpu(), 1e-13)


def check_repeating_a_sum_gives_the_same_bits(backend: Backend) -> None:
    model = random_model(43, n_probes=200, pair_distances=1)
    extras = random_extras(model, 3)
    set_memory_budget(100_000)
    runs = []
    for _ in range(2):
        total, leaves = differentiable_sums(backend, model, extras)
        found = total(*leaves)
        gradients = torch.autograd.grad(found[found.isfinite()].sum(), leaves)
        runs.append([found, *gradients])
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))


def differentiable_sums(
    backend: Backend, model: Model, extras: Extras
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return the sums as a function of finite bias, log_bias, hill and weights.

    Where the model or the extras hold −∞, so does what is summed.
    """
    device = backend.device
    assert extras.log_bias is not None
    bias = torch.full((len(model.filters[0]),), 0.25, dtype=torch.float64)
    hill = torch.tensor(extras.hill or 1.0, dtype=torch.float64)
    whole = [bias, extras.log_bias, hill, *model.filters]
    absent = [(values == NEG_INF).to(device) for values in whole]
    leaves = [
        values.masked_fill(values == NEG_INF, 0.0).to(device).requires_grad_()
        for values in whole
    ]
    seqs, embedding = model.seqs.to(device), model.embedding.to(device)
    group = None if extras.group is None else extras.group.to(device)

    def total(*leaves: Tensor) -> Tensor:
        bias, log_bias, hill, *filters = (
            leaf.masked_fill(gone, NEG_INF)
            for leaf, gone in zip(leaves, absent, strict=True)
        )
        return backend.log_sum_windows(
            seqs,
            filters,
            embedding,
            model.pad,
            dilation=model.dilation,
            bias=bias,
            log_bias=log_bias,
            group=group,
            hill=hill,
        )

    return total, leaves


def check_gradients(backend: Backend) -> None:
    small = partial(random_model, n_probes=3, length=4, n_letters=2, size=2)
    models = [
        small(44, pair_distances=1, forbidden=0.1),
        small(45, dilation=2),
    ]
    for model, groups in zip(models, (1, 2), strict=True):
        total, leaves = differentiable_sums(
            backend, model, random_extras(model, groups)
        )
        infinite = total(*leaves) == NEG_INF
        assert infinite.any()
        assert not infinite.all()

        def finite_sums(
            *leaves: Tensor,
            total: Callable[..., Tensor] = total,
            infinite: Tensor = infinite,
        ) -> Tensor:
            return total(*leaves)[~infinite]

        for n_bytes in (None, 1):
            set_memory_budget(n_bytes)
            assert gradcheck(finite_sums, leaves)
            assert gradgradcheck(finite_sums, leaves)


def check_gradients_of_stored_windows(backend: Backend) -> None:
    windows = torch.randn(4, 2, 3, dtype=torch.float64, device=backend.device)
    absent = torch.rand(windows.shape, device=backend.device) < 0.3
    absent[0] = False
    hill = torch.tensor(1.3, dtype=torch.float64, device=backend.device)

    def total(windows: Tensor, hill: Tensor) -> Tensor:
        return backend.log_sum(windows.masked_fill(absent, NEG_INF), hill=hill)

    leaves = (windows.requires_grad_(), hill.requires_grad_())
    for n_bytes in (None, 1):
        set_memory_budget(n_bytes)
        assert gradcheck(total, leaves)
        assert gradgradcheck(total, leaves)


def check_minus_infinities_receive_zero_gradient(backend: Backend) -> None:
    model = MODELS[5]
    extras = random_extras(model, 3)
    assert extras.log_bias is not None
    assert extras.group is not None
    filters = [weights.to(backend.device).requires_grad_() for weights in model.filters]
    log_bias = extras.log_bias.to(backend.device).requires_grad_()
    hill = torch.tensor(
        0.7, dtype=torch.float64, device=backend.device
    ).requires_grad_()
    found = backend.log_sum_windows(
        model.seqs.to(backend.device),
        filters,
        model.embedding.to(backend.device),
        model.pad,
        log_bias=log_bias,
        group=extras.group.to(backend.device),
        hill=hill,
    )
    assert (found == NEG_INF).any()
    assert (found > NEG_INF).any()
    leaves = [*filters, log_bias, hill]
    gradients = torch.autograd.grad(found.sum(), leaves)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert gradient.isfinite().all()
        assert (gradient[leaf.detach() == NEG_INF] == 0).all()


def check_a_probe_without_windows_passes_no_gradient(backend: Backend) -> None:
    model = random_model(46, n_probes=2)
    seqs = model.seqs[1:].to(backend.device)
    assert (seqs == model.pad).all()
    weights = model.filters[0].to(backend.device).requires_grad_()
    windows = torch.full((1, 2, 3), NEG_INF, dtype=torch.float64, device=backend.device)
    windows.requires_grad_()
    hill = torch.tensor(
        2.0, dtype=torch.float64, device=backend.device
    ).requires_grad_()
    embedding = model.embedding.to(backend.device)
    summed = backend.log_sum_windows(seqs, [weights], embedding, model.pad, hill=hill)
    too_short = backend.log_sum_windows(seqs[:, :2], [weights], embedding, model.pad)
    stored = backend.log_sum(windows, hill=hill)
    for found in (summed, too_short, stored):
        assert (found == NEG_INF).all()
    leaves = (weights, windows, hill)
    total = (summed + too_short + stored).sum()
    for gradient in torch.autograd.grad(total, leaves):
        assert (gradient == 0).all()


CHECKS: list[Check] = [
    check_sums_agree_with_plain_loops,
    check_sums_of_stored_windows_agree,
    check_extreme_energies_neither_overflow_nor_vanish,
    check_sums_do_not_depend_on_the_memory_budget,
    check_repeating_a_sum_gives_the_same_bits,
    check_gradients,
    check_gradients_of_stored_windows,
    check_minus_infinities_receive_zero_gradient,
    check_a_probe_without_windows_passes_no_gradient,
]


@every(CHECKS)
def test_log_sum_windows(backend: Backend, check: Check) -> None:
    check(backend)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"log_bias": torch.zeros(2, 4)}, ValueError, r"need \(groups, 2, 4\)"),
        ({"log_bias": torch.zeros(1, 2, 5)}, ValueError, r"need \(groups, 2, 4\)"),
        ({"log_bias": torch.zeros(3, 2, 4)}, ValueError, "3 groups without `group`"),
        (
            {"log_bias": torch.zeros(3, 2, 4), "group": torch.zeros(4).long()},
            ValueError,
            r"5 probes need \(5,\)",
        ),
        (
            {"log_bias": torch.zeros(3, 2, 4), "group": torch.full((5,), 3)},
            ValueError,
            "runs from 3 to 3; the groups are 0 to 2",
        ),
        (
            {"log_bias": torch.zeros(3, 2, 4), "group": torch.full((5,), -1)},
            ValueError,
            "runs from -1 to -1",
        ),
        (
            {"log_bias": torch.zeros(3, 2, 4), "group": torch.zeros(5)},
            TypeError,
            "indices are int32 or int64",
        ),
        ({"log_bias": torch.zeros(1, 2, 4).double()}, TypeError, "log_bias has type"),
        ({"hill": torch.ones(1)}, ValueError, "one number for all probes"),
        ({"bias": torch.zeros(3)}, ValueError, "bias has shape"),
    ],
)
def test_biases_that_do_not_fit_are_refused(
    options: dict, error: type[Exception], message: str
) -> None:
    codes = torch.zeros(5, 6, dtype=torch.uint8)
    table = oracles.embedding_table(4).float()
    with pytest.raises(error, match=message):
        kernels.log_sum_windows(codes, [torch.zeros(2, 4, 3)], table, 4, **options)


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(N, C, W\)"):
        kernels.log_sum(torch.zeros(5, 6))
    with pytest.raises(TypeError, match="kernels take float32 and float64"):
        kernels.log_sum(torch.zeros(5, 2, 6).half())
