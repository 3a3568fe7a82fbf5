"""Values in a configuration: a fit starts from them, a simulation draws from them.

energies         one row of −ΔΔG/RT per letter
consensus        0 for the letters of each code, −scale for the others
betas            single values by their key, letter pairs included
log_omega        log ω of a dimer by offset and orientation
log_activities   log α of each binding in a round
"""

from collections.abc import Mapping

import torch

from pyprobound.aggregate import Aggregate
from pyprobound.alphabets import Alphabet
from pyprobound.base import Binding
from pyprobound.config._positions import Place
from pyprobound.config._read import Document
from pyprobound.config._schema import ModeSection, RoundSection
from pyprobound.cooperativity import Spacing
from pyprobound.layers import PSAM


def start_psam(document: Document, index: int, psam: PSAM) -> None:
    """Give a PSAM the energies that its section names.

    Raises:
        ConfigError: They name unknown letters or betas, or break the symmetry.
    """
    mode = document.config.modes[index]
    place: Place = ("modes", index)
    alphabet = psam.alphabet
    assert alphabet is not None
    if mode.energies and mode.consensus is not None:
        rule = "energies are given as well; keep one of the two"
        raise document.error((*place, "consensus"), rule)
    if mode.energies:
        rows = _energy_rows(document, place, mode, alphabet)
        _set_letters(document, (*place, "energies"), psam, rows)
    if mode.consensus is not None:
        rows = _consensus_rows(document, place, mode, alphabet)
        _set_letters(document, (*place, "consensus"), psam, rows)
    for key, value in mode.betas.items():
        if key not in psam.betas:
            rule = f"no such beta; keys look like {next(iter(psam.betas))!r}"
            raise document.error((*place, "betas", key), rule)
        with torch.no_grad():
            psam.betas[key].fill_(value)


def _energy_rows(
    document: Document, place: Place, mode: ModeSection, alphabet: Alphabet
) -> list[list[float]]:
    """Return (letter, position) energies."""
    for letter in mode.energies:
        if letter not in alphabet.alphabet:
            rule = f"no letter of the alphabet ({', '.join(alphabet.alphabet[:8])})"
            raise document.error((*place, "energies", letter), rule)
    for letter in alphabet.alphabet:
        if letter not in mode.energies:
            rule = f"the letter {letter!r} has no row"
            raise document.error((*place, "energies"), rule)
    return [mode.energies[letter] for letter in alphabet.alphabet]


def _consensus_rows(
    document: Document, place: Place, mode: ModeSection, alphabet: Alphabet
) -> list[list[float]]:
    """Return (letter, position) energies: 0 for what a code stands for."""
    columns = []
    for code in mode.consensus or []:
        if not alphabet.get_encoding.get(code):
            rule = f"{code!r} is no letter or code of the alphabet"
            raise document.error((*place, "consensus"), rule)
        fits = alphabet.get_encoding[code]
        n_letters = len(alphabet.alphabet)
        columns.append([0.0 if i in fits else -mode.scale for i in range(n_letters)])
    return [list(row) for row in zip(*columns, strict=True)]


def _set_letters(
    document: Document, place: Place, psam: PSAM, rows: list[list[float]]
) -> None:
    """Write (letter, position) energies into the single-letter betas."""
    known: dict[str, float] = {}
    for position, cls in enumerate(psam.symmetry):
        column = [row[position] for row in rows]
        if cls < 0:  # read through the complement of each letter
            column.reverse()
        for letter, value in enumerate(column):
            key = f"{abs(cls)}-{letter}"
            if known.setdefault(key, value) != value:
                rule = f"position {position} contradicts the symmetry {psam.symmetry}"
                raise document.error(place, rule)
    with torch.no_grad():
        for key, value in known.items():
            psam.betas[key].fill_(value)


def start_spacing(document: Document, index: int, spacing: Spacing) -> None:
    """Give a spacing the values that its section names.

    Raises:
        ConfigError: An offset is beyond the longest probe.
    """
    dimer = document.config.dimers[index]
    values = spacing.log_spacing
    middle = values.shape[1] // 2  # offset 0
    with torch.no_grad():
        values.fill_(dimer.log_omega)
        for number, each in enumerate(dimer.spacing):
            if abs(each.offset) > middle:
                rule = f"{each.offset} is beyond the longest probe (±{middle})"
                raise document.error(("dimers", index, "spacing", number), rule)
            row = 0 if each.orientation == "same" else 1
            if row >= len(values):
                rule = "the modes score one strand; there is no opposite one"
                raise document.error(("dimers", index, "spacing", number), rule)
            values[row, middle + each.offset] = each.log_omega


def start_activities(
    section: RoundSection, aggregate: Aggregate, bindings: Mapping[str, Binding]
) -> None:
    """Give the contributions of a round the activities that its section names."""
    by_binding = {id(binding): name for name, binding in bindings.items()}
    with torch.no_grad():
        for contribution in aggregate.components():
            name = by_binding[id(contribution.binding)]
            if name in section.log_activities:
                contribution.log_activity.fill_(section.log_activities[name])
