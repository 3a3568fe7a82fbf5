"""Logarithms of sums, with −∞ in any place: values and gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound._numerics import NEG_INF, log1mexp, logsumexp, scale_log


def finite(values: Tensor) -> Tensor:
    return values.masked_fill(values == NEG_INF, 0.0)


@pytest.mark.parametrize("dim", [0, 1, -1, (0, 2), (1, 2), (0, 1, 2)])
def test_logsumexp_agrees_with_pytorch_where_something_is_finite(
    dim: int | tuple[int, ...],
) -> None:
    values = 50 * torch.randn(3, 4, 5, dtype=torch.float64)
    absent = torch.rand(values.shape) < 0.3
    absent[0, 0, 0] = False
    values = values.masked_fill(absent, NEG_INF)
    torch.testing.assert_close(
        logsumexp(values, dim), torch.logsumexp(values, dim), rtol=1e-14, atol=1e-13
    )


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_logsumexp_neither_overflows_nor_vanishes(shift: float) -> None:
    values = torch.tensor([shift, shift + 1], dtype=torch.float64)
    expected = shift + math.log(1 + math.e)
    assert logsumexp(values, 0).item() == pytest.approx(expected, rel=1e-15)


def test_logsumexp_of_what_is_absent_is_absent_without_gradient() -> None:
    values = torch.randn(3, 4)
    values[1] = NEG_INF
    values[2, 1:] = NEG_INF
    values.requires_grad_()
    total = logsumexp(values, 1)
    assert total[1] == NEG_INF
    (gradient,) = torch.autograd.grad(total.sum(), values)
    assert (gradient[1] == 0).all()
    torch.testing.assert_close(gradient[0], values[0].softmax(0))
    assert gradient[2].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_logsumexp_over_no_entries_is_absent_and_differentiable() -> None:
    values = torch.zeros(3, 0, 2, requires_grad=True)
    total = logsumexp(values, (1, 2))
    assert total.tolist() == [NEG_INF] * 3
    (gradient,) = torch.autograd.grad(total.sum(), values)
    assert gradient.shape == values.shape


def test_logsumexp_has_exact_first_and_second_derivatives() -> None:
    absent = torch.rand(3, 4) < 0.3
    absent[0] = True

    def total(values: Tensor) -> Tensor:
        return finite(logsumexp(values.masked_fill(absent, NEG_INF), 1))

    values = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(total, values)
    assert gradgradcheck(total, values)


def test_scaling_leaves_absent_values_out_of_both_gradients() -> None:
    values = torch.tensor([1.0, NEG_INF, -2.0], requires_grad=True)
    factor = torch.tensor(3.0, requires_grad=True)
    scaled = scale_log(values, factor)
    assert scaled.tolist() == [3.0, NEG_INF, -6.0]
    by_values, by_factor = torch.autograd.grad(scaled.sum(), (values, factor))
    assert by_values.tolist() == [3.0, 0.0, 3.0]
    assert by_factor.item() == -1.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log1mexp_is_accurate_at_both_ends(dtype: torch.dtype) -> None:
    small = torch.tensor([1e-30, 1e-12, 1e-3], dtype=dtype)
    # log(1 − e^{−x}) = log x − x/2 + x²/24 − …
    series = (small.double().log() - small.double() / 2 + small.double() ** 2 / 24).to(
        dtype
    )
    torch.testing.assert_close(log1mexp(small), series)
    large = torch.tensor([30.0, 80.0], dtype=dtype)
    torch.testing.assert_close(log1mexp(large), -(-large).exp(), rtol=1e-5, atol=0.0)
    middle = torch.tensor([0.6931, 0.6932, 1.0, 3.0], dtype=dtype)
    expected = torch.tensor([math.log(1 - math.exp(-x)) for x in middle.tolist()])
    torch.testing.assert_close(log1mexp(middle), expected.to(dtype))


def test_log1mexp_has_finite_gradients_at_both_ends() -> None:
    values = torch.tensor([1e-6, 0.5, 0.7, 2.0, 500.0], dtype=torch.float64)
    values.requires_grad_()
    (gradient,) = torch.autograd.grad(log1mexp(values).sum(), values)
    expected = 1 / torch.expm1(values.detach())
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=0.0)
