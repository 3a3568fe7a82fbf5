"""Maps of letter pairs: each cell has its energy, below the middle of its positions."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pyprobound import plotting
from pyprobound.alphabets import Protein
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._style import FAINT, new_figure, settings
from tests.plots.images import assert_looks_like
from tests.plots.psams import Independent, random_psam


def axes(width: float = 8, height: float = 3) -> Axes:
    return new_figure(width, height)[1][0]


def shown_at(image: AxesImage, x: float, y: float) -> float:
    """Return what a picture shows at a place of its axes; NaN for nothing."""
    left, right, bottom, top = image.get_extent()
    values = np.ma.filled(image.get_array().astype(float), np.nan)
    rows, columns = values.shape
    column = int((x - left) / (right - left) * columns)
    row = int((y - top) / (bottom - top) * rows)
    return float(values[row, column])


def corners(ax: Axes) -> list[tuple[float, float, float, float]]:
    """Return left, right, top and bottom of the frame of every block."""
    (frames,) = (each for each in ax.collections if isinstance(each, PolyCollection))
    found = []
    for path in frames.get_paths():
        (left, top), (right, bottom) = path.vertices.min(0), path.vertices.max(0)
        found.append((left, right, top, bottom))
    return found


@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.parametrize("distances", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_each_cell_has_the_energy_of_its_pair(
    size: int, distances: int, reverse: bool
) -> None:
    psam = random_psam(size, pairs=distances)
    image = plotting.pairwise_plotter(axes(), psam, reverse, fix_gauge=False)
    blocks = iter(corners(image.axes))
    for distance in range(1, distances + 1):
        for first in range(size - distance):
            left, right, top, bottom = next(blocks)
            assert (left + right) / 2 == pytest.approx(first + distance / 2)
            for i in range(4):
                for j in range(4):
                    x = left + (j + 0.5) / 4 * (right - left)
                    y = top + (i + 0.5) / 4 * (bottom - top)
                    a, b, p, q = i, j, first, first + distance
                    if reverse:  # complement of the second letter comes first
                        a, b, p, q = 3 - j, 3 - i, size - 1 - q, size - 1 - p
                    expected = psam.betas[f"{p + 1}-{q + 1}-{4 * a + b}"].item()
                    assert shown_at(image, x, y) == pytest.approx(expected)
            # nothing is shown between blocks
            assert np.isnan(shown_at(image, right + 0.05, (top + bottom) / 2))
    assert next(blocks, None) is None


def test_pairs_have_lost_their_single_letter_content() -> None:
    psam = random_psam(5, pairs=2)
    image = plotting.pairwise_plotter(axes(), psam)
    left, right, top, bottom = corners(image.axes)[0]
    places = (np.arange(4) + 0.5) / 4
    block = np.array(
        [
            [
                shown_at(image, left + x * (right - left), top + y * (bottom - top))
                for x in places
            ]
            for y in places
        ]
    )
    np.testing.assert_allclose(block.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(block.mean(1), 0, atol=1e-12)
    expected = psam.gauge_fixed()[0][1][0, :, :, 0].detach()
    np.testing.assert_allclose(block, expected)


def test_colours_are_symmetric_around_zero() -> None:
    psam = random_psam(5, pairs=2)
    largest = max(x.abs().max().item() for x in psam.gauge_fixed()[0][1:])
    image = plotting.pairwise_plotter(axes(), psam)
    assert image.get_clim() == pytest.approx((-largest, largest))
    assert plotting.pairwise_plotter(axes(), psam, vmax=2).get_clim() == (-2, 2)
    with torch.no_grad():
        for packed in psam.betas.all_packed():
            packed.zero_()
    assert plotting.pairwise_plotter(axes(), psam).get_clim() == (-1, 1)


def test_cells_that_may_be_zero_have_a_dot_and_unknown_ones_are_grey() -> None:
    psam = random_psam(5, pairs=1)
    errors = Independent(psam, 0.2, unknown=0.2)
    ax = axes()
    plotting.pairwise_plotter(ax, psam, errors=errors)
    found = errors.pairs(psam, 1)
    value, error = found.value[0].numpy(), found.error[0].numpy()
    (dots,) = ax.lines
    may_be_zero = np.abs(value) <= 1.96 * error  # NaN: no
    assert 0 < may_be_zero.sum() < may_be_zero.size
    assert len(dots.get_xdata()) == may_be_zero.sum()
    _, grey = ax.images
    assert np.isfinite(np.ma.filled(grey.get_array(), np.nan)).sum() == (
        2 * np.isnan(error).sum()
    )
    assert grey.cmap(0)[:3] == pytest.approx(to_rgb(FAINT), abs=1 / 255)
    assert "dot: the 95% interval holds 0; grey: not identified" in ax.get_xlabel()
    for x, y in zip(dots.get_xdata(), dots.get_ydata(), strict=True):
        assert np.isnan(shown_at(grey, x, y))


def test_maps_stand_below_their_letters() -> None:
    figure = plotting.logo(random_psam(8, pairs=3), width=6)
    figure.draw_without_rendering()
    letters, pairs, bar = figure.axes
    above, below = letters.get_position(), pairs.get_position()
    assert (above.x0, above.x1) == pytest.approx((below.x0, below.x1))
    assert above.y0 > below.y1
    assert letters.get_xlim() == pairs.get_xlim()
    assert bar.get_xlabel() == "−ΔΔG/RT of the pair"
    left, right, top, bottom = corners(pairs)[0]
    box = pairs.transData.transform([(left, top), (right, bottom)])
    width, height = np.abs(box[1] - box[0])
    assert 0.75 < height / width < 1.3  # cells are about square


def test_texts_of_a_map_are_its_letters_and_positions() -> None:
    ax = axes(height=4)
    plotting.pairwise_plotter(ax, random_psam(4, pairs=2), reverse=True)
    texts = [text.get_text() for text in ax.texts]
    assert {x for x in texts if "·" in x} == {"4·3", "3·2", "2·1", "4·2", "3·1"}
    assert sorted(x for x in texts if "·" not in x) == sorted("ACGT" * 4)
    assert [x.get_text() for x in ax.get_yticklabels()] == ["1", "2"]


def test_many_letters_are_named_once() -> None:
    ax = axes()
    plotting.pairwise_plotter(ax, random_psam(9, Protein(), pairs=1))
    assert len(ax.texts) == 8
    assert all("·" in text.get_text() for text in ax.texts)
    assert "from ACDEFGHIKLMNPQRSTVWY" in ax.get_xlabel().replace("\n", " ")


def test_a_psam_without_pairs_has_no_map() -> None:
    with pytest.raises(PyProBoundError, match="has no letter pairs"):
        plotting.pairwise_plotter(axes(), random_psam(4))


def test_letters_without_complement_have_no_reverse() -> None:
    with pytest.raises(PyProBoundError, match="have no complement"):
        plotting.pairwise_plotter(axes(), random_psam(3, Protein(), pairs=1), True)


def test_map_looks_right() -> None:
    psam = random_psam(4, pairs=1)
    with settings():
        ax = axes(3, 1.5)
    errors = Independent(psam, 0.07, unknown=0.05)
    plotting.pairwise_plotter(ax, psam, errors=errors)
    assert isinstance(ax.figure, Figure)
    assert_looks_like(ax.figure, "logo_pairs")
