"""Dimers against plain Python: every pair of windows and strands."""

import math
from typing import Any, Literal

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyprobound import Cooperativity, Mode, Spacing, layers
from tests.oracles import (
    Pairs,
    dimer_bias,
    dimer_score,
    dimer_windows,
    log_omega,
    log_spacing,
    mode_score,
    read_probe,
)
from tests.properties.models import (
    DNA,
    Probes,
    assert_close,
    assert_finite_gradients,
    conv_of,
    dimer_of,
    dimer_settings,
    dimers,
    probes,
    psam_of,
    punctured,
    random_texts,
    randomised,
    seeds,
    spacing_of,
    spacing_settings,
    table_of,
)

# An example of these takes a thousand pairs of windows in plain Python.
fewer = settings(max_examples=25)


def dense(pairs: Pairs) -> torch.Tensor:
    """Return values by strands and windows as a tensor."""
    shape = [1 + max(key[axis] for key in pairs) for axis in range(4)]
    out = torch.full(shape, math.nan, dtype=torch.float64)
    for key, value in pairs.items():
        out[key] = value
    return out


def assert_dimer_is_right(dimer: Cooperativity, drawn: Probes) -> None:
    windows = [dense(dimer_windows(dimer, probe)) for probe in drawn.read]
    assert_close(dimer.score_windows(drawn.seqs), torch.stack(windows))
    scores = dimer(drawn.seqs)
    assert_close(scores, [dimer_score(dimer, probe) for probe in drawn.read])
    assert_finite_gradients(dimer, scores)


@fewer
@given(st.data(), probes(symbols="ACGTACGT*", longest=8), seeds)
def test_windows_and_scores_are_those_of_the_formula(
    data: st.DataObject, drawn: Probes, seed: int
) -> None:
    dimer = data.draw(dimers(drawn.table))
    randomised(dimer, seed)
    assert_dimer_is_right(dimer, drawn)


@fewer
@given(st.data(), probes(longest=8), seeds, st.sampled_from([0.3, 0.9, 1.0]))
def test_pairs_that_are_forbidden_count_for_nothing(
    data: st.DataObject, drawn: Probes, seed: int, share: float
) -> None:
    dimer = data.draw(dimers(drawn.table))
    randomised(dimer, seed)
    dimer.normalize = dimer.spacing.normalize = False
    for mode in dimer.components():
        conv = conv_of(mode)
        conv.normalize = False
        punctured(conv.log_posbias, seed, share / 2)
    for index, bias in enumerate(dimer.log_posbias):
        punctured(bias, seed + index, share)
    punctured(dimer.spacing.log_spacing, seed, share / 2)
    assert_dimer_is_right(dimer, drawn)


@given(st.data(), probes(longest=8), seeds)
def test_omega_by_number_of_windows_is_spacing_and_bias(
    data: st.DataObject, drawn: Probes, seed: int
) -> None:
    dimer = data.draw(dimers(drawn.table))
    randomised(dimer, seed)
    mode_a, mode_b = dimer.mode_a, dimer.mode_b
    n_a, n_b = (mode.out_len(drawn.table.input_shape) for mode in (mode_a, mode_b))
    spacing = log_spacing(dimer.spacing, n_a, n_b)
    flat = dimer.get_log_spacing()
    assert_close(
        flat,
        [
            [
                [spacing[s, t, offset] for offset in range(-(n_a - 1), n_b)]
                for t in range(dimer.n_strands)
            ]
            for s in range(dimer.n_strands)
        ],
    )
    matrix, diagonals = (
        dimer.get_log_spacing_matrix(),
        dimer.get_log_spacing_diagonals(),
    )
    if dimer.length_specific_bias:
        assert matrix.shape[:2] == (n_a + 1, n_b + 1)
    else:
        assert matrix.shape[:2] == (1, 1)
    lengths = range(drawn.table.min_read_length, drawn.table.max_read_length + 1)
    for length in lengths:
        omega = dense(log_omega(dimer, length, n_a, n_b))
        entry = (-1, -1)
        if dimer.length_specific_bias:
            entry = (mode_a.out_len(length, "max"), mode_b.out_len(length, "max"))
        assert_close(matrix[entry], omega)
        for index, diagonal in enumerate(diagonals):
            assert_close(diagonal[entry], omega.diagonal(index - (n_a - 1), -2, -1))


