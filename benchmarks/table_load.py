"""Encoding a count table, against a plain Python loop over its probes.

    python benchmarks/table_load.py
    python benchmarks/table_load.py path/to/table.tsv.gz --json table_load.json

The frame of the Bicoid HT-SELEX table, once read, becomes a `CountTable` with the
scored flanks of its library; the loop looks every letter up by itself. Both are timed
in turn, and once more each in a process of its own for the memory that it takes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from bcd_fit import TABLE
from common import BCD, DNA, machine
from streaming import peak_memory
from torch import Tensor

from pyprobound import CountTable, get_dataframe

REPEATS = 5
GOAL_SECONDS, GOAL_RATIO = 0.7, 6


def by_loop(frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Return codes and counts as a plain loop makes them."""
    left = BCD.left_flank[-BCD.scored :]
    right = BCD.right_flank[: BCD.scored]
    code = DNA.get_index
    rows = [[code[letter] for letter in left + probe + right] for probe in frame.index]
    seqs = torch.tensor(rows, dtype=torch.uint8)
    return seqs, torch.tensor(frame.to_numpy(), dtype=torch.float32)


def by_library(frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Return codes and counts of the library's table."""
    table: CountTable = BCD.table(frame)
    return table.seqs, table.target


METHODS: dict[str, Callable[[pd.DataFrame], tuple[Tensor, Tensor]]] = {
    "loop": by_loop,
    "CountTable": by_library,
}


def added_memory(path: Path, method: str) -> int:
    """Return how much a method adds to the peak memory of a fresh process, in bytes."""
    words = [sys.executable, __file__, str(path), "--peak-of", method]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def command_line() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", type=Path, default=TABLE)
    parser.add_argument("--json", type=Path, help="where to write the numbers as well")
    parser.add_argument("--peak-of", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.table.is_file():
        parser.error(f"{options.table}: no such file; give the path of a count table")
    return options


def main() -> None:
    """Time both ways, check that they agree, and print the ratios."""
    options = command_line()
    frame = get_dataframe(options.table)
    if options.peak_of is not None:
        before = peak_memory()
        METHODS[options.peak_of](frame)
        print(peak_memory() - before)
        return
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    results = {}
    for _ in range(REPEATS):
        for name, method in METHODS.items():
            start = time.perf_counter()
            results[name] = method(frame)
            seconds[name].append(time.perf_counter() - start)
    pairs = zip(results["loop"], results["CountTable"], strict=True)
    assert all(torch.equal(*pair) for pair in pairs), "they differ"
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    memory = {name: added_memory(options.table, name) for name in METHODS}
    ratio = medians["loop"] / medians["CountTable"]
    print(machine())
    print(f"{len(frame):,} probes, medians of {REPEATS}")
    for name in METHODS:
        print(
            f"{name:>12}  {medians[name]:8.3f} s  (first {seconds[name][0]:.3f} s)"
            f"  {memory[name] / 1e6:8.0f} MB more than the frame"
        )
    met = medians["CountTable"] < GOAL_SECONDS and ratio >= GOAL_RATIO
    print(
        f"{ratio:.1f} times as fast as the loop"
        f" ({'meets' if met else 'MISSES'} {GOAL_RATIO} times and {GOAL_SECONDS} s)"
    )
    if options.json is not None:
        found = {"seconds": medians, "added_bytes": memory, "ratio": ratio}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)  # probes without reads
    main()
