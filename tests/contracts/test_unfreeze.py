"""Which parameters each word of unfreeze reaches, class by class."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import nn

from pyprobound import Cooperativity, Mode, Spacing, Transform, layers, rounds
from pyprobound.base import Component
from tests.contracts.transforms import (
    DNA,
    TRANSFORMS,
    Contract,
    aggregate,
    bound,
    contribution,
    conv0d,
    conv1d,
    dimer,
    experiment,
    exponential,
    mode,
    multi_experiment_loss,
    psam,
    rho_gamma,
    specifications,
    table,
)

# The words of each class, and the ends of the names of what they reach.
WORDS: list[tuple[Callable[[], Component], dict[str, set[str]]]] = [
    (psam, {"monomer": {"betas.0"}, "pairwise": {"betas.1"}}),
    (conv1d, {"posbias": {"log_posbias"}}),
    (conv0d, {"posbias": {"log_posbias"}}),
    (mode, {"hill": {"log_hill"}}),
    (lambda: dimer().spacing, {"spacing": {"log_spacing"}}),
    (dimer, {"hill": {"log_hill"}, "posbias": {"log_posbias"}}),
    (contribution, {"activity": {"log_activity"}}),
    (aggregate, {"concentration": {"log_target_concentration"}}),
    (bound, {"depth": {"log_depth"}}),
    (rho_gamma, {"depth": {"log_depth"}, "rho": {"rho", "gamma"}}),
    (exponential, {"depth": {"log_depth"}, "delta": {"delta"}}),
    (experiment, {}),
    (multi_experiment_loss, {}),
]
IDS = [
    getattr(make, "__name__", "").replace("<lambda>", "spacing") for make, _ in WORDS
]


def own(component: nn.Module, ends: set[str]) -> set[str]:
    """Return the component's own parameters of these names, not its children's."""
    return {
        path
        for path, _ in component.named_parameters()
        if path in ends or path.rpartition(".")[0] in ends
    }


def trained(component: nn.Module) -> set[str]:
    return {path for path, p in component.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(("make", "words"), WORDS, ids=IDS)
def test_each_word_reaches_its_parameters_alone(
    make: Callable[[], Component], words: dict[str, set[str]]
) -> None:
    for word, ends in words.items():
        component = make()
        component.freeze()
        component.unfreeze(word)
        assert trained(component) == own(component, ends) != set()


@pytest.mark.parametrize(("make", "words"), WORDS, ids=IDS)
def test_the_class_lists_its_words(
    make: Callable[[], Component], words: dict[str, set[str]]
) -> None:
    component = make()
    assert set(get_args(component.unfreezable)) == {"all", *words}


@pytest.mark.parametrize(("make", "words"), WORDS, ids=IDS)
def test_any_other_word_is_refused(
    make: Callable[[], Component], words: dict[str, set[str]]
) -> None:
    component = make()
    others = {"monomer", "posbias", "hill", "spacing", "activity", "depth", "rho", "x"}
    component.freeze()
    for word in others - words.keys():
        with pytest.raises(ValueError, match=word):
            component.unfreeze(word)
    assert trained(component) == set()


@pytest.mark.parametrize("contract", TRANSFORMS, ids=str)
def test_all_recurses_and_restores_what_was_trained_at_first(
    contract: Contract,
) -> None:
    component: Transform = contract.make()
    before = trained(component)
    component.freeze()
    component.unfreeze()
    assert trained(component) == before
    component.freeze()
    component.unfreeze("all")
    assert trained(component) == before


def test_specifications_without_parameters_accept_all() -> None:
    for spec in specifications():
        spec.freeze()
        spec.unfreeze()


def fixed() -> Component:
    """Return a round of which nothing but betas, ω and ρ may be trained."""
    data = table()
    modes = [
        Mode.from_psam(layers.PSAM(k, alphabet=DNA, name=str(k)), data) for k in (3, 2)
    ]
    spacing = Spacing(modes[0].key(), modes[1].key())
    pair = Cooperativity(spacing, modes[0], modes[1])
    made = rounds.RhoGammaRound.from_binding(
        [*modes, pair], rounds.InitialRound(), train_depth=False
    )
    with torch.no_grad():
        for part in made.aggregate.components():
            part.log_activity.fill_(-1.0)
            part.train_activity = False
    return made


def test_all_reaches_what_the_arguments_allow() -> None:
    """ρ and γ always; depth, activity, bias, Hill and concentration if trained."""
    made = fixed()
    made.freeze()
    made.unfreeze()
    kinds = {path.rpartition(".")[2] for path in trained(made)}
    assert kinds == {"0", "log_spacing", "rho", "gamma"}
    assert all(
        ".betas." in path for path in trained(made) if path.rpartition(".")[2] == "0"
    )
