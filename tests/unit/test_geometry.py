"""Coordinates: spans, values that move with them, and values out of sight."""

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyprobound.geometry import Ledger, Span, footprint_distance, resized

spans = st.builds(
    lambda start, size: Span(start, start + size),
    st.integers(-6, 6),
    st.integers(0, 7),
)


def places(span: Span) -> set[int]:
    return set(range(span.start, span.stop))


def numbered(span: Span) -> Tensor:
    """Values that say where they belong, none of them 0."""
    return torch.arange(span.start, span.stop, dtype=torch.float64) + 100


@given(spans, spans, st.integers(-5, 5))
def test_spans_are_sets_of_neighbouring_coordinates(
    first: Span, second: Span, by: int
) -> None:
    assert len(first) == len(places(first))
    assert places(first.shifted(by)) == {place + by for place in places(first)}
    shared = first.overlap(second)
    assert places(shared) == places(first) & places(second)
    if len(shared):
        assert list(numbered(first)[first.slice_of(shared)]) == list(numbered(shared))


def test_a_span_cannot_end_before_it_starts() -> None:
    assert len(Span(3, 3)) == 0
    with pytest.raises(ValueError, match=r"stop \(2\) before it starts \(3\)"):
        Span(3, 2)


@given(spans, spans)
def test_resized_values_stay_at_their_place(old: Span, new: Span) -> None:
    laid = resized(numbered(old), old, new, 0)
    expected = [place + 100 if place in places(old) else 0 for place in places(new)]
    assert sorted(laid.tolist()) == sorted(map(float, expected))
    for place, value in zip(range(new.start, new.stop), laid.tolist(), strict=True):
        assert value == (place + 100 if place in places(old) else 0)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_axis_is_resized(dim: int, dtype: torch.dtype) -> None:
    values = torch.rand(4, 4, 4, dtype=dtype)
    laid = resized(values, Span(0, 4), Span(-1, 3), dim)
    assert laid.dtype == dtype
    assert laid.shape == values.shape
    assert torch.equal(laid.narrow(dim, 1, 3), values.narrow(dim, 0, 3))
    assert not laid.narrow(dim, 0, 1).any()
    assert resized(values, Span(0, 4), Span(0, 4), dim) is values


@given(st.integers(-9, 9), st.integers(1, 5), st.integers(1, 5))
def test_distance_counts_the_letters_between_footprints(
    offset: int, size_a: int, size_b: int
) -> None:
    first = set(range(size_a))
    second = set(range(offset, offset + size_b))
    found = footprint_distance(offset, size_a, size_b)
    if first & second:
        # How far either would have to move, at least, to leave the other.
        assert found == -min(max(first) + 1 - offset, offset + size_b)
        assert found < 0
    else:
        between = set(range(min(first | second), max(first | second) + 1))
        assert found == len(between - first - second)


@given(st.lists(spans, min_size=1, max_size=5), spans)
def test_a_ledger_remembers_what_was_written_last(
    written: list[Span], wanted: Span
) -> None:
    known: dict[int, float] = {}
    ledger: Ledger | None = None
    for turn, span in enumerate(written):
        values = numbered(span) + 1000 * turn
        known.update(zip(range(span.start, span.stop), values.tolist(), strict=True))
        if ledger is None:
            ledger = Ledger.of(values, (span,))
        else:
            ledger = ledger.written(values, (span,))
    assert ledger is not None
    found = ledger.read((wanted,))
    for place, value in zip(
        range(wanted.start, wanted.stop), found.tolist(), strict=True
    ):
        if place in known:
            assert value == known[place]
        else:
            assert value != value  # not a number: never written


def test_a_ledger_of_two_axes_keeps_leading_ones_whole() -> None:
    rng = random.Random(0)
    spans_of = (Span(0, 2), Span(-1, 2))
    values = torch.tensor([[[rng.random() for _ in range(3)] for _ in range(2)]] * 4)
    ledger = Ledger.of(values, spans_of)
    values.fill_(9)  # it holds a copy
    grown = ledger.read((Span(-1, 2), Span(-1, 3)))
    assert grown.shape == (4, 3, 4)
    assert grown[:, 0].isnan().all()
    assert grown[:, :, 3].isnan().all()
    assert torch.equal(grown[:, 1:, :3], ledger.values)


MOVED: dict[str, Callable[[Tensor], Tensor]] = {
    "to float64": lambda values: values.double(),
    "to float16": lambda values: values.half(),
    "under a gradient": lambda values: values.clone().requires_grad_(),
}


@pytest.mark.parametrize("how", MOVED)
def test_a_ledger_follows_the_type_of_what_is_written(how: str) -> None:
    ledger = Ledger.of(torch.ones(3), (Span(0, 3),))
    values = MOVED[how](torch.full((2,), 2.0))
    after = ledger.written(values, (Span(2, 4),))
    assert after.values.dtype == values.dtype
    assert not after.values.requires_grad
    assert after.read((Span(0, 4),)).tolist() == [1, 1, 2, 2]
    assert ledger.values.tolist() == [1, 1, 1]
