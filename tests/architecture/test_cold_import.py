"""Importing the package and asking the command for help stay light."""

import json
import subprocess
import sys

import pytest

USE_EVERY_PUBLIC_NAME = """
import pyprobound
for name in pyprobound.__all__:
    getattr(pyprobound, name)
"""
ASK_FOR_HELP = """
import contextlib, io, sys
from pyprobound.cli import main
sys.argv = ["pyprobound", *{words!r}, "--help"]
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
assert "Usage" in printed.getvalue(), printed.getvalue()
"""
PRINT_LOADED = """
import json, sys
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + PRINT_LOADED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_using_the_library_loads_no_package_of_the_command_or_of_plots() -> None:
    loaded = loaded_by(USE_EVERY_PUBLIC_NAME)
    assert {"pyprobound", "torch"} <= loaded
    assert not loaded & {"numba", "matplotlib", "typer", "rich", "pydantic"}


def test_library_does_without_pyarrow() -> None:
    # pandas loads pyarrow by itself where it finds it, so hide it instead of looking.
    hide = 'import sys; sys.modules["pyarrow"] = None\n'
    assert "torch" in loaded_by(hide + USE_EVERY_PUBLIC_NAME)


PICTURES = ["logo", "posbias", "spacing", "cooperativity", "enrichment", "kmers"]
PICTURES += ["kd", "keff", "contribution", "convergence"]
COMMANDS = ["fit", "select", "convert", "models", "score", "simulate", "report", "plot"]


@pytest.mark.parametrize(
    "words",
    [[], *([each] for each in COMMANDS), *(["plot", each] for each in PICTURES)],
)
def test_help_loads_neither_torch_nor_pandas(words: list[str]) -> None:
    loaded = loaded_by(ASK_FOR_HELP.format(words=words))
    assert "pyprobound" in loaded
    heavy = {"torch", "pandas", "numba", "matplotlib", "jinja2", "pyarrow"}
    assert not loaded & heavy
