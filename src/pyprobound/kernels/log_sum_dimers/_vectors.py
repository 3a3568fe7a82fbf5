"""Vectors of 8 float32 or 4 float64 for compiled code, held in registers.

What the compiler makes of a loop over neighbours in memory has to load and store at
every step what it adds to. A product of matrices is twice as fast if a patch of the
result stays in registers for the whole sum, which takes vectors by name. They are
LLVM's: on a processor with shorter registers, one of them is several of its own.

    zeros(array)
    load(array, i, j)          array[i, j : j + width(array)]
    store(array, i, j, x)
    repeat(array, i, j)        array[i, j] in every place
    multiply_add(x, y, z)      x · y + z
    larger(x, y)
    add_up(x)                  the sum of its places

of two-dimensional C-contiguous arrays and unsigned 64-bit indices.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import register_model

N_BYTES = 32

# without the types of the functions that generate code: those of their values differ
intrinsic: Callable[..., Any] = extending.intrinsic

_CONTRACT = ("contract",)  # a product and a sum may become one instruction


class _Vector(types.Type):
    """Numba's type of such a vector."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.width = N_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    """How it is kept: as LLVM's vector."""

    def __init__(self, manager: Any, kind: _Vector) -> None:
        of = manager.lookup(kind.dtype).get_data_type()
        super().__init__(manager, kind, ir.VectorType(of, kind.width))


def _place(context: Any, builder: Any, kind: Any, arguments: Any) -> Any:
    """Return the pointer to array[i, j]."""
    array, i, j = arguments[:3]
    array = context.make_array(kind)(context, builder, array)
    _, columns = cgutils.unpack_tuple(builder, array.shape, 2)
    return builder.gep(array.data, [builder.add(builder.mul(i, columns), j)])


@intrinsic
def width(context: Any, array: Any) -> Any:
    """Return the number of places of a vector of the array's type."""
    n_places = _Vector(array.dtype).width

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.IntType(64), n_places)

    return types.uint64(array), generate


@intrinsic
def zeros(context: Any, array: Any) -> Any:
    """Return a vector of zeros."""
    vector = _Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), [0.0] * vector.width)

    return vector(array), generate


@intrinsic
def load(context: Any, array: Any, i: Any, j: Any) -> Any:
    """Return array[i, j : j + width]."""
    vector = _Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        kind = context.get_value_type(vector).as_pointer()
        n_bytes = array.dtype.bitwidth // 8
        return builder.load(builder.bitcast(place, kind), align=n_bytes)

    return vector(array, types.uint64, types.uint64), generate


@intrinsic
def store(context: Any, array: Any, i: Any, j: Any, x: Any) -> Any:
    """Write x to array[i, j : j + width]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        value = arguments[3]
        n_bytes = array.dtype.bitwidth // 8
        kind = value.type.as_pointer()
        builder.store(value, builder.bitcast(place, kind), align=n_bytes)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64, x), generate


@intrinsic
def repeat(context: Any, array: Any, i: Any, j: Any) -> Any:
    """Return array[i, j] in every place."""
    vector = _Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        kind = context.get_value_type(vector)
        nothing = ir.Constant(kind, ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(nothing, builder.load(place), first)
        return builder.shuffle_vector(one, nothing, _places([0] * vector.width))

    return vector(array, types.uint64, types.uint64), generate


@intrinsic
def multiply_add(context: Any, x: Any, y: Any, z: Any) -> Any:
    """Return x · y + z."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.fmul(arguments[0], arguments[1], flags=_CONTRACT)
        return builder.fadd(product, arguments[2], flags=_CONTRACT)

    return x(x, y, z), generate


@intrinsic
def larger(context: Any, x: Any, y: Any) -> Any:
    """Return the larger of each place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return x(x, y), generate


@intrinsic
def add_up(context: Any, x: Any) -> Any:
    """Return the sum of the places, halves first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (rest,) = arguments
        n_places = x.width
        while n_places > 1:
            n_places //= 2
            low = builder.shuffle_vector(rest, rest, _places(range(n_places)))
            upper = _places(range(n_places, 2 * n_places))
            high = builder.shuffle_vector(rest, rest, upper)
            rest = builder.fadd(low, high)
        return builder.extract_element(rest, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), generate


def _places(numbers: Any) -> Any:
    """Return a constant that picks places of a vector."""
    chosen = list(numbers)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
