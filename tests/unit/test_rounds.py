"""Enrichment by each kind of round, along a chain, and at the ends of its range."""

import copy
import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
    Round,
    UnboundRound,
    repeat_round,
)
from tests.unit.bindings import DOUBLE, Letters, plan

SEQS = torch.tensor([[0, 1, 2], [3, 3, 3], [2, 0, 3]], dtype=torch.uint8)
FIRST = (0.3, -1.2, 2.0, 0.5)
SECOND = (-0.7, 0.4, 0.1, 1.5)
RHO, GAMMA, DELTA = 0.75, -0.5, -2.0  # exact in float32
LOG_Z = (
    *(-700.0, -120.0, -30.0, -10.5, -10.0, -9.5, -3.0, -0.37, -0.36, 0.0),
    *(0.5, 1.0, 3.0, 20.5, 44.0, 79.0, 81.0, 89.0, 700.0),
)


def aggregate(log_activity: float = 0.0) -> Aggregate:
    return Aggregate([Contribution(Letters(FIRST, "a"), log_activity=log_activity)])


def rounds_of_every_kind() -> list[Round]:
    return [
        BoundRound(aggregate(), None),
        BoundUnsaturatedRound(aggregate(), None),
        UnboundRound(aggregate(), None),
        RhoGammaRound(aggregate(), None, rho=RHO, gamma=GAMMA),
        ExponentialRound(aggregate(), None, delta=DELTA),
    ]


def enrichment(rnd: Round, z: Decimal) -> tuple[Decimal, Decimal]:
    """f/f_ref as in the formula, and its derivative by log Z, in many digits."""
    if isinstance(rnd, BoundRound):
        return z / (1 + z), z / (1 + z) ** 2
    if isinstance(rnd, BoundUnsaturatedRound):
        return z, z
    if isinstance(rnd, UnboundRound):
        return 1 / (1 + z), -z / (1 + z) ** 2
    if isinstance(rnd, RhoGammaRound):
        rho, gamma = Decimal(RHO), Decimal(GAMMA)
        value = z**rho * (1 + z) ** gamma
        return value, value * (rho + gamma * z / (1 + z))
    wrong = 1 / (1 + Decimal(-DELTA).exp())
    value = wrong * (-z).exp() + (1 - wrong) * (1 - (-z).exp())
    return value, (1 - 2 * wrong) * z * (-z).exp()


def oracle(rnd: Round, log_z: float) -> tuple[float, float]:
    """Log enrichment and its derivative by log Z."""
    with localcontext() as context:
        context.prec = 350  # e^−700 beside 1, and twenty digits more
        context.Emin, context.Emax = -(10**15), 10**15
        value, derivative = enrichment(rnd, Decimal(log_z).exp())
        return float(value.ln()), float(derivative / value)


@pytest.fixture(params=rounds_of_every_kind(), ids=lambda rnd: type(rnd).__name__)
def rnd(request: pytest.FixtureRequest) -> Round:
    return copy.deepcopy(request.param)


# --- the formulas ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "rel"), [(DOUBLE, 1e-13), (torch.float32, 1e-6)], ids=str
)
@pytest.mark.parametrize("log_z", LOG_Z)
def test_enrichment_and_gradient_are_those_of_the_formula(
    rnd: Round, log_z: float, dtype: torch.dtype, rel: float
) -> None:
    log_aggregate = torch.tensor([log_z], dtype=dtype, requires_grad=True)
    value = rnd.to(dtype).log_enrichment_of(log_aggregate)
    value.sum().backward()
    assert log_aggregate.grad is not None
    expected, derivative = oracle(rnd, log_aggregate.item())
    assert value.item() == pytest.approx(expected, rel=rel, abs=rel)
    assert log_aggregate.grad.item() == pytest.approx(derivative, rel=rel, abs=rel)


def test_gradcheck_of_enrichment_and_its_parameters(rnd: Round) -> None:
    rnd.double()
    own = {
        name: parameter
        for name, parameter in rnd.named_parameters(recurse=False)
        if name != "log_depth"
    }
    log_z = torch.tensor([-12.0, -2.0, 0.3, 2.0], dtype=DOUBLE, requires_grad=True)

    def output(log_aggregate: Tensor, *values: Tensor) -> Tensor:
        twin = copy.copy(rnd)
        twin._parameters = dict(rnd._parameters)
        twin._parameters.update(zip(own, values, strict=True))  # type: ignore[arg-type]
        return twin.log_enrichment_of(log_aggregate)

    torch.autograd.gradcheck(output, (log_z, *own.values()))


