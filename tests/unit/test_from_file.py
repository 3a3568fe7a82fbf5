"""A table read from a file a piece at a time is the table of its frame."""

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyprobound import _encoded as module
from pyprobound._encoded import EncodedCounts, encode_frame
from pyprobound.alphabets import DNA, Alphabet, Codon, Protein
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.table import (
    CountTable,
    encoded_counts,
    get_dataframe,
    sample_dataframe,
    sample_encoded,
)

FORMATS = ["counts.tsv", "counts.tsv.gz", "counts.parquet"]
FLANKS = {"left_flank": "GACG", "right_flank": "CCTA"}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)


def random_frame(
    n: int = 60, lengths: tuple[int, int] = (9, 9), letters: str = "ACGT", seed: int = 0
) -> pd.DataFrame:
    """Distinct probes with integer counts, of which none is 0 in both rounds."""
    rng = np.random.default_rng(seed)
    probes: dict[str, None] = {}
    while len(probes) < n:
        size = rng.integers(lengths[0], lengths[1] + 1)
        probes["".join(rng.choice(list(letters), size))] = None
    counts = rng.integers(0, 30, (n, 2))
    counts[:, 0] += 1
    return pd.DataFrame(counts, index=pd.Index(list(probes), name="probe"))


def written(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame in the format of the file's name."""
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
        frame.set_axis(["R0", "R1"], axis=1).reset_index().to_parquet(path)
    else:
        frame.to_csv(path, sep="\t", header=False)
    return path


def assert_same_table(found: CountTable, expected: CountTable) -> None:
    assert torch.equal(found.seqs, expected.seqs)
    assert found.seqs.dtype == expected.seqs.dtype
    assert torch.equal(found.target, expected.target)
    assert found.target.dtype == torch.float32
    assert found.get_setup_string() == expected.get_setup_string()
    for table in (found, expected):
        table.set_flank_length(
            left=min(1, table.max_left_flank_length),
            right=min(2, table.max_right_flank_length),
        )
    assert torch.equal(found.seqs, expected.seqs)
    del found[3]
    del expected[3]
    assert torch.equal(found.seqs, expected.seqs)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("frame", "arguments"),
    [
        (random_frame(), {}),
        (random_frame(), {"left_flank_length": 2, "right_flank_length": 3}),
        (random_frame(lengths=(4, 12)), {"left_flank_length": 2}),
        (random_frame(lengths=(4, 12)), {"wildcard_pad": True}),
        (random_frame(), {"min_variable_length": 3, "max_variable_length": 15}),
        (
            random_frame(letters="ACG"),
            {"transliterate": {"CG": "RYY", "A": "T"}, "transliterate_flanks": True},
        ),
    ],
    ids=["plain", "flanks", "lengths", "wildcards", "bounds", "transliterated"],
)
def test_the_table_of_a_file_is_that_of_its_frame(
    tmp_path: Path, name: str, frame: pd.DataFrame, arguments: dict[str, Any]
) -> None:
    path = written(frame, tmp_path / name)
    found = CountTable.from_file(path, DNA(), **FLANKS, **arguments)
    expected = CountTable(get_dataframe(path), DNA(), **FLANKS, **arguments)
    assert_same_table(found, expected)


@pytest.mark.parametrize(
    ("alphabet", "probes"),
    [
        (Codon(), ["AAAACG", "NNN", "CGTTTTACG"] * 5),
        (Protein(), ["MKL", "WWXB", "A"] * 5),
        (Alphabet("AÉß"), ["AÉ", "ßßß", "*"] * 5),
    ],
    ids=["codons", "protein", "not ASCII"],
)
def test_every_alphabet_is_read(
    tmp_path: Path, alphabet: Alphabet, probes: list[str]
) -> None:
    path = tmp_path / "counts.tsv"
    path.write_text("".join(f"{x}\t{i + 1}\n" for i, x in enumerate(probes)), "utf-8")
    with pytest.warns(UserWarning, match="12 rows repeat an earlier probe"):
        found = CountTable.from_file(path, alphabet)
    with pytest.warns(UserWarning, match="12 rows repeat an earlier probe"):
        expected = CountTable(get_dataframe(path), alphabet)
    assert torch.equal(found.seqs, expected.seqs)
    assert torch.equal(found.target, expected.target)


def test_several_files_stand_side_by_side(tmp_path: Path) -> None:
    paths = [written(random_frame(20, seed=i), tmp_path / f"{i}.tsv") for i in range(2)]
    found = CountTable.from_file(paths, DNA())
    assert_same_table(found, CountTable(get_dataframe(paths), DNA()))
    assert len(CountTable.from_file(paths[:1], DNA())) == 20


def test_probes_far_apart_are_summed_with_a_warning(tmp_path: Path) -> None:
    frame = random_frame(30)
    path = written(pd.concat([frame, frame[3:5]]), tmp_path / "counts.tsv")
    with pytest.warns(UserWarning, match=r"counts\.tsv: 2 rows repeat an earlier"):
        found = CountTable.from_file(path, DNA())
    frame.iloc[3:5] *= 2
    assert_same_table(found, CountTable(frame, DNA()))


def test_probes_without_reads_warn_once(tmp_path: Path) -> None:
    frame = random_frame(30)
    frame.iloc[[2, 20]] = 0
    path = written(frame, tmp_path / "counts.tsv")
    with pytest.warns(UserWarning, match="2 of 30 probes have no positive") as caught:
        CountTable.from_file(path, DNA())
    assert len(caught) == 1


