"""Sums over windows on the CPU: nothing is stored per window.

    1/K(S_i) = Σ_x Π_b E_b[w_b(x)] · e^{bias(x)},    E_b = exp(table_b)

with the words w_b(x) of window x in the blocks b of the filter (`_blocks`). The
exponentials are those of the tables, a few thousand; a window costs a look-up and a
product for each block, and none of its own. Tables are relative to their largest entry,
so a sum may be so small that terms were lost to underflow: such a probe is done again
with the logarithms. The backward pass repeats the products and adds their shares to the
gradients of the tables.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import logsumexp, scale_log
from pyprobound.kernels._numba import (
    Array,
    array_of,
    exp,
    inline,
    jit,
    run,
    stretches,
)
from pyprobound.kernels._operators import direct
from pyprobound.kernels._words import (
    CODES,
    LETTERS,
    Words,
    layouts,
    narrow,
    read_kind,
    words_for,
    write_words,
)
from pyprobound.kernels.log_sum_windows import _reference
from pyprobound.kernels.window_scores._numba import scores_in_torch

U = np.uint64
ZERO, ONE, TWO = U(0), U(1), U(2)
"""Indices are unsigned throughout; see `read_kind`."""


# == one probe ========================================================================


@inline
def _multiply(words, at, bases, table, n_words, channels, first, last, p):
    """Write the product of a probe's factors for each window and channel.

    Args:
        words: Words of letters,
        at: those of the probe from here on.
        bases: (blocks,) where the words of each block begin.
        table: (blocks · words · C,) factors.
        n_words: Words of a table.
        channels: C.
        first: The first window.
        last: The one after the last window.
        p: (windows · C,), written from first to last.
    """
    step = n_words * channels
    for block in range(U(bases.shape[0])):
        entries, base = block * step, at + bases[block]
        if channels == TWO:  # a loop over two channels would take longer than they do
            for x in range(first, last):
                entry = entries + TWO * words[base + x]
                one, other = table[entry], table[entry + ONE]
                if block > ZERO:
                    one, other = one * p[TWO * x], other * p[TWO * x + ONE]
                p[TWO * x], p[TWO * x + ONE] = one, other
            continue
        for x in range(first, last):
            entry = entries + channels * words[base + x]
            for c in range(channels):
                factor = table[entry + c]
                i = x * channels + c
                p[i] = factor if block == ZERO else p[i] * factor


@inline
def _multiply_two(words, at, bases, table, n_words, first, last, keep, p):
    """Return the sum of the products of two blocks and channels: the common case.

    Args:
        words: As in `_multiply`, and so are all others but one.
        at: Where the words of the probe begin.
        bases: Where those of each block begin.
        table: Factors.
        n_words: Words of a table.
        first: The first window.
        last: The one after the last window.
        keep: Whether to write p; what is not written stays in registers.
        p: (windows · 2,).
    """
    base, next_base = at + bases[ZERO], at + bases[ONE]
    forward = reverse = table.dtype.type(0)
    for x in range(first, last):
        i, j = TWO * words[base + x], TWO * (n_words + words[next_base + x])
        one, other = table[i] * table[j], table[i + ONE] * table[j + ONE]
        if keep:
            p[TWO * x], p[TWO * x + ONE] = one, other
        forward += one
        reverse += other
    return forward + reverse


@inline
def _scatter(words, at, bases, n_words, channels, first, last, scale, p, table):
    """Add scale · p of a probe's windows to the entries that they came from."""
    n_blocks, step = U(bases.shape[0]), n_words * channels
    if channels == TWO and n_blocks == TWO:
        base, next_base = at + bases[ZERO], at + bases[ONE]
        for x in range(first, last):
            i, j = TWO * words[base + x], TWO * (n_words + words[next_base + x])
            forward, reverse = scale * p[TWO * x], scale * p[TWO * x + ONE]
            table[i] += forward
            table[i + ONE] += reverse
            table[j] += forward
            table[j + ONE] += reverse
        return
    for block in range(n_blocks):
        entries, base = block * step, at + bases[block]
        if channels == TWO:
            for x in range(first, last):
                entry = entries + TWO * words[base + x]
                table[entry] += scale * p[TWO * x]
                table[entry + ONE] += scale * p[TWO * x + ONE]
            continue
        for x in range(first, last):
            entry = entries + channels * words[base + x]
            for c in range(channels):
                table[entry + c] += scale * p[x * channels + c]


