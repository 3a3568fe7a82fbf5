"""From the scores of bindings to the shares of rounds, and the derivatives on the way.

    log Z_q = log [P]_q + log Σ_a exp(log α_qa + X_a),     w_qa = ∂log Z_q / ∂X_a
    logit_r = log η_r + Σ_{q in the chain of r} E_q(log Z_q)

Everything is elementwise in the probes: a derivative is a column of numbers, one for
each probe. Those of E_q come from autograd, so that any kind of round will do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.base import Binding
from pyprobound.experiment import Experiment
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.rounds import BaseRound, InitialRound, Round

Sparse = dict[int, Tensor]
"""Derivatives (n,) by what they are taken with respect to; absent ones are 0."""


@dataclass(frozen=True)
class Shares:
    """What a selection makes of some probes.

    Attributes:
        log_p: (rounds, n) log shares; −∞ where a round cannot contain a probe.
        logits: For each round its derivatives, by key: a binding's index, or −1 − the
            column of a free parameter. Empty if they were not asked for.
    """

    log_p: Tensor
    logits: list[Sparse]


class _Enrichment(nn.Module):
    """A round's log enrichment as a module, so that its parameters can be replaced."""

    def __init__(self, selected: BaseRound) -> None:
        super().__init__()
        self.selected = selected

    def forward(self, log_aggregate: Tensor) -> Tensor:
        """Return the log enrichment over the reference round."""
        return self.selected.log_enrichment_of(log_aggregate)


class Selection:
    """The rounds of an experiment, apart from the scores of its bindings.

    Attributes:
        bindings: The bindings that are present in any round, in order.
    """

    def __init__(self, experiment: Experiment, free: FreeParameters) -> None:
        """Look through an experiment that `is_plain`."""
        self._free = free
        self._rounds = list(experiment.components())
        self._observed = cast("list[BaseRound]", list(experiment.rounds))
        self._aggregates: dict[int, Aggregate] = {}
        self._parts: dict[int, list[Contribution]] = {}
        found: dict[int, Binding] = {}
        for each in self._rounds:
            if isinstance(each, Round):
                aggregate = each.aggregate
                self._aggregates[id(aggregate)] = aggregate
                self._parts[id(aggregate)] = aggregate.present()
                for part in self._parts[id(aggregate)]:
                    found[id(part.binding)] = part.binding
        self.bindings = list(found.values())
        self._index = {key: index for index, key in enumerate(found)}
        self._enrichments = {id(each): _Enrichment(each) for each in self._rounds}

    def shares(self, scores: Tensor, *, derivatives: bool) -> Shares:
        """Return the shares of the observed rounds.

        Args:
            scores: (bindings, n) log scores, float64.
            derivatives: Whether to take them.
        """
        known: dict[int, tuple[Tensor, Sparse]] = {
            key: self._aggregate(aggregate, scores, derivatives)
            for key, aggregate in self._aggregates.items()
        }
        totals: dict[int, tuple[Tensor, Sparse]] = {}
        for each in self._rounds:  # references first
            own = self._enrichment(each, scores, known, derivatives=derivatives)
            if each.reference_round is not None:
                own = _added(own, totals[id(each.reference_round)])
            totals[id(each)] = own
        outputs, logits = [], []
        for each in self._observed:
            value, sparse = totals[id(each)]
            outputs.append(_double(each.log_depth) + value)
            column = self._free.column_of(each.log_depth)
            if derivatives and column is not None:
                sparse = sparse | {-1 - column: torch.ones_like(value)}
            logits.append(sparse)
        stacked = torch.stack(outputs)
        total = logsumexp(stacked, 0)
        # A probe that no round can contain: −∞ in all of them.
        return Shares(stacked - total.masked_fill(total == NEG_INF, 0.0), logits)

    def _aggregate(
        self, aggregate: Aggregate, scores: Tensor, derivatives: bool
    ) -> tuple[Tensor, Sparse]:
        """Return log Z and its derivatives."""
        parts = self._parts[id(aggregate)]
        log_total = _double(aggregate.log_target_concentration)
        if not parts:
            return scores.new_full(scores.shape[1:], NEG_INF), {}
        where = [self._index[id(part.binding)] for part in parts]
        log_alpha = torch.stack([_double(part.log_activity) for part in parts])
        terms = scores[where] + log_alpha.to(scores)[:, None]
        log_sum = logsumexp(terms, 0)
        log_z = log_sum + log_total
        if not derivatives:
            return log_z, {}
        nothing = log_sum == NEG_INF
        shares = (terms - log_sum.masked_fill(nothing, 0.0)).exp()
        sparse: Sparse = {}
        for share, index, part in zip(shares.unbind(), where, parts, strict=True):
            sparse[index] = share
            column = self._free.column_of(part.log_activity)
            if column is not None:
                sparse[-1 - column] = share
        column = self._free.column_of(aggregate.log_target_concentration)
        if column is not None:
            sparse[-1 - column] = (~nothing).to(log_z.dtype)
        return log_z, sparse

    def _enrichment(
        self,
        each: BaseRound,
        scores: Tensor,
        known: Mapping[int, tuple[Tensor, Sparse]],
        *,
        derivatives: bool,
    ) -> tuple[Tensor, Sparse]:
        """Return the log enrichment over the reference round, and its derivatives."""
        if not isinstance(each, Round):
            return scores.new_zeros(scores.shape[1:]), {}
        log_z, sparse = known[id(each.aggregate)]
        module = self._enrichments[id(each)]
        own = {
            f"selected.{name}": _double(parameter)
            for name, parameter in own_parameters(each)
        }
        if not derivatives:
            return functional_call(module, own, (log_z,)), {}
        keys = [
            self._free.column_of(parameter) for _, parameter in own_parameters(each)
        ]
        with torch.enable_grad():
            at = log_z.detach().requires_grad_()
            spread = {
                name: value.expand(len(log_z)).clone().requires_grad_()
                for name, value in own.items()
            }
            value = functional_call(module, spread, (at,))
            slopes = torch.autograd.grad(
                value.sum(), [at, *spread.values()], allow_unused=True
            )
        result: Sparse = {}
        if slopes[0] is not None:
            result = {key: slopes[0] * column for key, column in sparse.items()}
        for key, slope in zip(keys, slopes[1:], strict=True):
            if key is not None and slope is not None:
                result[-1 - key] = slope
        return value.detach(), result


