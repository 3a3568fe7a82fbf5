"""The loss of count tables with its gradient and its Fisher information, in one pass.

With J_i = ∂logits_i/∂θ (rounds × P) of probe i, its K_i reads k_i and shares p_i,

    ∇NLL = Σ_i J_iᵀ (K_i p_i − k_i)
    F    = Σ_i K_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i

divided by the reads of the table, weighted over tables, and with the exact curvature
of the penalty added. J_i splits at the scores X of the bindings: ∂logits/∂X is
elementwise (`_selection`), ∂X/∂θ belongs to one binding at a time (`_bindings`), and F
is a sum of matrix products over a chunk of probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF
from pyprobound.experiment import Experiment
from pyprobound.fisher._bindings import (
    columns_of,
    derivatives_of,
    in_chunks,
)
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.fisher._selection import Selection, Shares, is_plain
from pyprobound.loss import Loss, MultiExperimentLoss
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch

FAR = 1e-2
"""What depths must gain to be worth a step of their own, in nats per read."""

PROBES = 65_536
"""Probes whose scores are computed at once."""


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


@dataclass(frozen=True)
class Quadratic:
    """The objective around a point, up to second order.

    Attributes:
        loss: Negative log likelihood and penalty.
        gradient: (P,) of their sum.
        curvature: (P, P) Fisher information plus the curvature of the penalty.
    """

    loss: Loss
    gradient: Tensor
    curvature: Tensor

    @property
    def value(self) -> float:
        """The objective."""
        return float(self.loss.negloglik + self.loss.regularization)


class CountObjective:
    """What a fit of count tables minimises, as a function of its free parameters.

    Attributes:
        free: The free parameters.
        passes: How often the tables have been gone through.
    """

    def __init__(
        self, model: MultiExperimentLoss, batches: Sequence[CountBatch]
    ) -> None:
        """Prepare for a model as it is: what is trained must not change afterwards.

        Args:
            model: The loss.
            batches: A table (or batch) for each of its experiments.
        """
        self.model = model
        self.free = FreeParameters(model)
        self.passes = 0
        self._tables = [
            _Table(experiment, batch, self.free, full=model.full_loss)
            for experiment, batch in zip(model.components(), batches, strict=True)
            if isinstance(experiment, Experiment)
        ]

    @property
    def n_probes(self) -> int:
        """The probes of all tables."""
        return sum(table.n_probes for table in self._tables)

    @property
    def n_single_columns(self) -> int:
        """The free parameters that are differentiated one at a time, by autograd."""
        return sum(table.n_single_columns for table in self._tables)

    def loss(self) -> Loss:
        """Return the loss at the current parameters, without derivatives."""
        self.passes += 1
        with torch.no_grad():
            losses = [table.loss() for table in self._tables]
            negloglik, _ = self._combined(losses)
            return Loss(negloglik, self.model.penalty())

    def moments(self) -> list[Moments]:
        """Return loss and derivatives of each table."""
        self.passes += 1
        return [table.moments() for table in self._tables]

    def quadratic(self) -> Quadratic:
        """Return the objective up to second order at the current parameters."""
        moments = self.moments()
        losses = [
            table.mean_loss(each.loss)
            for table, each in zip(self._tables, moments, strict=True)
        ]
        negloglik, weights = self._combined(losses)
        penalty, gradient, curvature = self.penalty()
        for weight, each in zip(weights.tolist(), moments, strict=True):
            scale = weight / each.n_reads if each.n_reads > 0 else weight
            gradient = gradient + scale * each.gradient
            curvature = curvature + scale * each.information
        return Quadratic(Loss(negloglik, penalty), gradient, curvature)

    def balance(self) -> bool:
        """Set the depths to what makes expected reads of rounds the observed ones.

        It holds for the shares as the last derivatives had them, and is what Newton
        steps, each of which changes a depth by about 1, take long to reach.

        Returns:
            Whether much could be gained, and the depths have been changed.
        """
        changed = self.free.get()
        gains = [table.balance(changed) for table in self._tables]
        is_far = max(gains, default=0.0) > FAR
        if is_far:
            self.free.set(changed)
        return is_far

    def _combined(self, losses: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of mean losses, and the weights."""
        stacked = torch.tensor(losses, dtype=torch.float64)
        weights = self.model.weights_for(stacked)
        return (weights * stacked).sum(), weights

    def penalty(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the penalty, its gradient (P,) and its curvature (P, P).

        The curvature is exact but for λ₁ |θ|, which has none: there it is that of the
        parabola with the same value, slope and minimum 0, λ₁ / |θ|.
        """
        size = len(self.free)
        with torch.enable_grad():
            value = self.model.penalty()
            gradient = torch.zeros(size, dtype=torch.float64)
            curvature = torch.zeros(size, size, dtype=torch.float64)
            if not value.requires_grad or size == 0:
                return value.detach(), gradient, curvature
            slopes = torch.autograd.grad(
                value, self.free.tensors, create_graph=True, allow_unused=True
            )
            gradient = self.free.gather(slopes)
            curvature += _second(slopes, self.free)
        if self.model.lambda_l1 > 0:
            curvature += torch.diag(self._parabolas())
        return value.detach(), gradient, (curvature + curvature.T) / 2

    def _parabolas(self) -> Tensor:
        """Return λ₁ / |θ| times how often each parameter is counted, (P,)."""
        model = self.model
        strength = model.lambda_l1
        with torch.enable_grad():
            model.lambda_l1 = 0
            try:
                without = model.penalty()
            finally:
                model.lambda_l1 = strength
            slopes = torch.autograd.grad(
                model.penalty() - without, self.free.tensors, allow_unused=True
            )
        size = self.free.get().abs().clamp(min=SMALL)
        return self.free.gather(slopes).abs() / size


SMALL = 1e-4
"""The magnitude below which λ₁ takes a parameter for 0."""


def _second(slopes: Sequence[Tensor | None], free: FreeParameters) -> Tensor:
    """Return the derivatives of slopes, (P, P)."""
    live = [g for g in slopes if g is not None and g.requires_grad]
    size = len(free)
    result = torch.zeros(size, size, dtype=torch.float64)
    if not live:
        return result
    rows = torch.cat([g.flatten() for g in live])
    identity = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    second = torch.autograd.grad(
        rows, free.tensors, identity, is_grads_batched=True, allow_unused=True
    )
    derivatives = free.gather(second, lead=1)  # (entries of live, P)
    columns = torch.cat(
        [
            free.columns_of(tensor)
            for tensor, g in zip(free.tensors, slopes, strict=True)
            if g is not None and g.requires_grad
        ]
    )
    kept = columns >= 0
    result[columns[kept]] = derivatives[kept]
    return result


# --- one table ---------------------------------------------------------------------


class _Table:
    """An experiment with its table: scores that do not change are kept."""

    def __init__(
        self,
        experiment: Experiment,
        batch: CountBatch,
        free: FreeParameters,
        *,
        full: bool,
    ) -> None:
        self._experiment, self._free = experiment, free
        self._seqs, self._counts = batch.seqs, batch.target
        if self._seqs.ndim == 1:
            self._seqs, self._counts = self._seqs[None], self._counts[None]
        self._n_reads = float(self._counts.sum(dtype=torch.float64))
        self._by_round = self._counts.to(torch.float64).T.contiguous()  # (R, N)
        self._constant = _constant_of(self._by_round) if full else 0.0
        self._is_plain = is_plain(experiment)
        self._scores: Tensor | None = None
        self._expected: Tensor | None = None
        self._point: Tensor | None = None
        if not self._is_plain:
            self._tensors = free.among(experiment)
            return
        self._selection = Selection(experiment, free)
        with torch.no_grad():
            experiment.settle()
        self._derivatives = [
            derivatives_of(binding, free, self._seqs)
            for binding in self._selection.bindings
        ]

    @property
    def n_probes(self) -> int:
        """The probes of the table."""
        return len(self._seqs)

    @property
    def n_single_columns(self) -> int:
        """The columns that have no closed form."""
        if not self._is_plain:
            return sum(tensor.numel() for tensor in self._tensors)
        return sum(
            len(each.columns)
            for each in self._derivatives
            if each is not None and not each.is_closed
        )

    def mean_loss(self, total: float) -> float:
        """Return the loss per read; a table without a read has no loss."""
        return total / self._n_reads if self._n_reads > 0 else total

    def loss(self) -> float:
        """Return the mean loss at the current parameters."""
        total = self._constant
        if not self._is_plain:
            for rows in in_chunks(len(self._seqs), self._cost):
                log_p = self._experiment(self._seqs[rows]).double().T
                total += _loss_of(log_p, self._by_round[:, rows])
            return self.mean_loss(total)
        scores = self._scores_now()
        for rows in in_chunks(len(self._seqs), 64 * self._width):
            shares = self._selection.shares(scores[:, rows], derivatives=False)
            total += _loss_of(shares.log_p, self._by_round[:, rows])
        return self.mean_loss(total)

    @property
    def _cost(self) -> int:
        return 8 * self._experiment.max_embedding_size()

    @property
    def _width(self) -> int:
        """Numbers that the selection of a probe takes."""
        n_rounds = self._counts.shape[1]
        return n_rounds * (len(self._selection.bindings) + 4)

    def _scores_now(self) -> Tensor:
        """Return the scores of all bindings, (bindings, N) float64."""
        point = self._free.get()
        if self._scores is not None and self._point is not None:
            if torch.equal(point, self._point):
                return self._scores
            changing = [each is not None for each in self._derivatives]
        else:
            changing = [True] * len(self._derivatives)
            self._scores = torch.empty(
                (len(changing), len(self._seqs)),
                dtype=torch.float64,
                device=self._seqs.device,
            )
        pairs = zip(self._selection.bindings, changing, strict=True)
        wanted = [(i, binding) for i, (binding, is_so) in enumerate(pairs) if is_so]
        with torch.no_grad():
            for start in range(0, len(self._seqs), PROBES):
                rows = slice(start, start + PROBES)
                evaluation = Evaluation(self._seqs[rows])
                for index, binding in wanted:
                    self._scores[index, rows] = evaluation(binding.evaluate).double()
        self._point = point
        return self._scores

    def moments(self) -> Moments:
        """Return the loss and its derivatives at the current parameters."""
        total = _Sums.of(len(self._free), len(self._by_round))
        if self._is_plain:
            self._add_plain(total)
        else:
            self._add_any(total)
        self._expected = total.expected
        information = (total.information + total.information.T) / 2
        return Moments(
            self._n_reads,
            self._constant + total.loss,
            total.gradient,
            information,
            total.chi2,
            total.freedom,
        )

    def balance(self, point: Tensor) -> float:
        """Change the free log depths in `point`, (P,), to balance the reads.

        The depths that are fixed say where all of them lie.

        Returns:
            What that gains, in nats per read, were all probes alike.
        """
        observed, expected = self._by_round.sum(1).cpu(), self._expected
        if expected is None or not bool((expected > 0).all()):
            return 0.0
        # A round without a read would have no depth at all.
        lacking = (observed.clamp(min=1) / expected.cpu()).log()
        rounds = [
            each for each in self._experiment.rounds if isinstance(each, BaseRound)
        ]
        columns = [self._free.column_of(each.log_depth) for each in rounds]
        fixed = [i for i, column in enumerate(columns) if column is None]
        if not fixed:
            return 0.0
        gain = float(observed @ lacking) / max(self._n_reads, 1.0)
        lacking = lacking - lacking[fixed].mean()
        for column, by in zip(columns, lacking, strict=True):
            if column is not None:
                point[column] += by
        return gain

    def _add_plain(self, total: "_Sums") -> None:
        scores = self._scores_now()
        live = [(i, d) for i, d in enumerate(self._derivatives) if d is not None]
        length = self._seqs.shape[1]
        cost = sum(d.bytes_per_probe(length) for _, d in live)
        n_keys = len(self._selection.bindings) + len(self._free)
        cost += 8 * self._counts.shape[1] * 4 * min(n_keys, 64)
        for rows in in_chunks(len(self._seqs), cost):
            counts = self._by_round[:, rows]
            shares = self._selection.shares(scores[:, rows], derivatives=True)
            pull = _Pull.of(shares, counts, [i for i, _ in live])
            total.add_fit(shares.log_p, counts)
            blocks = [
                (d.columns, d.of(self._seqs[rows], scores[i, rows])) for i, d in live
            ]
            pull.add_to(total, blocks)

    def _add_any(self, total: "_Sums") -> None:
        """Add what any experiment gives, its logits differentiated by autograd."""
        known = [self._free.columns_of(parameter) for parameter in self._tensors]
        columns = torch.cat(known).unique() if known else torch.zeros(0).long()
        columns = columns[columns >= 0]
        places = [
            (index, int(entry), int(torch.searchsorted(columns, column[entry])))
            for index, column in enumerate(known)
            for entry in (column >= 0).nonzero().squeeze(1)
        ]
        for rows in in_chunks(len(self._seqs), self._cost):
            with torch.enable_grad():
                log_p = self._experiment(self._seqs[rows])
            counts = self._by_round[:, rows]
            jacobian = counts.new_zeros((len(columns), *counts.shape))
            for place, derivative in columns_of(log_p, self._tensors, places):
                jacobian[place] = derivative.T
            log_p = log_p.detach().double().T
            total.add_fit(log_p, counts)
            own = _Pull.made(jacobian, log_p, counts, [], columns)
            own.add_to(total, [])


def _loss_of(log_p: Tensor, counts: Tensor) -> float:
    """Return −Σ k log p; where k is 0, p may be 0."""
    return -float((counts * log_p.masked_fill(counts == 0, 0.0)).sum())


def _constant_of(counts: Tensor) -> float:
    """Return −Σ [k log(Σ_r k) − k − log Γ(k+1)] of counts (R, N)."""
    parts = torch.xlogy(counts, counts.sum(0)) - counts - torch.lgamma(counts + 1)
    return -float(parts.sum())


def _possible(counts: Tensor, log_p: Tensor) -> Tensor:
    """Return the counts, 0 where no round can contain the probe."""
    nowhere = (log_p == NEG_INF).all(0)
    return counts.masked_fill(nowhere, 0.0)


def _expected(log_p: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return p (R, n) and the reads (n,) of each probe that can be."""
    return log_p.exp(), _possible(counts, log_p).sum(0)


@dataclass
class _Sums:
    """Moments while they are added up, in float64 on the CPU."""

    loss: float
    gradient: Tensor
    information: Tensor
    chi2: float
    freedom: int
    expected: Tensor

    @classmethod
    def of(cls, size: int, n_rounds: int) -> "_Sums":
        zeros = torch.zeros(size, size, dtype=torch.float64)
        expected = zeros.new_zeros(n_rounds)
        return cls(0.0, zeros.new_zeros(size), zeros, 0.0, 0, expected)

    def add_fit(self, log_p: Tensor, counts: Tensor) -> None:
        """Add the loss and Pearson's statistic of some probes."""
        self.loss += _loss_of(log_p, counts)
        p, reads = _expected(log_p, counts)
        expected = reads * p
        self.expected += expected.sum(1).cpu()
        may_be = expected > 0
        misfit = (counts - expected).square() / expected.masked_fill(~may_be, 1.0)
        self.chi2 += float(misfit.masked_fill(~may_be, 0.0).sum())
        freedom = may_be.sum(0) - 1
        self.freedom += int(freedom.clamp(min=0).sum())

    def add_gradient(self, columns: Tensor, values: Tensor) -> None:
        """Add to the gradient."""
        self.gradient.index_add_(0, columns, values.cpu())

    def add_block(self, rows: Tensor, columns: Tensor, values: Tensor) -> None:
        """Add to a block of the information."""
        flat = rows[:, None] * len(self.gradient) + columns
        self.information.view(-1).index_add_(0, flat.flatten(), values.cpu().flatten())


@dataclass(frozen=True)
class _Pull:
    """How the loss of some probes depends on scores and elementwise parameters.

    Attributes:
        live: Bindings that depend on parameters.
        columns: The free parameters that enter the selection itself.
        jacobian: (live + columns, R, n), the derivatives of the logits.
        weighted: The same, multiplied with K (diag p − p pᵀ).
        residual: (R, n) K p − k.
    """

    live: list[int]
    columns: Tensor
    jacobian: Tensor
    weighted: Tensor
    residual: Tensor

    @classmethod
    def of(cls, shares: Shares, counts: Tensor, live: list[int]) -> "_Pull":
        own = sorted(
            {-1 - key for sparse in shares.logits for key in sparse if key < 0}
        )
        keys = [*live, *(-1 - column for column in own)]
        jacobian = counts.new_zeros((len(keys), *counts.shape))
        for column, key in zip(jacobian, keys, strict=True):
            for row, sparse in zip(column, shares.logits, strict=True):
                if key in sparse:
                    row.copy_(sparse[key])
        columns = torch.tensor(own).long()
        return cls.made(jacobian, shares.log_p, counts, live, columns)

    @classmethod
    def made(
        cls,
        jacobian: Tensor,
        log_p: Tensor,
        counts: Tensor,
        live: list[int],
        columns: Tensor,
    ) -> "_Pull":
        """Return the pull of probes whose logits have these derivatives."""
        p, reads = _expected(log_p, counts)
        expected = reads * p
        weighted = jacobian - (jacobian * p).sum(1, keepdim=True)
        weighted *= expected
        residual = expected - _possible(counts, log_p)
        return cls(live, columns, jacobian, weighted, residual)

    def add_to(self, total: _Sums, blocks: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Add gradient and information.

        Args:
            total: Where they are added.
            blocks: For each live binding its columns and its derivatives (n, columns).
        """
        n_live = len(self.live)
        slopes = (self.jacobian * self.residual).sum(1)  # (keys, n)
        outer = self.jacobian[n_live:].flatten(1)
        total.add_gradient(self.columns, slopes[n_live:].sum(1))
        total.add_block(
            self.columns, self.columns, outer @ self.weighted[n_live:].flatten(1).T
        )
        for i, (columns, derivatives) in enumerate(blocks):
            total.add_gradient(columns, slopes[i] @ derivatives)
            coupling = (self.weighted * self.jacobian[i]).sum(1)  # (keys, n)
            across = coupling[n_live:] @ derivatives  # (own, columns)
            total.add_block(self.columns, columns, across)
            total.add_block(columns, self.columns, across.T)
            for j in range(i, n_live):
                others, theirs = blocks[j]
                block = (derivatives * coupling[j][:, None]).T @ theirs
                total.add_block(columns, others, block)
                if j > i:
                    total.add_block(others, columns, block.T)
