"""Pictures of models and of how well they agree with their data.

Every function returns what it drew and changes nothing global. matplotlib is needed:
`pip install 'pyprobound-engine[plots]'`.
"""

from pyprobound.plotting._logos import Logo, logo, logomaker_plotter
from pyprobound.plotting._pairs import pairwise_plotter
from pyprobound.plotting._saved import save, svg

__all__ = ["Logo", "logo", "logomaker_plotter", "pairwise_plotter", "save", "svg"]
