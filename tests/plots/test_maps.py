"""Heat maps and lines: what they draw is what the tables say, and can be read."""

from collections.abc import Callable
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from pyprobound.errors import PyProBoundError
from pyprobound.plotting import heatmap_plotter, line_plotter, plot_ticks
from pyprobound.plotting._lines import limits_of
from pyprobound.plotting._panels import PANEL
from pyprobound.plotting._style import new_figure, settings
from pyprobound.plotting._ticks import round_factors
from pyprobound.uncertainty import NORMAL_95

NAN, LOW = float("nan"), float("-inf")


def table(*rows: list[float], index: str | None = None, first: int = 1) -> pd.DataFrame:
    """Return a table of windows from `first` on."""
    columns = pd.RangeIndex(first, first + len(rows[0]), name="window")
    names = pd.RangeIndex(10, 10 + len(rows), name=index)
    return pd.DataFrame(list(rows), names, columns)


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() == PANEL]


# --- ticks ---------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("n", [1, 5, 23, 140])
@pytest.mark.parametrize("size", [1.2, 3.0, 6.0])
def test_labels_of_ticks_do_not_touch(axis: str, n: int, size: float) -> None:
    with settings():
        figure, (ax,) = new_figure(size, size)
        ax.set_xlim(-0.5, n - 0.5)
        ax.set_ylim(-0.5, n - 0.5)
        labels = [str(place - 3) for place in range(n)]
        assert plot_ticks(ax, labels, axis) is ax  # type: ignore[arg-type]
        figure.draw_without_rendering()
        which = ax.xaxis if axis == "x" else ax.yaxis
        boxes = [label.get_window_extent() for label in which.get_ticklabels()]
    assert boxes
    for one, next_one in pairwise(boxes):
        assert not one.overlaps(next_one)


def test_round_numbers_are_kept() -> None:
    with settings():
        _, (ax,) = new_figure(3, 2)
        plot_ticks(ax, [str(place) for place in range(7, 107)], "x")
    texts = [label.get_text() for label in ax.get_xticklabels()]
    assert texts == ["20", "40", "60", "80", "100"]
    assert list(ax.get_xticks()) == [13, 33, 53, 73, 93]


def test_words_are_kept_at_equal_distances() -> None:
    with settings():
        _, (ax,) = new_figure(2, 2)
        plot_ticks(ax, ["window"] * 9, "x")
        assert len(set(np.diff(ax.get_xticks()))) == 1
        with pytest.raises(PyProBoundError, match="axis 'z'"):
            plot_ticks(ax, ["a"], "z")  # type: ignore[arg-type]


# --- lines ---------------------------------------------------------------------------


