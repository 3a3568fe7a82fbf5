"""Counts summed over windows, k-mer by k-mer."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from pyprobound import CountTable, alphabets
from pyprobound.alphabets import Alphabet
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._kmers import KmerSums, kmer_sums, kmers_pooled
from pyprobound.plotting._pooled import FEWEST_READS

DNA, PROTEIN, CODON = alphabets.DNA(), alphabets.Protein(), alphabets.Codon()
METHYLATED = Alphabet("ACMGTKXY"[:6], complement=True)


def summed_slowly(
    texts: Sequence[Sequence[str]],
    values: torch.Tensor,
    alphabet: Alphabet,
    length: int,
    *,
    both_strands: bool,
) -> dict[str, tuple[int, list[float]]]:
    """Sums by k-mer, window after window, as text."""
    letters = alphabet.alphabet
    partner = dict(zip(letters, reversed(letters), strict=True))
    width = max(len(text) for text in texts)
    columns = [
        {text[x] if x < len(text) else " " for text in texts} for x in range(width)
    ]
    found: dict[str, tuple[int, list[float]]] = defaultdict(
        lambda: (0, [0.0] * values.shape[1])
    )
    for text, row in zip(texts, values.tolist(), strict=True):
        for x in range(len(text) - length + 1):
            word = list(text[x : x + length])
            telling = any(len(columns[x + i]) > 1 for i in range(length))
            if not telling or any(letter not in letters for letter in word):
                continue
            if both_strands:
                reverse = [partner[letter] for letter in reversed(word)]
                word = min(word, reverse, key=lambda w: [letters.index(y) for y in w])
            n, sums = found["".join(word)]
            found["".join(word)] = (
                n + 1,
                [a + b for a, b in zip(sums, row, strict=True)],
            )
    return found


def as_text(sums: KmerSums) -> dict[str, tuple[int, list[float]]]:
    return {
        sums.text(i): (int(n), row.tolist())
        for i, (n, row) in enumerate(zip(sums.n_windows, sums.sums, strict=True))
    }


def random_texts(alphabet: Alphabet, codes: Sequence[str], n: int) -> list[list[str]]:
    rng = np.random.default_rng(2)
    symbols = [*alphabet.alphabet, *codes]
    lengths = rng.integers(3, 9, n)
    return [["C" * alphabet.monomer_length, *rng.choice(symbols, m)] for m in lengths]


@pytest.mark.parametrize(
    ("alphabet", "codes", "length", "both_strands"),
    [
        (DNA, "N*-R", 1, True),
        (DNA, "N*-R", 3, True),
        (DNA, "N*-R", 3, False),
        (DNA, "", 4, True),
        (METHYLATED, "*", 2, True),
        (PROTEIN, "XB", 2, False),
        (CODON, (), 2, False),
    ],
    ids=str,
)
def test_sums_are_those_of_plain_python(
    alphabet: Alphabet, codes: Sequence[str], length: int, both_strands: bool
) -> None:
    texts = random_texts(alphabet, codes, 60)
    if alphabet is METHYLATED:
        texts = [[letter.replace("C", "M") for letter in text] for text in texts]
    seqs = alphabet.encode(["".join(text) for text in texts])
    values = torch.rand(60, 3, dtype=torch.float64)
    found = kmer_sums(seqs, values, alphabet, length, both_strands=both_strands)
    expected = summed_slowly(texts, values, alphabet, length, both_strands=both_strands)
    assert as_text(found).keys() == expected.keys()
    for kmer, (n, sums) in as_text(found).items():
        assert n == expected[kmer][0]
        assert sums == pytest.approx(expected[kmer][1], rel=1e-12)


def test_probes_are_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    seqs = DNA.encode(["".join(text) for text in random_texts(DNA, "N", 50)])
    values = torch.rand(50, 2, dtype=torch.float64)
    whole = kmer_sums(seqs, values, DNA, 2, both_strands=True)
    monkeypatch.setattr("pyprobound.plotting._kmers._PROBES_AT_ONCE", 7)
    pieces = kmer_sums(seqs, values, DNA, 2, both_strands=True)
    assert pieces.numbers.tolist() == whole.numbers.tolist()
    np.testing.assert_allclose(pieces.sums, whole.sums, rtol=1e-13)


def test_windows_within_flanks_say_nothing() -> None:
    counts = [[1.0], [2.0]]
    seqs = DNA.encode(["GGGGACCCC", "GGGGTCCCC"])
    found = kmer_sums(seqs, torch.tensor(counts), DNA, 3, both_strands=False)
    expected = {"GGA": 1, "GAC": 1, "ACC": 1, "GGT": 2, "GTC": 2, "TCC": 2}
    assert {kmer: sums[0] for kmer, (_, sums) in as_text(found).items()} == expected


def test_probes_that_are_all_alike_are_read_all_the_same() -> None:
    found = kmer_sums(DNA.encode(["ACGT"]), torch.ones(1, 1), DNA, 2, both_strands=True)
    # GT is AC on the other strand; CG is its own reverse complement
    assert as_text(found) == {"AC": (2, [2.0]), "CG": (1, [1.0])}


def test_no_window_is_no_kmer() -> None:
    for seqs in (DNA.encode(["AC"]), DNA.encode(["NNNN"]), torch.zeros(0, 9).byte()):
        found = kmer_sums(seqs, torch.ones(len(seqs), 1), DNA, 3, both_strands=True)
        assert not len(found.numbers)


@pytest.mark.parametrize(
    ("alphabet", "length", "longest"), [(DNA, 13, 12), (PROTEIN, 6, 5), (CODON, 5, 4)]
)
def test_tables_of_kmers_are_not_larger_than_memory(
    alphabet: Alphabet, length: int, longest: int
) -> None:
    seqs = torch.zeros(1, 20).byte()
    with pytest.raises(PyProBoundError, match=f"can be {longest} at most"):
        kmer_sums(seqs, torch.ones(1, 1), alphabet, length, both_strands=False)
    with pytest.raises(PyProBoundError, match="kmer_length 0"):
        kmer_sums(seqs, torch.ones(1, 1), alphabet, 0, both_strands=False)


def test_one_strand_has_no_complement() -> None:
    with pytest.raises(ValueError, match="no complement"):
        kmer_sums(
            PROTEIN.encode(["ACD"]), torch.ones(1, 1), PROTEIN, 2, both_strands=True
        )


def test_transliterated_letters_are_letters() -> None:
    table = CountTable(
        pd.DataFrame([[1], [2]], index=["ACGT", "ACGA"]),
        Alphabet("ACMKGT", complement=True),
        transliterate={"CG": "MK"},
    )
    found = kmer_sums(table.seqs, table.target, table.alphabet, 2, both_strands=False)
    assert as_text(found) == {"KT": (1, [1.0]), "KA": (1, [2.0])}


# == pools ============================================================================


def kmers_of(n_windows: Sequence[int], sums: Sequence[Sequence[float]]) -> KmerSums:
    numbers = np.arange(len(n_windows))
    return KmerSums(numbers, np.array(n_windows), np.array(sums), DNA, 3)


def test_frequent_kmers_stand_alone_and_rare_ones_are_pooled() -> None:
    #       before, after; predicted before, after
    many, few = [50.0, 50, 50, 50], [1.0, 2, 6, 12]
    kmers = kmers_of([90, 10, 80, 30, 10], [many, few, [9.0] * 4, many, few])
    pools = kmers_pooled(kmers, 30)
    # k-mer 2 has fewer reads than FEWEST_READS; 1 and 4 are enriched more, go first
    assert pools.n_probes.tolist() == [90, 30, 100]
    assert pools.observed[2].tolist() == [11, 13]
    assert pools.predicted[2].tolist() == [21, 33]
    assert kmers.stand_alone(30).tolist() == [True, False, False, True, False]


def test_pools_of_kmers_have_all_reads() -> None:
    rng = np.random.default_rng(4)
    windows = rng.integers(1, 60, 500)
    sums = windows[:, None] * rng.gamma(1, 0.3, (500, 4))
    pools = kmers_pooled(kmers_of(windows.tolist(), sums.tolist()), 40)
    np.testing.assert_allclose(pools.observed.sum(0), sums[:, :2].sum(0))
    np.testing.assert_allclose(pools.predicted.sum(0), sums[:, 2:].sum(0))
    assert pools.n_probes.min() >= 40
    assert pools.predicted.min() >= FEWEST_READS
    alone = kmers_pooled(kmers_of(windows.tolist(), sums.tolist()), 1)
    assert len(alone.n_probes) == 500
