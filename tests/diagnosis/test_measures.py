"""Words, agreement and copies, against plain Python and by hand."""

import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyprobound import alphabets
from pyprobound.diagnosis._agreement import (
    Predicted,
    agreement,
    explained,
    probe_agreement,
    word_agreement,
)
from pyprobound.diagnosis._kmers import Words, word_size
from pyprobound.diagnosis._motifs import best_correlation, correlation, largest_contrast
from tests.diagnosis.cases import drawn, opened

DNA = alphabets.DNA()
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def texts(number: int, length: int) -> list[str]:
    rng = random.Random(5)
    return ["".join(rng.choices("ACGT", k=length)) for _ in range(number)]


@pytest.mark.parametrize("is_folded", [False, True])
def test_words_are_counted_as_in_texts(is_folded: bool) -> None:
    probes = [*texts(30, 9), "ACGTACGTA", "AAAAAAAAA"]
    values = torch.arange(len(probes), dtype=torch.float64) + 1
    words = Words.of(DNA.encode(probes), DNA, size=3, is_folded=is_folded)
    expected: Counter[str] = Counter()
    for probe, value in zip(probes, values.tolist(), strict=True):
        for start in range(7):
            word = probe[start : start + 3]
            if is_folded:
                word = min(word, word[::-1].translate(COMPLEMENT))
            expected[word] += value
    sums = words.sums(values)
    found = {words.text(i): x for i, x in enumerate(sums.tolist()) if x}
    assert found == dict(expected)


def test_words_with_unknown_letters_are_left_out() -> None:
    seqs = DNA.encode(["ACG*TT", "ACG  ", "NACGT"], 6)
    words = Words.of(seqs, DNA, size=3, is_folded=False)
    shown = [[words.text(int(i)) for i in row if i >= 0] for row in words.number]
    assert shown == [["ACG"], ["ACG"], ["ACG", "CGT"]]


def test_probes_shorter_than_a_word_have_none() -> None:
    words = Words.of(DNA.encode(["AC"]), DNA, size=3, is_folded=True)
    assert words.number.shape == (1, 0)
    assert float(words.sums(torch.ones(1, dtype=torch.float64)).sum()) == 0


def test_counts_of_words_are_per_probe() -> None:
    words = Words.of(DNA.encode(["AAAAC", "CCCCC"]), DNA, size=2, is_folded=False)
    assert words.counts(torch.tensor([0, 5])).tolist() == [[3, 0], [0, 4]]


def test_no_more_words_than_can_be_kept() -> None:
    assert word_size(4, 30) == 6
    assert word_size(20, 30) == 2
    assert word_size(4, 5) == 5


def test_agreement_is_one_for_the_truth_and_zero_for_one_number() -> None:
    totals = torch.full((200,), 20_000.0, dtype=torch.float64)
    shares = torch.linspace(0.05, 0.6, 200, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    observed = torch.binomial(totals, shares, generator=generator)
    assert agreement(observed, totals * shares, totals) > 0.999
    flat = totals * float(observed.sum() / totals.sum())
    assert agreement(observed, flat, totals) < 0.3
    assert math.isnan(agreement(observed[:2], flat[:2], totals[:2]))


def test_the_truth_explains_all_that_is_not_chance(tmp_path: Path) -> None:
    own = opened(drawn(tmp_path, probes=2000, reads=40_000))
    predicted = Predicted.of(own.built.experiments[0], own.tables[0])
    with torch.no_grad():
        loss = float(own.built.loss(own.tables).negloglik)
    assert predicted.loss() == pytest.approx(loss, rel=1e-9)
    found = explained(predicted)
    assert found.null == pytest.approx(math.log(3), rel=1e-3)  # as many of each round
    assert found.share == pytest.approx(1, abs=0.02)
    words = Words.of(predicted.seqs, DNA, size=4, is_folded=True)
    assert probe_agreement(predicted) > 0.99
    assert word_agreement(predicted, words) > 0.99
    # the same counts at other probes
    order = torch.randperm(
        len(predicted.seqs), generator=torch.Generator().manual_seed(0)
    )
    wrong = replace(predicted, counts=predicted.counts[order])
    assert explained(wrong).share == 0
    assert word_agreement(wrong, words) < 0.5


def test_errors_of_gains_are_those_between_probes(tmp_path: Path) -> None:
    own = opened(drawn(tmp_path, probes=500, reads=4000))
    predicted = Predicted.of(own.built.experiments[0], own.tables[0])
    shares = predicted.shares()
    generator = torch.Generator().manual_seed(0)
    gains = []
    for _ in range(400):
        n = len(predicted.seqs)
        rows = torch.randint(n, (n,), generator=generator)
        again = replace(
            predicted, counts=predicted.counts[rows], log_p=predicted.log_p[rows]
        )
        gains.append(again.loss_of(shares) - again.loss())
    expected = float(torch.tensor(gains).std())
    assert predicted.gain_error(shares) == pytest.approx(expected, rel=0.15)


# --- motifs ------------------------------------------------------------------------


def energies(size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn_ones = torch.randn(4, size, generator=generator, dtype=torch.float64)
    return drawn_ones - drawn_ones.mean(0)


def test_copies_are_found_where_they_are_shifted() -> None:
    motif = energies(8, 1)
    shifted = torch.cat([0.05 * energies(2, 2), motif[:, :7]], 1)
    assert best_correlation(motif, shifted) > 0.95
    assert best_correlation(shifted, motif) > 0.95
    assert correlation(motif, shifted[:, 1:]) < 0.9
    assert best_correlation(motif, motif) == pytest.approx(1)


def test_different_motifs_are_no_copies() -> None:
    found = [best_correlation(energies(8, i), energies(9, 100 + i)) for i in range(50)]
    assert max(found) < 0.9


def test_motifs_too_short_to_compare_are_no_copies() -> None:
    assert best_correlation(energies(4, 1), energies(4, 1)) == -1


def test_contrasts_are_in_standard_errors() -> None:
    values = torch.tensor([-1.0, 0.3, -3.0], dtype=torch.float64)
    errors = torch.tensor([0.5, 0.1, 2.0], dtype=torch.float64)
    assert largest_contrast(values, errors) == pytest.approx(3)
