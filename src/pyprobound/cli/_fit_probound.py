"""`pyprobound fit CONFIG.json`: configurations of the Java program."""

import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyprobound._files import write_text
from pyprobound._version import __version__
from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.errors import PyProBoundError
from pyprobound.probound import (
    Document,
    Procedure,
    Trained,
    Training,
    read,
    relocated,
    to_json,
    write_models,
)
from pyprobound.run_directory import RunDirectory

CONFIG = "config.json"
RESULT = "result.json"


@dataclass(frozen=True)
class ProBoundOptions:
    """The arguments of the command, see its help."""

    config: Path
    output: Path | None
    seed: int | None
    procedure: Procedure
    tables: Sequence[Path]
    quiet: bool
    force: bool


@dataclass
class Steps:
    """Writes the model of every step, and shows a line of it.

    Attributes:
        path: Where the models go, one to a line, as the Java program writes them.
        tables: Count tables, instead of those that the configuration names.
        quiet: Whether to show nothing.
        lines: What has been written.
        last: The last step.
    """

    path: Path
    tables: Sequence[Path]
    quiet: bool
    lines: list[dict[str, Any]] = field(default_factory=list)
    last: Trained | None = None
    _begun: float = field(default_factory=time.perf_counter)

    def __call__(self, step: Trained) -> None:
        """Take a step."""
        self.last = step
        seconds = time.perf_counter() - self._begun
        document = relocated(step.document, self.path.parent, self.tables)
        self.lines.append(to_json(document, step.numbers, self._metadata(step)))
        # The whole file anew, so that an interruption never leaves half a line.
        write_models(self.path, self.lines)
        if not self.quiet:
            print(
                f"{step.name:<28}  objective {step.value.value:.7f}"
                f"  penalty {step.value.penalty:.7f}  {seconds:7.1f} s  {step.reason}",
                file=sys.stderr,
            )

    def _metadata(self, step: Trained) -> dict[str, Any]:
        value = step.value
        held_out = {}
        if step.held_out is not None:
            held_out = {"unpenalizedLogLikelihoodPerReadTest": step.held_out}
        return held_out | {
            "timeStamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "fitter": "pyprobound",
            "version": __version__,
            "fitName": step.name,
            "fitTime": time.perf_counter() - self._begun,
            "dataLoops": step.passes,
            "logLikelihood": value.negloglik,
            "logLikelihoodPerRead": value.value,
            "unpenalizedLogLikelihoodPerRead": value.losses,
            "regularization": value.penalty,
        }


def run_probound(options: ProBoundOptions) -> int:
    """Fit a configuration, write its models, and return the exit code."""
    clock = time.perf_counter()
    document = read(options.config)
    if not document.content.model_settings.count_table:
        raise document.error("has no count table to fit to: it is a scoring model")
    folder, base = _place_of(document, options)
    run = RunDirectory(folder)
    run.check(force=options.force)
    seed = 0 if options.seed is None else options.seed
    _check_tables(document, options.tables)
    training = Training(
        document,
        procedure=options.procedure,
        seed=seed,
        dtype=_dtype_of(options),
        tables=options.tables or None,
    )
    run.create()
    models = folder / f"{base}.models.json"
    models.unlink(missing_ok=True)
    moved = relocated(document, folder, options.tables)
    whole = moved.content.model_dump(by_alias=True, exclude_none=True)
    write_text(folder / CONFIG, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    steps = Steps(models, options.tables, options.quiet)
    signal: Interrupted | None = None
    try:
        with raised_signals():
            training.run(steps)
    except Interrupted as error:
        signal = error
    seconds = time.perf_counter() - clock
    _write_result(folder / RESULT, options, steps, seconds, signal)
    if not options.quiet and steps.last is not None:
        print(_summary(steps.last, models, seconds))
    if signal is None:
        return 0
    kept = f"the steps that were done are in {models}" if steps.lines else "no step yet"
    print(f"interrupted by {signal}: {kept}", file=sys.stderr)
    return signal.exit_code


def _dtype_of(options: ProBoundOptions) -> torch.dtype:
    """Return the precision: that of the Java program where its steps are asked for."""
    return torch.float64 if options.procedure == "probound" else torch.float32


def _place_of(document: Document, options: ProBoundOptions) -> tuple[Path, str]:
    """Return the folder of the results, and the name of the models in it."""
    output = document.content.optimizer_setting.output
    base = output.base_name or options.config.stem
    if options.output is not None:
        return options.output, base
    if output.output_path is not None:
        return document.folder / output.output_path, base
    return Path(f"{options.config.stem}.run"), base


def _check_tables(document: Document, tables: Sequence[Path]) -> None:
    for path in tables:
        if not path.exists():
            raise PyProBoundError(f"{path}: no such file")
    count = len(document.content.model_settings.count_table)
    if tables and len(tables) != count:
        rule = f"names {count} count tables; give --table {count} times, not"
        raise document.error(f"{rule} {len(tables)}")


def _write_result(
    path: Path,
    options: ProBoundOptions,
    steps: Steps,
    seconds: float,
    signal: Interrupted | None,
) -> None:
    done = [
        {
            "name": line["metadata"]["fitName"],
            "objective": line["metadata"]["logLikelihoodPerRead"],
            "passes": line["metadata"]["dataLoops"],
        }
        for line in steps.lines
    ]
    content = {
        "interrupted": signal is not None,
        "ended": "" if steps.last is None else steps.last.reason,
        "procedure": options.procedure,
        "seed": options.seed or 0,
        "seconds": seconds,
        "steps": done,
        "versions": {
            "pyprobound": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _summary(last: Trained, models: Path, seconds: float) -> str:
    value = last.value
    per_table = " + ".join(f"{each:.6f}" for each in value.losses)
    return (
        f"Objective per read: data {per_table} + penalty {value.penalty:.6f}"
        f" = {value.value:.6f}\n"
        f"Time {seconds:.1f} s; passes over the data {last.passes:.1f}\n"
        f"Models of all steps, the last one final: {models}"
    )
