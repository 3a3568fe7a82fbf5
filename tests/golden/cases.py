"""The golden cases as models, and how closely numbers must agree."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyprobound import (
    Aggregate,
    Binding,
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    alphabets,
    layers,
    rounds,
)
from tests.golden.pack import DATA, Arrays, split

DTYPES = (torch.float64, torch.float32)

# The difference allowed, relative to the largest magnitude of an array, or to 1.
VALUE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
GRADIENT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

COOPERATIVITY = sorted(path.stem for path in (DATA / "cooperativity").glob("*.json"))
# Of a mode with a Hill coefficient, which the case does not list among its parameters:
# what its scores follow from, all 24 of them alike.
MODE_LOG_HILL = 0.3
CORE = sorted(path.stem for path in (DATA / "core").glob("*.json"))


def assert_agree(found: Tensor | float, golden: ArrayLike, tolerance: float) -> None:
    """Check the shape, where numbers are infinite, and the largest difference."""
    wanted = np.asarray(golden, dtype=np.float64)
    if not isinstance(found, Tensor):
        found = torch.tensor(found, dtype=torch.float64)
    values = found.detach().to(torch.float64).numpy()
    assert values.shape == wanted.shape
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(values[~finite], wanted[~finite])
    if finite.any():
        scale = max(1.0, float(np.abs(wanted[finite]).max()))
        difference = np.abs(values[finite] - wanted[finite]).max()
        assert difference <= tolerance * scale


@cache
def read_case(folder: str, name: str) -> dict[str, Any]:
    """Return the description of a case (shared between tests: not to be changed)."""
    text = (DATA / folder / f"{name}.json").read_text(encoding="utf-8")
    case: dict[str, Any] = json.loads(text)
    return case


@cache
def read_arrays(name: str) -> Arrays:
    """Return the kept numbers of a case of cooperativity."""
    with np.load(DATA / "cooperativity" / f"{name}.npz") as archive:
        return dict(archive)


def alphabet_of(case: dict[str, Any]) -> alphabets.Alphabet:
    """Return the alphabet of a case, DNA unless it names another."""
    made: alphabets.Alphabet = getattr(alphabets, case.get("alphabet", "DNA"))()
    return made


TABLE_ARGUMENTS = (
    "left_flank",
    "right_flank",
    "left_flank_length",
    "right_flank_length",
)


def table_of(
    description: dict[str, Any],
    seqs: list[str],
    counts: list[list[float]],
    alphabet: alphabets.Alphabet,
) -> CountTable:
    """Return the count table of a case."""
    arguments = {key: description[key] for key in TABLE_ARGUMENTS if key in description}
    return CountTable(
        pd.DataFrame(counts, index=seqs),
        alphabet,
        min_variable_length=description["min_len"],
        max_variable_length=description["max_len"],
        **arguments,
    )


def gradients_of_betas(psam: layers.PSAM) -> Tensor:
    """Return the gradient of every beta, in the order of the keys."""
    gradients = []
    for parameter in psam.betas.parameters():
        assert parameter.grad is not None
        gradients.append(parameter.grad.flatten())
    return torch.cat(gradients)


def gradient_of(parameter: Tensor) -> Tensor:
    """Return the gradient that a parameter has received."""
    assert parameter.grad is not None
    return parameter.grad


def bias_of(mode: Mode) -> Tensor:
    """Return the position bias of a mode's last layer."""
    layer = mode.chain[-1]
    assert isinstance(layer, layers.Conv1d | layers.Conv0d)
    return layer.log_posbias


# --- cooperativity ----------------------------------------------------------------


@dataclass
class Dimer:
    """A case of golden/cooperativity as a model."""

    table: CountTable
    psams: dict[str, layers.PSAM]
    modes: dict[str, Mode]
    dimer: Cooperativity

    @property
    def seqs(self) -> Tensor:
        """The encoded probes."""
        return self.table.seqs


def _layers_before(
    description: dict[str, Any], alphabet: alphabets.Alphabet, table: CountTable
) -> list[layers.Layer]:
    if "pad" in description:
        left, right = description["pad"]
        return layers.get_padding_layers(alphabet, table, left=left, right=right)
    if "roll" in description:
        spec = layers.RollSpec(alphabet, **description["roll"])
        return [layers.Roll.from_spec(spec, table)]
    return []


