"""Second-order fits of count tables: the Fisher information and a trust region.

CountObjective   loss, gradient and Fisher information of a model on its tables
TrustRegion      minimises such an objective, and says why it ended
"""

from pyprobound.fisher._bindings import columns_of, derivatives_of
from pyprobound.fisher._fit import MOST_PARAMETERS, has_information, trust_region_of
from pyprobound.fisher._linear import LinearMap
from pyprobound.fisher._objective import CountObjective, Moments, Quadratic
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._starts import (
    choose_frame,
    choose_start,
    grown_motifs,
    motifs_of_noise,
)
from pyprobound.fisher._trust_region import TOLERANCE, TrustRegion

__all__ = [
    "MOST_PARAMETERS",
    "TOLERANCE",
    "CountObjective",
    "FreeParameters",
    "LinearMap",
    "Moments",
    "Quadratic",
    "TrustRegion",
    "choose_frame",
    "choose_start",
    "columns_of",
    "derivatives_of",
    "grown_motifs",
    "has_information",
    "motifs_of_noise",
    "trust_region_of",
]
