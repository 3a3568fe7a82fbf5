"""Sums over the windows of a probe: log 1/K(S_i) = log Σ_x exp(h · log 1/K(S_i, x))."""

from pyprobound.kernels.log_sum_windows._api import log_sum, log_sum_windows

__all__ = ["log_sum", "log_sum_windows"]
