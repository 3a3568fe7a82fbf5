"""Pictures compared with committed ones: changes count, anti-aliasing does not.

    from tests.plots.images import assert_looks_like
    assert_looks_like(figure, "bcd_logo")

compares with `reference/bcd_logo.png`. Where a change is meant, look at the new
picture, then renew the references that differ:

    PYPROBOUND_RENEW_PICTURES=1 pytest tests/plots
"""

import io
import os
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pyprobound.plotting._style import settings

REFERENCES = Path(__file__).parent / "reference"
RENEW = "PYPROBOUND_RENEW_PICTURES"
DPI = 100  # of a figure 5 by 3 inches: 500 by 300 points, about 10 kB
# Drawn larger and averaged, without hinting: outlines and lengths of texts then hardly
# depend on the version of FreeType.
ENLARGED = 4
HINTING = "none"

# What is left of such differences moves outlines by less than a point and spreads
# their ink. So both pictures are blurred; then each point must lie between the darkest
# and the brightest point around it in the other picture, colour by colour, give or take
# SLACK. What is outside is summed over small squares: a lone point is chance, a stroke
# of a letter is not. Between matplotlib 3.9 (FreeType 2.6) and 3.11 (2.14) the same
# bars, curves, maps and texts differ by at most 0.14; a 3 for a 2 in the label of a
# tick, the smallest change that was tried, by 0.54; a move by two points by 10.
BLUR = 1.0
REACH = 1
SLACK = 0.05
SQUARE = 5
ALLOWED = 0.3

Pixels = NDArray[np.float64]  # (height, width, 3), 0 to 1


def assert_looks_like(figure: Figure, name: str, left: Path | None = None) -> None:
    """Check that a figure looks like `reference/NAME.png`.

    Args:
        figure: What was drawn; it is rendered with the settings of the package.
        name: The name of the reference, without ".png".
        left: Folder for the new, the old and the difference picture where they differ;
            by default a new temporary one.
    """
    reference = REFERENCES / f"{name}.png"
    new = rendered(figure)
    problem = compared(new, reference)
    if problem is None:
        return
    if os.environ.get(RENEW):
        write_picture(reference, new)
        return
    where = left or Path(tempfile.mkdtemp(prefix="pyprobound-pictures-"))
    write_picture(where / f"{name}.new.png", new)
    if reference.exists():
        old = read_picture(reference)
        write_picture(where / f"{name}.old.png", old)
        if old.shape == new.shape:
            excess = outside(new, old)
            write_picture(where / f"{name}.difference.png", 1 - np.minimum(1, excess))
    raise AssertionError(
        f"{name}: {problem}. Look at {where}/{name}.*.png; if the change is meant,"
        f" {RENEW}=1 pytest tests/plots renews the reference."
    )


def compared(new: Pixels, reference: Path) -> str | None:
    """Say what differs, or None where nothing does."""
    if not reference.exists():
        return f"there is no {reference.name} in {reference.parent} yet"
    old = read_picture(reference)
    if old.shape != new.shape:
        return (
            f"the picture has {new.shape[1]} by {new.shape[0]} points,"
            f" {old.shape[1]} by {old.shape[0]} before"
        )
    found, x, y = largest_difference(new, old)
    if found <= ALLOWED:
        return None
    return (
        f"the picture differs most around x={x}, y={y} (from the top left):"
        f" {found:.2f}, allowed are {ALLOWED}"
    )


def largest_difference(a: Pixels, b: Pixels) -> tuple[float, int, int]:
    """Return the largest difference over small squares, and the square's x and y."""
    excess = np.maximum(0, outside(a, b) - SLACK).sum(2)
    sums = _moving_sum(_moving_sum(excess, 0), 1)
    y, x = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[y, x]), int(x) + SQUARE // 2, int(y) + SQUARE // 2


def outside(a: Pixels, b: Pixels) -> Pixels:
    """Return how far points of either picture are from what is near in the other."""
    a, b = _blurred(a), _blurred(b)
    return np.maximum(_beyond(a, b), _beyond(b, a))


def rendered(figure: Figure) -> Pixels:
    """Draw a figure, on white."""
    drawn = io.BytesIO()
    with settings():
        mpl.rcParams["text.hinting"] = HINTING
        figure.savefig(
            drawn,
            format="png",
            dpi=ENLARGED * DPI,
            facecolor="white",
            pil_kwargs={"compress_level": 0},  # quick
        )
    with Image.open(drawn) as picture:
        return _pixels(picture.convert("RGB").reduce(ENLARGED))


def read_picture(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return _pixels(picture)


def write_picture(path: Path, pixels: Pixels) -> None:
    """Write a picture, in 256 colours where that makes no difference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.rint(255 * pixels).astype(np.uint8))
    smaller = picture.quantize(
        256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    if largest_difference(_pixels(smaller), pixels)[0] < ALLOWED / 10:
        picture = smaller
    picture.save(path, optimize=True)


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def _blurred(pixels: Pixels) -> Pixels:
    reach = 3
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * BLUR**2))
    weights /= weights.sum()
    for axis in (0, 1):
        shifted = _shifted(pixels, axis, reach)
        pixels = sum(w * each for w, each in zip(weights, shifted, strict=True))
    return pixels


def _beyond(a: Pixels, b: Pixels) -> Pixels:
    """Return by how much each point of `a` leaves the range of `b` around it."""
    low = high = b
    for axis in (0, 1):
        low = np.minimum.reduce(_shifted(low, axis, REACH))
        high = np.maximum.reduce(_shifted(high, axis, REACH))
    return np.maximum(0, np.maximum(a - high, low - a))


def _shifted(pixels: Pixels, axis: int, reach: int) -> list[Pixels]:
    """Return the picture shifted by −reach to reach, the edge repeated."""
    pixels = np.moveaxis(pixels, axis, 0)
    padded = np.pad(pixels, ((reach, reach), (0, 0), (0, 0)), mode="edge")
    shifts = range(2 * reach + 1)
    return [np.moveaxis(padded[i : i + len(pixels)], 0, axis) for i in shifts]


def _moving_sum(values: Pixels, axis: int) -> Pixels:
    windows = np.lib.stride_tricks.sliding_window_view(values, SQUARE, axis)
    return windows.sum(-1)
