"""Products with the information: exact, and as good for a fit as all of it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pyprobound import MultiExperimentLoss, Optimizer, layers
from pyprobound.fisher import (
    CountObjective,
    ProductObjective,
    TrustRegion,
    trust_region_of,
)
from pyprobound.fisher import _fit as fits
from pyprobound.fisher._conjugate import ProductParabola
from pyprobound.fisher._trust_region import Parabola
from pyprobound.mode import Mode
from tests.fisher.models import CASES, DNA, experiment_of, randomised, table_of


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_whole_information(name: str) -> None:
    model, tables = CASES[name]()
    model.lambda_l2, model.lambda_l1, model.exponential_bound = 0.01, 0.003, 3.0
    whole = CountObjective(model, tables).quadratic()
    objective = ProductObjective(model, tables)
    found = objective.quadratic()
    kinks = whole.kinks
    assert kinks is not None
    slope = whole.gradient + kinks.prices * kinks.point.sign()
    torch.testing.assert_close(found.gradient, slope, rtol=1e-8, atol=1e-10)
    assert found.value == pytest.approx(whole.value, rel=1e-12)
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(len(objective.free), generator=generator).double()
    before = objective.free.get()
    objective.free.set(before + 0.3)  # the product is that of the point before
    # each magnitude as the parabola with its value and slope
    bends = kinks.prices / kinks.point.abs()
    expected = whole.curvature @ direction + bends * direction
    torch.testing.assert_close(
        found.curvature(direction), expected, rtol=1e-8, atol=1e-9
    )
    torch.testing.assert_close(objective.free.get(), before + 0.3)
    assert objective.passes == 2


def parabola_of(lowest: float) -> tuple[Tensor, Tensor]:
    """Return a gradient and a curvature."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(8, 8, generator=generator).double()).Q
    values = torch.tensor([3.0, 2.5, 2, 1, 0.5, 0.1, 0.02, lowest]).double()
    curvature = (basis * values) @ basis.T
    gradient = torch.randn(8, generator=generator).double()
    return gradient, (curvature + curvature.T) / 2


@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("lowest", [0.01, -0.5])
def test_a_step_stays_in_the_region_and_gains_what_it_says(
    radius: float, lowest: float
) -> None:
    gradient, curvature = parabola_of(lowest)
    parabola = ProductParabola(gradient, lambda v: curvature @ v)
    parabola.within(0.5)  # what was found before does not matter
    step = parabola.within(radius)
    bend = step.change @ curvature @ step.change
    assert step.length <= radius * (1 + 1e-9)
    assert step.length == pytest.approx(float(step.change.norm()))
    if lowest > 0:
        assert step.gain == pytest.approx(-float(gradient @ step.change + bend / 2))
        best = Parabola(gradient, curvature).within(radius)
        assert step.gain >= 0.4 * best.gain
    else:
        assert step.gain > 0


def test_smaller_regions_cost_no_product() -> None:
    gradient, curvature = parabola_of(0.01)
    products: list[Tensor] = []

    def product(v: Tensor) -> Tensor:
        products.append(v)
        return curvature @ v

    parabola = ProductParabola(gradient, product)
    parabola.within(1e6)
    newton, n_products = parabola.newton, len(products)
    assert newton is not None
    assert newton.length > 1
    exact = -torch.linalg.solve(curvature, gradient)
    assert float((newton.change - exact).norm()) < 0.5 * float(exact.norm())
    gains = [parabola.within(radius).gain for radius in (0.01, 0.1, 1.0)]
    assert gains == sorted(gains)
    assert len(products) == n_products


@pytest.mark.parametrize("name", ["motif", "kd-seq", "network"])
def test_both_fits_end_at_the_same_objective(name: str) -> None:
    ends = []
    for kind in (CountObjective, ProductObjective):
        model, tables = CASES[name]()
        model.lambda_l2 = 1e-2
        region = TrustRegion(kind(model, tables), rounding=1e-12)
        losses = [
            float(loss.negloglik + loss.regularization) for loss in region.iterate()
        ]
        assert losses == sorted(losses, reverse=True)
        assert region.reason.startswith("converged")
        ends.append(losses[-1])
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)


class Network(nn.Module):
    """A network of more weights than columns that are made one at a time."""

    def __init__(self, *extra: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 24, 3)
        self.between = nn.Sequential(*extra)
        self.last = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (probes, 1, 1)."""
        hidden = self.between(torch.tanh(self.first(x)).mean(2))
        return self.last(hidden)[:, :, None]


class Once(torch.autograd.Function):
    """The sine, which can be differentiated but once."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN205
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN205
        return grad * ctx.saved_tensors[0].cos()


class Sine(nn.Module):
    """A layer of it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sine."""
        made: Tensor = Once.apply(x)
        return made


def networked(*extra: nn.Module) -> tuple[MultiExperimentLoss, list[object]]:
    """Return a loss with a network in it, and its table."""
    torch.manual_seed(0)
    table = table_of(n_probes=40)
    spec = layers.ModuleSpec(DNA, Network(*extra), name="net")
    mode = Mode([layers.ModuleLayer.from_spec(spec, table)])
    return randomised(MultiExperimentLoss([experiment_of(table, [mode])])), [table]


def test_large_models_are_fitted_with_products_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tables = networked()
    assert trust_region_of(model, tables) is None  # too many single columns
    monkeypatch.setattr(fits, "MOST_PARAMETERS", 10)
    region = trust_region_of(model, tables)
    assert region is not None
    assert isinstance(region.objective, ProductObjective)
    start = region.objective.quadratic().value
    optimizer = Optimizer(model, tables, epochs=60, checkpoint=tmp_path / "model.pt")
    best = float(optimizer.train_until_convergence())
    assert best < start - 0.05
    assert optimizer.reason.startswith(("converged", "budget"))
    assert optimizer.passes > 10


def test_as_are_models_of_many_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tables = CASES["pairs"]()
    region = trust_region_of(model, tables)
    assert region is not None
    assert isinstance(region.objective, CountObjective)
    monkeypatch.setattr(fits, "MOST_PARAMETERS", 10)
    region = trust_region_of(model, tables)
    assert region is not None
    assert isinstance(region.objective, ProductObjective)


@pytest.mark.parametrize("extra", [nn.Dropout(0.1), nn.BatchNorm1d(24), Sine()])
def test_what_has_no_second_derivative_has_no_products(
    extra: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "MOST_PARAMETERS", 10)
    model, tables = networked(extra)
    assert trust_region_of(model, tables) is None