@inline
def _log_fractions(
    words, at, bases, table, n_words, channels, bias, g, first, last, p
):  # fmt: skip
    """Return the log sum of a probe from tables of logarithms, and its terms in p.

    The terms are written as fractions of the sum.
    """
    n_blocks, step = U(bases.shape[0]), n_words * channels
    top = -np.inf
    for x in range(first, last):
        for c in range(channels):
            i = x * channels + c
            score = 0.0
            for block in range(n_blocks):
                word = words[at + bases[block] + x]
                score += table[block * step + channels * word + c]
            if len(bias):
                score += bias[g, i]
            p[i] = score
            top = max(top, score)
    if top == -np.inf:
        return top, 1.0
    total = 0.0
    for i in range(first * channels, last * channels):
        p[i] = math.exp(p[i] - top)
        total += p[i]
    return top + math.log(total), total


# == a stretch of probes ==============================================================


@inline
def terms_of(
    words, at, bases, n_words, factors, logs, shift, channels, trust,
    bias_factors, bias_logs, g, first, last, keep, p,
):  # fmt: skip
    """Return the log sum of a probe and the sum of its terms, which are kept in p."""
    if channels == TWO and len(bases) == 2 and not len(bias_factors):
        total = _multiply_two(words, at, bases, factors, n_words, first, last, keep, p)
    else:
        _multiply(words, at, bases, factors, n_words, channels, first, last, p)
        total = p.dtype.type(0)
        if len(bias_factors):
            for i in range(first * channels, last * channels):
                p[i] *= bias_factors[g, i]
        for i in range(first * channels, last * channels):
            total += p[i]
    if total >= trust:
        return math.log(total) + shift, float(total)
    return _log_fractions(
        words, at, bases, logs, n_words, channels, bias_logs, g, first, last, p
    )


@jit
def _forward(
    codes, known, wanted, n_letters, n_codes, pad, reach, n_symbols, shapes, bases,
    n_words, channels, factors, logs, shift, trust, bias_factors, bias_logs,
    group, out,
):  # fmt: skip
    """Write the log sums of the probes that are read with these tables.

    Args:
        codes: (probes, length).
        known: (probes, words), if all probes are whole and their words known; else
            (0, 0).
        wanted: Only probes of this kind.
        n_letters: The codes below are letters.
        n_codes: The codes below are known.
        pad: Code of padding.
        reach: Letters from the first to the last that a window reads.
        n_symbols: What words are made of.
        shapes: (shapes, width), their letters.
        bases: (blocks,), where the words of each block begin.
        n_words: Words of a table.
        channels: C.
        factors: (blocks · words · C,), relative to the largest of each table.
        logs: Their logarithms.
        shift: Sum of the logarithms of the largest, also of the bias.
        trust: The least sum of products that underflow cannot have spoilt.
        bias_factors: (groups, windows · C); no group if there is no bias.
        bias_logs: Their logarithms.
        group: (probes,) rows of the bias.
        out: (probes,), written.
    """
    length = U(codes.shape[1])
    n_windows = length + ONE - reach
    p = np.empty(n_windows * channels, factors.dtype)
    ready, step = known.reshape(-1), U(known.shape[1])
    for n in range(U(known.shape[0])):
        out[n], _ = terms_of(
            ready, n * step, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], ZERO, n_windows, False, p,
        )  # fmt: skip
    words, paired = words_for(shapes, length)
    for n in range(U(known.shape[0]), U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        if kind != wanted:
            continue
        if end < first + reach:
            out[n] = -np.inf
            continue
        write_words(codes, n, n_symbols, shapes, paired, words)
        out[n], _ = terms_of(
            words, ZERO, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], first, end + ONE - reach, False, p,
        )  # fmt: skip


