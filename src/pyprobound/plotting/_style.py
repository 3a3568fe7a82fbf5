"""What all pictures share: how a figure is made, its colours, its axes.

Figures are made without pyplot: nothing global changes, nothing needs a display, and a
figure that nobody holds any more is gone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2328"
"""Lines of axes, text, error bars; the report shows it in the reader's own colour."""
FAINT = "#8b949e"
"""What helps the eye and says nothing: lines at zero, grids, guides."""

# Okabe and Ito's colours, which readers of any colour vision tell apart, without the
# yellow, which is lost on white.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"

# Looked up when something is drawn or saved, so that a figure looks the same whatever
# the reader's own settings are; never set for longer than that.
_SETTINGS: dict[Any, object] = {  # newer versions of matplotlib list every key
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "savefig.bbox": None,
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, small
    "svg.hashsalt": "pyprobound",  # the same picture gives the same file
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


@contextmanager
def settings() -> Iterator[None]:
    """Draw, or save, with the settings of this package."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    ratios: Sequence[float] | None = None,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Make a figure and its axes, row by row. Call it, and draw, under `settings`.

    Args:
        width: In inches.
        height: In inches.
        rows: Rows of axes.
        columns: Columns of axes.
        ratios: Relative heights of the rows.
        share_x: Whether all axes have the same x.
        share_y: Whether all axes have the same y.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharex=share_x,
        sharey=share_y,
        height_ratios=ratios,
    )
    return figure, list(grid.flat)


def series(n: int) -> list[str]:
    """Return the colours of `n` lines or groups of points."""
    return list(islice(cycle(SERIES), n))
