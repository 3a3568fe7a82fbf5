"""Repeated probes of a table are found, in order, and their counts summed."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyprobound import CountBatch, CountTable, MultiExperimentLoss, alphabets
from pyprobound import _distinct as module
from pyprobound._distinct import Distinct, repeats_of
from tests.unit.fits import fit_of, reads_of

DNA = alphabets.DNA()
TYPES = [torch.uint8, torch.int16, torch.int64]
rows = st.integers(0, 17).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 3), min_size=width, max_size=width), max_size=12
    )
)


def tensor_of(listed: list[list[int]], dtype: torch.dtype) -> Tensor:
    width = len(listed[0]) if listed else 3
    return torch.tensor(listed, dtype=dtype).reshape(len(listed), width)


def oracle(seqs: list[list[int]]) -> tuple[list[int], list[int]]:
    """Return the first row of each kind, and the kind of each row."""
    kinds = {tuple(row): i for i, row in reversed(list(enumerate(seqs)))}
    first = sorted(kinds.values())
    return first, [first.index(kinds[tuple(row)]) for row in seqs]


@given(rows, st.sampled_from(TYPES))
def test_distinct_rows_come_in_order_of_first_appearance(
    listed: list[list[int]], dtype: torch.dtype
) -> None:
    seqs = tensor_of(listed, dtype)
    found = repeats_of(seqs)
    first, kind = oracle(listed)
    if len(first) == len(listed):
        assert found is None
        return
    assert found is not None
    assert found[0].tolist() == first
    assert found[1].tolist() == kind


@given(rows)
def test_rows_that_share_a_number_are_told_apart(listed: list[list[int]]) -> None:
    def careless(seqs: Tensor) -> Tensor:
        """Number rows by their first letter alone."""
        return seqs[:, :1].sum(1, dtype=torch.int64)

    seqs = tensor_of(listed, torch.uint8)
    expected = repeats_of(seqs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_numbers", careless)
        found = repeats_of(seqs)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_large_tables_are_worked_through_in_pieces() -> None:
    rng = np.random.default_rng(0)
    seqs = torch.from_numpy(rng.integers(0, 4, (70_000, 9), dtype=np.uint8))
    target = torch.from_numpy(rng.integers(0, 9, (70_000, 2))).float()
    distinct = Distinct.of(seqs, target)
    assert distinct.inverse is not None
    assert torch.equal(distinct.seqs[distinct.inverse], seqs)
    frame = pd.DataFrame(target.numpy()).groupby(seqs.numpy().view("V9")[:, 0]).sum()
    assert len(distinct.seqs) == len(frame)
    assert torch.equal(distinct.target.sum(0), target.sum(0))


def test_sums_of_counts_do_not_lose_single_reads() -> None:
    seqs = torch.zeros((3, 2), dtype=torch.uint8)
    target = torch.tensor([[2.0**24], [1.0], [1.0]])
    assert Distinct.of(seqs, target).target.tolist() == [[2**24 + 2]]


# --- of a batch -----------------------------------------------------------------------


def table_of(probes: list[str], **arguments: int) -> CountTable:
    counts = np.arange(1, 1 + 2 * len(probes)).reshape(-1, 2)
    frame = pd.DataFrame(counts, index=probes)
    return CountTable(frame, DNA, left_flank="GA", right_flank="CT", **arguments)


def test_probes_that_are_encoded_alike_are_one() -> None:
    table = table_of(["AN", "C", "A*", "AN", "G"])
    distinct = table.distinct
    assert [DNA.decode(row) for row in distinct.seqs] == ["A*", "C", "G"]
    assert distinct.inverse is not None
    assert distinct.inverse.tolist() == [0, 1, 0, 0, 2]
    assert distinct.target.tolist() == [[1 + 5 + 7, 2 + 6 + 8], [3, 4], [9, 10]]


def test_without_repeats_the_tensors_are_the_tables_own() -> None:
    table = table_of(["AC", "C"])
    assert table.distinct.inverse is None
    assert table.distinct.seqs is table.seqs
    assert table.distinct.target is table.target
    single = table[1].distinct
    assert single.seqs.shape == (1, 2)
    assert single.target.tolist() == [[3, 4]]


def test_distinct_probes_are_found_once_and_again_after_any_change() -> None:
    table = table_of(["AC", "C", "AC"])
    known = table.distinct
    assert table.distinct is known
    table.set_flank_length(1, 1)
    assert table.distinct is not known
    assert DNA.decode(table.distinct.seqs[1]) == "ACC"
    known = table.distinct
    table.target[0, 0] += 1
    assert table.distinct.target[0, 0] == known.target[0, 0] + 1
    table.seqs = torch.cat([table.seqs[:2], table.seqs[1:2]])
    assert table.distinct.inverse is not None
    assert table.distinct.inverse.tolist() == [0, 1, 1]
    del table[1]
    assert table.distinct.inverse is None
    with torch.inference_mode():
        batch = CountBatch(table.seqs.clone(), table.target.clone())
        batch.distinct  # noqa: B018 it may be remembered, but not taken for granted
        batch.seqs[:] = batch.seqs[0].clone()
        assert batch.distinct.inverse is not None


def pickled(table: CountTable) -> object:
    return pickle.loads(pickle.dumps(table))  # noqa: S301 our own


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_copies_do_not_carry_what_can_be_found_again(again: object) -> None:
    assert callable(again)
    table = table_of(["AC", "C", "AC"])
    expected = table.distinct.seqs
    other = again(table)
    assert other._distinct is None
    assert torch.equal(other.distinct.seqs, expected)


def test_repeats_are_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = reads_of(20)
    twice = pd.concat([frame, frame])
    whole, fit = fit_of(frame=twice), fit_of(frame=frame)
    for each in (whole, fit):
        aggregate = each.selected.aggregate
        for part in aggregate.components():
            aggregate.activity_heuristic(part)
    fit.model.load_state_dict(whole.model.state_dict())
    n_scored = []
    original = type(whole.modes[-1]).evaluate

    def counting(self: object, evaluation: object) -> Tensor:
        n_scored.append(len(evaluation.seqs))  # type: ignore[attr-defined]
        return original(self, evaluation)  # type: ignore[arg-type]

    monkeypatch.setattr(type(whole.modes[-1]), "evaluate", counting)
    assert isinstance(whole.model, MultiExperimentLoss)
    found = whole.model([whole.table]).negloglik
    assert set(n_scored) == {20}
    assert found.item() == pytest.approx(fit.model([fit.table]).negloglik.item())
