"""The strongest sites of a motif and what single letters are worth in the best one."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.alphabets import Alphabet
from pyprobound.layers import PSAM
from pyprobound.uncertainty import Estimate, Uncertainty

Codes = NDArray[np.int64]

_MOST_PREFIXES = 4096
"""Prefixes of sites that are kept while sites are made letter by letter."""


def site_scores(psam: PSAM, codes: Tensor) -> Tensor:
    """Return −ΔG/RT of sites up to a constant, (sites,), differentiable.

    Args:
        psam: The motif.
        codes: (sites, positions) letters.
    """
    single, *pairs = (each[0] for each in psam.gauge_fixed()[0])
    places = torch.arange(codes.shape[1])
    total = single[codes, places].sum(1)
    for distance, each in enumerate(pairs, 1):
        first, second = codes[:, :-distance], codes[:, distance:]
        total = total + each[first, second, places[:-distance]].sum(1)
    return total


@torch.no_grad()
def strongest(psam: PSAM, n: int) -> Tensor:
    """Return the letters of the strongest sites, (sites, positions), the best first.

    They are found letter by letter; of those prefixes that end alike in as many letters
    as pairs reach over, the `n` best are kept. That is exact as long as there are at
    most `_MOST_PREFIXES` of them.

    Args:
        psam: The motif.
        n: How many; fewer where there are no more.
    """
    single, *pairs = (each[0].double().numpy() for each in psam.gauge_fixed()[0])
    n_letters, size = single.shape
    prefixes: Codes = np.zeros((1, 0), dtype=np.int64)
    scores = np.zeros(1)
    for position in range(size):
        added = np.repeat(single[:, position][None], len(prefixes), axis=0)
        for distance, each in enumerate(pairs[:position], 1):
            before = prefixes[:, position - distance]
            added = added + each[before, :, position - distance]
        scores = (scores[:, None] + added).ravel()
        grown = np.repeat(prefixes, n_letters, axis=0)
        letters = np.tile(np.arange(n_letters), len(prefixes))
        prefixes = np.concatenate([grown, letters[:, None]], axis=1)
        kept = _kept(prefixes, scores, n, reach=len(pairs))
        prefixes, scores = prefixes[kept], scores[kept]
    return torch.from_numpy(prefixes[np.argsort(-scores, kind="stable")[:n]].copy())


def _kept(prefixes: Codes, scores: "NDArray[np.float64]", n: int, reach: int) -> Codes:
    """Return which prefixes to go on with: the n best of each context."""
    order = np.argsort(-scores, kind="stable")
    contexts = prefixes[order, max(0, prefixes.shape[1] - reach) :]
    _, numbers = np.unique(contexts, axis=0, return_inverse=True)
    by_context = np.argsort(numbers.ravel(), kind="stable")  # the best come first
    sizes = np.bincount(numbers.ravel())
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.sort(by_context[ranks < n])
    found: Codes = order[chosen][:_MOST_PREFIXES]
    return found


def relative(psam: PSAM, codes: Tensor, errors: Uncertainty | None) -> Estimate:
    """Return log(K_D of the best site / K_D of a site) of sites, (sites,).

    Args:
        psam: The motif.
        codes: (sites, positions) letters.
        errors: The model's; without them no value has an error.
    """
    best = strongest(psam, 1)

    def ratios() -> Tensor:
        scores = site_scores(psam, torch.cat([best, codes]))
        return scores[1:] - scores[0]

    return estimated(ratios, errors)


def estimated(
    function: Callable[[], Tensor],
    errors: Uncertainty | None,
    *,
    is_linear: bool = True,
) -> Estimate:
    """Return a function of the parameters with its errors, NaN where there are none."""
    if errors is not None:
        return errors.of(function, is_linear=is_linear)
    with torch.no_grad():
        value = function().double()
    return Estimate(value, torch.full_like(value, torch.nan))


def single_mutants(psam: PSAM) -> Tensor:
    """Return the single mutants of the best site, (positions, letters, positions)."""
    best = strongest(psam, 1)[0]
    size, n_letters = len(best), psam.in_channels
    mutants = best.repeat(size, n_letters, 1)
    for position in range(size):
        mutants[position, :, position] = torch.arange(n_letters)
    return mutants


def spelled(codes: Tensor, alphabet: Alphabet) -> str:
    """Return letters as text."""
    return "".join(alphabet.alphabet[code] for code in codes.tolist())
