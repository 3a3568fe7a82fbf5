"""Scores of all windows of all probes: log 1/K(S_i, x) = Σ_φ β_φ · 1_φ(S_i, x)."""

from pyprobound.kernels.window_scores._api import soft_window_scores, window_scores

__all__ = ["soft_window_scores", "window_scores"]
