"""Maps of the energies of letter pairs.

Each pair of positions has a block of cells, one for each pair of letters: rows are the
letter at the first position, columns that at the second. Blocks of a distance stand in
a row, each below the middle of its two positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from pyprobound.errors import PyProBoundError
from pyprobound.layers import PSAM
from pyprobound.plotting._energies import (
    ENERGY,
    Array,
    Energies,
    check_channel,
    height_of,
    inches,
    letters_of,
    pair_energies,
    positions_of,
    wrapped,
)
from pyprobound.plotting._letters import letter_styles
from pyprobound.plotting._style import DIVERGING, FAINT, settings
from pyprobound.uncertainty import NORMAL_95, ErrorBars

_POINT = 1 / 72  # inches
_SMALL = 6  # points: the size of letters and numbers in the map
_LINE = 7.5 * _POINT
_LEAST_CELL = 5 * _POINT  # of a cell with a letter beside it
_LEAST_BLOCK = 22 * _POINT  # of a block with the numbers of its positions above it
_LEAST_DOTTED = 3 * _POINT  # of a cell with a dot in it
_DOT = "#24292f"  # on colours that are light here, on pages of either theme
_TALLEST = 6.0  # inches: maps of many distances have flat cells

LEFT = 0.75  # inches beside the axes of a figure
_BAR_WIDTH = 2.0  # inches, the least
_BAR = 0.75  # inches for the scale of colours


@dataclass(frozen=True)
class _Grid:
    """Where cells lie, in columns of the letters above and in rows of cells.

    Attributes:
        n_letters: Rows and columns of a block.
        positions: Of the PSAM.
        distances: The largest one.
        cell: Width and height of a cell in inches.
        header: Rows above each row of blocks.
    """

    n_letters: int
    positions: int
    distances: int
    cell: tuple[float, float]
    header: int

    @classmethod
    def within(cls, psam: PSAM, width: float, height: float) -> "_Grid":
        """Lay blocks out in so many inches."""
        n, distances = psam.in_channels, psam.pairwise_distance
        # Half a cell is left free on either side of a block.
        across = width / psam.kernel_size / (n + 1)
        free = _header(across, n)
        down = max(height / distances - free, height / distances / 2) / n
        header = max(1, round(free / down))
        down = height / distances / (n + header)
        return cls(n, psam.kernel_size, distances, (across, down), header)

    @property
    def pitch(self) -> int:
        """Rows from one distance to the next."""
        return self.n_letters + self.header

    @property
    def has_letters(self) -> bool:
        """Whether there is room for letters beside cells."""
        return min(self.cell) >= _LEAST_CELL

    @property
    def has_dots(self) -> bool:
        """Whether there is room for a dot in a cell."""
        return min(self.cell) >= _LEAST_DOTTED

    @property
    def has_numbers(self) -> bool:
        """Whether there is room for the numbers of positions above blocks."""
        return _lines(self.cell[0], self.n_letters) > 0

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Iterate over distances and first positions (from 0)."""
        for distance in range(1, self.distances + 1):
            for first in range(self.positions - distance):
                yield distance, first

    def top(self, distance: int) -> int:
        """Return the row in which the blocks of a distance begin."""
        return (distance - 1) * self.pitch + self.header

    def left(self, distance: int, first: int) -> float:
        """Return where a block begins."""
        return first + distance / 2 - self.n_letters / (self.n_letters + 1) / 2

    def across(self) -> Array:
        """Return the middles of a block's columns, from where it begins."""
        return (np.arange(self.n_letters) + 0.5) / (self.n_letters + 1)


def _lines(cell: float, n_letters: int) -> int:
    """Return how many lines of text fit above a block."""
    if cell * (n_letters + 1) < _LEAST_BLOCK:
        return 0
    return 2 if cell >= _LEAST_CELL else 1


def _header(cell: float, n_letters: int) -> float:
    """Return the inches above a block: text, and something to the row above."""
    return _LINE * (_lines(cell, n_letters) + 0.7)


def map_height(psam: PSAM, width: float) -> float:
    """Return how many inches a map wants, its cells square, if it is so wide."""
    n = psam.in_channels
    cell = width / psam.kernel_size / (n + 1)
    return min(psam.pairwise_distance * (n * cell + _header(cell, n)), _TALLEST)


def below_map(psam: PSAM, energies: list[Energies], width: float) -> float:
    """Return the inches that a map so wide needs for words and its colours."""
    grid = _Grid.within(psam, width, map_height(psam, width))
    return _BAR + height_of(_axis_label(psam, grid, energies, width))