@inline
def _add_gradient(
    words, at, bases, n_words, channels, log_sum, total, share, g, first, last, p,
    to_table, to_bias,
):  # fmt: skip
    """Add the gradient of one probe, whose terms are in p."""
    if log_sum == -np.inf:
        return
    scale = p.dtype.type(share / total)
    if len(to_table):
        _scatter(words, at, bases, n_words, channels, first, last, scale, p, to_table)
    if len(to_bias):
        for i in range(first * channels, last * channels):
            to_bias[g, i] += scale * p[i]


@jit
def _backward(
    codes, known, wanted, n_letters, n_codes, pad, reach, n_symbols, shapes, bases,
    n_words, channels, factors, logs, shift, trust, bias_factors, bias_logs,
    group, grad, to_table, to_bias,
):  # fmt: skip
    """Add the gradients of the tables and of the bias, where they are wanted.

    Args:
        codes: As in `_forward`, and all others but these.
        grad: (probes,) of the log sums.
        to_table: Gradient of the tables, flat; empty if not wanted.
        to_bias: (groups, windows · C).
    """
    length = U(codes.shape[1])
    n_windows = length + ONE - reach
    p = np.empty(n_windows * channels, factors.dtype)
    ready, step = known.reshape(-1), U(known.shape[1])
    for n in range(U(known.shape[0])):
        if grad[n] == 0:
            continue
        log_sum, total = terms_of(
            ready, n * step, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], ZERO, n_windows, True, p,
        )  # fmt: skip
        _add_gradient(
            ready, n * step, bases, n_words, channels, log_sum, total, grad[n],
            group[n], ZERO, n_windows, p, to_table, to_bias,
        )  # fmt: skip
    words, paired = words_for(shapes, length)
    for n in range(U(known.shape[0]), U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        if kind != wanted or end < first + reach or grad[n] == 0:
            continue
        write_words(codes, n, n_symbols, shapes, paired, words)
        last = end + ONE - reach
        log_sum, total = terms_of(
            words, ZERO, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], first, last, True, p,
        )  # fmt: skip
        _add_gradient(
            words, ZERO, bases, n_words, channels, log_sum, total, grad[n],
            group[n], first, last, p, to_table, to_bias,
        )  # fmt: skip


# == the common case ==================================================================


@jit
def _forward_plain(words, bases, n_words, n_windows, factors, shift, trust, out, lost):
    """Do what `_forward` does for two blocks, both strands, known words and no bias.

    Nothing but the look-ups is left in the inner loop, which is twice as fast so.

    Args:
        words: (probes, words).
        bases: As in `_forward`, and all others but these.
        n_words: Words of a table.
        n_windows: Windows of a probe.
        factors: Tables.
        shift: Sum of the logarithms of the largest entries.
        trust: The least sum that underflow cannot have spoilt.
        out: (probes,), written where it has not.
        lost: (probes,), set where it has.
    """
    flat, step = words.reshape(-1), U(words.shape[1])
    first, second = bases[ZERO], bases[ONE]
    for n in range(U(out.shape[0])):
        at = n * step
        forward = reverse = factors.dtype.type(0)
        for x in range(n_windows):
            i, j = TWO * flat[at + first + x], TWO * (n_words + flat[at + second + x])
            forward += factors[i] * factors[j]
            reverse += factors[i + ONE] * factors[j + ONE]
        total = forward + reverse
        if total >= trust:
            out[n] = math.log(total) + shift
        else:
            lost[n] = True


