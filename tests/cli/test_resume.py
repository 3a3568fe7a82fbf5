"""`pyprobound fit --resume`: a fit that has died ends as if it had not."""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pyprobound.cli import _fit
from pyprobound.cli._progress import Silent
from pyprobound.fit_state import StateFile
from pyprobound.optimizer import ProgressEvent
from tests.cli.cases import MINIMAL, Command, listing

GREEDY = """\
increment_footprint = true
max_size = 5

[optimizer]
epochs = 2
greedy_threshold = 1e-4
"""


def result_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    return content


def events_of(run: Path) -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def assert_same_fit(run: Path, other: Path) -> None:
    """Check that models are the same to the last bit, and so is what is told."""
    one, two = (
        torch.load(folder / "model.pt", weights_only=True)["state_dict"]
        for folder in (run, other)
    )
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(7), two[key].nan_to_num(7)), key
    assert events_of(run) == events_of(other)
    results = [result_of(folder) for folder in (run, other)]
    for key in ("seconds", "peak_memory_bytes", "started", "resumed"):
        for result in results:
            assert result.pop(key) is not None
    for result in results:
        for step in result["steps"]:
            step["seconds"] = None
        del result["experiments"][0]["tables"]  # relative to the run
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return what gives the run of a fit that nothing has interrupted."""
    known = tmp_path_factory.mktemp("whole") / "run"

    def run_of(experiment: Path) -> Path:
        if not known.exists():
            options = _fit.FitOptions(experiment / "fit.toml", known, None, True, False)
            assert _fit.run_fit(options) == 0
        return known

    return run_of


@pytest.fixture
def greedy(experiment: Path) -> Path:
    """A folder with a configuration that has greedy steps."""
    (experiment / "fit.toml").write_text(MINIMAL + GREEDY)
    return experiment


class Stopping(Silent):
    """Interrupts a fit after some epochs, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, event: ProgressEvent) -> None:  # noqa: ARG002 as the protocol
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def interrupted(
    command: Command, greedy: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The run of a fit that was interrupted after its sixth epoch."""
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "progress_for", lambda *_, **__: Stopping(6))
        patch.setattr(_fit, "StateFile", partial(StateFile, share=math.inf))
        done = command("fit", "fit.toml", "-o", "run")
    assert done.code == 130
    last = done.err.splitlines()[-1]
    assert last == "go on with: pyprobound fit fit.toml -o run --resume"
    return greedy / "run"


KILLED = """\
import functools, math, os, signal, sys
from pyprobound.cli import _fit, main
from pyprobound.cli._progress import Silent

class Killing(Silent):
    left = int(sys.argv.pop(1))

    def __call__(self, event):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

_fit.progress_for = lambda *_, **__: Killing()
_fit.StateFile = functools.partial(_fit.StateFile, share=math.inf)
main()
"""


@pytest.mark.slow
def test_a_fit_that_is_killed_ends_the_same(
    command: Command, greedy: Path, whole: Callable[[Path], Path]
) -> None:
    words = ["fit", "fit.toml", "-o", "run", "-q"]
    for n_epochs in ("3", "6"):
        script = [sys.executable, "-c", KILLED, n_epochs]
        done = subprocess.run([*script, *words], check=False, env=dict(os.environ))
        assert done.returncode == -signal.SIGKILL
        words = [*words[:5], "--resume"]
    # two epochs and five are in the state, the last of each was told before it was
    assert StateFile(greedy / "run/fit.state").read().events == 7
    told = events_of(greedy / "run")
    assert sum("ended" not in each for each in told) == 8
    (greedy / "run/.fit.state.half").write_text("what was being written")
    done_at_last = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done_at_last.code == 0
    assert "going on with run: 7 epochs and " in done_at_last.err
    assert result_of(greedy / "run")["resumed"] == 2
    assert listing(greedy / "run").keys() == listing(whole(greedy)).keys()
    assert_same_fit(greedy / "run", whole(greedy))


def test_an_interrupted_fit_ends_the_same(
    command: Command, interrupted: Path, whole: Callable[[Path], Path]
) -> None:
    assert result_of(interrupted)["interrupted"] is True
    assert StateFile(interrupted / "fit.state").read().events == 5
    started = result_of(interrupted)["started"]
    # What the fit did after its state was written is not told twice.
    with (interrupted / "log.jsonl").open("a") as file:
        file.write('{"epoch": "of which only half')
    done = command("fit", "run/config.toml", "-o", "run", "--resume")
    assert done.code == 0
    assert result_of(interrupted)["started"] == started
    assert result_of(interrupted)["resumed"] == 1
    assert not (interrupted / "fit.state").exists()
    assert_same_fit(interrupted, whole(interrupted.parent))


def test_a_finished_fit_is_left_alone(command: Command, run: Path) -> None:
    before = listing(run)
    done = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done.code == 0
    assert done.out == "run: already finished, see run/result.json\n"
    assert listing(run) == before


def test_what_died_before_its_state_was_written_begins(
    command: Command, run: Path, trained: Path
) -> None:
    (run / "result.json").unlink()
    assert command("fit", "fit.toml", "-o", "run", "--resume", "-q").code == 0
    assert_same_fit(run, trained)


def test_nothing_to_go_on_with_is_refused(command: Command, experiment: Path) -> None:
    for name in ("new", "."):
        done = command("fit", "fit.toml", "-o", name, "--resume")
        assert done.code == 2
        assert done.err == (
            f"error: {name}: no fit was begun here; leave out --resume to begin one\n"
        )
    assert not (experiment / "new").exists()


def test_beginning_anew_and_going_on_contradict_each_other(
    command: Command, run: Path
) -> None:
    before = listing(run)
    done = command("fit", "fit.toml", "-o", "run", "--resume", "--force")
    assert done.code == 2
    assert done.err.startswith("error: --force begins anew, --resume goes on")
    assert listing(run) == before


@pytest.mark.parametrize(
    ("change", "words", "difference"),
    [
        (("size = 4", "size = 5"), [], "modes[0].size: 4 → 5"),
        (("epochs = 2", "epochs = 5"), [], "optimizer.epochs: 2 → 5"),
        (("", ""), ["--seed", "3"], "seed: 0 → 3"),
        (("epochs = 2", "patience = 4"), [], "optimizer.patience: 10 → 4"),
    ],
    ids=["model", "optimizer", "seed", "default"],
)
def test_another_configuration_is_refused_with_the_difference(
    command: Command,
    interrupted: Path,
    change: tuple[str, str],
    words: list[str],
    difference: str,
) -> None:
    before = listing(interrupted)
    path = interrupted.parent / "fit.toml"
    path.write_text(path.read_text().replace(*change))
    done = command("fit", "fit.toml", "-o", "run", "--resume", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: run: begun with another configuration: ")
    assert difference in done.err
    assert "change it back, or begin anew with --force" in done.err
    assert done.err.count("\n") == 1
    assert listing(interrupted) == before


def test_another_table_is_refused(command: Command, interrupted: Path) -> None:
    table = interrupted.parent / "counts.tsv"
    table.write_text(table.read_text().replace("\t9\n", "\t8\n", 1))
    done = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done.code == 2
    assert "experiments[0].sha256: " in done.err


@pytest.mark.usefixtures("run")
def test_a_finished_fit_of_another_configuration_is_no_result(
    command: Command,
) -> None:
    done = command("fit", "fit.toml", "-o", "run", "--resume", "--seed", "9")
    assert done.code == 2
    assert "seed: 0 → 9" in done.err


def test_a_damaged_state_is_told_in_one_line(
    command: Command, interrupted: Path
) -> None:
    state = interrupted / "fit.state"
    state.write_bytes(state.read_bytes()[:-10])
    before = listing(interrupted)
    done = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done.code == 2
    assert done.err == (
        "error: run/fit.state: cut short or damaged; remove it to begin anew\n"
    )
    assert listing(interrupted) == before


def test_epochs_that_the_log_lacks_are_told(
    command: Command, interrupted: Path
) -> None:
    (interrupted / "log.jsonl").write_text("")
    state = StateFile(interrupted / "fit.state").read()
    known = state.events + state.ends
    assert known > state.events > 0
    done = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done.code == 0
    assert f"warning: run/log.jsonl: lacks {known} of {known} lines" in done.err


def test_a_state_from_before_ends_were_told_is_gone_on_with(
    command: Command, interrupted: Path, whole: Callable[[Path], Path]
) -> None:
    file = StateFile(interrupted / "fit.state")
    state = file.read()
    del state.tally["ends"]
    file.keep(lambda: state, now=True)
    log = interrupted / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"ended"' not in line))
    assert command("fit", "fit.toml", "-o", "run", "--resume").code == 0
    result, other = result_of(interrupted), result_of(whole(interrupted.parent))
    for key in ("modes", "experiments", "loss_per_read", "ended"):
        if key == "experiments":
            del result[key][0]["tables"], other[key][0]["tables"]  # relative
        assert result[key] == other[key]
    assert [each["epoch"] for each in result["steps"]] == [
        each["epoch"] for each in other["steps"]
    ]
    assert result["steps"][-1] == other["steps"][-1] | {
        "seconds": result["steps"][-1]["seconds"]
    }


@pytest.mark.parametrize("word", ["--resume", "--force"])
def test_two_fits_do_not_run_in_one_folder(
    command: Command, interrupted: Path, word: str
) -> None:
    before = listing(interrupted)
    handle = os.open(interrupted, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        done = command("fit", "fit.toml", "-o", "run", word)
    finally:
        os.close(handle)
    assert done.code == 2
    assert done.err.startswith("error: run: a fit is running here; wait for it")
    assert listing(interrupted) == before


def test_what_cannot_be_resumed_says_so(command: Command, experiment: Path) -> None:
    (experiment / "fit.toml").write_text(MINIMAL + "[select]\nsizes = [3, 4]\n")
    done = command("fit", "fit.toml", "-o", "run", "--resume")
    assert done.code == 2
    assert done.err == (
        "error: fit.toml: a selection begins anew; to go on with the fit of the chosen"
        " model, resume run/config.toml -o run\n"
    )
    done = command("fit", "fit.json", "--resume")
    assert done.code == 2
    assert done.err == "error: --resume is for a CONFIG.toml, not fit.json\n"
