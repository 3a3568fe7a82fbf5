"""Window scores on the CPU, from tables of words.

    score[n, c, x] = Σ_b table_b[w_b(x), c]

with the words w_b(x) of window x in the blocks b of the filter (`_blocks`): a look-up
and a sum for each block, instead of a product for each position. The gradient of an
entry is the sum of the gradients of the scores that it is part of.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._numba import (
    Array,
    array_of,
    inline,
    jit,
    run,
    stretches,
)
from pyprobound.kernels._operators import direct
from pyprobound.kernels._words import (
    CODES,
    LETTERS,
    Layout,
    Words,
    layouts,
    narrow,
    read_kind,
    words_for,
    write_words,
)
from pyprobound.kernels.window_scores import _reference
from pyprobound.kernels.window_scores._reference import soft_window_scores

U = np.uint64
ZERO, ONE, TWO = U(0), U(1), U(2)
"""Indices are unsigned throughout; see `read_kind`."""

__all__ = ["scores_in_torch", "soft_window_scores", "window_scores"]


# == a stretch of probes ==============================================================


@jit
def _forward(
    codes, wanted, n_letters, n_codes, pad, reach, n_symbols, shapes, bases,
    table, out,
):  # fmt: skip
    """Write the scores of the windows of the probes that are read with this table.

    Args:
        codes: (probes, length).
        wanted: Only probes of this kind.
        n_letters: The codes below are letters.
        n_codes: The codes below are known.
        pad: Code of padding.
        reach: Letters from the first to the last that a window reads.
        n_symbols: What words are made of.
        shapes: (shapes, width), their letters.
        bases: (blocks,), where the words of each block begin.
        table: (blocks, words, C).
        out: (probes, C, windows), written.
    """
    length = U(codes.shape[1])
    channels, n_windows = U(out.shape[1]), U(out.shape[2])
    words, paired = words_for(shapes, length)
    for n in range(U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        if kind != wanted:
            continue
        if end < first + reach:
            first, last = n_windows, n_windows
        else:
            last = end + ONE - reach
        for c in range(channels):
            for x in range(first):
                out[n, c, x] = -np.inf
            for x in range(last, n_windows):
                out[n, c, x] = -np.inf
        if first < last:
            write_words(codes, n, n_symbols, shapes, paired, words)
            _score(words, bases, table, first, last, n, out)


@inline
def _score(words, bases, table, first, last, n, out):
    """Write the scores of the windows of probe n, from first to last."""
    n_blocks, channels = U(bases.shape[0]), U(table.shape[2])
    # Both strands of two blocks at a time, in registers: the common case.
    if channels == TWO and n_blocks == TWO:
        base, next_base = bases[ZERO], bases[ONE]
        for x in range(first, last):
            i, j = words[base + x], words[next_base + x]
            out[n, ZERO, x] = table[ZERO, i, ZERO] + table[ONE, j, ZERO]
            out[n, ONE, x] = table[ZERO, i, ONE] + table[ONE, j, ONE]
        return
    for block in range(n_blocks):
        base = bases[block]
        for x in range(first, last):
            word = words[base + x]
            for c in range(channels):
                entry = table[block, word, c]
                out[n, c, x] = entry if block == ZERO else out[n, c, x] + entry


@jit
def _backward(
    codes, wanted, n_letters, n_codes, pad, reach, n_symbols, shapes, bases,
    table, grad, barred, to_table,
):  # fmt: skip
    """Add the gradient of the table.

    Args:
        codes: As in `_forward`, and all others but these.
        grad: (probes, C, windows) of the scores.
        barred: Whether an entry may be −∞, and with it some windows.
        to_table: Gradient of the table.
    """
    words, paired = words_for(shapes, U(codes.shape[1]))
    for n in range(U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        if kind == wanted and end >= first + reach:
            write_words(codes, n, n_symbols, shapes, paired, words)
            last = end + ONE - reach
            _spread(words, bases, table, first, last, n, grad, barred, to_table)


@inline
def _spread(words, bases, table, first, last, n, grad, barred, to_table):
    """Add the gradients of the windows of probe n to the entries they came from."""
    n_blocks, channels = U(bases.shape[0]), U(table.shape[2])
    if channels == TWO and n_blocks == TWO and not barred:
        base, next_base = bases[ZERO], bases[ONE]
        for x in range(first, last):
            i, j = words[base + x], words[next_base + x]
            forward, reverse = grad[n, ZERO, x], grad[n, ONE, x]
            to_table[ZERO, i, ZERO] += forward
            to_table[ZERO, i, ONE] += reverse
            to_table[ONE, j, ZERO] += forward
            to_table[ONE, j, ONE] += reverse
        return
    for c in range(channels):
        for x in range(first, last):
            if barred:
                absent = False
                for block in range(n_blocks):
                    absent |= table[block, words[bases[block] + x], c] == -np.inf
                if absent:
                    continue
            part = grad[n, c, x]
            for block in range(n_blocks):
                to_table[block, words[bases[block] + x], c] += part


# == operators ========================================================================


def _prepared(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
) -> list[tuple[Any, ...]]:
    """Return the arguments of compiled code for letters and, if any, for other codes.

    They are the same for all probes.
    """
    lays = layouts(layout)
    made = []
    for kind, table in ((LETTERS, letters), (CODES, others)):
        if len(table) == 0:
            continue
        lay = lays[kind]
        numbers = kind, lays[LETTERS].n_symbols, n_codes, pad, U(lay.reach)
        words = U(lay.n_symbols), lay.shapes, lay.bases(codes.shape[1])
        made.append((*numbers, *words, array_of(table)))
    return made


@torch.library.custom_op("pyprobound::score_words", mutates_args=())
def score_words(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
) -> Tensor:
    """Return the scores (N, C, W) of probes from tables of words.

    Args:
        codes: (N, L) of any integer type.
        letters: Tables (blocks, words, C) of letters.
        others: Tables of all codes, or (0, 0, C).
        layout: From `Words.layout`.
        pad: Code of padding.
        n_codes: Number of codes.
    """
    n_windows = codes.shape[1] - layout[1] + 1
    out = letters.new_empty(len(codes), letters.shape[2], n_windows)
    rows_of, scores = array_of(codes), array_of(out)
    for fixed in _prepared(codes, letters, others, layout, pad, n_codes):

        def arguments(
            _: int, rows: slice, fixed: tuple[Any, ...] = fixed
        ) -> tuple[Any, ...]:
            return rows_of[rows], *fixed, scores[rows]

        run(_forward, len(codes), arguments)
    return out


@torch.library.custom_op("pyprobound::score_words_backward", mutates_args=())
def score_words_backward(
    grad: Tensor,
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of letters and of others, empty where not wanted.

    Args:
        grad: (N, C, W) of the scores.
        codes: As in `score_words`, and all others but the last.
        wanted: Which of the two gradients are.
    """
    rows_of, parts = array_of(codes), array_of(grad)
    n_threads = len(stretches(len(codes)))
    sums = [
        np.zeros((n_threads, *(t.shape if yes else (0, *t.shape[1:]))))
        for t, yes in zip((letters, others), wanted, strict=True)
    ]
    for fixed in _prepared(codes, letters, others, layout, pad, n_codes):
        kind = fixed[0]
        if not wanted[kind]:
            continue
        # Codes may be padding, which is −∞ in their table.
        barred = kind == CODES or bool(torch.isneginf(letters).any())

        def arguments(
            thread: int,
            rows: slice,
            fixed: tuple[Any, ...] = (*fixed, barred),
            to_table: Array = sums[kind],
        ) -> tuple[Any, ...]:
            *given, is_barred = fixed
            return rows_of[rows], *given, parts[rows], is_barred, to_table[thread]

        run(_backward, len(codes), arguments)
    made = [
        torch.from_numpy(total.sum(0)).to(t.dtype).reshape(t.shape if yes else (0,))
        for total, t, yes in zip(sums, (letters, others), wanted, strict=True)
    ]
    return made[0], made[1]


