"""Experiments to be judged: a truth, tables drawn from it, and fits of them."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.config import (
    BuiltModel,
    Document,
    make_tables,
    read_config,
    read_counts,
)
from pyprobound.run_directory import RunDirectory, open_run
from pyprobound.simulate import simulate, write_simulation
from pyprobound.table import CountTable

LEFT, RIGHT = "GTTCAGAGTTCTACA", "CCAGCTGTCGTATGC"
TRUTH = f"""\
seed = 7
[experiment]
name = "drawn"
left_flank = "{LEFT}"
right_flank = "{RIGHT}"
flank_length = 4
[[experiment.rounds]]
kind = "initial"
name = "R0"
[[experiment.rounds]]
kind = "bound_unsaturated"
name = "R1"
log_activities = {{ NS = -8.0, tf = 0.0 }}
[[experiment.rounds]]
kind = "bound_unsaturated"
name = "R2"
log_activities = {{ NS = -8.0, tf = 0.0 }}
[[modes]]
name = "tf"
train = TRAIN
[modes.energies]
A = [-1.5, -2.5, -1.0,  0.0, -2.5, -2.0,  0.0, -0.3]
C = [-2.0, -2.0, -2.5, -2.5, -1.5, -2.5, -2.5,  0.0]
G = [ 0.0,  0.0,  0.0, -2.0, -2.5, -2.5, -1.5, -0.9]
T = [-0.5, -1.5, -2.5, -2.5,  0.0,  0.0, -2.0, -1.0]
[simulate]
n_probes = PROBES
length = 14
reads = READS
"""
FIT = f"""\
seed = 1
[experiment]
name = "drawn"
table = "TABLE"
left_flank = "{LEFT}"
right_flank = "{RIGHT}"
[[modes]]
name = "tf"
size = SIZE
flank_length = 4
shift_footprint = true
[loss]
pseudocount = 5
"""


@dataclass(frozen=True)
class Opened:
    """A model with its tables."""

    document: Document
    built: BuiltModel
    tables: list[CountTable]


def drawn(
    folder: Path, *, probes: int = 2500, reads: int = 20_000, train: str = "true"
) -> Path:
    """Draw tables from the truth; return the run directory."""
    text = TRUTH.replace("PROBES", str(probes)).replace("READS", str(reads))
    (folder / "truth.toml").write_text(text.replace("TRAIN", train))
    simulation = simulate(read_config(folder / "truth.toml"))
    write_simulation(RunDirectory(folder / "drawn"), simulation)
    return folder / "drawn"


def opened(run: Path) -> Opened:
    """Open a run directory with the tables that it was made of."""
    document, _ = open_run(run)
    tables, _ = make_tables(document, read_counts(document))
    document, built = open_run(run, tables)
    built.loss.to(torch.float64)
    return Opened(document, built, tables)


def shuffled(folder: Path) -> str:
    """Give the probes of a drawn table the counts of others; return the file."""
    with gzip.open(folder / "drawn" / "counts.tsv.gz", "rt") as file:
        frame = pd.read_csv(file, sep="\t", header=None, index_col=0)
    frame[:] = frame.to_numpy()[np.random.default_rng(3).permutation(len(frame))]
    frame.to_csv(folder / "shuffled.tsv", sep="\t", header=False)
    return "shuffled.tsv"


def fitted(
    folder: Path,
    name: str,
    *,
    size: int = 8,
    table: str = "drawn/counts.tsv.gz",
    changes: Mapping[str, str] | None = None,
) -> Mapping[str, Any]:
    """Fit a drawn table; return what result.json says."""
    text = FIT.replace("SIZE", str(size)).replace("TABLE", table)
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / f"{name}.toml").write_text(text)
    options = FitOptions(folder / f"{name}.toml", folder / name, None, True, True)
    assert run_fit(options) == 0
    found: Mapping[str, Any] = json.loads((folder / name / "result.json").read_text())
    return found
