"""Steps within a trust region: they descend, and end with a reason."""

import math
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor, nn

from pyprobound.base import Component
from pyprobound.fisher import CountObjective, FreeParameters, Quadratic, TrustRegion
from pyprobound.fisher._trust_region import Parabola
from pyprobound.loss import Loss
from tests.fisher.models import CASES

Function = Callable[[Tensor], Tensor]


class Point(Component):
    """A vector of parameters."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def components(self):  # type: ignore[no-untyped-def] # noqa: ANN201
        return iter(())


class Plain:
    """Any function of a vector, with its exact second derivatives."""

    def __init__(self, function: Function, start: list[float]) -> None:
        self._function, self._point = function, Point(start)
        self.free = FreeParameters(self._point)

    def loss(self) -> Loss:
        return Loss(self._function(self.free.get()), torch.zeros(()).double())

    def quadratic(self) -> Quadratic:
        theta = self.free.get()
        gradient = torch.autograd.functional.jacobian(self._function, theta)
        curvature = torch.autograd.functional.hessian(self._function, theta)
        assert isinstance(gradient, Tensor)
        assert isinstance(curvature, Tensor)
        return Quadratic(self.loss(), gradient, curvature)

    def balance(self) -> bool:
        return False


def values_of(region: TrustRegion[Plain]) -> list[float]:
    return [float(loss.negloglik) for loss in region.iterate()]


def rosenbrock(theta: Tensor) -> Tensor:
    return (1 - theta[0]) ** 2 + 100 * (theta[1] - theta[0] ** 2) ** 2


def test_a_curved_valley_is_followed_to_its_end() -> None:
    objective = Plain(rosenbrock, [-1.2, 1.0])
    region = TrustRegion(objective)
    values = values_of(region)
    assert all(b < a for a, b in pairwise(values))
    torch.testing.assert_close(
        objective.free.get(), torch.ones(2).double(), atol=1e-3, rtol=0
    )
    assert region.reason.startswith("converged: predicted decrease")


def test_directions_without_curvature_are_left_alone() -> None:
    objective = Plain(lambda t: (t[0] + t[1] - 3) ** 2, [0.0, 2.0])
    region = TrustRegion(objective)
    assert values_of(region)[-1] < 1e-8
    first, second = objective.free.get().tolist()
    assert first == pytest.approx(0.5, abs=1e-3)
    assert second == pytest.approx(2.5, abs=1e-3)


def test_points_where_the_loss_is_no_number_are_not_taken() -> None:
    def walled(theta: Tensor) -> Tensor:
        # no number beyond 2.1, where the parabola leads at first
        return (theta - 2).exp().sum() - theta.sum() + (2.1 - theta).sqrt().sum() * 0

    objective = Plain(walled, [-3.0])
    region = TrustRegion(objective)
    values = values_of(region)
    assert all(map(math.isfinite, values))
    assert float(objective.free.get()) == pytest.approx(2, abs=1e-3)


def test_an_infinite_start_is_stuck_and_left_alone() -> None:
    objective = Plain(lambda t: (t / 0).abs().sum(), [1.0])
    region = TrustRegion(objective)
    assert values_of(region) == [math.inf]
    assert region.reason.startswith("stuck: the loss, or its derivative")
    assert objective.free.get().tolist() == [1.0]


def test_a_wrong_gradient_is_stuck_where_it_was() -> None:
    class Wrong(Plain):
        def quadratic(self) -> Quadratic:
            right = super().quadratic()
            return Quadratic(right.loss, -right.gradient, right.curvature)

    objective = Wrong(lambda t: (t * t).sum(), [0.5, 3.0])
    region = TrustRegion(objective)
    assert len(values_of(region)) == 1
    assert region.reason.startswith("stuck: no step down to a length of")
    assert objective.free.get().tolist() == [0.5, 3.0]


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("lowest", [0.0, 1e-4, -0.5])
def test_a_step_has_the_length_that_is_trusted(radius: float, lowest: float) -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator).double()).Q
    curvature = (
        basis * torch.tensor([3.0, 2, 1, 0.1, 0.01, lowest]).double()
    ) @ basis.T
    gradient = torch.randn(6, generator=generator).double()
    step = Parabola(gradient, (curvature + curvature.T) / 2).within(radius)
    assert step.length == pytest.approx(radius, rel=0.15)
    assert step.gain > 0


@pytest.mark.parametrize("name", CASES)
def test_a_fit_of_any_model_ends_lower_than_it_began(name: str) -> None:
    model, tables = CASES[name]()
    model.lambda_l2 = 1e-3
    region = TrustRegion(CountObjective(model, tables))
    values = [
        float(sum(loss)) for _, loss in zip(range(40), region.iterate(), strict=False)
    ]
    assert all(b < a for a, b in pairwise(values))
    assert values[-1] < values[0] - 1e-3


class Balancing(Plain):
    """A valley whose floor another kind of step finds, each time it is asked."""

    asked = 0

    def balance(self) -> bool:
        self.asked += 1
        self.free.set(self.free.get() * torch.tensor([1.0, 0.5]))
        return True


@pytest.mark.parametrize("cut", [1, 2, 3, 6])
def test_a_fit_that_goes_on_takes_the_steps_it_would_have_taken(cut: int) -> None:
    whole = Balancing(rosenbrock, [-1.2, 4.0])
    values = values_of(TrustRegion(whole))
    assert whole.asked == 1
    objective = Balancing(rosenbrock, [-1.2, 4.0])
    first = TrustRegion(objective)
    begun = [float(loss.negloglik) for loss in islice(first.iterate(), cut)]
    again = TrustRegion(objective)
    again.resume(first.state)
    assert begun + values_of(again) == values
    assert objective.asked == 1
    assert torch.equal(objective.free.get(), whole.free.get())
