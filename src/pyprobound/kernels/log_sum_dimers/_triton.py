"""Sums over pairs of windows as Triton kernels: in the log domain, no pair stored.

    log 1/K_ab(S_i) = log Σ_{p,q} exp( h · (a[i, p] + ω[p, q] + b[i, q]) )

A program takes a tile of probes × windows q, one to a lane, and walks over the windows
p twice: for the maximum m of a + ω, then for Σ exp(a + ω − m). So nothing underflows
whatever the range of the energies, at the price of one exponential per pair, of which a
GPU is not short. The lanes of a probe are joined at the end. Windows p that no window
of the tile can pair with (spacing limits) are left out.

The backward pass takes each pair's share exp(energy − log sum) three times, each time
so that every lane has a sum of its own, and nothing is stored per pair:

    of b[i, q]     lanes (i, q), over p
    of a[i, p]     the same with the modes swapped
    of ω[g, p, q]  lanes (p, q), over a stretch of the probes of group g

The gradient of h follows from them, as energies are linear in what they are gradients
of. A homodimer is a dimer of two equal modes. Tables without probes or windows, which
leave nothing to launch, and those of more groups than rows of programs can be launched
go to the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._operators import differentiable
from pyprobound.kernels._triton import (
    MOST_GROUPS,
    OPTIONS,
    Stretches,
    add_to_log_sum,
    finite_or_zero,
    jit,
    log_sum_of_rows,
    moment,
    on_device,
    stretch_of_program,
    tile_width,
)
from pyprobound.kernels.log_sum_dimers import _reference

__all__ = ["log_sum_dimers"]

LANES = 512
"""Lanes of a tile: four to a thread, so that an ω[p, q] that is read serves several
pairs, in so few registers that eight programs fit a core."""

WIDEST = 128
"""Windows q in a tile: more, and a program holds few probes to read an ω[p, q] for."""

SIDE = 32
"""Largest side of a tile of pairs (p, q): eight pairs to a thread."""

FLUSHED_AFTER = 256
"""Probes that a lane adds up in the type of the scores, before it does in float64."""


def log_sum_dimers(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Sum over all pairs of windows; see the public function."""
    nothing = windows_a.numel() == 0 or windows_b.numel() == 0
    if nothing or len(log_omega) > MOST_GROUPS:
        return _reference.log_sum_dimers(windows_a, windows_b, log_omega, group, hill)
    sums: Tensor = _log_sum_dimers(windows_a, windows_b, log_omega, group, hill)
    return sums


@dataclass(frozen=True)
class Scores:
    """What the kernels read, flattened over strands: p is of one mode, q of the other.

    Attributes:
        a: (N, P).
        b: (N, Q).
        log_omega: (G, P, Q).
        group: (N,), or anything where G is 1.
        hill: The Hill coefficient; anything without.
        grouped: Whether there is a group.
        scaled: Whether there is a Hill coefficient.
    """

    a: Tensor
    b: Tensor
    log_omega: Tensor
    group: Tensor
    hill: Tensor
    grouped: bool
    scaled: bool

    @classmethod
    def of(
        cls,
        windows_a: Tensor,
        windows_b: Tensor,
        log_omega: Tensor,
        group: Tensor | None,
        hill: Tensor | None,
    ) -> "Scores":
        """Flatten the arguments of the public function."""
        omega = log_omega.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return cls(
            windows_a.contiguous().flatten(1),
            windows_b.contiguous().flatten(1),
            omega.contiguous(),
            omega if group is None else group.contiguous(),
            omega if hill is None else hill,
            group is not None,
            hill is not None,
        )

    @property
    def swapped(self) -> "Scores":
        """The same with the modes exchanged."""
        omega = self.log_omega.transpose(1, 2).contiguous()
        more = (self.group, self.hill, self.grouped, self.scaled)
        return Scores(self.b, self.a, omega, *more)

    def partners(self, width: int) -> tuple[Tensor, Tensor]:
        """List the windows p with a finite ω for some q of each tile of `width`.

        Returns:
            How many there are for each tile, (tiles,), and they, (tiles, P).
        """
        _, n_a, n_b = self.log_omega.shape
        allowed = (self.log_omega > NEG_INF).any(0)
        allowed = torch.nn.functional.pad(allowed, (0, -n_b % width))
        allowed = allowed.view(n_a, -1, width).any(2).t()
        first = torch.argsort(~allowed, dim=1, stable=True)
        return allowed.sum(1).int(), first.int().contiguous()


