"""Pictures of regressions: what is drawn, and what is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pyprobound.errors import PyProBoundError
from pyprobound.fitting import Agreement, Fit, LogFit
from pyprobound.fitting._figures import MOST_POINTS, Points, draw
from pyprobound.plotting import svg
from pyprobound.plotting._style import series
from tests.fitting.models import probes, table, trained
from tests.plots.images import assert_looks_like

SEQS = probes(12, 12, seed=1)
Y = np.linspace(0.5, 6.0, 12).round(2).tolist()
ERRORS = [0.2] * 12
GROUPS = ["wild type"] * 4 + ["mutant"] * 8


def fit_of(*columns: list[float], log: bool = False) -> Fit | LogFit:
    kind = LogFit if log else Fit
    return kind(trained(table(SEQS)), table(SEQS, *columns), lambda z: z)


def points(figure: Figure) -> list[PathCollection]:
    found = figure.axes[0].collections
    return [each for each in found if isinstance(each, PathCollection)]


def bars(figure: Figure) -> list[LineCollection]:
    found = figure.axes[0].collections
    return [each for each in found if isinstance(each, LineCollection)]


def simulated(n: int, *, errors: bool = False) -> tuple[Points, Agreement]:
    rng = np.random.default_rng(0)
    pred = torch.from_numpy(rng.normal(7, 1, n))
    obs = pred + torch.from_numpy(rng.normal(0, 0.3, n))
    ends = (obs - 0.3, obs + 0.3) if errors else (None, None)
    agreement = Agreement.of(obs, pred, *ends)
    return Points.of(obs, pred, *ends, None, None), agreement


def test_points_are_predictions_and_measurements() -> None:
    fit = fit_of(Y)
    figure = fit.plot("Predicted (nM)", "Measured (nM)", xlog=False, ylog=False)
    (drawn,) = points(figure)
    obs, pred, _, _ = fit.score(fit.dataset)
    assert np.allclose(drawn.get_offsets(), np.stack([pred, obs], 1))
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Predicted (nM)", "Measured (nM)")
    assert f"R² = {fit.agreement().r_squared:.3f}, 12 probes" in ax.get_title("left")
    (line,) = ax.lines
    assert np.array_equal(line.get_xdata(), line.get_ydata())


def test_logfit_is_drawn_on_the_scale_of_the_measurements() -> None:
    fit = fit_of(Y, ERRORS, log=True)
    figure = fit.plot()
    ax = figure.axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    (drawn,) = points(figure)
    assert np.allclose(np.asarray(drawn.get_offsets())[:, 1], Y)
    (lines,) = bars(figure)
    ends = np.array([each.vertices[:, 1] for each in lines.get_paths()])
    assert np.allclose(ends[3], [Y[3] - 0.2, Y[3] + 0.2])
    assert "(of logarithms)" in ax.get_title("left")


def test_axis_is_linear_where_a_value_has_no_logarithm() -> None:
    figure = fit_of([-1.0, *Y[1:]]).plot()
    ax = figure.axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_bar_without_a_lower_end_reaches_the_edge() -> None:
    figure = fit_of(Y, [10.0] * 12, log=True).plot()
    (lines,) = bars(figure)
    low, _ = figure.axes[0].get_ylim()
    ends = np.array([each.vertices[:, 1] for each in lines.get_paths()])
    assert np.allclose(ends[:, 0], low)
    assert np.allclose(ends[:, 1], np.add(Y, 10))


def test_groups_have_colours_and_a_legend() -> None:
    figure = fit_of(Y).plot(labels=GROUPS)
    found = points(figure)
    assert [len(each.get_offsets()) for each in found] == [4, 8]
    assert [to_hex(each.get_facecolor()[0]) for each in found] == series(2)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [each.get_text() for each in legend.get_texts()] == ["wild type", "mutant"]


@pytest.mark.parametrize("colors", [["#112233", "#445566"], None])
def test_colours_are_given_by_group_or_by_probe(colors: list[str] | None) -> None:
    given = colors or ["#112233"] * 4 + ["#445566"] * 8
    figure = fit_of(Y).plot(labels=GROUPS, colors=given)
    found = [to_hex(each.get_facecolor()[0]) for each in points(figure)]
    assert found == ["#112233", "#445566"]


def test_colours_without_labels_are_those_of_probes() -> None:
    given = [f"#0000{10 + i}" for i in range(12)]
    (drawn,) = points(fit_of(Y).plot(colors=given))
    assert [to_hex(each) for each in drawn.get_facecolors()] == given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a"] * 3}, "3 labels for 12 probes"),
        ({"colors": ["red"] * 3}, "3 colors for 12 probes"),
        ({"labels": GROUPS, "colors": ["red"]}, "1 colors for 2 groups"),
        ({"kernel": 0}, "kernel 0 must be at least 1"),
    ],
)
def test_what_does_not_fit_the_probes_is_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(PyProBoundError, match=message):
        fit_of(Y).plot(**options)  # type: ignore[arg-type]


def test_neighbours_are_averaged_in_the_order_of_predictions() -> None:
    fit = fit_of(Y, ERRORS)
    figure = fit.plot(kernel=4, xlog=False, ylog=False)
    obs, pred, _, _ = (x.numpy() for x in fit.score(fit.dataset) if x is not None)
    order = pred.argsort()
    wanted = [[x[order[i : i + 4]].mean() for x in (pred, obs)] for i in (0, 4, 8)]
    (drawn,) = points(figure)
    assert np.allclose(drawn.get_offsets(), wanted)
    (lines,) = bars(figure)
    ends = np.array([each.vertices[:, 1] for each in lines.get_paths()])
    # the mean of four independent values is twice as sure
    assert np.allclose(np.diff(ends), 2 * 0.2 / 2, atol=1e-6)
    assert "each point the mean of 4" in figure.axes[0].get_title("left")


def test_averages_stay_within_their_group() -> None:
    figure = fit_of(Y).plot(kernel=4, labels=GROUPS)
    assert [len(each.get_offsets()) for each in points(figure)] == [1, 2]


def test_many_probes_are_counted_in_hexagons() -> None:
    found, agreement = simulated(MOST_POINTS + 1)
    figure = draw(
        found,
        xlabel="x",
        ylabel="y",
        xlog=True,
        ylog=True,
        is_log=True,
        agreement=agreement,
        kernel=1,
        title="",
    )
    (hexagons,) = figure.axes[0].collections
    assert isinstance(hexagons, PolyCollection)
    assert np.asarray(hexagons.get_array()).sum() == MOST_POINTS + 1
    assert len(svg(figure)) < 150_000


@pytest.mark.parametrize("n", [300, 2500])
def test_pictures_of_points_and_bars_stay_small(n: int) -> None:
    found, agreement = simulated(n, errors=True)
    figure = draw(
        found,
        xlabel="x",
        ylabel="y",
        xlog=False,
        ylog=False,
        is_log=False,
        agreement=agreement,
        kernel=1,
        title="",
    )
    assert len(svg(figure)) < 150_000


def test_single_measurement_is_drawn() -> None:
    one = Fit(trained(table(SEQS)), table(SEQS[:1], [2.0]), lambda z: z)
    (drawn,) = points(one.plot())
    assert len(drawn.get_offsets()) == 1


def test_picture_of_groups_with_error_bars(tmp_path: Path) -> None:
    fit = fit_of(Y, [0.1] * 12, [0.4] * 12, log=True)
    fit.name = "EMSA"
    figure = fit.plot("Predicted $K_D$ (nM)", "Measured $K_D$ (nM)", labels=GROUPS)
    assert_looks_like(figure, "fitting_groups", left=tmp_path)


def test_picture_of_many_probes(tmp_path: Path) -> None:
    found, agreement = simulated(MOST_POINTS + 1)
    figure = draw(
        found,
        xlabel="Predicted intensity (a.u.)",
        ylabel="Observed intensity (a.u.)",
        xlog=True,
        ylog=True,
        is_log=True,
        agreement=agreement,
        kernel=1,
        title="Microarray",
    )
    assert_looks_like(figure, "fitting_hexagons", left=tmp_path)
