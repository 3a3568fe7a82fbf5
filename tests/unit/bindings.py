"""A small binding for tests of what lies above modes: each letter is a window."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation, evaluation_of
from pyprobound._numerics import logsumexp
from pyprobound.base import Binding, BindingOptim, Call, Component, Phase, Spec, Step

LENGTH = 3
"""Letters of a probe."""

DOUBLE = torch.float64


class LetterSpec(Spec):
    """Scores of the letters, with the Dirichlet term of one position."""

    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {"scores": ("scores",)}

    def __init__(self, scores: Sequence[float], name: str = "") -> None:
        super().__init__(name=name)
        self.scores = nn.Parameter(torch.tensor(scores))

    def get_dirichlet(self) -> Tensor:
        return self.scores.sum() - len(self.scores) * self.scores.logsumexp(0)


class Letters(Binding):
    """log 1/K(S) = log Σ_x exp(scores[letter x]).

    Attributes:
        n_scored: How often it was evaluated.
        n_largest: The most sequences of any evaluation.
    """

    def __init__(self, scores: Sequence[float] | LetterSpec, name: str = "") -> None:
        super().__init__(name=name)
        if not isinstance(scores, LetterSpec):
            scores = LetterSpec(scores, name=name)
        self.spec = scores
        self.n_scored = 0
        self.n_largest = 0

    def components(self) -> Iterator[Component]:
        yield self.spec

    def key(self) -> tuple[Spec, ...]:
        return (self.spec,)

    def expected_sequence(self) -> Tensor:
        n_letters = len(self.spec.scores)
        return self.spec.scores.new_full((1, n_letters, LENGTH), 1 / n_letters)

    def evaluate_windows(self, evaluation: Evaluation) -> Tensor:
        seqs = evaluation.seqs
        if seqs.is_floating_point():
            return (seqs * self.spec.scores[:, None]).sum(1)
        return self.spec.scores[seqs.long()]

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        self.n_scored += 1
        self.n_largest = max(self.n_largest, len(evaluation.seqs))
        return logsumexp(evaluation(self.evaluate_windows), 1)

    def score_windows(self, seqs: Tensor) -> Tensor:
        return evaluation_of(seqs)(self.evaluate_windows)

    def extend_steps(
        self,
        path: tuple[Component, ...],
        binding_optim: BindingOptim,
        order: Mapping[tuple[Spec, ...], BindingOptim],
    ) -> BindingOptim:
        del path, order
        train = Call(self.spec, "unfreeze", {"parameter": "all"})
        binding_optim.steps.append(Step([train], phase=Phase.LETTERS))
        return binding_optim


def plan(root: Component) -> list[str]:
    """The calls of the sequential procedure, in order, as text."""
    return [
        str(call)
        for binding_optim in root.optim_procedure().values()
        for step in binding_optim.steps
        for call in step.calls
    ]
