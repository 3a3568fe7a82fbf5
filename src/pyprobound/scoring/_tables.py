"""Scores of sequences as data frames."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pyprobound._numerics import NEG_INF
from pyprobound.errors import InputError
from pyprobound.scoring._model import SiteModel
from pyprobound.scoring._records import Part, capitals, parts_of
from pyprobound.scoring._stream import (
    Rows,
    Segment,
    rows_of,
    segments,
    stream,
    windows_of,
)
from pyprobound.scoring._values import Columns, What

WINDOWS_AT_ONCE = 2**17
"""Rows of a table of windows that are made together."""

Texts = Sequence[str] | NDArray[Any] | pd.Series


def score_sequences(
    model: SiteModel,
    sequences: Texts,
    what: Iterable[What] = ("scores",),
    *,
    concentration: float | None = None,
    upper: bool = False,
    allow_short: bool = False,
) -> pd.DataFrame:
    """Score sequences of any lengths.

    Args:
        model: From `open_model`.
        sequences: Strings: a list, an array or a Series.
        what: The kinds of columns, in their order; see docs/scoring.md:
            "scores" (log K of each mode and dimer), "log_z", "enrichment" (natural
            logarithms), "affinity" and "log_affinity" (sums over windows, of each mode,
            relative to its best sequence), "best" (the best window: best_score,
            best_start from 0, best_strand, best_site), "ddg" (ΔΔG/RT of the best window
            to the best sequence, at least 0), "contribution" (share of Z of each mode
            and dimer), "occupancy".
        concentration: Free concentration for "occupancy", in the unit of the model's
            activities.
        upper: Whether small letters are read as capitals.
        allow_short: Whether a sequence may be shorter than a motif; its sum is then 0
            (−∞ as a logarithm), and it has no best window (−1).

    Returns:
        A row for each sequence, with the index of a Series.

    Raises:
        PyProBoundError: (a ValueError) A letter is unknown, a sequence is too short or
            no string, or the model cannot say what is asked for.
    """
    columns = Columns(model, tuple(what), concentration)
    found = stream(
        model,
        _parts(model, sequences, upper=upper),
        with_sites=columns.with_sites,
        allow_short=allow_short,
    )
    chunks = [columns.values(each) for _, each in found]
    index = sequences.index if isinstance(sequences, pd.Series) else None
    if not chunks:
        return pd.DataFrame(columns=columns.names, index=index, dtype=float)
    return pd.DataFrame(
        {
            name: np.concatenate([each[name] for each in chunks])
            for name in columns.names
        },
        index=index,
    )


def profile_sequences(
    model: SiteModel, sequences: Texts, *, upper: bool = False
) -> pd.DataFrame:
    """Score every window of sequences of any lengths.

    Args:
        model: From `open_model`.
        sequences: As in `score_sequences`, and so is `upper`.
        upper: Whether small letters are read as capitals.

    Returns:
        A row for each window: "sequence" (the number from 0, or the index of a Series),
        "start" (from 0, on the + strand) and for each motif and strand "NAME:+" and
        "NAME:-": −ΔΔG/RT of the window, −∞ where the motif would go over the end.

    Raises:
        PyProBoundError: As in `score_sequences`.
    """
    parts = _parts(model, sequences, upper=upper)
    chunks = [each.drop(columns="name") for each in profiles(model, parts)]
    if not chunks:
        names = ["sequence", "start", *_strands(model)]
        return pd.DataFrame(columns=names, dtype=float)
    made = pd.concat(chunks, ignore_index=True)
    if isinstance(sequences, pd.Series):
        made["sequence"] = sequences.index[made["sequence"]]
    return made


def profiles(
    model: SiteModel, parts: Iterable[Part], most_letters: int = WINDOWS_AT_ONCE
) -> Iterator[pd.DataFrame]:
    """Iterate over the windows of sequences, see `profile_sequences`.

    Yields:
        Tables with "sequence", "name", "start" and a column for each motif and strand.
    """
    done = 0
    for batch in segments(model, parts, most_letters):
        yield _profile(model, batch, rows_of(model, batch), done)
        done += sum(each.is_last for each in batch)


@torch.no_grad()
def _profile(
    model: SiteModel, batch: Sequence[Segment], rows: Rows, done: int
) -> pd.DataFrame:
    """Return the windows of some segments, of which so many sequences come before."""
    shortest = min((each.reach for each in model.motifs), default=1)
    ends = np.array(
        [each.start + each.n_starts - each.is_last * (shortest - 1) for each in batch]
    )
    number = done + np.cumsum([0, *(each.is_last for each in batch)])[:-1]
    names = np.array([each.record.name for each in batch], dtype=object)
    start = rows.start[:, None] + np.arange(rows.step)
    row, place = np.nonzero(start < ends[rows.owner][:, None])
    owner = rows.owner[row]
    columns = {
        "sequence": number[owner],
        "name": names[owner],
        "start": start[row, place],
    }
    for motif in model.motifs:
        scores = windows_of(model, motif, rows, rows.step)
        missing = rows.step - scores.shape[2]
        padded = functional.pad(scores, (0, missing), value=NEG_INF).numpy()
        for strand, sign in enumerate("+-"[: motif.strands]):
            columns[f"{motif.name}:{sign}"] = padded[row, strand, place]
    return pd.DataFrame(columns)


def _strands(model: SiteModel) -> list[str]:
    return [
        f"{motif.name}:{sign}"
        for motif in model.motifs
        for sign in "+-"[: motif.strands]
    ]


def _parts(model: SiteModel, sequences: Texts, *, upper: bool) -> Iterator[Part]:
    if isinstance(sequences, str):
        raise InputError("one string is no list of sequences: write [sequence]")
    for part in parts_of(
        list(sequences), range(len(sequences)), model.alphabet.monomer_length
    ):
        yield capitals(part) if upper else part
