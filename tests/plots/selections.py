"""Small tables drawn from models of which all is known."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyprobound import CountBatch, Experiment
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.plotting import Counts
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    UnboundRound,
)
from tests.unit.bindings import DOUBLE, Letters

SCORES = (0.5, -1.5, 1.5, -0.5)
BACKGROUND = (-1.0, -1.0, -1.0, -1.0)


def aggregate_of(concentration: float = 1.0, log_activity: float = 0.0) -> Aggregate:
    """A motif of one letter, and what binds all letters alike."""
    parts = [
        Contribution(Letters(BACKGROUND, "NS"), log_activity=log_activity),
        Contribution(Letters(SCORES, "tf"), log_activity=log_activity),
    ]
    return Aggregate(parts, target_concentration=concentration)


def selex(n_rounds: int = 2) -> Experiment:
    """An initial library and rounds selected from each other."""
    rounds: list[BaseRound] = [InitialRound()]
    for _ in range(n_rounds):
        each = BoundUnsaturatedRound(aggregate_of(), rounds[-1], log_depth=-1.0)
        rounds.append(each)
    return Experiment(rounds).to(DOUBLE)


def kd_seq() -> Experiment:
    """Input, bound and unbound library."""
    start = InitialRound(name="input")
    bound = BoundRound(
        aggregate_of(50.0, -5.0),
        start,
        log_depth=1.0,
        library_concentration=20.0,
        name="bound",
    )
    unbound = UnboundRound.from_round(bound, name="unbound")
    return Experiment([start, bound, unbound]).to(DOUBLE)


def kinetics(delta: float = -6.0) -> Experiment:
    """Two times of one reaction, each compared with the input."""
    start = InitialRound(name="input")
    early = ExponentialRound(
        aggregate_of(5.0, -4.0), start, log_depth=1.5, delta=delta, name="early"
    )
    late = ExponentialRound.from_round(early, target_concentration=20, name="late")
    return Experiment([start, early, late]).to(DOUBLE)


def drawn(experiment: Experiment, n_probes: int = 400, reads: int = 40) -> CountBatch:
    """Probes of four letters, their reads shared out as the model says."""
    rng = np.random.default_rng(3)
    seqs = torch.from_numpy(rng.integers(0, 4, (n_probes, 4)).astype(np.uint8))
    with torch.no_grad():
        shares = experiment(seqs).exp().numpy()
    totals = rng.poisson(reads, n_probes)
    shares /= shares.sum(1, keepdims=True)
    counts = [rng.multinomial(n, p) for n, p in zip(totals, shares, strict=True)]
    return CountBatch(seqs, torch.from_numpy(np.array(counts)).double())


def counts_of(
    observed: Sequence[Sequence[float]], predicted: Sequence[Sequence[float]]
) -> Counts:
    """Observed and predicted counts of some probes."""
    return Counts(torch.tensor(observed).double(), torch.tensor(predicted).double())


def log_aggregate(seq: Tensor, concentration: float, log_activity: float) -> float:
    """Return log Z of `aggregate_of`, letter by letter."""
    terms = [
        math.exp(scores[int(letter)])
        for scores in (BACKGROUND, SCORES)
        for letter in seq
    ]
    return math.log(concentration) + log_activity + math.log(math.fsum(terms))
