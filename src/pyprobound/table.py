"""Count tables: the probes of an experiment and how often each was read per round.

    seqs    (probe, position)   codes of flank + variable region + flank + padding
    target  (probe, round)      reads

A probe is laid out left-aligned, with the flank letters nearest to it on either side:

    left_flank[−l:] · variable region · right_flank[:r] · ' ' …

so the right flank follows each probe's own end and a table of variable lengths is
padded on the right. Changing l or r re-lays the rows; the variable regions stay.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Protocol, Self, SupportsIndex, TypeAlias, TypeVar, cast
from warnings import warn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils.collate import default_collate_fn_map

from pyprobound._chunking import memory_budget
from pyprobound._count_files import bad_count, count_matrix, read_pieces
from pyprobound._distinct import Distinct
from pyprobound._encoded import (
    EncodedCounts,
    encode_frame,
    read_encoded,
    transliterated,
)
from pyprobound._evaluation import TensorState
from pyprobound._texts import Texts
from pyprobound.alphabets import Alphabet, shorten
from pyprobound.errors import InputError, PyProBoundError

PathType: TypeAlias = str | PathLike[str]
RowIndex: TypeAlias = SupportsIndex | slice | Sequence[int] | Tensor | NDArray[Any]


# == batches ==================================================================


class Batch(ABC):
    """What a table hands to a loss at a time."""

    def __init__(self) -> None:
        """Start without tensors: a subclass holds them."""
        super().__init__()

    @abstractmethod
    def batchlen(self) -> int:
        """Return the number of probes."""


BatchT = TypeVar("BatchT", bound=Batch)


class CountBatch(Batch):
    """Probes and their counts.

    Attributes:
        seqs: Integer codes, shape (probe, position), or (position,) of a single probe.
        target: Counts, shape (probe, round), or (round,).
    """

    def __init__(self, seqs: Tensor, target: Tensor) -> None:
        """Pair probes with their counts.

        Raises:
            ValueError: There are not as many rows of counts as probes.
        """
        super().__init__()
        self._distinct: tuple[list[TensorState], Distinct] | None = None
        single = seqs.ndim == 1
        if not single and seqs.shape[:1] != target.shape[:1]:
            msg = (
                f"target of shape {tuple(target.shape)} has not one row for each of "
                f"the seqs of shape {tuple(seqs.shape)}"
            )
            raise ValueError(msg)
        if single and target.ndim > 1:
            msg = f"target of shape {tuple(target.shape)} is not that of a single probe"
            raise ValueError(msg)
        self.seqs = seqs
        self.target = target

    def batchlen(self) -> int:
        """Return the number of probes."""
        return 1 if self.seqs.ndim == 1 else len(self.seqs)

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> "CountBatch":
        """Return the batch on another device, its counts in another floating type.

        Args:
            device: Where both tensors go; they stay if not given.
            dtype: Type of `target` alone; it stays if not given.
        """
        seqs = self.seqs.to(device=device)
        target = self.target.to(device=device, dtype=dtype)
        if seqs is self.seqs and target is self.target:
            return self
        return CountBatch(seqs, target)

    @property
    def distinct(self) -> Distinct:
        """The distinct probes, each of which needs to be scored only once.

        They are found at the first request, and again when `seqs` or `target` have
        been set or written to since. A single probe is a batch of one here.
        """
        tensors = self.seqs, self.target
        # a tensor of inference mode counts no versions: it may be another by now
        countable = not any(tensor.is_inference() for tensor in tensors)
        state = [TensorState(tensor) for tensor in tensors] if countable else []
        if self._distinct is not None and countable and self._distinct[0] == state:
            return self._distinct[1]
        single = self.seqs.ndim == 1
        seqs = self.seqs[None] if single else self.seqs
        found = Distinct.of(seqs, self.target[None] if single else self.target)
        self._distinct = state, found
        return found

    @property
    def distinct_counts(self) -> Distinct:
        """The distinct probes, where targets must be counts.

        Raises:
            InputError: A target is negative, as a measurement may be.
        """
        found = self.distinct
        if found.lowest < 0:
            row, column = (torch.atleast_2d(self.target) < 0).nonzero()[0].tolist()
            value = float(torch.atleast_2d(self.target)[row, column])
            msg = (
                f"row {row} (from 0): count {value:g} in column {column} is negative;"
                " measurements are compared by pyprobound.fitting, not counted"
            )
            raise InputError(msg)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without what can be found again."""
        return self.__dict__ | {"_distinct": None}


