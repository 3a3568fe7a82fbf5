"""Sums over windows on the CPU: nothing is stored per window.

    1/K(S_i) = Σ_x Π_b E_b[w_b(x)] · e^{bias(x)},    E_b = exp(table_b)

with the words w_b(x) of window x in the blocks b of the filter (`_blocks`). The
exponentials are those of the tables, a few thousand; a window costs a look-up and a
product for each block, and none of its own (`_numba_products`). A sum that underflow
may have spoilt is done again with the logarithms (`_numba_logs`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import logsumexp
from pyprobound.kernels._numba import array_of, stretches
from pyprobound.kernels._numba_tables import from_parts
from pyprobound.kernels._operators import differentiable, direct
from pyprobound.kernels.log_sum_windows import _reference
from pyprobound.kernels.log_sum_windows._numba_given import log_sum_given
from pyprobound.kernels.log_sum_windows._numba_tasks import (
    Given,
    Settings,
    tasks_of,
    words_given,
)
from pyprobound.kernels.window_scores._numba import scores_in_torch

# == operators ========================================================================


def _log_sums(
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the log sums (N,) of probes from tables of words.

    Args:
        codes: (N, L) of any integer type.
        known: The words (N, words) of letters as int16, or (0, 0).
        spans: (N, 2) where the letters of each probe begin and end, or (0, 2).
        mixed: (M,) the probes that are read with the tables of all codes.
        letters: Tables (blocks, words, C) of letters.
        others: Tables of all codes, or (0, 0, C).
        bias: (G, W, C), G = 0 for none.
        group: (N,) rows of the bias; anything of one row where G is at most 1.
        layout: From `Words.layout`.
        pad: Code of padding.
    """
    sums = letters.new_empty(len(codes))
    made = array_of(sums)
    given = Given(codes, known, spans, mixed, letters, others, bias, group, layout)
    for task in tasks_of(given):
        found = task.sums(made.dtype)
        made[slice(None) if task.rows is None else task.rows] = found
    return sums


def _gradients(
    grad: Tensor,
    _: object,
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of letters, others and bias, None where not wanted."""
    shares, n_stretches = array_of(grad), len(stretches(len(codes)))
    given = Given(codes, known, spans, mixed, letters, others, bias, group, layout)
    tasks = tasks_of(given)
    # float64: what thousands of probes add up to is small beside single terms
    to_tables = [
        np.zeros((n_stretches, table.numel() if yes else 0))
        for table, yes in zip((letters, others), wanted, strict=False)
    ]
    parts, n_groups, width = tasks[0].bias.values.shape
    to_bias = np.zeros((n_stretches, parts, n_groups if wanted[2] else 0, width))
    for task in tasks:
        own = shares if task.rows is None else shares[task.rows]
        task.add_gradients(own, to_tables[task.kind], to_bias)
    return [
        torch.from_numpy(from_parts(total.sum(0), tuple(t.shape))).to(t.dtype)
        if yes
        else None
        for total, t, yes in zip(
            (*to_tables, to_bias), (letters, others, bias), wanted, strict=True
        )
    ]


def _empty(codes: Tensor, *inputs: Any) -> Tensor:
    _, _, _, letters, *_ = inputs
    made: Tensor = letters.new_empty(codes.shape[0])
    return made


def _in_torch(
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the log sums, differentiable as often as one likes."""
    windows = scores_in_torch(codes, letters, others, layout, pad)
    if len(bias):
        rows = group if len(group) == len(codes) else group.new_zeros(len(codes))
        windows = windows + bias[rows]
    return logsumexp(windows, (1, 2))


log_sum_words = differentiable(
    "log_sum_words",
    _log_sums,
    _gradients,
    empty=_empty,
    reference=_in_torch,
    leaves=["letters", "others", "bias"],
    keeps_results=False,
)

# == the kernels ======================================================================


def log_sum_windows(
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
) -> Tensor:
    """Sum over the windows of each probe; see the public function."""
    settings: Settings = {
        "dilation": dilation,
        "bias": bias,
        "log_bias": log_bias,
        "group": group,
        "hill": hill,
    }
    given = words_given(seqs, filters, embedding, pad, settings)
    if given is None:
        return _reference.log_sum_windows(seqs, filters, embedding, pad, **settings)
    sums: Tensor = direct(log_sum_words)(*given, pad)
    return sums


def log_sum(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Sum over scored windows; see the public function."""
    if windows.numel() == 0:
        return _reference.log_sum(windows, hill)
    power = windows.new_ones(()) if hill is None else hill.to(windows.dtype)
    sums: Tensor = log_sum_given(windows.flatten(1), power)
    return sums
