"""Sums over all pairs of windows of two modes: log 1/K_ab(S_i)."""

from pyprobound.kernels.log_sum_dimers._api import log_sum_dimers

__all__ = ["log_sum_dimers"]
