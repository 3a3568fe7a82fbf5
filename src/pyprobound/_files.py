"""Writing files so that a crash or an interruption never leaves half of one."""

import atexit
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pyprobound.errors import PyProBoundError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` once it is complete.

    The bytes go to a temporary name in the same folder, reach the disk (fsync), and
    are then renamed; where anything fails, `path` stays as it was. A device such as
    /dev/null, or a pipe, is written to: it must not become a file.

    Raises:
        PyProBoundError: The folder is missing or cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    _UNFINISHED.add(temporary)
    try:
        if _is_special(target):
            with target.open("wb") as device:
                yield device
            return
        # "x": a file of that name, however unlikely, is somebody else's
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        msg = f"{target}: cannot be written ({error.strerror}); choose another place"
        raise PyProBoundError(msg) from error
    finally:
        _remove(temporary)


def _is_special(path: Path) -> bool:
    """Tell whether a path is a device, a pipe or a socket."""
    return path.exists() and not (path.is_file() or path.is_dir())


# A signal may find the program between two lines of `replacing`, where no `finally`
# covers it. What was begun is therefore noted before it exists, and gone at the end.
_UNFINISHED: set[Path] = set()


@atexit.register
def _remove_unfinished() -> None:
    for each in tuple(_UNFINISHED):
        _remove(each)


def _remove(temporary: Path) -> None:
    # where it was never made, or the folder has gone, there is nothing to remove
    with suppress(OSError):
        temporary.unlink()
    _UNFINISHED.discard(temporary)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one piece, or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
