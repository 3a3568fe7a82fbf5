"""What all regressions share: a copied model, measurements, and the mean of χ².

    loss = mean over probes of ((obs − pred) / σ)²

with σ half the error bar, or 1 where there are no errors (`_measured`). The
specifications (PSAMs, spacings) are never trained; words of `unfreeze` say what is.
"""

import abc
import copy
import os
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed
from torch.utils.data import Sampler

from pyprobound._chunking import memory_budget
from pyprobound.aggregate import Aggregate
from pyprobound.base import Component, Transform
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.fitting._agreement import Agreement
from pyprobound.fitting._construct import lay_construct
from pyprobound.fitting._measured import Observation, check_measurements, half_bar
from pyprobound.layers.conv0d import Conv0d
from pyprobound.layers.conv1d import Conv1d
from pyprobound.loss import BaseLoss
from pyprobound.mode import Mode
from pyprobound.optimizer import Optimizer
from pyprobound.rounds import BaseRound, Round
from pyprobound.structure import check_lengths, contributions_of
from pyprobound.table import CountBatch, CountTable

Prediction = Callable[[Tensor], Tensor]
Scored = tuple[Tensor, Tensor, Tensor | None, Tensor | None]

OF_THE_MODEL = ("activity", "posbias", "hill")
"""The words for what is trained of the copied model."""


def as_measured(y: Tensor) -> Tensor:
    """Return measurements as they are: the observation that is used by default."""
    return y