@jit
def _backward_plain(
    words, bases, n_words, n_windows, factors, trust, grad, to_table, lost
):  # fmt: skip
    """Do what `_backward` does in the same case; skip what underflow has spoilt."""
    flat, step = words.reshape(-1), U(words.shape[1])
    first, second = bases[ZERO], bases[ONE]
    p = np.empty(TWO * n_windows, factors.dtype)
    for n in range(U(grad.shape[0])):
        at = n * step
        forward = reverse = factors.dtype.type(0)
        for x in range(n_windows):
            i, j = TWO * flat[at + first + x], TWO * (n_words + flat[at + second + x])
            one, other = factors[i] * factors[j], factors[i + ONE] * factors[j + ONE]
            p[TWO * x], p[TWO * x + ONE] = one, other
            forward += one
            reverse += other
        total = forward + reverse
        if total < trust:
            lost[n] = True
            continue
        scale = grad[n] / total
        for x in range(n_windows):
            i, j = TWO * flat[at + first + x], TWO * (n_words + flat[at + second + x])
            one, other = scale * p[TWO * x], scale * p[TWO * x + ONE]
            to_table[i] += one
            to_table[i + ONE] += other
            to_table[j] += one
            to_table[j + ONE] += other


# == operators ========================================================================


def _trust(dtype: np.dtype[Any], n_terms: int, n_factors: int) -> float:
    """Return the least sum of products that underflow cannot have spoilt.

    A term has no factor above 1. Each factor and each product may have been flushed to
    zero below `tiny`, so a term is off by at most 2·factors·tiny. The sum is right to
    its rounding if that is below eps·total, and its inverse, which the gradient needs,
    is finite if the total is at least sqrt(tiny).
    """
    limits = np.finfo(dtype)
    tiny, eps = float(limits.tiny), float(limits.eps)
    return max(math.sqrt(tiny), 2 * n_factors * n_terms * tiny / eps)


def _relative(logs: Array, axes: tuple[int, ...]) -> tuple[Array, float]:
    """Return exp(logs − top), with the largest over some axes, and Σ top."""
    top = logs.max(axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0.0, top).astype(np.float64)
    factors = np.exp(logs.astype(np.float64) - top).astype(logs.dtype)
    return factors, float(top.sum())


class Prepared(NamedTuple):
    """Arguments of `_forward` and `_backward` that are the same for all probes."""

    wanted: int
    n_letters: int
    n_codes: int
    pad: int
    reach: Any
    n_symbols: Any
    shapes: Array
    bases: Array
    n_words: Any
    channels: Any
    factors: Array
    logs: Array
    shift: float
    trust: float
    bias_factors: Array
    bias_logs: Array

    @property
    def is_plain(self) -> bool:
        """Whether `_forward_plain` may do the work, if words are known."""
        return len(self.bases) == TWO == self.channels and not len(self.bias_logs)


def prepare(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
) -> list[Prepared]:
    """Return the arguments for letters and, if there are any, for other codes."""
    length, channels = codes.shape[1], letters.shape[2]
    lays = layouts(layout)
    n_terms = bias.shape[1] * channels
    bias_logs = array_of(bias).reshape(len(bias), n_terms)
    bias_factors, bias_shift = _relative(bias_logs, (0, 1))
    made = []
    for kind, table in ((LETTERS, letters), (CODES, others)):
        if len(table) == 0:
            continue
        lay = lays[kind]
        logs = array_of(table)
        factors, shift = _relative(logs, (1, 2))
        made.append(
            Prepared(
                kind,
                lays[LETTERS].n_symbols,
                n_codes,
                pad,
                U(lay.reach),
                U(lay.n_symbols),
                lay.shapes,
                lay.bases(length),
                U(logs.shape[1]),
                U(channels),
                factors.reshape(-1),
                logs.reshape(-1),
                shift + bias_shift,
                _trust(bias_logs.dtype, n_terms, len(table) + 1),
                bias_factors,
                bias_logs,
            )
        )
    return made


NO_WORDS = np.empty((0, 0), np.uint16)


