"""Independent measurements compared with, and regressed on, a trained model.

Fit        obs(y) ≈ m·pred(log Z) + b, by least squares
LogFit     log obs(y) ≈ log(e^{m + pred(log Z)} + e^b): signal and background, in logs
BaseFit    what both share; a base for other regressions

Affinities of MITOMI, band shifts of EMSA, intensities of a microarray: whatever gives
a number for a sequence. matplotlib is needed for `plot` alone.
"""

from pyprobound.fitting._agreement import Agreement
from pyprobound.fitting._base import BaseFit
from pyprobound.fitting._fits import Fit, LogFit, OffsetFit

__all__ = ["Agreement", "BaseFit", "Fit", "LogFit", "OffsetFit"]
