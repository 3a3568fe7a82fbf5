"""Where the parameters of a component begin, and what the model expects of a probe."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyprobound.probound._coefficients import (
    Array,
    Coefficients,
    InteractionNumbers,
    frames,
    shapes,
)
from pyprobound.probound._files import Document
from pyprobound.probound._packing import FIXED, Letters, allowed_pairs, packing_of
from pyprobound.probound._schema import ModelSettings, ModeSeed

SUBDOMINANT = 0.05
"""The part of what is expected that a new component is given."""

NOISE = 0.005
"""Start values of energies are drawn from within ± this."""

_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T",
    "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


def start_values(document: Document, seed: int = 0) -> Coefficients:
    """Return the numbers that a configuration starts from.

    Args:
        document: The configuration.
        seed: Of the noise, where a mode has no seed of its own.

    Raises:
        InputError: A seed does not fit its mode.
    """
    content = document.content
    settings, seeding = content.model_settings, content.model_seeding
    numbers = shapes(settings)
    draw = np.random.default_rng(seed)
    for index, mode in enumerate(numbers.modes):
        mode.letters[...] = draw.uniform(-NOISE, NOISE, mode.letters.shape)
        if index < len(seeding.binding_modes):
            planted = _planted(document, index, seeding.binding_modes[index])
            if planted is not None:
                mode.letters[...] = planted
    for experiment, values in enumerate(numbers.enrichment):
        ties = content.model_fitting_constraints.enrichment_model[experiment]
        if "rho" in values:
            count = len(values["rho"])
            by_round = ties.round_specific_rho
            values["rho"][...] = np.arange(count) if by_round else 1.0
        _overwrite(document, seeding.enrichment_model, experiment, values)
    for experiment, depths in enumerate(numbers.depths):
        _overwrite(document, seeding.count_table, experiment, {"h": depths})
    for each, given in zip(
        numbers.interactions, seeding.binding_mode_interactions, strict=False
    ):
        _seed_interaction(each, given)
    _tie(document, numbers)
    return numbers


def _seed_interaction(numbers: InteractionNumbers, given: Mapping[str, Any]) -> None:
    for key, arrays in (
        ("activity", numbers.activity),
        ("positionMatrix", numbers.matrices),
    ):
        for array, value in zip(arrays, given.get(key, []), strict=False):
            array[...] = np.reshape(value, array.shape)


def _tie(document: Document, numbers: Coefficients) -> None:
    """Give tied numbers the value of the first of them, unfitted energies 0."""
    packing = packing_of(document, numbers)
    flat = np.concatenate([array.ravel() for _, array in numbers.arrays()])
    free, first = np.unique(packing, return_index=True)
    values = np.zeros(int(free.max(initial=-1)) + 1)
    is_free = free >= 0
    values[free[is_free]] = flat[first[is_free]]
    start = 0
    for place, array in numbers.arrays():
        own = packing[start : start + array.size].reshape(array.shape)
        start += array.size
        array[own != FIXED] = values[own[own != FIXED]]
        if place[0] == "letters":
            array[own == FIXED] = 0.0


def _planted(document: Document, index: int, seed: ModeSeed) -> Array | None:
    settings = document.content.model_settings
    size = settings.binding_modes[index].size
    order = Letters.of(settings).order
    text = seed.mononucleotide_iupac or seed.mononucleotide_string
    if text is None:
        return None
    where = f"modelSeeding.bindingModes[{index}]"
    if len(text) != size:
        raise document.error(f"{where}: {text!r} has not the mode's {size} positions")
    values = np.full((size, len(order)), -seed.seed_scale)
    for position, code in enumerate(text):
        if seed.mononucleotide_iupac is not None:
            allowed = _IUPAC.get(code, "")
        else:
            allowed = order if code == "." else code
        if not allowed or any(letter not in order for letter in allowed):
            raise document.error(f"{where}: {code!r} is no code of the alphabet")
        for letter in allowed:
            values[position, order.index(letter)] = 0.0
    return values


def _overwrite(
    document: Document,
    given: list[dict[str, list[float]]],
    index: int,
    arrays: Mapping[str, Array],
) -> None:
    if index >= len(given):
        return
    for name, array in arrays.items():
        if name not in given[index]:
            continue
        if len(given[index][name]) != len(array):
            rule = f"{name} has {len(given[index][name])} numbers for {len(array)}"
            raise document.error(f"modelSeeding[{index}]: {rule} columns")
        array[...] = given[index][name]


# --- expectations over random probes -----------------------------------------------


class Expectation:
    """What a random probe binds, features taken as independent."""

    def __init__(self, settings: ModelSettings, numbers: Coefficients) -> None:
        """Take a model as it is."""
        self._settings, self._numbers = settings, numbers

    def mode(self, mode: int, experiment: int) -> float:
        """Return log of a mode's expected sum, without its activity."""
        numbers = self._numbers.modes[mode]
        settings = self._settings.binding_modes[mode]
        length = self._settings.count_table[experiment].variable_region_length
        if settings.size == 0:
            return math.log(2 * (length + 2 * settings.flank_length + 1))
        log_mean = self._letters(mode)
        if numbers.bias:
            return log_mean + math.log(np.exp(numbers.bias[experiment]).sum())
        return log_mean + math.log(2 * frames(self._settings, mode, experiment))

    def _letters(self, mode: int) -> float:
        numbers = self._numbers.modes[mode]
        total = np.log(np.exp(numbers.letters).mean(1)).sum()
        for pairs in numbers.pairs:
            total += np.log(np.exp(pairs).mean((1, 2))).sum()
        return float(total)

    def interaction(self, index: int, experiment: int) -> float:
        """Return log of an interaction's expected sum; −∞ where none fits."""
        settings = self._settings.binding_mode_interactions[index]
        matrix = self._numbers.interactions[index].matrices[experiment]
        allowed = allowed_pairs(self._settings, index, experiment)
        weights = float(np.exp(matrix[allowed]).sum())
        means = sum(self._letters(mode) for mode in settings.binding_modes)
        return means + math.log(weights) if weights > 0 else -math.inf

    def total(
        self, experiment: int, modes: set[int], interactions: set[int]
    ) -> list[float]:
        """Return the expected Z of each column, of the components given."""
        model = self._settings.enrichment_model[experiment]
        count = self._settings.count_table[experiment].n_columns
        totals = []
        for column in range(count):
            total = 0.0
            for index in sorted(modes & set(model.binding_modes)):
                activity = self._numbers.modes[index].activity[experiment][column]
                total += math.exp(self.mode(index, experiment) + activity)
            for index in sorted(interactions & set(model.binding_mode_interactions)):
                activity = self._numbers.interactions[index].activity[experiment]
                log_sum = self.interaction(index, experiment)
                total += math.exp(log_sum + activity[column])
            totals.append(total * model.concentration)
        return totals
