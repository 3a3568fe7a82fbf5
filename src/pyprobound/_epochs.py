"""Epochs: going once through the batches of all tables, to train on them or to score.

What trains is an optimizer of torch.optim. How batches are drawn, and of which class
the optimizer is, is settled when an `Epochs` is made: one for each fit.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from pyprobound._step_memory import StepMemory, moved
from pyprobound.loss import BaseLoss, Loss, T
from pyprobound.table import MultitaskLoader, Table, collate_batch_fn

CEILING = 1e9
"""Losses and slopes above it are not told apart: no fit comes from there."""


@dataclass(frozen=True)
class EpochSettings(Generic[T]):
    """How batches are drawn and what trains on them; see `Optimizer`."""

    batch_size: int | None
    sampler: type[Sampler[T]] | None
    sampler_args: Mapping[str, Any]
    optimizer: type[torch.optim.Optimizer] | None
    optim_args: Mapping[str, Any]
    use_amp: bool
    device: torch.device

    @property
    def engine_class(self) -> type[torch.optim.Optimizer]:
        """The class of what trains."""
        if self.optimizer is not None:
            return self.optimizer
        return torch.optim.Adam if self.batch_size else torch.optim.LBFGS

    def as_text(self) -> dict[str, str]:
        """Return by name, as text, what a fit depends on."""
        engine, sampler = self.optimizer, self.sampler
        return {
            "batch_size": str(self.batch_size),
            "optimizer": "chosen" if engine is None else engine.__qualname__,
            "optim_args": str(self.optim_args),
            "sampler": "none" if sampler is None else sampler.__qualname__,
            "sampler_args": str(self.sampler_args),
            "use_amp": str(self.use_amp),
        }

    @property
    def engine_is_chosen(self) -> bool:
        """Whether anything is asked for that only torch.optim can do."""
        chosen = self.optimizer is not None or self.optim_args
        return bool(chosen or self.batch_size or self.use_amp)


class Epochs(Generic[T]):
    """Trains and scores a model, batch by batch.

    Attributes:
        settings: How.
        engine: What trains; None until it is needed.
    """

    def __init__(
        self,
        model: BaseLoss[T],
        train_tables: Sequence[Table[T]],
        settings: EpochSettings[T],
        *,
        remembers: bool = False,
    ) -> None:
        """Prepare for the epochs of one fit.

        Args:
            model: The model.
            train_tables: What it is trained on.
            settings: How.
            remembers: Whether what is computed may be used again; what is trained must
                not change then, nor the tables.
        """
        self.settings = settings
        self.engine: torch.optim.Optimizer | None = None
        self._model, self._tables = model, train_tables
        self._memory = StepMemory() if remembers else None

    def forget(self) -> None:
        """Drop what was remembered: what is trained may change."""
        self._memory = None

    # --- batches -------------------------------------------------------------------

    def loader(self, tables: Sequence[Table[T]], *, train: bool) -> MultitaskLoader[T]:
        """Return the batches of tables: the tables themselves, unless to train."""
        return MultitaskLoader(self._loader_of(table, train=train) for table in tables)

    def _loader_of(self, table: Table[T], *, train: bool) -> DataLoader[T]:
        settings = self.settings
        size = settings.batch_size if train and settings.batch_size else len(table)
        sampler = None
        if train and settings.batch_size and settings.sampler is not None:
            make = cast("Callable[..., Sampler[T]]", settings.sampler)
            sampler = make(table, **settings.sampler_args)
        return DataLoader(
            table,
            batch_size=min(size, len(table)),
            shuffle=bool(train and settings.batch_size and sampler is None),
            sampler=sampler,
            collate_fn=collate_batch_fn,
        )

    # --- what trains ---------------------------------------------------------------

    def new_engine(self) -> torch.optim.Optimizer:
        """Make the optimizer of what is trained now."""
        chosen = self.settings.engine_class
        arguments: dict[str, Any] = {}
        if issubclass(chosen, torch.optim.LBFGS):
            arguments = {
                "line_search_fn": "strong_wolfe",
                "history_size": 50,
                "tolerance_grad": 1e-7,
                "tolerance_change": 1e-10,
            }
        elif self.settings.optimizer is None:
            arguments = {"lr": 0.01}
        trained = [p for p in self._model.parameters() if p.requires_grad]
        self.engine = chosen(trained, **(arguments | dict(self.settings.optim_args)))
        return self.engine

    @property
    def engine_state(self) -> dict[str, Any] | None:
        """The state of what trains; None where there is nothing yet."""
        return None if self.engine is None else self.engine.state_dict()

    def restore_engine(self, state: Mapping[str, Any]) -> None:
        """Make what trains, in a state that `engine_state` has been."""
        engine = self.new_engine()
        engine.load_state_dict(dict(state))
        trained = [p for group in engine.param_groups for p in group["params"]]
        for index, saved in state["state"].items():
            own = engine.state[trained[index]]
            for key, value in saved.items():
                # It comes with the precision of the parameter, not with its own.
                if isinstance(value, Tensor) and own[key].dtype != value.dtype:
                    own[key] = value.to(own[key].device)

    # --- epochs --------------------------------------------------------------------

    def run(
        self, loader: MultitaskLoader[T], *, train: bool, trains_next: bool = True
    ) -> Loss:
        """Go through the batches once.

        Args:
            loader: The batches.
            train: Whether to train on them.
            trains_next: Whether what is only scored here may be trained on from here:
                its gradients are then worth keeping. (The information has its own.)

        Returns:
            The mean loss of the batches, before training on each of them.
        """
        negloglik = torch.zeros((), dtype=torch.float64)
        penalty = torch.zeros((), dtype=torch.float64)
        # Only what comes again is worth remembering: tables, not batches of them.
        memory = self._memory if loader.is_whole else None
        storing = contextlib.nullcontext() if memory is None else memory.store.used()
        with storing:
            for batches in loader:
                if train:
                    loss = self._step(batches, memory)
                else:
                    loss = self._score(batches, memory if trains_next else None)
                negloglik += loss.negloglik.detach().cpu()
                penalty += loss.regularization.detach().cpu()
        return Loss(negloglik / len(loader), penalty / len(loader))

    def _score(self, batches: Iterable[T], memory: StepMemory | None) -> Loss:
        """Return the loss, and leave gradients if there is a memory to keep them."""
        given = list(batches)
        ready = self._ready(given, memory)
        # Training goes on from here, or has just come here: with the gradients, this
        # is a loss that it needs as well.
        trains = self._trains_on(given) and memory is not None
        return self._loss(ready, memory, gradients=trains)

    def _trains_on(self, batches: Sequence[T]) -> bool:
        """Tell whether an epoch is one step on these batches: the whole tables."""
        tables: Sequence[object] = self._tables
        return (
            not self.settings.batch_size
            and len(batches) == len(tables)
            and all(a is b for a, b in zip(batches, tables, strict=True))
        )

    def _step(self, batches: Iterable[T], memory: StepMemory | None) -> Loss:
        engine = self.engine or self.new_engine()
        ready = self._ready(batches, memory)
        first: list[Loss] = []

        def closure() -> Tensor:
            loss = self._loss(ready, memory, gradients=True)
            first.append(loss)
            total = loss.negloglik + loss.regularization
            if isinstance(engine, torch.optim.LBFGS):
                return bounded(total, self._model.parameters())
            return total

        engine.step(cast("Callable[[], float]", closure))
        return first[0]

    def _ready(self, batches: Iterable[T], memory: StepMemory | None) -> list[T]:
        """Return the batches on the device of the model."""
        move = moved if memory is None else memory.moved
        return [move(batch, self.settings.device) for batch in batches]

    def _loss(
        self, batches: list[T], memory: StepMemory | None, *, gradients: bool
    ) -> Loss:
        """Return the loss; its gradients, if they are asked for, in the parameters."""

        def compute() -> Loss:
            self._model.zero_grad()
            with torch.set_grad_enabled(gradients), self._autocast():
                loss: Loss = self._model(batches)
            total = loss.negloglik + loss.regularization
            if total.requires_grad:
                torch.autograd.backward(total)
            return Loss(loss.negloglik.detach(), loss.regularization.detach())

        if memory is None:
            return compute()
        return memory.loss(self._model, batches, compute, gradients=gradients)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        settings = self.settings
        return torch.autocast(settings.device.type, enabled=settings.use_amp)


def bounded(total: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Return a loss, and leave gradients, that a line search can square.

    A step that goes far too far has a penalty of e^700. L-BFGS interpolates between the
    squares of such numbers, which are infinite, and ends at NaN instead of turning
    back.
    """
    gradients = [p.grad for p in parameters if p.grad is not None and p.numel()]
    numbers = torch.stack([total, *(g.abs().amax().to(total) for g in gradients)])
    if bool((numbers.abs() < CEILING).all()):
        return total
    for gradient in gradients:
        gradient.nan_to_num_(0.0).clamp_(-CEILING, CEILING)
    return total.nan_to_num(CEILING).clamp(max=CEILING)
