"""The posterior over pairs of windows: in which of them a dimer is bound."""

from pyprobound.kernels.dimer_posterior._api import dimer_posterior
from pyprobound.kernels.dimer_posterior._found import Found

__all__ = ["Found", "dimer_posterior"]
