"""Whole models in plain Python: from the text of the probes to loss and penalty."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pyprobound import (
    Binding,
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    MultiRoundMSLELoss,
    Spacing,
    layers,
    rounds,
)
from pyprobound.base import Component
from tests.oracles import (
    NEG_INF,
    Letter,
    dimer_score,
    log_sum,
    mode_score,
    read_probe,
    rows_of,
)
from tests.properties.models import (
    DNA,
    FLANKS,
    assert_close,
    bias_settings,
    dimer_of,
    dimer_settings,
    generator,
    punctured,
    random_texts,
    randomised,
    seeds,
    spacing_of,
)

KINDS: dict[type[rounds.Round], dict[str, Any]] = {
    rounds.BoundRound: {},
    rounds.BoundUnsaturatedRound: {},
    rounds.UnboundRound: {},
    rounds.RhoGammaRound: {"rho": 0.6, "gamma": -0.3},
    rounds.ExponentialRound: {"delta": -1.0},
}


def text_score(binding: Binding, probe: list[Letter]) -> float:
    if isinstance(binding, Cooperativity):
        return dimer_score(binding, probe)
    assert isinstance(binding, Mode)
    return mode_score(binding, probe)


def log_aggregate(each: rounds.Round, probe: list[Letter]) -> float:
    aggregate = each.aggregate
    parts = [
        part.log_activity.item() + text_score(part.binding, probe)
        for part in aggregate.components()
    ]
    return aggregate.log_target_concentration.item() + log_sum(parts)


def log_enrichment(each: rounds.BaseRound, probe: list[Letter]) -> float:
    if not isinstance(each, rounds.Round):
        return 0.0
    z = math.exp(log_aggregate(each, probe))
    if isinstance(each, rounds.BoundRound):
        return math.log(z / (1 + z))
    if isinstance(each, rounds.UnboundRound):
        return -math.log(1 + z)
    if isinstance(each, rounds.RhoGammaRound):
        return each.rho.item() * math.log(z) + each.gamma.item() * math.log(1 + z)
    if isinstance(each, rounds.ExponentialRound):
        odds = math.exp(each.delta.item())
        wrong, right = odds / (1 + odds), 1 / (1 + odds)
        return math.log(wrong * math.exp(-z) + right * (1 - math.exp(-z)))
    return math.log(z)


def output(each: rounds.BaseRound, probe: list[Letter]) -> float:
    total, link = each.log_depth.item(), each
    while True:
        total += log_enrichment(link, probe)
        if link.reference_round is None:
            return total
        link = link.reference_round


def log_p(experiment: Experiment, probe: list[Letter]) -> list[float]:
    observed = [
        each for each in experiment.rounds if isinstance(each, rounds.BaseRound)
    ]
    outputs = [output(each, probe) for each in observed]
    return [value - log_sum(outputs) for value in outputs]


PARAMETERS = (
    "log_depth",
    "rho",
    "gamma",
    "delta",
    "log_target_concentration",
    "log_activity",
    "log_hill",
    "log_posbias",
    "log_spacing",
    "betas",
    "bias",
)


def own_values(part: Component) -> Iterator[tuple[str, float]]:
    """Iterate over (kind, value) of the parameters of a part without its children."""
    for name in PARAMETERS:
        found = getattr(part, name, None)
        tensors = [found] if isinstance(found, Tensor) else []
        if isinstance(found, nn.ParameterList):
            tensors = list(found)
        elif name == "betas" and isinstance(part, layers.PSAM):
            tensors = part.betas.values()
        for tensor in tensors:
            yield from ((name, value) for value in tensor.flatten().tolist())


def penalised(
    part: Component, seen: set[Component] | None = None
) -> Iterator[tuple[str, float]]:
    """Iterate over (kind, value) of all parameters from a part on, each once."""
    seen = set() if seen is None else seen
    if part in seen:
        return
    seen.add(part)
    yield from own_values(part)
    children = list(part.components())
    if isinstance(part, Cooperativity):
        children.append(part.spacing)
    for child in children:
        yield from penalised(child, seen)


def cost(value: float, options: dict[str, Any]) -> float:
    if not math.isfinite(value):
        return 0.0
    bound = options["exponential_bound"]
    return (
        options["lambda_l2"] * value**2
        + options["lambda_l1"] * abs(value)
        + math.exp(value - bound)
        + math.exp(-value - bound)
    )


class Whole:
    """Two experiments with tables of their own, sharing two PSAMs and a spacing."""

    def __init__(self, data: st.DataObject, n_experiments: int = 2) -> None:
        draw = data.draw
        self.seed = draw(seeds)
        self.psams = [
            layers.PSAM(2, alphabet=DNA, name="a", pairwise_distance=1),
            layers.PSAM(1, alphabet=DNA, name="b", train_bias=True),
        ]
        self.anything = layers.NonSpecific(DNA, name="ns")
        self.spacing: Spacing | None = None
        self.tables: list[CountTable] = []
        self.texts: list[list[str]] = []
        self.experiments = [self.experiment(i, data) for i in range(n_experiments)]

    def experiment(self, index: int, data: st.DataObject) -> Experiment:
        draw = data.draw
        texts = random_texts(self.seed + index, 3, 5, "ACGT*")
        n_rounds = draw(st.integers(2, 3))
        counts = torch.randint(
            0, 6, (len(texts), n_rounds), generator=generator(self.seed)
        )
        counts[0] += 1
        counts[:, 0] += 1
        table = CountTable(
            pd.DataFrame(counts.double().numpy(), index=texts),
            DNA,
            **FLANKS,
            left_flank_length=1,
            right_flank_length=index,
        )
        modes = [Mode.from_psam(p, table, **draw(bias_settings())) for p in self.psams]
        if self.spacing is None:
            self.spacing = spacing_of(modes, max_overlap=1)
        dimer = dimer_of(self.spacing, modes, **draw(dimer_settings()))
        nonspecific = Mode.from_nonspecific(self.anything, table, train_posbias=True)
        bindings = [nonspecific, *modes, dimer]
        chain: list[rounds.BaseRound] = [rounds.InitialRound()]
        hidden = draw(st.booleans())
        for number in range(1, n_rounds + hidden):
            kind = draw(st.sampled_from(list(KINDS)))
            chain.append(
                kind.from_binding(
                    draw(st.permutations(bindings)),
                    chain[draw(st.integers(0, number - 1))],
                    train_depth=not (hidden and number == 1),
                    target_concentration=draw(st.sampled_from([1, 3.0])),
                    **KINDS[kind],
                )
            )
        observed = [each for i, each in enumerate(chain) if not (hidden and i == 1)]
        self.tables.append(table)
        self.texts.append(texts)
        return Experiment(observed, table.counts_per_round)

    def finish(self, loss: torch.nn.Module) -> None:
        randomised(loss, self.seed, scale=0.5)
        with torch.no_grad():
            for name, parameter in loss.named_parameters():
                if name.endswith("log_activity"):
                    parameter.sub_(2.0)

    def probes(self, index: int) -> list[list[Letter]]:
        rows = rows_of(self.tables[index], self.texts[index])
        return [read_probe(DNA, row) for row in rows]

    def shared(self) -> Iterator[tuple[str, float]]:
        """Iterate over (kind, value) of what both experiments hold."""
        assert self.spacing is not None
        for part in (self.spacing, *self.psams):
            yield from own_values(part)

    def negloglik(self, index: int, *, full_loss: bool) -> float:
        counts = self.tables[index].target.tolist()
        total = 0.0
        for probe, row in zip(self.probes(index), counts, strict=True):
            shares = log_p(self.experiments[index], probe)
            total -= sum(k * share for k, share in zip(row, shares, strict=True) if k)
            if full_loss:
                total -= (
                    sum(k * math.log(sum(row)) - k - math.lgamma(k + 1) for k in row)
                    if sum(row)
                    else 0.0
                )
        return total / sum(map(sum, counts))

    def dirichlet(self) -> float:
        total = 0.0
        for psam in self.psams:
            groups: dict[str, list[float]] = {}
            for key, value in psam.betas.items():
                groups.setdefault(key.rpartition("-")[0], []).append(value.item())
            total += sum(len(b) * log_sum(b) - sum(b) for b in groups.values())
        return total


words = st.sampled_from(
    ["log_depth", "log_posbias", "log_spacing", "log_activity", "betas", "log_hill"]
)


@settings(max_examples=25)
@given(st.data())
def test_losses_and_penalties_are_those_of_the_formulas(data: st.DataObject) -> None:
    draw = data.draw
    model = Whole(data)
    options: dict[str, Any] = {
        "lambda_l2": draw(st.sampled_from([0, 1e-3])),
        "lambda_l1": draw(st.sampled_from([0, 1e-3])),
        "exponential_bound": draw(st.sampled_from([1.5, 40])),
        "pseudocount": draw(st.sampled_from([0, 7.0])),
        "full_loss": draw(st.booleans()),
        "dilute_regularization": draw(st.booleans()),
        "exclude_regularization": draw(st.lists(words, max_size=2)),
    }
    weights = draw(st.none() | st.just([0.3, 1.9]))
    loss = MultiExperimentLoss(model.experiments, weights=weights, **options)
    model.finish(loss)
    found = loss(model.tables)

    used = weights or [0.5, 0.5]
    full_loss = options["full_loss"]
    expected = sum(
        w * model.negloglik(i, full_loss=full_loss) for i, w in enumerate(used)
    )
    assert found.negloglik.item() == pytest.approx(expected, rel=1e-9)

    excluded = options["exclude_regularization"]
    shares = [options["pseudocount"] / t.target.sum().item() for t in model.tables]
    listed = [list(penalised(each)) for each in model.experiments]
    costs = [
        sum(cost(v, options) for name, v in each if name not in excluded)
        for each in listed
    ]
    if options["dilute_regularization"]:
        # What both experiments hold was counted twice.
        penalty = sum(costs) - sum(
            cost(value, options)
            for name, value in model.shared()
            if name not in excluded
        )
        penalty += sum(shares) / len(shares) * model.dirichlet()
    else:
        penalty = sum(
            w * (c + share * model.dirichlet())
            for w, c, share in zip(used, costs, shares, strict=True)
        )
    assert found.regularization.item() == pytest.approx(penalty, rel=1e-9)


@settings(max_examples=15)
@given(st.data(), st.integers(1, 5))
def test_neither_splitting_nor_order_changes_a_loss(
    data: st.DataObject, max_split: int
) -> None:
    model = Whole(data)
    whole = MultiExperimentLoss(model.experiments, pseudocount=2.0)
    parts = MultiExperimentLoss(model.experiments, pseudocount=2.0, max_split=max_split)
    model.finish(whole)
    found = []
    for loss, tables in ((whole, model.tables), (parts, model.tables)):
        loss.zero_grad()
        value = loss(tables)
        (value.negloglik + value.regularization).backward()
        gradients = [
            parameter.grad.clone()
            for parameter in loss.parameters()
            if parameter.grad is not None
        ]
        found.append(
            [value.negloglik.detach(), value.regularization.detach(), *gradients]
        )
    for one, other in zip(*found, strict=True):
        assert_close(one, other)
    backwards = MultiExperimentLoss(model.experiments[::-1], pseudocount=2.0)
    value = backwards(model.tables[::-1])
    assert_close(value.negloglik, found[0][0])
    assert_close(value.regularization, found[0][1])


@settings(max_examples=15)
@given(st.data())
def test_equalized_experiments_weigh_alike(data: st.DataObject) -> None:
    """Every weighted loss is the same, whatever the experiments' own losses are."""
    model = Whole(data)
    loss = MultiExperimentLoss(model.experiments, equalize_contribution=True)
    model.finish(loss)
    own = [model.negloglik(i, full_loss=False) for i in range(2)]
    found = loss(model.tables).negloglik.item()
    # Two equal parts of a sum; scaling one experiment's loss scales both parts.
    assert found == pytest.approx(math.sqrt(own[0] * own[1]), rel=1e-9)
    plain = MultiExperimentLoss(model.experiments)
    assert loss(model.tables).regularization == plain(model.tables).regularization


