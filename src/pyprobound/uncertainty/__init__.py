"""How well the data determine a model: standard errors, intervals, a check of them.

Uncertainty   standard errors of a fitted model, from its Fisher information
bootstrap     the same by drawing counts from the model and fitting it again
Estimate      a value with its standard error and its 95% interval
"""

from pyprobound.uncertainty._bootstrap import Bootstrap, bootstrap
from pyprobound.uncertainty._estimate import NORMAL_95, NOT_IDENTIFIED, Estimate
from pyprobound.uncertainty._fisher import (
    LARGEST_ERROR,
    Uncertainty,
    all_trained,
    with_gradients,
)
from pyprobound.uncertainty._gauge import log_omega
from pyprobound.uncertainty._named import ErrorBars
from pyprobound.uncertainty._sequences import (
    Aliases,
    Rows,
    ScoreRows,
    difference,
    rounding_of,
)

__all__ = [
    "LARGEST_ERROR",
    "NORMAL_95",
    "NOT_IDENTIFIED",
    "Aliases",
    "Bootstrap",
    "ErrorBars",
    "Estimate",
    "Rows",
    "ScoreRows",
    "Uncertainty",
    "all_trained",
    "bootstrap",
    "difference",
    "log_omega",
    "rounding_of",
    "with_gradients",
]
