"""What a call has to do for sums over windows: which loops run over which probes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, scale_log
from pyprobound.kernels._numba import Array, array_of, run
from pyprobound.kernels._numba_tables import Tables, in_parts, lanes_of
from pyprobound.kernels._words import Layout, Reading, U, Words, narrow, readings
from pyprobound.kernels.log_sum_windows import _numba_logs as logs
from pyprobound.kernels.log_sum_windows import _numba_products as products


@dataclass(frozen=True)
class _Bias:
    """The position bias of some probes; without, all is empty.

    Attributes:
        values: (parts, groups, windows · lanes), logarithms.
        groups: Row of each probe; empty if there is one row.
    """

    values: Array
    groups: Array

    @classmethod
    def of(cls, bias: Tensor, group: Tensor) -> "_Bias":
        """Lay out a bias (G, W, C), G = 0 for none."""
        values = array_of(bias)
        n_groups, n_windows, channels = values.shape
        lanes = lanes_of(channels)
        shape = channels // lanes, n_groups, n_windows * lanes
        rows = array_of(group.long()) if n_groups > 1 else np.empty(0, np.int64)
        return cls(in_parts(values).reshape(shape), rows.view(U))

    def of_probes(self, rows: Any) -> "_Bias":
        """Return that of some probes: a slice, their numbers, or None for all."""
        if rows is None or len(self.groups) == 0:
            return self
        return _Bias(self.values, self.groups[rows])


@dataclass(frozen=True)
class _Factors:
    """Tables and bias as factors of at most 2^h each.

    Attributes:
        tables: Of the letters.
        bias: (parts, groups, windows · lanes), or None.
        shift: What was subtracted from their logarithms, in sum.
        trust: The least sum of products that underflow cannot have spoilt.
    """

    tables: Tables
    bias: Array | None
    shift: float
    trust: Any

    @classmethod
    def of(cls, values: Array, bias: Array, layout: Layout, length: int) -> "_Factors":
        """Make the factors of tables (blocks, words, C) of logarithms."""
        n_factors = len(values) + (bias.size > 0)
        n_terms = (length + 1 - layout.reach) * values.shape[2]
        bits, trust = _limits(values.dtype, n_terms, n_factors)
        factors, shift = _relative(values, (1, 2), bits)
        tables = Tables.of(factors, layout, length)
        kind = values.dtype.type
        if bias.size == 0:
            return cls(tables, None, shift, kind(trust))
        factors, more = _relative(bias, (0, 1, 2), bits)
        return cls(tables, factors, shift + more, kind(trust))


def _limits(dtype: np.dtype[Any], n_terms: int, n_factors: int) -> tuple[int, float]:
    """Return the bits h of the largest factors, and the least sum to trust.

    No sum of products overflows, and float32 makes use of all its range: energies are
    far below the best more often than above. Each factor and each product may have been
    flushed to zero below `tiny`, so a term is off by at most 2·factors·tiny times the
    other factors. A sum is right to its rounding if all that is below eps·sum, and its
    inverse, which the gradient needs, is a finite float64.
    """
    limits = np.finfo(dtype)
    tiny, eps = float(limits.tiny), float(limits.eps)
    bits = 0
    if dtype == np.float32:
        bits = (limits.maxexp - 2 - math.ceil(math.log2(n_terms))) // n_factors
    lost = 2 * n_factors * n_terms * tiny * 2.0 ** (bits * (n_factors - 1))
    return bits, max(math.sqrt(np.finfo(np.float64).tiny), lost / eps)


def _relative(values: Array, axes: tuple[int, ...], bits: int) -> tuple[Array, float]:
    """Return 2^bits · exp(values − top), top the largest over axes, and Σ shifts."""
    exact = torch.from_numpy(values).double()
    top = exact.amax(axes, keepdim=True)
    top = top.masked_fill(top == NEG_INF, 0.0)
    factors = (exact - top).exp_() * 2.0**bits
    made: Array = factors.to(torch.from_numpy(values).dtype).numpy()
    return made, float((top - bits * math.log(2)).sum())


@dataclass(frozen=True)
class Task:
    """The probes of a call that are read with the same tables.

    Attributes:
        kind: LETTERS or MIXED.
        rows: Their numbers; None if they are all.
        reading: How they are read.
        values: Tables (blocks, words, C) of logarithms.
        layout: How words lie.
        bias: Position bias.
    """

    kind: int
    rows: Array | None
    reading: Reading
    values: Array
    layout: Layout
    bias: _Bias

    @property
    def n_probes(self) -> int:
        """Number of probes."""
        return len(self.reading.codes)

    @cached_property
    def factors(self) -> _Factors:
        """Tables and bias as factors."""
        length = self.reading.codes.shape[1]
        return _Factors.of(self.values, self.bias.values, self.layout, length)

    @cached_property
    def logs(self) -> Tables:
        """The tables as logarithms."""
        length = self.reading.codes.shape[1]
        return Tables.of(self.values, self.layout, length, laid_out=False)

    def only(self, rows: Array) -> "Task":
        """Return the same of some of its probes."""
        reading, bias = self.reading.at(rows), self.bias.of_probes(rows)
        return replace(self, rows=rows, reading=reading, bias=bias)

    def sums(self, dtype: np.dtype[Any]) -> Array:
        """Return the log sums of the probes."""
        made, lost = np.empty(self.n_probes, dtype), np.zeros(self.n_probes, np.bool_)
        each = self.factors

        def arguments(_: int, at: slice) -> tuple[Any, ...]:
            given = self.reading.at(at), each.tables, each.bias
            groups = self.bias.of_probes(at).groups
            return *given, groups, each.shift, each.trust, made[at], lost[at]

        run(products.forward, self.n_probes, arguments)
        if lost.any():
            made[lost] = self.only(lost.nonzero()[0]).log_sums(dtype)
        return made

    def log_sums(self, dtype: np.dtype[Any]) -> Array:
        """Return the log sums of the probes, from logarithms."""
        made = np.empty(self.n_probes, dtype)

        def arguments(_: int, at: slice) -> tuple[Any, ...]:
            bias = self.bias.of_probes(at)
            return self.reading.at(at), self.logs, bias.values, bias.groups, made[at]

        run(logs.forward, self.n_probes, arguments)
        return made

    def add_gradients(self, grad: Array, to_entries: Array, to_bias: Array) -> None:
        """Add the gradients of tables and bias.

        Args:
            grad: (n,) of the log sums.
            to_entries: (stretches, entries), or (stretches, 0).
            to_bias: (stretches, parts, groups, windows · lanes), or without groups.
        """
        lost, each = np.zeros(self.n_probes, np.bool_), self.factors

        def arguments(stretch: int, at: slice) -> tuple[Any, ...]:
            given = self.reading.at(at), each.tables, each.bias
            groups = self.bias.of_probes(at).groups
            own = to_entries[stretch], None if each.bias is None else to_bias[stretch]
            return *given, groups, each.trust, grad[at], *own, lost[at]

        run(products.backward, self.n_probes, arguments)
        lost &= grad != 0
        if lost.any():
            again = self.only(lost.nonzero()[0])
            again.add_log_gradients(grad[lost], to_entries, to_bias)

    def add_log_gradients(self, grad: Array, to_entries: Array, to_bias: Array) -> None:
        """Do the same from logarithms."""

        def arguments(stretch: int, at: slice) -> tuple[Any, ...]:
            bias = self.bias.of_probes(at)
            given = self.reading.at(at), self.logs, bias.values, bias.groups, grad[at]
            return *given, to_entries[stretch], to_bias[stretch]

        run(logs.backward, self.n_probes, arguments)


class Given(NamedTuple):
    """What a call is given, as `log_sum_words` takes it but for the code of padding.

    Attributes:
        codes: (N, L) of any integer type.
        known: The words (N, words) of letters as int16, or (0, 0).
        spans: (N, 2) where the letters of each probe begin and end, or (0, 2).
        mixed: (M,) the probes that are read with the tables of all codes.
        letters: Tables (blocks, words, C) of letters.
        others: Tables of all codes, or (0, 0, C).
        bias: (G, W, C), G = 0 for none.
        group: (N,) rows of the bias; anything of one row where G is at most 1.
        layout: From `Words.layout`.
    """

    codes: Tensor
    known: Tensor
    spans: Tensor
    mixed: Tensor
    letters: Tensor
    others: Tensor
    bias: Tensor
    group: Tensor
    layout: Sequence[int]

    def detached(self) -> "Given":
        """Return the same without a graph."""
        tables = self.letters.detach(), self.others.detach(), self.bias.detach()
        letters, others, bias = tables
        return self._replace(letters=letters, others=others, bias=bias)


class Settings(TypedDict):
    """The keyword arguments of the public function."""

    dilation: int
    bias: Tensor | None
    log_bias: Tensor | None
    group: Tensor | None
    hill: Tensor | None


def words_given(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    settings: Settings,
) -> Given | None:
    """Return what the arguments of the public function say in words.

    None if they cannot be said in words, or there is nothing to sum.
    """
    dilation, hill = settings["dilation"], settings["hill"]
    channels = len(filters[0])
    n_windows = seqs.shape[1] - dilation * (filters[0].shape[2] - 1)
    if n_windows <= 0 or len(seqs) == 0:
        return None
    codes = narrow(seqs)
    words = Words.of(codes, filters, embedding, pad, dilation)
    if words is None:
        return None
    added = filters[0].new_zeros(0, n_windows, channels)
    if settings["log_bias"] is not None:
        added = settings["log_bias"].transpose(1, 2)
    letters, others = words.with_channel_bias(settings["bias"])
    if hill is not None:
        letters, others = scale_log(letters, hill), scale_log(others, hill)
        added = scale_log(added, hill)
    group = settings["group"]
    if group is None:
        group = codes.new_zeros(1, dtype=torch.int64)
    read = codes, words.known, words.spans, words.mixed
    return Given(*read, letters, others, added, group, words.layout())


def tasks_of(given: Given) -> list[Task]:
    """Return what is to be done with each kind of probes."""
    codes, known, spans, mixed, letters, others, bias, group, layout = given
    all_groups = _Bias.of(bias, group)
    tables = array_of(letters), array_of(others)
    return [
        Task(kind, rows, reading, tables[kind], lay, all_groups.of_probes(rows))
        for kind, rows, reading, lay in readings(codes, known, spans, mixed, layout)
    ]
