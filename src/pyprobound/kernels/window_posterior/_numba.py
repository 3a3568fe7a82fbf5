"""The posterior over windows on the CPU: the terms of the sum over windows, kept.

They are made as `log_sum_windows` makes them, and divided by their sum.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import scale_log
from pyprobound.kernels._numba import array_of, jit, run
from pyprobound.kernels._words import Words, narrow, read_kind, words_for, write_words
from pyprobound.kernels.log_sum_windows._numba import (
    NO_WORDS,
    Prepared,
    groups_of,
    prepare,
    terms_of,
)
from pyprobound.kernels.window_posterior import _reference

U = np.uint64
ZERO, ONE, TWO = U(0), U(1), U(2)


@jit
def _posterior(
    codes, known, wanted, n_letters, n_codes, pad, reach, n_symbols, shapes, bases,
    n_words, channels, factors, logs, shift, trust, bias_factors, bias_logs,
    group, out,
):  # fmt: skip
    """Write the weights of the windows of probes that are read with these tables.

    Args:
        codes: As in the kernels of `log_sum_windows`, and all others but the last.
        out: (probes, windows · C), 0 where nothing is written.
    """
    length = U(codes.shape[1])
    n_windows = length + ONE - reach
    p = np.empty(n_windows * channels, factors.dtype)
    ready, step = known.reshape(-1), U(known.shape[1])
    for n in range(U(known.shape[0])):
        log_sum, total = terms_of(
            ready, n * step, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], ZERO, n_windows, True, p,
        )  # fmt: skip
        if log_sum > -np.inf:
            scale = p.dtype.type(1 / total)
            for i in range(n_windows * channels):
                out[n, i] = scale * p[i]
    words, paired = words_for(shapes, length)
    for n in range(U(known.shape[0]), U(codes.shape[0])):
        kind, first, end = read_kind(codes, n, n_letters, n_codes, pad)
        if kind != wanted or end < first + reach:
            continue
        write_words(codes, n, n_symbols, shapes, paired, words)
        last = end + ONE - reach
        log_sum, total = terms_of(
            words, ZERO, bases, n_words, factors, logs, shift, channels, trust,
            bias_factors, bias_logs, group[n], first, last, True, p,
        )  # fmt: skip
        if log_sum > -np.inf:
            scale = p.dtype.type(1 / total)
            for i in range(first * channels, last * channels):
                out[n, i] = scale * p[i]


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
    channels = len(filters[0])
    n_windows = seqs.shape[1] - dilation * (filters[0].shape[2] - 1)
    tables = None
    if n_windows > 0 and len(seqs):
        seqs = narrow(seqs)
        tables = Words.of(seqs, filters, embedding, pad, dilation)
    if tables is None:
        return _reference.window_posterior(
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
    fixed = prepare(seqs, letters, others, added, tables.layout(), pad, len(embedding))
    none = torch.empty(0)
    codes, words = array_of(seqs), array_of(tables.known).view(np.uint16)

    def weights_of(piece: slice) -> Tensor:
        own, own_words = codes[piece], words[piece] if len(words) else NO_WORDS
        groups = groups_of(none if group is None else group[piece], len(own))
        weights = np.zeros((len(own), n_windows * channels), added.numpy().dtype)
        for each in fixed:

            def arguments(
                _: int, rows: slice, each: Prepared = each
            ) -> tuple[Any, ...]:
                ready = own_words[rows] if len(own_words) else own_words
                return own[rows], ready, *each, groups[rows], weights[rows]

            run(_posterior, len(own), arguments)
        by_window = torch.from_numpy(weights).view(-1, n_windows, channels)
        return by_window.transpose(1, 2)

    return weights_of
