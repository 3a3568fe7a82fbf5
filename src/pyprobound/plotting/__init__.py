"""Pictures of models and of how well they agree with their data.

Every function returns what it drew and changes nothing global. matplotlib is needed:
`pip install 'pyprobound-engine[plots]'`.
"""

from pyprobound.plotting._arrangement_map import arrangement_map
from pyprobound.plotting._biases import posbias
from pyprobound.plotting._heatmaps import heatmap_plotter
from pyprobound.plotting._lines import line_plotter
from pyprobound.plotting._saved import save, svg
from pyprobound.plotting._spacing import spacing
from pyprobound.plotting._ticks import plot_ticks
from pyprobound.plotting._window_pairs import cooperativity

__all__ = [
    "arrangement_map",
    "cooperativity",
    "heatmap_plotter",
    "line_plotter",
    "plot_ticks",
    "posbias",
    "save",
    "spacing",
    "svg",
]
