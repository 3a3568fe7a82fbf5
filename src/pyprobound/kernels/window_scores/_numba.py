"""Window scores on the CPU, from tables of words.

    score[n, c, x] = Σ_b table_b[w_b(x), c]

with the words w_b(x) of window x in the blocks b of the filter (`_blocks`): a look-up
and a sum for each block, instead of a product for each position. The gradient of an
entry is the sum of the gradients of the scores that it is part of.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._numba import Array, array_of, inline, jit, run, stretches
from pyprobound.kernels._numba_tables import (
    Tables,
    add_to_entries,
    entry_of,
    from_parts,
)
from pyprobound.kernels._operators import differentiable, direct
from pyprobound.kernels._vectors import entry, plus, set_entry
from pyprobound.kernels._words import (
    MIXED,
    TILE,
    ZERO,
    Layout,
    Reading,
    U,
    Words,
    layouts,
    narrow,
    readings,
    room_for,
    windows_of,
    words_of_tile,
)
from pyprobound.kernels.window_scores import _reference
from pyprobound.kernels.window_scores._reference import soft_window_scores

__all__ = ["scores_in_torch", "soft_window_scores", "window_scores"]


# == some probes ======================================================================


@inline
def _add_up(tables, words, at, part, first, last, p):
    """Write the sums of entries of a part of the channels of a probe.

    Args:
        tables: Logarithms.
        words: Words of some probes, flat.
        at: Where those of the probe begin.
        part: Which of the channels.
        first: The first window.
        last: The one after the last.
        p: (parts · windows · lanes,), written.
    """
    for x in range(first, last):
        i = entry_of(tables, words, at, part, 0, x)
        total = entry(tables.entries, i, tables.lanes)
        for block in range(1, len(tables.bases)):
            i = entry_of(tables, words, at, part, block, x)
            total = plus(total, entry(tables.entries, i, tables.lanes))
        set_entry(p, part * tables.n_windows + x, total)


@jit
def _forward(reading, tables, out):
    """Write the scores of all windows of some probes.

    Args:
        reading: The probes, and how they are read.
        tables: Logarithms.
        out: (n, C, windows), written.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    n_windows, n_lanes = tables.n_windows, U(len(tables.lanes))
    room, p = room_for(reading), np.empty(n_windows * U(out.shape[1]), out.dtype)
    n_probes = U(reading.codes.shape[0])
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            for part in range(tables.n_parts):
                at = (n - start) * step
                _add_up(tables, words, at, part, first, last, p)
                of_part = part * n_windows * n_lanes
                for lane in range(n_lanes):
                    own = out[n, part * n_lanes + lane]
                    for x in range(first, last):
                        own[x] = p[of_part + x * n_lanes + lane]
                    own[:first] = -np.inf
                    own[last:] = -np.inf


@jit
def _backward(reading, tables, grad, barred, to_entries):
    """Add the gradient of the tables.

    Args:
        reading: The probes, and how they are read.
        tables: Logarithms.
        grad: (n, C, windows) of the scores.
        barred: Whether an entry may be −∞, and with it some windows: they have none.
        to_entries: Gradient of entries, float64.
    """
    step = U(reading.shapes.shape[0] * reading.codes.shape[1])
    n_windows, n_lanes = tables.n_windows, U(len(tables.lanes))
    room, p = room_for(reading), np.empty(n_windows * U(grad.shape[1]), grad.dtype)
    n_probes, one = U(reading.codes.shape[0]), 1.0
    for start in range(ZERO, n_probes, U(TILE)):
        words = words_of_tile(reading, start, room)
        for n in range(start, min(start + U(TILE), n_probes)):
            first, last = windows_of(reading, n)
            for part in range(tables.n_parts):
                at, of_part = (n - start) * step, part * n_windows * n_lanes
                if barred:
                    _add_up(tables, words, at, part, first, last, p)
                for lane in range(n_lanes):
                    own = grad[n, part * n_lanes + lane]
                    for x in range(first, last):
                        i = of_part + x * n_lanes + lane
                        absent = barred and p[i] == -np.inf
                        p[i] = grad.dtype.type(0) if absent else own[x]
                add_to_entries(tables, words, at, part, first, last, one, p, to_entries)


# == operators ========================================================================


