"""`pyprobound fit`: from a configuration to a run directory."""

import dataclasses
import inspect
import json
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyprobound._version import __version__
from pyprobound.cli._errors import SWITCHED_OFF, errors_of, numbers_of
from pyprobound.cli._journal import Journal, journal_in
from pyprobound.cli._progress import progress_for
from pyprobound.cli._report import report_fit
from pyprobound.cli._resume import Past, configuration, held, past_of
from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.cli._simulate import with_seed
from pyprobound.cli._verdict import verdict_lines, verdict_numbers, verdict_of
from pyprobound.config import (
    BuiltModel,
    Document,
    OptimizerSection,
    build_model,
    make_tables,
    read_config,
    read_counts,
    resolve,
)
from pyprobound.errors import PyProBoundError
from pyprobound.fit_state import StateFile
from pyprobound.loss import MultiExperimentLoss
from pyprobound.optimizer import EndEvent, Optimizer, ProgressEvent
from pyprobound.report import FORMAT, Json, finite, parameters, summary, table_numbers
from pyprobound.run_directory import RunDirectory, open_run
from pyprobound.structure import set_flank_lengths
from pyprobound.table import CountBatch, CountTable
from pyprobound.uncertainty import Uncertainty

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class FitOptions:
    """The arguments of the command, see its help."""

    config: Path
    output: Path | None
    seed: int | None
    quiet: bool
    force: bool
    keep: Collection[str] = ()  # files of the run directory that stay
    errors: bool | None = None
    resume: bool = False
    report: bool = False


@dataclass(frozen=True)
class Fit:
    """A fit that is ready to run: nothing has been written yet.

    Attributes:
        document: The resolved configuration.
        built: The model.
        train: The tables that it is fitted to.
        held_out: The tables that decide which model is best, if there are any.
        run: Where the results go.
        engine: The class of torch.optim to use, None for the default.
        past: What was done before of a fit that is to go on, None of a new one.
    """

    document: Document
    built: BuiltModel
    train: Sequence[CountTable]
    held_out: Sequence[CountTable] | None
    run: RunDirectory
    engine: type[torch.optim.Optimizer] | None
    past: Past | None


@dataclass(frozen=True)
class Outcome:
    """How a fit ended.

    Attributes:
        reason: In words.
        signal: The signal that interrupted it, if one did.
        steps: A summary of each step.
    """

    reason: str
    signal: Interrupted | None
    steps: Sequence[Json]


def run_fit(options: FitOptions) -> int:
    """Fit a model, write the run directory, and return the exit code."""
    clock = time.perf_counter()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    fit = _prepared(options)
    with held(fit.run):
        if fit.past is not None:
            # meanwhile a fit that ran here may have come to its end
            fit = dataclasses.replace(fit, past=past_of(fit.run, fit.document))
        if fit.past is None or not fit.past.is_finished:
            return _fitted(fit, options, clock, started)
    if not options.quiet:
        print(f"{fit.run.path}: already finished, see {fit.run.result}")
    return 0


def _fitted(fit: Fit, options: FitOptions, clock: float, started: str) -> int:
    """Fit a model that is ready; return the exit code."""
    past = fit.past
    started = (past and past.started) or started
    if past is None or past.state is None:
        fit.run.create(keep=options.keep)
        fit.run.write_config(fit.document)
    else:
        fit.run.reopen()
    state = StateFile(fit.run.state, _about(fit, started))
    outcome = _trained(fit, state, quiet=options.quiet)
    best = open_run(fit.run.path, fit.train) if fit.run.model.exists() else None
    losses = {} if best is None else _losses(fit, *best)
    errors = _errors(fit, best, outcome, wanted=options.errors)
    seconds = time.perf_counter() - clock + (past.seconds if past else 0.0)
    content: dict[str, Json] = {
        "format": FORMAT,
        "interrupted": outcome.signal is not None,
        "resumed": state.about["resumed"],
        "ended": outcome.reason,
        "seed": fit.document.config.seed,
        "started": started,
        "seconds": seconds,
        "peak_memory_bytes": _peak_memory(),
        "versions": _versions(),
        "loss_per_read": losses,
        "tables": table_numbers(fit.train),
        "steps": outcome.steps,
        **({} if best is None else parameters(*best)),
        **({} if best is None else {"uncertainty": numbers_of(best[1], errors)}),
        **_selection_of(fit.run),
    }
    if isinstance(errors, Uncertainty):
        errors.save(fit.run.errors)
    # The result says that a fit has ended, so it comes after all but the state; the
    # verdict is added to it, and no trouble with that may cost the result.
    fit.run.write_json(fit.run.result, content)
    verdict = verdict_of(best, fit.train, fit.held_out, content, errors)
    content["verdict"] = verdict_numbers(verdict)
    fit.run.write_json(fit.run.result, content)
    if outcome.signal is None:
        state.remove()
    if not options.quiet and best is not None:
        print(_shown(best[1], errors) + _closing(fit, losses, seconds))
        print(verdict_lines(verdict))
    if outcome.signal is None:
        if options.report and best is not None:
            report_fit(
                fit.run, best, errors, fit.train, fit.held_out, quiet=options.quiet
            )
        return 0
    kept = f"the best model so far is in {fit.run.model}"
    if best is None:
        kept = "it had no model yet"
    print(f"interrupted by {outcome.signal}: {kept}", file=sys.stderr)
    print(f"go on with: {_command(options, fit)}", file=sys.stderr)
    return outcome.signal.exit_code


