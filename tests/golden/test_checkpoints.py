"""Checkpoints of PyProBound 1.5: tensors alone, one for each beta."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pyprobound import layers
from pyprobound.base import read_checkpoint
from pyprobound.errors import CheckpointError
from tests.golden.cases import (
    VALUE_TOLERANCE,
    Model,
    assert_agree,
    build_model,
    read_case,
)
from tests.golden.pack import DATA

CHECKPOINTS = sorted((DATA / "core").glob("*.pt"))
each_checkpoint = pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda p: p.stem)
TOLERANCE = VALUE_TOLERANCE[torch.float64]


@torch.no_grad()
def forgotten(name: str) -> Model:
    """Return the model of a case with parameters that have nothing to do with it."""
    model = build_model(name, torch.float64)
    for parameter in model.loss.parameters():
        parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return model


@torch.no_grad()
def assert_is_golden(model: Model, case: dict[str, Any]) -> None:
    for index, result in enumerate(case["results"]):
        table = model.tables[index]
        for key, golden in result["modes"].items():
            found = model.bindings[index][key](table.seqs)
            assert_agree(found, golden["score"], TOLERANCE)
        assert_agree(
            model.experiments[index](table.seqs), result["experiment"], TOLERANCE
        )
    loss = model.loss(model.tables)
    assert_agree(loss.negloglik, case["loss"]["negloglik"], TOLERANCE)
    assert_agree(loss.regularization, case["loss"]["regularization"], TOLERANCE)


def test_no_checkpoint_is_missing() -> None:
    assert len(CHECKPOINTS) == 4


@each_checkpoint
def test_numbers_are_those_of_the_checkpoint(path: Path) -> None:
    case = read_case("core", path.stem)
    state = read_checkpoint(path)["state_dict"]
    assert sorted(state) == sorted(case["state_dict_keys"])
    model = forgotten(path.stem)
    metadata = model.loss.reload(path)
    assert metadata["version"] == "1.5.0"
    assert_is_golden(model, case)


@each_checkpoint
def test_its_footprints_are_taken_over(path: Path) -> None:
    model = forgotten(path.stem)
    psam = next(x for x in model.specs.values() if isinstance(x, layers.PSAM))
    psam.update_footprint(1, 0)
    model.loss.settle()
    model.loss.reload(path)
    assert_is_golden(model, read_case("core", path.stem))


def test_what_was_loaded_is_saved_and_edited_as_any_model(tmp_path: Path) -> None:
    path = DATA / "core" / "dimer_joint.pt"
    model = forgotten(path.stem)
    model.loss.reload(path)
    psam = next(x for x in model.specs.values() if isinstance(x, layers.PSAM))
    psam.update_footprint(1, 1)
    psam.update_footprint(-1, -1)
    model.loss.save(tmp_path / "model.pt")
    again = forgotten(path.stem)
    again.loss.reload(tmp_path / "model.pt")
    assert_is_golden(again, read_case("core", path.stem))


@pytest.mark.parametrize(
    "entry", ["betas.1-0", "symmetry", "_input_shape", "rho", "posbias"]
)
def test_a_checkpoint_of_another_model_changes_nothing(entry: str) -> None:
    model = build_model("kd_seq", torch.float64)
    state = read_checkpoint(DATA / "core" / "kd_seq.pt")["state_dict"]
    if entry == "rho":
        state["transforms.0.rounds.1.rho"] = torch.zeros(())
    elif entry == "posbias":
        for key in [key for key in state if key.endswith("log_posbias")]:
            state[key] = torch.zeros(1, 2, 3)
    else:
        for key in [key for key in state if key.endswith(entry)]:
            del state[key]
    with pytest.raises(CheckpointError, match="another model") as raised:
        model.loss.reload_from_state_dict(state)
    assert "\n" not in str(raised.value)
    assert_is_golden(model, read_case("core", "kd_seq"))
