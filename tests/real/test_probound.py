"""Fits that the Java program has published, read and evaluated as they are."""

from pathlib import Path

import pytest

from pyprobound.probound import build, read, value_of

pytestmark = pytest.mark.shared


def test_the_bcd_fit_has_its_likelihood(shared: Path) -> None:
    document = read(shared / "data/bcd/out.Bcd.models.json")
    model = build(document)
    value = value_of(model.loss, model.read_tables())
    assert value.negloglik == pytest.approx(497629.307737324, rel=1e-9)
    assert value.losses == [pytest.approx(497629.307737324 / 400_000, rel=1e-9)]


def test_the_ctcf_fit_has_its_likelihood_and_penalty(shared: Path) -> None:
    folder = shared / "data/ctcf"
    with pytest.warns(UserWarning, match=r"ignored: optimizerSetting\.hkSettings"):
        document = read(folder / "probound_model_example1.json")
    settings = document.content.optimizer_setting
    with_prior = settings.model_copy(update={"pseudocount": 20.0})
    model = build(document.with_content(optimizer_setting=with_prior))
    tables = model.read_tables([folder / "countTable.0.CTCF_r3.tsv.gz"])
    value = value_of(model.loss, tables)
    assert value.negloglik == pytest.approx(78566.67484492347, rel=1e-9)
    assert value.penalty == pytest.approx(0.02721635872762166, rel=1e-9)
    assert value.value == pytest.approx(0.6609412316459564, rel=1e-9)
