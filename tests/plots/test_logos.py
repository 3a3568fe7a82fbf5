"""Logos show the energies they are given: heights, order, strand, gauge, errors."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.path import Path

from pyprobound import plotting
from pyprobound.alphabets import DNA, Alphabet, Protein
from pyprobound.errors import PyProBoundError
from pyprobound.layers import PSAM
from pyprobound.plotting._logos import Logo, stack, thinned
from pyprobound.plotting._style import INK, new_figure, settings
from pyprobound.uncertainty import NORMAL_95
from tests.plots.images import assert_looks_like
from tests.plots.psams import Independent, random_psam


def axes(width: float = 6, height: float = 2) -> Axes:
    return new_figure(width, height)[1][0]


def centred(psam: PSAM) -> np.ndarray:
    """Mean-centred single-letter betas, (letters, positions), read by their keys."""
    n = psam.in_channels
    columns = []
    for cls in psam.symmetry:
        letters = [psam.betas[f"{abs(cls)}-{i}"].item() for i in range(n)]
        letters = letters if cls > 0 else letters[::-1]
        columns.append([x - sum(letters) / n for x in letters])
    return np.array(columns).T


# --- stacks --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_letters_are_stacked_by_sign_with_the_largest_outside(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(6, 9))
    values[2, :4] = 0
    floors = stack(values)
    for column, floor in zip(values.T, floors.T, strict=True):
        top = bottom = 0.0
        for i in sorted(range(6), key=lambda i: abs(column[i])):  # from zero outwards
            if column[i] > 0:
                assert floor[i] == pytest.approx(top)
                top += column[i]
            else:
                bottom += column[i]
                assert floor[i] == pytest.approx(bottom)


def test_stacks_of_nothing() -> None:
    assert not stack(np.zeros((4, 3))).any()
    assert stack(np.zeros((4, 0))).shape == (4, 0)


# --- what is drawn -------------------------------------------------------------------


def test_heights_are_the_energies_less_the_mean_of_their_position() -> None:
    psam = random_psam(7)
    drawn = plotting.logomaker_plotter(axes(), psam)
    np.testing.assert_allclose(drawn.df.to_numpy().T, centred(psam), atol=1e-12)
    assert list(drawn.df.columns) == list("ACGT")
    assert list(drawn.df.index) == [1, 2, 3, 4, 5, 6, 7]
    raw = plotting.logomaker_plotter(axes(), psam, mean_center=False)
    np.testing.assert_allclose(
        raw.df.to_numpy().T, psam.get_filter(0)[0].detach().numpy()
    )


def contours(drawn: Logo) -> dict[tuple[str, int], tuple[float, float]]:
    """Lowest and highest point of each letter, by letter and column."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for patch in drawn.letters:
        path = patch.get_path()
        starts = np.flatnonzero(path.codes == Path.MOVETO)
        stops = [*starts[1:], len(path.vertices)]
        for start, stop in zip(starts, stops, strict=True):
            part = Path(path.vertices[start:stop], path.codes[start:stop])
            low, high = part.get_extents().intervaly
            column = round(float(part.get_extents().intervalx.mean()))
            key = patch.get_label(), column
            old = found.get(key, (np.inf, -np.inf))
            found[key] = min(low, old[0]), max(high, old[1])
    return found


@pytest.mark.parametrize("flip_below", [False, True])
def test_outlines_have_exactly_the_heights(flip_below: bool) -> None:
    drawn = plotting.logomaker_plotter(
        axes(), random_psam(6), flip_below=flip_below, color_scheme="black"
    )
    found = contours(drawn)
    table = drawn.glyph_df
    assert len(found) == len(table) == 24
    for row in table.itertuples():
        low, high = found[row.letter, row.column]
        assert (low, high) == pytest.approx((row.floor, row.ceiling), abs=1e-9)
        assert row.ceiling - row.floor == pytest.approx(abs(row.value))
    low, high = drawn.ax.get_ylim()
    assert low < table["floor"].min()
    assert high > table["ceiling"].max()


def test_what_is_lower_than_half_a_dot_is_left_out_and_the_rest_stays() -> None:
    psam = random_psam(2)
    with torch.no_grad():
        for i, value in enumerate([3.0, -3.0, 0.004, -0.004]):
            psam.betas[f"1-{i}"].fill_(value)
    drawn = plotting.logomaker_plotter(axes(), psam)
    first = drawn.glyph_df[drawn.glyph_df["position"] == 1]
    assert list(first["letter"]) == ["A", "C"]
    assert list(first["floor"]) == pytest.approx([0.004, -3.004])
    assert drawn.df.loc[1, "G"] == pytest.approx(0.004)


