"""Labels of axes: as many as there is room for, true minus signs, factors."""

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from pyprobound.errors import PyProBoundError

_LN_10 = math.log(10)
# digits, and every how many powers of ten: the first that are few enough
_FACTORS = [(1, (1, 2, 5)), (1, (1, 3)), *((step, (1,)) for step in range(1, 200))]
_POINT = 1 / 72  # in inches


def plot_ticks(ax: Axes, labels: Sequence[str], axis: Literal["x", "y"]) -> Axes:
    """Label the places 0, 1, … of an axis, as many of them as there is room for.

    Args:
        ax: The axes, at their size.
        labels: One for each place. Of numbers, round ones are kept.
        axis: "x" or "y".

    Raises:
        PyProBoundError: There is no such axis.
    """
    if axis not in {"x", "y"}:
        msg = f"axis {axis!r} must be 'x' or 'y'"
        raise PyProBoundError(msg)
    labels = [str(label) for label in labels]
    kept = _ticked(labels, _room(ax, labels, axis))
    which = ax.xaxis if axis == "x" else ax.yaxis
    which.set_ticks(kept, [labels[place] for place in kept])
    return ax


def _room(ax: Axes, labels: Sequence[str], axis: Literal["x", "y"]) -> int:
    """Return how many labels stand side by side along an axis."""
    tick = ax.xaxis if axis == "x" else ax.yaxis
    size = tick.get_tick_params().get("labelsize", 8)
    points = float(size) if isinstance(size, int | float) else 8.0
    longest = max((len(label) for label in labels), default=1)
    # letters are about 0.65 of their height wide, and want as much between labels
    each = 0.65 * (longest + 1.5) if axis == "x" else 1.5
    figure = ax.get_figure(root=True)
    assert figure is not None
    box = ax.get_position()
    width, height = figure.get_size_inches()
    length = box.width * width if axis == "x" else box.height * height
    return max(1, int(length / (each * points * _POINT)))


def _ticked(labels: Sequence[str], room: int) -> list[int]:
    """Return the places of the labels that are kept."""
    if len(labels) <= room:
        return list(range(len(labels)))
    step = next(s for s in round_steps() if len(labels) / s <= room)
    try:
        numbers = [int(label.replace("\N{MINUS SIGN}", "-")) for label in labels]
    except ValueError:
        return list(range(0, len(labels), step))
    return [place for place, number in enumerate(numbers) if number % step == 0] or [0]


def round_steps() -> list[int]:
    """Return the round distances of ticks, the smallest first."""
    return [step * 10**power for power in range(9) for step in (1, 2, 5)]


def signed(label: object) -> str:
    """Return a label with true minus signs."""
    return str(label).replace("-", "\N{MINUS SIGN}")


def factor_axis(ax: Axes) -> None:
    """Show the factors e^y on the right of an axis of natural logarithms."""
    factors = round_factors(*ax.get_ylim())
    right = ax.secondary_yaxis("right")
    right.set_yticks(list(factors), list(factors.values()))
    right.set_ylabel("factor")


def round_factors(low: float, high: float, most: int = 7) -> dict[float, str]:
    """Return round factors, as text by their natural logarithms.

    Args:
        low: The smallest logarithm.
        high: The largest.
        most: How many factors there may be.
    """
    powers = range(math.floor(low / _LN_10), math.ceil(high / _LN_10) + 1)
    for step, digits in _FACTORS:
        factors = {
            power * _LN_10 + math.log(digit): _factor(digit, power)
            for power in powers
            if power % step == 0
            for digit in digits
        }
        inside = {log: text for log, text in factors.items() if low <= log <= high}
        if len(inside) <= most:
            break
    return inside


def _factor(digit: int, power: int) -> str:
    if -4 < power < 4:
        return f"×{digit * 10.0**power:g}"
    times = "" if digit == 1 else f"{digit}·"
    return f"×{times}$10^{{{power}}}$"
