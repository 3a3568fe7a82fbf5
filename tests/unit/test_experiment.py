"""How reads spread over the observed rounds, and what belongs to an experiment."""

import copy
import io
import math
from collections.abc import Sequence

import pytest
import torch

from pyprobound._evaluation import Evaluation
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.experiment import Experiment
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    UnboundRound,
    repeat_round,
)
from tests.unit.bindings import DOUBLE, Letters, plan

SEQS = torch.tensor([[0, 1, 2], [3, 3, 3], [2, 0, 3]], dtype=torch.uint8)
FIRST = (0.3, -1.2, 2.0, 0.5)


def aggregate(log_activity: float = 0.0, scores: Sequence[float] = FIRST) -> Aggregate:
    return Aggregate([Contribution(Letters(scores, "a"), log_activity=log_activity)])


def log_softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    total = math.fsum(math.exp(logit - top) for logit in logits)
    return [logit - top - math.log(total) for logit in logits]


def bias_chain() -> tuple[InitialRound, BoundUnsaturatedRound, BoundRound]:
    """An unobserved bias step between two sequenced libraries."""
    start = InitialRound()
    bias = BoundUnsaturatedRound(aggregate(0.2), start, train_depth=False)
    last = BoundRound(aggregate(-0.7), bias, log_depth=0.4)
    return start, bias, last


def kd_seq(counts: list[float] | None = None) -> Experiment:
    start = InitialRound()
    bound = BoundRound(
        Aggregate(
            [Contribution(Letters(FIRST), log_activity=0.0)], target_concentration=100
        ),
        start,
        log_depth=1.5,
        library_concentration=20,
    )
    unbound = UnboundRound.from_round(bound)
    return Experiment([start, bound, unbound], counts_per_round=counts).double()


# --- values ------------------------------------------------------------------------


def test_log_p_is_the_softmax_over_the_observed_rounds() -> None:
    chain = list(bias_chain())
    experiment = Experiment([chain[0], chain[2]]).double()
    outputs = [chain[0](SEQS).tolist(), chain[2](SEQS).tolist()]
    log_p = experiment(SEQS)
    assert log_p.shape == (3, 2)
    for found, logits in zip(log_p.tolist(), zip(*outputs, strict=True), strict=True):
        assert found == pytest.approx(log_softmax(logits), rel=1e-14)
    assert log_p.exp().sum(1).tolist() == pytest.approx([1, 1, 1])


def test_unobserved_round_enriches_though_it_has_no_column() -> None:
    start, bias, last = bias_chain()
    alone = BoundRound(last.aggregate, start, log_depth=0.4)
    with_bias = Experiment([start, last]).double()
    without = Experiment([InitialRound(), alone]).double()
    odds = with_bias(SEQS).diff(dim=1) - without(SEQS).diff(dim=1)
    assert torch.allclose(odds.squeeze(1), bias.log_aggregate(SEQS), rtol=1e-12)


@pytest.mark.parametrize("log_activity", [-800.0, 800.0])
def test_extreme_activities_give_finite_values_and_gradients(
    log_activity: float,
) -> None:
    start = InitialRound()
    bound = BoundRound(aggregate(log_activity), start)
    kinetic = ExponentialRound(bound.aggregate, start)
    unbound = UnboundRound.from_round(bound)
    experiment = Experiment([start, bound, unbound, kinetic]).double()
    experiment(SEQS).sum().backward()
    assert experiment(SEQS).isfinite().all()
    for parameter in experiment.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_round_that_cannot_hold_a_probe_takes_no_gradient_from_it() -> None:
    start = InitialRound()
    bound = BoundRound(aggregate(0.0, (1.0, 1.0, 1.0, -math.inf)), start)
    experiment = Experiment([start, bound])
    log_p = experiment(SEQS[1:2])  # letter 3 alone
    assert log_p.tolist() == [[0, -math.inf]]
    log_p[:, 0].sum().backward()
    for parameter in experiment.parameters():
        assert parameter.grad is None or (parameter.grad == 0).all()


