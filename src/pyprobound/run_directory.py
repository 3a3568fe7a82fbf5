"""The folder that a fit or a simulation leaves behind.

    config.toml    the configuration, every default filled in
    model.pt       the checkpoint of the best model
    result.json    parameters, losses, versions (truth.json of a simulation)
    errors.npz     the covariance of the parameters
    log.jsonl      one JSON object per evaluation and end of a step
    log.txt        the fit's own words
    fit.state      where the fit is, until it has ended
    select.tsv     the candidates of a selection, and select.json
    report.html    all of it as a page for a browser

config.toml and model.pt are enough to score with.
"""

import json
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pyprobound._files import write_text
from pyprobound._version import __version__
from pyprobound.config import (
    BuiltModel,
    Config,
    Document,
    Probes,
    build_model,
    read_config,
    resolve,
    to_toml,
)
from pyprobound.errors import CheckpointError, ConfigError, PyProBoundError
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty

CONFIG = "config.toml"
MODEL = "model.pt"
RESULT = "result.json"
ERRORS = "errors.npz"
TRUTH = "truth.json"
EVENTS = "log.jsonl"
LOG = "log.txt"
STATE = "fit.state"
CANDIDATES = "select.tsv"
SELECTION = "select.json"
REPORT = "report.html"
_OURS = (
    CONFIG,
    MODEL,
    RESULT,
    ERRORS,
    TRUTH,
    EVENTS,
    LOG,
    STATE,
    CANDIDATES,
    SELECTION,
    REPORT,
)


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG

    @property
    def model(self) -> Path:
        """The checkpoint."""
        return self.path / MODEL

    @property
    def result(self) -> Path:
        """Parameters, losses and versions of a fit."""
        return self.path / RESULT

    @property
    def errors(self) -> Path:
        """The covariance of the parameters."""
        return self.path / ERRORS

    @property
    def truth(self) -> Path:
        """Parameters that a simulation drew from."""
        return self.path / TRUTH

    @property
    def events(self) -> Path:
        """The evaluations of a fit."""
        return self.path / EVENTS

    @property
    def log(self) -> Path:
        """The fit's own words."""
        return self.path / LOG

    @property
    def state(self) -> Path:
        """Where a fit is that has not ended."""
        return self.path / STATE

    @property
    def candidates(self) -> Path:
        """The table of the candidates of a selection."""
        return self.path / CANDIDATES

    @property
    def selection(self) -> Path:
        """The same, and how they were compared."""
        return self.path / SELECTION

    @property
    def report(self) -> Path:
        """All of it as a page."""
        return self.path / REPORT

    @property
    def names(self) -> list[str]:
        """The names of the files that are there."""
        return [name for name in _OURS if (self.path / name).exists()]

    def check(self, *, force: bool) -> None:
        """Check that a run may be written here; nothing is written yet.

        Args:
            force: Whether the run may replace another one.

        Raises:
            PyProBoundError: The path is a file, lies below one, cannot be written, or
                holds something already.
        """
        if self.path.is_dir():
            if any(self.path.iterdir()) and not force:
                msg = (
                    f"{self.path}: the folder is not empty; choose another one with -o,"
                    " or replace the run in it with --force"
                )
                raise PyProBoundError(msg)
            existing = self.path
        else:
            existing = _nearest_existing(self.path)
        if not existing.is_dir():
            msg = f"{self.path}: {existing} is no folder; choose another one with -o"
            raise PyProBoundError(msg)
        if not os.access(existing, os.W_OK | os.X_OK):
            msg = (
                f"{self.path}: {existing} cannot be written; choose another one with -o"
            )
            raise PyProBoundError(msg)

    def make(self) -> None:
        """Make the folder if it is not there, without what killed fits were writing.

        Raises:
            PyProBoundError: It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in _OURS:
                for half in self.path.glob(f".{name}.*"):
                    half.unlink()
        except OSError as error:
            reason = error.strerror or error
            msg = f"{self.path}: cannot be made ({reason}); choose another one with -o"
            raise PyProBoundError(msg) from error

    def create(self, *, keep: Collection[str] = ()) -> None:
        """Make the folder, without the files of an earlier run.

        Args:
            keep: The names of files that stay.

        Raises:
            PyProBoundError: It cannot be made.
        """
        self.make()
        for name in _OURS:
            if name not in keep:
                (self.path / name).unlink(missing_ok=True)

    def reopen(self) -> None:
        """Prepare the folder of a fit that goes on: it has no result yet.

        Raises:
            PyProBoundError: It cannot be made.
        """
        self.make()
        self.result.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    def write_config(self, document: Document) -> None:
        """Write the resolved configuration, its paths relative to this folder."""
        config = moved(document, self.path)
        header = (
            f"# Written by pyprobound {__version__}: every default filled in.\n"
            "# Paths are relative to this file; sha256 says which tables were read.\n"
            "\n"
        )
        write_text(self.config, header + to_toml(config.model_dump(exclude_none=True)))

    def write_json(self, path: Path, content: object) -> None:
        """Write a JSON file in one piece."""
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(path, _PLAIN_LIST.sub(_in_one_line, text) + "\n")


_PLAIN_LIST = re.compile(r"\[\n[^\[\]{}]*\]")
"""A list of numbers or words, as json.dumps spreads it over lines."""


def _in_one_line(match: re.Match[str]) -> str:
    entries = (line.strip() for line in match.group()[1:-1].splitlines())
    return f"[{' '.join(filter(None, entries))}]"


def _nearest_existing(path: Path) -> Path:
    candidates = (path, *path.parents)  # the last is '.' or '/'
    return next(each for each in candidates if each.exists())


def moved(document: Document, folder: Path) -> Config:
    """Return the configuration with paths that hold from another folder."""

    def seen(name: str) -> str:
        if Path(name).is_absolute():
            return name
        target = (document.folder / name).resolve()
        return Path(os.path.relpath(target, folder.resolve())).as_posix()

    experiments = [
        each.model_copy(update={"table": [seen(name) for name in each.table]})
        for each in document.config.experiments
    ]
    return document.config.model_copy(
        update={"experiments": experiments, "output": "."}
    )


def open_run(
    model: Path, tables: Sequence[CountTable] | None = None
) -> tuple[Document, BuiltModel]:
    """Build the model of a run directory and load its checkpoint.

    Args:
        model: The folder, or the checkpoint in it.
        tables: The tables that it was fitted to, where its loss is wanted.

    Raises:
        PyProBoundError: A file is missing or damaged, or they do not belong together.
    """
    run = RunDirectory(model if model.is_dir() else model.parent)
    checkpoint = run.model if model.is_dir() else model
    if not model.exists():
        msg = f"{model}: no such file or folder; give the folder that a fit has made"
        raise CheckpointError(msg)
    if not run.config.exists():
        msg = f"{run.config}: no such file; a model is scored with its run directory"
        raise ConfigError(msg)
    document = read_config(run.config)
    document = resolve(document, [_probes_of(document, i) for i in _indices(document)])
    built = build_model(document, tables)
    if document.config.optimizer.dtype == "float64":
        built.loss.to(torch.float64)
    metadata = built.loss.reload(checkpoint)
    return _with_flanks(document, metadata["flank_lengths"]), built


def open_errors(model: Path, built: BuiltModel) -> Uncertainty:
    """Return the errors of a model, as its fit has written them.

    Args:
        model: The run directory, or the checkpoint in it.
        built: What `open_run` has made of it.

    Raises:
        PyProBoundError: There are none, or they are damaged or of another model.
    """
    run = RunDirectory(model if model.is_dir() else model.parent)
    if not run.errors.exists():
        msg = (
            f"{run.errors}: no such file; the fit was made without errors (or was"
            " interrupted): fit again, or score without --errors"
        )
        raise CheckpointError(msg)
    return Uncertainty.load(run.errors, built.loss)


def _with_flanks(document: Document, lengths: Sequence[tuple[int, int]]) -> Document:
    """Return the document with the scored flanks that a fit has grown."""
    experiments = [
        each.model_copy(update={"left_flank_length": left, "right_flank_length": right})
        for each, (left, right) in zip(
            document.config.experiments, lengths, strict=True
        )
    ]
    config = document.config.model_copy(update={"experiments": experiments})
    return document.with_config(config)


def _indices(document: Document) -> range:
    return range(len(document.config.experiments))


def _probes_of(document: Document, index: int) -> Probes:
    experiment = document.config.experiments[index]
    shortest, longest = experiment.min_variable_length, experiment.max_variable_length
    if shortest is None or longest is None:
        rule = (
            "min_variable_length and max_variable_length are missing: no run's config"
        )
        raise document.error(("experiments", index), rule)
    return Probes(shortest, longest, sha256=tuple(experiment.sha256))