def build_dimer(name: str, dtype: torch.dtype) -> Dimer:
    """Build a case of golden/cooperativity and set its parameters."""
    case, arrays = read_case("cooperativity", name), read_arrays(name)
    alphabet = alphabet_of(case)
    counts = [[1.0]] * len(case["seqs"])
    table = table_of(case["table"], case["seqs"], counts, alphabet)
    psams = {
        key: layers.PSAM(alphabet=alphabet, name=key, **arguments)
        for key, arguments in case["psams"].items()
    }
    modes = {}
    for key, description in case["modes"].items():
        before = _layers_before(description, alphabet, table)
        last = layers.Conv1d.from_psam(
            psams[description["psam"]],
            before[-1] if before else table,
            **description.get("conv", {}),
        )
        modes[key] = Mode(
            [*before, last], train_hill=description.get("train_hill", False)
        )
    mode_a, mode_b = (modes[key] for key in case["dimer"])
    spacing = Spacing(mode_a.key(), mode_b.key(), **case.get("spacing", {}))
    dimer = Cooperativity(spacing, mode_a, mode_b, **case.get("cooperativity", {}))
    for module in (*modes.values(), dimer):
        module.to(dtype)
    _set_dimer(dimer, psams, modes, arrays)
    return Dimer(table, psams, modes, dimer)


@torch.no_grad()
def _set_dimer(
    dimer: Cooperativity,
    psams: dict[str, layers.PSAM],
    modes: dict[str, Mode],
    arrays: Arrays,
) -> None:
    for key, psam in psams.items():
        names = arrays[f"psam.{key}.betas.keys"]
        values = arrays[f"param.psam.{key}.betas"]
        for name, value in zip(names, values, strict=True):
            psam.betas[str(name)].fill_(float(value))
    for key, mode in modes.items():
        set_value(bias_of(mode), arrays[f"param.mode.{key}.log_posbias"])
        if mode.train_hill:
            mode.log_hill.fill_(MODE_LOG_HILL)
    set_value(dimer.spacing.log_spacing, arrays["param.spacing.log_spacing"])
    set_value(dimer.log_hill, arrays["param.log_hill"])
    biases = split(arrays["param.log_posbias"], arrays["param.log_posbias.shapes"])
    assert len(biases) == len(dimer.log_posbias)
    for parameter, value in zip(dimer.log_posbias, biases, strict=True):
        set_value(parameter, value)


@torch.no_grad()
def set_value(parameter: Tensor, value: ArrayLike) -> None:
    """Set a parameter to golden numbers, whose shape it must have."""
    new = torch.as_tensor(np.asarray(value, dtype=np.float64))
    assert parameter.shape == new.shape
    parameter.copy_(new)


# --- core -------------------------------------------------------------------------


@dataclass
class Model:
    """A case of golden/core as a model."""

    specs: dict[str, layers.LayerSpec]
    spacings: dict[str, Spacing]
    tables: list[CountTable]
    bindings: list[dict[str, Binding]]
    rounds: list[list[rounds.BaseRound]]
    experiments: list[Experiment]
    loss: MultiExperimentLoss


def build_model(name: str, dtype: torch.dtype) -> Model:
    """Build a case of golden/core and set its parameters."""
    case = read_case("core", name)
    alphabet = alphabet_of(case)
    specs = {key: _spec(key, dict(d), alphabet) for key, d in case["specs"].items()}
    model = Model(specs, {}, [], [], [], [], loss=None)
    for description, result in zip(case["experiments"], case["results"], strict=True):
        table = table_of(
            description["table"], result["seqs"], result["counts"], alphabet
        )
        bindings = _bindings(description, model, table)
        chain = _rounds(description["rounds"], bindings)
        observed = description.get("observed", range(len(chain)))
        experiment = Experiment(
            [chain[index] for index in observed],
            counts_per_round=table.counts_per_round,
        )
        model.tables.append(table)
        model.bindings.append(bindings)
        model.rounds.append(chain)
        model.experiments.append(experiment)
    options = case["loss"]["options"]
    model.loss = MultiExperimentLoss(model.experiments, **options).to(dtype)
    _set_model(case, model)
    return model


