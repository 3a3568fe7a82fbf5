"""How often the verdict on a fit is right: false alarms, and faults that are found.

    python benchmarks/verdict.py
    python benchmarks/verdict.py --only good flanks --fits 5
    python benchmarks/verdict.py --keep

Experiments are drawn from random truths (a motif of 8 to 10 positions, flanks, the
strength of non-specific binding, rounds, reads), and fitted by `pyprobound fit`:

    good       as the truth is
    sparse     the same with a tenth of the reads
    flanks     with the flanks of another library
    swapped    with the left flank on the right, and the right one on the left
    short      with no flank letters scored
    small      with two positions less than the motif has
    shuffled   with the counts of other probes
    missing    where the truth has a second motif

For each are given how many fits had a problem or a caution of each code, which came
first, and the smallest, middle and largest of what thresholds are set on.

The numbers go to build/verdict.json; with --keep to results/verdict.json, here.
"""

import argparse
import gzip
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from common import machine

from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.config import read_config
from pyprobound.run_directory import RunDirectory
from pyprobound.simulate import simulate, write_simulation

KEPT = Path(__file__).parent / "results" / "verdict.json"
FLANK = 4
"""Letters of each flank that bind in the truth, and are scored."""


@dataclass(frozen=True)
class Truth:
    """An experiment that tables are drawn from.

    Attributes:
        energies: −ΔΔG/RT by letter, 0 for the best one of a position.
        flanks: On the left and on the right.
        nonspecific: log α, that of the motif being 0.
        n_rounds: Rounds of selection.
        reads: Of each library.
        other: The consensus of a second motif, where there is one.
    """

    energies: Mapping[str, Sequence[float]]
    flanks: tuple[str, str]
    nonspecific: float
    n_rounds: int
    reads: int
    seed: int
    other: str = ""

    @property
    def size(self) -> int:
        """The positions of the motif."""
        return len(self.energies["A"])

    def text(self) -> str:
        """Return it as a configuration."""
        activities = f"NS = {self.nonspecific}, tf = 0.0"
        modes = ["[[modes]]", 'name = "tf"', "[modes.energies]"]
        modes += [f"{key} = {list(row)}" for key, row in self.energies.items()]
        if self.other:
            activities += ", other = -1.0"
            modes += ["[[modes]]", 'name = "other"', f'consensus = "{self.other}"']
        rounds = ["[[experiment.rounds]]", 'kind = "initial"', 'name = "R0"']
        for number in range(1, self.n_rounds + 1):
            rounds += [
                "[[experiment.rounds]]",
                'kind = "bound_unsaturated"',
                f'name = "R{number}"',
                f"log_activities = {{ {activities} }}",
            ]
        head = [
            f"seed = {self.seed}",
            "[experiment]",
            'name = "drawn"',
            f'left_flank = "{self.flanks[0]}"',
            f'right_flank = "{self.flanks[1]}"',
            f"flank_length = {FLANK}",
        ]
        tail = ["[simulate]", "n_probes = 5000", "length = 16", f"reads = {self.reads}"]
        return "\n".join([*head, *rounds, *modes, *tail, ""])


@dataclass(frozen=True)
class Asked:
    """What is asked of a fit.

    Attributes:
        flanks: The flanks that it is told.
        size: Positions of the motif.
        flank_length: Letters of each flank that it scores.
        table: The file with the counts.
    """

    flanks: tuple[str, str]
    size: int
    flank_length: int = FLANK
    table: str = "drawn/counts.tsv.gz"

    def text(self) -> str:
        """Return it as a configuration."""
        lines = [
            "seed = 1",
            "[experiment]",
            f'table = "{self.table}"',
            f'left_flank = "{self.flanks[0]}"',
            f'right_flank = "{self.flanks[1]}"',
            "[[modes]]",
            'name = "tf"',
            f"size = {self.size}",
            f"flank_length = {self.flank_length}",
            "shift_footprint = true",
            "[loss]",
            "pseudocount = 5",
        ]
        return "\n".join([*lines, ""])


def drawn_truth(seed: int) -> Truth:
    """Return a random truth."""
    rng = random.Random(seed)
    energies: dict[str, list[float]] = {letter: [] for letter in "ACGT"}
    for _ in range(rng.randint(8, 10)):
        strength = rng.uniform(0.8, 2.5)
        best = rng.choice("ACGT")
        for letter, row in energies.items():
            cost = 0.0 if letter == best else strength * rng.uniform(0.5, 1.2)
            row.append(round(-cost, 3))
    flanks = _letters(rng, 12), _letters(rng, 12)
    return Truth(
        energies,
        flanks,
        nonspecific=round(rng.uniform(-9, -6), 2),
        n_rounds=rng.randint(1, 2),
        reads=rng.choice([20_000, 40_000, 80_000]),
        seed=seed,
    )


