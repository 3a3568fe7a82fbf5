"""Two motifs side by side, as arrows that point along their strands."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.textpath import TextPath

_SIZE = 7
_PAD = 0.25
_GAP = 16  # points between the texts of two arrows: room for their heads
_LONGEST = 14
_BOXES = {"+": "rarrow", "-": "larrow"}


def draw_pair(
    ax: Axes,
    at: tuple[float, float],
    names: tuple[str, str],
    strands: str,
    colour: str,
    *,
    align: Literal["centre", "right"] = "centre",
) -> None:
    """Draw the names of two motifs in arrows, as they lie on the + strand.

    Args:
        ax: Where.
        at: The place, in data; x in fractions of the axes if aligned to the right.
        names: From left to right.
        strands: "+" or "-" for either, anything else for one without direction.
        colour: Of the arrows.
        align: Whether the pair is centred, or ends at the place.
    """
    widths = [_width(shortened(name)) for name in names]
    total = sum(widths) + _GAP
    start = -total / 2 if align == "centre" else -total - _GAP
    coordinates = "data" if align == "centre" else ax.get_yaxis_transform()
    for name, strand, width in zip(names, strands, widths, strict=True):
        ax.annotate(
            shortened(name),
            at,
            xytext=(start + width / 2, 0),
            xycoords=coordinates,
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=_SIZE,
            annotation_clip=False,
            bbox={
                "boxstyle": f"{_BOXES.get(strand, 'square')},pad={_PAD}",
                "facecolor": "none",
                "edgecolor": colour,
                "linewidth": 1.2,
            },
        )
        start += width + _GAP


def shortened(name: str) -> str:
    """Return a name that is not too long for a picture."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _width(text: str) -> float:
    """Return the width of a text in points."""
    return float(TextPath((0, 0), text, size=_SIZE).get_extents().width)
