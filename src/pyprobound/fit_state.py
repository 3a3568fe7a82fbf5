"""The state of a fit in a file, from which it goes on after the process has ended.

    pyprobound-state FORMAT VERSION SHA256    one line; the checksum is of the rest
    …                                         torch.save of plain data and tensors

The file is replaced whole, never changed, and written no more often than costs a
hundredth of the time.
"""

import hashlib
import io
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyprobound._files import replacing
from pyprobound._version import __version__
from pyprobound.errors import CheckpointError

FORMAT = 1
"""It changes when what is written changes its meaning."""

SHARE = 0.01
"""The part of the time that writing may take."""

_MAGIC = "pyprobound-state"
_HEADER = re.compile(rb"pyprobound-state (\d+) (\S+) ([0-9a-f]{64})\n")
_ANEW = "remove it to begin anew"

Plain = Any
"""Numbers, strings, lists, tuples, dicts and tensors."""


@dataclass(frozen=True)
class FitState:
    """Where a fit is, and all that it needs to go on.

    Attributes:
        levels: What has been entered and not left, the outermost first.
        model: The model's state dict and the tables' flank lengths.
        trained: The names of the parameters that are trained.
        random: The states of the generators of random numbers.
        tally: What has been counted: epochs, seconds and the like.
        settings: What the result depends on, as text; it must be the same.
        circumstances: What its last digits depend on, as text.
        about: What the caller keeps beside it.
    """

    levels: list[dict[str, Plain]]
    model: dict[str, Plain]
    trained: list[str]
    random: dict[str, Plain]
    tally: dict[str, Plain]
    settings: dict[str, str]
    circumstances: dict[str, str]
    about: dict[str, Plain] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """How many epochs have been reported."""
        return int(self.tally["events"])

    @property
    def ends(self) -> int:
        """How many ends of fits have been reported."""
        return int(self.tally.get("ends", 0))  # which were not reported always

    @property
    def seconds(self) -> float:
        """How long the fit had taken."""
        return float(self.tally["seconds"])


class StateFile:
    """A file that holds the state of one fit.

    Attributes:
        path: The file.
        about: Plain data that is written with every state.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        about: Mapping[str, Plain] | None = None,
        *,
        share: float = SHARE,
    ) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            path: The file.
            about: Numbers, strings, lists and dicts to be kept with the state.
            share: The part of the time that writing may take; `math.inf` writes after
                every epoch.
        """
        self.path = Path(path)
        self.about = dict(about or {})
        self._share = share
        self._due = 0.0

    def exists(self) -> bool:
        """Tell whether there is such a file."""
        return self.path.exists()

    def remove(self) -> None:
        """Remove the file, if it is there."""
        self.path.unlink(missing_ok=True)

    def keep(self, make: Callable[[], FitState], *, now: bool = False) -> None:
        """Write the state, unless that would take more than its share of the time.

        Args:
            make: Returns the state.
            now: Whether to write in any case.

        Raises:
            PyProBoundError: The file cannot be written.
        """
        start = time.perf_counter()
        if start < self._due and not now:
            return
        self._write(make())
        end = time.perf_counter()
        self._due = end + (end - start) / self._share

    def _write(self, state: FitState) -> None:
        buffer = io.BytesIO()
        # not asdict(), which would copy every tensor
        torch.save({each.name: getattr(state, each.name) for each in _FIELDS}, buffer)
        content = buffer.getbuffer()
        checksum = hashlib.sha256(content).hexdigest()
        with replacing(self.path) as file:
            file.write(f"{_MAGIC} {FORMAT} {__version__} {checksum}\n".encode())
            file.write(content)

    def read(self) -> FitState:
        """Return the state that was written last.

        Raises:
            CheckpointError: The file is missing, damaged, no state of a fit, or one in
                another format.
        """
        try:
            written = self.path.read_bytes()
        except OSError as error:
            msg = f"{self.path}: cannot be read ({error.strerror}); nothing to go on"
            raise CheckpointError(msg) from error
        header = _HEADER.match(written)
        if header is None:
            begun = written.startswith(_MAGIC.encode()[: max(1, len(written))])
            what = "cut short" if begun or not written else "not the state of a fit"
            msg = f"{self.path}: {what}; {_ANEW}"
            raise CheckpointError(msg)
        number, version, checksum = (each.decode() for each in header.groups())
        if int(number) != FORMAT:
            msg = (
                f"{self.path}: in format {number}, of pyprobound {version}; this is"
                f" {__version__}, which knows format {FORMAT}: go on with that version,"
                f" or {_ANEW}"
            )
            raise CheckpointError(msg)
        content = memoryview(written)[header.end() :]
        if hashlib.sha256(content).hexdigest() != checksum:
            msg = f"{self.path}: cut short or damaged; {_ANEW}"
            raise CheckpointError(msg)
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return FitState(**loaded)


_FIELDS = fields(FitState)


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return what differs between two mappings, as ``key: old → new``."""
    missing = "nothing"
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: {old.get(key, missing)} → {new.get(key, missing)}"
        for key in keys
        if key not in old or key not in new or old[key] != new[key]
    ]


# --- random numbers ----------------------------------------------------------------


def random_state() -> dict[str, Plain]:
    """Return the states of PyTorch's, NumPy's and Python's global generators."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 samplers may use it
    state = {
        "torch": torch.get_rng_state(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Plain]) -> None:
    """Put the global generators back into a state of `random_state`."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002 the state that libraries share
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