def _sum(
    codes: Array, words: Array, groups: Array, prepared: Sequence[Prepared], out: Array
) -> None:
    """Write the log sums of probes, with their words where they are known."""
    for fixed in prepared:

        def arguments(_: int, rows: slice, fixed: Prepared = fixed) -> tuple[Any, ...]:
            given = codes[rows], words[rows] if len(words) else words
            return *given, *fixed, groups[rows], out[rows]

        run(_forward, len(codes), arguments)


def _sum_plain(codes: Array, words: Array, fixed: Prepared, out: Array) -> None:
    """Do the same in the common case."""
    lost = np.zeros(len(codes), np.bool_)
    n_windows = U(codes.shape[1] + 1) - fixed.reach

    def arguments(_: int, rows: slice) -> tuple[Any, ...]:
        tables = fixed.bases, fixed.n_words, n_windows, fixed.factors, fixed.shift
        return words[rows], *tables, fixed.trust, out[rows], lost[rows]

    run(_forward_plain, len(codes), arguments)
    if lost.any():
        again = np.empty(np.count_nonzero(lost), out.dtype)
        _sum(codes[lost], NO_WORDS, np.zeros(len(again), U), [fixed], again)
        out[lost] = again


def _add_up(
    codes: Array,
    words: Array,
    groups: Array,
    prepared: Sequence[Prepared],
    grad: Array,
    to_tables: Sequence[Array],
    to_bias: Array,
) -> None:
    """Add the gradients of probes to those of the tables and of the bias."""
    for fixed in prepared:
        to_table = to_tables[fixed.wanted]

        def arguments(
            thread: int,
            rows: slice,
            fixed: Prepared = fixed,
            to_table: Array = to_table,
        ) -> tuple[Any, ...]:
            given = codes[rows], words[rows] if len(words) else words
            own = to_table[thread], to_bias[thread]
            return *given, *fixed, groups[rows], grad[rows], *own

        run(_backward, len(codes), arguments)


def _add_up_plain(
    codes: Array,
    words: Array,
    fixed: Prepared,
    grad: Array,
    to_tables: Sequence[Array],
    to_bias: Array,
) -> None:
    """Do the same in the common case."""
    lost = np.zeros(len(codes), np.bool_)
    n_windows = U(codes.shape[1] + 1) - fixed.reach

    def arguments(thread: int, rows: slice) -> tuple[Any, ...]:
        tables = fixed.bases, fixed.n_words, n_windows, fixed.factors, fixed.trust
        return words[rows], *tables, grad[rows], to_tables[LETTERS][thread], lost[rows]

    run(_backward_plain, len(codes), arguments)
    if lost.any():
        groups = np.zeros(np.count_nonzero(lost), U)
        rest = codes[lost], NO_WORDS, groups, [fixed], grad[lost]
        _add_up(*rest, to_tables, to_bias)


@torch.library.custom_op("pyprobound::log_sum_words", mutates_args=())
def log_sum_words(
    codes: Tensor,
    known: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
) -> Tensor:
    """Return the log sums (N,) of probes from tables of words.

    Args:
        codes: (N, L) of any integer type.
        known: The words (N, words) of letters as int16, or (0, 0).
        letters: Tables (blocks, words, C) of letters.
        others: Tables of all codes, or (0, 0, C).
        bias: (G, W, C), G = 0 for none.
        group: (N,) rows of the bias; anything of one row where G is at most 1.
        layout: From `Words.layout`.
        pad: Code of padding.
        n_codes: Number of codes.
    """
    out = letters.new_empty(len(codes))
    words = array_of(known).view(np.uint16)
    prepared = prepare(codes, letters, others, bias, layout, pad, n_codes)
    if len(words) and prepared[0].is_plain:
        _sum_plain(array_of(codes), words, prepared[0], array_of(out))
    else:
        groups = groups_of(group, len(codes))
        _sum(array_of(codes), words, groups, prepared, array_of(out))
    return out