def test_a_motif_without_energies_is_an_empty_logo() -> None:
    psam = PSAM(5, DNA(), seed=["*****"])
    drawn = plotting.logomaker_plotter(axes(), psam, errors=Independent(psam, 0))
    assert drawn.letters == []
    assert len(drawn.glyph_df) == 0
    assert drawn.ax.get_ylim()[0] < 0 < drawn.ax.get_ylim()[1]
    assert plotting.svg(plotting.logo(psam)).startswith("<svg")


def test_axes_say_what_they_show() -> None:
    psam = random_psam(5)
    ax = plotting.logo(psam, errors=Independent(psam, 0.1)).axes[0]
    assert ax.get_ylabel() == "−ΔΔG/RT"
    assert ax.get_xlabel() == "Position in the motif (bars: 95% intervals)"
    assert [text.get_text() for text in ax.get_xticklabels()] == list("12345")
    assert list(ax.get_xticks()) == [0, 1, 2, 3, 4]
    assert any(line.get_ydata() == [0, 0] for line in ax.lines)
    assert plotting.logo(psam).axes[0].get_xlabel() == "Position in the motif"


@pytest.mark.parametrize("n", [1, 6, 12, 30, 45, 60, 300])
@pytest.mark.parametrize("inches", [1.5, 2.6, 7.2])
def test_numbers_of_positions_have_room(n: int, inches: float) -> None:
    shown = thinned(n, inches)
    assert shown[0] == 0
    assert shown[-1] < n
    assert 0.2 * len(shown) <= inches
    if n > 1:
        assert len(shown) > 1


def test_a_psam_without_an_alphabet_has_numbers_for_letters() -> None:
    drawn = plotting.logomaker_plotter(axes(), PSAM(3, None, in_channels=5))
    assert list(drawn.df.columns) == list("01234")


def test_dilated_positions_are_numbered_by_the_letters_they_are_on() -> None:
    drawn = plotting.logomaker_plotter(axes(), PSAM(3, DNA(), dilation=2))
    assert list(drawn.df.index) == [1, 3, 5]


def test_each_forward_channel_has_letters_of_its_own() -> None:
    psam = random_psam(4, out_channels=4)
    figure = plotting.logo(psam)
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "−ΔΔG/RT\nchannel 1",
        "−ΔΔG/RT\nchannel 2",
    ]
    for channel in (0, 1):
        drawn = plotting.logomaker_plotter(axes(), psam, channel=channel)
        expected = psam.get_filter(0)[channel].detach()
        np.testing.assert_allclose(
            drawn.df.to_numpy().T, expected - expected.mean(0), atol=1e-12
        )
    with pytest.raises(
        PyProBoundError, match=r"channel 2: .* has 0 … 1 on the forward"
    ):
        plotting.logomaker_plotter(axes(), psam, channel=2)


def test_energies_that_are_not_finite_are_told() -> None:
    psam = random_psam(4)
    with torch.no_grad():
        psam.betas["3-1"].fill_(-torch.inf)
    with pytest.raises(PyProBoundError, match="tf: energies at position 3 are not"):
        plotting.logo(psam)


def test_letters_take_colours_and_properties_of_the_caller() -> None:
    drawn = plotting.logomaker_plotter(
        axes(), random_psam(3), color_scheme={"A": "red"}, alpha=0.5, zorder=7
    )
    patch = next(each for each in drawn.letters if each.get_label() == "A")
    assert patch.get_facecolor() == (1, 0, 0, 0.5)
    assert {each.get_zorder() for each in drawn.letters} == {7}


def test_arguments_are_the_documented_ones() -> None:
    promised = {
        "logo": "psam logo_height width reverse fix_gauge mean_center",
        "logomaker_plotter": "ax psam reverse mean_center",
        "pairwise_plotter": "ax psam reverse",
    }
    for name, arguments in promised.items():
        parameters = inspect.signature(getattr(plotting, name)).parameters.values()
        positional = [x.name for x in parameters if x.kind == x.POSITIONAL_OR_KEYWORD]
        assert positional == arguments.split()


# --- strand and gauge ----------------------------------------------------------------


def test_the_reverse_complement_keeps_the_numbers_of_positions() -> None:
    psam = random_psam(5)
    forward = plotting.logomaker_plotter(axes(), psam).df
    reverse = plotting.logomaker_plotter(axes(), psam, reverse=True).df
    assert list(reverse.index) == [5, 4, 3, 2, 1]
    for position in range(1, 6):
        for letter, other in zip("ACGT", "TGCA", strict=True):
            assert reverse.loc[position, letter] == forward.loc[position, other]
    label = plotting.logo(psam, reverse=True).axes[0].get_xlabel()
    assert "reverse complement" in label


