"""Tables: laying probes out, reading files, sampling, batches and loaders."""

import gzip
import pickle
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from pyprobound.alphabets import DNA, RNA, Alphabet, Codon, Protein
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.table import (
    Batch,
    CountBatch,
    CountTable,
    EvenSampler,
    MultitaskLoader,
    Table,
    collate_batch_fn,
    get_dataframe,
    sample_counts,
    sample_dataframe,
    score,
)

LEFT, RIGHT = "TTGCA", "CGATG"
PROBES = ["ACGT", "A", "TTTTTT", "GANNC", "CA*"]


def frame(probes: list[str], n_rounds: int = 2) -> pd.DataFrame:
    """Distinct positive counts for probes."""
    counts = np.arange(1, 1 + len(probes) * n_rounds).reshape(-1, n_rounds)
    return pd.DataFrame(counts, index=pd.Index(probes))


def laid_out(
    probes: list[str], left: int, right: int, width: int, padding: str = " "
) -> list[str]:
    """Rows of a table as text: unknown letters beyond both flanks, then padding."""
    left_flank = ("*" * 20 + LEFT)[-left:] if left else ""
    right_flank = (RIGHT + "*" * 20)[:right]
    rows = [left_flank + probe + right_flank for probe in probes]
    return [row.ljust(left + width + right, padding) for row in rows]


def flanked(**arguments: object) -> CountTable:
    return CountTable(
        frame(PROBES),
        DNA(),
        left_flank=LEFT,
        right_flank=RIGHT,
        **arguments,  # type: ignore[arg-type]
    )


# -- laying probes out ---------------------------------------------------------------


@pytest.mark.parametrize("wildcard_pad", [False, True])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (0, 3), (5, 5), (7, 6)])
def test_rows_are_flank_probe_flank_and_padding(
    left: int, right: int, wildcard_pad: bool
) -> None:
    table = flanked(
        left_flank_length=left,
        right_flank_length=right,
        max_left_flank_length=7,
        max_right_flank_length=8,
        wildcard_pad=wildcard_pad,
    )
    text = laid_out(PROBES, left, right, 6, "*" if wildcard_pad else " ")
    assert table.seqs.dtype == torch.uint8
    assert torch.equal(table.seqs, DNA().encode(text, left + 6 + right))
    assert table.seqs.shape == (5, table.input_shape)
    assert table.max_read_length == table.input_shape == left + 6 + right
    expected = table.input_shape if wildcard_pad else left + 1 + right
    assert table.min_read_length == expected
    assert (table.left_flank_length, table.right_flank_length) == (left, right)
    assert (table.left_flank, table.right_flank) == (LEFT, RIGHT)


@given(
    lengths=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 8)), max_size=6),
    fixed=st.booleans(),
    wildcard_pad=st.booleans(),
)
def test_changing_flanks_step_by_step_equals_setting_them_at_once(
    lengths: list[tuple[int, int]], fixed: bool, wildcard_pad: bool
) -> None:
    probes = ["ACGT", "CCCA"] if fixed else PROBES
    table = CountTable(
        frame(probes),
        DNA(),
        left_flank=LEFT,
        right_flank=RIGHT,
        max_left_flank_length=7,
        max_right_flank_length=8,
        wildcard_pad=wildcard_pad,
        max_variable_length=8,
    )
    start = table.seqs
    for left, right in lengths:
        table.set_flank_length(left=left, right=right)
        text = laid_out(probes, left, right, 8, "*" if wildcard_pad else " ")
        assert torch.equal(table.seqs, DNA().encode(text, left + 8 + right))
        assert table.input_shape == left + 8 + right
    table.set_flank_length()
    assert torch.equal(table.seqs, start)


def test_read_lengths_count_finite_letters() -> None:
    table = flanked(left_flank_length=2, right_flank_length=1)
    finite = (table.seqs != table.alphabet.neginf_pad).sum(1)
    assert table.min_read_length == finite.min()
    assert table.max_read_length == finite.max()


def test_wildcards_hidden_in_a_probe_count_as_letters() -> None:
    table = CountTable(frame(["*-N", "ACGT"]), DNA())
    assert (table.min_read_length, table.max_read_length) == (3, 4)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_flanks_follow_whatever_integer_type_is_set(dtype: torch.dtype) -> None:
    table = flanked()
    table.seqs = table.seqs.to(dtype)
    table.set_flank_length(2, 3)
    assert table.seqs.dtype == dtype
    assert table.seqs.tolist() == DNA().encode(laid_out(PROBES, 2, 3, 6), 11).tolist()


