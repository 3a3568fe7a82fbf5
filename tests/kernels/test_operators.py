"""Operators made of plain functions: an invented one with everything there can be."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from pyprobound.kernels._operators import differentiable

DOUBLE = torch.float64
asked: list[list[bool]] = []
received: list[int] = []


def product(
    codes: Tensor, parts: Sequence[Tensor], power: int, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return s · (Σ parts)^power at some places, and the sum of the parts."""
    total = torch.stack(tuple(parts)).sum(0)
    result = total[codes] ** power
    return result if scale is None else result * scale, total


def empty(
    codes: Tensor, parts: Sequence[Tensor], power: int, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    del power, scale
    return parts[0].new_empty(codes.shape), parts[0].new_empty(parts[0].shape)


def gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    codes: Tensor,
    parts: Sequence[Tensor],
    power: int,
    scale: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    asked.append(list(wanted))
    received.append(len(results))
    total = results[1] if results else torch.stack(tuple(parts)).sum(0)
    slope = grad * power * total[codes] ** (power - 1)
    if scale is not None:
        slope = slope * scale
    by_total = torch.zeros_like(total).index_add(0, codes, slope)
    by_scale = (grad * total[codes] ** power).sum()
    return [*(by_total.clone() for _ in parts), by_scale if wanted[1] else None]


def in_torch(
    codes: Tensor, parts: Sequence[Tensor], power: int, scale: Tensor | None
) -> Tensor:
    return product(codes, parts, power, scale)[0]


OPERATORS = {
    name: differentiable(
        name,
        product,
        gradients,
        empty=empty,
        reference=in_torch,
        leaves=["parts", "scale"],
        keeps_results=keeps,
    )
    for name, keeps in (("test_product", True), ("test_product_anew", False))
}
CODES = torch.tensor([2, 0, 2])


@pytest.fixture(params=OPERATORS)
def name(request: pytest.FixtureRequest) -> str:
    asked.clear()
    received.clear()
    value: str = request.param
    return value


def leaves_of(*trained: bool) -> list[Tensor]:
    """Return two parts and a factor, of which some are trained."""
    torch.manual_seed(0)
    values = [*torch.randn(2, 3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)]
    return [
        value.clone().requires_grad_(yes)
        for value, yes in zip(values, trained, strict=True)
    ]


def test_gradients_are_right_once_and_twice(name: str) -> None:
    def scaled(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
        found: Tensor = OPERATORS[name](CODES, [a, b], 3, scale)[0]
        return found

    def plain(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = OPERATORS[name](CODES, [a, b], 3, None)[0]
        return found

    leaves = leaves_of(True, True, True)
    for function, inputs in ((scaled, leaves), (plain, leaves[:2])):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("trained", "wanted"),
    [
        ((True, True, True), [True, True]),
        ((True, False, False), [True, False]),
        ((False, True, True), [True, True]),
        ((False, False, True), [False, True]),
    ],
)
def test_gradients_that_are_not_wanted_are_not_made(
    name: str, trained: tuple[bool, ...], wanted: list[bool]
) -> None:
    a, b, scale = leaves = leaves_of(*trained)
    result, total = OPERATORS[name](CODES, [a, b], 2, scale)
    assert not total.requires_grad
    result.sum().backward()
    assert asked == [wanted]
    assert [leaf.grad is not None for leaf in leaves] == list(trained)
    assert received == [0 if name.endswith("anew") else 2]


@pytest.mark.parametrize("trained", [True, False])
def test_the_operators_keep_their_contract(name: str, *, trained: bool) -> None:
    a, b, scale = leaves_of(trained, trained, trained)
    opcheck(OPERATORS[name], (CODES, [a, b], 2, scale))
    opcheck(OPERATORS[name], (CODES, [a, b], 2, None))
    grad = torch.randn(3, dtype=DOUBLE, requires_grad=trained)
    results = [t.detach() for t in OPERATORS[name](CODES, [a, b], 2, scale)]
    backward = getattr(torch.ops.pyprobound, f"{name}_backward")
    kept = [] if name.endswith("anew") else results
    for wanted in ([True, True], [False, True]):
        opcheck(backward, (grad, kept, CODES, [a, b], 2, scale, wanted))


def test_a_hessian_has_every_way_to_the_parameters_once(name: str) -> None:
    # of a loss whose slope depends on them too, and of inputs that are made of them
    theta = torch.randn(3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))

    def loss(x: Tensor, *, plain: bool) -> Tensor:
        inputs = CODES, [x.exp(), x.sin()], 3, x.square().sum()
        result = product(*inputs)[0] if plain else OPERATORS[name](*inputs)[0]
        return result.square().sum()

    def hessian(*, plain: bool) -> Tensor:
        x = theta.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(x, plain=plain), x, create_graph=True)
        rows = [torch.autograd.grad(each, x, retain_graph=True)[0] for each in slope]
        return torch.stack(rows)

    torch.testing.assert_close(hessian(plain=False), hessian(plain=True))
