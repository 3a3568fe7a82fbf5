"""Sums over pairs of windows in compiled loops, in the exponential domain.

    total_i = Σ_{p,q} e^{h·a[i,p]} w[p,q] e^{h·b[i,q]},   w = e^{h·ω}

relative to the largest a and b of the probe and to the largest ω, as in the reference.
A total that underflow may have spoilt is found by the same rule, and that probe is done
again on the spot in the log domain. The backward pass repeats the sums:

    c_i = grad_i / total_i                                 (0 where nothing binds)
    ∂a[i,p] = h · c_i e^{h·a[i,p]} · Σ_q w[p,q] e^{h·b[i,q]}
    ∂b[i,q] = h · e^{h·b[i,q]} · Σ_p w[p,q] c_i e^{h·a[i,p]}
    ∂ω[p,q] = h · w[p,q] · Σ_i c_i e^{h·a[i,p]} e^{h·b[i,q]}

where the last sum has the precision of the scores within a tile of probes (`_tiles`),
and is float64 across tiles. Of four rows p, the columns q that pair with none are left
out: this is what spacing limits save. A product of matrices by a tuned library can
leave nothing out, and is no faster: for 50,000 probes and 46 windows of either mode one
takes 4.7 ms, and these loops 2.6 ms, or 4.2 ms for ∂ω (one thread of a third-generation
EPYC).

Of a homodimer, (p, q) and (q, p) differ in w only: they are folded to one triangle with
w[p,q] + w[q,p], which halves the pairs, and there is one mode to exponentiate.

Beyond results and copies of scores that are not contiguous, there are a tile for each
thread and, in float64, the sums ∂ω of the groups that each thread meets: probes are
sorted by group, so threads share few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, scale_log
from pyprobound.kernels._numba import Array, array_of, run
from pyprobound.kernels._operators import differentiable, direct
from pyprobound.kernels.log_sum_dimers import _reference
from pyprobound.kernels.log_sum_dimers._numba_weights import Weights, relative_weights
from pyprobound.kernels.log_sum_dimers._tiles import (
    LANES,
    LEAST_LANES,
    backward,
    forward,
)


def log_sum_dimers(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Sum over all pairs of windows; see the public function."""
    if windows_a.numel() == 0 or windows_b.numel() == 0:
        return _reference.log_sum_dimers(windows_a, windows_b, log_omega, group, hill)
    # The very same tensor, so that there is one gradient, of both places.
    second = None if windows_b is windows_a else windows_b
    sums: Tensor = direct(_log_sums)(windows_a, second, log_omega, group, hill)
    return sums


# == preparation ======================================================================