def test_edited_probes_survive_a_change_of_flanks() -> None:
    table = flanked(left_flank_length=1)
    table.seqs[2, 1:7] = 0
    table.set_flank_length(3, 2)
    assert DNA().decode(table.seqs[2]) == "GCA" + "AAAAAA" + "CG"


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (6, 0, "left_flank_length 6 must be between 0 and 5; a longer left_flank"),
        (0, 8, "right_flank_length 8 must be between 0 and 7"),
        (-1, 0, "left_flank_length -1 must be between 0 and 5"),
    ],
)
def test_a_refused_flank_length_changes_nothing(
    left: int, right: int, message: str
) -> None:
    table = flanked(left_flank_length=3, right_flank_length=1, max_right_flank_length=7)
    before = table.seqs.clone()
    with pytest.raises(PyProBoundError, match=message):
        table.set_flank_length(left, right)
    assert torch.equal(table.seqs, before)
    assert (table.left_flank_length, table.right_flank_length) == (3, 1)
    with pytest.raises(ValueError, match=message):
        flanked(
            left_flank_length=left, right_flank_length=right, max_right_flank_length=7
        )


def test_the_largest_flank_length_may_be_less_than_the_flank() -> None:
    table = flanked(max_left_flank_length=2, left_flank_length=2)
    assert DNA().decode(table.seqs[0]) == "CA" + "ACGT"
    with pytest.raises(ValueError, match="must be between 0 and 2"):
        table.set_flank_length(3)
    with pytest.raises(ValueError, match="max_left_flank_length -1 must not be neg"):
        flanked(max_left_flank_length=-1)


def test_length_bounds_let_tables_share_their_shape() -> None:
    train = CountTable(frame(["ACGT", "ACGTA"]), DNA(), min_variable_length=2)
    validation = CountTable(
        frame(["AC", "ACG"]), DNA(), min_variable_length=2, max_variable_length=5
    )
    for table in (train, validation):
        assert (table.min_read_length, table.max_read_length) == (2, 5)
        assert table.input_shape == table.seqs.shape[1] == 5


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_variable_length": 2}, "row 1 .* 'A': 1 letters are less than the min_"),
        ({"max_variable_length": 5}, "row 2 .* 'TTTTTT': 6 letters are more than the"),
    ],
)
def test_a_probe_outside_the_length_bounds_is_refused(
    bounds: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        flanked(**bounds)


def test_spaces_at_the_end_of_a_probe_are_padding() -> None:
    table = CountTable(frame(["AC  ", "GTA"]), DNA(), right_flank="T")
    table.set_flank_length(right=1)
    assert table.seqs.tolist() == DNA().encode(["ACT ", "GTAT"]).tolist()
    assert table.min_read_length == 3


def test_spaces_inside_a_probe_are_refused() -> None:
    with pytest.raises(InputError, match=r"row 1 .* 'A C': ' ' is padding"):
        CountTable(frame(["ACG", "A C"]), DNA())


@pytest.mark.parametrize(
    ("alphabet", "probes", "flank"),
    [
        (RNA(), ["GAUU", "CNR"], "UA"),
        (Protein(), ["MKVX", "BZJ"], "WY"),
        (Alphabet("ACMGKT", complement=True), ["AMK", "C*-A"], "GM"),
    ],
)
def test_tables_of_every_alphabet(
    alphabet: Alphabet, probes: list[str], flank: str
) -> None:
    table = CountTable(frame(probes), alphabet, right_flank=flank)
    table.set_flank_length(right=2)
    width = 2 + max(map(len, probes))
    expected = alphabet.encode([probe + flank for probe in probes], width)
    assert torch.equal(table.seqs, expected)


def test_codon_flanks_and_lengths_are_counted_in_codons() -> None:
    table = CountTable(
        frame(["AAAAAC", "TTT"]),
        Codon(),
        left_flank="CCCGGG",
        left_flank_length=1,
        max_left_flank_length=3,
    )
    assert table.input_shape == 3
    assert Codon().decode(table.seqs[1]) == "GGGTTT"
    table.set_flank_length(3)
    assert Codon().decode(table.seqs[0]) == "***CCCGGGAAAAAC"
    assert table.min_read_length == 4
    with pytest.raises(InputError, match="not a multiple of the monomer length 3"):
        CountTable(frame(["AAAA"]), Codon())


def test_transliteration_replaces_text_before_encoding() -> None:
    alphabet = Alphabet("ACMGKT", complement=True)
    arguments = {"left_flank": "ACG", "right_flank": "GTACGT"}
    table = CountTable(frame(["CGAC", "TCGCG"]), alphabet, {"CG": "MK"}, **arguments)  # type: ignore[arg-type]
    table.set_flank_length(3, 6)
    # the C before the right flank's G is left alone, and so are the flanks
    assert alphabet.decode(table.seqs[0]) == "ACG" + "MKAC" + "GTACGT"
    assert alphabet.decode(table.seqs[1]) == "ACG" + "TMKMK" + "GTACGT"
    assert table.transliterate == {"CG": "MK"}
    both = CountTable(
        frame(["CGAC", "TCGCG"]),
        alphabet,
        {"CG": "MK"},
        transliterate_flanks=True,
        **arguments,  # type: ignore[arg-type]
    )
    both.set_flank_length(3, 6)
    assert alphabet.decode(both.seqs[0]) == "AMK" + "MKAC" + "GTAMKT"
    assert (both.left_flank, both.right_flank) == ("AMK", "GTAMKT")


def test_transliteration_may_change_lengths_and_is_done_in_order() -> None:
    table = CountTable(frame(["AUUG", "UUUU"]), DNA(), {"UU": "T", "T": "C"})
    assert [DNA().decode(row) for row in table.seqs] == ["ACG", "CC"]
    assert (table.min_read_length, table.max_read_length) == (2, 3)
    with pytest.raises(PyProBoundError, match="empty text"):
        CountTable(frame(["A"]), DNA(), {"": "A"})


# -- counts --------------------------------------------------------------------------


def test_targets_are_float32_and_totals_are_exact() -> None:
    counts = pd.DataFrame({"a": [2**24, 1, 1], "b": [0, 0, 0]}, index=list("ACG"))
    table = CountTable(counts, DNA())
    assert table.target.dtype == torch.float32
    assert table.target.tolist() == counts.to_numpy().tolist()
    assert table.counts_per_round.tolist() == [2**24 + 2, 0]
    assert table.counts_per_round.dtype == torch.float64


def test_intensities_need_not_be_whole() -> None:
    table = CountTable(pd.DataFrame([[0.5], [2.25]], index=["A", "C"]), DNA())
    assert table.target.tolist() == [[0.5], [2.25]]


@pytest.mark.parametrize(
    "dtype", ["int64", "uint8", "float32", "Int64", "bool", "object"]
)
def test_any_numeric_column_is_taken(dtype: str) -> None:
    counts = pd.DataFrame([[1, 0], [1, 1]], index=["A", "C"])
    counts = counts.astype(dtype)  # type: ignore[arg-type]
    assert CountTable(counts, DNA()).target.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [object, "string[python]", "str"])
