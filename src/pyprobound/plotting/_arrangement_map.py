"""Dimers: log ω as a map of orientation × letters between the motifs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.plotting._arrangements import Arrangements
from pyprobound.plotting._arrows import draw_pair
from pyprobound.plotting._heatmaps import draw_cells, explain_hatches, scale_of
from pyprobound.plotting._panels import colour_bar, unknown_cells
from pyprobound.plotting._spacing import GAP, UNIT, possible_arrangements
from pyprobound.plotting._style import INK, SEQUENTIAL, new_figure, settings
from pyprobound.plotting._ticks import signed
from pyprobound.uncertainty import NORMAL_95, ErrorBars

_MOST_NUMBERED = 24  # columns whose cells have numbers
# On colours of cells, whatever colours the reader has chosen for the page.
_DARK, _LIGHT = "#101214", "#f9fafb"


@dataclass(frozen=True)
class ArrangementTable:
    """log ω of a dimer by orientation and letters between the motifs.

    Attributes:
        orders: Of each row the names of the motifs from left to right, and their
            strands, "·" for a palindrome.
        value: Rows × letters between the motifs (or offsets, if a footprint is
            unbounded); −∞ where the two cannot be, NaN where there is no such
            arrangement.
        error: Standard errors; NaN where the data do not identify the value.
    """

    orders: list[tuple[tuple[str, str], str]]
    value: pd.DataFrame
    error: pd.DataFrame


def arrangement_map(
    spacing_matrix: Spacing | Cooperativity,
    swap: bool = False,
    *,
    errors: ErrorBars | None = None,
) -> Figure:
    """Draw log ω of a dimer as a map of orientation × letters between its motifs.

    See `spacing` for what ω is compared with and which arrangements are drawn.

    Args:
        spacing_matrix: A dimer, or a spacing alone (on its longest probes).
        swap: Whether to look from the second motif instead of the first.
        errors: The errors of the dimer's model: below each number ± half of its 95%
            interval; what the data do not identify is crossed.

    Raises:
        PyProBoundError: There are errors, but only a spacing; or the two cannot bind in
            any arrangement.
    """
    found = possible_arrangements(spacing_matrix, swap=swap, errors=errors)
    table = arrangement_table(found)
    n_rows, n_columns = table.value.shape
    frames, reaches = {"": table.value}, {"": table.error}
    with settings():
        width = min(2.9 + 0.34 * n_columns, 9.0)
        figure, (ax,) = new_figure(width, max(1.3 + 0.42 * n_rows, 2.2))
        layout = figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(w_pad=0.15)  # room for the heads of arrows at the edge
        unknown = unknown_cells(table.value, table.error)
        scale, _ = scale_of(frames, reaches, "sequential")
        draw_cells(ax, table.value, scale, unknown, colours="sequential")
        ax.set_yticks([])
        for row, (names, strands) in enumerate(table.orders):
            draw_pair(ax, (0, row), names, strands, INK, align="right")
        if n_columns <= _MOST_NUMBERED:
            _number(ax, table, unknown, scale, with_errors=found.has_errors)
        ax.set_xlabel(str(table.value.columns.name))
        colour_bar(figure, ax, ScalarMappable(scale, SEQUENTIAL), UNIT)
        explain_hatches(figure, frames, reaches)
    return figure


def arrangement_table(found: Arrangements) -> ArrangementTable:
    """Return the arrangements by orientation and letters between the motifs."""
    places = np.array(found.gaps or [abs(offset) for offset in found.offsets])
    possible = places[found.is_possible.any(axis=0)]
    columns = pd.Index(
        np.arange(possible.min(), possible.max() + 1),
        name=GAP if found.gaps else "offset",
    )
    orders = []
    values: list[NDArray[np.float64]] = []
    errors: list[NDArray[np.float64]] = []
    for number, row in enumerate(found.rows):
        for turned in (False, True):
            here = np.array(found.turned) == turned
            if not np.isfinite(row.value[here]).any():
                continue
            names, _ = found.in_order(number, turned=turned)
            orders.append((names, found.arrows(number, turned=turned)))
            for numbers, lines in ((row.value, values), (row.error, errors)):
                line = pd.Series(numbers[here], places[here])
                lines.append(line.reindex(columns).to_numpy())
    return ArrangementTable(
        orders,
        pd.DataFrame(np.array(values), columns=columns),
        pd.DataFrame(np.array(errors), columns=columns),
    )


def _number(
    ax: Axes,
    table: ArrangementTable,
    unknown: NDArray[np.bool_],
    scale: Normalize,
    *,
    with_errors: bool,
) -> None:
    """Write the numbers into the cells."""
    value, error = table.value.to_numpy(), table.error.to_numpy()
    for row, column in np.argwhere(np.isfinite(value) & ~unknown):
        number, reach = value[row, column], NORMAL_95 * error[row, column]
        text = signed(f"{round(number, 1) + 0.0:.1f}")  # no −0.0
        if with_errors and reach > 0:
            text += f"\n±{reach:.1f}" if reach < 10 else f"\n±{reach:.0f}"
        red, green, blue, _ = colormaps[SEQUENTIAL](scale(number))
        is_light = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=6,
            color=_DARK if is_light else _LIGHT,
        )
