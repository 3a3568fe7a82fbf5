"""Activities, and the aggregate log [P]_T + log Σ_a exp(log α_a + log 1/K_a)."""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pyprobound.aggregate import Aggregate, Contribution
from tests.unit.bindings import DOUBLE, LENGTH, Letters, plan

SEQS = torch.tensor([[0, 1, 2], [3, 3, 3], [2, 0, 3], [1, 1, 0]], dtype=torch.uint8)
FIRST = (0.3, -1.2, 2.0, 0.5)
SECOND = (-0.7, 0.4, 0.1, 1.5)


def two(first: float, second: float, concentration: float = 1.0) -> Aggregate:
    parts = [
        Contribution(Letters(FIRST, "a"), log_activity=first),
        Contribution(Letters(SECOND, "b"), log_activity=second),
    ]
    return Aggregate(parts, target_concentration=concentration).double()


def summed(scores: Sequence[float]) -> list[float]:
    """Σ over the letters of each probe, in plain Python."""
    return [
        math.fsum(math.exp(scores[letter]) for letter in probe)
        for probe in SEQS.tolist()
    ]


def activities(aggregate: Aggregate) -> list[float]:
    return [part.log_activity.item() for part in aggregate.components()]


def gradients(aggregate: Aggregate) -> list[Tensor]:
    return [
        torch.zeros(()) if parameter.grad is None else parameter.grad
        for parameter in aggregate.parameters()
    ]


# --- values ------------------------------------------------------------------------


def test_contribution_is_activity_plus_score() -> None:
    part = Contribution(Letters(FIRST), log_activity=-0.4).double()
    expected = [math.log(total) - 0.4 for total in summed(FIRST)]
    assert part(SEQS).tolist() == pytest.approx(expected, rel=1e-6)


def test_aggregate_is_concentration_times_the_sum_of_contributions() -> None:
    aggregate = two(-0.4, 1.1, concentration=30)
    expected = [
        math.log(30 * (math.exp(-0.4) * first + math.exp(1.1) * second))
        for first, second in zip(summed(FIRST), summed(SECOND), strict=True)
    ]
    assert aggregate(SEQS).tolist() == pytest.approx(expected, rel=1e-6)


def test_absent_contribution_adds_nothing_and_is_not_scored() -> None:
    aggregate = two(-0.4, -math.inf)
    absent = list(aggregate.components())[1].binding
    assert isinstance(absent, Letters)
    expected = [math.log(total) - 0.4 for total in summed(FIRST)]
    assert aggregate(SEQS).tolist() == pytest.approx(expected, rel=1e-6)
    assert absent.n_scored == 0


def test_absent_contribution_alone_is_minus_infinity_without_being_scored() -> None:
    binding = Letters(FIRST)
    assert (Contribution(binding)(SEQS) == -math.inf).all()
    assert Contribution(binding).expected_log_contribution() == -math.inf
    assert binding.n_scored == 0


def test_aggregate_of_absent_contributions_is_minus_infinity() -> None:
    aggregate = two(-math.inf, -math.inf)
    values = aggregate(SEQS)
    assert values.shape == (len(SEQS),)
    assert values.dtype == DOUBLE
    assert (values == -math.inf).all()
    assert aggregate.expected_log_aggregate() == -math.inf


def test_expected_aggregate_is_that_of_uniform_letters() -> None:
    aggregate = two(-0.4, 1.1, concentration=5)
    # A soft letter scores the mean, and each of the windows alike.
    expected = math.log(5 * LENGTH) + math.log(
        math.exp(-0.4 + sum(FIRST) / 4) + math.exp(1.1 + sum(SECOND) / 4)
    )
    assert aggregate.expected_log_aggregate() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_activity", [-600.0, 600.0])
def test_extreme_activities_neither_overflow_nor_vanish(log_activity: float) -> None:
    values = two(log_activity, log_activity)(SEQS)
    moderate = two(0.0, 0.0)(SEQS)
    assert torch.allclose(values, moderate + log_activity, rtol=1e-12)


# --- gradients ---------------------------------------------------------------------


def test_gradients_of_activities_concentration_and_scores() -> None:
    aggregate = two(-0.4, 1.1, concentration=3).requires_grad_()
    parameters = dict(aggregate.named_parameters())

    def output(*values: Tensor) -> Tensor:
        replaced = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(aggregate, replaced, (SEQS,))

    torch.autograd.gradcheck(output, tuple(parameters.values()))


