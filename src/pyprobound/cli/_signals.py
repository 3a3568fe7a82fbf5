"""Turning SIGINT and SIGTERM into an exception that unwinds a fit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked the fit to stop.

    Attributes:
        number: Which signal.
    """

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a process ended by the signal exits with: 130 or 143."""
        return 128 + self.number


@contextmanager
def raised_signals() -> Iterator[None]:
    """Raise `Interrupted` where the first signal finds the program.

    A second signal ends the process as if nothing caught it.
    """

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 as signal asks
        for each in _CAUGHT:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {each: signal.signal(each, stop) for each in _CAUGHT}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
