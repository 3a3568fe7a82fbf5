"""Intervals of spacings and of dissociation constants cover the truth as they say.

A small version of `benchmarks/intervals.py`; that of a motif is in `test_uncertainty`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    layers,
    rounds,
)
from pyprobound.fisher import CountObjective, TrustRegion
from pyprobound.uncertainty import Uncertainty
from tests.recovery.simulated import DNA, motif, random_texts, set_energies

N_PROBES, READS = 500, 400
N_SIMULATED = 12
PROTEIN, LIBRARY = 20.0, 10.0


class System(NamedTuple):
    """A model, its table, and what intervals are asked for."""

    model: MultiExperimentLoss
    table: CountTable
    wanted: Callable[[], Tensor]

    @property
    def experiment(self) -> Experiment:
        (experiment,) = self.model.components()
        assert isinstance(experiment, Experiment)
        return experiment


@torch.no_grad()
def set_activities(selected: rounds.Round, values: list[float]) -> None:
    for part, value in zip(selected.aggregate.components(), values, strict=True):
        part.log_activity.fill_(value)


def dimer(table: CountTable) -> System:
    """Return two motifs and their dimer; its spacings are wanted."""
    psams = [layers.PSAM(4, DNA, name="a"), layers.PSAM(5, DNA, name="b")]
    first, second = (Mode.from_psam(psam, table) for psam in psams)
    spacing = Spacing(first.key(), second.key(), max_overlap=0, max_spacing=1)
    pair = Cooperativity(spacing, first, second)
    nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
    bindings = [nonspecific, first, second, pair]
    start = rounds.InitialRound()
    selected = rounds.BoundUnsaturatedRound.from_binding(bindings, start)
    experiment = Experiment([start, selected], counts_per_round=table.counts_per_round)
    for psam, (consensus, seed) in zip(psams, (("TGAC", 1), ("GGCAA", 2)), strict=True):
        set_energies(psam, 0.6 * motif(consensus, seed))
    set_activities(selected, [0.0, 0.0, 0.0, 0.0])
    with torch.no_grad():
        values = torch.linspace(-1, 1, spacing.log_spacing.numel())
        spacing.log_spacing.copy_(values.view_as(spacing.log_spacing))

    def profile() -> Tensor:
        omega = pair.get_log_spacing()[:, 0]
        values = omega[omega.detach().isfinite()]
        return values - values.mean()

    model = MultiExperimentLoss([experiment], lambda_l2=0).double()
    return System(model, table, profile)


def kd_seq(table: CountTable) -> System:
    """Return a Kd-seq; log [P]_F and log K_D of some probes are wanted."""
    psam = layers.PSAM(3, DNA, name="a")
    nonspecific = layers.NonSpecific(DNA, name="ns")
    modes = [Mode.from_nonspecific(nonspecific, table), Mode.from_psam(psam, table)]
    start = rounds.InitialRound()
    bound = rounds.BoundRound.from_binding(
        modes, start, target_concentration=PROTEIN, library_concentration=LIBRARY
    )
    chain = [start, bound, rounds.UnboundRound.from_round(bound)]
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    set_energies(psam, 0.5 * motif("TGA", 1))
    set_activities(bound, [-7.0, -5.0])

    def constants() -> Tensor:
        reads = table.target.sum(1).double() @ experiment(table.seqs).exp()
        log_bound = (reads[1] / reads[0]).log() + start.log_depth - bound.log_depth
        log_free = (PROTEIN - LIBRARY * log_bound.exp()).log()
        of_probes = log_free - bound.log_aggregate(table.seqs[::50])
        return torch.cat([log_free[None], of_probes])

    model = MultiExperimentLoss([experiment], lambda_l2=0).double()
    return System(model, table, constants)


def deviations_of(
    build: Callable[[CountTable], System], n_rounds: int, length: int
) -> Tensor:
    """Return (found − true) / error of what is wanted, (simulations, values)."""
    texts = random_texts(N_PROBES, length, seed=0)

    def table_of(counts: np.ndarray) -> CountTable:
        return CountTable(pd.DataFrame(counts.astype(float), index=texts), DNA)

    true = build(table_of(np.ones((N_PROBES, n_rounds))))
    with torch.no_grad():
        for each in true.experiment.rounds:  # about as many reads of each
            assert isinstance(each, rounds.BaseRound)
            enrichment = each.log_cumulative_enrichment(true.table.seqs).exp()
            each.log_depth.copy_(-enrichment.mean().log())
        p = true.experiment(true.table.seqs).exp().numpy()
    state = true.model.state_dict()
    # the truth holds for the reads that are expected of it
    likely = build(table_of(READS * p))
    likely.model.load_state_dict(state)
    expected = likely.wanted().detach()
    rows = []
    for seed in range(N_SIMULATED):
        counts = np.random.default_rng(seed).multinomial(READS, p)
        system = build(table_of(counts))
        system.model.load_state_dict(state)
        system.model.unfreeze()
        for _ in TrustRegion(CountObjective(system.model, [system.table])).iterate():
            pass
        found = Uncertainty(system.model, [system.table], widen=False).of(system.wanted)
        rows.append((found.value - expected) / found.error)
    return torch.stack(rows)


def test_intervals_of_spacings_cover_the_truth() -> None:
    deviations = deviations_of(dimer, 2, length=12)
    assert deviations.shape[1] >= 8
    # 84 values are independent: the standard deviation of the mean is 0.15
    assert 0.5 < deviations.square().mean() < 1.6
    assert 0.88 < (deviations.abs() < 1.96).double().mean() < 0.995


def test_intervals_of_dissociation_constants_cover_the_truth() -> None:
    deviations = deviations_of(kd_seq, 3, length=8)
    # values of one simulation vary together
    assert 0.2 < deviations.square().mean() < 2.5
    assert (deviations.abs() < 1.96).double().mean() > 0.8