def test_a_palindrome_is_its_own_reverse_complement() -> None:
    psam = random_psam(6, symmetry=[1, 2, 3, -3, -2, -1])
    drawn = [
        plotting.logomaker_plotter(axes(), psam, reverse).df.to_numpy()
        for reverse in (False, True)
    ]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-12)
    np.testing.assert_allclose(drawn[0].T, centred(psam), atol=1e-12)


@pytest.mark.parametrize("draw", ["logo", "logomaker_plotter"])
def test_letters_without_complement_have_no_reverse(draw: str) -> None:
    psam = PSAM(3, Protein())
    first = [] if draw == "logo" else [axes()]
    with pytest.raises(PyProBoundError, match=r"Protein\(\) have no complement"):
        getattr(plotting, draw)(*first, psam, reverse=True)


def test_the_psam_stays_as_it_is() -> None:
    psam = random_psam(6, pairs=2)
    before = {
        key: value.clone()
        for key, value in psam.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    plotting.logo(psam, errors=Independent(psam, 0.1))
    plotting.logo(psam, reverse=True, fix_gauge=False, mean_center=False)
    for key, value in before.items():
        assert torch.equal(psam.state_dict()[key], value)


def test_the_same_scores_give_the_same_logo_in_any_gauge() -> None:
    psam, other = random_psam(5, pairs=1), random_psam(5, pairs=1)
    content = np.random.default_rng(7).normal(size=4)
    with torch.no_grad():
        for i in range(4):
            other.betas[f"2-{i}"].add_(1.7)  # a constant
            other.betas[f"3-{i}"].add_(content[i])
            for j in range(4):  # what position 3 has gained, its pair with 4 loses
                other.betas[f"3-4-{4 * i + j}"].sub_(content[i])
    drawn = [
        plotting.logomaker_plotter(axes(), each, fix_gauge=True).df.to_numpy()
        for each in (psam, other)
    ]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-12)
    unfixed = plotting.logomaker_plotter(axes(), other).df.to_numpy()
    assert np.abs(unfixed - drawn[0]).max() > 0.1


# --- errors --------------------------------------------------------------------------


def test_bars_are_95_percent_intervals_around_outer_edges() -> None:
    psam = random_psam(6)
    drawn = plotting.logomaker_plotter(axes(), psam, errors=Independent(psam, 0.2))
    table = drawn.glyph_df
    # of four independent betas, less their mean
    assert table["error"].tolist() == pytest.approx([0.2 * 0.75**0.5] * len(table))
    assert drawn.error_bars is not None
    bars = np.array(drawn.error_bars.get_segments())
    assert bars.shape == (len(table), 2, 2)
    edge = np.where(table["value"] > 0, table["ceiling"], table["floor"])
    np.testing.assert_allclose(bars[:, :, 1].mean(1), edge, atol=1e-9)
    np.testing.assert_allclose(
        bars[:, 1, 1] - bars[:, 0, 1], 2 * NORMAL_95 * table["error"]
    )
    assert (bars[:, 0, 0] == bars[:, 1, 0]).all()
    places = set(zip(bars[:, 0, 0], table["value"] > 0, strict=True))
    assert len(places) == len(table)  # none lies over another one
    assert np.abs(bars[:, 0, 0] - table["column"]).max() < 0.5
    low, high = drawn.ax.get_ylim()
    assert low < bars[:, :, 1].min()
    assert bars[:, :, 1].max() < high


def test_errors_are_in_the_gauge_that_is_drawn() -> None:
    psam = random_psam(4, pairs=1)
    errors = Independent(psam)
    fixed = plotting.logomaker_plotter(axes(), psam, fix_gauge=True, errors=errors)
    expected = errors.letters(psam).error[0]
    for row in fixed.glyph_df.itertuples():
        error = expected["ACGT".index(row.letter), row.column]
        assert row.error == pytest.approx(error.item())
    raw = plotting.logomaker_plotter(axes(), psam, mean_center=False, errors=errors)
    assert raw.glyph_df["error"].tolist() == pytest.approx([1.0] * 16)


def test_errors_of_the_reverse_complement_go_with_their_letters() -> None:
    psam = random_psam(4, symmetry=[1, 2, 2, 3])
    errors = Independent(psam, unknown=0.3)
    tables = [
        plotting.logomaker_plotter(axes(), psam, reverse, errors=errors).glyph_df
        for reverse in (False, True)
    ]
    complement = dict(zip("ACGT", "TGCA", strict=True))
    found = [
        {
            (row.position, row.letter if i == 0 else complement[row.letter]): row.error
            for row in table.itertuples()
        }
        for i, table in enumerate(tables)
    ]
    assert found[0].keys() == found[1].keys()
    for key, error in found[0].items():
        assert found[1][key] == pytest.approx(error, nan_ok=True)


