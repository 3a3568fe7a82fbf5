"""What a person sees of a fit: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.status import Status

from pyprobound.optimizer import ProgressEvent

_EVERY = 10.0  # seconds between plain lines of one step


class Progress(Protocol):
    """Takes the events of a fit, within a with statement."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the last line."""

    def __call__(self, event: ProgressEvent) -> None:
        """Take an event."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish."""

    def __call__(self, event: ProgressEvent) -> None:
        """Take an event."""


class Lines(Silent):
    """Prints one line when a step ends, and every ten seconds of a long one."""

    def __init__(self, file: TextIO) -> None:
        """Print to a text file."""
        self._file = file
        self._last: ProgressEvent | None = None
        self._shown: ProgressEvent | None = None
        self._since = time.monotonic()

    def __call__(self, event: ProgressEvent) -> None:
        """Print the last event of a step that has ended, or a step that takes long."""
        last = self._last
        if last is not None and is_new_fit(last, event):
            self._print(last)
        self._last = event
        if time.monotonic() - self._since > _EVERY:
            self._print(event)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Print the last event."""
        if self._last is not None:
            self._print(self._last)

    def _print(self, event: ProgressEvent) -> None:
        if event is not self._shown:
            print(described(event), file=self._file, flush=True)
        self._shown, self._since = event, time.monotonic()


class Live(Silent):
    """Keeps one line up to date and leaves one behind for each step."""

    def __init__(self) -> None:
        """Show on the terminal of standard error."""
        console = Console(stderr=True, highlight=False)
        self._status = Status("reading the first batch", console=console)
        self._last: ProgressEvent | None = None

    def __enter__(self) -> Self:
        """Show the line."""
        self._status.start()
        return self

    def __call__(self, event: ProgressEvent) -> None:
        """Update the line."""
        if self._last is not None and is_new_fit(self._last, event):
            self._status.console.print(described(self._last), markup=False)
        self._last = event
        # brackets are rich's markup
        self._status.update(described(event).replace("[", r"\["))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Replace the line by a last one that stays."""
        self._status.stop()
        if self._last is not None:
            self._status.console.print(described(self._last), markup=False)


def is_new_fit(last: ProgressEvent, event: ProgressEvent) -> bool:
    """Tell whether an event begins another step, or the same greedy step again."""
    places = [(each.binding, each.step) for each in (last, event)]
    return places[0] != places[1] or event.epoch <= last.epoch


def described(event: ProgressEvent) -> str:
    """Return an event as one line."""
    total = event.train_loss + event.train_regularization
    held_out = "" if event.val_loss is None else f", held out {event.val_loss:.6f}"
    return (
        f"{event.seconds:7.1f} s  {event.binding} step {event.step}"
        f" epoch {event.epoch}: loss {total:.6f}{held_out}"
    )


def progress_for(file: TextIO, *, quiet: bool) -> Progress:
    """Return what shows a fit, given where standard error goes."""
    if quiet:
        return Silent()
    return Live() if file.isatty() else Lines(file)
