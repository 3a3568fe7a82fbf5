"""Fits of ProBound, part by part, against the same fit as a whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pyprobound import Experiment
from pyprobound.alphabets import DNA
from pyprobound.errors import InputError
from pyprobound.external import (
    get_fit_final,
    import_matrix,
    parse_probound_aggregate,
    parse_probound_alphabet,
    parse_probound_interactions,
    parse_probound_model,
    parse_probound_modes,
    parse_probound_psam,
    parse_probound_rounds,
    parse_probound_tables,
)
from pyprobound.layers import NonSpecific
from pyprobound.table import CountTable, get_dataframe

GOLDEN = Path(__file__).parents[1] / "golden/data/probound"
NAMES = [
    "selex_posbias",
    "selex_int_posbias",
    "selex_int_two_tables_tied",
    "selex_di2",
    "rhogamma",
    "expkinetics",
    "selex_concentration",
    "selex_singlestrand",
]


def fit_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config = json.loads((GOLDEN / "full" / f"{name}.config.json").read_text())
    case = json.loads((GOLDEN / "full" / f"{name}.json").read_text())
    return config | {"coefficients": case["coefficients"]}, case


def tables_of(fit: dict[str, Any]) -> list[CountTable]:
    names = [each["countTableFile"] for each in fit["modelSettings"]["countTable"]]
    frames = [get_dataframe(GOLDEN / "full" / name) for name in names]
    return parse_probound_tables(fit, frames)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_parts_make_the_whole(name: str) -> None:
    fit, case = fit_of(name)
    settings = fit["modelSettings"]["bindingModes"]
    alphabet = parse_probound_alphabet(fit)
    specs = [
        parse_probound_psam(fit, index)
        if each["size"]
        else NonSpecific(alphabet, ignore_length=True)
        for index, each in enumerate(settings)
    ]
    for index, table in enumerate(tables_of(fit)):
        modes = parse_probound_modes(fit, specs, table, index)
        dimers = parse_probound_interactions(fit, modes, index)
        rounds = parse_probound_rounds(fit, modes, dimers, index)
        for each in rounds[1:]:
            each.train_depth = False
        log_p = Experiment(rounds)(table.seqs).double()
        loss = -(table.target.double() * log_p).sum()
        wanted = case["unpenalizedLogLikelihoodPerRead"][index]
        assert float(loss / table.target.sum()) == pytest.approx(wanted, rel=1e-5)
        last = table.target.shape[1] - 1
        aggregate = parse_probound_aggregate(fit, modes, dimers, index, last)
        probes = case["tables"][index]["probes"]
        found = aggregate(table.seqs[: len(probes)]).exp()
        sums = torch.tensor([probe["alphaRI"][last] for probe in probes])
        torch.testing.assert_close(found, sums, rtol=1e-4, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_model_has_the_objective_of_the_fit(name: str) -> None:
    fit, case = fit_of(name)
    config = {key: fit[key] for key in fit if key != "coefficients"}
    tables = tables_of(fit)
    loss = parse_probound_model(fit, config, tables)
    assert float(sum(loss(tables))) == pytest.approx(case["value"], rel=1e-9)


@torch.no_grad()
def test_flanks_of_the_table_may_be_longer_than_those_of_the_fit() -> None:
    fit, case = fit_of("selex_int_homog")
    (table,) = tables_of(fit)
    table.set_flank_length(left=4, right=6)
    alphabet = parse_probound_alphabet(fit)
    specs = [
        NonSpecific(alphabet, ignore_length=True),
        parse_probound_psam(fit, 1),
        parse_probound_psam(fit, 2),
    ]
    modes = parse_probound_modes(fit, specs, table, 0)
    dimers = parse_probound_interactions(fit, modes, 0)
    probes = case["tables"][0]["probes"]
    codes = table.seqs[: len(probes)]
    found = torch.stack([each(codes) for each in [*modes, *dimers]], 1).exp()
    wanted = torch.tensor([[*p["alphaSeq"], *p["alphaInt"]] for p in probes])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_last_line_is_the_final_fit(tmp_path: Path) -> None:
    first, _ = fit_of("selex_mono")
    last, _ = fit_of("selex_di2")
    path = tmp_path / "fit.models.json"
    path.write_text(f"{json.dumps(first)}\n{json.dumps(last)}\n")
    assert get_fit_final(str(path)) == last


def test_complementary_letters_lie_at_mirrored_places() -> None:
    document = json.loads((GOLDEN / "scoring/syn_meth.json").read_text())
    alphabet = parse_probound_alphabet(document)
    assert alphabet.complement
    pairs = dict(zip(alphabet.alphabet, reversed(alphabet.alphabet), strict=True))
    assert pairs == {"A": "T", "T": "A", "C": "G", "G": "C", "m": "g", "g": "m"}


def test_a_matrix_becomes_energies() -> None:
    matrix = np.arange(12.0).reshape(4, 3)
    psam = import_matrix(matrix, DNA())
    np.testing.assert_array_equal(psam.get_filter(0)[0].detach().numpy(), matrix)


@pytest.mark.parametrize("matrix", [np.zeros((3, 5)), np.zeros((4, 0)), np.zeros(4)])
def test_a_matrix_of_another_shape_is_refused(matrix: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"shape .* is not \(letters, positions\)"):
        import_matrix(matrix, DNA())


def test_what_does_not_fit_is_refused() -> None:
    fit, _ = fit_of("selex_mono")
    (table,) = tables_of(fit)
    with pytest.raises(InputError, match="is non-specific"):
        parse_probound_psam(fit, 0)
    with pytest.raises(InputError, match=r"no bindingModes\[2\]: there are 2"):
        parse_probound_psam(fit, 2)
    with pytest.raises(InputError, match="has 2 modes, but 0 are given"):
        parse_probound_modes(fit, [], table, 0)
    with pytest.raises(InputError, match="has 1 count tables, but 0 are given"):
        parse_probound_tables(fit, [])
    short = pd.DataFrame([[1, 2, 3]], index=["ACGT"])
    with pytest.raises(InputError, match="has 4 letters, not variableRegionLength 14"):
        parse_probound_tables(fit, [short])
