"""Where a procedure is: the levels it has entered, and what is counted on the way.

Stages, steps, repetitions and epochs are levels within levels. What each of them needs
to be entered again by another process is kept here, as plain data for a file.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

import torch

from pyprobound.fit_state import Plain
from pyprobound.structure import Snapshot


@dataclass
class Level:
    """What one level of a procedure needs to be entered again.

    Attributes:
        call: The method of the optimizer whose level it is.
        what: What it was called for, as text; the same is expected again.
        best: The loss to beat.
        ended: Whether there is nothing left to do.
    """

    call: ClassVar[str]

    what: str = ""
    best: float = torch.inf
    ended: bool = False

    def plain(self) -> dict[str, Plain]:
        """Return it as plain data."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"call": self.call, **{key: plain(x) for key, x in values.items()}}


@dataclass
class SimultaneousLevel(Level):
    """Everything at once."""

    call = "train_simultaneous"


@dataclass
class SequentialLevel(Level):
    """The stages of a plan.

    Attributes:
        stage: The number of the stage.
        before: The model as it was before the stage.
    """

    call = "train_sequential"

    stage: int = 0
    before: Snapshot | None = None


@dataclass
class StageLevel(Level):
    """The steps of a stage.

    Attributes:
        step: The number of the step.
    """

    call = "run_stage"

    step: int = 0


@dataclass
class GreedyLevel(Level):
    """A step that is repeated.

    Attributes:
        before: The model as it was before the last repetition.
        accepted: Repetitions that gained enough.
    """

    call = "greedy_search"

    before: Snapshot | None = None
    accepted: int = 0


@dataclass
class FitLevel(Level):
    """One fit.

    Attributes:
        epoch: The number of the last epoch; −1 is before the first evaluation.
        current: The loss after it.
        last: The loss before it.
        waited: Epochs since the loss has improved.
        kept: The best model so far.
        descent: Where the way down is, see `Descent.state`.
    """

    call = "train_until_convergence"

    epoch: int = -1
    current: float = torch.inf
    last: float = torch.inf
    waited: int = 0
    kept: Snapshot | None = None
    descent: dict[str, Plain] = field(default_factory=dict)


LevelT = TypeVar("LevelT", bound=Level)
_KINDS: Mapping[str, type[Level]] = {
    kind.call: kind
    for kind in (SimultaneousLevel, SequentialLevel, StageLevel, GreedyLevel, FitLevel)
}


def plain(value: object) -> Plain:
    if isinstance(value, Snapshot):
        return {"state": value.state, "flanks": value.flanks}
    return value


def level_of(content: Mapping[str, Plain]) -> Level:
    """Return the level that `Level.plain` has described."""
    values = {key: x for key, x in content.items() if key != "call"}
    for key in ("before", "kept"):
        if values.get(key) is not None:
            values[key] = snapshot_of(values[key])
    return _KINDS[content["call"]](**values)


def snapshot_of(content: Mapping[str, Plain]) -> Snapshot:
    flanks = tuple((left, right) for left, right in content["flanks"])
    return Snapshot(content["state"], flanks)


# --- what is counted ---------------------------------------------------------------


@dataclass
class Tally:
    """What an optimizer counts and remembers across levels.

    Attributes:
        reason: Why the last fit ended, in words.
        passes: How often second-order fits have gone through the training tables.
        events: Epochs that have been reported.
        ends: Ends of fits that have been reported.
        bar: The loss that a model must beat to replace the checkpoint.
        bar_is_beaten: Whether one has.
        started: When the clock of the fit stood at 0, in time.monotonic().
    """

    reason: str = "not fitted yet"
    passes: float = 0.0
    events: int = 0
    ends: int = 0
    bar: float = torch.inf
    bar_is_beaten: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the fit has taken."""
        return time.monotonic() - self.started

    def plain(self) -> dict[str, Plain]:
        """Return it as plain data, with seconds for a clock that others know."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["started"]
        return {**values, "seconds": self.seconds}

    def adopt(self, content: Mapping[str, Plain]) -> None:
        """Take over what `plain` returned."""
        for key, value in content.items():
            if key != "seconds":
                setattr(self, key, value)
        self.started = time.monotonic() - content["seconds"]
