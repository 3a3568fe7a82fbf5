"""Sequences, some letters at a time, to sums and best windows of each.

Pieces are cut into rows: the windows (and pairs of windows) that start in the first
`step` letters of a row lie in it, so that each is counted once. What is found of the
pieces of a sequence is joined when its last one has come; nothing else is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.errors import InputError
from pyprobound.kernels import log_sum_windows, window_scores
from pyprobound.scoring._model import Motif, SiteModel
from pyprobound.scoring._records import (
    LETTERS_AT_ONCE,
    Part,
    Record,
    batches,
    error_of,
    refuse_unknown,
)

_STEP = 1024
"""Most starts of a row, a power of two: an N takes the quick way from its row alone."""

_TIE = 1e-12
"""Scores that differ by less, relative to 1 or to themselves, are equal."""

Array = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Segment:
    """Letters of one sequence that are worked on together.

    Attributes:
        record: The sequence; its letters are those of a piece.
        start: Where the first letter is in the sequence.
        codes: Letter codes, those after the last start included.
        n_starts: Windows start at so many of them.
        is_last: Whether the sequence ends here.
    """

    record: Record
    start: int
    codes: Codes
    n_starts: int
    is_last: bool


@dataclass(frozen=True)
class Rows:
    """Rows of equal length, padded on the right.

    Attributes:
        codes: (rows, width) letter codes.
        owner: The segment of each row, ascending.
        start: Where each row begins in the sequence.
        step: Windows start in so many letters of a row.
    """

    codes: Tensor
    owner: NDArray[np.int64]
    start: NDArray[np.int64]
    step: int


@dataclass(frozen=True)
class Site:
    """The best window of a motif in each sequence.

    Attributes:
        score: Its score, −∞ where there is none.
        start: Where it begins, from 0 on the + strand.
        strand: 0 is +, 1 is −.
        codes: (sequences, letters) as they are on the + strand.
    """

    score: Array
    start: NDArray[np.int64]
    strand: NDArray[np.int64]
    codes: Codes

    def joined(self, after: "Site") -> "Site":
        """Return the better of each, the first where they are equal."""
        better = after.score > self.score + _tolerance(self.score)
        return Site(
            np.where(better, after.score, self.score),
            np.where(better, after.start, self.start),
            np.where(better, after.strand, self.strand),
            np.where(better[:, None], after.codes, self.codes),
        )

    def followed_by(self, after: "Site") -> "Site":
        """Return the best windows of these sequences and of further ones."""
        return Site(
            np.concatenate([self.score, after.score]),
            np.concatenate([self.start, after.start]),
            np.concatenate([self.strand, after.strand]),
            np.concatenate([self.codes, after.codes]),
        )

    def at(self, where: slice) -> "Site":
        """Return some of them."""
        return Site(
            self.score[where], self.start[where], self.strand[where], self.codes[where]
        )


@dataclass(frozen=True)
class Found:
    """What is found of some sequences.

    Attributes:
        scores: log K by binding, float64.
        lengths: Letters.
        sites: The best windows by motif, where they are asked for.
    """

    scores: dict[str, Tensor]
    lengths: Tensor
    sites: dict[str, Site]

    def joined(self, after: "Found") -> "Found":
        """Return what is found of sequences that consist of two parts."""
        scores = {
            name: torch.logaddexp(each, after.scores[name])
            for name, each in self.scores.items()
        }
        sites = {n: each.joined(after.sites[n]) for n, each in self.sites.items()}
        return Found(scores, self.lengths + after.lengths, sites)

    def followed_by(self, after: "Found") -> "Found":
        """Return what is found of these sequences and of further ones."""
        return Found(
            {n: torch.cat([each, after.scores[n]]) for n, each in self.scores.items()},
            torch.cat([self.lengths, after.lengths]),
            {n: each.followed_by(after.sites[n]) for n, each in self.sites.items()},
        )

    def at(self, where: slice) -> "Found":
        """Return what is found of some of them."""
        return Found(
            {name: each[where] for name, each in self.scores.items()},
            self.lengths[where],
            {name: each.at(where) for name, each in self.sites.items()},
        )


def _tolerance(scores: Array) -> Array:
    size = np.abs(np.where(np.isfinite(scores), scores, 0.0))
    return _TIE * np.maximum(1.0, size)


# --- pieces ------------------------------------------------------------------------


def segments(
    model: SiteModel, parts: Iterable[Part], most_letters: int = LETTERS_AT_ONCE
) -> Iterator[list[Segment]]:
    """Iterate over lists of segments, those of a sequence in order.

    Raises:
        InputError: A letter is unknown; the message names the record.
    """
    width, overlap = model.alphabet.monomer_length, model.reach - 1
    held: Codes = np.zeros(0, np.uint8)
    for batch in batches(parts, most_letters):
        made = []
        ends = np.cumsum([len(each.record.sequence) // width for each in batch])
        codes = np.split(_encoded(model, batch), ends[:-1])
        for part, letters in zip(batch, codes, strict=True):
            start = part.start - len(held)
            own = np.concatenate([held, letters]) if len(held) else letters
            n = len(own)
            if not part.is_last:
                # Whole rows: no window that counts reads what is held back.
                n = max(0, n - overlap) // _STEP * _STEP
            seen = own[: n + overlap] if n else own[:0]
            made.append(Segment(part.record, start, seen, n, part.is_last))
            held = own[n:]
        yield made


def _encoded(model: SiteModel, batch: Sequence[Part]) -> Codes:
    """Return the codes of all letters, one sequence after the other."""
    alphabet = model.alphabet
    texts = [each.record.sequence for each in batch]
    if any(len(text) % alphabet.monomer_length for text in texts):
        refuse_unknown(alphabet, batch)
    try:
        codes = alphabet.encode(["".join(texts)])[0]
    except InputError:
        refuse_unknown(alphabet, batch)
        raise
    if bool((codes == alphabet.neginf_pad).any()):
        refuse_unknown(alphabet, batch)
    made: Codes = codes.numpy()
    return made


def rows_of(model: SiteModel, given: Sequence[Segment]) -> Rows:
    """Return the rows of some segments, at least one of each."""
    overlap = model.reach - 1
    total = sum(each.n_starts for each in given)
    wanted = max(overlap, 2 * total // len(given))  # a row for most, and little padding
    step = min(_STEP, 1 << wanted.bit_length())
    counts = np.array([max(1, -(-each.n_starts // step)) for each in given])
    longest = max(len(each.codes) for each in given)
    width = max(1, min(step + overlap, longest))
    kind, pad = given[0].codes.dtype, model.alphabet.neginf_pad
    filled = np.full((counts.sum(), width), pad, kind)
    starts = np.empty(len(filled), np.int64)
    row = 0
    for each, count in zip(given, counts.tolist(), strict=True):
        if count == 1:
            n = min(len(each.codes), width)
            filled[row, :n] = each.codes[:n]
        else:
            padded = np.full(step * count + width, pad, kind)
            padded[: len(each.codes)] = each.codes
            views = np.lib.stride_tricks.sliding_window_view(padded, width)
            filled[row : row + count] = views[: step * count : step]
        starts[row : row + count] = each.start + step * np.arange(count)
        row += count
    owner = np.repeat(np.arange(len(given)), counts)
    return Rows(torch.from_numpy(filled), owner, starts, step)


# --- windows -----------------------------------------------------------------------


def windows_of(model: SiteModel, motif: Motif, rows: Rows, step: int) -> Tensor:
    """Return the scores of windows that start in `step` letters.

    Returns:
        (rows, strands, windows), at most `step` windows; −∞ over the end.
    """
    return window_scores(
        rows.codes[:, : step + motif.reach - 1],
        motif.filters,
        model.alphabet.embedding(motif.bias.dtype),
        model.alphabet.neginf_pad,
        dilation=motif.dilation,
        bias=motif.bias,
    )


def _log_sum(model: SiteModel, motif: Motif, rows: Rows) -> Tensor:
    return log_sum_windows(
        rows.codes[:, : rows.step + motif.reach - 1],
        motif.filters,
        model.alphabet.embedding(motif.bias.dtype),
        model.alphabet.neginf_pad,
        dilation=motif.dilation,
        bias=motif.bias,
        hill=motif.hill,
    ).double()


def _summed(by_row: Tensor, rows: Rows) -> Tensor:
    """Return the log sum over the rows of each segment."""
    n = int(rows.owner[-1]) + 1
    if len(by_row) == n:
        return by_row
    values = by_row.numpy()
    first = np.searchsorted(rows.owner, np.arange(n))
    top = np.maximum.reduceat(values, first)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        sums = np.log(np.add.reduceat(np.exp(values - top[rows.owner]), first)) + top
    return torch.from_numpy(sums)


def _site(scores: Tensor, motif: Motif, rows: Rows) -> Site:
    """Return the best window of each segment: the first, on the + strand, of equals."""
    n = int(rows.owner[-1]) + 1
    nothing = np.full(n, -1, np.int64)
    letters = np.zeros((n, motif.reach), rows.codes.numpy().dtype)
    if scores.shape[2] == 0:
        return Site(np.full(n, -np.inf), nothing, np.zeros_like(nothing), letters)
    values = scores.amax(1).numpy()
    top = values.max(1)
    first = np.searchsorted(rows.owner, np.arange(n))
    best = np.maximum.reduceat(top, first)
    enough = best - _tolerance(best)
    row = _first_rows(top >= enough[rows.owner], rows.owner, n)
    place = (values[row] >= enough[:, None]).argmax(1)
    strand = np.zeros(n, np.int64)
    if motif.strands > 1:
        strand = (scores.numpy()[row, 0, place] < enough).astype(np.int64)
    found = np.isfinite(best)
    columns = np.minimum(
        place[:, None] + np.arange(motif.reach), rows.codes.shape[1] - 1
    )
    letters = rows.codes.numpy()[row[:, None], columns]
    start = np.where(found, rows.start[row] + place, -1)
    return Site(best.astype(np.float64), start, strand, letters)


def _first_rows(
    chosen: NDArray[np.bool_], owner: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return the first chosen row of each owner, all of whom have one."""
    rows = np.flatnonzero(chosen)
    found: NDArray[np.int64] = rows[np.searchsorted(owner[rows], np.arange(n))]
    return found


