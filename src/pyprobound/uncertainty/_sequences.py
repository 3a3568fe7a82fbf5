"""Derivatives of what a model says of sequences, many at a time.

A score X_a of a binding has derivatives in closed form (`fisher`), so that a pass over
the sequences gives all columns. What is made of scores, elementwise in the sequences,
follows by the chain rule:

    ∂f/∂θ = Σ_a ∂f/∂X_a · ∂X_a/∂θ + ∂f/∂θ at constant X
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyprobound._chunking import memory_budget
from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.base import Binding
from pyprobound.errors import PyProBoundError
from pyprobound.fisher import FreeParameters, columns_of, derivatives_of
from pyprobound.rounds import BaseRound, Round
from pyprobound.uncertainty._jacobian import linear

MOST_AT_ONCE = 4096

Aliases = Mapping[nn.Parameter, Tensor]
"""Parameters of a binding that are made of the model's: what they are made of."""


@dataclass(frozen=True)
class Rows:
    """Values of sequences with their derivatives.

    Attributes:
        values: (n,) float64.
        jacobian: (n, P) float64.
    """

    values: Tensor
    jacobian: Tensor

    def less(self, value: Tensor, slope: Tensor) -> "Rows":
        """Return what is left when a value with its derivatives is taken off."""
        return Rows(self.values - value, self.jacobian - slope)


def in_pieces(seqs: Tensor, n_parameters: int) -> Iterator[tuple[slice, Tensor]]:
    """Iterate over sequences, some at a time, with their places."""
    most = memory_budget() // (8 * 4 * max(1, n_parameters))
    step = max(1, min(MOST_AT_ONCE, most))
    for start in range(0, len(seqs), step):
        place = slice(start, start + step)
        yield place, seqs[place]


def rounding_of(free: FreeParameters) -> float:
    """Return the part of a derivative that may be rounding."""
    exact = all(parameter.dtype == torch.float64 for parameter in free.tensors)
    return 1e-12 if exact else 1e-6


def difference(found: Rows, other: Rows, rounding: float) -> Rows:
    """Return what is found less something else, of the same sequences or of one.

    Derivatives that differ by rounding are the same ones: of a sequence against itself
    there is nothing left.
    """
    left = found.less(other.values, other.jacobian)
    length = found.jacobian.norm(dim=1, keepdim=True)
    same = left.jacobian.abs() <= rounding * length
    return Rows(left.values, left.jacobian.masked_fill(same, 0.0))


