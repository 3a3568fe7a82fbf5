"""The public function for the information of counts: it checks, then calls on."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels.selection import Chain
from pyprobound.kernels.selection_information import _reference
from pyprobound.kernels.selection_information._found import Enrichment, Found


def selection_information(
    scores: Tensor,
    log_weights: Tensor,
    settings: Tensor,
    log_depths: Tensor,
    counts: Tensor,
    chain: Chain,
    own: Sequence[tuple[int, int, int]],
    live: Sequence[int],
    others: Mapping[int, Enrichment] | None = None,
) -> Callable[[slice], Found]:
    """Return what finds `selection_cost` up to second order, for a piece of the probes.

    Some numbers of each probe are found, for which a piece at a time needs less room.

    Args:
        scores: X, (bindings, N); −∞ cannot bind.
        log_weights: As in `selection_cost`, float64.
        settings: The parameters of each link's formula, (links, settings), float64.
        log_depths: log η of each column, (columns,), float64.
        counts: k, (N, columns), of any type of number.
        chain: The rounds.
        own: The quantities of the rounds that are asked for, Q of them.
        live: The bindings whose scores are, V of them.
        others: How links enrich, by their index, whose kind says it not.

    Returns:
        A function of a slice of the probes.

    Raises:
        ValueError: A shape does not fit.
    """
    shapes = {
        "log_weights": (log_weights, (len(log_weights), len(scores))),
        "settings": (settings, (len(chain.links), settings.shape[-1])),
        "log_depths": (log_depths, (len(chain.observed),)),
        "counts": (counts, (scores.shape[1], len(chain.observed))),
    }
    for name, (values, shape) in shapes.items():
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(values.shape)}; these rounds and bindings"
                f" need {shape}"
            )
    n_scores = len(counts) * (log_weights.numel() + len(chain.links))
    module = None
    if not others:
        module = implementation("selection_information", scores.device, n_scores)
    given = scores, log_weights, settings, log_depths, counts, chain, own, live
    if module is None:
        return _reference.selection_information(*given, others or {})
    found: Callable[[slice], Found] = module.selection_information(*given)
    return found
