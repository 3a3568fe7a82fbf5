"""What scores sequences of any length, wherever it comes from.

    log K_m(S)  = log Σ_{x, strand} exp( h · s_m(S, x, strand) )         a motif
    log K_ab(S) = log Σ exp( h · [log ω + s_a(S, x) + s_b(S, y)] )       a dimer
    log Z(S)    = log [P] + log Σ_m α_m K_m(S)                           a state

Scores s are −ΔΔG/RT, natural logarithms.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, logsumexp, scale_log
from pyprobound.alphabets import Alphabet
from pyprobound.probound._transforms import MOST_STATES, best_window

Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class Motif:
    """The energies of a mode.

    Attributes:
        name: What it is called.
        filters: Weights of single letters (strands, A, k), then of pairs.
        bias: Added to every window of a strand, (strands,).
        hill: Hill coefficient h, 0-dimensional; None is 1.
        dilation: Letters from one position to the next.
    """

    name: str
    filters: tuple[Tensor, ...]
    bias: Tensor
    hill: Tensor | None = None
    dilation: int = 1

    @property
    def strands(self) -> int:
        """How many strands are scored."""
        return len(self.bias)

    @property
    def reach(self) -> int:
        """Letters that a window covers."""
        return (self.filters[0].shape[2] - 1) * self.dilation + 1

    @cached_property
    def best(self) -> tuple[tuple[int, ...], float] | None:
        """The letters (codes) of the best window and its score, without Hill.

        None where pairs reach too far to find it exactly.
        """
        letters, *pairs = (each.double().numpy() for each in self.filters)
        used = [d for d, each in enumerate(pairs, 1) if each[0].any()]
        if letters.shape[1] ** max(used, default=0) > MOST_STATES:
            return None
        by_position = [each[0].transpose(2, 0, 1) for each in pairs]
        best = best_window(letters[0].T, by_position)
        score = letters[0][best, range(len(best))].sum() + float(self.bias[0])
        for d, each in enumerate(by_position, 1):
            for i in range(len(each)):
                score += each[i, best[i], best[i + d]]
        return tuple(int(code) for code in best), float(score)

    @property
    def log_best(self) -> float:
        """The log sum that one best window has alone: h·s of the best sequence."""
        if self.best is None:
            return torch.nan
        hill = 1.0 if self.hill is None else float(self.hill.detach())
        return hill * self.best[1]


@dataclass(frozen=True)
class Constant:
    """Non-specific binding.

    Attributes:
        name: What it is called.
        by_length: Whether each letter is a site, or the sequence is one.
        hill: Hill coefficient, None is 1.
    """

    name: str
    by_length: bool
    hill: Tensor | None = None

    def scores(self, lengths: Tensor) -> Tensor:
        """Return log K of sequences with so many letters, float64."""
        if not self.by_length:
            return torch.zeros(len(lengths), dtype=torch.float64)
        logs = lengths.double().log()
        return logs if self.hill is None else scale_log(logs, self.hill.double())


@dataclass(frozen=True)
class Dimer:
    """Two motifs that bind together.

    Attributes:
        name: What it is called.
        motifs: The names of the two.
        log_spacing: log ω (strands, strands, offsets); −∞ where a pair cannot be.
        first: The offset of the first column: where b's window starts less a's.
        hill: Hill coefficient, None is 1.
    """

    name: str
    motifs: tuple[str, str]
    log_spacing: Tensor
    first: int
    hill: Tensor | None = None

    def reach(self, reach_a: int, reach_b: int) -> int:
        """Return the letters that the widest pair covers."""
        last = self.first + self.log_spacing.shape[2] - 1
        return max(reach_a, reach_b, last + reach_b, reach_a - self.first)

    def log_sum(self, a: Tensor, b: Tensor, n_starts: int) -> Tensor:
        """Sum over the pairs whose first window is one of the first `n_starts`.

        Args:
            a: Window scores (N, strands, W_a) of the first motif.
            b: Window scores (N, strands, W_b) of the second motif.
            n_starts: How many starts count.

        Returns:
            Log sums (N,).
        """
        terms = [a.new_full((len(a),), NEG_INF)]
        for strand_a, rows in enumerate(self.log_spacing):
            for strand_b, row in enumerate(rows):
                for offset, log_omega in enumerate(row, self.first):
                    if log_omega.item() == NEG_INF:
                        continue
                    left = a[:, strand_a, max(0, -offset) :]
                    right = b[:, strand_b, max(0, offset) :]
                    n = min(n_starts, left.shape[1], right.shape[1])
                    both = left[:, :n] + right[:, :n] + log_omega
                    if self.hill is not None:
                        both = scale_log(both, self.hill)
                    terms.append(logsumexp(both, 1))
        return logsumexp(torch.stack(terms), 0)


@dataclass(frozen=True)
class State:
    """Bindings with activities: one round of a fit, or a scoring model.

    Attributes:
        name: What it is called.
        log_activities: log α by binding; who is not in it does not bind.
        log_concentration: log [P] of the experiment.
        is_absolute: Whether that concentration is known, so that α and concentrations
            have its unit.
    """

    name: str
    log_activities: Mapping[str, float]
    log_concentration: float = 0.0
    is_absolute: bool = False

    def terms(self, scores: Scores) -> dict[str, Tensor]:
        """Return log α·K of each binding: per unit of concentration."""
        return {
            name: scores[name] + log_activity
            for name, log_activity in self.log_activities.items()
        }

    def log_affinity(self, scores: Scores) -> Tensor:
        """Return log Σ α·K, per unit of concentration."""
        terms = list(self.terms(scores).values())
        if not terms:
            return torch.full_like(next(iter(scores.values())), NEG_INF)
        return logsumexp(torch.stack(terms), 0)

    def log_z(self, scores: Scores) -> Tensor:
        """Return log Z, at the concentration of the experiment."""
        return self.log_concentration + self.log_affinity(scores)


@dataclass(frozen=True)
class SiteModel:
    """Motifs, non-specific binding and dimers, with their activities.

    Attributes:
        alphabet: What sequences are written in.
        motifs: The motifs.
        constants: Non-specific binding.
        dimers: The dimers.
        order: The names of all bindings, as they are printed.
        states: The states.
        log_enrichment: From log scores to the log enrichment in each state, where the
            model is of an experiment.
    """

    alphabet: Alphabet
    motifs: Sequence[Motif]
    constants: Sequence[Constant]
    dimers: Sequence[Dimer]
    order: Sequence[str]
    states: Sequence[State]
    log_enrichment: Callable[[Scores], list[Tensor]] | None = None

    def motif(self, name: str) -> Motif:
        """Return the motif of a name."""
        return next(each for each in self.motifs if each.name == name)

    @property
    def reach(self) -> int:
        """Letters that the widest window, or pair of windows, covers."""
        pairs = [
            each.reach(*(self.motif(name).reach for name in each.motifs))
            for each in self.dimers
        ]
        return max([1, *(each.reach for each in self.motifs), *pairs])
