"""Standard errors: where they come from, what is not identified, what they cover."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    alphabets,
    layers,
    rounds,
)
from pyprobound.fisher import CountObjective, TrustRegion
from pyprobound.uncertainty import Uncertainty
from tests.fisher.models import CASES, randomised

DNA = alphabets.DNA()
N_PROBES, READS = 400, 200
N_SIMULATED = 16


def probes(letters: str = "ACGT") -> list[str]:
    """Return different random probes."""
    rng = np.random.default_rng(3)
    drawn = {"".join(rng.choice(list(letters), 8)): None for _ in range(N_PROBES)}
    return list(drawn)


def model_of(
    counts: np.ndarray, letters: str = "ACGT", *, both: bool = True
) -> tuple[MultiExperimentLoss, CountTable]:
    """Return a 3-mer and non-specific binding in a saturated round."""
    table = CountTable(pd.DataFrame(counts, index=probes(letters)), DNA)
    bindings = [
        Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table),
        Mode.from_psam(layers.PSAM(3, DNA, name="a", score_reverse=both), table),
    ]
    chain = rounds.repeat_round(bindings, 1, rounds.BoundRound)
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    return MultiExperimentLoss([experiment], lambda_l2=1e-9), table


def truth() -> MultiExperimentLoss:
    """Return the model that tables are drawn from: a motif that half saturates."""
    model, _ = model_of(np.ones((len(probes()), 2)))
    model.double()
    energies = torch.tensor([[1.5, -0.5, 0, -1], [-1, -0.5, 1.5, 0], [0, 1, -1, 0.5]])
    with torch.no_grad():
        psam_of(model).betas.packed(0).copy_(energies.view(1, -1))
        for name, parameter in model.named_parameters():
            if "log_activity" in name:
                parameter.fill_(-4.0)
    return model


def drawn(p: Tensor, seed: int, concentration: float = math.inf) -> np.ndarray:
    """Return the counts of a table; over-dispersed if the shares themselves scatter."""
    rng = np.random.default_rng(seed)
    shares = p.numpy()
    if concentration < math.inf:
        shares = np.stack([rng.dirichlet(concentration * row) for row in shares])
    return np.stack([rng.multinomial(READS, row) for row in shares]).astype(float)


def fitted(counts: np.ndarray) -> tuple[MultiExperimentLoss, CountTable]:
    """Return the truth's model, fitted to counts from the truth on."""
    model, table = model_of(counts)
    model.double()
    model.load_state_dict(truth().state_dict())
    model.unfreeze()
    for _ in TrustRegion(CountObjective(model, [table])).iterate():
        pass
    return model, table


def psam_of(model: MultiExperimentLoss) -> layers.PSAM:
    """Return the motif."""
    return next(m for m in model.modules() if isinstance(m, layers.PSAM))


def shares_of(model: MultiExperimentLoss) -> Tensor:
    """Return the truth's shares of the rounds, (probes, rounds)."""
    _, table = model_of(np.ones((len(probes()), 2)))
    with torch.no_grad():
        log_p: Tensor = next(iter(model.components()))(table.seqs)
    return log_p.exp()


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    true_model = truth()
    p = shares_of(true_model)
    letters = psam_of(true_model).get_filter(0)[:1].detach()
    expected = letters - letters.mean(1, keepdim=True)
    covered, deviations = [], []
    for seed in range(N_SIMULATED):
        model, table = fitted(drawn(p, seed))
        found = Uncertainty(model, [table], widen=False).letters(psam_of(model))
        low, high = found.interval
        covered.append((low <= expected) & (expected <= high))
        deviations.append((found.value - expected) / found.error)
    share = torch.stack(covered).double().mean()
    assert 0.9 < float(share) < 0.99
    assert float(torch.stack(deviations).square().mean()) == pytest.approx(1, abs=0.25)


