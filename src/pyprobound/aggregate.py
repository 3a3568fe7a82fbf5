"""The aggregate: everything that binds a probe, weighted by how much there is of it.

    log Z_i = log [P]_T + log Σ_a exp( log α_a + log 1/K_a(S_i) )

a runs over modes, dimers and nonspecific binding alike. α_a is the activity of a
binding in this experiment, [P]_T the total concentration of the protein. An activity
of log α = −∞ means that the binding is absent: it is not scored at all.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.base import Binding, Call, Component, Transform


class Contribution(Transform):
    """One binding with its activity: log α_a + log 1/K_a(S_i).

    Attributes:
        binding: The mode or dimer.
        log_activity: log α, 0-dimensional; −∞ while the binding is absent.
        train_activity: Whether the activity may be trained.
        activity_heuristic: The fraction of the expected aggregate that the binding is
            given when it enters.
    """

    unfreezable = Literal["all", "activity"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {"activity": ("log_activity",)}

    def __init__(
        self,
        binding: Binding,
        train_activity: bool = True,
        log_activity: float = -math.inf,
        activity_heuristic: float = 0.05,
    ) -> None:
        """Initialise the contribution of a binding, absent unless an activity is given.

        Args:
            binding: The mode or dimer.
            train_activity: Whether the activity may be trained.
            log_activity: log α; −∞ for absent.
            activity_heuristic: The fraction of the expected aggregate that the binding
                is given when it enters.

        Raises:
            ValueError: The fraction is not between 0 and 1.
        """
        super().__init__()
        self.binding = binding
        self.train_activity = train_activity
        self.activity_heuristic = _checked_fraction(activity_heuristic)
        self.log_activity = nn.Parameter(
            torch.tensor(float(log_activity)), requires_grad=train_activity
        )

    def __str__(self) -> str:
        """Show the contribution with its binding: ``Contribution( Mode-a )``."""
        return f"{type(self).__name__}( {self.binding} )"

    @property
    def is_absent(self) -> bool:
        """Whether the binding is no part of the model yet (log α = −∞)."""
        return self.log_activity.item() == NEG_INF

    def components(self) -> Iterator[Binding]:
        """Iterate over the binding."""
        yield self.binding

    def unfreeze(self, parameter: str = "all") -> None:
        """Turn on the gradient of the activity, and with "all" of the binding.

        Args:
            parameter: "all" or "activity".

        Raises:
            ValueError: There is no such word, or the binding is absent.
        """
        if self.is_absent:
            msg = (
                f"{self} is absent (log_activity −inf), so it cannot be trained; give "
                "it an activity with set_contribution() or activity_heuristic()"
            )
            raise ValueError(msg)
        super().unfreeze(parameter)

    def expected_log_contribution(self) -> float:
        """Return log α plus the score of the expected sequence; −∞ while absent."""
        if self.is_absent:
            return NEG_INF
        return self.log_activity.item() + self.binding.expected_log_score()

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return the log contribution to each probe, (probes,); −∞ while absent."""
        if self.is_absent:
            return self.log_activity.new_full((len(evaluation.seqs),), NEG_INF)
        return self.log_activity + evaluation(self.binding.evaluate)

    def set_contribution(
        self, log_contribution: float = 0, only_decrease: bool = False
    ) -> None:
        """Choose the activity that makes the expected log contribution this.

        A binding that cannot bind the expected sequence at all (its score is −∞, as a
        dimer's that does not fit on the probe) keeps the activity it has: none would
        do.

        Args:
            log_contribution: The expected log contribution.
            only_decrease: Whether to leave an activity alone that would have to rise.
        """
        log_score = self.binding.expected_log_score()
        if log_score == NEG_INF:
            return
        log_activity = log_contribution - log_score
        if only_decrease:
            log_activity = min(log_activity, self.log_activity.item())
        self._set(log_activity)

    def scale_by(self, log_factor: float) -> None:
        """Multiply the activity by exp(log_factor)."""
        self._set(self.log_activity.item() + log_factor)

    def _set(self, log_activity: float) -> None:
        with torch.no_grad():
            self.log_activity.fill_(log_activity)


