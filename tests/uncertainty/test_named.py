"""Named quantities: what they are, that no gauge changes them, what is not known."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyprobound import MultiExperimentLoss
from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv1d
from pyprobound.uncertainty import Estimate, Uncertainty
from tests.fisher.models import CASES, experiment_of, modes_of, randomised, table_of
from tests.uncertainty.models import (
    LIBRARIES,
    LIBRARY,
    TOTAL,
    Dimeric,
    KdSeq,
    dimeric,
    fitted_kd_seq,
)


def errors_of(made: Dimeric | KdSeq) -> Uncertainty:
    """Return the errors of counts that scatter as the model says."""
    return Uncertainty(made.model, [made.table], widen=False)


def bias_of(made: Dimeric) -> Conv1d:
    layer = made.modes[1].chain[-1]
    assert isinstance(layer, Conv1d)
    return layer


def everything(made: Dimeric, found: Uncertainty) -> dict[str, Estimate]:
    """Return all that has a name."""
    parts = [made.part(each) for each in (*made.modes, made.dimer)]
    return {
        "letters": found.letters(made.psam(0)),
        "letters of b": found.letters(made.psam(1)),
        "differences": found.letter_differences(made.psam(0)),
        "pairs": found.pairs(made.psam(0), 1),
        "omega": found.log_omega(made.dimer),
        "cooperativity": found.cooperativity(made.selected, made.dimer),
        "bias": found.position_bias(bias_of(made)),
        "activities": found.of(lambda: torch.stack([*map(found._activity, parts)])),
        "ratio": found.activity_ratio(parts[0], parts[2]),
        "scores": found.scores(made.dimer, made.table.seqs[:6]),
    }


@torch.no_grad()
def in_another_gauge(made: Dimeric) -> None:
    """Move constants between parameters, so that all predictions stay."""
    letters = made.psam(0).betas
    pairs = letters.packed(1).view(-1, 4, 4)
    content = torch.tensor([0.3, -0.7, 0.1, 0.6])
    pairs += content[:, None]
    letters.packed(0)[:, :4] -= content
    letters.packed(0)[:, 4:] += 0.8
    made.psam(1).betas.packed(0)[:, :4] -= 1.1
    bias_of(made).log_posbias += 0.4
    made.dimer.spacing.log_spacing += 2.0
    first, second = 0.8, -1.1 + 0.4
    made.part(made.modes[0]).log_activity.sub_(first)
    made.part(made.modes[1]).log_activity.sub_(second)
    made.part(made.dimer).log_activity.sub_(first + second + 2.0)


def test_no_gauge_changes_named_quantities_or_their_errors() -> None:
    made = dimeric()
    before = everything(made, errors_of(made))
    with torch.no_grad():
        shares = next(iter(made.model.components()))(made.table.seqs)
        in_another_gauge(made)
        moved = next(iter(made.model.components()))(made.table.seqs)
    torch.testing.assert_close(moved, shares)
    after = everything(made, errors_of(made))
    for name, estimate in before.items():
        possible = estimate.value.isfinite()
        assert bool(estimate.is_identified[possible].all()), name
        torch.testing.assert_close(after[name].value, estimate.value, msg=name)
        torch.testing.assert_close(
            after[name].error, estimate.error, equal_nan=True, rtol=1e-5, atol=1e-7
        )


def by_differences(found: Uncertainty, function: Callable[[], Tensor]) -> Tensor:
    """Return standard errors from central differences of all parameters."""
    start, step = found.free.get(), 1e-5
    rows = []
    with torch.no_grad():
        for column in range(len(start)):
            ends = []
            for sign in (1, -1):
                moved = start.clone()
                moved[column] += sign * step
                found.free.set(moved)
                ends.append(function().double().flatten())
            rows.append((ends[0] - ends[1]) / (2 * step))
        found.free.set(start)
    jacobian = torch.stack(rows, 1)
    return ((jacobian @ found.covariance) * jacobian).sum(1).sqrt()


def test_errors_agree_with_a_gauge_that_is_fixed_by_hand() -> None:
    """Fix the gauge by `fix_gauge` at each of many points, and see what moves."""
    made = dimeric()
    found = errors_of(made)
    psam = made.psam(0)

    def energies() -> Tensor:
        betas, bias = psam.betas.flat().clone(), psam.bias.detach().clone()
        psam.fix_gauge()
        letters, pairs = (psam.get_filter(distance)[0] for distance in (0, 1))
        moved = psam.bias.clone()
        psam.betas.write(betas)
        psam.bias.copy_(bias)
        activity = made.part(made.modes[0]).log_activity + moved
        return torch.cat([letters.flatten(), pairs.flatten(), activity])

    expected = by_differences(found, energies)
    errors = [found.letters(psam).error, found.pairs(psam, 1).error]
    errors.append(found.log_activity(made.part(made.modes[0])).error)
    flat = torch.cat([each.flatten() for each in errors])
    torch.testing.assert_close(flat, expected, rtol=1e-5, atol=1e-7)


def test_omega_is_compared_with_its_best_arrangement() -> None:
    made = dimeric()
    found = errors_of(made)
    omega = found.log_omega(made.dimer)
    values = made.dimer.get_log_spacing().detach()
    possible = values.isfinite()
    assert possible.sum() == 6  # 2 to 4 letters apart, either first
    torch.testing.assert_close(omega.value, values - values.max())
    assert bool(omega.error[~possible].isnan().all())
    place = found.reference(made.dimer)
    assert place == int(values.argmax())
    assert omega.error.flatten()[place] == 0

    def contrasts() -> Tensor:
        now = made.dimer.get_log_spacing()[possible]
        return now - made.dimer.get_log_spacing().flatten()[place]

    expected = by_differences(found, contrasts)
    torch.testing.assert_close(omega.error[possible], expected, rtol=1e-5, atol=1e-7)


def test_an_arrangement_that_no_probe_shows_is_not_identified() -> None:
    made = dimeric()
    middle = made.dimer.spacing.log_spacing.shape[1] // 2
    with torch.no_grad():
        omega = made.dimer.spacing.log_spacing[0]
        omega.fill_(-1.0)
        omega[middle - 2] = -60.0  # as if it never happened
        omega[middle + 2] = 0.5
    found = errors_of(made).log_omega(made.dimer)
    possible = found.value[0, 0].isfinite()
    assert found.error[0, 0, middle + 2] == 0
    assert found.value[0, 0, middle - 2] == pytest.approx(-60.5)
    assert math.isnan(found.error[0, 0, middle - 2])
    assert int(found.is_identified[0, 0][possible].sum()) == 5


def test_cooperativity_is_what_binds_beyond_chance() -> None:
    made = dimeric()
    found = errors_of(made)
    parts = [made.part(each) for each in (made.dimer, *made.modes)]
    pair, first, second = (part.log_activity.detach() for part in parts)
    layer = bias_of(made)
    total = made.selected.aggregate.log_target_concentration.detach()
    expected = made.dimer.get_log_spacing().detach() + pair - first - second - total
    value = found.cooperativity(made.selected, made.dimer).value
    torch.testing.assert_close(value, expected)
    assert layer.log_posbias.any()  # a bias of b is in both, and cancels


def test_cooperativity_needs_both_modes_and_no_hill() -> None:
    biting = dimeric(hill=True)
    with pytest.raises(PyProBoundError, match="Hill"):
        errors_of(biting).cooperativity(biting.selected, biting.dimer)
    made = dimeric()
    found = errors_of(made)
    with torch.no_grad():
        made.part(made.modes[1]).log_activity.fill_(-math.inf)
    with pytest.raises(PyProBoundError, match="does not bind"):
        found.cooperativity(made.selected, made.dimer)


def test_a_hill_coefficient_has_an_error_where_it_is_trained() -> None:
    made = dimeric(hill=True)
    found = errors_of(made)
    own = {name: error for name, _, error in found.parameters()}
    (name,) = (each for each in own if "log_hill" in each)
    assert found.log_hill(made.modes[0]).error.item() == pytest.approx(own[name])
    assert own[name] > 0
    assert found.log_hill(made.modes[1]).error.item() == 0


def test_unsaturated_rounds_know_ratios_of_activities_only() -> None:
    table = table_of(n_rounds=3, n_probes=100)
    table.target *= 50
    experiment = experiment_of(table, modes_of(table))
    model = randomised(MultiExperimentLoss([experiment]))
    found = Uncertainty(model, [table], widen=False)
    _, first, second = experiment.rounds
    parts = [list(each.aggregate.components()) for each in (first, second)]
    assert not bool(found.log_activity(parts[0][0]).is_identified)
    assert not bool(found.activity_ratio(parts[0][1], parts[1][1]).is_identified)
    assert bool(found.activity_ratio(parts[0][0], parts[0][1]).is_identified)


def test_windows_that_no_probe_has_carry_no_bias() -> None:
    model, tables = CASES["reversed bias of lengths"]()
    found = Uncertainty(model, tables, largest_error=1e3)
    layer = next(m for m in model.modules() if isinstance(m, Conv1d))
    bias = found.position_bias(layer)
    windows = layer.log_posbias.shape[2]
    for row, length in enumerate(
        range(layer.min_input_length, layer.max_input_length + 1)
    ):
        n_own = layer.out_len(length)
        assert not bool(bias.is_identified[row, :, n_own:].any())
        assert n_own == windows or bool(bias.error[row, :, n_own:].isnan().all())
    seen = found.seen(layer.log_posbias)
    assert float(bias.value[seen].mean()) == pytest.approx(0, abs=1e-12)


def test_a_dimers_bias_is_centred_along_diagonals() -> None:
    model, tables = CASES["dimer with bias"]()
    found = Uncertainty(model, tables, largest_error=1e3)
    dimer = next(m for m in model.modules() if hasattr(m, "spacing"))
    estimates = found.dimer_bias(dimer)
    for estimate, bias in zip(estimates, dimer.log_posbias, strict=True):
        assert estimate.value.shape == bias.shape
        seen = found.seen(bias)
        for row in range(bias.shape[2]):
            own = seen[:, :, row, 0]
            if bool(own.any()):
                mean = float(estimate.value[:, :, row, 0][own].mean())
                assert mean == pytest.approx(0, abs=1e-12)


def test_free_protein_and_kd_of_kd_seq() -> None:
    made = fitted_kd_seq()
    found = errors_of(made)
    free = found.log_free_protein(made.experiment, *LIBRARIES)
    expected = math.log(made.experiment.free_protein(*LIBRARIES))
    assert free.value.item() == pytest.approx(expected)
    # reads that are expected instead of those counted: the same at the optimum
    totals = made.table.target.double().sum(1)

    def log_free() -> Tensor:
        reads = totals @ made.experiment(made.table.seqs).exp()
        depths = [each.log_depth for each in made.experiment.rounds]
        bound = reads[1] / reads[0] * (depths[0] - depths[1]).exp()
        return (TOTAL - LIBRARY * bound).log()[None]

    errors = by_differences(found, log_free)
    torch.testing.assert_close(free.error[None], errors, rtol=1e-4, atol=1e-7)
    seqs = made.table.seqs[:4]
    log_kd = found.log_kd(made.experiment, seqs, *LIBRARIES)
    z = made.bound.log_aggregate(seqs).detach()
    torch.testing.assert_close(log_kd.value, expected - z)
    errors = by_differences(found, lambda: log_free() - made.bound.log_aggregate(seqs))
    torch.testing.assert_close(log_kd.error, errors, rtol=1e-4, atol=1e-7)


def test_kd_of_the_best_site_is_that_of_one_window() -> None:
    made = fitted_kd_seq()
    found = errors_of(made)
    site = found.log_site_kd(made.experiment, made.mode, *LIBRARIES)
    best = made.psam.get_filter(0)[0].detach().max(0).values.sum()
    part = list(made.bound.aggregate.components())[1]
    free = math.log(made.experiment.free_protein(*LIBRARIES))
    expected = free - math.log(TOTAL) - part.log_activity.item() - best.item()
    assert site.value.item() == pytest.approx(expected)
    assert 0 < site.error.item() < 1
    nonspecific = next(iter(made.bound.aggregate.components())).binding
    with pytest.raises(PyProBoundError, match="no motif"):
        found.log_site_kd(made.experiment, nonspecific, *LIBRARIES)  # type: ignore[arg-type]


def test_a_concentration_that_is_fitted_too_leaves_no_absolute_kd() -> None:
    made = fitted_kd_seq()
    made.bound.aggregate.train_concentration = True
    found = errors_of(made)
    free = found.log_free_protein(made.experiment, *LIBRARIES)
    assert not bool(free.is_identified)
    given = found.log_free_protein(
        made.experiment, *LIBRARIES, target_concentration=TOTAL
    )
    assert bool(given.is_identified)


def test_no_protein_left_has_no_logarithm() -> None:
    made = fitted_kd_seq()
    found = errors_of(made)
    none = found.log_free_protein(
        made.experiment, *LIBRARIES, library_concentration=1e4
    )
    assert math.isnan(none.value.item())
    assert math.isnan(none.error.item())


def test_pairs_that_are_not_there_are_refused() -> None:
    made = dimeric()
    found = errors_of(made)
    with pytest.raises(PyProBoundError, match="no pairs at distance 2"):
        found.pairs(made.psam(0), 2)
