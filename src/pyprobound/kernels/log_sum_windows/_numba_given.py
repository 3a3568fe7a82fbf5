"""Sums over windows that are already scored, log Σ exp(h · windows)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import logsumexp, scale_log
from pyprobound.kernels._numba import array_of, exp, jit, run, stretches
from pyprobound.kernels._operators import differentiable
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


def _log_sums(windows: Tensor, hill: Tensor) -> Tensor:
    """Return log Σ exp(hill · windows), (N,), of scores (N, W)."""
    out = windows.new_empty(len(windows))
    given, sums = array_of(windows), array_of(out)
    power = given.dtype.type(float(hill))
    run(_forward_given, len(given), lambda _, rows: (given[rows], power, sums[rows]))
    return out


def _gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    windows: Tensor,
    hill: Tensor,
    _: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of the scores and of the Hill coefficient."""
    to_windows = torch.empty_like(windows, memory_format=torch.contiguous_format)
    given, sums, shares = array_of(windows), array_of(results[0]), array_of(grad)
    written = array_of(to_windows)
    power = given.dtype.type(float(hill))
    to_hill = np.zeros((len(stretches(len(given))), 1))

    def arguments(thread: int, rows: slice) -> tuple[Any, ...]:
        own = written[rows], to_hill[thread]
        return given[rows], power, sums[rows], shares[rows], *own

    run(_backward_given, len(given), arguments)
    return [to_windows, torch.from_numpy(to_hill).sum().to(hill)]


log_sum_given = differentiable(
    "log_sum_given",
    _log_sums,
    _gradients,
    empty=lambda windows, _: windows.new_empty(windows.shape[0]),
    reference=lambda windows, hill: logsumexp(scale_log(windows, hill), 1),
    leaves=["windows", "hill"],
)
