"""Which beta stands at which place of a PSAM's filters.

`symmetry` gives every position a signed class: equal classes share their betas, a
position of negative class is read through the complement of its letter. Betas have
external keys, "<class>-<letter>" for single letters and "<class>-<class>-<pair>" for
letter pairs (classes by ascending absolute value, pair = letters·first + second). The
betas of one PSAM lie in few packed tensors; a `Layout` is the integer map from them to
the filters:

    filter_0[letter, position]         = packed[gather[0][letter, position]]
    filter_d[letter, letter, position] = packed[gather[d][letter, letter, position]]

A pair of classes has one set of values, whatever its distance. Two positions of the
same class tie the pair (x, y) with (y, x): the upper triangle holds the value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Group = tuple[int, ...]
"""The classes whose betas belong together: (class,) or (class, class)."""


@dataclass(frozen=True)
class Layout:
    """The betas of a PSAM and where they stand in its filters.

    Attributes:
        symmetry: The signed class of each position.
        n_letters: Letters of the alphabet (channels that go in).
        pairwise_distance: The largest distance of letter pairs; 0 for none.
    """

    symmetry: tuple[int, ...]
    n_letters: int
    pairwise_distance: int

    def __post_init__(self) -> None:
        """Check what a layout must satisfy."""
        if not self.symmetry or 0 in self.symmetry:
            msg = (
                f"symmetry {list(self.symmetry)}: needs one non-zero integer for each"
                " of at least one position"
            )
            raise ValueError(msg)
        if not 0 <= self.pairwise_distance < len(self.symmetry):
            msg = (
                f"pairwise_distance {self.pairwise_distance} must be at least 0 and"
                f" smaller than kernel_size ({len(self.symmetry)})"
            )
            raise ValueError(msg)

    @cached_property
    def groups(self) -> tuple[tuple[Group, ...], ...]:
        """The groups of betas, by the (smallest) distance at which they occur."""
        singles: list[Group] = [(abs(cls),) for cls in self.symmetry]
        by_distance = [tuple(dict.fromkeys(singles))]
        known: set[Group] = set()
        for distance in range(1, self.pairwise_distance + 1):
            pairs = dict.fromkeys(
                group
                for group in map(_pair, self.symmetry, self.symmetry[distance:])
                if group not in known
            )
            known.update(pairs)
            by_distance.append(tuple(pairs))
        return tuple(by_distance)

    def size(self, group: Group) -> int:
        """Return the number of betas of a group."""
        n = self.n_letters
        if len(group) == 1:
            return n
        return n * (n + 1) // 2 if group[0] == group[1] else n * n

    def indices(self, group: Group) -> Iterable[int]:
        """Iterate over the last parts of the external keys of a group, in order."""
        n = self.n_letters
        if len(group) == 1:
            return range(n)
        if group[0] != group[1]:
            return range(n * n)
        return (n * x + y for x in range(n) for y in range(x, n))

    @cached_property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The external keys of the betas, by distance, in the order of packing."""
        return tuple(
            tuple(
                "-".join(map(str, (*group, index)))
                for group in groups
                for index in self.indices(group)
            )
            for groups in self.groups
        )

    @cached_property
    def offsets(self) -> dict[Group, int]:
        """Where each group starts in the packed betas of all distances."""
        offsets, total = {}, 0
        for groups in self.groups:
            for group in groups:
                offsets[group] = total
                total += self.size(group)
        return offsets

    @cached_property
    def gather(self) -> tuple[Tensor, ...]:
        """The packed index of each entry of each filter, by distance."""
        return tuple(
            torch.from_numpy(
                self._gather_letters() if d == 0 else self._gather_pairs(d)
            )
            for d in range(self.pairwise_distance + 1)
        )

    def _read(self, cls: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        letters = np.arange(self.n_letters)
        return letters if cls > 0 else letters[::-1]

    def _gather_letters(self) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
        columns = [self.offsets[(abs(cls),)] + self._read(cls) for cls in self.symmetry]
        return np.stack(columns, axis=-1)

    def _gather_pairs(
        self, distance: int
    ) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
        n, tables = self.n_letters, []
        for left, right in zip(self.symmetry, self.symmetry[distance:], strict=False):
            first, second = self._read(left)[:, None], self._read(right)[None, :]
            if abs(left) > abs(right):
                first, second = second, first
            if abs(left) == abs(right):
                first, second = np.minimum(first, second), np.maximum(first, second)
                # Entries of row x of the upper triangle start after those above it.
                index = first * n - first * (first - 1) // 2 + second - first
            else:
                index = first * n + second
            tables.append(self.offsets[_pair(left, right)] + index)
        return np.stack(np.broadcast_arrays(*tables), axis=-1)


def _pair(left: int, right: int) -> Group:
    return (min(abs(left), abs(right)), max(abs(left), abs(right)))


def is_palindrome(symmetry: Sequence[int]) -> bool:
    """Tell whether every position is the reverse complement of its mirror image."""
    mirrored = [-cls for cls in reversed(symmetry)]
    return list(symmetry) == mirrored


def grown(symmetry: Sequence[int], left: int, right: int) -> tuple[int, ...]:
    """Return the symmetry with positions added (or, if negative, taken off).

    New positions are of new classes, max+1 and on. A palindrome that grows alike on
    both sides stays one: its new positions mirror each other.
    """
    kept = list(symmetry[max(0, -left) : len(symmetry) - max(0, -right)])
    first = max(map(abs, symmetry)) + 1
    before = list(range(first, first + max(0, left)))
    if left == right > 0 and is_palindrome(symmetry):
        return (*before, *kept, *(-cls for cls in reversed(before)))
    first += len(before)
    return (*before, *kept, *range(first, first + max(0, right)))
