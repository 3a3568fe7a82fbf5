"""Sums over windows that are already scored, log Σ exp(h · windows)."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import logsumexp, scale_log
from pyprobound.kernels._numba import array_of, exp, jit, run, stretches
from pyprobound.kernels._words import ZERO, U


@jit
def _forward_given(windows, hill, out):
    """Write log Σ exp(hill · windows) of each row."""
    n_windows = U(windows.shape[1])
    for n in range(U(windows.shape[0])):
        top = windows[n, ZERO]
        for i in range(n_windows):
            top = max(top, windows[n, i])
        if top == -np.inf:
            out[n] = top
            continue
        total = windows.dtype.type(0)
        for i in range(n_windows):
            total += exp(hill * (windows[n, i] - top))
        out[n] = hill * top + math.log(total)


@jit
def _backward_given(windows, hill, out, grad, to_windows, to_hill):
    """Write the gradient of each score, and add that of the Hill coefficient."""
    n_windows = U(windows.shape[1])
    zero = windows.dtype.type(0)
    for n in range(U(windows.shape[0])):
        log_sum = out[n]
        if log_sum == -np.inf:
            for i in range(n_windows):
                to_windows[n, i] = zero
            continue
        share = grad[n]
        moment = 0.0
        for i in range(n_windows):
            part = share * exp(min(zero, hill * windows[n, i] - log_sum))
            to_windows[n, i] = hill * part
            if part != zero:
                moment += part * windows[n, i]
        to_hill[0] += moment


@torch.library.custom_op("pyprobound::log_sum_given", mutates_args=())
def log_sum_given(windows: Tensor, hill: Tensor) -> Tensor:
    """Return log Σ exp(hill · windows), (N,), of scores (N, W)."""
    out = windows.new_empty(len(windows))
    given, sums = array_of(windows), array_of(out)
    power = given.dtype.type(float(hill))
    run(_forward_given, len(given), lambda _, rows: (given[rows], power, sums[rows]))
    return out


@torch.library.custom_op("pyprobound::log_sum_given_backward", mutates_args=())
def log_sum_given_backward(
    grad: Tensor, windows: Tensor, hill: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the scores and of the Hill coefficient."""
    to_windows = torch.empty_like(windows, memory_format=torch.contiguous_format)
    given, sums, shares = array_of(windows), array_of(out), array_of(grad)
    written = array_of(to_windows)
    power = given.dtype.type(float(hill))
    to_hill = np.zeros((len(stretches(len(given))), 1))

    def arguments(thread: int, rows: slice) -> tuple[Any, ...]:
        own = written[rows], to_hill[thread]
        return given[rows], power, sums[rows], shares[rows], *own

    run(_backward_given, len(given), arguments)
    return to_windows, torch.from_numpy(to_hill).sum().to(hill)


@log_sum_given.register_fake
def _(windows: Tensor, hill: Tensor) -> Tensor:
    return windows.new_empty(windows.shape[0])


@log_sum_given_backward.register_fake
def _(
    grad: Tensor,
    windows: Tensor,
    hill: Tensor,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    made = torch.empty_like(windows, memory_format=torch.contiguous_format)
    return made, torch.empty_like(hill)


def _save_given(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _differentiate_given(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    made: tuple[Tensor, Tensor] = log_sum_given_backward(
        grad.contiguous(), *ctx.saved_tensors
    )
    return made


log_sum_given.register_autograd(_differentiate_given, setup_context=_save_given)


def _save_given_backward(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.save_for_backward(*inputs[:3])


def _differentiate_given_again(
    ctx: Any,
    to_windows: Tensor,
    to_hill: Tensor,
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        grad, windows, hill = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        log_sums = logsumexp(scale_log(windows, hill), 1)
        first = torch.autograd.grad(log_sums, [windows, hill], grad, create_graph=True)
        total = (first[0] * to_windows).sum() + first[1] * to_hill
        second = torch.autograd.grad(total, [grad, windows, hill])
    return (*second, None)


log_sum_given_backward.register_autograd(
    _differentiate_given_again, setup_context=_save_given_backward
)
