"""Files take the place of others whole, or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyprobound._files import replacing, write_text
from pyprobound.errors import PyProBoundError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with replacing(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(error), replacing(target) as file:
        file.write(b"half of the n")
        raise error
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_a_failure_leaves_no_new_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / "out.bin") as file:
        file.write(b"half")
        raise KeyError
    assert names(tmp_path) == []


def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    message = r"^.*out\.bin: cannot be written \(No space left.*\); choose .*$"
    with pytest.raises(PyProBoundError, match=message), replacing(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", ["missing", "a file"])
def test_a_folder_that_cannot_be_written_is_named(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    target = tmp_path / folder / "out.bin"
    with (
        pytest.raises(PyProBoundError, match=r"out\.bin: cannot be written") as caught,
        replacing(target),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o027, 0o640)])
def test_permissions_are_those_of_any_new_file(
    mask: int, expected: int, tmp_path: Path
) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "out.txt", "text")
        assert os.umask(mask) == mask  # and the mask is left alone
    finally:
        os.umask(before)
    assert (tmp_path / "out.txt").stat().st_mode & 0o777 == expected


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    text = "−ΔΔG/RT\nsecond line\n"
    write_text(str(tmp_path / "out.txt"), text)
    assert (tmp_path / "out.txt").read_bytes() == text.encode()


def test_a_pipe_or_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with replacing(pipe) as file:
            file.write(b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_what_no_handler_covered_is_removed_at_the_end(tmp_path: Path) -> None:
    # as a signal does between two lines of the program: nobody closes the context
    script = """
import os
from pyprobound import _files
begun = _files.replacing("out.bin")
begun.__enter__().write(b"half")
assert len(_files._UNFINISHED) == len(os.listdir()) == 1
os.kept = begun, begun.gen.gi_frame  # neither is closed before the end
"""
    subprocess.run([sys.executable, "-c", script, "out.bin"], cwd=tmp_path, check=True)
    assert names(tmp_path) == []
