"""Figures of several tables: a panel for each, labelled once."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyprobound.errors import PyProBoundError
from pyprobound.plotting._style import new_figure

PANEL = "panel"
"""The label of axes that show a table, not a colour bar."""

Tables = Mapping[str, pd.DataFrame]
Ends = Literal["neither", "both", "min", "max"]

_WIDE = 1.8  # columns per row from which a table is wide
_SHORT = 32  # letters of a label that is as wide as a panel beside another one
_LEGEND = 13  # letters side by side in a legend, per inch
# in inches
_WIDTH = 6.0  # of a figure
_LINES = 2.2  # height of a panel of lines
_SQUARE = 2.2  # height of the cells of a table with many rows
_ROW = 0.18  # height of a row at most
_LEAST = 0.8  # height of the cells of a table at least: room for its label
_AROUND = 0.5  # height of title and labels


def checked(frames: Tables) -> dict[str, pd.DataFrame]:
    """Return tables that can be drawn.

    Raises:
        PyProBoundError: There is none, or one has no cells.
    """
    if not frames:
        raise PyProBoundError("there is no table to draw; give at least one")
    for name, frame in frames.items():
        if frame.empty:
            size = " × ".join(map(str, frame.shape))
            raise PyProBoundError(f"table {name!r} ({size}) has no cells to draw")
    return dict(frames)


def make_panels(
    frames: Tables, *, rows_high: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a panel for each table.

    Args:
        frames: The tables.
        rows_high: Whether a panel is as high as its table has rows; tables that are
            about as high as wide stand side by side then.
    """
    shapes = [frame.shape for frame in frames.values()]
    rows, columns = (max(sizes) for sizes in zip(*shapes, strict=True))
    abreast, height = 1, _LINES
    if rows_high:
        label = name_of(next(iter(frames.values())).columns)
        is_narrow = columns < _WIDE * rows and len(label) <= _SHORT
        abreast = 2 if len(frames) > 1 and is_narrow else 1
        square = _WIDTH / abreast * rows / columns
        height = max(min(_SQUARE, square, _ROW * rows), _LEAST) + _AROUND
    stacked = -(-len(frames) // abreast)
    alike = len(set(shapes)) == 1 or not rows_high
    figure, axes = new_figure(
        _WIDTH,
        _AROUND + height * stacked,
        stacked,
        abreast,
        share_x=alike,
        share_y=alike,
    )
    for spare in axes[len(frames) :]:
        spare.remove()
    panels = axes[: len(frames)]
    for ax in panels:
        ax.set_label(PANEL)
    for ax in panels[-abreast:]:  # above a spare one, too
        ax.xaxis.set_tick_params(labelbottom=True)
    return figure, panels


def label_outer(axes: Sequence[Axes], frames: Tables, y: str | None = None) -> None:
    """Label the axes at the left and at the bottom.

    Args:
        axes: The panels.
        frames: Their tables, whose rows and columns have names.
        y: What y is, if not the name of the rows.
    """
    first = next(iter(frames.values()))
    places = [ax.get_subplotspec() for ax in axes]
    abreast = sum(place is not None and place.is_first_row() for place in places)
    for ax in axes[-abreast:]:
        ax.set_xlabel(name_of(first.columns))
    for ax in axes[::abreast]:
        ax.set_ylabel(name_of(first.index) if y is None else y)


def name_of(labels: pd.Index) -> str:
    """Return what the rows or columns of a table are; empty if that is not said."""
    return "" if labels.name is None else str(labels.name)


def colour_bar(
    figure: Figure,
    axes: Axes | Sequence[Axes],
    mappable: ScalarMappable,
    label: str,
    extend: Ends = "neither",
) -> Colorbar:
    """Add a colour bar."""
    beside = axes if isinstance(axes, Axes) else list(axes)
    bar = figure.colorbar(mappable, ax=beside, label=label, extend=extend, pad=0.02)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # hundreds of fields otherwise
    bar.outline.set_visible(False)
    return bar


def legend_columns(labels: Sequence[str], width: float = _WIDTH) -> int:
    """Return how many entries of a legend stand side by side in a figure.

    Args:
        labels: Of the entries.
        width: Of the figure, in inches.
    """
    longest = max((len(label) for label in labels), default=1)
    return max(1, min(4, len(labels), int(_LEGEND * width) // (longest + 8)))


def entitle(figure: Figure, title: str) -> None:
    """Put a title above a figure, if there is one."""
    if title:
        figure.suptitle(title, size="medium")


def unknown_cells(frame: pd.DataFrame, error: pd.DataFrame | None) -> NDArray[np.bool_]:
    """Return which cells have a number that the data do not identify."""
    finite = np.isfinite(frame.to_numpy(dtype=float))
    if error is None:
        return np.zeros_like(finite)
    unknown: NDArray[np.bool_] = finite & np.isnan(error.to_numpy(dtype=float))
    return unknown


def table_of(tables: Tables | None, name: str) -> pd.DataFrame | None:
    """Return a table by name; None if there is none."""
    return None if tables is None else tables.get(name)
