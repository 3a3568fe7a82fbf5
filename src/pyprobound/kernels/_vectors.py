"""Vectors for compiled code, held in registers.

What the compiler makes of a loop over neighbours in memory has to load and store at
every step what it adds to, and what it makes of two or three channels are single
numbers. Vectors by name are what it cannot find. They are LLVM's: on a processor with
shorter registers, one of them is several of its own.

Of two-dimensional C-contiguous arrays, vectors of 8 float32 or 4 float64:

    zeros(array)
    load(array, i, j)          array[i, j : j + width(array)]
    store(array, i, j, x)
    repeat(array, i, j)        array[i, j] in every place

Of one-dimensional contiguous arrays that hold entries of a few numbers each, as many as
the tuple `lanes` has, which compiled code knows:

    no_entry(array, lanes)     zeros
    entry(array, i, lanes)     entry i
    set_entry(array, i, x)
    doubled(x)                 the same in float64
    scaled(factor, x)          factor · x, a number of the same type

Of all of them:

    plus(x, y)
    times(x, y)
    multiply_add(x, y, z)      x · y + z
    larger(x, y)
    add_up(x)                  the sum of its places

All indices are unsigned 64-bit numbers.
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
    """Numba's type of a vector."""

    def __init__(self, dtype: Any, width: int) -> None:
        self.dtype = dtype
        self.width = width
        super().__init__(name=f"Vector({dtype}, {width})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    """How it is kept: as LLVM's vector."""

    def __init__(self, manager: Any, kind: _Vector) -> None:
        of = manager.lookup(kind.dtype).get_data_type()
        super().__init__(manager, kind, ir.VectorType(of, kind.width))


# == of two-dimensional arrays ========================================================


def _whole(array: Any) -> _Vector:
    """Return the type of the longest vector of an array's numbers."""
    return _Vector(array.dtype, N_BYTES * 8 // array.dtype.bitwidth)


def _place(context: Any, builder: Any, kind: Any, arguments: Any) -> Any:
    """Return the pointer to array[i, j]."""
    array, i, j = arguments[:3]
    array = context.make_array(kind)(context, builder, array)
    _, columns = cgutils.unpack_tuple(builder, array.shape, 2)
    return builder.gep(array.data, [builder.add(builder.mul(i, columns), j)])


@intrinsic
def width(context: Any, array: Any) -> Any:
    """Return the number of places of a vector of the array's type."""
    n_places = _whole(array).width

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.IntType(64), n_places)

    return types.uint64(array), generate


@intrinsic
def zeros(context: Any, array: Any) -> Any:
    """Return a vector of zeros."""
    vector = _whole(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), [0.0] * vector.width)

    return vector(array), generate


@intrinsic
def load(context: Any, array: Any, i: Any, j: Any) -> Any:
    """Return array[i, j : j + width]."""
    vector = _whole(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        return _load(context, builder, place, vector)

    return vector(array, types.uint64, types.uint64), generate


@intrinsic
def store(context: Any, array: Any, i: Any, j: Any, x: Any) -> Any:
    """Write x to array[i, j : j + width]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        _store(builder, place, arguments[3], array.dtype)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64, x), generate


@intrinsic
def repeat(context: Any, array: Any, i: Any, j: Any) -> Any:
    """Return array[i, j] in every place."""
    vector = _whole(array)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature.args[0], arguments)
        kind = context.get_value_type(vector)
        return _repeated(builder, builder.load(place), kind)

    return vector(array, types.uint64, types.uint64), generate


# == of entries =======================================================================


def _start(context: Any, builder: Any, kind: Any, arguments: Any, lanes: int) -> Any:
    """Return the pointer to an entry of so many numbers."""
    array, i = arguments[:2]
    array = context.make_array(kind)(context, builder, array)
    first = builder.mul(i, ir.Constant(ir.IntType(64), lanes))
    return builder.gep(array.data, [first])


@intrinsic
def no_entry(context: Any, array: Any, lanes: Any) -> Any:
    """Return an entry of zeros."""
    vector = _Vector(array.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), [0.0] * vector.width)

    return vector(array, lanes), generate


@intrinsic
def entry(context: Any, array: Any, i: Any, lanes: Any) -> Any:
    """Return entry i of an array."""
    vector = _Vector(array.dtype, len(lanes))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        place = _start(context, builder, kind, arguments, vector.width)
        return _load(context, builder, place, vector)

    return vector(array, types.uint64, lanes), generate


@intrinsic
def set_entry(context: Any, array: Any, i: Any, x: Any) -> Any:
    """Write entry i of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        place = _start(context, builder, kind, arguments, x.width)
        _store(builder, place, arguments[2], array.dtype)
        return context.get_dummy_value()

    return types.void(array, types.uint64, x), generate


@intrinsic
def doubled(context: Any, x: Any) -> Any:
    """Return a vector in float64."""
    vector = _Vector(types.float64, x.width)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if x.dtype == types.float64:
            return arguments[0]
        return builder.fpext(arguments[0], context.get_value_type(vector))

    return vector(x), generate


@intrinsic
def scaled(context: Any, factor: Any, x: Any) -> Any:
    """Return factor · x."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factors = _repeated(builder, arguments[0], arguments[1].type)
        return builder.fmul(factors, arguments[1])

    return x(x.dtype, x), generate


# == of all ===========================================================================


@intrinsic
def plus(context: Any, x: Any, y: Any) -> Any:
    """Return x + y."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return x(x, y), generate


@intrinsic
def times(context: Any, x: Any, y: Any) -> Any:
    """Return x · y."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fmul(*arguments)

    return x(x, y), generate


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
        return builder.extract_element(rest, _number(0))

    return x.dtype(x), generate


def _load(context: Any, builder: Any, place: Any, vector: _Vector) -> Any:
    """Return the vector that begins at a place."""
    kind = context.get_value_type(vector).as_pointer()
    n_bytes = vector.dtype.bitwidth // 8
    return builder.load(builder.bitcast(place, kind), align=n_bytes)


def _store(builder: Any, place: Any, value: Any, dtype: Any) -> None:
    """Write the vector that begins at a place."""
    kind = value.type.as_pointer()
    builder.store(value, builder.bitcast(place, kind), align=dtype.bitwidth // 8)


def _repeated(builder: Any, number: Any, kind: Any) -> Any:
    """Return a vector with a number in every place."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, number, _number(0))
    return builder.shuffle_vector(one, nothing, _places([0] * kind.count))


def _number(value: int) -> Any:
    return ir.Constant(ir.IntType(32), value)


def _places(numbers: Any) -> Any:
    """Return a constant that picks places of a vector."""
    chosen = list(numbers)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)
