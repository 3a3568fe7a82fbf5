"""Other shapes of a mode: shifted, longer, or with more of the flanks.

A variant is named "size;flank;shift". What moves in keeps energies of 0; position
biases and the matrices of interactions follow the frames.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pyprobound.probound._coefficients import (
    Array,
    Coefficients,
    InteractionNumbers,
    ModeNumbers,
    Shifts,
)
from pyprobound.probound._schema import ModeConstraints, ModelSettings


@dataclass(frozen=True)
class Edit:
    """How a mode changes.

    Attributes:
        left: Positions added on the left (negative: taken off).
        right: Positions added on the right.
        flank: Letters of the flanks added.
        text: In words.
    """

    left: int = 0
    right: int = 0
    flank: int = 0
    text: str = "Initial model."


@dataclass(frozen=True)
class Shape:
    """What names a variant."""

    size: int
    flank: int
    shift: int

    def edited(self, edit: Edit) -> "Shape":
        """Return the shape after an edit."""
        return Shape(
            self.size + edit.left + edit.right,
            self.flank + edit.flank,
            self.shift + edit.left,
        )

    def __str__(self) -> str:
        """Return the name: ``6;2;0``."""
        return f"{self.size};{self.flank};{self.shift}"


def information(letters: Array) -> Array:
    """Return the bits of information of each position of (positions, letters)."""
    log_p = letters - np.logaddexp.reduce(letters, axis=1, keepdims=True)
    bits: Array = math.log2(letters.shape[1]) + (np.exp(log_p) * log_p).sum(
        1
    ) / math.log(2)
    return bits


@dataclass(frozen=True)
class Flags:
    """Which variants are tried."""

    size: bool
    flank: bool
    size_heuristic: bool
    shift: bool
    shift_heuristic: bool

    @classmethod
    def stages(cls, constraints: ModeConstraints) -> list["Flags"]:
        """Return the flags of each stage, those of the mode itself first."""
        own = {
            "optimizeSize": constraints.optimize_size,
            "optimizeFlankLength": constraints.optimize_flank_length,
            "optimizeSizeHeuristic": constraints.optimize_size_heuristic,
            "optimizeMotifShift": constraints.optimize_motif_shift,
            "optimizeMotifShiftHeuristic": constraints.optimize_motif_shift_heuristic,
        }
        return [
            cls(*(bool(each.get(key, False)) for key in own))
            for each in (own, *constraints.fitting_stages)
        ]


@dataclass(frozen=True)
class Bounds:
    """What limits the variants of a mode.

    Attributes:
        flank: The longest flank that all tables have.
        size: The longest motif that all probes have room for, by its flanks.
    """

    flank: int
    size: int


def bounds_of(settings: ModelSettings, constraints: ModeConstraints) -> Bounds:
    """Return what limits the variants of a mode."""
    shorter = min(
        min(len(table.left_flank), len(table.right_flank))
        for table in settings.count_table
    )
    limit = constraints.max_flank_length
    longest = shorter if limit < 0 else limit
    probe = min(table.variable_region_length for table in settings.count_table)
    return Bounds(shorter if limit < 0 else min(limit, shorter), probe + 2 * longest)


def batch(
    shape: Shape,
    letters: Array,
    flags: Flags,
    constraints: ModeConstraints,
    bounds: Bounds,
) -> Iterator[list[Edit]]:
    """Yield batches of edits of the best model so far, in the order of trying."""
    wider = shape.flank < bounds.flank and shape.flank < shape.size - 1

    def fits(more: int) -> bool:
        size = shape.size + more
        within = constraints.max_size < 0 or size <= constraints.max_size
        return within and size <= bounds.size

    if flags.shift_heuristic and shape.size > 1:
        by = _off_centre(letters)
        if by:
            yield [Edit(by, -by, 0, f"Shifts the motif by {by} to the centre.")]
    if flags.flank and wider:
        yield [Edit(flank=1, text="Increases flank length.")]
    if flags.shift and shape.size > 1:
        yield [Edit(by, -by, 0, f"Shifts the motif by {by}.") for by in (1, -1)]
    if flags.size and fits(1):
        yield [_expansion(1, 0, 0), _expansion(0, 1, 0)]
    longer = shape.flank < bounds.flank and shape.flank < shape.size
    if flags.size and flags.flank and fits(1) and longer:
        yield [_expansion(1, 0, 1), _expansion(0, 1, 1)]
    if flags.size_heuristic:
        yield _heuristic(letters, constraints, fits(1), fits(2), shape, bounds)


def _expansion(left: int, right: int, flank: int) -> Edit:
    text = f"Expands: deltaLeft = {left}, deltaRight = {right}, deltaFlank = {flank}."
    return Edit(left, right, flank, text)


def _heuristic(
    letters: Array,
    constraints: ModeConstraints,
    one: bool,
    two: bool,
    shape: Shape,
    bounds: Bounds,
) -> list[Edit]:
    bits = information(letters)
    left = bool((bits[:2] > constraints.information_threshold).any())
    right = bool((bits[-2:] > constraints.information_threshold).any())
    flank = 1 if shape.flank < bounds.flank else 0
    if left and right and two:
        return [_expansion(1, 1, flank)]
    if not one:
        return []
    sides = [(1, 0)] * left + [(0, 1)] * right
    return [_expansion(*side, flank) for side in sides]


def _off_centre(letters: Array) -> int:
    """Return how many positions to prepend so that the information is centred."""
    bits = information(letters)
    if bits.sum() <= 0:
        return 0
    mean = float((bits * np.arange(len(bits))).sum() / bits.sum())
    away = mean - (len(bits) - 1) / 2
    return -math.floor(away + 0.5)


# --- making them -------------------------------------------------------------------


def edited(
    settings: ModelSettings, numbers: Coefficients, mode: int, edit: Edit
) -> tuple[ModelSettings, Coefficients]:
    """Return a model with one mode changed; its other numbers are shared."""
    own = settings.binding_modes[mode]
    changed = own.model_copy(
        update={
            "size": own.size + edit.left + edit.right,
            "flank_length": own.flank_length + edit.flank,
        }
    )
    modes = [changed if i == mode else m for i, m in enumerate(settings.binding_modes)]
    settings = settings.model_copy(update={"binding_modes": modes})
    ends = edit.flank - edit.left, edit.flank - edit.right
    all_numbers = [
        _edited_mode(each, edit, ends, changed.distance) if i == mode else each
        for i, each in enumerate(numbers.modes)
    ]
    interactions = []
    for each, known in zip(
        settings.binding_mode_interactions, numbers.interactions, strict=True
    ):
        axes = [axis for axis, m in enumerate(each.binding_modes, 2) if m == mode]
        matrices = known.matrices
        for axis in axes:
            matrices = [_resized(matrix, axis, *ends) for matrix in matrices]
        interactions.append(InteractionNumbers(known.activity, matrices))
    return settings, replace(numbers, modes=all_numbers, interactions=interactions)


def _edited_mode(
    numbers: ModeNumbers, edit: Edit, ends: tuple[int, int], distance: int
) -> ModeNumbers:
    size = len(numbers.letters) + edit.left + edit.right
    n = numbers.letters.shape[1]
    pairs = [_resized(each, 0, edit.left, edit.right) for each in numbers.pairs]
    # A longer motif has room for pairs that are farther apart.
    pairs += [np.zeros((size - d, n, n)) for d in range(len(pairs) + 1, distance + 1)]
    return ModeNumbers(
        _resized(numbers.letters, 0, edit.left, edit.right),
        pairs[:distance],
        numbers.activity,
        [_resized(bias, 1, *ends) for bias in numbers.bias],
        [
            Shifts(
                _resized(each.letters, 0, edit.left, edit.right),
                [_resized(p, 0, edit.left, edit.right) for p in each.pairs[:distance]],
            )
            for each in numbers.shifts
        ],
    )


def _resized(array: Array, axis: int, left: int, right: int) -> Array:
    """Return an array with entries of 0 added (or entries cut) at either end."""
    length = array.shape[axis]
    kept = np.take(array, range(max(0, -left), length - max(0, -right)), axis=axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (max(0, left), max(0, right))
    return np.pad(kept, widths)
