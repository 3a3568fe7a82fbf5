"""Losses: how badly a model predicts its tables, and what its parameters cost.

For counts k_ir of an experiment e, with p_ir the model's share of round r,

    NLL_e = − Σ_ir k_ir log p_ir / Σ_ir k_ir,        NLL = Σ_e w_e NLL_e

`full_loss` adds the constants of the Poisson likelihood to each k log p,

    k log(Σ_r k) − k − log Γ(k+1)

The penalty of an experiment runs over its finite parameters θ (B is the exponential
bound), and over each group of n betas β that are letters of one position (or one
pair of positions) of any PSAM of the model (c is the pseudocount):

    λ₂ Σ θ² + λ₁ Σ |θ| + Σ (e^{θ−B} + e^{−θ−B})
        + c / (total reads) Σ_groups ( n logsumexp(β) − Σ β )
"""

import abc
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pyprobound.base import Component, Transform
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.kernels.selection import counts_cost
from pyprobound.rounds import BaseRound
from pyprobound.table import Batch, CountBatch

T = TypeVar("T", bound=Batch)


class Loss(NamedTuple):
    """What a fit minimises the sum of, both float64 scalars.

    Attributes:
        negloglik: The weighted sum of the components' mean losses.
        regularization: The penalty of the parameters.
    """

    negloglik: Tensor
    regularization: Tensor


class HasDirichlet(Protocol):
    """A PSAM, seen from the loss."""

    def get_dirichlet(self) -> Tensor:
        """Return Σβ − n·logsumexp(β), summed over the groups of betas."""


def _with_dirichlet(root: nn.Module) -> Iterator[HasDirichlet]:
    """Iterate over the PSAMs of a model, each once.

    They are told by the method of their class: asking whether an object follows a
    protocol takes as long as all of the penalty.
    """
    for module in root.modules():
        if hasattr(type(module), "get_dirichlet"):
            yield cast("HasDirichlet", module)


