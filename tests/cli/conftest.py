"""Fixtures of the tests of the command: running it, small tables, a small fit."""

import io
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from pyprobound.cli import main
from pyprobound.cli._fit import FitOptions, run_fit
from tests.cli.cases import MINIMAL, Command, Done, table_text


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs the command here, as in ``command("fit", "fit.toml")``."""

    def run(*words: str | Path, stdin: str | bytes = "") -> Done:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        file = io.TextIOWrapper(io.BufferedReader(io.BytesIO(given)))
        if words[:1] in (("fit",), ("select",)) and "--report" not in words:
            words = (*words, "--no-report")  # pictures take longer than a small fit
        with monkeypatch.context() as patch, warnings.catch_warnings():
            # what would be an error in a test is shown to the user here
            warnings.filterwarnings("default", module="pyprobound")
            patch.setattr(sys, "argv", ["pyprobound", *map(str, words)])
            patch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as stop:
                main()
        shown = capsys.readouterr()
        code = stop.value.code
        assert isinstance(code, int | None)
        return Done(code or 0, shown.out, shown.err)

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def experiment(folder: Path) -> Path:
    """A folder with a small table and a minimal configuration of it."""
    (folder / "counts.tsv").write_text(table_text())
    (folder / "fit.toml").write_text(MINIMAL)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small fit, not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "counts.tsv").write_text(table_text())
    (folder / "fit.toml").write_text(MINIMAL)
    options = FitOptions(folder / "fit.toml", folder / "run", None, True, False)
    assert run_fit(options) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, experiment: Path) -> Path:
    """A copy of a small fit, beside its configuration and its table."""
    copy: Path = shutil.copytree(trained, experiment / "run")
    return copy
