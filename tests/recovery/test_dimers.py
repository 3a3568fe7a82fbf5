"""Simulated reads of a dimer: both motifs and the spacing come back."""

from pathlib import Path
from typing import NamedTuple

import pytest
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
from pyprobound.uncertainty import Uncertainty
from tests.recovery.simulated import (
    DNA,
    correlation,
    either_strand,
    energies_of,
    fitted,
    library,
    motif,
    random_texts,
    set_energies,
    simulated,
)

FIRST = motif("TGAC", seed=1)
SECOND = motif("GGCAA", seed=2)
PEAKS = {("same", 6): 4.0, ("opposite", -7): 3.0}
"""log ω where it is not 0: b two letters to the right of a on its strand, or b two
letters to the left of a on the other one."""


class Model(NamedTuple):
    """A dimer of two motifs, which bind alone too, and non-specific binding."""

    first: layers.PSAM
    second: layers.PSAM
    spacing: Spacing
    dimer: Cooperativity
    selected: rounds.BoundUnsaturatedRound
    experiment: Experiment

    @classmethod
    def of(cls, table: CountTable, counts: Tensor | None = None) -> "Model":
        first = layers.PSAM(4, DNA, name="a")
        second = layers.PSAM(5, DNA, name="b")
        mode_a, mode_b = (Mode.from_psam(psam, table) for psam in (first, second))
        spacing = Spacing(mode_a.key(), mode_b.key(), max_overlap=0, max_spacing=4)
        dimer = Cooperativity(spacing, mode_a, mode_b)
        nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
        start = rounds.InitialRound()
        selected = rounds.BoundUnsaturatedRound.from_binding(
            [nonspecific, mode_a, mode_b, dimer], start
        )
        experiment = Experiment([start, selected], counts_per_round=counts)
        return cls(first, second, spacing, dimer, selected, experiment)


def truth(table: CountTable) -> Model:
    model = Model.of(table)
    model.experiment.double()
    set_energies(model.first, FIRST)
    set_energies(model.second, SECOND)
    middle = model.spacing.log_spacing.shape[1] // 2
    log_activities = (0.0, 0.0, 0.0, -3.0)
    with torch.no_grad():
        for (orientation, offset), value in PEAKS.items():
            row = int(orientation == "opposite")
            model.spacing.log_spacing[row, middle + offset] = value
        for part, value in zip(
            model.selected.aggregate.components(), log_activities, strict=True
        ):
            part.log_activity.fill_(value)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_dimer_comes_back_with_its_spacing(seed: int, tmp_path: Path) -> None:
    whole = library(random_texts(2000, 14, seed))
    true = truth(whole)
    drawn = simulated(true.experiment, whole, [500_000, 500_000], seed)
    table = CountTable(drawn, DNA)
    torch.manual_seed(seed)
    found = Model.of(table, table.counts_per_round)
    # Without a penalty, so that only the noise of the reads is in the way.
    model = MultiExperimentLoss([found.experiment], lambda_l2=0)
    fitted(model, table, tmp_path)

    first, turned_a = either_strand(energies_of(found.first), FIRST)
    second, turned_b = either_strand(energies_of(found.second), SECOND)
    assert (first - FIRST).abs().max() < 0.1
    assert (second - SECOND).abs().max() < 0.1

    # A motif found on its other strand swaps the strands; windows keep their places.
    turned = [axis for axis, is_so in enumerate((turned_a, turned_b)) if is_so]
    expected = true.dimer.get_log_spacing().detach()
    omega = found.dimer.get_log_spacing().detach().flip(turned)
    possible = expected.isfinite()
    assert torch.equal(omega.isfinite(), possible)
    for row, (_, offset) in enumerate(PEAKS):
        assert omega[row, 0].argmax() == offset + found.dimer.mode_a.n_windows - 1

    # Its mean trades against the dimer's activity.
    def profile_of(model: Model, turned: list[int]) -> Tensor:
        values = model.dimer.get_log_spacing().flip(turned)[:, 0][possible[:, 0]]
        return values - values.mean()

    uncertainty = Uncertainty(model, [table], widen=False)
    profile = uncertainty.of(lambda: profile_of(found, turned))
    true_profile = profile_of(true, []).detach()
    assert correlation(profile.value, true_profile) > 0.99
    assert profile.error.max() < 0.2
    deviations = (profile.value - true_profile) / profile.error
    assert deviations.abs().max() < 4
    # The mean of 20 squares, nearly independent: beyond 2.5 once in thousands.
    assert 0.2 < deviations.square().mean() < 2.5

    with torch.no_grad():
        scores = [
            each.selected.aggregate(table.seqs).double() for each in (true, found)
        ]
    assert correlation(scores[0], scores[1]) > 0.999
