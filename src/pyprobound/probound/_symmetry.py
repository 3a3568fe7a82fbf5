"""Symmetry strings: which energies of a mode are one parameter.

Blocks "id:length:rc" joined by "|": a block that comes again has the same energies, −id
the reverse complement's, id 0 is not fitted, and rc=1 is its own reverse complement. Or
one character for each position: equal letters are equal, lower case the complement of
upper case, digits their own complement, "." is not fitted, "|" a barrier. Pairs across
a border (or with a position that is not fitted) are not fitted.
"""

import re
from dataclasses import dataclass

Tie = tuple[object, ...] | None
"""What equal energies share; None where nothing is fitted."""


@dataclass(frozen=True)
class Place:
    """What a position of a motif is tied to.

    Attributes:
        name: Positions of one name share their energies; None if not fitted.
        sign: 1; −1 where the letters are complemented; 0 for its own complement.
        block: The block that it is in; pairs stay within one.
    """

    name: object
    sign: int
    block: int


@dataclass(frozen=True)
class Symmetry:
    """The ties of a motif's energies.

    Attributes:
        places: One for each position.
        complement: The index of the complement of each letter.
    """

    places: tuple[Place, ...]
    complement: tuple[int, ...]

    def letter(self, position: int, letter: int) -> Tie:
        """Return the tie of one letter at one position."""
        place = self.places[position]
        return None if place.name is None else min(self._images([(place, letter)]))

    def pair(self, position: int, distance: int, first: int, second: int) -> Tie:
        """Return the tie of two letters, the first one at a position."""
        left, right = self.places[position], self.places[position + distance]
        if None in (left.name, right.name) or left.block != right.block:
            return None
        images = self._images([(left, first), (right, second)])
        return (distance, *min(images))

    def _images(self, features: list[tuple[Place, int]]) -> list[tuple[object, ...]]:
        """Return the feature as either strand reads it."""
        backward = [
            (Place(place.name, -place.sign, 0), self.complement[letter])
            for place, letter in reversed(features)
        ]
        return [
            tuple(
                part
                for place, letter in image
                for part in (str(place.name), place.sign, letter)
            )
            for image in (features, backward)
        ]


def symmetry_of(text: str, size: int, complement: tuple[int, ...]) -> Symmetry | None:
    """Return the ties that a symmetry string says; None for "null".

    Args:
        text: The string.
        size: Positions of the motif.
        complement: The index of the complement of each letter.

    Raises:
        ValueError: The string is not understood, or has another number of positions.
    """
    if text == "null":
        return None
    places = _of_blocks(text) if ":" in text else _of_characters(text)
    if len(places) != size:
        msg = f"symmetryString {text!r} has {len(places)} positions, not {size}"
        raise ValueError(msg)
    return Symmetry(tuple(places), complement)


def _of_blocks(text: str) -> list[Place]:
    places: list[Place] = []
    known: dict[int, tuple[int, bool]] = {}
    for number, block in enumerate(text.split("|")):
        match = re.fullmatch(r"(-?\d+):(\d+):([01])", block.strip())
        if match is None:
            msg = f"symmetryString {text!r}: {block!r} is not like id:length:rc"
            raise ValueError(msg)
        which, length, own = int(match[1]), int(match[2]), match[3] == "1"
        name = abs(which)
        if which and known.setdefault(name, (length, own)) != (length, own):
            msg = f"symmetryString {text!r}: block {name} changes its length or kind"
            raise ValueError(msg)
        order = range(length) if which >= 0 else reversed(range(length))
        for position in order:
            mirror = length - 1 - position
            sign = 1 if which > 0 else -1
            if which == 0:
                places.append(Place(None, 1, number))
            elif own and position == mirror:
                places.append(Place((name, position), 0, number))
            elif own and position > mirror:
                places.append(Place((name, mirror), -sign, number))
            else:
                places.append(Place((name, position), sign, number))
    return places


def _of_characters(text: str) -> list[Place]:
    places, block = [], 0
    for character in text:
        if character == "|":
            block += 1
        elif character == ".":
            places.append(Place(None, 1, block))
        elif character.isdigit():
            places.append(Place(character, 0, block))
        elif character.isalpha():
            sign = -1 if character.islower() else 1
            places.append(Place(character.upper(), sign, block))
        else:
            msg = f"symmetryString {text!r}: {character!r} says nothing"
            raise ValueError(msg)
    return places