# --- faults -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ACGT\t1\tmany", "line 31: column 3 is 'many', not a count"),
        ("ACGT\t1\t-2", "line 31: column 3 is '-2', a negative count"),
        ("ACGT\t1\t0.5", "line 31: column 3 is '0.5', not a whole number"),
        ("ACGT\t1", "line 31: 2 columns where the first line has 3"),
        ("ACGT\t1\t2\t3", "line 31: 4 columns where the first line has 3"),
        ("\t1\t2", "line 31: the probe is missing"),
        ("ACXT\t1\t2", r"letter 'X' at position 2 \(from 0\) of sequence 30 'ACXT' "),
        ("AC T\t1\t2", r"row 30 \(from 0\), 'AC T': ' ' is padding"),
    ],
)
@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_bad_line_is_named(
    tmp_path: Path, line: str, message: str, name: str
) -> None:
    lines = written(random_frame(50), tmp_path / "good.tsv").read_text().splitlines()
    lines[30] = line
    text = "\n".join(lines).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(InputError, match=message) as error:
        CountTable.from_file(path, DNA())
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, None, r"row 20 \(from 0\) has no probe sequence"),
        (0, "", r"row 20 \(from 0\) has no probe sequence"),
        (0, "AXC", "letter 'X' at position 1 .* of sequence 20 'AXC'"),
        (1, -2.0, "row 20 .* count -2.0 in column 0 is negative"),
        (2, None, "row 20 .* in column 1 is not a finite number"),
        (2, 0.5, "the counts are not all whole numbers"),
    ],
)
def test_a_bad_row_of_a_parquet_file_is_named(
    tmp_path: Path, column: int, value: object, message: str
) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    frame = random_frame(30).astype(float).reset_index()
    frame.isetitem(column, frame.iloc[:, column].astype(object))
    frame.iloc[20, column] = value
    if column:
        frame.isetitem(column, frame.iloc[:, column].astype(float))
    path = tmp_path / "counts.parquet"
    frame.set_axis(["probe", "R0", "R1"], axis=1).to_parquet(path)
    with pytest.raises(InputError, match=message) as error:
        CountTable.from_file(path, DNA())
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("index", [False, True])
def test_a_parquet_file_may_hold_probes_in_its_index(
    tmp_path: Path, index: bool
) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    frame = random_frame(30).set_axis(["R0", "R1"], axis=1)
    path = tmp_path / "counts.parquet"
    (frame if index else frame.reset_index()).to_parquet(path)
    assert_same_table(CountTable.from_file(path, DNA()), CountTable(frame, DNA()))


def test_files_that_are_no_table_are_input_errors(tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.tsv", tmp_path / "broken.tsv"
    empty.touch()
    broken.write_bytes(gzip.compress(b"ACGT\t1\n" * 999)[:40])
    for path, message in (
        (tmp_path / "absent.tsv", "no such file"),
        (empty, "the file is empty"),
        (broken, "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=message) as error:
            CountTable.from_file(path, DNA())
        assert str(error.value).startswith(f"{path}: ")
    with pytest.raises(ValueError, match="no path"):
        CountTable.from_file([], DNA())


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = written(random_frame(1)[:0], tmp_path / "counts.parquet")
    with pytest.raises(InputError, match="the table has no rows"):
        CountTable.from_file(path, DNA())


def test_a_probe_outside_the_length_bounds_is_refused(tmp_path: Path) -> None:
    path = written(random_frame(20, lengths=(4, 8)), tmp_path / "counts.tsv")
    with pytest.raises(InputError, match="4 letters are less than the min_variable"):
        CountTable.from_file(path, DNA(), min_variable_length=5)
    with pytest.raises(PyProBoundError, match="cannot transliterate the empty text"):
        CountTable.from_file(path, DNA(), transliterate={"": "A"})


# --- held-out parts -----------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 5), st.integers(1, 9))
def test_encoded_counts_are_split_as_frames_are(
    n: int, frac: float, seed: int, n_bin: int
) -> None:
    frame = random_frame(n, seed=seed)
    encoded = encode_frame(frame, DNA(), {})
    found = sample_encoded(encoded, frac, seed, n_bin)
    expected = sample_dataframe(frame, frac, seed, n_bin)
    for part, of_frame in zip(found, expected, strict=True):
        assert [DNA().decode(row) for row in part.codes] == of_frame.index.tolist()
        assert part.target.tolist() == of_frame.to_numpy().tolist()


def test_the_strings_of_a_file_are_never_together(tmp_path: Path) -> None:
    path = written(random_frame(50), tmp_path / "counts.tsv")
    sizes = []
    original = module.encode_frame

    def watched(frame: pd.DataFrame, *args: Any) -> EncodedCounts:
        sizes.append(len(frame))
        return original(frame, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "encode_frame", watched)
        encoded: Callable[..., EncodedCounts] = encoded_counts
        assert len(encoded(path, DNA(), {})) == 50
    assert max(sizes) == 7
    assert sum(sizes) == 50


def test_tables_of_the_same_codes_may_be_laid_out_apart(tmp_path: Path) -> None:
    path = written(random_frame(20), tmp_path / "counts.tsv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded = encoded_counts(path, DNA(), {})
    first = CountTable(encoded, DNA(), **FLANKS, left_flank_length=3)
    second = CountTable(encoded, DNA(), **FLANKS)
    assert torch.equal(first.seqs[:, 3:], second.seqs)
