"""The public function for the cost of counts: it checks, then calls on."""

from collections.abc import Sequence

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import check_float
from pyprobound.kernels.selection import _reference
from pyprobound.kernels.selection._chain import NONE, Chain, Kind


def selection_cost(
    scores: Sequence[Tensor],
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    chain: Chain,
) -> Tensor:
    """Return −Σ k log p of a table of counts, from the scores of what binds.

        log Z_ia = log Σ_m exp( w_am + X_im )
        log p_io = log softmax over o of ( log η_o + log cumulative enrichment )

    Args:
        scores: X, the log scores (N,) of each binding m; −∞ cannot bind.
        log_weights: w = log [P]_T + log α, (aggregates, bindings); −∞ is absent.
        settings: The parameters of each link's formula, (links, 2): ρ and γ, or δ; the
            other numbers are not read.
        log_depths: log η of each column, (columns,).
        counts: k, (N, columns), of any type of number.
        chain: The rounds.

    Returns:
        The cost, a float64 scalar: infinite where a probe was read in a round that
        cannot hold it. Gradients are finite, and zero for what is absent.

    Raises:
        ValueError: A shape or an index does not fit.
        TypeError: Scores and parameters are not all float32 or all float64.
    """
    _check_chain(chain, len(log_weights))
    expected = {
        "log_weights": (log_weights, (len(log_weights), len(scores))),
        "settings": (settings, (len(chain.links), 2)),
        "log_depths": (log_depths, (len(chain.observed),)),
        "counts": (counts, (len(counts), len(chain.observed))),
        **{f"scores[{m}]": (each, (len(counts),)) for m, each in enumerate(scores)},
    }
    for name, (values, shape) in expected.items():
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}; these rounds and bindings"
                f" need {shape}"
            )
        if name != "counts":
            check_float(name, values, log_depths.dtype)
    n_scores = len(counts) * (log_weights.numel() + len(chain.links))
    module = implementation("selection", log_depths.device, n_scores)
    total: Tensor = (module or _reference).selection_cost(
        scores, log_weights, settings, log_depths, counts, chain
    )
    return total


def _check_chain(chain: Chain, n_aggregates: int) -> None:
    for index, link in enumerate(chain.links):
        if not NONE <= link.reference < index:
            raise ValueError(
                f"link {index} refers to {link.reference}; references come first"
            )
        if link.kind is not Kind.INITIAL and not 0 <= link.aggregate < n_aggregates:
            raise ValueError(
                f"link {index} has aggregate {link.aggregate}; log_weights has"
                f" {n_aggregates} rows"
            )
    for each in chain.observed:
        if not 0 <= each < len(chain.links):
            raise ValueError(f"column of link {each}, of {len(chain.links)} links")
