"""Pictures of enrichment: what is drawn are the numbers, and the axes say which."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from pyprobound import CountBatch, CountTable, Experiment, Mode, alphabets, layers
from pyprobound.errors import PyProBoundError
from pyprobound.plotting import (
    Counts,
    enrichment_plotter,
    kmer_enrichment,
    predicted_counts,
    probe_enrichment,
    svg,
)
from pyprobound.plotting._agreement import MOST_POINTS, number_text, ratio_ticks
from pyprobound.plotting._kmers import kmer_sums, kmers_pooled
from pyprobound.plotting._pooled import (
    dispersion_of,
    log_library_ratio,
    log_ratios,
    pools_of,
)
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from tests.plots.selections import aggregate_of, counts_of, drawn, selex

DNA = alphabets.DNA()


def scatter_of(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].collections[-1].get_offsets())


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_points_are_the_enrichments_of_pools() -> None:
    experiment = selex()
    batch = drawn(experiment, 300)
    figure = probe_enrichment(experiment, batch, kernel=30)
    counts = predicted_counts(experiment, batch)
    pools = pools_of(counts, (0, 2), 30)
    part = log_ratios(pools, max(1.0, dispersion_of(counts)))
    part = part.shifted(-log_library_ratio(counts, (0, 2)))
    expected = np.exp(np.stack([part.predicted, part.observed], axis=1))
    np.testing.assert_allclose(scatter_of(figure), expected)
    ax = figure.axes[0]
    bars = next(np.asarray(x.get_ydata()) for x in ax.lines if len(x.get_ydata()) > 2)
    ends = bars.reshape(-1, 3)
    np.testing.assert_allclose(ends[:, 0], np.exp(part.low))
    np.testing.assert_allclose(ends[:, 1], np.exp(part.high))
    assert texts_of(figure) == [f"R² = {part.r2:.3f}\n300 probes\nin 10 pools"]
    assert ax.get_xlabel() == "Predicted enrichment, round 2 / round 0"
    assert ax.get_ylabel() == "Observed enrichment, round 2 / round 0"
    assert ax.get_xlim() == ax.get_ylim()


def test_first_round_without_reads_is_passed_over() -> None:
    experiment = selex()
    batch = drawn(experiment, 100)
    batch.target[:, 0] = 0
    figure = probe_enrichment(experiment, batch)
    assert figure.axes[0].get_xlabel() == "Predicted enrichment, round 2 / round 1"


def test_named_rounds_are_called_by_their_names() -> None:
    start = InitialRound(name="R0")
    last = BoundUnsaturatedRound(aggregate_of(), start, name="R2")
    experiment = Experiment([start, last])
    figure = probe_enrichment(experiment, drawn(experiment, 100), title="Exd-Hox")
    assert figure.axes[0].get_xlabel() == "Predicted enrichment, R2 / R0"
    assert figure.axes[0].get_title() == "Exd-Hox"


def test_dispersion_widens_intervals() -> None:
    experiment = selex()
    batch = drawn(experiment, 100)
    lengths = []
    for dispersion in (1.0, 4.0):
        figure = probe_enrichment(experiment, batch, kernel=50, dispersion=dispersion)
        line = next(x for x in figure.axes[0].lines if len(x.get_ydata()) > 2)
        low, high, _ = np.log(np.asarray(line.get_ydata())).reshape(-1, 3).T
        lengths.append(high - low)
    np.testing.assert_allclose(lengths[1], 2 * lengths[0])


def test_many_points_are_hexagons() -> None:
    experiment = selex()
    batch = drawn(experiment, 5000, 400)
    figure = probe_enrichment(experiment, batch, kernel=1)
    (hexagons,) = figure.axes[0].collections
    assert isinstance(hexagons, PolyCollection)
    assert hexagons.get_array().sum() == 5000, "each probe is in a hexagon"
    assert figure.axes[1].get_ylabel() == "Number of probes"
    assert len(svg(figure)) < 150_000


def test_as_many_points_as_are_drawn_make_a_small_file() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.lognormal(6, 1, (MOST_POINTS, 2))
    counts = torch.from_numpy(rng.poisson(predicted)), torch.from_numpy(predicted)
    experiment = selex(1)
    batch = CountBatch(torch.zeros(MOST_POINTS, 4).byte(), counts[0])
    figure = probe_enrichment(experiment, batch, kernel=1, counts=Counts(*counts))
    assert isinstance(figure.axes[0].collections[-1], PathCollection)
    assert len(svg(figure)) < 150_000


def test_probes_without_reads_lie_at_the_edges() -> None:
    counts = counts_of([[5.0, 0], [0, 5], [5, 5], [4, 9]], [[2.0, 3]] * 4)
    experiment = selex(1)
    batch = CountBatch(torch.zeros(4, 4).byte(), counts.observed)
    figure = probe_enrichment(experiment, batch, kernel=1, counts=counts)
    ax = figure.axes[0]
    assert [len(each.get_offsets()) for each in ax.collections] == [1, 1, 2]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert "0" in labels
    assert "∞" in labels
    assert "R²" not in texts_of(figure)[0], "half of the probes have no enrichment"
    low, high = ax.get_ylim()
    assert all(low < y < high for each in ax.collections for _, y in each.get_offsets())


@pytest.mark.parametrize("kernel", [1, 500])
def test_one_probe_is_drawn(kernel: int) -> None:
    experiment = selex(1)
    batch = CountBatch(torch.zeros(1, 4).byte(), torch.tensor([[3.0, 8.0]]))
    figure = probe_enrichment(experiment, batch, kernel=kernel)
    assert scatter_of(figure)[0, 1] == pytest.approx(1), "it is the whole library"
    assert texts_of(figure) == ["1 probe"] if kernel == 1 else True
    svg(figure)


def test_a_table_without_reads_is_refused() -> None:
    experiment = selex(1)
    for n in (0, 3):
        batch = CountBatch(torch.zeros(n, 4).byte(), torch.zeros(n, 2))
        with pytest.raises(PyProBoundError, match="no column of the table has reads"):
            probe_enrichment(experiment, batch)


def test_plotter_draws_into_given_axes() -> None:
    figure = Figure()
    axes = figure.subplots()
    counts = counts_of([[5.0, 9], [3, 5]], [[4.0, 10], [4, 4]])
    points = enrichment_plotter(
        axes, *counts, columns=(0, 1), title="two probes", color="red", s=40
    )
    assert isinstance(points, PathCollection)
    assert points in axes.collections
    assert points.get_sizes().tolist() == [40]
    assert points.get_facecolor()[0, :3].tolist() == [1, 0, 0]
    assert axes.get_title() == "two probes"
    assert axes.get_xlabel() == "Predicted enrichment, column 1 / column 0"
    with pytest.raises(PyProBoundError, match=r"columns \[0, 0\] must be two"):
        enrichment_plotter(axes, *counts, columns=(0, 0))


def test_settings_of_matplotlib_stay() -> None:
    before = dict(mpl.rcParams)
    experiment = selex()
    probe_enrichment(experiment, drawn(experiment, 50))
    assert dict(mpl.rcParams) == before


# == k-mers ===========================================================================


def dna_table(n_probes: int = 300) -> CountTable:
    rng = np.random.default_rng(8)
    probes = ["".join(rng.choice(list("ACGT"), 7)) for _ in range(n_probes)]
    counts = rng.poisson((20, 30), (n_probes, 2))
    frame = pd.DataFrame(counts, index=probes).groupby(level=0).sum()
    return CountTable(
        frame, DNA, left_flank="GG", left_flank_length=2, right_flank="AC"
    )


def motif_model(table: CountTable, *, score_reverse: bool = True) -> Experiment:
    psam = layers.PSAM(3, DNA, name="tf", score_reverse=score_reverse)
    start = InitialRound()
    last = BoundUnsaturatedRound.from_binding([Mode.from_psam(psam, table)], start)
    for part in last.aggregate.components():
        part.set_contribution(0)
    return Experiment([start, last])


@pytest.mark.parametrize("both_strands", [True, False])
def test_points_are_the_enrichments_of_kmers(both_strands: bool) -> None:
    table = dna_table()
    experiment = motif_model(table, score_reverse=both_strands)
    figure = kmer_enrichment(experiment, table, kmer_length=2, kernel=20)
    counts = predicted_counts(experiment, table)
    both = torch.cat([*counts], dim=1)
    kmers = kmer_sums(table.seqs, both, DNA, 2, both_strands=both_strands)
    part = log_ratios(kmers_pooled(kmers, 20), 1.0)
    part = part.shifted(-log_library_ratio(counts, (0, 1)))
    expected = np.exp(np.stack([part.predicted, part.observed], axis=1))
    np.testing.assert_allclose(scatter_of(figure), expected, rtol=1e-6)
    assert len(expected) == (10 if both_strands else 16)
    note, *names = texts_of(figure)
    assert ("on both strands" in note) is both_strands
    highest = (-part.observed).argsort()[:3]
    assert names == [kmers.text(x) for x in highest]


def test_rare_kmers_are_counted_and_pooled() -> None:
    table = dna_table()
    figure = kmer_enrichment(motif_model(table), table, kmer_length=3, n_named=0)
    (note,) = texts_of(figure)
    assert note.splitlines()[1] == "32 3-mers"
    assert note.splitlines()[2].startswith("in ")


def test_kmers_longer_than_probes_are_refused() -> None:
    table = dna_table()
    with pytest.raises(PyProBoundError, match="no probe has 10 known letters"):
        kmer_enrichment(motif_model(table), table, kmer_length=10)


def test_alphabet_is_that_of_the_model_or_given() -> None:
    table = dna_table()
    experiment = motif_model(table)
    batch = table[:]
    known = kmer_enrichment(experiment, batch, kmer_length=2)
    np.testing.assert_allclose(
        scatter_of(known), scatter_of(kmer_enrichment(experiment, table, kmer_length=2))
    )
    letters = selex(1)
    with pytest.raises(PyProBoundError, match="give alphabet"):
        kmer_enrichment(letters, drawn(letters, 50))
    figure = kmer_enrichment(letters, drawn(letters, 50), alphabet=DNA, kmer_length=1)
    assert "4 1-mers" in texts_of(figure)[0]


# == ticks ============================================================================


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("decades", [0.02, 0.1, 0.3, 0.5, 0.8, 1.2, 2, 2.5, 4, 7, 12])
@pytest.mark.parametrize("low", [3.3e-9, 0.0123, 0.9, 1.7, 420])
def test_there_are_some_ticks_but_not_many(
    low: float, decades: float, folds: bool
) -> None:
    high = low * 10**decades
    major, minor = ratio_ticks(low, high, folds=folds)
    assert 2 <= len(major) <= 8
    assert all(low <= x <= high for x in [*major, *minor])
    assert len({number_text(x) for x in major}) == len(major)


def test_numbers_are_plain_or_powers_of_ten() -> None:
    values = [0.25, 1, 1000, 0.001, 1e5, 3.5e-4]
    assert [number_text(x) for x in values] == [
        "0.25",
        "1",
        "1,000",
        "0.001",
        "$10^{5}$",
        "$3.5\\times10^{-4}$",
    ]