class Aggregate(Transform):
    """The sum of the contributions of all bindings in one selection.

    Attributes:
        contributions: The contributions, a `torch.nn.ModuleList`.
        log_target_concentration: log [P]_T, 0-dimensional.
        train_concentration: Whether the concentration may be trained.
    """

    unfreezable = Literal["all", "concentration"]
    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "concentration": ("log_target_concentration",)
    }

    def __init__(
        self,
        contributions: Iterable[Contribution],
        train_concentration: bool = False,
        target_concentration: float = 1,
    ) -> None:
        """Initialise the sum of some contributions.

        Args:
            contributions: The contributions, each of another binding.
            train_concentration: Whether the concentration may be trained.
            target_concentration: [P]_T, in the unit in which the library's
                concentration is given.

        Raises:
            ValueError: A binding comes twice, there is none, or the concentration is
                not positive.
        """
        super().__init__()
        parts = list(contributions)
        _check_bindings([part.binding for part in parts])
        if not 0 < target_concentration < math.inf:
            msg = (
                f"target_concentration {target_concentration} must be positive and "
                "finite; leave it at 1 where it is not known"
            )
            raise ValueError(msg)
        self.contributions = nn.ModuleList(parts)
        self.train_concentration = train_concentration
        self.log_target_concentration = nn.Parameter(
            torch.tensor(math.log(target_concentration)),
            requires_grad=train_concentration,
        )

    @classmethod
    def from_binding(
        cls,
        binding: Iterable[Binding],
        train_concentration: bool = False,
        target_concentration: float = 1,
        activity_heuristic: float = 0.05,
    ) -> Self:
        """Return the sum over some bindings, all of them absent at first.

        Args:
            binding: The modes and dimers.
            train_concentration: Whether the concentration may be trained.
            target_concentration: [P]_T.
            activity_heuristic: The fraction of the expected aggregate that a binding
                is given when it enters.

        Raises:
            ValueError: As the constructor does.
        """
        return cls(
            [
                Contribution(part, activity_heuristic=activity_heuristic)
                for part in binding
            ],
            train_concentration=train_concentration,
            target_concentration=target_concentration,
        )

    def components(self) -> Iterator[Contribution]:
        """Iterate over the contributions, absent ones included."""
        return cast("Iterator[Contribution]", iter(self.contributions))

    def present(self) -> list[Contribution]:
        """Return the contributions that are part of the model by now."""
        return [part for part in self.components() if not part.is_absent]

    def _unfreeze_all(self) -> None:
        # A binding that is still absent here is not trained through this aggregate.
        for word in self.trainable:
            self._unfreeze_word(word)
        for part in self.present():
            part.unfreeze()

    def start_calls(self, child: Component) -> Iterable[Call]:
        """Return the call that lets a binding enter before it is fitted."""
        return [Call(self, "activity_heuristic", {"contribution": child})]

    def expected_log_aggregate(self) -> float:
        """Return log Z of the expected sequences; −∞ where all are absent."""
        return self.log_target_concentration.item() + _log_total(self.components())

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return log Z of each probe, (probes,); −∞ where nothing binds."""
        terms = [evaluation(part.evaluate) for part in self.components()]
        return self.log_target_concentration + logsumexp(torch.stack(terms), 0)

    def activity_heuristic(
        self, contribution: Contribution, frac: float | None = None
    ) -> None:
        """Let a new contribution enter without changing the expected aggregate.

        It is given the fraction `frac` of the expected Σ_a α_a / K_a, and the others
        are scaled by 1 − frac, so that their sum stays. The first contribution of all
        is given an expected value of 1, which is 0 as a logarithm.

        A contribution that is present already is left alone, so that a model can be
        fitted again from where it stands. An activity that is not trained
        (train_activity False) is never scaled.

        Args:
            contribution: One of the contributions.
            frac: The fraction; by default the contribution's own.

        Raises:
            ValueError: The contribution belongs to another aggregate, or the fraction
                is not between 0 and 1.
        """
        if all(contribution is not part for part in self.components()):
            msg = (
                f"{contribution} is none of this aggregate's contributions; give one "
                f"of {', '.join(str(part) for part in self.components())}"
            )
            raise ValueError(msg)
        if frac is None:
            frac = contribution.activity_heuristic
        _checked_fraction(frac)
        if not contribution.is_absent:
            return
        others = self.present()
        log_total = _log_total(others)
        if log_total == NEG_INF:
            contribution.set_contribution(0)
            return
        if contribution.binding.expected_log_score() == NEG_INF:
            return  # it cannot bind here, so nothing is to make room for it
        contribution.set_contribution(log_total + math.log(frac))
        for part in others:
            if part.train_activity:
                part.scale_by(math.log1p(-frac))


def _log_total(parts: Iterable[Contribution]) -> float:
    """Return log Σ_a α_a / K_a of the expected sequences."""
    logs = [part.expected_log_contribution() for part in parts]
    top = max(logs, default=NEG_INF)
    if top == NEG_INF:
        return NEG_INF
    return top + math.log(sum(math.exp(log - top) for log in logs))


def _checked_fraction(frac: float) -> float:
    if not 0 < frac < 1:
        msg = (
            f"activity_heuristic {frac} must lie between 0 and 1, both excluded: it is "
            "the fraction of the expected aggregate that a new binding is given"
        )
        raise ValueError(msg)
    return frac


def _check_bindings(bindings: list[Binding]) -> None:
    if not bindings:
        msg = "an aggregate needs at least one binding; give it a mode or a dimer"
        raise ValueError(msg)
    for index, binding in enumerate(bindings):
        if any(binding is other for other in bindings[:index]):
            msg = (
                f"{binding} is in the aggregate twice; give each binding once, its "
                "activity says how much there is of it"
            )
            raise ValueError(msg)
