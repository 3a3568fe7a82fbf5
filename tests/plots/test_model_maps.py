"""Pictures of biases and dimers: artists hold the numbers, pictures look as agreed."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyprobound import Cooperativity, Mode
from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv0d, NonSpecific
from pyprobound.plotting import (
    arrangement_map,
    cooperativity,
    posbias,
    spacing,
    svg,
)
from pyprobound.plotting._arrangements import arrangements_of
from pyprobound.plotting._bias_tables import bias_tables
from pyprobound.plotting._panels import PANEL
from pyprobound.plotting._style import FAINT
from pyprobound.uncertainty import NORMAL_95
from tests.plots.images import assert_looks_like
from tests.plots.models import ALPHABET, LONGEST, KnownErrors, dimer_of, layer_of

SHORTEST = 9


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() == PANEL]


def explained(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def points(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


@pytest.fixture
def dimer() -> Cooperativity:
    made = dimer_of(3, 4, max_overlap=1, max_spacing=4)
    with torch.no_grad():
        made.spacing.log_spacing.mul_(1.5)
    return made


# --- position bias -------------------------------------------------------------------


def test_one_length_is_a_line_for_each_strand() -> None:
    layer = layer_of()
    figure = posbias(layer)
    (ax,) = panels(figure)
    drawn = [points(line) for line in ax.get_lines() if len(points(line)[0]) > 2]
    for line, table in zip(drawn, bias_tables(layer).bias.values(), strict=True):
        np.testing.assert_array_equal(line[0], table.columns)
        np.testing.assert_array_equal(line[1], table.to_numpy()[0])
    assert explained(figure) == ["+ strand", "− strand"]
    assert ax.get_ylabel() == "log bias, mean 0 (ln)"
    assert not ax.get_images()


def test_several_lengths_are_a_heat_map_unless_lines_are_asked_for() -> None:
    layer = layer_of(shortest=SHORTEST)
    tables = bias_tables(layer).bias
    for ax, (name, table) in zip(panels(posbias(layer)), tables.items(), strict=True):
        assert ax.get_title() == name
        shown = np.ma.filled(ax.get_images()[0].get_array(), np.nan)
        np.testing.assert_array_equal(shown, table)
    lines = posbias(layer, "line")
    assert not panels(lines)[0].get_images()
    assert explained(lines) == ["9", "10", "11", "12"]
    assert len(panels(posbias(layer_of(), "heatmap"))) == 2
    with pytest.raises(PyProBoundError, match="mode 'bars' must be"):
        posbias(layer, "bars")  # type: ignore[arg-type]


def test_windows_on_the_flanks_are_marked() -> None:
    # 12 letters, 2 and 3 of them flanks: windows 3 to 7 of 3 letters are clear of them
    (ax,) = panels(posbias(layer_of(), flanks=(2, 3)))
    shaded = sorted(
        (patch.get_extents().transformed(ax.transData.inverted()).intervalx.tolist())
        for patch in ax.patches
        if patch.get_alpha() == 0.15
    )
    np.testing.assert_allclose(shaded, [[0.5, 2.5], [7.5, 10.5]])
    heat = posbias(layer_of(shortest=SHORTEST), flanks=(2, 3))
    left, right = (patch.get_data() for patch in panels(heat)[0].patches)
    assert left.values.tolist() == [1.5] * 4
    assert right.values.tolist() == [3.5, 4.5, 5.5, 6.5]
    everywhere = panels(posbias(layer_of(), flanks=(6, 6)))[0]
    assert sum(patch.get_alpha() == 0.15 for patch in everywhere.patches) == 1


def test_a_bias_that_is_not_there_is_said_not_to_be() -> None:
    layer = Conv0d(NonSpecific(ALPHABET, name="NS"), LONGEST, SHORTEST, LONGEST)
    figure = posbias(Mode([layer]))
    assert figure.get_suptitle() == "position bias of NS (none: 0 everywhere)"
    assert panels(figure)[0].get_xlabel() == "letters per probe"


# --- spacing -------------------------------------------------------------------------


def test_profile_has_every_arrangement_and_its_interval(dimer: Cooperativity) -> None:
    errors = KnownErrors()
    found = arrangements_of(dimer, errors=errors)
    figure = spacing(dimer, errors=errors)
    ax = figure.axes[0]
    low, high = ax.get_ylim()
    drawn = [line for line in ax.get_lines() if len(points(line)[0]) > 5]
    for number, row in enumerate(found.rows):
        known = found.is_possible[number] & ~found.is_unknown[number]
        _, solid, hollow = drawn[3 * number : 3 * number + 3]
        x, y = points(solid)
        assert np.abs(x - found.offsets).max() < 0.2
        np.testing.assert_array_equal(y, np.where(known, row.value, np.nan))
        expected = np.where(found.is_unknown[number], row.value, np.nan)
        np.testing.assert_array_equal(points(hollow)[1], expected)
        assert hollow.get_markerfacecolor() == "none"
        reach = NORMAL_95 * row.error
        segments = [each for lines in ax.collections for each in lines.get_segments()]
        ends = {tuple(each[:, 1].round(6).tolist()) for each in segments if len(each)}
        for place in np.flatnonzero(known & (row.error > 0)):
            interval = row.value[place] + reach[place] * np.array([-1, 1])
            assert tuple(interval.clip(low, high).round(6).tolist()) in ends
    assert explained(figure) == [
        "same strand (++)",
        "opposite strands (+−)",
        "reference",
        "not identified",
        "footprints overlap",
        "excluded (−∞)",
    ]


def test_axes_say_offsets_and_gaps(dimer: Cooperativity) -> None:
    figure = spacing(dimer)
    ax = figure.axes[0]
    assert ax.get_xlabel() == "offset: start of b − start of a, a on +"
    swapped = spacing(dimer, True)
    assert swapped.axes[0].get_xlabel() == "offset: start of a − start of b, b on +"
    found = arrangements_of(dimer)
    gaps = dict(zip(found.offsets, found.gaps or [], strict=True))
    tops = [child for child in ax.child_axes if child.get_xlabel()]
    (top,) = tops
    figure.draw_without_rendering()
    for place, label in zip(top.get_xticks(), top.get_xticklabels(), strict=True):
        assert str(gaps[int(place)]) == label.get_text().replace("−", "-")
    same = spacing(dimer_of(4))
    assert "start of the second − start of the first" in same.axes[0].get_xlabel()
    assert "not identified" not in explained(figure)


def test_nothing_possible_is_said() -> None:
    never = dimer_of(3, 4, max_overlap=-20)
    for draw in (spacing, arrangement_map):
        with pytest.raises(PyProBoundError, match="cannot bind in any arrangement"):
            draw(never)
    tables = panels(cooperativity(never))
    assert len(tables) == 4


def test_cells_of_the_map_have_numbers_and_intervals(dimer: Cooperativity) -> None:
    errors = KnownErrors()
    found = arrangements_of(dimer, errors=errors)
    ax = arrangement_map(dimer, errors=errors).axes[0]
    said = {text.get_text() for text in ax.texts}
    n_numbers = 0
    for number, row in enumerate(found.rows):
        for value, error, unknown in zip(
            row.value, row.error, found.is_unknown[number], strict=True
        ):
            if not np.isfinite(value) or unknown:
                continue
            n_numbers += 1
            text = f"{value:.1f}".replace("-", "−")
            reach = NORMAL_95 * error
            text += f"\n±{reach:.1f}" if error > 0 else ""
            assert text in said
    names = ["a", "b", "b", "a"] * 2
    assert [t.get_text() for t in ax.texts if t.get_text() in "ab"] == names
    assert len(ax.texts) == n_numbers + len(names)


def test_pairs_of_windows_are_a_map_for_each_pair_of_strands() -> None:
    figure = cooperativity(dimer_of(3, 4, score_reverse=False))
    assert [ax.get_title() for ax in panels(figure)] == ["a +, b +", "a −, b −"]
    assert panels(figure)[0].get_ylabel() == "first letter of a"
    assert panels(figure)[1].get_xlabel() == "first letter of b"


def test_pictures_of_a_dimer_are_small(dimer: Cooperativity) -> None:
    for draw in (spacing, arrangement_map, cooperativity):
        text = svg(draw(dimer))
        assert text.startswith("<svg")
        assert len(text) < 150_000
    wide = dimer_of(3, 4, length=60)
    assert len(svg(cooperativity(wide))) < 150_000
    assert FAINT in svg(spacing(dimer))


# --- pictures ------------------------------------------------------------------------


def test_looks(dimer: Cooperativity) -> None:
    errors = KnownErrors()
    pictures = {
        "posbias_line": posbias(layer_of(), errors=errors, flanks=(2, 3)),
        "posbias_heatmap": posbias(
            layer_of(shortest=SHORTEST), errors=errors, flanks=(2, 3)
        ),
        "spacing": spacing(dimer, errors=errors),
        "spacing_homodimer": spacing(dimer_of(4, max_overlap=0), errors=errors),
        "arrangement_map": arrangement_map(dimer, errors=errors),
        "cooperativity": cooperativity(dimer),
    }
    for name, figure in pictures.items():
        assert_looks_like(figure, name)