@pytest.mark.parametrize("scores", [(-math.inf, 0.2, -math.inf, 1.0), (-math.inf,) * 4])
def test_gradients_are_finite_where_windows_are_absent(scores: tuple[float]) -> None:
    parts = [
        Contribution(Letters(scores), log_activity=0.3),
        Contribution(Letters((0.1, -math.inf, -math.inf, 0.2)), log_activity=-0.2),
    ]
    aggregate = Aggregate(parts, train_concentration=True).double()
    values = aggregate(SEQS)
    values.masked_fill(values == -math.inf, 0.0).sum().backward()
    assert all(gradient.isfinite().all() for gradient in gradients(aggregate))


def test_probe_that_nothing_binds_passes_no_gradient_to_the_bindings() -> None:
    aggregate = Aggregate(
        [Contribution(Letters((1.0, 1.0, 1.0, -math.inf)), log_activity=0.0)]
    )
    values = aggregate(SEQS[1:2])  # letter 3 alone
    assert values.item() == -math.inf
    values.sum().backward()
    assert all((gradient == 0).all() for gradient in gradients(aggregate))


# --- activities --------------------------------------------------------------------


def test_set_contribution_reaches_the_expected_contribution() -> None:
    part = Contribution(Letters(FIRST)).double()
    part.set_contribution(-1.5)
    assert part.expected_log_contribution() == pytest.approx(-1.5)


@pytest.mark.parametrize(("asked", "kept"), [(-1.0, -1.0), (1.0, 0.0), (0.0, 0.0)])
def test_only_decrease_never_raises_the_activity(asked: float, kept: float) -> None:
    part = Contribution(Letters(FIRST)).double()
    part.set_contribution(0)
    part.set_contribution(asked, only_decrease=True)
    assert part.expected_log_contribution() == pytest.approx(kept, abs=1e-12)


def test_only_decrease_leaves_an_absent_contribution_absent() -> None:
    part = Contribution(Letters(FIRST))
    part.set_contribution(0, only_decrease=True)
    assert part.is_absent


def test_binding_that_cannot_bind_keeps_its_activity() -> None:
    impossible = Contribution(Letters((-math.inf,) * 4))
    impossible.set_contribution(0)
    assert impossible.is_absent


def test_first_contribution_is_given_an_expected_value_of_one() -> None:
    aggregate = two(-math.inf, -math.inf, concentration=7)
    aggregate.activity_heuristic(next(aggregate.components()))
    assert aggregate.expected_log_aggregate() == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("frac", [None, 0.01, 0.5, 0.9])
def test_new_contribution_takes_its_fraction_and_the_sum_stays(
    frac: float | None,
) -> None:
    aggregate = two(0.7, -math.inf, concentration=2)
    old, new = aggregate.components()
    before = aggregate.expected_log_aggregate()
    aggregate.activity_heuristic(new, frac)
    fraction = 0.05 if frac is None else frac
    assert aggregate.expected_log_aggregate() == pytest.approx(before)
    share = new.expected_log_contribution() + math.log(2) - before
    assert share == pytest.approx(math.log(fraction))
    share = old.expected_log_contribution() + math.log(2) - before
    assert share == pytest.approx(math.log(1 - fraction))


def test_own_fraction_of_a_contribution_is_the_default() -> None:
    new = Contribution(Letters(SECOND), activity_heuristic=0.25)
    aggregate = Aggregate([Contribution(Letters(FIRST), log_activity=0.0), new])
    before = aggregate.expected_log_aggregate()
    aggregate.activity_heuristic(new)
    share = new.expected_log_contribution() - before
    assert share == pytest.approx(math.log(0.25), rel=1e-5)


def test_contribution_that_is_present_is_left_alone() -> None:
    aggregate = two(0.7, -0.3)
    before = activities(aggregate)
    aggregate.activity_heuristic(next(aggregate.components()))
    assert activities(aggregate) == before


def test_activity_that_is_not_trained_is_never_scaled() -> None:
    fixed = Contribution(Letters(FIRST), train_activity=False, log_activity=0.2)
    new = Contribution(Letters(SECOND))
    aggregate = Aggregate([fixed, new])
    before = fixed.log_activity.item()
    aggregate.activity_heuristic(new)
    assert fixed.log_activity.item() == before
    assert not new.is_absent


def test_nothing_makes_room_for_a_binding_that_cannot_bind() -> None:
    new = Contribution(Letters((-math.inf,) * 4))
    aggregate = Aggregate([Contribution(Letters(FIRST), log_activity=0.2), new])
    before = activities(aggregate)
    aggregate.activity_heuristic(new)
    assert activities(aggregate) == before