def _letters(rng: random.Random, number: int) -> str:
    return "".join(rng.choices("ACGT", k=number))


def case(kind: str, seed: int) -> tuple[Truth, Asked]:
    """Return a truth and what is fitted to it."""
    truth = drawn_truth(seed)
    rng = random.Random(-seed)
    asked = Asked(truth.flanks, truth.size)
    if kind == "sparse":
        truth = replace(truth, reads=truth.reads // 10)
    elif kind == "flanks":
        asked = replace(asked, flanks=(_letters(rng, 12), _letters(rng, 12)))
    elif kind == "swapped":
        asked = replace(asked, flanks=truth.flanks[::-1])
    elif kind == "short":
        asked = replace(asked, flank_length=0)
    elif kind == "small":
        asked = replace(asked, size=truth.size - 2)
    elif kind == "shuffled":
        asked = replace(asked, table="shuffled.tsv")
    elif kind == "missing":
        truth = replace(truth, other=_letters(rng, 7))
    return truth, asked


CASES = (
    "good",
    "sparse",
    "flanks",
    "swapped",
    "short",
    "small",
    "shuffled",
    "missing",
)


def verdict(kind: str, seed: int, folder: Path) -> Mapping[str, object]:
    """Simulate, fit, and return the verdict of result.json."""
    truth, asked = case(kind, seed)
    (folder / "truth.toml").write_text(truth.text())
    simulation = simulate(read_config(folder / "truth.toml"))
    write_simulation(RunDirectory(folder / "drawn"), simulation)
    if asked.table == "shuffled.tsv":
        _shuffle(folder, seed)
    (folder / "fit.toml").write_text(asked.text())
    run_fit(FitOptions(folder / "fit.toml", folder / "run", None, True, True))
    result = json.loads((folder / "run" / "result.json").read_text())
    found: Mapping[str, object] = result["verdict"]
    return found


def _shuffle(folder: Path, seed: int) -> None:
    with gzip.open(folder / "drawn" / "counts.tsv.gz", "rt") as file:
        frame = pd.read_csv(file, sep="\t", header=None, index_col=0)
    order = np.random.default_rng(seed).permutation(len(frame))
    frame[:] = frame.to_numpy()[order]
    frame.to_csv(folder / "shuffled.tsv", sep="\t", header=False)


@dataclass
class Tally:
    """What came of the fits of one case."""

    fits: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    cautions: Counter[str] = field(default_factory=Counter)
    first: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: Mapping[str, object]) -> None:
        """Count the findings of a fit."""
        self.fits += 1
        findings, measured = found["findings"], found["numbers"]
        assert isinstance(findings, list)
        assert isinstance(measured, dict)
        for severity, counter in (
            ("problem", self.problems),
            ("caution", self.cautions),
        ):
            counter.update({f["code"] for f in findings if f["severity"] == severity})
        worst = findings[0]
        self.first[worst["code"] if worst["severity"] != "fine" else "none"] += 1
        own = {"in_units_of_chance": measured["explained_in_units_of_chance"]}
        for experiment in measured["experiments"].values():
            own |= {
                key: experiment[key]
                for key in ("r2_probes", "r2_words", "explained_share")
            }
        for value in measured.get("dispersion", {}).values():
            own["dispersion"] = value
        for motif in measured.get("sites", []):
            for key in ("letters_outside", "flanks", "places"):
                own[f"{key}_share"] = motif[key]["share"]
                freedom = max(motif[key]["freedom"], 1)
                own[f"{key}_chi2_per_freedom"] = motif[key]["chi2"] / freedom
        for key, value in own.items():
            if value is not None:
                self.numbers.setdefault(key, []).append(value)

    def summary(self) -> dict[str, object]:
        """Return counts, and the smallest, middle and largest numbers."""
        return {
            "fits": self.fits,
            "first": dict(self.first.most_common()),
            "problems": dict(self.problems.most_common()),
            "cautions": dict(self.cautions.most_common()),
            "numbers": {
                key: [round(f(values), 5) for f in (min, median, max)]
                for key, values in self.numbers.items()
            },
        }


def main() -> None:
    """Run the study and print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    cases: dict[str, object] = {}
    for kind in options.only:
        tally = Tally()
        for seed in range(1, options.fits + 1):
            with tempfile.TemporaryDirectory() as name:
                tally.add(verdict(kind, seed, Path(name)))
        cases[kind] = tally.summary()
        print(kind, json.dumps(cases[kind]), flush=True)
    content = {
        "machine": machine(),
        "seconds": round(time.perf_counter() - started),
        "cases": cases,
    }
    path = KEPT if options.keep else Path("build/verdict.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
