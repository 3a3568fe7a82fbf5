"""Count tables: the probes of an experiment and how often each was read per round.

    seqs    (probe, position)   codes of flank + variable region + flank + padding
    target  (probe, round)      reads

A probe is laid out left-aligned, with the flank letters nearest to it on either side:

    left_flank[−l:] · variable region · right_flank[:r] · ' ' …

so the right flank follows each probe's own end and a table of variable lengths is
padded on the right. Changing l or r re-lays the rows; the variable regions stay.
"""

import gzip
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import repeat
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Protocol, SupportsIndex, TypeAlias, TypeVar, cast
from warnings import warn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data._utils.collate import default_collate_fn_map

from pyprobound._chunking import memory_budget
from pyprobound.alphabets import PADDING, Alphabet, shorten
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
        return CountBatch(
            self.seqs.to(device=device), self.target.to(device=device, dtype=dtype)
        )


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
    counts = _count_matrix(dataframe)
    enrichment = (counts[:, -1] + 1) / (counts[:, 0] + 1)
    ranked = enrichment.argsort(kind="stable")
    # differences of the rounded cumulative numbers add up to round(frac · N) exactly
    wanted = np.diff(np.floor(frac * edges + 0.5).astype(np.int64))
    rng = np.random.default_rng(random_state)
    drawn = np.zeros(len(dataframe), dtype=bool)
    for start, stop, n_drawn in zip(edges, edges[1:], wanted, strict=False):
        drawn[rng.choice(ranked[start:stop], n_drawn, replace=False)] = True
    return dataframe.loc[drawn], dataframe.loc[~drawn]


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
    counts = _count_matrix(dataframe)
    fractional = np.argwhere(counts != np.floor(counts))
    if fractional.size:
        row, column = fractional[0].tolist()
        raise InputError(_bad_count(dataframe, row, column, "not a whole number"))
    counts = counts.astype(np.int64)
    rng = np.random.default_rng(random_state)
    columns = [_thin(x, int(x.sum()), n_counts, rng) for x in counts.T]
    thinned = np.stack(columns, axis=1) if columns else counts
    return pd.DataFrame(thinned, dataframe.index, dataframe.columns)


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


# == reading files ============================================================


