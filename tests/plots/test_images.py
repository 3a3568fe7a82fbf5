"""The comparison of pictures itself: what it catches, and what it lets pass."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyprobound.plotting._style import (
    DIVERGING,
    FAINT,
    INK,
    new_figure,
    series,
    settings,
)
from tests.plots import images
from tests.plots.images import ALLOWED, assert_looks_like, largest_difference, rendered

HEIGHTS = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
BLUE, ORANGE, GREEN, PINK, YELLOW, _ = series(6)


def drawn(
    *,
    heights: np.ndarray = HEIGHTS,
    label: str = "Position bias (log)",
    title: str = "Bcd",
    ticks: str = "GGGAT",
    bar: str = BLUE,
    line: str = ORANGE,
    line_width: float = 1.5,
    step: float = 0,
) -> Figure:
    """Bars with errors, curves, points, a legend and a map, with some of all texts."""
    places = np.arange(5)
    with settings():
        figure, (left, right, below, bias) = new_figure(5, 3.6, 2, 2)
        left.bar(places, heights, color=bar, yerr=HEIGHTS / 10, ecolor=INK)
        left.set_title(title)
        left.set_ylabel(label)
        left.set_xticks(places, list(ticks))
        right.plot(places, HEIGHTS**1.5, color=line, lw=line_width, label="mode 1")
        right.plot(places, HEIGHTS[::-1], color=GREEN, label="mode 2")
        right.scatter(places + step, HEIGHTS, s=12, color=PINK)
        right.axhline(0, color=FAINT, lw=0.8)
        right.set_xlabel("−ΔΔG/RT")
        right.legend()
        values = np.sin(np.arange(40.0)).reshape(2, 20)
        colours = below.pcolormesh(values, cmap=DIVERGING, vmin=-2, vmax=2)
        figure.colorbar(colours, ax=below, label="log ω")
        bias.step(places, HEIGHTS, color=INK)
        bias.set_xlabel("Start of the window")
    return figure


@pytest.fixture(scope="module")
def unchanged() -> images.Pixels:
    return rendered(drawn())


def moved(points: float) -> np.ndarray:
    """Return the heights, the third one taller by so many points of the picture."""
    with settings():
        figure = drawn()
        figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    tall = axes.get_window_extent().height * images.DPI / figure.dpi
    return HEIGHTS + np.array([0, 0, 1, 0, 0]) * points * (high - low) / tall


CHANGES: dict[str, Callable[[], Figure]] = {
    "a bar by two points": lambda: drawn(heights=moved(2)),
    "a point by two": lambda: drawn(step=0.08),
    "a letter of a label": lambda: drawn(label="Position bias (lag)"),
    "a digit for a letter": lambda: drawn(label="Position bias (1og)"),
    "a missing label": lambda: drawn(label=""),
    "a letter of a title": lambda: drawn(title="Bed"),
    "two ticks swapped": lambda: drawn(ticks="GGGTA"),
    "the letter of a tick": lambda: drawn(ticks="CGGAT"),
    "the colour of bars": lambda: drawn(bar=series(6)[5]),
    "the colour of a line": lambda: drawn(line=YELLOW),
    "a thicker line": lambda: drawn(line_width=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_a_reader_sees_are_caught(
    change: str, unchanged: images.Pixels
) -> None:
    found, _, _ = largest_difference(rendered(CHANGES[change]()), unchanged)
    assert found > 2 * ALLOWED


def test_the_place_of_a_change_is_told(unchanged: images.Pixels) -> None:
    changed = unchanged.copy()
    changed[40:60, 100:120] = (1, 0, 0)
    _, x, y = largest_difference(changed, unchanged)
    assert 97 <= x <= 122
    assert 37 <= y <= 62


@pytest.mark.parametrize("hinting", ["no_autohint", "force_autohint"])
def test_hinting_makes_no_difference(
    hinting: str, unchanged: images.Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "HINTING", hinting)
    hinted = rendered(drawn())
    assert np.any(hinted != unchanged)
    assert largest_difference(hinted, unchanged)[0] <= ALLOWED


@pytest.mark.parametrize("axis", [0, 1])
def test_a_shift_by_one_point_passes_and_by_two_does_not(
    axis: int, unchanged: images.Pixels
) -> None:
    found = [
        largest_difference(np.roll(unchanged, by, axis), unchanged)[0] for by in (1, 2)
    ]
    assert found[0] <= ALLOWED < found[1]


def test_noise_of_anti_aliasing_passes(unchanged: images.Pixels) -> None:
    noise = np.random.default_rng(0).normal(scale=0.03, size=unchanged.shape)
    assert largest_difference(unchanged + noise, unchanged)[0] <= ALLOWED


def line(colour: str = BLUE) -> Figure:
    with settings():
        figure, (axes,) = new_figure(1.5, 1)
        axes.plot([0, 1], [0, 1], color=colour)
    return figure


def test_a_difference_leaves_pictures_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(images.RENEW, raising=False)
    monkeypatch.setattr(images, "REFERENCES", tmp_path / "reference")
    images.write_picture(tmp_path / "reference" / "line.png", rendered(line()))
    assert_looks_like(line(), "line", tmp_path)
    told = r"line: the picture differs most around x=\d+, y=\d+ .*PICTURES=1"
    with pytest.raises(AssertionError, match=told) as error:
        assert_looks_like(line(GREEN), "line", tmp_path)
    assert str(tmp_path) in str(error.value)
    left = {path.name for path in tmp_path.glob("*.png")}
    assert left == {"line.new.png", "line.old.png", "line.difference.png"}
    difference = images.read_picture(tmp_path / "line.difference.png")
    assert difference.min() < 0.9


def test_a_missing_reference_and_another_size_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(images.RENEW, raising=False)
    monkeypatch.setattr(images, "REFERENCES", tmp_path)
    with pytest.raises(AssertionError, match=r"there is no line\.png"):
        assert_looks_like(line(), "line", tmp_path)
    images.write_picture(tmp_path / "line.png", np.ones((300, 200, 3)))
    with pytest.raises(AssertionError, match="150 by 100 points, 200 by 300 before"):
        assert_looks_like(line(), "line", tmp_path)


def test_renewing_replaces_what_differs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(images.RENEW, "1")
    monkeypatch.setattr(images, "REFERENCES", tmp_path)
    reference = tmp_path / "line.png"
    assert_looks_like(line(), "line")
    first = reference.read_bytes()
    reference.write_bytes(first + b"\0")  # still the same picture
    assert_looks_like(line(), "line")
    assert reference.read_bytes() == first + b"\0"
    assert_looks_like(line(GREEN), "line")
    monkeypatch.delenv(images.RENEW)
    assert_looks_like(line(GREEN), "line")
    with pytest.raises(AssertionError, match="differs"):
        assert_looks_like(line(), "line", tmp_path)


def test_references_are_small_and_belong_to_a_test() -> None:
    folder = Path(__file__).parents[1]
    tests = "".join(path.read_text() for path in folder.rglob("*.py"))
    for path in images.REFERENCES.glob("*.png"):
        assert path.stat().st_size < 25_000, f"{path}: draw a smaller figure"
        # the name may be made of two: f"agreement_{what}"
        parts = path.stem, *path.stem.split("_", 1)
        known = [re.search(rf"(?<![a-z]){re.escape(x)}(?![a-z])", tests) for x in parts]
        assert known[0] or all(known[1:]), f"{path}: of no test"
