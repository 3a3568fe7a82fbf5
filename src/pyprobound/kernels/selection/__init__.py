"""From the scores of what binds to the cost of a table of counts."""

from pyprobound.kernels.selection._api import selection_cost
from pyprobound.kernels.selection._chain import NONE, Chain, Kind, Link
from pyprobound.kernels.selection._enrichment import (
    bound,
    exponential,
    rho_gamma,
    unbound,
)
from pyprobound.kernels.selection._reference import (
    check_columns,
    counts_cost,
    log_shares,
)

__all__ = [
    "NONE",
    "Chain",
    "Kind",
    "Link",
    "bound",
    "check_columns",
    "counts_cost",
    "exponential",
    "log_shares",
    "rho_gamma",
    "selection_cost",
    "unbound",
]
