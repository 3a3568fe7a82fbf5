"""The way down of one fit: by the Fisher information where it can, else by torch.optim.

A motif that begins from noise is scored as it is, and then moved to the best of several
starts. From there each epoch is one step of the trust region, or one epoch of an
optimizer of torch.optim.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeAlias

from pyprobound._epochs import Epochs, EpochSettings
from pyprobound.fisher import (
    TOLERANCE,
    CountObjective,
    ProductObjective,
    TrustRegion,
    choose_start,
    has_information,
    motifs_of_noise,
    trust_region_of,
)
from pyprobound.loss import BaseLoss, Loss, MultiExperimentLoss, T
from pyprobound.table import CountBatch, Table

Region: TypeAlias = TrustRegion[CountObjective] | TrustRegion[ProductObjective]


class _Way(enum.StrEnum):
    """Where a descent is: what its next epoch needs."""

    START = "start"
    NOISE = "noise"
    REGION = "region"
    ENGINE = "engine"


def goes_by_information(
    model: BaseLoss[T], tables: Sequence[object], settings: EpochSettings[T]
) -> bool:
    """Tell whether steps go by the Fisher information, where it is of a size for it."""
    counts = all(isinstance(table, CountBatch) for table in tables)
    return not settings.engine_is_chosen and counts and has_information(model)


class Descent(Generic[T]):
    """Lowers the training loss, epoch by epoch.

    Attributes:
        reason: Why it ended, in words; empty while it goes on.
        passes: How often second-order steps have gone through the training tables.
    """

    def __init__(
        self,
        model: BaseLoss[T],
        train_tables: Sequence[Table[T]],
        epochs: Epochs[T],
        say: Callable[[str], None],
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Prepare for a model as it is: what is trained must not change.

        Args:
            model: The model.
            train_tables: What it is fitted to.
            epochs: How it is scored, and trained by torch.optim.
            say: Is told what happens between epochs.
            tolerance: The predicted decrease that ends a second-order fit.
        """
        self._model, self._tables = model, train_tables
        self._epochs, self._say, self._tolerance = epochs, say, tolerance
        self._train = epochs.loader(train_tables, train=True)
        self._whole = epochs.loader(train_tables, train=False)
        self._by_information = goes_by_information(model, train_tables, epochs.settings)
        self._way = _Way.START
        self._region: Region | None = None
        self._known: Mapping[str, Any] | None = None
        self.reason = ""
        self.passes = 0.0

    @property
    def state(self) -> dict[str, Any]:
        """What it needs, besides the parameters, to go on after the last loss."""
        return {
            "way": self._way.value,
            "region": None if self._region is None else self._region.state,
            "engine": self._epochs.engine_state,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` has been; losses up to it are not yielded again."""
        self._way = _Way(state["way"])
        self._known = state["region"]
        if state["engine"] is not None:
            self._epochs.restore_engine(state["engine"])

    def losses(self) -> Iterator[Loss]:
        """Yield the loss of the training tables at the start and after each epoch."""
        begins = self._way == _Way.START
        if begins and self._by_information and motifs_of_noise(self._model):
            self._way = _Way.NOISE
            yield self._scored(trains_next=False)
        if self._way == _Way.NOISE:
            self._choose_start()
            self._way = _Way.START
        region = self._region = self._trust_region()
        if region is None:
            yield from self._losses_by_engine()
        else:
            yield from self._losses_by_region(region)

    def _scored(self, *, trains_next: bool = True) -> Loss:
        return self._epochs.run(self._whole, train=False, trains_next=trains_next)

    def _losses_by_engine(self) -> Iterator[Loss]:
        if self._way == _Way.START:
            self._way = _Way.ENGINE
            yield self._scored()
        while True:
            self._epochs.run(self._train, train=True)
            yield self._scored()

    def _losses_by_region(self, region: Region) -> Iterator[Loss]:
        before = self.passes
        self._way = _Way.REGION
        if self._known is not None:
            region.resume(self._known)
        try:
            for loss in region.iterate():
                self.passes = before + region.objective.passes
                yield loss
        finally:
            self.passes = before + region.objective.passes
        self.reason = region.reason

    def _choose_start(self) -> None:
        """Let motifs that begin from noise begin from the best of several starts."""
        assert isinstance(self._model, MultiExperimentLoss)
        done = choose_start(self._model, self._counts())
        self.passes += done.passes
        self._say(done.text)

    def _trust_region(self) -> Region | None:
        """Return the second-order fit of what is trained, None where there is none."""
        if not self._by_information:
            return None
        return trust_region_of(self._model, self._counts(), self._tolerance)

    def _counts(self) -> list[CountBatch]:
        """Return the training tables, on the device of the model."""
        device = self._epochs.settings.device
        return [
            table.to(device) for table in self._tables if isinstance(table, CountBatch)
        ]
