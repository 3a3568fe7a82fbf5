"""Steps within a trust region: they descend, and end with a reason."""

import math
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor, nn

from pyprobound.base import Component
from pyprobound.fisher import CountObjective, FreeParameters, Quadratic, TrustRegion
from pyprobound.fisher._secant import Secant
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


class GaussNewton(Plain):
    """Half the sum of squares, with the second derivatives of residuals left out."""

    def __init__(self, residuals: Function, start: list[float]) -> None:
        super().__init__(lambda t: residuals(t).square().sum() / 2, start)
        self._residuals, self.visits = residuals, 0

    def loss(self) -> Loss:
        self.visits += 1
        return super().loss()

    def quadratic(self) -> Quadratic:
        whole = super().quadratic()
        jacobian = torch.autograd.functional.jacobian(self._residuals, self.free.get())
        assert isinstance(jacobian, Tensor)
        return Quadratic(whole.loss, whole.gradient, jacobian.T @ jacobian)


def misfit(theta: Tensor) -> Tensor:
    x = torch.linspace(0, 2, 9, dtype=torch.float64)
    # no exponential fits it: what the residuals bend by stays at the minimum
    return 3 * (theta[0] * (theta[1] * x).exp() - (3 - 3 * (x - 1).square()))


def test_steps_learn_what_the_information_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learning = GaussNewton(misfit, [1.0, 0.5])
    values = values_of(TrustRegion(learning, tolerance=1e-12))
    monkeypatch.setattr(Secant, "learn", lambda *_: None)
    plain = GaussNewton(misfit, [1.0, 0.5])
    same = values_of(TrustRegion(plain, tolerance=1e-12))
    assert values[-1] == pytest.approx(same[-1], abs=1e-9)
    assert learning.visits < 0.7 * plain.visits


def test_what_is_lacking_is_found_in_every_direction() -> None:
    basis = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    lacking = basis + basis.T
    information = basis @ basis.T
    secant, here = Secant(3), torch.zeros(3).double()
    for step in torch.eye(3).double() + 0.1:
        there = here + step
        secant.learn(*(bent(x, information, lacking) for x in (here, there)), step)
        here = there
    torch.testing.assert_close(secant.lacking, lacking)


def bent(point: Tensor, information: Tensor, lacking: Tensor) -> Quadratic:
    """A parabola of which only a part of the curvature is told."""
    gradient = (information + lacking) @ point
    value = (point @ gradient) / 2
    return Quadratic(Loss(value, torch.zeros(())), gradient, information)


def test_a_likely_point_is_visited_once() -> None:
    objective = Plain(lambda t: (t - 3).exp().sum() - t.sum(), [1.5, 2.0])
    visits: list[str] = []
    for name in ("loss", "quadratic"):
        visit = getattr(objective, name)

        def noted(name: str = name, visit: Callable[[], object] = visit) -> object:
            visits.append(name)
            return visit()

        setattr(objective, name, noted)
    region = TrustRegion(objective)
    values = values_of(region)
    assert visits.count("quadratic") == len(values)


def test_a_long_step_of_little_gain_is_made_at_once() -> None:
    objective = Plain(lambda t: 1e-7 * (t - 30).square().sum(), [0.0])
    assert len(values_of(TrustRegion(objective))) == 2
    assert float(objective.free.get()) == pytest.approx(30, abs=1e-3)
