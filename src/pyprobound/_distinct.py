"""Finding the rows of a table that occur more than once.

Rows are compared by a 64-bit number made of their letters, eight at a time,

    h ← (h xor word) · K,    h ← h xor (h >> 32)        (modulo 2⁶⁴)

and those of equal numbers letter by letter. Where two rows share a number and are not
equal, which happens by chance once in 10⁵ tables of 20 million probes, the rows are
sorted instead.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROWS_AT_ONCE = 2**16
_MULTIPLIER = -7046029254386353131  # 2**64 / golden ratio, as a signed number
_WORD = 8  # bytes


@dataclass(frozen=True, eq=False)
class Distinct:
    """The distinct probes of a batch, in order of their first appearance.

    Attributes:
        seqs: Codes of each, shape (distinct, position); the batch's own tensor where
            no probe repeats.
        inverse: Which of them each probe of the batch is, (probe,) int64; None where
            no probe repeats.
        target: Their counts, summed over the repeats, shape (distinct, round).
        lowest: The lowest of the batch's counts before they are summed: a table of
            measurements may have negative ones.
    """

    seqs: Tensor
    inverse: Tensor | None
    target: Tensor
    lowest: float

    @cached_property
    def total(self) -> Tensor:
        """All counts together, a float64 scalar."""
        return self.target.sum(dtype=torch.float64)

    @classmethod
    def of(cls, seqs: Tensor, target: Tensor) -> "Distinct":
        """Find the distinct rows of `seqs`, and sum `target` over their repeats."""
        found = repeats_of(seqs)
        lowest = float(target.min()) if target.numel() else 0.0
        if found is None:
            return cls(seqs, None, target, lowest)
        first, inverse = found
        sums = target.new_empty((len(first), *target.shape[1:]))
        numbers = inverse.to(target.device)
        for sums_of_one, counts in zip(sums.unbind(1), target.unbind(1), strict=True):
            exact = torch.zeros(len(first), dtype=torch.float64, device=target.device)
            sums_of_one.copy_(exact.index_add_(0, numbers, counts.double()))
        return cls(seqs[first], inverse, sums, lowest)


def repeats_of(seqs: Tensor) -> tuple[Tensor, Tensor] | None:
    """Find equal rows.

    Args:
        seqs: Codes of any integer type, shape (row, position).

    Returns:
        The first row of each kind, ascending, and the kind of each row, both int64;
        None where all rows differ.
    """
    numbers = _numbers(seqs)
    if seqs.device.type == "cpu":
        # NumPy sorts without an order several times as fast as with one
        ordered = torch.from_numpy(np.sort(numbers.numpy()))
    else:
        ordered = numbers.sort().values
    if not bool((ordered[1:] == ordered[:-1]).any()):
        return None
    del ordered
    order = numbers.argsort(stable=True)
    first = _first_of_equal(numbers, order)
    del numbers, order
    if not _are_equal(seqs, first):
        return _sorted_repeats(seqs)
    is_first = first == torch.arange(len(first), device=first.device)
    kind = is_first.cumsum(0) - 1
    return is_first.nonzero().flatten(), kind[first]


def _numbers(seqs: Tensor) -> Tensor:
    """Return a 64-bit number of each row, (row,); equal rows have equal numbers."""
    numbers = torch.empty(len(seqs), dtype=torch.int64, device=seqs.device)
    for start in range(0, len(seqs), _ROWS_AT_ONCE):
        rows = seqs[start : start + _ROWS_AT_ONCE].contiguous()
        letters = rows.view(torch.uint8) if rows.shape[1] else rows.to(torch.uint8)
        n_words = -(-letters.shape[1] // _WORD)
        padded = letters.new_zeros((len(rows), n_words * _WORD))
        padded[:, : letters.shape[1]] = letters
        number = numbers[start : start + len(rows)].zero_()
        for word in padded.view(torch.int64).unbind(1) if n_words else ():
            number.bitwise_xor_(word).mul_(_MULTIPLIER)
            number.bitwise_xor_(number >> 32)
    return numbers


def _first_of_equal(numbers: Tensor, order: Tensor) -> Tensor:
    """Return the first row that has the number of each row, (row,).

    Args:
        numbers: A number of each row.
        order: What sorts them, equal ones in the order of their rows.
    """
    ordered = numbers[order]
    begins = torch.ones(len(ordered), dtype=torch.bool, device=ordered.device)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    del ordered
    group = begins.cumsum(0) - 1
    first = torch.empty_like(order)
    first[order] = order[begins][group]
    return first


def _are_equal(seqs: Tensor, first: Tensor) -> bool:
    """Tell whether each row equals the one that is said to be the first of its kind."""
    rows = (first != torch.arange(len(first), device=first.device)).nonzero().flatten()
    return all(
        torch.equal(seqs[some], seqs[first[some]]) for some in rows.split(_ROWS_AT_ONCE)
    )


def _sorted_repeats(seqs: Tensor) -> tuple[Tensor, Tensor] | None:
    """Find equal rows by sorting them."""
    rows: NDArray[np.generic] = seqs.cpu().contiguous().numpy()
    width = rows.shape[1] * rows.itemsize
    _, first, inverse = np.unique(
        rows.view(f"V{width}").reshape(-1), return_index=True, return_inverse=True
    )
    if len(first) == len(rows):
        return None
    # NumPy numbers them in the order of their letters
    order = first.argsort()
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    found = torch.from_numpy(first[order]), torch.from_numpy(number[inverse])
    return found[0].to(seqs.device), found[1].to(seqs.device)