class _BindingRows:
    """The derivatives of one binding's scores with respect to a model's parameters."""

    def __init__(
        self, binding: Binding, free: FreeParameters, aliases: Aliases, seqs: Tensor
    ) -> None:
        self._size = len(free)
        local = FreeParameters(binding)
        self._derivatives = derivatives_of(binding, local, seqs)
        target = torch.full((len(local),), -1)
        self._aliased: list[tuple[Tensor, Tensor]] = []
        for parameter in local.tensors:
            own = local.columns_of(parameter)
            if parameter in aliases:
                matrix = linear(aliases[parameter].flatten(), free)
                self._aliased.append((own[own >= 0], matrix[own >= 0]))
            else:
                target[own[own >= 0]] = free.columns_of(parameter)[own >= 0]
        self._target, self._n_local = target, len(local)

    def at(self, scores: Tensor) -> Callable[[slice], Tensor]:
        """Return the derivatives of a piece of the sequences, (n, P).

        Args:
            scores: (N,) the log scores of all sequences.
        """
        if self._derivatives is None:
            n = len(scores)
            return lambda rows: torch.zeros(
                len(range(n)[rows]), self._size, dtype=torch.float64
            )
        pieces = self._derivatives.at(scores)
        return lambda rows: self._laid(pieces(rows).cpu())

    def _laid(self, found: Tensor) -> Tensor:
        """Return derivatives by a binding's own parameters as those by the model's."""
        assert self._derivatives is not None
        out = torch.zeros(len(found), self._size, dtype=torch.float64)
        columns = self._derivatives.columns
        kept = self._target[columns] >= 0
        out.index_add_(1, self._target[columns[kept]], found[:, kept])
        for own, matrix in self._aliased:
            whole = found.new_zeros(len(found), self._n_local)
            whole[:, columns] = found
            out += whole[:, own] @ matrix
        return out

    def check_memory(self, binding: Binding, length: int) -> None:
        """Check that one sequence fits.

        Raises:
            PyProBoundError: It does not.
        """
        if self._derivatives is None:
            return
        needed = self._derivatives.bytes_per_probe()
        if needed > memory_budget():
            msg = (
                f"errors of {binding} on {length} letters would take"
                f" {needed / 2**20:.0f} MiB; score shorter pieces, or allow more with"
                " PYPROBOUND_MEMORY_BUDGET"
            )
            raise PyProBoundError(msg)

    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one sequence."""
        if self._derivatives is None:
            return 0
        return self._derivatives.bytes_per_probe()


@dataclass(frozen=True)
class ScoreRows:
    """The scores of bindings with their derivatives, to make more of.

    Attributes:
        n: The number of sequences.
        free: The model's parameters.
        place: Where each binding stands, by its id (or that of the one it stands for).
        scores: (n,) of each binding, float64.
        jacobians: (n, P) of each binding.
    """

    n: int
    free: FreeParameters
    place: Mapping[int, int]
    scores: Sequence[Tensor]
    jacobians: Sequence[Tensor]

    @classmethod
    def of(
        cls,
        bindings: Sequence[Binding],
        seqs: Tensor,
        free: FreeParameters,
        *,
        trained: Sequence[Binding] | None = None,
        aliases: Aliases | None = None,
    ) -> "ScoreRows":
        """Return the scores of some sequences; gradients must be on (`with_gradients`).

        Args:
            bindings: What scores them.
            seqs: (n, length) letter codes.
            free: The model's parameters.
            trained: The bindings of the model that they stand for, if they are others.
            aliases: Parameters of theirs that are made of the model's.

        Raises:
            PyProBoundError: A sequence is too long for the memory budget.
        """
        made = [_BindingRows(each, free, aliases or {}, seqs) for each in bindings]
        length = seqs.shape[1]
        for each, binding in zip(made, bindings, strict=True):
            each.check_memory(binding, length)
        cost = sum(each.bytes_per_probe() for each in made)
        step = max(1, min(MOST_AT_ONCE, memory_budget() // max(1, 4 * cost)))
        pieces = [slice(at, at + step) for at in range(0, len(seqs), step)]
        scores: list[list[Tensor]] = [[] for _ in made]
        for rows in pieces:
            evaluation = Evaluation(seqs[rows])
            for own, binding in zip(scores, bindings, strict=True):
                with torch.no_grad():
                    own.append(evaluation(binding.evaluate).double())
        whole = [torch.cat(each) for each in scores]
        jacobians = []
        for each, own_scores in zip(made, whole, strict=True):
            derivatives = each.at(own_scores)
            jacobians.append(torch.cat([derivatives(rows) for rows in pieces]))
        return cls(
            len(seqs),
            free,
            {id(each): i for i, each in enumerate(trained or bindings)},
            [each.cpu() for each in whole],
            jacobians,
        )

    def score(self, index: int) -> Rows:
        """Return the scores of one binding."""
        return Rows(self.scores[index], self.jacobians[index])

    def log_aggregate(self, selected: Round) -> Rows:
        """Return log Z in a round."""
        return self._made(lambda scores: self._log_z(selected, scores), [selected])

    def log_enrichment(self, selected: BaseRound) -> Rows:
        """Return the log enrichment over the start of a round's chain."""
        chain = list(selected.chain())

        def value(scores: Sequence[Tensor]) -> Tensor:
            steps = [
                link.log_enrichment_of(self._log_z(link, scores)) for link in chain
            ]
            return torch.stack(steps).sum(0)

        return self._made(value, chain)

    def _log_z(self, selected: BaseRound, scores: Sequence[Tensor]) -> Tensor:
        if not isinstance(selected, Round):
            return torch.zeros(self.n, dtype=torch.float64)
        terms = [
            part.log_activity.double().cpu() + scores[self.place[id(part.binding)]]
            for part in selected.aggregate.present()
        ]
        if not terms:
            return torch.full((self.n,), NEG_INF, dtype=torch.float64)
        log_total = selected.aggregate.log_target_concentration.double().cpu()
        return log_total + logsumexp(torch.stack(terms), 0)

    def _made(
        self,
        function: Callable[[Sequence[Tensor]], Tensor],
        chain: Sequence[BaseRound],
    ) -> Rows:
        """Return what a function, elementwise in the sequences, makes of the scores."""
        leaves = [each.clone().requires_grad_() for each in self.scores]
        tensors = [p for p in _parameters_of(chain) if self.free.has(p)]
        with torch.enable_grad():
            values = function(leaves)
        jacobian = torch.zeros(self.n, len(self.free), dtype=torch.float64)
        if values.requires_grad and leaves:
            slopes = torch.autograd.grad(
                values.sum(), leaves, retain_graph=True, allow_unused=True
            )
            for slope, rows in zip(slopes, self.jacobians, strict=True):
                if slope is not None:
                    jacobian += slope[:, None] * rows
        places = [(i, 0, _column(self.free, p)) for i, p in enumerate(tensors)]
        for column, derivative in columns_of(values, tensors, places):
            jacobian[:, column] += derivative
        return Rows(values.detach(), jacobian)


def _column(free: FreeParameters, parameter: Tensor) -> int:
    column = free.column_of(parameter)
    assert column is not None
    return column


def _parameters_of(chain: Sequence[BaseRound]) -> list[nn.Parameter]:
    """Return what rounds have besides bindings and depths, each once."""
    found: list[nn.Parameter] = []
    for each in chain:
        own = each.named_parameters(recurse=False)
        found += [parameter for name, parameter in own if name != "log_depth"]
        if isinstance(each, Round):
            found.append(each.aggregate.log_target_concentration)
            found += [part.log_activity for part in each.aggregate.present()]
    return list({id(parameter): parameter for parameter in found}.values())