class BaseLoss(Component, abc.ABC, Generic[T]):
    """The weighted losses of several components, each with a table of its own.

    Attributes:
        transforms: The components, a `torch.nn.ModuleList`.
        weights: The weight of each.
    """

    def __init__(
        self,
        components: Iterable[Transform],
        weights: Iterable[float] | None = None,
        lambda_l2: float = 1e-6,
        lambda_l1: float = 0,
        exponential_bound: float = 40,
        dilute_regularization: bool = False,
        exclude_regularization: Iterable[str] = (),
        equalize_contribution: bool = False,
        max_split: int | None = None,
    ) -> None:
        """Initialise the loss.

        Args:
            components: What predicts each table.
            weights: The weight of each component's loss and penalty, taken as given;
                by default one over their number.
            lambda_l2: λ₂, the price of a squared parameter.
            lambda_l1: λ₁, the price of a parameter's magnitude.
            exponential_bound: B, the magnitude from which a parameter is dear.
            dilute_regularization: Whether to count every parameter once for the whole
                model, without weights, rather than once for each component.
            exclude_regularization: Words; a parameter whose name holds one is free.
            equalize_contribution: Whether to rescale the weights at each call so that
                all weighted losses are equal. The sum is then Σ_e w_e times the
                geometric mean of the losses, and its gradient is exact. The penalty
                keeps the weights as given.
            max_split: The most sequences that are scored at once. The result does not
                depend on it; the memory does, backward included, for which each piece
                is scored a second time.

        Raises:
            ValueError: A setting is out of its range, or the weights do not fit.
        """
        super().__init__()
        transforms = list(components)
        self.transforms = nn.ModuleList(transforms)
        for index, transform in enumerate(transforms):
            transform.name = transform.name or str(index)
        self.weights = _checked_weights(weights, len(transforms))
        self.lambda_l2 = _at_least("lambda_l2", lambda_l2, 0)
        self.lambda_l1 = _at_least("lambda_l1", lambda_l1, 0)
        self.exponential_bound = _at_least("exponential_bound", exponential_bound, 0)
        self.dilute_regularization = dilute_regularization
        # One word is no collection of letters.
        if isinstance(exclude_regularization, str):
            exclude_regularization = (exclude_regularization,)
        self.exclude_regularization = tuple(exclude_regularization)
        self.equalize_contribution = equalize_contribution
        if max_split is not None:
            _at_least("max_split", max_split, 1)
        self.max_split = max_split

    def components(self) -> Iterator[Transform]:
        """Iterate over what predicts each table."""
        return cast("Iterator[Transform]", iter(self.transforms))

    @abc.abstractmethod
    def negloglik(
        self, transform: Transform, batch: T
    ) -> tuple[Tensor, Tensor | float]:
        """Return the summed loss of a batch and what to divide it by.

        Args:
            transform: One of the components.
            batch: Probes and targets.
        """

    def regularization(self, component: Component) -> Tensor:
        """Return the penalty of all parameters of a component, each counted once.

        Parameters count whether they are trained or not, zero or not; those that are
        not finite (absent activities) or excluded by name do not.

        Args:
            component: A part of the model, or all of it.
        """
        values = [
            value.reshape(-1)
            for name, value in component.named_values()
            if not any(word in name for word in self.exclude_regularization)
        ]
        if not values:
            return torch.zeros((), dtype=torch.float64)
        given = torch.cat(values).to(torch.float64)
        finite = given.isfinite()
        theta = torch.where(finite, given, 0.0)
        bound = self.exponential_bound
        cost = (theta - bound).exp() + (-theta - bound).exp()
        if self.lambda_l2 > 0:
            cost = cost + self.lambda_l2 * theta.square()
        if self.lambda_l1 > 0:
            cost = cost + self.lambda_l1 * theta.abs()
        return torch.where(finite, cost, 0.0).sum()

    def forward(self, batches: Iterable[T]) -> Loss:
        """Return the loss and the penalty of the whole model.

        Args:
            batches: A batch (or table) for each component.

        Raises:
            ValueError: Their number differs from that of the components.
        """
        losses = torch.stack(self._mean_losses(list(batches)))
        weights = self.weights_for(losses.detach())
        return Loss((weights * losses).sum(), self.penalty())

    def weights_for(self, losses: Tensor) -> Tensor:
        """Return the weight of each mean loss, (components,).

        With equalize_contribution it is the derivative of what is minimised.

        Args:
            losses: The components' mean losses, (components,).
        """
        weights = losses.new_tensor(self.weights)
        return _equalized(weights, losses) if self.equalize_contribution else weights

    def _mean_losses(self, batches: list[T]) -> list[Tensor]:
        if len(batches) != len(self.transforms):
            msg = (
                f"{len(batches)} tables were given to a loss of {len(self.transforms)} "
                "components; give a list with one table for each"
            )
            raise ValueError(msg)
        losses = []
        for transform, batch in zip(self.components(), batches, strict=True):
            total, normaliser = self.negloglik(transform, batch)
            # A batch without a single read has no loss.
            losses.append(total / normaliser if normaliser > 0 else total)
        return losses

    def penalty(self) -> Tensor:
        """Return the penalty of the whole model."""
        if self.dilute_regularization:
            return self.regularization(self)
        total = torch.zeros((), dtype=torch.float64)
        for weight, transform in zip(self.weights, self.components(), strict=True):
            total = total + weight * self.regularization(transform)
        return total

    def _settings(self) -> dict[str, object]:
        return {
            "weights": ", ".join(f"{weight:g}" for weight in self.weights),
            "lambda_l2": self.lambda_l2,
            "lambda_l1": self.lambda_l1,
            "exponential_bound": self.exponential_bound,
            "dilute_regularization": self.dilute_regularization,
            "exclude_regularization": ", ".join(self.exclude_regularization) or "none",
            "equalize_contribution": self.equalize_contribution,
            "max_split": self.max_split or "none",
        }

    def get_setup_string(self) -> str:
        """Return the settings as text, one to a line."""
        lines = [f"\t{key}: {value}" for key, value in self._settings().items()]
        return "\n".join([f"### Loss: {self}", *lines])


