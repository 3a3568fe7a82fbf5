"""Holding out probes by their sequence, so that no fit has seen what it is judged on.

A sequence is held out as a whole: with all rows that repeat it, in every table. The
draw is even by enrichment (`sample_dataframe`), so that a few strong binders do not
all fall on one side.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from pyprobound._distinct import repeats_of
from pyprobound.errors import PyProBoundError
from pyprobound.table import CountTable, sample_dataframe

_UNUSED, _ALWAYS_TRAINED = -2, -1
_STRETCH = 50
_MOST_STRETCHES = 128


@dataclass(frozen=True)
class Split:
    """One division of some tables.

    Attributes:
        tables: All probes.
        train: Masks of the rows to fit, one (probe,) for each table.
        held_out: Masks of the rows to judge by.
        sequences: A number for each row's sequence, the same wherever it occurs.
    """

    tables: Sequence[CountTable]
    train: Sequence[Tensor]
    held_out: Sequence[Tensor]
    sequences: Sequence[Tensor]

    def train_tables(self) -> list[CountTable]:
        """Return the tables to fit, flanks and lengths laid out as in the whole."""
        return _parts(self.tables, self.train)

    def held_out_tables(self) -> list[CountTable]:
        """Return the tables to judge by."""
        return _parts(self.tables, self.held_out)


def split_by_sequence(
    tables: Sequence[CountTable],
    held_out: float = 0.2,
    folds: int = 1,
    sample: int | None = None,
    seed: int = 0,
) -> list[Split]:
    """Divide tables into what is fitted and what is held out.

    Args:
        tables: The tables, which are not changed.
        held_out: The fraction of the sequences that is held out, with one fold.
        folds: How often the tables are divided: with two or more, every sequence is
            held out exactly once.
        sample: How many sequences to use, drawn at random; by default all.
        seed: Of the draw.

    Returns:
        One split for each fold.

    Raises:
        ValueError: A setting is out of its range, or a table has no reads to fit, or
            fewer than two sequences with reads to judge by.
    """
    if not 0 < held_out < 1:
        msg = f"held_out {held_out} must be between 0 and 1"
        raise PyProBoundError(msg)
    if folds < 1:
        msg = f"folds {folds} must be at least 1"
        raise PyProBoundError(msg)
    sequences = _numbered(tables)
    labels = _labels(tables, sequences, held_out, folds, sample, seed)
    splits = []
    for fold in range(folds):
        own = [labels[numbers] for numbers in sequences]
        split = Split(
            tables,
            [(label != fold) & (label != _UNUSED) for label in own],
            [label == fold for label in own],
            sequences,
        )
        _check(split)
        splits.append(split)
    return splits


def _numbered(tables: Sequence[CountTable]) -> list[Tensor]:
    """Number the distinct sequences of all tables, (probe,) int64 for each table."""
    codes = [_variable_codes(table) for table in tables]
    width = max(rows.shape[1] for rows in codes)
    kind = max((rows.dtype for rows in codes), key=lambda each: each.itemsize)
    padded = [
        torch.nn.functional.pad(
            rows.to(kind), (0, width - rows.shape[1]), value=table.alphabet.neginf_pad
        )
        for table, rows in zip(tables, codes, strict=True)
    ]
    together = torch.cat(padded)
    found = repeats_of(together)
    numbers = torch.arange(len(together)) if found is None else found[1].cpu()
    return list(numbers.split([len(rows) for rows in codes]))


def _variable_codes(table: CountTable) -> Tensor:
    """Return the letters between the flanks, padded with ' ', (probe, longest)."""
    bare = copy.copy(table)
    bare.set_flank_length(0, 0)
    if not table.wildcard_pad:
        return bare.seqs
    # '*' after the last letter is padding as well
    seqs = bare.seqs.clone()
    unknown = (seqs == table.alphabet.wildcard_pad).to(torch.uint8)
    after = unknown.flip(1).cumprod(1, dtype=torch.uint8).flip(1).bool()
    return seqs.masked_fill_(after, table.alphabet.neginf_pad)


def _labels(
    tables: Sequence[CountTable],
    sequences: Sequence[Tensor],
    held_out: float,
    folds: int,
    sample: int | None,
    seed: int,
) -> Tensor:
    """Return the fold in which each sequence is held out, (sequence,) int64."""
    n_sequences = 1 + int(torch.cat(list(sequences)).max())
    ends = torch.zeros(2, n_sequences, dtype=torch.float64)
    for table, numbers in zip(tables, sequences, strict=True):
        for end, column in zip(ends, (0, -1), strict=True):
            end.index_add_(0, numbers, table.target[:, column].cpu().double())
    rest = pd.DataFrame(ends.T.numpy())
    labels = torch.full((n_sequences,), _UNUSED)
    if sample is not None and sample < n_sequences:
        rest, _ = _drawn(rest, sample / n_sequences, seed)
    for fold in range(folds):
        part = held_out if folds == 1 else 1 / (folds - fold)
        drawn, rest = _drawn(rest, part, seed)
        labels[torch.from_numpy(drawn.index.to_numpy().copy())] = fold
    labels[torch.from_numpy(rest.index.to_numpy().copy())] = _ALWAYS_TRAINED
    return labels


def _drawn(
    ends: pd.DataFrame, part: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw a part of the sequences, evenly by enrichment, and return the rest as well.

    Stretches are long enough for chance to have a say in each of them.
    """
    n_stretches = min(_MOST_STRETCHES, max(1, len(ends) // _STRETCH))
    return sample_dataframe(ends, part, seed, n_stretches)


def _check(split: Split) -> None:
    """Check that both sides of a split say something."""
    for index, table in enumerate(split.tables):
        is_read = table.target.sum(1).cpu() > 0
        judged = split.sequences[index][is_read & split.held_out[index]]
        if not bool((is_read & split.train[index]).any()):
            side = "no sequence with reads is left to fit"
        elif len(judged.unique()) < 2:
            side = "fewer than two sequences with reads are held out"
        else:
            continue
        msg = f"table {index}: {side}; change held_out, folds or sample"
        raise PyProBoundError(msg)


def _parts(tables: Sequence[CountTable], masks: Sequence[Tensor]) -> list[CountTable]:
    """Return some rows of each table; the tables share no tensor that is written to."""
    parts = []
    for table, mask in zip(tables, masks, strict=True):
        part = copy.copy(table)
        del part[~mask]
        parts.append(part)
    return parts
