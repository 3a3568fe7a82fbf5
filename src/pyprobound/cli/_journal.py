"""The journal of a fit: its events in log.jsonl, and a summary of each step."""

import dataclasses
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pyprobound._files import write_text
from pyprobound.cli._resume import Past
from pyprobound.optimizer import EndEvent, ProgressEvent
from pyprobound.report import Json, finite


@dataclass
class Journal:
    """Keeps the events of a fit: each one in a file, and a summary of each step."""

    file: TextIO | None = None
    steps: list[dict[str, Json]] = field(default_factory=list)
    last: ProgressEvent | None = None

    def __call__(self, event: ProgressEvent) -> None:
        """Take an event."""
        numbers = self._written(event)
        if self.last is None or _is_new_fit(self.last, event):
            self.steps.append({})
        step = self.steps[-1]
        if event.best or not step:
            step |= numbers
        step |= {"epoch": event.epoch, "seconds": event.seconds}
        step.pop("best", None)
        self.last = event

    def end(self, event: EndEvent) -> None:
        """Take the end of a fit."""
        numbers = self._written(event)
        if event.epoch is None:  # nothing was fitted
            nothing = dict.fromkeys(("train_loss", "train_regularization", "val_loss"))
            del numbers["loss"]
            self.steps.append({**numbers, **nothing})
            return
        if self.steps:  # unless the log was lost
            self.steps[-1] |= {"seconds": event.seconds, "ended": event.ended}

    def _written(self, event: ProgressEvent | EndEvent) -> dict[str, Json]:
        """Write an event into the file; return it as JSON has it."""
        numbers = {key: _jsonable(x) for key, x in dataclasses.asdict(event).items()}
        if self.file is not None:
            print(json.dumps(numbers, ensure_ascii=False), file=self.file, flush=True)
        return numbers

    def interrupted(self, reason: str) -> None:
        """Say of the last step, if it has not ended, that it was interrupted."""
        if self.steps:
            self.steps[-1].setdefault("ended", reason)


@contextmanager
def journal_in(path: Path, past: Past | None) -> Iterator[Journal]:
    """Yield the journal of a fit: with the events of the past, and with no others.

    Args:
        path: Where the events are, and will be.
        past: What was done of the fit before.
    """
    journal = Journal()
    known = _lines_of(past, path) if past else []
    for line in known:
        _tell(journal, json.loads(line))
    write_text(path, "".join(known))
    with path.open("a", encoding="utf-8") as journal.file:
        yield journal


def _lines_of(past: Past, path: Path) -> list[str]:
    """Return the lines of events that the state of a fit knows of."""
    lines = []
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    known = [line for line in lines[: past.lines] if line.endswith("\n")]
    if len(known) < past.lines:
        msg = f"{path}: lacks {past.lines - len(known)} of {past.lines} lines"
        warnings.warn(msg, stacklevel=2)
    return known


def _tell(journal: Journal, numbers: dict[str, Any]) -> None:
    """Let a journal take the event that a line tells of."""
    if "ended" in numbers:
        journal.end(EndEvent(**numbers))
        return
    for key in ("train_loss", "train_regularization"):
        if numbers[key] is None:
            numbers[key] = math.nan
    journal(ProgressEvent(**numbers))


def _is_new_fit(last: ProgressEvent, event: ProgressEvent) -> bool:
    """Tell whether an event begins another step, or the same greedy step again."""
    places = [(each.binding, each.step) for each in (last, event)]
    return places[0] != places[1] or event.epoch <= last.epoch


def _jsonable(value: object) -> Json:
    """Return a field of an event as JSON has it."""
    if isinstance(value, float):
        return finite(value)
    assert value is None or isinstance(value, bool | int | str)
    return value
