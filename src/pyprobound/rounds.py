"""Rounds of selection: how a library is enriched, given what binds it.

With Z the aggregate of a probe, a round changes its frequency f by the factor

    InitialRound            1
    BoundRound              Z / (1+Z)
    BoundUnsaturatedRound   Z
    UnboundRound            1 / (1+Z)
    RhoGammaRound           Z^ρ (1+Z)^γ
    ExponentialRound        σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z})

relative to its reference round. The output of a round is

    log η_r + log cumulative enrichment

η is the sequencing depth, and the cumulative enrichment the product along the chain of
reference rounds. Where nothing binds (log Z = −∞) values are the limits, and no
gradient flows to what is absent.
"""

import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation, evaluation_of
from pyprobound.aggregate import Aggregate
from pyprobound.base import Binding, Call, Component, Transform
from pyprobound.kernels import selection

NOT_GIVEN = -1.0
"""A library concentration that is not known."""


class BaseRound(Transform, abc.ABC):
    """A sequenced (or unobserved) library.

    Attributes:
        reference_round: The library that was selected from; None for the first one.
            It is no submodule: an experiment lists all of its rounds itself.
        log_depth: log η, 0-dimensional.
        train_depth: Whether the depth may be trained.
    """

    unfreezable = Literal["all", "depth"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {"depth": ("log_depth",)}
    reference_round: "BaseRound | None"

    def __init__(
        self,
        reference_round: "BaseRound | None",
        train_depth: bool = True,
        log_depth: float = 0.0,
        library_concentration: float = NOT_GIVEN,
        name: str = "",
    ) -> None:
        """Initialise a round.

        Args:
            reference_round: The library that was selected from; None for the first.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            library_concentration: Concentration of the library, in the unit of the
                protein's; −1 where it is not known.
            name: Shown in plans and messages; by default the index in its experiment.

        Raises:
            ValueError: The concentration is negative, yet not −1.
        """
        super().__init__(name=name)
        if library_concentration < 0 and library_concentration != NOT_GIVEN:
            msg = (
                f"library_concentration {library_concentration} must not be negative; "
                "leave it out where it is not known"
            )
            raise ValueError(msg)
        self.reference_round = reference_round
        self.train_depth = train_depth
        self.log_depth = nn.Parameter(
            torch.tensor(float(log_depth)), requires_grad=train_depth
        )
        self._library_concentration = library_concentration

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 as in torch
        """Set an attribute, keeping the reference round out of the submodules.

        As one it would be listed, saved and penalised again with every round that
        refers to it.
        """
        if name == "reference_round":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def library_concentration(self) -> float:
        """The concentration of the library.

        Raises:
            ValueError: It was not given.
        """
        if self._library_concentration == NOT_GIVEN:
            msg = (
                f"{self} has no library concentration; give library_concentration when "
                "the round is made"
            )
            raise ValueError(msg)
        return self._library_concentration

    @abc.abstractmethod
    def components(self) -> Iterator[Aggregate]:
        """Iterate over the aggregate, where there is one."""

    def chain(self) -> Iterator["BaseRound"]:
        """Iterate from this round along its reference rounds to the first one."""
        link: BaseRound | None = self
        while link is not None:
            yield link
            link = link.reference_round

    def start_calls(self, child: Component) -> Iterable[Call]:  # noqa: ARG002 as in base
        """Return the call that trains the depth while a binding is fitted."""
        return [Call(self, "unfreeze", {"parameter": "depth"})]

    @abc.abstractmethod
    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return the log enrichment over the reference round, given log Z.

        Args:
            log_aggregate: log Z, of any shape; −∞ where nothing binds.
        """

    @abc.abstractmethod
    def evaluate_log_aggregate(self, evaluation: Evaluation) -> Tensor:
        """Return log Z of each probe, (probes,)."""

    def evaluate_log_enrichment(self, evaluation: Evaluation) -> Tensor:
        """Return the log enrichment over the reference round, (probes,)."""
        return self.log_enrichment_of(evaluation(self.evaluate_log_aggregate))

    def evaluate_log_cumulative_enrichment(self, evaluation: Evaluation) -> Tensor:
        """Return the log enrichment over the start of the chain, (probes,)."""
        log_enrichment = evaluation(self.evaluate_log_enrichment)
        if self.reference_round is None:
            return log_enrichment
        reference = self.reference_round.evaluate_log_cumulative_enrichment
        return log_enrichment + evaluation(reference)

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return log η + log cumulative enrichment, (probes,)."""
        return self.log_depth + evaluation(self.evaluate_log_cumulative_enrichment)

    def log_aggregate(self, seqs: Tensor) -> Tensor:
        """Return log Z of each sequence, (probes,).

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
        """
        return evaluation_of(seqs)(self.evaluate_log_aggregate)

    def log_enrichment(self, seqs: Tensor) -> Tensor:
        """Return the log enrichment over the reference round, (probes,).

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
        """
        return evaluation_of(seqs)(self.evaluate_log_enrichment)

    def log_cumulative_enrichment(self, seqs: Tensor) -> Tensor:
        """Return the log enrichment over the start of the chain, (probes,).

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
        """
        return evaluation_of(seqs)(self.evaluate_log_cumulative_enrichment)


class InitialRound(BaseRound):
    """The library before selection, with a fixed depth: all outputs are 0."""

    def __init__(self, name: str = "") -> None:
        """Initialise the library before selection."""
        super().__init__(reference_round=None, train_depth=False, name=name)

    def components(self) -> Iterator[Aggregate]:
        """Iterate over nothing."""
        return iter(())

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return 0: nothing was selected."""
        return torch.zeros_like(log_aggregate)

    def evaluate_log_aggregate(self, evaluation: Evaluation) -> Tensor:
        """Return 0 in place of an aggregate that does not exist, (probes,)."""
        return self.log_depth.new_zeros(len(evaluation.seqs))


class Round(BaseRound):
    """A library selected by what its aggregate holds.

    Attributes:
        aggregate: What binds; rounds of one selection may share it.
    """

    def __init__(
        self,
        aggregate: Aggregate,
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        library_concentration: float = NOT_GIVEN,
        name: str = "",
    ) -> None:
        """Initialise a round of selection.

        Args:
            aggregate: What binds.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            library_concentration: Concentration of the library; −1 if not known.
            name: By default the index in its experiment.

        Raises:
            ValueError: The concentration is negative, yet not −1.
        """
        super().__init__(
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            name=name,
        )
        self.aggregate = aggregate

    @classmethod
    def from_binding(
        cls,
        binding: Iterable[Binding],
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        train_concentration: bool = False,
        target_concentration: float = 1,
        library_concentration: float = NOT_GIVEN,
        activity_heuristic: float = 0.05,
        name: str = "",
    ) -> Self:
        """Return a round with an aggregate of its own over some bindings.

        Args:
            binding: The modes and dimers, absent until they are given an activity.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            train_concentration: Whether the protein's concentration may be trained.
            target_concentration: [P]_T.
            library_concentration: Concentration of the library; −1 if not known.
            activity_heuristic: The fraction of the expected aggregate that a binding
                is given when it enters.
            name: By default the index in its experiment.

        Raises:
            ValueError: As `Aggregate` and the constructor do.
        """
        return cls(
            Aggregate.from_binding(
                binding, train_concentration, target_concentration, activity_heuristic
            ),
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            name=name,
        )

    def components(self) -> Iterator[Aggregate]:
        """Iterate over the aggregate."""
        yield self.aggregate

    def evaluate_log_aggregate(self, evaluation: Evaluation) -> Tensor:
        """Return log Z of each probe, (probes,)."""
        return evaluation(self.aggregate.evaluate)


class BoundRound(Round):
    """What was bound, with saturation: Z / (1+Z)."""

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return log Z − log(1+Z)."""
        return selection.bound(log_aggregate)


class BoundUnsaturatedRound(Round):
    """What was bound while protein was scarce: Z."""

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return log Z."""
        return log_aggregate


class UnboundRound(Round):
    """What was left unbound: 1 / (1+Z)."""

    @classmethod
    def from_round(
        cls, base_round: Round, train_depth: bool = True, name: str = ""
    ) -> Self:
        """Return the unbound library of the selection that gave a bound one.

        It shares the aggregate, the reference round and the library concentration.

        Args:
            base_round: The bound library.
            train_depth: Whether the depth may be trained.
            name: By default the index in its experiment.
        """
        return cls(
            base_round.aggregate,
            base_round.reference_round,
            train_depth=train_depth,
            library_concentration=base_round._library_concentration,  # noqa: SLF001 of the same class
            name=name,
        )

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return −log(1+Z)."""
        return selection.unbound(log_aggregate)


class RhoGammaRound(Round):
    """A selection of any order and saturation: Z^ρ (1+Z)^γ.

    ρ = 1, γ = −1 is a `BoundRound`, ρ = 0, γ = −1 an `UnboundRound`.

    Attributes:
        rho: ρ, 0-dimensional.
        gamma: γ, 0-dimensional.
    """

    unfreezable = Literal["all", "depth", "rho"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Round.trainable,
        "rho": ("rho", "gamma"),
    }

    def __init__(
        self,
        aggregate: Aggregate,
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        library_concentration: float = NOT_GIVEN,
        rho: float = 0.0,
        gamma: float = -1.0,
        name: str = "",
    ) -> None:
        """Initialise a round whose exponents are trained with it.

        Args:
            aggregate: What binds.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            library_concentration: Concentration of the library; −1 if not known.
            rho: ρ, to start from.
            gamma: γ, to start from.
            name: By default the index in its experiment.

        Raises:
            ValueError: The concentration is negative, yet not −1.
        """
        super().__init__(
            aggregate,
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            name=name,
        )
        self.rho = nn.Parameter(torch.tensor(float(rho)))
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    @classmethod
    def from_binding(
        cls,
        binding: Iterable[Binding],
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        train_concentration: bool = False,
        target_concentration: float = 1,
        library_concentration: float = NOT_GIVEN,
        activity_heuristic: float = 0.05,
        name: str = "",
        rho: float = 1,
        gamma: float = -1,
    ) -> Self:
        """Return a round with an aggregate of its own; see `Round.from_binding`.

        Args:
            binding: The modes and dimers, absent until they are given an activity.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            train_concentration: Whether the protein's concentration may be trained.
            target_concentration: [P]_T.
            library_concentration: Concentration of the library; −1 if not known.
            activity_heuristic: The fraction of the expected aggregate that a binding
                is given when it enters.
            name: By default the index in its experiment.
            rho: ρ, to start from.
            gamma: γ, to start from.

        Raises:
            ValueError: As `Aggregate` and the constructor do.
        """
        return cls(
            Aggregate.from_binding(
                binding, train_concentration, target_concentration, activity_heuristic
            ),
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            rho=rho,
            gamma=gamma,
            name=name,
        )

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return ρ log Z + γ log(1+Z).

        Where Z is 0, Z^ρ is 1 for ρ = 0, and 0 otherwise: also for a negative ρ, where
        the formula diverges and a fit would turn NaN.
        """
        return selection.rho_gamma(log_aggregate, self.rho, self.gamma)


class ExponentialRound(Round):
    """What a catalyst has modified after a time: 1 − e^{−Z}, with a background.

    The enrichment is σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z}), which is 1 − e^{−Z} for
    δ → −∞. Z is the rate times the time, as in kinase assays.

    Attributes:
        delta: δ, 0-dimensional: the log odds of being seen in the wrong state.
        train_delta: Whether δ may be trained.
    """

    unfreezable = Literal["all", "depth", "delta"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Round.trainable,
        "delta": ("delta",),
    }

    def __init__(
        self,
        aggregate: Aggregate,
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        library_concentration: float = NOT_GIVEN,
        delta: float = -15.0,
        train_delta: bool = True,
        name: str = "",
    ) -> None:
        """Initialise a round of exponential kinetics.

        Args:
            aggregate: What binds.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            library_concentration: Concentration of the library; −1 if not known.
            delta: δ, to start from.
            train_delta: Whether δ may be trained.
            name: By default the index in its experiment.

        Raises:
            ValueError: The concentration is negative, yet not −1.
        """
        super().__init__(
            aggregate,
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            name=name,
        )
        self.train_delta = train_delta
        self.delta = nn.Parameter(torch.tensor(float(delta)), requires_grad=train_delta)

    @classmethod
    def from_round(
        cls,
        base_round: Self,
        reference_round: BaseRound | None = None,
        train_depth: bool = True,
        target_concentration: float = 1,
        name: str = "",
    ) -> Self:
        """Return another time point or concentration of the same reaction.

        It shares the contributions (bindings and activities) and starts from the same
        δ; concentration and depth are its own.

        Args:
            base_round: A round of the same reaction.
            reference_round: The library that was selected from; by default the one
                that `base_round` was selected from.
            train_depth: Whether the depth may be trained.
            target_concentration: Concentration (or time) of this round.
            name: By default the index in its experiment.

        Raises:
            ValueError: The concentration is not positive.
        """
        if reference_round is None:
            reference_round = base_round.reference_round
        return cls(
            Aggregate(
                base_round.aggregate.components(),
                train_concentration=base_round.aggregate.train_concentration,
                target_concentration=target_concentration,
            ),
            reference_round,
            train_depth=train_depth,
            library_concentration=base_round._library_concentration,
            delta=base_round.delta.item(),
            train_delta=base_round.train_delta,
            name=name,
        )

    @classmethod
    def from_binding(
        cls,
        binding: Iterable[Binding],
        reference_round: BaseRound | None,
        train_depth: bool = True,
        log_depth: float = 0.0,
        train_concentration: bool = False,
        target_concentration: float = 1,
        library_concentration: float = NOT_GIVEN,
        activity_heuristic: float = 0.05,
        name: str = "",
        delta: float = -15.0,
        train_delta: bool = True,
    ) -> Self:
        """Return a round with an aggregate of its own; see `Round.from_binding`.

        Args:
            binding: The modes and dimers, absent until they are given an activity.
            reference_round: The library that was selected from.
            train_depth: Whether the depth may be trained.
            log_depth: log η.
            train_concentration: Whether the protein's concentration may be trained.
            target_concentration: [P]_T.
            library_concentration: Concentration of the library; −1 if not known.
            activity_heuristic: The fraction of the expected aggregate that a binding
                is given when it enters.
            name: By default the index in its experiment.
            delta: δ, to start from.
            train_delta: Whether δ may be trained.

        Raises:
            ValueError: As `Aggregate` and the constructor do.
        """
        return cls(
            Aggregate.from_binding(
                binding, train_concentration, target_concentration, activity_heuristic
            ),
            reference_round,
            train_depth=train_depth,
            log_depth=log_depth,
            library_concentration=library_concentration,
            delta=delta,
            train_delta=train_delta,
            name=name,
        )

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return log[σ(δ) e^{−Z} + σ(−δ) (1 − e^{−Z})]."""
        return selection.exponential(log_aggregate, self.delta)


