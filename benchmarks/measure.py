"""How benchmarks measure: variants in turn, medians, memory of a process each.

A script builds a `Case`: the same work done by several variants, of which one is the
yardstick. Times are medians of runs in turn (so that a slow moment of the machine
strikes all alike); ratios are of one run. The peak memory of a variant is that of a
process that does nothing else, started anew with `--once`.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch
from common import machine, peak_mebibytes

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """The same work, done in several ways.

    Attributes:
        name: What is done, with its sizes.
        variants: Each way to do it, by name.
        yardstick: The variant that the others are compared with.
        floor: What cannot be avoided, done alone, and what that is; for the last
            variant.
    """

    name: str
    variants: Mapping[str, Work]
    yardstick: str
    floor: tuple[str, Work] | None = None


@dataclass(frozen=True)
class Row:
    """One variant of a case, measured.

    Attributes:
        case: Name of the case.
        variant: Name of the variant.
        threads: Threads of torch.
        seconds: Median time.
        fastest: Shortest time.
        ratio: Time of the yardstick over this one's.
        peak_mib: Peak memory of a process that does this alone, if measured.
        floor: What the floor is, if there is one.
        share: Time of the floor over this one's.
    """

    case: str
    variant: str
    threads: int
    seconds: float
    fastest: float
    ratio: float
    peak_mib: float | None = None
    floor: str | None = None
    share: float | None = None

    def __str__(self) -> str:
        """Show the row in one line."""
        memory = "" if self.peak_mib is None else f"  {self.peak_mib:5.0f} MiB"
        floor = "" if self.share is None else f"  {self.share:4.0%} is {self.floor}"
        return (
            f"  {self.variant:24s} {1e3 * self.seconds:9.1f} ms"
            f"  ×{self.ratio:6.2f}{memory}{floor}"
        )


@dataclass
class Report:
    """The rows of a script, printed as they come and written at the end."""

    rows: list[Row] = field(default_factory=list)
    fits: list[dict[str, object]] = field(default_factory=list)

    def add(self, case: Case, repeats: int, peaks: Mapping[str, float]) -> list[Row]:
        """Measure a case and print it."""
        made = measure(case, repeats, peaks)
        print(f"{case.name}, {torch.get_num_threads()} threads")
        for row in made:
            print(row, flush=True)
        self.rows += made
        return made

    def write(self, path: str | Path | None) -> None:
        """Write all rows as JSON, if a path is given."""
        if path is not None:
            rows = [asdict(row) for row in self.rows]
            found = {"machine": machine(), "rows": rows, "fits": self.fits}
            Path(path).write_text(json.dumps(found, indent=1) + "\n")


def measure(case: Case, repeats: int, peaks: Mapping[str, float]) -> list[Row]:
    """Run all variants in turn, so many times after once to warm up."""
    works = dict(case.variants)
    if case.floor is not None:
        works[f"floor: {case.floor[0]}"] = case.floor[1]
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    middle = {name: median(taken) for name, taken in seconds.items()}
    last = list(case.variants)[-1]
    rows = []
    for name in works:
        with_floor = case.floor is not None and name == last
        rows.append(
            Row(
                case.name,
                name,
                torch.get_num_threads(),
                middle[name],
                min(seconds[name]),
                middle[case.yardstick] / middle[name],
                peaks.get(name),
                case.floor[0] if case.floor and with_floor else None,
                middle[list(works)[-1]] / middle[name] if with_floor else None,
            )
        )
    return rows


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every script takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--threads", type=int, help="by default what torch chooses")
    made.add_argument("--once", metavar="VARIANT", help="do this, and print the memory")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    made.add_argument("--grow", action="store_true", help="also larger and smaller")
    return made


def run_once(case: Case, variant: str) -> None:
    """Do a variant once, and print the peak memory of the process in MiB."""
    case.variants[variant]()
    print(peak_mebibytes())


def peaks_of(
    case: Case, script: str, arguments: Sequence[str] = ()
) -> dict[str, float]:
    """Return the peak memory of each variant, from a process for each."""
    found = {}
    for variant in case.variants:
        command = [sys.executable, script, *arguments, "--once", variant]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        found[variant] = float(output.stdout.split()[-1])
    return found