def test_lines_are_the_rows() -> None:
    frames = {
        "one": table([1.0, 2, LOW, 4], [0.5, NAN, 1, 0]),
        "two": table([3.0, 1, 2, 1]),
    }
    figure = line_plotter(frames, "both", unit="log bias")
    first, second = panels(figure)
    assert figure.get_suptitle() == "both"
    assert [ax.get_title() for ax in (first, second)] == ["one", "two"]
    assert [ax.get_xlabel() for ax in (first, second)] == ["", "window"]
    assert {ax.get_ylabel() for ax in (first, second)} == {"log bias"}
    assert first.get_ylim() == second.get_ylim()
    drawn = [line for line in first.get_lines() if len(line.get_xdata()) == 4]
    np.testing.assert_array_equal(drawn[0].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(drawn[0].get_ydata(), [1, 2, NAN, 4])
    np.testing.assert_array_equal(drawn[1].get_ydata(), [0.5, NAN, 1, 0])
    assert drawn[0].get_color() != drawn[1].get_color()


def test_a_point_without_neighbours_has_a_bar() -> None:
    frames, errors = {"": table([1.0, NAN, 3, 4])}, {"": table([0.1, NAN, 0.2, 0.2])}
    (ax,) = panels(line_plotter(frames, errors=errors))
    (bars,) = [x for x in ax.collections if isinstance(x, LineCollection)]
    (bar,) = bars.get_segments()
    reach = NORMAL_95 * 0.1
    np.testing.assert_allclose(bar, [[1, 1 - reach], [1, 1 + reach]])


def test_bands_are_95_per_cent_and_what_is_unknown_is_hollow() -> None:
    frames, errors = {"": table([1.0, 2, 3, 4])}, {"": table([0.1, 0.2, NAN, 0.2])}
    figure = line_plotter(frames, errors=errors)
    (ax,) = panels(figure)
    (band,) = [x for x in ax.collections if isinstance(x, PolyCollection)]
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    for place, value, error in ((1, 1, 0.1), (2, 2, 0.2), (4, 4, 0.2)):
        found = corners[corners[:, 0] == place, 1]
        assert found.min() == pytest.approx(value - NORMAL_95 * error)
        assert found.max() == pytest.approx(value + NORMAL_95 * error)
    assert not (corners[:, 0] == 3).any()
    hollow = [x for x in ax.get_lines() if x.get_markerfacecolor() == "none"]
    assert next(iter(hollow)).get_ydata()[2] == 3
    (legend,) = figure.legends
    assert "not identified" in {text.get_text() for text in legend.get_texts()}


def test_many_rows_have_a_colour_bar() -> None:
    rows = [[float(i), i + 1.0] for i in range(9)]
    figure = line_plotter({"": table(*rows, index="letters per probe")})
    assert not figure.legends
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bar.get_ylabel() == "letters per probe"
    colours = {str(line.get_color()) for line in panels(figure)[0].get_lines()[1:]}
    assert len(colours) == 9


def test_limits_hold_numbers_and_what_is_known_of_them() -> None:
    values, reaches = np.array([-1.0, 1, NAN, LOW]), np.array([0.2, 30, 5, 5])
    low, high = limits_of(values, reaches)
    assert low < -1.2
    assert 1.5 < high < 3
    assert limits_of(np.array([NAN]), np.array([0.0])) == (-1, 1)


@pytest.mark.parametrize(
    "span", [(-0.3, 0.9), (-8.0, 2.0), (-0.01, 0.01), (-60.0, 5.0), (-900.0, 1.0)]
)
def test_factors_are_round_and_few(span: tuple[float, float]) -> None:
    factors = round_factors(*span)
    assert 1 <= len(factors) <= 7
    assert factors[0] == "×1"
    for log, text in factors.items():
        assert span[0] <= log <= span[1]
        number = text.strip("×$").replace("10^{", "1e").strip("}")
        if "·" not in number and log > -300:
            assert float(number) == pytest.approx(np.exp(log))


# --- heat maps -----------------------------------------------------------------------


def test_cells_are_the_numbers() -> None:
    frames = {
        "one": table([1.0, LOW, 3], [NAN, -2, 0], index="letters per probe"),
        "two": table([0.0, 0.1, 0.2], [0, 0, 0], index="letters per probe"),
    }
    figure = heatmap_plotter(frames, "both", unit="log bias")
    images = [ax.get_images()[0] for ax in panels(figure)]
    np.testing.assert_array_equal(
        np.ma.filled(images[0].get_array(), NAN), [[1, NAN, 3], [NAN, -2, 0]]
    )
    assert {image.get_clim() for image in images} == {(-3, 3)}
    assert [ax.get_ylabel() for ax in panels(figure)] == ["letters per probe", ""]
    (hatched,) = [x for x in panels(figure)[0].patches if isinstance(x, PathPatch)]
    corners = hatched.get_path().vertices
    assert corners.min(0).tolist() == [0.5, -0.5]
    assert corners.max(0).tolist() == [1.5, 0.5]
    assert not [x for x in panels(figure)[1].patches if isinstance(x, PathPatch)]
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bar.get_ylabel() == "log bias"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["excluded (−∞)"]


def test_what_is_unknown_has_no_colour() -> None:
    frames, errors = {"": table([1.0, 9, LOW, -2])}, {"": table([0.1, NAN, NAN, 0.2])}
    figure = heatmap_plotter(frames, errors=errors)
    (image,) = panels(figure)[0].get_images()
    shown = image.get_array()
    assert np.ma.getmaskarray(shown).tolist() == [[False, True, True, False]]
    assert image.get_clim() == (-2, 2)
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["excluded (−∞)", "not identified"]


def test_a_few_far_numbers_do_not_take_all_colours() -> None:
    numbers = np.sin(np.arange(100.0))
    numbers[7] = 40
    figure = heatmap_plotter({"": table(list(numbers))})
    (image,) = panels(figure)[0].get_images()
    low, high = image.get_clim()
    assert low == -high
    assert high < 1.1
    bar = figure.axes[-1]
    assert bar.get_ylim() == (low, high)


def test_sequential_colours_run_from_the_least_to_the_most() -> None:
    frames = {"a": table([-4.0, -1]), "b": table([-3.0, LOW])}
    figure = heatmap_plotter(frames, colours="sequential")
    assert {ax.get_images()[0].get_clim() for ax in panels(figure)} == {(-4, -1)}
    with pytest.raises(PyProBoundError, match="colours 'warm'"):
        heatmap_plotter(frames, colours="warm")  # type: ignore[arg-type]


@pytest.mark.parametrize("draw", [line_plotter, heatmap_plotter])
def test_nothing_to_draw_is_said(draw: Callable[..., Figure]) -> None:
    with pytest.raises(PyProBoundError, match="there is no table"):
        draw({})
    with pytest.raises(PyProBoundError, match=r"'x' \(0 × 3\) has no cells"):
        draw({"x": pd.DataFrame(columns=range(3))})
    empty = draw({"": table([NAN, NAN])})
    assert len(panels(empty)) == 1


@pytest.mark.parametrize("draw", [line_plotter, heatmap_plotter])
def test_nothing_global_changes(draw: Callable[..., Figure]) -> None:
    before = dict(mpl.rcParams)
    draw({"": table([1.0, 2])})
    assert dict(mpl.rcParams) == before


def test_three_panels_all_have_an_axis_below() -> None:
    frame = table([1.0, 2], [2.0, 1], [3.0, 2])
    figure = heatmap_plotter(dict.fromkeys("abc", frame))
    assert [ax.get_xlabel() for ax in panels(figure)] == ["", "window", "window"]