def _read_counts(path: Path) -> pd.DataFrame:
    """Return one file's counts by probe, duplicates summed.

    Raises:
        InputError: It cannot be read as a count table.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            frame = _read_parquet(path)
        else:
            frame = _read_tsv(path, "gzip" if magic[:2] == b"\x1f\x8b" else None)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise InputError(msg) from None
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: cannot be read ({_one_line(error)})"
        raise InputError(msg) from error
    if not frame.index.has_duplicates:
        return frame
    repeated = int(frame.index.duplicated().sum())
    warn(
        f"{path}: {repeated} rows repeat an earlier probe; their counts are summed",
        UserWarning,
        stacklevel=3,
    )
    return frame.groupby(level=0, sort=False).sum()


def _read_tsv(path: Path, compression: str | None) -> pd.DataFrame:
    """Return the counts of a headerless TSV file, duplicates left as they are."""
    try:
        frame = pd.read_csv(
            path,
            sep="\t",
            header=None,
            dtype={0: str},
            na_filter=False,  # NA is two amino acids, and no count may be missing
            low_memory=False,
            compression=cast("Any", compression),
        )
    except pd.errors.EmptyDataError:
        msg = f"{path}: the file is empty; expected probe<TAB>count<TAB>… in each line"
        raise InputError(msg) from None
    except ValueError as error:
        problem = _first_bad_line(path, compression) or _one_line(error)
        msg = f"{path}: {problem}"
        raise InputError(msg) from error
    numeric = all(isinstance(x, np.dtype) and x.kind in "iuf" for x in frame.dtypes[1:])
    counts = _whole_counts(frame[0], frame.iloc[:, 1:].to_numpy()) if numeric else None
    if counts is None:
        problem = _first_bad_line(path, compression) or "the counts cannot be read"
        msg = f"{path}: {problem}"
        raise InputError(msg)
    return counts


def _read_parquet(path: Path) -> pd.DataFrame:
    """Return the counts of a Parquet file: probe in the first column, or the index."""
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        msg = f"{path}: reading Parquet needs pyarrow; run `pip install pyarrow`"
        raise InputError(msg) from None
    except ValueError as error:
        msg = f"{path}: cannot be read as Parquet ({_one_line(error)})"
        raise InputError(msg) from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    probes = frame.iloc[:, 0].astype(object)
    missing = [not isinstance(x, str) or not x for x in probes]
    if any(missing):
        msg = f"{path}: row {missing.index(True)} (from 0) has no probe sequence"
        raise InputError(msg)
    try:
        numbers = _count_matrix(frame.iloc[:, 1:].set_axis(probes))
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from None
    counts = _whole_counts(probes, numbers)
    if counts is None:
        msg = f"{path}: the counts are not all whole numbers"
        raise InputError(msg)
    return counts


def _whole_counts(
    probes: "pd.Series[Any]", numbers: NDArray[Any]
) -> pd.DataFrame | None:
    """Return integer counts by probe, None where a probe or a count is not one."""
    if numbers.shape[1] == 0 or (probes == "").any():
        return None
    # the largest count that float64, too, tells from its neighbours
    if not ((numbers >= 0) & (numbers < 2**53)).all():
        return None
    whole = numbers.astype(np.int64, copy=False)
    if (whole != numbers).any():
        return None
    return pd.DataFrame(whole, pd.Index(probes).rename(None), copy=False)


def _first_bad_line(path: Path, compression: str | None) -> str | None:
    """Return the number and fault of the first line that is no row of a count table."""
    opened = gzip.open if compression == "gzip" else open
    width = None
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            fields = [x.strip('"') for x in line.rstrip("\r\n").split("\t")]
            if fields == [""]:
                continue
            width = width or len(fields)
            fault = _fault(fields, width)
            if fault is not None:
                header = " (a header line is not expected)" if number == 1 else ""
                return f"line {number}: {fault}{header}"
    return None


def _fault(fields: list[str], width: int) -> str | None:
    """Return what is wrong with the fields of a line, None if nothing is."""
    if len(fields) == 1:
        return f"{shorten(fields[0])} has no count column after a tab"
    if len(fields) != width:
        return f"{len(fields)} columns where the first line has {width}"
    if not fields[0]:
        return "the probe is missing"
    for column, field in enumerate(fields[1:], 2):
        fault = _count_fault(field)
        if fault is not None:
            return f"column {column} is {shorten(field)}, {fault}"
    return None


def _count_fault(field: str) -> str | None:
    """Return why a text is no count, None if it is one."""
    try:
        value = float(field)
    except ValueError:
        return "not a count"
    if value < 0:
        return "a negative count"
    if not value.is_integer():
        return "not a whole number"
    return "too large for a count" if value >= 2**53 else None


def _one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


# == checking counts ==========================================================


def _count_matrix(dataframe: pd.DataFrame) -> NDArray[np.float64]:
    """Return the counts of a frame in float64, shape (probe, round).

    Raises:
        InputError: The frame is empty, or a value is missing, infinite, negative or
            no number; the message names its row.
    """
    if dataframe.shape[0] == 0:
        msg = "the table has no rows; at least one probe is needed"
        raise InputError(msg)
    if dataframe.shape[1] == 0:
        msg = "the table has no count column; at least one round is needed"
        raise InputError(msg)
    for column in range(dataframe.shape[1]):
        if pd.api.types.is_numeric_dtype(dataframe.dtypes.iloc[column]):
            continue
        for row, value in enumerate(dataframe.iloc[:, column]):
            if not isinstance(value, int | float | np.number):
                raise InputError(_bad_count(dataframe, row, column, "not a number"))
    counts = dataframe.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.argwhere(~((counts >= 0) & (counts < math.inf)))
    if bad.size:
        row, column = bad[0].tolist()
        rule = "negative" if counts[row, column] < 0 else "not a finite number"
        raise InputError(_bad_count(dataframe, row, column, rule))
    return counts


def _bad_count(dataframe: pd.DataFrame, row: int, column: int, rule: str) -> str:
    """Return the message about a value of a frame that is no count."""
    value = dataframe.iat[row, column]  # noqa: PD009 (by position: labels may repeat)
    shown = shorten(value) if isinstance(value, str) else str(value)
    probe = shorten(str(dataframe.index[row]))
    return f"row {row} (from 0), {probe}: count {shown} in column {column} is {rule}"


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
        dataframe: pd.DataFrame,
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
            InputError: (a ValueError) The frame is empty, a count is missing,
                negative or no number, or a probe has an unknown letter or is outside
                the given lengths; the message names the row.
            PyProBoundError: (a ValueError) A flank or a flank length is not allowed.
        """
        self.transliterate = dict(transliterate or {})
        self.wildcard_pad = wildcard_pad
        if transliterate_flanks:
            left_flank, right_flank = _transliterated(
                [left_flank, right_flank], self.transliterate
            )
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
        target = torch.from_numpy(_count_matrix(dataframe).astype(np.float32))
        probes = _transliterated(_probe_strings(dataframe.index), self.transliterate)
        lengths = np.fromiter(map(len, probes), np.int32, len(probes))
        lengths //= alphabet.monomer_length
        self._min_variable_length, self._max_variable_length = _length_bounds(
            probes, lengths, min_variable_length, max_variable_length
        )
        variable = alphabet.encode(probes, self._max_variable_length)
        _check_no_inner_padding(variable, lengths, probes, alphabet)
        self._lengths = torch.from_numpy(lengths)
        seqs = self._laid_out(variable, left_flank_length, right_flank_length)
        CountBatch.__init__(self, seqs, target)
        unread = int((target == 0).all(1).sum())
        if unread:
            warn(
                f"{unread} of {len(self)} probes have no positive count in any round; "
                "they do not enter the likelihood",
                UserWarning,
                stacklevel=2,
            )

    def _laid_out(self, variable: Tensor, left: int, right: int) -> Tensor:
        """Return rows of flank, variable region, flank and padding.

        Args:
            variable: Codes of the variable regions, shape (probe, longest); what lies
                beyond a probe's own end is not read.
            left: Letters of the left flank.
            right: Letters of the right flank.
        """
        lengths = self._lengths.to(variable.device)
        distinct = self._lengths.bincount().nonzero().flatten().tolist()
        n_probes, width = variable.shape
        padding = self.alphabet.wildcard_pad
        if not self.wildcard_pad:
            padding = self.alphabet.neginf_pad
        seqs = variable.new_full((n_probes, left + width + right), padding)
        seqs[:, :left] = self._left_codes[:left].flip(0).to(seqs)
        right_codes = self._right_codes[:right].to(seqs)
        seqs[:, left : left + width] = variable
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