# --- before ------------------------------------------------------------------------


def _prepared(options: FitOptions) -> Fit:
    """Read everything and build the model, without writing anything."""
    document = with_seed(read_config(options.config), options.seed)
    run = RunDirectory(output_of(document, options))
    if options.force and options.resume:
        msg = "--force begins anew, --resume goes on: give one of them"
        raise PyProBoundError(msg)
    run.check(force=options.force or options.resume)
    engine = engine_of(document)
    settings = document.config.optimizer
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    counts = read_counts(document)
    document = resolve(document, [each.probes for each in counts])
    past = past_of(run, document) if options.resume else None
    train, held_out = make_tables(document, counts)
    torch.manual_seed(document.config.seed)
    built = build_model(document, train)
    return Fit(document, built, train, held_out, run, engine, past)


def output_of(document: Document, options: FitOptions) -> Path:
    """Return the run directory: as asked for, or by default."""
    if options.output is not None:
        return options.output
    if document.config.output is not None:
        return document.folder / document.config.output
    return Path(f"{options.config.stem}.run")


def engine_of(document: Document) -> type[torch.optim.Optimizer] | None:
    """Return the class of torch.optim that is asked for, its arguments checked."""
    settings = document.config.optimizer
    _check_device(document)
    if settings.optimizer is None:
        if settings.arguments:
            rule = "arguments of which optimizer? name it with optimizer"
            raise document.error(("optimizer", "arguments"), rule)
        return None
    engine = getattr(torch.optim, settings.optimizer, None)
    if not (inspect.isclass(engine) and issubclass(engine, torch.optim.Optimizer)):
        rule = f"torch.optim has no optimizer {settings.optimizer!r}"
        raise document.error(("optimizer", "optimizer"), rule)
    known = inspect.signature(engine).parameters
    for key in settings.arguments:
        if key not in known or key == "params":
            rule = f"{settings.optimizer} takes no such argument"
            raise document.error(("optimizer", "arguments", key), rule)
    return engine


def _check_device(document: Document) -> None:
    name = document.config.optimizer.device
    if name is None:
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        rule = f"{name!r} cannot be used here ({reason})"
        raise document.error(("optimizer", "device"), rule) from None


# --- during ------------------------------------------------------------------------


def _about(fit: Fit, started: str) -> dict[str, Any]:
    """Return what is kept with the state of a fit."""
    resumed = 0 if fit.past is None else fit.past.resumed + 1
    config = configuration(fit.run, fit.document)
    return {"config": config, "started": started, "resumed": resumed}


def _command(options: FitOptions, fit: Fit) -> str:
    """Return the command that goes on with a fit."""
    words = ["pyprobound", "fit", str(options.config), "-o", str(fit.run.path)]
    if options.seed is not None:
        words += ["--seed", str(options.seed)]
    return shlex.join([*words, "--resume"])


def _trained(fit: Fit, state: StateFile, *, quiet: bool) -> Outcome:
    """Run the procedure; what a signal interrupts ends early."""
    reason, signal = "", None
    with journal_in(fit.run.events, fit.past) as journal:
        try:
            with (
                raised_signals(),
                _optimizer(fit, state, journal, quiet=quiet) as optimizer,
            ):
                if fit.past is not None and optimizer.resume() and not quiet:
                    past = fit.past
                    text = f"{past.events} epochs and {past.seconds:.0f} s are done"
                    print(f"going on with {fit.run.path}: {text}", file=sys.stderr)
                run_procedure(fit.document.config.optimizer, optimizer)
                reason = optimizer.reason
        except Interrupted as error:
            reason, signal = f"interrupted by {error}", error
            journal.interrupted(reason)
    return Outcome(reason, signal, journal.steps)


