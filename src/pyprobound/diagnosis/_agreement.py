"""How well predicted reads agree with those observed, of fitted and other probes."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyprobound.alphabets import Alphabet
from pyprobound.config import BuiltExperiment
from pyprobound.diagnosis._kmers import Words
from pyprobound.fisher import in_chunks
from pyprobound.rounds import BaseRound, Round, UnboundRound
from pyprobound.table import CountTable

MOST_PROBES = 400_000
"""Probes of a table that are scored, drawn at random."""

MOST_DRAWN = 50_000
"""Probes whose counts are drawn from the model, to see how much chance scatters."""

N_BINS = 50
LEAST_READS = 50
"""Reads that a word's probes must have to count."""

SEED = 1


@dataclass(frozen=True)
class Predicted:
    """Observed and predicted reads of some probes of a table.

    Attributes:
        seqs: (n, length) codes.
        counts: (n, rounds) reads, float64.
        log_p: (n, rounds) the log shares that the model predicts of a probe's reads.
        alphabet: What the probes are written in.
        column: The round that is looked at: the last one that was selected by binding.
        is_whole: Whether these are all probes.
    """

    seqs: Tensor
    counts: Tensor
    log_p: Tensor
    alphabet: Alphabet
    column: int
    is_whole: bool

    @classmethod
    def of(cls, built: BuiltExperiment, table: CountTable) -> "Predicted":
        """Score a table, or a sample of a large one."""
        distinct = table.distinct
        rows = (distinct.target.sum(1) > 0).nonzero().flatten()
        is_whole = len(rows) <= MOST_PROBES
        if not is_whole:
            generator = torch.Generator().manual_seed(SEED)
            rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_PROBES]]
        seqs, counts = distinct.seqs[rows].cpu(), distinct.target[rows].double().cpu()
        experiment = built.experiment
        with torch.no_grad():
            cost = 8 * experiment.max_embedding_size()
            pieces = [experiment(seqs[i]).double() for i in in_chunks(len(seqs), cost)]
        column = column_of(built, counts)
        return cls(
            seqs, counts, torch.cat(pieces), table.alphabet, column, is_whole=is_whole
        )

    @property
    def n_reads(self) -> float:
        """Σ k."""
        return float(self.counts.sum())

    @property
    def totals(self) -> Tensor:
        """The reads K of each probe, (n,)."""
        return self.counts.sum(1)

    def loss(self) -> float:
        """Return −Σ k log p, per read."""
        log_p = self.log_p.masked_fill(self.counts == 0, 0.0)
        return -float((self.counts * log_p).sum()) / max(self.n_reads, 1.0)

    def loss_of(self, shares: Tensor) -> float:
        """Return −Σ k log p, per read, of the same shares (rounds,) for all probes."""
        total = self.counts.sum(0)
        return -float(torch.xlogy(total, shares).sum()) / max(self.n_reads, 1.0)

    def gain_error(self, shares: Tensor) -> float:
        """Return the standard error of `loss_of(shares)` − `loss()` between probes."""
        gains = self.counts * (self.log_p - shares.clamp(min=1e-300).log())
        gains = gains.masked_fill(self.counts == 0, 0.0).sum(1)
        mean = gains.sum() / self.totals.sum().clamp(min=1)
        rest = gains - mean * self.totals  # of a ratio of sums
        return float(rest.square().sum().sqrt()) / max(self.n_reads, 1.0)

    def shares(self) -> Tensor:
        """Return the reads of each round as a part of all, (rounds,)."""
        return self.counts.sum(0) / max(self.n_reads, 1.0)


def column_of(built: BuiltExperiment, counts: Tensor) -> int:
    """Return the last round with reads that was selected by binding."""
    rounds = [e for e in built.experiment.rounds if isinstance(e, BaseRound)]
    read = [i for i in range(len(rounds)) if float(counts[:, i].sum()) > 0]
    bound = [
        i
        for i in read
        if isinstance(rounds[i], Round) and not isinstance(rounds[i], UnboundRound)
    ]
    return (bound or read or [len(rounds) - 1])[-1]


