"""Position biases: which windows of a probe bind better than their letters say."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.plotting._bias_tables import BiasTables, bias_tables, biased_layer
from pyprobound.plotting._heatmaps import SHADED, heatmap_plotter, stretches
from pyprobound.plotting._lines import line_plotter
from pyprobound.plotting._panels import PANEL
from pyprobound.plotting._style import INK, settings
from pyprobound.uncertainty import ErrorBars

_UNIT = "log bias, mean 0 (ln)"
_SHADED = " (shaded: windows that touch a flank)"
_BORDERS = " (between the lines: windows clear of the flanks)"


def posbias(
    conv1d: Conv0d | Conv1d | Mode,
    mode: Literal["line", "heatmap"] | None = None,
    *,
    errors: ErrorBars | None = None,
    flanks: tuple[int, int] | None = None,
) -> Figure:
    """Draw the log bias of each window, less its mean.

    Windows are counted by their first letter, from 1, in the scored sequence: what a
    mode trims off or adds before its motif is allowed for. Of non-specific binding,
    the bias is drawn by the length of the probe.

    Args:
        conv1d: A layer with a position bias, or a mode that has one.
        mode: "line" or "heatmap" (probe length × window); by default lines if all
            probes have the same bias, else heat maps.
        errors: The model's errors: bands of 95% around lines; what the data do not
            identify is hollow, or crossed in a heat map. The mean is that over what the
            data see.
        flanks: Scored letters of the left and of the right flank, to mark the windows
            that lie wholly within the variable region.

    Raises:
        PyProBoundError: There is no position bias, or no such way to draw it.
    """
    if mode not in {None, "line", "heatmap"}:
        msg = f"mode {mode!r} must be 'line' or 'heatmap'"
        raise PyProBoundError(msg)
    layer = biased_layer(conv1d)
    found = bias_tables(conv1d, errors)
    title = f"position bias of {conv1d.name}" if conv1d.name else "position bias"
    if not found.is_biased:
        title += " (none: 0 everywhere)"
    by_length = isinstance(layer, Conv1d) and found.n_lengths > 1
    heat = mode == "heatmap" or (mode is None and by_length)
    if flanks is not None and isinstance(layer, Conv1d):
        title += _BORDERS if heat else _SHADED
    if heat:
        figure = heatmap_plotter(found.bias, title, errors=found.errors, unit=_UNIT)
    else:
        shown = found if by_length else found.joined()
        figure = line_plotter(
            shown.bias, title, errors=shown.errors, unit=_UNIT, factors=True
        )
    if flanks is not None and isinstance(layer, Conv1d):
        clear = _clear_of_flanks(found, layer, flanks)
        panels = [ax for ax in figure.axes if ax.get_label() == PANEL]
        for ax in panels:
            with settings():
                (_draw_borders if heat else _shade_flanks)(ax, found, clear)
    return figure


def _clear_of_flanks(
    found: BiasTables, layer: Conv1d, flanks: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return, for each length, the first and the last window that touch no flank."""
    left, right = flanks
    lengths = next(iter(found.bias.values())).index
    reach = layer.layer_spec.reach
    return [(left + 1, length - right - reach + 1) for length in lengths]


def _shade_flanks(ax: Axes, found: BiasTables, clear: list[tuple[int, int]]) -> None:
    """Shade windows that touch a flank whatever the length of the probe."""
    windows = next(iter(found.bias.values())).columns.to_numpy(dtype=float)
    first, last = min(a for a, _ in clear), max(b for _, b in clear)
    on_flank = (windows < first) | (windows > last)
    low, high = windows[0] - 0.5, windows[-1] + 0.5
    for start, stop in stretches(on_flank):
        ax.axvspan(low + start, low + stop, zorder=0, **SHADED)
    ax.set_xlim(low, high)


def _draw_borders(ax: Axes, found: BiasTables, clear: list[tuple[int, int]]) -> None:
    """Draw lines around the cells of windows that touch no flank."""
    origin = next(iter(found.bias.values())).columns.to_numpy(dtype=float)[0]
    rows = np.arange(len(clear) + 1) - 0.5
    borders = np.array([(a - 0.5, b + 0.5) for a, b in clear]) - origin
    for side in borders.T:
        ax.stairs(side, rows, orientation="horizontal", baseline=None, color=INK)
