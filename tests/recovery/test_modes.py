"""Simulated reads of one motif: its energies, activities and K_D come back."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    MultiRoundMSLELoss,
    layers,
    rounds,
)
from pyprobound.loss import Loss
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

TRUTH = motif("TGACA", seed=1)


def bindings(table: CountTable, size: int = 5) -> tuple[layers.PSAM, list[Mode]]:
    """Non-specific binding and one motif."""
    psam = layers.PSAM(size, DNA, name="a")
    nonspecific = layers.NonSpecific(DNA, name="ns")
    modes = [Mode.from_nonspecific(nonspecific, table), Mode.from_psam(psam, table)]
    return psam, modes


def selection(
    modes: list[Mode], kind: type[rounds.Round], counts: Tensor | None = None
) -> Experiment:
    """One round of selection from an initial library."""
    start = rounds.InitialRound()
    selected = kind.from_binding(modes, start)
    return Experiment([start, selected], counts_per_round=counts)


@torch.no_grad()
def set_activities(experiment: Experiment, log_activities: list[float]) -> None:
    _, selected, *_ = experiment.components()
    (aggregate,) = selected.components()
    for part, value in zip(aggregate.components(), log_activities, strict=True):
        part.log_activity.fill_(value)


def true_and_drawn(
    kind: type[rounds.Round], log_activities: list[float], seed: int
) -> tuple[Experiment, CountTable]:
    """A true experiment, and a table of counts drawn from it."""
    table = library(random_texts(3000, 12, seed))
    psam, modes = bindings(table)
    truth = selection(modes, kind).double()
    set_energies(psam, TRUTH)
    set_activities(truth, log_activities)
    frame = simulated(truth, table, [300_000, 300_000], seed)
    return truth, CountTable(frame, DNA)


def covariance_of_energies(
    model: MultiExperimentLoss, table: CountTable, psam: layers.PSAM
) -> Tensor:
    """Return the covariance of mean-centred energies, from the likelihood's curvature.

    Directions in which the likelihood is flat (the gauge) are left out.

    Returns:
        (positions · letters, positions · letters).
    """
    packed = psam.betas.packed(0)
    parameters = [packed] + [
        other
        for other in model.parameters()
        if other.requires_grad and other is not packed
    ]
    loss: Loss = model([table])
    total = loss.negloglik * table.target.sum().double()
    slopes = torch.autograd.grad(total, parameters, create_graph=True)
    rows = [
        torch.cat([part.flatten() for part in second])
        for slope in slopes
        for entry in slope.flatten()
        for second in [torch.autograd.grad(entry, parameters, retain_graph=True)]
    ]
    covariance = torch.linalg.pinv(torch.stack(rows), hermitian=True, rtol=1e-9)
    n_betas = packed.numel()
    # Packed position by position; the mean of each position is the gauge.
    centring = (torch.eye(4) - 1 / 4).double()
    project = torch.kron(torch.eye(n_betas // 4).double(), centring)
    centred: Tensor = project @ covariance[:n_betas, :n_betas] @ project.T
    return centred


@pytest.mark.parametrize("seed", [0, 1])
def test_energies_come_back_within_their_standard_errors(
    seed: int, tmp_path: Path
) -> None:
    _, table = true_and_drawn(rounds.BoundUnsaturatedRound, [-2.0, 0.0], seed)
    torch.manual_seed(seed)
    psam, modes = bindings(table)
    experiment = selection(modes, rounds.BoundUnsaturatedRound, table.counts_per_round)
    # Without a penalty, so that only the noise of the reads is in the way.
    model = MultiExperimentLoss([experiment], lambda_l2=0)
    fitted(model, table, tmp_path)
    energies, turned = either_strand(energies_of(psam), TRUTH)
    covariance = covariance_of_energies(model, table, psam)
    # Position by position, as packed; the other strand is read from the end.
    difference = (energies - TRUTH).T.flatten()
    difference = difference.flip(0) if turned else difference
    errors = covariance.diagonal().sqrt()
    assert errors.max() < 0.2
    assert (difference / errors).abs().max() < 4
    # χ² of 15 independent numbers: beyond 35 once in four hundred.
    chi2 = difference @ torch.linalg.pinv(covariance, hermitian=True) @ difference
    assert 3 < chi2 < 35


def test_saturation_sets_the_scale_of_the_partition_function(tmp_path: Path) -> None:
    truth, table = true_and_drawn(rounds.BoundRound, [-8.0, -5.0], 3)
    _, modes = bindings(table)
    experiment = selection(modes, rounds.BoundRound, table.counts_per_round)
    model = MultiExperimentLoss([experiment])
    fitted(model, table, tmp_path)
    with torch.no_grad():
        true, found = (
            list(each.components())[1].log_aggregate(table.seqs)
            for each in (truth, experiment)
        )
    # Probes on both sides of half occupancy, which alone makes Z absolute.
    assert true.quantile(0.9) > 0.5
    assert true.quantile(0.1) < -0.5
    assert (found - true).abs().mean() < 0.1
    assert (found - true).abs().max() < 0.3


def kd_seq(
    table: CountTable, counts: Tensor | None = None
) -> tuple[layers.PSAM, Experiment]:
    """Input, bound and unbound libraries; 20 units of protein, 10 of DNA."""
    psam, modes = bindings(table)
    start = rounds.InitialRound()
    bound = rounds.BoundRound.from_binding(
        modes, start, target_concentration=20, library_concentration=10
    )
    unbound = rounds.UnboundRound.from_round(bound)
    return psam, Experiment([start, bound, unbound], counts_per_round=counts)


def dissociation_constants(experiment: Experiment, seqs: Tensor, free: float) -> Tensor:
    bound = list(experiment.components())[1]
    with torch.no_grad():
        return math.log(free) - bound.log_aggregate(seqs).double()


def test_bound_and_unbound_reads_give_absolute_dissociation_constants(
    tmp_path: Path,
) -> None:
    whole = library(random_texts(3000, 12, 4))
    true_psam, truth = kd_seq(whole)
    truth.double()
    set_energies(true_psam, TRUTH)
    set_activities(truth, [-11.0, -8.0])
    with torch.no_grad():
        bound = list(truth.components())[1]
        fraction = bound.log_enrichment(whole.seqs).exp().mean().item()
    assert 0.3 < fraction < 0.7
    free = 20 - 10 * fraction
    drawn = simulated(truth, whole, [400_000] * 3, seed=4)
    table = CountTable(drawn, DNA)
    _, experiment = kd_seq(table, table.counts_per_round)
    # Without a penalty, so that only the noise of the reads is in the way.
    model = MultiExperimentLoss([experiment], lambda_l2=0)
    fitted(model, table, tmp_path)
    found = experiment.free_protein(0, 1, 2)
    assert found == pytest.approx(free, rel=0.02)
    expected = dissociation_constants(truth, table.seqs, free)
    constants = dissociation_constants(experiment, table.seqs, found)
    best = expected < expected.quantile(0.5)
    assert (constants - expected)[best].abs().max() < 0.15
    assert (constants - expected).mean().abs() < 0.02
    check_intervals(model, table, math.log(free), expected)


def check_intervals(
    model: MultiExperimentLoss, table: CountTable, log_free: float, expected: Tensor
) -> None:
    """Check that log [P]_F and log K_D of single probes are as uncertain as is said."""
    (experiment,) = model.components()
    assert isinstance(experiment, Experiment)
    _, bound, _ = experiment.components()
    places = expected.argsort()[:: len(expected) // 16]  # from the best to the worst

    def values() -> Tensor:
        # The reads that the model expects, which at the optimum are those observed:
        # they scatter together with the depths.
        reads = table.target.sum(1).double() @ experiment(table.seqs).exp()
        depths = torch.stack([each.log_depth for each in experiment.components()])
        log_shares = reads.log() - depths
        log_found = (20 - 10 * (log_shares[1] - log_shares[0]).exp()).log()
        constants = log_found - bound.log_aggregate(table.seqs[places])
        return torch.cat([log_found[None], constants])

    found = Uncertainty(model, [table], widen=False).of(values)
    assert found.value[0].exp().item() == pytest.approx(
        experiment.free_protein(0, 1, 2), rel=1e-5
    )
    assert found.error.max() < 0.1
    true = torch.cat([torch.tensor([log_free]).double(), expected[places]])
    deviations = (found.value - true) / found.error
    assert deviations.abs().max() < 4
    # Few of the squares are independent: a mean beyond 5 once in thousands.
    assert deviations.square().mean() < 5


def test_intensities_of_a_microarray_give_the_motif(tmp_path: Path) -> None:
    texts = random_texts(1500, 14, 5)
    whole = library(texts)
    psam, modes = bindings(whole)
    truth = rounds.BoundRound.from_binding(modes, None).double()
    set_energies(psam, TRUTH)
    with torch.no_grad():
        for part, value in zip(truth.aggregate.components(), (-9.0, -6.5), strict=True):
            part.log_activity.fill_(value)
        noise = torch.randn(len(texts), generator=torch.Generator().manual_seed(6))
        log_intensity = 7 + truth(whole.seqs) + 0.1 * noise
    whole.target = log_intensity.exp().float()[:, None]
    torch.manual_seed(0)
    psam, modes = bindings(whole)
    found = rounds.BoundRound.from_binding(modes, None)
    model = MultiRoundMSLELoss([found])
    best = fitted(model, whole, tmp_path)
    energies, _ = either_strand(energies_of(psam), TRUTH)
    assert best == pytest.approx(0.01, rel=0.15)  # the noise's variance
    assert correlation(energies, TRUTH) > 0.99
    assert (energies - TRUTH).abs().max() < 0.25
    assert found.log_depth.item() == pytest.approx(7, abs=0.2)
