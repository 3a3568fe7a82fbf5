"""`pyprobound select`: compare candidates by held-out probes, fit the chosen one."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from pyprobound._files import write_text
from pyprobound.cli._fit import (
    FitOptions,
    engine_of,
    optimizer_of,
    output_of,
    run_fit,
    run_procedure,
)
from pyprobound.cli._select_shown import print_table, shown_on
from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.cli._simulate import with_seed
from pyprobound.comparison import Build, Comparison, compare_on_splits
from pyprobound.config import (
    BuiltModel,
    Candidate,
    Document,
    SelectSection,
    build_model,
    candidates_of,
    make_tables,
    read_config,
    read_counts,
    select_section,
)
from pyprobound.errors import ConfigError, PyProBoundError
from pyprobound.held_out import Split, split_by_sequence
from pyprobound.loss import MultiExperimentLoss
from pyprobound.optimizer import ProgressEvent
from pyprobound.report import FORMAT, Json
from pyprobound.run_directory import CANDIDATES, SELECTION, RunDirectory
from pyprobound.structure import flank_lengths, set_flank_lengths
from pyprobound.table import CountTable

_RULE = "the fewest parameters within one standard error of the best"


@dataclass
class Selection:
    """A selection that is ready to run: nothing has been written yet.

    Attributes:
        document: The configuration, as it was read.
        section: How candidates are compared.
        candidates: What is compared.
        splits: What each fold fits and holds out.
        run: Where the results go.
        engine: The class of torch.optim to use, None for the default.
        found: The comparison so far.
        has_begun: Whether the run directory is its own.
        interrupted: Whether a signal has ended it.
    """

    document: Document
    section: SelectSection
    candidates: Sequence[Candidate]
    splits: Sequence[Split]
    run: RunDirectory
    engine: type[torch.optim.Optimizer] | None
    found: Comparison = field(default_factory=lambda: Comparison(()))
    has_begun: bool = False
    interrupted: bool = False


def run_fit_or_select(options: FitOptions) -> int:
    """Fit a model, chosen before if the configuration asks for it."""
    document = read_config(options.config)
    if document.config.select is None:
        return run_fit(options)
    if options.resume:
        chosen = output_of(document, options) / "config.toml"
        msg = (
            f"{options.config}: a selection begins anew; to go on with the fit of the"
            f" chosen model, resume {chosen} -o {chosen.parent}"
        )
        raise PyProBoundError(msg)
    return run_select(options)


def run_select(options: FitOptions) -> int:
    """Compare candidates, fit the chosen one, and return the exit code."""
    selection = _prepared(options)
    signal = _compare(selection, quiet=options.quiet)
    found = selection.found
    if not options.quiet:
        print_table(found)
    if signal is not None:
        _say_interrupted(selection, signal)
        return signal.exit_code
    if found.chosen is None:
        first = found.rows[0]
        msg = f"no candidate could be fitted; {first.candidate}: {first.failure}"
        raise PyProBoundError(msg)
    if not options.quiet:
        print(f"Chosen: {found.chosen}, {_RULE} ({found.best})\n")
    return _fit_chosen(selection, found.chosen, options)


def _fit_chosen(selection: Selection, chosen: str, options: FitOptions) -> int:
    """Fit a candidate to all probes as `pyprobound fit` of its configuration does."""
    run = selection.run
    (document,) = (x.document for x in selection.candidates if x.name == chosen)
    run.write_config(document)
    selection.splits = ()  # the fit reads the tables again: once in memory is enough
    plain = replace(
        options,
        config=run.config,
        output=run.path,
        seed=None,  # it is in the configuration
        force=True,
        keep=(CANDIDATES, SELECTION),
    )
    return run_fit(plain)


# --- before ------------------------------------------------------------------------


def _prepared(options: FitOptions) -> Selection:
    """Read everything and build each candidate once, without writing anything."""
    document = with_seed(read_config(options.config), options.seed)
    run = RunDirectory(output_of(document, options))
    run.check(force=options.force)
    engine = engine_of(document)
    section = select_section(document)
    settings = document.config.optimizer
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    counts = read_counts(document)
    candidates = candidates_of(document, [each.probes for each in counts])
    usable = next(each for each in candidates if each.failure is None)
    tables, _ = make_tables(_without_validation(usable.document), counts)
    splits = _splits(document, section, tables)
    candidates = [_checked(each, tables) for each in candidates]
    failures = [each.failure for each in candidates]
    if all(failures):
        raise ConfigError(failures[0])
    return Selection(document, section, candidates, splits, run, engine)


def _without_validation(document: Document) -> Document:
    settings = document.config.optimizer.model_copy(update={"validation_fraction": 0.0})
    config = document.config.model_copy(update={"optimizer": settings})
    return document.with_config(config)


def _splits(
    document: Document, section: SelectSection, tables: Sequence[CountTable]
) -> list[Split]:
    assert section.seed is not None
    try:
        return split_by_sequence(
            tables, section.held_out, section.folds, section.sample, section.seed
        )
    except PyProBoundError as error:
        raise document.error(("select",), error) from error


def _checked(candidate: Candidate, tables: Sequence[CountTable]) -> Candidate:
    """Return a candidate, failed if it cannot be built."""
    if candidate.failure is not None:
        return candidate
    try:
        _build(candidate, list(map(copy, tables)))
    except PyProBoundError as error:
        return replace(candidate, failure=str(error))
    return candidate


def _build(candidate: Candidate, tables: Sequence[CountTable]) -> BuiltModel:
    """Build a candidate, and let its tables score the flanks that it scores.

    Raises:
        ConfigError: It cannot be built.
    """
    if candidate.failure is not None:
        raise ConfigError(candidate.failure)
    document = candidate.document
    lengths = [
        (each.left_flank_length or 0, each.right_flank_length or 0)
        for each in document.config.experiments
    ]
    set_flank_lengths(tables, lengths)
    return build_model(document, tables)


# --- during ------------------------------------------------------------------------


def _compare(selection: Selection, *, quiet: bool) -> Interrupted | None:
    """Compare the candidates; return the signal that ended it early, if one did."""
    builds = {each.name: _loss_of(each) for each in selection.candidates}
    with shown_on(sys.stderr, list(builds), quiet=quiet) as shown:

        def on_candidate(found: Comparison) -> None:
            selection.found = found
            _write(selection)
            shown.row(found.rows[-1])

        try:
            with raised_signals():
                compare_on_splits(
                    builds,
                    selection.splits,
                    seed=selection.document.config.seed,
                    fit=partial(_fit, selection, shown.event),
                    on_candidate=on_candidate,
                )
        except Interrupted as signal:
            selection.interrupted = True
            if selection.has_begun:
                _write(selection)
            return signal
    return None


def _loss_of(candidate: Candidate) -> Build:
    return lambda tables: _build(candidate, tables).loss


def _fit(
    selection: Selection,
    on_progress: Callable[[ProgressEvent], None],
    model: MultiExperimentLoss,
    tables: list[CountTable],
) -> None:
    """Fit a candidate to its part of the probes, as the configuration says."""
    settings, seed = selection.document.config.optimizer, selection.document.config.seed
    train, held_out = tables, None
    if settings.validation_fraction > 0:
        (split,) = split_by_sequence(tables, settings.validation_fraction, seed=seed)
        train, held_out = split.train_tables(), split.held_out_tables()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        optimizer = optimizer_of(
            settings, model, train, held_out, run, selection.engine, on_progress
        )
        run_procedure(settings, optimizer)
    set_flank_lengths(tables, flank_lengths(train))


# --- after -------------------------------------------------------------------------


def _write(selection: Selection) -> None:
    """Write the table so far; the first time, clear the run directory for it."""
    run = selection.run
    if not selection.has_begun:
        run.create()
        selection.has_begun = True
    text = selection.found.frame().to_csv(sep="\t", index=False, lineterminator="\n")
    write_text(run.candidates, text)
    run.write_json(run.selection, {"format": FORMAT, **_numbers(selection)})


def _numbers(selection: Selection) -> dict[str, Json]:
    """Return the comparison and how it was made, as JSON."""
    section, found = selection.section, selection.found
    rows: list[Json] = [dict(asdict(row)) for row in found.rows]
    return {
        "interrupted": selection.interrupted,
        "rule": _RULE,
        "folds": section.folds,
        "held_out": section.held_out if section.folds == 1 else 1 / section.folds,
        "sample": section.sample,
        "seed": section.seed,
        "best": found.best,
        "chosen": None if selection.interrupted else found.chosen,
        "not_compared": [each.name for each in selection.candidates[len(found.rows) :]],
        "candidates": rows,
    }


def _say_interrupted(selection: Selection, signal: Interrupted) -> None:
    done, number = len(selection.found.rows), len(selection.candidates)
    kept = "no candidate was done yet"
    if done:
        kept = f"{done} of {number} candidates are in {selection.run.candidates}"
    print(f"interrupted by {signal}: {kept}", file=sys.stderr)