class MultiExperimentLoss(BaseLoss[CountBatch]):
    """The Poisson likelihood of count tables, each predicted by an experiment."""

    def __init__(
        self,
        components: Iterable[Experiment],
        weights: Iterable[float] | None = None,
        lambda_l2: float = 1e-6,
        lambda_l1: float = 0,
        pseudocount: float = 0,
        exponential_bound: float = 40,
        full_loss: bool = False,
        dilute_regularization: bool = False,
        exclude_regularization: Iterable[str] = (),
        equalize_contribution: bool = False,
        max_split: int | None = None,
    ) -> None:
        """Initialise the loss of some experiments.

        Args:
            components: The experiments.
            weights: See `BaseLoss`, here and where nothing is said.
            lambda_l2: λ₂.
            lambda_l1: λ₁.
            pseudocount: c, the reads that every letter of every position is given
                (a Dirichlet prior on the PSAMs); needs the experiments'
                counts_per_round.
            exponential_bound: B.
            full_loss: Whether to add the constants of the Poisson likelihood.
            dilute_regularization: Whether to count every parameter once.
            exclude_regularization: Words in the names of free parameters; the
                pseudocount is a setting of its own and heeds none.
            equalize_contribution: Whether to make all weighted losses equal.
            max_split: The most sequences that are scored at once.

        Raises:
            ValueError: A setting is out of its range, or the weights do not fit.
        """
        super().__init__(
            components,
            weights=weights,
            lambda_l2=lambda_l2,
            lambda_l1=lambda_l1,
            exponential_bound=exponential_bound,
            dilute_regularization=dilute_regularization,
            exclude_regularization=exclude_regularization,
            equalize_contribution=equalize_contribution,
            max_split=max_split,
        )
        self.pseudocount = _at_least("pseudocount", pseudocount, 0)
        self.full_loss = full_loss

    def regularization(self, component: Component) -> Tensor:
        """Return the penalty of a component's parameters and of the model's PSAMs.

        Args:
            component: An experiment; or the loss itself, where the pseudocount per
                read is averaged over the experiments.

        Raises:
            ValueError: There is a pseudocount, and an experiment does not know its
                counts or has none.
        """
        penalty = super().regularization(component)
        if self.pseudocount == 0:
            return penalty
        parts = [component] if isinstance(component, Experiment) else self.components()
        shares = [
            self.pseudocount / _total_reads(part)
            for part in parts
            if isinstance(part, Experiment)
        ]
        share = sum(shares) / len(shares)
        for psam in _with_dirichlet(self):
            penalty = penalty - share * psam.get_dirichlet().to(torch.float64)
        return penalty

    def negloglik(
        self, transform: Transform, batch: CountBatch
    ) -> tuple[Tensor, Tensor]:
        """Return −Σ k log p and Σ k.

        Args:
            transform: The experiment.
            batch: Probes and counts.

        Raises:
            ValueError: The table has another number of columns than the experiment
                has observed rounds, or a count is negative.
        """
        distinct = batch.distinct_counts
        total = _summed_cost(transform, distinct.seqs, distinct.target, self.max_split)
        if self.full_loss:
            total = total - _poisson_constant(batch.target).to(total.device)
        return total, distinct.total

    def _settings(self) -> dict[str, object]:
        return {
            **super()._settings(),
            "pseudocount": self.pseudocount,
            "full_loss": self.full_loss,
        }


class MultiRoundMSLELoss(BaseLoss[CountBatch]):
    """The mean squared log error of intensities, as of protein-binding microarrays.

    Its components are rounds without a reference round, each with a one-column table;
    the loss is the mean over probes of (log target − output)².
    """

    def __init__(
        self,
        components: Iterable[Transform],
        weights: Iterable[float] | None = None,
        lambda_l2: float = 1e-6,
        lambda_l1: float = 0,
        exponential_bound: float = 40,
        dilute_regularization: bool = False,
        exclude_regularization: Iterable[str] = (),
        equalize_contribution: bool = False,
        max_split: int | None = None,
    ) -> None:
        """Initialise the loss of some rounds.

        Args:
            components: The rounds.
            weights: See `BaseLoss`, here and below.
            lambda_l2: λ₂.
            lambda_l1: λ₁.
            exponential_bound: B.
            dilute_regularization: Whether to count every parameter once.
            exclude_regularization: Words in the names of free parameters.
            equalize_contribution: Whether to make all weighted losses equal.
            max_split: The most sequences that are scored at once.

        Raises:
            ValueError: A setting is out of its range, the weights do not fit, or a
                round has a reference round.
        """
        super().__init__(
            components,
            weights=weights,
            lambda_l2=lambda_l2,
            lambda_l1=lambda_l1,
            exponential_bound=exponential_bound,
            dilute_regularization=dilute_regularization,
            exclude_regularization=exclude_regularization,
            equalize_contribution=equalize_contribution,
            max_split=max_split,
        )
        for each in self.components():
            if isinstance(each, BaseRound) and each.reference_round is not None:
                msg = (
                    f"{each} has the reference round {each.reference_round}, but an "
                    "intensity is compared with no library; give reference_round=None"
                )
                raise ValueError(msg)

    def negloglik(self, transform: Transform, batch: CountBatch) -> tuple[Tensor, int]:
        """Return Σ (log target − output)² and the number of probes.

        Args:
            transform: The round.
            batch: Probes and intensities.

        Raises:
            ValueError: The table has more than one column, or an intensity is not
                positive.
        """
        n_columns = batch.target.shape[-1]
        if n_columns != 1:
            msg = (
                f"{transform} is compared with 1 column, but the table has {n_columns}"
            )
            raise PyProBoundError(msg)
        lowest = batch.target.min().item() if batch.batchlen() else 1.0
        if not lowest > 0:
            msg = (
                f"the intensity {lowest:g} has no logarithm; shift the table so that "
                "all are positive, or leave such probes out"
            )
            raise PyProBoundError(msg)
        distinct = batch.distinct
        predicted = _predicted(transform, distinct.seqs, self.max_split)
        if distinct.inverse is not None:
            # the gradient of an embedding is deterministic, that of an index is not
            inverse = distinct.inverse.to(predicted.device)
            predicted = functional.embedding(inverse, predicted[:, None]).squeeze(1)
        target = batch.target.reshape(-1).to(predicted.device, torch.float64)
        cost = (target.log() - predicted.to(torch.float64)).square().sum()
        return cost, batch.batchlen()


