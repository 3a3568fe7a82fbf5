"""From a file to a model that can be evaluated or fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyprobound.alphabets import Alphabet
from pyprobound.probound._coefficients import (
    Coefficients,
    ShapeError,
    read_coefficients,
)
from pyprobound.probound._files import Document
from pyprobound.probound._model import Builder, Numbers
from pyprobound.probound._objective import ProBoundLoss
from pyprobound.probound._tables import Part, read_table
from pyprobound.table import CountTable


@dataclass(frozen=True)
class FileModel:
    """A model of a file, ready for its tables.

    Attributes:
        document: What the file says.
        loss: The objective.
        alphabet: What the probes are written in.
        flanks: For each table the letters of either flank that are scored.
    """

    document: Document
    loss: ProBoundLoss
    alphabet: Alphabet
    flanks: list[int]

    @property
    def numbers(self) -> Numbers:
        """The numbers of the file, as a function of the parameters."""
        return self.loss.numbers

    @property
    def has_test_folds(self) -> bool:
        """Whether some rows of a table are held out."""
        tables = self.document.content.model_settings.count_table
        return any(each.test_folds for each in tables)

    def read_tables(
        self, paths: Sequence[str | Path] | None = None, part: Part = "train"
    ) -> list[CountTable]:
        """Read the count tables, and tell the loss of their reads.

        Args:
            paths: Where they are; by default where the file says.
            part: Which rows, where folds are held out: "test" leaves the loss alone.

        Raises:
            InputError: There are too few or too many, one cannot be read, or is not
                as the file describes it.
        """
        if paths is not None and len(paths) != len(self.flanks):
            rule = f"has {len(self.flanks)} count tables, but {len(paths)} are given"
            raise self.document.error(rule)
        tables = [
            read_table(
                self.document,
                index,
                self.alphabet,
                flank,
                path=None if paths is None else Path(paths[index]),
                part=part,
            )
            for index, flank in enumerate(self.flanks)
        ]
        if part == "train":
            self.loss.know(tables)
        return tables


def numbers_of(document: Document, found: Mapping[str, Any] | None) -> Coefficients:
    """Return the numbers of a file.

    Raises:
        InputError: They are missing or of another shape than its settings say.
    """
    if found is None:
        raise document.error("has no coefficients: it is a configuration, not a fit")
    try:
        return read_coefficients(document.content.model_settings, found)
    except ShapeError as error:
        raise document.error(str(error)) from None


def build(
    document: Document,
    numbers: Coefficients | None = None,
    dtype: torch.dtype = torch.float64,
) -> FileModel:
    """Build the model that a file describes.

    Args:
        document: The file.
        numbers: Its numbers; by default those it holds.
        dtype: Floating-point type of the model.

    Raises:
        InputError: The file has no tables or numbers, or asks for what cannot be.
    """
    if not document.content.model_settings.count_table:
        raise document.error("has no count table: it is a scoring model, not a fit")
    if numbers is None:
        numbers = numbers_of(document, document.content.coefficients)
    builder = Builder(document, numbers)
    count = len(document.content.model_settings.count_table)
    experiments = [builder.experiment(index) for index in range(count)]
    for experiment in experiments:
        experiment.to(dtype)
    builder.set_concentrations()
    laid = Numbers.of(document, numbers, builder.places)
    loss = ProBoundLoss(document, experiments, laid)
    flanks = [builder.flank(index) for index in range(count)]
    return FileModel(document, loss, builder.alphabet, flanks)