@dataclass(frozen=True)
class Explained:
    """How much of the log likelihood a model explains, in nats per read.

    Attributes:
        loss: Of the model.
        null: Where all probes are alike, and depths alone differ.
        noise: What the counts would scatter by chance around the model: the deviance
            from it, halved. None where a probe has too few reads to tell.
        deviance: How much they do scatter around it.
    """

    loss: float
    null: float
    noise: float
    deviance: float

    @property
    def gain(self) -> float:
        """What the model explains."""
        return self.null - self.loss

    @property
    def share(self) -> float:
        """What it explains of what is not chance, 1 if all."""
        rest = max(0.0, self.deviance - self.noise)
        return self.gain / (self.gain + rest) if self.gain > 0 else 0.0


def explained(predicted: Predicted) -> Explained:
    """Return how much a model explains of reads that it was fitted to."""
    counts, totals = predicted.counts[:MOST_DRAWN], predicted.totals[:MOST_DRAWN]
    shares = predicted.log_p[:MOST_DRAWN].exp()
    shares = shares / shares.sum(1, keepdim=True)
    drawn = np.random.default_rng(SEED).multinomial(
        totals.round().long().numpy(), shares.numpy()
    )
    chance = torch.from_numpy(drawn).double()
    return Explained(
        loss=predicted.loss(),
        null=predicted.loss_of(predicted.shares()),
        noise=_deviance(chance, totals, shares) / 2,
        deviance=_deviance(counts, totals, shares) / 2,
    )


def _deviance(counts: Tensor, totals: Tensor, shares: Tensor) -> float:
    """Return 2 Σ k log(k / Kp) per read."""
    expected = totals[:, None] * shares
    seen = counts > 0
    terms = counts[seen] * (counts[seen] / expected[seen].clamp(min=1e-300)).log()
    return 2 * float(terms.sum()) / max(float(counts.sum()), 1.0)


def probe_agreement(predicted: Predicted) -> float:
    """Return R² of the log share of a round over bins of probes, by prediction.

    Bins have equal reads. Chance scatter of the bins is taken off.
    """
    chance = predicted.log_p[:, predicted.column].exp()
    order = chance.argsort()
    totals = predicted.totals[order]
    place = (totals.cumsum(0) - totals / 2) / totals.sum().clamp(min=1)
    bins = (place * N_BINS).long().clamp(max=N_BINS - 1)
    observed = _by(bins, predicted.counts[order, predicted.column], N_BINS)
    expected = _by(bins, totals * chance[order], N_BINS)
    return agreement(observed, expected, _by(bins, totals, N_BINS))


def word_agreement(predicted: Predicted, words: Words) -> float:
    """Return the same over the words that probes have."""
    chance = predicted.log_p[:, predicted.column].exp()
    totals = words.sums(predicted.totals)
    observed = words.sums(predicted.counts[:, predicted.column])
    expected = words.sums(predicted.totals * chance)
    return agreement(observed, expected, totals)


def _by(bins: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.bincount(bins, values, minlength=size)


def agreement(observed: Tensor, expected: Tensor, totals: Tensor) -> float:
    """Return R² of log(observed / totals), predicted by log(expected / totals).

    What reads scatter by chance is taken off both sides; groups weigh by their reads.

    Args:
        observed: (groups,) reads in the round.
        expected: (groups,) what is predicted of them.
        totals: (groups,) reads in all rounds.

    Returns:
        At most 1; 0 if predictions are no better than one number for all, NaN without
        groups that differ by more than chance.
    """
    used = (expected >= LEAST_READS) & (observed > 0)
    observed, expected, totals = observed[used], expected[used], totals[used]
    if len(observed) < 3:
        return math.nan
    seen, said = (observed / totals).log(), (expected / totals).log()
    weights = observed / observed.sum()
    chance = float((weights * (1 - expected / totals).clamp(min=0) / expected).sum())
    spread = float((weights * (seen - (weights * seen).sum()).square()).sum()) - chance
    rest = float((weights * (seen - said).square()).sum()) - chance
    if spread <= chance:
        return math.nan
    return min(1.0, 1 - max(0.0, rest) / spread)
