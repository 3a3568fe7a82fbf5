"""Gradients of whole models against finite differences, float64, variable lengths."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Loss,
    Mode,
    MultiExperimentLoss,
    layers,
    rounds,
)
from pyprobound.layers.conv1d import BiasMode
from tests.properties.models import (
    DNA,
    conv_of,
    dimer_of,
    random_texts,
    randomised,
    spacing_of,
)

TEXTS = random_texts(1, 4, 6, "ACGT*", n_probes=5)
COUNTS = [
    [3.0, 1.0, 0.0],
    [0.0, 2.0, 5.0],
    [1.0, 1.0, 4.0],
    [2.0, 0.0, 1.0],
    [1.0, 7.0, 2.0],
]

PSAMS: dict[str, dict[str, Any]] = {
    "pairs": {"kernel_size": 2, "pairwise_distance": 1, "train_bias": True},
    "palindrome": {
        "kernel_size": 2,
        "symmetry": [1, -1],
        "pairwise_distance": 1,
        "normalize": True,
    },
    "dilation": {"kernel_size": 2, "dilation": 2},
}
BIASES: tuple[BiasMode, ...] = ("channel", "same", "reverse")
DIMER_BIASES = ("strand", "same", "reverse")


def table() -> CountTable:
    return CountTable(
        pd.DataFrame(COUNTS, index=TEXTS),
        DNA,
        left_flank="GA",
        right_flank="CT",
        left_flank_length=1,
        right_flank_length=1,
    )


def checked(module: nn.Module, score: Callable[[], Tensor]) -> None:
    """Check the gradient of every parameter that is trained."""
    trained = [p for p in module.parameters() if p.requires_grad]
    assert trained

    def of(*_: Tensor) -> Tensor:
        value = score()
        # What is −∞ has no difference; its gradient is zero and is tested elsewhere.
        return value[value.isfinite()]

    # In a random direction instead of one entry after the other.
    assert torch.autograd.gradcheck(of, trained, atol=1e-7, fast_mode=True)


@pytest.mark.parametrize("bias_mode", BIASES)
@pytest.mark.parametrize("kind", PSAMS)
def test_modes(bias_mode: BiasMode, kind: str) -> None:
    data = table()
    mode = Mode.from_psam(
        layers.PSAM(alphabet=DNA, **PSAMS[kind]),
        data,
        train_posbias=True,
        bias_mode=bias_mode,
        bias_bin=2,
        normalize=kind == "palindrome",
        train_hill=True,
    )
    randomised(mode, 2)
    checked(mode, lambda: mode(data.seqs))
    checked(mode, lambda: mode.score_windows(data.seqs))


def made_dimer(
    data: CountTable, arguments: dict[str, Any], limits: dict[str, Any]
) -> Cooperativity:
    modes = [
        Mode.from_psam(layers.PSAM(size, alphabet=DNA, name=name), data)
        for name, size in (("a", 2), ("b", 1))
    ]
    arguments = arguments | {"train_posbias": True, "train_hill": True}
    return dimer_of(spacing_of(modes, **limits), modes, **arguments)


@pytest.mark.parametrize("bias_mode", DIMER_BIASES)
@pytest.mark.parametrize("normalize", [False, True])
def test_dimers(bias_mode: str, *, normalize: bool) -> None:
    """Two probes of the shortest length have no pair at all, or few."""
    data = table()
    arguments: dict[str, Any] = {
        "bias_mode": bias_mode,
        "bias_bin": 2,
        "normalize": normalize,
    }
    limits = {"max_overlap": 0, "max_spacing": 2, "normalize": normalize}
    dimer = made_dimer(data, arguments, limits)
    randomised(dimer, 3)
    for mode in dimer.components():
        mode.log_hill.requires_grad = False
    checked(dimer, lambda: dimer(data.seqs))


def test_dimers_that_lack_pairs() -> None:
    data = table()
    dimer = made_dimer(data, {}, {"max_overlap": 0})
    randomised(dimer, 3)
    with torch.no_grad():
        dimer.spacing.log_spacing[:, ::2] = -math.inf
        for bias in dimer.log_posbias[::3]:
            bias[0] = -math.inf
    parameters = [*conv_of(dimer.mode_a).layer_spec.betas.parameters(), dimer.log_hill]

    def of(*_: Tensor) -> Tensor:
        value: Tensor = dimer(data.seqs)
        return value[value.isfinite()]

    assert torch.autograd.gradcheck(of, parameters)
    dimer.zero_grad()
    of().sum().backward()
    for path, parameter in dimer.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), path


ROUNDS: dict[str, tuple[type[rounds.Round], dict[str, Any]]] = {
    "bound": (rounds.BoundRound, {}),
    "unsaturated": (rounds.BoundUnsaturatedRound, {}),
    "exponents": (rounds.RhoGammaRound, {"rho": 0.7, "gamma": -0.4}),
    "kinetics": (rounds.ExponentialRound, {"delta": -2.0}),
}


@pytest.mark.parametrize("kind", ROUNDS)
def test_whole_losses(kind: str) -> None:
    """Loss and penalty, from betas and biases to depths and activities."""
    data = table()
    round_type, arguments = ROUNDS[kind]
    dimer = made_dimer(data, {"bias_mode": "same"}, {"max_overlap": 0})
    nonspecific = Mode.from_nonspecific(
        layers.NonSpecific(DNA), data, train_posbias=True
    )
    first = rounds.InitialRound()
    second = round_type.from_binding(
        [nonspecific, *dimer.components(), dimer],
        first,
        train_concentration=True,
        **arguments,
    )
    third = rounds.UnboundRound.from_round(second)
    experiment = Experiment([first, second, third], data.counts_per_round)
    loss = MultiExperimentLoss(
        [experiment],
        pseudocount=3.0,
        lambda_l2=1e-2,
        lambda_l1=1e-2,
        exponential_bound=2.0,
        full_loss=True,
    )
    randomised(loss, 4, scale=0.5)
    loss.unfreeze()

    def total() -> Tensor:
        found: Loss = loss([data])
        return (found.negloglik + found.regularization)[None]

    checked(loss, total)
    loss.zero_grad()
    total().sum().backward()
    for path, parameter in loss.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, path
            assert parameter.grad.isfinite().all(), path


def test_gradients_of_the_second_order() -> None:
    """For error bars: the Hessian of a small model is that of differences."""
    data = table()
    dimer = made_dimer(data, {}, {"max_overlap": 0})
    randomised(dimer, 5)
    dimer.freeze()
    parameter = next(conv_of(dimer.mode_a).layer_spec.betas.parameters())
    parameter.requires_grad_()

    def of(_: Tensor) -> Tensor:
        value: Tensor = dimer(data.seqs)
        return value[value.isfinite()]

    assert torch.autograd.gradgradcheck(of, (parameter,), fast_mode=True)
