"""The likelihood of one table, and its derivatives in one pass over the probes.

J_i splits at the scores X of the bindings: what logits have to do with X, and with the
parameters of the rounds, is elementwise (`_selection`); ∂X/∂θ belongs to one binding at
a time (`_bindings`). With s_a and C_ab the gradient by scores and the information of
pairs of them, numbers for each probe, and D_a the derivatives of a binding's scores,

    gradient     D_aᵀ s_a
    information  D_aᵀ diag(C_ab) D_b

are matrix products. They are summed up in float64, whatever scores are made in: in
directions that change nothing (gauges) large terms cancel.
"""

import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound._evaluation import Evaluation
from pyprobound.base import Binding
from pyprobound.experiment import Experiment
from pyprobound.fisher._bindings import (
    columns_of,
    derivatives_of,
    in_chunks,
    is_windowless,
)
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._selection import PROBES, Selection, is_plain, pieces_of
from pyprobound.kernels.selection_information import Found, information_of
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch


@dataclass(frozen=True)
class Moments:
    """The loss of one table and its derivatives, summed over reads.

    Attributes:
        n_reads: Σ k.
        loss: −Σ k log p.
        gradient: (P,).
        information: (P, P).
        chi2: Pearson's Σ (k − K p)² / (K p).
        freedom: Σ (rounds − 1) over the probes with reads.
    """

    n_reads: float
    loss: float
    gradient: Tensor
    information: Tensor
    chi2: float
    freedom: int


