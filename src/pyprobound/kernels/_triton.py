"""What the Triton kernels share: tiles, tables, stretches.

A program takes a tile of probes × windows, one window to a lane, and walks along the
filter. Its score is a sum of weights looked up by code: all codes of one position lie
in one or two lines of the first cache, which serves a warp at once. (Words of several
letters, which save additions on a CPU, would spread each warp over many lines.)

Sums over probes are made without atomics. The probes of each group are cut into a fixed
number of stretches, a program adds up its own in float64, and PyTorch adds the
programs' sums: repeats agree bit by bit, on GPUs of every size. Nothing is stored per
window or pair; the backward pass scores the windows again.

The speed on a GPU has not been measured yet. Tile sizes and numbers of warps follow
from what is known of the hardware, as their comments say; the benchmark
`benchmarks/triton_kernels.py` compares the kernels with the reference on a GPU.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._backends import INTERPRET_VARIABLE

Kernel: TypeAlias = Any
"""A compiled kernel: Triton's carry no types."""

jit: Callable[[Callable[..., Any]], Kernel] = triton.jit
"""Compile a kernel when it is first launched; the result is kept on disk."""

OLDEST = (3, 2)
"""Triton that unrolls loops of unknown length as it is told to."""

if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
    raise ImportError(
        f"Triton {triton.__version__} is too old; the kernels need"
        f" {'.'.join(map(str, OLDEST))} or newer"
    )

OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
"""How kernels are compiled: with four warps a barrier costs little, and a core of the
GPU holds several programs that hide each other's waits. Products and sums may be
rounded together."""

SCORED_LANES = 256
"""Windows that a program scores at once: two to a thread, each with four loads under
way, in so few registers that eight programs fit a core."""

SUMMED = 2048
"""Products share · (fraction of a letter) that a program adds up at once: sixteen to a
thread, before threads have to add up among themselves; more take too many registers."""

WIDEST = 32
"""Neighbouring windows in a tile: a warp, which then reads neighbouring letters."""

PROGRAMS = 1024
"""Programs that share a sum over probes: about eight for each core of the largest GPUs.
It does not follow the GPU, so that neither do the last bits."""

PARTIAL_BYTES = 64 * 2**20
"""Memory for the sums of the programs; fewer programs share a sum that is large."""

LEAST_STRETCH = 64
"""Probes for which a program of its own is worth its start."""

MOST_GROUPS = 65535
"""Rows of programs that can be launched; the reference takes more groups than that."""

PADDING = 1.3
"""Tiles are as wide as they can be while this many times the lanes are enough."""


# == tiles, launches ==================================================================


@jit
def _write_one(place: tl.tensor) -> None:
    tl.store(place, 1.0)


if torch.cuda.is_available() and os.environ.get(INTERPRET_VARIABLE) != "1":
    # a compiler that does not work shows here, where the reference can still be chosen
    _write_one[(1,)](torch.zeros(1, device="cuda"), **OPTIONS)


