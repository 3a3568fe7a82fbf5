"""What the Numba kernels share: how they are compiled, announced and spread on threads.

A kernel is a function of arrays that works through a stretch of the probes without
holding Python's lock. Each stretch has sums of its own, which are added in order: with
as many threads, and so as many stretches, the bits are the same.
"""

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any]
Jitted: TypeAlias = Any
"""A compiled function: Numba's dispatchers carry no types."""

logger = logging.getLogger("pyprobound")

ANNOUNCED_AFTER = 1.0
"""Seconds of compiling after which it is said."""

LEAST_PROBES = 256
"""Probes for which another thread is worth its start."""

STRETCHES_PER_THREAD = 4
"""Stretches of the probes for each thread: their sums are small, waiting is not."""

# not ninf: −∞ is a score; nnan: no kernel makes NaN of what is no NaN
FAST_MATH = {"contract", "reassoc", "nsz", "nnan", "arcp"}

jit: Callable[[Callable[..., Any]], Jitted] = numba.njit(
    nogil=True, cache=True, fastmath=FAST_MATH, error_model="numpy"
)
"""Compile a kernel, once per machine: the result is kept on disk."""

inline: Callable[[Callable[..., Any]], Jitted] = numba.njit(
    nogil=True, cache=True, fastmath=FAST_MATH, error_model="numpy", forceinline=True
)
"""Compile a part of a kernel into it.

A call would pass each array as seven numbers; and what is called is compiled on its
own, so that the bits may depend on whether it was loaded from disk.
"""


# == running ==========================================================================


def run(
    kernel: Jitted, n_probes: int, arguments: Callable[[int, slice], tuple[Any, ...]]
) -> None:
    """Run a kernel on every stretch of the probes.

    Args:
        kernel: Made with `jit`; changes the arrays it is given.
        n_probes: Number of probes.
        arguments: Maps the number of a stretch, and its probes, to the arguments.
    """
    calls = [arguments(i, rows) for i, rows in enumerate(stretches(n_probes))]
    if not calls:
        return
    _compile(kernel, calls[0])
    todo = deque(calls)

    def work() -> None:
        while todo:
            try:
                call = todo.popleft()
            except IndexError:  # another thread was quicker
                return
            kernel(*call)

    n_threads = min(torch.get_num_threads(), len(calls))
    others = [_pool(n_threads - 1).submit(work) for _ in range(n_threads - 1)]
    work()
    for each in others:
        each.result()


def stretches(n_probes: int) -> list[slice]:
    """Return stretches of the probes, a few for each thread that torch may use.

    A thread takes the next one when it is ready, so that none waits long for a slower
    one; what belongs to which stretch, and so the bits of a sum, does not depend on it.
    """
    n_threads = torch.get_num_threads()
    wanted = 1 if n_threads == 1 else STRETCHES_PER_THREAD * n_threads
    number = max(1, min(wanted, n_probes // LEAST_PROBES))
    ends = [n_probes * i // number for i in range(number + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends) if stop > start]


@lru_cache(maxsize=1)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="pyprobound")


# Threads do not survive a fork: a child makes its own.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _compile(kernel: Jitted, arguments: Sequence[Any]) -> None:
    """Compile a kernel for such arguments, or load it, before threads race to it."""
    kinds = (kernel, *map(_kind, arguments))
    if kinds in _compiled:
        return
    with _announced():
        kernel.compile(tuple(map(numba.typeof, arguments)))
    _compiled.add(kinds)


_compiled: set[tuple[object, ...]] = set()
"""What was compiled or loaded: Numba's own look at the types takes 0.1 ms a call."""


def _kind(argument: object) -> object:
    """Return what tells the types of arguments apart that Numba tells apart."""
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, argument.flags.c_contiguous
    return type(argument)


@contextmanager
def _announced() -> Iterator[None]:
    """Say that a compilation is going on, once in a process, if it takes long."""
    timer = threading.Timer(ANNOUNCED_AFTER, _announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@lru_cache(maxsize=1)
def _announce() -> None:
    logger.warning(
        "compiling kernels for this machine; the result is kept for later runs"
    )


def array_of(tensor: Tensor) -> Array:
    """Return the values of a CPU tensor as a contiguous array, shared if possible."""
    array: Array = tensor.detach().contiguous().numpy()
    return array


# == elementary functions =============================================================


@intrinsic
def _float_of_bits(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _double_of_bits(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _bits_of_float(context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


def exp(value: float) -> float:
    """Exponentiate a value ≤ 0, −∞ included; for use in compiled code.

    The compiler turns loops of it into vector code, which it cannot do with the C
    library's: 2^n times e^f, |f| ≤ ½ log 2, by a polynomial; relative error 2e-7 in
    float32, 4e-16 in float64; 0 where the value is no normal number.
    """
    return math.exp(value)


@overload(exp, inline="always")
def _exp_of_type(value: Any) -> Callable[[Any], Any]:
    if value == types.float32:

        def exp32(value: Any) -> Any:
            scaled = max(value, np.float32(-87.0)) * np.float32(1.4426950408889634)
            whole = np.floor(scaled + np.float32(0.5))
            f = scaled - whole
            power = np.float32(1.535336188319500e-4)
            power = power * f + np.float32(1.339887440266574e-3)
            power = power * f + np.float32(9.618437357674640e-3)
            power = power * f + np.float32(5.550332471162809e-2)
            power = power * f + np.float32(2.402264791363012e-1)
            power = power * f + np.float32(6.931472028550421e-1)
            power = power * f + np.float32(1.0)
            bits = (np.int32(whole) + np.int32(127)) << np.int32(23)
            small = value < np.float32(-87.0)
            return np.float32(0.0) if small else power * _float_of_bits(bits)  # type: ignore[call-arg]

        return exp32

    def exp_of_other(value: Any) -> Any:
        return math.exp(value)

    if value != types.float64:
        return exp_of_other

    def exp64(value: Any) -> Any:
        near = max(value, -708.0)
        whole = np.floor(near * 1.4426950408889634 + 0.5)
        # log 2 in two parts, the first of which times a whole number is exact
        f = near - whole * 0.693147180369123816490
        f = f - whole * 1.90821492927058770002e-10
        power = 1 / 6227020800.0 * f + 1 / 479001600.0
        power = power * f + 1 / 39916800.0
        power = power * f + 1 / 3628800.0
        power = power * f + 1 / 362880.0
        power = power * f + 1 / 40320.0
        power = power * f + 1 / 5040.0
        power = power * f + 1 / 720.0
        power = power * f + 1 / 120.0
        power = power * f + 1 / 24.0
        power = power * f + 1 / 6.0
        power = power * f + 0.5
        power = power * f * f + f + 1.0
        bits = (np.int64(np.int32(whole)) + np.int64(1023)) << np.int64(52)
        small = value < -708.0
        return 0.0 if small else power * _double_of_bits(bits)  # type: ignore[call-arg]

    return exp64
