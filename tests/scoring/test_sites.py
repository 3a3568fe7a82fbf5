"""Sums, best windows and profiles against plain Python."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from pyprobound.alphabets import DNA, RNA, Alphabet, Codon, Protein
from pyprobound.errors import PyProBoundError
from pyprobound.scoring import (
    Constant,
    Dimer,
    Motif,
    SiteModel,
    SoftScorer,
    State,
    _records,
    _stream,
    profile_sequences,
    score_sequences,
)

LONG = "ACGTTGCANNRYACGTAC" * 4


def random_filters(
    n: int, size: int, pairs: int, *, both: bool, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Return filters of one strand, or of both."""
    torch.manual_seed(seed)
    made = [torch.randn(1, n, size).double()]
    made += [torch.randn(1, n, n, size - d).double() for d in range(1, pairs + 1)]
    if not both:
        return tuple(made)
    turned = [made[0].flip(1, 2)]
    turned += [each.flip(1, 2, 3).transpose(1, 2) for each in made[1:]]
    return tuple(torch.cat(pair) for pair in zip(made, turned, strict=True))


def motif(
    name: str,
    size: int,
    pairs: int = 0,
    *,
    n: int = 4,
    both: bool = True,
    seed: int = 0,
) -> Motif:
    filters = random_filters(n, size, pairs, both=both, seed=seed)
    return Motif(name, filters, torch.zeros(1 + both).double())


def model_of(*motifs: Motif, alphabet: Alphabet | None = None) -> SiteModel:
    names = [each.name for each in motifs]
    state = State("model", {name: 0.5 * i for i, name in enumerate(names)})
    return SiteModel(alphabet or DNA(), motifs, [], [], names, [state])


def window_scores(alphabet: Alphabet, each: Motif, text: str) -> list[list[float]]:
    """Return the score of every window by strand: fractions of letters, in a loop."""
    width = alphabet.monomer_length
    symbols = [text[i : i + width] for i in range(0, len(text), width)]
    letters = [
        alphabet.get_encoding.get(symbol) or alphabet.get_encoding[symbol[0]]
        for symbol in symbols
    ]
    size = each.filters[0].shape[2]
    made = []
    for strand in range(each.strands):
        row = []
        for x in range(len(letters) - size + 1):
            total = float(each.bias[strand])
            for weights in each.filters:
                order = weights.ndim - 2  # 1: letters; 2: pairs
                distance = size - weights.shape[-1]
                for i in range(weights.shape[-1]):
                    sets = [letters[x + i + j * distance] for j in range(order)]
                    for chosen in itertools.product(*sets):
                        share = math.prod(1 / len(s) for s in sets)
                        total += share * float(weights[(strand, *chosen, i)])
            row.append(total)
        made.append(row)
    return made


def log_sum_exp(values: Sequence[float]) -> float:
    if not values:
        return -math.inf
    top = max(values)
    return top + math.log(sum(math.exp(x - top) for x in values))


TEXTS = ["ACGTTGCA", "TTTTTTTTTTTT", LONG, "NNNNNN", "RYSWKMBDHVN", "ACGTA"]


