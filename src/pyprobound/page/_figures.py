"""Pictures for a page, and what is said where one cannot be drawn."""

from collections.abc import Callable, Iterable

from pyprobound.errors import PyProBoundError
from pyprobound.page._content import Block, Gallery, Picture, Prose


def attempted(what: str, draw: Callable[[], Picture]) -> Picture | Prose:
    """Return a picture, or in words why there is none.

    Args:
        what: The picture, as the beginning of a sentence.
        draw: Makes it.
    """
    try:
        return draw()
    except PyProBoundError as error:
        return Prose(f"{what} is not shown: {error}.", is_note=True)


def side_by_side(found: Iterable[Picture | Prose]) -> list[Block]:
    """Return pictures in a row, and below it what could not be drawn."""
    parts = list(found)
    pictures = [each for each in parts if isinstance(each, Picture)]
    notes = [each for each in parts if isinstance(each, Prose)]
    return [Gallery(pictures), *notes] if pictures else list(notes)