def test_limits_where_nothing_binds(rnd: Round) -> None:
    log_aggregate = torch.tensor([-math.inf], requires_grad=True)
    value = rnd.log_enrichment_of(log_aggregate)
    limits = {UnboundRound: 0.0, ExponentialRound: math.log(1 / (1 + math.exp(2)))}
    expected = limits.get(type(rnd), -math.inf)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    value.sum().backward()
    assert log_aggregate.grad is not None
    assert log_aggregate.grad.isfinite().all()
    for parameter in rnd.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


def test_exponential_without_background_is_one_minus_exp() -> None:
    rnd = ExponentialRound(aggregate(), None, delta=-math.inf).double()
    given = [-math.inf, -50.0, -10.5, -10.0, -9.5, -0.4, 0.0, 3.0]
    log_z = torch.tensor(given, dtype=DOUBLE, requires_grad=True)
    value = rnd.log_enrichment_of(log_z)
    expected = [math.log(-math.expm1(-math.exp(each))) for each in given[1:]]
    assert value.tolist() == pytest.approx([-math.inf, *expected], rel=1e-14)
    value[1:].sum().backward()
    assert log_z.grad is not None
    assert log_z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("rho", "gamma", "kind"),
    [(1, -1, BoundRound), (0, -1, UnboundRound), (1, 0, BoundUnsaturatedRound)],
)
def test_rho_gamma_contains_the_simpler_rounds(
    rho: float, gamma: float, kind: type[Round]
) -> None:
    general = RhoGammaRound(aggregate(), None, rho=rho, gamma=gamma).double()
    log_z = torch.tensor([-math.inf, -20.0, 0.0, 2.0, 90.0], dtype=DOUBLE)
    simple = kind(aggregate(), None).double()
    expected = simple.log_enrichment_of(log_z)
    assert torch.allclose(general.log_enrichment_of(log_z), expected, rtol=1e-14)


def test_negative_rho_never_turns_a_probe_that_cannot_bind_into_nan() -> None:
    impossible = Contribution(Letters((-math.inf,) * 4), log_activity=0.0)
    reference = BoundRound(Aggregate([impossible]), None)
    rnd = RhoGammaRound(reference.aggregate, reference, rho=-0.5)
    assert (rnd(SEQS) == -math.inf).all()


# --- chains ------------------------------------------------------------------------


def test_output_is_depth_times_the_enrichments_along_the_chain() -> None:
    start = InitialRound()
    first = BoundUnsaturatedRound(aggregate(0.2), start, log_depth=0.7)
    second = BoundRound(aggregate(-0.4), first, log_depth=-1.5)
    log_z = [
        math.log(sum(math.exp(FIRST[letter]) for letter in probe))
        for probe in SEQS.tolist()
    ]
    cumulative = [(z + 0.2) + (z - 0.4) - math.log1p(math.exp(z - 0.4)) for z in log_z]
    second.double(), first.double()
    found = second.log_cumulative_enrichment(SEQS).tolist()
    assert found == pytest.approx(cumulative, rel=1e-6)
    expected = [value - 1.5 for value in cumulative]
    assert second(SEQS).tolist() == pytest.approx(expected, rel=1e-6)
    assert list(second.chain()) == [second, first, start]


def test_initial_round_is_zero_for_every_probe() -> None:
    start = InitialRound().double()
    for output in (
        start(SEQS),
        start.log_aggregate(SEQS),
        start.log_enrichment(SEQS),
        start.log_cumulative_enrichment(SEQS),
    ):
        assert torch.equal(output, torch.zeros(len(SEQS), dtype=DOUBLE))
    assert not start.train_depth
    assert not list(start.components())


def test_documented_quantities_agree_with_one_another(rnd: Round) -> None:
    log_z = rnd.log_aggregate(SEQS)
    assert torch.equal(log_z, rnd.aggregate(SEQS))
    assert torch.equal(rnd.log_enrichment(SEQS), rnd.log_enrichment_of(log_z))
    assert torch.equal(rnd(SEQS), rnd.log_enrichment(SEQS) + rnd.log_depth)


