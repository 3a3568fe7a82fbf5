"""One fit: epoch after epoch, until the loss does not improve any more."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch

from pyprobound._descent import Descent
from pyprobound._epochs import Epochs
from pyprobound._finite import n_finite
from pyprobound._levels import FitLevel
from pyprobound._resumption import Resumption
from pyprobound.loss import BaseLoss, Loss, T
from pyprobound.structure import Snapshot
from pyprobound.table import Table

TOLERANCE = 1e-6
"""A full-batch epoch that gains less loss per read than this ends a fit."""


@dataclass(frozen=True)
class Limits:
    """When a fit ends at the latest.

    Attributes:
        epochs: The most epochs.
        patience: Epochs without improvement.
        tolerance: The predicted decrease that ends a second-order fit.
    """

    epochs: int
    patience: int
    tolerance: float


@dataclass(frozen=True)
class Told:
    """Whom a fit tells of what it does.

    Attributes:
        better: Is called when there is a better model, with its loss.
        epoch: Is called after every epoch, with its number, the training loss, the
            held-out loss, and whether the model is the best so far.
        words: Is called with what there is to say.
    """

    better: Callable[[float], None]
    epoch: Callable[[int, Loss, float | None, bool], None]
    words: Callable[[str], None]


class OneFit(Generic[T]):
    """A fit of what is trained now; the best model is left in the model at the end."""

    def __init__(
        self,
        model: BaseLoss[T],
        train_tables: Sequence[Table[T]],
        val_tables: Sequence[Table[T]],
        epochs: Epochs[T],
        limits: Limits,
        told: Told,
    ) -> None:
        """Prepare; what is trained must not change until the fit has run.

        Args:
            model: The model.
            train_tables: What it is fitted to.
            val_tables: What decides which model is best; none, if training loss does.
            epochs: How the model is trained and scored.
            limits: When it ends.
            told: Whom it tells.
        """
        self._model, self._tables = model, [*train_tables, *val_tables]
        self._epochs, self._limits, self._told = epochs, limits, told
        self._descent = Descent(
            model, train_tables, epochs, told.words, tolerance=limits.tolerance
        )
        self._held_out = epochs.loader(val_tables, train=False) if val_tables else None

    def run(self, level: FitLevel, resumption: Resumption[T]) -> None:
        """Fit, from the start or from where an earlier process was.

        Args:
            level: Where the fit is; at the end, the best loss.
            resumption: Keeps it after every epoch, and says why the fit ended.
        """
        tally, descent = resumption.tally, self._descent
        if level.epoch >= 0:
            descent.resume(level.descent)
            # What draws batches may have drawn numbers when it was made.
            resumption.restore_random()
        else:
            level.kept = Snapshot.of(self._model, self._tables)
        passes, losses = tally.passes, descent.losses()
        reason = self._end(level) if level.epoch >= 0 else ""
        try:
            while not reason:
                loss = next(losses, None)
                if loss is None:
                    reason = descent.reason
                    break
                self._take(level, loss)
                level.descent = descent.state
                tally.passes = passes + descent.passes
                resumption.keep()
                reason = self._end(level)
            tally.reason = reason
        finally:
            tally.passes = passes + descent.passes
            self._epochs.forget()
            assert level.kept is not None
            level.kept.restore(self._model, self._tables)
        self._told.words(f"{reason}; best loss {level.best:.7g}")

    def _take(self, level: FitLevel, loss: Loss) -> None:
        """Take the loss after an epoch; keep the model if it is the best."""
        val = None
        if self._held_out is not None:
            val = float(self._epochs.run(self._held_out, train=False).negloglik)
        level.epoch += 1
        level.last = level.current
        level.current = float(loss.negloglik + loss.regularization)
        if self._is_diverged(level):
            level.current = math.nan
        # Held-out probes judge models that can be: of a finite objective.
        judges = val is not None and math.isfinite(level.current)
        value = val if val is not None and judges else level.current
        improved = value < level.best
        if improved:
            level.best, level.waited = value, 0
            level.kept = Snapshot.of(self._model, self._tables)
            self._told.better(value)
        elif level.epoch > 0:
            level.waited += 1
        self._told.epoch(level.epoch, loss, val, improved)

    def _is_diverged(self, level: FitLevel) -> bool:
        """Tell whether a parameter has left the finite numbers."""
        assert level.kept is not None
        names = [name for name, _ in self._model.named_parameters()]
        before = n_finite(level.kept.state[name] for name in names)
        return n_finite(self._model.parameters()) < before

    def _end(self, level: FitLevel) -> str:
        """Return why the fit has ended, in words; nothing while it goes on."""
        gain = level.last - level.current
        if not any(p.requires_grad for p in self._model.parameters()):
            return "converged: nothing to train"
        if math.isnan(level.current):
            return (
                "stuck: the loss, or a parameter, is not a number; the best model is"
                " kept"
            )
        if level.waited >= self._limits.patience:
            return f"converged: no improvement in {level.waited} epochs"
        if level.epoch > 0 and self._is_line_search and abs(gain) < TOLERANCE:
            return f"converged: the last epoch gained {gain:.1g}"
        if level.epoch >= self._limits.epochs:
            return f"budget: {self._limits.epochs} epochs"
        return ""

    @property
    def _is_line_search(self) -> bool:
        """Whether an epoch is a call of L-BFGS on whole tables."""
        whole = not self._epochs.settings.batch_size
        return whole and isinstance(self._epochs.engine, torch.optim.LBFGS)