@score_words.register_fake
def _(codes, letters, others, layout, pad, n_codes):
    n_windows = codes.shape[1] - layout[1] + 1
    return letters.new_empty(codes.shape[0], letters.shape[2], n_windows)


@score_words_backward.register_fake
def _(grad, codes, letters, others, layout, pad, n_codes, wanted):
    return tuple(
        t.new_empty(t.shape if yes else (0,))
        for t, yes in zip((letters, others), wanted, strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    codes, letters, others, *ctx.fixed = inputs
    ctx.save_for_backward(codes, letters, others)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = [bool(needed) for needed in ctx.needs_input_grad[1:3]]
    made = score_words_backward(
        grad.contiguous(), *ctx.saved_tensors, *ctx.fixed, wanted
    )
    gradients = [t if yes else None for t, yes in zip(made, wanted, strict=True)]
    return (None, *gradients, None, None, None)


score_words.register_autograd(_differentiate, setup_context=_save)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    _, codes, letters, others, *ctx.fixed, ctx.wanted = inputs
    ctx.save_for_backward(codes, letters, others)


def _differentiate_again(
    ctx: Any,
    *directions: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradient with respect to `grad`: the backward pass is linear in it."""
    codes, letters, others = ctx.saved_tensors
    tables = letters, others
    layout, pad = ctx.fixed[:2]
    chosen = [
        direction if yes else torch.zeros_like(table)
        for direction, table, yes in zip(directions, tables, ctx.wanted, strict=True)
    ]
    # A window that is −∞ has no gradient: its scores are −∞ in the tables too.
    windows = scores_in_torch(codes, letters, others, layout, pad)
    along = scores_in_torch(codes, chosen[0], chosen[1], layout, pad)
    along = along.masked_fill(windows == NEG_INF, 0.0)
    return along.transpose(1, 2), *(None,) * 7


score_words_backward.register_autograd(
    _differentiate_again, setup_context=_save_backward
)


def scores_in_torch(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the scores (N, W, C) of `score_words` in plain, differentiable PyTorch."""
    of_letters, of_codes = layouts(layout)
    codes = codes.long()
    is_letter = codes < of_letters.n_symbols
    # With the tables of letters: what is no letter makes all windows that touch it −∞.
    touched = _looked_up(is_letter.to(letters.dtype), of_letters)
    plain = _summed(torch.where(is_letter, codes, 0), letters, of_letters)
    plain = plain.masked_fill(~touched[..., None], NEG_INF)
    if len(others) == 0:
        return plain
    mixed = (~is_letter & (codes != pad)).any(1)
    return torch.where(mixed[:, None, None], _summed(codes, others, of_codes), plain)


def _looked_up(is_letter: Tensor, layout: Layout) -> Tensor:
    """Return which windows (N, W) touch letters only."""
    n_windows = is_letter.shape[1] - layout.reach + 1
    offsets = {
        int(place + offset)
        for shape, place in layout.places
        for offset in layout.shapes[shape]
    }
    columns = [is_letter[:, o : o + n_windows] for o in sorted(offsets)]
    return torch.stack(columns).amin(0) > 0


def _summed(codes: Tensor, tables: Tensor, layout: Layout) -> Tensor:
    """Return the sums (N, W, C) of table entries."""
    n_windows = codes.shape[1] - layout.reach + 1
    total: Tensor | None = None
    for (shape, place), table in zip(layout.places, tables, strict=True):
        word = torch.zeros_like(codes[:, :n_windows])
        for offset in layout.shapes[shape]:
            at = int(place + offset)
            word = word * layout.n_symbols + codes[:, at : at + n_windows]
        part = table[word]
        total = part if total is None else total + part
    assert total is not None  # there is at least one block
    return total


# == the kernel =======================================================================


def window_scores(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    bias: Tensor | None,
) -> Tensor:
    """Score all windows of sequences of codes; see the public function."""
    n_windows = seqs.shape[1] - dilation * (filters[0].shape[2] - 1)
    tables = None
    if n_windows > 0 and len(seqs):
        seqs = narrow(seqs)
        tables = Words.of(seqs, filters, embedding, pad, dilation)
    if tables is None:
        return _reference.window_scores(seqs, filters, embedding, pad, dilation, bias)
    letters, others = tables.with_channel_bias(bias)
    windows: Tensor = direct(score_words)(
        seqs, letters, others, tables.layout(), pad, len(embedding)
    )
    return windows