def test_omega_without_bias_has_no_lengths() -> None:
    table = table_of(["ACGTACGT", "ACGTAC"])
    modes = [Mode.from_psam(layers.PSAM(k, alphabet=DNA), table) for k in (3, 2)]
    spacing = spacing_of(modes)
    trained = dimer_of(spacing, modes, train_posbias=True)
    dimer = dimer_of(spacing, modes)
    assert dimer.get_log_spacing_matrix().shape == (1, 1, 2, 2, 6, 7)
    assert trained.get_log_spacing_matrix().shape == (7, 8, 2, 2, 6, 7)
    with torch.no_grad():
        dimer.log_posbias[0].fill_(1.0)
    assert dimer.get_log_spacing_matrix().shape == (7, 8, 2, 2, 6, 7)


@given(st.data(), seeds, st.integers(1, 9), st.integers(1, 9))
def test_spacing_serves_any_number_of_windows(
    data: st.DataObject, seed: int, n_a: int, n_b: int
) -> None:
    modes = [Mode.from_psam(layers.PSAM(k, alphabet=DNA), TEN) for k in (3, 2)]
    spacing = spacing_of(modes, **data.draw(spacing_settings()))
    dimer_of(spacing, modes)
    randomised(spacing, seed)
    assert spacing.max_num_windows == 9
    assert spacing.log_spacing.shape == (2, 17)
    expected = log_spacing(spacing, n_a, n_b)
    flat, matrix = (
        spacing.get_log_spacing(n_a, n_b),
        spacing.get_log_spacing_matrix(n_a, n_b),
    )
    assert flat.shape == (2, 2, n_a + n_b - 1)
    assert matrix.shape == (2, 2, n_a, n_b)
    for (s, t, offset), value in expected.items():
        assert_close(flat[s, t, offset + n_a - 1], value)
        along = matrix[s, t].diagonal(offset)
        assert_close(along, [value] * len(along))


TEN = table_of(["ACGTACGTAC"])


def test_spacing_grows_symmetrically_with_the_dimers_attached() -> None:
    psams = [layers.PSAM(k, alphabet=DNA, name=str(k)) for k in (3, 2)]
    short = [Mode.from_psam(psam, table_of(["ACGTAC"])) for psam in psams]
    spacing = spacing_of(short)
    first = dimer_of(spacing, short)
    randomised(first, 1)
    stored = spacing.log_spacing.detach().clone()
    seqs = table_of(["ACGTAC", "TTTGCA"]).seqs
    before = first(seqs).detach()
    second = dimer_of(spacing, [Mode.from_psam(psam, TEN) for psam in psams])
    assert second.spacing is first.spacing
    assert spacing.max_num_windows == 9
    assert_close(spacing.log_spacing[:, 4:-4], stored)
    assert (spacing.log_spacing[:, :4] == 0).all()
    assert (spacing.log_spacing[:, -4:] == 0).all()
    assert_close(first(seqs), before)
    probe = read_probe(DNA, "ACGTACGTAC")
    assert_close(second.double()(TEN.seqs), [dimer_score(second, probe)])


@fewer
@given(st.data(), probes(longest=7), dimer_settings(), seeds)
def test_a_mode_pairs_with_itself_once_for_each_ordered_pair(
    data: st.DataObject, drawn: Probes, settings_: dict[str, Any], seed: int
) -> None:
    strands = data.draw(st.sampled_from([False, True]))
    psam = layers.PSAM(2, alphabet=DNA, score_reverse=strands)
    mode = Mode.from_psam(psam, drawn.table)
    spacing = Spacing(mode.key(), mode.key(), **data.draw(spacing_settings()))
    dimer = Cooperativity(spacing, mode, mode, **settings_)
    randomised(dimer, seed)
    assert list(dimer.components()) == [mode]
    assert_dimer_is_right(dimer, drawn)


