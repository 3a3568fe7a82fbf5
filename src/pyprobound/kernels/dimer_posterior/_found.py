"""What the posterior over pairs of windows is asked for."""

from typing import NamedTuple

from torch import Tensor


class Found(NamedTuple):
    """Sums over the pairs of windows of each probe, weighted by the posterior π.

    Attributes:
        of_a: (N, Sa, La) of the pairs of each window of the first mode.
        of_b: (N, Sb, Lb) of those of the second.
        of_places: (N, places) float64, of the pairs of each place.
        energy: (N,) float64, Σ π h·ω.
    """

    of_a: Tensor
    of_b: Tensor
    of_places: Tensor
    energy: Tensor
