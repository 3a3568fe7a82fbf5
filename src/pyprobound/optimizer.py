"""Fitting a model to tables: all at once, or one binding after the other.

The best model so far is kept: in a checkpoint on disk whenever the loss improves, and
in the model itself when a fit ends, is interrupted, or fails.
"""

import contextlib
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pyprobound._descent import goes_by_information
from pyprobound._epochs import Epochs, EpochSettings
from pyprobound._finite import why_not_finite
from pyprobound._levels import (
    FitLevel,
    GreedyLevel,
    SequentialLevel,
    SimultaneousLevel,
    StageLevel,
    Tally,
)
from pyprobound._one_fit import TOLERANCE, Limits, OneFit, Told
from pyprobound._progress import EndEvent, Place, ProgressEvent
from pyprobound._resumption import Resumption, model_as_text, tables_as_text
from pyprobound._typing import FileLike
from pyprobound.aggregate import Aggregate
from pyprobound.base import Call, Spec, Step
from pyprobound.errors import PyProBoundError
from pyprobound.fisher import TOLERANCE as FINE_TOLERANCE
from pyprobound.fisher import choose_frame, grown_motifs
from pyprobound.fit_state import StateFile
from pyprobound.layers.psam import PSAM
from pyprobound.loss import BaseLoss, Loss, MultiExperimentLoss, T
from pyprobound.procedure import Stage, format_plan, is_improved, make_plan
from pyprobound.structure import (
    Snapshot,
    apply_edit,
    check_lengths,
    expected_contributions,
    flank_lengths,
    keep_contributions,
    set_flank_lengths,
)
from pyprobound.table import Batch, CountBatch, MultitaskLoader, Table

__all__ = ["EndEvent", "Optimizer", "ProgressEvent"]

_NEVER = torch.tensor(torch.inf)
_STDOUT = cast("io.TextIOBase", sys.stdout)


