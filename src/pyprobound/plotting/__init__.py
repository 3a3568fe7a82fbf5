"""Pictures of models and of how well they agree with their data.

Every function returns what it drew and changes nothing global. matplotlib is needed:
`pip install 'pyprobound-engine[plots]'`.
"""

from pyprobound.plotting._contribution import contribution
from pyprobound.plotting._enrichment import (
    enrichment_plotter,
    kmer_enrichment,
    probe_enrichment,
)
from pyprobound.plotting._logos import Logo, logo, logomaker_plotter
from pyprobound.plotting._pairs import pairwise_plotter
from pyprobound.plotting._pooled import Counts, predicted_counts
from pyprobound.plotting._rates import kd_consistency, keff_consistency
from pyprobound.plotting._saved import save, svg

__all__ = [
    "Counts",
    "Logo",
    "contribution",
    "enrichment_plotter",
    "kd_consistency",
    "keff_consistency",
    "kmer_enrichment",
    "logo",
    "logomaker_plotter",
    "pairwise_plotter",
    "predicted_counts",
    "probe_enrichment",
    "save",
    "svg",
]