@dataclass(frozen=True)
class _Work:
    """The arguments of a call as arrays, and what is made of the cooperativity.

    Attributes:
        a: Scores (N, P) of the first mode.
        b: Scores (N, Q) of the second; of a homodimer the same array.
        same: Whether it is a homodimer.
        probes: (N,) rows of a and b, sorted by group.
        ends: (G + 1,) where each group begins in `probes`, and N.
        log_w: h·ω (G, P, Q) relative to its largest; of a homodimer, folded.
        shifts: (G,) the largest.
        hill: Hill coefficient.
        least: The least total that underflow cannot have spoilt.
    """

    a: Array
    b: Array
    same: bool
    probes: Array
    ends: Array
    log_w: Array
    shifts: Array
    hill: float
    least: float

    @classmethod
    def of(
        cls,
        windows_a: Tensor,
        windows_b: Tensor | None,
        log_omega: Tensor,
        group: Tensor | None,
        hill: Tensor | None,
    ) -> "_Work":
        """Prepare the arguments of an operator."""
        power = 1.0 if hill is None else float(hill)
        same = windows_b is None
        log_w, shifts = relative_weights(array_of(log_omega), power, folded=same)
        a = array_of(windows_a.flatten(1))
        probes, ends = _sorted(group, len(a), len(log_w))
        return cls(
            a=a,
            b=a if windows_b is None else array_of(windows_b.flatten(1)),
            same=same,
            probes=probes,
            ends=ends,
            log_w=log_w,
            shifts=shifts,
            hill=power,
            least=_reference.trusted_sum(torch.from_numpy(log_w[0])),
        )

    def arguments(self, rows: slice) -> tuple[Any, ...]:
        """Return what the loops take first, for a stretch of the probes."""
        kind = self.a.dtype.type
        return (
            self.a, self.b, self.same, self.probes, self.ends, self.lanes, rows.start,
            rows.stop, self.cooperativity, kind(self.hill), kind(self.least),
        )  # fmt: skip

    @cached_property
    def cooperativity(self) -> tuple[Array, ...]:
        """What the loops take by this name."""
        return self.log_w, self.shifts, *Weights.of(self.log_w)

    @cached_property
    def transposed(self) -> tuple[Array, ...]:
        """What the backward loops take by this name."""
        return tuple(Weights.of(self.log_w, transposed=True))

    @cached_property
    def lanes(self) -> int:
        """Probes of a tile: as many as an average group has, within limits."""
        mean = len(self.probes) // int(np.count_nonzero(np.diff(self.ends)))
        return min(LANES, -(-mean // LEAST_LANES) * LEAST_LANES)

    def groups(self, rows: slice) -> slice:
        """Return the groups from the first to the last probe of a stretch."""
        first, last = np.searchsorted(self.ends, (rows.start, rows.stop - 1), "right")
        return slice(int(first) - 1, int(last))


def _log_weights(log_omega: Tensor, hill: Tensor | None) -> Tensor:
    """Return h·ω as (G, P, Q): strand and window of a, strand and window of b."""
    log_w = log_omega.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return log_w if hill is None else scale_log(log_w, hill)


def _unfolded(folded: Tensor, log_w: Tensor) -> Tensor:
    """Share out what belongs to folded pairs, (G, P, P), in proportion to w."""
    both = torch.logaddexp(log_w, log_w.mT)
    both = both.diagonal_scatter(log_w.diagonal(0, 1, 2), 0, 1, 2)
    share = (log_w - both.masked_fill(both == NEG_INF, 0.0)).exp()
    return (folded + folded.triu(1).mT) * share


def _sorted(group: Tensor | None, n_probes: int, n_groups: int) -> tuple[Array, Array]:
    """Return the probes in the order of their groups, and where each group ends."""
    if group is None:
        return np.arange(n_probes), np.array([0, n_probes])
    numbers = array_of(group)
    ends = np.bincount(numbers, minlength=n_groups).cumsum()
    # of small integers, NumPy's stable sort takes linear time
    order = numbers.astype(np.min_scalar_type(n_groups)).argsort(kind="stable")
    return order, np.concatenate([[0], ends])


# == operators ========================================================================


def _sums(
    windows_a: Tensor,
    windows_b: Tensor | None,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Return the log sums (N,); without `windows_b`, of a homodimer."""
    work = _Work.of(windows_a, windows_b, log_omega, group, hill)
    sums = windows_a.new_empty(len(windows_a))
    values = array_of(sums)
    run(forward, len(values), lambda _, rows: (*work.arguments(rows), values))
    return sums


def _gradients(
    grad: Tensor,
    _: object,
    windows_a: Tensor,
    windows_b: Tensor | None,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients by a, b, ω and h, None where they are not wanted.

    Of a homodimer, the first one is the whole.
    """
    by_a, by_b, by_omega, by_hill = wanted
    work = _Work.of(windows_a, windows_b, log_omega, group, hill)
    to_a = np.empty(work.a.shape if by_a else (0, 0), work.a.dtype)
    to_b = np.empty(work.b.shape if by_b else (0, 0), work.a.dtype)
    shares: list[tuple[slice, Array]] = []
    energies: list[Array] = []
    weights = array_of(grad)

    def arguments(_: int, rows: slice) -> tuple[Any, ...]:
        groups = work.groups(rows)
        padded = work.cooperativity[2][groups if by_omega or by_hill else slice(0)]
        shares.append((groups, np.zeros(padded.shape)))
        energies.append(np.zeros(int(by_hill)))
        own = groups.start, shares[-1][1], energies[-1]
        return (*work.arguments(rows), work.transposed, weights, to_a, to_b, *own)

    run(backward, len(work.a), arguments)
    grad_omega = grad_hill = None
    if by_omega or by_hill:
        of_pairs = _pair_shares(shares, log_omega, hill, folded=work.same)
        finite = log_omega.masked_fill(log_omega == NEG_INF, 0.0)
        if by_omega:
            grad_omega = (work.hill * of_pairs).to(grad.dtype).contiguous()
        if by_hill:
            energy = float((of_pairs * finite).sum() + np.sum(energies))
            grad_hill = grad.new_tensor(energy)
    grad_a, grad_b = torch.from_numpy(to_a), torch.from_numpy(to_b)
    shape_b = windows_a.shape if windows_b is None else windows_b.shape
    return [
        grad_a.view(windows_a.shape) if by_a else None,
        grad_b.view(shape_b) if by_b else None,
        grad_omega,
        grad_hill,
    ]


def _pair_shares(
    shares: list[tuple[slice, Array]],
    log_omega: Tensor,
    hill: Tensor | None,
    *,
    folded: bool,
) -> Tensor:
    """Return the sum over threads, float64, in the shape of ω.

    Args:
        shares: The groups that each thread met, and (groups, ≥ P, ≥ Q) sums for them.
        log_omega: Cooperativity (G, Sa, Sb, La, Lb).
        hill: Hill coefficient.
        folded: Whether the pairs of a homodimer are folded to one triangle.
    """
    log_w = _log_weights(log_omega.double(), hill)
    _, rows, columns = log_w.shape
    total = torch.zeros_like(log_w)
    for groups, own in shares:
        if len(own):
            total[groups] += torch.from_numpy(own)[:, :rows, :columns]
    if folded:
        total = _unfolded(total, log_w)
    n_groups, strands_a, strands_b, windows_a, windows_b = log_omega.shape
    apart = total.view(n_groups, strands_a, windows_a, strands_b, windows_b)
    return apart.transpose(2, 3)


def _in_torch(
    windows_a: Tensor,
    windows_b: Tensor | None,
    log_omega: Tensor,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Return what `_sums` does, differentiable as often as one likes."""
    second = windows_a if windows_b is None else windows_b
    return _reference.log_sum_dimers(windows_a, second, log_omega, group, hill)


_log_sums = differentiable(
    "log_sum_dimers",
    _sums,
    _gradients,
    empty=lambda windows_a, *_: windows_a.new_empty(len(windows_a)),
    reference=_in_torch,
    leaves=["windows_a", "windows_b", "log_omega", "hill"],
    keeps_results=False,
)
