"""What the user is told when something is wrong, and with which exit code."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from pyprobound.errors import PyProBoundError

BAD_INPUT = 2
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as of a process that the signal has ended
_INTERRUPTED = 130  # 128 + SIGINT


@contextmanager
def told() -> Iterator[None]:
    """Tell the user of bad input in one line (exit code 2), of warnings likewise."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        raise SystemExit(_INTERRUPTED) from None
    except BrokenPipeError:
        # who reads our output has gone; let Python's last flush find no pipe either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(_BROKEN_PIPE) from None
    except PyProBoundError as error:
        _say(f"error: {error}")
        raise SystemExit(BAD_INPUT) from None


@contextmanager
def wanting_plots() -> Iterator[None]:
    """Say how to install what pictures need, where it is missing.

    Raises:
        PyProBoundError: It is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in {"jinja2", "matplotlib"}:
            raise
        raise PyProBoundError(
            f"pictures need {error.name}, which is not installed: pip install"
            " 'pyprobound-engine[plots]'"
        ) from None


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001 where in the code it comes from helps no user
    lineno: int,  # noqa: ARG001 likewise
    file: TextIO | None = None,
    line: str | None = None,  # noqa: ARG001 likewise
) -> None:
    """Show a warning for the user as one line; others are for developers."""
    if category is UserWarning:
        print(f"warning: {' '.join(str(message).split())}", file=file or sys.stderr)
