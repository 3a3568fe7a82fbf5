"""Counts summed over all windows that read the same few letters.

Codes of a window are digits of a number to the base n, the number of letters; counts
are summed by that number, a stretch of probes and a column of windows at a time, so
that memory is that of the table of sums.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.alphabets import Alphabet
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._pooled import (
    FEWEST_READS,
    Floats,
    Pools,
    check_kernel,
    enriched_first,
)

_PROBES_AT_ONCE = 2**15
_MOST_KMERS = 2**24


@dataclass(frozen=True)
class KmerSums:
    """Sums over the windows of all probes, for each k-mer that occurs.

    Attributes:
        numbers: The k-mers: codes as digits, the first one the highest, (k-mer,).
        n_windows: How often each occurs, (k-mer,).
        sums: Values of the probes, as often as the k-mer occurs in each, (k-mer,
            column).
        alphabet: What the codes mean.
        length: k.
    """

    numbers: NDArray[np.int64]
    n_windows: NDArray[np.int64]
    sums: Floats
    alphabet: Alphabet
    length: int

    def text(self, index: int) -> str:
        """Return the letters of a k-mer."""
        n = self.alphabet.n_letters
        rest, codes = int(self.numbers[index]), []
        for _ in range(self.length):
            rest, code = divmod(rest, n)
            codes.append(code)
        return self.alphabet.decode(torch.tensor(codes[::-1]))

    def stand_alone(self, kernel: int) -> NDArray[np.bool_]:
        """Return which are frequent enough to be looked at alone, (k-mer,).

        See `kmers_pooled` for the arguments, and for what the sums must be.
        """
        enough_reads = (self.sums[:, 2:] >= FEWEST_READS).all(1)
        found: NDArray[np.bool_] = (self.n_windows >= kernel) & enough_reads
        return found


def kmer_sums(
    seqs: Tensor,
    values: Tensor,
    alphabet: Alphabet,
    length: int,
    *,
    both_strands: bool,
) -> KmerSums:
    """Sum values of probes over their windows of `length` letters, k-mer by k-mer.

    Windows with a code that is no letter (padding, N) are skipped, and so are those at
    positions where all probes read alike, as within flanks: they tell no probe from
    another.

    Args:
        seqs: Codes, (probe, position).
        values: (probe, column).
        alphabet: What the codes mean.
        length: Letters of a window.
        both_strands: Whether a k-mer and its reverse complement are one; a window
            that reads the same on both strands counts once.

    Raises:
        PyProBoundError: (a ValueError) The length is less than 1 or there would be too
            many k-mers, or the alphabet has no complement.
    """
    n = alphabet.n_letters
    _check_length(length, n)
    windows = _telling_windows(seqs, length)
    n_kmers = n**length
    n_windows = np.zeros(n_kmers + 1, np.int64)
    sums = np.zeros((values.shape[1], n_kmers + 1))
    step = max(_PROBES_AT_ONCE, n_kmers)  # as many as it takes to be worth a table
    for start in range(0, len(seqs), step):
        stretch = slice(start, start + step)
        codes = seqs[stretch].T.contiguous().numpy()
        columns = np.ascontiguousarray(values[stretch].T.double().numpy())
        for window in windows:
            numbers = _numbers(codes[window : window + length], n)
            n_windows += np.bincount(numbers, minlength=n_kmers + 1)
            for number, column in enumerate(columns):
                sums[number] += np.bincount(numbers, column, minlength=n_kmers + 1)
    n_windows, sums = n_windows[:-1], sums[:, :-1]  # the last is no k-mer
    if both_strands:
        n_windows, sums = _joined_strands(n_windows, sums, alphabet, length)
    found = n_windows.nonzero()[0]
    return KmerSums(found, n_windows[found], sums[:, found].T.copy(), alphabet, length)


def _check_length(length: int, n_letters: int) -> None:
    if length < 1:
        msg = f"kmer_length {length} must be at least 1"
        raise PyProBoundError(msg)
    if n_letters**length > _MOST_KMERS:
        longest = int(np.log(_MOST_KMERS) / np.log(n_letters) + 1e-9)
        msg = (
            f"there are too many {length}-mers of {n_letters} letters to sum over; "
            f"kmer_length can be {longest} at most"
        )
        raise PyProBoundError(msg)


def _telling_windows(seqs: Tensor, length: int) -> list[int]:
    """Return the windows that are not the same in all probes; all if there is none."""
    n_windows = max(0, seqs.shape[1] - length + 1)
    if not len(seqs):
        return []
    varies = (seqs != seqs[0]).any(0).tolist()
    windows = [x for x in range(n_windows) if any(varies[x : x + length])]
    return windows or list(range(n_windows))


def _numbers(codes: NDArray[np.generic], n_letters: int) -> NDArray[np.int64]:
    """Return the number of each probe's k-mer, n^k where a code is no letter.

    Args:
        codes: (position, probe).
        n_letters: Number of letters.
    """
    numbers = np.zeros(codes.shape[1], np.int64)
    for column in codes:
        numbers *= n_letters
        numbers += column
    numbers[np.greater_equal(codes, n_letters).any(0)] = n_letters ** len(codes)
    return numbers


def _joined_strands(
    n_windows: NDArray[np.int64], sums: Floats, alphabet: Alphabet, length: int
) -> tuple[NDArray[np.int64], Floats]:
    """Add what belongs to a k-mer and its reverse complement, at the lower number."""
    complement = np.array(alphabet.complement_index)
    n = len(complement)
    numbers = np.arange(n**length)
    reverse, rest = np.zeros_like(numbers), numbers.copy()
    for _ in range(length):
        reverse = reverse * n + complement[rest % n]
        rest //= n
    lower = np.minimum(numbers, reverse)
    joined = np.zeros_like(n_windows)
    np.add.at(joined, lower, n_windows)
    return joined, np.stack([np.bincount(lower, x, len(lower)) for x in sums])


def kmers_pooled(kmers: KmerSums, kernel: int) -> Pools:
    """Return the reads of k-mers, rare ones pooled.

    A k-mer that occurs in at least `kernel` windows, with ten reads predicted in either
    round, stands alone. Others are ordered by predicted enrichment and pooled until
    they have as many together.

    Args:
        kmers: Sums of four columns: observed before selection and after it, predicted
            before and after.
        kernel: The fewest windows of a pool.

    Returns:
        First what stands alone, in the order of `kmers`; then pools.

    Raises:
        PyProBoundError: (a ValueError) `kernel` is less than 1.
    """
    check_kernel(kernel)
    observed, predicted = kmers.sums[:, :2], kmers.sums[:, 2:]
    alone = kmers.stand_alone(kernel)
    rare = (~alone).nonzero()[0]
    rare = rare[enriched_first(predicted[rare])]
    rest = Pools(observed[rare], predicted[rare], kmers.n_windows[rare])
    if kernel > 1:
        rest = rest.joined(kernel)
    return Pools(
        np.concatenate([observed[alone], rest.observed]),
        np.concatenate([predicted[alone], rest.predicted]),
        np.concatenate([kmers.n_windows[alone], rest.n_probes]),
    )
