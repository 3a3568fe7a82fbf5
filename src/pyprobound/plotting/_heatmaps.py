"""Heat maps of tables.

Rows and columns are labelled by the index and the columns of a table; the names of
these are the names of the axes.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from pyprobound.errors import PyProBoundError
from pyprobound.plotting._panels import (
    Ends,
    Tables,
    checked,
    colour_bar,
    entitle,
    label_outer,
    make_panels,
    table_of,
    unknown_cells,
)
from pyprobound.plotting._style import DIVERGING, FAINT, SEQUENTIAL, settings
from pyprobound.plotting._ticks import plot_ticks, signed
from pyprobound.uncertainty import NOT_IDENTIFIED

Colours = Literal["diverging", "sequential"]

EXCLUDED = "excluded (−∞)"
EXCLUDED_HATCH = "//////"
SHADED: dict[str, Any] = {"color": FAINT, "alpha": 0.15, "linewidth": 0}
_UNKNOWN_HATCH = "xxxx"
_USUAL = 0.98  # quantile of the magnitudes that the colours hold at least


def heatmap_plotter(
    dataframes: Tables,
    title: str = "",
    *,
    errors: Tables | None = None,
    unit: str = "",
    colours: Colours = "diverging",
) -> Figure:
    """Draw tables as heat maps, all in the same colours.

    Cells of −∞ are hatched, those of NaN are empty. Where a few cells are far out, the
    colours end before them, and the colour bar in an arrow.

    Args:
        dataframes: A table for each panel, by its title.
        title: Of the figure.
        errors: The standard errors of the tables' numbers; cells whose error is NaN
            are crossed, not coloured: the data do not identify them.
        unit: What the numbers are.
        colours: "diverging" is white at 0; "sequential" runs from the smallest number
            to the largest.

    Raises:
        PyProBoundError: There is no table, or one without cells.
    """
    frames = checked(dataframes)
    with settings():
        figure, axes = make_panels(frames, rows_high=True)
        scale, extend = scale_of(frames, errors, colours)
        for ax, (name, frame) in zip(axes, frames.items(), strict=True):
            unknown = unknown_cells(frame, table_of(errors, name))
            draw_cells(ax, frame, scale, unknown, colours=colours)
            ax.set_title(name)
        label_outer(axes, frames)
        mappable = ScalarMappable(scale, colour_map(colours))
        colour_bar(figure, axes, mappable, unit, extend)
        explain_hatches(figure, frames, errors)
        entitle(figure, title)
    return figure


def colour_map(colours: Colours) -> str:
    """Return the name of a colour map.

    Raises:
        PyProBoundError: There are no such colours.
    """
    if colours not in {"diverging", "sequential"}:
        msg = f"colours {colours!r} must be 'diverging' or 'sequential'"
        raise PyProBoundError(msg)
    return DIVERGING if colours == "diverging" else SEQUENTIAL


def draw_cells(
    ax: Axes,
    frame: pd.DataFrame,
    scale: Normalize,
    unknown: NDArray[np.bool_],
    *,
    colours: Colours = "diverging",
) -> AxesImage:
    """Draw the cells of a table, the first row at the top.

    Args:
        ax: Where.
        frame: The numbers.
        scale: From numbers to colours.
        unknown: Which cells are crossed instead of coloured.
        colours: See `heatmap_plotter`.
    """
    values = frame.to_numpy(dtype=float)
    shown = np.ma.masked_where(~np.isfinite(values) | unknown, values)
    image = ax.imshow(
        shown,
        aspect="auto",
        interpolation="nearest",
        cmap=colour_map(colours),
        norm=scale,
    )
    _hatch(ax, np.isneginf(values), EXCLUDED_HATCH)
    _hatch(ax, unknown, _UNKNOWN_HATCH)
    plot_ticks(ax, [signed(x) for x in frame.columns], "x")
    plot_ticks(ax, [signed(x) for x in frame.index], "y")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _hatch(ax: Axes, cells: NDArray[np.bool_], hatch: str) -> None:
    """Hatch cells: one path, a rectangle for each stretch of a row."""
    outlines = [
        _rectangle(start, row, stop - start)
        for row, marked in enumerate(cells)
        for start, stop in stretches(marked)
    ]
    if outlines:
        path = Path.make_compound_path(*outlines)
        patch = PathPatch(path, hatch=hatch, facecolor="none", edgecolor=FAINT)
        patch.set_linewidth(0)
        ax.add_patch(patch)


def stretches(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open ranges of places that are marked without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _rectangle(column: int, row: int, width: int) -> Path:
    left, right, top, bottom = column - 0.5, column + width - 0.5, row - 0.5, row + 0.5
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return Path(corners, closed=True)


def explain_hatches(
    figure: Figure,
    frames: Tables,
    errors: Tables | None,
) -> None:
    """Say below a figure what its hatches mean."""
    kinds = []
    if any(np.isneginf(frame.to_numpy(dtype=float)).any() for frame in frames.values()):
        kinds.append((EXCLUDED_HATCH, EXCLUDED))
    if any(
        unknown_cells(f, table_of(errors, name)).any() for name, f in frames.items()
    ):
        kinds.append((_UNKNOWN_HATCH, NOT_IDENTIFIED))
    patches = [
        Patch(facecolor="none", edgecolor=FAINT, hatch=hatch, linewidth=0, label=text)
        for hatch, text in kinds
    ]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))


def scale_of(
    frames: Tables, errors: Tables | None, colours: Colours
) -> tuple[Normalize, Ends]:
    """Return the scale of all panels, and at which ends numbers lie beyond it.

    Args:
        frames: The tables.
        errors: Standard errors; numbers that are not identified do not count.
        colours: "diverging" for a scale that is symmetric about 0.
    """
    shown = [
        frame.to_numpy(dtype=float)[~unknown_cells(frame, table_of(errors, name))]
        for name, frame in frames.items()
    ]
    values = np.concatenate(shown)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return Normalize(-1, 1), "neither"
    low, high = float(values.min()), float(values.max())
    if colour_map(colours) == SEQUENTIAL:
        return Normalize(low, high if high > low else low + 1), "neither"
    most = max(-low, high) or 1.0
    usual = float(np.quantile(np.abs(values), _USUAL))
    if not most > 2 * usual > 0:
        return Normalize(-most, most), "neither"
    ends: dict[tuple[bool, bool], Ends] = {
        (True, True): "both",
        (True, False): "min",
        (False, True): "max",
    }
    return Normalize(-usual, usual), ends[low < -usual, high > usual]