class Optimizer(Generic[T]):
    """Fits a model to tables and keeps the best one.

    Attributes:
        model: The model; holds the best parameters when a fit ends.
        train_tables: One table for each of its components.
        val_tables: Held-out tables that decide which model is best, or None.
        state: The file that a killed fit goes on from, or None.
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
        state: str | os.PathLike[str] | StateFile | None = None,
        on_end: Callable[[EndEvent], None] | None = None,
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
            state: Where the state of a fit is kept, see `resume`; by default nowhere.
            on_end: Called when a fit has ended, or a step is refused, with the reason.

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
        self.on_end = on_end
        self._tolerance = FINE_TOLERANCE
        self.model.to(device=self.device, dtype=dtype)
        self._place = Place()
        self._epochs = self._new_epochs()
        self.state = StateFile(state) if isinstance(state, str | os.PathLike) else state
        self._resumption = Resumption(
            self.state, model, self._all_tables, self.device, self._what_decides
        )
        for name, tables in (("train", self.train_tables), ("val", self.val_tables)):
            self._check_tables(name, tables)
        self.check_length_consistency()
        if self.state is None or not self.state.exists():
            for path in (checkpoint, output):
                _warn_if_not_empty(path)

    @property
    def reason(self) -> str:
        """Why the last fit ended, in words."""
        return self._tally.reason

    @property
    def passes(self) -> float:
        """How often second-order fits have gone through the training tables."""
        return self._tally.passes

    @property
    def _tally(self) -> Tally:
        return self._resumption.tally

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
        check_lengths(self.model, self._all_tables)

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
        chosen = self._epoch_settings.engine_class.__name__
        if goes_by_information(self.model, self.train_tables, self._epoch_settings):
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

    # --- going on with a fit that was killed -----------------------------------------

    def resume(self) -> bool:
        """Let the next fit go on from the state file, if there is one.

            optimizer = Optimizer(model, tables, state="fit.state")
            optimizer.resume()
            optimizer.train_sequential()

        does the same however often the program is killed: model, tables and optimizer
        are made as they were at first, and the same call is made; it goes on after the
        last epoch in the file and ends with the same result, bit for bit where
        versions, threads and machine are the same. The file is written after every
        epoch, but takes no more than a hundredth of the time; it holds one call of
        `train_sequential`, `train_simultaneous` or the like, and at the end its result.
        Samplers must draw from the global generators of PyTorch, NumPy or Python.

        Returns:
            Whether there is a state to go on from.

        Raises:
            CheckpointError: It is damaged, or of a fit with other settings.
        """
        found = self._resumption.resume()
        if found:
            tally = self._tally
            self.print(
                f"### Resumed after {tally.events} epochs, {tally.seconds:.1f} s"
            )
        return found

    def _what_decides(self) -> dict[str, str]:
        """Return what the result depends on, of a model as it was built."""
        return {
            "epochs": str(self.epochs),
            "patience": str(self.patience),
            "greedy_threshold": str(self.greedy_threshold),
            **self._epoch_settings.as_text(),
            **model_as_text(self.model),
            **tables_as_text("train", self.train_tables),
            **tables_as_text("val", self.val_tables or []),
        }

    # --- one fit -------------------------------------------------------------------

    @property
    def _epoch_settings(self) -> EpochSettings[T]:
        return EpochSettings(
            self.batch_size,
            self.sampler,
            self.sampler_args,
            self.optimizer,
            self.optim_args,
            self.use_amp,
            self.device,
        )

    def _new_epochs(self, *, remembers: bool = False) -> Epochs[T]:
        return Epochs(
            self.model, self.train_tables, self._epoch_settings, remembers=remembers
        )

    def run_one_epoch(self, train: bool, dataloader: MultitaskLoader[T]) -> Loss:
        """Go through the batches once.

        Args:
            train: Whether to train on them.
            dataloader: Batches of every table.

        Returns:
            The mean loss of the batches, before training on each of them.
        """
        return self._epochs.run(dataloader, train=train)

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
        with self._resumption.level(FitLevel(best=float(best_loss))) as level:
            if not level.ended:
                self._fit(level, checkpoint)
                self._report_end(self.reason, level)
            return torch.tensor(level.best, dtype=torch.float64)

    def _fit(self, level: FitLevel, checkpoint: FileLike | None) -> None:
        def keep(loss: float) -> None:
            if loss < self._tally.bar:
                self.save(self.checkpoint if checkpoint is None else checkpoint)
                self._tally.bar_is_beaten |= checkpoint is None

        self._epochs = self._new_epochs(remembers=True)
        fit = OneFit(
            self.model,
            self.train_tables,
            self.val_tables or [],
            self._epochs,
            Limits(self.epochs, self.patience, self._tolerance),
            Told(keep, self._report, lambda text: self.print(f"\t\t{text}")),
        )
        fit.run(level, self._resumption)

    def _report(self, epoch: int, loss: Loss, val: float | None, best: bool) -> None:
        event = ProgressEvent(
            binding=self._place.binding,
            step=self._place.step,
            call=self._place.call,
            epoch=epoch,
            train_loss=float(loss.negloglik),
            train_regularization=float(loss.regularization),
            val_loss=val,
            best=best,
            seconds=self._tally.seconds,
        )
        self.print(f"\t\t{event}")
        self._tally.events += 1
        if self.on_progress is not None:
            self.on_progress(event)

    def _report_end(self, ended: str, level: FitLevel | None = None) -> None:
        """Tell why a fit has ended, or why a step has none."""
        event = EndEvent(
            binding=self._place.binding,
            step=self._place.step,
            call=self._place.call,
            epoch=None if level is None else level.epoch,
            loss=None if level is None else level.best,
            ended=ended,
            seconds=self._tally.seconds,
        )
        self._tally.ends += 1
        if self.on_end is not None:
            self.on_end(event)

    # --- whole procedures ----------------------------------------------------------

    def train_simultaneous(self, best_loss: Tensor = _NEVER) -> Tensor:
        """Train everything at once.

        Contributions that are absent are given their share first.

        Args:
            best_loss: What a model must beat to be kept.

        Returns:
            The best loss.

        Raises:
            PyProBoundError: No loss is finite; the message names the cause.
        """
        start = SimultaneousLevel(best=float(best_loss))
        with self._resumption.level(start) as level:
            if not level.ended:
                if not self._resumption.is_resuming:
                    self._let_all_in()
                self._place = Place(call=f"{self.model}.unfreeze(parameter=all)")
                level.best = float(self.train_until_convergence(best_loss=best_loss))
            return self._checked(level.best)

    def _checked(self, loss: float) -> Tensor:
        """Return the loss of a whole procedure, which is finite."""
        if not math.isfinite(loss):
            tables = cast("list[Batch]", self._all_tables)
            reason = why_not_finite(cast("BaseLoss[Batch]", self.model), tables)
            raise PyProBoundError(f"no fit has a finite loss: {reason}")
        return torch.tensor(loss, dtype=torch.float64)

    def _let_all_in(self) -> None:
        for module in list(self.model.modules()):
            if isinstance(module, Aggregate):
                for contribution in module.components():
                    if contribution.is_absent:
                        module.activity_heuristic(contribution)
        self.model.unfreeze()
        self.print(self.get_parameter_string())

    def run_step(self, step: Step) -> None:
        """Make the calls of a step.

        Raises:
            ValueError: One is refused; nothing is changed then.
        """
        apply_edit(step.calls, self.model, self._all_tables)

    def greedy_search(self, step: Step, best_loss: Tensor = _NEVER) -> Tensor:
        """Repeat a step as long as the loss falls by more than greedy_threshold.

        The expected contributions are kept constant across the edit. A step that is
        refused, or that does not gain enough, is undone exactly. A footprint is shifted
        at most by its own length: a fit that does not converge gains with every shift.

        Args:
            step: The step.
            best_loss: The loss of the model as it is.

        Returns:
            The best loss.
        """
        start = GreedyLevel(what=_text_of(step), best=float(best_loss))
        with self._resumption.level(start) as level:
            while not level.ended and self._goes_on(step, level):
                pass
            return torch.tensor(level.best, dtype=torch.float64)

    def _goes_on(self, step: Step, level: GreedyLevel) -> bool:
        """Try a greedy step once; tell whether the loss falls by enough."""
        is_new = not self._resumption.is_resuming
        if is_new and not self._edits(step, level):
            return False
        before = level.before
        assert before is not None
        try:
            if is_new:
                self._choose_frame(step)
            with self._resumption.level(FitLevel()) as fit:
                self._fit(fit, io.BytesIO())
        except BaseException:
            before.restore(self.model, self._all_tables)
            raise
        loss, gain = fit.best, level.best - fit.best
        if not is_improved(level.best, loss, self.greedy_threshold):
            before.restore(self.model, self._all_tables)
            asked = f"{self.greedy_threshold:.2g} is asked for"
            self._judged(f"undone: a gain of {gain:.2g}, and {asked}", fit)
            return False
        level.best = loss
        level.accepted += 1
        if loss < self._tally.bar:
            self.save(self.checkpoint)
            self._tally.bar_is_beaten = True
        self._judged(f"accepted: a gain of {gain:.2g}", fit)
        return level.accepted < _most_repeats(step)

    def _judged(self, verdict: str, fit: FitLevel) -> None:
        """Tell what has become of a greedy step."""
        self.print(f"\t\t{verdict}")
        self._report_end(f"{self.reason}; {verdict}", fit)

    def _edits(self, step: Step, level: GreedyLevel) -> bool:
        """Make the edit of a greedy step; tell whether there is anything to fit."""
        before = level.before = Snapshot.of(self.model, self._all_tables)
        expected = expected_contributions(self.model)
        try:
            self.run_step(step)
        except ValueError as error:
            return self._without_fit(f"refused: {error}")
        if self._is_unchanged(before):
            return self._without_fit("converged: the edit changes nothing")
        keep_contributions(expected)
        return True

    def _without_fit(self, reason: str) -> bool:
        """Tell why a greedy step leaves nothing to fit."""
        self._tally.reason = reason
        self.print(f"\t\t{reason}")
        self._report_end(reason)
        return False

    def _choose_frame(self, step: Step) -> None:
        """Let motifs that have grown lie a position to either side, if that is better.

        Unequal growth is a minimum apart, to which steps do not lead.
        """
        grown = grown_motifs(step.calls)
        tables: Sequence[object] = self.train_tables
        if grown and goes_by_information(self.model, tables, self._epoch_settings):
            assert isinstance(self.model, MultiExperimentLoss)
            counts = [
                table.to(self.device)
                for table in tables
                if isinstance(table, CountBatch)
            ]
            done = choose_frame(self.model, counts, grown)
            self._tally.passes += done.passes
            self.print(f"\t\t{done.text}")

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

        Raises:
            PyProBoundError: No loss is finite; the message names the cause.
        """
        stages = make_plan(self.model, order) if plan is None else list(plan)
        what = f"{format_plan(stages)}\nmaintain_loss={maintain_loss}"
        with self._resumption.level(SequentialLevel(what=what)) as level:
            while level.stage < len(stages):
                stage = stages[level.stage]
                is_last = level.stage == len(stages) - 1
                with self._guarding(level), self._ending_within(is_last=is_last):
                    best_loss = self.run_stage(stage, maintain_loss=maintain_loss)
                    if math.isfinite(level.best):  # the model without it is to be kept
                        self._checked(float(best_loss))
                self.save(self.checkpoint)
                level.stage, level.best = level.stage + 1, float(best_loss)
            return self._checked(level.best)

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
    def _guarding(self, level: SequentialLevel) -> Iterator[None]:
        """Keep the model as it is, here and on disk, until a stage has a better one."""
        tally = self._tally
        if not self._resumption.is_resuming:
            level.before = Snapshot.of(self.model, self._all_tables)
            tally.bar, tally.bar_is_beaten = level.best, False
        before = level.before
        assert before is not None
        try:
            yield
        except BaseException:
            if not tally.bar_is_beaten:
                before.restore(self.model, self._all_tables)
            raise
        finally:
            tally.bar = math.inf

    def run_stage(self, stage: Stage, *, maintain_loss: bool = True) -> Tensor:
        """Run the steps of one stage of a plan.

        Args:
            stage: The stage, from `make_plan`.
            maintain_loss: See `train_sequential`.

        Returns:
            The best loss.
        """
        self.print(f"### Binding: {stage.title}")
        what = f"{stage}\nmaintain_loss={maintain_loss}"
        with self._resumption.level(StageLevel(what=what)) as level:
            while level.step < len(stage.steps):
                level.best = self._run_step_of(stage, level, maintain_loss)
                level.step += 1
            return torch.tensor(level.best, dtype=torch.float64)

    def _run_step_of(
        self, stage: Stage, level: StageLevel, maintain_loss: bool
    ) -> float:
        """Run one step of a stage; return the best loss."""
        step, number = stage.steps[level.step], level.step
        text = _text_of(step)
        self._place = Place(stage.title, number, text)
        self.print(f"\tStep {number}: {text}")
        best_loss = torch.tensor(level.best, dtype=torch.float64)
        with self._ending_within(is_last=number == len(stage.steps) - 1):
            if step.greedy:
                return float(self.greedy_search(step, best_loss))
            if not self._resumption.is_resuming:
                self.run_step(step)
            # A new binding begins above the loss of the model without it.
            bar = best_loss if maintain_loss and number > 0 else _NEVER
            return float(self.train_until_convergence(best_loss=bar))


def _most_repeats(step: Step) -> int:
    """Return how often a greedy step may be accepted; what grows ends by itself."""
    sizes = [
        call.cmpt.kernel_size
        for call in step.calls
        if isinstance(call.cmpt, PSAM)
        and call.kwargs.get("left_shift", 0) + call.kwargs.get("right_shift", 0) == 0
    ]
    return max(sizes, default=sys.maxsize)


def _text_of(step: Step) -> str:
    return "; ".join(map(str, step.calls))


def _warn_if_not_empty(path: object) -> None:
    if not isinstance(path, str | os.PathLike):
        return
    file = Path(path)
    if file.is_file() and file.stat().st_size > 0:
        warnings.warn(f"{file} is not empty", stacklevel=3)
