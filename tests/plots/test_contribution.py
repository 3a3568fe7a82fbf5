"""Shares of bindings in the aggregate."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pyprobound import CountBatch, CountTable, Mode, alphabets, layers
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.errors import PyProBoundError
from pyprobound.plotting import contribution
from pyprobound.plotting._contribution import shares_of
from pyprobound.rounds import BoundRound, InitialRound
from tests.plots.selections import SCORES, aggregate_of
from tests.unit.bindings import DOUBLE, Letters

SEQS = torch.randint(0, 4, (500, 6), generator=torch.Generator().manual_seed(1)).byte()
BATCH = CountBatch(SEQS, torch.ones(500, 2))


def test_shares_are_means_over_probes_bound_alike() -> None:
    terms = torch.randn(300, 3, dtype=DOUBLE)
    terms[:7] = -math.inf  # bound by nothing
    terms[7:20, 1] = -math.inf
    found = shares_of(terms, 40)
    totals = [math.log(math.fsum(map(math.exp, row))) for row in terms[7:].tolist()]
    assert found.n_probes.sum() == 293
    assert found.n_probes.min() >= 40
    assert found.median == pytest.approx(sorted(totals)[146])
    for pool in range(len(found.n_probes)):
        low, high = found.edges[pool : pool + 2]
        is_last = pool == len(found.n_probes) - 1
        rows = [
            row
            for row, total in zip(terms[7:].tolist(), totals, strict=True)
            if low <= total < high or (is_last and total >= high)
        ]
        assert len(rows) == found.n_probes[pool]
        for binding in range(3):
            shares = [
                math.exp(row[binding]) / math.fsum(map(math.exp, row)) for row in rows
            ]
            mean = math.fsum(shares) / len(shares)
            assert found.shares[binding, pool] == pytest.approx(mean, rel=1e-9)


def test_one_probe_and_probes_alike_have_one_pool() -> None:
    for n in (1, 3):
        found = shares_of(torch.zeros(n, 2), 500)
        assert found.n_probes.tolist() == [n]
        np.testing.assert_allclose(found.shares, [[0.5], [0.5]])


def test_the_picture_shows_the_shares() -> None:
    aggregate = aggregate_of().to(DOUBLE)
    figure = contribution(aggregate, BATCH, kernel=20)
    above, below = figure.axes
    ns, tf = (patch.get_data() for patch in below.patches)
    evaluated = [part(SEQS).detach() for part in aggregate.components()]
    found = shares_of(torch.stack(evaluated, 1), 20)
    np.testing.assert_allclose(ns.values, found.shares[0])
    np.testing.assert_allclose(tf.baseline, found.shares[0])
    np.testing.assert_allclose(tf.values, 1)
    np.testing.assert_allclose(tf.edges, np.exp(found.edges - found.median))
    per_decade, edges, _ = above.patches[0].get_data()
    widths = np.diff(np.log10(edges))
    np.testing.assert_allclose(per_decade * widths, found.n_probes)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["NS", "tf"]


def test_a_round_stands_for_its_aggregate_and_absent_bindings_are_left_out() -> None:
    aggregate = aggregate_of()
    absent = Contribution(next(aggregate_of().components()).binding)
    parts = [*aggregate.components(), absent]
    selected = BoundRound(Aggregate(parts), InitialRound())
    figure = contribution(selected, BATCH, max_split=7)
    assert len(figure.legends[0].get_texts()) == 2


def test_non_specific_binding_is_called_so() -> None:
    dna = alphabets.DNA()
    table = CountTable(pd.DataFrame([[1], [2]], index=["ACGTA", "CCGTA"]), dna)
    modes = [
        Mode.from_nonspecific(layers.NonSpecific(dna, name="NS"), table),
        Mode.from_psam(layers.PSAM(2, dna, name="exd"), table),
    ]
    parts = [Contribution(mode, log_activity=0.0) for mode in modes]
    figure = contribution(Aggregate(parts), table, title="Bcd")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["non-specific", "exd"]


@pytest.mark.parametrize("n", [2, 4, 7])
def test_the_legend_stays_inside_the_figure(n: int) -> None:
    parts = [
        Contribution(Letters(SCORES, f"motif of {i}"), log_activity=0.0)
        for i in range(n)
    ]
    figure = contribution(Aggregate(parts), BATCH)
    FigureCanvasAgg(figure).draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_nothing_to_share_is_said_in_one_line() -> None:
    with pytest.raises(PyProBoundError, match="no aggregate"):
        contribution(InitialRound(), BATCH)
    nothing = Aggregate([Contribution(next(aggregate_of().components()).binding)])
    with pytest.raises(PyProBoundError, match="nothing binds any probe"):
        contribution(nothing, BATCH)
    empty = CountBatch(SEQS[:0], BATCH.target[:0])
    with pytest.raises(PyProBoundError, match="nothing binds any probe"):
        contribution(aggregate_of(), empty)
    with pytest.raises(PyProBoundError, match="kernel 0"):
        contribution(aggregate_of(), BATCH, kernel=0)
