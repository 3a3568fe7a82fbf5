"""Logarithms for compiled loops, which the compiler turns into vector code in float32.

    log(2^n · (1+f)) = n log 2 + f − f²/2 + f³ P(f),    √½ ≤ 1+f < √2

P has degree 7 and an error of 6e-9, so that rounding (1e-7) is what is left.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from pyprobound.kernels._numba import _bits_of_float, _float_of_bits

ROOT_HALF = np.int32(0x3F3504F3)
"""The bits of √½."""

MANTISSA = np.int32(0x007FFFFF)

# as compiled code calls them, without the context that they are declared with
_bits: Any = _bits_of_float
_float: Any = _float_of_bits


def log(value: float) -> float:
    """Return the logarithm of a positive normal number; for use in compiled code."""
    return math.log(value)


def log1p(value: float) -> float:
    """Return that of 1 + value, for 0 ≤ value ≤ 1; for use in compiled code."""
    return math.log1p(value)


@register_jitable
def _log1p_near(f: Any) -> Any:
    """Return log(1+f) in float32 for √½ ≤ 1+f < √2."""
    power = np.float32(-7.634496688842773e-2)
    power = power * f + np.float32(1.276157647371292e-1)
    power = power * f + np.float32(-1.3160182535648346e-1)
    power = power * f + np.float32(1.4201757311820984e-1)
    power = power * f + np.float32(-1.6623356938362122e-1)
    power = power * f + np.float32(2.0001226663589478e-1)
    power = power * f + np.float32(-2.500081956386566e-1)
    power = power * f + np.float32(3.333333134651184e-1)
    square = f * f
    return f + square * (f * power - np.float32(0.5))


@overload(log)
def _log_of_type(value: Any) -> Callable[[Any], Any]:
    if value == types.float32:

        def log32(value: Any) -> Any:
            # int32 is said at each step, as Numba widens sums, which vectors are not
            above = np.int32(_bits(value) - ROOT_HALF)
            whole = np.int32(above >> np.int32(23))
            bits = np.int32(np.int32(above & MANTISSA) + ROOT_HALF)
            near = _log1p_near(_float(bits) - np.float32(1.0))
            return near + np.float32(whole) * np.float32(0.6931471805599453)

        return log32

    def log64(value: Any) -> Any:
        return math.log(value)

    return log64


@overload(log1p)
def _log1p_of_type(value: Any) -> Callable[[Any], Any]:
    if value == types.float32:

        def log1p32(value: Any) -> Any:
            far = value > np.float32(0.41421354)
            half = (value - np.float32(1.0)) * np.float32(0.5)
            near = _log1p_near(half if far else value)
            return near + (np.float32(0.6931471805599453) if far else np.float32(0.0))

        return log1p32

    def log1p64(value: Any) -> Any:
        return math.log1p(value)

    return log1p64