def test_rounds_that_share_an_aggregate_score_it_once() -> None:
    bound = BoundRound(aggregate(), InitialRound())
    again = BoundRound(bound.aggregate, bound)
    binding = next(bound.aggregate.components()).binding
    assert isinstance(binding, Letters)
    again(SEQS)
    assert binding.n_scored == 1


def test_gradients_reach_the_reference_rounds() -> None:
    first = BoundRound(aggregate(0.2), InitialRound())
    second = BoundRound(aggregate(-0.4), first)
    second(SEQS).sum().backward()
    activity = next(first.aggregate.components()).log_activity
    assert activity.grad is not None
    assert activity.grad.item() != 0


# --- how rounds are made -----------------------------------------------------------


def test_unbound_round_shares_what_the_bound_one_has() -> None:
    bound = BoundRound(aggregate(), InitialRound(), library_concentration=20)
    unbound = UnboundRound.from_round(bound, train_depth=False, name="u")
    assert unbound.aggregate is bound.aggregate
    assert unbound.reference_round is bound.reference_round
    assert unbound.library_concentration == 20
    assert unbound.name == "u"
    assert not unbound.train_depth


def test_bound_and_unbound_probes_are_all_probes() -> None:
    bound = BoundRound(aggregate(), InitialRound()).double()
    unbound = UnboundRound.from_round(bound).double()
    total = bound(SEQS).exp() + unbound(SEQS).exp()
    assert torch.allclose(total, torch.ones_like(total), rtol=1e-14)


def test_exponential_series_shares_contributions_but_not_concentration() -> None:
    binding = Letters(FIRST)
    first = ExponentialRound.from_binding(
        [binding], InitialRound(), library_concentration=4, delta=-3, train_delta=False
    )
    second = ExponentialRound.from_round(first, target_concentration=5)
    (contribution,) = first.aggregate.components()
    assert list(second.aggregate.components()) == [contribution]
    assert second.aggregate is not first.aggregate
    assert second.reference_round is first.reference_round
    assert second.library_concentration == 4
    assert second.delta is not first.delta
    assert second.delta.item() == -3
    assert not second.delta.requires_grad
    contribution.set_contribution(0)
    ratio = second.log_aggregate(SEQS) - first.log_aggregate(SEQS)
    assert ratio.tolist() == pytest.approx([math.log(5)] * len(SEQS), rel=1e-6)


def test_exponential_series_may_name_another_reference() -> None:
    first = ExponentialRound.from_binding([Letters(FIRST)], InitialRound())
    other = InitialRound()
    second = ExponentialRound.from_round(first, other)
    assert second.reference_round is other


@pytest.mark.parametrize(
    "kind",
    [BoundRound, BoundUnsaturatedRound, UnboundRound, RhoGammaRound, ExponentialRound],
)
def test_from_binding_hands_its_arguments_on(kind: type[Round]) -> None:
    start = InitialRound()
    rnd = kind.from_binding(
        [Letters(FIRST), Letters(SECOND)],
        start,
        train_depth=False,
        log_depth=0.5,
        train_concentration=True,
        target_concentration=10,
        library_concentration=3,
        activity_heuristic=0.2,
        name="r",
    )
    assert str(rnd) == f"{kind.__name__}-r"
    assert rnd.reference_round is start
    assert not rnd.log_depth.requires_grad
    assert rnd.log_depth.item() == 0.5
    assert rnd.library_concentration == 3
    assert rnd.aggregate.log_target_concentration.requires_grad
    assert rnd.aggregate.log_target_concentration.item() == pytest.approx(math.log(10))
    assert [part.activity_heuristic for part in rnd.aggregate.components()] == [0.2] * 2
    assert all(part.is_absent for part in rnd.aggregate.components())


def test_exponents_and_background_can_be_given() -> None:
    binding = [Letters(FIRST)]
    general = RhoGammaRound.from_binding(binding, None, rho=0.25, gamma=-0.5)
    assert (general.rho.item(), general.gamma.item()) == (0.25, -0.5)
    kinetic = ExponentialRound.from_binding(binding, None, delta=-1)
    assert kinetic.delta.item() == -1


