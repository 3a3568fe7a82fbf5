"""The columns that `pyprobound score` prints: values, with or without their errors."""

import abc
from collections.abc import Sequence
from warnings import warn

import torch
from torch import Tensor

from pyprobound._chunking import memory_budget
from pyprobound.scoring._records import Record
from pyprobound.scoring._trained import Scorer
from pyprobound.uncertainty import (
    NORMAL_95,
    NOT_IDENTIFIED,
    Rows,
    Uncertainty,
    difference,
    rounding_of,
)

_RECORDS_AT_ONCE = 8192


class Columns(abc.ABC):
    """What is printed of each sequence.

    Attributes:
        scorer: What scores them.
        what: The kinds of values asked for.
        reference: A sequence whose values are taken off, if one is given.
    """

    def __init__(
        self, scorer: Scorer, what: Sequence[str], reference: Record | None
    ) -> None:
        """Note what is asked for."""
        self.scorer, self.what, self.reference = scorer, what, reference

    @property
    @abc.abstractmethod
    def names(self) -> list[str]:
        """The names of the columns."""

    @property
    def most(self) -> int:
        """The most sequences that are worked on at once."""
        return _RECORDS_AT_ONCE

    @abc.abstractmethod
    def values(self, chunk: Sequence[Record]) -> Tensor:
        """Return what is printed of some sequences, (sequences, columns)."""

    def close(self) -> None:  # noqa: B027 most have nothing to say
        """Say what there is to say at the end."""


class PlainColumns(Columns):
    """Values alone."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.scorer.columns(self.what)

    def values(self, chunk: Sequence[Record]) -> Tensor:
        """Return what is printed of some sequences, (sequences, columns)."""
        if self.reference is None:
            return self.scorer.values(chunk, self.what)
        # In one batch, so that the reference itself has no rounding left.
        found = self.scorer.values([self.reference, *chunk], self.what)
        return found[1:] - found[0]


class ErrorColumns(Columns):
    """Each value with its standard error and the 95% interval."""

    def __init__(
        self,
        scorer: Scorer,
        what: Sequence[str],
        reference: Record | None,
        errors: Uncertainty,
    ) -> None:
        """Note what is asked for."""
        super().__init__(scorer, what, reference)
        self._errors = errors
        self._is_known = [False] * len(scorer.columns(what))

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        ends = "", ":se", ":low95", ":high95"
        own = self.scorer.columns(self.what)
        return [name + end for name in own for end in ends]

    @property
    def most(self) -> int:
        """The most sequences that are worked on at once."""
        n_rows = 2 * (len(self._is_known) + len(self.scorer.trained.bindings))
        row = 8 * max(1, len(self._errors.free)) * n_rows
        return max(1, min(_RECORDS_AT_ONCE, memory_budget() // row))

    def values(self, chunk: Sequence[Record]) -> Tensor:
        """Return what is printed of some sequences, (sequences, columns)."""
        if self.reference is None:
            found = self.scorer.rows(chunk, self.what, self._errors)
        else:
            rounding = rounding_of(self._errors.free)
            both = self.scorer.rows([self.reference, *chunk], self.what, self._errors)
            found = [
                difference(
                    Rows(each.values[1:], each.jacobian[1:]),
                    Rows(each.values[:1], each.jacobian[:1]),
                    rounding,
                )
                for each in both
            ]
        columns: list[Tensor] = []
        for index, each in enumerate(found):
            error = self._errors.errors_of(each.jacobian)
            error = error.masked_fill(~each.values.isfinite(), torch.nan)
            self._is_known[index] |= not bool(error.isnan().all())
            reach = NORMAL_95 * error
            columns += [each.values, error, each.values - reach, each.values + reach]
        return torch.stack(columns, 1)

    def close(self) -> None:
        """Warn of columns that are not identified."""
        names = self.scorer.columns(self.what)
        unknown = [
            name for name, known in zip(names, self._is_known, strict=True) if not known
        ]
        if unknown:
            way_out = "" if self.reference else "; --reference SEQ prints differences"
            warn(
                f"{NOT_IDENTIFIED} by the data: {', '.join(unknown)}{way_out}",
                stacklevel=2,
            )
