"""Which numbers of a model are one free parameter, and which are none.

Free parameters are numbered without gaps in the order in which they first occur; equal
numbers are tied, −1 is not fitted.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pyprobound.probound._coefficients import Coefficients, frames
from pyprobound.probound._files import Document
from pyprobound.probound._schema import Constraints, ModelSettings
from pyprobound.probound._symmetry import Symmetry, symmetry_of

Key = Hashable | None
FIXED = -1


@dataclass(frozen=True)
class Letters:
    """The letters of a file.

    Attributes:
        order: In the order of all vectors of the file.
        complement: The index of the complement of each.
        paired: Indices so that the reversed order is the complement's.
    """

    order: str
    complement: tuple[int, ...]
    paired: tuple[int, ...]

    @classmethod
    def of(cls, settings: ModelSettings) -> "Letters":
        """Return the letters of some settings."""
        order = settings.letter_order
        pairs = [pair.split("-") for pair in settings.letter_complement.split(",")]
        of = dict(pairs) | {b: a for a, b in pairs}
        first = [order.index(a) for a, b in pairs if a != b]
        own = [order.index(a) for a, b in pairs if a == b]
        second = [order.index(b) for a, b in pairs if a != b]
        return cls(
            order,
            tuple(order.index(of[letter]) for letter in order),
            (*first, *own, *reversed(second)),
        )


def symmetry(
    settings: ModelSettings, constraints: Constraints, mode: int, letters: Letters
) -> Symmetry | None:
    """Return the ties of a mode's energies, None if there are none.

    Raises:
        ValueError: Its symmetry string is not understood.
    """
    text = constraints.binding_modes[mode].symmetry_string
    size = settings.binding_modes[mode].size
    return symmetry_of(text, size, letters.complement)


def pack(
    settings: ModelSettings, constraints: Constraints, coefficients: Coefficients
) -> NDArray[np.int64]:
    """Return the number of the free parameter of each number of a model.

    Returns:
        In the order of `Coefficients.arrays`, flattened; −1 where nothing is fitted.

    Raises:
        ValueError: A symmetry string is not understood, or ties what has no equal
            shape.
    """
    packer = _Packer(settings, constraints)
    numbers: dict[Hashable, int] = {}
    found = []
    for place, array in coefficients.arrays():
        own = np.full(array.shape, FIXED, dtype=np.int64)
        for index, key in packer.keys(place, array.shape):
            if key is not None:
                own[index] = numbers.setdefault(key, len(numbers))
        found.append(own.ravel())
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def packing_of(document: Document, numbers: Coefficients) -> NDArray[np.int64]:
    """Return the number of the free parameter of each number of a document.

    Raises:
        InputError: A symmetry string or a tie is not possible.
    """
    content = document.content
    try:
        return pack(content.model_settings, content.model_fitting_constraints, numbers)
    except ValueError as error:
        raise document.error(str(error)) from None


Index = tuple[int, ...]


class _Packer:
    """What names each free parameter."""

    def __init__(self, settings: ModelSettings, constraints: Constraints) -> None:
        self._settings, self._constraints = settings, constraints
        self._letters = Letters.of(settings)
        self._symmetries = [
            symmetry(settings, constraints, index, self._letters)
            for index in range(len(settings.binding_modes))
        ]
        self._kinds: dict[object, Callable[..., Iterator[tuple[Index, Key]]]] = {
            "letters": self._of_letters,
            "shifted letters": self._of_shifted_letters,
            "pairs": self._of_pairs,
            "shifted pairs": self._of_shifted_pairs,
            "bias": self._of_bias,
            "activity": self._of_activity,
            "matrix": self._of_matrix,
            "dimer activity": self._of_dimer_activity,
            "rho": self._of_enrichment,
            "gamma": self._of_enrichment,
            "delta": self._of_enrichment,
            "h": self._of_depths,
        }

    def keys(
        self, place: tuple[object, ...], shape: Index
    ) -> Iterator[tuple[Index, Key]]:
        """Yield the index of each number of an array with what names it.

        Ties of symmetric modes are numbered in the order of complementary pairs.
        """
        yield from self._kinds[place[0]](place, shape)

    def _order(self, mode: int) -> tuple[int, ...]:
        if self._symmetries[mode] is None:
            return tuple(range(len(self._letters.order)))
        return self._letters.paired

    def _of_letters(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, mode = place
        ties = self._symmetries[mode]
        for position in range(shape[0]):
            for letter in self._order(mode):
                index = (position, letter)
                own = index if ties is None else ties.letter(*index)
                yield index, None if own is None else (kind, mode, own)

    def _of_pairs(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, mode, distance = place
        ties = self._symmetries[mode]
        order = self._order(mode)
        for position, first, second in product(range(shape[0]), order, order):
            index = (position, first, second)
            own: Key = (distance, *index)
            if ties is not None:
                own = ties.pair(position, distance, first, second)
            yield index, None if own is None else (kind, mode, own)

    def _of_shifted_letters(
        self, place: Index, shape: Index
    ) -> Iterator[tuple[Index, Key]]:
        kind, mode, number = place
        ties = self._symmetries[mode]
        shift = self._settings.binding_modes[mode].modifications[number]
        for position, which in np.ndindex(*shape):
            own: Key = (position, which)
            if ties is not None:
                letter = self._letters.order.index(shift.mononucleotide[which])
                own = ties.letter(position, letter)
            yield (position, which), None if own is None else (kind, mode, number, own)

    def _of_shifted_pairs(
        self, place: Index, shape: Index
    ) -> Iterator[tuple[Index, Key]]:
        kind, mode, number, distance = place
        ties = self._symmetries[mode]
        shift = self._settings.binding_modes[mode].modifications[number]
        for position, which in np.ndindex(*shape):
            own: Key = (distance, position, which)
            if ties is not None:
                pair = shift.dinucleotide[distance - 1][which]
                first, second = map(self._letters.order.index, pair)
                own = ties.pair(position, distance, first, second)
            yield (position, which), None if own is None else (kind, mode, number, own)

    def _of_bias(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, mode, experiment = place
        ties = self._constraints.binding_modes[mode]
        own = experiment if ties.experiment_specific_position_bias else 0
        if own != experiment and frames(self._settings, mode, 0) != shape[1]:
            msg = (
                f"bindingModes[{mode}] shares its position bias between experiments"
                f" of {frames(self._settings, mode, 0)} and {shape[1]} frames"
            )
            raise ValueError(msg)
        for strand, frame in np.ndindex(*shape):
            part = frame // ties.position_bias_bin_width
            yield (strand, frame), (kind, mode, own, strand, part)

    def _of_activity(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        return self._activities(place, shape, self._constraints.binding_modes)

    def _of_dimer_activity(
        self, place: Index, shape: Index
    ) -> Iterator[tuple[Index, Key]]:
        ties = self._constraints.binding_mode_interactions
        return self._activities(place, shape, ties)

    def _activities(
        self,
        place: Index,
        shape: Index,
        ties: list,  # type: ignore[type-arg]  # numbers and lists of them
    ) -> Iterator[tuple[Index, Key]]:
        kind, which, experiment = place
        own = experiment if ties[which].experiment_specific_activity else 0
        for column in range(shape[0]):
            by = column if ties[which].round_specific_activity else 0
            yield (column,), (kind, which, own, by)

    def _of_matrix(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, which, experiment = place
        settings = self._settings.binding_mode_interactions[which]
        ties = self._constraints.binding_mode_interactions[which]
        own = experiment if ties.experiment_specific_interaction else 0
        allowed = allowed_pairs(self._settings, which, experiment)
        last = shape[3] - 1
        for index in np.ndindex(*shape):
            if not allowed[index]:
                yield index, None
                continue
            key: Key = index
            if not settings.position_bias:
                s0, s1, x0, x1 = index
                key = ("same", x1 - x0) if s0 == s1 else ("opposite", last - x1 - x0)
            yield index, (kind, which, own, key)

    def _of_enrichment(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, experiment = place
        ties = self._constraints.enrichment_model[experiment]
        fitted = {
            "rho": [ties.fit_rho],
            "gamma": [ties.fit_gamma],
            "delta": ties.fit_delta,
        }[str(kind)]
        specific = {
            "rho": ties.round_specific_rho,
            "gamma": ties.round_specific_gamma,
            "delta": ties.round_specific_delta,
        }[str(kind)]
        for column in range(shape[0]):
            is_fitted = fitted[column] if len(fitted) > 1 else fitted[0]
            key = (kind, experiment, column if specific else 0)
            yield (column,), key if is_fitted else None

    def _of_depths(self, place: Index, shape: Index) -> Iterator[tuple[Index, Key]]:
        kind, experiment = place
        columns = self._settings.count_table[experiment].columns
        for column in range(shape[0]):
            yield (column,), (kind, experiment, column) if column in columns else None


def allowed_pairs(
    settings: ModelSettings, interaction: int, experiment: int
) -> NDArray[np.bool_]:
    """Return which (strand, strand, frame, frame) of an interaction can be.

    Frames are those of each strand.
    """
    each = settings.binding_mode_interactions[interaction]
    modes = [settings.binding_modes[m] for m in each.binding_modes]
    counts = [frames(settings, m, experiment) for m in each.binding_modes]
    starts = [
        [
            (np.arange(n) if strand == 0 else n - 1 - np.arange(n)) - mode.flank_length
            for strand in (0, 1)
        ]
        for mode, n in zip(modes, counts, strict=True)
    ]
    allowed = np.zeros((2, 2, *counts), dtype=bool)
    sizes = modes[0].size, modes[1].size
    for s0, s1 in product((0, 1), repeat=2):
        offset = starts[1][s1][None, :] - starts[0][s0][:, None]
        apart = np.maximum(offset - sizes[0], -offset - sizes[1])
        fits = -apart <= each.max_overlap
        if each.max_spacing != -1:
            fits &= apart <= each.max_spacing
        allowed[s0, s1] = fits
    return allowed
