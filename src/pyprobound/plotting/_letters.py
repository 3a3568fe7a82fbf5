"""The colours of letters, for any alphabet.

All have a contrast of at least 3 against white and against the page of a dark theme,
and readers of any colour vision tell the colours of an alphabet apart as far as their
number allows: tests/plots/test_letters.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from matplotlib.colors import is_color_like, to_hex, to_rgb
from numpy.typing import NDArray

from pyprobound.alphabets import Alphabet
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._vision import Array, contrast, distance, seen

WHITE, DARK = "#ffffff", "#0d1117"
"""The pages that letters are read on."""
LEAST_CONTRAST = 3.0

BASES = {"A": "#00a080", "C": "#4058c8", "G": "#e07800", "T": "#b03828", "U": "#b03828"}

_ACIDIC, _BASIC, _POLAR = "#b83018", "#0098f8", "#008060"
_ALIPHATIC, _AROMATIC, _SPECIAL = "#889098", "#e07800", "#805090"
GROUPS = {
    "DE": _ACIDIC,
    "HKR": _BASIC,
    "NQST": _POLAR,
    "AILMV": _ALIPHATIC,
    "FWY": _AROMATIC,
    "CGP": _SPECIAL,
}
"""Amino acids by what they are like; the last group is what shapes the chain."""
_AMINO_ACIDS = {letter: colour for group, colour in GROUPS.items() for letter in group}
_LEAST_ACIDS = 10  # letters of an alphabet that is one of amino acids
_STOP = "#c040b0"

# The standard genetic code; the bases in the order T, C, A, G.
_CODE = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_CODONS = {"".join(x): y for x, y in zip(product("TCAG", repeat=3), _CODE, strict=True)}

# Letters that stand for changed bases: methylated, hydroxymethylated, formylated and
# carboxylated cytosine, and the guanines opposite of them.
_CHANGED = dict.fromkeys("mhfc", "C") | dict.fromkeys("g1234", "G") | {"a": "A"}

SCHEMES = ("classic", "skylign_protein")
"""Names in the alphabets of this package, which stand for the colours of a kind."""


@dataclass(frozen=True)
class LetterStyle:
    """How a letter is drawn.

    Attributes:
        colour: As "#rrggbb".
        is_marked: Whether it has a bar on top: a changed base, in its base's colour.
    """

    colour: str
    is_marked: bool = False


ColourScheme = str | Mapping[str, str | Sequence[float]]


def letter_styles(
    letters: Sequence[str],
    alphabet: Alphabet | None = None,
    color_scheme: ColourScheme | None = None,
) -> dict[str, LetterStyle]:
    """Return how each letter is drawn.

    Args:
        letters: All letters.
        alphabet: Their alphabet, whose complements tell changed bases and whose own
            `color_scheme` is used if no other is given.
        color_scheme: A colour for all, or colours by letter; letters without one have
            their usual one.

    Raises:
        PyProBoundError: The scheme is unknown or names no colour.
    """
    if color_scheme is None and alphabet is not None:
        color_scheme = alphabet.color_scheme
    if color_scheme is None or color_scheme in SCHEMES:
        return _usual(letters, alphabet)
    if isinstance(color_scheme, str):
        return dict.fromkeys(letters, LetterStyle(_hex(color_scheme)))
    usual = _usual(letters, alphabet)
    given = {
        x: LetterStyle(_hex(colour), usual[x].is_marked)
        for x, colour in color_scheme.items()
        if x in usual
    }
    return usual | given


def _hex(colour: str | Sequence[float]) -> str:
    given: Any = colour if isinstance(colour, str) else tuple(colour)
    if not is_color_like(given):
        msg = (
            f"color_scheme: {colour!r} is no colour; give one ('#0072b2', 'green'),"
            " or a dictionary of letters and colours"
        )
        raise PyProBoundError(msg)
    return to_hex(given)


def _usual(letters: Sequence[str], alphabet: Alphabet | None) -> dict[str, LetterStyle]:
    """Return the styles by what the letters stand for, others as far from these."""
    known = _known(letters, alphabet)
    rest = [letter for letter in letters if letter not in known]
    taken = tuple(sorted({style.colour for style in known.values()}))
    colours = palette(len(rest), taken)
    new = {x: LetterStyle(colour) for x, colour in zip(rest, colours, strict=True)}
    return {letter: (known | new)[letter] for letter in letters}


def _known(letters: Sequence[str], alphabet: Alphabet | None) -> dict[str, LetterStyle]:
    as_dna = [x.replace("U", "T") for x in letters]
    if as_dna and all(x in _CODONS for x in as_dna):
        coded = zip(letters, (_CODONS[x] for x in as_dna), strict=True)
        return {x: LetterStyle(_AMINO_ACIDS.get(acid, _STOP)) for x, acid in coded}
    acids = [x for x in letters if x in _AMINO_ACIDS]
    if len(acids) >= _LEAST_ACIDS:
        return {x: LetterStyle(_AMINO_ACIDS[x]) for x in acids}
    if not set("ACG") <= set(letters):
        return {}
    bases = {x: x for x in letters if x in BASES}
    changed = {x: _CHANGED[x] for x in letters if x in _CHANGED}
    if alphabet is not None and alphabet.complement:
        changed |= _opposite(alphabet, bases | changed)
    return {x: LetterStyle(BASES[x]) for x in bases} | {
        x: LetterStyle(BASES[base], is_marked=True) for x, base in changed.items()
    }


def _opposite(alphabet: Alphabet, known: Mapping[str, str]) -> dict[str, str]:
    """Return the bases that unknown letters stand for: opposite of known ones."""
    partner = {"A": "T", "C": "G", "G": "C", "T": "A", "U": "A"}
    pairs = zip(alphabet.alphabet, reversed(alphabet.alphabet), strict=True)
    return {x: partner[known[y]] for x, y in pairs if x not in known and y in known}


@lru_cache
def palette(n: int, taken: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return colours that all readers tell apart as well as n of them can be.

    Each is the one farthest from all before it, to the reader who sees the least
    difference, among those with enough contrast on white and dark pages.

    Args:
        n: How many.
        taken: Colours that they differ from as well.
    """
    if n == 0:
        return ()
    candidates, looks = _candidates()
    nearest = np.full(len(candidates), np.inf)
    for colour in taken:
        nearest = np.minimum(nearest, _least(looks, seen(to_rgb(colour))))
    found: list[str] = []
    for _ in range(n):
        index = int(nearest.argmax())
        found.append(to_hex(candidates[index]))
        nearest = np.minimum(nearest, _least(looks, looks[:, index]))
    return tuple(found)


def _least(looks: Array, other: Array) -> Array:
    """Return how far colours are from another one, to who sees least."""
    found: Array = distance(looks, other[:, None]).min(0)
    return found


@lru_cache
def _candidates() -> tuple[NDArray[np.float64], Array]:
    """Return the colours that can be read on all pages, and how they look."""
    steps = np.linspace(0, 1, 16)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    colours = colours[legible(colours)]
    return colours, seen(colours)


def legible(colours: Array | Iterable[Sequence[float]]) -> NDArray[np.bool_]:
    """Return which colours, (…, 3), have enough contrast on white and dark pages."""
    given = np.asarray(colours, dtype=np.float64)
    on_white = contrast(given, to_rgb(WHITE)) >= LEAST_CONTRAST
    found: NDArray[np.bool_] = on_white & (
        contrast(given, to_rgb(DARK)) >= LEAST_CONTRAST
    )
    return found