def _transliterated(sequences: list[str], rules: Mapping[str, str]) -> list[str]:
    """Return the sequences after each replacement in turn."""
    for old, new in rules.items():
        if not old:
            msg = f"cannot transliterate the empty text to {new!r}"
            raise PyProBoundError(msg)
        sequences = [sequence.replace(old, new) for sequence in sequences]
    return sequences


def _probe_strings(index: "pd.Index[Any]") -> list[str]:
    """Return the probes of a frame without the padding at their ends.

    Raises:
        InputError: One of them is not a string.
    """
    probes = index.to_numpy(dtype=object).tolist()
    try:
        return list(map(str.rstrip, probes, repeat(PADDING)))
    except TypeError:
        row, value = next(
            (i, x) for i, x in enumerate(probes) if not isinstance(x, str)
        )
        msg = f"row {row} (from 0): index {value!r} is not a probe sequence"
        raise InputError(msg) from None


def _length_bounds(
    probes: list[str],
    lengths: NDArray[np.int32],
    shortest: int | None,
    longest: int | None,
) -> tuple[int, int]:
    """Return the least and largest length, the data's where they are not given.

    Raises:
        InputError: A probe is shorter or longer; the message names it.
    """
    for row, bound, word, argument in (
        (int(lengths.argmin()), shortest, "less", "min_variable_length"),
        (int(lengths.argmax()), longest, "more", "max_variable_length"),
    ):
        outside = {"less": np.less, "more": np.greater}[word]
        if bound is not None and outside(lengths[row], bound):
            msg = (
                f"row {row} (from 0), {shorten(probes[row])}: {lengths[row]} letters "
                f"are {word} than the {argument} {bound}"
            )
            raise InputError(msg)
    return _default(shortest, int(lengths.min())), _default(longest, int(lengths.max()))


def _check_no_inner_padding(
    variable: Tensor, lengths: NDArray[np.int32], probes: list[str], alphabet: Alphabet
) -> None:
    """Raise InputError if ' ' stands between the letters of a probe."""
    n_letters = (variable != alphabet.neginf_pad).sum(1).numpy()
    broken = np.flatnonzero(n_letters != lengths)
    if broken.size:
        row = int(broken[0])
        msg = (
            f"row {row} (from 0), {shorten(probes[row])}: ' ' is padding and may only "
            "stand at the end; write '*' for any letter"
        )
        raise InputError(msg)


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

    def __len__(self) -> int:
        """Return the number of batches of the longest loader."""
        return max(len(loader) for loader in self.dataloaders)

    def __iter__(self) -> Iterator[tuple[BatchT, ...]]:
        """Iterate over tuples with a batch of every table."""
        if all(_is_whole(loader) for loader in self.dataloaders):
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
