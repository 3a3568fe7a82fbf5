"""The posterior over pairs on the CPU: products of exponentials, none for a pair.

    π = e^{h·a − A} · e^{h·ω − Ω} · e^{h·b − B} · e^{A + Ω + B − X}

with the largest h·a, h·b and h·ω for A, B and Ω, all in float64. Where underflow may
have spoilt that (the best pair is e^−345 of what the best parts would make), the probe
is left to the reference. Pairs that no group allows are left out.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._numba import array_of, exp, inline, jit, run
from pyprobound.kernels._words import U
from pyprobound.kernels.dimer_posterior import _reference
from pyprobound.kernels.dimer_posterior._found import Found

LEAST = -345.0
"""The least log share of a sum in what its largest factors make: e^−690 is normal."""


@inline
def _exponentiate(scores, hill, top, out):
    """Write exp(hill · scores − top)."""
    for i in range(U(len(scores))):
        out[i] = exp(hill * scores[i] - top)


@jit
def _sum_pairs(
    a, b, sums, groups, starts, columns, log_w, w, tops, places, hill,
    to_a, to_b, to_places, energy, lost,
):  # fmt: skip
    """Write the sums of some probes.

    Args:
        a: (n, P) scores.
        b: (n, Q) scores.
        sums: (n,) float64, the log sums.
        groups: (n,) rows of what follows; empty if there is one.
        starts: (P + 1,) where the pairs of each window of a begin.
        columns: (pairs,) the window of b of each pair.
        log_w: (groups, pairs) h·ω, 0 for a pair that cannot be.
        w: (groups, pairs) e^{h·ω} relative to the largest.
        tops: (groups,) the largest.
        places: (groups, pairs) where the sum of each pair is.
        hill: Hill coefficient.
        to_a: (n, P), zeros.
        to_b: (n, Q), zeros.
        to_places: (n, places), zeros.
        energy: (n,), zeros.
        lost: (n,) set where the sums may have been spoilt, and are not written.
    """
    n_a, n_b = U(a.shape[1]), U(b.shape[1])
    of_b, parts_a, parts_b = np.empty(n_b), np.empty(n_a), np.empty(n_b)
    for n in range(U(a.shape[0])):
        if sums[n] == -np.inf:
            continue
        group = groups[n] if len(groups) else U(0)
        top_a, top_b = hill * np.max(a[n]), hill * np.max(b[n])
        least = sums[n] - top_a - top_b - tops[group]
        if not least > LEAST:
            lost[n] = True
            continue
        _exponentiate(a[n], hill, top_a, parts_a)
        _exponentiate(b[n], hill, top_b, parts_b)
        of_b[:] = 0.0
        scale, moment = math.exp(-least), 0.0
        for p in range(n_a):
            part = parts_a[p]
            if part == 0.0:
                continue
            total = 0.0
            for k in range(starts[p], starts[p + U(1)]):
                share = (part * w[group, k]) * parts_b[columns[k]] * scale
                total += share
                moment += share * log_w[group, k]
                of_b[columns[k]] += share
                to_places[n, places[group, k]] += share
            to_a[n, p] = total
        for q in range(n_b):
            to_b[n, q] = of_b[q]
        energy[n] = moment


def dimer_posterior(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    log_sums: Tensor,
    places: Tensor,
    n_places: int,
    group: Tensor | None,
    hill: Tensor | None,
) -> Found:
    """Sum over pairs; see the public function."""
    if windows_a.numel() == 0 or windows_b.numel() == 0 or log_omega.numel() == 0:
        return _reference.dimer_posterior(
            windows_a, windows_b, log_omega, log_sums, places, n_places, group, hill
        )
    power = 1.0 if hill is None else float(hill)
    pairs = _Pairs(log_omega, places, n_places, power)
    a, b = array_of(windows_a.flatten(1)), array_of(windows_b.flatten(1))
    sums = array_of(log_sums.double())
    groups = np.empty(0, U) if group is None else array_of(group.long()).view(U)
    to_a, to_b = np.zeros_like(a), np.zeros_like(b)
    to_places = np.zeros((len(a), n_places + 1))
    energy, lost = np.zeros(len(a)), np.zeros(len(a), np.bool_)

    def arguments(_: int, rows: slice) -> tuple[Any, ...]:
        own = groups[rows] if len(groups) else groups
        written = to_a[rows], to_b[rows], to_places[rows], energy[rows], lost[rows]
        return a[rows], b[rows], sums[rows], own, *pairs.arrays, power, *written

    run(_sum_pairs, len(a), arguments)
    found = Found(
        torch.from_numpy(to_a).view(windows_a.shape),
        torch.from_numpy(to_b).view(windows_b.shape),
        torch.from_numpy(to_places)[:, :n_places],
        torch.from_numpy(energy),
    )
    if lost.any():
        rows = torch.from_numpy(lost.nonzero()[0])
        again = _reference.dimer_posterior(
            windows_a[rows],
            windows_b[rows],
            log_omega,
            log_sums[rows],
            places,
            n_places,
            None if group is None else group[rows],
            hill,
        )
        for whole, part in zip(found, again, strict=True):
            whole[rows] = part
    return found


class _Pairs:
    """The pairs that any group allows, as the loop takes them.

    Attributes:
        arrays: starts, columns, log_w, w, tops, places.
    """

    def __init__(
        self, log_omega: Tensor, places: Tensor, n_places: int, hill: float
    ) -> None:
        """List them row by row: strand and window of a, strand and window of b."""
        omega = hill * _as_matrices(log_omega).double()
        finite = omega > NEG_INF
        rows, columns = finite.any(0).nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=omega.shape[1])
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        kept = omega[:, rows, columns]
        tops = omega.flatten(1).amax(1)
        tops = tops.masked_fill(tops == NEG_INF, 0.0)
        where = torch.full_like(kept, n_places, dtype=torch.int64)
        if len(places):
            chosen = _as_matrices(places)[:, rows, columns]
            where = torch.where(chosen < 0, n_places, chosen)
        self.arrays = (
            array_of(starts).view(U),
            array_of(columns).view(U),
            array_of(kept.masked_fill(kept == NEG_INF, 0.0)),
            array_of((kept - tops[:, None]).exp()),
            array_of(tops),
            array_of(where).view(U),
        )


def _as_matrices(values: Tensor) -> Tensor:
    """Return values (G, Sa, Sb, La, Lb) as (G, P, Q)."""
    return values.transpose(2, 3).flatten(3, 4).flatten(1, 2)
