"""What the loops over tiles need of the cooperativity, made in one pass.

A table of few probes is summed in less time than a dozen small operations of a tensor
library take, so this is one compiled function.
"""

import math
from typing import NamedTuple

import numpy as np

from pyprobound.kernels._numba import Array, exp, jit

SIDE = 4
"""Rows that are worked on together: two vectors of each fill half of the registers."""


class Weights(NamedTuple):
    """Weights of pairs of windows, and where they are.

    Attributes:
        w: (G, ≥ P, ≥ Q), padded with zeros to multiples of SIDE.
        runs: (n, 3): SIDE rows p and neighbouring columns q that pair with any of these
            rows, from an even one: first p, first q, last q + 1.
        begins: (G + 1,) where the runs of each group begin.
    """

    w: Array
    runs: Array
    begins: Array

    @classmethod
    def of(cls, log_w: Array, *, transposed: bool = False) -> "Weights":
        """Exponentiate log weights (G, P, Q), or their transpose."""
        n_groups, rows, columns = log_w.shape
        if transposed:
            rows, columns = columns, rows
        n_tiles, width = -(-rows // SIDE), -(-columns // SIDE) * SIDE
        w = np.zeros((n_groups, SIDE * n_tiles, width), log_w.dtype)
        runs = np.empty((n_groups * n_tiles * (-(-columns // 2)), 3), np.int64)
        begins = np.zeros(n_groups + 1, np.int64)
        _write_weights(log_w, transposed, w)
        _write_runs(log_w, transposed, runs, begins)
        return cls(w, runs[: begins[-1]], begins)


def relative_weights(
    log_omega: Array, hill: float, *, folded: bool
) -> tuple[Array, Array]:
    """Return h·ω (G, P, Q) relative to its largest by group, and the largest (G,).

    Args:
        log_omega: Cooperativity (G, Sa, Sb, La, Lb).
        hill: Hill coefficient h.
        folded: Whether to fold the pairs of a homodimer: log(w + its transpose) above
            the diagonal, w on it, −∞ below.
    """
    n_groups, strands_a, strands_b, windows_a, windows_b = log_omega.shape
    shape = n_groups, strands_a * windows_a, strands_b * windows_b
    log_w, tops = np.empty(shape, log_omega.dtype), np.empty(n_groups, log_omega.dtype)
    _write_logs(log_omega, log_omega.dtype.type(hill), folded, log_w, tops)
    return log_w, tops


@jit
def _write_logs(log_omega, hill, folded, log_w, tops):
    """Write h·ω relative to the largest of its group, folded if it is to be."""
    n_groups, strands_a, strands_b, windows_a, windows_b = log_omega.shape
    for g in range(n_groups):
        own = log_w[g]
        for s in range(strands_a):
            for t in range(strands_b):
                for p in range(windows_a):
                    for q in range(windows_b):
                        value = hill * log_omega[g, s, t, p, q]
                        own[s * windows_a + p, t * windows_b + q] = value
        if folded:
            _fold(own)
        top = own.dtype.type(-np.inf)
        for p in range(own.shape[0]):
            for q in range(own.shape[1]):
                top = max(top, own[p, q])
        tops[g] = top if top > -np.inf else own.dtype.type(0)
        for p in range(own.shape[0]):
            for q in range(own.shape[1]):
                own[p, q] -= tops[g]


@jit
def _fold(log_w):
    """Add the pairs below the diagonal to those above."""
    for p in range(len(log_w)):
        for q in range(p):
            one, other = log_w[q, p], log_w[p, q]
            log_w[p, q] = -np.inf
            if one < other:
                one, other = other, one
            if other > -np.inf:
                one += math.log1p(math.exp(other - one))
            log_w[q, p] = one


@jit
def _write_weights(log_w, transposed, w):
    """Write exp(log_w), or its transpose."""
    for g in range(np.uint64(log_w.shape[0])):
        own = log_w[g].T if transposed else log_w[g]
        for p in range(np.uint64(own.shape[0])):
            for q in range(np.uint64(own.shape[1])):
                w[g, p, q] = exp(own[p, q])


@jit
def _write_runs(log_w, transposed, runs, begins):
    """Write the runs of pairs that can be, group by group."""
    n = 0
    for g in range(log_w.shape[0]):
        own = log_w[g].T if transposed else log_w[g]
        rows, columns = own.shape
        for first in range(0, rows, SIDE):
            last, start = min(first + SIDE, rows), -1
            for q in range(columns + 1):
                can_be = False
                if q < columns:
                    for p in range(first, last):
                        can_be |= own[p, q] > -np.inf
                if can_be and start < 0:
                    start = q
                if not can_be and start >= 0:
                    runs[n, 0], runs[n, 1], runs[n, 2] = first, start // 2 * 2, q
                    n, start = n + 1, -1
        begins[g + 1] = n