class Table(abc.ABC):
    """An experiment with its table.

    Repeats of a probe are one probe with the sum of their counts.
    """

    def __init__(
        self,
        experiment: Experiment,
        batch: CountBatch,
        free: FreeParameters,
        *,
        full: bool,
    ) -> None:
        """Prepare for what is trained now."""
        self.experiment, self.free = experiment, free
        distinct = batch.distinct_counts
        self.seqs, self.counts = distinct.seqs, distinct.target
        self.n_reads = float(distinct.total)
        self.constant = _constant_of(batch.target) if full else 0.0
        self._expected: Tensor | None = None

    @property
    @abc.abstractmethod
    def n_single_columns(self) -> int:
        """The columns that have no closed form."""

    def total_loss(self) -> float:
        """Return −Σ k log p at the current parameters."""
        with torch.no_grad():
            return -sum(
                float((k * log_p.double().masked_fill(k == 0, 0.0)).sum())
                for log_p, k in self.scored()
            )

    @abc.abstractmethod
    def add_moments(self, total: "Sums") -> None:
        """Add the moments at the current parameters."""

    def scored(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield log p and k of a piece of the probes after another, (rounds, n) each.

        Log p has a graph where gradients are on.
        """
        for rows in in_chunks(len(self.seqs), 8 * self.experiment.max_embedding_size()):
            yield self.experiment(self.seqs[rows]).T, self.counts[rows].double().T

    def mean_loss(self, total: float) -> float:
        """Return the loss per read; a table without a read has no loss."""
        return total / self.n_reads if self.n_reads > 0 else total

    def loss(self) -> float:
        """Return the mean loss at the current parameters."""
        return self.mean_loss(self.constant + self.total_loss())

    def moments(self) -> Moments:
        """Return the loss and its derivatives at the current parameters."""
        total = Sums.of(len(self.free), self.counts.shape[1])
        self.add_moments(total)
        self._expected = total.expected
        information = (total.information + total.information.T) / 2
        return Moments(
            self.n_reads,
            self.constant + total.loss,
            total.gradient,
            information,
            total.chi2,
            total.freedom,
        )

    @property
    def expected(self) -> Tensor | None:
        """Σ K p of each round, as the last derivatives had it; None without any."""
        return self._expected


FAR = 1e-2
"""What depths must gain to be worth a step of their own, in nats per read."""


def balance(tables: Sequence[Table], free: FreeParameters) -> bool:
    """Set depths to what makes expected reads of rounds the observed ones.

    Args:
        tables: With what is expected of each.
        free: The free parameters.

    Returns:
        Whether much could be gained; if not, nothing is changed.
    """
    changed = free.get()
    gains = [_balance(changed, table, free) for table in tables]
    is_far = max(gains, default=0.0) > FAR
    if is_far:
        free.set(changed)
    return is_far


def _balance(point: Tensor, table: Table, free: FreeParameters) -> float:
    """Change the free log depths in `point`, (P,), to balance the reads.

    The depths that are fixed say where all of them lie.

    Returns:
        What that gains, in nats per read, were all probes alike.
    """
    expected = table.expected
    if expected is None or not bool((expected > 0).all()):
        return 0.0
    observed = table.counts.sum(0, dtype=torch.float64).cpu()
    # A round without a read would have no depth at all.
    lacking = (observed.clamp(min=1) / expected).log()
    rounds = [each for each in table.experiment.rounds if isinstance(each, BaseRound)]
    columns = [free.column_of(each.log_depth) for each in rounds]
    fixed = [i for i, column in enumerate(columns) if column is None]
    if not fixed:
        return 0.0
    gain = float(observed @ lacking) / max(table.n_reads, 1.0)
    lacking = lacking - lacking[fixed].mean()
    for column, by in zip(columns, lacking, strict=True):
        if column is not None:
            point[column] += by
    return gain


def table_of(
    experiment: Experiment, batch: CountBatch, free: FreeParameters, *, full: bool
) -> Table:
    """Return an experiment with its table.

    Args:
        experiment: The experiment.
        batch: Probes and counts.
        free: The parameters that are trained.
        full: Whether the loss has the constants of the Poisson likelihood.
    """
    kind = PlainTable if is_plain(experiment) else AnyTable
    return kind(experiment, batch, free, full=full)


class PlainTable(Table):
    """An experiment as the formulas say; scores that do not change are kept."""

    def __init__(
        self,
        experiment: Experiment,
        batch: CountBatch,
        free: FreeParameters,
        *,
        full: bool,
    ) -> None:
        """Prepare for what is trained now."""
        super().__init__(experiment, batch, free, full=full)
        with torch.no_grad():
            experiment.settle()
        self.selection = Selection(experiment, free)
        self.derivatives = [
            derivatives_of(binding, free, self.seqs)
            for binding in self.selection.bindings
        ]
        self._scores: Tensor | None = None
        self._point: Tensor | None = None

    @property
    def n_single_columns(self) -> int:
        """The columns that have no closed form."""
        return sum(
            len(each.columns)
            for each in self.derivatives
            if each is not None and not each.is_closed
        )

    def total_loss(self) -> float:
        """Return −Σ k log p at the current parameters."""
        return self.selection.loss(self.scores(), self.counts)

    def scores(self) -> Tensor:
        """Return the scores of all bindings now, (bindings, N) float64."""
        point = self.free.get()
        if self._scores is not None and self._point is not None:
            if torch.equal(point, self._point):
                return self._scores
            changing = [each is not None for each in self.derivatives]
        else:
            changing = [True] * len(self.derivatives)
            self._scores = torch.empty(
                (len(changing), len(self.seqs)),
                dtype=torch.float64,
                device=self.seqs.device,
            )
        pairs = zip(self.selection.bindings, changing, strict=True)
        wanted = [(i, binding) for i, (binding, is_so) in enumerate(pairs) if is_so]
        with torch.no_grad():
            for rows in pieces_of(len(self.seqs), self._at_once(b for _, b in wanted)):
                whole = rows == slice(0, len(self.seqs))
                # the tensor itself, if it can be: its words are known
                evaluation = Evaluation(self.seqs if whole else self.seqs[rows])
                for index, binding in wanted:
                    self._scores[index, rows] = evaluation(binding.evaluate)
        self._point = point
        return self._scores

    def _at_once(self, bindings: Iterable[Binding]) -> int:
        """Return how many probes are scored at once: all, if no window is kept."""
        if all(map(is_windowless, bindings)):
            return max(1, len(self.seqs))
        return PROBES

    def add_moments(self, total: "Sums") -> None:
        """Add the moments at the current parameters."""
        scores = self.scores()
        live = [i for i, each in enumerate(self.derivatives) if each is not None]
        own = [each for each in self.derivatives if each is not None]
        made = [d.at(scores[i]) for i, d in zip(live, own, strict=True)]
        cost = sum(each.bytes_per_probe() for each in own)
        n_keys = len(live) + len(self.selection.columns)
        cost += 8 * (1 + len(live)) * n_keys
        information = self.selection.information(scores, self.counts, live)
        columns = self.selection.columns
        for rows in in_chunks(len(self.seqs), cost):
            found = information(rows)
            total.add_fit(found)
            total.add_gradient(columns, found.gradient)
            total.add_block(columns, columns, found.information)
            blocks = [
                (each.columns, pieces(rows))
                for each, pieces in zip(own, made, strict=True)
            ]
            add_scores(total, columns, found, blocks)


def add_scores(
    total: "Sums",
    own: Tensor,
    found: Found,
    blocks: Sequence[tuple[Tensor, Tensor]],
) -> None:
    """Add what the derivatives of scores make of what was found of them.

    Args:
        total: Where it is added.
        own: The columns of the selection itself.
        found: What the selection says.
        blocks: For each live binding its columns and its derivatives (n, columns).
    """
    for i, (columns, derivatives) in enumerate(blocks):
        total.add_gradient(columns, found.slopes[i] @ derivatives)
        across = found.crossing[i] @ derivatives
        total.add_block(own, columns, across)
        total.add_block(columns, own, across.T)
        for j in range(i, len(blocks)):
            others, theirs = blocks[j]
            weighted = derivatives * found.coupling[i, j, :, None]
            block = weighted.T @ theirs
            total.add_block(columns, others, block)
            if j > i:
                total.add_block(others, columns, block.T)


class AnyTable(Table):
    """Any experiment, its logits differentiated by autograd one column at a time."""

    def __init__(
        self,
        experiment: Experiment,
        batch: CountBatch,
        free: FreeParameters,
        *,
        full: bool,
    ) -> None:
        """Prepare for what is trained now."""
        super().__init__(experiment, batch, free, full=full)
        self._tensors = free.among(experiment)
        known = [free.columns_of(parameter) for parameter in self._tensors]
        columns = torch.cat(known).unique() if known else torch.zeros(0).long()
        self._columns = columns[columns >= 0]
        self._places = [
            (index, int(entry), int(torch.searchsorted(self._columns, column[entry])))
            for index, column in enumerate(known)
            for entry in (column >= 0).nonzero().squeeze(1)
        ]

    @property
    def n_single_columns(self) -> int:
        """The columns that have no closed form."""
        return len(self._columns)

    def add_moments(self, total: "Sums") -> None:
        """Add the moments at the current parameters."""
        with torch.enable_grad():
            for log_p, k in self.scored():
                jacobian = k.new_zeros((len(self._columns), *k.shape))
                for place, column in columns_of(log_p, self._tensors, self._places):
                    jacobian[place] = column
                found = information_of(log_p.detach().double(), jacobian, k, n_live=0)
                total.add_fit(found)
                total.add_gradient(self._columns, found.gradient)
                total.add_block(self._columns, self._columns, found.information)


def _constant_of(counts: Tensor) -> float:
    """Return −Σ [k log(Σ_r k) − k − log Γ(k+1)] of counts (N, R)."""
    total = 0.0
    for part in torch.split(torch.atleast_2d(counts), PROBES):
        k = part.double()
        each = torch.xlogy(k, k.sum(1, keepdim=True)) - k - torch.lgamma(k + 1)
        total -= float(each.sum())
    return total


@dataclass
class Sums:
    """Moments while they are added up, in float64 on the CPU."""

    loss: float
    gradient: Tensor
    information: Tensor
    chi2: float
    freedom: int
    expected: Tensor

    @classmethod
    def of(cls, size: int, n_rounds: int) -> "Sums":
        """Return zeros."""
        zeros = torch.zeros(size, size, dtype=torch.float64)
        expected = zeros.new_zeros(n_rounds)
        return cls(0.0, zeros.new_zeros(size), zeros, 0.0, 0, expected)

    def add_fit(self, found: Found) -> None:
        """Add the loss and Pearson's statistic of some probes."""
        self.loss += found.loss
        self.expected += found.expected
        self.chi2 += found.chi2
        self.freedom += found.freedom

    def add_gradient(self, columns: Tensor, values: Tensor) -> None:
        """Add to the gradient."""
        self.gradient.index_add_(0, columns, values.cpu())

    def add_block(self, rows: Tensor, columns: Tensor, values: Tensor) -> None:
        """Add to a block of the information."""
        flat = rows[:, None] * len(self.gradient) + columns
        self.information.view(-1).index_add_(0, flat.flatten(), values.cpu().flatten())
