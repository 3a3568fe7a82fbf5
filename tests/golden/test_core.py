"""Whole experiments of every assay kind against golden numbers.

From the betas to the loss, its gradient and the plan of the sequential procedure.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pyprobound import Experiment, Optimizer, layers
from tests.golden.cases import (
    CORE,
    DTYPES,
    GRADIENT_TOLERANCE,
    VALUE_TOLERANCE,
    aggregate_of,
    assert_agree,
    build_model,
    gradient_of,
    gradients_of_betas,
    read_case,
)

each_case = pytest.mark.parametrize("name", CORE)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def test_no_case_is_missing() -> None:
    assert len(CORE) == 13


@each_dtype
@each_case
@torch.no_grad()
def test_specifications_agree(name: str, dtype: torch.dtype) -> None:
    case, tolerance = read_case("core", name), VALUE_TOLERANCE[dtype]
    model = build_model(name, dtype)
    for key, golden in case["specs_parameters"].items():
        psam = model.specs[key]
        assert isinstance(psam, layers.PSAM)
        assert len(golden["filters"]) == psam.pairwise_distance + 1
        for distance, values in enumerate(golden["filters"]):
            assert_agree(psam.get_filter(distance), values, tolerance)
        bits = [psam.get_information(i) for i in range(psam.kernel_size)]
        assert_agree(
            torch.tensor(bits, dtype=torch.float64), golden["information"], tolerance
        )
        assert_agree(psam.get_dirichlet(), golden["dirichlet"], tolerance)


@each_dtype
@each_case
@torch.no_grad()
def test_scores_of_bindings_agree(name: str, dtype: torch.dtype) -> None:
    case, tolerance = read_case("core", name), VALUE_TOLERANCE[dtype]
    model = build_model(name, dtype)
    for table, bindings, result in zip(
        model.tables, model.bindings, case["results"], strict=True
    ):
        assert table.input_shape == result["scored_length"]
        assert bindings.keys() == result["modes"].keys()
        for key, golden in result["modes"].items():
            assert_agree(bindings[key](table.seqs), golden["score"], tolerance)
            expected = bindings[key].expected_log_score()
            assert_agree(expected, golden["expected_log_score"], tolerance)


ROUND_OUTPUTS = (
    "log_aggregate",
    "log_enrichment",
    "log_cumulative_enrichment",
    "forward",
)


@each_dtype
@each_case
@torch.no_grad()
def test_rounds_and_experiments_agree(name: str, dtype: torch.dtype) -> None:
    case, tolerance = read_case("core", name), VALUE_TOLERANCE[dtype]
    model = build_model(name, dtype)
    for index, result in enumerate(case["results"]):
        seqs = model.tables[index].seqs
        for each, golden in zip(model.rounds[index], result["rounds"], strict=True):
            for output in ROUND_OUTPUTS:
                if output in golden:
                    found = getattr(each, output)(seqs)
                    assert_agree(found, golden[output], tolerance)
        log_p = model.experiments[index](seqs)
        assert log_p.dtype == dtype
        assert_agree(log_p, result["experiment"], tolerance)


@each_dtype
@each_case
def test_losses_and_gradients_agree(name: str, dtype: torch.dtype) -> None:
    case, tolerance = read_case("core", name), GRADIENT_TOLERANCE[dtype]
    model = build_model(name, dtype)
    loss = model.loss(model.tables)
    golden = case["loss"]
    assert_agree(loss.negloglik, golden["negloglik"], VALUE_TOLERANCE[dtype])
    assert_agree(loss.regularization, golden["regularization"], VALUE_TOLERANCE[dtype])
    (loss.negloglik + loss.regularization).backward()
    gradient = case["gradient"]
    for key, betas in gradient["betas"].items():
        psam = model.specs[key]
        assert isinstance(psam, layers.PSAM)
        expected = [betas[beta] for beta in psam.betas]
        assert_agree(gradients_of_betas(psam), expected, tolerance)
    for chain, depths, activities in zip(
        model.rounds, gradient["log_depth"], gradient["log_activities"], strict=True
    ):
        for each, depth, values in zip(chain, depths, activities, strict=True):
            if each.train_depth:
                assert_agree(gradient_of(each.log_depth), depth, tolerance)
            else:
                assert each.log_depth.grad is None
                assert depth == 0
            if values:
                parts = aggregate_of(each).components()
                found = torch.stack([gradient_of(part.log_activity) for part in parts])
                assert_agree(found, values, tolerance)


@each_case
def test_all_gradients_are_finite(name: str) -> None:
    model = build_model(name, torch.float64)
    model.loss.requires_grad_()
    loss = model.loss(model.tables)
    (loss.negloglik + loss.regularization).backward()
    for path, parameter in model.loss.named_parameters():
        assert gradient_of(parameter).isfinite().all(), path


def normalised(plan: str) -> list[str]:
    """Return the lines of a plan with the arguments of each call in order."""
    lines = []
    for line in plan.strip().splitlines():
        call = re.fullmatch(r"(\s*[\w.-]+)\((.*)\)", line)
        if call is None:
            lines.append(line)
        else:
            arguments = ", ".join(sorted(call[2].split(", ")))
            lines.append(f"{call[1]}({arguments})")
    return lines


@each_case
def test_plans_agree(name: str, tmp_path: Path) -> None:
    model = build_model(name, torch.float32)
    optimizer = Optimizer(
        model.loss,
        model.tables,
        checkpoint=tmp_path / "model.pt",
        output=tmp_path / "log.txt",
        device="cpu",
    )
    plan = optimizer.get_train_sequential()
    assert normalised(plan) == normalised(read_case("core", name)["plan"])


WITH_FREE_PROTEIN = [
    name for name in CORE if "free_protein_value" in read_case("core", name)
]


@pytest.mark.parametrize("name", WITH_FREE_PROTEIN)
def test_free_protein_agrees(name: str) -> None:
    case: dict[str, Any] = read_case("core", name)
    experiment: Experiment = build_model(name, torch.float64).experiments[0]
    found = experiment.free_protein(*case["free_protein"])
    assert found == pytest.approx(case["free_protein_value"], rel=1e-9)


def test_a_case_has_free_protein() -> None:
    assert WITH_FREE_PROTEIN == ["kd_seq"]
