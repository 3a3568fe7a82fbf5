"""Errors of what is said of sequences: closed forms agree with autograd."""

import math

import pytest
import torch
from torch import Tensor

from pyprobound import Cooperativity, Experiment
from pyprobound.base import Binding
from pyprobound.errors import PyProBoundError
from pyprobound.rounds import BaseRound, Round
from pyprobound.uncertainty import Estimate, Uncertainty
from pyprobound.uncertainty import _sequences as sequences
from tests.fisher.models import CASES, DNA

KINDS = [
    "motif",
    "pairs",
    "hill",
    "reversed bias of lengths",
    "exponential",
    "kd-seq",
    "unobserved",
    "dimer with hill",
    "dimer with bias",
    "network",
    "padded",
]


def made(kind: str) -> tuple[Uncertainty, list[BaseRound], Tensor]:
    """Return the errors of a model with no limit to them, its rounds, some probes."""
    model, tables = CASES[kind]()
    with torch.no_grad():  # so that nothing is modified, or bound, for certain
        for name, parameter in model.named_parameters():
            if name.endswith("log_activity"):
                parameter.sub_(4.0)
    uncertainty = Uncertainty(model, tables, largest_error=math.inf)
    experiment = next(iter(model.components()))
    assert isinstance(experiment, Experiment)
    return uncertainty, list(experiment.components()), tables[0].seqs[:5]


def bindings_of(rounds: list[BaseRound]) -> list[Binding]:
    found = [
        part.binding
        for each in rounds
        if isinstance(each, Round)
        for part in each.aggregate.components()
    ]
    return list({id(each): each for each in found}.values())


def assert_same(found: Estimate, expected: Estimate) -> None:
    torch.testing.assert_close(found.value, expected.value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        found.error, expected.error, rtol=1e-6, atol=1e-9, equal_nan=True
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rounds_agree_with_autograd(kind: str) -> None:
    uncertainty, rounds, seqs = made(kind)
    for each in rounds:
        found = uncertainty.log_enrichments(each, seqs, reference=seqs[0])
        expected = uncertainty.of(lambda each=each: _relative(each, seqs))
        assert_same(found, expected)
        if isinstance(each, Round):
            aggregates = uncertainty.log_aggregates(each, seqs)
            assert_same(
                aggregates, uncertainty.of(lambda each=each: each.log_aggregate(seqs))
            )


def _relative(each: BaseRound, seqs: Tensor) -> Tensor:
    values = each.log_cumulative_enrichment(seqs)
    return values - values[0]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_agree_with_autograd(kind: str) -> None:
    uncertainty, rounds, seqs = made(kind)
    for binding in bindings_of(rounds):
        assert_same(
            uncertainty.scores(binding, seqs),
            uncertainty.of(lambda b=binding: b(seqs) - uncertainty.moved_constant(b)),
        )
        assert_same(
            uncertainty.scores(binding, seqs, reference=seqs.flip(0)),
            uncertainty.of(lambda b=binding: b(seqs) - b(seqs.flip(0))),
        )


def test_pieces_do_not_change_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    uncertainty, rounds, _ = made("motif")
    seqs = CASES["motif"]()[1][0].seqs
    whole = uncertainty.log_enrichments(rounds[-1], seqs, reference=seqs.flip(0))
    monkeypatch.setattr(sequences, "MOST_AT_ONCE", 5)
    assert_same(
        uncertainty.log_enrichments(rounds[-1], seqs, reference=seqs.flip(0)), whole
    )


def test_no_sequence_has_no_error() -> None:
    uncertainty, rounds, seqs = made("motif")
    found = uncertainty.log_aggregates(rounds[-1], seqs[:0])  # type: ignore[arg-type]
    assert found.value.shape == found.error.shape == (0,)


def test_a_sequence_that_cannot_be_bound_has_no_error() -> None:
    uncertainty, rounds, seqs = made("reversed bias of lengths")
    motif = next(b for b in bindings_of(rounds) if "a" in str(b.name))
    short = seqs[:1].clone()
    short[:, 1:] = DNA.neginf_pad
    found = uncertainty.scores(motif, short)
    assert found.value.item() == -math.inf
    assert math.isnan(found.error.item())


def test_a_sequence_beyond_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uncertainty, rounds, seqs = made("dimer with hill")
    dimer = next(b for b in bindings_of(rounds) if isinstance(b, Cooperativity))
    monkeypatch.setattr(sequences, "memory_budget", lambda: 1000)
    with pytest.raises(PyProBoundError, match="score shorter pieces"):
        uncertainty.scores(dimer, seqs)