def all_pairs(
    psam: PSAM, *, reverse: bool, fix_gauge: bool, errors: ErrorBars | None
) -> list[Energies]:
    """Return the energies of pairs by distance, from 1."""
    return [
        pair_energies(
            psam, distance, reverse=reverse, fix_gauge=fix_gauge, errors=errors
        )
        for distance in range(1, psam.pairwise_distance + 1)
    ]


def pairwise_plotter(
    ax: Axes,
    psam: PSAM,
    reverse: bool = False,
    *,
    fix_gauge: bool = True,
    channel: int = 0,
    errors: ErrorBars | None = None,
    vmax: float | None = None,
    **kwargs: Any,  # noqa: ANN401 what matplotlib takes
) -> AxesImage:
    """Draw a map of the energies of letter pairs into axes.

    The axes have the positions of a logo of the same width: a block stands below the
    middle of its two positions, those of the same distance in a row. Rows of a block
    are the letter at its left position, columns that at its right one.

    Args:
        ax: The axes.
        psam: The PSAM, which stays as it is.
        reverse: Whether to draw the reverse complement; positions keep their numbers.
        fix_gauge: Whether pairs have lost their single-letter content.
        channel: Which forward channel.
        errors: Where standard errors come from. Cells that the data do not identify
            are grey; those whose 95% interval holds 0 have a dot.
        vmax: The energy at the ends of the colours; by default the largest one.
        **kwargs: Properties of the image, as `Axes.imshow` takes them.

    Returns:
        The image, whose colours go from −vmax to vmax.

    Raises:
        PyProBoundError: The PSAM has no pairs or no such channel, energies are not
            finite, or there is no reverse complement.
    """
    check_channel(psam, channel)
    if psam.pairwise_distance == 0:
        msg = f"{psam} has no letter pairs (pairwise_distance 0): there is no map"
        raise PyProBoundError(msg)
    energies = all_pairs(psam, reverse=reverse, fix_gauge=fix_gauge, errors=errors)
    with settings():
        grid = _Grid.within(psam, *inches(ax))
        shown = {} if vmax is None else {"vmin": -vmax, "vmax": vmax}
        return _draw(ax, psam, energies, channel, grid, reverse, shown | kwargs)


def add_map(
    ax: Axes,
    psam: PSAM,
    energies: list[Energies],
    channel: int,
    size: tuple[float, float],
    *,
    reverse: bool,
) -> None:
    """Draw a map and the scale of its colours; call it under `settings`.

    Args:
        ax: The axes.
        psam: The PSAM.
        energies: Of its pairs, by distance.
        channel: Which forward channel.
        size: Width and height that the axes will have, in inches.
        reverse: Whether it is the reverse complement.
    """
    grid = _Grid.within(psam, *size)
    image = _draw(ax, psam, energies, channel, grid, reverse, {})
    bar = ax.figure.colorbar(
        image,
        ax=ax,
        location="bottom",
        shrink=min(1, max(0.4, _BAR_WIDTH / size[0])),
        aspect=25,
        ticks=MaxNLocator(5),
    )
    bar.set_label(f"{ENERGY} of the pair")


def _draw(
    ax: Axes,
    psam: PSAM,
    energies: list[Energies],
    channel: int,
    grid: _Grid,
    reverse: bool,
    properties: dict[str, Any],
) -> AxesImage:
    largest = max(np.abs(each.value).max() for each in energies) or 1.0
    pixels = _pixels(grid, [each.value for each in energies], channel)
    colours = {"cmap": DIVERGING, "vmin": -largest, "vmax": largest} | properties
    image = _show(ax, grid, pixels, colours)
    if energies[0].error is not None:
        _mark(ax, grid, energies, channel)
    _frame(ax, grid)
    _write_beside(ax, grid, psam, positions_of(psam, reverse=reverse))
    _label(ax, grid)
    width = grid.cell[0] * (grid.n_letters + 1) * grid.positions
    ax.set_xlabel(_axis_label(psam, grid, energies, width))
    return image


def _show(
    ax: Axes, grid: _Grid, pixels: Array, properties: dict[str, Any]
) -> AxesImage:
    extent = (-0.5, grid.positions - 0.5, grid.distances * grid.pitch, 0)
    fixed = {"aspect": "auto", "interpolation": "nearest", "extent": extent}
    return ax.imshow(pixels, **(fixed | properties))


