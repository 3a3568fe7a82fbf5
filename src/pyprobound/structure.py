"""Edits of a model's shape as data: applied whole, or refused without a trace.

An edit is a list of calls (`update_footprint`, `update_read_length`, …). Each call
changes one layer by its own coordinates; here the calls are ordered, tables and modes
that read the same probes follow each other, and what is refused is undone.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.aggregate import Contribution
from pyprobound.base import Call, Component
from pyprobound.cooperativity import Cooperativity
from pyprobound.loss import BaseLoss, T
from pyprobound.mode import Mode
from pyprobound.table import Table

READ_LENGTH = "update_read_length"


@dataclass(frozen=True)
class Snapshot:
    """Everything that an edit or a fit can change.

    Attributes:
        state: The model's structure and parameters.
        flanks: Scored (left, right) flank lengths of the tables.
    """

    state: dict[str, Any]
    flanks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, model: BaseLoss[T], tables: Sequence[Table[T]]) -> "Snapshot":
        """Copy the model's state and the tables' flank lengths."""
        model.settle()
        return cls(copy.deepcopy(model.state_dict()), flank_lengths(tables))

    def restore(self, model: BaseLoss[T], tables: Sequence[Table[T]]) -> None:
        """Put the model and the tables back into this state."""
        model.restore(self.state)
        set_flank_lengths(tables, self.flanks)


def flank_lengths(tables: Iterable[Table[T]]) -> tuple[tuple[int, int], ...]:
    """Return the scored (left, right) flank lengths of tables."""
    return tuple(
        (table.left_flank_length, table.right_flank_length) for table in tables
    )


def set_flank_lengths(
    tables: Sequence[Table[T]], lengths: Sequence[tuple[int, int]]
) -> None:
    """Score flanks of the given (left, right) lengths."""
    for table, (left, right) in zip(tables, lengths, strict=True):
        if flank_lengths([table]) != ((left, right),):
            table.set_flank_length(left=left, right=right)


def apply_edit(
    calls: Sequence[Call], model: BaseLoss[T], tables: Sequence[Table[T]]
) -> None:
    """Make an edit, or leave everything as it is.

    Args:
        calls: The calls of a step.
        model: The model.
        tables: The model's tables, one group after the other (training, validation),
            each in the order of the model's components.

    Raises:
        ValueError: A call was refused, or what it left does not fit together; model
            and tables are then as they were.
    """
    before = Snapshot.of(model, tables)
    try:
        # Longer probes first: a footprint may need the letters that the flanks add.
        update_read_length([c for c in calls if c.fun == READ_LENGTH], model, tables)
        for call in calls:
            if call.fun != READ_LENGTH:
                getattr(call.cmpt, call.fun)(**call.kwargs)
        model.settle()
        model.check_length_consistency()
    except RuntimeError as error:
        before.restore(model, tables)
        raise ValueError(str(error)) from error
    except BaseException:  # an interruption must not leave half an edit either
        before.restore(model, tables)
        raise


def update_read_length(
    calls: Sequence[Call], model: BaseLoss[T], tables: Sequence[Table[T]]
) -> None:
    """Change the scored flanks of tables, and every mode that reads them.

    Args:
        calls: Calls of `Mode.update_read_length` with left_shift and right_shift;
            each counts once for each table that its mode reads.
        model: The model.
        tables: See `apply_edit`.
    """
    done: set[int] = set()
    for call in calls:
        for index, transform in enumerate(model.components()):
            modes = modes_of(transform)
            if index in done or all(mode is not call.cmpt for mode in modes):
                continue
            done.add(index)
            own = tables[index :: len(list(model.components()))]
            _grow_flanks(own, modes, **call.kwargs)


def _grow_flanks(
    tables: Sequence[Table[T]],
    modes: Sequence[Mode],
    left_shift: int = 0,
    right_shift: int = 0,
) -> None:
    first = tables[0]
    before = first.min_read_length, first.max_read_length
    for table in tables:
        table.set_flank_length(
            left=table.left_flank_length + left_shift,
            right=table.right_flank_length + right_shift,
        )
    added = left_shift + right_shift
    for mode in modes:
        mode.update_read_length(
            left_shift=left_shift,
            right_shift=right_shift,
            min_len_shift=first.min_read_length - before[0] - added,
            max_len_shift=first.max_read_length - before[1] - added,
        )


def modes_of(component: Component) -> list[Mode]:
    """Return the modes of a component, each once."""
    return [module for module in component.modules() if isinstance(module, Mode)]


def contributions_of(component: Component) -> list[Contribution]:
    """Return the contributions of a component, each once."""
    found = component.modules()
    return [module for module in found if isinstance(module, Contribution)]


def expected_contributions(component: Component) -> list[tuple[Contribution, float]]:
    """Return what each contribution that is present is expected to contribute."""
    return [
        (contribution, contribution.expected_log_contribution())
        for contribution in contributions_of(component)
        if not contribution.is_absent
    ]


def keep_contributions(expected: Iterable[tuple[Contribution, float]]) -> None:
    """Set the activities so that contributions are what they were before an edit."""
    for contribution, log_contribution in expected:
        contribution.set_contribution(log_contribution)


def check_lengths(model: BaseLoss[T], tables: Sequence[Table[T]]) -> None:
    """Check that every mode of a model takes the probes of its tables.

    Args:
        model: The model.
        tables: See `apply_edit`.

    Raises:
        RuntimeError: One does not; the message says what was expected and found.
    """
    transforms = list(model.components())
    for i, table in enumerate(tables):
        transform = transforms[i % len(transforms)]
        shortest, longest = table.min_read_length, table.max_read_length
        for mode in modes_of(transform):
            low, high = mode.min_input_length, mode.max_input_length
            same = mode.input_shape == table.input_shape
            if same and low <= shortest and longest <= high:
                continue
            expected = (mode.input_shape, low, high)
            found = (table.input_shape, shortest, longest)
            msg = (
                f"{mode} of {transform} expects (input_shape, shortest, longest) ="
                f" {expected}, but its table has {found}"
            )
            raise RuntimeError(msg)


def reach_of(dimer: Cooperativity) -> int | None:
    """Return the most letters between the two modes that any probe had room for.

    What is farther apart was never seen, so nothing is known of it.
    """
    size_a = dimer.spacing.footprints[0]
    return None if size_a is None else dimer.mode_b.n_windows - 1 - size_a


def mean_taken_off(dimer: Cooperativity) -> Tensor:
    """Return what `normalize` subtracts for the probes that a dimer was trained on."""
    spacing, n_a, n_b = dimer.spacing, dimer.mode_a.n_windows, dimer.mode_b.n_windows
    nothing = torch.zeros_like(dimer.log_hill)
    if not spacing.normalize:
        return nothing
    read = spacing.get_log_spacing(n_a, n_b)[:, 0]  # the rows as they are stored
    first = spacing.log_spacing.shape[1] // 2 - (n_a - 1)
    stored = spacing.log_spacing[:, first : first + n_a + n_b - 1]
    allowed = read > NEG_INF
    return (stored - read)[allowed].mean() if bool(allowed.any()) else nothing
