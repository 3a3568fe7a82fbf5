"""An experiment: rounds that were sequenced together, and how reads spread over them.

    log p_ir = log softmax over the observed rounds r of the rounds' outputs

A round may be unobserved (a bias step between two sequenced libraries): it is found
through the chain of reference rounds and enters the enrichment, but not the softmax.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation, evaluation_of
from pyprobound._numerics import NEG_INF
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.base import Binding, Transform
from pyprobound.kernels import selection
from pyprobound.rounds import BaseRound, Round, formula_of


class Experiment(Transform):
    """The rounds of one count table, one for each of its columns.

    Attributes:
        rounds: The observed rounds, a `torch.nn.ModuleList`.
        unobserved_rounds: The reference rounds that have no column.
    """

    def __init__(
        self,
        rounds: Iterable[BaseRound],
        counts_per_round: Tensor | list[float] | None = None,
        name: str = "",
    ) -> None:
        """Initialise an experiment.

        Args:
            rounds: The observed rounds, in the order of the table's columns.
            counts_per_round: The total number of reads of each, which free_protein
                and a pseudocount need.
            name: Shown in plans and messages.

        Raises:
            ValueError: There is no round, one comes twice, all depths are trained, an
                unobserved round's depth is, or the counts do not fit.
        """
        super().__init__(name=name)
        observed = list(rounds)
        in_order = list(_with_references(observed))
        is_observed = {id(each) for each in observed}
        unobserved = [each for each in in_order if id(each) not in is_observed]
        _check_rounds(observed, unobserved)
        self.rounds = nn.ModuleList(observed)
        self.unobserved_rounds = nn.ModuleList(unobserved)
        for index, each in enumerate(in_order):
            each.name = each.name or str(index)
        self._counts_per_round: Tensor | None = None
        if counts_per_round is not None:
            self.counts_per_round = torch.as_tensor(counts_per_round)

    @property
    def counts_per_round(self) -> Tensor:
        """The total number of reads of each observed round, float64 on the CPU.

        Raises:
            ValueError: It is not known yet, or set to what does not fit the rounds.
        """
        if self._counts_per_round is None:
            msg = (
                f"{self} does not know its read counts; give counts_per_round, for "
                "instance the table's"
            )
            raise ValueError(msg)
        return self._counts_per_round

    @counts_per_round.setter
    def counts_per_round(self, counts: Tensor | Sequence[float]) -> None:
        # float64: float32 stops counting single reads past 2**24.
        values = torch.as_tensor(counts).detach().to("cpu", torch.float64, copy=True)
        if values.shape != (len(self.rounds),):
            msg = (
                f"{self} has {len(self.rounds)} observed rounds, but counts_per_round "
                f"has {values.numel()} numbers; give one for each"
            )
            raise ValueError(msg)
        if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
            msg = f"counts_per_round {values.tolist()} must be counts: 0 or more"
            raise ValueError(msg)
        self._counts_per_round = values

    def components(self) -> Iterator[BaseRound]:
        """Iterate over all rounds, references before the rounds that use them."""
        return _with_references(self._observed())

    def _observed(self) -> list[BaseRound]:
        return cast("list[BaseRound]", list(self.rounds))

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return log p, (probes, observed rounds).

        A probe that no observed round can contain is −∞ in all of them.
        """
        outputs = [evaluation(each.evaluate) for each in self._observed()]
        return selection.log_shares(torch.stack(outputs, dim=1))

    def counts_cost(self, seqs: Tensor, counts: Tensor) -> Tensor:
        """Return −Σ k log p of the counts of some sequences, a float64 scalar.

        All steps from the scores of the bindings on are one pass over the probes,
        unless a part of the experiment is of a class of the user's, which may compute
        otherwise: then the steps are taken one by one.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
            counts: k, (probes, observed rounds).

        Raises:
            PyProBoundError: (a ValueError) There is not one column for each observed
                round.
        """
        selection.check_columns(counts, len(self.rounds))
        parts = _parts_of(self)
        if parts is None:
            return selection.counts_cost(self(seqs), counts)
        evaluation = evaluation_of(seqs)
        scores = [evaluation(each.evaluate) for each in parts.bindings]
        if any(_place(each) != _place(parts.log_depths) for each in scores):
            return selection.counts_cost(self(seqs), counts)
        return selection.selection_cost(
            scores,
            parts.log_weights,
            parts.settings,
            parts.log_depths,
            counts.to(parts.log_depths.device),
            parts.chain,
        )

    def free_protein(
        self,
        i_index: int,
        b_index: int,
        u_index: int,
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> float:
        """Return the concentration of free protein in a Kd-seq experiment.

            p(B) = (k_B/k_I) (η_I/η_B),    [P]_F = [P]_T − [library] p(B)

        k are total read counts and η sequencing depths. Divided by Z(S), [P]_F is the
        absolute K_D of a sequence S.

        Args:
            i_index: Which observed round is the input.
            b_index: Which one is the bound library.
            u_index: Which one is the unbound library.
            target_concentration: [P]_T; by default the bound round's.
            library_concentration: By default the bound round's.

        Raises:
            ValueError: The rounds are not three of the observed ones, the input has no
                read, the bound round has no aggregate, or a count or concentration
                is not known.
        """
        chosen = (i_index, b_index, u_index)
        n_rounds = len(self.rounds)
        if len(set(chosen)) < len(chosen) or not all(0 <= i < n_rounds for i in chosen):
            msg = (
                f"free_protein needs three different rounds out of 0 … {n_rounds - 1}, "
                f"not {chosen}: input, bound and unbound"
            )
            raise ValueError(msg)
        counts: list[float] = self.counts_per_round.tolist()
        if counts[i_index] == 0:
            msg = f"the input round {i_index} has no read, so that p(B) is not defined"
            raise ValueError(msg)
        bound = self._observed()[b_index]
        if not isinstance(bound, Round):
            msg = f"{bound} has no aggregate; give the index of the bound round"
            raise ValueError(msg)  # noqa: TRY004 the index is wrong, not a type
        if target_concentration is None:
            target_concentration = float(
                bound.aggregate.log_target_concentration.detach().exp()
            )
        if library_concentration is None:
            library_concentration = bound.library_concentration
        log_depths = [each.log_depth.detach() for each in self._observed()]
        depth_ratio = float((log_depths[i_index] - log_depths[b_index]).exp())
        p_bound = counts[b_index] / counts[i_index] * depth_ratio
        return target_concentration - library_concentration * p_bound


class _Parts(NamedTuple):
    """An experiment as the kernel of the selection takes it, but for the scores."""

    bindings: list[Binding]
    log_weights: Tensor
    settings: Tensor
    log_depths: Tensor
    chain: selection.Chain


def _parts_of(experiment: Experiment) -> _Parts | None:
    """Return the parts of an experiment, None if the kernel may not stand for it.

    It may not where a class is derived from those of this package, where a hook waits
    for the output, and where parameters differ in type or device.
    """
    rounds = list(experiment.components())
    formulas = [formula for each in rounds if (formula := formula_of(each))]
    aggregates = _distinct(each.aggregate for each in rounds if isinstance(each, Round))
    contributions = [part for each in aggregates for part in each.components()]
    exact = (
        type(experiment) is Experiment
        and all(type(each) is Aggregate for each in aggregates)
        and all(type(each) is Contribution for each in contributions)
        and len(formulas) == len(rounds)
    )
    hooks = (experiment._forward_hooks, experiment._forward_pre_hooks)  # noqa: SLF001 torch's own
    if not exact or any(hooks):
        return None
    parameters = [
        *(each.log_depth for each in rounds),
        *(each.log_target_concentration for each in aggregates),
        *(each.log_activity for each in contributions),
        *(value for _, values in formulas for value in values),
    ]
    if len({_place(each) for each in parameters}) > 1:
        return None
    if parameters[0].dtype not in (torch.float32, torch.float64):
        return None
    present = [each.present() for each in aggregates]
    bindings = _distinct(part.binding for parts in present for part in parts)
    return _Parts(
        bindings,
        _log_weights(aggregates, present, bindings, like=parameters[0]),
        _settings([values for _, values in formulas], like=parameters[0]),
        torch.stack([each.log_depth for each in experiment._observed()]),  # noqa: SLF001 the module's own class
        _chain(experiment, rounds, [kind for kind, _ in formulas], aggregates),
    )


def _place(values: Tensor) -> tuple[torch.dtype, torch.device]:
    """Return the type and the device of some values."""
    return values.dtype, values.device


T = TypeVar("T")


def _distinct(parts: Iterable[T]) -> list[T]:
    """Return parts in order of first appearance, each once."""
    return list({id(part): part for part in parts}.values())


def _log_weights(
    aggregates: list[Aggregate],
    present: list[list[Contribution]],
    bindings: list[Binding],
    like: Tensor,
) -> Tensor:
    """Return log [P]_T + log α, (aggregates, bindings); −∞ is absent."""
    if not bindings:
        return like.new_empty(len(aggregates), 0)
    absent = like.detach().new_full((), NEG_INF)
    rows = []
    for parts in present:
        own = {id(part.binding): part.log_activity for part in parts}
        rows += [own.get(id(binding), absent) for binding in bindings]
    activities = torch.stack(rows).reshape(len(aggregates), len(bindings))
    concentrations: list[Tensor] = [
        each.log_target_concentration for each in aggregates
    ]
    return torch.stack(concentrations)[:, None] + activities


def _settings(values: list[list[Tensor]], like: Tensor) -> Tensor:
    """Return the parameters of each formula, (links, 2), 0 where there is none."""
    if not any(values):
        return like.detach().new_zeros(len(values), 2)
    nothing = like.detach().new_zeros(())
    padded = [[*each, nothing, nothing][:2] for each in values]
    return torch.stack([value for each in padded for value in each]).reshape(-1, 2)


def _chain(
    experiment: Experiment,
    rounds: list[BaseRound],
    kinds: list[selection.Kind],
    aggregates: list[Aggregate],
) -> selection.Chain:
    position = {id(each): index for index, each in enumerate(rounds)}
    row = {id(each): index for index, each in enumerate(aggregates)}
    links = tuple(
        selection.Link(
            kind,
            row[id(each.aggregate)] if isinstance(each, Round) else selection.NONE,
            position.get(id(each.reference_round), selection.NONE),
        )
        for kind, each in zip(kinds, rounds, strict=True)
    )
    observed = tuple(position[id(each)] for each in experiment._observed())  # noqa: SLF001 the module's own class
    return selection.Chain(links, observed)


def _with_references(observed: Iterable[BaseRound]) -> Iterator[BaseRound]:
    """Iterate over rounds and their references, each once, references first."""
    seen: set[int] = set()
    for each in observed:
        for link in reversed(list(each.chain())):
            if id(link) not in seen:
                seen.add(id(link))
                yield link


def _check_rounds(observed: list[BaseRound], unobserved: list[BaseRound]) -> None:
    if not observed:
        msg = "an experiment needs at least one observed round; give rounds"
        raise ValueError(msg)
    if len({id(each) for each in observed}) < len(observed):
        msg = (
            f"a round is given twice among {[str(each) for each in observed]}; each "
            "column of a table has a round of its own"
        )
        raise ValueError(msg)
    if all(each.train_depth for each in observed):
        msg = (
            "all sequencing depths are trained, but only their ratios matter; give one "
            "observed round train_depth=False, or begin with an InitialRound"
        )
        raise ValueError(msg)
    for each in unobserved:
        if each.train_depth:
            msg = (
                f"the unobserved round {each} has no reads to train its depth on; give "
                "it train_depth=False, or list it among the observed rounds"
            )
            raise ValueError(msg)