@torch.library.custom_op("pyprobound::log_sum_words_backward", mutates_args=())
def log_sum_words_backward(
    grad: Tensor,
    codes: Tensor,
    known: Tensor,
    letters: Tensor,
    others: Tensor,
    bias: Tensor,
    group: Tensor,
    layout: Sequence[int],
    pad: int,
    n_codes: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of letters, others and bias, empty where not wanted.

    Args:
        grad: (N,) of the log sums.
        codes: As in `log_sum_words`, and all others but the last.
        wanted: Which of the three gradients are.
    """
    words, shares = array_of(known).view(np.uint16), array_of(grad)
    n_threads = len(stretches(len(codes)))
    # float64: what thousands of probes add up to is small beside single terms
    to_tables = [
        np.zeros((n_threads, t.numel() if yes else 0))
        for t, yes in zip((letters, others), wanted, strict=False)
    ]
    n_rows = len(bias) if wanted[2] else 0
    to_bias = np.zeros((n_threads, n_rows, bias.shape[1] * bias.shape[2]))
    sums = to_tables, to_bias
    prepared = prepare(codes, letters, others, bias, layout, pad, n_codes)
    if len(words) and prepared[0].is_plain and wanted[0]:
        _add_up_plain(array_of(codes), words, prepared[0], shares, *sums)
    else:
        groups = groups_of(group, len(codes))
        _add_up(array_of(codes), words, groups, prepared, shares, *sums)
    made = [
        torch.from_numpy(total.sum(0)).to(t.dtype).reshape(t.shape if yes else (0,))
        for total, t, yes in zip(
            (*to_tables, to_bias), (letters, others, bias), wanted, strict=True
        )
    ]
    return made[0], made[1], made[2]


def groups_of(group: Tensor, n_probes: int) -> Array:
    """Return the row of the bias of each probe."""
    if len(group) == n_probes:
        return array_of(group.long()).view(U)
    return np.zeros(n_probes, U)


@log_sum_words.register_fake
def _(codes, known, letters, others, bias, group, layout, pad, n_codes):
    return letters.new_empty(codes.shape[0])


@log_sum_words_backward.register_fake
def _(
    grad, codes, known, letters, others, bias, group, layout, pad, n_codes, wanted
):  # fmt: skip
    return tuple(
        t.new_empty(t.shape if yes else (0,))
        for t, yes in zip((letters, others, bias), wanted, strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    codes, known, letters, others, bias, group, *ctx.fixed = inputs
    ctx.save_for_backward(codes, known, letters, others, bias, group)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted = [bool(needed) for needed in ctx.needs_input_grad[2:5]]
    made = log_sum_words_backward(
        grad.contiguous(), *ctx.saved_tensors, *ctx.fixed, wanted
    )
    gradients = [t if yes else None for t, yes in zip(made, wanted, strict=True)]
    return (None, None, *gradients, None, None, None, None)


log_sum_words.register_autograd(_differentiate, setup_context=_save)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    grad, codes, _, letters, others, bias, group, *ctx.fixed, ctx.wanted = inputs
    ctx.save_for_backward(grad, codes, letters, others, bias, group)


def _differentiate_again(
    ctx: Any,
    *directions: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradient of Σ direction · gradient, in plain PyTorch."""
    grad, codes, letters, others, bias, group = ctx.saved_tensors
    needed = [ctx.needs_input_grad[i] for i in (0, 3, 4, 5)]
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (grad, letters, others, bias)]
        tables = leaves[1], leaves[2], leaves[3]
        log_sums = _in_torch(codes, *tables, group, *ctx.fixed[:2])
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
    return (made[0], None, None, *made[1:], None, None, None, None, None)


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
        letters,
        others,
        added,
        group,
        tables.layout(),
        pad,
        len(embedding),
    )
    return sums


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


def log_sum(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Sum over scored windows; see the public function."""
    if windows.numel() == 0:
        return _reference.log_sum(windows, hill)
    power = windows.new_ones(()) if hill is None else hill.to(windows.dtype)
    sums: Tensor = direct(log_sum_given)(windows.flatten(1), power)
    return sums
