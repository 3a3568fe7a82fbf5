"""Published fits: their parameters give their likelihoods."""

from pathlib import Path

import pytest
import torch

from tests.real.published import Published


def test_the_published_bcd_fit_has_its_loss_and_penalty(shared: Path) -> None:
    folder = shared / "data" / "bcd"
    fit = Published.from_file(folder / "out.Bcd.models.json")
    table = fit.table(folder / "countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz")
    assert table.counts_per_round.tolist() == [0, 1e5, 1e5, 1e5, 1e5]
    with torch.no_grad():
        loss = fit.model(table)([table])
    assert loss.negloglik.item() == pytest.approx(1.244073, abs=1e-6)
    assert loss.negloglik.item() == pytest.approx(fit.negloglik / 4e5, abs=1e-12)
    assert loss.regularization.item() == pytest.approx(0.00450599, abs=1e-8)
    assert loss.regularization.item() == pytest.approx(fit.regularization, abs=1e-12)


def test_the_published_ctcf_fit_of_three_flank_lengths_has_its_loss_and_penalty(
    shared: Path,
) -> None:
    folder = shared / "data" / "ctcf"
    fit = Published.from_file(folder / "probound_model_example1.json")
    assert [mode["flankLength"] for mode in fit.modes] == [0, 7, 5]
    table = fit.table(folder / "countTable.0.CTCF_r3.tsv.gz")
    n_reads = float(table.counts_per_round.sum())
    with torch.no_grad():
        loss = fit.model(table)([table])
    total = loss.negloglik.item() * n_reads
    assert total == pytest.approx(78566.67484492347, abs=1e-6)
    assert loss.regularization.item() == pytest.approx(0.02721635872762166, abs=1e-12)
    assert sum(loss).item() == pytest.approx(fit.objective, abs=1e-12)