def test_any_kind_of_string_index_is_taken(dtype: object) -> None:
    counts = frame(["ACG", "TTA"])
    counts.index = counts.index.astype(dtype)  # type: ignore[call-overload]
    assert torch.equal(CountTable(counts, DNA()).seqs, DNA().encode(["ACG", "TTA"]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0, float("nan")], r"row 2 .* 'G': count nan in column 0 is not a fin"),
        ([1.0, float("inf"), 1.0], "row 1 .* count inf in column 0 is not a finite"),
        ([1, "many", 3], "row 1 .* count 'many' in column 0 is not a number"),
        (["1", "2", "3"], "row 0 .* count '1' in column 0 is not a number"),
        ([1, None, 3], "row 1 .* is not a finite number"),
    ],
)
def test_what_is_no_count_is_refused_with_its_row(
    values: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CountTable(pd.DataFrame({0: values}, index=list("ACG")), DNA())


def test_measurements_may_be_negative_but_no_likelihood_counts_them() -> None:
    table = CountTable(pd.DataFrame({0: [2.0, -0.5], 1: [1, 1]}, list("AC")), DNA())
    assert table.target.tolist() == [[2.0, 1.0], [-0.5, 1.0]]
    assert table.distinct.lowest == -0.5
    with pytest.raises(InputError, match=r"row 1 \(from 0\): count -0.5 in column 0"):
        _ = table.distinct_counts


def test_negative_count_is_not_hidden_by_a_repeat_of_its_probe() -> None:
    table = CountTable(pd.DataFrame({0: [2, -1]}, list("AA")), DNA())
    assert table.distinct.target.tolist() == [[1.0]]
    with pytest.raises(InputError, match=r"row 1 \(from 0\): count -1"):
        _ = table.distinct_counts


def test_missing_counts_of_nullable_columns_are_refused() -> None:
    counts = pd.DataFrame({0: pd.array([1, None], dtype="Int64")}, index=["A", "C"])
    with pytest.raises(InputError, match=r"row 1 .* is not a finite number"):
        CountTable(counts, DNA())


def test_empty_frames_are_refused() -> None:
    with pytest.raises(InputError, match="the table has no rows"):
        CountTable(frame([]), DNA())
    with pytest.raises(InputError, match="no count column"):
        CountTable(pd.DataFrame(index=["A"]), DNA())


@pytest.mark.parametrize("probe", [7, None, float("nan"), ("A", "C")])
def test_an_index_that_is_no_sequence_is_refused(probe: object) -> None:
    counts = pd.DataFrame([[1], [2]])
    counts.index = pd.Index(["A", probe], dtype=object, tupleize_cols=False)
    with pytest.raises(InputError, match=r"row 1 \(from 0\): index .* is not a probe"):
        CountTable(counts, DNA())


def test_an_unknown_letter_is_refused_with_its_row_or_flank() -> None:
    with pytest.raises(
        InputError, match=r"letter 'X' at position 1 .* sequence 1 'CX'"
    ):
        CountTable(frame(["AC", "CX"]), DNA())
    with pytest.raises(InputError, match="right flank: letter 'U' at position 0"):
        CountTable(frame(["AC"]), DNA(), right_flank="UU")


def test_probes_without_reads_warn_once_with_their_number() -> None:
    counts = pd.DataFrame([[0, 0], [1, 0], [0, 0]], index=list("ACG"))
    with pytest.warns(UserWarning, match="2 of 3 probes have no positive") as caught:
        CountTable(counts, DNA())
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_round_without_reads_is_legal() -> None:
    table = CountTable(pd.DataFrame({0: [0, 0], 1: [1, 2]}, index=["A", "C"]), DNA())
    assert table.counts_per_round.tolist() == [0, 3]


def test_the_frame_is_not_changed() -> None:
    counts = frame(PROBES)
    before = counts.copy(deep=True)
    table = CountTable(counts, DNA())
    table.target += 1
    table.seqs += 1
    pd.testing.assert_frame_equal(counts, before)


# -- dataset and batch ---------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        1,
        -1,
        np.int64(2),
        slice(1, 4),
        slice(None, None, 2),
        [3, 0],
        [],
        np.array([4, 1]),
        torch.tensor([2, 0], dtype=torch.uint8),
        torch.tensor(3),
        torch.tensor([True, False, False, True, False]),
        [False, True, False, False, True],
    ],
    ids=str,
)
def test_items_and_deletion_select_the_same_rows(rows: object) -> None:
    table = flanked(left_flank_length=1, right_flank_length=2)
    numbers = torch.arange(len(PROBES))
    # PyTorch itself reads uint8 as a mask, and [] as floats
    awkward = torch.is_tensor(rows) and rows.dtype == torch.uint8
    awkward = awkward or (isinstance(rows, list) and not rows)
    index = torch.as_tensor(rows).long() if awkward else rows
    chosen = numbers[index]  # type: ignore[index]
    batch = table[rows]  # type: ignore[index]
    assert torch.equal(batch.seqs, table.seqs[chosen])
    assert torch.equal(batch.target, table.target[chosen])
    assert batch.batchlen() == chosen.numel()

    kept = [i for i in range(len(PROBES)) if i not in chosen.flatten().tolist()]
    seqs, target = table.seqs[kept], table.target[kept]
    shape = table.input_shape, table.min_read_length, table.max_read_length
    del table[rows]  # type: ignore[arg-type]
    assert torch.equal(table.seqs, seqs)
    assert torch.equal(table.target, target)
    assert len(table) == table.batchlen() == len(kept)
    assert (table.input_shape, table.min_read_length, table.max_read_length) == shape
    table.set_flank_length(3, 4)
    text = laid_out([PROBES[i] for i in kept], 3, 4, 6)
    assert torch.equal(table.seqs, DNA().encode(text, 13))


