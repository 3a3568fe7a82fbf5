"""Fitting a model to tables: all at once, or one binding after the other.

The best model so far is kept: in a checkpoint on disk whenever the loss improves, and
in the model itself when a fit ends, is interrupted, or fails.
"""

import contextlib
import io
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from pyprobound._step_memory import StepMemory, moved
from pyprobound._typing import FileLike
from pyprobound.aggregate import Aggregate
from pyprobound.base import Call, Spec, Step
from pyprobound.fisher import TOLERANCE as FINE_TOLERANCE
from pyprobound.fisher import (
    CountObjective,
    ProductObjective,
    TrustRegion,
    choose_start,
    has_information,
    motifs_of_noise,
    trust_region_of,
)
from pyprobound.loss import BaseLoss, Loss, MultiExperimentLoss, T
from pyprobound.procedure import Stage, format_plan, is_improved, make_plan
from pyprobound.structure import (
    Snapshot,
    apply_edit,
    expected_contributions,
    flank_lengths,
    keep_contributions,
    modes_of,
    set_flank_lengths,
)
from pyprobound.table import CountBatch, MultitaskLoader, Table, collate_batch_fn

_NEVER = torch.tensor(torch.inf)
_STDOUT = cast("io.TextIOBase", sys.stdout)

TOLERANCE = 1e-6
"""A full-batch epoch that gains less loss per read than this ends a fit."""

CEILING = 1e9
"""Losses and slopes above it are not told apart: no fit comes from there."""


@dataclass(frozen=True)
class ProgressEvent:
    """One epoch of a fit.

    Attributes:
        binding: What is being fitted.
        step: The number of the step in its plan.
        call: The calls that opened the step, as text.
        epoch: The number of the epoch in this fit; 0 is before any training.
        train_loss: Negative log likelihood on the training tables.
        train_regularization: Penalty.
        val_loss: Negative log likelihood on the validation tables, if there are any.
        best: Whether this is the best model so far.
        seconds: Since the optimizer was made.
    """

    binding: str
    step: int
    call: str
    epoch: int
    train_loss: float
    train_regularization: float
    val_loss: float | None
    best: bool
    seconds: float


@dataclass(frozen=True)
class _Place:
    """Where in a plan a fit is, for messages."""

    binding: str = "all"
    step: int = 0
    call: str = ""


