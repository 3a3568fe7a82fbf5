"""Fit and LogFit: their losses in plain Python, their minima, and what they train."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.fitting import Agreement, Fit, LogFit
from pyprobound.fitting._least_squares import LeastSquares, covariance
from pyprobound.fitting._starts import background_offsets, linear_offsets
from pyprobound.optimizer import Optimizer
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from pyprobound.table import CountBatch, CountTable
from tests.fitting.models import probes, table, trained

N = 40
SEQS = probes(N, 12, seed=11)
RNG = np.random.default_rng(5)
Y = RNG.uniform(0.5, 4.0, N).round(3).tolist()
LOW = RNG.uniform(0.05, 0.4, N).round(3).tolist()
HIGH = RNG.uniform(0.05, 0.4, N).round(3).tolist()
COLUMNS = {"none": [Y], "symmetric": [Y, LOW], "both": [Y, LOW, HIGH]}


def selected(seqs: list[str] = SEQS, **options: object) -> BoundUnsaturatedRound:
    return trained(table(seqs), **options)  # type: ignore[arg-type]


def identity(log_z: Tensor) -> Tensor:
    return log_z


def log_fraction(log_z: Tensor) -> Tensor:
    return torch.nn.functional.logsigmoid(log_z)


def float32(values: list[float]) -> list[float]:
    """Return values as a table holds them."""
    return np.float32(values).astype(float).tolist()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("bars", COLUMNS)
def test_fit_is_the_mean_squared_difference_over_half_the_bar(bars: str) -> None:
    columns = COLUMNS[bars]
    fit = Fit(selected(), table(SEQS, *columns), torch.exp, observation=torch.square)
    with torch.no_grad():
        fit.m.fill_(0.5)
        fit.b.fill_(-1.25)
    log_z = fit.rnd(fit.dataset.seqs).tolist()
    expected = []
    y, *errors = (float32(column) for column in columns)
    for i in range(N):
        residual = y[i] ** 2 - (0.5 * math.exp(log_z[i]) - 1.25)
        sigma = 1.0
        if errors:
            sigma = ((y[i] + errors[-1][i]) ** 2 - (y[i] - errors[0][i]) ** 2) / 2
        expected.append((residual / sigma) ** 2)
    total, n = fit.negloglik(fit.rnd, fit.dataset)
    assert n == N
    assert total.item() == pytest.approx(sum(expected), rel=1e-6)
    loss, penalty = fit([fit.dataset])
    assert loss.item() == pytest.approx(sum(expected) / N, rel=1e-6)
    assert float(penalty) == 0


@pytest.mark.parametrize("bars", COLUMNS)
def test_logfit_compares_logarithms_of_signal_and_background(bars: str) -> None:
    columns = COLUMNS[bars]
    fit = LogFit(selected(), table(SEQS, *columns), log_fraction)
    with torch.no_grad():
        fit.m.fill_(0.5)
        fit.b.fill_(-1.25)
    log_z = fit.rnd(fit.dataset.seqs).tolist()
    y, *errors = (float32(column) for column in columns)
    expected = []
    for i in range(N):
        signal = math.exp(0.5) / (1 + math.exp(-log_z[i]))
        residual = math.log(y[i]) - math.log(signal + math.exp(-1.25))
        sigma = 1.0
        if errors:
            ends = y[i] + errors[-1][i], y[i] - errors[0][i]
            sigma = (math.log(ends[0]) - math.log(ends[1])) / 2
        expected.append((residual / sigma) ** 2)
    total, _ = fit.negloglik(fit.rnd, fit.dataset)
    assert total.item() == pytest.approx(sum(expected), rel=1e-6)


def test_untrained_regressions_predict_what_the_model_says() -> None:
    log_z = selected().log_aggregate(table(SEQS).seqs).detach()
    for kind in (Fit, LogFit):
        fit = kind(selected(), table(SEQS, Y), identity)
        assert torch.allclose(fit.score(fit.dataset)[1], log_z, atol=1e-12)


@pytest.mark.parametrize("bars", COLUMNS)
def test_score_is_obs_pred_without_gradient(bars: str) -> None:
    fit = LogFit(selected(), table(SEQS, *COLUMNS[bars]), identity, max_split=7)
    scored = fit.score(fit.dataset)
    direct = fit.obs_pred(fit.dataset.seqs, fit.dataset.target)
    for a, b in zip(scored, direct, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert torch.allclose(a, b, atol=1e-14)
            assert not a.requires_grad
    assert direct[1].requires_grad
    one = fit.score(fit.dataset[3])
    assert torch.allclose(one[1], scored[1][3:4], atol=1e-14)


def test_max_split_changes_neither_loss_nor_gradient() -> None:
    gradients = []
    for most in (None, 7):
        fit = Fit(selected(), table(SEQS, Y), identity, max_split=most)
        fit([fit.dataset]).negloglik.backward()
        found = [p.grad for p in fit.parameters() if p.grad is not None]
        gradients.append(torch.stack(found))
    assert torch.allclose(*gradients, atol=1e-12)
    assert bool((gradients[0] != 0).all())


@pytest.mark.parametrize("kind", [Fit, LogFit])
def test_gradients_are_those_of_finite_differences(kind: type[Fit | LogFit]) -> None:
    data = table(SEQS[:6], Y[:6], LOW[:6], HIGH[:6])
    fit = kind(
        selected(bias="shared", dimer=True),
        data,
        log_fraction,
        train_offset=True,
        train_posbias=True,
        train_hill=True,
    )
    with torch.no_grad():
        fit.b.fill_(-0.5)
    trained_now = [p for p in fit.parameters() if p.requires_grad]
    assert len(trained_now) > 8

    def loss(*_: Tensor) -> Tensor:
        return fit([data]).negloglik

    assert torch.autograd.gradcheck(loss, trained_now)


@pytest.mark.parametrize("kind", [Fit, LogFit])
@pytest.mark.parametrize("bars", COLUMNS)
def test_normal_equations_are_those_of_autograd(
    kind: type[Fit | LogFit], bars: str
) -> None:
    fit = kind(
        selected(bias="shared", dimer=True),
        table(SEQS, *COLUMNS[bars]),
        log_fraction,
        train_offset=True,
        train_posbias=True,
        train_hill=True,
    )
    with torch.no_grad():
        fit.b.fill_(-0.5)
    problem = LeastSquares(fit, fit.dataset)
    found = problem.normal()
    fit([fit.dataset]).negloglik.backward()
    wanted = problem.free.gather([each.grad for each in problem.free.tensors])
    assert found.loss == pytest.approx(problem.loss(), rel=1e-12)
    # the mean of r² has the gradient 2g
    assert torch.allclose(2 * found.gradient, wanted, rtol=1e-9, atol=1e-12)
    here, step = problem.free.get(), 1e-4
    for place in (0, 2, len(here) - 1):
        moved = here.clone()
        ends = []
        for by in (step, -step):
            moved[place] = here[place] + by
            problem.free.set(moved)
            ends.append(_residuals(fit))
        problem.free.set(here)
        column = (ends[0] - ends[1]) / (2 * step)
        assert float(found.gram[place, place]) == pytest.approx(
            float(column.square().mean()), rel=1e-6, abs=1e-12
        )


def _residuals(fit: Fit | LogFit) -> Tensor:
    obs, pred, lower, upper = fit.score(fit.dataset)
    if lower is None or upper is None:
        return pred - obs
    return (pred - obs) / ((upper - lower) / 2)


# --- minima ---------------------------------------------------------------------------


def test_slope_and_intercept_are_those_of_weighted_regression() -> None:
    x, y = torch.randn(30).double(), torch.randn(30).double()
    sigma = torch.rand(30).double() + 0.1
    found = linear_offsets(x, y, sigma**-2)
    m, b = np.polyfit(x.numpy(), y.numpy(), 1, w=1 / sigma.numpy())
    assert (found.m, found.b) == pytest.approx((m, b))
    loss = (((m * x + b - y) / sigma) ** 2).mean()
    assert found.loss == pytest.approx(float(loss))


@pytest.mark.parametrize("background", [-30.0, -2.0, 0.0, 3.0])
def test_background_is_found_wherever_it_is(background: float) -> None:
    x = torch.linspace(-4, 4, 50).double()
    obs = 1.5 + torch.logaddexp(x, torch.full_like(x, background))
    found = background_offsets(x, obs, torch.ones(50).double())
    if background < -10:
        assert found.loss < 1e-5
        return
    assert found.m == pytest.approx(1.5, abs=0.2)
    assert found.b - found.m == pytest.approx(background, abs=0.2)


def made(
    *,
    m: float,
    b: float,
    shift: float,
    noise: float,
    seqs: list[str],
    prediction: object = torch.sigmoid,
    scale: float = 1.0,
) -> list[float]:
    """Draw measurements of another assay: m·pred(log Z + shift) + b, and noise."""
    log_z = (
        selected(seqs, scale=scale).log_aggregate(table(seqs).seqs).detach().double()
        + shift
    )
    rng = np.random.default_rng(3)
    clean = m * prediction(log_z) + b  # type: ignore[operator]
    return (clean.numpy() + noise * rng.normal(size=len(seqs))).tolist()


def test_saturation_of_another_assay_is_found_far_from_the_models_scale() -> None:
    seqs = probes(300, 12, seed=2)
    data = table(seqs, made(m=3e4, b=500.0, shift=-4.0, noise=200.0, seqs=seqs))
    fit = Fit(selected(seqs), data, torch.sigmoid, train_offset=True)
    fit.fit()
    known = fit.estimates()
    for name, truth in (("m", 3e4), ("b", 500.0)):
        estimate = known[name]
        assert float(estimate.error) > 0
        assert abs(float(estimate.value) - truth) < 4 * float(estimate.error)
    tf = known["log activity tf"]
    assert abs(float(tf.value) - (0.75 - 4.0)) < 4 * float(tf.error)
    assert fit.agreement().r_squared > 0.97


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_units_of_the_measurements_do_not_matter(scale: float) -> None:
    seqs = probes(80, 12, seed=2)
    y = made(m=1.0, b=0.1, shift=-6.0, noise=0.02, seqs=seqs, scale=3.0)
    fit = Fit(
        selected(seqs, scale=3.0),
        table(seqs, [scale * each for each in y]),
        torch.sigmoid,
        train_offset=True,
    )
    fit.fit()
    reference = Fit(
        selected(seqs, scale=3.0),
        table(seqs, y),
        torch.sigmoid,
        train_offset=True,
        checkpoint="reference.pt",
    )
    reference.fit()
    assert fit.agreement().r_squared == pytest.approx(
        reference.agreement().r_squared, abs=1e-5
    )
    assert fit.m.item() == pytest.approx(scale * reference.m.item(), rel=1e-3)


def test_logfit_finds_signal_and_background() -> None:
    seqs = probes(300, 12, seed=2)
    clean = made(m=2e4, b=700.0, shift=-6.0, noise=0.0, seqs=seqs, prediction=torch.exp)
    noise = np.exp(0.1 * np.random.default_rng(9).normal(size=len(seqs)))
    fit = LogFit(
        selected(seqs), table(seqs, clean * noise), identity, train_offset=True
    )
    fit.fit()
    known = fit.estimates()
    b = known["b"]
    assert abs(float(b.value) - math.log(700)) < 4 * float(b.error)
    assert fit.agreement().rmse == pytest.approx(0.1, rel=0.15)
    # The overall activity is a signal; the model cannot tell them apart.
    assert not bool(known["log activity tf"].is_identified)
    assert bool(known["m"].is_identified)


def test_engines_agree() -> None:
    seqs = probes(60, 12, seed=2)
    y = made(m=1.0, b=0.2, shift=-1.5, noise=0.05, seqs=seqs)
    losses = []
    for optimizer, arguments in (
        (None, None),
        (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe", "max_iter": 200}),
    ):
        fit = Fit(
            selected(seqs),
            table(seqs, y),
            torch.sigmoid,
            train_offset=True,
            optimizer=optimizer,
            optim_args=arguments,
        )
        fit.fit()
        losses.append(float(fit([fit.dataset]).negloglik.detach()))
        Path("valmodel.pt").unlink()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0] <= losses[1] * (1 + 1e-9)


def test_regression_is_a_model_for_the_optimizer() -> None:
    seqs = probes(60, 12, seed=2)
    y = made(m=1.0, b=0.2, shift=-1.5, noise=0.05, seqs=seqs)
    fit = Fit(selected(seqs), table(seqs, y), torch.sigmoid, train_offset=True)
    before = float(fit([fit.dataset]).negloglik.detach())
    optimizer = Optimizer(fit, [fit.dataset], checkpoint="a.pt", output="a.log")
    after = float(optimizer.train_until_convergence())
    assert after < 0.1 * before


def test_batches_are_trained_by_a_torch_optimizer() -> None:
    seqs = probes(64, 12, seed=2)
    y = made(m=1.0, b=0.2, shift=-1.5, noise=0.05, seqs=seqs)
    fit = Fit(
        selected(seqs), table(seqs, y), torch.sigmoid, train_offset=True, batch_size=16
    )
    before = float(fit([fit.dataset]).negloglik.detach())
    fit.fit()
    assert float(fit([fit.dataset]).negloglik.detach()) < 0.15 * before


def test_fit_without_offset_trains_activities_alone() -> None:
    seqs = probes(100, 12, seed=2)
    y = made(m=1.0, b=0.0, shift=-5.0, noise=0.01, seqs=seqs)
    fit = Fit(selected(seqs), table(seqs, y), torch.sigmoid)
    fit.fit()
    assert (fit.m.item(), fit.b.item()) == (1, 0)
    assert set(fit.estimates()) == {"log activity tf", "log activity ns"}
    tf = fit.estimates()["log activity tf"]
    assert float(tf.value) == pytest.approx(0.75 - 5, abs=4 * float(tf.error))


def test_position_bias_and_hill_are_trained_last_and_only_if_asked() -> None:
    seqs = probes(150, 12, seed=2)
    source = selected(seqs)
    truth = Fit(source, table(seqs), identity, train_posbias=True, train_hill=True)
    conv = truth.aggregate.contributions[1].binding.chain[0]  # type: ignore[union-attr, operator, index]
    with torch.no_grad():
        conv.log_posbias.normal_(generator=torch.Generator().manual_seed(1))
        truth.aggregate.contributions[1].binding.log_hill.fill_(0.4)  # type: ignore[union-attr, operator]
    y = truth.score(truth.dataset)[1].tolist()
    losses = []
    for posbias, hill in ((False, False), (True, False), (True, True)):
        fit = Fit(
            source,
            table(seqs, y),
            identity,
            train_posbias=posbias,
            train_hill=hill,
            checkpoint=f"{posbias}-{hill}.pt",
        )
        fit.fit()
        losses.append(fit.agreement().rmse)
        hills = [v for k, v in fit.named_parameters() if k.endswith("log_hill")]
        assert any(bool(x != 0) for x in hills) == hill
    assert losses[0] > 2 * losses[1] > 4 * losses[2]
    assert losses[2] < 0.01


def test_specifications_and_depths_are_never_trained() -> None:
    fit = Fit(
        selected(dimer=True, bias="shared"),
        table(SEQS, Y),
        identity,
        train_offset=True,
        train_posbias=True,
        train_hill=True,
    )
    fit.unfreeze()
    found = {name for name, value in fit.named_parameters() if value.requires_grad}
    words = "log_activity", "log_hill", "log_posbias"
    assert {"m", "b"} <= found
    assert all(any(word in name for word in words) for name in found - {"m", "b"})
    assert all(any(word in name for name in found) for word in words)


def test_only_what_is_trained_moves() -> None:
    seqs = probes(40, 12, seed=2)
    y = made(m=1.0, b=0.2, shift=-1.5, noise=0.05, seqs=seqs)
    fit = Fit(selected(seqs), table(seqs, y), torch.sigmoid, train_offset=True)
    before = {key: value.clone() for key, value in fit.named_parameters()}
    fit.fit()
    moved = [k for k, v in fit.named_parameters() if not torch.equal(v, before[k])]
    assert {name.rpartition(".")[2] for name in moved} == {"m", "b", "log_activity"}


# --- precision, files, texts ----------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fits_in_either_precision(dtype: torch.dtype) -> None:
    seqs = probes(100, 12, seed=2)
    y = made(m=3e4, b=500.0, shift=-6.0, noise=200.0, seqs=seqs, scale=3.0)
    fit = Fit(
        selected(seqs, scale=3.0),
        table(seqs, y),
        torch.sigmoid,
        train_offset=True,
        dtype=dtype,
    )
    assert {parameter.dtype for parameter in fit.parameters()} == {dtype}
    fit.fit()
    m = fit.estimates()["m"]
    assert abs(float(m.value) - 3e4) < 4 * float(m.error) < 2e4
    assert fit.agreement().r_squared > 0.95


def test_checkpoint_holds_the_regression(tmp_path: Path) -> None:
    seqs = probes(60, 12, seed=2)
    y = made(m=1.0, b=0.2, shift=-1.5, noise=0.05, seqs=seqs)

    def new() -> Fit:
        return Fit(
            selected(seqs),
            table(seqs, y),
            torch.sigmoid,
            train_offset=True,
            output=tmp_path / "fit.log",
        )

    fit, again = new(), new()
    fit.fit()
    again.reload("valmodel.pt")
    assert torch.equal(again.score(again.dataset)[1], fit.score(fit.dataset)[1])
    log = (tmp_path / "fit.log").read_text(encoding="utf-8")
    assert "### Training offset\n" in log
    assert "### Training offset, activity\n" in log
    assert log.rstrip().endswith(str(fit.agreement()))


def test_setup_tells_what_is_compared() -> None:
    fit = LogFit(
        selected(), table(SEQS, Y, LOW), log_fraction, train_posbias=True, name="array"
    )
    text = fit.get_setup_string()
    assert text.startswith("### Regression: LogFit-array on BoundUnsaturatedRound")
    for line in (
        "error bars: symmetric",
        "prediction: log_fraction",
        "observation: as_measured",
        "train_offset: False",
        "train_posbias: True",
        "measurements: 40",
    ):
        assert f"\t{line}\n" in f"{text}\n"


def test_words_of_unfreeze() -> None:
    fit = Fit(selected(dimer=True), table(SEQS, Y), identity, train_offset=True)
    fit.freeze()
    fit.unfreeze("offset")
    assert [k for k, v in fit.named_parameters() if v.requires_grad] == ["m", "b"]
    fit.unfreeze("posbias")
    fit.unfreeze("hill")
    assert sum(v.requires_grad for v in fit.parameters()) == 2
    fit.unfreeze("activity")
    assert sum(v.requires_grad for v in fit.parameters()) == 5
    with pytest.raises(ValueError, match="cannot unfreeze 'monomer'; it knows 'all'"):
        fit.unfreeze("monomer")


# --- errors ---------------------------------------------------------------------------


def test_round_in_which_nothing_binds_is_refused() -> None:
    with pytest.raises(PyProBoundError, match="nothing binds in InitialRound"):
        Fit(InitialRound(), table(SEQS, Y), identity)


def test_probe_that_nothing_binds_is_named() -> None:
    alone = selected(nonspecific=False)
    data = table([*SEQS[:3], "*" * 12], Y[:4])
    data.seqs[3] = data.alphabet.neginf_pad
    fit = Fit(alone, data, identity)
    with pytest.raises(PyProBoundError, match=r"row 3 .* log Z = -inf gives the"):
        fit.fit()


@pytest.mark.parametrize("kind", [Fit, LogFit])
def test_probe_that_nothing_binds_is_background(kind: type[Fit | LogFit]) -> None:
    data = table(SEQS, Y)
    data.seqs[3] = data.alphabet.neginf_pad
    prediction = torch.exp if kind is Fit else identity
    fit = kind(selected(nonspecific=False), data, prediction, train_offset=True)
    fit.fit()
    pred = fit.score(data)[1]
    assert bool(pred.isfinite().all())
    assert float(pred[3]) == pytest.approx(fit.b.item())
    known = fit.estimates()
    assert bool(known["m"].is_identified)


def test_prediction_must_be_elementwise() -> None:
    fit = Fit(selected(), table(SEQS, Y), lambda z: z.mean(), train_offset=True)
    with pytest.raises(PyProBoundError, match="prediction made the shape"):
        fit.fit()


# --- what is reported -----------------------------------------------------------------


def test_agreement_is_that_of_textbooks() -> None:
    obs = torch.tensor([1.0, 2.0, 2.0, 5.0, 4.0]).double()
    pred = torch.tensor([1.5, 1.0, 2.0, 4.0, 6.0]).double()
    found = Agreement.of(obs, pred, obs - 0.5, obs + 0.5)
    residuals = (obs - pred).numpy()
    spread = obs.numpy() - obs.numpy().mean()
    assert found.n == 5
    assert found.rmse == pytest.approx(math.sqrt((residuals**2).mean()))
    assert found.r_squared == pytest.approx(
        1 - (residuals**2).sum() / (spread**2).sum()
    )
    assert found.pearson == pytest.approx(np.corrcoef(obs, pred)[0, 1])
    ranks = [1, 2.5, 2.5, 5, 4], [2, 1, 3, 4, 5]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found.chi_squared == pytest.approx((residuals**2).mean() * 4)
    assert "mean χ²" in str(found)
    assert "mean χ²" not in str(Agreement.of(obs, pred, None, None))


def test_agreement_of_what_does_not_vary_is_not_a_number() -> None:
    same = torch.ones(3).double()
    found = Agreement.of(same, same, None, None)
    assert math.isnan(found.r_squared)
    assert math.isnan(found.pearson)


@pytest.mark.parametrize("bars", ["none", "symmetric"])
def test_errors_of_slope_and_intercept_are_those_of_linear_regression(
    bars: str,
) -> None:
    source = selected()
    for part in source.aggregate.components():
        part.train_activity = False
    fit = Fit(source, table(SEQS, *COLUMNS[bars]), identity, train_offset=True)
    fit.fit()
    log_z = source.log_aggregate(fit.dataset.seqs).detach().numpy()
    design = np.stack([log_z, np.ones(N)], 1)
    weights = np.ones(N) if bars == "none" else 1 / np.float32(LOW).astype(float) ** 2
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    y = np.float32(Y).astype(float)
    values = inverse @ (design.T @ (weights * y))
    scatter = (weights * (y - design @ values) ** 2).sum() / (N - 2)
    factor = scatter if bars == "none" else max(1, scatter)
    found = fit.estimates()
    assert list(found) == ["m", "b"]
    for i, name in enumerate(found):
        assert float(found[name].value) == pytest.approx(values[i], rel=1e-7)
        wanted = math.sqrt(factor * inverse[i, i])
        assert float(found[name].error) == pytest.approx(wanted, rel=1e-7)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    seqs = probes(40, 12, seed=2)
    source = selected(seqs, nonspecific=False, scale=3.0)
    log_z = source.log_aggregate(table(seqs).seqs).detach().double()
    shift = -float(log_z.median())
    clean = 2.0 * torch.sigmoid(log_z + shift) + 0.5
    truth = {"m": 2.0, "b": 0.5, "log activity tf": 0.75 + shift}
    rng = np.random.default_rng(1)
    held, n = dict.fromkeys(truth, 0), 16
    for number in range(n):
        y = clean.numpy() + 0.05 * rng.normal(size=len(seqs))
        fit = Fit(
            source,
            table(seqs, y, [0.05] * len(seqs)),
            torch.sigmoid,
            train_offset=True,
            checkpoint=f"{number}.pt",
        )
        fit.fit()
        for name, found in fit.estimates().items():
            low, high = found.interval
            held[name] += float(low) < truth[name] < float(high)
    # 15.2 are expected, with a standard deviation of 0.9
    assert all(each >= 13 for each in held.values()), held


def test_parameters_that_others_explain_are_held() -> None:
    gram = torch.tensor([[1.0, 0.5, 1.0], [0.5, 1.0, 0.5], [1.0, 0.5, 1.0]]).double()
    from_first = covariance_of(gram, [0, 1, 2])
    assert bool(from_first[2].isnan().all())
    wanted = torch.linalg.inv(2 * gram[:2, :2])
    assert torch.allclose(from_first[:2, :2], wanted)
    assert bool(covariance_of(gram, [2, 1, 0])[0].isnan().all())


def covariance_of(gram: Tensor, order: list[int]) -> Tensor:
    from pyprobound.fitting._least_squares import Normal  # noqa: PLC0415 of one test

    return covariance(Normal(0.0, torch.zeros(3), gram), 2, order)


def test_summary_tells_parameters_errors_and_agreement() -> None:
    fit = Fit(
        selected(bias="shared"),
        table(SEQS, Y),
        identity,
        train_offset=True,
        train_posbias=True,
    )
    fit.fit()
    lines = fit.summary().splitlines()
    assert lines[0] == "### Fit: obs(y) = m·pred(log Z) + b"
    assert lines[1].startswith("\tm = ")
    assert "±" in lines[1]
    assert lines[-2] == "\tand 18 entries of position biases"
    assert lines[-1] == f"\t{fit.agreement()}"


def test_class_of_ones_own_needs_observations_and_predictions_alone() -> None:
    from pyprobound.fitting import BaseFit  # noqa: PLC0415 of one test

    class Ranked(BaseFit):
        def obs_pred(
            self, seqs: Tensor, target: Tensor
        ) -> tuple[Tensor, Tensor, None, None]:
            return target[:, 0].double(), self.prediction(self.log_z(seqs)), None, None

    fit = Ranked(selected(), table(SEQS, Y), identity)
    optimizer = Optimizer(fit, [fit.dataset], checkpoint="a.pt", output="a.log")
    before = fit.agreement().rmse
    optimizer.train_until_convergence()
    assert fit.agreement().rmse < before


def test_tables_and_batches_are_scored_alike() -> None:
    fit = Fit(selected(), table(SEQS, Y), identity)
    assert isinstance(fit.dataset, CountTable)
    batch = CountBatch(fit.dataset.seqs, fit.dataset.target)
    assert torch.equal(fit.score(batch)[1], fit.score(fit.dataset)[1])


WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
import torch
from pyprobound.errors import PyProBoundError
from pyprobound.fitting import Fit
from tests.fitting.models import probes, table, trained
seqs = probes(20, 12)
y = [float(i) for i in range(20)]
fit = Fit(trained(table(seqs)), table(seqs, y), lambda z: z, train_offset=True)
fit.fit()
try:
    fit.plot()
except PyProBoundError as error:
    print(error)
"""


def test_training_needs_no_matplotlib() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MATPLOTLIB],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "PYPROBOUND_BACKEND": "reference"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pictures need matplotlib; run `pip install 'pypro")
