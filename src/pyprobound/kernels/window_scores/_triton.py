"""Window scores as Triton kernels: one window per lane.

    forward    a sum of weights looked up by code, see `kernels/_triton.py`
    backward   each program sums  share · (fraction of the letter)  over its probes

Soft sequences go to the reference, whose matrix products suit a GPU. So does a table
without windows.
"""

from collections.abc import Sequence
from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound.kernels._operators import differentiable
from pyprobound.kernels._triton import (
    OPTIONS,
    SCORED_LANES,
    WIDEST,
    Letters,
    Stretches,
    add_filter_gradient,
    jit,
    on_device,
    spell_out,
    stretch_of_program,
    summed_lanes,
    tile_width,
    window_score,
)
from pyprobound.kernels.window_scores import _reference
from pyprobound.kernels.window_scores._reference import soft_window_scores

__all__ = ["soft_window_scores", "window_scores"]


def window_scores(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    bias: Tensor | None,
) -> Tensor:
    """Score all windows of sequences of codes; see the public function."""
    n_windows = _reference.count_windows(seqs.shape[1], filters, dilation)
    if n_windows == 0 or len(seqs) == 0:
        return _reference.window_scores(seqs, filters, embedding, pad, dilation, bias)
    scores: Tensor = _window_scores(seqs, list(filters), embedding, pad, dilation)
    return scores if bias is None else scores + bias[:, None]


# == the operator =====================================================================


def _scores(
    codes: Tensor, filters: Sequence[Tensor], embedding: Tensor, pad: int, dilation: int
) -> Tensor:
    """Return the scores (N, C, W) of windows, without a bias."""
    scores = _empty_scores(codes, filters, embedding, pad, dilation)
    codes = codes.contiguous()
    n_probes, channels, n_windows = scores.shape
    table = spell_out(filters, embedding, pad)
    width = tile_width(n_windows, WIDEST)
    probes = SCORED_LANES // width
    with on_device(codes):
        _score[(triton.cdiv(n_probes, probes),)](
            codes,
            table,
            scores,
            n_probes,
            codes.shape[1],
            n_windows,
            channels,
            len(embedding),
            filters[0].shape[2],
            len(filters) - 1,
            dilation,
            table.shape[1],
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    return scores


def _empty_scores(
    codes: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
) -> Tensor:
    channels, _, size = filters[0].shape
    n_windows = codes.shape[1] - dilation * (size - 1)
    return filters[0].new_empty((len(codes), channels, n_windows))


def _gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    codes: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Return the gradients of the filters."""
    (scores,) = results
    codes = codes.contiguous()
    n_probes, channels, n_windows = scores.shape
    letters = Letters.of(embedding, grad.dtype)
    n_sums = letters.size(filters)
    stretches = Stretches.of(n_probes, codes.device, 8 * channels * n_sums)
    parts = torch.zeros(
        (*stretches.grid, channels, n_sums), dtype=torch.float64, device=codes.device
    )
    width = tile_width(n_windows, WIDEST)
    with on_device(codes):
        _score_gradient[stretches.grid](
            grad,
            scores,
            codes,
            letters.fractions,
            stretches.ends,
            parts,
            codes.shape[1],
            n_windows,
            channels,
            embedding.shape[1],
            filters[0].shape[2],
            len(filters) - 1,
            dilation,
            n_sums,
            PROBES=summed_lanes(letters.width) // width,
            WINDOWS=width,
            LETTERS=letters.width,
            **OPTIONS,
        )
    return letters.split(parts.sum((0, 1)), filters)


_window_scores = differentiable(
    "triton_window_scores",
    _scores,
    _gradients,
    empty=_empty_scores,
    reference=partial(_reference.window_scores, bias=None),
    leaves=["filters"],
)


# == kernels ==========================================================================


@jit
def _score(
    codes: tl.tensor,
    table: tl.tensor,
    scores: tl.tensor,
    n_probes: tl.tensor,
    length: tl.tensor,
    n_windows: tl.tensor,
    channels: tl.tensor,
    n_codes: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
    table_size: tl.tensor,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Score all windows of PROBES probes, WINDOWS neighbours at a time."""
    lane = tl.arange(0, PROBES * WINDOWS)
    probe = tl.program_id(0).to(tl.int64) * PROBES + lane // WINDOWS
    letters = codes + probe * length
    results = scores + probe * channels * n_windows
    for channel in range(channels):
        for start in range(0, n_windows, WINDOWS):
            x = start + lane % WINDOWS
            inside = (probe < n_probes) & (x < n_windows)
            score = window_score(
                letters + x,
                inside,
                table + channel * table_size,
                n_codes,
                size,
                distances,
                dilation,
            )
            tl.store(results + channel * n_windows + x, score, mask=inside)


@jit
def _score_gradient(
    grad: tl.tensor,
    scores: tl.tensor,
    codes: tl.tensor,
    fractions: tl.tensor,
    ends: tl.tensor,
    parts: tl.tensor,
    length: tl.tensor,
    n_windows: tl.tensor,
    channels: tl.tensor,
    n_letters: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
    n_sums: tl.tensor,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
    LETTERS: tl.constexpr,
) -> None:
    """Add up the gradients of the filters over this program's stretch of probes."""
    lane = tl.arange(0, PROBES * WINDOWS)
    first, stop = stretch_of_program(ends, 0)
    part = parts + tl.program_id(0) * channels * n_sums
    for start_probe in range(first, stop, PROBES):
        probe = start_probe + lane // WINDOWS
        letters = codes + probe * length
        offset = probe * channels * n_windows
        for channel in range(channels):
            for start in range(0, n_windows, WINDOWS):
                x = start + lane % WINDOWS
                inside = (probe < stop) & (x < n_windows)
                place = offset + channel * n_windows + x
                share = tl.load(grad + place, mask=inside, other=0.0)
                score = tl.load(scores + place, mask=inside, other=float("-inf"))
                add_filter_gradient(
                    part + channel * n_sums,
                    letters + x,
                    inside,
                    tl.where(score == float("-inf"), 0.0, share),
                    fractions,
                    n_letters,
                    size,
                    distances,
                    dilation,
                    LETTERS,
                )
