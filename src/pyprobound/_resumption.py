"""Going on with a fit from its state on disk.

A procedure enters levels within levels – all stages, a stage, a greedy step, one fit –
and each level notes what it needs to be entered again: which step it is at, the loss to
beat, the model to go back to. The state is written between epochs. To go on, the same
call is made for a model that was built the same way: it runs down the same levels, each
of which starts from its notes and skips what was done before; when the innermost one is
reached, the model, the random numbers and the counts take over from the file.
"""

import platform
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Generic

import numpy as np
import torch

from pyprobound._chunking import memory_budget
from pyprobound._levels import Level, LevelT, Tally, level_of, plain, snapshot_of
from pyprobound._version import __version__
from pyprobound.errors import CheckpointError
from pyprobound.fit_state import (
    FitState,
    StateFile,
    differences,
    random_state,
    set_random_state,
)
from pyprobound.kernels._backends import backend
from pyprobound.loss import BaseLoss, T
from pyprobound.structure import Snapshot, set_flank_lengths
from pyprobound.table import Table


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
        self._ahead = deque(map(level_of, found.levels))
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
            if self._file.exists() and not self._settings:
                msg = f"{self._file.path}: the fit in it was not resumed; it is lost"
                warnings.warn(msg, stacklevel=6)
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
        """Let model, tables and random numbers be as in the file."""
        assert self._found is not None
        assert self._file is not None
        snapshot = snapshot_of(self._found.model)
        try:
            self._model.reload_from_state_dict(snapshot.state)
        except CheckpointError as error:
            msg = f"{self._file.path}: {error}"
            raise CheckpointError(msg) from None
        set_flank_lengths(self._tables, snapshot.flanks)
        trained = set(self._found.trained)
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(name in trained)
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
            model=plain(Snapshot.of(model, self._tables)),
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


def model_as_text(model: BaseLoss[T]) -> dict[str, str]:
    """Return the settings of a loss, and the shape and precision of its parameters."""
    parameters = {
        f"parameter {name}": f"{tuple(parameter.shape)} {parameter.dtype}"
        for name, parameter in model.named_parameters()
    }
    return {"loss": " ".join(model.get_setup_string().split()), **parameters}


def tables_as_text(kind: str, tables: Sequence[Table[T]]) -> dict[str, str]:
    """Return the size of tables."""
    found = {}
    for index, table in enumerate(tables):
        reads = getattr(table, "counts_per_round", None)
        shown = "" if reads is None else f", reads {[float(x) for x in reads]}"
        found[f"{kind} table {index}"] = f"{len(table)} probes{shown}"
    return found
