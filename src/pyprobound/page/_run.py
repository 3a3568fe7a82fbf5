"""A run as a page needs it: the model, its numbers, its history and its data."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pyprobound.config import (
    BuiltModel,
    Document,
    make_tables,
    read_config,
    read_counts,
)
from pyprobound.diagnosis import Diagnosis, diagnose
from pyprobound.errors import ConfigError, PyProBoundError
from pyprobound.report import parameters, table_numbers
from pyprobound.report_errors import error_numbers
from pyprobound.run_directory import RunDirectory, open_errors, open_run
from pyprobound.structure import set_flank_lengths
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A fitted model and what is known of how it came about.

    Attributes:
        directory: Where it is.
        document: The configuration, with the flanks that are scored.
        built: The model.
        found_errors: Its errors, or why there are none, in words.
        tables: What it was fitted to, one for each experiment; None where they are not
            at hand.
        no_tables: Why they are not, in words.
        held_out: What was held out to choose among epochs; None if nothing was.
    """

    directory: RunDirectory
    document: Document
    built: BuiltModel
    found_errors: Uncertainty | str
    tables: Sequence[CountTable] | None = None
    no_tables: str = ""
    held_out: Sequence[CountTable] | None = None

    @property
    def errors(self) -> Uncertainty | None:
        """Its errors; None where there are none."""
        found = self.found_errors
        return found if isinstance(found, Uncertainty) else None

    @property
    def no_errors(self) -> str:
        """Why there are no errors, in words; empty where there are."""
        return self.found_errors if isinstance(self.found_errors, str) else ""

    @cached_property
    def result(self) -> Numbers:
        """What result.json says; empty where there is none."""
        return _json_of(self.directory.result)

    @cached_property
    def numbers(self) -> Numbers:
        """The parameters, as result.json has them."""
        if "modes" in self.result:
            return self.result
        return {
            **self.result,
            **parameters(self.document, self.built),
            "tables": table_numbers(self.tables or []),
        }

    @cached_property
    def uncertainty(self) -> Numbers | None:
        """The errors, as result.json has them; None where there are none."""
        if self.errors is None:
            return None
        known = self.result.get("uncertainty", {})
        if "modes" in known:
            found: Numbers = known
            return found
        return error_numbers(self.built, self.errors)

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """Whether the fit is to be believed; None where it cannot be told."""
        known = self.result.get("verdict", {})
        if "findings" in known:
            return Diagnosis.from_json(known)
        if self.tables is None:
            return None
        return diagnose(
            self.document,
            self.built,
            self.tables,
            self.result or None,
            self.errors,
            self.held_out,
        )

    @cached_property
    def events(self) -> list[Numbers]:
        """The evaluations of the fit, and why each part ended, in order."""
        path = self.directory.events
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_numbers_of(line) for line in lines]

    @cached_property
    def selection(self) -> Numbers:
        """The candidates that were compared before; empty if none were."""
        found: Numbers = self.result.get("selection", {})
        return found or _json_of(self.directory.selection)


def open_page_run(path: Path, tables: Sequence[Path] = ()) -> Run:
    """Read a run directory, and its tables where they are to be found.

    Args:
        path: The folder.
        tables: Where the tables are now, in the configuration's order; by default
            where the configuration says.

    Raises:
        PyProBoundError: The run cannot be read, or one of the given tables.
    """
    directory = RunDirectory(path)
    if not directory.config.exists():
        msg = (
            f"{directory.config}: no such file; give the folder that pyprobound fit"
            " CONFIG.toml has made"
        )
        raise ConfigError(msg)
    found, held_out, reason = _tables_of(directory, tables)
    document, built = open_run(path, found)
    lengths = [
        (each.left_flank_length or 0, each.right_flank_length or 0)
        for each in document.config.experiments
    ]
    for each in (found, held_out):
        if each is not None:
            set_flank_lengths(each, lengths)
    built.loss.to(torch.float64)
    errors = _errors_of(directory, built)
    return Run(directory, document, built, errors, found, reason, held_out)


def _tables_of(
    directory: RunDirectory, given: Sequence[Path]
) -> tuple[list[CountTable] | None, list[CountTable] | None, str]:
    """Return the tables, those held out, or why there are none."""
    document = read_config(directory.config)
    if given:
        document = _relocated(document, given)
    try:
        return *make_tables(document, read_counts(document)), ""
    except PyProBoundError as error:
        if given:
            raise
        return None, None, str(error)


def _relocated(document: Document, given: Sequence[Path]) -> Document:
    """Return the configuration with its tables elsewhere."""
    experiments = document.config.experiments
    n_files = sum(len(each.table) for each in experiments)
    if len(given) != n_files:
        rule = f"names {n_files} count tables; give --table {n_files} times, not"
        msg = f"{document.path}: {rule} {len(given)}"
        raise PyProBoundError(msg)
    names = iter(str(path.resolve()) for path in given)
    moved = [
        each.model_copy(update={"table": [next(names) for _ in each.table]})
        for each in experiments
    ]
    return document.with_config(
        document.config.model_copy(update={"experiments": moved})
    )


def _errors_of(directory: RunDirectory, built: BuiltModel) -> Uncertainty | str:
    """Return the errors of a run, or why it has none."""
    try:
        return open_errors(directory.path, built)
    except PyProBoundError as error:
        result = _json_of(directory.result)
        skipped = result.get("uncertainty", {}).get("skipped")
        return str(skipped or error)


def _json_of(path: Path) -> Numbers:
    """Return what a JSON file holds; nothing if it is not there.

    Raises:
        PyProBoundError: It is damaged.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: damaged ({error}); remove it, or fit again"
        raise PyProBoundError(msg) from None
    return content if isinstance(content, dict) else {}


def _numbers_of(line: str) -> Numbers:
    """Return an event of the log; a number that was not finite is NaN."""
    event: dict[str, Any] = json.loads(line)
    for key in ("train_loss", "train_regularization"):
        if event.get(key, 0.0) is None:
            event[key] = math.nan
    return event