@settings(max_examples=15)
@given(st.data())
def test_probes_are_scored_one_by_one(data: st.DataObject) -> None:
    model = Whole(data, n_experiments=1)
    (experiment,), (table,) = model.experiments, model.tables
    model.finish(experiment)
    together = experiment(table.seqs)
    assert_close(together, [log_p(experiment, probe) for probe in model.probes(0)])
    assert_close(together.exp().sum(1), [1.0] * len(table))
    for index in range(len(table)):
        assert_close(
            experiment(table.seqs[index : index + 1])[0], together[index].detach()
        )
    again = experiment(table.seqs.flip(0)).flip(0)
    assert_close(again, together.detach())
    assert_close(experiment(table.seqs.long()), together.detach())


@settings(max_examples=10)
@given(st.data(), st.integers(0, 3))
def test_intensities_are_compared_in_log_space(
    data: st.DataObject, max_split: int
) -> None:
    texts = random_texts(data.draw(seeds), 4, 4)
    frame = pd.DataFrame({0: [1.5, 20.0, 0.25][: len(texts)]}, index=texts)
    table = CountTable(frame, DNA)
    mode = Mode.from_psam(layers.PSAM(2, alphabet=DNA), table)
    rnd = rounds.BoundRound.from_binding([mode], None)
    loss = MultiRoundMSLELoss([rnd], lambda_l2=0, max_split=max_split or None)
    randomised(loss, data.draw(seeds))
    expected = [
        (math.log(y) - output(rnd, read_probe(DNA, text))) ** 2
        for text, y in zip(texts, frame[0], strict=True)
    ]
    found = loss([table])
    assert found.negloglik.item() == pytest.approx(sum(expected) / len(texts), rel=1e-6)


@settings(max_examples=15)
@given(st.data(), st.sampled_from([0.4, 1.0]))
def test_models_without_a_place_to_bind_have_finite_losses(
    data: st.DataObject, share: float
) -> None:
    """Position biases of −∞: dimers, modes, or whole probes that cannot bind."""
    model = Whole(data, n_experiments=1)
    loss = MultiExperimentLoss(model.experiments)
    model.finish(loss)
    (experiment,), (table,) = model.experiments, model.tables
    for path, module in loss.named_modules():
        if isinstance(module, layers.Conv1d):
            module.normalize = False
            punctured(module.log_posbias, model.seed, share)
        if isinstance(module, Cooperativity):
            module.normalize = False
            for bias in module.log_posbias:
                punctured(bias, model.seed, share)
        assert path is not None
    found = loss([table])
    assert found.negloglik.isfinite()
    assert found.regularization.isfinite()
    assert_close(
        experiment(table.seqs), [log_p(experiment, p) for p in model.probes(0)]
    )
    loss.zero_grad()
    (found.negloglik + found.regularization).backward()
    for path, parameter in loss.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), path
    if share == 1.0:
        assert NEG_INF in {value for _, value in penalised(experiment)}
