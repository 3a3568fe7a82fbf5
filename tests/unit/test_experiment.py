"""How reads spread over the observed rounds, and what belongs to an experiment."""

import copy
import io
import math
from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from pyprobound._evaluation import Evaluation
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.kernels import selection
from pyprobound.kernels._backends import use_backend
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
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


# --- the cost of counts ------------------------------------------------------------

COUNTS = torch.tensor([[3.0, 0.0, 1.0], [0.0, 2.0, 5.0], [1.0, 1.0, 0.0]])


class TwiceBound(BoundRound):
    """A round of a formula of its own."""

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        return 2 * super().log_enrichment_of(log_aggregate)


class Doubled(Aggregate):
    """An aggregate of another definition."""

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        return 2 * super().evaluate(evaluation)


class Fixed(Contribution):
    """A contribution of another definition."""

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        return torch.zeros_like(super().evaluate(evaluation))


class Flipped(Experiment):
    """An experiment of another definition."""

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        return super().evaluate(evaluation).flip(1)


def of_every_kind() -> Experiment:
    start = InitialRound()
    parts = [
        Contribution(Letters(FIRST, "a"), log_activity=0.3),
        Contribution(Letters((0.1, 0.2, -2.0, 1.0), "b"), log_activity=-0.8),
        Contribution(Letters(FIRST[::-1], "absent"), log_activity=-math.inf),
    ]
    shared = Aggregate(parts, target_concentration=3, train_concentration=True)
    bound = BoundRound(shared, start, log_depth=0.2)
    bias = BoundUnsaturatedRound(Aggregate(parts[:1]), start, train_depth=False)
    power = RhoGammaRound(Aggregate(parts[1:]), bias, rho=0.6, gamma=-0.7)
    kinetic = ExponentialRound(Aggregate(parts), start, delta=-1.5)
    unbound = UnboundRound.from_round(bound)
    return Experiment([start, bound, unbound, power, kinetic])


def of_another_kind(part: str) -> Experiment:
    """Three rounds, of which one part is of a class that is not known."""
    start = InitialRound()
    contribution = Fixed if part == "contribution" else Contribution
    selected = (Doubled if part == "aggregate" else Aggregate)(
        [contribution(Letters(FIRST), log_activity=0.4)]
    )
    bound = (TwiceBound if part == "round" else BoundRound)(selected, start)
    made = Flipped if part == "experiment" else Experiment
    return made([start, bound, UnboundRound.from_round(bound)])


def by_steps(experiment: Experiment, counts: Tensor) -> Tensor:
    """−Σ k log p of the shares that the experiment returns."""
    return -(counts.double() * experiment(SEQS).double()).sum()


def slopes(total: Tensor, experiment: Experiment) -> dict[str, Tensor]:
    named = experiment.named_parameters()
    parameters = {name: each for name, each in named if each.requires_grad}
    found = torch.autograd.grad(
        total, list(parameters.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, found, strict=True))


@pytest.fixture
def n_fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each time that all steps are one."""
    called: list[int] = []
    original = selection.selection_cost

    def counting(*arguments: Any) -> Tensor:
        called.append(1)
        return original(*arguments)

    monkeypatch.setattr(selection, "selection_cost", counting)
    return called


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize(
    ("dtype", "rel"), [(DOUBLE, 1e-13), (torch.float32, 2e-6)], ids=str
)
def test_cost_and_gradients_are_those_of_the_steps(
    n_fused: list[int],
    dtype: torch.dtype,
    rel: float,
    backend: Literal["reference", "numba"],
) -> None:
    experiment = of_every_kind().to(dtype)
    counts = torch.tensor([[3, 0, 1, 2, 2], [0, 2, 5, 0, 0], [1, 1, 0, 7, 4.0]])
    expected = by_steps(experiment, counts)
    with use_backend(backend):
        found = experiment.counts_cost(SEQS, counts)
    assert found.dtype == DOUBLE
    assert found.item() == pytest.approx(expected.item(), rel=rel)
    right = slopes(expected, experiment)
    for name, slope in slopes(found, experiment).items():
        torch.testing.assert_close(slope, right[name], rtol=rel, atol=20 * rel)
    assert n_fused == [1]


def test_cost_of_an_unobserved_round_is_that_of_the_steps() -> None:
    start, _, last = bias_chain()
    experiment = Experiment([start, last]).double()
    found = experiment.counts_cost(SEQS, COUNTS[:, :2])
    expected = by_steps(experiment, COUNTS[:, :2])
    assert found.item() == pytest.approx(expected.item(), rel=1e-13)


@pytest.mark.parametrize("part", ["round", "aggregate", "contribution", "experiment"])
def test_classes_of_ones_own_are_asked_step_by_step(
    n_fused: list[int], part: str
) -> None:
    experiment = of_another_kind(part).double()
    plain = of_another_kind("none").double()
    found = experiment.counts_cost(SEQS, COUNTS).item()
    assert found == pytest.approx(by_steps(experiment, COUNTS).item(), rel=1e-13)
    assert found != pytest.approx(plain.counts_cost(SEQS, COUNTS).item(), rel=1e-3)
    assert n_fused == [1]  # the plain one


def test_hooks_see_the_output_of_an_experiment(n_fused: list[int]) -> None:
    experiment = kd_seq()
    seen: list[Tensor] = []
    handle = experiment.register_forward_hook(lambda *given: seen.append(given[2]))
    hooked = experiment.counts_cost(SEQS, COUNTS)
    handle.remove()
    assert seen[0].shape == COUNTS.shape
    plain = experiment.counts_cost(SEQS, COUNTS)
    assert hooked.item() == pytest.approx(plain.item(), rel=1e-13)
    assert n_fused == [1]


def test_parameters_of_several_types_are_no_obstacle(n_fused: list[int]) -> None:
    for part in ("rounds", "bindings"):
        experiment = kd_seq().float()
        for module in experiment.modules():
            if isinstance(module, BaseRound if part == "rounds" else Letters):
                module.double()
                break
        found = experiment.counts_cost(SEQS, COUNTS)
        expected = by_steps(experiment, COUNTS)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert n_fused == []


def test_cost_scores_each_binding_once_and_absent_ones_never() -> None:
    experiment = of_every_kind()
    bindings = {each for each in experiment.modules() if isinstance(each, Letters)}
    for each in bindings:
        each.n_scored = 0
    experiment.counts_cost(SEQS, torch.ones(3, 5))
    assert {each.name: each.n_scored for each in bindings} == {
        "a": 1,
        "b": 1,
        "absent": 0,
    }


def test_cost_where_nothing_binds_yet() -> None:
    start = InitialRound()
    bound = BoundRound(aggregate(-math.inf), start)
    experiment = Experiment([start, bound, UnboundRound.from_round(bound)]).double()
    counts = torch.tensor([[1.0, 0.0, 2.0]]).expand(3, 3)
    found = experiment.counts_cost(SEQS, counts)
    assert found.item() == pytest.approx(9 * math.log(2), rel=1e-13)
    experiment.counts_cost(SEQS, COUNTS).backward()
    for parameter in experiment.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_cost_needs_a_column_for_each_observed_round() -> None:
    with pytest.raises(PyProBoundError, match=r"2 columns.*3 observed rounds"):
        kd_seq().counts_cost(SEQS, COUNTS[:, :2])


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