@pytest.mark.parametrize("pairs", [0, 2])
def test_sums_best_windows_and_profiles_agree_with_loops(pairs: int) -> None:
    each = motif("m", 5, pairs)
    model = model_of(each)
    found = score_sequences(model, TEXTS, ["scores", "log_affinity", "best", "ddg"])
    profile = profile_sequences(model, TEXTS)
    best = max(
        itertools.product("ACGT", repeat=5),
        key=lambda x: window_scores(DNA(), each, "".join(x))[0][0],
    )
    top = window_scores(DNA(), each, "".join(best))[0][0]
    for index, text in enumerate(TEXTS):
        scores = window_scores(DNA(), each, text)
        row = found.loc[index]
        total = log_sum_exp([x for strand in scores for x in strand])
        assert row["m"] == pytest.approx(total, rel=1e-12)
        assert row["log_affinity:m"] == pytest.approx(total - top, abs=1e-12)
        highest = max(max(strand) for strand in scores)
        start, strand = next(
            (x, s)
            for x in range(len(scores[0]))
            for s in (0, 1)
            if scores[s][x] > highest - 1e-12
        )
        assert row["best_score:m"] == pytest.approx(highest, rel=1e-12)
        assert (row["best_start:m"], row["best_strand:m"]) == (start, "+-"[strand])
        assert row["ddg:m"] == pytest.approx(top - highest, abs=1e-12)
        own = profile[profile["sequence"] == index]
        assert list(own["start"]) == list(range(len(text) - 4))
        np.testing.assert_allclose(own["m:+"], scores[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(own["m:-"], scores[1], rtol=0, atol=1e-12)


def test_best_site_reads_as_the_motif_does() -> None:
    weights = torch.full((1, 4, 4), -3.0).double()
    for position, letter in enumerate("AACG"):
        weights[0, "ACGT".index(letter), position] = 0
    each = Motif(
        "m", (torch.cat([weights, weights.flip(1, 2)]),), torch.zeros(2).double()
    )
    texts = ["TTAACGTT", "TTCGTTGG", "TTCGTNGG"]
    found = score_sequences(model_of(each), texts, ["best", "affinity"])
    assert list(found["best_site:m"]) == ["AACG", "AACG", "*ACG"]
    assert list(found["best_strand:m"]) == ["+", "-", "-"]
    assert list(found["best_start:m"]) == [2, 2, 2]
    assert found["affinity:m"][0] > 1


def test_of_equal_windows_the_first_one_and_the_plus_strand_are_named() -> None:
    """A palindrome's strands differ by rounding only, however far apart copies are."""
    half = random_filters(4, 4, 0, both=False, seed=3)[0]
    weights = torch.cat([half, half.flip(1, 2)], 2)
    each = Motif(
        "m", (torch.cat([weights, weights.flip(1, 2)]),), torch.zeros(2).double()
    )
    assert each.best is not None
    site = "".join("ACGT"[code] for code in each.best[0])
    text = "A" * 7 + site + "A" * 3000 + site
    found = score_sequences(model_of(each), [text], ["best"])
    assert found["best_start:m"][0] == 7
    assert found["best_strand:m"][0] == "+"
    assert found["best_site:m"][0] == site


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces and rows, with motifs of two sizes and a dimer."""
    torch.manual_seed(1)
    a, b = motif("a", 5, 1), motif("b", 9, seed=4)
    spacing = torch.randn(2, 2, 30).double()
    spacing[0, 1, 3:9] = -math.inf
    dimer = Dimer(
        "ab", ("a", "b"), spacing, -12, torch.tensor(1.3, dtype=torch.float64)
    )
    constant = Constant("NS", by_length=True)
    names = ["NS", "a", "b", "ab"]
    state = State("1", dict.fromkeys(names, 0.25), math.log(3))
    model = SiteModel(DNA(), [a, b], [constant], [dimer], names, [state])
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGTN"), n)) for n in (9, 700, 10, 333, 64, 65)]
    what = ["scores", "log_z", "best", "contribution"]
    whole = score_sequences(model, texts, what)
    profile = profile_sequences(model, texts)
    for step, most in ((16, 50), (32, 1000), (8, 31)):
        monkeypatch.setattr(_stream, "_STEP", step)
        monkeypatch.setattr(_records, "LETTERS_AT_ONCE", most)
        pieces = score_sequences(model, texts, what)
        pd.testing.assert_frame_equal(pieces, whole, rtol=1e-12)
        again = profile_sequences(model, texts)
        pd.testing.assert_frame_equal(again, profile, rtol=0, atol=1e-11)
    text = texts[4]
    own_a, own_b = (window_scores(DNA(), each, text) for each in (a, b))
    terms = [
        1.3 * (float(spacing[i, j, n - m + 12]) + own_a[i][m] + own_b[j][n])
        for i in range(2)
        for j in range(2)
        for m in range(len(own_a[i]))
        for n in range(len(own_b[j]))
        if 0 <= n - m + 12 < 30
    ]
    finite = [x for x in terms if x > -math.inf]
    assert whole["ab"][4] == pytest.approx(log_sum_exp(finite), rel=1e-12)
    assert whole["NS"][4] == pytest.approx(math.log(64), rel=1e-12)
    shares = whole[[f"contribution:1:{name}" for name in names]]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    parts = whole[names].to_numpy() + 0.25
    expected = math.log(3) + np.logaddexp.reduce(parts, axis=1)
    np.testing.assert_allclose(whole["log_z:1"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("alphabet", "text"),
    [(RNA(), "ACGUNRUUGCA"), (Protein(), "ACDEFXBKLMWY"), (Codon(), "AAACCCNNNTTTGGG")],
)
def test_other_alphabets_have_one_strand(alphabet: Alphabet, text: str) -> None:
    each = motif("m", 3, n=alphabet.n_letters, both=False)
    found = score_sequences(
        model_of(each, alphabet=alphabet), [text], ["scores", "best"]
    )
    scores = window_scores(alphabet, each, text)[0]
    assert found["m"][0] == pytest.approx(log_sum_exp(scores), rel=1e-12)
    start = int(np.argmax(scores))
    assert (found["best_start:m"][0], found["best_strand:m"][0]) == (start, "+")
    profile = profile_sequences(model_of(each, alphabet=alphabet), [text])
    assert list(profile.columns) == ["sequence", "start", "m:+"]


def test_short_and_empty_sequences() -> None:
    model = model_of(motif("m", 5))
    with pytest.raises(PyProBoundError, match="'1': 4 letters are too few for 'm'"):
        score_sequences(model, ["ACGTA", "ACGT"])
    what = ["scores", "affinity", "best", "occupancy", "contribution"]
    found = score_sequences(
        model, ["ACGT", "", "ACGTA"], what, concentration=2.0, allow_short=True
    )
    for row in found.iloc[:2].to_dict("records"):
        assert row["m"] == -math.inf
        assert row["affinity:m"] == row["occupancy:model"] == 0
        assert (row["best_start:m"], row["best_site:m"]) == (-1, "")
        assert row["contribution:model:m"] == 0
    z = math.exp(found["m"][2])
    assert found["occupancy:model"][2] == pytest.approx(2 * z / (1 + 2 * z), rel=1e-12)
    assert found["contribution:model:m"][2] == 1
    assert score_sequences(model, []).shape == (0, 1)
    assert profile_sequences(model, ["ACG", ""]).empty


def test_what_is_taken_and_what_is_refused() -> None:
    model = model_of(motif("m", 5))
    expected = score_sequences(model, ["ACGTACG", "TTTTTTT"])["m"]
    series = pd.Series(["acgtacg", "ttttttt"], index=["x", "y"])
    found = score_sequences(model, series, upper=True)
    assert list(found.index) == ["x", "y"]
    assert list(found["m"]) == list(expected)
    array = np.array(["ACGTACG", "TTTTTTT"])
    assert list(score_sequences(model, array)["m"]) == list(expected)
    profile = profile_sequences(model, series, upper=True)
    assert list(profile["sequence"]) == ["x"] * 3 + ["y"] * 3
    for arguments, rule in (
        (("ACGTACG",), "one string is no list"),
        ((["ACGTACG", 3],), "3 is no string"),
        ((["ACGTACG", None],), "None is no string"),
        ((["ACGTACG", "acgtacg"],), "letter 'a' at position 0"),
        ((["ACG TACG"],), "a blank at position 3"),
        ((["ACGTACG"], ["occupancy"]), "needs a free concentration"),
        ((["ACGTACG"], ["enrichment"]), "of no experiment"),
        ((["ACGTACG"], ["nonsense"]), "'nonsense' is none of"),
    ):
        with pytest.raises(PyProBoundError, match=rule):
            score_sequences(model, *arguments)


def test_soft_letters_score_as_strings_and_have_their_gradient() -> None:
    a, b = motif("a", 4, 1), motif("b", 3, seed=2)
    spacing = torch.randn(2, 2, 9).double()
    dimer = Dimer("ab", ("a", "b"), spacing, -4)
    constant = Constant("NS", by_length=True)
    names = ["a", "NS", "ab", "b"]
    state = State("1", dict.fromkeys(names, -0.5))
    model = SiteModel(DNA(), [a, b], [constant], [dimer], names, [state])
    texts = ["ACGTTGCAAC", "NNRYACGTAC"]
    x = DNA().embed(DNA().encode(texts), torch.float64)
    found = score_sequences(model, texts, ["scores", "log_z"])
    scores = SoftScorer(model, "scores")
    np.testing.assert_allclose(scores(x), found[names], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        SoftScorer(model, name="1")(x), found["log_z:1"], rtol=0, atol=1e-12
    )
    x = x.requires_grad_()
    assert torch.autograd.gradcheck(SoftScorer(model), [x])
    short = torch.rand(2, 4, 2).double().requires_grad_()
    value = SoftScorer(model, "scores", "a")(short)
    assert value.tolist() == [-math.inf] * 2
    with pytest.raises(PyProBoundError, match="'c' is none of a, NS, ab, b"):
        SoftScorer(model, "scores", "c")


def test_the_best_sequence_is_not_told_where_it_is_not_found() -> None:
    each = motif("m", 12, 10)
    assert each.best is None
    found = score_sequences(model_of(each), ["ACGTACGTACGT"], ["ddg", "affinity"])
    assert found.isna().all(axis=None)


def test_alphabets_of_many_letters_are_read_whole() -> None:
    """Codes above 255 need more than a byte."""
    letters = [x + y for x in "abcdefghijklmnopqrst" for y in "abcdefghijklmnopqrst"]
    alphabet = Alphabet(letters, monomer_length=2)
    each = motif("m", 2, n=len(letters), both=False)
    text = "".join(letters[i] for i in (399, 3, 260, 399, 4))
    found = score_sequences(
        model_of(each, alphabet=alphabet), [text], ["scores", "best"]
    )
    scores = window_scores(alphabet, each, text)[0]
    assert found["m"][0] == pytest.approx(log_sum_exp(scores), rel=1e-12)
    start = int(np.argmax(scores))
    assert found["best_site:m"][0] == text[2 * start : 2 * start + 4]