def test_probe_that_no_round_can_hold_gives_no_nan() -> None:
    scores = (1.0, 1.0, 1.0, -math.inf)
    bound = BoundUnsaturatedRound(aggregate(0.0, scores), None, train_depth=False)
    again = BoundUnsaturatedRound(aggregate(0.0, scores), bound)
    experiment = Experiment([bound, again])
    log_p = experiment(SEQS)
    assert log_p[1].tolist() == [-math.inf] * 2
    log_p[0].sum().backward()
    for parameter in experiment.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_experiment_in_which_nothing_binds_yet_has_no_nan() -> None:
    start = InitialRound()
    bound = BoundRound(aggregate(-math.inf), start)
    experiment = Experiment([start, bound, UnboundRound.from_round(bound)])
    half = math.log(0.5)
    expected = torch.tensor([[half, -math.inf, half]]).expand(3, 3)
    assert torch.allclose(experiment(SEQS), expected)


def test_binding_of_many_rounds_is_scored_once() -> None:
    binding = Letters(FIRST)
    rounds = repeat_round([binding], 4, BoundRound)
    experiment = Experiment(rounds)
    for each in experiment.components():
        for part in each.components():
            next(part.components()).set_contribution(0)
    binding.n_scored = 0
    experiment(SEQS)
    assert binding.n_scored == 1


def test_failing_binding_leaves_nothing_behind() -> None:
    class Failing(Letters):
        def evaluate(self, evaluation: Evaluation) -> torch.Tensor:
            del evaluation
            msg = "out of memory"
            raise RuntimeError(msg)

    binding = Letters(FIRST)
    parts = [Contribution(each, log_activity=0.0) for each in (binding, Failing(FIRST))]
    experiment = Experiment([InitialRound(), BoundRound(Aggregate(parts), None)])
    for n_scored in (1, 2):
        with pytest.raises(RuntimeError, match="out of memory"):
            experiment(SEQS)
        assert binding.n_scored == n_scored


# --- what belongs to it ------------------------------------------------------------


def test_components_are_all_rounds_with_references_first() -> None:
    start, bias, last = bias_chain()
    experiment = Experiment([last, start])
    assert list(experiment.components()) == [start, bias, last]
    assert list(experiment.rounds) == [last, start]
    assert list(experiment.unobserved_rounds) == [bias]


def test_rounds_without_a_name_are_called_by_their_index() -> None:
    start, bias, last = bias_chain()
    last.name = "bound"
    Experiment([start, last])
    names = [str(each) for each in (start, bias, last)]
    assert names == ["InitialRound-0", "BoundUnsaturatedRound-1", "BoundRound-bound"]


def test_every_parameter_belongs_to_the_experiment_once() -> None:
    start, _, last = bias_chain()
    experiment = Experiment([start, last])
    names = [name for name, _ in experiment.named_parameters()]
    assert sorted(names) == [
        "rounds.0.log_depth",
        "rounds.1.aggregate.contributions.0.binding.spec.scores",
        "rounds.1.aggregate.contributions.0.log_activity",
        "rounds.1.aggregate.log_target_concentration",
        "rounds.1.log_depth",
        "unobserved_rounds.0.aggregate.contributions.0.binding.spec.scores",
        "unobserved_rounds.0.aggregate.contributions.0.log_activity",
        "unobserved_rounds.0.aggregate.log_target_concentration",
        "unobserved_rounds.0.log_depth",
    ]
    assert set(experiment.state_dict()) == set(names)


def test_all_rounds_change_their_type_together() -> None:
    experiment = Experiment(bias_chain()[::2])
    assert experiment.double()(SEQS).dtype == DOUBLE
    assert all(parameter.dtype == DOUBLE for parameter in experiment.parameters())
    assert experiment.float()(SEQS).dtype == torch.float32


def test_saved_experiment_is_restored_unobserved_rounds_included() -> None:
    experiment = Experiment(bias_chain()[::2])
    expected = experiment(SEQS)
    file = io.BytesIO()
    experiment.save(file)
    with torch.no_grad():
        for parameter in experiment.parameters():
            parameter.add_(0.3)
    assert not torch.allclose(experiment(SEQS), expected)
    file.seek(0)
    experiment.reload(file)
    assert torch.equal(experiment(SEQS), expected)


def test_copy_keeps_the_chain_within_itself() -> None:
    experiment = Experiment(bias_chain()[::2])
    twin = copy.deepcopy(experiment)
    mine = {id(each) for each in experiment.modules()}
    assert not any(id(each) in mine for each in twin.components())
    assert [str(each) for each in twin.components()] == [
        str(each) for each in experiment.components()
    ]
    assert torch.equal(twin(SEQS), experiment(SEQS))