def test_rows_beyond_the_table_are_index_errors() -> None:
    table = flanked()
    with pytest.raises(IndexError):
        table[5]
    with pytest.raises(IndexError):
        del table[[0, 9]]
    assert len(table) == 5


def test_a_single_item_has_no_probe_axis_and_collates_into_rows() -> None:
    table = flanked()
    assert table[2].seqs.shape == (6,)
    assert table[2].target.shape == (2,)
    assert table[2].batchlen() == 1
    batch = collate_batch_fn([table[2], table[:2], table[4]])
    assert isinstance(batch, CountBatch)
    assert torch.equal(batch.seqs, table.seqs[[2, 0, 1, 4]])
    assert torch.equal(batch.target, table.target[[2, 0, 1, 4]])


def test_only_count_batches_collate() -> None:
    class OtherBatch(Batch):
        def batchlen(self) -> int:
            return 1

    with pytest.raises(TypeError, match="cannot collate OtherBatch"):
        collate_batch_fn([OtherBatch()])
    with pytest.raises(ValueError, match="no batch to collate"):
        collate_batch_fn([])


def test_a_batch_checks_its_shapes() -> None:
    with pytest.raises(ValueError, match=r"target of shape \(2, 1\) has not one row"):
        CountBatch(torch.zeros(3, 4), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"target of shape \(2, 1\) is not that of a"):
        CountBatch(torch.zeros(4), torch.zeros(2, 1))


def test_moving_a_batch_changes_the_type_of_its_counts_alone() -> None:
    table = flanked()
    moved = table.to("cpu", torch.float64)
    assert type(moved) is CountBatch
    assert moved.target.dtype == torch.float64
    assert moved.seqs.dtype == torch.uint8
    assert table.target.dtype == torch.float32
    assert table[:2].to(torch.device("meta")).seqs.device.type == "meta"
    assert table.to().seqs is table.seqs


def test_a_table_survives_pickling_to_a_worker() -> None:
    table = flanked(left_flank_length=2)
    again = pickle.loads(pickle.dumps(table))  # noqa: S301 (pickled here)
    again.set_flank_length(0, 1)
    table.set_flank_length(0, 1)
    assert torch.equal(again.seqs, table.seqs)
    assert again.alphabet == table.alphabet


def test_the_setup_string_describes_the_table_in_lines() -> None:
    table = CountTable(
        frame(["ACG", "ACGTT"]),
        DNA(),
        transliterate={"U": "T"},
        left_flank="GGC",
        left_flank_length=2,
        wildcard_pad=True,
    )
    assert table.get_setup_string().split("\n\t") == [
        "CountTable of 2 probes",
        "Alphabet: DNA()",
        "Left flank: GGC (2 letters scored, at most 3)",
        "Right flank: none (0 letters scored, at most 0)",
        "Scored length: 7 letters",
        "Counts per round: 4, 6",
        "Transliterated: U → T",
        "Shorter probes are followed by unknown letters",
    ]
    assert "Scored length: 1 to 6 letters" in flanked().get_setup_string()