def collate_batch_fn(
    batch: Sequence[Batch], *, collate_fn_map: Mapping[Any, Any] | None = None
) -> Batch:
    """Return several batches, or single probes, as one batch.

    A `torch.utils.data.DataLoader` over a table needs no `collate_fn`: this function
    is registered as PyTorch's rule for a `Batch`.

    Args:
        batch: Batches of one type, in the order of their rows.
        collate_fn_map: PyTorch's rules for other types; not needed here.

    Raises:
        TypeError: They are not all batches of counts.
        ValueError: There is none.
    """
    del collate_fn_map
    if not batch:
        msg = "there is no batch to collate"
        raise ValueError(msg)
    seqs, targets = [], []
    for item in batch:
        if not isinstance(item, CountBatch):
            msg = f"cannot collate {type(item).__name__}, only CountBatch"
            raise TypeError(msg)
        single = item.seqs.ndim == 1
        seqs.append(item.seqs[None] if single else item.seqs)
        targets.append(item.target[None] if single else item.target)
    return CountBatch(torch.cat(seqs), torch.cat(targets))


# PyTorch's documented way of teaching default_collate a type
default_collate_fn_map[Batch] = collate_batch_fn


class Scorer(Protocol):
    """A torch module that scores probes: what `score` needs of it."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Iterate over the parameters."""

    def buffers(self) -> Iterator[Tensor]:
        """Iterate over the buffers."""

    def max_embedding_size(self) -> int:
        """Return a bound on the bytes that scoring one probe needs."""


