"""Different ways to say the same: strands, wildcards, flanks, soft letters."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyprobound import CountTable, Mode, alphabets, layers
from tests.oracles import log_sum
from tests.properties.models import (
    DNA,
    Probes,
    assert_close,
    bias_settings,
    conv_of,
    dimer_of,
    dimer_settings,
    palindrome,
    probes,
    psam_settings,
    random_texts,
    randomised,
    seeds,
    spacing_of,
    spacing_settings,
    table_of,
)

COMPLEMENT = str.maketrans("ACGTRYMKSW", "TGCAYRKMSW")


def other_strand(texts: list[str]) -> list[str]:
    return [text[::-1].translate(COMPLEMENT) for text in texts]


def other_table(table: CountTable, texts: list[str]) -> CountTable:
    """Return the table of the other strands, flanks included."""
    left, right = table.left_flank_length, table.right_flank_length
    low = table.min_read_length - left - right
    high = table.max_read_length - left - right
    return table_of(
        other_strand(texts),
        left_flank=other_strand([table.right_flank])[0],
        right_flank=other_strand([table.left_flank])[0],
        left_flank_length=right,
        right_flank_length=left,
        min_variable_length=low,
        max_variable_length=high,
    )


@given(probes(symbols="ACGTRYMKSW*-"), psam_settings(strands=2), seeds)
def test_both_strands_of_a_probe_score_alike(
    drawn: Probes, psam: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**psam)
    table = other_table(drawn.table, drawn.texts)
    mode, other = (Mode.from_psam(made, each) for each in (drawn.table, table))
    randomised(made, seed)
    mode.double()
    other.double()
    assert_close(mode(drawn.seqs), other(table.seqs).detach())
    # Window for window, the strands change places.
    half = made.out_channels // 2
    for row, own, found in zip(
        drawn.read,
        mode.score_windows(drawn.seqs),
        other.score_windows(table.seqs),
        strict=True,
    ):
        n = sum(part is not None for part in row) - made.in_len(1) + 1
        flipped = found[:, :n].flip(1)
        assert_close(own[:half, :n], flipped[half:].detach())
        assert_close(own[half:, :n], flipped[:half].detach())


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("half", [1, 2, 3])
def test_a_palindrome_scores_its_window_alike_from_both_strands(
    half: int, *, odd: bool
) -> None:
    """A palindrome of odd size is one where its middle is its own complement."""
    symmetry = palindrome(half, odd=odd)
    psam = layers.PSAM(
        len(symmetry),
        alphabet=DNA,
        symmetry=symmetry,
        pairwise_distance=len(symmetry) - 1,
    )
    randomised(psam, half)
    if odd:
        middle = symmetry[half]
        with torch.no_grad():
            for key, beta in psam.betas.items():
                *classes, index = key.split("-")
                if str(middle) in classes:
                    beta.copy_(
                        psam.betas["-".join((*classes, mirror(classes, index, middle)))]
                    )
    texts = random_texts(half, len(symmetry), len(symmetry), n_probes=8)
    table = table_of(texts)
    windows = Mode.from_psam(psam, table).double().score_windows(table.seqs)
    assert_close(windows[:, 0], windows[:, 1].detach())
    others = table_of(other_strand(texts))
    mode = Mode.from_psam(psam, others).double()
    assert_close(mode.score_windows(others.seqs)[:, 0], windows[:, 0].detach())


def mirror(classes: list[str], index: str, middle: int) -> str:
    """Return the smaller of an index and its image under the middle's complement.

    In an odd palindrome positions p and −p see the middle from its two sides, so that
    its letter and its complement must score alike.
    """
    if len(classes) == 1:
        return str(min(int(index), 3 - int(index)))
    first, second = divmod(int(index), 4)
    # The other class comes first: its absolute value is the smaller one.
    assert classes[1] == str(middle)
    return str(min(4 * first + second, 4 * first + 3 - second))


def test_a_psam_without_symmetry_tells_its_strands_apart() -> None:
    psam = layers.PSAM(4, alphabet=DNA)
    table = table_of(["ACGG", "TTGC"])
    windows = Mode.from_psam(psam, table).score_windows(table.seqs)
    assert ((windows[:, 0] - windows[:, 1]).abs() > 1e-3).all()


@settings(max_examples=30)
@given(st.data(), probes(), seeds)
def test_dimers_read_alike_from_both_strands(
    data: st.DataObject, drawn: Probes, seed: int
) -> None:
    """Spacing is symmetric; score_mode is the documented exception."""
    limits = data.draw(spacing_settings()) | {"score_mode": "both"}
    psams = [
        layers.PSAM(name=name, **data.draw(psam_settings(max_size=3, strands=2)))
        for name in "ab"
    ]
    table = other_table(drawn.table, drawn.texts)
    first = [Mode.from_psam(psam, drawn.table) for psam in psams]
    second = [Mode.from_psam(psam, table) for psam in psams]
    spacing = spacing_of(first, **limits)
    dimer, other = dimer_of(spacing, first), dimer_of(spacing, second)
    randomised(dimer, seed)
    for part in (*first, *second, dimer, other):
        part.double()
        with torch.no_grad():
            for path, parameter in part.named_parameters():
                if "posbias" in path or "hill" in path:
                    parameter.zero_()
    assert_close(dimer(drawn.seqs), other(table.seqs).detach())


@given(
    st.sampled_from(["R", "Y", "S", "W", "K", "M", "B", "D", "H", "V", "N", "*"]),
    st.integers(0, 5),
    psam_settings(),
    seeds,
)
def test_a_code_scores_the_mean_of_its_letters(
    code: str, place: int, psam: dict[str, Any], seed: int
) -> None:
    """Window by window: a code stands for letters in equal parts."""
    letters = [DNA.alphabet[i] for i in DNA.get_encoding[code]]
    (text,) = random_texts(seed, 6, 6, n_probes=1)
    table = table_of([f"{text[:place]}{code}{text[place + 1 :]}"])
    each = [f"{text[:place]}{one}{text[place + 1 :]}" for one in letters]
    made = layers.PSAM(**psam)
    randomised(made, seed)
    windows = Mode.from_psam(made, table).double().score_windows(table.seqs)
    letter_table = table_of(each)
    of_letters = Mode.from_psam(made, letter_table).double()
    expected = of_letters.score_windows(letter_table.seqs).mean(0, keepdim=True)
    assert_close(windows, expected.detach())


@given(st.integers(0, 5), psam_settings(), seeds)
def test_a_zero_code_leaves_its_position_out(
    place: int, psam: dict[str, Any], seed: int
) -> None:
    (text,) = random_texts(seed, 6, 6, n_probes=1)
    table = table_of([f"{text[:place]}-{text[place + 1 :]}"])
    made = layers.PSAM(**(psam | {"normalize": False}))
    randomised(made, seed)
    mode = Mode.from_psam(made, table).double()
    before = mode.score_windows(table.seqs).detach()
    size = made.kernel_size
    n_windows = before.shape[-1]
    forward = made.out_channels // made.n_strands
    # Whatever the single letters of position i say, a window that has '-' there
    # does not hear it.
    for i, x in product(range(size), range(n_windows)):
        if x + i * made.dilation != place or made.symmetry.count(made.symmetry[i]) > 1:
            continue
        cls = abs(made.symmetry[i])
        if [abs(other) for other in made.symmetry].count(cls) > 1:
            continue
        with torch.no_grad():
            for index in range(4 * forward):
                made.betas[f"{cls}-{index}"].add_(3.0)
        after = mode.score_windows(table.seqs)
        assert_close(after[:, :forward, x], before[:, :forward, x])
        with torch.no_grad():
            for index in range(4 * forward):
                made.betas[f"{cls}-{index}"].sub_(3.0)


@given(probes(), psam_settings(), bias_settings(), st.data())
def test_flank_letters_score_like_letters_of_the_probe(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], data: st.DataObject
) -> None:
    table = drawn.table
    left, right = table.left_flank_length, table.right_flank_length
    before = table.left_flank[len(table.left_flank) - left :]
    whole = [f"{before}{text}{table.right_flank[:right]}" for text in drawn.texts]
    inside = table_of(
        whole,
        min_variable_length=table.min_read_length,
        max_variable_length=table.max_read_length,
    )
    assert torch.equal(inside.seqs, table.seqs)
    made = layers.PSAM(**psam)
    mode, other = (Mode.from_psam(made, each, **bias) for each in (table, inside))
    seed = data.draw(seeds)
    randomised(mode, seed)
    randomised(other, seed)
    assert_close(mode(table.seqs), other(inside.seqs).detach())


def test_a_flank_that_is_too_short_continues_with_any_letter() -> None:
    known = table_of(
        ["ACGT"], left_flank="G", left_flank_length=3, max_left_flank_length=3
    )
    written = table_of(["**GACGT"])
    assert torch.equal(known.seqs, written.seqs)
    with pytest.raises(ValueError, match="4"):
        known.set_flank_length(left=4)


@given(probes(variable=True), psam_settings(), seeds)
def test_growing_and_shrinking_flanks_restores_probes(
    drawn: Probes, psam: dict[str, Any], seed: int
) -> None:
    table, before = drawn.table, drawn.seqs.clone()
    flanks = table.left_flank_length, table.right_flank_length
    table.set_flank_length(left=5, right=4)
    grown = Probes(drawn.texts, table)
    made = layers.PSAM(**psam)
    randomised(made, seed)
    mode = Mode.from_psam(made, table).double()
    windows = mode.score_windows(grown.seqs)
    # What was scored before is still there, further to the right.
    table.set_flank_length(*flanks)
    assert torch.equal(table.seqs, before)
    old = Mode.from_psam(made, table).double().score_windows(before)
    for row, own, all_windows in zip(drawn.read, old, windows, strict=True):
        n = sum(part is not None for part in row) - made.in_len(1) + 1
        start = 5 - flanks[0]
        assert_close(own[:, :n], all_windows[:, start : start + n].detach())


def test_a_shorter_probe_scores_as_it_would_alone() -> None:
    texts = random_texts(2, 5, 11, n_probes=6)
    table = table_of(texts)
    psam = layers.PSAM(3, alphabet=DNA, pairwise_distance=1)
    mode = Mode.from_psam(psam, table)
    for text, score in zip(texts, mode(table.seqs), strict=True):
        alone = table_of([text])
        assert_close(
            Mode.from_psam(psam, alone)(alone.seqs).double(), [score.item()], 1e-6
        )


def test_transliterated_probes_score_like_the_letters_they_become() -> None:
    methylated = alphabets.Alphabet("ACMKGT", complement=True)
    texts = ["ACGTCG", "CGCGAA", "TTTTGC", "GACG"]
    written = [text.replace("CG", "MK") for text in texts]
    table = table_of(texts, alphabet=methylated, transliterate={"CG": "MK"})
    direct = table_of(written, alphabet=methylated)
    assert torch.equal(table.seqs, direct.seqs)
    psam = layers.PSAM(2, alphabet=methylated, pairwise_distance=1)
    randomised(psam, 4)
    modes = [Mode.from_psam(psam, each).double() for each in (table, direct)]
    scores = modes[0](table.seqs).detach()
    assert_close(modes[1](direct.seqs), scores)
    # M pairs with K: the other strand of a methylated site is one too.
    swap = str.maketrans("ACMKGT", "TGKMCA")
    others = table_of(
        [text[::-1].translate(swap) for text in written], alphabet=methylated
    )
    assert_close(Mode.from_psam(psam, others).double()(others.seqs), scores)
    plain = table_of(texts, alphabet=methylated)
    assert not torch.equal(plain.seqs, table.seqs)


def test_a_mode_is_a_sum_of_what_its_channels_score() -> None:
    table = table_of(random_texts(9, 6, 9))
    psam = layers.PSAM(3, alphabet=DNA)
    randomised(psam, 6)
    whole = Mode.from_psam(psam, table).double()(table.seqs).tolist()
    parts = [
        Mode.from_psam(psam, table, out_channel_indexing=[channel])
        .double()(table.seqs)
        .tolist()
        for channel in (0, 1)
    ]
    assert whole == pytest.approx([log_sum(pair) for pair in zip(*parts, strict=True)])


def hill_and_constant(seqs: Tensor, mode: Mode, constant: float) -> Tensor:
    with torch.no_grad():
        conv_of(mode).layer_spec.bias.add_(constant)
    score: Tensor = mode(seqs)
    return score


@given(st.floats(-2, 2), st.floats(-1, 1), probes(), seeds)
def test_a_constant_adds_to_a_score_times_the_hill_coefficient(
    constant: float, log_hill: float, drawn: Probes, seed: int
) -> None:
    psam = layers.PSAM(3, alphabet=DNA, train_bias=True)
    mode = Mode.from_psam(psam, drawn.table, train_hill=True)
    randomised(mode, seed)
    with torch.no_grad():
        mode.log_hill.fill_(log_hill)
    before = mode(drawn.seqs).detach()
    after = hill_and_constant(drawn.seqs, mode, constant)
    assert_close(after, before + math.exp(log_hill) * constant)


@given(probes(), dimer_settings(), seeds, st.floats(-2, 2))
@settings(max_examples=20)
def test_a_constant_in_the_spacing_adds_to_a_dimer(
    drawn: Probes, arguments: dict[str, Any], seed: int, constant: float
) -> None:
    psams = [layers.PSAM(k, alphabet=DNA, name=str(k)) for k in (2, 3)]
    modes = [Mode.from_psam(psam, drawn.table) for psam in psams]
    spacing = spacing_of(modes)
    dimer = dimer_of(spacing, modes, **arguments)
    randomised(dimer, seed)
    before = dimer(drawn.seqs).detach()
    with torch.no_grad():
        spacing.log_spacing.add_(constant)
        hill = dimer.log_hill.exp()
    assert_close(dimer(drawn.seqs), before + hill * constant)
