"""Pictures of models and of how well they agree with their data.

Every function returns what it drew and changes nothing global. matplotlib is needed:
`pip install 'pyprobound-engine[plots]'`.
"""

from pyprobound.plotting._saved import save, svg

__all__ = ["save", "svg"]
