"""Energy logos: letters as tall as their −ΔΔG/RT.

Letters above zero are tighter than the mean of their position, those below are weaker;
on either side the tallest one lies outermost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from pyprobound.layers import PSAM
from pyprobound.plotting._energies import (
    ENERGY,
    Array,
    Energies,
    check_channel,
    height_of,
    inches,
    letter_energies,
    letters_of,
    positions_of,
    wrapped,
)
from pyprobound.plotting._glyphs import glyphs
from pyprobound.plotting._letters import ColourScheme, letter_styles
from pyprobound.plotting._pairs import LEFT, add_map, all_pairs, below_map, map_height
from pyprobound.plotting._style import INK, new_figure, settings
from pyprobound.uncertainty import NORMAL_95, ErrorBars

_SIDE = 0.04  # of a position, free on either side of its letters
_WIDEST = 1.0  # inches of a character: the letters of short motifs keep their shape
_LEAST_HEIGHT = 0.005  # inches: half a dot of a screen; what is lower is not drawn
_LEAST_SHAPE = 0.015  # inches: a letter so low cannot be read and is a box
_FAINT = 0.4  # opacity of letters that the data do not identify
_TICK_WIDTH = 0.22  # inches that the number of a position takes
_BELOW = 0.55  # inches below the letters, with a label of one line
_NUMBERS = 0.4  # of them without the label
_MARGIN = 0.04  # of the height, above and below the letters


@dataclass(frozen=True)
class Logo:
    """A logo as it was drawn.

    Attributes:
        ax: The axes.
        df: The height of every letter: positions (as numbered below the logo) by
            letters.
        glyph_df: A row for each letter drawn: its column (0, 1, … from the left), the
            position's number, letter, value, standard error (NaN where it is unknown),
            floor and ceiling.
        letters: The outlines, one artist for each kind of letter.
        error_bars: The 95% intervals, around the outer edge of their letters; None
            without errors.
    """

    ax: Axes
    df: pd.DataFrame
    glyph_df: pd.DataFrame
    letters: list[PathPatch]
    error_bars: LineCollection | None


def stack(values: Array) -> Array:
    """Return the floor of each letter in a stack on either side of zero.

    Args:
        values: Heights, (letters, positions).

    Returns:
        (letters, positions): a letter reaches from its floor by its absolute height.
    """
    order = np.argsort(values, axis=0, kind="stable")
    ranked: Array = np.take_along_axis(values, order, 0)
    above, below = ranked.clip(min=0), ranked.clip(max=0)
    floors = above.cumsum(0) - above + below[::-1].cumsum(0)[::-1]
    found: Array = np.empty_like(floors)
    np.put_along_axis(found, order, floors, 0)
    return found


def logo(
    psam: PSAM,
    logo_height: float = 2,
    width: float = 8,
    reverse: bool = False,
    fix_gauge: bool = True,
    mean_center: bool = True,
    *,
    errors: ErrorBars | None = None,
) -> Figure:
    """Draw the energies of a PSAM: letters, and below them maps of letter pairs.

    Each forward channel has letters (and maps) of its own. The PSAM stays as it is.

    Args:
        psam: The PSAM.
        logo_height: Inches that the letters of a channel have, with their axes.
        width: Inches.
        reverse: Whether to draw the reverse complement; positions keep their numbers.
        fix_gauge: Whether the letters get the single-letter content of pairs.
        mean_center: Whether to take each position's mean off.
        errors: Where standard errors come from, for bars of 95% intervals.

    Returns:
        The figure.

    Raises:
        PyProBoundError: Energies are not finite, or there is no reverse complement.
    """
    energies = letter_energies(
        psam,
        reverse=reverse,
        fix_gauge=fix_gauge,
        mean_center=mean_center,
        errors=errors,
    )
    pairs = all_pairs(psam, reverse=reverse, fix_gauge=fix_gauge, errors=errors)
    channels = psam.betas.channels
    across = max(width - LEFT, 1.0)
    label = _axis_label(energies, across, reverse=reverse)
    sizes = [(across, max(logo_height - _BELOW, 0.3))]
    height = sizes[0][1] + _NUMBERS + height_of(label)
    if pairs:
        sizes.append((across, map_height(psam, across)))
        height += sizes[1][1] + below_map(psam, pairs, across)
    with settings():
        figure, axes = new_figure(
            width,
            height * channels,
            rows=len(sizes) * channels,
            ratios=[tall for _, tall in sizes] * channels,
        )
        for channel in range(channels):
            ax, *below = axes[channel * len(sizes) :][: len(sizes)]
            _draw(ax, psam, energies, channel, sizes[0], reverse=reverse)
            if channels > 1:
                ax.set_ylabel(f"{ENERGY}\nchannel {channel + 1}")
            for map_ax in below:
                add_map(map_ax, psam, pairs, channel, sizes[1], reverse=reverse)
    return figure


def logomaker_plotter(
    ax: Axes,
    psam: PSAM,
    reverse: bool = False,
    mean_center: bool = True,
    *,
    fix_gauge: bool = False,
    channel: int = 0,
    errors: ErrorBars | None = None,
    color_scheme: ColourScheme | None = None,
    flip_below: bool = False,
    **kwargs: Any,  # noqa: ANN401 what matplotlib takes
) -> Logo:
    """Draw the letters of a PSAM into axes.

    The name is that of the documented API; the letters are drawn by this package, and
    logomaker is not needed.

    Args:
        ax: The axes.
        psam: The PSAM, which stays as it is.
        reverse: Whether to draw the reverse complement; positions keep their numbers.
        mean_center: Whether to take each position's mean off.
        fix_gauge: Whether the letters get the single-letter content of pairs.
        channel: Which forward channel.
        errors: Where standard errors come from, for bars of 95% intervals. Letters
            that the data do not identify are faint and have none.
        color_scheme: A colour for all letters, or colours by letter; by default those
            of the alphabet.
        flip_below: Whether letters below zero hang upside down.
        **kwargs: Properties of the letters, as matplotlib's PathPatch takes them.

    Returns:
        What was drawn.

    Raises:
        PyProBoundError: Energies are not finite, there is no reverse complement or no
            such channel, or a colour is none.
    """
    check_channel(psam, channel)
    energies = letter_energies(
        psam,
        reverse=reverse,
        fix_gauge=fix_gauge,
        mean_center=mean_center,
        errors=errors,
    )
    look = _Look(color_scheme, flip_below=flip_below, properties=kwargs)
    with settings():
        size = inches(ax)
        return _draw(ax, psam, energies, channel, size, reverse=reverse, look=look)


@dataclass(frozen=True)
class _Look:
    """What the caller wishes of the letters."""

    color_scheme: ColourScheme | None = None
    flip_below: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


def _draw(
    ax: Axes,
    psam: PSAM,
    energies: Energies,
    channel: int,
    size: tuple[float, float],
    *,
    reverse: bool,
    look: _Look = _Look(),
) -> Logo:
    """Draw the letters of a channel, its error bars and its axes."""
    letters, numbers = letters_of(psam), positions_of(psam, reverse=reverse)
    value = energies.value[channel]
    error = _error_of(energies, channel)
    whole = _table(value, error, letters, numbers)
    low, high, _ = _reach(value, error)
    ax.set_xlim(-0.5, len(numbers) - 0.5)
    ax.set_ylim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    tall = whole["value"].abs() * size[1] / (high - low)  # inches
    drawn = whole.assign(shape=tall > _LEAST_SHAPE)
    drawn = drawn[tall > _LEAST_HEIGHT].reset_index(drop=True)
    widest = _WIDEST * max(map(len, letters)) / size[0] * len(numbers)
    half = min(0.5 - _SIDE, widest / 2)
    has_errors = energies.error is not None
    patches = _draw_letters(ax, drawn, psam, look, half, has_errors=has_errors)
    bars = _draw_bars(ax, drawn, half) if has_errors else None
    ax.axhline(0, color=INK, linewidth=0.8, zorder=1.5)
    _number(ax, numbers, size[0])
    ax.set_xlabel(_axis_label(energies, size[0], reverse=reverse))
    ax.set_ylabel(ENERGY)
    heights = pd.DataFrame(
        value.T, pd.Index(numbers, name="position"), pd.Index(letters, name="letter")
    )
    return Logo(ax, heights, drawn.drop(columns="shape"), patches, bars)


def _error_of(energies: Energies, channel: int) -> Array:
    """Return the errors of a channel, NaN where there are none."""
    if energies.error is None:
        return np.full_like(energies.value[channel], np.nan)
    error: Array = energies.error[channel]
    return error


def _table(
    value: Array, error: Array, letters: Sequence[str], numbers: Sequence[int]
) -> pd.DataFrame:
    """Return a row for each letter of each position, from the left."""
    floor = stack(value)
    columns = np.arange(len(numbers))
    return pd.DataFrame(
        {
            "column": columns.repeat(len(letters)),
            "position": np.array(numbers).repeat(len(letters)),
            "letter": list(letters) * len(numbers),
            "value": value.T.ravel(),
            "error": error.T.ravel(),
            "floor": floor.T.ravel(),
            "ceiling": (floor + np.abs(value)).T.ravel(),
        }
    )


def _reach(value: Array, error: Array) -> tuple[float, float, bool]:
    """Return what letters and bars need, and whether bars are cut.

    Bars take at most as much room as the letters: one letter of which little is known
    does not make all others small.
    """
    floor = stack(value)
    low, high = min(0.0, floor.min()), max(0.0, (floor + np.abs(value)).max())
    if high == low:
        return -1.0, 1.0, False
    edge = np.where(value > 0, floor + value, floor)
    arm = NORMAL_95 * np.nan_to_num(error)
    lowest, highest = (edge - arm).min(), (edge + arm).max()
    room = (high - low) / 2
    is_cut = bool(lowest < low - room or highest > high + room)
    low, high = min(low, max(lowest, low - room)), max(high, min(highest, high + room))
    return float(low), float(high), is_cut


def _edge(table: pd.DataFrame) -> "pd.Series[float]":
    """Return the edge of each letter that lies away from zero."""
    return table["ceiling"].where(table["value"] > 0, table["floor"])


def _draw_letters(
    ax: Axes,
    drawn: pd.DataFrame,
    psam: PSAM,
    look: _Look,
    half: float,
    *,
    has_errors: bool,
) -> list[PathPatch]:
    styles = letter_styles(letters_of(psam), psam.alphabet, look.color_scheme)
    boxes = _boxes(drawn, look, half)
    has_shape = drawn["shape"].to_numpy()
    is_faint = drawn["error"].isna() & has_errors
    patches = []
    kinds: dict[Any, Any] = drawn.groupby(["letter", is_faint], sort=False).indices
    for (letter, faint), rows in kinds.items():
        style = styles[letter]
        readable = has_shape[rows]
        path = Path.make_compound_path(
            glyphs(letter, boxes[rows[readable]], style.is_marked),
            glyphs("", boxes[rows[~readable]]),
        )
        properties = {
            "facecolor": style.colour,
            "linewidth": 0,
            "alpha": _FAINT if faint else None,
            "label": letter,
        }
        patch = PathPatch(path, **(properties | dict(look.properties)))
        ax.add_artist(patch)  # add_patch would walk along all curves for the limits
        patches.append(patch)
    return patches


def _boxes(drawn: pd.DataFrame, look: _Look, half: float) -> Array:
    """Return left, bottom, right and top of letters that are twice `half` wide."""
    column, floor, ceiling, value = (
        drawn[key].to_numpy(dtype=np.float64)
        for key in ("column", "floor", "ceiling", "value")
    )
    hangs = look.flip_below & (value < 0)
    bottom, top = np.where(hangs, ceiling, floor), np.where(hangs, floor, ceiling)
    return np.stack([column - half, bottom, column + half, top], 1)


def _draw_bars(ax: Axes, drawn: pd.DataFrame, half: float) -> LineCollection:
    """Draw 95% intervals side by side, each around the outer edge of its letter."""
    known = drawn[drawn["error"] > 0]
    side = known["value"] > 0
    group = known["value"].abs().groupby([known["column"], side])
    # That of the outermost letter is in the middle, the others right and left of it.
    rank = group.rank(ascending=False, method="first") - 1
    step = (1.7 * half / group.transform("size")).clip(upper=half / 2)
    sign = np.where(rank % 2 == 0, -1, 1)
    x = known["column"] + sign * np.ceil(rank / 2) * step
    edge, arm = _edge(known), NORMAL_95 * known["error"]
    ends = np.stack([np.stack([x, edge - arm], 1), np.stack([x, edge + arm], 1)], 1)
    bars = LineCollection(list(ends), colors=INK, linewidths=0.8, zorder=2.5)
    ax.add_collection(bars, autolim=False)
    low, high = ax.get_ylim()
    _point(ax, x[edge - arm < low], low, "v")
    _point(ax, x[edge + arm > high], high, "^")
    return bars


def _point(ax: Axes, x: "pd.Series[float]", y: float, marker: str) -> None:
    """Draw arrows at an end of the axes, where bars are cut."""
    if len(x):
        ends = np.full(len(x), y)
        ax.plot(x, ends, marker, color=INK, markersize=4, clip_on=False)


def _axis_label(energies: Energies, width: float, *, reverse: bool) -> str:
    """Return what the x axis of letters says, in lines that fit."""
    said = ["reverse complement"] if reverse else []
    if energies.error is not None:
        said.append("bars: 95% intervals")
        channels = range(len(energies.value))
        if any(_reach(energies.value[i], energies.error[i])[2] for i in channels):
            said.append("arrows: cut")
        if np.isnan(energies.error).any():
            said.append("faint: not identified")
    text = "Position in the motif"
    return wrapped(f"{text} ({'; '.join(said)})" if said else text, width)


def _number(ax: Axes, numbers: Sequence[int], width: float) -> None:
    """Number the positions, all of them or as many as there is room for."""
    shown = thinned(len(numbers), width)
    ax.set_xticks(shown, [str(numbers[i]) for i in shown])
    ax.tick_params(axis="x", length=0)
    ax.spines["bottom"].set_visible(False)


def thinned(n: int, inches: float) -> list[int]:
    """Return which of n positions are numbered, from 0, where there is so much room."""
    fitting = (x for x in (1, 2, 5, 10, 20, 50) if n * _TICK_WIDTH <= x * inches)
    step = next(fitting, 100)
    if step <= 2:
        return list(range(0, n, step))
    return [0, *range(step - 1, n, step)]
