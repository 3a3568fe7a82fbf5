"""Motifs that begin from noise begin from the best of several starts."""

import pytest
import torch

from pyprobound import alphabets, layers
from pyprobound.aggregate import Aggregate
from pyprobound.base import Call
from pyprobound.fisher import _starts as starts
from pyprobound.fisher import (
    choose_frame,
    choose_start,
    grown_motifs,
    motifs_of_noise,
)
from tests.unit.fits import MOTIF, Fit, fit_of, reads_of, table_of

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
    assert MOTIF in best_letters(fit.psams[0])


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


def planted(start: str) -> Fit:
    """Return a model whose motif begins from given letters, '-' for nothing."""
    fit = ready(layers.PSAM(len(start), DNA, name="a"))
    psam = fit.psams[0]
    for parameter in psam.betas.all_packed():
        parameter.detach().zero_()
    for position, letter in enumerate(start):
        if letter != "-":
            psam.betas[f"{position + 1}-{'ACGT'.index(letter)}"].detach().fill_(1.5)
    return fit


def best_letters(psam: layers.PSAM) -> list[str]:
    """The best letters of either strand."""
    letters = psam.get_filter(0).argmax(1).tolist()
    return ["".join("ACGT"[i] for i in strand) for strand in letters]


@pytest.mark.parametrize("start", ["-TGAC", "GACA-"])
def test_a_motif_is_moved_to_the_frame_that_explains_more(start: str) -> None:
    fit = planted(start)
    done = choose_frame(fit.model, [table_of(reads_of(number=400))], fit.psams)
    assert MOTIF in best_letters(fit.psams[0])
    assert done.passes > 0


def test_a_motif_in_the_best_frame_stays_as_it_was() -> None:
    fit = planted(MOTIF)
    assert best_letters(fit.psams[0])[0] == MOTIF
    before = fit.psams[0].betas.flat().detach().clone()
    done = choose_frame(fit.model, [fit.table], fit.psams)
    assert torch.equal(fit.psams[0].betas.flat(), before)
    assert done.text.startswith("stays where it is")


def test_only_trained_motifs_that_grow_look_for_their_frame() -> None:
    psam, mode = layers.PSAM(4, DNA, name="a"), layers.NonSpecific(DNA)
    grow = Call(psam, "update_footprint", {"left_shift": 1, "right_shift": 1})
    shift = Call(psam, "update_footprint", {"left_shift": 1, "right_shift": -1})
    letters = Call(psam, "unfreeze", {"parameter": "monomer"})
    assert grown_motifs([shift, letters, Call(mode, "freeze", {})]) == []
    assert grown_motifs([shift, grow]) == [psam]
    psam.freeze()
    assert grown_motifs([grow]) == []


def test_fits_that_are_cut_short_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "MOST_STEPS", 2)
    fit = ready(layers.PSAM(len(MOTIF), DNA, name="a"))
    assert "ended after 2 steps" in choose_start(fit.model, [fit.table]).text
