"""Going on with a fit from its state on disk.

A procedure enters levels within levels – all stages, a stage, a greedy step, one fit –
and each level notes what it needs to be entered again: which step it is at, the loss to
beat, the model to go back to. The state is written between epochs. To go on, the same
call is made for a model that was built the same way: it runs down the same levels, each
of which starts from its notes and skips what was done before; when the innermost one is
reached, the model, the random numbers and the counts take over from the file.
"""

import platform
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch

from pyprobound._chunking import memory_budget
from pyprobound._version import __version__
from pyprobound.errors import CheckpointError
from pyprobound.fit_state import (
    FitState,
    Plain,
    StateFile,
    differences,
    random_state,
    set_random_state,
)
from pyprobound.kernels._backends import backend
from pyprobound.loss import BaseLoss, T
from pyprobound.structure import Snapshot, set_flank_lengths
from pyprobound.table import Table

# --- levels ------------------------------------------------------------------------


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
        return {"call": self.call, **{key: _plain(x) for key, x in values.items()}}


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
    """

    call = "greedy_search"

    before: Snapshot | None = None


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


def _plain(value: object) -> Plain:
    if isinstance(value, Snapshot):
        return {"state": value.state, "flanks": value.flanks}
    return value


def _level_of(content: Mapping[str, Plain]) -> Level:
    """Return the level that `Level.plain` has described."""
    values = {key: x for key, x in content.items() if key != "call"}
    for key in ("before", "kept"):
        if values.get(key) is not None:
            values[key] = _snapshot_of(values[key])
    return _KINDS[content["call"]](**values)


def _snapshot_of(content: Mapping[str, Plain]) -> Snapshot:
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
        bar: The loss that a model must beat to replace the checkpoint.
        bar_is_beaten: Whether one has.
        started: When the clock of the fit stood at 0, in time.monotonic().
    """

    reason: str = "not fitted yet"
    passes: float = 0.0
    events: int = 0
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


# --- keeping and going on ----------------------------------------------------------


class Resumption(Generic[T]):
    """Keeps the state of a fit in a file, and goes on from it.

    Attributes:
        tally: What is counted.
    """

    def __init__(
        self,
        file: StateFile | None,
        model: BaseLoss[T],
        tables: Sequence[Table[T]],
        device: torch.device,
        settings: Callable[[], dict[str, str]],
    ) -> None:
        """Begin outside of all levels.

        Args:
            file: Where the state is kept; None keeps nothing.
            model: The model.
            tables: All tables whose flanks change with the model.
            device: Where the fit runs.
            settings: Returns what the result depends on, for a model as it was built.
        """
        self.tally = Tally()
        self._file, self._model, self._tables = file, model, tables
        self._device, self._settings_now = device, settings
        self._settings: dict[str, str] = {}
        self._circumstances: dict[str, str] = {}
        self._entered: list[Level] = []
        self._ahead: deque[Level] = deque()
        self._found: FitState | None = None

    @property
    def is_resuming(self) -> bool:
        """Whether levels are ahead that were entered before, and so have been begun."""
        return bool(self._ahead)

    def resume(self) -> bool:
        """Let the next level that is entered go on from the file.

        Returns:
            Whether there is a state to go on from.

        Raises:
            CheckpointError: It cannot be read, or is of another fit.
        """
        if self._file is None or not self._file.exists():
            return False
        found = self._file.read()
        changes = differences(found.settings, self._settings_now())
        if changes:
            msg = (
                f"{self._file.path}: the fit has changed since: {'; '.join(changes)};"
                " change it back, or remove the file to begin anew"
            )
            raise CheckpointError(msg)
        self._circumstances = circumstances(self._device)
        self._warn_of(differences(found.circumstances, self._circumstances))
        self._found, self._settings = found, found.settings
        self._ahead = deque(map(_level_of, found.levels))
        self.tally.adopt(found.tally)
        return True

    def _warn_of(self, changes: Sequence[str]) -> None:
        if changes and self._file is not None:
            msg = (
                f"{self._file.path}: not quite as before: {'; '.join(changes)};"
                " the last digits of the result may differ"
            )
            warnings.warn(msg, stacklevel=4)

    @contextmanager
    def level(self, fresh: LevelT) -> Iterator[LevelT]:
        """Enter a level: a fresh one, or the one that was left where the file was kept.

        The state of the outermost level is kept when it begins and when it has ended.

        Args:
            fresh: The level if nothing was done yet.

        Raises:
            CheckpointError: The file is of another call.
        """
        resumed = self.is_resuming
        level = self._next(fresh) if resumed else fresh
        is_outermost = not self._entered
        self._entered.append(level)
        try:
            if is_outermost and not resumed:
                self._begin()
            yield level
            if is_outermost:
                level.ended = True
                self.keep(now=True)
        finally:
            self._entered.pop()

    def _begin(self) -> None:
        if self._file is not None:
            self._settings = self._settings_now()
            self._circumstances = circumstances(self._device)
        self.keep(now=True)

    def _next(self, fresh: LevelT) -> LevelT:
        assert self._file is not None
        level = self._ahead.popleft()
        if not isinstance(level, type(fresh)) or level.what != fresh.what:
            self._ahead.clear()
            other = "another plan" if isinstance(level, type(fresh)) else "another call"
            msg = (
                f"{self._file.path}: of {other} ({level.call}), not of this"
                f" {fresh.call}; make the same call again, or remove the file"
            )
            raise CheckpointError(msg)
        if not self._ahead:
            self._restore()
        return level

    def _restore(self) -> None:
        """Let model, tables, random numbers and counts be as in the file."""
        assert self._found is not None
        assert self._file is not None
        snapshot = _snapshot_of(self._found.model)
        try:
            self._model.reload_from_state_dict(snapshot.state)
        except CheckpointError as error:
            msg = f"{self._file.path}: {error}"
            raise CheckpointError(msg) from None
        set_flank_lengths(self._tables, snapshot.flanks)
        trained = set(self._found.trained)
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in trained)
        self.tally.adopt(self._found.tally)
        self.restore_random()

    def restore_random(self) -> None:
        """Let random numbers go on as they did from the state that was read."""
        if self._found is not None:
            set_random_state(self._found.random)

    def keep(self, *, now: bool = False) -> None:
        """Write the state of all levels that are entered.

        Args:
            now: Whether to write however much time it takes.
        """
        if self._file is not None:
            self._file.keep(self._state, now=now)

    def _state(self) -> FitState:
        assert self._file is not None
        model = self._model
        return FitState(
            levels=[level.plain() for level in self._entered],
            model=_plain(Snapshot.of(model, self._tables)),
            trained=[n for n, p in model.named_parameters() if p.requires_grad],
            random=random_state(),
            tally=self.tally.plain(),
            settings=self._settings,
            circumstances=self._circumstances,
            about=self._file.about,
        )


def circumstances(device: torch.device) -> dict[str, str]:
    """Return what the last digits of a fit depend on."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "none"
    return {
        "pyprobound": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "numba": numba,
        "kernels": backend(),
        "threads": str(torch.get_num_threads()),
        "memory budget": str(memory_budget()),
        "device": str(device),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }
