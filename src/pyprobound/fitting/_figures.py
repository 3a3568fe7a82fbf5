"""What was observed against what is predicted, as a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.fitting._agreement import Agreement
from pyprobound.plotting._style import (
    FAINT,
    INK,
    SEQUENTIAL,
    SERIES,
    new_figure,
    series,
    settings,
)

Numbers = NDArray[np.float64]

MOST_POINTS = 3000
"""More probes than this, if all alike, are counted in hexagons."""
MOST_VECTORS = 400
"""More points than this are drawn as an image within the picture."""
MARKERS = "os^Dv"


@dataclass(frozen=True)
class Points:
    """Points of a picture, on the scale of a fit.

    Attributes:
        obs: (n,) what was observed.
        pred: (n,) what is predicted.
        lower: (n,) the lower ends of error bars; None without.
        upper: (n,) the upper ends.
        group: (n,) the number of the group of each point.
        names: The names of the groups; none where there are no labels.
        colors: A colour for each group; or one for each point, without labels.
    """

    obs: Numbers
    pred: Numbers
    lower: Numbers | None
    upper: Numbers | None
    group: NDArray[np.int64]
    names: list[str]
    colors: list[str]

    @classmethod
    def of(
        cls,
        obs: Tensor,
        pred: Tensor,
        lower: Tensor | None,
        upper: Tensor | None,
        labels: Sequence[str] | None,
        colors: Sequence[str] | None,
    ) -> Self:
        """Return points with their groups.

        Raises:
            PyProBoundError: There are too few labels or colours, or too many.
        """
        n = len(obs)
        names = [] if labels is None else list(dict.fromkeys(labels))
        if labels is not None and len(labels) != n:
            msg = f"{len(labels)} labels for {n} probes; give one for each"
            raise PyProBoundError(msg)
        number = {name: i for i, name in enumerate(names)}
        group = np.array([number[each] for each in labels or ()] or [0] * n)
        wanted = len(names) if labels is not None else n
        given = series(max(1, len(names))) if colors is None else list(colors)
        if colors is not None and len(colors) == n and labels is not None:
            given = [colors[int((group == i).argmax())] for i in range(len(names))]
        elif colors is not None and len(colors) != wanted:
            what = "groups" if labels is not None else "probes"
            msg = f"{len(colors)} colors for {wanted} {what}; give one for each"
            raise PyProBoundError(msg)
        return cls(
            obs=obs.double().numpy(),
            pred=pred.double().numpy(),
            lower=None if lower is None else lower.double().numpy(),
            upper=None if upper is None else upper.double().numpy(),
            group=group,
            names=names,
            colors=given,
        )

    @property
    def is_plain(self) -> bool:
        """Whether all points look alike and have no error bar."""
        return not self.names and len(self.colors) == 1 and self.lower is None

    def averaged(self, kernel: int) -> "Points":
        """Return the means of about `kernel` neighbours in the order of predictions.

        Error bars become those of the means, if errors are independent.

        Raises:
            PyProBoundError: The kernel is less than 1.
        """
        if kernel < 1:
            msg = f"kernel {kernel} must be at least 1: the neighbours in an average"
            raise PyProBoundError(msg)
        if kernel == 1:
            return self
        blocks = []
        for each in range(max(1, len(self.names))):
            rows = np.flatnonzero(self.group == each)
            rows = rows[self.pred[rows].argsort(kind="stable")]
            blocks += np.array_split(rows, max(1, round(len(rows) / kernel)))
        obs = _means(self.obs, blocks)
        lower = upper = None
        if self.lower is not None and self.upper is not None:
            below = _of_means(self.obs - self.lower, blocks)
            above = _of_means(self.upper - self.obs, blocks)
            lower, upper = obs - below, obs + above
        colors = self.colors
        if not self.names and len(colors) > 1:
            colors = [colors[int(rows[0])] for rows in blocks]
        first = np.array([rows[0] for rows in blocks])
        return replace(
            self,
            obs=obs,
            pred=_means(self.pred, blocks),
            lower=lower,
            upper=upper,
            group=self.group[first],
            colors=colors,
        )

    def exponentiated(self) -> "Points":
        """Return the points of logarithms on the scale of measurements."""
        lower, upper = (None if x is None else np.exp(x) for x in self._ends)
        return replace(
            self,
            obs=np.exp(self.obs),
            pred=np.exp(self.pred),
            lower=lower,
            upper=upper,
        )

    @property
    def _ends(self) -> tuple[Numbers | None, Numbers | None]:
        return self.lower, self.upper


def _means(values: Numbers, blocks: Sequence[NDArray[np.int64]]) -> Numbers:
    return np.array([values[rows].mean() for rows in blocks])


def _of_means(errors: Numbers, blocks: Sequence[NDArray[np.int64]]) -> Numbers:
    """Return the errors of means of independent values."""
    sums = [np.sqrt((errors[rows] ** 2).sum()) / len(rows) for rows in blocks]
    return np.array(sums)


def draw(
    points: Points,
    *,
    xlabel: str,
    ylabel: str,
    xlog: bool,
    ylog: bool,
    is_log: bool,
    agreement: Agreement,
    kernel: int,
    title: str,
) -> Figure:
    """Draw points with the line of perfect agreement.

    Args:
        points: On the scale of the fit.
        xlabel: Of the predictions.
        ylabel: Of the measurements.
        xlog: Whether the axis is logarithmic, if all values are positive.
        ylog: Whether the other one is.
        is_log: Whether the points are logarithms.
        agreement: Of all probes.
        kernel: Neighbours that each point is the mean of.
        title: What stands above.
    """
    if is_log:
        points = points.exponentiated()
    with settings():
        is_counted = points.is_plain and len(points.obs) > MOST_POINTS
        wide = bool(points.names) or is_counted
        figure, (ax,) = new_figure(4.6 if wide else 3.5, 3.7)
        if xlog and bool((points.pred > 0).all()):
            ax.set_xscale("log")
        if ylog and bool((points.obs > 0).all()):
            ax.set_yscale("log")
        _set_limits(ax, points)
        if is_counted:
            _draw_hexagons(figure, ax, points)
        else:
            _draw_points(ax, points)
        _draw_agreement(ax)
        for axis in (ax.xaxis, ax.yaxis):
            _set_ticks(axis)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(ylabel)
        ax.set_title(_note(agreement, title, kernel, is_log), loc="left", fontsize=8)
        if points.names:
            _draw_legend(ax)
    return figure


def _note(agreement: Agreement, title: str, kernel: int, is_log: bool) -> str:
    """Return what stands above the axes."""
    of_logs = " (of logarithms)" if is_log else ""
    lines = [
        f"R² = {agreement.r_squared:.3f}{of_logs}, {agreement.n:,} probes",
        f"Pearson r = {agreement.pearson:.3f}, Spearman ρ = {agreement.spearman:.3f}",
    ]
    rmse = f"RMSE = {_shown(agreement.rmse)}"
    if not math.isnan(agreement.chi_squared):
        rmse += f", mean χ² = {agreement.chi_squared:.3g}"
    if kernel > 1:
        rmse += f"; each point the mean of {kernel}"
    return "\n".join([*([title] if title else []), *lines, rmse])


def _shown(value: float) -> str:
    """Return a number of three digits, large ones without an exponent."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _set_limits(ax: Axes, points: Points) -> None:
    """Show all points; on axes of one kind, let both show the same range."""
    same = ax.get_xscale() == ax.get_yscale()
    x = _range(points.pred, ax.get_xscale() == "log")
    y = _range(_with_bars(points, ax.get_yscale() == "log"), ax.get_yscale() == "log")
    if same:
        x = y = (min(x[0], y[0]), max(x[1], y[1]))
        ax.set_box_aspect(1)
    ax.set_xlim(*x)
    ax.set_ylim(*y)


def _with_bars(points: Points, is_log: bool) -> Numbers:
    """Return measurements and ends of bars, but none far from all measurements."""
    ends = [x for x in (points.lower, points.upper) if x is not None]
    low, high = float(points.obs.min()), float(points.obs.max())
    room = high - low
    nearest = (low / 3, high * 3) if is_log else (low - room, high + room)
    return np.concatenate([points.obs, *(np.clip(x, *nearest) for x in ends)])


def _range(values: Numbers, is_log: bool) -> tuple[float, float]:
    """Return the range of values with some room."""
    low, high = float(values.min()), float(values.max())
    if is_log:
        room = max((high / low) ** 0.05, 1.1)
        return low / room, high * room
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


# From so many decades on, numbers stand at these multiples of each power of ten.
_LOG_STEPS: tuple[tuple[float, list[float]], ...] = (
    (2.5, [1]),
    (1.5, [1, 3]),
    (0.8, [1, 2, 5]),
)


def _set_ticks(axis: Axis) -> None:
    """Write few and round numbers along a logarithmic axis."""
    if axis.get_scale() != "log":
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda x, _: _round(x)))
        return
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    steps = [each for least, each in _LOG_STEPS if decades >= least]
    axis.set_major_locator(
        LogLocator(subs=steps[0], numticks=7)
        if steps
        else MaxNLocator(4, steps=[1, 2, 5, 10])
    )
    axis.set_minor_formatter(NullFormatter())
    if low >= 1e-3 and high < 1e6:
        axis.set_major_formatter(FuncFormatter(lambda x, _: _round(x)))