@contextmanager
def _optimizer(
    fit: Fit, state: StateFile, journal: Journal, *, quiet: bool
) -> Iterator[Optimizer[CountBatch]]:
    """Yield the optimizer of a fit, its progress shown and kept in the journal."""
    with progress_for(sys.stderr, quiet=quiet) as progress:

        def on_progress(event: ProgressEvent) -> None:
            journal(event)
            progress(event)

        def on_end(event: EndEvent) -> None:
            journal.end(event)
            progress.end(event)

        yield optimizer_of(
            fit.document.config.optimizer,
            fit.built.loss,
            fit.train,
            fit.held_out,
            fit.run,
            fit.engine,
            on_progress,
            state,
            on_end,
        )


def optimizer_of(
    settings: OptimizerSection,
    model: MultiExperimentLoss,
    train: Sequence[CountTable],
    held_out: Sequence[CountTable] | None,
    run: RunDirectory,
    engine: type[torch.optim.Optimizer] | None,
    on_progress: Callable[[ProgressEvent], None],
    state: StateFile | None = None,
    on_end: Callable[[EndEvent], None] | None = None,
) -> Optimizer[CountBatch]:
    """Return the optimizer that a configuration asks for."""
    return Optimizer(
        model,
        train,
        held_out,
        epochs=settings.epochs,
        patience=settings.patience,
        greedy_threshold=settings.greedy_threshold,
        batch_size=settings.batch_size,
        checkpoint=run.model,
        output=run.log,
        device=settings.device,
        optimizer=engine,
        optim_args=dict(settings.arguments),
        dtype=_DTYPES[settings.dtype],
        on_progress=on_progress,
        state=state,
        on_end=on_end,
    )


def run_procedure(settings: OptimizerSection, optimizer: Optimizer[CountBatch]) -> None:
    """Fit as a configuration says."""
    if settings.procedure == "sequential":
        optimizer.train_sequential()
    else:
        optimizer.train_simultaneous()


# --- after -------------------------------------------------------------------------


def _losses(fit: Fit, document: Document, built: BuiltModel) -> dict[str, Json]:
    """Return the losses per read of the model that was kept."""
    lengths = [
        (section.left_flank_length or 0, section.right_flank_length or 0)
        for section in document.config.experiments
    ]
    set_flank_lengths(fit.train, lengths)
    if fit.held_out is not None:
        set_flank_lengths(fit.held_out, lengths)
    with torch.no_grad():
        data, penalty = (float(x) for x in built.loss(fit.train))
        held_out = None
        if fit.held_out is not None:
            held_out = finite(float(built.loss(fit.held_out).negloglik))
    return {
        "data": finite(data),
        "penalty": finite(penalty),
        "total": finite(data + penalty),
        "held_out": held_out,
    }


def _errors(
    fit: Fit,
    best: tuple[Document, BuiltModel] | None,
    outcome: Outcome,
    *,
    wanted: bool | None,
) -> Uncertainty | str:
    """Return the errors of the model that was kept, or why there are none."""
    if wanted is None:
        wanted = fit.document.config.optimizer.errors
    if best is None or outcome.signal is not None:
        return "the fit was interrupted"
    return errors_of(best[1], fit.train) if wanted else SWITCHED_OFF


def _selection_of(run: RunDirectory) -> dict[str, Json]:
    """Return how the model was chosen, if it was."""
    if not run.selection.exists():
        return {}
    content = json.loads(run.selection.read_text(encoding="utf-8"))
    del content["format"]
    return {"selection": content}


def _shown(built: BuiltModel, errors: Uncertainty | str) -> str:
    """Return the summary of a model, and why it has no errors if it should have."""
    if isinstance(errors, Uncertainty):
        return f"{summary(built, errors)}\n"
    reason = "" if errors == SWITCHED_OFF else f"No errors: {errors}\n"
    return f"{summary(built)}\n{reason}"


def _closing(fit: Fit, losses: Mapping[str, Json], seconds: float) -> str:
    """Return the last lines of the summary: losses, time, files."""
    held_out = losses["held_out"]
    shown = "" if held_out is None else f"; held out {held_out:.6f}"
    return (
        f"Loss per read: data {losses['data']:.6f} + penalty {losses['penalty']:.6f}"
        f" = {losses['total']:.6f}{shown}\n"
        f"Time {seconds:.1f} s; peak memory {_peak_memory() / 1e6:.0f} MB\n"
        f"Files in {fit.run.path}: {', '.join(fit.run.names)}"
    )


def _peak_memory() -> int:
    """Return the largest memory that the process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes
    return peak if sys.platform == "darwin" else peak * 1024


def _versions() -> dict[str, Json]:
    return {
        "pyprobound": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }
