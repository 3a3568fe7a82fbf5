"""Whole fits of real tables, from the file to the finished model, seed by seed.

    python benchmarks/fits.py --bcd --seeds 0 1 2 3 4 --lbfgs
    python benchmarks/fits.py --ctcf --ctcf-greedy
    python benchmarks/fits.py --bcd --lbfgs --backend reference
    python benchmarks/fits.py --bcd --json build/fits.json

Each fit is a process of its own, whose peak memory is taken. A pass goes through the
whole table once, for a loss, for a loss with its gradient (L-BFGS) or for a loss with
gradient and Fisher information; passes through a sample count as the part of the table
that the sample is. The weighted number counts each kind by what it costs, measured on
the fitted model, in units of a loss with its gradient.

Published objectives per read: Bcd 1.248579, CTCF 0.660941.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import DATA, machine, peak_mebibytes
from torch import nn

from pyprobound import MultiExperimentLoss, Optimizer
from pyprobound.config import (
    build_model,
    make_tables,
    read_config,
    read_counts,
    resolve,
)
from pyprobound.fisher import CountObjective
from pyprobound.table import CountTable

BCD = f"""
[experiment]
table = "{DATA}/bcd/countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz"
left_flank = "CGACGCTCTTCCGATCTTGCCG"
right_flank = "TAATCGTATGCCGTCTTCTGCTTGCCGACTCCG"
[[modes]]
size = 12
flank_length = 5
[loss]
pseudocount = 20
"""

CTCF_TABLE = f"""
[experiment]
table = "{DATA}/ctcf/countTable.0.CTCF_r3.tsv.gz"
left_flank = "ACACTCTTTCCCTACACGACGCTCTTCCGATCTTGACGTC"
right_flank = "GACGTCAGATCGGAAGAGCTCGTATGCCGTCTTCTGCTTG"
[loss]
pseudocount = 20
"""

CTCF = (
    CTCF_TABLE
    + """
[[modes]]
size = 14
flank_length = 7
[[modes]]
size = 12
flank_length = 5
"""
)

CTCF_GREEDY = (
    CTCF_TABLE
    + 2
    * """
[[modes]]
size = 12
flank_length = 5
max_size = 18
increment_flank = true
increment_footprint = true
increment_flank_with_footprint = true
"""
)

EXD_HOX = f"""
[experiment]
table = "{DATA}/exd_hox/countTable.ExdHox.R0_R2.GC.tsv.gz"
left_flank = "GTTCAGAGTTCTACAGTCCGACGATCTGG"
right_flank = "CCAGCTGTCGTATGCCGTCTTCTGCTTG"
flank_length = 3
[[modes]]
name = "a"
size = 6
[[modes]]
name = "b"
size = 6
[[dimers]]
modes = ["a", "b"]
max_overlap = 2
max_spacing = 6
[loss]
pseudocount = 20
"""

FITS = {"bcd": BCD, "ctcf": CTCF, "ctcf-greedy": CTCF_GREEDY, "exd-hox": EXD_HOX}
ENGINES = {"fisher": None, "lbfgs": torch.optim.LBFGS}
Pass = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One fit.

    Attributes:
        fit: What was fitted.
        engine: "fisher" or "lbfgs".
        backend: Of the kernels.
        seed: Of the start.
        objective: Negative log likelihood and penalty, per read.
        loss: The negative log likelihood.
        losses: Passes for a loss alone.
        gradients: Passes for a loss with its gradient.
        informations: Passes for a loss with gradient and information.
        passes: All of them.
        weighted: All of them, each counted by its cost.
        costs: Seconds of one pass of each kind.
        seconds: Wall time from opening the file to the finished model.
        cpu_seconds: Processor time of the same.
        peak_mib: Peak memory of the process.
        ended: Why the last step ended.
        motifs: The best letters of each motif.
    """

    fit: str
    engine: str
    backend: str
    seed: int
    objective: float
    loss: float
    losses: float
    gradients: float
    informations: float
    passes: float
    weighted: float
    costs: dict[str, float]
    seconds: float
    cpu_seconds: float
    peak_mib: float
    ended: str
    motifs: list[str]

    def __str__(self) -> str:
        """Show the row in one line."""
        return (
            f"{self.fit:12s} {self.engine:7s} {self.backend:9s} seed {self.seed}:"
            f" {self.objective:.7f}  {self.passes:6.1f} passes"
            f" ({self.weighted:6.1f} weighted)  {self.seconds:6.1f} s"
            f" ({self.cpu_seconds:.1f} s of processor)  {self.peak_mib:5.0f} MiB"
            f"  {', '.join(self.motifs)}"
        )


class Counter:
    """Counts passes by kind, each as the part of the tables that it goes through."""

    def __init__(self) -> None:
        """Start at none."""
        self.n_probes = 0
        self.found = {"loss": 0.0, "gradient": 0.0, "information": 0.0}

    @contextmanager
    def counting(self, model: nn.Module, tables: Sequence[CountTable]):  # noqa: ANN201
        """Count what is done within the with statement."""
        self.n_probes = sum(map(len, tables))

        def scored(*_: object) -> None:
            self.found["gradient" if torch.is_grad_enabled() else "loss"] += 1

        hook = model.register_forward_hook(scored)
        kept = CountObjective.loss, CountObjective.quadratic
        CountObjective.loss = self._counted(kept[0], "loss")  # type: ignore[method-assign]
        CountObjective.quadratic = self._counted(kept[1], "information")  # type: ignore[method-assign]
        try:
            yield
        finally:
            CountObjective.loss, CountObjective.quadratic = kept  # type: ignore[method-assign]
            hook.remove()

    def _counted(self, method: Callable[..., Any], kind: str) -> Callable[..., Any]:
        counter = self

        def counted(self: CountObjective) -> object:
            counter.found[kind] += self.n_probes / counter.n_probes
            return method(self)

        return counted


def run_once(name: str, engine: str, seed: int) -> Row:
    """Fit once, in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.toml"
        path.write_text(FITS[name])
        document = read_config(path)
        counts = read_counts(document)
        document = resolve(document, [each.probes for each in counts])
        tables, _ = make_tables(document, counts)
        torch.manual_seed(seed)
        built = build_model(document, tables)
        optimizer = Optimizer(
            built.loss,
            tables,
            checkpoint=Path(folder) / "model.pt",
            output=Path(folder) / "fit.log",
            device="cpu",
            optimizer=ENGINES[engine],
        )
        with counter.counting(built.loss, tables):
            optimizer.train_sequential()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_mebibytes()
    with torch.no_grad():
        loss, penalty = (float(x) for x in built.loss(tables))
    costs = costs_of(built.loss, tables)
    found = counter.found
    motifs = [
        "".join(spec.alphabet.alphabet[i] for i in spec.get_filter(0)[0].argmax(0))
        for spec in built.specs.modes.values()
        if hasattr(spec, "get_filter") and spec.alphabet is not None
    ]
    return Row(
        fit=name,
        engine=engine,
        backend=os.environ.get("PYPROBOUND_BACKEND", "auto"),
        seed=seed,
        objective=loss + penalty,
        loss=loss,
        losses=found["loss"],
        gradients=found["gradient"],
        informations=found["information"],
        passes=sum(found.values()),
        weighted=sum(n * costs[kind] for kind, n in found.items()) / costs["gradient"],
        costs=costs,
        seconds=wall,
        cpu_seconds=cpu,
        peak_mib=peak,
        ended=optimizer.reason,
        motifs=motifs,
    )


def costs_of(
    model: MultiExperimentLoss, tables: Sequence[CountTable]
) -> dict[str, float]:
    """Return the processor seconds of a pass of each kind, everything trained."""
    model.unfreeze()
    objective = CountObjective(model, tables)
    point = objective.free.get()

    def moved() -> None:  # scores of the same point are not computed again
        point.add_(1e-6)
        objective.free.set(point)

    def loss() -> None:
        moved()
        objective.loss()

    def gradient() -> None:
        moved()
        model.zero_grad()
        found = model(tables)
        torch.autograd.backward(found.negloglik + found.regularization)

    def information() -> None:
        moved()
        objective.quadratic()

    kinds: dict[str, Pass] = {
        "loss": loss,
        "gradient": gradient,
        "information": information,
    }
    return {kind: _seconds(work) for kind, work in kinds.items()}


def _seconds(work: Pass) -> float:
    work()
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken)


def run_apart(name: str, engine: str, seed: int, backend: str | None) -> Row:
    """Fit in a process of its own."""
    environment = dict(os.environ)
    if backend is not None:
        environment["PYPROBOUND_BACKEND"] = backend
    command = [sys.executable, __file__, "--once", name, engine, str(seed)]
    done = subprocess.run(
        command, check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Fit what is asked for, print the rows, and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in FITS:
        parser.add_argument(f"--{name}", action="store_true", help="fit this")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="of starts")
    parser.add_argument("--lbfgs", action="store_true", help="with L-BFGS as well")
    parser.add_argument("--backend", help="of the kernels; the library's by default")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows there"
    )
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        name, engine, seed = options.once
        print(json.dumps(asdict(run_once(name, engine, int(seed)))))
        return
    asked = [name for name in FITS if getattr(options, name.replace("-", "_"))]
    print(machine())
    rows = []
    for name in asked or ["bcd"]:
        for seed in options.seeds:
            for engine in ENGINES if options.lbfgs else ["fisher"]:
                rows.append(run_apart(name, engine, seed, options.backend))
                print(rows[-1], flush=True)
                write(options.json, rows)


def write(path: Path | None, rows: Sequence[Row]) -> None:
    """Write the rows so far, if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": machine(), "fits": [asdict(row) for row in rows]}
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
