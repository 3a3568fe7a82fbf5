"""Score tests of what a model leaves out, without fitting it again.

A feature u that the model lacks would add δ u_i to the score X_i of a binding. With g
the gradient of −log likelihood by δ at δ = 0, and I the information, what the fitted
parameters θ can do in its place is taken off (Neyman's C(α) test):

    g* = g_u − I_uθ I_θθ⁺ g_θ        I* = I_uu − I_uθ I_θθ⁺ I_θu
    χ² = g*ᵀ I*⁺ g* / φ              gain = (g*ᵀ I*⁺ g* − φ rank I*) / 2

χ² has as many degrees of freedom as I* has rank where the model holds; φ is the
dispersion of the counts. The gain is what fitting δ would add to the log likelihood,
less what it would add by chance. As g_θ is taken off, θ may come from a penalised fit,
and from more probes than are tested.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from pyprobound.fisher import PlainTable, Sums, add_scores, in_chunks

Maker: TypeAlias = Callable[[slice], Tensor]
"""Makes the features of a piece of the probes, (n, features) float64."""

RESOLVED = 1e-9
"""Information that is not rounding, relative to the largest."""

N_GROUPS = 64
"""Of the probes of a table, whose gradients are kept."""

SEPARATE = 1e-6
"""What must be left of a feature's information once others are taken off."""


@dataclass(frozen=True)
class Tested:
    """The result of a test.

    Attributes:
        chi2: The statistic.
        freedom: Its degrees of freedom; 0 where the model has the features already.
        gain: What they would add to the log likelihood beyond chance, in nats.
        change: The step δ that a fit would begin with, (features,).
    """

    chi2: float
    freedom: int
    gain: float
    change: Tensor

    @property
    def log_p(self) -> float:
        """The logarithm of the probability of a χ² as large by chance."""
        return log_chance(self.chi2, self.freedom)


def log_chance(chi2: float, freedom: int) -> float:
    """Return the log probability of a χ² as large by chance."""
    if freedom == 0:
        return 0.0
    half = torch.tensor([freedom / 2, chi2 / 2], dtype=torch.float64)
    chance = float(torch.special.gammaincc(half[0], half[1]))
    if chance > 1e-290:
        return math.log(chance)
    # Chernoff's bound, where the probability itself has no number
    ratio = chi2 / freedom
    return -freedom / 2 * (ratio - 1 - math.log(ratio))


