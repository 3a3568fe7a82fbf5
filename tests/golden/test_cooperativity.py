"""Dimers and their modes against golden numbers, in float64 and float32.

The numbers come from an independent implementation, on random parameters. Gradients
are those of Σ_i w_i · forward_i.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pyprobound import Cooperativity
from tests.golden.cases import (
    COOPERATIVITY,
    DTYPES,
    GRADIENT_TOLERANCE,
    VALUE_TOLERANCE,
    Dimer,
    assert_agree,
    bias_of,
    build_dimer,
    gradient_of,
    gradients_of_betas,
    read_arrays,
    read_case,
    shared_arrays,
)
from tests.golden.pack import Arrays, expected_diagonals, packed, split

each_case = pytest.mark.parametrize("name", COOPERATIVITY)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def test_no_case_is_missing() -> None:
    assert len(COOPERATIVITY) == 39


@each_dtype
@each_case
@torch.no_grad()
def test_modes_and_filters_agree(name: str, dtype: torch.dtype) -> None:
    arrays, tolerance = read_arrays(name), VALUE_TOLERANCE[dtype]
    model = build_dimer(name, dtype)
    for key, psam in model.psams.items():
        assert psam.symmetry == arrays[f"psam.{key}.symmetry"].tolist()
        assert set(psam.betas) == set(arrays[f"psam.{key}.betas.keys"])
        for distance in range(psam.pairwise_distance + 1):
            golden = arrays[f"psam.{key}.filter.{distance}"]
            assert_agree(psam.get_filter(distance), golden, tolerance)
    for key, mode in model.modes.items():
        windows = mode.score_windows(model.seqs)
        assert windows.dtype == dtype
        assert_agree(windows, arrays[f"mode.{key}.score_windows"], tolerance)
        assert_agree(mode(model.seqs), arrays[f"mode.{key}.forward"], tolerance)
        expected = arrays[f"mode.{key}.expected_log_score"]
        assert_agree(mode.expected_log_score(), expected, tolerance)


@each_dtype
@each_case
@torch.no_grad()
def test_dimers_agree(name: str, dtype: torch.dtype) -> None:
    case, arrays = read_case("cooperativity", name), read_arrays(name)
    tolerance = VALUE_TOLERANCE[dtype]
    model = build_dimer(name, dtype)
    dimer, probes = model.dimer, torch.from_numpy(arrays["probes"])
    assert dimer.n_strands == case["n_strands"]
    windows = dimer.score_windows(model.seqs[probes])
    assert list(windows.shape[-2:]) == case["n_windows"]
    assert_agree(windows, arrays["score_windows"], tolerance)
    score = dimer(model.seqs)
    assert score.dtype == dtype
    assert_agree(score, arrays["forward"], tolerance)
    assert_agree(dimer.expected_log_score(), arrays["expected_log_score"], tolerance)


@each_dtype
@each_case
@torch.no_grad()
def test_spacings_agree(name: str, dtype: torch.dtype) -> None:
    arrays, tolerance = read_arrays(name), VALUE_TOLERANCE[dtype]
    dimer = build_dimer(name, dtype).dimer
    assert_agree(dimer.get_log_spacing(), arrays["log_spacing"], tolerance)
    matrix = dimer.get_log_spacing_matrix()
    assert_agree(matrix, arrays["log_spacing_matrix"], tolerance)
    golden = expected_diagonals(arrays)
    found = dimer.get_log_spacing_diagonals()
    assert len(found) == len(golden)
    for one, other in zip(found, golden, strict=True):
        assert_agree(one, other, tolerance)


def weighted_sum(model: Dimer, arrays: Arrays) -> Tensor:
    score: Tensor = model.dimer(model.seqs)
    weights = torch.from_numpy(arrays["grad.weights"])
    # In float64, so that what is tested is the model and not this sum.
    return (weights * score.to(torch.float64)).sum()


def assert_gradients_agree(model: Dimer, arrays: Arrays, tolerance: float) -> None:
    for key, psam in model.psams.items():
        if not any(psam in mode.key() for mode in model.dimer.components()):
            continue
        keys = list(arrays[f"psam.{key}.betas.keys"])
        order = [keys.index(beta) for beta in psam.betas]
        golden = arrays[f"grad.psam.{key}.betas"][order]
        assert_agree(gradients_of_betas(psam), golden, tolerance)
    for key, mode in model.modes.items():
        if f"grad.mode.{key}.log_posbias" in arrays:
            golden = arrays[f"grad.mode.{key}.log_posbias"]
            assert_agree(gradient_of(bias_of(mode)), golden, tolerance)
    spacing = model.dimer.spacing.log_spacing
    assert_agree(gradient_of(spacing), arrays["grad.spacing.log_spacing"], tolerance)
    assert_agree(gradient_of(model.dimer.log_hill), arrays["grad.log_hill"], tolerance)
    if "grad.log_posbias" in arrays:
        biases = split(arrays["grad.log_posbias"], arrays["grad.log_posbias.shapes"])
        for bias, golden in zip(model.dimer.log_posbias, biases, strict=True):
            assert_agree(gradient_of(bias), golden, tolerance)


@each_dtype
@each_case
def test_gradients_agree(name: str, dtype: torch.dtype) -> None:
    arrays, model = read_arrays(name), build_dimer(name, dtype)
    model.dimer.log_hill.requires_grad_()
    weighted_sum(model, arrays).backward()
    assert_gradients_agree(model, arrays, GRADIENT_TOLERANCE[dtype])


@each_dtype
@each_case
def test_gradients_agree_and_are_finite_where_all_is_trained(
    name: str, dtype: torch.dtype
) -> None:
    arrays, model = read_arrays(name), build_dimer(name, dtype)
    model.dimer.requires_grad_()
    weighted_sum(model, arrays).backward()
    assert_gradients_agree(model, arrays, GRADIENT_TOLERANCE[dtype])
    # A mode's Hill coefficient is its own: the dimer is made of its windows.
    apart = {mode.log_hill for mode in model.dimer.components()}
    for path, parameter in model.dimer.named_parameters():
        if parameter not in apart:
            assert gradient_of(parameter).isfinite().all(), path


def procedure(dimer: Cooperativity) -> list[list[object]]:
    steps = dimer.optim_procedure()[dimer.key()].steps
    return [
        [type(call.cmpt).__name__, call.fun, call.kwargs, step.greedy, index]
        for index, step in enumerate(steps)
        for call in step.calls
    ]


@each_case
def test_procedures_agree(name: str) -> None:
    golden = read_case("cooperativity", name)["optim_procedure"]
    assert procedure(build_dimer(name, torch.float32).dimer) == golden


@each_case
@torch.no_grad()
def test_all_windows_agree_with_the_numbers_as_given(name: str, shared: Path) -> None:
    arrays, case = shared_arrays(shared, name), read_case("cooperativity", name)
    model = build_dimer(name, torch.float64)
    assert_agree(model.dimer.score_windows(model.seqs), arrays["score_windows"], 1e-9)
    kept, given = read_arrays(name), packed(arrays, [len(seq) for seq in case["seqs"]])
    assert kept.keys() == given.keys()
    for key, values in kept.items():
        np.testing.assert_array_equal(values, given[key], err_msg=key)