@settings(max_examples=10)
@given(probes(variable=True, longest=7), seeds)
def test_dimers_of_layered_modes_are_right(drawn: Probes, seed: int) -> None:
    """Padded, rolled and dilated modes in one dimer, limits in letters."""
    chain = layers.get_padding_layers(DNA, drawn.table, left=2, right=1)
    first = Mode(
        [
            *chain,
            layers.Conv1d.from_psam(layers.PSAM(3, alphabet=DNA, name="a"), chain[-1]),
        ]
    )
    rolled = layers.Roll.from_spec(layers.RollSpec(DNA, "right"), drawn.table)
    wide = layers.PSAM(2, alphabet=DNA, dilation=3, name="b")
    second = Mode([rolled, layers.Conv1d.from_psam(wide, rolled)])
    for ignore_pad in (False, True):
        spacing = Spacing(
            first.key(),
            second.key(),
            max_overlap=1,
            max_spacing=3,
            ignore_pad=ignore_pad,
        )
        dimer = Cooperativity(spacing, first, second, train_posbias=True)
        randomised(dimer, seed)
        assert_dimer_is_right(dimer, drawn)


def test_pooled_windows_and_nonspecific_binding_may_pair() -> None:
    texts = random_texts(5, 7, 10)
    drawn = Probes(texts, table_of(texts))
    conv = layers.Conv1d.from_psam(
        layers.PSAM(2, alphabet=DNA, score_reverse=False), drawn.table
    )
    pool = layers.MaxPool1d.from_spec(layers.MaxPool1dSpec(1, 3), conv)
    pooled = Mode([conv, pool])
    anywhere = Mode.from_nonspecific(layers.NonSpecific(DNA), drawn.table)
    spacing = Spacing(pooled.key(), anywhere.key())
    dimer = Cooperativity(spacing, pooled, anywhere)
    randomised(dimer, 2)
    with torch.no_grad():
        for parameter in anywhere.parameters():
            parameter.zero_()
    assert_dimer_is_right(dimer, drawn)
    with pytest.raises(ValueError, match="max_overlap"):
        Spacing(pooled.key(), anywhere.key(), max_overlap=1)


@settings(max_examples=20)
@given(probes(longest=8), seeds)
def test_sums_are_exact_where_the_best_windows_exclude_each_other(
    drawn: Probes, seed: int
) -> None:
    """Energies far beyond the range of exp: what is left is far below the best."""
    modes = [Mode.from_psam(psam_of(name, 3), drawn.table) for name in "ab"]
    spacing = spacing_of(modes, max_overlap=0)
    dimer = dimer_of(spacing, modes)
    randomised(dimer, seed, scale=300)
    with torch.no_grad():
        dimer.log_hill.zero_()
    assert_dimer_is_right(dimer, drawn)


def test_probes_of_a_length_without_an_entry_carry_no_bias() -> None:
    """Shorter than the model was made for, in modes and dimers alike."""
    texts = ["ACGTACG", "ACGTACGT", "TTGCA", "GGATTA"]
    made_for = table_of(texts[:2], min_variable_length=7, max_variable_length=8)
    scored = Probes(texts, table_of(texts))
    modes = [
        Mode.from_psam(psam_of(name, size), made_for, train_posbias=True)
        for name, size in (("a", 3), ("b", 2))
    ]
    dimer = dimer_of(spacing_of(modes), modes, train_posbias=True)
    anywhere = Mode.from_nonspecific(
        layers.NonSpecific(DNA), made_for, train_posbias=True
    )
    for binding in (dimer, anywhere):
        randomised(binding, 6)
    assert_dimer_is_right(dimer, scored)
    for mode in (*modes, anywhere):
        expected = [mode_score(mode, probe) for probe in scored.read]
        assert_close(mode(scored.seqs), expected)


# --- nothing left to sum ----------------------------------------------------------


def impossible_dimer(*, train_posbias: bool) -> tuple[Cooperativity, torch.Tensor]:
    """Return a dimer that fits on the second probe alone."""
    table = table_of(["ACGTAC", "ACGTACGTACGT"])
    modes = [Mode.from_psam(layers.PSAM(4, alphabet=DNA, name=n), table) for n in "ab"]
    spacing = spacing_of(modes, max_overlap=0)
    dimer = dimer_of(spacing, modes, train_hill=True, train_posbias=train_posbias)
    randomised(dimer, 4)
    return dimer, table.seqs


