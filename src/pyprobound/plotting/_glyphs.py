"""Outlines of letters, stretched into boxes.

Any text is a letter: the whole of it is squeezed into the box. DejaVu Sans comes with
matplotlib, so that outlines are the same on every machine.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

_BROAD = "E"  # narrower letters, such as I, keep their shape instead of being stretched
_BAR = 0.88  # of the height: where the bar of a marked letter begins
_GAP = 0.05  # between the bar and the letter


@dataclass(frozen=True)
class _Outline:
    """Contours as matplotlib's Path has them.

    Attributes:
        points: (vertices, 2).
        codes: (vertices,) what each vertex is.
    """

    points: NDArray[np.float64]
    codes: NDArray[np.uint8]

    @property
    def corners(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Its lower left and its upper right."""
        return self.points.min(0), self.points.max(0)


def glyphs(text: str, boxes: NDArray[np.float64], is_marked: bool = False) -> Path:
    """Return one outline of a letter in many boxes.

    Args:
        text: The letter; one without ink is a box.
        boxes: (boxes, 4), left, bottom, right and top of where it stands. Each is
            filled to its full height; with the bottom above the top, upside down.
        is_marked: Whether it has a bar on top.
    """
    outline = _in_unit_square(text, is_marked)
    starts, sizes = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    points = starts[:, None] + outline.points * sizes[:, None]
    return Path(points.reshape(-1, 2), np.tile(outline.codes, len(boxes)))


@lru_cache(maxsize=1024)
def _in_unit_square(text: str, is_marked: bool) -> _Outline:
    """Return the outline of a letter that fills the unit square."""
    drawn = _drawn(text)
    if not len(drawn.points):
        return _box(0, 0, 1, 1)
    low, high = drawn.corners
    left, right = (corner[0] for corner in _drawn(_BROAD).corners)
    width = min(1.0, (high[0] - low[0]) / (right - left))
    points = (drawn.points - low) / np.where(high > low, high - low, 1)
    points[:, 0] = 0.5 + (points[:, 0] - 0.5) * width
    if not is_marked:
        return _Outline(points, drawn.codes)
    bar = _box(0.15, _BAR, 0.85, 1)
    return _Outline(
        np.concatenate([points * [1, _BAR - _GAP], bar.points]),
        np.concatenate([drawn.codes, bar.codes]),
    )


def _drawn(text: str) -> _Outline:
    """Return the outline of a text as the font has it."""
    font = FontProperties(family="DejaVu Sans", weight="bold")
    vertices, kinds = text_to_path.get_text_path(font, text, ismath=False)
    points = np.array(vertices, dtype=np.float64).reshape(-1, 2)
    codes = np.array(kinds, dtype=np.uint8)
    # Where a contour closes its last point says nothing, but would widen the box.
    for i in np.flatnonzero(codes == Path.CLOSEPOLY):
        points[i] = points[i - 1]
    return _Outline(points, codes)


def _box(left: float, bottom: float, right: float, top: float) -> _Outline:
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY]
    points = np.array([*corners, corners[0]], dtype=np.float64)
    return _Outline(points, np.array(codes, dtype=np.uint8))
