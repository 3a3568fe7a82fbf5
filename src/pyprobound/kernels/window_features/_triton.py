"""Features of windows as Triton kernels: the entries of filters first, then columns.

    entry[c, a, j] = Σ_x w[c, x] · (fraction of a at x + j·dilation)

A lane takes one entry of one probe and walks along the windows: neighbouring lanes read
the same weights and letters. The entries of one distance lie in memory some probes at a
time, sorted by their column, so that a lane of the second kernel adds up those of a
column, in order. All sums are float64; repeats agree bit by bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound._chunking import chunk_length
from pyprobound.kernels._triton import OPTIONS, jit, on_device, tile_width

__all__ = ["window_features"]

LANES = 256
"""Lanes of a tile: two to a thread, whose loads are under way at once."""

WIDEST = 32
"""Entries of one probe in a tile: a warp, which then reads the same letters."""


def window_features(
    seqs: Tensor, places: Sequence[Tensor], embedding: Tensor, dilation: int
) -> Callable[[slice, Tensor, Tensor], None]:
    """Return what adds the features of a piece; see the public function."""
    codes = seqs.contiguous()
    known: dict[int, list[Sorting]] = {}

    def add(piece: slice, weights: Tensor, out: Tensor) -> None:
        own, weights = codes[piece], weights.contiguous()
        fractions = embedding.to(out.dtype).contiguous()
        n_columns = out.shape[1]
        if n_columns not in known:
            known[n_columns] = [Sorting.of(columns, n_columns) for columns in places]
        for distance, sorting in enumerate(known[n_columns]):
            bytes_per_probe = len(sorting.entries) * out.element_size()
            n_at_once = chunk_length(bytes_per_probe, out.device)
            for start in range(0, len(own), n_at_once):
                rows = slice(start, start + n_at_once)
                found = _entries(
                    own[rows], weights[rows], fractions, sorting, distance, dilation
                )
                _add(found, sorting, out[rows])

    return add


@dataclass(frozen=True)
class Sorting:
    """The entries of a filter sorted by their column.

    Attributes:
        entries: Which entry comes where, (entries,): its place in (C, features, k).
        begins: Where the entries of each column begin, and all end, (columns + 1,).
        size: k.
        n_features: Letters, or pairs.
    """

    entries: Tensor
    begins: Tensor
    size: int
    n_features: int

    @classmethod
    def of(cls, columns: Tensor, n_columns: int) -> "Sorting":
        """Sort the columns (C, A, k) or (C, A, A, k − d) of entries that have one."""
        flat = columns.flatten()
        counts = torch.bincount(flat[flat >= 0], minlength=n_columns)
        n_without = int((flat < 0).sum())
        return cls(
            torch.argsort(flat, stable=True)[n_without:],
            torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
            columns.shape[-1],
            columns[0, ..., 0].numel(),
        )


def _entries(
    seqs: Tensor,
    weights: Tensor,
    fractions: Tensor,
    sorting: Sorting,
    distance: int,
    dilation: int,
) -> Tensor:
    """Return the entries (n, entries) of some probes, sorted by their column."""
    n_probes, channels, n_windows = weights.shape
    n_entries = len(sorting.entries)
    found = fractions.new_empty(n_probes, n_entries)
    width = tile_width(n_entries, WIDEST)
    probes = LANES // width
    with on_device(found):
        _sum_windows[(triton.cdiv(n_probes, probes), triton.cdiv(n_entries, width))](
            seqs,
            weights,
            fractions,
            sorting.entries,
            found,
            n_probes,
            seqs.shape[1],
            channels,
            n_windows,
            n_entries,
            sorting.n_features,
            sorting.size,
            fractions.shape[1],
            distance,
            dilation,
            PAIRS=distance > 0,
            PROBES=probes,
            ENTRIES=width,
            **OPTIONS,
        )
    return found


def _add(entries: Tensor, sorting: Sorting, out: Tensor) -> None:
    """Add the entries (n, entries) to their columns (n, columns)."""
    n_probes, n_columns = out.shape
    width = tile_width(n_columns, WIDEST)
    probes = LANES // width
    with on_device(out):
        _sum_entries[(triton.cdiv(n_probes, probes), triton.cdiv(n_columns, width))](
            entries,
            sorting.begins,
            out,
            n_probes,
            n_columns,
            entries.shape[1],
            PROBES=probes,
            COLUMNS=width,
            **OPTIONS,
        )


# == kernels ==========================================================================


@jit
def _sum_windows(
    codes: tl.tensor,
    shares: tl.tensor,
    alphabet: tl.tensor,
    order: tl.tensor,
    entries: tl.tensor,
    n_probes: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    n_windows: tl.tensor,
    n_entries: tl.tensor,
    n_features: tl.tensor,
    size: tl.tensor,
    n_letters: tl.tensor,
    distance: tl.tensor,
    dilation: tl.tensor,
    PAIRS: tl.constexpr,
    PROBES: tl.constexpr,
    ENTRIES: tl.constexpr,
) -> None:
    """Write ENTRIES entries of PROBES probes."""
    lane = tl.arange(0, PROBES * ENTRIES)
    probe = tl.program_id(0).to(tl.int64) * PROBES + lane // ENTRIES
    place = tl.program_id(1) * ENTRIES + lane % ENTRIES
    inside = (probe < n_probes) & (place < n_entries)
    entry = tl.load(order + place, mask=inside, other=0).to(tl.int32)
    channel = entry // (n_features * size)
    feature = entry // size % n_features
    letter = codes + probe * length + entry % size * dilation
    share = shares + (probe * channels + channel) * n_windows
    first = alphabet + feature
    second = first
    if PAIRS:
        first = alphabet + feature // n_letters
        second = alphabet + feature % n_letters
    total = tl.zeros((PROBES * ENTRIES,), tl.float64)
    for x in tl.range(0, n_windows, loop_unroll_factor=4):
        weight = tl.load(share + x, mask=inside, other=0.0).to(tl.float64)
        code = tl.load(letter + x, mask=inside, other=0).to(tl.int32)
        part = tl.load(first + code * n_letters, mask=inside, other=0.0)
        if PAIRS:
            code = tl.load(letter + distance + x, mask=inside, other=0).to(tl.int32)
            part *= tl.load(second + code * n_letters, mask=inside, other=0.0)
        total += weight * part
    tl.store(entries + probe * n_entries + place, total, mask=inside)


@jit
def _sum_entries(
    entries: tl.tensor,
    ends: tl.tensor,
    out: tl.tensor,
    n_probes: tl.tensor,
    n_columns: tl.tensor,
    n_entries: tl.tensor,
    PROBES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Add up the entries of COLUMNS columns of PROBES probes."""
    lane = tl.arange(0, PROBES * COLUMNS)
    probe = tl.program_id(0).to(tl.int64) * PROBES + lane // COLUMNS
    column = tl.program_id(1) * COLUMNS + lane % COLUMNS
    inside = (probe < n_probes) & (column < n_columns)
    begin = tl.load(ends + column, mask=inside, other=0)
    count = tl.load(ends + column + 1, mask=inside, other=0) - begin
    place = out + probe * n_columns + column
    total = tl.load(place, mask=inside, other=0.0)
    entry = entries + probe * n_entries + begin
    for i in range(tl.max(count, 0)):
        total += tl.load(entry + i, mask=inside & (i < count), other=0.0)
    tl.store(place, total, mask=inside)
