"""What all components share: names, plans, files, and the recursion over children."""

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyprobound import Component, Mode, Transform, __version__, layers
from pyprobound.base import (
    BindingOptim,
    Call,
    Phase,
    Shaped,
    Step,
    read_checkpoint,
    undone_if_refused,
)
from pyprobound.errors import CheckpointError, PyProBoundError
from tests.unit.fits import DNA, fit_of, reads_of, table_of

# --- names and texts --------------------------------------------------------------


def test_components_show_their_class_and_their_name() -> None:
    assert str(layers.PSAM(3, DNA, name="a")) == "PSAM-a"
    assert str(layers.PSAM(3, DNA)) == "PSAM"
    fit = fit_of()
    call = Call(fit.modes[1], "update_read_length", {"left_shift": 1, "right_shift": 2})
    assert str(call) == "Mode-a.update_read_length(left_shift=1, right_shift=2)"
    assert str(Call(fit.model, "freeze", {})) == "MultiExperimentLoss.freeze()"


def test_calls_and_steps_are_tuples_of_what_is_documented() -> None:
    psam = layers.PSAM(3, DNA)
    component, function, arguments = Call(psam, "freeze", {})
    assert (component, function, arguments) == (psam, "freeze", {})
    step = Step([Call(psam, "freeze", {})])
    assert step[:2] == ([Call(psam, "freeze", {})], False)
    ancestry, steps = BindingOptim([(psam,)], [step])
    assert ancestry == [(psam,)]
    assert steps == [step]


# --- the procedure ----------------------------------------------------------------


def test_steps_are_ordered_by_phase_and_joined() -> None:
    first, second = layers.PSAM(3, DNA, name="a"), layers.PSAM(3, DNA, name="b")
    letters = [
        Call(psam, "unfreeze", {"parameter": "monomer"}) for psam in (first, second)
    ]
    grow = [
        Call(psam, "update_footprint", {"left_shift": 1}) for psam in (first, second)
    ]
    last = Call(first, "unfreeze", {"parameter": "all"})
    plan = BindingOptim(
        [],
        [
            Step([last], phase=Phase.ALL),
            Step([letters[1]]),
            Step([grow[1]], True, Phase.GROW, second),
            Step([letters[0], letters[1]]),
            Step([grow[0]], True, Phase.GROW, first),
            Step([last], phase=Phase.ALL),
            Step([], phase=Phase.PAIRS),
        ],
    )
    plan.merge_binding_optim()
    assert [step.calls for step in plan.steps] == [
        [letters[1], letters[0]],
        [grow[1]],
        [grow[0]],
        [last],
    ]
    assert [step.greedy for step in plan.steps] == [False, True, True, False]


def test_a_procedure_can_be_continued_before_it_is_merged() -> None:
    fit = fit_of()
    experiment = next(fit.model.components())
    order = experiment.optim_procedure((fit.model,))
    assert list(order) == [mode.key() for mode in fit.modes]
    for found in order.values():
        (path,) = found.ancestry
        assert path[0] is fit.model
        assert path[1] is experiment
    again = experiment.optim_procedure((fit.model,), order)
    assert again is order
    assert all(len(found.ancestry) == 2 for found in order.values())
    for found in order.values():
        found.merge_binding_optim()
    whole = fit.model.optim_procedure()
    assert [found.steps for found in order.values()] == [
        found.steps for found in whole.values()
    ]


# --- transforms -------------------------------------------------------------------


class Bare(Transform):
    """Gives neither of the two methods that a transform needs."""

    def components(self) -> Iterator[Component]:
        return iter(())


def test_a_transform_must_say_what_it_computes() -> None:
    with pytest.raises(NotImplementedError, match="Bare gives neither"):
        Bare()(torch.zeros(1, 3))


class OnlyForward(Bare):
    def forward(self, seqs: Tensor) -> Tensor:
        return seqs.sum(1)


def test_either_method_gives_the_other() -> None:
    seqs = torch.arange(6).reshape(2, 3)
    assert OnlyForward()(seqs).tolist() == [3, 12]
    mode = fit_of().modes[1]
    table = table_of(reads_of(5))
    assert torch.equal(mode(table.seqs), mode.forward(table.seqs))


# --- edits ------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_only_a_refusal_is_undone(error: type[Exception]) -> None:
    psam = layers.PSAM(3, DNA)
    before = psam.get_filter(0).detach().clone()
    with pytest.raises(error), undone_if_refused(psam):
        psam.update_footprint(left_shift=1)
        raise error
    assert (psam.kernel_size == 3) is (error is ValueError)
    if error is ValueError:
        assert torch.equal(psam.get_filter(0), before)


