"""`pyprobound fit --resume`: what a run directory knows of a fit that was begun."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyprobound.config import Document, read_config
from pyprobound.errors import PyProBoundError
from pyprobound.fit_state import FitState, StateFile, differences
from pyprobound.run_directory import RunDirectory, moved

_UNIMPORTANT = ("output", "table")  # sha256 says which tables


@dataclass(frozen=True)
class Past:
    """What was done of a fit before.

    Attributes:
        is_finished: Whether all of it.
        state: Where it was, if that was written.
    """

    is_finished: bool
    state: FitState | None

    @property
    def seconds(self) -> float:
        """How long it had taken."""
        return 0.0 if self.state is None else self.state.seconds

    @property
    def events(self) -> int:
        """How many of its epochs are known."""
        return 0 if self.state is None else self.state.events

    @property
    def lines(self) -> int:
        """How many lines of its log are known."""
        return 0 if self.state is None else self.state.events + self.state.ends

    @property
    def started(self) -> str | None:
        """When it was begun, if that is known."""
        return None if self.state is None else str(self.state.about["started"])

    @property
    def resumed(self) -> int:
        """How often it has been gone on with."""
        return 0 if self.state is None else int(self.state.about["resumed"])


def past_of(run: RunDirectory, document: Document) -> Past:
    """Return what was done in a run directory of the fit that a configuration asks for.

    Raises:
        PyProBoundError: Nothing was begun there, or with another configuration; the
            message names what differs.
    """
    if not run.config.exists():
        msg = f"{run.path}: no fit was begun here; leave out --resume to begin one"
        raise PyProBoundError(msg)
    is_finished = _is_complete(run)
    file = StateFile(run.state)
    state = file.read() if file.exists() and not is_finished else None
    if state is None:
        before = configuration(run, read_config(run.config))
    else:
        before = state.about.get("config", {})
    changes = differences(_flat(before), _flat(configuration(run, document)))
    if changes:
        msg = (
            f"{run.path}: begun with another configuration: {'; '.join(changes)};"
            " change it back, or begin anew with --force"
        )
        raise PyProBoundError(msg)
    return Past(is_finished, state)


@contextmanager
def held(run: RunDirectory) -> Iterator[None]:
    """Let no other fit run in a folder, which is made if it is not there.

    Raises:
        PyProBoundError: One is running there, or the folder cannot be made.
    """
    if not run.path.exists():
        run.make()
    handle = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        msg = f"{run.path}: a fit is running here; wait for it, or stop it first"
        raise PyProBoundError(msg) from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(handle)


def configuration(run: RunDirectory, document: Document) -> dict[str, Any]:
    """Return a configuration as it is kept with the state of a fit."""
    return moved(document, run.path).model_dump(exclude_none=True)


def _is_complete(run: RunDirectory) -> bool:
    try:
        content = json.loads(run.result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("interrupted") is False


def _flat(content: object, path: str = "") -> dict[str, object]:
    """Return the values of nested tables by keys such as modes[1].size."""
    if isinstance(content, Mapping):
        dot = "." if path else ""
        entries = [
            (f"{path}{dot}{key}", value)
            for key, value in content.items()
            if key not in _UNIMPORTANT
        ]
    elif isinstance(content, list) and any(isinstance(x, Mapping) for x in content):
        entries = [(f"{path}[{index}]", value) for index, value in enumerate(content)]
    else:
        return {path: content}
    return {
        key: value
        for place, below in entries
        for key, value in _flat(below, place).items()
    }