# == the operator =====================================================================


def _sums(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Return the log sums (N,)."""
    scores = Scores.of(windows_a, windows_b, log_omega, group, hill)
    n_probes, n_b = scores.b.shape
    sums = scores.b.new_empty(n_probes)
    width = tile_width(n_b, WIDEST)
    probes = LANES // width
    with on_device(sums):
        _sum_pairs[(triton.cdiv(n_probes, probes),)](
            scores.a,
            scores.b,
            scores.log_omega,
            scores.group,
            scores.hill,
            *scores.partners(width),
            sums,
            n_probes,
            scores.a.shape[1],
            n_b,
            GROUPED=scores.grouped,
            SCALED=scores.scaled,
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    return sums


def _empty_sums(windows_a: Tensor, *_: object) -> Tensor:
    return windows_a.new_empty(len(windows_a))


def _gradients(
    grad: Tensor,
    results: Sequence[Tensor],
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of both modes' windows, of ω and of h."""
    (sums,) = results
    scores = Scores.of(windows_a, windows_b, log_omega, group, hill)
    for_hill = hill is not None and wanted[3]
    for_a, for_b, for_omega = (each or for_hill for each in wanted[:3])
    nothing = grad.new_zeros(())
    by_a = _window_gradient(grad, sums, scores.swapped) if for_a else nothing
    by_b = _window_gradient(grad, sums, scores) if for_b else nothing
    by_omega = _omega_gradient(grad, sums, scores, log_omega) if for_omega else nothing
    by_hill = None
    if hill is not None and for_hill:
        # energies enter as h · energy: Σ gradient · energy = h · (gradient of h)
        of_pairs = moment(by_omega, log_omega)
        by_hill = (moment(by_a, scores.a) + moment(by_b, scores.b) + of_pairs) / hill
    return [
        by_a.view(windows_a.shape) if for_a else None,
        by_b.view(windows_b.shape) if for_b else None,
        by_omega,
        by_hill,
    ]


def _window_gradient(grad: Tensor, sums: Tensor, scores: Scores) -> Tensor:
    """Return the gradient (N, Q) of b."""
    n_probes, n_b = scores.b.shape
    gradient = torch.empty_like(scores.b)
    width = tile_width(n_b, WIDEST)
    probes = LANES // width
    with on_device(sums):
        _share_pairs[(triton.cdiv(n_probes, probes), triton.cdiv(n_b, width))](
            grad,
            sums,
            scores.a,
            scores.b,
            scores.log_omega,
            scores.group,
            scores.hill,
            *scores.partners(width),
            gradient,
            n_probes,
            scores.a.shape[1],
            n_b,
            GROUPED=scores.grouped,
            SCALED=scores.scaled,
            PROBES=probes,
            WINDOWS=width,
            **OPTIONS,
        )
    return gradient


def _omega_gradient(
    grad: Tensor, sums: Tensor, scores: Scores, log_omega: Tensor
) -> Tensor:
    """Return the gradient of ω, in the shape of `log_omega`."""
    n_probes = len(grad)
    n_groups, n_a, n_b = scores.log_omega.shape
    stretches = Stretches.of(
        n_probes,
        grad.device,
        8 * n_a * n_b,
        scores.group if scores.grouped else None,
        n_groups,
    )
    parts = torch.empty(
        (*stretches.grid, n_a, n_b), dtype=torch.float64, device=grad.device
    )
    side_a, side_b = tile_width(n_a, SIDE), tile_width(n_b, SIDE)
    tiles = triton.cdiv(n_a, side_a) * triton.cdiv(n_b, side_b)
    with on_device(sums):
        _sum_shares[(tiles, *stretches.grid)](
            grad,
            sums,
            scores.a,
            scores.b,
            scores.log_omega,
            scores.hill,
            stretches.ends if stretches.order is None else stretches.order,
            stretches.ends,
            parts,
            n_a,
            n_b,
            SCALED=scores.scaled,
            SORTED=stretches.order is not None,
            WINDOWS_A=side_a,
            WINDOWS_B=side_b,
            FLUSHED=FLUSHED_AFTER,
            **OPTIONS,
        )
    _, strands_a, strands_b, windows_a, windows_b = log_omega.shape
    gradient = parts.sum(0).to(grad.dtype)
    gradient = gradient.view(n_groups, strands_a, windows_a, strands_b, windows_b)
    return gradient.transpose(2, 3).contiguous()


_log_sum_dimers = differentiable(
    "triton_log_sum_dimers",
    _sums,
    _gradients,
    empty=_empty_sums,
    reference=_reference.log_sum_dimers,
    leaves=["windows_a", "windows_b", "log_omega", "hill"],
)


# == kernels ==========================================================================


@jit
def _weights(
    omega: tl.tensor,
    p: tl.tensor,
    q: tl.tensor,
    inside: tl.tensor,
    n_b: tl.tensor,
    GROUPED: tl.constexpr,
) -> tl.tensor:
    """Return ω[p, q] for probes × windows q: one row for all, unless there are groups.

    `omega` is where the ω of each probe's group starts, or that of the only group.
    """
    if GROUPED:
        place = omega[:, None] + p * n_b + q[None, :]
        weight = tl.load(place, mask=inside, other=float("-inf"))
    else:
        row = tl.load(omega + p * n_b + q, mask=q < n_b, other=float("-inf"))
        weight = row[None, :]
    return weight


@jit
def _sum_pairs(
    a: tl.tensor,
    b: tl.tensor,
    log_omega: tl.tensor,
    group: tl.tensor,
    hill: tl.tensor,
    n_partners: tl.tensor,
    partners: tl.tensor,
    sums: tl.tensor,
    n_probes: tl.tensor,
    n_a: tl.tensor,
    n_b: tl.tensor,
    GROUPED: tl.constexpr,
    SCALED: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Sum over the pairs of PROBES probes."""
    row = tl.program_id(0).to(tl.int64) * PROBES + tl.arange(0, PROBES)
    known = row < n_probes
    scale = 1.0
    if SCALED:
        scale = tl.load(hill)
    rows_a = a + row * n_a
    omega = log_omega
    if GROUPED:
        own = tl.load(group + row, mask=known, other=0).to(tl.int64)
        omega = log_omega + own * n_a * n_b
    top = tl.full((PROBES, WINDOWS), float("-inf"), sums.dtype.element_ty)
    total = tl.zeros((PROBES, WINDOWS), sums.dtype.element_ty)
    for start in range(0, n_b, WINDOWS):
        q = start + tl.arange(0, WINDOWS)
        within = q < n_b
        inside = known[:, None] & within[None, :]
        place = b + row[:, None] * n_b + q[None, :]
        score = scale * tl.load(place, mask=inside, other=float("-inf"))
        tile = start // WINDOWS
        count = tl.load(n_partners + tile)
        # scaled when the maximum is known: h is positive
        best = tl.full((PROBES, WINDOWS), float("-inf"), sums.dtype.element_ty)
        for i in tl.range(0, count, loop_unroll_factor=4):
            p = tl.load(partners + tile * n_a + i)
            own_a = tl.load(rows_a + p, mask=known, other=float("-inf"))
            weight = _weights(omega, p, q, inside, n_b, GROUPED)
            best = tl.maximum(best, own_a[:, None] + weight)
        base = finite_or_zero(best)
        part = tl.zeros((PROBES, WINDOWS), sums.dtype.element_ty)
        for i in tl.range(0, count, loop_unroll_factor=4):
            p = tl.load(partners + tile * n_a + i)
            own_a = tl.load(rows_a + p, mask=known, other=float("-inf"))
            weight = _weights(omega, p, q, inside, n_b, GROUPED)
            part += tl.exp(scale * (own_a[:, None] + weight - base))
        top, total = add_to_log_sum(top, total, score + scale * best, part)
    tl.store(sums + row, log_sum_of_rows(top, total), mask=known)


@jit
def _share_pairs(
    grad: tl.tensor,
    sums: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    log_omega: tl.tensor,
    group: tl.tensor,
    hill: tl.tensor,
    n_partners: tl.tensor,
    partners: tl.tensor,
    gradient: tl.tensor,
    n_probes: tl.tensor,
    n_a: tl.tensor,
    n_b: tl.tensor,
    GROUPED: tl.constexpr,
    SCALED: tl.constexpr,
    PROBES: tl.constexpr,
    WINDOWS: tl.constexpr,
) -> None:
    """Write the gradient of WINDOWS scores b of PROBES probes."""
    row = tl.program_id(0).to(tl.int64) * PROBES + tl.arange(0, PROBES)
    tile = tl.program_id(1)
    q = tile * WINDOWS + tl.arange(0, WINDOWS)
    known = row < n_probes
    within = q < n_b
    inside = known[:, None] & within[None, :]
    scale = 1.0
    if SCALED:
        scale = tl.load(hill)
    log_sum = tl.load(sums + row, mask=known, other=float("-inf"))
    weight = tl.load(grad + row, mask=known, other=0.0)
    weight = tl.where(log_sum == float("-inf"), 0.0, weight)
    place = row[:, None] * n_b + q[None, :]
    score = scale * tl.load(b + place, mask=inside, other=float("-inf"))
    score -= finite_or_zero(log_sum)[:, None]
    rows_a = a + row * n_a
    omega = log_omega
    if GROUPED:
        own = tl.load(group + row, mask=known, other=0).to(tl.int64)
        omega = log_omega + own * n_a * n_b
    total = tl.zeros((PROBES, WINDOWS), gradient.dtype.element_ty)
    for i in tl.range(0, tl.load(n_partners + tile), loop_unroll_factor=4):
        p = tl.load(partners + tile * n_a + i)
        own_a = tl.load(rows_a + p, mask=known, other=float("-inf"))
        pair = _weights(omega, p, q, inside, n_b, GROUPED)
        total += tl.exp(scale * (own_a[:, None] + pair) + score)
    tl.store(gradient + place, (scale * weight)[:, None] * total, mask=inside)


@jit
def _sum_shares(
    grad: tl.tensor,
    sums: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    log_omega: tl.tensor,
    hill: tl.tensor,
    order: tl.tensor,
    ends: tl.tensor,
    parts: tl.tensor,
    n_a: tl.tensor,
    n_b: tl.tensor,
    SCALED: tl.constexpr,
    SORTED: tl.constexpr,
    WINDOWS_A: tl.constexpr,
    WINDOWS_B: tl.constexpr,
    FLUSHED: tl.constexpr,
) -> None:
    """Add up the gradient of a tile of ω over this program's stretch of probes."""
    tiles_b = tl.cdiv(n_b, WINDOWS_B)
    p = tl.program_id(0) // tiles_b * WINDOWS_A + tl.arange(0, WINDOWS_A)
    q = tl.program_id(0) % tiles_b * WINDOWS_B + tl.arange(0, WINDOWS_B)
    within_a, within_b = p < n_a, q < n_b
    inside = within_a[:, None] & within_b[None, :]
    scale = 1.0
    if SCALED:
        scale = tl.load(hill)
    pair = p[:, None] * n_b + q[None, :]
    group = tl.program_id(2).to(tl.int64)
    own = log_omega + group * n_a * n_b
    weight = scale * tl.load(own + pair, mask=inside, other=float("-inf"))
    first, stop = stretch_of_program(ends, 1)
    if tl.max(tl.max(weight, 1), 0) == float("-inf"):
        stop = first  # no pair of this tile can be
    total = tl.zeros((WINDOWS_A, WINDOWS_B), tl.float64)
    for start in range(first, stop, FLUSHED):
        part = tl.zeros((WINDOWS_A, WINDOWS_B), a.dtype.element_ty)
        end = tl.minimum(start + FLUSHED, stop)
        for i in tl.range(start, end, loop_unroll_factor=4):
            probe = i
            if SORTED:
                probe = tl.load(order + i)
            log_sum = tl.load(sums + probe)
            change = tl.load(grad + probe)
            change = tl.where(log_sum == float("-inf"), 0.0, change)
            score_a = tl.load(a + probe * n_a + p, mask=within_a, other=float("-inf"))
            score_b = tl.load(b + probe * n_b + q, mask=within_b, other=float("-inf"))
            score_b = scale * score_b - finite_or_zero(log_sum)
            energy = (scale * score_a)[:, None] + weight + score_b[None, :]
            part += change * tl.exp(energy)
        total += part.to(tl.float64)
    program = tl.program_id(1).to(tl.int64) * tl.num_programs(2) + group
    place = parts + program * n_a * n_b + pair
    tl.store(place, (scale * total).to(tl.float64), mask=inside)