@pytest.mark.parametrize("n_rounds", [1, 3])
def test_repeated_rounds_form_a_chain(n_rounds: int) -> None:
    bindings = [Letters(FIRST), Letters(SECOND)]
    chain = repeat_round(iter(bindings), n_rounds, BoundRound)
    assert [type(link) for link in chain] == [InitialRound] + [BoundRound] * n_rounds
    assert list(chain[-1].chain()) == chain[::-1]
    own = [link.aggregate for link in chain if isinstance(link, Round)]
    assert len({id(part) for part in own}) == n_rounds
    for part in own:
        assert [each.binding for each in part.components()] == bindings


def test_repeating_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="n_rounds 0"):
        repeat_round([Letters(FIRST)], 0, BoundRound)


# --- the reference round is no submodule ---------------------------------------------


def test_reference_round_is_not_listed_or_saved_with_the_round() -> None:
    rnd = BoundRound(aggregate(), BoundRound(aggregate(), InitialRound()))
    rnd.reference_round = BoundRound(aggregate(), InitialRound())
    assert not any("reference" in name for name, _ in rnd.named_modules())
    assert not any("reference" in name for name in rnd.state_dict())


def test_copy_of_a_round_has_a_chain_of_its_own() -> None:
    first = BoundRound(aggregate(), InitialRound())
    second = BoundRound(first.aggregate, first)
    twin = copy.deepcopy(second)
    assert isinstance(twin.reference_round, BoundRound)
    assert twin.reference_round is not first
    assert twin.reference_round.aggregate is twin.aggregate
    assert torch.equal(twin(SEQS), second(SEQS))


# --- what is refused and what is trained --------------------------------------------


def test_library_concentration_must_be_known_to_be_read() -> None:
    rnd = BoundRound(aggregate(), None, name="b")
    with pytest.raises(ValueError, match=r"BoundRound-b has no library concentration"):
        _ = rnd.library_concentration


def test_negative_library_concentration_is_refused() -> None:
    with pytest.raises(ValueError, match="library_concentration -2"):
        BoundRound(aggregate(), None, library_concentration=-2)


def trained(rnd: BaseRound) -> set[str]:
    return {
        name
        for name, parameter in rnd.named_parameters(recurse=False)
        if parameter.requires_grad
    }


@pytest.mark.parametrize(
    ("make", "word", "reached"),
    [
        (lambda: BoundRound(aggregate(), None), "depth", {"log_depth"}),
        (lambda: BoundRound(aggregate(), None, train_depth=False), "depth", set()),
        (InitialRound, "depth", set()),
        (InitialRound, "all", set()),
        (lambda: RhoGammaRound(aggregate(), None), "rho", {"rho", "gamma"}),
        (
            lambda: RhoGammaRound(aggregate(), None, train_depth=False),
            "all",
            {"rho", "gamma"},
        ),
        (lambda: ExponentialRound(aggregate(), None), "delta", {"delta"}),
        (
            lambda: ExponentialRound(aggregate(), None, train_delta=False),
            "all",
            {"log_depth"},
        ),
        (
            lambda: ExponentialRound(aggregate(), None, train_delta=False),
            "delta",
            set(),
        ),
    ],
)
def test_unfreeze_reaches_what_its_word_stands_for(
    make: Callable[[], BaseRound], word: str, reached: set[str]
) -> None:
    rnd = make()
    rnd.freeze()
    rnd.unfreeze(word)
    assert trained(rnd) == reached


def test_gradients_at_construction_follow_the_arguments() -> None:
    assert trained(RhoGammaRound(aggregate(), None)) == {"log_depth", "rho", "gamma"}
    fixed = ExponentialRound(aggregate(), None, train_depth=False, train_delta=False)
    assert trained(fixed) == set()


def test_unfreezing_all_of_a_round_reaches_its_bindings() -> None:
    rnd = BoundRound(aggregate(), None)
    rnd.freeze()
    rnd.unfreeze()
    assert next(rnd.aggregate.components()).log_activity.requires_grad


def test_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'rho'"):
        BoundRound(aggregate(), None).unfreeze("rho")


def test_plan_trains_the_depth_of_every_round_above_a_binding() -> None:
    assert plan(BoundRound(aggregate(), InitialRound(), train_depth=False)) == [
        "BoundRound.freeze()",
        "Aggregate.activity_heuristic(contribution=Contribution( Letters-a ))",
        "BoundRound.unfreeze(parameter=depth)",
        "LetterSpec-a.unfreeze(parameter=all)",
        "BoundRound.unfreeze(parameter=all)",
    ]
