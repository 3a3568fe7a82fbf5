"""The numbers of a model, as arrays, in the order in which the file packs them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyprobound.probound._schema import ModelSettings, ModeSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shifts:
    """What a modification adds to some energies of a mode.

    Attributes:
        letters: (positions, modified letters).
        pairs: By distance from 1, (positions − distance, modified pairs).
    """

    letters: Array
    pairs: list[Array]


@dataclass(frozen=True)
class ModeNumbers:
    """The numbers of a mode.

    Attributes:
        letters: (positions, letters).
        pairs: By distance from 1, (positions − distance, letters, letters).
        activity: (experiments, columns), ragged where tables differ.
        bias: For each experiment (2, frames), in the coordinates of each strand; empty
            without a position bias.
        shifts: One for each modification.
    """

    letters: Array
    pairs: list[Array]
    activity: list[Array]
    bias: list[Array] = field(default_factory=list)
    shifts: list[Shifts] = field(default_factory=list)

    def arrays(self) -> Iterator[tuple[Any, ...]]:
        """Yield the kind, the indices and the values of every array, in order."""
        yield "letters", self.letters
        for number, shift in enumerate(self.shifts):
            yield "shifted letters", number, shift.letters
        for distance, pairs in enumerate(self.pairs, 1):
            yield "pairs", distance, pairs
        for number, shift in enumerate(self.shifts):
            for distance, pairs in enumerate(shift.pairs, 1):
                yield "shifted pairs", number, distance, pairs
        for experiment, bias in enumerate(self.bias):
            yield "bias", experiment, bias
        for experiment, activity in enumerate(self.activity):
            yield "activity", experiment, activity


@dataclass(frozen=True)
class InteractionNumbers:
    """The numbers of an interaction.

    Attributes:
        activity: (experiments, columns).
        matrices: For each experiment (2, 2, frames, frames).
    """

    activity: list[Array]
    matrices: list[Array]


@dataclass(frozen=True)
class Coefficients:
    """All numbers of a model.

    Attributes:
        modes: One for each mode.
        interactions: One for each interaction.
        enrichment: For each experiment the numbers of its formula, by name.
        depths: For each experiment (columns,), the log library scale h.
    """

    modes: list[ModeNumbers]
    interactions: list[InteractionNumbers]
    enrichment: list[dict[str, Array]]
    depths: list[Array]

    def arrays(self) -> Iterator[tuple[tuple[object, ...], Array]]:
        """Yield every array with its place, in the order of packing."""
        for index, mode in enumerate(self.modes):
            for kind, *rest, array in mode.arrays():
                yield (kind, index, *rest), array
        for index, each in enumerate(self.interactions):
            for experiment, matrix in enumerate(each.matrices):
                yield ("matrix", index, experiment), matrix
            for experiment, activity in enumerate(each.activity):
                yield ("dimer activity", index, experiment), activity
        for experiment, numbers in enumerate(self.enrichment):
            for name, values in numbers.items():
                yield (name, experiment), values
        for experiment, depths in enumerate(self.depths):
            yield ("h", experiment), depths


ENRICHMENT = {"RhoGamma": ("rho", "gamma"), "ExponentialKinetics": ("delta",)}
"""The numbers of each formula."""


class ShapeError(ValueError):
    """Numbers do not have the shape that the settings ask for."""


def frames(settings: ModelSettings, mode: int, experiment: int) -> int:
    """Return the number of windows on one strand of the probes of an experiment."""
    table = settings.count_table[experiment]
    each = settings.binding_modes[mode]
    return table.variable_region_length + 2 * each.flank_length - each.size + 1


def shapes(settings: ModelSettings) -> Coefficients:
    """Return coefficients that are all 0, of the shapes of the settings."""
    n = len(settings.letter_order)
    columns = [table.n_columns for table in settings.count_table]
    activity = [np.zeros(count) for count in columns] or [np.zeros(1)]
    modes = []
    for index, mode in enumerate(settings.binding_modes):
        bias = []
        if mode.position_bias and mode.size:
            experiments = range(len(columns))
            bias = [np.zeros((2, frames(settings, index, e))) for e in experiments]
        modes.append(
            ModeNumbers(
                np.zeros((mode.size, n)),
                [np.zeros((mode.size - d, n, n)) for d in range(1, mode.distance + 1)],
                [each.copy() for each in activity],
                bias,
                _zero_shifts(mode),
            )
        )
    interactions = []
    for each in settings.binding_mode_interactions:
        matrices = [
            np.zeros((2, 2, *(frames(settings, m, e) for m in each.binding_modes)))
            for e in range(len(columns))
        ]
        interactions.append(InteractionNumbers([a.copy() for a in activity], matrices))
    enrichment = [
        {name: np.zeros(count) for name in ENRICHMENT.get(model.model_type, ())}
        for model, count in zip(settings.enrichment_model, columns, strict=False)
    ]
    depths = [np.zeros(count) for count in columns]
    return Coefficients(modes, interactions, enrichment, depths)


def _zero_shifts(mode: ModeSettings) -> list[Shifts]:
    return [
        Shifts(
            np.zeros((mode.size, len(each.mononucleotide))),
            [
                np.zeros((mode.size - d, len(pairs)))
                for d, pairs in enumerate(each.dinucleotide[: mode.distance], 1)
            ],
        )
        for each in mode.modifications
    ]


# --- from and to JSON --------------------------------------------------------------


def read_coefficients(
    settings: ModelSettings, found: Mapping[str, Any]
) -> Coefficients:
    """Return the numbers of a file's `coefficients`.

    Raises:
        ShapeError: They are missing, are no numbers, or are of another shape.
    """
    wanted = shapes(settings)
    for place, array in wanted.arrays():
        path, value = _value(found, place)
        if value is None:
            # What has no effect may be missing from a scoring model.
            if place[0] in ("bias", "matrix", "h"):
                continue
            msg = f"coefficients.{path} is missing"
            raise ShapeError(msg)
        try:
            numbers = np.array(value, dtype=np.float64)
        except (ValueError, TypeError):
            msg = f"coefficients.{path} is no array of numbers"
            raise ShapeError(msg) from None
        if numbers.size != array.size:
            msg = f"coefficients.{path} has {numbers.size} numbers, not {array.size}"
            raise ShapeError(msg)
        if not np.isfinite(numbers).all():
            msg = f"coefficients.{path} holds a number that is not finite"
            raise ShapeError(msg)
        array[...] = numbers.reshape(array.shape)
    return wanted


_PATHS: dict[object, tuple[str, tuple[str, ...]]] = {
    "letters": ("bindingModes", ("mononucleotide",)),
    "shifted letters": ("bindingModes", ("modifications", "mononucleotide")),
    "pairs": ("bindingModes", ("dinucleotide",)),
    "shifted pairs": ("bindingModes", ("modifications", "dinucleotide")),
    "bias": ("bindingModes", ("positionBias",)),
    "activity": ("bindingModes", ("activity",)),
    "matrix": ("bindingModeInteractions", ("positionMatrix",)),
    "dimer activity": ("bindingModeInteractions", ("activity",)),
    "rho": ("enrichmentModel", ("rho",)),
    "gamma": ("enrichmentModel", ("gamma",)),
    "delta": ("enrichmentModel", ("delta",)),
    "h": ("countTable", ("h",)),
}


def _steps(place: tuple[object, ...]) -> list[str | int]:
    """Return the keys and indices from `coefficients` to an array."""
    section, names = _PATHS[place[0]]
    kind, index, *rest = place
    numbers = [each for each in rest if isinstance(each, int)]
    if kind in ("pairs", "shifted pairs"):
        numbers[-1] -= 1
    assert isinstance(index, int)
    steps: list[str | int] = [section, index]
    if len(names) > 1:
        return [*steps, names[0], numbers[0], names[1], *numbers[1:]]
    return [*steps, names[0], *numbers]


def _value(found: Mapping[str, Any], place: tuple[object, ...]) -> tuple[str, Any]:
    value: Any = found
    path = ""
    for step in _steps(place):
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
        if isinstance(step, int):
            known = isinstance(value, list) and step < len(value)
        else:
            known = isinstance(value, Mapping) and step in value
        if not known:
            return path.lstrip("."), None
        value = value[step]
    return path.lstrip("."), value


def written(coefficients: Coefficients) -> dict[str, Any]:
    """Return the numbers as the file has them."""

    def flat(array: Array) -> list[float]:
        return [float(each) for each in array.ravel()]

    return {
        "bindingModes": [
            {
                "mononucleotide": flat(mode.letters),
                "dinucleotide": [flat(each) for each in mode.pairs],
                "activity": [flat(each) for each in mode.activity],
                "positionBias": [each.tolist() for each in mode.bias],
                "modifications": [
                    {
                        "mononucleotide": flat(each.letters),
                        "dinucleotide": [flat(pairs) for pairs in each.pairs],
                    }
                    for each in mode.shifts
                ],
            }
            for mode in coefficients.modes
        ],
        "bindingModeInteractions": [
            {
                "activity": [flat(each) for each in numbers.activity],
                "positionMatrix": [each.tolist() for each in numbers.matrices],
            }
            for numbers in coefficients.interactions
        ],
        "enrichmentModel": [
            {name: flat(values) for name, values in numbers.items()}
            for numbers in coefficients.enrichment
        ],
        "countTable": [{"h": flat(each)} for each in coefficients.depths],
    }