def test_plan_reaches_bindings_of_unobserved_rounds() -> None:
    calls = plan(Experiment(bias_chain()[::2]))
    assert "BoundUnsaturatedRound-1.unfreeze(parameter=depth)" in calls
    assert "BoundRound-2.unfreeze(parameter=depth)" in calls


def test_unfreezing_all_skips_what_is_absent_and_depths_that_are_fixed() -> None:
    start, _, last = bias_chain()
    last.aggregate = aggregate(-math.inf)
    experiment = Experiment([start, last])
    experiment.freeze()
    experiment.unfreeze()
    trained = {n for n, p in experiment.named_parameters() if p.requires_grad}
    assert trained == {
        "rounds.1.log_depth",
        "unobserved_rounds.0.aggregate.contributions.0.binding.spec.scores",
        "unobserved_rounds.0.aggregate.contributions.0.log_activity",
    }


# --- what is refused ---------------------------------------------------------------


def test_experiment_without_a_round_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Experiment([])


def test_round_given_twice_is_refused() -> None:
    start = InitialRound()
    with pytest.raises(ValueError, match="twice"):
        Experiment([start, start])


def test_one_depth_must_be_fixed() -> None:
    bound = BoundRound(aggregate(), None)
    with pytest.raises(ValueError, match="train_depth=False"):
        Experiment([bound, UnboundRound.from_round(bound)])


def test_unobserved_round_may_not_train_its_depth() -> None:
    start = InitialRound()
    bias = BoundRound(aggregate(), start)
    last = BoundRound(aggregate(), bias)
    with pytest.raises(ValueError, match=r"unobserved round BoundRound.*train_depth"):
        Experiment([start, last])


# --- counts ------------------------------------------------------------------------


def test_counts_must_be_known_to_be_read() -> None:
    experiment = kd_seq()
    with pytest.raises(ValueError, match="give counts_per_round"):
        _ = experiment.counts_per_round
    experiment.counts_per_round = [3, 2, 1]
    assert experiment.counts_per_round.tolist() == [3, 2, 1]


def test_counts_keep_every_read() -> None:
    counts = [2**24 + 1, 0, 2**53 - 1]
    experiment = kd_seq(torch.tensor(counts, dtype=torch.int64))  # type: ignore[arg-type]
    assert experiment.float().counts_per_round.tolist() == counts


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], r"3 observed rounds.*2 numbers"),
        ([1, 2, -1], "must be counts"),
        ([1, 2, math.nan], "must be counts"),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kd_seq(counts)


def test_counts_are_no_part_of_a_checkpoint() -> None:
    assert not any("counts" in name for name in kd_seq([1, 2, 3]).state_dict())


# --- Kd-seq ------------------------------------------------------------------------


def test_free_protein_is_total_minus_bound_library() -> None:
    experiment = kd_seq([80, 72, 9])
    p_bound = 72 / 80 * math.exp(-1.5)
    expected = 100 - 20 * p_bound
    assert experiment.free_protein(0, 1, 2) == pytest.approx(expected, rel=1e-6)
    given = experiment.free_protein(
        0, 1, 2, target_concentration=50, library_concentration=30
    )
    assert given == pytest.approx(50 - 30 * p_bound, rel=1e-12)


@pytest.mark.parametrize("chosen", [(0, 1, 1), (0, 1, 3), (-1, 1, 2)])
def test_free_protein_needs_three_rounds(chosen: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="three different rounds out of 0 … 2"):
        kd_seq([1, 2, 3]).free_protein(*chosen)


def test_free_protein_needs_counts_input_and_a_bound_round() -> None:
    with pytest.raises(ValueError, match="counts_per_round"):
        kd_seq().free_protein(0, 1, 2)
    with pytest.raises(ValueError, match="has no read"):
        kd_seq([0, 2, 3]).free_protein(0, 1, 2)
    with pytest.raises(ValueError, match="has no aggregate"):
        kd_seq([1, 2, 3]).free_protein(1, 0, 2)


def test_free_protein_needs_the_concentration_of_the_library() -> None:
    start: BaseRound = InitialRound()
    bound = BoundRound(aggregate(), start)
    rounds = [start, bound, UnboundRound.from_round(bound)]
    experiment = Experiment(rounds, counts_per_round=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="library_concentration"):
        experiment.free_protein(0, 1, 2)
