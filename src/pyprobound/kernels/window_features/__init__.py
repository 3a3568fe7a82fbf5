"""Weighted sums of the letters (and letter pairs) in the windows of a probe."""

from pyprobound.kernels.window_features._api import window_features

__all__ = ["window_features"]
