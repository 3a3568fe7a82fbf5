"""How the loss of a fit fell, evaluation by evaluation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyprobound.plotting._style import FAINT, INK, SERIES, new_figure, settings


@dataclass(frozen=True)
class Stretch:
    """Consecutive evaluations of one fit.

    Attributes:
        title: The part of the model that was being fitted.
        losses: Loss and penalty of each evaluation, per read.
        held_out: Loss of what was held out; None where nothing was.
    """

    title: str
    losses: Sequence[float]
    held_out: Sequence[float | None]


def convergence(stretches: Sequence[Stretch]) -> Figure:
    """Return a picture of the losses, a band for each part of the model.

    Args:
        stretches: The fits, in order.
    """
    with settings():
        figure, (axes,) = new_figure(6.4, 2.9)
        losses = [x for each in stretches for x in each.losses]
        held_out = [x for each in stretches for x in each.held_out]
        _bands(axes, stretches)
        numbers = range(1, len(losses) + 1)
        _line(axes, numbers, losses, SERIES[0], "o-", "fitted probes, with penalty")
        if any(x is not None for x in held_out):
            values = [math.nan if x is None else x for x in held_out]
            _line(axes, numbers, values, SERIES[1], "s--", "held-out probes")
            axes.legend(loc="upper right")
        axes.set_xlabel("evaluation")
        axes.set_ylabel("loss per read (nats)")
        axes.set_xlim(0.5, len(losses) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _limit(axes, [*losses, *(x for x in held_out if x is not None)])
        _mark_what_is_above(axes, losses)
    return figure


def _line(
    axes: Axes,
    numbers: Sequence[int],
    values: Sequence[float],
    colour: str,
    style: str,
    label: str,
) -> None:
    size = 3 if len(values) <= 100 else 1.5
    axes.plot(
        numbers, values, style, color=colour, markersize=size, linewidth=1, label=label
    )


def _bands(axes: Axes, stretches: Sequence[Stretch]) -> None:
    """Mark where fits begin, and name the parts of the model above the axes."""
    start = 0.5
    for title, group in groupby(stretches, lambda each: each.title):
        lengths = [len(each.losses) for each in group]
        end = start + sum(lengths)
        within = start
        for length in lengths[:-1]:
            within += length
            axes.axvline(within, color=FAINT, linewidth=0.5, linestyle=":")
        if start > 0.5:
            axes.axvline(start, color=INK, linewidth=0.8)
        axes.annotate(
            title,
            ((start + end) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            annotation_clip=False,
        )
        start = end


def _mark_what_is_above(axes: Axes, losses: Sequence[float]) -> None:
    """Mark the evaluations that are out of sight with triangles at the top."""
    top = axes.get_ylim()[1]
    above = [i for i, loss in enumerate(losses, 1) if loss > top]
    axes.plot(
        above,
        [1.0] * len(above),
        "^",
        transform=axes.get_xaxis_transform(),
        color=SERIES[0],
        markersize=4,
        clip_on=False,
        label="_above",
    )


def _limit(axes: Axes, values: Sequence[float]) -> None:
    """Leave out of sight what the first evaluations of a step may jump to."""
    finite = sorted(x for x in values if math.isfinite(x))
    if not finite:
        return
    low, high = finite[0], finite[int(0.98 * (len(finite) - 1))]
    reach = (high - low) or abs(high) or 1.0
    axes.set_ylim(low - 0.06 * reach, high + 0.12 * reach)
