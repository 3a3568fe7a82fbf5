"""Fits with λ₁: their steps end at kinks, and fits that end there have converged."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pyprobound import MultiExperimentLoss, layers
from pyprobound.fisher import CountObjective, TrustRegion
from pyprobound.fisher._kinks import KinkedParabola
from pyprobound.fisher._quadratic import Kinks, Quadratic, least_slope
from pyprobound.loss import Loss
from tests.fisher.models import CASES
from tests.fisher.test_trust_region import Function, Plain, values_of
from tests.unit.fits import DNA, fit_of


def by_coordinates(gradient: Tensor, curvature: Tensor, kinks: Kinks) -> list[float]:
    """The minimum, one coordinate after the other."""
    g, h, w, start = (
        x.tolist() for x in (gradient, curvature, kinks.prices, kinks.point)
    )
    x = list(start)
    for _ in range(1000):
        for i, price in enumerate(w):
            slope = g[i] + sum(
                h[i][j] * (x[j] - start[j]) for j in range(len(x)) if j != i
            )
            free = h[i][i] * start[i] - slope
            x[i] = math.copysign(max(abs(free) - price, 0.0), free) / h[i][i]
    return x


def value_at(
    x: list[float], gradient: Tensor, curvature: Tensor, kinks: Kinks
) -> float:
    place = torch.tensor(x, dtype=torch.float64)
    change = place - kinks.point
    smooth = gradient @ change + change @ curvature @ change / 2
    return float(smooth + kinks.prices @ (place.abs() - kinks.point.abs()))


def drawn(seed: int, size: int = 6) -> tuple[Tensor, Tensor, Kinks]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(size, size)
    point = normal(size) * (normal(size) > -0.5)  # some of them 0
    prices = torch.rand(size, generator=generator).double() * 2
    prices[0] = 0  # which has no kink
    return normal(size) * 3, root @ root.T + 0.1 * torch.eye(size), Kinks(point, prices)


@pytest.mark.parametrize("seed", range(12))
def test_the_step_is_the_one_that_is_found_coordinate_by_coordinate(seed: int) -> None:
    gradient, curvature, kinks = drawn(seed)
    step = KinkedParabola(gradient, curvature, kinks).newton
    assert step is not None
    expected = by_coordinates(gradient, curvature, kinks)
    best = -value_at(expected, gradient, curvature, kinks)
    assert step.gain == pytest.approx(best, rel=1e-3)
    assert step.length == pytest.approx(float(step.change.norm()))
    found = (kinks.point + step.change).tolist()
    assert value_at(found, gradient, curvature, kinks) == pytest.approx(-step.gain)
    assert [x == 0 for x in found] == [abs(x) < 1e-12 for x in expected]


@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_a_step_within_a_region_is_the_best_of_its_length(
    seed: int, radius: float
) -> None:
    gradient, curvature, kinks = drawn(seed)
    step = KinkedParabola(gradient, curvature, kinks).within(radius)
    assert step.length <= radius
    # a minimum with some damping is the best place at its distance
    low, high = 1e-9, 1e9
    for _ in range(60):
        damping = math.sqrt(low * high)
        place = damped(gradient, curvature, kinks, damping)
        is_long = math.dist(place, kinks.point.tolist()) > step.length
        low, high = (damping, high) if is_long else (low, damping)
    best = -value_at(place, gradient, curvature, kinks)
    assert step.gain == pytest.approx(best, rel=1e-2)
    assert step.length > 0.85 * radius


def damped(
    gradient: Tensor, curvature: Tensor, kinks: Kinks, damping: float
) -> list[float]:
    """The minimum with a damping, by small steps (proximal gradients)."""
    shifted = curvature + damping * torch.eye(len(gradient)).double()
    rate = 1 / float(torch.linalg.eigvalsh(shifted).max())
    place = kinks.point.clone()
    for _ in range(400):
        ahead = place - rate * (gradient + shifted @ (place - kinks.point))
        place = ahead.sign() * (ahead.abs() - rate * kinks.prices).clamp(min=0)
    return list(place.tolist())


def test_the_least_slope_is_that_of_the_best_direction() -> None:
    kinks = Kinks(
        torch.tensor([0.0, 0.0, 0.0, 2.0, -2.0]).double(), torch.ones(5).double()
    )
    gradient = torch.tensor([0.5, 3.0, -3.0, 0.5, 0.5]).double()
    expected = [0.0, 2.0, -2.0, 1.5, -0.5]
    assert least_slope(gradient, kinks).tolist() == expected


PRICE = 0.002


class Priced(Plain):
    """A function and the magnitudes of what it is a function of."""

    def __init__(self, function: Function, start: list[float], price: float) -> None:
        super().__init__(function, start)
        self._prices = torch.full((len(start),), price, dtype=torch.float64)

    def loss(self) -> Loss:
        cost = self._prices @ self.free.get().abs()
        return Loss(super().loss().negloglik, cost)

    def quadratic(self) -> Quadratic:
        whole = super().quadratic()
        kinks = Kinks(self.free.get(), self._prices)
        return Quadratic(self.loss(), whole.gradient, whole.curvature, kinks)


def test_a_fit_that_ends_at_kinks_has_converged() -> None:
    wanted = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def misfit(theta: Tensor) -> Tensor:
        bent = theta + theta.roll(1) / 4
        return ((bent - wanted).square() / 2 + (bent - wanted) ** 4 / 10).sum()

    objective = Priced(misfit, [1.0, -1.0] * 4 + [0.5], 1.5)
    region = TrustRegion(objective)
    values = [float(sum(loss)) for loss in region.iterate()]
    assert all(b < a for a, b in pairwise(values))
    assert len(values) < 12
    assert region.reason.startswith("converged: predicted decrease")
    here = objective.quadratic()
    assert (objective.free.get() == 0).sum() > 3
    assert here.slope < 1e-4
    gradient = torch.autograd.functional.jacobian(misfit, objective.free.get())
    assert isinstance(gradient, Tensor)
    assert float(gradient.norm()) > 1  # which is no measure of it


def test_a_fit_at_its_kinks_is_done_at_once() -> None:
    objective = Priced(lambda t: (t - 1).square().sum() / 2, [0.0, 0.0], 1.25)
    region = TrustRegion(objective)
    assert len(values_of(region)) == 1
    assert region.reason == ("converged: predicted decrease 0 below 1e-08, gradient 0")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energies_that_are_not_worth_their_price_are_exactly_0(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    fit = fit_of(layers.PSAM(5, DNA, name="a"))
    model: MultiExperimentLoss = fit.model
    model.lambda_l1, model.pseudocount = PRICE, 0
    for part in fit.selected.aggregate.components():
        fit.selected.aggregate.activity_heuristic(part)
    model.to(dtype)
    model.unfreeze()
    objective = CountObjective(model, fit.tables)
    rounding = 1e-12 if dtype == torch.float64 else 1e-7
    region = TrustRegion(objective, rounding=rounding)
    for _ in region.iterate():
        pass
    assert region.reason.startswith("converged: ")
    betas = fit.psams[0].betas.packed(0)
    assert 5 < int((betas == 0).sum()) < betas.numel() - 2
    # no change of a single parameter helps, however small
    loss = model(fit.tables)
    lowest = (loss.negloglik + loss.regularization).item()
    (slope,) = torch.autograd.grad(loss.negloglik, betas)
    assert bool((slope[betas == 0].abs() < PRICE + 1e-5).all())
    own = slope + PRICE * betas.sign() + 2e-6 * betas
    assert own[betas != 0].abs().max().item() < 1e-3
    assert lowest == pytest.approx(float(sum(objective.loss())), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dilute", [False, True])
def test_prices_are_what_magnitudes_add_to_the_penalty(name: str, dilute: bool) -> None:
    model, tables = CASES[name]()
    model.lambda_l1, model.dilute_regularization = 0.25, dilute
    model.exclude_regularization = ("depth",)
    model.weights = [0.5 + index for index in range(len(model.weights))]
    kinks = CountObjective(model, tables).quadratic().kinks
    assert kinks is not None
    free = CountObjective(model, tables).free
    here = free.get()
    model.lambda_l2, model.exponential_bound, model.pseudocount = 0, math.inf, 0
    cost = model.penalty().item()
    for index in range(len(free)):
        changed = here.clone()
        changed[index] = 0
        free.set(changed)
        expected = cost - model.penalty().item()
        found = float(kinks.prices[index] * here[index].abs())
        assert found == pytest.approx(expected, abs=1e-12)
