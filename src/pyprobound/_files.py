"""Writing files so that a crash or an interruption never leaves half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyprobound.errors import PyProBoundError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` once it is complete.

    The bytes go to a temporary name in the same folder, reach the disk (fsync), and
    are then renamed; where anything fails, `path` stays as it was.

    Raises:
        PyProBoundError: The folder is missing or cannot be written.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}."
        )
    except OSError as error:
        msg = f"{target}: cannot be written ({error.strerror}); choose another place"
        raise PyProBoundError(msg) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _make_readable(temporary)
        Path(temporary).replace(target)
    except OSError as error:
        msg = f"{target}: cannot be written ({error.strerror}); choose another place"
        raise PyProBoundError(msg) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _make_readable(path: str) -> None:
    # mkstemp makes files for the owner alone; give what open() would have given.
    mask = os.umask(0)
    os.umask(mask)
    Path(path).chmod(0o666 & ~mask)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one piece, or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