def score(
    module: Scorer,
    batch: CountBatch,
    fun: str = "forward",
    max_split: int | None = None,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Return observed and predicted values of a batch, without gradients.

    Args:
        module: What scores the probes, on its own device.
        batch: The probes and their counts.
        fun: Name of the module's method that takes the probes.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget by the module's own estimate.
        **kwargs: Further arguments of the method.

    Returns:
        The batch's target and the method's output, both on the CPU and in the batch's
        order, (probe, …) each.

    Raises:
        ValueError: `max_split` is less than 1.
    """
    if max_split is None:
        max_split = max(1, memory_budget() // max(1, module.max_embedding_size()))
    if max_split < 1:
        msg = f"max_split {max_split} must be at least 1"
        raise ValueError(msg)
    seqs = batch.seqs[None] if batch.seqs.ndim == 1 else batch.seqs
    tensors: Iterator[Tensor] = iter((*module.parameters(), *module.buffers()))
    device = next(tensors, seqs).device
    method: Callable[..., Tensor] = getattr(module, fun)
    starts = range(0, max(1, len(seqs)), max_split)
    with torch.no_grad():
        predicted = [
            method(seqs[start : start + max_split].to(device), **kwargs).cpu()
            for start in starts
        ]
    return batch.target.cpu(), torch.cat(predicted)


# == frames of counts =========================================================


def get_dataframe(
    paths: PathType | Sequence[PathType],
    total_count: int | None = None,
    random_state: int | None = None,
) -> pd.DataFrame:
    """Read count tables and join them: one row per probe, one column per round.

    A file is headerless TSV, gzipped or not, with the probe first and then any number
    of counts, or Parquet with its columns in that order. Columns of several files
    stand side by side in the order of the files; a probe that a file does not list has
    0 there. A probe listed twice in one file is summed, with a warning.

    Args:
        paths: One file, or several.
        total_count: Thin the reads, each kept with the same probability, to about this
            many in the whole table; probes that lose all their reads are dropped.
        random_state: Seed of the thinning.

    Returns:
        Integer counts in columns 0 … n−1, indexed by probe in order of appearance.

    Raises:
        InputError: A file is missing, empty or not a count table; the message is one
            line with file, line and reason.
        ValueError: `total_count` is negative, or there is no path.
    """
    if isinstance(paths, str | PathLike):
        paths = [paths]
    frames = list(map(_read_counts, map(Path, paths)))
    if not frames:
        msg = "no path of a count table given"
        raise ValueError(msg)
    probes = frames[0].index
    for frame in frames[1:]:
        probes = probes.append(frame.index.difference(probes, sort=False))
    if len(frames) > 1:
        frames = [frame.reindex(probes, fill_value=0) for frame in frames]
    table = pd.concat(frames, axis=1) if len(frames) > 1 else frames[0]
    table.columns = pd.RangeIndex(table.shape[1])
    if total_count is None:
        return table
    counts = table.to_numpy()
    thinned = _thin(
        counts, int(counts.sum()), total_count, np.random.default_rng(random_state)
    )
    lost = (thinned.sum(1) == 0) & (counts.sum(1) > 0)
    return pd.DataFrame(thinned[~lost], table.index[~lost], table.columns)


def sample_dataframe(
    dataframe: pd.DataFrame,
    frac: float = 0.1,
    random_state: int | None = None,
    n_bin: int = 128,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a table into a random part and the rest, evenly by enrichment.

    The probes are ranked by (last + 1) / (first + 1) count and cut into `n_bin` equal
    stretches; each of them gives the fraction `frac` of its probes (so a training and
    a validation table are enriched alike).

    Args:
        dataframe: Counts, probes in rows; not changed.
        frac: Fraction of the probes in the part, 0 to 1.
        random_state: Seed of the draw.
        n_bin: Number of stretches.

    Returns:
        The part, of round(frac · N) probes, and the rest; both in the table's order.

    Raises:
        ValueError: `frac` is not between 0 and 1, or `n_bin` is less than 1.
    """
    if not 0 <= frac <= 1:
        msg = f"frac {frac} must be between 0 and 1"
        raise ValueError(msg)
    edges = _stretches(len(dataframe), n_bin)
    counts = count_matrix(dataframe)
    drawn = _drawn(counts[:, 0], counts[:, -1], frac, random_state, edges)
    return dataframe.loc[drawn], dataframe.loc[~drawn]


def sample_encoded(
    encoded: EncodedCounts,
    frac: float = 0.1,
    random_state: int | None = None,
    n_bin: int = 128,
) -> tuple[EncodedCounts, EncodedCounts]:
    """Split encoded counts as `sample_dataframe` splits a frame: the same rows."""
    first, last = (encoded.target[:, i].double().numpy() for i in (0, -1))
    edges = _stretches(len(encoded), n_bin)
    drawn = torch.from_numpy(_drawn(first, last, frac, random_state, edges))
    return encoded.selected(drawn), encoded.selected(~drawn)


def _drawn(
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    frac: float,
    random_state: int | None,
    edges: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which probes are drawn, given their first and last counts.

    Args:
        first: Counts before the selection.
        last: Counts after it.
        frac: Fraction of the probes that is drawn.
        random_state: Seed of the draw.
        edges: Where the stretches of the ranked probes begin and end.
    """
    ranked = ((last + 1) / (first + 1)).argsort(kind="stable")
    # differences of the rounded cumulative numbers add up to round(frac · N) exactly
    wanted = np.diff(np.floor(frac * edges + 0.5).astype(np.int64))
    rng = np.random.default_rng(random_state)
    drawn = np.zeros(len(first), dtype=bool)
    for start, stop, n_drawn in zip(edges, edges[1:], wanted, strict=False):
        drawn[rng.choice(ranked[start:stop], n_drawn, replace=False)] = True
    return drawn


def sample_counts(
    dataframe: pd.DataFrame, n_counts: int = 1_000_000, random_state: int | None = None
) -> pd.DataFrame:
    """Thin each column binomially to about `n_counts` reads.

    Every read of a column of T reads is kept with probability min(1, n_counts / T).

    Args:
        dataframe: Counts, probes in rows; not changed.
        n_counts: Expected number of reads left in each column that has more.
        random_state: Seed of the draw.

    Returns:
        Integer counts with the same rows (those that lose all their reads too) and
        columns.

    Raises:
        ValueError: `n_counts` is negative, or a count is no whole number.
    """
    counts = count_matrix(dataframe)
    fractional = np.argwhere(counts != np.floor(counts))
    if fractional.size:
        row, column = fractional[0].tolist()
        raise InputError(bad_count(dataframe, row, column, "not a whole number"))
    counts = counts.astype(np.int64)
    rng = np.random.default_rng(random_state)
    columns = [_thin(x, int(x.sum()), n_counts, rng) for x in counts.T]
    thinned = np.stack(columns, axis=1) if columns else counts
    return pd.DataFrame(thinned, dataframe.index, dataframe.columns)


def _read_counts(path: Path) -> pd.DataFrame:
    """Return one file's counts by probe, duplicates summed.

    Raises:
        InputError: It cannot be read as a count table.
    """
    (frame,) = read_pieces(path)
    if not frame.index.has_duplicates:
        return frame
    repeated = int(frame.index.duplicated().sum())
    warn(
        f"{path}: {repeated} rows repeat an earlier probe; their counts are summed",
        UserWarning,
        stacklevel=3,
    )
    return frame.groupby(level=0, sort=False).sum()


def _thin(
    counts: NDArray[np.int64], total: int, wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the counts after keeping each of `total` reads with wanted / total."""
    if wanted < 0:
        msg = f"cannot thin to {wanted} reads"
        raise ValueError(msg)
    return counts if total <= wanted else rng.binomial(counts, wanted / total)


def _stretches(n_rows: int, n_bin: int) -> NDArray[np.int64]:
    """Return the n_bin + 1 edges that cut rows into equal stretches."""
    if n_bin < 1:
        msg = f"n_bin {n_bin} must be at least 1"
        raise ValueError(msg)
    return np.arange(n_bin + 1) * n_rows // n_bin


# == tables ===================================================================


class Table(Dataset[BatchT], Sized, ABC):
    """A set of probes, with the flanks that stand next to every one of them.

    A flank of scored length n is the n letters nearest to the probe; beyond the given
    flank, up to its largest length, unknown letters '*' follow.

    Attributes:
        alphabet: What the probes are written in.
        max_left_flank_length: Largest scored length on the left.
        max_right_flank_length: Largest scored length on the right.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        left_flank: str = "",
        right_flank: str = "",
        left_flank_length: int = 0,
        right_flank_length: int = 0,
        max_left_flank_length: int | None = None,
        max_right_flank_length: int | None = None,
    ) -> None:
        """Encode the flanks.

        Args:
            alphabet: What the probes and flanks are written in.
            left_flank: Constant letters before every probe.
            right_flank: Constant letters after every probe.
            left_flank_length: Letters of the left flank that are scored.
            right_flank_length: Letters of the right flank that are scored.
            max_left_flank_length: Largest scored length, the flank's if not given.
            max_right_flank_length: Largest scored length, the flank's if not given.

        Raises:
            PyProBoundError: (a ValueError) A flank has an unknown letter, or a length
                is out of its bounds.
        """
        # a Dataset has nothing to initialise, and a table may be a batch as well
        self.alphabet = alphabet
        self._left_flank = left_flank
        self._right_flank = right_flank
        left = self._flank_codes("left", left_flank)
        right = self._flank_codes("right", right_flank)
        self.max_left_flank_length = _default(max_left_flank_length, len(left))
        self.max_right_flank_length = _default(max_right_flank_length, len(right))
        # codes from the probe outwards, unknown letters beyond the known ones
        self._left_codes = self._extended(left.flip(0), self.max_left_flank_length)
        self._right_codes = self._extended(right, self.max_right_flank_length)
        self._check_flank_lengths(left_flank_length, right_flank_length)
        self._left_flank_length = left_flank_length
        self._right_flank_length = right_flank_length

    def _flank_codes(self, side: str, flank: str) -> Tensor:
        """Return the codes of a flank."""
        try:
            return self.alphabet.translate(flank)
        except InputError as error:
            msg = f"{side} flank: {error}"
            raise InputError(msg) from None

    def _extended(self, codes: Tensor, length: int) -> Tensor:
        """Return the first `length` codes, with '*' for those that are missing."""
        missing = codes.new_full((max(0, length - len(codes)),), self._unknown)
        return torch.cat([codes, missing])[:length]

    @property
    def _unknown(self) -> int:
        """Code of a letter that is there but not known."""
        return self.alphabet.wildcard_pad

    def _check_flank_lengths(self, left: int, right: int) -> None:
        """Raise unless both scored lengths are within their bounds."""
        for side, length, limit in (
            ("left", left, self.max_left_flank_length),
            ("right", right, self.max_right_flank_length),
        ):
            if limit < 0:
                msg = f"max_{side}_flank_length {limit} must not be negative"
                raise PyProBoundError(msg)
            if not 0 <= length <= limit:
                msg = (
                    f"{side}_flank_length {length} must be between 0 and {limit}; a "
                    f"longer {side}_flank, or max_{side}_flank_length, allows more"
                )
                raise PyProBoundError(msg)

    @property
    def left_flank(self) -> str:
        """The whole left flank."""
        return self._left_flank

    @property
    def right_flank(self) -> str:
        """The whole right flank."""
        return self._right_flank

    @property
    def left_flank_length(self) -> int:
        """Number of letters of the left flank that are scored."""
        return self._left_flank_length

    @property
    def right_flank_length(self) -> int:
        """Number of letters of the right flank that are scored."""
        return self._right_flank_length

    @property
    @abstractmethod
    def input_shape(self) -> int:
        """Number of positions of a row, flanks and padding included."""

    @property
    @abstractmethod
    def min_read_length(self) -> int:
        """Number of letters of the shortest probe, with its flanks."""

    @property
    @abstractmethod
    def max_read_length(self) -> int:
        """Number of letters of the longest probe, with its flanks."""

    def get_setup_string(self) -> str:
        """Return a description of the table in several lines."""
        left = self._flank_string(
            self.left_flank, self.left_flank_length, self.max_left_flank_length
        )
        right = self._flank_string(
            self.right_flank, self.right_flank_length, self.max_right_flank_length
        )
        shortest, longest = self.min_read_length, self.max_read_length
        read = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        return "\n".join(
            (
                f"{type(self).__name__} of {len(self):,} probes",
                f"\tAlphabet: {self.alphabet!r}",
                f"\tLeft flank: {left}",
                f"\tRight flank: {right}",
                f"\tScored length: {read} letters",
            )
        )

    @staticmethod
    def _flank_string(flank: str, length: int, limit: int) -> str:
        """Return how much of a flank is scored."""
        return f"{flank or 'none'} ({length} letters scored, at most {limit})"

    def set_flank_length(self, left: int = 0, right: int = 0) -> None:
        """Change the number of flank letters that are scored.

        Args:
            left: Letters of the left flank.
            right: Letters of the right flank.

        Raises:
            PyProBoundError: (a ValueError) A length is negative or beyond its bound;
                nothing has changed then.
        """
        self._check_flank_lengths(left, right)
        self._left_flank_length = left
        self._right_flank_length = right


def _default(value: int | None, default: int) -> int:
    """Return the value, or the default where there is none."""
    return default if value is None else value


class CountTable(Table[CountBatch], CountBatch):
    """The probes of an experiment and their reads per round; one big batch as well.

    Attributes:
        seqs: Integer codes, shape (probe, input_shape); any integer type may be set.
        target: Counts in float32, shape (probe, round).
        transliterate: Replacements made in the probes before encoding.
    """

    def __init__(
        self,
        dataframe: pd.DataFrame | EncodedCounts,
        alphabet: Alphabet,
        transliterate: dict[str, str] | None = None,
        transliterate_flanks: bool = False,
        left_flank: str = "",
        right_flank: str = "",
        left_flank_length: int = 0,
        right_flank_length: int = 0,
        max_left_flank_length: int | None = None,
        max_right_flank_length: int | None = None,
        wildcard_pad: bool = False,
        min_variable_length: int | None = None,
        max_variable_length: int | None = None,
    ) -> None:
        """Encode a frame of counts.

        Args:
            dataframe: Counts (any non-negative numbers) with a probe sequence as the
                index of every row; not kept. Spaces at the end of a probe are padding.
                Measurements for `pyprobound.fitting` may be negative; likelihoods of
                counts refuse them. Or what `encoded_counts` has read, with the same
                replacements made.
            alphabet: What the probes and flanks are written in.
            transliterate: Text → replacement, made one after the other in every probe
                (``{"CG": "MK"}`` for a methylated library).
            transliterate_flanks: Whether to make them in both flanks too, each by
                itself: a match across the end of a probe is left as it is.
            left_flank: Constant letters before every probe.
            right_flank: Constant letters after every probe.
            left_flank_length: Letters of the left flank that are scored.
            right_flank_length: Letters of the right flank that are scored.
            max_left_flank_length: Largest scored length, the flank's if not given.
            max_right_flank_length: Largest scored length, the flank's if not given.
            wildcard_pad: Whether unknown letters '*', not ' ', follow the right flank
                of shorter probes: all then have the same number of letters.
            min_variable_length: Length of the shortest probe that the table is laid
                out for, that of its own shortest if not given.
            max_variable_length: Length of the longest probe that the table is laid
                out for, that of its own longest if not given.

        Raises:
            InputError: (a ValueError) The frame is empty, a count is missing or no
                number, or a probe has an unknown letter or is outside the given
                lengths; the message names the row.
            PyProBoundError: (a ValueError) A flank or a flank length is not allowed.
        """
        self.transliterate = dict(transliterate or {})
        self.wildcard_pad = wildcard_pad
        if transliterate_flanks:
            flanks = transliterated(
                Texts.of([left_flank, right_flank]), self.transliterate
            )
            left_flank, right_flank = flanks[0], flanks[1]
        Table.__init__(
            self,
            alphabet,
            left_flank,
            right_flank,
            left_flank_length,
            right_flank_length,
            max_left_flank_length,
            max_right_flank_length,
        )
        encoded = dataframe
        if not isinstance(encoded, EncodedCounts):
            encoded = encode_frame(encoded, alphabet, self.transliterate)
        self._min_variable_length, self._max_variable_length = _length_bounds(
            encoded, alphabet, min_variable_length, max_variable_length
        )
        self._lengths = encoded.lengths
        seqs, scored = encoded.codes, (left_flank_length, right_flank_length)
        full = self._min_variable_length == self._max_variable_length
        if any(scored) or not full:  # else the codes are the rows
            seqs = self._laid_out(seqs, *scored)
        CountBatch.__init__(self, seqs, encoded.target)
        unread = int((self.target == 0).all(1).sum())
        if unread:
            warn(
                f"{unread} of {len(self)} probes have no positive count in any round; "
                "they do not enter the likelihood",
                UserWarning,
                stacklevel=2,
            )

    @classmethod
    def from_file(
        cls,
        paths: PathType | Sequence[PathType],
        alphabet: Alphabet,
        transliterate: dict[str, str] | None = None,
        transliterate_flanks: bool = False,
        left_flank: str = "",
        right_flank: str = "",
        left_flank_length: int = 0,
        right_flank_length: int = 0,
        max_left_flank_length: int | None = None,
        max_right_flank_length: int | None = None,
        wildcard_pad: bool = False,
        min_variable_length: int | None = None,
        max_variable_length: int | None = None,
    ) -> Self:
        """Read and encode a count table a piece at a time.

        The table is that of `get_dataframe`, but the strings of all probes are never
        in memory together: 20 million probes of 40 letters take a gigabyte. Probes
        that are encoded alike (DNA's N and '*') are one probe. Several files, whose
        columns stand side by side, are read as frames all the same.

        Args:
            paths: One file, or several; see `get_dataframe`.
            alphabet: What the probes and flanks are written in.
            transliterate: As in the constructor, here and below.
            transliterate_flanks: Whether to make the replacements in both flanks too.
            left_flank: Constant letters before every probe.
            right_flank: Constant letters after every probe.
            left_flank_length: Letters of the left flank that are scored.
            right_flank_length: Letters of the right flank that are scored.
            max_left_flank_length: Largest scored length, the flank's if not given.
            max_right_flank_length: Largest scored length, the flank's if not given.
            wildcard_pad: Whether unknown letters follow shorter probes.
            min_variable_length: Length of the shortest probe that the table is laid
                out for.
            max_variable_length: Length of the longest probe that the table is laid
                out for.

        Raises:
            InputError: (a ValueError) A file is missing, empty or no count table, or
                a probe has an unknown letter or is outside the given lengths; the
                message names the file and the line or row.
            PyProBoundError: (a ValueError) A flank or a flank length is not allowed.
        """
        return cls(
            encoded_counts(paths, alphabet, transliterate or {}),
            alphabet,
            transliterate=transliterate,
            transliterate_flanks=transliterate_flanks,
            left_flank=left_flank,
            right_flank=right_flank,
            left_flank_length=left_flank_length,
            right_flank_length=right_flank_length,
            max_left_flank_length=max_left_flank_length,
            max_right_flank_length=max_right_flank_length,
            wildcard_pad=wildcard_pad,
            min_variable_length=min_variable_length,
            max_variable_length=max_variable_length,
        )

    def _laid_out(self, variable: Tensor, left: int, right: int) -> Tensor:
        """Return rows of flank, variable region, flank and padding.

        Args:
            variable: Codes of the variable regions, shape (probe, at most longest);
                what lies beyond a probe's own end is not read.
            left: Letters of the left flank.
            right: Letters of the right flank.
        """
        n_probes, width = len(variable), self._max_variable_length
        lengths = self._lengths.to(variable.device)
        distinct = self._lengths.bincount().nonzero().flatten().tolist()
        padding = self.alphabet.wildcard_pad
        if not self.wildcard_pad:
            padding = self.alphabet.neginf_pad
        seqs = variable.new_full((n_probes, left + width + right), padding)
        seqs[:, :left] = self._left_codes[:left].flip(0).to(seqs)
        right_codes = self._right_codes[:right].to(seqs)
        seqs[:, left : left + variable.shape[1]] = variable
        for length in distinct:
            rows = slice(None) if len(distinct) == 1 else lengths == length
            stop = left + length
            seqs[rows, stop : stop + right] = right_codes
            seqs[rows, stop + right :] = padding
        return seqs

    def set_flank_length(self, left: int = 0, right: int = 0) -> None:
        """Change the number of flank letters that are scored, re-laying all rows.

        Growing and shrinking back restores `seqs`, for variable lengths too.

        Args:
            left: Letters of the left flank.
            right: Letters of the right flank.

        Raises:
            PyProBoundError: (a ValueError) A length is negative or beyond its bound;
                nothing has changed then.
        """
        start = self.left_flank_length
        super().set_flank_length(left, right)
        variable = self.seqs[:, start : start + self._max_variable_length]
        self.seqs = self._laid_out(variable, left, right)

    @property
    def input_shape(self) -> int:
        """Number of positions of a row, flanks and padding included."""
        flanks = self.left_flank_length + self.right_flank_length
        return self._max_variable_length + flanks

    @property
    def min_read_length(self) -> int:
        """Number of letters of the shortest probe, with its flanks."""
        if self.wildcard_pad:
            return self.input_shape
        flanks = self.left_flank_length + self.right_flank_length
        return self._min_variable_length + flanks

    @property
    def max_read_length(self) -> int:
        """Number of letters of the longest probe, with its flanks."""
        return self.input_shape

    @property
    def counts_per_round(self) -> Tensor:
        """Reads of every round in float64, shape (round,)."""
        # float32 stops counting single reads past 2**24
        return self.target.sum(0, dtype=torch.float64)

    def get_setup_string(self) -> str:
        """Return a description of the table in several lines."""
        counts = ", ".join(f"{x:,.15g}" for x in self.counts_per_round.tolist())
        lines = [super().get_setup_string(), f"\tCounts per round: {counts}"]
        if self.transliterate:
            rules = ", ".join(f"{x} → {y}" for x, y in self.transliterate.items())
            lines.append(f"\tTransliterated: {rules}")
        if self.wildcard_pad:
            lines.append("\tShorter probes are followed by unknown letters")
        return "\n".join(lines)

    def __len__(self) -> int:
        """Return the number of probes."""
        return len(self.seqs)

    def __getitem__(self, idx: RowIndex) -> CountBatch:
        """Return a probe, or several, with their counts.

        Args:
            idx: A number (the batch is then a single probe, without a probe axis), a
                slice, numbers or a mask.
        """
        rows = _rows(idx)
        return CountBatch(self.seqs[rows], self.target[rows])

    def __getitems__(self, idx: list[int]) -> list[CountBatch]:
        """Return the batch of several probes, as a DataLoader asks for it."""
        return [self[idx]]

    def __delitem__(self, idx: RowIndex) -> None:
        """Drop probes; the shape and the read lengths of the table stay.

        Args:
            idx: A number, a slice, numbers or a mask.
        """
        rows = _rows(idx)
        kept = torch.ones(len(self), dtype=torch.bool)
        kept[rows.cpu() if isinstance(rows, Tensor) else rows] = False
        self.seqs = self.seqs[kept.to(self.seqs.device)]
        self.target = self.target[kept.to(self.target.device)]
        self._lengths = self._lengths[kept]


def encoded_counts(
    paths: PathType | Sequence[PathType],
    alphabet: Alphabet,
    transliterate: Mapping[str, str],
) -> EncodedCounts:
    """Read and encode count tables; see `CountTable.from_file`.

    Raises:
        InputError: As `CountTable.from_file`.
        PyProBoundError: A text to replace is empty.
    """
    if not isinstance(paths, str | PathLike):
        if len(paths) != 1:
            return encode_frame(get_dataframe(paths), alphabet, transliterate)
        (paths,) = paths
    return read_encoded(Path(paths), alphabet, transliterate)


def _length_bounds(
    encoded: EncodedCounts,
    alphabet: Alphabet,
    shortest: int | None,
    longest: int | None,
) -> tuple[int, int]:
    """Return the least and largest length, the data's where they are not given.

    Raises:
        InputError: A probe is shorter or longer; the message names it.
    """
    lengths = encoded.lengths
    for row, bound, word, argument in (
        (int(lengths.argmin()), shortest, "less", "min_variable_length"),
        (int(lengths.argmax()), longest, "more", "max_variable_length"),
    ):
        length = int(lengths[row])
        outside = {"less": operator.lt, "more": operator.gt}[word]
        if bound is not None and outside(length, bound):
            msg = (
                f"row {row} (from 0), {shorten(alphabet.decode(encoded.codes[row]))}: "
                f"{length} letters are {word} than the {argument} {bound}"
            )
            raise InputError(msg)
    return _default(shortest, encoded.shortest), _default(longest, encoded.longest)


def _rows(idx: RowIndex) -> int | slice | Tensor:
    """Return what selects the same rows of a tensor."""
    if isinstance(idx, slice):
        return idx
    if isinstance(idx, SupportsIndex) and not isinstance(idx, Tensor | np.ndarray):
        return idx.__index__()
    rows = torch.as_tensor(idx)
    return rows if rows.dtype == torch.bool else rows.long()


# == samplers and loaders =====================================================


class EvenSampler(Sampler[int]):
    """Visits equal stretches of a table in turn, at random within each.

    Every row is drawn once per pass. Of a table sorted by enrichment each batch is
    thus a fair sample.
    """

    def __init__(self, data_source: Sized, n_bin: int = 128) -> None:
        """Cut a table into stretches.

        Args:
            data_source: The table.
            n_bin: Number of stretches.

        Raises:
            ValueError: `n_bin` is less than 1.
        """
        super().__init__()
        _stretches(len(data_source), n_bin)  # refuse a wrong n_bin here, not in a fit
        self.data_source = data_source
        self.n_bin = n_bin

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.data_source)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the row numbers, in a new order each time."""
        edges = torch.from_numpy(_stretches(len(self), self.n_bin))
        stretch = torch.repeat_interleave(edges.diff())
        # sorted by stretch, at random within it
        shuffled = (stretch + torch.rand(len(self), dtype=torch.float64)).argsort()
        turn = torch.arange(len(self)) - edges[stretch]
        yield from shuffled[turn.argsort(stable=True)].tolist()


class MultitaskLoader(Generic[BatchT]):
    """Zips the batches of several tables, going round the shorter ones again.

    Where every loader has its whole table in one batch, the tables themselves are the
    batches: nothing is copied.
    """

    def __init__(self, dataloaders: Iterable[DataLoader[BatchT]]) -> None:
        """Take the loaders, one per table.

        Raises:
            ValueError: There is none, or one of them has no batch.
        """
        self.dataloaders = tuple(dataloaders)
        if not self.dataloaders:
            msg = "at least one loader is needed"
            raise ValueError(msg)
        empty = [i for i, loader in enumerate(self.dataloaders) if len(loader) == 0]
        if empty:
            msg = f"loader {empty[0]} (from 0) has no batch"
            raise ValueError(msg)

    @property
    def is_whole(self) -> bool:
        """Whether the tables themselves are the batches."""
        return all(_is_whole(loader) for loader in self.dataloaders)

    def __len__(self) -> int:
        """Return the number of batches of the longest loader."""
        return max(len(loader) for loader in self.dataloaders)

    def __iter__(self) -> Iterator[tuple[BatchT, ...]]:
        """Iterate over tuples with a batch of every table."""
        if self.is_whole:
            # a table is a batch, too
            yield tuple(cast("BatchT", x.dataset) for x in self.dataloaders)
            return
        streams = [_endless(loader) for loader in self.dataloaders]
        for _ in range(len(self)):
            yield tuple(next(stream) for stream in streams)


def _is_whole(loader: DataLoader[BatchT]) -> bool:
    """Whether a loader's one batch is its table, in some order."""
    dataset, sampler = loader.dataset, loader.sampler
    if len(loader) != 1 or not isinstance(dataset, Batch):
        return False
    if not isinstance(sampler, Sized) or len(sampler) != dataset.batchlen():
        return False
    return loader.batch_size is None or loader.batch_size >= len(sampler)


def _endless(loader: DataLoader[BatchT]) -> Iterator[BatchT]:
    """Iterate over a loader's batches again and again, shuffled anew each time."""
    while True:
        yield from loader
