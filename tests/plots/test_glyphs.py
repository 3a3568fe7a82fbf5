"""Outlines of letters fill their boxes exactly."""

import numpy as np
import pytest
from matplotlib.path import Path

from pyprobound.plotting._glyphs import glyphs

BOX = np.array([[2.0, -1.0, 5.0, 3.0]])


def extent(path: Path) -> list[float]:
    """Left, bottom, right and top of the curves, not of their control points."""
    return [float(x) for x in path.get_extents().extents]


@pytest.mark.parametrize("text", [*"ACGTUmMWgy2", "ATG", "", " ", "$", "µ"])
def test_a_letter_fills_its_box(text: str) -> None:
    left, bottom, right, top = extent(glyphs(text, BOX))
    assert (bottom, top) == pytest.approx((-1, 3), abs=1e-9)
    assert left == pytest.approx(7 - right, abs=1e-9)  # in the middle
    assert left >= 2 - 1e-9
    if text not in {"y", "2", "$"}:
        assert left == pytest.approx(2, abs=0.15)


def test_narrow_letters_are_not_stretched_to_the_full_width() -> None:
    left, bottom, right, top = extent(glyphs("I", BOX))
    assert (bottom, top) == pytest.approx((-1, 3))
    assert right - left < 1.2


@pytest.mark.parametrize("text", ["m", "I", "ATG"])
def test_a_marked_letter_has_a_bar_and_the_same_height(text: str) -> None:
    marked, plain = glyphs(text, BOX, is_marked=True), glyphs(text, BOX)
    assert extent(marked)[1::2] == pytest.approx([-1, 3])
    assert len(marked.vertices) == len(plain.vertices) + 5
    assert marked.contains_point((3.5, 2.9))
    gap = [marked.contains_point((x, 2.4)) for x in np.linspace(2, 5, 50)]
    assert not any(gap)


def test_a_box_with_its_bottom_above_its_top_hangs_upside_down() -> None:
    hanging = glyphs("A", BOX[:, [0, 3, 2, 1]])
    upright = glyphs("A", BOX)
    assert extent(hanging) == pytest.approx(extent(upright))
    np.testing.assert_allclose(hanging.vertices[:, 1], 2 - upright.vertices[:, 1])


def test_many_boxes_are_one_path() -> None:
    boxes = np.array([[0.0, 0, 1, 1], [3, 2, 4, 7]])
    path = glyphs("C", boxes)
    single = [glyphs("C", box[None]) for box in boxes]
    np.testing.assert_array_equal(
        path.vertices, np.concatenate([each.vertices for each in single])
    )
    assert len(glyphs("C", np.empty((0, 4))).vertices) == 0
