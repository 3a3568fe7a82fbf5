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

from pyprobound._numerics import logsumexp, scale_log
from pyprobound.kernels._numba import array_of, stretches
from pyprobound.kernels._numba_tables import from_parts
from pyprobound.kernels._operators import direct
from pyprobound.kernels._words import Words, narrow
from pyprobound.kernels.log_sum_windows import _reference
from pyprobound.kernels.log_sum_windows._numba_given import log_sum_given
from pyprobound.kernels.log_sum_windows._numba_tasks import tasks_of
from pyprobound.kernels.window_scores._numba import scores_in_torch

# == operators ========================================================================


@torch.library.custom_op("pyprobound::log_sum_words", mutates_args=())
def log_sum_words(
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
    tasks = tasks_of(codes, known, spans, mixed, letters, others, bias, group, layout)
    for task in tasks:
        found = task.sums(made.dtype)
        made[slice(None) if task.rows is None else task.rows] = found
    return sums


@torch.library.custom_op("pyprobound::log_sum_words_backward", mutates_args=())
def log_sum_words_backward(
    grad: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of letters, others and bias, empty where not wanted.

    Args:
        grad: (N,) of the log sums.
        codes: As in `log_sum_words`, and all others but the last.
        wanted: Which of the three gradients are.
    """
    shares, n_stretches = array_of(grad), len(stretches(len(codes)))
    tasks = tasks_of(codes, known, spans, mixed, letters, others, bias, group, layout)
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
    made = [
        torch.from_numpy(from_parts(total.sum(0), tuple(t.shape))).to(t.dtype)
        if yes
        else t.new_empty(0)
        for total, t, yes in zip(
            (*to_tables, to_bias), (letters, others, bias), wanted, strict=True
        )
    ]
    return made[0], made[1], made[2]


@log_sum_words.register_fake
def _(codes, known, spans, mixed, letters, others, bias, group, layout, pad):
    return letters.new_empty(codes.shape[0])


@log_sum_words_backward.register_fake
def _(
    grad, codes, known, spans, mixed, letters, others, bias, group, layout, pad, wanted
):  # fmt: skip
    return tuple(
        t.new_empty(t.shape if yes else (0,))
        for t, yes in zip((letters, others, bias), wanted, strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, layout, pad = inputs
    ctx.fixed = layout, pad
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = [bool(needed) for needed in ctx.needs_input_grad[4:7]]
    made = log_sum_words_backward(
        grad.contiguous(), *ctx.saved_tensors, *ctx.fixed, wanted
    )
    gradients = [t if yes else None for t, yes in zip(made, wanted, strict=True)]
    return (*(None,) * 4, *gradients, None, None, None)


log_sum_words.register_autograd(_differentiate, setup_context=_save)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    grad, codes, _, _, _, *tables, layout, pad, ctx.wanted = inputs
    ctx.fixed = layout, pad
    ctx.save_for_backward(grad, codes, *tables)


def _differentiate_again(
    ctx: Any,
    *directions: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradient of Σ direction · gradient, in plain PyTorch."""
    grad, codes, letters, others, bias, group = ctx.saved_tensors
    needed = [ctx.needs_input_grad[i] for i in (0, 5, 6, 7)]
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (grad, letters, others, bias)]
        tables = leaves[1], leaves[2], leaves[3]
        log_sums = _in_torch(codes, *tables, group, *ctx.fixed)
        pairs = zip(leaves[1:], directions, ctx.wanted, strict=True)
        chosen = [(leaf, direction) for leaf, direction, yes in pairs if yes]
        first = torch.autograd.grad(
            log_sums,
            [leaf for leaf, _ in chosen],
            leaves[0],
            create_graph=True,
            materialize_grads=True,
        )
        terms = zip(first, chosen, strict=True)
        total = torch.stack([(g * direction).sum() for g, (_, direction) in terms])
        second = torch.autograd.grad(total.sum(), leaves, materialize_grads=True)
    made = [t if yes else None for t, yes in zip(second, needed, strict=True)]
    return (made[0], *(None,) * 4, *made[1:], *(None,) * 4)


log_sum_words_backward.register_autograd(
    _differentiate_again, setup_context=_save_backward
)


def _in_torch(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return what `log_sum_words` does, differentiable as often as one likes."""
    windows = scores_in_torch(codes, letters, others, layout, pad)
    if len(bias):
        rows = group if len(group) == len(codes) else group.new_zeros(len(codes))
        windows = windows + bias[rows]
    return logsumexp(windows, (1, 2))


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
    channels = len(filters[0])
    n_windows = seqs.shape[1] - dilation * (filters[0].shape[2] - 1)
    tables = None
    if n_windows > 0 and len(seqs):
        seqs = narrow(seqs)
        tables = Words.of(seqs, filters, embedding, pad, dilation)
    if tables is None:
        return _reference.log_sum_windows(
            seqs,
            filters,
            embedding,
            pad,
            dilation=dilation,
            bias=bias,
            log_bias=log_bias,
            group=group,
            hill=hill,
        )
    added = filters[0].new_zeros(0, n_windows, channels)
    if log_bias is not None:
        added = log_bias.transpose(1, 2)
    letters, others = tables.with_channel_bias(bias)
    if hill is not None:
        letters, others = scale_log(letters, hill), scale_log(others, hill)
        added = scale_log(added, hill)
    if group is None:
        group = seqs.new_zeros(1, dtype=torch.int64)
    sums: Tensor = direct(log_sum_words)(
        seqs,
        tables.known,
        tables.spans,
        tables.mixed,
        letters,
        others,
        added,
        group,
        tables.layout(),
        pad,
    )
    return sums


def log_sum(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Sum over scored windows; see the public function."""
    if windows.numel() == 0:
        return _reference.log_sum(windows, hill)
    power = windows.new_ones(()) if hill is None else hill.to(windows.dtype)
    sums: Tensor = log_sum_given(windows.flatten(1), power)
    return sums
