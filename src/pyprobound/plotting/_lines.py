"""Tables as lines.

Columns are places along x, each row is a line; the name of the columns is that of the
axis, and the name of the index stands above the legend.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pyprobound.plotting._panels import (
    Tables,
    checked,
    colour_bar,
    entitle,
    label_outer,
    legend_columns,
    make_panels,
    name_of,
    table_of,
    unknown_cells,
)
from pyprobound.plotting._style import FAINT, INK, SEQUENTIAL, series, settings
from pyprobound.plotting._ticks import factor_axis, plot_ticks, signed
from pyprobound.uncertainty import NORMAL_95, NOT_IDENTIFIED

MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_NAMED = 6  # rows that a legend names; more are told apart by a colour bar
_MOST_MARKED = 45  # points of a line that are marked


def line_plotter(
    dataframes: Tables,
    title: str = "",
    *,
    errors: Tables | None = None,
    unit: str = "",
    factors: bool = False,
) -> Figure:
    """Draw tables as lines, one for each row, all on the same scale.

    Numbers that are not finite are gaps.

    Args:
        dataframes: A table for each panel, by its title.
        title: Of the figure.
        errors: The standard errors of the tables' numbers: bands of 95% around the
            lines. Points whose error is NaN are hollow: the data do not identify them.
        unit: What the numbers are.
        factors: Whether the numbers are natural logarithms, whose factors are to be
            read on the right.

    Raises:
        PyProBoundError: There is no table, or one without cells.
    """
    frames = checked(dataframes)
    with settings():
        figure, axes = make_panels(frames)
        hollow = False
        limits = _limits(frames, errors)
        for ax, (name, frame) in zip(axes, frames.items(), strict=True):
            hollow |= _draw_lines(ax, frame, table_of(errors, name))
            ax.set_title(name)
            ax.set_ylim(limits)
        label_outer(axes, frames, y=unit)
        if factors:
            for ax in axes:
                factor_axis(ax)
        _name_rows(figure, axes, frames, hollow=hollow)
        entitle(figure, title)
    return figure


def _draw_lines(ax: Axes, frame: pd.DataFrame, error: pd.DataFrame | None) -> bool:
    """Draw the rows of a table; tell whether there are points not identified."""
    ax.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    places = _places(ax, frame)
    marked = len(places) <= _MOST_MARKED and len(frame) <= _MOST_NAMED
    unknown = unknown_cells(frame, error)
    for row, colour in enumerate(_row_colours(len(frame))):
        values = frame.iloc[row].to_numpy(dtype=float)
        values = np.where(np.isfinite(values), values, np.nan)
        known = np.where(unknown[row], np.nan, values)
        marker = MARKERS[row % len(MARKERS)]
        (line,) = ax.plot(places, known, color=colour, linewidth=1.3, markersize=4)
        if marked:
            line.set_marker(marker)
        if error is not None:
            reach = NORMAL_95 * error.iloc[row].to_numpy(dtype=float)
            low, high = known - reach, known + reach
            ax.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            lone = _is_lone(np.isfinite(low))
            ax.vlines(places[lone], low[lone], high[lone], color=colour, alpha=0.4)
        if unknown[row].any():
            hollow = np.where(unknown[row], values, np.nan)
            ax.plot(places, values, color=colour, linewidth=0.8, alpha=0.4, zorder=1)
            ax.plot(places, hollow, color=colour, **hollow_marker(marker))
    return bool(unknown.any())


def _is_lone(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which places have no neighbour to draw a band to."""
    around = np.concatenate([[False], known, [False]])
    lone: NDArray[np.bool_] = known & ~around[:-2] & ~around[2:]
    return lone


def _limits(frames: Tables, errors: Tables | None) -> tuple[float, float]:
    """Return limits that hold all numbers and most of the bands.

    A band that is wider than the numbers are apart runs out of the panel: it says that
    the number is hardly known, and would flatten all others.
    """
    values, reaches = [], []
    for name, frame in frames.items():
        values.append(frame.to_numpy(dtype=float).ravel())
        error = table_of(errors, name)
        known = frame * 0 if error is None else error
        reaches.append(NORMAL_95 * known.fillna(0).to_numpy(dtype=float).ravel())
    return limits_of(np.concatenate(values), np.concatenate(reaches))


def limits_of(
    values: NDArray[np.float64], reaches: NDArray[np.float64]
) -> tuple[float, float]:
    """Return limits that hold all numbers and, as far as they are not far out, errors.

    Args:
        values: Numbers; those that are not finite are left out.
        reaches: How far the interval of each reaches to either side.
    """
    finite = np.isfinite(values)
    values, reaches = values[finite], reaches[finite]
    if len(values) == 0:
        return -1.0, 1.0
    span = float(values.max() - values.min())
    reaches = np.minimum(reaches, max(0.4 * span, 0.5))
    low = min(0.0, float((values - reaches).min()))
    high = max(0.0, float((values + reaches).max()))
    margin = max(0.06 * (high - low), 0.05)
    return low - margin, high + margin


def hollow_marker(marker: str) -> dict[str, Any]:
    """Return the look of a point that the data do not identify."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 4,
        "markerfacecolor": "none",
        "markeredgewidth": 0.8,
    }


def _places(ax: Axes, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Return where the columns stand, and have the axis labelled accordingly."""
    if pd.api.types.is_numeric_dtype(frame.columns):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        return frame.columns.to_numpy(dtype=float)
    plot_ticks(ax, [signed(label) for label in frame.columns], "x")
    return np.arange(frame.shape[1], dtype=float)


def _row_colours(rows: int) -> list[Any]:
    """Return colours of few rows that differ, or of many in order."""
    if rows <= _MOST_NAMED:
        return list(series(rows))
    return list(colormaps[SEQUENTIAL](np.linspace(0, 0.9, rows)))


def _name_rows(
    figure: Figure,
    axes: Sequence[Axes],
    frames: Tables,
    *,
    hollow: bool,
) -> None:
    """Say which row has which line, and what hollow points are."""
    first = next(iter(frames.values()))
    handles = []
    if len(first) > _MOST_NAMED:
        _bar_of_rows(figure, axes, first)
    elif len(first) > 1 or str(first.index[0]):
        handles = _row_handles(first)
    title = name_of(first.index) if handles else ""
    if hollow:
        shown = hollow_marker(MARKERS[0])
        handles.append(Line2D([], [], color=INK, label=NOT_IDENTIFIED, **shown))
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=legend_columns([str(each.get_label()) for each in handles]),
            title=title or None,
        )


def _row_handles(frame: pd.DataFrame) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=signed(label))
        for label, colour, marker in zip(
            frame.index, _row_colours(len(frame)), MARKERS, strict=False
        )
    ]


def _bar_of_rows(figure: Figure, axes: Sequence[Axes], frame: pd.DataFrame) -> None:
    rows = frame.index.to_numpy()
    colours = ListedColormap(_row_colours(len(rows)))
    scale = BoundaryNorm(np.arange(len(rows) + 1) - 0.5, len(rows))
    mappable = ScalarMappable(scale, colours)
    bar = colour_bar(figure, axes, mappable, name_of(frame.index))
    bar.minorticks_off()
    plot_ticks(bar.ax, [signed(label) for label in rows], "y")
