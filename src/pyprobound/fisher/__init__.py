"""Second-order fits of count tables: the Fisher information and a trust region.

CountObjective     loss, gradient and Fisher information of a model on its tables
ProductObjective   the same where only products with the information can be had
TrustRegion        minimises such an objective, and says why it ended
"""

from pyprobound.fisher._bindings import columns_of, derivatives_of, in_chunks
from pyprobound.fisher._fit import MOST_PARAMETERS, has_information, trust_region_of
from pyprobound.fisher._linear import LinearMap
from pyprobound.fisher._objective import CountObjective
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._penalty import penalty_of
from pyprobound.fisher._products import ProductObjective
from pyprobound.fisher._quadratic import ProductQuadratic, Quadratic
from pyprobound.fisher._selection import is_plain
from pyprobound.fisher._starts import (
    choose_frame,
    choose_start,
    grown_motifs,
    motifs_of_noise,
)
from pyprobound.fisher._tables import Moments, PlainTable, Sums, add_scores
from pyprobound.fisher._trust_region import TOLERANCE, TrustRegion

__all__ = [
    "MOST_PARAMETERS",
    "TOLERANCE",
    "CountObjective",
    "FreeParameters",
    "LinearMap",
    "Moments",
    "PlainTable",
    "ProductObjective",
    "ProductQuadratic",
    "Quadratic",
    "Sums",
    "TrustRegion",
    "add_scores",
    "choose_frame",
    "choose_start",
    "columns_of",
    "derivatives_of",
    "grown_motifs",
    "has_information",
    "in_chunks",
    "is_plain",
    "motifs_of_noise",
    "penalty_of",
    "trust_region_of",
]
