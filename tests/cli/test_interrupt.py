"""A fit that is interrupted keeps the best model so far, and says so."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.optimizer import Optimizer
from tests.cli.cases import MINIMAL, Command, listing, random_probes

# Adam gains a little in each of many epochs: a fit that lasts as long as one likes.
ENDLESS = """\
[optimizer]
optimizer = "Adam"
arguments = { lr = 0.0005 }
epochs = 1000000
patience = 1000000
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_keeps_the_best_model(
    command: Command, experiment: Path, name: str
) -> None:
    rows = (f"{x}\t1\t{1 + 9 * ('TAAT' in x)}\n" for x in random_probes(2000, 10))
    (experiment / "counts.tsv").write_text("".join(rows))
    (experiment / "fit.toml").write_text(MINIMAL + ENDLESS)
    script = "from pyprobound.cli import main; main()"
    words = [sys.executable, "-c", script, "fit", "fit.toml", "-o", "run"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        _wait_for_epochs(experiment / "run/log.jsonl", 20)
        process.send_signal(signal.Signals[name])
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.Signals[name]
    *_, kept, how = err.decode().splitlines()
    assert kept == f"interrupted by {name}: the best model so far is in run/model.pt"
    assert how == "go on with: pyprobound fit fit.toml -o run --resume"
    assert "Traceback" not in err.decode()
    assert "Loss per read" in out.decode()
    result = json.loads((experiment / "run/result.json").read_text(encoding="utf-8"))
    assert result["interrupted"] is True
    assert result["ended"] == f"interrupted by {name}"
    assert result["uncertainty"] == {"skipped": "the fit was interrupted"}
    events = [
        json.loads(x) for x in (experiment / "run/log.jsonl").read_text().splitlines()
    ]
    assert result["steps"][-1]["ended"] == result["ended"]
    kept = [each for each in events if each.get("best")][-1]
    best = kept["train_loss"] + kept["train_regularization"]
    # the model on disk may be one epoch ahead of the last line of the log
    assert best - 1e-3 < result["loss_per_read"]["total"] < best + 1e-6
    assert not [each for each in listing(experiment / "run") if each.startswith(".")]
    assert command("score", "run", stdin="ACGTAATC\n").code == 0


def _wait_for_epochs(log: Path, n_lines: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if log.exists() and log.read_text().count("\n") >= n_lines:
            return
        time.sleep(0.05)
    pytest.fail("the fit has not begun within two minutes")


def test_interruption_before_the_first_model_says_that_there_is_none(
    command: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Optimizer, **_: object) -> None:  # noqa: ARG001 as a method
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Optimizer, "train_sequential", interrupted)
    done = command("fit", "fit.toml", "-o", "run")
    assert done.err == (
        "interrupted by SIGTERM: it had no model yet\n"
        "go on with: pyprobound fit fit.toml -o run --resume\n"
    )
    assert (done.code, done.out) == (143, "")
    result = json.loads((experiment / "run/result.json").read_text(encoding="utf-8"))
    assert result["interrupted"] is True
    assert result["loss_per_read"] == {}
    assert "modes" not in result


def test_handlers_are_those_of_before_afterwards() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted), raised_signals():
        signal.raise_signal(signal.SIGINT)
    after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_second_signal_is_not_caught() -> None:
    caught = (signal.SIGINT, signal.SIGTERM)
    with raised_signals():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        assert {signal.getsignal(each) for each in caught} == {signal.SIG_DFL}