def _spec(
    name: str, description: dict[str, Any], alphabet: alphabets.Alphabet
) -> layers.LayerSpec:
    if description.pop("kind") == "nonspecific":
        return layers.NonSpecific(alphabet, name=name, **description)
    return layers.PSAM(alphabet=alphabet, name=name, **description)


def _bindings(
    description: dict[str, Any], model: Model, table: CountTable
) -> dict[str, Binding]:
    modes: dict[str, Mode] = {}
    for key, mode in description["modes"].items():
        spec, arguments = model.specs[mode["spec"]], mode.get("args", {})
        if isinstance(spec, layers.PSAM):
            modes[key] = Mode.from_psam(spec, table, **arguments)
        elif isinstance(spec, layers.NonSpecific):
            modes[key] = Mode.from_nonspecific(spec, table, **arguments)
    dimers: dict[str, Binding] = {}
    for key, dimer in description.get("dimers", {}).items():
        mode_a, mode_b = modes[dimer["a"]], modes[dimer["b"]]
        name = dimer.get("spacing_name", key)
        if name not in model.spacings:
            model.spacings[name] = Spacing(
                mode_a.key(), mode_b.key(), name=name, **dimer.get("spacing", {})
            )
        dimers[key] = Cooperativity(
            model.spacings[name], mode_a, mode_b, **dimer.get("args", {})
        )
    return {**modes, **dimers}


def _rounds(
    descriptions: list[dict[str, Any]], bindings: dict[str, Binding]
) -> list[rounds.BaseRound]:
    chain: list[rounds.BaseRound] = []
    for description in descriptions:
        kind = getattr(rounds, description["kind"])
        if kind is rounds.InitialRound:
            chain.append(kind())
        elif "from" in description:
            chain.append(kind.from_round(chain[description["from"]]))
        else:
            chain.append(
                kind.from_binding(
                    [bindings[key] for key in description["binding"]],
                    chain[description["reference"]],
                    **description.get("args", {}),
                )
            )
    return chain


@torch.no_grad()
def _set_model(case: dict[str, Any], model: Model) -> None:
    for key, values in case["specs_parameters"].items():
        psam = model.specs[key]
        assert isinstance(psam, layers.PSAM)
        assert set(psam.betas) == set(values["betas"])
        for beta, value in values["betas"].items():
            psam.betas[beta].fill_(value)
    for key, values in case["spacings"].items():
        set_value(model.spacings[key].log_spacing, values)
    for bindings, chain, result in zip(
        model.bindings, model.rounds, case["results"], strict=True
    ):
        for key, values in result["modes"].items():
            _set_bias(bindings[key], values["log_posbias"])
        for each, values in zip(chain, result["rounds"], strict=True):
            _set_round(each, values)


def _set_bias(binding: Binding, values: list[Any]) -> None:
    if isinstance(binding, Mode):
        set_value(bias_of(binding), values)
        return
    assert isinstance(binding, Cooperativity)
    assert len(binding.log_posbias) == len(values)
    for parameter, value in zip(binding.log_posbias, values, strict=True):
        set_value(parameter, value)


def _set_round(each: rounds.BaseRound, values: dict[str, Any]) -> None:
    assert type(each).__name__ == values["kind"]
    assert each.train_depth == values["train_depth"]
    set_value(each.log_depth, values["log_depth"])
    for name in ("rho", "gamma", "delta"):
        if name in values:
            set_value(getattr(each, name), values[name])
    if "log_activities" in values:
        aggregate = aggregate_of(each)
        set_value(
            aggregate.log_target_concentration, values["log_target_concentration"]
        )
        for part, value in zip(
            aggregate.components(), values["log_activities"], strict=True
        ):
            set_value(part.log_activity, value)


def aggregate_of(each: rounds.BaseRound) -> Aggregate:
    """Return what binds in a round."""
    assert isinstance(each, rounds.Round)
    return each.aggregate


def shared_arrays(shared: Path, name: str) -> Arrays:
    """Return all golden numbers of a case of cooperativity, as they were given."""
    with np.load(shared / "golden" / "cooperativity" / f"{name}.npz") as archive:
        return dict(archive)