_FORMULAS: dict[type[BaseRound], tuple[selection.Kind, tuple[str, ...]]] = {
    InitialRound: (selection.Kind.INITIAL, ()),
    BoundRound: (selection.Kind.BOUND, ()),
    BoundUnsaturatedRound: (selection.Kind.UNSATURATED, ()),
    UnboundRound: (selection.Kind.UNBOUND, ()),
    RhoGammaRound: (selection.Kind.RHO_GAMMA, ("rho", "gamma")),
    ExponentialRound: (selection.Kind.EXPONENTIAL, ("delta",)),
}


def formula_of(each: BaseRound) -> tuple[selection.Kind, list[Tensor]] | None:
    """Return what enriches a round, as the kernels know it, and its parameters.

    A subclass may have a formula of its own: None, for the class itself is known.
    """
    if type(each) not in _FORMULAS:
        return None
    kind, names = _FORMULAS[type(each)]
    return kind, [getattr(each, name) for name in names]


def repeat_round(
    binding: Iterable[Binding], n_rounds: int, round_type: type[Round]
) -> list[InitialRound | Round]:
    """Return an initial round and a chain of rounds, each selected from the last.

    Every round has an aggregate of its own over the same bindings.

    Args:
        binding: The modes and dimers.
        n_rounds: Rounds of selection after the initial one.
        round_type: Their kind.

    Raises:
        ValueError: The number of rounds is less than 1.
    """
    if n_rounds < 1:
        msg = f"n_rounds {n_rounds} must be at least 1: one selection after the start"
        raise ValueError(msg)
    bindings = list(binding)
    chain: list[InitialRound | Round] = [InitialRound()]
    for _ in range(n_rounds):
        chain.append(round_type.from_binding(bindings, chain[-1]))
    return chain
