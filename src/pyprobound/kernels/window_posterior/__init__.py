"""The posterior over the windows of a probe: which of them it is bound in."""

from pyprobound.kernels.window_posterior._api import Posterior, window_posterior

__all__ = ["Posterior", "window_posterior"]
