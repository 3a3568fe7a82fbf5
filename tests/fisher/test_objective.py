"""The loss, its gradient and its Fisher information agree with autograd."""

import pytest
import torch

from pyprobound.errors import InputError
from pyprobound.fisher import CountObjective
from pyprobound.fisher._penalty import penalty_of
from pyprobound.table import CountBatch
from tests.fisher.models import CASES, brute_force


@pytest.mark.parametrize("name", CASES)
def test_information_is_that_of_every_probe_differentiated_by_itself(name: str) -> None:
    model, tables = CASES[name]()
    objective = CountObjective(model, tables)
    quadratic = objective.quadratic()
    information, _ = brute_force(model, tables)
    _, _, curvature = penalty_of(model, objective.free)
    torch.testing.assert_close(
        quadratic.curvature - curvature, information, rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_models(name: str) -> None:
    model, tables = CASES[name]()
    model.lambda_l2, model.lambda_l1, model.exponential_bound = 0.01, 0.003, 3.0
    objective = CountObjective(model, tables)
    quadratic = objective.quadratic()
    loss = model(tables)
    total = loss.negloglik + loss.regularization
    free = objective.free
    expected = torch.autograd.grad(total, free.tensors, allow_unused=True)
    for found in (quadratic.loss, objective.loss()):
        torch.testing.assert_close(found.negloglik, loss.negloglik.detach())
        torch.testing.assert_close(found.regularization, loss.regularization.detach())
    kinks = quadratic.kinks
    assert kinks is not None
    torch.testing.assert_close(
        quadratic.gradient + kinks.prices * kinks.point.sign(),
        free.gather(expected),
        rtol=1e-8,
        atol=1e-10,
    )


def test_negative_counts_are_refused_as_measurements() -> None:
    name = next(iter(CASES))
    model, tables = CASES[name]()
    batches = [CountBatch(table.seqs, table.target.clone()) for table in tables]
    batches[0].target[1, 0] = -1
    with pytest.raises(InputError, match=r"row 1 \(from 0\): count -1 in column 0"):
        CountObjective(model, batches)
