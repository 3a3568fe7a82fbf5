"""No public function changes what others see, or depends on what others have set."""

import inspect
import sys
from collections.abc import Callable

import matplotlib as mpl
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyprobound import plotting
from pyprobound.alphabets import DNA
from pyprobound.plotting._style import new_figure, settings
from tests.plots.models import dimer_of, layer_of
from tests.plots.psams import random_psam
from tests.plots.selections import drawn, kd_seq, kinetics, selex

Draw = Callable[[], Figure]
# What readers may have set, and pictures must neither obey nor undo.
THEIRS = {
    "axes.facecolor": "red",
    "axes.grid": True,
    "axes.unicode_minus": False,
    "figure.autolayout": True,
    "figure.dpi": 37,
    "font.family": "monospace",
    "font.size": 31,
    "lines.linewidth": 9,
    "savefig.bbox": "tight",
    "svg.fonttype": "path",
}


def into(draw: Callable[[Axes], object]) -> Draw:
    """Return a function that makes a figure and draws into its axes."""

    def picture() -> Figure:
        with settings():
            figure, (ax,) = new_figure(3, 2)
        draw(ax)
        return figure

    return picture


TABLE = pd.DataFrame([[0.1, 0.4, -0.3]], columns=[1, 2, 3])
COUNTS = torch.tensor([[5.0, 9.0], [7.0, 2.0], [4.0, 4.0]])
PICTURES: dict[str, Draw] = {
    "arrangement_map": lambda: plotting.arrangement_map(dimer_of(3, 2, max_spacing=1)),
    "contribution": lambda: plotting.contribution(
        selex().rounds[1], drawn(selex(), 50), 10
    ),
    "cooperativity": lambda: plotting.cooperativity(dimer_of(3, 2, length=5)),
    "enrichment_plotter": into(
        lambda ax: plotting.enrichment_plotter(ax, COUNTS, COUNTS + 1, [0, 1])
    ),
    "heatmap_plotter": lambda: plotting.heatmap_plotter({"bias": TABLE}),
    "kd_consistency": lambda: plotting.kd_consistency(
        kd_seq(), 0, 1, 2, drawn(kd_seq(), 50), 10, free_protein=30.0
    ),
    "keff_consistency": lambda: plotting.keff_consistency(
        kinetics(), drawn(kinetics(), 50), kernel=10
    ),
    "kmer_enrichment": lambda: plotting.kmer_enrichment(
        selex(), drawn(selex(), 50), kmer_length=1, kernel=10, alphabet=DNA()
    ),
    "line_plotter": lambda: plotting.line_plotter({"bias": TABLE}),
    "logo": lambda: plotting.logo(random_psam(3, pairs=1)),
    "logomaker_plotter": into(
        lambda ax: plotting.logomaker_plotter(ax, random_psam(3))
    ),
    "pairwise_plotter": into(
        lambda ax: plotting.pairwise_plotter(ax, random_psam(3, pairs=1))
    ),
    "plot_ticks": into(lambda ax: plotting.plot_ticks(ax, ["1", "2", "3"], "x")),
    "posbias": lambda: plotting.posbias(layer_of()),
    "probe_enrichment": lambda: plotting.probe_enrichment(
        selex(), drawn(selex(), 50), kernel=10
    ),
    "spacing": lambda: plotting.spacing(dimer_of(3, 2, max_spacing=1)),
}


def test_every_public_function_that_draws_is_here() -> None:
    others = {"predicted_counts", "save", "svg"}
    public = {
        name
        for name in plotting.__all__
        if inspect.isfunction(getattr(plotting, name)) and name not in others
    }
    assert public == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_settings_of_others_are_neither_obeyed_nor_changed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever imports pyplot chooses a backend for the whole program: it cannot be
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    expected = plotting.svg(PICTURES[name]())
    with mpl.rc_context(THEIRS):
        before = dict(mpl.rcParams.copy())
        found = plotting.svg(PICTURES[name]())
        assert dict(mpl.rcParams.copy()) == before
    assert found == expected