def test_inconsistent_lengths_are_found_from_above() -> None:
    fit = fit_of(layers.PSAM(3, DNA, name="a"))
    conv = fit.modes[1].chain[0]
    pool = layers.MaxPool1d.from_spec(layers.MaxPool1dSpec(2, 2), conv)
    chain = Mode([conv, pool])
    chain.check_length_consistency()
    pool._input_shape += 1
    message = r"MaxPool1d of Mode-a: expected .* \(7, 7, 7\) .*, found \(8, 7, 7\)"
    with pytest.raises(RuntimeError, match=message):
        chain.check_length_consistency()


# --- checkpoints ------------------------------------------------------------------


def test_a_checkpoint_says_when_and_by_what_it_was_written(tmp_path: Path) -> None:
    fit = fit_of()
    fit.model.save(tmp_path / "model.pt", ((1, 2),))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content.keys() == {"state_dict", "metadata"}
    metadata = content["metadata"]
    assert metadata["version"] == __version__
    assert metadata["flank_lengths"] == ((1, 2),)
    written = datetime.fromisoformat(metadata["time"])
    assert abs(datetime.now(written.tzinfo) - written) < timedelta(minutes=5)
    assert content["state_dict"].keys() == fit.model.state_dict().keys()
    assert fit.model.reload(str(tmp_path / "model.pt")) == metadata


def test_every_parameter_and_structure_goes_round() -> None:
    psams = [
        layers.PSAM(k, DNA, name=n, pairwise_distance=1)
        for k, n in ((5, "a"), (4, "b"))
    ]
    fit = fit_of(*psams, dimer=True)
    with torch.no_grad():
        for parameter in fit.model.parameters():
            parameter.uniform_(-1, 1)
    psams[0].update_footprint(left_shift=1, right_shift=1)
    file = io.BytesIO()
    fit.model.save(file)
    fresh = fit_of(
        *[
            layers.PSAM(k, DNA, name=n, pairwise_distance=1)
            for k, n in ((5, "a"), (4, "b"))
        ],
        dimer=True,
    )
    file.seek(0)
    fresh.model.reload(file)
    assert fresh.psams[0].symmetry == psams[0].symmetry
    assert fresh.loss() == fit.loss()
    for (name, found), (other, expected) in zip(
        fresh.model.named_parameters(), fit.model.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(found, expected)
        assert found.requires_grad == expected.requires_grad


Spoil = Callable[[dict[str, Any]], object]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a list": (list, "holds no state_dict and metadata"),
    "a bare state dict": (
        lambda content: content["state_dict"],
        "holds no state_dict and metadata",
    ),
    "without an entry": (
        lambda content: {
            **content,
            "state_dict": {
                key: value
                for key, value in content["state_dict"].items()
                if not key.endswith("log_depth")
            },
        },
        r"another model: 2 entries missing \(such as .*log_depth\)",
    ),
    "with a stranger": (
        lambda content: {
            **content,
            "state_dict": content["state_dict"] | {"other.weight": torch.zeros(2)},
        },
        r"another model: 1 entries not in this model \(such as other\.weight\)",
    ),
    "of other structure": (
        lambda content: {
            **content,
            "state_dict": {
                key: {} if key.endswith("_extra_state") else value
                for key, value in content["state_dict"].items()
            },
        },
        "another model",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_checkpoint_of_this_model_is_refused(
    name: str, tmp_path: Path
) -> None:
    spoil, message = SPOILT[name]
    fit = fit_of()
    fit.model.save(tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save(spoil(content), tmp_path / "model.pt")
    before = dict(fit.model.named_parameters())
    with pytest.raises(CheckpointError, match=message) as caught:
        fit.model.reload(tmp_path / "model.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'model.pt'}: ")
    assert "\n" not in str(caught.value)
    after = dict(fit.model.named_parameters())
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint at all")
    (tmp_path / "empty.pt").touch()
    for name in ("text.pt", "empty.pt"):
        with pytest.raises(CheckpointError, match=f"{name}: not a readable checkpoint"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="the checkpoint: not a readable"):
        read_checkpoint(io.BytesIO(b"PK"))
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: no such file"):
        read_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(PyProBoundError, match="cannot be written"):
        fit_of().model.save(tmp_path / "missing" / "model.pt")


def test_shaped_parts_save_plain_structures() -> None:
    fit = fit_of(
        layers.PSAM(4, DNA, name="a"), layers.PSAM(3, DNA, name="b"), dimer=True
    )
    shaped = [part for part in fit.model.modules() if isinstance(part, Shaped)]
    assert len(shaped) >= 6

    def assert_plain(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert isinstance(key, str)
                assert_plain(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                assert_plain(inner)
        else:
            assert isinstance(value, int | str | Tensor)

    for part in shaped:
        assert_plain(part.structure())
        assert part.get_extra_state().keys() == part.structure().keys()