@dataclass
class ScoreTests:
    """Gradient and information of parameters and of features together.

    Attributes:
        n_parameters: P.
        places: The columns of each block of features, from P on.
        sums: What was added up, of (P + features) columns.
        n_reads: The reads of the probes.
        gradients: Those of the parameters, (P,), of many groups of probes.
    """

    n_parameters: int
    places: dict[str, slice]
    sums: Sums
    n_reads: float = 0.0
    gradients: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls, n_parameters: int, sizes: Mapping[str, int], n_rounds: int
    ) -> "ScoreTests":
        """Begin with nothing.

        Args:
            n_parameters: P.
            sizes: The number of features of each block.
            n_rounds: The most rounds of any table.
        """
        places, start = {}, n_parameters
        for key, size in sizes.items():
            places[key] = slice(start, start + size)
            start += size
        return cls(n_parameters, places, Sums.of(start, n_rounds))

    def add(
        self,
        table: PlainTable,
        makers: Sequence[tuple[int, Sequence[str], Maker, int]],
    ) -> None:
        """Add the probes of a table.

        Args:
            table: The table.
            makers: The index of a binding, the blocks of features that its score would
                have, what makes all of them side by side, and bytes for a probe.
        """
        selection = table.selection
        scores = table.scores()
        made: list[list[tuple[Tensor, Maker]]] = [[] for _ in selection.bindings]
        for index, each in enumerate(table.derivatives):
            if each is not None:
                made[index].append((each.columns, each.at(scores[index])))
        for index, keys, make, _ in makers:
            made[index].append((self.columns(keys), make))
        live = list(range(len(made)))
        cost = sum(each.bytes_per_probe() for each in table.derivatives if each)
        cost += sum(bytes_per_probe for *_, bytes_per_probe in makers)
        information = selection.information(scores, table.counts, live)
        for rows in _groups(len(table.seqs), cost):
            before = self.sums.gradient[: self.n_parameters].clone()
            found = information(rows)
            self.sums.loss += found.loss
            self.sums.expected[: len(found.expected)] += found.expected
            self.sums.chi2 += found.chi2
            self.sums.freedom += found.freedom
            columns = selection.columns
            self.sums.add_gradient(columns, found.gradient)
            self.sums.add_block(columns, columns, found.information)
            blocks = [
                _side_by_side(found.slopes.shape[1], [(c, m(rows)) for c, m in each])
                for each in made
            ]
            add_scores(self.sums, columns, found, blocks)
            self.gradients.append(self.sums.gradient[: self.n_parameters] - before)
        self.n_reads += table.n_reads

    def columns(self, keys: Sequence[str]) -> Tensor:
        """Return the columns of some blocks, one after the other."""
        nothing = torch.zeros(0, dtype=torch.int64)
        parts = [torch.arange(self.places[k].start, self.places[k].stop) for k in keys]
        return torch.cat([nothing, *parts])

    @property
    def dispersion(self) -> float:
        """Pearson's χ² per degree of freedom, not below 1."""
        freedom = self.sums.freedom - self.n_parameters
        return max(1.0, self.sums.chi2 / freedom) if freedom > 0 else 1.0

    def rank(self) -> int:
        """Return the number of directions of the parameters that the data know."""
        size = self.n_parameters
        values = torch.linalg.eigvalsh(self._information[:size, :size])
        return int((values > RESOLVED * values[-1]).sum()) if size else 0

    def optimism(self, curvature: Tensor) -> float:
        """Return what the fitted parameters gain by chance, in nats.

        tr (I + curvature)⁺ V, with V the scatter of the gradients between probes
        (Takeuchi): the number of parameters where counts scatter as the model says,
        more where a few probes with many reads decide.

        Args:
            curvature: (P, P) that of the penalty, of so many reads.
        """
        size = self.n_parameters
        stacked = torch.stack(self.gradients)
        stacked = stacked - stacked.mean(0)
        inverse = _inverse(self._information[:size, :size], curvature)
        return float(((stacked @ inverse) * stacked).sum())

    @property
    def _information(self) -> Tensor:
        return (self.sums.information + self.sums.information.T) / 2

    def test(
        self, features: Tensor | Sequence[str], given: Tensor | Sequence[str] = ()
    ) -> Tested:
        """Test whether the model lacks some features.

        Args:
            features: Their columns, or the blocks.
            given: Others that are taken for part of the model: what these can do is
                not asked of the former.
        """
        tested = features if isinstance(features, Tensor) else self.columns(features)
        others = given if isinstance(given, Tensor) else self.columns(given)
        known = torch.cat([torch.arange(self.n_parameters), others])
        information, gradient = self._information, self.sums.gradient
        crossing = information[tested][:, known]
        taken = crossing @ _inverse(information[known][:, known])
        own = information[tested][:, tested]
        left = own - taken @ crossing.T
        slope = gradient[tested] - taken @ gradient[known]
        return _tested((left + left.T) / 2, slope, own, self.dispersion)


def _groups(n_probes: int, cost: int) -> list[slice]:
    """Return pieces of the probes that are small enough, and many."""
    step = max(1, n_probes // N_GROUPS)
    return [
        slice(start, min(start + step, each.stop))
        for each in in_chunks(n_probes, cost)
        for start in range(each.start, each.stop, step)
    ]


def _side_by_side(
    n_probes: int, parts: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    columns = [torch.zeros(0, dtype=torch.int64), *(own for own, _ in parts)]
    nothing = torch.zeros(n_probes, 0, dtype=torch.float64)
    return torch.cat(columns), torch.cat([nothing, *(each for _, each in parts)], 1)


def _inverse(information: Tensor, more: Tensor | None = None) -> Tensor:
    """Return the inverse where there is information, 0 elsewhere.

    Args:
        information: (P, P).
        more: What is added to it in those directions.
    """
    if not len(information):
        return information
    # of the correlations: parameters and features have no common scale
    scale = information.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 0, 1 / scale.clamp(min=1e-300), 0.0)
    values, vectors = torch.linalg.eigh(information * scale[:, None] * scale)
    known = values > RESOLVED
    scaled = scale[:, None] * vectors[:, known]
    inner = values[known].diag()
    if more is not None:
        inner = inner + scaled.T @ more @ scaled
    inverse: Tensor = scaled @ torch.linalg.solve(inner, scaled.T)
    return inverse


def _tested(left: Tensor, slope: Tensor, own: Tensor, dispersion: float) -> Tested:
    scale = own.diagonal().clamp(min=0).sqrt()
    scale = torch.where(scale > 0, 1 / scale.clamp(min=1e-300), 0.0)
    if not len(own):
        return Tested(0.0, 0, 0.0, slope)
    values, vectors = torch.linalg.eigh(left * scale[:, None] * scale)
    kept = values > SEPARATE
    along = (vectors.T @ (scale * slope))[kept]
    chi2 = float((along.square() / values[kept]).sum())
    change = -scale * (vectors[:, kept] @ (along / values[kept]))
    freedom = int(kept.sum())
    gain = max(0.0, (chi2 - dispersion * freedom) / 2)
    return Tested(chi2 / dispersion, freedom, gain, change)