def _pixels(grid: _Grid, values: list[Array], channel: int) -> Array:
    """Return a picture: two columns for each cell, so that blocks may begin at half.

    Args:
        grid: Where cells lie.
        values: By distance, (channels, letters, letters, positions − distance).
        channel: Which one.

    Returns:
        (rows, columns), NaN between blocks.
    """
    n, pitch = grid.n_letters, grid.pitch
    pixels = np.full((grid.distances * pitch, grid.positions * 2 * (n + 1)), np.nan)
    for distance, first in grid.blocks():
        left = (2 * first + distance) * (n + 1) + 1
        rows = slice(grid.top(distance), grid.top(distance) + n)
        block = values[distance - 1][channel, :, :, first]
        pixels[rows, left : left + 2 * n] = block.repeat(2, axis=1)
    return pixels


def _frame(ax: Axes, grid: _Grid) -> None:
    """Draw the edges of all blocks, empty ones too."""
    width = grid.n_letters / (grid.n_letters + 1)
    corners = np.array([(0, 0), (width, 0), (width, 1), (0, 1)]) * [1, grid.n_letters]
    edges = [
        corners + np.array([grid.left(distance, first), grid.top(distance)])
        for distance, first in grid.blocks()
    ]
    ax.add_collection(
        PolyCollection(
            edges, facecolors="none", edgecolors=FAINT, linewidths=0.5, clip_on=False
        ),
        autolim=False,
    )


def _write_beside(ax: Axes, grid: _Grid, psam: PSAM, numbers: list[int]) -> None:
    """Write letters beside the first block of a row, positions above all blocks."""
    styles = letter_styles(letters_of(psam), psam.alphabet)
    line = _LINE / _POINT * grid.has_letters
    for distance, first in grid.blocks():
        left, top = grid.left(distance, first), grid.top(distance)
        if grid.has_numbers:
            pair = f"{numbers[first]}·{numbers[first + distance]}"
            _write(ax, pair, (first + distance / 2, top), (0, 1 + line))
        if first or not grid.has_letters:
            continue
        for i, (letter, style) in enumerate(styles.items()):
            look = {"color": style.colour, "weight": "bold"}
            _write(ax, letter, (left + grid.across()[i], top), (0, 1), **look)
            look |= {"ha": "right", "va": "center"}
            _write(ax, letter, (left, top + i + 0.5), (-2, 0), **look)


def _write(
    ax: Axes,
    text: str,
    place: tuple[float, float],
    offset: tuple[float, float],
    **properties: str,
) -> None:
    """Write small text so many points from a place."""
    shown: dict[str, Any] = {
        "fontsize": _SMALL,
        "ha": "center",
        "va": "bottom",
    } | properties
    ax.annotate(
        text, place, offset, textcoords="offset points", annotation_clip=False, **shown
    )


def _mark(ax: Axes, grid: _Grid, energies: list[Energies], channel: int) -> None:
    """Mark cells that are not identified, and those that may be 0."""
    errors = [each.error for each in energies if each.error is not None]
    unknown = [np.where(np.isnan(error), 1.0, np.nan) for error in errors]
    if np.isfinite(np.concatenate(unknown, -1)[channel]).any():
        pixels = _pixels(grid, unknown, channel)
        _show(ax, grid, pixels, {"cmap": ListedColormap([FAINT])})
    if not grid.has_dots:
        return
    dots = []
    for distance, first in grid.blocks():
        value = energies[distance - 1].value[channel, :, :, first]
        arm = NORMAL_95 * errors[distance - 1][channel, :, :, first]
        rows, columns = np.nonzero((np.abs(value) <= arm) & (arm > 0))
        x = grid.left(distance, first) + grid.across()[columns]
        dots.append(np.stack([x, grid.top(distance) + rows + 0.5], 1))
    places = np.concatenate(dots)
    ax.plot(*places.T, ".", color=_DOT, markersize=1.8, markeredgewidth=0)


def _label(ax: Axes, grid: _Grid) -> None:
    middle = grid.n_letters / 2
    distances = range(1, grid.distances + 1)
    shown = [x for x in distances if grid.distances <= 12 or x % 5 == 0]
    ax.set_yticks([grid.top(x) + middle for x in shown], list(map(str, shown)))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("Distance")


def _axis_label(psam: PSAM, grid: _Grid, energies: list[Energies], width: float) -> str:
    """Return what the x axis of a map says, in lines that fit."""
    text = "Rows: letter at the left position; columns: at the right one"
    if not grid.has_letters:
        letters = letters_of(psam)
        space = "" if max(map(len, letters)) == 1 else " "
        text += f"; from {space.join(letters)}"
    errors = [each.error for each in energies if each.error is not None]
    said = ["dot: the 95% interval holds 0"] if errors and grid.has_dots else []
    if any(np.isnan(error).any() for error in errors):
        said.append("grey: not identified")
    return wrapped("\n".join(filter(None, [text, "; ".join(said)])), width)
