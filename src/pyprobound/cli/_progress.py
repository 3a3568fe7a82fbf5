"""What a person sees of a fit: a live line on a terminal, plain lines elsewhere."""

import dataclasses
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.status import Status

from pyprobound.optimizer import EndEvent, ProgressEvent

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

    def end(self, event: EndEvent) -> None:
        """Take the end of a fit."""


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

    def end(self, event: EndEvent) -> None:
        """Take the end of a fit."""


class Lines(Silent):
    """Prints one line when a step ends, and every ten seconds of a long one."""

    def __init__(self, file: TextIO) -> None:
        """Print to a text file."""
        self._file = file
        self._last: ProgressEvent | None = None
        self._shown: ProgressEvent | None = None
        self._since = time.monotonic()

    def __call__(self, event: ProgressEvent) -> None:
        """Print an event of a step that takes long."""
        self._last = event
        if time.monotonic() - self._since > _EVERY:
            self._print(event)

    def end(self, event: EndEvent) -> None:
        """Print how a step has ended."""
        print(ending(self._last, event), file=self._file, flush=True)
        self._last, self._since = None, time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Print the last event of a step that was interrupted."""
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
        self._last = event
        # brackets are rich's markup
        self._status.update(described(event).replace("[", r"\["))

    def end(self, event: EndEvent) -> None:
        """Leave a line behind."""
        text = ending(self._last, event)
        self._status.console.print(text, markup=False, soft_wrap=True)
        self._last = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Replace the line; what was interrupted leaves its last one behind."""
        self._status.stop()
        if self._last is not None:
            self._status.console.print(described(self._last), markup=False)


def described(event: ProgressEvent) -> str:
    """Return an event as one line."""
    total = event.train_loss + event.train_regularization
    held_out = "" if event.val_loss is None else f", held out {event.val_loss:.6f}"
    return (
        f"{event.seconds:7.1f} s  {event.binding} step {event.step}"
        f" epoch {event.epoch}: loss {total:.6f}{held_out}"
    )


def ending(last: ProgressEvent | None, event: EndEvent) -> str:
    """Return the end of a fit as one line.

    Args:
        last: Its last epoch, if there was any since it was begun or gone on with.
        event: Its end.
    """
    if last is None:
        place = f"{event.seconds:7.1f} s  {event.binding} step {event.step}"
        return f"{place}: {event.ended}"
    at_the_end = dataclasses.replace(last, seconds=event.seconds)
    return f"{described(at_the_end)}; {event.ended}"


def progress_for(file: TextIO, *, quiet: bool) -> Progress:
    """Return what shows a fit, given where standard error goes."""
    if quiet:
        return Silent()
    return Live() if file.isatty() else Lines(file)
