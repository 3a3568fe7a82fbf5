"""Sums over windows as Triton kernels: scored and summed at once, nothing stored.

    forward     each lane keeps a running maximum m and Σ exp(score − m) of its windows;
                the lanes of a probe are joined at the end
    backward    windows are scored again; the share of a window in its probe's sum,
                exp(score − log sum) · gradient, is added up for the filters (see
                `kernels/_triton.py`) and for the position bias of the probe's group

The Hill coefficient is multiplied into weights and biases, once for all probes. Tables
without probes or windows, which leave nothing to launch, and those of more groups than
rows of programs can be launched go to the reference.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound._numerics import scale_log
from pyprobound.kernels._operators import differentiable
from pyprobound.kernels._triton import (
    MOST_GROUPS,
    OPTIONS,
    SCORED_LANES,
    WIDEST,
    Letters,
    Stretches,
    add_filter_gradient,
    add_to_log_sum,
    finite_or_zero,
    jit,
    log_sum_of_rows,
    moment,
    on_device,
    spell_out,
    stretch_of_program,
    summed_lanes,
    tile_width,
    window_score,
)
from pyprobound.kernels.log_sum_windows import _reference
from pyprobound.kernels.window_scores._reference import count_windows

__all__ = ["log_sum", "log_sum_windows"]


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
    n_windows = count_windows(seqs.shape[1], filters, dilation)
    n_groups = 1 if log_bias is None else len(log_bias)
    if n_windows == 0 or len(seqs) == 0 or n_groups > MOST_GROUPS:
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
    added = log_bias
    if bias is not None:
        by_channel = bias[None, :, None]
        added = (
            by_channel.expand(1, -1, n_windows)
            if log_bias is None
            else log_bias + by_channel
        )
    weights = list(filters)
    if hill is not None:
        weights = [scale_log(each, hill) for each in weights]
        added = None if added is None else scale_log(added, hill)
    sums: Tensor = _log_sum_windows(
        seqs, weights, embedding, pad, dilation, added, group
    )
    return sums


def log_sum(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Sum over scored windows; see the public function."""
    if windows.numel() == 0:
        return _reference.log_sum(windows, hill)
    sums: Tensor = _log_sum(windows, hill)
    return sums


# == windows scored and summed ========================================================