def test_letters_that_are_not_identified_are_faint_and_have_no_bar() -> None:
    psam = random_psam(8)
    errors = Independent(psam, 0.1, unknown=0.3)
    drawn = plotting.logomaker_plotter(axes(), psam, errors=errors)
    unknown = drawn.glyph_df["error"].isna()
    assert 0 < unknown.sum() < len(unknown)
    assert drawn.error_bars is not None
    assert len(drawn.error_bars.get_segments()) == (~unknown).sum()
    faint = {each.get_label() for each in drawn.letters if each.get_alpha() == 0.4}
    assert faint == set(drawn.glyph_df["letter"][unknown])
    assert "faint: not identified" in drawn.ax.get_xlabel().replace("\n", " ")
    # the limits are those of letters and bars that are known
    assert np.isfinite(drawn.ax.get_ylim()).all()


def test_long_bars_are_cut_and_said_to_be() -> None:
    psam = random_psam(5)
    letters = plotting.logomaker_plotter(axes(), psam).glyph_df
    tallest = letters["ceiling"].max() - letters["floor"].min()
    drawn = plotting.logomaker_plotter(axes(), psam, errors=Independent(psam, 30))
    low, high = drawn.ax.get_ylim()
    assert high - low < 2.2 * tallest
    below, above = (line for line in drawn.ax.lines if line.get_marker() in {"^", "v"})
    for arrows, edge in ((below, low), (above, high)):
        assert len(arrows.get_xdata()) == len(drawn.glyph_df)
        assert set(arrows.get_ydata()) == {edge}
    assert "arrows: cut" in drawn.ax.get_xlabel()


def test_letters_without_error_have_no_bar() -> None:
    psam = random_psam(3)
    drawn = plotting.logomaker_plotter(axes(), psam, errors=Independent(psam, 0))
    assert drawn.error_bars is not None
    assert drawn.error_bars.get_segments() == []
    assert drawn.letters[0].get_alpha() is None
    assert plotting.logomaker_plotter(axes(), psam).error_bars is None


# --- pictures ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [6, 20])
def test_typical_logos_are_small_files(size: int) -> None:
    psam = random_psam(size)
    text = plotting.svg(plotting.logo(psam, errors=Independent(psam, 0.1)))
    assert len(text) < 4000 * size + 6000
    assert not re.search(r' d="[^"]*\.\d{3}', text)  # no needless digits
    assert INK in text


def test_logo_of_dna_looks_right() -> None:
    psam = random_psam(10)
    figure = plotting.logo(psam, 1.6, 4, errors=Independent(psam, 0.1, unknown=0.1))
    assert_looks_like(figure, "logo_dna")


def test_logo_of_amino_acids_looks_right() -> None:
    psam = random_psam(5, Protein())
    with torch.no_grad():
        psam.betas.packed(0).pow_(3)
    figure = plotting.logo(psam, 2, 3.4, errors=Independent(psam, 0.3))
    assert_looks_like(figure, "logo_protein")


def test_logo_of_changed_bases_and_codons_looks_right() -> None:
    with settings():
        figure, (left, right) = new_figure(3, 1.2, columns=2)
    changed = Alphabet("AmCGgT", complement=True)
    plotting.logomaker_plotter(left, random_psam(3, changed), flip_below=True)
    codons = Alphabet(["ATG", "GAA", "TAA"], monomer_length=3)
    plotting.logomaker_plotter(right, random_psam(2, codons))
    assert_looks_like(figure, "logo_letters")


def test_logo_object_holds_tables() -> None:
    drawn = plotting.logomaker_plotter(axes(), random_psam(3))
    assert isinstance(drawn, plotting.Logo)
    assert isinstance(drawn.df, pd.DataFrame)
    assert list(drawn.glyph_df.columns) == [
        "column",
        "position",
        "letter",
        "value",
        "error",
        "floor",
        "ceiling",
    ]


@pytest.mark.parametrize("pairs", [0, 1])
@pytest.mark.parametrize("width", [3, 6])
@pytest.mark.parametrize("scale", [1e-3, 1, 100])
def test_nothing_lies_outside_of_the_figure(
    pairs: int, width: float, scale: float
) -> None:
    psam = random_psam(3, pairs=pairs)
    with torch.no_grad():
        for packed in psam.betas.all_packed():
            packed.mul_(scale)
    errors = Independent(psam, 5 * scale, unknown=0.2)
    figure = plotting.logo(psam, 1.5, width, errors=errors)
    with settings():
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    assert box.x0 > 0
    assert box.y0 > 0
    assert box.x1 < figure.get_figwidth()
    assert box.y1 < figure.get_figheight()