def test_table_and_batch_are_interfaces() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Table(DNA())  # type: ignore[abstract]
    with pytest.raises(TypeError, match="abstract"):
        Batch()  # type: ignore[abstract]


# -- scoring -------------------------------------------------------------------------


class LetterCount(torch.nn.Module):
    """Scores a probe with the weight of its letters; remembers the chunks it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.chunks: list[int] = []

    def max_embedding_size(self) -> int:
        return 64 * 2**20

    def forward(self, seqs: Tensor) -> Tensor:
        self.chunks.append(len(seqs))
        return self.weight * (seqs < 4).sum(1)

    def windows(self, seqs: Tensor, add: float = 0.0) -> Tensor:
        self.chunks.append(len(seqs))
        return self.weight * seqs[:, None, :] + add


@pytest.mark.parametrize(
    ("max_split", "chunks"), [(None, [4, 1]), (2, [2, 2, 1]), (9, [5])]
)
def test_scores_do_not_depend_on_the_chunks(
    max_split: int | None, chunks: list[int]
) -> None:
    module, table = LetterCount(), flanked(left_flank_length=2)
    observed, predicted = score(module, table, max_split=max_split)
    assert module.chunks == chunks
    assert observed is table.target
    assert torch.equal(predicted, 2.0 * (table.seqs < 4).sum(1))
    assert not predicted.requires_grad
    assert module(table.seqs).requires_grad  # gradients are on again


def test_any_method_with_arguments_can_score() -> None:
    table = flanked()
    _, predicted = score(LetterCount(), table[1:], "windows", max_split=3, add=1.5)
    assert torch.equal(predicted, 2.0 * table.seqs[1:, None, :] + 1.5)
    observed, single = score(LetterCount(), table[3], fun="windows")
    assert single.shape == (1, 1, 6)
    assert torch.equal(observed, table.target[3])


def test_scoring_nothing_gives_nothing() -> None:
    observed, predicted = score(LetterCount(), flanked()[:0])
    assert observed.shape == (0, 2)
    assert predicted.shape == (0,)
    with pytest.raises(ValueError, match="max_split 0 must be at least 1"):
        score(LetterCount(), flanked(), max_split=0)


# -- reading files -------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def writer(text: str, name: str = "counts.tsv") -> Path:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return writer


@pytest.mark.parametrize("name", ["counts.tsv", "counts.tsv.gz", "NA"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_headerless_file_is_read(
    write: Callable[..., Path], name: str, newline: str
) -> None:
    text = newline.join(["ACG\t1\t0", "NA\t0\t2", '"TT"\t3.0\t1e2', "", "C\t5\t7"])
    table = get_dataframe(write(text, name))
    assert table.index.tolist() == ["ACG", "NA", "TT", "C"]
    assert table.columns.equals(pd.RangeIndex(2))
    assert table.to_numpy().tolist() == [[1, 0], [0, 2], [3, 100], [5, 7]]
    assert set(table.dtypes) == {np.dtype("int64")}


def test_files_are_joined_side_by_side(write: Callable[..., Path]) -> None:
    first = write("C\t1\t2\nA\t3\t4\n", "first.tsv")
    second = write("G\t5\nA\t6\n", "second.tsv")
    third = write("T\t7\nC\t8\n", "third.tsv.gz")
    table = get_dataframe([str(first), str(second), str(third)])
    expected = {
        "C": [1, 2, 0, 8],
        "A": [3, 4, 6, 0],
        "G": [0, 0, 5, 0],
        "T": [0, 0, 0, 7],
    }
    assert table.columns.equals(pd.RangeIndex(4))
    assert dict(zip(table.index, table.to_numpy().tolist(), strict=True)) == expected
    assert table.index.tolist() == list(expected)  # in order of appearance
    assert set(table.dtypes) == {np.dtype("int64")}


def test_repeated_probes_are_summed_with_a_warning(write: Callable[..., Path]) -> None:
    path = write("A\t1\t2\nC\t3\t4\nA\t10\t20\nA\t5\t0\n")
    with pytest.warns(UserWarning, match=r"counts\.tsv: 2 rows repeat an") as caught:
        table = get_dataframe(str(path))
    assert [warning.filename for warning in caught] == [__file__]
    assert table.index.tolist() == ["A", "C"]
    assert table.to_numpy().tolist() == [[16, 22], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("A\t1\t2\nC\t3\n", "line 2: 2 columns where the first line has 3"),
        ("A\t1\nC\t3\t4\n", "line 2: 3 columns where the first line has 2"),
        ("A\t1\n\nC\t-3\n", "line 3: column 2 is '-3', a negative count"),
        ("A\t1\nC\t0.5\n", "line 2: column 2 is '0.5', not a whole number"),
        ("A\t1\t7\nC\t1\tx\n", "line 2: column 3 is 'x', not a count"),
        ("A\t1\nC\t\n", "line 2: column 2 is '', not a count"),
        ("A\t1\nC\tnan\n", "line 2: column 2 is 'nan', not a whole number"),
        ("A\t1\nC\tinf\n", "line 2: column 2 is 'inf', not a whole number"),
        ("A\t1\nC\t1e30\n", "line 2: column 2 is '1e30', too large"),
        (f"A\t1\nC\t{10**30}\n", "line 2: column 2 is '1000.*', too large"),
        ("A\nC\n", "line 1: 'A' has no count column"),
        ("A 1\nC 2\n", "line 1: 'A 1' has no count column"),
        ("probe\tR0\nA\t1\n", "line 1: .* 'R0', not a count .a header line is not"),
        ("A\t1\n\t3\n", "line 2: the probe is missing"),
        ("A\tTrue\n", "line 1: column 2 is 'True', not a count"),
    ],
)
@pytest.mark.parametrize("name", ["counts.tsv", "counts.tsv.gz"])
def test_a_bad_line_is_named(
    write: Callable[..., Path], text: str, message: str, name: str
) -> None:
    path = write(text, name)
    with pytest.raises(InputError, match=message) as error:
        get_dataframe(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_bad_line_far_down_a_long_file_is_named(write: Callable[..., Path]) -> None:
    lines = [f"{'ACGT'[i % 4] * 9}{i}\t{i}\t1" for i in range(20_000)]
    lines[17_000] = "ACGT\t1\tmany"
    with pytest.raises(InputError, match="line 17001: column 3 is 'many', not a"):
        get_dataframe(write("\n".join(lines)))


def test_an_open_quote_is_one_line_of_error(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="EOF inside string") as error:
        get_dataframe(write('A\t1\n"C\t3\n'))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_opened_are_input_errors(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"absent\.tsv: no such file"):
        get_dataframe(tmp_path / "absent.tsv")
    with pytest.raises(InputError, match="cannot be read"):
        get_dataframe(tmp_path)
    whole = write("ACGT\t1\n" * 1000, "whole.tsv.gz").read_bytes()
    cut = tmp_path / "cut.tsv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.tsv\.gz: cannot be read"):
        get_dataframe(cut)
    damaged = tmp_path / "damaged.tsv.gz"
    damaged.write_bytes(whole[:12] + b"\xff" * 20 + whole[32:])
    with pytest.raises(InputError, match=r"damaged\.tsv\.gz: cannot be read"):
        get_dataframe(damaged)
    binary = tmp_path / "binary.tsv"
    binary.write_bytes(b"A\xff\t1\n")
    with pytest.raises(InputError, match=r"binary\.tsv: .*utf-8"):
        get_dataframe(binary)
    with pytest.raises(ValueError, match="no path"):
        get_dataframe([])


def test_reads_are_thinned_to_about_the_total(write: Callable[..., Path]) -> None:
    rng = random.Random(0)
    lines = [f"{'A' * i}\t{rng.randrange(30)}\t{rng.randrange(90)}\n" for i in
             range(1, 400)]  # fmt: skip
    path = write("".join(lines))
    whole = get_dataframe(path)
    total = whole.to_numpy().sum()
    thinned = get_dataframe(path, total_count=4000, random_state=5)
    kept = thinned.to_numpy()
    assert abs(kept.sum() - 4000) < 5 * (4000 * (1 - 4000 / total)) ** 0.5
    assert (kept <= whole.loc[thinned.index].to_numpy()).all()
    assert (kept.sum(1) > 0).all()
    assert kept.sum(0) / 4000 == pytest.approx(
        whole.to_numpy().sum(0) / total, abs=0.04
    )
    pd.testing.assert_frame_equal(thinned, get_dataframe(path, 4000, random_state=5))
    pd.testing.assert_frame_equal(whole, get_dataframe(path, total_count=10**9))
    with pytest.raises(ValueError, match="cannot thin to -1 reads"):
        get_dataframe(path, total_count=-1)


@pytest.mark.parametrize("index", [False, True])
def test_parquet_is_read_by_its_first_column_or_index(
    tmp_path: Path, index: bool
) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    counts = pd.DataFrame({"probe": ["AC", "GT"], "R0": [1, 2], "R1": [3.0, 4.0]})
    path = tmp_path / "counts.parquet"
    (counts.set_index("probe") if index else counts).to_parquet(path)
    table = get_dataframe(path)
    assert table.index.tolist() == ["AC", "GT"]
    assert table.columns.equals(pd.RangeIndex(2))
    assert table.to_numpy().tolist() == [[1, 3], [2, 4]]
    assert CountTable(table, DNA()).target.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"p": ["A", "C"]}, "no count column"),
        ({"p": ["A", None], "n": [1, 2]}, r"row 1 \(from 0\) has no probe sequence"),
        ({"p": [1, 2], "n": [1, 2]}, "row 0 .* has no probe sequence"),
        ({"p": ["A", "C"], "n": [1, -2]}, "row 1 .* 'C': count -2 .* is negative"),
        ({"p": ["A", "C"], "n": ["1", "2"]}, "count '1' in column 0 is not a number"),
        ({"p": ["A", "C"], "n": [1, None]}, "not a finite number"),
        ({"p": ["A", "C"], "n": [1.5, 2]}, "not all whole numbers"),
        ({"p": [], "n": []}, "no rows"),
    ],
)
def test_a_bad_parquet_table_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    path = tmp_path / "counts.parquet"
    pd.DataFrame(columns).to_parquet(path)
    with pytest.raises(InputError, match=message) as error:
        get_dataframe(path)
    assert str(error.value).startswith(f"{path}: ")


def test_parquet_without_pyarrow_or_damaged_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counts.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="needs pyarrow; run `pip install pyarrow`"):
        get_dataframe(path)
    monkeypatch.undo()
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    with pytest.raises(InputError, match="cannot be read"):
        get_dataframe(path)


def test_the_bcd_table_is_read_whole_and_encoded(shared: Path) -> None:
    path = shared / "data/bcd/countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz"
    counts = get_dataframe(path)
    assert counts.shape == (334_515, 5)
    table = CountTable(counts, DNA(), left_flank="TTGCCG", left_flank_length=5)
    assert table.counts_per_round.tolist() == [0, 100_000, 100_000, 100_000, 100_000]
    assert DNA().decode(table.seqs[-1]) == "TGCCG" + "TTTTTTTTACCTCTACCCCC"
    assert (table.min_read_length, table.max_read_length) == (25, 25)


# -- sampling ------------------------------------------------------------------------


def enriched(n_probes: int = 1000) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    counts = rng.poisson([4, 2, 3], (n_probes, 3))
    counts[:, -1] *= rng.integers(1, 50, n_probes)
    return pd.DataFrame(counts, index=[f"{i:05d}" for i in range(n_probes)])


@pytest.mark.parametrize("frac", [0.0, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("n_bin", [1, 7, 128, 5000])
def test_splitting_keeps_every_probe_once(frac: float, n_bin: int) -> None:
    counts = enriched()
    before = counts.copy(deep=True)
    part, rest = sample_dataframe(counts, frac, random_state=1, n_bin=n_bin)
    assert len(part) == round(frac * len(counts))
    assert part.index.is_monotonic_increasing  # the order of the table
    pd.testing.assert_frame_equal(pd.concat([part, rest]).sort_index(), counts)
    pd.testing.assert_frame_equal(counts, before)


def test_splitting_is_even_by_enrichment() -> None:
    counts = enriched()
    part, _ = sample_dataframe(counts, frac=0.2, random_state=1, n_bin=20)
    enrichment = (counts[2] + 1) / (counts[0] + 1)
    stretches = np.array_split(enrichment.sort_values(kind="stable").index, 20)
    assert [part.index.isin(x).sum() for x in stretches] == [10] * 20


def test_splitting_is_reproducible_by_seed() -> None:
    counts = enriched()
    first, second = (sample_dataframe(counts, 0.3, seed)[0] for seed in (1, 1))
    other, _ = sample_dataframe(counts, 0.3, random_state=2)
    pd.testing.assert_frame_equal(first, second)
    assert not first.index.equals(other.index)


def test_splitting_takes_repeated_probes_as_they_are() -> None:
    counts = pd.DataFrame([[1, i] for i in range(10)], index=["A"] * 10)
    part, rest = sample_dataframe(counts, 0.3, random_state=0)
    assert sorted([*part[1], *rest[1]]) == list(range(10))
    assert len(part) == 3


def test_splitting_refuses_impossible_arguments() -> None:
    with pytest.raises(ValueError, match=r"frac 1\.5 must be between 0 and 1"):
        sample_dataframe(enriched(5), frac=1.5)
    with pytest.raises(ValueError, match="n_bin 0 must be at least 1"):
        sample_dataframe(enriched(5), n_bin=0)


def test_thinning_scales_each_column_to_its_number() -> None:
    counts = enriched()
    before = counts.copy(deep=True)
    totals = counts.to_numpy().sum(0)
    thinned = sample_counts(counts, n_counts=3000, random_state=4)
    assert (thinned <= counts).all(axis=None)
    assert thinned[1].equals(counts[1])  # has fewer reads than asked for
    for column in (0, 2):
        spread = (3000 * (1 - 3000 / totals[column])) ** 0.5
        assert abs(thinned[column].sum() - 3000) < 5 * spread
        assert thinned[column].sum() != 3000  # binomial, not exact
    pd.testing.assert_frame_equal(counts, before)
    pd.testing.assert_frame_equal(thinned, sample_counts(counts, 3000, 4))
    assert set(thinned.dtypes) == {np.dtype("int64")}


def test_thinning_is_binomial_in_every_probe() -> None:
    counts = pd.DataFrame({0: [1000] * 2000}, index=["A"] * 2000)
    thinned = sample_counts(counts, n_counts=500_000, random_state=0)[0]
    assert thinned.mean() == pytest.approx(250, abs=2)
    assert thinned.var() == pytest.approx(187.5, rel=0.15)


def test_thinning_refuses_what_cannot_be_thinned() -> None:
    with pytest.raises(InputError, match=r"row 1 .* count .*0\.5.* not a whole number"):
        sample_counts(pd.DataFrame([[1.0], [0.5]], index=["A", "C"]))
    with pytest.raises(ValueError, match="cannot thin to -3 reads"):
        sample_counts(enriched(5), n_counts=-3)


# -- samplers and loaders ------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_rows", "n_bin"), [(12, 4), (13, 4), (3, 5), (0, 4), (9, 1), (1000, 128)]
)
def test_the_even_sampler_visits_every_row_once_and_stretches_in_turn(
    n_rows: int, n_bin: int
) -> None:
    sampler = EvenSampler(range(n_rows), n_bin)
    order = list(sampler)
    assert len(sampler) == n_rows
    assert sorted(order) == list(range(n_rows))
    edges = [i * n_rows // n_bin for i in range(n_bin + 1)]
    stretch = {row: i for i in range(n_bin) for row in range(edges[i], edges[i + 1])}
    visits: Counter[int] = Counter()
    turns = []
    for row in order:
        turns.append((visits[stretch[row]], stretch[row]))
        visits[stretch[row]] += 1
    assert turns == sorted(turns)  # all stretches once, then all of them again, …


def test_the_even_sampler_draws_a_new_order_from_the_seed() -> None:
    sampler = EvenSampler(range(100), 10)
    first, second = list(sampler), list(sampler)
    assert first != second
    torch.manual_seed(1)
    third = list(sampler)
    torch.manual_seed(1)
    assert list(sampler) == third
    with pytest.raises(ValueError, match="n_bin 0 must be at least 1"):
        EvenSampler(range(3), 0)


def many(n_probes: int, n_rounds: int = 1) -> CountTable:
    letters = random.Random(n_probes)
    probes = ["".join(letters.choices("ACGT", k=8)) for _ in range(n_probes)]
    return CountTable(frame(probes, n_rounds), DNA())


def rows_of(batches: Iterator[CountBatch] | list[CountBatch]) -> list[float]:
    return [x for batch in batches for x in batch.target[:, 0].tolist()]


@pytest.mark.parametrize("collate", [None, collate_batch_fn])
def test_a_data_loader_over_a_table_gives_batches(
    collate: Callable[..., Batch] | None,
) -> None:
    table = many(10)
    loader: DataLoader[CountBatch] = DataLoader(
        table, batch_size=4, sampler=EvenSampler(table, 5), collate_fn=collate
    )
    batches = list(loader)
    assert [batch.batchlen() for batch in batches] == [4, 4, 2]
    assert all(type(batch) is CountBatch for batch in batches)
    assert sorted(rows_of(batches)) == table.target[:, 0].tolist()
    for batch in batches:
        same = [table.target[:, 0].tolist().index(x) for x in rows_of([batch])]
        assert torch.equal(batch.seqs, table.seqs[same])


def test_multitask_batches_cycle_the_shorter_tables() -> None:
    long, short = many(10, 2), many(3)
    loader = MultitaskLoader(
        [
            DataLoader[CountBatch](long, batch_size=2),
            DataLoader[CountBatch](short, batch_size=2, shuffle=True),
        ]
    )
    assert len(loader) == 5
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == 5
        assert rows_of([x for x, _ in batches]) == long.target[:, 0].tolist()
        assert [y.batchlen() for _, y in batches] == [2, 1, 2, 1, 2]
        for start in (0, 2):
            passed = rows_of([batches[start][1], batches[start + 1][1]])
            assert sorted(passed) == short.target[:, 0].tolist()


def test_whole_tables_are_handed_out_as_they_are() -> None:
    tables = many(5), many(3)
    loader = MultitaskLoader(
        [DataLoader[CountBatch](x, batch_size=8, shuffle=True) for x in tables]
    )
    (batches,) = list(loader)
    assert batches[0] is tables[0]
    assert batches[1] is tables[1]


def test_a_part_of_a_table_is_not_taken_for_the_whole() -> None:
    table = many(10)
    dropped = DataLoader[CountBatch](table, batch_size=6, drop_last=True)
    sampled = DataLoader[CountBatch](table, batch_size=6, sampler=range(4))
    for loader, n_probes in ((dropped, 6), (sampled, 4)):
        ((batch,),) = list(MultitaskLoader([loader]))
        assert batch.batchlen() == n_probes


def test_a_batch_sampler_may_hand_out_the_whole_table() -> None:
    table = many(4)
    batches = BatchSampler(SequentialSampler(table), 4, drop_last=False)
    loader = DataLoader[CountBatch](table, batch_sampler=batches)
    assert list(MultitaskLoader([loader])) == [(table,)]


def test_multitask_loaders_need_batches() -> None:
    with pytest.raises(ValueError, match="at least one loader"):
        MultitaskLoader[CountBatch]([])
    empty = DataLoader[CountBatch](many(3), batch_size=5, drop_last=True)
    with pytest.raises(ValueError, match=r"loader 0 \(from 0\) has no batch"):
        MultitaskLoader([empty])
