"""The posterior over windows on the CPU: the terms of the sum over windows, kept.

They are made as `log_sum_windows` makes them, and divided by their sum.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound.kernels._numba import Array, jit, run
from pyprobound.kernels._numba_tables import lanes_of
from pyprobound.kernels._words import (
    TILE,
    ZERO,
    U,
    room_for,
    windows_of,
    words_of_tile,
)
from pyprobound.kernels.log_sum_windows._numba_logs import fractions
from pyprobound.kernels.log_sum_windows._numba_products import sum_of_part
from pyprobound.kernels.log_sum_windows._numba_tasks import (
    Settings,
    Task,
    tasks_of,
    words_given,
)
from pyprobound.kernels.window_posterior import _reference


@jit
def _from_products(reading, tables, bias, groups, trust, out, lost):
    """Write the weights of the windows of some probes.

    Args:
        reading: As in the kernels of `log_sum_windows`, and so are others.
        tables: Factors.
        bias: Factors, or None.
        groups: Rows of the bias.
        trust: The least sum.
        out: (n, parts · windows · lanes), written where a window is.
        lost: (n,), set where underflow may have spoilt a sum.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    lanes = U(len(tables.lanes))
    p = np.empty(tables.n_parts * tables.n_windows * lanes, out.dtype)
    room = room_for(reading)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            if first == last:
                continue
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            total = out.dtype.type(0)
            for part in range(tables.n_parts):
                total += sum_of_part(
                    tables, bias, words, at, part, group, first, last, True, p
                )
            if total < trust:
                lost[n] = True
                continue
            scale = out.dtype.type(1 / total)
            for part in range(tables.n_parts):
                base = part * tables.n_windows
                for i in range((base + first) * lanes, (base + last) * lanes):
                    out[n, i] = scale * p[i]


@jit
def _from_logs(reading, tables, bias, groups, out):
    """Write the weights of the windows of some probes, from logarithms."""
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    lanes = U(len(tables.lanes))
    width = tables.n_windows * lanes
    p, room = np.empty((tables.n_parts, width), out.dtype), room_for(reading)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            at, group = (n - start) * step, groups[n] if len(groups) else ZERO
            log_sum, total = fractions(tables, bias, words, at, group, first, last, p)
            if log_sum == -np.inf:
                continue
            scale = out.dtype.type(1 / total)
            for part in range(tables.n_parts):
                for i in range(first * lanes, last * lanes):
                    out[n, part * width + i] = scale * p[part, i]


def _write(task: Task, chosen: Any, out: Array) -> None:
    """Write the weights of some of the probes of a task, (n, …)."""
    reading, bias = task.reading.at(chosen), task.bias.of_probes(chosen)
    each, lost = task.factors, np.zeros(len(out), np.bool_)

    def arguments(_: int, at: slice) -> tuple[Any, ...]:
        groups = bias.of_probes(at).groups
        given = reading.at(at), each.tables, each.bias, groups
        return *given, each.trust, out[at], lost[at]

    run(_from_products, len(out), arguments)
    if not lost.any():
        return
    rows = lost.nonzero()[0]
    again, few = reading.at(rows), bias.of_probes(rows)
    made = np.zeros((len(rows), out.shape[1]), out.dtype)

    def given(_: int, at: slice) -> tuple[Any, ...]:
        own = few.of_probes(at)
        return again.at(at), task.logs, own.values, own.groups, made[at]

    run(_from_logs, len(rows), given)
    out[rows] = made


def window_posterior(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    *,
    dilation: int,
    bias: Tensor | None,
    log_bias: Tensor | None,
    group: Tensor | None,
    hill: Tensor | None,
) -> Callable[[slice], Tensor]:
    """Return what gives windows their weights; see the public function."""
    settings: Settings = {
        "dilation": dilation,
        "bias": bias,
        "log_bias": log_bias,
        "group": group,
        "hill": hill,
    }
    given = words_given(seqs, filters, embedding, pad, settings)
    if given is None:
        return _reference.window_posterior(seqs, filters, embedding, pad, **settings)
    tasks = tasks_of(given.detached())
    _, n_windows, channels = given.bias.shape
    n_probes, lanes = len(seqs), lanes_of(channels)
    dtype = given.bias.detach().numpy().dtype

    def weights_of(piece: slice) -> Tensor:
        start, stop, _ = piece.indices(n_probes)
        weights = np.zeros((stop - start, n_windows * channels), dtype)
        for task in tasks:
            if task.rows is None:
                _write(task, slice(start, stop), weights)
                continue
            begin, end = np.searchsorted(task.rows, (start, stop))
            if begin < end:
                made = np.zeros((end - begin, n_windows * channels), dtype)
                _write(task, slice(begin, end), made)
                weights[task.rows[begin:end] - start] = made
        parts = channels // lanes
        laid = torch.from_numpy(weights).view(-1, parts, n_windows, lanes)
        return laid.transpose(2, 3).reshape(-1, channels, n_windows)

    return weights_of
