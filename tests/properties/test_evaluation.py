"""One evaluation computes each quantity once, and leaves nothing behind."""

import gc
import weakref
from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from torch import Tensor

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Transform,
    layers,
    rounds,
)
from pyprobound.base import Component
from tests.properties.models import (
    DNA,
    assert_close,
    conv_of,
    dimer_of,
    random_texts,
    randomised,
    spacing_of,
)


class Doubled(Transform):
    """Counts how often its cached method runs."""

    def __init__(self) -> None:
        super().__init__()
        self.n_runs = 0
        self.fails = False

    def components(self) -> Iterator[Component]:
        return iter(())

    @Transform.cache
    def twice(self, seqs: Tensor) -> Tensor:
        """Return twice the numbers."""
        self.n_runs += 1
        if self.fails:
            raise ArithmeticError("not today")
        return 2 * seqs

    @Transform.cache
    def four_times(self, seqs: Tensor) -> Tensor:
        return self.twice(seqs) + self.twice(seqs)

    def forward(self, seqs: Tensor) -> Tensor:
        return self.four_times(seqs) + self.twice(seqs)


class Summed(Transform):
    """An evaluation of its own that asks one part several times."""

    def __init__(self, part: Doubled) -> None:
        super().__init__()
        self.part = part

    def components(self) -> Iterator[Component]:
        yield self.part

    @Transform.cache
    def total(self, seqs: Tensor) -> Tensor:
        return self.part.twice(seqs) + self.part.four_times(seqs)

    def forward(self, seqs: Tensor) -> Tensor:
        return self.total(seqs)


def test_a_cached_method_runs_once_within_an_evaluation() -> None:
    part = Doubled()
    model, seqs = Summed(part), torch.tensor([1.0, 2.0])
    assert model(seqs).tolist() == [6.0, 12.0]
    assert part.n_runs == 1


def test_nothing_outlives_an_evaluation() -> None:
    part = Doubled()
    seqs = torch.tensor([1.0, 2.0])
    assert part.twice(seqs).tolist() == [2.0, 4.0]
    with torch.no_grad():
        seqs.add_(1.0)
    assert part.twice(seqs).tolist() == [4.0, 6.0]
    assert part.n_runs == 2
    found = part.twice(seqs)
    remembered = weakref.ref(found)
    del found
    gc.collect()
    assert remembered() is None


def test_each_input_has_its_own_output() -> None:
    part = Doubled()

    class Pair(Summed):
        @Transform.cache
        def total(self, seqs: Tensor) -> Tensor:
            other = seqs + 1
            return self.part.twice(seqs) + self.part.twice(other)

    assert Pair(part)(torch.tensor([1.0])).tolist() == [6.0]
    assert part.n_runs == 2


def test_each_component_has_its_own_output() -> None:
    first, second = Doubled(), Doubled()

    class Pair(Summed):
        @Transform.cache
        def total(self, seqs: Tensor) -> Tensor:
            return self.part.twice(seqs) + second.twice(seqs)

    assert Pair(first)(torch.tensor([1.0])).tolist() == [4.0]
    assert (first.n_runs, second.n_runs) == (1, 1)


def test_an_exception_leaves_nothing_behind() -> None:
    part = Doubled()
    model, seqs = Summed(part), torch.tensor([1.0])
    part.fails = True
    with pytest.raises(ArithmeticError):
        model(seqs)
    part.fails = False
    with torch.no_grad():
        seqs.add_(1.0)
    assert model(seqs).tolist() == [12.0]


def test_gradients_flow_through_what_is_remembered() -> None:
    model, seqs = Summed(Doubled()), torch.tensor([1.0], requires_grad=True)
    model(seqs).sum().backward()
    assert seqs.grad is not None
    assert seqs.grad.tolist() == [6.0]


def shared_modes() -> tuple[Experiment, list[Mode], CountTable]:
    """Return an experiment in which four rounds and two dimers share two modes."""
    texts = random_texts(2, 6, 8)
    table = CountTable(pd.DataFrame([[1.0] * 5] * len(texts), index=texts), DNA)
    modes = [
        Mode.from_psam(layers.PSAM(size, alphabet=DNA, name=name), table)
        for name, size in (("a", 3), ("b", 2))
    ]
    dimers = [
        dimer_of(spacing_of(modes), modes),
        dimer_of(spacing_of([modes[0]] * 2), [modes[0]] * 2),
    ]
    chain: list[rounds.BaseRound] = [rounds.InitialRound()]
    for _ in range(4):
        chain.append(
            rounds.BoundUnsaturatedRound.from_binding([*modes, *dimers], chain[-1])
        )
    experiment = Experiment(chain, table.counts_per_round)
    randomised(experiment, 3)
    return experiment, modes, table


def test_modes_are_scored_once_however_many_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment, modes, table = shared_modes()
    n_runs = dict.fromkeys(modes, 0)
    original = Mode.evaluate_windows

    def counting(self: Mode, evaluation: object) -> Tensor:
        n_runs[self] += 1
        return original(self, evaluation)

    monkeypatch.setattr(Mode, "evaluate_windows", counting)
    experiment(table.seqs)
    assert list(n_runs.values()) == [1, 1]


def test_an_evaluation_sees_every_change_of_a_parameter() -> None:
    experiment, modes, table = shared_modes()
    before = experiment(table.seqs)
    with torch.no_grad():
        conv_of(modes[0]).layer_spec.betas["1-0"].add_(1.0)
    after = experiment(table.seqs)
    assert not torch.allclose(before, after)
    with torch.no_grad():
        conv_of(modes[0]).layer_spec.betas["1-0"].sub_(1.0)
    assert_close(experiment(table.seqs), before.detach())


def test_an_evaluation_sees_every_change_of_the_probes() -> None:
    """Also where a tensor is written to in place and keeps its identity."""
    experiment, _, table = shared_modes()
    seqs = table.seqs.clone()
    before = experiment(seqs).detach()
    seqs[:] = seqs.flip(0)
    assert_close(experiment(seqs), before.flip(0))


def test_a_failing_mode_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, modes, table = shared_modes()
    expected = experiment(table.seqs).detach()
    original = Mode.evaluate_windows

    def failing(self: Mode, evaluation: object) -> Tensor:
        if self is modes[1]:
            raise ArithmeticError("not today")
        return original(self, evaluation)

    with monkeypatch.context() as patch:
        patch.setattr(Mode, "evaluate_windows", failing)
        with pytest.raises(ArithmeticError):
            experiment(table.seqs)
    with torch.no_grad():
        conv_of(modes[0]).layer_spec.bias.add_(0.5)
        conv_of(modes[0]).layer_spec.bias.sub_(0.5)
    assert_close(experiment(table.seqs), expected)


def test_graphs_do_not_outlive_a_backward_pass() -> None:
    experiment, _, table = shared_modes()
    loss = MultiExperimentLoss([experiment])
    for _ in range(2):
        found = loss([table])
        (found.negloglik + found.regularization).backward()
    result = weakref.ref(experiment(table.seqs))
    gc.collect()
    assert result() is None
