"""Which implementation of the kernels runs: a switch, a variable, and what is there.

    reference   PyTorch, everywhere; it defines what is right
    numba       compiled loops on the CPU
    triton      compiled kernels on CUDA (or, interpreted, on the CPU: for tests)
    auto        the fastest that works here; the reference where there is little to do

Nothing is imported before it is needed. An implementation that cannot be loaded is
named in one warning, and the reference does its work.
"""

import os
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Literal, get_args
from warnings import warn

import torch

from pyprobound.errors import PyProBoundError

BACKEND_VARIABLE = "PYPROBOUND_BACKEND"
INTERPRET_VARIABLE = "TRITON_INTERPRET"

LITTLE_WORK = 2**16
"""Scores below which "auto" does not load a compiler: the reference takes 1 ms."""

Backend = Literal["auto", "numba", "reference", "triton"]
Kernel = Literal[
    "dimer_posterior",
    "log_sum_dimers",
    "log_sum_windows",
    "selection",
    "selection_information",
    "window_features",
    "window_posterior",
    "window_scores",
]


WITHOUT_TRITON: tuple[Kernel, ...] = (
    "dimer_posterior",
    "selection_information",
    "window_posterior",
)
"""Kernels that PyTorch computes on CUDA: parts of a pass over the information."""


@dataclass
class _State:
    """What `use_backend` asked for, and which implementations cannot be loaded."""

    asked: Backend | None = None
    broken: set[str] = field(default_factory=set)


_state = _State()


class _Undo:
    """Goes back to the switch before, if it is used in a `with` statement."""

    def __init__(self, before: Backend | None) -> None:
        self._before = before

    def __enter__(self) -> None:
        """Begin: the switch is already set."""

    def __exit__(self, *_: object) -> None:
        _state.asked = self._before


def use_backend(name: Backend) -> _Undo:
    """Choose the implementation of the kernels, from now on or for a `with` statement.

        pyprobound.use_backend("reference")
        with pyprobound.use_backend("numba"):
            ...

    The environment variable PYPROBOUND_BACKEND chooses where this function was not
    called; without either, it is "auto". Values agree to rounding whatever is chosen.

    Args:
        name: "auto", "numba", "reference" or "triton". What cannot run on the device of
            a tensor (Numba on CUDA) leaves it to the reference.

    Returns:
        A context manager that goes back to the choice before.

    Raises:
        PyProBoundError: (a ValueError) There is no such implementation.
    """
    before = _state.asked
    _state.asked = _checked(name, "use_backend")
    return _Undo(before)


def backend() -> Backend:
    """Return the name that is chosen now.

    Raises:
        PyProBoundError: PYPROBOUND_BACKEND names no implementation.
    """
    if _state.asked is not None:
        return _state.asked
    return _checked(os.environ.get(BACKEND_VARIABLE, "auto"), BACKEND_VARIABLE)


def _checked(name: str, where: str) -> Backend:
    known: tuple[Backend, ...] = get_args(Backend)
    for each in known:
        if name == each:
            return each
    raise PyProBoundError(
        f"{where}: there is no backend {name!r}; choose one of {', '.join(known)}"
    )


def implementation(
    kernel: Kernel, device: torch.device, n_scores: int
) -> ModuleType | None:
    """Return the module that is to compute a kernel, None for the reference.

    Args:
        kernel: Name of the folder of the kernel.
        device: Where its arguments lie.
        n_scores: How many scores are computed.
    """
    name = _name_for(backend(), device, n_scores)
    if name == "reference" or name in _state.broken:
        return None
    if name == "triton" and kernel in WITHOUT_TRITON:
        return None
    try:
        return import_module(f"pyprobound.kernels.{kernel}._{name}")
    except Exception as error:  # noqa: BLE001 whatever a broken installation raises
        _state.broken.add(name)
        warn(
            f"{name} cannot be used here ({type(error).__name__}: {error}); PyTorch"
            " computes the same, several times slower",
            RuntimeWarning,
            stacklevel=4,
        )
        return None


def _name_for(asked: Backend, device: torch.device, n_scores: int) -> str:
    on_cpu = device.type == "cpu"
    if asked == "auto":
        if n_scores < LITTLE_WORK or device.type not in {"cpu", "cuda"}:
            return "reference"
        return "numba" if on_cpu else "triton"
    if asked == "numba":
        return "numba" if on_cpu else "reference"
    if asked == "triton" and on_cpu and os.environ.get(INTERPRET_VARIABLE) != "1":
        return "reference"
    return asked
