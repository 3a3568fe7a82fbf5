"""Dimers: log ω against the offset of the motifs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._arrangements import (
    Arrangements,
    Row,
    arrangements_of,
)
from pyprobound.plotting._arrows import draw_pair, shortened
from pyprobound.plotting._heatmaps import (
    EXCLUDED,
    EXCLUDED_HATCH,
    SHADED,
    stretches,
)
from pyprobound.plotting._lines import MARKERS, hollow_marker, limits_of
from pyprobound.plotting._style import FAINT, INK, new_figure, series, settings
from pyprobound.plotting._ticks import factor_axis, round_steps, signed
from pyprobound.uncertainty import NORMAL_95, NOT_IDENTIFIED, ErrorBars

UNIT = "log ω, reference at 0 (ln)"
GAP = "letters between the footprints (negative: overlap)"
_DODGE = 0.16
_MOST_TICKS = 14
_HATCHED: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": FAINT,
    "hatch": EXCLUDED_HATCH,
    "linewidth": 0,
}
_RING: dict[str, Any] = {
    "color": INK,
    "linestyle": "none",
    "marker": "o",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgewidth": 0.9,
}


def spacing(
    spacing_matrix: Spacing | Cooperativity,
    swap: bool = False,
    *,
    errors: ErrorBars | None = None,
) -> Figure:
    """Draw log ω of a dimer against the offset of its motifs, by orientation.

    The offset is the start of the second motif less the start of the first, which is on
    the + strand; above are the letters between the footprints. ω is compared with that
    of a reference: the best arrangement, or with `errors` their reference. Arrangements
    that mean the same sites are drawn once; those of a homodimer that differ only in
    which of the two is called the first are joined, their ω averaged.

    Args:
        spacing_matrix: A dimer, or a spacing alone (on its longest probes). A dimer's
            position bias is included, by its mean for each offset.
        swap: Whether to look from the second motif instead of the first.
        errors: The errors of the dimer's model: intervals of 95%, and what the data do
            not identify is hollow.

    Raises:
        PyProBoundError: There are errors, but only a spacing; or the two cannot bind in
            any arrangement.
    """
    found = possible_arrangements(spacing_matrix, swap=swap, errors=errors)
    n_rows = len(found.rows)
    heights = 2.5, 0.3 * n_rows
    with settings():
        figure, axes = new_figure(6.0, sum(heights) + 0.8, 2, ratios=heights)
        ax, strip = axes
        colours = series(n_rows)
        dodges = [_DODGE * (i - (n_rows - 1) / 2) for i in range(n_rows)]
        ax.set_xlim(*_x_limits(found))
        ax.set_ylim(*_y_limits(found))
        _shade(ax, found)
        for number, colour in enumerate(colours):
            _draw_row(ax, found, number, colour, dodges[number])
        _mark_reference(ax, found, dodges)
        _label_offsets(ax, found)
        factor_axis(ax)
        _draw_strip(strip, ax, found, colours)
        handles = _explained(found, colours)
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def possible_arrangements(
    dimer: Spacing | Cooperativity, *, swap: bool, errors: ErrorBars | None
) -> Arrangements:
    """Return the arrangements of a dimer that has any.

    Raises:
        PyProBoundError: It has none.
    """
    found = arrangements_of(dimer, swap=swap, errors=errors)
    if not found.is_possible.any():
        msg = f"{dimer}: the two cannot bind in any arrangement: nothing to draw"
        raise PyProBoundError(msg)
    return found


def _x_limits(found: Arrangements) -> tuple[float, float]:
    """Return limits around the offsets at which something can bind."""
    possible = np.array(found.offsets)[found.is_possible.any(0)]
    return possible.min() - 1.0, possible.max() + 1.0


def _y_limits(found: Arrangements) -> tuple[float, float]:
    values = np.concatenate([row.value for row in found.rows])
    errors = np.concatenate([row.error for row in found.rows])
    return limits_of(values, NORMAL_95 * np.nan_to_num(errors))


def _shade(ax: Axes, found: Arrangements) -> None:
    """Shade offsets at which footprints overlap; hatch those where nothing binds."""
    ax.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    left, right = ax.get_xlim()
    looks: list[tuple[NDArray[np.bool_], dict[str, Any]]] = [
        (_overlaps(found), SHADED),
        (_is_excluded(found), _HATCHED),
    ]
    for cells, look in looks:
        for start, stop in stretches(cells):
            low, high = found.offsets[start] - 0.5, found.offsets[stop - 1] + 0.5
            if low < right and left < high:
                ax.axvspan(max(low, left), min(high, right), zorder=0, **look)


def _overlaps(found: Arrangements) -> NDArray[np.bool_]:
    gaps = found.gaps or [0] * len(found.offsets)
    return np.array([gap < 0 for gap in gaps])


def _is_excluded(found: Arrangements) -> NDArray[np.bool_]:
    """Return at which offsets nothing can bind."""
    # NaN is no exclusion: such an arrangement of a homodimer stands on the other side
    excluded = [np.isneginf(row.value) for row in found.rows]
    stated = [~np.isnan(row.value) for row in found.rows]
    every: NDArray[np.bool_] = np.array(excluded).sum(0) == np.array(stated).sum(0)
    return every & np.array(stated).any(axis=0)


def _draw_row(
    ax: Axes, found: Arrangements, number: int, colour: str, dodge: float
) -> None:
    """Draw a pair of strands: points with intervals, neighbours joined."""
    row, marker = found.rows[number], MARKERS[number]
    places = np.array(found.offsets) + dodge
    values = np.where(np.isfinite(row.value), row.value, np.nan)
    unknown = found.is_unknown[number]
    known = np.where(unknown, np.nan, values)
    ax.plot(places, values, color=colour, linewidth=0.8, alpha=0.4)
    ax.plot(places, known, color=colour, linestyle="none", marker=marker, markersize=4)
    hollow = np.where(unknown, values, np.nan)
    ax.plot(places, hollow, color=colour, **hollow_marker(marker))
    if found.has_errors:
        _draw_intervals(ax, places, known, NORMAL_95 * row.error, colour)


def _draw_intervals(
    ax: Axes,
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    reaches: NDArray[np.float64],
    colour: str,
) -> None:
    """Draw intervals; those that leave the panel end in an arrow head."""
    bottom, top = ax.get_ylim()
    low, high = values - reaches, values + reaches
    inside = (low >= bottom) & (high <= top)
    for chosen, alpha in ((inside, 1.0), (~inside, 0.4)):
        reach = np.maximum(low, bottom)[chosen], np.minimum(high, top)[chosen]
        ax.vlines(places[chosen], *reach, colour, linewidth=1, alpha=alpha)
    inset = 0.012 * (top - bottom)
    for beyond, edge, head in (
        (low < bottom, bottom + inset, "v"),
        (high > top, top - inset, "^"),
    ):
        if beyond.any():
            heads = np.full(int(beyond.sum()), edge)
            ax.plot(places[beyond], heads, head, color=colour, markersize=3)


def _mark_reference(ax: Axes, found: Arrangements, dodges: Sequence[float]) -> None:
    """Draw a ring around the arrangement that the others are compared with."""
    if found.reference is not None:
        row, column = found.reference
        place = found.offsets[column] + dodges[row]
        ax.plot([place], [0], **_RING)


def _label_offsets(ax: Axes, found: Arrangements) -> None:
    first, second = (shortened(name) for name in found.names)
    if first == second:
        first, second = "the first", "the second"
    ax.set_xlabel(f"offset: start of {second} − start of {first}, {first} on +")
    ax.set_ylabel(UNIT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if found.gaps is None:
        return
    left, right = ax.get_xlim()
    visible = [
        (offset, gap)
        for offset, gap in zip(found.offsets, found.gaps, strict=True)
        if left < offset < right
    ]
    step = next(s for s in round_steps() if len(visible) <= _MOST_TICKS * s)
    ticks = {offset: signed(gap) for offset, gap in visible if gap % step == 0}
    top = ax.secondary_xaxis("top")
    top.set_xticks(list(ticks), list(ticks.values()))
    top.set_xlabel(GAP)


def _draw_strip(
    strip: Axes, ax: Axes, found: Arrangements, colours: Sequence[str]
) -> None:
    """Draw what each pair of strands looks like, on either side."""
    strip.set_axis_off()
    left, right = ax.get_xlim()
    strip.set_xlim(left, right)
    strip.set_ylim(len(found.rows) - 0.5, -0.5)
    turned = np.array(found.turned)
    for number, colour in enumerate(colours):
        possible = found.is_possible[number]
        for side in (True, False):
            places = np.array(found.offsets)[possible & (turned == side)]
            if len(places):
                middle = (float(places.min()) + float(places.max())) / 2
                names, _ = found.in_order(number, turned=side)
                arrows = found.arrows(number, turned=side)
                draw_pair(strip, (middle, number), names, arrows, colour)


def _explained(found: Arrangements, colours: Sequence[str]) -> list[Line2D | Patch]:
    """Return what the legend explains."""
    handles: list[Line2D | Patch] = [
        Line2D(
            [], [], color=colour, marker=marker, markersize=4, label=_words(found, row)
        )
        for row, colour, marker in zip(found.rows, colours, MARKERS, strict=False)
    ]
    if found.reference is not None:
        handles.append(Line2D([], [], label="reference", **_RING))
    if found.is_unknown.any():
        shown = hollow_marker(MARKERS[0])
        handles.append(Line2D([], [], color=INK, label=NOT_IDENTIFIED, **shown))
    if _overlaps(found).any():
        handles.append(Patch(label="footprints overlap", **SHADED))
    if _is_excluded(found).any():
        handles.append(Patch(label=EXCLUDED, **_HATCHED))
    return handles


def _words(found: Arrangements, row: Row) -> str:
    """Return what the strands of the two are, as the summary of a fit writes them."""
    if len(found.rows) == 1 and not all(found.directed):
        return "either orientation"
    kind = "same strand" if row.strands[0] == row.strands[1] else "opposite strands"
    return f"{kind} ({signed(row.strands)})"