class Optimizer(Generic[T]):
    """Fits a model to tables and keeps the best one.

    Attributes:
        model: The model; holds the best parameters when a fit ends.
        train_tables: One table for each of its components.
        val_tables: Held-out tables that decide which model is best, or None.
        reason: Why the last fit ended, in words.
        passes: How often second-order fits have gone through the training tables.
    """

    def __init__(
        self,
        model: BaseLoss[T],
        train_tables: Sequence[Table[T]],
        val_tables: Sequence[Table[T]] | None = None,
        epochs: int = 200,
        patience: int = 10,
        greedy_threshold: float = 2e-4,
        batch_size: int | None = None,
        checkpoint: str | os.PathLike[str] = "model.pt",
        output: str | os.PathLike[str] | io.TextIOBase = _STDOUT,
        device: str | None = None,
        sampler: type[Sampler[T]] | None = None,
        optimizer: type[torch.optim.Optimizer] | None = None,
        optim_args: MutableMapping[str, Any] | None = None,
        sampler_args: MutableMapping[str, Any] | None = None,
        use_amp: bool = False,
        dtype: torch.dtype | None = None,
        on_progress: Callable[[ProgressEvent], None] | None = None,
    ) -> None:
        """Initialise a fit.

        Args:
            model: The model.
            train_tables: One table for each of its components.
            val_tables: Held-out tables; by default the training loss decides.
            epochs: The most epochs of any one fit.
            patience: Epochs without improvement after which a fit ends.
            greedy_threshold: What a greedy step must gain.
            batch_size: Probes in a batch; by default each table is one batch.
            checkpoint: Where the best model is kept.
            output: Where progress is printed: a path or a text file.
            device: By default CUDA where there is any, else the CPU.
            sampler: Class that draws the probes of a batch.
            optimizer: Class of the optimizer; None lets the engine choose: a trust
                region with the Fisher information for counts, L-BFGS for other losses,
                Adam for batches.
            optim_args: Its arguments.
            sampler_args: Arguments of the sampler.
            use_amp: Whether to use automatic mixed precision.
            dtype: Floating-point type of the model; by default what it has.
            on_progress: Called after every epoch.

        Raises:
            ValueError: There are too many tables or too few.
            RuntimeError: The lengths of a table's probes are not those of its modes.
        """
        self.model = model
        self.train_tables = list(train_tables)
        self.val_tables = None if val_tables is None else list(val_tables)
        self.epochs = epochs
        self.patience = patience
        self.greedy_threshold = greedy_threshold
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.output = output
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or default)
        self.sampler = sampler
        self.sampler_args = dict(sampler_args or {})
        self.optimizer = optimizer
        self.optim_args = dict(optim_args or {})
        self.use_amp = use_amp
        self.on_progress = on_progress
        self.reason = "not fitted yet"
        self.passes = 0.0
        self._tolerance = FINE_TOLERANCE
        self.model.to(device=self.device, dtype=dtype)
        self._started = time.monotonic()
        self._place = _Place()
        self._engine: torch.optim.Optimizer | None = None
        self._memory: StepMemory | None = None
        # The loss that a model must beat to replace the checkpoint: a new binding
        # begins above the loss of the model without it.
        self._bar = math.inf
        self._bar_is_beaten = False
        for name, tables in (("train", self.train_tables), ("val", self.val_tables)):
            self._check_tables(name, tables)
        self.check_length_consistency()
        for path in (checkpoint, output):
            _warn_if_not_empty(path)

    # --- checks and texts ----------------------------------------------------------

    def _check_tables(self, name: str, tables: Sequence[Table[T]] | None) -> None:
        expected = len(list(self.model.components()))
        if tables is not None and len(tables) != expected:
            msg = (
                f"{name}_tables has {len(tables)} tables for a model of {expected}"
                " components; give one for each"
            )
            raise ValueError(msg)

    @property
    def _all_tables(self) -> list[Table[T]]:
        return [*self.train_tables, *(self.val_tables or [])]

    def check_length_consistency(self) -> None:
        """Check that the model takes the probes of the tables.

        Raises:
            RuntimeError: It does not; the message says what was expected and found.
        """
        self.model.check_length_consistency()
        transforms = list(self.model.components())
        for i, table in enumerate(self._all_tables):
            transform = transforms[i % len(transforms)]
            for mode in modes_of(transform):
                fits = (
                    mode.input_shape == table.input_shape
                    and mode.min_input_length <= table.min_read_length
                    and table.max_read_length <= mode.max_input_length
                )
                if not fits:
                    expected = (
                        mode.input_shape,
                        mode.min_input_length,
                        mode.max_input_length,
                    )
                    found = (
                        table.input_shape,
                        table.min_read_length,
                        table.max_read_length,
                    )
                    msg = (
                        f"{mode} of {transform} expects (input_shape, shortest,"
                        f" longest) = {expected}, but its table has {found}"
                    )
                    raise RuntimeError(msg)

    def get_parameter_string(self) -> str:
        """Return the parameters that are trained, one to a line."""
        lines = ["### Parameters:"]
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                lines.append(f"\t{name}: {tuple(parameter.shape)}")
        return "\n".join(lines)

    def get_setup_string(self) -> str:
        """Return the tables, the model and the settings as text."""
        tables = [
            f"### Table {index}:\n{table.get_setup_string()}"
            for index, table in enumerate(self.train_tables)
        ]
        chosen = self._engine_class().__name__
        if self._is_second_order:
            chosen = "TrustRegion (Fisher information)"
        settings = {
            "optimizer": chosen,
            "optim_args": self.optim_args,
            "epochs": self.epochs,
            "patience": self.patience,
            "greedy_threshold": self.greedy_threshold,
            "batch_size": self.batch_size or "whole tables",
            "device": self.device,
            "checkpoint": self.checkpoint,
        }
        lines = [f"\t{key}: {value}" for key, value in settings.items()]
        text = ["### Optimizer:", *lines]
        return "\n".join([*tables, self.model.get_setup_string(), *text])

    def get_train_sequential(
        self, order: Iterable[Iterable[tuple[Spec, ...]]] | None = None
    ) -> str:
        """Return the plan of the sequential fit as text."""
        return format_plan(make_plan(self.model, order))

    def print(
        self, *objects: object, sep: str = " ", mode: str = "at", end: str = "\n"
    ) -> None:
        """Print to the output.

        Args:
            objects: What is printed.
            sep: Between them.
            mode: How a path is opened.
            end: After them.
        """
        text = sep.join(map(str, objects)) + end
        if isinstance(self.output, str | os.PathLike):
            with Path(self.output).open(mode, encoding="utf-8") as file:
                file.write(text)
            return
        # The default was bound when the module was imported; stdout may have changed.
        is_default = self.output is _STDOUT
        stream = cast("io.TextIOBase", sys.stdout) if is_default else self.output
        stream.write(text)
        stream.flush()

    # --- checkpoints ---------------------------------------------------------------

    def save(self, checkpoint: FileLike) -> None:
        """Write the model with the tables' flank lengths."""
        self.model.save(checkpoint, flank_lengths(self.train_tables))

    def reload(self, checkpoint: FileLike | None = None) -> dict[str, Any]:
        """Take over a checkpoint, its flank lengths included.

        Args:
            checkpoint: By default the optimizer's own.

        Returns:
            The checkpoint's metadata.

        Raises:
            CheckpointError: It cannot be read, or belongs to another model.
        """
        path = self.checkpoint if checkpoint is None else checkpoint
        metadata = self.model.reload(path)
        lengths = metadata["flank_lengths"]
        if lengths:
            set_flank_lengths(self.train_tables, lengths)
            set_flank_lengths(self.val_tables or [], lengths if self.val_tables else [])
        return metadata

    # --- one fit -------------------------------------------------------------------

    def _loader(self, tables: Sequence[Table[T]], *, train: bool) -> MultitaskLoader[T]:
        return MultitaskLoader(self._loader_of(table, train=train) for table in tables)

    def _loader_of(self, table: Table[T], *, train: bool) -> DataLoader[T]:
        size = self.batch_size if train and self.batch_size else len(table)
        sampler = None
        if train and self.batch_size and self.sampler is not None:
            make = cast("Callable[..., Sampler[T]]", self.sampler)
            sampler = make(table, **self.sampler_args)
        return DataLoader(
            table,
            batch_size=min(size, len(table)),
            shuffle=bool(train and self.batch_size and sampler is None),
            sampler=sampler,
            collate_fn=collate_batch_fn,
        )

    def _engine_class(self) -> type[torch.optim.Optimizer]:
        if self.optimizer is not None:
            return self.optimizer
        return torch.optim.Adam if self.batch_size else torch.optim.LBFGS

    def _new_engine(self) -> torch.optim.Optimizer:
        chosen = self._engine_class()
        arguments: dict[str, Any] = {}
        if issubclass(chosen, torch.optim.LBFGS):
            arguments = {
                "line_search_fn": "strong_wolfe",
                "history_size": 50,
                "tolerance_grad": 1e-7,
                "tolerance_change": 1e-10,
            }
        elif self.optimizer is None:
            arguments = {"lr": 0.01}
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return chosen(trained, **(arguments | self.optim_args))

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, enabled=self.use_amp)

    def run_one_epoch(self, train: bool, dataloader: MultitaskLoader[T]) -> Loss:
        """Go through the batches once.

        Args:
            train: Whether to train on them.
            dataloader: Batches of every table.

        Returns:
            The mean loss of the batches, before training on each of them.
        """
        negloglik = torch.zeros((), dtype=torch.float64)
        penalty = torch.zeros((), dtype=torch.float64)
        # Only what comes again is worth remembering: tables, not batches of them.
        memory = self._memory if dataloader.is_whole else None
        storing = contextlib.nullcontext() if memory is None else memory.store.used()
        with storing:
            for batches in dataloader:
                go = self._step if train else self._score
                loss = go(batches, memory)
                negloglik += loss.negloglik.detach().cpu()
                penalty += loss.regularization.detach().cpu()
        return Loss(negloglik / len(dataloader), penalty / len(dataloader))

    def _score(self, batches: Iterable[T], memory: StepMemory | None) -> Loss:
        given = list(batches)
        ready = self._ready(given, memory)
        # Training goes on from here, or has just come here: with the gradients, this
        # is a loss that it needs as well. (The Fisher information has its own.)
        trains = self._trains_on(given) and not self._is_second_order
        trains &= memory is not None
        return self._loss(ready, memory, gradients=trains)

    def _trains_on(self, batches: Sequence[T]) -> bool:
        """Tell whether an epoch is one step on these batches: the whole tables."""
        tables: Sequence[object] = self.train_tables
        return (
            not self.batch_size
            and len(batches) == len(tables)
            and all(a is b for a, b in zip(batches, tables, strict=True))
        )

    def _step(self, batches: Iterable[T], memory: StepMemory | None) -> Loss:
        engine = self._engine = self._engine or self._new_engine()
        ready = self._ready(batches, memory)
        first: list[Loss] = []

        def closure() -> Tensor:
            loss = self._loss(ready, memory, gradients=True)
            first.append(loss)
            total = loss.negloglik + loss.regularization
            if isinstance(engine, torch.optim.LBFGS):
                return _bounded(total, self.model.parameters())
            return total

        engine.step(cast("Callable[[], float]", closure))
        return first[0]

    def _ready(self, batches: Iterable[T], memory: StepMemory | None) -> list[T]:
        """Return the batches on the device of the model."""
        move = moved if memory is None else memory.moved
        return [move(batch, self.device) for batch in batches]

    def _loss(
        self, batches: list[T], memory: StepMemory | None, *, gradients: bool
    ) -> Loss:
        """Return the loss; its gradients, if they are asked for, in the parameters."""

        def compute() -> Loss:
            self.model.zero_grad()
            with torch.set_grad_enabled(gradients), self._autocast():
                loss: Loss = self.model(batches)
            total = loss.negloglik + loss.regularization
            if total.requires_grad:
                torch.autograd.backward(total)
            return Loss(loss.negloglik.detach(), loss.regularization.detach())

        if memory is None:
            return compute()
        return memory.loss(self.model, batches, compute, gradients=gradients)

    def train_until_convergence(
        self,
        checkpoint: FileLike | None = None,
        best_loss: Tensor = _NEVER,
    ) -> Tensor:
        """Train what is unfrozen until the loss does not improve any more.

        The best model is written to the checkpoint whenever it improves, and left in
        the model, also where the fit is interrupted.

        Args:
            checkpoint: By default the optimizer's own.
            best_loss: What a model must beat to be kept.

        Returns:
            The best loss, `best_loss` if no model was better.
        """
        path = self.checkpoint if checkpoint is None else checkpoint
        self._engine, self._memory = None, StepMemory()
        best, kept = float(best_loss), Snapshot.of(self.model, self._all_tables)
        train = self._loader(self.train_tables, train=True)
        whole = self._loader(self.train_tables, train=False)
        held_out = (
            self._loader(self.val_tables, train=False) if self.val_tables else None
        )
        last, waited = math.inf, 0
        self.reason = f"budget: {self.epochs} epochs"
        try:
            losses = self._losses(train, whole)
            for epoch, scored in zip(range(self.epochs + 1), losses, strict=False):
                current = float(scored.negloglik + scored.regularization)
                val = None
                if held_out is not None:
                    val = float(self.run_one_epoch(False, held_out).negloglik)
                value = current if val is None else val
                improved = value < best
                if improved:
                    best, waited = value, 0
                    kept = Snapshot.of(self.model, self._all_tables)
                    if value < self._bar:
                        self.save(path)
                        self._bar_is_beaten |= checkpoint is None
                elif epoch > 0:
                    waited += 1
                self._report(epoch, scored, val, best=improved)
                if self._is_over(epoch, last, current, waited):
                    break
                last = current
        finally:
            self._memory = None
            kept.restore(self.model, self._all_tables)
        self.print(f"\t\t{self.reason}; best loss {best:.7g}")
        return torch.tensor(best, dtype=torch.float64)

    def _losses(
        self, train: MultitaskLoader[T], whole: MultitaskLoader[T]
    ) -> Iterator[Loss]:
        """Yield the loss of the training tables at the start and after each epoch."""
        if self._begins_from_noise:
            yield self.run_one_epoch(train=False, dataloader=whole)
            self._choose_start()
        region = self._trust_region()
        if region is None:
            yield self.run_one_epoch(train=False, dataloader=whole)
            while True:
                self.run_one_epoch(train=True, dataloader=train)
                yield self.run_one_epoch(train=False, dataloader=whole)
        try:
            yield from region.iterate()
        finally:
            self.passes += region.objective.passes
        self.reason = region.reason

    def _choose_start(self) -> None:
        """Let motifs that begin from noise begin from the best of several starts."""
        assert isinstance(self.model, MultiExperimentLoss)
        done = choose_start(self.model, self._counts())
        self.passes += done.passes
        self.print(f"\t\t{done.text}")

    @property
    def _begins_from_noise(self) -> bool:
        return self._is_second_order and bool(motifs_of_noise(self.model))

    @property
    def _is_second_order(self) -> bool:
        """Whether fits go by the Fisher information, where it is of a size for it."""
        chosen = self.optimizer is not None or self.optim_args
        apart = chosen or self.batch_size or self.use_amp
        tables: Sequence[object] = self.train_tables
        counts = all(isinstance(table, CountBatch) for table in tables)
        return not apart and counts and has_information(self.model)

    def _trust_region(
        self,
    ) -> TrustRegion[CountObjective] | TrustRegion[ProductObjective] | None:
        """Return the second-order fit of what is trained, None where there is none."""
        if not self._is_second_order:
            return None
        return trust_region_of(self.model, self._counts(), self._tolerance)

    def _counts(self) -> list[CountBatch]:
        """Return the training tables, on the device of the model."""
        return [
            table.to(self.device)
            for table in self.train_tables
            if isinstance(table, CountBatch)
        ]

    def _is_over(self, epoch: int, last: float, current: float, waited: int) -> bool:
        trained = any(p.requires_grad for p in self.model.parameters())
        if not trained:
            self.reason = "converged: nothing to train"
        elif math.isnan(current):
            self.reason = "stuck: the loss is not a number; the best model is kept"
        elif waited >= self.patience:
            self.reason = f"converged: no improvement in {waited} epochs"
        elif (
            epoch > 0
            and not self.batch_size
            and isinstance(self._engine, torch.optim.LBFGS)
            and abs(last - current) < TOLERANCE
        ):
            gain = last - current
            self.reason = f"converged: the last epoch gained {gain:.1g}"
        else:
            return False
        return True

    def _report(
        self, epoch: int, scored: Loss, val: float | None, *, best: bool
    ) -> None:
        seconds = time.monotonic() - self._started
        loss, penalty = float(scored.negloglik), float(scored.regularization)
        held_out = "" if val is None else f"  held out {val:.7f}"
        mark = " *" if best else ""
        self.print(
            f"\t\tepoch {epoch:3d}  loss {loss:.7f}  penalty {penalty:.7f}"
            f"{held_out}  {seconds:.1f} s{mark}"
        )
        if self.on_progress is not None:
            place = self._place
            event = ProgressEvent(
                binding=place.binding,
                step=place.step,
                call=place.call,
                epoch=epoch,
                train_loss=loss,
                train_regularization=penalty,
                val_loss=val,
                best=best,
                seconds=seconds,
            )
            self.on_progress(event)

    # --- whole procedures ----------------------------------------------------------

    def train_simultaneous(self, best_loss: Tensor = _NEVER) -> Tensor:
        """Train everything at once.

        Contributions that are absent are given their share first.

        Args:
            best_loss: What a model must beat to be kept.

        Returns:
            The best loss.
        """
        for module in list(self.model.modules()):
            if isinstance(module, Aggregate):
                for contribution in module.components():
                    if contribution.is_absent:
                        module.activity_heuristic(contribution)
        self.model.unfreeze()
        self._place = _Place(call=f"{self.model}.unfreeze(parameter=all)")
        self.print(self.get_parameter_string())
        return self.train_until_convergence(best_loss=best_loss)

    def run_step(self, step: Step) -> None:
        """Make the calls of a step.

        Raises:
            ValueError: One is refused; nothing is changed then.
        """
        apply_edit(step.calls, self.model, self._all_tables)

    def greedy_search(self, step: Step, best_loss: Tensor = _NEVER) -> Tensor:
        """Repeat a step as long as the loss falls by more than greedy_threshold.

        The expected contributions are kept constant across the edit. A step that is
        refused, or that does not gain enough, is undone exactly.

        Args:
            step: The step.
            best_loss: The loss of the model as it is.

        Returns:
            The best loss.
        """
        while True:
            before = Snapshot.of(self.model, self._all_tables)
            expected = expected_contributions(self.model)
            try:
                self.run_step(step)
            except ValueError as error:
                self.reason = f"refused: {error}"
                self.print(f"\t\t{self.reason}")
                return best_loss
            if self._is_unchanged(before):
                self.reason = "converged: the edit changes nothing"
                return best_loss
            keep_contributions(expected)
            try:
                loss = self.train_until_convergence(checkpoint=io.BytesIO())
            except BaseException:
                before.restore(self.model, self._all_tables)
                raise
            if not is_improved(float(best_loss), float(loss), self.greedy_threshold):
                before.restore(self.model, self._all_tables)
                self.print(f"\t\tundone: {float(loss):.7g} does not gain enough")
                return best_loss
            best_loss = loss
            if float(best_loss) < self._bar:
                self.save(self.checkpoint)
                self._bar_is_beaten = True
            self.print(f"\t\taccepted: {float(loss):.7g}")

    def _is_unchanged(self, before: Snapshot) -> bool:
        if flank_lengths(self._all_tables) != before.flanks:
            return False
        state = self.model.state_dict()
        return all(
            value.shape == before.state[key].shape
            and torch.equal(value, before.state[key])
            for key, value in state.items()
            if isinstance(value, Tensor)
        )

    def update_read_length(self, calls: list[Call]) -> None:
        """Change the scored flanks of tables, and every mode that reads them.

        Args:
            calls: Calls of `Mode.update_read_length`.

        Raises:
            ValueError: It is refused; nothing is changed then.
        """
        apply_edit(calls, self.model, self._all_tables)

    def train_sequential(
        self,
        maintain_loss: bool = True,
        order: Iterable[Iterable[tuple[Spec, ...]]] | None = None,
        plan: Sequence[Stage] | None = None,
    ) -> Tensor:
        """Fit one binding after the other, step by step.

        Args:
            maintain_loss: Whether a step of a binding must beat the steps before it
                to be kept; a new binding starts afresh.
            order: Groups of binding keys to be fitted together; see `make_plan`.
            plan: What to run instead: the stages of `make_plan`, edited.

        Returns:
            The best loss of the last binding.
        """
        best_loss = _NEVER
        stages = make_plan(self.model, order) if plan is None else list(plan)
        for stage in stages:
            is_last = stage is stages[-1]
            with self._guarding(best_loss), self._ending_within(is_last=is_last):
                best_loss = self.run_stage(stage, maintain_loss=maintain_loss)
            self.save(self.checkpoint)
        return best_loss

    @contextlib.contextmanager
    def _ending_within(self, *, is_last: bool) -> Iterator[None]:
        """End the fits of what is fitted again later without polish."""
        before = self._tolerance
        self._tolerance = before if is_last else max(before, TOLERANCE)
        try:
            yield
        finally:
            self._tolerance = before

    @contextlib.contextmanager
    def _guarding(self, best_loss: Tensor) -> Iterator[None]:
        """Keep the model as it is, here and on disk, until a stage has a better one."""
        before = Snapshot.of(self.model, self._all_tables)
        self._bar, self._bar_is_beaten = float(best_loss), False
        try:
            yield
        except BaseException:
            if not self._bar_is_beaten:
                before.restore(self.model, self._all_tables)
            raise
        finally:
            self._bar = math.inf

    def run_stage(self, stage: Stage, *, maintain_loss: bool = True) -> Tensor:
        """Run the steps of one stage of a plan.

        Args:
            stage: The stage, from `make_plan`.
            maintain_loss: See `train_sequential`.

        Returns:
            The best loss.
        """
        self.print(f"### Binding: {stage.title}")
        best_loss = _NEVER
        for number, step in enumerate(stage.steps):
            text = "; ".join(map(str, step.calls))
            self._place = _Place(stage.title, number, text)
            self.print(f"\tStep {number}: {text}")
            if step.greedy:
                best_loss = self.greedy_search(step, best_loss)
                continue
            self.run_step(step)
            # A new binding begins above the loss of the model without it.
            bar = best_loss if maintain_loss and number > 0 else _NEVER
            with self._ending_within(is_last=step is stage.steps[-1]):
                best_loss = self.train_until_convergence(best_loss=bar)
        return best_loss


def _bounded(total: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Return a loss, and leave gradients, that a line search can square.

    A step that goes far too far has a penalty of e^700. L-BFGS interpolates between the
    squares of such numbers, which are infinite, and ends at NaN instead of turning
    back.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    numbers = torch.stack([total, *(g.abs().amax().to(total) for g in gradients)])
    if bool((numbers.abs() < CEILING).all()):
        return total
    for gradient in gradients:
        gradient.nan_to_num_(0.0).clamp_(-CEILING, CEILING)
    return total.nan_to_num(CEILING).clamp(max=CEILING)


def _warn_if_not_empty(path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        return
    file = Path(path)
    if file.is_file() and file.stat().st_size > 0:
        warnings.warn(f"{file} is not empty", stacklevel=3)
