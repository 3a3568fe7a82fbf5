"""The strongest sites of a motif, against all sites one by one."""

import itertools
import math

import pytest
import torch

from pyprobound.alphabets import DNA
from pyprobound.layers import PSAM
from pyprobound.page._sites import relative, single_mutants, site_scores, strongest


def motif(pairwise_distance: int, size: int = 5) -> PSAM:
    psam = PSAM(size, alphabet=DNA(), pairwise_distance=pairwise_distance)
    with torch.no_grad():
        for value in psam.betas.values():
            value.copy_(torch.randn(()))
    return psam.double()


def brute(psam: PSAM) -> dict[tuple[int, ...], float]:
    """−ΔG/RT of every site, from the energies of letters and pairs."""
    filters = [
        psam.get_filter(d)[0].tolist() for d in range(psam.pairwise_distance + 1)
    ]
    size = psam.kernel_size
    found = {}
    for site in itertools.product(range(4), repeat=size):
        total = sum(filters[0][letter][i] for i, letter in enumerate(site))
        for d, pairs in enumerate(filters[1:], 1):
            total += sum(pairs[site[i]][site[i + d]][i] for i in range(size - d))
        found[site] = total
    return found


@pytest.mark.parametrize("distance", [0, 1, 3])
def test_strongest_sites_are_those_of_all_sites(distance: int) -> None:
    psam = motif(distance)
    scores = brute(psam)
    expected = sorted(scores, key=lambda site: -scores[site])[:20]
    assert strongest(psam, 20).tolist() == [list(site) for site in expected]


def test_there_are_no_more_sites_than_there_are() -> None:
    assert len(strongest(motif(0, size=2), 100)) == 16


@pytest.mark.parametrize("distance", [0, 2])
def test_relative_affinities_are_differences_to_the_best(distance: int) -> None:
    psam = motif(distance)
    scores = brute(psam)
    best = max(scores.values())
    codes = torch.tensor(list(scores))
    found = relative(psam, codes, None)
    expected = [score - best for score in scores.values()]
    assert found.value.tolist() == pytest.approx(expected, abs=1e-9)
    assert all(math.isnan(x) for x in found.error.tolist())
    assert site_scores(psam, codes).requires_grad


def test_single_mutants_differ_from_the_best_site_in_their_position() -> None:
    psam = motif(1)
    best = strongest(psam, 1)[0]
    mutants = single_mutants(psam)
    for position, letter in itertools.product(range(5), range(4)):
        expected = best.clone()
        expected[position] = letter
        assert mutants[position, letter].tolist() == expected.tolist()
