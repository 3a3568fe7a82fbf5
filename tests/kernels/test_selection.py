"""The cost of counts: against plain loops, for every kind of round and at its ends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

from pyprobound.errors import PyProBoundError
from pyprobound.kernels import _numba as shared
from pyprobound.kernels._numba_log import log, log1p
from pyprobound.kernels.selection import (
    NONE,
    Chain,
    Kind,
    Link,
    counts_cost,
    selection_cost,
)
from pyprobound.kernels.selection import _numba as compiled
from tests.kernels.backends import (
    BACKENDS,
    FLOATS,
    REFERENCE,
    Backend,
    Check,
    every,
)

NEG_INF = float("-inf")
DOUBLE = torch.float64
SELECTIONS = [kind for kind in Kind if kind is not Kind.INITIAL]


@dataclass(frozen=True)
class Case:
    """What a cost is computed from, float64 on the CPU."""

    scores: tuple[Tensor, ...]  # each (N,)
    log_weights: Tensor  # (aggregates, bindings)
    settings: Tensor  # (links, 2)
    log_depths: Tensor  # (columns,)
    counts: Tensor  # (N, columns)
    chain: Chain

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return (*self.scores, self.log_weights, self.settings, self.log_depths)

    def to(self, dtype: torch.dtype) -> "Case":
        """Round to another type; float64 holds the result exactly."""
        return replace(
            self,
            scores=tuple(each.to(dtype) for each in self.scores),
            log_weights=self.log_weights.to(dtype),
            settings=self.settings.to(dtype),
            log_depths=self.log_depths.to(dtype),
        )


def chain_of(*kinds: Kind, n_aggregates: int = 2) -> Chain:
    """An initial library, and one selection from another, all of them observed."""
    links = [Link(Kind.INITIAL)]
    links += [Link(kind, i % n_aggregates, i) for i, kind in enumerate(kinds)]
    return Chain(tuple(links), tuple(range(len(links))))


def random_case(
    seed: int,
    chain: Chain,
    *,
    n_probes: int = 40,
    n_bindings: int = 2,
    spread: float = 3.0,
    absent: float = 0.0,
    weightless: float = 0.0,
) -> Case:
    """Random scores, of which the fraction `absent` is −∞, and random counts.

    There are no reads of what is impossible. Of the weights, the fraction `weightless`
    is −∞.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=random, dtype=DOUBLE) - 1

    def missing(fraction: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=random) < fraction

    n_aggregates = 1 + max((link.aggregate for link in chain.links), default=NONE)
    scores = spread * draw(n_bindings, n_probes)
    scores[missing(absent, *scores.shape)] = NEG_INF
    weights = draw(n_aggregates, n_bindings)
    weights[missing(weightless, *weights.shape)] = NEG_INF
    shape = (n_probes, len(chain.observed))
    case = Case(
        scores=tuple(scores),
        log_weights=weights,
        settings=draw(len(chain.links), 2),
        log_depths=2 * draw(len(chain.observed)),
        counts=torch.randint(0, 4, shape, generator=random).double(),
        chain=chain,
    )
    impossible = torch.tensor(log_shares(case)).reshape(shape) == NEG_INF
    return replace(case, counts=case.counts.masked_fill(impossible, 0))


# --- the oracle --------------------------------------------------------------------


def log_sum_exp(*values: float) -> float:
    top = max(values, default=NEG_INF)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def log_enrichment(  # noqa: PLR0911 one for each kind
    kind: Kind, log_z: float, first: float, second: float
) -> float:
    """The formulas once more, for plain numbers."""
    one_and_z = log_sum_exp(0.0, log_z)
    z = math.exp(min(log_z, 500.0))
    match kind:
        case Kind.INITIAL:
            return 0.0
        case Kind.BOUND:
            return log_z - one_and_z
        case Kind.UNSATURATED:
            return log_z
        case Kind.UNBOUND:
            return -one_and_z
        case Kind.RHO_GAMMA:
            if log_z == NEG_INF:
                return 0.0 if first == 0 else NEG_INF
            return first * log_z + second * one_and_z
        case Kind.EXPONENTIAL:
            log_modified = math.log(-math.expm1(-z)) if z > 0 else log_z
            log_wrong, log_right = -log_sum_exp(0.0, -first), -log_sum_exp(0.0, first)
            return log_sum_exp(log_wrong - z, log_right + log_modified)


