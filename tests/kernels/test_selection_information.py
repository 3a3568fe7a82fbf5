"""The information of counts: compiled as in PyTorch, and that as brute force."""

import pytest
import torch
from torch import Tensor

from pyprobound.kernels.selection import Kind, selection_cost
from pyprobound.kernels.selection_information import (
    DEPTH,
    SETTING,
    WEIGHT,
    Found,
    _numba,
    _reference,
    selection_information,
)
from tests.kernels.test_selection import SELECTIONS, Case, chain_of, random_case

OWN = [(WEIGHT, 0, 0), (WEIGHT, 0, 1), (WEIGHT, 1, 1), (DEPTH, 0, 0), (DEPTH, 2, 0)]
SETTINGS = {Kind.RHO_GAMMA: 2, Kind.EXPONENTIAL: 1}


def own_of(kind: Kind) -> list[tuple[int, int, int]]:
    """Return quantities of a chain of two rounds of one kind."""
    return [*OWN, *((SETTING, 1, i) for i in range(SETTINGS.get(kind, 0)))]


def found_by(module: object, case: Case, own: list[tuple[int, int, int]]) -> Found:
    """Return what one implementation finds, of one piece after another, joined."""
    given = (
        torch.stack(case.scores),
        case.log_weights,
        case.settings,
        case.log_depths,
        case.counts,
        case.chain,
        own,
        [1, 0],
    )
    others = [{}] if module is _reference else []
    find = module.selection_information(*given, *others)  # type: ignore[attr-defined]
    first, second = find(slice(0, 7)), find(slice(7, len(case.counts)))
    sums = [a + b for a, b in zip(first[:6], second[:6], strict=True)]
    rest = [torch.cat(pair, -1) for pair in zip(first[6:], second[6:], strict=True)]
    return Found(*sums, *rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SELECTIONS)
@pytest.mark.parametrize("absent", [0.0, 0.3])
@pytest.mark.parametrize("weightless", [0.0, 0.4])
def test_compiled_code_finds_what_pytorch_does(
    kind: Kind, absent: float, weightless: float
) -> None:
    case = random_case(
        5, chain_of(kind, kind), n_probes=90, absent=absent, weightless=weightless
    )
    own = own_of(kind)
    expected, found = (found_by(m, case, own) for m in (_reference, _numba))
    for name, one, other in zip(Found._fields, found, expected, strict=True):
        scale = float(torch.as_tensor(other).abs().max())
        torch.testing.assert_close(
            torch.as_tensor(one),
            torch.as_tensor(other),
            rtol=1e-11,
            atol=1e-12 * max(scale, 1.0),
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("kind", SELECTIONS)
def test_the_gradient_is_that_of_the_cost(kind: Kind) -> None:
    case = random_case(6, chain_of(kind, kind), n_probes=20)
    own = own_of(kind)
    found = found_by(_reference, case, own)
    leaves = [each.clone().requires_grad_() for each in case.leaves]
    n = len(case.scores)
    cost = selection_cost(leaves[:n], *leaves[n:], case.counts, case.chain)
    by = torch.autograd.grad(cost, leaves, materialize_grads=True)
    assert found.loss == pytest.approx(cost.item())
    torch.testing.assert_close(found.slopes, torch.stack([by[1], by[0]]))
    places = {WEIGHT: by[n], SETTING: by[n + 1]}
    expected = [
        by[n + 2][i] if what == DEPTH else places[what][i, j] for what, i, j in own
    ]
    torch.testing.assert_close(found.gradient, torch.stack(expected))


def test_what_changes_nothing_has_no_information() -> None:
    # more of a score is more of its activity in all aggregates
    case = random_case(7, chain_of(Kind.BOUND, Kind.UNSATURATED), n_probes=200)
    own = [(WEIGHT, 0, 1), (WEIGHT, 1, 1)]
    for module in (_reference, _numba):
        found = found_by(module, case, own)
        score = found.coupling[0, 0].sum()
        both = found.crossing[0].sum()
        left = score - 2 * both + found.information.sum()
        assert abs(float(left)) < 1e-12 * float(score)


def test_enrichments_of_the_users_are_called() -> None:
    case = random_case(8, chain_of(Kind.BOUND, Kind.BOUND), n_probes=20)
    scores = torch.stack(case.scores)
    given = case.log_weights, case.settings, case.log_depths, case.counts, case.chain
    own, piece = own_of(Kind.BOUND), slice(0, 20)

    def bound(log_z: Tensor, _: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid(log_z)

    known = selection_information(scores, *given, own, [0])(piece)
    found = selection_information(scores, *given, own, [0], {1: bound, 2: bound})(piece)
    torch.testing.assert_close(found.information, known.information)
    torch.testing.assert_close(found.crossing, known.crossing)


def test_shapes_must_fit() -> None:
    case = random_case(8, chain_of(Kind.BOUND, Kind.BOUND), n_probes=20)
    with pytest.raises(ValueError, match="counts has shape"):
        selection_information(
            torch.stack(case.scores),
            case.log_weights,
            case.settings,
            case.log_depths,
            case.counts[:, :2],
            case.chain,
            [],
            [],
        )