class _Task(NamedTuple):
    """The probes of a call that are read with the same tables.

    Attributes:
        kind: LETTERS or MIXED.
        rows: Their numbers; None if they are all.
        reading: How they are read.
        tables: Of the letters or codes.
    """

    kind: int
    rows: Array | None
    reading: Reading
    tables: Tables


def _tasks(
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
) -> list[_Task]:
    """Return what is to be done with tables of letters and, if any, of other codes."""
    tables, length = (array_of(letters), array_of(others)), codes.shape[1]
    return [
        _Task(kind, rows, reading, Tables.of(tables[kind], lay, length))
        for kind, rows, reading, lay in readings(codes, known, spans, mixed, layout)
    ]


def _scores(
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the scores (N, C, W) of probes from tables of words.

    Args:
        codes: (N, L) of any integer type.
        known: The words (N, words) of letters as int16, or (0, 0).
        spans: (N, 2) where the letters of each probe begin and end, or (0, 2).
        mixed: (M,) the probes that are read with the tables of all codes.
        letters: Tables (blocks, words, C) of letters.
        others: Tables of all codes, or (0, 0, C).
        layout: From `Words.layout`.
        pad: Code of padding.
    """
    n_windows = codes.shape[1] - layout[1] + 1
    out = letters.new_empty(len(codes), letters.shape[2], n_windows)
    scores = array_of(out)
    for task in _tasks(codes, known, spans, mixed, letters, others, layout):
        made = scores if task.rows is None else np.empty_like(scores[: len(task.rows)])

        def arguments(
            _: int, rows: slice, task: _Task = task, made: Array = made
        ) -> tuple[Any, ...]:
            return task.reading.at(rows), task.tables, made[rows]

        run(_forward, len(made), arguments)
        if task.rows is not None:
            scores[task.rows] = made
    return out


def _gradients(
    grad: Tensor,
    _: object,
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of letters and of others, None where not wanted."""
    parts = array_of(grad)
    made = [
        torch.zeros_like(table) if yes else None
        for table, yes in zip((letters, others), wanted, strict=True)
    ]
    for task in _tasks(codes, known, spans, mixed, letters, others, layout):
        table = (letters, others)[task.kind]
        if not wanted[task.kind]:
            continue
        shares = parts if task.rows is None else parts[task.rows]
        # Codes may be padding, which is −∞ in their table.
        barred = task.kind == MIXED or bool(torch.isneginf(letters).any())
        sums = np.zeros((len(stretches(len(shares))), table.numel()))

        def arguments(
            thread: int,
            rows: slice,
            task: _Task = task,
            shares: Array = shares,
            barred: bool = barred,
            sums: Array = sums,
        ) -> tuple[Any, ...]:
            given = task.reading.at(rows), task.tables, shares[rows]
            return *given, barred, sums[thread]

        run(_backward, len(shares), arguments)
        total = from_parts(sums.sum(0), tuple(table.shape))
        made[task.kind] = torch.from_numpy(total).to(table.dtype)
    return made


def _empty(codes: Tensor, *inputs: Any) -> Tensor:
    _, _, _, letters, _, layout, _ = inputs
    n_windows = codes.shape[1] - layout[1] + 1
    made: Tensor = letters.new_empty(codes.shape[0], letters.shape[2], n_windows)
    return made


def scores_in_torch(
    codes: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the scores (N, W, C) in plain, differentiable PyTorch."""
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


def _in_torch(
    codes: Tensor,
    known: Tensor,
    spans: Tensor,
    mixed: Tensor,
    letters: Tensor,
    others: Tensor,
    layout: Sequence[int],
    pad: int,
) -> Tensor:
    """Return the scores (N, C, W); a window that is −∞ has no gradient."""
    windows = scores_in_torch(codes, letters, others, layout, pad).transpose(1, 2)
    return windows.masked_fill(windows == NEG_INF, NEG_INF)


score_words = differentiable(
    "score_words",
    _scores,
    _gradients,
    empty=_empty,
    reference=_in_torch,
    leaves=["letters", "others"],
    keeps_results=False,
)

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
    read = seqs, tables.known, tables.spans, tables.mixed
    windows: Tensor = direct(score_words)(*read, letters, others, tables.layout(), pad)
    return windows