def log_shares(case: Case) -> list[list[float]]:
    """Log p of each probe and column, one loop per index."""
    weights, settings = case.log_weights.tolist(), case.settings.tolist()
    columns = [each.tolist() for each in case.scores]
    probes = list(zip(*columns, strict=True)) if columns else [()] * len(case.counts)
    found = []
    for probe in probes:
        log_z = [
            log_sum_exp(*(w + x for w, x in zip(row, probe, strict=True)))
            for row in weights
        ]
        cumulative: list[float] = []
        for link, (first, second) in zip(case.chain.links, settings, strict=True):
            own = NEG_INF if link.aggregate == NONE else log_z[link.aggregate]
            value = log_enrichment(link.kind, own, first, second)
            if link.reference != NONE:
                value += cumulative[link.reference]
            cumulative.append(value)
        logits = [
            depth + cumulative[link]
            for depth, link in zip(
                case.log_depths.tolist(), case.chain.observed, strict=True
            )
        ]
        total = log_sum_exp(*logits)
        found.append([v - total if v > NEG_INF else NEG_INF for v in logits])
    return found


def oracle(case: Case) -> tuple[float, float]:
    """The cost, and the sum of the magnitudes of its terms."""
    terms = [
        -k * value
        for row, of_probe in zip(case.counts.tolist(), log_shares(case), strict=True)
        for k, value in zip(row, of_probe, strict=True)
        if k > 0
    ]
    return math.fsum(terms), math.fsum(map(abs, terms))