class BaseFit(BaseLoss[CountBatch]):
    """A regression of measurements on a copy of a trained round or aggregate.

    A class of yours gives `obs_pred`, and may hold parameters of its own.

    Attributes:
        dataset: The probes and their measurements.
        prediction: Makes of log Z what is compared.
        observation: Makes of y what is compared.
        update_construct: Whether the copy was laid on the lengths of the dataset.
        train_posbias: Whether the position bias is trained.
        train_hill: Whether the Hill coefficients are trained.
    """

    unfreezable = Literal["all", "activity", "posbias", "hill"]

    def __init__(
        self,
        rnd: BaseRound | Aggregate,
        dataset: CountTable,
        prediction: Prediction,
        observation: Observation = as_measured,
        update_construct: bool = False,
        train_posbias: bool = False,
        train_hill: bool = False,
        max_split: int | None = None,
        batch_size: int | None = None,
        checkpoint: str | os.PathLike[str] = "valmodel.pt",
        output: str | os.PathLike[str] = "/dev/null",
        device: str | None = None,
        sampler: type[Sampler[CountBatch]] | None = None,
        optimizer: type[torch.optim.Optimizer] | None = None,
        optim_args: MutableMapping[str, Any] | None = None,
        sampler_args: MutableMapping[str, Any] | None = None,
        name: str = "",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Copy the trained model and check that it takes the probes.

        Args:
            rnd: The trained round or aggregate; it is copied and never changed.
            dataset: Probes and measurements: y in the first column; a symmetric error
                in the second, or a lower and an upper error in the second and third.
                Errors are distances from y.
            prediction: Makes of log Z (natural logarithm, float64) what is compared,
                elementwise and differentiable: ``lambda z: z``, `torch.exp`,
                `torch.sigmoid` (the fraction bound).
            observation: Makes of y what is compared, elementwise; by default nothing.
            update_construct: Whether to lay the copy on the dataset's probe lengths:
                needed where they are not those of the training table.
            train_posbias: Whether to train the position bias of every motif (and of
                dimers and non-specific binding that were trained with one).
            train_hill: Whether to train the Hill coefficients of motifs and dimers.
            max_split: The most probes that are scored at once.
            batch_size: Probes in a batch, with an optimizer of torch.optim; by default
                all.
            checkpoint: Where the best model is kept.
            output: Where progress is printed.
            device: By default CUDA where there is any, else the CPU.
            sampler: Class that draws the probes of a batch.
            optimizer: A class of torch.optim; by default least squares are solved by
                Gauss–Newton steps.
            optim_args: Its arguments.
            sampler_args: Arguments of the sampler.
            name: Shown in messages and plots.
            dtype: Floating-point type of the copy; by default the round's.

        Raises:
            PyProBoundError: Nothing binds in the round, or a measurement or its error
                cannot be used; the message names its row.
            RuntimeError: The probes have other lengths than those of the model, and
                update_construct is False.
        """
        if not isinstance(rnd, Aggregate | Round):
            msg = f"nothing binds in {rnd}; give a round of selection or an aggregate"
            raise PyProBoundError(msg)
        copied = copy.deepcopy(rnd)
        if update_construct:
            lay_construct(copied, dataset)
        super().__init__([copied], lambda_l2=0, max_split=max_split)
        self.name = name
        self.dataset = dataset
        self.prediction = prediction
        self.observation = observation
        self.update_construct = update_construct
        self.train_posbias = train_posbias
        self.train_hill = train_hill
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.output = output
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or default)
        self.sampler = sampler
        self.optimizer = optimizer
        self.optim_args = optim_args
        self.sampler_args = sampler_args
        check_measurements(dataset.target.cpu(), self.observed)
        _check_lengths(self)
        _mark_trained(self.aggregate, posbias=train_posbias, hill=train_hill)
        self.to(device=self.device, dtype=dtype)
        self.freeze()
        for word in OF_THE_MODEL:
            self._unfreeze_word(word)

    @property
    def rnd(self) -> Round | Aggregate:
        """The copy that is compared, and trained."""
        copied = self.transforms[0]
        assert isinstance(copied, Aggregate | Round)
        return copied

    @property
    def aggregate(self) -> Aggregate:
        """The aggregate of the copy."""
        return self.rnd if isinstance(self.rnd, Aggregate) else self.rnd.aggregate

    # --- what is trained -------------------------------------------------------------

    def unfreeze(self, parameter: str = "all") -> None:
        """Turn on the gradient of what a word stands for; never of a specification.

        Args:
            parameter: "activity", "posbias" and "hill" as far as the arguments of the
                constructor and of the model allow; "all" for all words.

        Raises:
            ValueError: There is no such word.
        """
        words = self.words
        if parameter != "all" and parameter not in words:
            known = ", ".join(repr(word) for word in ("all", *words))
            msg = (
                f"{type(self).__name__} cannot unfreeze {parameter!r}; it knows {known}"
            )
            raise ValueError(msg)
        self.settle()
        for word in words if parameter == "all" else (parameter,):
            self._unfreeze_word(word)

    def _unfreeze_word(self, word: str) -> None:
        if word in self.trainable:
            super()._unfreeze_word(word)
            return
        for part in _parts_with(self.aggregate, word):
            part.unfreeze(word)

    @property
    def words(self) -> tuple[str, ...]:
        """The words that `unfreeze` takes, in the order in which `fit` trains."""
        return (*self.trainable, *OF_THE_MODEL)

    # --- scores ----------------------------------------------------------------------

    def log_aggregate(self, seqs: Tensor) -> Tensor:
        """Return log Z of each sequence, (probes,).

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
        """
        rnd = self.rnd
        log_z: Tensor = (
            rnd(seqs) if isinstance(rnd, Aggregate) else rnd.log_aggregate(seqs)
        )
        return log_z

    def observed(self, y: Tensor) -> Tensor:
        """Return measurements on the scale on which they are compared."""
        return self.observation(y)

    @abc.abstractmethod
    def obs_pred(self, seqs: Tensor, target: Tensor) -> Scored:
        """Return what was observed, what is predicted, and the ends of error bars.

        Args:
            seqs: (probes, length) letter codes.
            target: (probes, columns) measurements and their errors.

        Returns:
            obs, pred, and the lower and upper ends of the error bars (None without
            errors), each (probes,), all on the scale on which they are compared.
        """

    def log_z(self, seqs: Tensor) -> Tensor:
        """Return log Z in float64, scoring at most `max_split` sequences at once."""
        most = self.max_split
        if most is None or len(seqs) <= most:
            return self.log_aggregate(seqs).double()
        parts: list[Tensor] = [
            recomputed(self.log_aggregate, part, use_reentrant=False)
            for part in torch.split(seqs, most)
        ]
        return torch.cat(parts).double()

    def score(self, batch: CountBatch) -> Scored:
        """Return what `obs_pred` does of a batch, on the CPU and without gradients.

        Args:
            batch: The dataset, or other probes of such lengths with measurements.
        """
        seqs, target = torch.atleast_2d(batch.seqs), torch.atleast_2d(batch.target)
        fits = max(1, memory_budget() // max(1, self.max_embedding_size()))
        most = self.max_split or fits
        place = next(self.parameters()).device
        pieces = []
        with torch.no_grad():
            for start in range(0, max(1, len(seqs)), most):
                rows = slice(start, start + most)
                found = self.obs_pred(seqs[rows].to(place), target[rows].to(place))
                pieces.append([None if x is None else x.cpu() for x in found])
        obs, pred, lower, upper = (_joined(part) for part in zip(*pieces, strict=True))
        assert obs is not None
        assert pred is not None
        return obs, pred, lower, upper

    def agreement(self, batch: CountBatch | None = None) -> Agreement:
        """Return R², correlations and the like, on the scale of the fit.

        Args:
            batch: By default the dataset.
        """
        return Agreement.of(*self.score(self.dataset if batch is None else batch))

    def negloglik(self, transform: Transform, batch: CountBatch) -> tuple[Tensor, int]:  # noqa: ARG002 there is one
        """Return Σ ((obs − pred)/σ)² and the number of probes.

        Args:
            transform: The copied round or aggregate.
            batch: Probes and measurements.
        """
        target = torch.atleast_2d(batch.target)
        obs, pred, lower, upper = self.obs_pred(torch.atleast_2d(batch.seqs), target)
        sigma = half_bar(obs, lower, upper)
        residual = (obs - pred) if sigma is None else (obs - pred) / sigma
        return residual.square().sum(), batch.batchlen()

    def regularization(self, component: Component) -> Tensor:  # noqa: ARG002 of none
        """Return 0: nothing but the measurements decides."""
        return torch.zeros((), dtype=torch.float64)

    # --- texts and files -------------------------------------------------------------

    def _settings(self) -> dict[str, object]:
        n_columns = self.dataset.target.shape[1]
        bars = ("none", "symmetric", "lower and upper")[n_columns - 1]
        return {
            "measurements": len(self.dataset),
            "error bars": bars,
            "prediction": _name_of(self.prediction),
            "observation": _name_of(self.observation),
            "update_construct": self.update_construct,
            "train_posbias": self.train_posbias,
            "train_hill": self.train_hill,
            "max_split": self.max_split or "none",
            "checkpoint": self.checkpoint,
        }

    def get_setup_string(self) -> str:
        """Return the model and the settings as text, one to a line."""
        lines = [f"\t{key}: {value}" for key, value in self._settings().items()]
        return "\n".join([f"### Regression: {self} on {self.rnd}", *lines])

    def make_optimizer(self) -> Optimizer[CountBatch]:
        """Return what trains by torch.optim, prints, and writes the checkpoint."""
        return Optimizer(
            self,
            [self.dataset],
            batch_size=self.batch_size,
            checkpoint=self.checkpoint,
            output=self.output,
            device=str(self.device),
            sampler=self.sampler,
            optimizer=self.optimizer,
            optim_args=self.optim_args,
            sampler_args=self.sampler_args,
        )


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


def _name_of(function: Callable[[Tensor], Tensor]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _check_lengths(fit: BaseFit) -> None:
    """Check that the copy takes the probes.

    Raises:
        RuntimeError: It does not; the message says what was expected and found.
    """
    try:
        check_lengths(fit, [fit.dataset])
    except RuntimeError as error:
        msg = f"{error}; give update_construct=True"
        raise RuntimeError(msg) from error


def _parts_with(aggregate: Aggregate, word: str) -> Iterator[Component]:
    """Iterate over the parts of a model that know a word, absent ones left out."""
    if word == "activity":
        yield from aggregate.present()
        return
    bindings = [each.binding for each in aggregate.present()]
    seen: set[int] = set()
    for module in (each for binding in bindings for each in binding.modules()):
        if (
            id(module) not in seen
            and isinstance(module, Component)
            and word in module.trainable
        ):
            seen.add(id(module))
            yield module


def _mark_trained(aggregate: Aggregate, *, posbias: bool, hill: bool) -> None:
    """Say of every part of a copied model what of it is trained."""
    direct = {id(each.binding) for each in contributions_of(aggregate)}
    for module in aggregate.modules():
        if isinstance(module, Conv1d):
            module.train_posbias = posbias
        elif isinstance(module, Conv0d | Cooperativity):
            module.train_posbias &= posbias
        if isinstance(module, Mode | Cooperativity):
            # A mode within a dimer is not summed over windows; non-specific binding
            # has no windows: neither has a Hill coefficient.
            counts = id(module) in direct and not _is_nonspecific(module)
            module.train_hill = hill and counts


def _is_nonspecific(binding: Mode | Cooperativity) -> bool:
    return isinstance(binding, Mode) and isinstance(binding.chain[-1], Conv0d)