def own_parameters(each: BaseRound) -> list[tuple[str, nn.Parameter]]:
    """Return a round's parameters besides its depth, those of its enrichment."""
    return [
        (name, parameter)
        for name, parameter in each.named_parameters(recurse=False)
        if name != "log_depth"
    ]


def is_plain(experiment: Experiment) -> bool:
    """Tell whether an experiment is put together as the formulas say."""
    return (
        type(experiment).evaluate is Experiment.evaluate
        and type(experiment).forward is Experiment.forward
        and all(map(_is_plain_round, experiment.components()))
    )


_ROUND_METHODS = (
    "evaluate",
    "evaluate_log_cumulative_enrichment",
    "evaluate_log_enrichment",
)


def _is_plain_round(each: BaseRound) -> bool:
    same = all(
        getattr(type(each), name) is getattr(BaseRound, name) for name in _ROUND_METHODS
    )
    if not same or any(p.ndim > 0 for _, p in own_parameters(each)):
        return False
    if not isinstance(each, Round):
        return isinstance(each, InitialRound)
    own = type(each).evaluate_log_aggregate is Round.evaluate_log_aggregate
    return (
        own
        and type(each.aggregate).evaluate is Aggregate.evaluate
        and all(
            type(part).evaluate is Contribution.evaluate
            for part in each.aggregate.components()
        )
    )


def _double(parameter: Tensor) -> Tensor:
    return parameter.detach().double()


def _added(
    first: tuple[Tensor, Sparse], second: tuple[Tensor, Sparse]
) -> tuple[Tensor, Sparse]:
    value = first[0] + second[0]
    sparse = dict(second[1])
    for key, column in first[1].items():
        sparse[key] = sparse[key] + column if key in sparse else column
    return value, sparse
