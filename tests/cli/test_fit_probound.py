"""Configurations of ProBound, fitted by the command."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyprobound.cli import _fit_probound
from pyprobound.cli._signals import Interrupted
from pyprobound.probound import Trained, build, read, value_of
from tests.cli.cases import Command, listing

TRAIN = Path(__file__).parents[1] / "golden/data/probound/train"
FUNCTIONS = json.loads((TRAIN / "plain.builder.json").read_text())
FUNCTIONS[3] |= {"size": 3}
FUNCTIONS[4] |= {"mononucleotideIUPAC": "CAT"}
FUNCTIONS[5] |= {"outputPath": "out", "baseName": "small"}


@pytest.fixture
def config(folder: Path) -> Path:
    """A configuration of 300 probes, its table beside it."""
    lines = (TRAIN / "sim1.tsv").read_text().splitlines(keepends=True)
    (folder / "sim1.tsv").write_text("".join(lines[:300]))
    path = folder / "config.json"
    path.write_text(json.dumps(FUNCTIONS))
    return path


def models_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_list_of_functions_is_fitted_unchanged(
    command: Command, config: Path
) -> None:
    done = command("fit", config.name)
    assert done.code == 0, done.err
    assert set(listing(config.parent / "out")) == {
        "config.json",
        "result.json",
        "small.models.json",
    }
    models = models_of(config.parent / "out/small.models.json")
    assert models[-1]["metadata"]["fitName"] == "component1-4-all"
    assert "component1-4-all" in done.err
    shown = f"= {models[-1]['metadata']['logLikelihoodPerRead']:.6f}"
    assert shown in done.out


def test_the_final_model_is_found_and_evaluated_again(
    command: Command, config: Path
) -> None:
    assert command("fit", config.name, "-q", "-o", "run").out == ""
    document = read(config.parent / "run/small.models.json")
    model = build(document)
    value = value_of(model.loss, model.read_tables())
    known = document.content.metadata["logLikelihoodPerRead"]
    assert value.value == pytest.approx(known, abs=1e-6)


def test_what_a_run_has_written_can_be_run_again(
    command: Command, config: Path
) -> None:
    for name, start in (
        ("first", config),
        ("second", config.parent / "first/config.json"),
    ):
        assert command("fit", start, "-q", "-o", name).code == 0
    first, second = (
        models_of(config.parent / f"{name}/small.models.json")[-1]["coefficients"]
        for name in ("first", "second")
    )
    assert first == second


def test_the_programs_own_steps_have_its_names(command: Command, config: Path) -> None:
    done = command("fit", config.name, "--procedure", "probound", "-q", "-o", "run")
    assert done.code == 0, done.err
    names = [
        each["metadata"]["fitName"] for each in models_of(Path("run/small.models.json"))
    ]
    assert names == [
        "component0-0-h",
        "component0-1-f0",
        "component0-2-variation0",
        "component0-4-all",
        "component1-0-h",
        "component1-1-f0",
        "component1-2-variation0",
        "component1-4-all",
    ]
    assert json.loads(Path("run/result.json").read_text())["procedure"] == "probound"


def test_tables_may_be_elsewhere(command: Command, config: Path) -> None:
    (config.parent / "data").mkdir()
    shutil.move("sim1.tsv", "data/counts.tsv")
    done = command("fit", config.name, "-q", "-o", "run", "--table", "data/counts.tsv")
    assert done.code == 0, done.err
    assert build(read("run/small.models.json")).read_tables()


def test_an_interruption_keeps_the_steps_that_were_done(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = _fit_probound.Steps.__call__

    def third(self: _fit_probound.Steps, step: Trained) -> None:
        take(self, step)
        if len(self.lines) == 2:
            raise Interrupted(2)

    monkeypatch.setattr(_fit_probound.Steps, "__call__", third)
    done = command("fit", config.name, "-o", "run")
    assert done.code == 130
    assert "interrupted by SIGINT: the steps that were done are in" in done.err
    assert len(models_of(Path("run/small.models.json"))) == 2
    assert json.loads(Path("run/result.json").read_text())["interrupted"] is True


BAD = {
    "is not known; known are": [{"function": "addTabel"}],
    "function 0 (addTable): needs countTableFile": [{"function": "addTable"}],
    "index 7, but there are 2": [*FUNCTIONS, {"function": "symmetry", "index": 7}],
    "sim1.tsv has 3 columns of counts, not nColumns 4": [
        FUNCTIONS[0] | {"nColumns": 4},
        *FUNCTIONS[1:],
    ],
    "has 14 letters, not variableRegionLength 13": [
        FUNCTIONS[0] | {"variableRegionLength": 13},
        *FUNCTIONS[1:],
    ],
    "flankLength 40 exceeds a flank of 8": [
        *FUNCTIONS[:3],
        FUNCTIONS[3] | {"flankLength": 40},
    ],
    "symmetryString 'AB' has 2 positions, not 3": [
        *FUNCTIONS,
        {"function": "symmetry", "index": 1, "symmetryString": "AB"},
    ],
    "fitLogActivity: false": [
        *FUNCTIONS[:3],
        FUNCTIONS[3] | {"fitLogActivity": False},
    ],
    "modeledColumns [1]: one says nothing": [
        FUNCTIONS[0] | {"modeledColumns": [1]},
        *FUNCTIONS[1:],
    ],
    "has no modelSettings": {"modes": []},
    "is no number that a model may have": '{"modelSettings": NaN}',
    "line 1, column 2: no JSON": "{",
    "the file is empty": "",
}


@pytest.mark.parametrize("rule", BAD)
def test_bad_input_is_one_line(command: Command, config: Path, rule: str) -> None:
    bad = BAD[rule]
    config.write_text(bad if isinstance(bad, str) else json.dumps(bad))
    done = command("fit", config.name, "-o", "run")
    assert done.code == 2
    assert rule in done.err
    assert done.err.count("\n") == 1
    assert not Path("run").exists()


def test_unknown_keys_are_named(command: Command, config: Path) -> None:
    functions = [*FUNCTIONS, {"function": "optimizerSetting", "wizardry": 3}]
    config.write_text(json.dumps(functions))
    done = command("fit", config.name, "-q", "-o", "run")
    assert done.code == 0
    assert "keys that are not known are ignored: optimizerSetting.wizardry" in done.err


def test_options_of_such_configurations_are_theirs_alone(
    command: Command, experiment: Path
) -> None:
    done = command("fit", "fit.toml", "--procedure", "probound")
    assert done.code == 2
    assert done.err == "error: --procedure is for a CONFIG.json, not fit.toml\n"
    assert not (experiment / "fit.run").exists()


def test_truncated_files_have_one_line(command: Command, config: Path) -> None:
    text = (TRAIN / "plain.config.json").read_text()
    draw = np.random.default_rng(0)
    for end in draw.integers(1, len(text.rstrip()), 20):
        config.write_text(text[:end])
        done = command("fit", config.name, "-o", "run")
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert not Path("run").exists()
