"""Models of which all is known, and fits of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    alphabets,
    layers,
    rounds,
)
from pyprobound.aggregate import Contribution
from pyprobound.fisher import CountObjective, TrustRegion
from tests.fisher.models import randomised, table_of

DNA = alphabets.DNA()


@dataclass(frozen=True)
class Dimeric:
    """Two motifs and their dimer, in one saturated round."""

    model: MultiExperimentLoss
    table: CountTable
    selected: rounds.Round
    modes: list[Mode]
    dimer: Cooperativity

    def part(self, binding: object) -> Contribution:
        """Return the activity of a binding."""
        parts = self.selected.aggregate.components()
        return next(part for part in parts if part.binding is binding)

    def psam(self, index: int) -> layers.PSAM:
        """Return a motif."""
        spec = self.modes[index].chain[-1].layer_spec
        assert isinstance(spec, layers.PSAM)
        return spec


def dimeric(*, hill: bool = False) -> Dimeric:
    """Return a model that the table says everything about that can be said.

    Motif a has letter pairs, motif b a position bias, the dimer few arrangements.
    """
    table = table_of(n_probes=300, lengths=(6, 6))
    table.target *= 10_000
    nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
    first = layers.PSAM(2, DNA, name="a", pairwise_distance=1, score_reverse=False)
    second = layers.PSAM(2, DNA, name="b", score_reverse=False)
    modes = [
        Mode.from_psam(first, table, train_hill=hill),
        Mode.from_psam(second, table, train_posbias=True, bias_bin=2),
    ]
    spacing = Spacing(modes[0].key(), modes[1].key(), max_overlap=0, max_spacing=2)
    dimer = Cooperativity(spacing, *modes)
    selected = rounds.BoundRound.from_binding(
        [nonspecific, *modes, dimer], rounds.InitialRound()
    )
    start = selected.reference_round
    assert start is not None
    experiment = Experiment([start, selected], counts_per_round=table.counts_per_round)
    model = randomised(MultiExperimentLoss([experiment]))
    with torch.no_grad():
        for part in selected.aggregate.components():
            part.log_activity.fill_(-2.0)
        for each in (nonspecific, modes[1], dimer):
            each.log_hill.zero_()
        for bias in dimer.log_posbias:
            bias.zero_()
        if not hill:
            modes[0].log_hill.zero_()
    return Dimeric(model, table, selected, modes, dimer)


@dataclass(frozen=True)
class KdSeq:
    """A motif and non-specific binding in input, bound and unbound library."""

    model: MultiExperimentLoss
    table: CountTable
    experiment: Experiment
    bound: rounds.BoundRound
    mode: Mode

    @property
    def psam(self) -> layers.PSAM:
        """The motif."""
        spec = self.mode.chain[-1].layer_spec
        assert isinstance(spec, layers.PSAM)
        return spec


INPUT, BOUND, UNBOUND = LIBRARIES = 0, 1, 2
TOTAL, LIBRARY, READS = 10.0, 8.0, 300


def kd_seq_of(counts: np.ndarray, probes: list[str]) -> KdSeq:
    """Return the model of some counts."""
    table = CountTable(pd.DataFrame(counts, index=probes), DNA)
    motif = layers.PSAM(2, DNA, name="a", score_reverse=False)
    mode = Mode.from_psam(motif, table)
    nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
    start = rounds.InitialRound()
    bound = rounds.BoundRound.from_binding(
        [nonspecific, mode],
        start,
        target_concentration=TOTAL,
        library_concentration=LIBRARY,
    )
    unbound = rounds.UnboundRound.from_round(bound)
    experiment = Experiment(
        [start, bound, unbound], counts_per_round=table.counts_per_round
    )
    model = MultiExperimentLoss([experiment], lambda_l2=1e-9)
    model.double()
    return KdSeq(model, table, experiment, bound, mode)


def fitted_kd_seq(n_probes: int = 80, seed: int = 0) -> KdSeq:
    """Return a fit to counts that were drawn from a known model."""
    rng = np.random.default_rng(seed)
    drawn = {"".join(rng.choice(list("ACGT"), 5)): None for _ in range(n_probes)}
    probes = list(drawn)
    truth = kd_seq_of(np.ones((len(probes), 3)), probes)
    with torch.no_grad():
        energies = [1.5, -0.5, -0.5, -0.5, -0.5, 1.5, -0.5, -0.5]
        truth.psam.betas.packed(0).copy_(torch.tensor([energies]))
        for part in truth.bound.aggregate.components():
            part.log_activity.fill_(-4.0)
        shares = truth.experiment(truth.table.seqs).exp().numpy()
    made = kd_seq_of(rng.multinomial(READS, shares).astype(float), probes)
    made.model.load_state_dict(truth.model.state_dict())
    made.model.unfreeze()
    for _ in TrustRegion(CountObjective(made.model, [made.table])).iterate():
        pass
    return made
