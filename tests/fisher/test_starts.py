"""Motifs that begin from noise begin from the best of several starts."""

import pytest
import torch

from pyprobound import alphabets, layers
from pyprobound.aggregate import Aggregate
from pyprobound.fisher import _starts as starts
from pyprobound.fisher import choose_start, motifs_of_noise
from tests.unit.fits import MOTIF, Fit, fit_of, reads_of

DNA = alphabets.DNA()


def ready(*psams: layers.PSAM) -> Fit:
    """Return a model in which everything is present and trained."""
    fit = fit_of(*psams)
    for module in fit.model.modules():
        if isinstance(module, Aggregate):
            for part in module.components():
                module.activity_heuristic(part)
    fit.model.unfreeze()
    return fit


def test_a_random_start_is_noise_and_a_seed_or_a_fit_is_not() -> None:
    assert layers.PSAM(4, DNA).is_noise
    assert not layers.PSAM(4, DNA, seed=["ACGT"]).is_noise
    fitted = layers.PSAM(4, DNA)
    fitted.betas["1-0"].detach().fill_(2.0)
    assert not fitted.is_noise


def test_frozen_motifs_are_left_alone() -> None:
    fit = ready()
    assert motifs_of_noise(fit.model) == fit.psams
    fit.model.freeze()
    assert motifs_of_noise(fit.model) == []


@pytest.mark.parametrize("by", [2, -1, 0, 7])
def test_sliding_moves_every_position(by: int) -> None:
    psam = layers.PSAM(4, DNA, symmetry=[1, 2, -3, 4])
    before = psam.get_filter(0)[0].detach().clone()
    assert psam.slide(by)
    expected = torch.zeros_like(before)
    for position in range(4):
        if 0 <= position - by < 4:
            expected[:, position] = before[:, position - by]
    torch.testing.assert_close(psam.get_filter(0)[0].detach(), expected)


@pytest.mark.parametrize(
    "psam",
    [
        layers.PSAM(4, DNA, symmetry=[1, 2, -2, -1]),
        layers.PSAM(4, DNA, pairwise_distance=1),
        layers.PSAM(4, DNA, frozen_parameters={"2-0"}),
    ],
)
def test_tied_or_frozen_positions_do_not_slide(psam: layers.PSAM) -> None:
    before = psam.betas.flat().detach().clone()
    assert not psam.slide(1)
    assert torch.equal(psam.betas.flat(), before)


def test_betas_that_are_never_trained_are_neither_drawn_nor_shrunk() -> None:
    psam = layers.PSAM(4, DNA, frozen_parameters={"2-0"})
    kept = psam.betas["2-0"].item()
    psam.shrink(0.5)
    psam.draw()
    assert psam.betas["2-0"].item() == kept


def test_the_best_start_finds_the_motif_and_leaves_nothing_unfrozen() -> None:
    fit = ready(layers.PSAM(len(MOTIF), DNA, name="a"))
    fit.model.freeze()
    fit.psams[0].unfreeze("monomer")
    trained = [parameter.requires_grad for parameter in fit.model.parameters()]
    before = fit.loss()
    start = choose_start(fit.model, [fit.table])
    assert fit.loss() < before - 0.02
    assert [p.requires_grad for p in fit.model.parameters()] == trained
    assert "120 probes" in start.text
    assert start.passes > 0
    letters = fit.psams[0].get_filter(0).argmax(1).tolist()
    found = ["".join("ACGT"[i] for i in strand) for strand in letters]
    assert MOTIF in found


def test_a_large_table_is_sampled_and_close_motifs_compared_on_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starts, "MOST_PROBES", 40)
    monkeypatch.setattr(starts, "CLOSE", 10.0)
    fit = ready(layers.PSAM(len(MOTIF), DNA, name="a"))
    start = choose_start(fit.model, [fit.table])
    assert "40 probes" in start.text
    assert len(fit.table) == len(reads_of())
    assert fit.loss() < 0.62