@torch.no_grad()
def _found(model: SiteModel, given: Sequence[Segment], with_sites: bool) -> Found:
    """Return what is found of segments."""
    rows = rows_of(model, given)
    paired = {name for dimer in model.dimers for name in dimer.motifs}
    lengths = torch.tensor([each.n_starts for each in given], dtype=torch.int64)
    scores: dict[str, Tensor] = {}
    sites: dict[str, Site] = {}
    windows: dict[str, Tensor] = {}
    for motif in model.motifs:
        scores[motif.name] = _summed(_log_sum(model, motif, rows), rows)
        if with_sites:
            own = windows_of(model, motif, rows, rows.step)
            sites[motif.name] = _site(own, motif, rows)
        if motif.name in paired:
            windows[motif.name] = windows_of(
                model, motif, rows, rows.codes.shape[1]
            ).double()
    for dimer in model.dimers:
        a, b = (windows[name] for name in dimer.motifs)
        scores[dimer.name] = _summed(dimer.log_sum(a, b, rows.step), rows)
    for constant in model.constants:  # of all letters: when the sequence has ended
        scores[constant.name] = torch.full((len(given),), -torch.inf).double()
    return Found(scores, lengths, sites)


def stream(
    model: SiteModel,
    parts: Iterable[Part],
    *,
    with_sites: bool = False,
    allow_short: bool = False,
    most_letters: int = LETTERS_AT_ONCE,
) -> Iterator[tuple[list[Record], Found]]:
    """Iterate over what is found of sequences, some at a time, in their order.

    Args:
        model: What scores them.
        parts: Their pieces.
        with_sites: Whether best windows are wanted.
        allow_short: Whether sequences may be shorter than a motif.
        most_letters: So many are worked on together.

    Raises:
        InputError: A letter is unknown, or a sequence too short; the message names it.
    """
    held: Found | None = None
    for batch in segments(model, parts, most_letters):
        found = _found(model, batch, with_sites)
        if held is not None:
            joined = held.joined(found.at(slice(0, 1)))
            found = joined.followed_by(found.at(slice(1, None)))
        done = len(batch) if batch[-1].is_last else len(batch) - 1
        held = None if batch[-1].is_last else found.at(slice(-1, None))
        if done:
            records = [each.record for each in batch[:done]]
            whole = found.at(slice(0, done))
            for constant in model.constants:
                whole.scores[constant.name] = constant.scores(whole.lengths)
            if not allow_short:
                _refuse_short(model, records, whole.lengths)
            yield records, whole


def _refuse_short(model: SiteModel, records: Sequence[Record], lengths: Tensor) -> None:
    for motif in model.motifs:
        for index in (lengths < motif.reach).nonzero().flatten().tolist()[:1]:
            rule = (
                f"{int(lengths[index])} letters are too few for {motif.name!r}, which"
                f" covers {motif.reach}; leave out such short sequences"
            )
            raise error_of(records[index], rule)
