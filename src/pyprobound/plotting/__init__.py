"""Pictures of models and of how well they agree with their data.

Every function returns what it drew and changes nothing global. matplotlib is needed:
`pip install 'pyprobound-engine[plots]'`.
"""

from pyprobound.plotting._arrangement_map import arrangement_map
from pyprobound.plotting._biases import posbias
from pyprobound.plotting._contribution import contribution
from pyprobound.plotting._enrichment import (
    enrichment_plotter,
    kmer_enrichment,
    probe_enrichment,
)
from pyprobound.plotting._heatmaps import heatmap_plotter
from pyprobound.plotting._lines import line_plotter
from pyprobound.plotting._logos import Logo, logo, logomaker_plotter
from pyprobound.plotting._pairs import pairwise_plotter
from pyprobound.plotting._pooled import Counts, predicted_counts
from pyprobound.plotting._rates import kd_consistency, keff_consistency
from pyprobound.plotting._saved import save, svg
from pyprobound.plotting._spacing import spacing
from pyprobound.plotting._ticks import plot_ticks
from pyprobound.plotting._window_pairs import cooperativity

__all__ = [
    "Counts",
    "Logo",
    "arrangement_map",
    "contribution",
    "cooperativity",
    "enrichment_plotter",
    "heatmap_plotter",
    "kd_consistency",
    "keff_consistency",
    "kmer_enrichment",
    "line_plotter",
    "logo",
    "logomaker_plotter",
    "pairwise_plotter",
    "plot_ticks",
    "posbias",
    "predicted_counts",
    "probe_enrichment",
    "save",
    "spacing",
    "svg",
]