def _round(value: float) -> str:
    """Return a number of a tick."""
    if abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value:,.10g}".replace("-", "−")


def _draw_legend(ax: Axes) -> None:
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.1, borderpad=0
    )
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([20.0])
            handle.set_alpha(1)


def _draw_points(ax: Axes, points: Points) -> None:
    n = len(points.obs)
    size = 16 if n <= 200 else 8 if n <= 1000 else 4
    is_image = n > MOST_VECTORS
    if not points.names and len(points.colors) > 1:
        _draw_bars(ax, points, np.ones(n, dtype=bool), FAINT)
        ax.scatter(
            points.pred,
            points.obs,
            s=size,
            c=points.colors,
            linewidths=0,
            zorder=3,
            rasterized=is_image,
        )
        return
    for each in range(max(1, len(points.names))):
        rows = points.group == each
        color = points.colors[each]
        _draw_bars(ax, points, rows, color)
        ax.scatter(
            points.pred[rows],
            points.obs[rows],
            s=size,
            color=color,
            marker=MARKERS[each // len(SERIES) % len(MARKERS)],
            linewidths=0,
            alpha=1 if n <= 200 else 0.6,
            zorder=3,
            rasterized=is_image,
            label=points.names[each] if points.names else None,
        )


def _draw_bars(ax: Axes, points: Points, rows: NDArray[np.bool_], color: str) -> None:
    if points.lower is None or points.upper is None:
        return
    low, high = ax.get_ylim()
    ends = (
        np.clip(points.lower[rows], low, high),
        np.clip(points.upper[rows], low, high),
    )
    lines = ax.vlines(points.pred[rows], *ends, color=color, lw=0.7, alpha=0.6)
    lines.set_rasterized(len(points.obs) > MOST_VECTORS)


def _draw_hexagons(figure: Figure, ax: Axes, points: Points) -> None:
    hexagons = ax.hexbin(
        points.pred,
        points.obs,
        gridsize=60,
        bins="log",
        mincnt=1,
        linewidths=0,
        cmap=SEQUENTIAL,
        xscale="log" if ax.get_xscale() == "log" else "linear",
        yscale="log" if ax.get_yscale() == "log" else "linear",
        extent=_extent(ax),
        rasterized=True,
    )
    bar = figure.colorbar(hexagons, ax=ax, shrink=0.6, aspect=15)
    bar.set_label("probes")


def _extent(ax: Axes) -> tuple[float, float, float, float]:
    """Return what hexagons cover, as `hexbin` takes it: logarithms of log axes."""
    x, y = (
        np.log10(limits) if scale == "log" else np.asarray(limits)
        for limits, scale in (
            (ax.get_xlim(), ax.get_xscale()),
            (ax.get_ylim(), ax.get_yscale()),
        )
    )
    return float(x[0]), float(x[1]), float(y[0]), float(y[1])


def _draw_agreement(ax: Axes) -> None:
    """Draw the line on which predictions are what was observed."""
    low, high = ax.get_xlim()
    is_log = ax.get_xscale() == "log"
    x = np.geomspace(low, high, 200) if is_log else np.linspace(low, high, 200)
    below, above = ax.get_ylim()
    inside = (x >= below) & (x <= above)
    ax.plot(x[inside], x[inside], color=INK, lw=0.8, zorder=4, scalex=False)
    ax.set_ylim(below, above)
