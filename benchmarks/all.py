"""Every benchmark, one after the other, and their numbers in one file.

    python benchmarks/all.py
    python benchmarks/all.py --only windows_kernel dimer_kernel
    python benchmarks/all.py --keep --fits --streaming

The numbers go to build/bench.json; with --keep to benchmarks/results, as those of this
version. What needs the real tables is left out where there are none. Whole fits and the
table of 20 million probes take minutes: they are run if asked for.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import DATA, machine

import pyprobound

HERE = Path(__file__).parent
KEPT = HERE / "results" / f"{pyprobound.__version__}.json"
SCRIPTS: dict[str, list[str]] = {
    "windows_kernel": ["--grow"],
    "dimer_kernel": ["--grow"],
    "selection_kernel": ["--grow"],
    "fisher_information": ["--grow"],
    "scoring": ["--threads", "1"],
    "table_load": [],
    "bcd_fit": [],
    "logos": [],
}
FITS = {
    "Bcd": ["--bcd", "--seeds", "0", "1", "2", "3", "4", "--lbfgs"],
    "Bcd, reference": ["--bcd", "--lbfgs", "--backend", "reference"],
    "others": ["--ctcf", "--ctcf-greedy", "--exd-hox"],
}
"""Whole fits, each with its own arguments."""

REAL = {"table_load", "bcd_fit"}
"""Scripts that read the real tables."""


def run(name: str, arguments: list[str]) -> object:
    """Run a script and return the numbers that it wrote."""
    print(f"\n== {name} {' '.join(arguments)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        script = str(HERE / f"{name}.py")
        command = [sys.executable, script, *arguments, "--json", str(path)]
        subprocess.run(command, check=True)
        return json.loads(path.read_text())


def main() -> None:
    """Run what is asked for, and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--fits", action="store_true", help="whole fits")
    parser.add_argument("--streaming", action="store_true", help="20 million probes")
    parser.add_argument("--keep", action="store_true", help="as this version's numbers")
    options = parser.parse_args()
    chosen = [name for name in options.only if DATA.is_dir() or name not in REAL]
    for name in set(options.only) - set(chosen):
        print(f"{name} is left out: its table is not in {DATA}")
    path = KEPT if options.keep else Path("build/bench.json")
    found = {name: run(name, SCRIPTS[name]) for name in chosen}
    if options.fits and DATA.is_dir():
        for name, arguments in FITS.items():
            found[f"fits: {name}"] = run("fits", arguments)
    if options.streaming:
        found["streaming"] = run("streaming", [])
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.keep and path.is_file():  # what was not run again stays
        found = json.loads(path.read_text())["results"] | found
    kept = {"version": pyprobound.__version__, "machine": machine(), "results": found}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