@pytest.mark.parametrize("train_posbias", [False, True])
def test_a_probe_without_a_finite_pair_passes_no_gradient(
    *, train_posbias: bool
) -> None:
    dimer, seqs = impossible_dimer(train_posbias=train_posbias)
    alone = dimer(seqs[:1])
    assert alone.tolist() == [-math.inf]
    alone.sum().backward()
    for parameter in dimer.parameters():
        assert parameter.grad is None or not parameter.grad.any()
    dimer.zero_grad()
    dimer(seqs)[1].backward()
    expected = {
        path: parameter.grad.clone()
        for path, parameter in dimer.named_parameters()
        if parameter.grad is not None
    }
    dimer.zero_grad()
    both = dimer(seqs)
    assert both[0] == -math.inf
    # A weight of 0 must not make NaN of what is absent.
    (both.exp() * torch.tensor([0.0, 1.0], dtype=torch.float64)).log()[1].backward()
    assert expected
    for path, parameter in dimer.named_parameters():
        if path in expected:
            assert parameter.grad is not None
            assert_close(parameter.grad, expected[path])


@pytest.mark.parametrize("score", ["positive", "negative"])
def test_switched_off_strands_leave_nothing(
    score: Literal["positive", "negative"],
) -> None:
    mode = Mode.from_psam(layers.PSAM(3, alphabet=DNA), TEN)
    spacing = Spacing(
        mode.key(),
        mode.key(),
        score_same=False,
        score_reverse=False,
        score_mode=score,
        normalize=True,
    )
    dimer = Cooperativity(spacing, mode, mode).double()
    scores = dimer(TEN.seqs)
    assert scores.tolist() == [-math.inf]
    assert dimer.expected_log_score() == -math.inf
    scores.sum().backward()
    for parameter in dimer.parameters():
        assert parameter.grad is None or not parameter.grad.any()


# --- what does not fit ------------------------------------------------------------


def test_modes_of_another_spacing_are_refused() -> None:
    modes = [Mode.from_psam(layers.PSAM(3, alphabet=DNA), TEN) for _ in range(3)]
    spacing = spacing_of(modes[:2])
    with pytest.raises(ValueError, match="mode_b"):
        Cooperativity(spacing, modes[0], modes[2])
    with pytest.raises(ValueError, match="mode_a"):
        Cooperativity(spacing, modes[1], modes[1])


def test_modes_that_read_different_probes_are_inconsistent() -> None:
    psams = [layers.PSAM(k, alphabet=DNA) for k in (3, 2)]
    mode_a = Mode.from_psam(psams[0], TEN)
    mode_b = Mode.from_psam(psams[1], table_of(["ACGTACGT"]))
    dimer = Cooperativity(Spacing(mode_a.key(), mode_b.key()), mode_a, mode_b)
    with pytest.raises(RuntimeError, match=r"expected .* found"):
        dimer.check_length_consistency()


def test_memory_is_bounded_by_the_smaller_mode() -> None:
    psams = [layers.PSAM(k, alphabet=DNA) for k in (3, 8)]
    modes = [Mode.from_psam(psam, TEN) for psam in psams]
    dimer = dimer_of(spacing_of(modes), modes)
    sizes = [mode.max_embedding_size() for mode in modes]
    assert sizes[0] != sizes[1]
    assert dimer.max_embedding_size() == 3 * min(sizes)


@given(st.data(), probes(longest=7), seeds)
def test_the_bias_is_laid_by_diagonal_and_bin(
    data: st.DataObject, drawn: Probes, seed: int
) -> None:
    dimer = data.draw(dimers(drawn.table))
    randomised(dimer, seed)
    assume(dimer.bias_bin > 1)
    shape = drawn.table.input_shape
    n_a, n_b = dimer.mode_a.out_len(shape), dimer.mode_b.out_len(shape)
    assert len(dimer.log_posbias) == n_a + n_b - 1
    for index, stored in enumerate(dimer.log_posbias):
        offset = index - (n_a - 1)
        size = min(n_a, n_b - offset) - max(0, -offset)
        assert stored.shape[-1] == math.ceil(size / dimer.bias_bin)
    length = drawn.table.max_read_length
    bias = dimer_bias(dimer, length, n_a, n_b)
    for (s, t, m, n), value in bias.items():
        first = min(m, n) % dimer.bias_bin == 0
        if dimer.bias_mode == "strand" and not first:
            assert value == bias[s, t, m - 1, n - 1]
