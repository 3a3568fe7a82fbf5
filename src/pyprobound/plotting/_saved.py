"""Pictures as files and as text."""

import copy
import io
import os
import re
from pathlib import Path

from matplotlib.figure import Figure

from pyprobound._files import replacing
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._style import settings

FORMATS = ("svg", "png", "pdf")
# No date: the same picture gives the same bytes.
_METADATA = {
    "svg": {"Date": None, "Creator": "pyprobound"},
    "png": {"Software": "pyprobound"},
    "pdf": {"CreationDate": None, "Creator": "pyprobound"},
}

# Half of a large picture are digits of its outlines; a hundredth of a point is enough.
_OUTLINE = re.compile(rb' d="[^"]*"')
_LONG = re.compile(rb"(\.\d\d)\d+")


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = 200) -> None:
    """Write a picture, in one piece, in the format that the name ends in.

    The same picture gives the same bytes, however often and in whatever format it was
    saved before.

    Args:
        figure: The picture; it is left as it is.
        path: A name that ends in .svg, .png or .pdf.
        dpi: Points per inch of a PNG, and of rasterised parts of the others.

    Raises:
        PyProBoundError: The ending is another one, or the file cannot be written.
    """
    kind = format_of(path)
    with replacing(path) as file:
        file.write(_drawn(figure, kind, dpi))


def format_of(path: str | os.PathLike[str]) -> str:
    """Return what the name of a picture ends in, one of FORMATS.

    Raises:
        PyProBoundError: It ends in something else.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        msg = f"{path}: unknown kind of picture; end the name in .svg, .png or .pdf"
        raise PyProBoundError(msg)
    return kind


def svg(figure: Figure, dpi: float = 150) -> str:
    """Return a picture as the text of an SVG element, without a background.

    Args:
        figure: The picture; it is left as it is.
        dpi: Points per inch of rasterised parts.
    """
    text = _drawn(figure, "svg", dpi, transparent=True).decode()
    return text[text.index("<svg") :]


def _drawn(
    figure: Figure, kind: str, dpi: float, *, transparent: bool = False
) -> bytes:
    # The layout that a figure gets depends, in the last digits, on the one it has. A
    # copy is laid out, so that each time begins alike.
    figure = copy.deepcopy(figure)
    drawn = io.BytesIO()
    with settings():
        figure.savefig(
            drawn,
            format=kind,
            dpi=dpi,
            transparent=transparent,
            metadata=_METADATA[kind],
        )
    if kind == "svg":
        return _OUTLINE.sub(_rounded, drawn.getvalue())
    return drawn.getvalue()


def _rounded(outline: re.Match[bytes]) -> bytes:
    return _LONG.sub(rb"\1", outline.group())
