"""One evaluation: quantities of one batch, computed at the first request only."""

import functools
import gc
import weakref

import torch
from torch import Tensor

from pyprobound._evaluation import Evaluation, evaluation_of, remembered


class Quantities:
    """Two quantities, one of which asks for the other."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def inner(self, evaluation: Evaluation) -> Tensor:
        self.computed.append("inner")
        return evaluation.seqs * 2

    def outer(self, evaluation: Evaluation) -> Tensor:
        self.computed.append("outer")
        return evaluation(self.inner) + 1

    def documented(self, seqs: Tensor) -> Tensor:
        """A method of sequences, as the public ones are."""
        return evaluation_of(seqs)(self.inner)

    def through_documented(self, evaluation: Evaluation) -> Tensor:
        return self.documented(evaluation.seqs) + 2


def test_a_quantity_is_computed_once_for_each_evaluation() -> None:
    parts = Quantities()
    evaluation = Evaluation(torch.ones(2))
    assert not evaluation.knows(parts.inner)
    assert evaluation(parts.outer).tolist() == [3, 3]
    assert evaluation.knows(parts.inner)
    assert evaluation(parts.inner).tolist() == [2, 2]
    assert evaluation(parts.outer) is evaluation(parts.outer)
    assert parts.computed == ["outer", "inner"]
    Evaluation(torch.ones(2))(parts.outer)
    assert parts.computed == ["outer", "inner"] * 2


def test_a_method_of_sequences_joins_the_evaluation_in_progress() -> None:
    parts = Quantities()
    evaluation = Evaluation(torch.ones(2))
    evaluation(parts.inner)
    assert evaluation(parts.through_documented).tolist() == [4, 4]
    assert parts.computed == ["inner"]
    parts.documented(evaluation.seqs)  # outside of any evaluation
    assert parts.computed == ["inner", "inner"]


def test_other_sequences_are_another_matter() -> None:
    evaluation = Evaluation(torch.ones(2))
    other = torch.zeros(2)
    made: list[str] = []

    def compute(name: str) -> Tensor:
        made.append(name)
        return torch.ones(1)

    def whole(current: Evaluation) -> Tensor:
        for _ in range(2):
            remembered("x", current.seqs, lambda: compute("own"))
            remembered("x", other, lambda: compute("other"))
        return torch.ones(1)

    evaluation(whole)
    assert made == ["own", "other"]
    assert evaluation_of(other) is not evaluation


def test_nothing_keeps_the_batch_after_its_evaluation() -> None:
    parts = Quantities()
    seqs = torch.ones(3)
    found = weakref.ref(seqs)
    parts.documented(seqs)
    remembered("x", seqs, functools.partial(torch.mul, seqs, 1))
    del seqs
    gc.collect()
    assert found() is None
