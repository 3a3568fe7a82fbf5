"""Coordinates: half-open spans, and re-laying values when a span changes.

A positional parameter (position bias, dimer bias, spacing) remembers the span of
coordinates that it covers. An edit of the model changes the span; `resized` carries
every value to the same physical place, puts 0 in new places and forgets the places
that are gone. Growing and shrinking back is therefore exact.
"""

from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """The coordinates start, start+1, …, stop−1."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        """Refuse a span that ends before it starts."""
        if self.stop < self.start:
            msg = f"a span cannot stop ({self.stop}) before it starts ({self.start})"
            raise ValueError(msg)

    def __len__(self) -> int:
        """Return how many coordinates there are."""
        return self.stop - self.start

    def shifted(self, by: int) -> "Span":
        """Return the span moved to the right by `by`."""
        return Span(self.start + by, self.stop + by)

    def overlap(self, other: "Span") -> "Span":
        """Return the coordinates that both have (empty where there are none)."""
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.stop, other.stop)))

    def slice_of(self, inner: "Span") -> slice:
        """Return where the coordinates of `inner` lie in an array over this span."""
        return slice(inner.start - self.start, inner.stop - self.start)


def resized(values: Tensor, old: Span, new: Span, dim: int) -> Tensor:
    """Return `values`, laid over `old` along axis `dim`, laid over `new` instead.

    Args:
        values: An array with len(old) entries along `dim`.
        old: The coordinates of those entries.
        new: The coordinates wanted.
        dim: The axis.

    Returns:
        An array with len(new) entries along `dim`; 0 where `old` had no entry.
    """
    if old == new:
        return values
    shape = list(values.shape)
    shape[dim] = len(new)
    out = torch.zeros(shape, dtype=values.dtype, device=values.device)
    kept = old.overlap(new)
    if len(kept) == 0:
        return out
    source, target = old.slice_of(kept), new.slice_of(kept)
    out.narrow(dim, target.start, len(kept)).copy_(
        values.narrow(dim, source.start, len(kept))
    )
    return out


def first_known(values: Tensor, entry: Tensor, n_entries: int) -> Tensor:
    """Return, for each entry, the first of its values that is known; 0 without one.

    Args:
        values: (…, places); NaN is not known.
        entry: (places,) the entry that each place belongs to.
        n_entries: Number of entries.

    Returns:
        (…, entries).
    """
    n_places = values.shape[-1]
    place = torch.arange(n_places, device=values.device).expand(values.shape)
    place = place.masked_fill(values.isnan(), n_places)
    first = place.new_full((*values.shape[:-1], n_entries), n_places)
    entry = entry.to(values.device).expand(values.shape)
    first = first.scatter_reduce(-1, entry, place, "amin")
    return torch.nn.functional.pad(values, (0, 1)).gather(-1, first)


def footprint_distance(offset: int, size_a: int, size_b: int) -> int:
    """Return the letters between two footprints: negative where they overlap.

    Args:
        offset: Start of b minus start of a.
        size_a: Letters that a covers.
        size_b: Letters that b covers.
    """
    return max(offset - size_a, -offset - size_b)


@dataclass(frozen=True)
class Ledger:
    """Values by physical place, those that are out of sight included.

    A place that an edit takes out of sight (the last window, when a footprint grows)
    comes back with its value when the edit is reversed.

    Attributes:
        values: (…, places of axis 1, places of axis 2, …); NaN where never written.
        spans: The coordinates of each of the last axes.
    """

    values: Tensor
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, values: Tensor, spans: tuple[Span, ...]) -> "Ledger":
        """Return a ledger of values laid over spans."""
        return cls(values.detach().clone(), spans)

    def written(self, values: Tensor, spans: tuple[Span, ...]) -> "Ledger":
        """Return the ledger with values laid over spans written into it."""
        union = tuple(
            Span(min(old.start, new.start), max(old.stop, new.stop))
            for old, new in zip(self.spans, spans, strict=True)
        )
        # A model may have changed its precision or device since.
        same = Ledger(self.values.to(values), self.spans)
        merged = same.read(union)
        merged[self._slices(union, spans)] = values.detach()
        return Ledger(merged, union)

    def read(self, spans: tuple[Span, ...]) -> Tensor:
        """Return the values over spans: NaN where none was ever written."""
        lead = self.values.shape[: self.values.ndim - len(spans)]
        out = self.values.new_full((*lead, *map(len, spans)), float("nan"))
        kept = tuple(
            old.overlap(new) for old, new in zip(self.spans, spans, strict=True)
        )
        out[self._slices(spans, kept)] = self.values[self._slices(self.spans, kept)]
        return out

    @staticmethod
    def _slices(
        outer: tuple[Span, ...], inner: tuple[Span, ...]
    ) -> tuple[slice | EllipsisType, ...]:
        slices = (a.slice_of(b) for a, b in zip(outer, inner, strict=True))
        return (Ellipsis, *slices)
