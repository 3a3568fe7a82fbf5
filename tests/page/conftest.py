"""Small fits of many kinds, each made once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.cli._simulate import run_simulate
from pyprobound.page import open_page_run, page_of, rendered
from tests.cli.cases import LEFT, RIGHT, table_text
from tests.page.html import Element, parsed

FLANKS = f'left_flank = "{LEFT}"\nright_flank = "{RIGHT}"'
ONE = f"""\
[experiment]
name = "one"
table = "counts.tsv"
{FLANKS}
[[modes]]
name = "a"
size = 4
"""
RICH = f"""\
[[experiments]]
name = "first"
table = "counts.tsv"
{FLANKS}
rounds = ["initial", "bound_unsaturated"]
[[experiments]]
name = "second"
table = "counts.tsv"
{FLANKS}
[[modes]]
name = "a"
size = 4
symmetry = "palindrome"
position_bias = true
[[modes]]
name = "b"
size = 3
pairwise_distance = 1
[[dimers]]
modes = ["a", "b"]
max_spacing = 1
[optimizer]
validation_fraction = 0.2
epochs = 6
[loss]
lambda_l2 = 1e-3
"""
PEPTIDES = """\
alphabet = "protein"
[experiment]
name = "peptides"
table = "peptides.tsv"
[[modes]]
name = "site"
size = 3
[loss]
lambda_l2 = 1e-3
"""
KD_TRUTH = f"""\
seed = 1
[experiment]
name = "kdseq"
{FLANKS}
[[experiment.rounds]]
kind = "initial"
name = "input"
[[experiment.rounds]]
kind = "bound"
name = "bound"
target_concentration = 50
library_concentration = 20
log_activities = {{ NS = -6, tf = -8 }}
[[experiment.rounds]]
kind = "unbound"
name = "unbound"
shares = "bound"
reference = "input"
[[modes]]
name = "tf"
size = 4
consensus = "TAAT"
scale = 1.5
[simulate]
n_probes = 300
length = 10
reads = [20000, 20000, 20000]
"""
KD_FIT = f"""\
[experiment]
name = "kdseq"
table = "truth/counts.tsv.gz"
{FLANKS}
[[experiment.rounds]]
kind = "initial"
name = "input"
[[experiment.rounds]]
kind = "bound"
name = "bound"
target_concentration = 50
library_concentration = 20
[[experiment.rounds]]
kind = "unbound"
name = "unbound"
shares = "bound"
reference = "input"
[[modes]]
name = "tf"
size = 4
seed = "TAAT"
"""

Fitted = Callable[[str], Path]


def peptides() -> str:
    """Peptides of which those with WF are selected."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(80):
        letters = list(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 6))
        if number % 4 == 0:
            letters[2:4] = "WF"
        rows.append(
            f"{''.join(letters)}\t{1 + number % 3}\t{9 if number % 4 == 0 else 1}"
        )
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="session")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Return what makes the fit of a configuration, once; it is not to be changed."""
    made: dict[str, Path] = {}

    def fitted(text: str) -> Path:
        if text not in made:
            folder = tmp_path_factory.mktemp("fit")
            (folder / "counts.tsv").write_text(table_text(300))
            (folder / "peptides.tsv").write_text(peptides())
            (folder / "fit.toml").write_text(text)
            if "truth/" in text:
                (folder / "truth.toml").write_text(KD_TRUTH)
                run_simulate(folder / "truth.toml", folder / "truth", None, force=False)
            options = FitOptions(
                folder / "fit.toml", folder / "run", None, quiet=True, force=False
            )
            assert run_fit(replace(options, report=True)) == 0
            made[text] = folder / "run"
        return made[text]

    return fitted


def page_text(run: Path, *tables: Path) -> str:
    """The page on a run directory as `pyprobound report` makes it."""
    return rendered(page_of(open_page_run(run, tables)))


def page(run: Path, *tables: Path) -> Element:
    return parsed(page_text(run, *tables))


def saved(run: Path) -> Element:
    """The page that a fit has left behind."""
    return parsed((run / "report.html").read_text(encoding="utf-8"))