def test_heuristic_refuses_a_contribution_of_another_aggregate() -> None:
    stranger = Contribution(Letters(FIRST, "z"))
    with pytest.raises(ValueError, match=r"Letters-z.*Letters-a"):
        two(0.0, 0.0).activity_heuristic(stranger)


# --- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize("frac", [-0.1, 0.0, 1.0, 2.0, math.nan])
def test_fraction_outside_zero_to_one_is_refused(frac: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Contribution(Letters(FIRST), activity_heuristic=frac)
    aggregate = two(0.0, -math.inf)
    with pytest.raises(ValueError, match="between 0 and 1"):
        aggregate.activity_heuristic(list(aggregate.components())[1], frac)


def test_same_binding_twice_is_refused() -> None:
    binding = Letters(FIRST, "a")
    with pytest.raises(ValueError, match=r"Letters-a.*twice"):
        Aggregate.from_binding([binding, binding])


def test_aggregate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one binding"):
        Aggregate([])


@pytest.mark.parametrize("concentration", [0, -1.0, math.inf, math.nan])
def test_concentration_must_be_positive(concentration: float) -> None:
    with pytest.raises(ValueError, match="target_concentration"):
        two(0.0, 0.0, concentration=concentration)


# --- what is trained ---------------------------------------------------------------


def test_gradients_at_construction_follow_the_arguments() -> None:
    assert Contribution(Letters(FIRST)).log_activity.requires_grad
    fixed = Contribution(Letters(FIRST), train_activity=False)
    assert not fixed.log_activity.requires_grad
    assert not two(0.0, 0.0).log_target_concentration.requires_grad
    trained = Aggregate.from_binding([Letters(FIRST)], train_concentration=True)
    assert trained.log_target_concentration.requires_grad


@pytest.mark.parametrize("word", ["all", "activity"])
def test_absent_contribution_cannot_be_unfrozen(word: str) -> None:
    part = Contribution(Letters(FIRST, "a"))
    with pytest.raises(ValueError, match=r"Contribution\( Letters-a \) is absent"):
        part.unfreeze(word)


def test_unfreezing_an_aggregate_skips_what_is_absent() -> None:
    aggregate = two(0.0, -math.inf)
    aggregate.freeze()
    aggregate.unfreeze()
    present, absent = aggregate.components()
    assert all(parameter.requires_grad for parameter in present.parameters())
    assert not any(parameter.requires_grad for parameter in absent.parameters())
    assert not aggregate.log_target_concentration.requires_grad


def test_unfreeze_heeds_what_is_not_to_be_trained() -> None:
    fixed = Contribution(Letters(FIRST), train_activity=False, log_activity=0.0)
    aggregate = Aggregate([fixed])
    aggregate.unfreeze("concentration")
    assert not aggregate.log_target_concentration.requires_grad
    fixed.unfreeze("activity")
    assert not fixed.log_activity.requires_grad


def test_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match="concentration"):
        two(0.0, 0.0).unfreeze("activity")
    with pytest.raises(ValueError, match="activity"):
        Contribution(Letters(FIRST), log_activity=0.0).unfreeze("concentration")


# --- plan, names, files ------------------------------------------------------------


def test_plan_lets_each_binding_enter_and_then_trains_all() -> None:
    assert plan(two(0.0, 0.0)) == [
        "Aggregate.freeze()",
        "Aggregate.activity_heuristic(contribution=Contribution( Letters-a ))",
        "LetterSpec-a.unfreeze(parameter=all)",
        "Aggregate.unfreeze(parameter=all)",
        "Aggregate.freeze()",
        "Aggregate.activity_heuristic(contribution=Contribution( Letters-b ))",
        "LetterSpec-b.unfreeze(parameter=all)",
        "Aggregate.unfreeze(parameter=all)",
    ]


def test_names_of_saved_parameters() -> None:
    assert set(two(0.0, -math.inf).state_dict()) == {
        "log_target_concentration",
        "contributions.0.log_activity",
        "contributions.0.binding.spec.scores",
        "contributions.1.log_activity",
        "contributions.1.binding.spec.scores",
    }


def test_copy_scores_alike_and_shares_nothing() -> None:
    aggregate = two(0.3, -0.2)
    twin = copy.deepcopy(aggregate)
    assert torch.equal(twin(SEQS), aggregate(SEQS))
    next(twin.components()).set_contribution(5)
    assert not torch.equal(twin(SEQS), aggregate(SEQS))