def branching(*, observed: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Chain:
    """Two libraries selected from one that is selected itself, and one from the start.

    Bound and unbound share an aggregate.
    """
    links = (
        Link(Kind.INITIAL),
        Link(Kind.RHO_GAMMA, 0, 0),
        Link(Kind.BOUND, 1, 1),
        Link(Kind.UNBOUND, 1, 1),
        Link(Kind.EXPONENTIAL, 2, 0),
    )
    return Chain(links, observed)


UNREFERENCED = Chain((Link(Kind.UNSATURATED, 0), Link(Kind.BOUND, 0, 0)), (0, 1))
"""Libraries that cannot hold what cannot bind, none before selection."""

EVERY = chain_of(*SELECTIONS)

CASES = {
    **{kind.name: random_case(kind, chain_of(kind)) for kind in SELECTIONS},
    **{
        f"{kind.name}, nothing binds": random_case(kind, chain_of(kind), absent=0.6)
        for kind in SELECTIONS
    },
    "initial alone": random_case(10, chain_of()),
    "every kind": random_case(11, EVERY),
    "every kind, some cannot bind": random_case(12, EVERY, absent=0.5),
    "every kind, some weigh nothing": random_case(13, EVERY, weightless=0.4),
    "one binding": random_case(14, EVERY, n_bindings=1, absent=0.2),
    "many bindings": random_case(15, EVERY, n_bindings=7, absent=0.5),
    "no binding": random_case(16, EVERY, n_bindings=0),
    "branching": random_case(17, branching()),
    "branching, columns in another order": random_case(
        18, branching(observed=(3, 0, 4, 2))
    ),
    "unobserved": random_case(19, branching(observed=(0, 2, 4)), absent=0.3),
    "one column": random_case(20, branching(observed=(2,))),
    "held by no round": random_case(21, UNREFERENCED, absent=0.7),
    "one probe": random_case(22, EVERY, n_probes=1),
    "no probe": random_case(23, EVERY, n_probes=0),
    "one block": random_case(24, EVERY, n_probes=compiled.BLOCK),
    "blocks and a rest": random_case(25, EVERY, n_probes=2 * compiled.BLOCK + 3),
    "threads": random_case(26, branching(), n_probes=3 * shared.LEAST_PROBES + 1),
    "steep": random_case(27, EVERY, spread=60.0),
    "steep, some cannot bind": random_case(28, branching(), spread=70.0, absent=0.4),
}
CASES["weights far apart"] = replace(
    CASES["every kind"],
    log_weights=torch.tensor([[100.0, -100.0], [-700.0, 600.0]], dtype=DOUBLE),
)
CASES["weights as far apart as one exponential serves"] = replace(
    CASES["every kind"],
    log_weights=torch.tensor([[29.0, -29.0], [-29.0, 29.0]], dtype=DOUBLE),
)
CASES["no read"] = replace(
    CASES["every kind"], counts=torch.zeros_like(CASES["every kind"].counts)
)
CASES["no power"] = replace(
    CASES["every kind, some cannot bind"],
    settings=torch.zeros_like(CASES["every kind, some cannot bind"].settings),
)
CASES["exponential without background"] = replace(
    CASES["EXPONENTIAL"], settings=torch.full((2, 2), NEG_INF, dtype=DOUBLE)
)


# --- checks ------------------------------------------------------------------------


def cost(backend: Backend, case: Case) -> Tensor:
    """Return the cost that the backend finds."""
    return backend.selection_cost(
        [each.to(backend.device) for each in case.scores],
        case.log_weights.to(backend.device),
        case.settings.to(backend.device),
        case.log_depths.to(backend.device),
        case.counts.to(backend.device),
        case.chain,
    )


def with_gradients(backend: Backend, case: Case) -> tuple[Tensor, list[Tensor]]:
    """Return the cost and the gradients of 0.7 times it."""
    leaves = [each.detach().clone().requires_grad_() for each in case.leaves]
    *scores, log_weights, settings, log_depths = leaves
    twin = replace(
        case,
        scores=tuple(scores),
        log_weights=log_weights,
        settings=settings,
        log_depths=log_depths,
    )
    total = cost(backend, twin)
    gradients = torch.autograd.grad(0.7 * total, leaves, materialize_grads=True)
    return total.detach().cpu(), [each.cpu() for each in gradients]


def differing(case: Case) -> float:
    """How far logits are from 0: by that much their rounding is multiplied."""
    finite = torch.cat([each.reshape(-1) for each in case.leaves])
    finite = finite[finite.isfinite()]
    return len(case.chain.links) * max(1.0, float(finite.abs().max()))


def check_costs_agree_with_plain_loops(backend: Backend) -> None:
    for dtype in FLOATS:
        for name, case in CASES.items():
            seen = case.to(dtype)
            expected, magnitude = oracle(seen.to(DOUBLE))
            found = cost(backend, seen)
            assert found.dtype == DOUBLE
            assert found.shape == ()
            reads = float(case.counts.sum())
            slack = 8 * torch.finfo(dtype).eps
            allowed = slack * (magnitude + reads * differing(case)) + 1e-300
            assert abs(float(found) - expected) <= allowed, (name, dtype)


def check_gradients_agree_with_the_reference_in_float64(backend: Backend) -> None:
    for dtype in FLOATS:
        for name, case in CASES.items():
            seen = case.to(dtype)
            _, expected = with_gradients(REFERENCE, seen.to(DOUBLE))
            _, found = with_gradients(backend, seen)
            slack = 16 * torch.finfo(dtype).eps * differing(case)
            for mine, right in zip(found, expected, strict=True):
                assert mine.dtype == dtype
                assert mine.isfinite().all(), (name, dtype)
                scale = max(4.0, float(right.abs().max())) if right.numel() else 1.0
                error = (mine.double() - right).abs()
                assert (error <= slack * scale).all(), (name, dtype)


def check_gradcheck(backend: Backend) -> None:
    for name in ("every kind", "branching", "one binding"):
        case = replace(CASES[name], counts=CASES[name].counts[:6])

        def total(*leaves: Tensor, case: Case = case) -> Tensor:
            *scores, log_weights, settings, log_depths = leaves
            twin = replace(
                case,
                scores=tuple(scores),
                log_weights=log_weights,
                settings=settings,
                log_depths=log_depths,
            )
            return cost(backend, twin)

        *scores, weights, settings, depths = case.leaves
        leaves = [*(each[:6] for each in scores), weights, settings, depths]
        inputs = [each.detach().clone().requires_grad_() for each in leaves]
        assert gradcheck(total, inputs)
        assert gradgradcheck(total, inputs)


def check_reads_of_the_impossible_cost_infinitely_much(backend: Backend) -> None:
    for name in ("BOUND, nothing binds", "held by no round"):
        case = CASES[name]
        case = replace(case, counts=torch.ones_like(case.counts))
        for dtype in FLOATS:
            total, gradients = with_gradients(backend, case.to(dtype))
            assert total == math.inf
            assert all(each.isfinite().all() for each in gradients)


def check_probes_that_cannot_bind_take_no_gradient(backend: Backend) -> None:
    case = CASES["every kind, some cannot bind"]
    _, (first, second, *_) = with_gradients(backend, case)
    for score, gradient in zip(case.scores, (first, second), strict=True):
        assert (gradient[score == NEG_INF] == 0).all()
        assert (gradient[score > NEG_INF] != 0).any()


def check_single_reads_count_in_large_tables(backend: Backend) -> None:
    case = random_case(30, EVERY, n_probes=2).to(torch.float32)
    many = torch.zeros(2, 6)
    many[0, 0] = 2.0**30
    few = torch.zeros(2, 6)
    few[1, 2] = 1.0
    both = cost(backend, replace(case, counts=many + few))
    alone = cost(backend, replace(case, counts=few))
    rest = cost(backend, replace(case, counts=many))
    assert float(both - rest) == pytest.approx(float(alone), rel=1e-6)


def check_counts_may_be_of_any_type(backend: Backend) -> None:
    case = CASES["every kind"]
    for dtype in (torch.int64, torch.int32, torch.float32, torch.uint8):
        other = cost(backend, replace(case, counts=case.counts.to(dtype)))
        assert torch.equal(other, cost(backend, case))


def check_what_is_not_a_number_shows(backend: Backend) -> None:
    case = CASES["every kind"]
    for broken in (math.nan, math.inf):
        scores = case.scores[0].clone()
        scores[3] = broken
        found = cost(backend, replace(case, scores=(scores, case.scores[1])))
        assert found.isnan()
    assert cost(backend, replace(case, settings=case.settings * math.nan)).isnan()


def check_what_is_not_trained_takes_no_gradient(backend: Backend) -> None:
    case = CASES["every kind"]
    with torch.no_grad():
        assert not cost(backend, case).requires_grad
    assert not cost(backend, case).requires_grad
    depths = case.log_depths.clone().requires_grad_()
    total = cost(backend, replace(case, log_depths=depths))
    (gradient,) = torch.autograd.grad(total, [depths])
    # shares add up to 1, so that a factor of all depths changes nothing
    assert abs(float(gradient.sum())) < 1e-10


def check_repeats_are_identical(backend: Backend) -> None:
    case = CASES["threads"].to(torch.float32)
    total, gradients = with_gradients(backend, case)
    again, others = with_gradients(backend, case)
    assert torch.equal(total, again)
    assert all(map(torch.equal, gradients, others))


CHECKS: list[Check] = [
    check_costs_agree_with_plain_loops,
    check_gradients_agree_with_the_reference_in_float64,
    check_gradcheck,
    check_reads_of_the_impossible_cost_infinitely_much,
    check_probes_that_cannot_bind_take_no_gradient,
    check_single_reads_count_in_large_tables,
    check_counts_may_be_of_any_type,
    check_what_is_not_a_number_shows,
    check_what_is_not_trained_takes_no_gradient,
    check_repeats_are_identical,
]


@every(CHECKS)
def test_selection(backend: Backend, check: Check) -> None:
    check(backend)


# --- Numba's own -------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_threads_change_rounding_alone(dtype: torch.dtype) -> None:
    (numba,) = (each for each in BACKENDS if each.name == "numba")
    case = CASES["threads"].to(dtype)
    found = []
    for n_threads in (1, 2, 2, 3):
        torch.set_num_threads(n_threads)
        found.append(with_gradients(numba, case))
    assert torch.equal(found[1][0], found[2][0])
    assert all(map(torch.equal, found[1][1], found[2][1]))
    for total, gradients in found[1:]:
        torch.testing.assert_close(total, found[0][0], rtol=1e-14, atol=0.0)
        for mine, single in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(mine, single)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("wanted", [False, True])
def test_operators_keep_their_contract(dtype: torch.dtype, *, wanted: bool) -> None:
    case = CASES["branching"].to(dtype)
    numbers = [
        n
        for link in case.chain.links
        for n in (int(link.kind), link.aggregate, link.reference)
    ]
    rest = [case.log_weights, case.settings, case.log_depths]
    tensors = [
        each.clone().requires_grad_(wanted)
        for each in (torch.stack(case.scores), *rest)
    ]
    observed = list(case.chain.observed)
    ops = torch.ops.pyprobound
    given = (*tensors, case.counts, numbers, observed, wanted)
    opcheck(ops.selection_cost, given)
    factor = torch.tensor(0.3, dtype=DOUBLE, requires_grad=wanted)
    gradients = [torch.rand_like(each) for each in tensors]
    results = [factor.detach(), *gradients]
    opcheck(ops.selection_cost_backward, (factor, results, *given, [True] * 4))


@shared.jit
def _logs(values: shared.Array, found: shared.Array) -> None:
    for i in range(len(values)):
        found[i] = log(values[i])


@shared.jit
def _logs1p(values: shared.Array, found: shared.Array) -> None:
    for i in range(len(values)):
        found[i] = log1p(values[i])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_logarithms_are_as_exact_as_numbers_are(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    near = 1 + torch.linspace(-0.5, 1.0, 20_001, dtype=DOUBLE)
    far = torch.linspace(-80, 80, 20_001, dtype=DOUBLE).exp()
    values = torch.cat([near, far, torch.tensor([1.0, math.sqrt(0.5)])]).to(dtype)
    found = torch.empty_like(values)
    _logs(values.numpy(), found.numpy())
    expected = values.double().log()
    assert ((found - expected).abs() <= 1.5 * eps * expected.abs()).all()
    small = torch.cat([torch.linspace(0, 1, 20_001), 2.0 ** torch.arange(-99, 0)])
    small = small.to(dtype)
    found = torch.empty_like(small)
    _logs1p(small.numpy(), found.numpy())
    expected = small.double().log1p()
    assert ((found - expected).abs() <= 2 * eps * expected.abs()).all()


# --- what is refused ---------------------------------------------------------------


def call(case: Case) -> Tensor:
    return selection_cost(
        case.scores,
        case.log_weights,
        case.settings,
        case.log_depths,
        case.counts,
        case.chain,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_weights": torch.zeros(2, 3, dtype=DOUBLE)}, "log_weights has shape"),
        ({"settings": torch.zeros(2, 2, dtype=DOUBLE)}, "settings has shape"),
        ({"log_depths": torch.zeros(2, dtype=DOUBLE)}, "log_depths has shape"),
        ({"counts": torch.zeros(40, 3)}, "counts has shape"),
        ({"counts": torch.zeros(39, 6)}, r"scores\[0\] has shape"),
        ({"chain": Chain((Link(Kind.BOUND, 0, 0),), (0,))}, "references come first"),
        ({"chain": Chain((Link(Kind.BOUND, 2),), (0,))}, "has aggregate 2"),
        ({"chain": Chain((Link(Kind.BOUND),), (0,))}, "has aggregate -1"),
        ({"chain": Chain((Link(Kind.INITIAL),), (1,))}, "column of link 1"),
    ],
)
def test_shapes_and_indices_that_do_not_fit_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(replace(CASES["every kind"], **changes))  # type: ignore[arg-type]


def test_numbers_of_several_types_are_refused() -> None:
    case = CASES["every kind"]
    with pytest.raises(TypeError, match="settings has type"):
        call(replace(case, settings=case.settings.float()))
    with pytest.raises(TypeError, match=r"scores\[1\] has type"):
        call(replace(case, scores=(case.scores[0], case.scores[1].half())))


@pytest.mark.parametrize("shape", [(3,), (4, 2)])
def test_counts_need_a_column_for_each_round(shape: tuple[int, ...]) -> None:
    with pytest.raises(PyProBoundError, match="3 observed rounds"):
        counts_cost(torch.zeros(4, 3), torch.zeros(shape))
