"""The rounds of an experiment as plain numbers, and which parameters those are.

    log Z_q = log [P]_q + log Σ_a exp(log α_qa + X_a)
    logit_r = log η_r + Σ_{q in the chain of r} E_q(log Z_q)

From the scores X on, everything is elementwise in the probes and belongs to a kernel
(`selection_information`). It knows sums log [P]_q + log α_qa, settings of the E_q, and
log η_r; here these are read from the parameters, and derivatives by them handed back.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyprobound._numerics import NEG_INF
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.base import Binding
from pyprobound.experiment import Experiment
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.kernels.selection import NONE, Chain, Kind, Link, selection_cost
from pyprobound.kernels.selection_information import (
    DEPTH,
    SETTING,
    WEIGHT,
    Enrichment,
    Found,
    selection_information,
)
from pyprobound.rounds import BaseRound, InitialRound, Round, formula_of

PROBES = 65_536
"""Probes that are worked on at once where little is kept of each."""


@dataclass(frozen=True)
class Numbers:
    """The parameters of the rounds as they are now, float64; see `selection_cost`."""

    log_weights: Tensor
    settings: Tensor
    log_depths: Tensor


class Selection:
    """The rounds of an experiment, apart from the scores of its bindings.

    Attributes:
        bindings: The bindings that are present in any round, in order.
        columns: The free parameters that enter here, ascending.
    """

    def __init__(self, experiment: Experiment, free: FreeParameters) -> None:
        """Look through an experiment that `is_plain`."""
        self._rounds = list(experiment.components())
        self._observed = cast("list[BaseRound]", list(experiment.rounds))
        aggregates = [
            each.aggregate for each in self._rounds if isinstance(each, Round)
        ]
        self._aggregates = list({id(each): each for each in aggregates}.values())
        self._parts = [aggregate.present() for aggregate in self._aggregates]
        found = {id(p.binding): p.binding for parts in self._parts for p in parts}
        self.bindings: list[Binding] = list(found.values())
        self._place = {key: index for index, key in enumerate(found)}
        self._settings, self._others = self._formulas()
        self._chain = self._linked()
        pairs = self._dependences(free)
        pairs.sort(key=lambda pair: pair[1])
        self._own = list(dict.fromkeys(quantity for quantity, _ in pairs))
        columns = sorted({column for _, column in pairs})
        self.columns = torch.tensor(columns, dtype=torch.int64)
        # which of the kernel's quantities move with a parameter
        self._map = torch.zeros(len(self._own), len(columns), dtype=torch.float64)
        for quantity, column in pairs:
            self._map[self._own.index(quantity), columns.index(column)] += 1
        self._is_one_to_one = torch.equal(
            self._map, torch.eye(*self._map.shape).double()
        )

    def _formulas(self) -> tuple[list[list[Tensor]], dict[int, Enrichment]]:
        """Return the parameters of each round's enrichment, and unknown enrichments."""
        settings: list[list[Tensor]] = []
        others: dict[int, Enrichment] = {}
        for index, each in enumerate(self._rounds):
            known = formula_of(each)
            if known is None and isinstance(each, Round):
                names = [name for name, _ in own_parameters(each)]
                others[index] = _enrichment_of(each, names)
                settings.append([value for _, value in own_parameters(each)])
            else:
                settings.append([] if known is None else known[1])
        return settings, others

    def _linked(self) -> Chain:
        index = {id(each): i for i, each in enumerate(self._rounds)}
        aggregates = {id(each): i for i, each in enumerate(self._aggregates)}
        links = []
        for each in self._rounds:
            known, before = formula_of(each), each.reference_round
            links.append(
                Link(
                    Kind.INITIAL
                    if not isinstance(each, Round)
                    else Kind.UNSATURATED  # any other that it is says it itself
                    if known is None
                    else known[0],
                    aggregates[id(each.aggregate)] if isinstance(each, Round) else NONE,
                    NONE if before is None else index[id(before)],
                )
            )
        return Chain(tuple(links), tuple(index[id(each)] for each in self._observed))

    def _dependences(
        self, free: FreeParameters
    ) -> list[tuple[tuple[int, int, int], int]]:
        """Return each quantity that moves with a free parameter, and its column."""
        found: list[tuple[tuple[int, int, int], int | None]] = []
        for a, (aggregate, parts) in enumerate(
            zip(self._aggregates, self._parts, strict=True)
        ):
            total = free.column_of(aggregate.log_target_concentration)
            for part in parts:
                weight = WEIGHT, a, self._place[id(part.binding)]
                found.append((weight, free.column_of(part.log_activity)))
                found.append((weight, total))
        for r, settings in enumerate(self._settings):
            for index, value in enumerate(settings):
                found.append(((SETTING, r, index), free.column_of(value)))
        for o, each in enumerate(self._observed):
            found.append(((DEPTH, o, 0), free.column_of(each.log_depth)))
        return [(quantity, column) for quantity, column in found if column is not None]

    def numbers(self) -> Numbers:
        """Return the parameters as they are now."""
        weights = torch.full(
            (len(self._aggregates), len(self.bindings)), NEG_INF, dtype=torch.float64
        )
        for row, aggregate, parts in zip(
            weights, self._aggregates, self._parts, strict=True
        ):
            total = _number(aggregate.log_target_concentration)
            for part in parts:
                row[self._place[id(part.binding)]] = total + _number(part.log_activity)
        width = max([2, *map(len, self._settings)])
        padded = [
            [*map(_number, values), *[0.0] * (width - len(values))]
            for values in self._settings
        ]
        depths = [_number(each.log_depth) for each in self._observed]
        double = torch.float64
        return Numbers(
            weights,
            torch.tensor(padded, dtype=double),
            torch.tensor(depths, dtype=double),
        )

    def loss(self, scores: Tensor, counts: Tensor) -> float:
        """Return −Σ k log p at the current parameters.

        Args:
            scores: (bindings, N) log scores, float64.
            counts: (N, rounds).
        """
        numbers = self.numbers()
        total = 0.0
        for rows in pieces_of(len(counts), PROBES):
            if self._others or not self.bindings:
                found = self._found(numbers, scores, counts, [], [])
                total += found(rows).loss
                continue
            cost = selection_cost(
                scores[:, rows].unbind(0),
                numbers.log_weights.to(scores.device),
                numbers.settings.to(scores.device),
                numbers.log_depths.to(scores.device),
                counts[rows],
                self._chain,
            )
            total += float(cost)
        return total

    def information(
        self, scores: Tensor, counts: Tensor, live: list[int]
    ) -> Callable[[slice], Found]:
        """Return loss, gradient and information, of parameters and of scores.

        Args:
            scores: (bindings, N) log scores, float64.
            counts: (N, rounds).
            live: The bindings whose scores depend on parameters.

        Returns:
            What `selection_information` does, but by `columns`.
        """
        found_of = self._found(self.numbers(), scores, counts, self._own, live)
        if self._is_one_to_one:
            return found_of
        by = self._map.to(scores.device)

        def by_column(rows: slice) -> Found:
            found = found_of(rows)
            return found._replace(
                gradient=found.gradient @ self._map,
                information=self._map.T @ found.information @ self._map,
                crossing=torch.einsum("aqn,qc->acn", found.crossing, by),
            )

        return by_column

    def _found(
        self,
        numbers: Numbers,
        scores: Tensor,
        counts: Tensor,
        own: list[tuple[int, int, int]],
        live: list[int],
    ) -> Callable[[slice], Found]:
        return selection_information(
            scores,
            numbers.log_weights,
            numbers.settings,
            numbers.log_depths,
            counts,
            self._chain,
            own,
            live,
            self._others,
        )


class _Enrichment(nn.Module):
    """A round's log enrichment as a module, so that its parameters can be replaced."""

    def __init__(self, selected: Round) -> None:
        super().__init__()
        self.selected = selected

    def forward(self, log_aggregate: Tensor) -> Tensor:
        """Return the log enrichment over the reference round."""
        return self.selected.log_enrichment_of(log_aggregate)


def _enrichment_of(each: Round, names: list[str]) -> Enrichment:
    """Return the enrichment of a class of the user's as a function of its settings."""
    module = _Enrichment(each)

    def enrichment(log_z: Tensor, settings: Tensor) -> Tensor:
        own: Mapping[str, Tensor] = {
            f"selected.{name}": value
            for name, value in zip(names, settings, strict=False)
        }
        value: Tensor = functional_call(module, dict(own), (log_z,))
        return value

    return enrichment


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


def _number(parameter: Tensor) -> float:
    return float(parameter.detach())


def pieces_of(n_probes: int, step: int) -> list[slice]:
    """Return slices of at most so many probes."""
    return [slice(i, min(i + step, n_probes)) for i in range(0, n_probes, step)]