def _summed_cost(
    transform: Transform, seqs: Tensor, counts: Tensor, max_split: int | None
) -> Tensor:
    """Return −Σ k log p, scoring at most `max_split` sequences at once."""

    def cost(seqs: Tensor, counts: Tensor) -> Tensor:
        if isinstance(transform, Experiment):
            return transform.counts_cost(seqs, counts)
        log_p: Tensor = transform(seqs)
        return counts_cost(log_p, counts)

    if max_split is None or len(seqs) <= max_split:
        return cost(seqs, counts)
    # Each part keeps its probes alone for the backward pass, which scores them again.
    rows = zip(
        torch.split(seqs, max_split), torch.split(counts, max_split), strict=True
    )
    parts: list[Tensor] = [checkpoint(cost, *row, use_reentrant=False) for row in rows]
    return torch.stack(parts).sum()


def _predicted(transform: Transform, seqs: Tensor, max_split: int | None) -> Tensor:
    """Return what is predicted of sequences, at most `max_split` of them at once."""
    if max_split is None or len(seqs) <= max_split:
        whole: Tensor = transform(seqs)
        return whole
    parts: list[Tensor] = [
        checkpoint(transform, part, use_reentrant=False)
        for part in torch.split(seqs, max_split)
    ]
    return torch.cat(parts)


def _poisson_constant(counts: Tensor) -> Tensor:
    """Return Σ [k log(Σ_r k) − k − log Γ(k+1)]."""
    total = torch.zeros((), dtype=torch.float64, device=counts.device)
    # some at a time: a table of many probes would fill the memory with float64
    for part in torch.split(torch.atleast_2d(counts), 2**16):
        k = part.to(torch.float64)
        reads = k.sum(1, keepdim=True)
        total += (torch.xlogy(k, reads) - k - torch.lgamma(k + 1)).sum()
    return total


def _equalized(weights: Tensor, losses: Tensor) -> Tensor:
    """Return weights that make the weighted losses equal.

    With L the losses and E their number, w'_e = G / (E L_e), where G is Σ w times the
    geometric mean of L. The sum Σ w'_e L_e is G, and w'_e is dG/dL_e: a gradient taken
    with the weights held constant is the gradient of G. A loss that is 0 or infinite
    cannot be equalized and keeps its weight.
    """
    usable = (losses > 0) & losses.isfinite()
    n_usable = usable.sum()
    safe = torch.where(usable, losses, 1.0)
    mean = (safe.log().sum() / n_usable.clamp(min=1)).exp()
    return torch.where(usable, weights.sum() * mean / (n_usable * safe), weights)


def _total_reads(experiment: Experiment) -> float:
    total = float(experiment.counts_per_round.sum())
    if total == 0:
        msg = f"{experiment} has no read; a pseudocount is per read, so set it to 0"
        raise PyProBoundError(msg)
    return total


def _checked_weights(weights: Iterable[float] | None, number: int) -> tuple[float, ...]:
    if number == 0:
        msg = "a loss needs at least one component; give an experiment or a round"
        raise ValueError(msg)
    if weights is None:
        return (1 / number,) * number
    given = tuple(float(weight) for weight in weights)
    if len(given) != number:
        msg = f"{len(given)} weights for {number} components; give one for each"
        raise ValueError(msg)
    for weight in given:
        _at_least("weight", weight, 0)
    return given


N = TypeVar("N", int, float)


def _at_least(name: str, value: N, lowest: N) -> N:
    if not value >= lowest:
        msg = f"{name} {value} must be at least {lowest}"
        raise ValueError(msg)
    return value
