"""Losses against plain Python, their options, and what they do not depend on."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.loss import Loss, MultiExperimentLoss, MultiRoundMSLELoss
from pyprobound.rounds import (
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
)
from pyprobound.table import CountBatch
from tests.unit.bindings import DOUBLE, Letters, LetterSpec

FIRST = (0.3, -1.2, 2.0, 0.5)
SECOND = (-0.7, 0.4, 0.1, 1.5)
SEQS = torch.tensor(
    [[0, 1, 2], [3, 3, 3], [2, 0, 3], [1, 1, 1], [0, 0, 3]], dtype=torch.uint8
)
COUNTS = torch.tensor(
    [[3.0, 1.0, 0.0], [0.0, 2.0, 5.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [2.0, 2.0, 2]]
)


def experiment(
    scores: tuple[float, ...] | LetterSpec = FIRST, *, known_counts: bool = True
) -> Experiment:
    """Three rounds of different kinds; the last contribution is absent."""
    binding = Letters(scores, "a")
    start = InitialRound()
    parts = [
        Contribution(binding, log_activity=0.4),
        Contribution(Letters(SECOND, "b"), log_activity=-math.inf),
    ]
    first = BoundRound(Aggregate(parts, target_concentration=3), start, log_depth=-0.3)
    second = RhoGammaRound(
        Aggregate([Contribution(binding, log_activity=-1.1)]),
        first,
        rho=0.8,
        gamma=-0.6,
        log_depth=0.2,
    )
    counts = COUNTS.sum(0).tolist() if known_counts else None
    return Experiment([start, first, second], counts_per_round=counts).double()


def batch() -> CountBatch:
    return CountBatch(SEQS, COUNTS)


def terms(log_p: Tensor, counts: Tensor) -> Iterator[tuple[float, float, float]]:
    """(k, log p, reads of the probe) of each probe and round."""
    for row, of_round in zip(counts.tolist(), log_p.tolist(), strict=True):
        yield from (
            (k, value, sum(row)) for k, value in zip(row, of_round, strict=True)
        )


def penalised(module: nn.Module, *free: str) -> list[float]:
    """All finite parameters that count, each once, as plain numbers."""
    return [
        value
        for name, parameter in module.named_parameters()
        if not any(word in name for word in free)
        for value in parameter.flatten().tolist()
        if math.isfinite(value)
    ]


def bracket(scores: tuple[float, ...]) -> float:
    """n·logsumexp(β) − Σβ."""
    total = math.log(math.fsum(math.exp(score) for score in scores))
    return len(scores) * total - math.fsum(scores)


def total(loss: Loss) -> Tensor:
    return loss.negloglik + loss.regularization


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


# --- likelihood of counts ------------------------------------------------------------


def test_negloglik_is_the_mean_over_reads() -> None:
    part = experiment()
    expected = -math.fsum(k * value for k, value, _ in terms(part(SEQS), COUNTS))
    found, reads = MultiExperimentLoss([part]).negloglik(part, batch())
    assert found.item() == pytest.approx(expected, rel=1e-13)
    assert reads.item() == COUNTS.sum()
    loss = MultiExperimentLoss([part])([batch()])
    assert loss.negloglik.item() == pytest.approx(expected / 19, rel=1e-13)


def test_full_loss_is_the_poisson_likelihood() -> None:
    part = experiment()
    expected = -math.fsum(
        k * value + (k * math.log(n) if k else 0) - k - math.lgamma(k + 1)
        for k, value, n in terms(part(SEQS), COUNTS)
    )
    found, _ = MultiExperimentLoss([part], full_loss=True).negloglik(part, batch())
    assert found.item() == pytest.approx(expected, rel=1e-13)


def test_full_loss_differs_by_a_constant() -> None:
    part = experiment()
    plain = MultiExperimentLoss([part])
    full = MultiExperimentLoss([part], full_loss=True)
    total(plain([batch()])).backward()
    expected = gradients(part)
    part.zero_grad()
    total(full([batch()])).backward()
    assert expected
    for name, gradient in gradients(part).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-12)


@pytest.mark.parametrize("full_loss", [False, True])
def test_probe_without_reads_may_be_impossible(*, full_loss: bool) -> None:
    start = InitialRound()
    impossible = Letters((1.0, 1.0, 1.0, -math.inf))
    bound = BoundUnsaturatedRound(
        Aggregate([Contribution(impossible, log_activity=0.0)]), start
    )
    model = MultiExperimentLoss([Experiment([start, bound])], full_loss=full_loss)
    seqs = torch.tensor([[3, 3, 3], [0, 1, 3]])
    loss = model([CountBatch(seqs, torch.tensor([[4.0, 0.0], [1.0, 2.0]]))])
    total(loss).backward()
    assert loss.negloglik.isfinite()
    assert gradients(model)
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


def test_impossible_probe_with_reads_costs_infinitely_much() -> None:
    start = InitialRound()
    part = Contribution(Letters((-math.inf,) * 4), log_activity=0.0)
    model = MultiExperimentLoss(
        [Experiment([start, BoundRound(Aggregate([part]), start)])]
    )
    loss = model([CountBatch(SEQS, torch.ones(5, 2))])
    assert loss.negloglik.item() == math.inf


def test_single_reads_count_in_large_tables() -> None:
    part = experiment().float()
    loss = MultiExperimentLoss([part])
    counts = torch.tensor([[2.0**30, 0.0, 0.0], [0.0, 1.0, 0.0]])
    large, reads = loss.negloglik(part, CountBatch(SEQS[:2], counts))
    alone, _ = loss.negloglik(part, CountBatch(SEQS[1:2], counts[1:]))
    rest, _ = loss.negloglik(part, CountBatch(SEQS[:1], counts[:1]))
    assert (large - rest).item() == pytest.approx(alone.item(), rel=1e-6)
    assert reads.item() == 2**30 + 1


def test_batch_without_reads_has_no_loss() -> None:
    loss = MultiExperimentLoss([experiment()])([CountBatch(SEQS, torch.zeros(5, 3))])
    assert loss.negloglik.item() == 0


def test_mean_loss_does_not_depend_on_the_scale_of_the_counts() -> None:
    model = MultiExperimentLoss([experiment()])
    counts, fractions = batch(), CountBatch(SEQS, COUNTS.double() / 1024)
    expected = model([counts]).negloglik.item()
    assert model([fractions]).negloglik.item() == pytest.approx(expected, rel=1e-14)


def test_single_probe_is_a_batch() -> None:
    part = experiment()
    loss = MultiExperimentLoss([part])
    alone, _ = loss.negloglik(part, CountBatch(SEQS[0], COUNTS[0]))
    as_table, _ = loss.negloglik(part, CountBatch(SEQS[:1], COUNTS[:1]))
    assert alone.item() == as_table.item()


def test_gradcheck_of_the_whole_loss() -> None:
    model = MultiExperimentLoss(
        [experiment()],
        pseudocount=2,
        lambda_l2=0.1,
        lambda_l1=0.01,
        exponential_bound=1,
    )
    trained = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.isfinite().all()
    }

    def output(*values: Tensor) -> Tensor:
        replaced = dict(zip(trained, values, strict=True))
        return total(torch.func.functional_call(model, replaced, ([batch()],)))

    inputs = tuple(value.detach().requires_grad_() for value in trained.values())
    assert torch.autograd.gradcheck(output, inputs)


# --- probes that repeat ------------------------------------------------------------

REPEATED = torch.tensor([0, 1, 0, 2, 1, 3, 4, 0])


def repeating() -> CountBatch:
    """Eight probes, of which five differ, with counts of their own."""
    counts = torch.randint(0, 5, (8, 3), generator=torch.Generator().manual_seed(3))
    return CountBatch(SEQS[REPEATED], counts.float())


@pytest.mark.parametrize("full_loss", [False, True])
@pytest.mark.parametrize("max_split", [None, 2])
def test_probes_that_repeat_are_scored_once(
    max_split: int | None, *, full_loss: bool
) -> None:
    part, table = experiment(), repeating()
    binding = next(m for m in part.modules() if isinstance(m, Letters))
    loss = MultiExperimentLoss([part], full_loss=full_loss, max_split=max_split)
    binding.n_largest = 0
    found, reads = loss.negloglik(part, table)
    assert binding.n_largest == (max_split or len(SEQS))
    # each alone, as its counts are, not as their sums
    alone = [
        loss.negloglik(part, CountBatch(*row))[0]
        for row in zip(table.seqs, table.target, strict=True)
    ]
    assert found.item() == pytest.approx(sum(each.item() for each in alone), rel=1e-13)
    assert reads == table.target.sum()
    found.backward()
    slopes = gradients(part)
    part.zero_grad()
    torch.stack(alone).sum().backward()
    for name, gradient in gradients(part).items():
        assert torch.allclose(gradient, slopes[name], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("max_split", [None, 2])
def test_intensities_of_probes_that_repeat_are_compared_one_by_one(
    max_split: int | None,
) -> None:
    part = intensity_round()
    target = torch.tensor([3.0, 0.1, 200.0, 1.0, 2.5, 7.0, 0.4, 1.5])[:, None]
    table = CountBatch(SEQS[REPEATED], target)
    binding = next(m for m in part.modules() if isinstance(m, Letters))
    model = MultiRoundMSLELoss([part], max_split=max_split)
    binding.n_largest = 0
    found, probes = model.negloglik(part, table)
    assert binding.n_largest == (max_split or len(SEQS))
    assert probes == 8
    residuals = target.double()[:, 0].log() - part(SEQS)[REPEATED]
    expected = residuals.square().sum()
    assert found.item() == pytest.approx(expected.item(), rel=1e-13)
    found.backward()
    slopes = gradients(part)
    part.zero_grad()
    expected.backward()
    for name, gradient in gradients(part).items():
        assert torch.allclose(gradient, slopes[name], rtol=1e-11, atol=1e-13)


# --- weights -----------------------------------------------------------------------


def two(**options: object) -> tuple[MultiExperimentLoss, list[CountBatch]]:
    parts = [experiment(), experiment(SECOND)]
    twice = CountBatch(SEQS[:4], 2 * COUNTS[:4].flip(0))
    return MultiExperimentLoss(parts, **options), [batch(), twice]  # type: ignore[arg-type]


def each_alone(batches: list[CountBatch], **options: object) -> list[Loss]:
    model, _ = two(**options)
    return [
        MultiExperimentLoss([part], **options)([table])  # type: ignore[arg-type, list-item]
        for part, table in zip(model.components(), batches, strict=True)
    ]


@pytest.mark.parametrize("weights", [None, [1.0, 1.0], [2.0, 0.5]])
def test_losses_and_penalties_are_weighted_alike(weights: list[float] | None) -> None:
    options = {"lambda_l2": 0.1, "pseudocount": 0.0}
    model, batches = two(weights=weights, **options)
    alone = each_alone(batches, **options)
    given = weights or [0.5, 0.5]
    loss = model(batches)
    for found, of_each in zip(loss, zip(*alone, strict=True), strict=True):
        expected = sum(w * each.item() for w, each in zip(given, of_each, strict=True))
        assert found.item() == pytest.approx(expected, rel=1e-13)


def test_equalized_losses_weigh_alike() -> None:
    model, batches = two(equalize_contribution=True, weights=[3.0, 1.0])
    alone = [loss.negloglik.item() for loss in each_alone(batches)]
    expected = 4 * math.sqrt(alone[0] * alone[1])
    assert model(batches).negloglik.item() == pytest.approx(expected, rel=1e-12)
    # Each makes up half of it: scaling either loss by 4 doubles the sum.
    model(batches).negloglik.backward()
    slopes = []
    for index, part in enumerate(model.components()):
        own = gradients(part)
        part.zero_grad()
        loss, reads = model.negloglik(part, batches[index])
        (loss / reads).log().backward()
        name = "rounds.1.log_depth"
        slopes.append((own[name] / gradients(part)[name]).item())
    assert slopes == pytest.approx([expected / 2] * 2, rel=1e-10)


def test_gradient_of_equalized_losses_is_exact() -> None:
    model, batches = two(equalize_contribution=True, lambda_l2=0.1)
    depth = "transforms.0.rounds.1.log_depth"

    def output(value: Tensor) -> Tensor:
        return total(torch.func.functional_call(model, {depth: value}, (batches,)))

    value = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(output, (value,))


def test_loss_of_zero_is_no_obstacle_to_equalizing() -> None:
    model, batches = two(equalize_contribution=True)
    batches[0] = CountBatch(SEQS, torch.zeros(5, 3))
    alone = each_alone(batches)
    loss = model(batches)
    assert loss.negloglik.item() == pytest.approx(alone[1].negloglik.item(), rel=1e-12)


# --- penalty -----------------------------------------------------------------------


def test_penalty_counts_every_finite_parameter() -> None:
    part = experiment()
    bound = 1.5
    model = MultiExperimentLoss(
        [part], lambda_l2=0.3, lambda_l1=0.2, exponential_bound=bound
    )
    expected = math.fsum(
        0.3 * theta**2
        + 0.2 * abs(theta)
        + math.exp(theta - bound)
        + math.exp(-theta - bound)
        for theta in penalised(part)
    )
    part.freeze()  # trained or not
    found = model([batch()]).regularization.item()
    assert found == pytest.approx(expected, rel=1e-13)


def test_zero_parameters_cost_their_exponential_bound() -> None:
    start = InitialRound()
    other = InitialRound()
    model = MultiExperimentLoss([Experiment([start, other])], exponential_bound=2)
    assert model.regularization(model).item() == pytest.approx(4 * math.exp(-2))


@pytest.mark.parametrize("words", [["log_depth"], ["log_depth", "scores"], "log_depth"])
def test_parameters_with_an_excluded_word_are_free(words: list[str] | str) -> None:
    part = experiment()
    model = MultiExperimentLoss(
        [part], lambda_l2=1, exponential_bound=40, exclude_regularization=words
    )
    free = [words] if isinstance(words, str) else words
    expected = math.fsum(theta**2 for theta in penalised(part, *free))
    found = model([batch()]).regularization.item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_model_in_which_all_is_excluded_has_no_penalty() -> None:
    model = MultiExperimentLoss([experiment()], exclude_regularization=[""])
    assert model([batch()]).regularization.item() == 0


def test_absent_activity_is_neither_penalised_nor_given_a_gradient() -> None:
    part = experiment()
    model = MultiExperimentLoss([part], lambda_l2=1)
    loss = model([batch()])
    assert loss.regularization.isfinite()
    total(loss).backward()
    for gradient in gradients(part).values():
        assert gradient.isfinite().all()


def test_diluted_penalty_counts_shared_parameters_once() -> None:
    shared = LetterSpec(FIRST, "shared")
    parts = [experiment(shared), experiment(shared)]
    options = {"lambda_l2": 1.0, "weights": [5.0, 7.0]}
    diluted = MultiExperimentLoss(parts, dilute_regularization=True, **options)  # type: ignore[arg-type]
    plain = MultiExperimentLoss(parts, **options)  # type: ignore[arg-type]
    batches = [batch(), batch()]
    once = math.fsum(theta**2 for theta in penalised(nn.ModuleList(parts)))
    assert diluted(batches).regularization.item() == pytest.approx(once, rel=1e-12)
    each = math.fsum(theta**2 for theta in penalised(parts[0]))
    assert plain(batches).regularization.item() == pytest.approx(12 * each, rel=1e-12)


@pytest.mark.parametrize("dilute", [False, True])
def test_pseudocount_penalises_all_matrices_of_the_model(*, dilute: bool) -> None:
    parts = [experiment(), experiment(LetterSpec(FIRST[::-1]))]
    parts[1].counts_per_round = torch.tensor([100.0, 20.0, 30.0])
    options = {"pseudocount": 4.0, "weights": [0.25, 2.0]}
    with_it = MultiExperimentLoss(parts, dilute_regularization=dilute, **options)  # type: ignore[arg-type]
    options["pseudocount"] = 0.0
    without = MultiExperimentLoss(parts, dilute_regularization=dilute, **options)  # type: ignore[arg-type]
    batches = [batch(), batch()]
    # The absent contributions' matrices belong to the model, too.
    brackets = 2 * bracket(FIRST) + 2 * bracket(SECOND)
    reads = (4 / 19, 4 / 150)
    share = sum(reads) / 2 if dilute else 0.25 * reads[0] + 2 * reads[1]
    found = with_it(batches).regularization - without(batches).regularization
    assert found.item() == pytest.approx(share * brackets, rel=1e-6)


def test_pseudocount_needs_the_reads() -> None:
    unknown = MultiExperimentLoss([experiment(known_counts=False)], pseudocount=1)
    with pytest.raises(ValueError, match="counts_per_round"):
        unknown([batch()])
    part = experiment()
    part.counts_per_round = [0, 0, 0]
    with pytest.raises(ValueError, match="has no read"):
        MultiExperimentLoss([part], pseudocount=1)([batch()])


# --- splitting ---------------------------------------------------------------------


@pytest.mark.parametrize("max_split", [1, 2, 4, 5, 100])
@pytest.mark.parametrize("full_loss", [False, True])
def test_splitting_changes_neither_loss_nor_gradients(
    max_split: int, *, full_loss: bool
) -> None:
    part = experiment()
    whole = MultiExperimentLoss([part], full_loss=full_loss)
    expected = whole([batch()])
    total(expected).backward()
    slopes = gradients(part)
    part.zero_grad()
    binding = next(m for m in part.modules() if isinstance(m, Letters))
    binding.n_largest = 0
    pieces = MultiExperimentLoss([part], full_loss=full_loss, max_split=max_split)
    found = pieces([batch()])
    total(found).backward()
    assert found.negloglik.item() == pytest.approx(expected.negloglik.item(), rel=1e-13)
    assert binding.n_largest == min(max_split, len(SEQS))
    assert gradients(part).keys() == slopes.keys()
    for name, gradient in gradients(part).items():
        assert torch.allclose(gradient, slopes[name], rtol=1e-11, atol=1e-14)


def test_splitting_bounds_what_the_backward_pass_keeps() -> None:
    # every probe once: repeats are scored once
    seqs = torch.cartesian_prod(*[torch.arange(4)] * 5)[:1000].to(torch.uint8)
    table = CountBatch(seqs, torch.ones(len(seqs), 3))
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    def elements(max_split: int | None) -> int:
        kept.clear()
        model = MultiExperimentLoss([experiment()], max_split=max_split)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model([table])
        return sum(kept)

    inputs = seqs.numel() + table.target.numel()
    assert elements(max_split=50) < 1.1 * inputs
    assert elements(max_split=None) > 2 * inputs


# --- intensities -------------------------------------------------------------------


def intensity_round(*, kinetic: bool = False) -> BoundRound | ExponentialRound:
    kind = ExponentialRound if kinetic else BoundRound
    parts = [Contribution(Letters(FIRST), log_activity=0.4)]
    return kind(Aggregate(parts), None, log_depth=1.2).double()


@pytest.mark.parametrize("max_split", [None, 2])
def test_mean_squared_log_error_is_the_mean_over_probes(max_split: int | None) -> None:
    part = intensity_round()
    target = torch.tensor([[3.0], [0.1], [200.0], [1.0], [2.5]])
    model = MultiRoundMSLELoss([part], max_split=max_split)
    expected = math.fsum(
        (math.log(intensity) - value) ** 2
        for (intensity,), value in zip(
            target.double().tolist(), part(SEQS).tolist(), strict=True
        )
    )
    found, probes = model.negloglik(part, CountBatch(SEQS, target))
    assert found.item() == pytest.approx(expected, rel=1e-13)
    assert probes == 5
    loss = model([CountBatch(SEQS, target)])
    assert loss.negloglik.item() == pytest.approx(expected / 5, rel=1e-13)


def test_several_intensity_tables_are_averaged_and_penalised() -> None:
    parts = [intensity_round(), intensity_round(kinetic=True)]
    target = torch.tensor([[3.0], [0.1], [200.0], [1.0], [2.5]])
    tables = [CountBatch(SEQS, target), CountBatch(SEQS[:2], target[3:])]
    model = MultiRoundMSLELoss(parts, lambda_l2=0.5)
    alone = [
        MultiRoundMSLELoss([part], lambda_l2=0.5)([table])
        for part, table in zip(parts, tables, strict=True)
    ]
    for found, of_each in zip(model(tables), zip(*alone, strict=True), strict=True):
        mean = sum(each.item() for each in of_each) / 2
        assert found.item() == pytest.approx(mean, rel=1e-13)


def test_round_fits_its_own_output_perfectly() -> None:
    part = intensity_round()
    target = part(SEQS).detach().exp()[:, None]
    loss = MultiRoundMSLELoss([part])([CountBatch(SEQS, target)])
    assert loss.negloglik.item() == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("intensity", [0.0, -1.0, math.nan])
def test_intensity_without_a_logarithm_is_refused(intensity: float) -> None:
    part = intensity_round()
    target = torch.tensor([[3.0], [0.1], [intensity], [1.0], [2.5]])
    with pytest.raises(PyProBoundError, match="no logarithm"):
        MultiRoundMSLELoss([part])([CountBatch(SEQS, target)])


def test_intensities_need_one_column_and_no_reference() -> None:
    with pytest.raises(PyProBoundError, match=r"1 column.*has 3"):
        MultiRoundMSLELoss([intensity_round()])([batch()])
    selected = BoundRound(
        Aggregate([Contribution(Letters(FIRST), log_activity=0.0)]), InitialRound()
    )
    with pytest.raises(ValueError, match="reference_round=None"):
        MultiRoundMSLELoss([selected])


# --- what is refused ---------------------------------------------------------------


def test_number_of_columns_must_be_that_of_the_observed_rounds() -> None:
    table = CountBatch(SEQS, torch.ones(5, 2))
    with pytest.raises(PyProBoundError, match=r"2 columns.*3 observed rounds"):
        MultiExperimentLoss([experiment()])([table])


@pytest.mark.parametrize("n_tables", [0, 2])
def test_every_component_needs_a_table(n_tables: int) -> None:
    with pytest.raises(ValueError, match=rf"{n_tables} tables.*1 components"):
        MultiExperimentLoss([experiment()])([batch()] * n_tables)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiExperimentLoss([]), "at least one component"),
        (lambda: MultiExperimentLoss([experiment()], weights=[1, 2]), "2 weights"),
        (lambda: MultiExperimentLoss([experiment()], weights=[-1]), "weight -1"),
        (lambda: MultiExperimentLoss([experiment()], lambda_l2=-1), "lambda_l2 -1"),
        (lambda: MultiExperimentLoss([experiment()], lambda_l1=math.nan), "lambda_l1"),
        (lambda: MultiExperimentLoss([experiment()], pseudocount=-2), "pseudocount -2"),
        (lambda: MultiExperimentLoss([experiment()], max_split=0), "max_split 0"),
        (
            lambda: MultiExperimentLoss([experiment()], exponential_bound=-1),
            "exponential_bound -1",
        ),
    ],
)
def test_settings_out_of_range_are_refused(
    make: Callable[[], MultiExperimentLoss], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- names and settings --------------------------------------------------------------


def test_components_without_a_name_are_called_by_their_index() -> None:
    named = experiment(SECOND)
    named.name = "pbm"
    model = MultiExperimentLoss([experiment(), named])
    names = [str(part) for part in model.components()]
    assert names == ["Experiment-0", "Experiment-pbm"]


def test_names_of_saved_parameters() -> None:
    assert {
        "transforms.0.rounds.0.log_depth",
        "transforms.0.rounds.1.aggregate.log_target_concentration",
        "transforms.0.rounds.1.aggregate.contributions.0.log_activity",
        "transforms.0.rounds.1.aggregate.contributions.0.binding.spec.scores",
        "transforms.0.rounds.2.rho",
        "transforms.0.rounds.2.gamma",
    } <= set(MultiExperimentLoss([experiment()]).state_dict())


def test_setup_string_shows_every_setting() -> None:
    model = MultiExperimentLoss(
        [experiment(), experiment()],
        weights=[0.25, 2],
        lambda_l2=1e-5,
        pseudocount=20,
        exclude_regularization=["log_depth", "rho"],
        max_split=1000,
    )
    assert model.get_setup_string() == (
        "### Loss: MultiExperimentLoss\n"
        "\tweights: 0.25, 2\n"
        "\tlambda_l2: 1e-05\n"
        "\tlambda_l1: 0\n"
        "\texponential_bound: 40\n"
        "\tdilute_regularization: False\n"
        "\texclude_regularization: log_depth, rho\n"
        "\tequalize_contribution: False\n"
        "\tmax_split: 1000\n"
        "\tpseudocount: 20\n"
        "\tfull_loss: False"
    )


@pytest.mark.parametrize("max_split", [None, 2])
def test_negative_counts_are_refused_as_measurements(max_split: int | None) -> None:
    counts = COUNTS.clone()
    counts[3, 1] = -2
    loss = MultiExperimentLoss([experiment()], max_split=max_split)
    with pytest.raises(
        PyProBoundError, match=r"row 3 \(from 0\): count -2 in column 1"
    ):
        loss([CountBatch(SEQS, counts)])
