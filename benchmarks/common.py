"""What the benchmarks share: the real tables, the machine, and how fits are run."""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from pyprobound import CountTable, MultiExperimentLoss, Optimizer, alphabets, layers
from pyprobound.loss import Loss
from pyprobound.optimizer import ProgressEvent

SHARED = os.environ.get("PYPROBOUND_SHARED", Path(__file__).parents[2] / "shared")
DATA = Path(SHARED) / "data"
"""Where the real tables lie: beside the repository, unless the environment says so."""

DNA = alphabets.DNA()


@dataclass(frozen=True)
class Library:
    """The constant flanks of a library, and how much of them is scored."""

    left_flank: str
    right_flank: str
    scored: int

    def table(self, frame: pd.DataFrame) -> CountTable:
        """Return a table of probes with the scored flanks."""
        return CountTable(
            frame,
            DNA,
            left_flank=self.left_flank,
            right_flank=self.right_flank,
            left_flank_length=self.scored,
            right_flank_length=self.scored,
        )


BCD = Library("CGACGCTCTTCCGATCTTGCCG", "TAATCGTATGCCGTCTTCTGCTTGCCGACTCCG", 5)
EXD_HOX = Library("GTTCAGAGTTCTACAGTCCGACGATCTGG", "CCAGCTGTCGTATGCCGTCTTCTGCTTG", 3)


@dataclass
class Run:
    """What a fit came to.

    Attributes:
        best: The loss that decides: total, or of the held-out probes if there are any.
        seconds: Wall time.
        evaluations: Passes over the table, with or without derivatives.
        events: The epochs.
    """

    best: float
    seconds: float
    evaluations: float
    events: list[ProgressEvent] = field(repr=False)

    @property
    def is_finite(self) -> bool:
        """Whether no loss on the way was infinite or not a number."""
        losses = [
            value
            for event in self.events
            for value in (event.train_loss, event.train_regularization, event.val_loss)
            if value is not None
        ]
        return all(abs(value) < float("inf") for value in losses)


def fit(
    model: MultiExperimentLoss,
    train: CountTable,
    val: CountTable | None = None,
    epochs: int = 200,
) -> Run:
    """Fit a model, one binding after the other, and count what it took."""
    evaluations = 0

    def count(*_: object) -> None:
        nonlocal evaluations
        evaluations += 1

    counter = model.register_forward_hook(count)
    events: list[ProgressEvent] = []
    with tempfile.TemporaryDirectory() as folder:
        optimizer = Optimizer(
            model,
            [train],
            None if val is None else [val],
            epochs=epochs,
            checkpoint=Path(folder) / "model.pt",
            output=Path(folder) / "fit.log",
            on_progress=events.append,
        )
        start = time.perf_counter()
        best = float(optimizer.train_sequential())
        seconds = time.perf_counter() - start
    counter.remove()
    return Run(best, seconds, evaluations + optimizer.passes, events)


def loss_of(model: MultiExperimentLoss, table: CountTable) -> tuple[float, float]:
    """Return the negative log likelihood per read and the penalty."""
    with torch.no_grad():
        loss: Loss = model([table])
    return float(loss.negloglik), float(loss.regularization)


def consensus(psam: layers.PSAM) -> str:
    """Return the best letters of either strand."""
    best = psam.get_filter(0).detach().argmax(1).tolist()
    return " / ".join("".join(DNA.alphabet[i] for i in strand) for strand in best)


def sampled(frame: pd.DataFrame, probes: int | None) -> pd.DataFrame:
    """Return the frame, or so many of its probes drawn at random."""
    if probes is None or probes >= len(frame):
        return frame
    return frame.sample(probes, random_state=0)


def machine() -> str:
    """Return what the numbers were measured on, in one line."""
    return (
        f"{os.cpu_count()} cores ({_cpu_model()}), torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}"
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_mebibytes() -> float:
    """Return the most memory that this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def peak_memory() -> str:
    """Return the most memory that this process has held so far, as text."""
    return f"{peak_mebibytes():.0f} MiB"


def parser(description: str | None, table: Path) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes.

    Args:
        description: The docstring of the script.
        table: The count table that is read by default.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("table", nargs="?", type=Path, default=table)
    made.add_argument("--seeds", type=int, default=1, help="fits from other starts")
    made.add_argument("--epochs", type=int, default=200, help="the most of any step")
    made.add_argument("--probes", type=int, help="so many at random; all by default")
    made.add_argument("--threads", type=int, help="by default what torch chooses")
    return made


def arguments(
    made: argparse.ArgumentParser, given: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line and set the number of threads."""
    parsed = made.parse_args(given)
    if not parsed.table.is_file():
        made.error(f"{parsed.table}: no such file; give the path of the count table")
    if parsed.threads is not None:
        torch.set_num_threads(parsed.threads)
    return parsed
