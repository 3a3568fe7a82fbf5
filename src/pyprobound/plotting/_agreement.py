"""Points of observed against predicted values on logarithmic axes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from numpy.typing import NDArray

from pyprobound.experiment import Experiment
from pyprobound.plotting._pooled import Agreement, Floats
from pyprobound.plotting._style import FAINT, INK, SEQUENTIAL, SERIES

SIDE = 3.4
"""Inches: a column of a journal."""

MOST_POINTS = 800
"""Points that are drawn one by one; of more, hexagons are coloured by their number."""

_HEXAGONS = 45  # across
_MARGIN = 0.05  # of the axis, on either side
_CLOSE = (1, 1.5, 2, 3, 4, 6, 8)  # digits of ticks within less than a decade
_LINE = 0.045  # height of a small line of text, of the axis
_LETTER = 0.024  # width of a small letter
_GAP = 0.04  # between a point and its name
_NOTE_WIDTH, _NOTE_HEIGHT = 0.42, 0.28  # of the lines in the corner
_BAR_WIDTH = 0.75  # inches
_EDGE = 0.07  # of the axis: where what is infinite is drawn


class Range(NamedTuple):
    """What both axes show, in natural logarithms."""

    low: float
    high: float

    @classmethod
    def of(cls, part: Agreement) -> "Range":
        """Return the range of all finite values, with a margin.

        Intervals reach beyond it where they are longer than what the points span.
        """
        values = np.concatenate([part.observed, part.predicted])
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        ends = np.concatenate([part.low, part.high])
        longest = max(high - low, math.log(2))
        near = ends[np.isfinite(ends) & (ends > low - longest / 4)]
        near = near[near < high + longest / 4]
        low, high = min(low, near.min(initial=low)), max(high, near.max(initial=high))
        margin = max((high - low) * _MARGIN, 0.02)
        below = margin + (high - low) * _EDGE * bool((values == -np.inf).any())
        above = margin + (high - low) * _EDGE * bool((values == np.inf).any())
        return cls(float(low - below), float(high + above))

    def inside(self, values: Floats) -> Floats:
        """Return values, infinite ones moved to the edges of the axis."""
        inset = (self.high - self.low) * _EDGE / 3
        return np.clip(values, self.low + inset, self.high - inset)


def draw(
    ax: Axes,
    part: Agreement,
    shown: Range,
    color: str = SERIES[0],
    **kwargs: Any,  # noqa: ANN401 matplotlib's own
) -> PathCollection | PolyCollection:
    """Draw observed against predicted values.

    Few are drawn as points with intervals, many as hexagons coloured by number.
    Values that are infinite lie at the edge, those of a few points as triangles.

    Args:
        ax: Where.
        part: The values.
        shown: The range of the axes.
        color: Colour of points.
        **kwargs: Arguments of `Axes.scatter` or `Axes.hexbin`.
    """
    known = ~(np.isnan(part.observed) | np.isnan(part.predicted))
    predicted = np.exp(shown.inside(part.predicted[known]))
    observed = np.exp(shown.inside(part.observed[known]))
    if len(observed) > MOST_POINTS:
        return _hexagons(ax, predicted, observed, shown, **kwargs)
    ends = np.stack([part.low[known], part.high[known]])
    ends = np.where(np.isfinite(ends), ends, np.clip(ends, *shown))
    _draw_intervals(ax, predicted, np.exp(ends), color)
    for marker, edge in (("v", -np.inf), ("^", np.inf)):
        at_edge = part.observed[known] == edge
        if at_edge.any():
            _draw_triangles(ax, predicted[at_edge], observed[at_edge], marker, color)
    finite = np.isfinite(part.observed[known])
    style: dict[str, Any] = {"s": 9, "color": color, "linewidths": 0, "zorder": 3}
    return ax.scatter(predicted[finite], observed[finite], **style | kwargs)


def _draw_triangles(ax: Axes, x: Floats, y: Floats, marker: str, color: str) -> None:
    ax.scatter(
        x, y, 16, marker=marker, facecolors="none", edgecolors=color, linewidths=0.8
    )


def _draw_intervals(ax: Axes, x: Floats, ends: Floats, color: str) -> None:
    """Draw vertical lines as one line with gaps, which is small as a file."""
    gap = np.full_like(x, np.nan)
    ax.plot(
        np.stack([x, x, gap], axis=1).ravel(),
        np.stack([*ends, gap], axis=1).ravel(),
        color=color,
        alpha=0.35,
        linewidth=0.8,
        solid_capstyle="butt",
    )


def _hexagons(
    ax: Axes,
    x: Floats,
    y: Floats,
    shown: Range,
    **kwargs: Any,  # noqa: ANN401 matplotlib's own
) -> PolyCollection:
    low, high = (value / math.log(10) for value in shown)
    style: dict[str, Any] = {
        "gridsize": _HEXAGONS,
        "mincnt": 1,
        "norm": LogNorm(),
        "cmap": SEQUENTIAL,
        "linewidths": 0.1,
        "edgecolors": "face",
    }
    return ax.hexbin(
        x,
        y,
        xscale="log",
        yscale="log",
        extent=(low, high, low, high),
        **style | kwargs,
    )


# == axes =============================================================================


def frame(ax: Axes, part: Agreement, shown: Range, *, folds: bool) -> None:
    """Give both axes the same logarithmic scale, ticks, and a diagonal.

    Args:
        ax: Where.
        part: The values; where some are infinite, ticks say so.
        shown: The range.
        folds: Whether ticks over a small range are powers of 2 (else 1, 2, 5, 10 …).
    """
    low, high = math.exp(shown.low), math.exp(shown.high)
    ax.axline((low, low), (high, high), color=FAINT, linewidth=0.8, zorder=0.5)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal", adjustable="box")
    _set_ticks(ax.xaxis, part.predicted, shown, folds)
    _set_ticks(ax.yaxis, part.observed, shown, folds)


def _set_ticks(axis: Axis, values: Floats, shown: Range, folds: bool) -> None:
    edges = np.array([-np.inf, np.inf])
    infinite = dict(zip(np.exp(shown.inside(edges)).tolist(), "0∞", strict=True))
    present = [x for x, edge in zip(infinite, edges, strict=True) if edge in values]
    room = 1.3 * _EDGE * (shown.high - shown.low)
    finite = Range(
        shown.low + room * (edges[0] in values),
        shown.high - room * (edges[1] in values),
    )
    low, high = math.exp(finite.low), math.exp(finite.high)
    ticks, minor = ratio_ticks(low, high, folds=folds)
    axis.set_major_locator(FixedLocator([*ticks, *present]))
    axis.set_minor_locator(FixedLocator(minor) if minor else NullLocator())
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: infinite.get(value) or number_text(value))
    )
    axis.set_minor_formatter(NullFormatter())


def ratio_ticks(
    low: float, high: float, *, folds: bool
) -> tuple[list[float], list[float]]:
    """Return about five ticks of a logarithmic axis, and small ones between them."""
    decades = math.log10(high / low)
    if folds and decades < 2.2 and low > 0.1:  # 0.0625 is no number to read
        step = math.ceil(decades / math.log10(2) / 6)
        powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
        ticks = [2.0**x for x in powers if x % step == 0]
        if len(ticks) > 2:
            return ticks, []
    if decades < 0.3:
        even = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(x) for x in even if low <= x <= high and x > 0], []
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if decades < 0.7:
        many = [float(f"{m}e{e}") for e in range(first, last + 1) for m in _CLOSE]
        return [x for x in many if low <= x <= high], []
    digits = [float(f"{m}e{e}") for e in range(first, last + 1) for m in range(1, 10)]
    inside = [x for x in digits if low <= x <= high]
    leading = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    step = math.ceil(decades / 6)
    major = [
        x
        for x in inside
        if int(f"{x:e}"[0]) in leading and int(f"{x:e}".split("e")[1]) % step == 0
    ]
    return major, inside if step == 1 else []


def number_text(value: float) -> str:
    """Return a number for a tick: plain, or as a power of ten if it is long."""
    if 1e-3 <= value < 1e5:
        return f"{value:,.6g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa, power = f"{value / 10**exponent:.6g}", f"10^{{{exponent}}}"
    return f"${power}$" if mantissa == "1" else f"${mantissa}\\times{power}$"


def note(ax: Axes, lines: Sequence[str], part: Agreement) -> None:
    """Write some lines into the upper left corner, which a diagonal leaves free.

    Args:
        ax: Where.
        lines: The lines.
        part: What is drawn; what is infinite lies above the lines.
    """
    below = 1.5 * _EDGE * (np.inf in part.observed)
    ax.text(
        0.03,
        0.98 - below,
        "\n".join(lines),
        transform=ax.transAxes,
        va="top",
        fontsize=8,
        color=INK,
    )


def name_points(
    ax: Axes,
    part: Agreement,
    shown: Range,
    points: NDArray[np.intp],
    names: Sequence[str],
) -> None:
    """Write names beside some points, one above the other, clear of other points.

    They are to the left, or to the right where there is no room.

    Args:
        ax: Where.
        part: The values.
        shown: The range of the axes.
        points: Which points, from the top down.
        names: Of the points.
    """
    values = np.stack([part.predicted, part.observed])
    across, up = (shown.inside(values) - shown.low) / (shown.high - shown.low)
    top = 1.0
    for point, name in zip(points, names, strict=True):
        top = min(up[point], top - _LINE)
        beside = across[(np.abs(up - top) < 0.75 * _LINE) | (up == up[point])]
        left = beside.min() - _GAP
        taken = _NOTE_WIDTH if top > 1 - _NOTE_HEIGHT else 0.0
        is_left = left - len(name) * _LETTER > taken
        ax.annotate(
            name,
            np.exp(values[:, point]).tolist(),
            (float(left if is_left else beside.max() + _GAP), float(top)),
            textcoords="axes fraction",
            ha="right" if is_left else "left",
            va="center",
            fontsize=7,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.5},
        )


def colour_bar(ax: Axes, hexagons: PolyCollection, label: str) -> None:
    """Say beside the axes what the colours of hexagons mean."""
    figure = ax.get_figure(root=True)
    if figure is None:
        return
    bar = figure.colorbar(hexagons, ax=ax, shrink=0.6, pad=0.02, aspect=15)
    bar.set_label(label)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: number_text(x)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)


def make_room(figure: Figure) -> None:
    """Widen a picture by its bar of colours, so that its axes keep their size."""
    if len(figure.axes) > 1:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + _BAR_WIDTH, height)


def r2_text(part: Agreement) -> list[str]:
    """Return R² as a line, or no line where it is not defined."""
    r2 = part.r2
    return [] if math.isnan(r2) else [f"R² = {r2:.3f}".replace("-", "−")]


def pooled_text(n: int, n_pools: int, one: str) -> list[str]:
    """Return how many there are, and in how many pools, as lines."""
    number = f"{n:,} {one}{'' if n == 1 else 's'}"
    if n_pools == n:
        return [number]
    return [number, f"in {n_pools:,} pool{'' if n_pools == 1 else 's'}"]


def round_names(experiment: Experiment, columns: Sequence[int]) -> tuple[str, ...]:
    """Return how rounds are called on axes: "round 4", or the name that they have."""
    names = [str(experiment.rounds[column].name) for column in columns]
    return tuple(f"round {name}" if name.isdigit() else name for name in names)
