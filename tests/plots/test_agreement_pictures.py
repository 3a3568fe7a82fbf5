"""What pictures of agreement look like."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from pyprobound import CountBatch, CountTable, Experiment, Mode, alphabets, layers
from pyprobound.plotting import (
    Counts,
    contribution,
    kd_consistency,
    keff_consistency,
    kmer_enrichment,
    predicted_counts,
    probe_enrichment,
)
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from tests.plots.images import assert_looks_like
from tests.plots.selections import drawn, kd_seq, kinetics, selex

DNA = alphabets.DNA()
KMERS = 2000


def pools_of_probes() -> Figure:
    """Pools along the diagonal, and two without reads in a round."""
    experiment = selex()
    batch = drawn(experiment, 600)
    predicted = predicted_counts(experiment, batch).predicted
    batch.target[predicted[:, 2] > 0.8 * batch.target.sum(1), 0] = 0
    return probe_enrichment(
        experiment, batch, kernel=20, counts=Counts(batch.target, predicted)
    )


def single_probes() -> Figure:
    """Hexagons, and rows of probes at 0 and ∞."""
    experiment = selex()
    batch = drawn(experiment, 3000, 9)
    return probe_enrichment(experiment, batch, kernel=1, title="Single probes")


def kmers() -> Figure:
    """Words, three of which are named."""
    rng = np.random.default_rng(8)
    letters = rng.choice(list("ACGT"), (KMERS, 9))
    probes = ["".join(row) for row in letters]
    sites = np.array(["TAAT" in x or "ATTA" in x for x in probes])
    counts = np.stack([np.full(KMERS, 9), np.where(sites, 40, 8)], axis=1)
    table = CountTable(pd.DataFrame(counts, index=probes), DNA)
    psam = layers.PSAM(4, DNA, name="tf", seed=["TAAT"], seed_scale=3)
    start = InitialRound(name="R0")
    last = BoundUnsaturatedRound.from_binding(
        [Mode.from_psam(psam, table)], start, name="R1"
    )
    for part in last.aggregate.components():
        part.set_contribution(0)
    experiment = Experiment([start, last])
    ratio = counts[:, 1].sum() / counts[:, 0].sum()
    with torch.no_grad():
        last.log_depth.fill_(math.log(ratio) - last.log_enrichment(table.seqs).mean())
    return kmer_enrichment(experiment, table, kernel=200)


def constants() -> Figure:
    experiment = kd_seq()
    batch = drawn(experiment, 800)
    experiment.counts_per_round = batch.target.sum(0)
    return kd_consistency(experiment, 0, 1, 2, batch, kernel=40, unit="nM")


def rates() -> Figure:
    """Two times, in colours of their own."""
    experiment = kinetics()
    batch = drawn(experiment, 800)
    return keff_consistency(experiment, batch, kernel=50, unit="1/min")


def shares() -> Figure:
    experiment = selex()
    seqs = torch.from_numpy(
        np.random.default_rng(4).integers(0, 4, (2000, 6)).astype(np.uint8)
    )
    batch = CountBatch(seqs, torch.ones(2000, 3))
    return contribution(experiment.rounds[1], batch, kernel=20)


PICTURES = {
    "agreement_pools_of_probes": pools_of_probes,
    "agreement_single_probes": single_probes,
    "agreement_kmers": kmers,
    "agreement_constants": constants,
    "agreement_rates": rates,
    "agreement_shares": shares,
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_looks_as_it_did(name: str) -> None:
    assert_looks_like(PICTURES[name](), name)