def _sums(
    codes: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    log_bias: Tensor | None,
    group: Tensor | None,
) -> Tensor:
    """Return the log sums (N,)."""
    codes = codes.contiguous()
    n_probes, length = codes.shape
    channels, _, size = filters[0].shape
    n_windows = length - dilation * (size - 1)
    table = spell_out(filters, embedding, pad)
    sums = filters[0].new_empty(n_probes)
    width = tile_width(n_windows, WIDEST)
    probes = SCORED_LANES // width
    with on_device(codes):
        _sum[(triton.cdiv(n_probes, probes),)](
            codes,
            table,
            # what is not there is not read: any address does
            sums if log_bias is None else log_bias.contiguous(),
            sums if group is None else group.contiguous(),
            sums,
            n_probes,
            length,
            n_windows,
            channels,
            len(embedding),
            size,
            len(filters) - 1,
            dilation,
            table.shape[1],
            BIASED=log_bias is not None,
            GROUPED=log_bias is not None and group is not None,
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    return sums


def _empty_sums(codes: Tensor, filters: Sequence[Tensor], *_: object) -> Tensor:
    return filters[0].new_empty(len(codes))


def _gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    codes: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    log_bias: Tensor | None,
    group: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of the filters and of the position bias."""
    (sums,) = results
    codes = codes.contiguous()
    n_probes, length = codes.shape
    channels, n_letters, size = filters[0].shape
    n_windows = length - dilation * (size - 1)
    for_filters, for_bias = wanted
    grouped = log_bias is not None and group is not None
    n_groups = len(log_bias) if log_bias is not None and for_bias else 1
    letters = Letters.of(embedding, grad.dtype)
    n_sums = letters.size(filters) if for_filters else 0
    n_bias_sums = n_windows if for_bias else 0
    stretches = Stretches.of(
        n_probes, codes.device, 8 * channels * (n_sums + n_bias_sums), group, n_groups
    )
    parts, bias_parts = (
        torch.zeros(
            (*stretches.grid, channels, n), dtype=torch.float64, device=codes.device
        )
        for n in (n_sums, n_bias_sums)
    )
    table = spell_out(filters, embedding, pad)
    width = tile_width(n_windows, WIDEST)
    with on_device(codes):
        _sum_gradient[stretches.grid](
            grad,
            sums,
            codes,
            table,
            letters.fractions,
            sums if log_bias is None else log_bias.contiguous(),
            sums if group is None else group.contiguous(),
            stretches.ends if stretches.order is None else stretches.order,
            stretches.ends,
            parts,
            bias_parts,
            length,
            n_windows,
            channels,
            len(embedding),
            n_letters,
            size,
            len(filters) - 1,
            dilation,
            table.shape[1],
            n_sums,
            BIASED=log_bias is not None,
            GROUPED=grouped,
            SORTED=stretches.order is not None,
            FOR_FILTERS=for_filters,
            FOR_BIAS=for_bias,
            PROBES=summed_lanes(letters.width) // width,
            WINDOWS=width,
            LETTERS=letters.width,
            **OPTIONS,
        )
    by_bias = bias_parts.sum(0).to(grad.dtype) if for_bias else None
    if not for_filters:
        return [*(None for _ in filters), by_bias]
    return [*letters.split(parts.sum((0, 1)), filters), by_bias]


def _sums_in_torch(
    codes: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    log_bias: Tensor | None,
    group: Tensor | None,
) -> Tensor:
    return _reference.log_sum_windows(
        codes,
        filters,
        embedding,
        pad,
        dilation=dilation,
        bias=None,
        log_bias=log_bias,
        group=group,
        hill=None,
    )


_log_sum_windows = differentiable(
    "triton_log_sum_windows",
    _sums,
    _gradients,
    empty=_empty_sums,
    reference=_sums_in_torch,
    leaves=["filters", "log_bias"],
)


# == windows that are stored ==========================================================


def _row_sums(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Return the log sums (N,) of scores (N, C, W)."""
    rows = windows.contiguous().flatten(1)
    sums = rows.new_empty(len(rows))
    width = tile_width(rows.shape[1], WIDEST)
    probes = SCORED_LANES // width
    with on_device(rows):
        _sum_rows[(triton.cdiv(len(rows), probes),)](
            rows,
            sums if hill is None else hill,
            sums,
            len(rows),
            rows.shape[1],
            SCALED=hill is not None,
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    return sums


def _empty_row_sums(windows: Tensor, hill: Tensor | None) -> Tensor:
    return windows.new_empty(len(windows))


def _row_gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    windows: Tensor,
    hill: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of the scores and of the Hill coefficient."""
    (sums,) = results
    rows = windows.contiguous().flatten(1)
    gradient = torch.empty_like(rows)
    width = tile_width(rows.shape[1], WIDEST)
    probes = SCORED_LANES // width
    with on_device(rows):
        _share_rows[(triton.cdiv(len(rows), probes),)](
            grad,
            sums,
            rows,
            sums if hill is None else hill,
            gradient,
            len(rows),
            rows.shape[1],
            SCALED=hill is not None,
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    by_hill = None
    if hill is not None and wanted[1]:
        # scores enter as h · score: Σ gradient · score = h · (gradient of h)
        by_hill = moment(gradient, rows) / hill
    return [gradient.view(windows.shape), by_hill]


_log_sum = differentiable(
    "triton_log_sum",
    _row_sums,
    _row_gradients,
    empty=_empty_row_sums,
    reference=_reference.log_sum,
    leaves=["windows", "hill"],
)


# == kernels ==========================================================================


@jit
def _sum(
    codes: tl.tensor,
    table: tl.tensor,
    log_bias: tl.tensor,
    group: tl.tensor,
    sums: tl.tensor,
    n_probes: tl.tensor,
    length: tl.tensor,
    n_windows: tl.tensor,
    channels: tl.tensor,
    n_codes: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
    table_size: tl.tensor,
    BIASED: tl.constexpr,
    GROUPED: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Sum over the windows of PROBES probes, WINDOWS neighbours at a time."""
    lane = tl.arange(0, PROBES * WINDOWS)
    first_probe = tl.program_id(0).to(tl.int64) * PROBES
    probe = first_probe + lane // WINDOWS
    known = probe < n_probes
    letters = codes + probe * length
    bias = log_bias + 0 * probe
    if GROUPED:
        own = tl.load(group + probe, mask=known, other=0).to(tl.int64)
        bias += own * channels * n_windows
    top = tl.full(lane.shape, float("-inf"), sums.dtype.element_ty)
    total = tl.zeros(lane.shape, sums.dtype.element_ty)
    for channel in range(channels):
        for start in range(0, n_windows, WINDOWS):
            x = start + lane % WINDOWS
            inside = known & (x < n_windows)
            score = window_score(
                letters + x,
                inside,
                table + channel * table_size,
                n_codes,
                size,
                distances,
                dilation,
            )
            if BIASED:
                score += tl.load(bias + channel * n_windows + x, mask=inside, other=0.0)
            score = tl.where(inside, score, float("-inf"))
            top, total = add_to_log_sum(top, total, score, 1.0)
    log_sum = log_sum_of_rows(
        tl.reshape(top, (PROBES, WINDOWS)), tl.reshape(total, (PROBES, WINDOWS))
    )
    row = first_probe + tl.arange(0, PROBES)
    tl.store(sums + row, log_sum, mask=row < n_probes)


@jit
def _sum_gradient(
    grad: tl.tensor,
    sums: tl.tensor,
    codes: tl.tensor,
    table: tl.tensor,
    fractions: tl.tensor,
    log_bias: tl.tensor,
    group: tl.tensor,
    order: tl.tensor,
    ends: tl.tensor,
    parts: tl.tensor,
    bias_parts: tl.tensor,
    length: tl.tensor,
    n_windows: tl.tensor,
    channels: tl.tensor,
    n_codes: tl.tensor,
    n_letters: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
    table_size: tl.tensor,
    n_sums: tl.tensor,
    BIASED: tl.constexpr,
    GROUPED: tl.constexpr,
    SORTED: tl.constexpr,
    FOR_FILTERS: tl.constexpr,
    FOR_BIAS: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
    LETTERS: tl.constexpr,
) -> None:
    """Add up gradients of filters and bias over this program's stretch of probes."""
    lane = tl.arange(0, PROBES * WINDOWS)
    first, stop = stretch_of_program(ends, 0)
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    part = parts + program.to(tl.int64) * channels * n_sums
    bias_part = bias_parts + program.to(tl.int64) * channels * n_windows
    for start_probe in range(first, stop, PROBES):
        probe = start_probe + lane // WINDOWS
        known = probe < stop
        if SORTED:
            probe = tl.load(order + probe, mask=known, other=0)
        letters = codes + probe * length
        bias = log_bias + 0 * probe
        if GROUPED:
            own = tl.load(group + probe, mask=known, other=0).to(tl.int64)
            bias += own * channels * n_windows
        log_sum = tl.load(sums + probe, mask=known, other=float("-inf"))
        weight = tl.load(grad + probe, mask=known, other=0.0)
        weight = tl.where(log_sum == float("-inf"), 0.0, weight)
        log_sum = finite_or_zero(log_sum)
        for channel in range(channels):
            for start in range(0, n_windows, WINDOWS):
                x = start + lane % WINDOWS
                inside = known & (x < n_windows)
                score = window_score(
                    letters + x,
                    inside,
                    table + channel * table_size,
                    n_codes,
                    size,
                    distances,
                    dilation,
                )
                if BIASED:
                    score += tl.load(
                        bias + channel * n_windows + x, mask=inside, other=0.0
                    )
                score = tl.where(inside, score - log_sum, float("-inf"))
                share = weight * tl.exp(score)
                if FOR_BIAS:
                    column = start + tl.arange(0, WINDOWS)
                    place = bias_part + channel * n_windows + column
                    within = column < n_windows
                    added = tl.sum(tl.reshape(share, (PROBES, WINDOWS)), 0)
                    before = tl.load(place, mask=within, other=0.0)
                    tl.store(place, before + added.to(tl.float64), mask=within)
                if FOR_FILTERS:
                    add_filter_gradient(
                        part + channel * n_sums,
                        letters + x,
                        inside,
                        share,
                        fractions,
                        n_letters,
                        size,
                        distances,
                        dilation,
                        LETTERS,
                    )


@jit
def _sum_rows(
    windows: tl.tensor,
    hill: tl.tensor,
    sums: tl.tensor,
    n_probes: tl.tensor,
    n_windows: tl.tensor,
    SCALED: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Sum over the scores of PROBES probes, WINDOWS of each at a time."""
    row = tl.program_id(0).to(tl.int64) * PROBES + tl.arange(0, PROBES)
    column = tl.arange(0, WINDOWS)
    top = tl.full((PROBES, WINDOWS), float("-inf"), sums.dtype.element_ty)
    total = tl.zeros((PROBES, WINDOWS), sums.dtype.element_ty)
    for start in range(0, n_windows, WINDOWS):
        x = start + column
        inside = (row < n_probes)[:, None] & (x < n_windows)[None, :]
        place = windows + row[:, None] * n_windows + x[None, :]
        score = tl.load(place, mask=inside, other=float("-inf"))
        if SCALED:
            score *= tl.load(hill)
        top, total = add_to_log_sum(top, total, score, 1.0)
    tl.store(sums + row, log_sum_of_rows(top, total), mask=row < n_probes)


@jit
def _share_rows(
    grad: tl.tensor,
    sums: tl.tensor,
    windows: tl.tensor,
    hill: tl.tensor,
    gradient: tl.tensor,
    n_probes: tl.tensor,
    n_windows: tl.tensor,
    SCALED: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Write the gradient of the scores of PROBES probes."""
    row = tl.program_id(0).to(tl.int64) * PROBES + tl.arange(0, PROBES)
    known = row < n_probes
    log_sum = tl.load(sums + row, mask=known, other=float("-inf"))
    weight = tl.load(grad + row, mask=known, other=0.0)
    weight = tl.where(log_sum == float("-inf"), 0.0, weight)
    log_sum = finite_or_zero(log_sum)
    scale = 1.0
    if SCALED:
        scale = tl.load(hill)
    for start in range(0, n_windows, WINDOWS):
        x = start + tl.arange(0, WINDOWS)
        inside = known[:, None] & (x < n_windows)[None, :]
        place = row[:, None] * n_windows + x[None, :]
        score = tl.load(windows + place, mask=inside, other=float("-inf"))
        share = tl.exp(score * scale - log_sum[:, None]) * (weight * scale)[:, None]
        tl.store(gradient + place, share, mask=inside)
