"""The command as a person meets it: help, version, progress."""

import sys

import pytest

from pyprobound._version import __version__
from pyprobound.cli import _progress
from pyprobound.cli._progress import Live, Silent, progress_for
from pyprobound.optimizer import EndEvent, ProgressEvent
from tests.cli.cases import Command


def event(
    step: int, epoch: int, loss: float, val_loss: float | None = None
) -> ProgressEvent:
    return ProgressEvent(
        binding="PSAM-[a]",
        step=step,
        call="x",
        epoch=epoch,
        train_loss=loss,
        train_regularization=0.5,
        val_loss=val_loss,
        best=True,
        seconds=1.25,
    )


def end(step: int, epoch: int | None, ended: str) -> EndEvent:
    return EndEvent("PSAM-[a]", step, "x", epoch, 0.25, ended, 2.5)


@pytest.mark.parametrize("words", [[], ["fit"], ["score"], ["simulate"]])
def test_help_explains_itself_with_an_example(
    command: Command, words: list[str]
) -> None:
    done = command(*words, "--help")
    assert done.code == 0
    assert "Usage" in done.out
    if words:
        assert f"pyprobound {words[0]} " in done.out.partition("Examples:")[2]
    # the lines of a configuration stay lines, and its brackets brackets
    if words == ["fit"]:
        assert '      [experiment]\n      table = "counts.tsv.gz"\n' in done.out
        assert "      [[modes]]\n" in done.out


def test_version(command: Command) -> None:
    assert command("--version").out == f"pyprobound {__version__}\n"


def test_unknown_option_is_bad_input(command: Command) -> None:
    done = command("fit", "--sead", "3")
    assert done.code == 2
    assert "--sead" in done.err


def test_plain_lines_are_one_for_each_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "_EVERY", 3600.0)
    with progress_for(sys.stderr, quiet=False) as progress:
        for step, epoch in ((0, 0), (0, 1), (0, 2)):
            progress(event(step, epoch, 1 + step + epoch / 8))
        progress.end(end(0, 2, "converged: yes"))
        progress.end(end(1, None, "refused: no"))
        progress(event(2, 0, 2.0))
    assert capsys.readouterr().err.splitlines() == [
        "    2.5 s  PSAM-[a] step 0 epoch 2: loss 1.750000; converged: yes",
        "    2.5 s  PSAM-[a] step 1: refused: no",
        "    1.2 s  PSAM-[a] step 2 epoch 0: loss 2.500000",
    ]


def test_long_step_has_a_line_now_and_then_but_none_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "_EVERY", -1.0)
    with progress_for(sys.stderr, quiet=False) as progress:
        for epoch in range(3):
            progress(event(0, epoch, epoch / 8, val_loss=0.25))
    assert capsys.readouterr().err.splitlines() == [
        f"    1.2 s  PSAM-[a] step 0 epoch {i}: loss {0.5 + i / 8:.6f},"
        " held out 0.250000"
        for i in range(3)
    ]


def test_terminal_has_a_live_line_that_leaves_the_steps_behind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = progress_for(sys.stderr, quiet=False)
    assert isinstance(shown, Live)
    with shown as progress:
        progress(event(0, 0, 1.0))
        progress.end(end(0, 0, "[converged]"))
        progress(event(1, 0, 2.0))
    left = capsys.readouterr().err
    assert "PSAM-[a] step 0 epoch 0: loss 1.500000; [converged]" in left
    assert "PSAM-[a] step 1 epoch 0: loss 2.500000" in left


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress_for(sys.stderr, quiet=True)
    assert type(shown) is Silent
    with shown as progress:
        progress(event(0, 0, 1.0))
    assert capsys.readouterr().err == ""