def tile_width(n_columns: int, widest: int) -> int:
    """Return how many columns a tile covers: a power of two, up to `widest`.

    Wide tiles read neighbouring letters at once, but the last one sticks out. Columns
    of the next probe lie close by, so that narrow tiles lose little.
    """
    width = widest
    while width > 1 and -(-n_columns // width) * width > PADDING * n_columns:
        width //= 2
    return width


def summed_lanes(n_letters: int) -> int:
    """Return how many windows a program takes at once when it sums over them."""
    return min(512, max(128, SUMMED // n_letters))


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Return the context in which a kernel runs on the device of `tensor`."""
    if tensor.device.type == "cuda":
        return torch.cuda.device(tensor.device)
    return nullcontext()


def moment(gradient: Tensor, energies: Tensor) -> Tensor:
    """Return Σ gradient · energy over energies that are not −∞."""
    return (gradient * energies.masked_fill(energies == NEG_INF, 0.0)).sum()


# == filters as tables ================================================================


def spell_out(filters: Sequence[Tensor], embedding: Tensor, pad: int) -> Tensor:
    """Return the weight of every code and pair of codes, channel by channel.

    Args:
        filters: (C, A, k), then (C, A, A, k − d) for pairs at distance d.
        embedding: Fractions (n_codes, A).
        pad: The code that is never scored.

    Returns:
        Table (C, size): of each position the weights of the n_codes codes; then for
        d = 1, 2, … of each position those of n_codes² pairs. What has a part in a
        letter or pair of weight −∞ is −∞, and so is `pad`.
    """
    fractions = embedding.to(filters[0])
    products = (fractions[:, None, :, None] * fractions[:, None, :]).flatten(2)
    tables = []
    for distance, weights in enumerate(filters):
        rows = products.flatten(0, 1) if distance else fractions  # (codes, features)
        flat = weights.flatten(1, -2).transpose(1, 2)  # (C, positions, features)
        barred = flat == NEG_INF
        table = flat.masked_fill(barred, 0.0) @ rows.t()
        touched = barred.to(rows) @ (rows > 0).to(rows).t()
        table = table.masked_fill_(touched > 0, NEG_INF)
        if distance == 0:
            table[..., pad] = NEG_INF
        tables.append(table.flatten(1))
    return torch.cat(tables, 1).contiguous()


@dataclass(frozen=True)
class Letters:
    """The fractions of the letters, padded to a power of two for gradients.

    Attributes:
        fractions: (n_codes, width) with zeros beyond the letters.
        width: Columns.
    """

    fractions: Tensor
    width: int

    @classmethod
    def of(cls, embedding: Tensor, dtype: torch.dtype) -> "Letters":
        """Return the padded fractions of an embedding (n_codes, A)."""
        n_letters = embedding.shape[1]
        width = triton.next_power_of_2(n_letters)
        padded = torch.nn.functional.pad(embedding.to(dtype), (0, width - n_letters))
        return cls(padded.contiguous(), width)

    def split(self, gradient: Tensor, filters: Sequence[Tensor]) -> list[Tensor]:
        """Cut the gradient (C, size) of padded filters into those of the filters."""
        pieces, start = [], 0
        for distance, weights in enumerate(filters):
            channels, n_letters, *_, size = weights.shape
            axes = (self.width,) * (2 if distance else 1)
            stop = start + size * self.width ** len(axes)
            padded = gradient[:, start:stop].view(channels, size, *axes)
            real = padded[:, :, :n_letters]
            if distance:
                real = real[..., :n_letters]
            pieces.append(real.movedim(1, -1).to(weights.dtype).contiguous())
            start = stop
        return pieces

    def size(self, filters: Sequence[Tensor]) -> int:
        """Return the entries of the gradient of one channel of padded filters."""
        sizes = [weights.shape[-1] for weights in filters]
        return self.width * sizes[0] + self.width**2 * sum(sizes[1:])


# == stretches of probes ==============================================================


@dataclass(frozen=True)
class Stretches:
    """The probes, sorted by group, cut into stretches that share a group.

    Attributes:
        order: Index of each probe in the sorted order, (N,); None where there is one
            group, whose probes stay as they are.
        ends: Where each group starts, and the last one ends, (G + 1,).
        per_group: Stretches of each group.
    """

    order: Tensor | None
    ends: Tensor
    per_group: int

    @classmethod
    def of(
        cls,
        n_probes: int,
        device: torch.device,
        partial_bytes: int,
        group: Tensor | None = None,
        n_groups: int = 1,
    ) -> "Stretches":
        """Cut the probes so that there is room for a sum of each stretch.

        Args:
            n_probes: N.
            device: Where the probes lie.
            partial_bytes: Size of the sum of one stretch.
            group: Group of each probe (N,); None where all are in one.
            n_groups: G.
        """
        n_stretches = min(PROGRAMS, PARTIAL_BYTES // max(1, partial_bytes))
        n_stretches = min(n_stretches, n_probes // LEAST_STRETCH)
        per_group = max(1, n_stretches // n_groups)
        if group is None or n_groups == 1:
            ends = torch.tensor([0, n_probes], device=device)
            return cls(None, ends, per_group)
        counts = torch.bincount(group, minlength=n_groups)
        ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return cls(torch.argsort(group, stable=True), ends, per_group)

    @property
    def grid(self) -> tuple[int, int]:
        """The programs: stretches × groups."""
        return self.per_group, len(self.ends) - 1


@jit
def stretch_of_program(ends: tl.tensor, axis: tl.constexpr) -> tl.tensor:
    """Return where this program's stretch starts and stops, in the sorted order."""
    stretch = tl.program_id(axis).to(tl.int64)
    group = tl.program_id(axis + 1)
    n_stretches = tl.num_programs(axis)
    first = tl.load(ends + group)
    count = tl.load(ends + group + 1) - first
    start = first + count * stretch // n_stretches
    stop = first + count * (stretch + 1) // n_stretches
    return start, stop


# == scores and their gradients =======================================================


@jit
def window_score(
    first: tl.tensor,
    inside: tl.tensor,
    table: tl.tensor,
    n_codes: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
) -> tl.tensor:
    """Return the score of the window whose first letter is at `first`, lane by lane.

    Args:
        first: Addresses of codes.
        inside: Lanes that have a window; the others get any number.
        table: One channel of `spell_out`.
        n_codes: Codes of the alphabet.
        size: Positions of the filter.
        distances: The largest distance of pairs, 0 without.
        dilation: Distance between neighbouring positions.
    """
    score = tl.zeros(inside.shape, table.dtype.element_ty)
    for j in tl.range(0, size, loop_unroll_factor=4):
        code = tl.load(first + j * dilation, mask=inside, other=0).to(tl.int32)
        score += tl.load(table + j * n_codes + code)
    table += size * n_codes
    for distance in range(1, distances + 1):
        for j in tl.range(0, size - distance, loop_unroll_factor=4):
            left = tl.load(first + j, mask=inside, other=0).to(tl.int32)
            right = tl.load(first + j + distance, mask=inside, other=0).to(tl.int32)
            score += tl.load(table + (j * n_codes + left) * n_codes + right)
        table += (size - distance) * n_codes * n_codes
    return score


@jit
def add_filter_gradient(
    part: tl.tensor,
    first: tl.tensor,
    inside: tl.tensor,
    share: tl.tensor,
    fractions: tl.tensor,
    n_letters: tl.tensor,
    size: tl.tensor,
    distances: tl.tensor,
    dilation: tl.tensor,
    LETTERS: tl.constexpr,
) -> None:
    """Add Σ_lanes share · (fractions of letters and pairs) to this program's sums.

    Each sum has one owner, the program, which reads it, adds and writes it back. Its
    threads meet at a barrier when they sum over lanes, and so every write is done when
    the same sum is read the next time.

    Args:
        part: Sums of one channel, float64.
        first: Addresses of codes.
        inside: Lanes that have a window.
        share: Derivative by the score of the window; 0 in lanes without one.
        fractions: From `Letters`, and `LETTERS` its width.
        n_letters: Letters of the alphabet.
        size: Positions of the filter.
        distances: The largest distance of pairs, 0 without.
        dilation: Distance between neighbouring positions.
        LETTERS: The least power of two of at least `n_letters`.
    """
    letter = tl.arange(0, LETTERS)
    for j in range(size):
        code = tl.load(first + j * dilation, mask=inside, other=0).to(tl.int32)
        fraction = tl.load(fractions + code[:, None] * LETTERS + letter[None, :])
        total = tl.sum(share[:, None] * fraction, 0)
        place = part + j * LETTERS + letter
        tl.store(place, tl.load(place) + total.to(tl.float64))
    part += size * LETTERS
    for distance in range(1, distances + 1):
        for j in range(size - distance):
            left = tl.load(first + j, mask=inside, other=0).to(tl.int32)
            right = tl.load(first + j + distance, mask=inside, other=0).to(tl.int32)
            fraction = tl.load(fractions + right[:, None] * LETTERS + letter[None, :])
            for a in range(n_letters):
                share_of_a = share * tl.load(fractions + left * LETTERS + a)
                total = tl.sum(share_of_a[:, None] * fraction, 0)
                place = part + (j * LETTERS + a) * LETTERS + letter
                tl.store(place, tl.load(place) + total.to(tl.float64))
        part += (size - distance) * LETTERS * LETTERS


@jit
def finite_or_zero(value: tl.tensor) -> tl.tensor:
    """Return `value`, or 0 where it is −∞: what to subtract from values up to it."""
    return tl.where(value == float("-inf"), 0.0, value)


@jit
def add_to_log_sum(
    top: tl.tensor, total: tl.tensor, value: tl.tensor, count: tl.tensor
) -> tl.tensor:
    """Add count · exp(value) to total · exp(top), lane by lane.

    Returns:
        The larger of top and value, and the total relative to it. −∞ adds nothing.
    """
    higher = tl.maximum(top, value)
    base = finite_or_zero(higher)
    return higher, total * tl.exp(top - base) + count * tl.exp(value - base)


@jit
def log_sum_of_rows(top: tl.tensor, total: tl.tensor) -> tl.tensor:
    """Return log Σ total · exp(top) over the last axis; −∞ where nothing is there."""
    base = finite_or_zero(tl.max(top, 1))
    whole = tl.sum(total * tl.exp(top - base[:, None]), 1)
    absent = whole == 0
    return tl.where(absent, float("-inf"), base + tl.log(tl.where(absent, 1.0, whole)))