def test_overdispersed_counts_widen_the_errors() -> None:
    p = shares_of(truth())
    model, table = fitted(drawn(p, 1, concentration=100.0))
    wide, narrow = (Uncertainty(model, [table], widen=w) for w in (True, False))
    # Dirichlet-multinomial: 1 + (K − 1) / (concentration + 1)
    assert wide.dispersion[0] == pytest.approx(1 + (READS - 1) / 101, rel=0.15)
    ratio = wide.letters(psam_of(model)).error / narrow.letters(psam_of(model)).error
    expected = torch.full_like(ratio, math.sqrt(wide.dispersion[0]))
    torch.testing.assert_close(ratio, expected)
    honest, same = fitted(drawn(p, 1))
    assert Uncertainty(honest, [same]).dispersion[0] == pytest.approx(1, abs=0.15)


def test_what_no_data_can_tell_is_not_identified() -> None:
    model, table = fitted(drawn(shares_of(truth()), 2))
    found = Uncertainty(model, [table])
    psam = psam_of(model)
    # a position's mean against the activity, three times
    assert found.unidentified.shape[1] == 3
    single = [error for name, _, error in found.parameters() if "betas" in name]
    assert all(map(math.isnan, single))
    assert bool(found.letters(psam).is_identified.all())
    assert bool(found.letter_differences(psam).is_identified.all())
    mean = found.of(lambda: psam.get_filter(0)[0].mean(0))
    assert not bool(mean.is_identified.any())


def test_a_letter_that_was_never_seen_is_not_identified() -> None:
    counts = np.random.default_rng(0).integers(1, 9, (len(probes("ACG")), 2))
    model, table = model_of(counts.astype(float), "ACG", both=False)
    randomised(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log_activity" in name:
                parameter.fill_(-2.0)
    found = Uncertainty(model, [table])
    # a mean of letters needs all of them
    assert not bool(found.letters(psam_of(model)).is_identified.any())
    differences = found.of(lambda: _differences(psam_of(model)))
    identified = differences.is_identified.all(1).tolist()
    assert identified == [True, True, False]  # C, G and T against A
    assert found.covariance.isfinite().all()


def _differences(psam: layers.PSAM) -> Tensor:
    letters = psam.get_filter(0)[0]
    return letters[1:] - letters[:1]


def test_score_differences_have_errors_and_scores_alone_do_not() -> None:
    model, table = fitted(drawn(shares_of(truth()), 2))
    found = Uncertainty(model, [table])
    mode = next(
        m for m in model.modules() if isinstance(m, Mode) and "a" in str(m.name)
    )
    seqs = table.seqs[:4]
    alone = found.of(lambda: mode(seqs))
    assert not bool(alone.is_identified.any())
    difference = found.of(lambda: mode(seqs)[1:] - mode(seqs)[:1])
    assert bool(difference.is_identified.all())
    rows = [
        found.free.gather(
            torch.autograd.grad(
                mode(seqs)[i] - mode(seqs)[0], found.free.tensors, allow_unused=True
            )
        )
        for i in (1, 2, 3)
    ]
    jacobian = torch.stack(rows)
    variance = (jacobian @ found.covariance @ jacobian.T).diagonal()
    torch.testing.assert_close(difference.error, variance.sqrt())


def test_the_covariance_of_one_table_is_the_inverse_of_its_information() -> None:
    model, tables = CASES["rho gamma"]()
    found = Uncertainty(model, tables, widen=False, largest_error=1e3)
    moments = CountObjective(model, tables).moments()[0]
    product = moments.information @ found.covariance @ moments.information
    torch.testing.assert_close(product, moments.information, rtol=1e-6, atol=1e-5)


def test_weights_of_tables_enter_the_scatter() -> None:
    model, tables = CASES["experiments"]()
    found = Uncertainty(model, tables, widen=False, largest_error=1e3)
    objective = CountObjective(model, tables)
    parts = [
        (weight / each.n_reads, each.information)
        for weight, each in zip(model.weights, objective.moments(), strict=True)
    ]
    bread = sum((a * info for a, info in parts), torch.zeros(()))
    filling = sum((a * a * info for a, info in parts), torch.zeros(()))
    product = bread @ found.covariance @ bread
    torch.testing.assert_close(product, filling, rtol=1e-5, atol=1e-9)


def test_frozen_parameters_stay_frozen() -> None:
    model, tables = CASES["motif"]()
    model.freeze()
    Uncertainty(model, tables).of(lambda: psam_of(model).get_filter(0))
    assert not any(parameter.requires_grad for parameter in model.parameters())
