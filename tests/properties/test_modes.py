"""Modes against plain Python: windows, position bias, Hill, and every layer."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pyprobound import Mode, alphabets, layers
from pyprobound.layers.roll import Direction
from tests.oracles import (
    NEG_INF,
    as_soft,
    count,
    log_sum,
    mode_score,
    mode_windows,
    padded,
    pooled,
    position_bias,
    read_probe,
    rolled,
)
from tests.properties.models import (
    DNA,
    Probes,
    assert_close,
    assert_finite_gradients,
    bias_settings,
    conv_of,
    generator,
    probes,
    psam_settings,
    punctured,
    random_texts,
    randomised,
    seeds,
    table_of,
)

SYMBOLS = "ACGT" * 3 + "*NRY-"


def assert_mode_is_right(mode: Mode, drawn: Probes) -> None:
    windows = [mode_windows(mode, probe) for probe in drawn.read]
    assert_close(mode.score_windows(drawn.seqs), windows)
    scores = mode(drawn.seqs)
    assert_close(scores, [mode_score(mode, probe) for probe in drawn.read])
    assert_finite_gradients(mode, scores)


@given(probes(symbols=SYMBOLS), psam_settings(), bias_settings(), seeds)
def test_windows_and_scores_are_those_of_the_formula(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**psam)
    mode = Mode.from_psam(made, drawn.table, train_hill=True, **bias)
    randomised(mode, seed)
    assert_mode_is_right(mode, drawn)


@given(probes(), psam_settings(), bias_settings(), seeds, st.sampled_from([0.3, 1.0]))
def test_windows_that_a_bias_forbids_count_for_nothing(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], seed: int, share: float
) -> None:
    mode = Mode.from_psam(
        layers.PSAM(**psam), drawn.table, **(bias | {"normalize": False})
    )
    randomised(mode, seed)
    punctured(conv_of(mode).log_posbias, seed, share)
    assert_mode_is_right(mode, drawn)


@given(probes(symbols=SYMBOLS), psam_settings(), bias_settings(), seeds, st.booleans())
def test_soft_letters_score_like_letters(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], seed: int, unfold: bool
) -> None:
    made = layers.PSAM(**psam)
    mode = Mode.from_psam(made, drawn.table, one_hot=True, unfold=unfold, **bias)
    randomised(mode, seed)
    soft = as_soft(drawn.read, made.bias.detach())
    assert_close(mode.score_windows(soft), mode.score_windows(drawn.seqs).detach())
    assert_close(mode(soft), mode(drawn.seqs).detach())
    conv = conv_of(mode)
    assert_close(conv.score_onehot(drawn.seqs), conv.score_dense(drawn.seqs).detach())


@given(probes(), psam_settings(), bias_settings(), seeds)
def test_soft_sequences_need_one_hot_unless_there_is_one(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], seed: int
) -> None:
    mode = Mode.from_psam(layers.PSAM(**psam), drawn.table, **bias)
    randomised(mode, seed)
    soft = as_soft(drawn.read, mode.log_hill.detach())
    for index, probe in enumerate(drawn.read):
        assert_close(mode(soft[index : index + 1]), [mode_score(mode, probe)])
    if len(soft) > 1:
        with pytest.raises(ValueError, match="one_hot"):
            mode(soft)


def test_a_soft_sequence_of_mixed_letters_scores_by_its_fractions() -> None:
    psam = layers.PSAM(3, alphabet=DNA, pairwise_distance=2)
    mode = Mode.from_psam(psam, table_of(["ACGTACGT"]), one_hot=True)
    randomised(mode, 5)
    soft = torch.rand(4, 4, 8, generator=generator(1), dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    read = [[tuple(column) for column in row.T.tolist()] for row in soft]
    assert_close(mode(soft), [mode_score(mode, probe) for probe in read])
    assert_close(
        mode.score_windows(soft), [mode_windows(mode, probe) for probe in read]
    )


@given(probes(), psam_settings(), bias_settings(), seeds)
def test_the_expected_score_is_that_of_uniform_letters(
    drawn: Probes, psam: dict[str, Any], bias: dict[str, Any], seed: int
) -> None:
    mode = Mode.from_psam(layers.PSAM(**psam), drawn.table, train_hill=True, **bias)
    randomised(mode, seed)
    length = drawn.table.max_read_length
    sequence = mode.expected_sequence()
    assert sequence.shape == (1, 4, length)
    assert (sequence == 0.25).all()
    expected = mode_score(mode, read_probe(DNA, "*" * length))
    assert mode.expected_log_score() == pytest.approx(expected, abs=1e-9)


@given(probes(), psam_settings(), st.data())
def test_indexing_selects_and_orders_channels(
    drawn: Probes, psam: dict[str, Any], data: st.DataObject
) -> None:
    made = layers.PSAM(**psam)
    channels = st.integers(0, made.out_channels - 1)
    chosen = data.draw(st.lists(channels, min_size=1, max_size=5))
    bias = data.draw(bias_settings())
    mode = Mode.from_psam(made, drawn.table, out_channel_indexing=chosen, **bias)
    randomised(mode, data.draw(seeds))
    assert mode.out_channels == len(chosen)
    assert_mode_is_right(mode, drawn)


@given(probes(variable=True), bias_settings(), seeds)
def test_the_full_bias_is_indexed_by_the_number_of_letters(
    drawn: Probes, bias: dict[str, Any], seed: int
) -> None:
    mode = Mode.from_psam(layers.PSAM(3, alphabet=DNA), drawn.table, **bias)
    randomised(mode, seed)
    conv = conv_of(mode)
    full = conv.get_log_posbias()
    lengths = range(drawn.table.min_read_length, drawn.table.max_read_length + 1)
    if bias["length_specific_bias"]:
        assert full.shape == (lengths.stop, 2, drawn.table.input_shape - 2)
        assert (full[: lengths.start] == 0).all()
    for length in lengths:
        own = length - 2
        entry = min(length, len(full) - 1)
        expected = [row[:own] for row in position_bias(conv, length)]
        assert_close(full[entry, :, :own], expected)


@given(probes(variable=True), st.booleans(), seeds)
def test_nonspecific_binding_counts_letters(
    drawn: Probes, ignore_length: bool, seed: int
) -> None:
    spec = layers.NonSpecific(DNA, ignore_length=ignore_length)
    mode = Mode.from_nonspecific(spec, drawn.table, train_posbias=True)
    randomised(mode, seed)
    with torch.no_grad():
        mode.log_hill.zero_()
    assert_mode_is_right(mode, drawn)
    (layer,) = mode.chain
    assert isinstance(layer, layers.Conv0d)
    bias = layer.get_log_posbias()
    assert len(bias) == drawn.table.max_read_length + 1
    plain = Mode.from_nonspecific(spec, drawn.table).double()
    expected = [0.0 if ignore_length else math.log(count(p)) for p in drawn.read]
    assert_close(plain(drawn.seqs), expected)


# --- layers -----------------------------------------------------------------------


def texts_of(seqs: Tensor) -> list[str]:
    """Return encoded probes as text, padding included."""
    symbols = "ACGT *-"
    return ["".join(symbols[code] for code in row) for row in seqs.tolist()]


@given(probes(shortest=7, symbols="ACGT*"), st.integers(-3, 3), st.integers(-3, 3))
def test_pad_adds_any_letter_and_trims(drawn: Probes, left: int, right: int) -> None:
    spec = layers.PadSpec(DNA, left, right)
    layer = layers.Pad.from_spec(spec, drawn.table)
    expected = [padded(spec, probe) for probe in drawn.read]
    codes = layer(drawn.seqs)
    assert codes.dtype == drawn.seqs.dtype
    assert [read_probe(DNA, text) for text in texts_of(codes)] == expected
    soft = as_soft(drawn.read, torch.zeros((), dtype=torch.float64))
    assert_close(layer(soft), as_soft(expected, soft))
    assert codes.shape[1] == layer.out_len(drawn.table.input_shape)
    assert spec.in_len(spec.out_len(20)) == 20


def test_trimming_must_leave_a_letter() -> None:
    table = table_of(["ACGT", "ACGTAC"])
    layers.Pad.from_spec(layers.PadSpec(DNA, -1, -2), table)
    with pytest.raises(ValueError, match="shortest read"):
        layers.Pad.from_spec(layers.PadSpec(DNA, -2, -2), table)


@given(
    probes(symbols="ACGT*"),
    st.sampled_from(["left", "right", "center"]),
    st.none() | st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["left", "right"]),
)
def test_roll_justifies_and_keeps_one_end(
    drawn: Probes,
    direction: Direction,
    max_length: int | None,
    include_n: bool,
    before: Direction,
) -> None:
    spec = layers.RollSpec(DNA, direction, max_length, include_n)
    first = layers.Roll.from_spec(layers.RollSpec(DNA, before), drawn.table)
    layer = layers.Roll.from_spec(spec, first)
    given_probes = [rolled(first.layer_spec, probe) for probe in drawn.read]
    expected = [rolled(spec, probe) for probe in given_probes]
    codes = layer(first(drawn.seqs))
    assert [read_probe(DNA, text) for text in texts_of(codes)] == expected
    soft = as_soft(given_probes, torch.zeros((), dtype=torch.float64))
    assert_close(layer(soft), as_soft(expected, soft))
    assert codes.shape[1] == layer.out_len(drawn.table.input_shape)


def test_roll_centres_to_within_a_letter() -> None:
    table = table_of(["ACGTA", "ACGT", "ACG", "ACGTACGT"])
    layer = layers.Roll.from_spec(layers.RollSpec(DNA, "center"), table)
    for text in texts_of(layer(table.seqs)):
        before = len(text) - len(text.lstrip())
        after = len(text) - len(text.rstrip())
        assert abs(before - after) <= 1


@given(probes(variable=True), st.integers(-2, 3), st.integers(-2, 3), seeds)
def test_padding_layers_pad_probes_at_their_own_ends(
    drawn: Probes, left: int, right: int, seed: int
) -> None:
    chain = layers.get_padding_layers(DNA, drawn.table, left=left, right=right)
    value = drawn.seqs
    for layer in chain:
        value = layer(value)
    for text, probe in zip(texts_of(value), drawn.read, strict=True):
        own = probe[: count(probe)]
        found = read_probe(DNA, text.strip())
        assert found == padded(layers.PadSpec(DNA, left, right), own)
    last = layers.Conv1d.from_psam(
        layers.PSAM(2, alphabet=DNA), chain[-1] if chain else drawn.table
    )
    mode = Mode([*chain, last])
    randomised(mode, seed)
    assert_mode_is_right(mode, drawn)
    mode.check_length_consistency()


@given(
    probes(),
    psam_settings(),
    bias_settings(),
    st.integers(1, 4),
    st.booleans(),
    seeds,
)
def test_pooling_takes_the_best_of_neighbouring_windows(
    drawn: Probes,
    psam: dict[str, Any],
    bias: dict[str, Any],
    size: int,
    ceil_mode: bool,
    seed: int,
) -> None:
    conv = layers.Conv1d.from_psam(layers.PSAM(**psam), drawn.table, **bias)
    spec = layers.MaxPool1dSpec(conv.out_channels, size, ceil_mode)
    if spec.out_len(conv.out_len(drawn.table.input_shape)) == 0:
        return
    mode = Mode([conv, layers.MaxPool1d.from_spec(spec, conv)], train_hill=True)
    randomised(mode, seed)
    assert_mode_is_right(mode, drawn)
    inner = Mode([conv])
    windows = inner.score_windows(drawn.seqs).tolist()
    expected = [pooled(spec, rows) for rows in windows]
    assert_close(mode.score_windows(drawn.seqs), expected)


@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.booleans(),
    st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_lengths_through_a_pool_are_bounds(
    n_windows: int, size: int, ceil_mode: bool, finite: list[bool]
) -> None:
    spec = layers.MaxPool1dSpec(1, size, ceil_mode)
    row = [1.0] * n_windows
    assert len(pooled(spec, [row])[0]) == spec.out_len(n_windows)
    own = sum(finite)
    shorter = [1.0] * own + [NEG_INF] * (9 - own)
    n_finite = sum(value > NEG_INF for value in pooled(spec, [shorter])[0])
    assert spec.out_len(own, "min") <= n_finite <= spec.out_len(own, "max")


class Scorer(nn.Module):
    """Scores a probe by the fractions of its letters."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 0.25]))

    def forward(self, seqs: Tensor) -> Tensor:
        return (seqs * self.weights[:, None]).sum((1, 2))[:, None, None]


@given(probes(symbols=SYMBOLS))
def test_a_module_scores_letter_fractions_with_padding_as_zero(drawn: Probes) -> None:
    scorer = Scorer()
    spec = layers.ModuleSpec(DNA, scorer)
    mode = Mode([layers.ModuleLayer.from_spec(spec, drawn.table)]).double()
    weights = scorer.weights.tolist()
    expected = [
        sum(
            fraction * weight
            for part in probe
            if part is not None
            for fraction, weight in zip(part, weights, strict=True)
        )
        for probe in drawn.read
    ]
    assert_close(mode(drawn.seqs), expected)
    assert mode.score_windows(drawn.seqs).shape == (len(drawn.seqs), 1, 1)
    soft = as_soft(drawn.read, torch.zeros((), dtype=torch.float64))
    assert_close(mode(soft), expected)
    assert_finite_gradients(mode, mode(drawn.seqs))


def test_a_module_of_another_shape_is_refused() -> None:
    table = table_of(["ACGT"])
    layer = layers.ModuleLayer.from_spec(layers.ModuleSpec(DNA, nn.Identity()), table)
    with pytest.raises(ValueError, match=r"\(1, 1, 1\)"):
        layer(table.seqs)


def test_a_psam_on_numbers_scores_channels() -> None:
    """A second convolution takes the windows of the first as its letters."""
    table = table_of(["ACGTACGTA", "TTTTACGAA"])
    first = layers.Conv1d.from_psam(
        layers.PSAM(3, alphabet=DNA, score_reverse=False, out_channels=3), table
    )
    spec = layers.PSAM(2, in_channels=3, out_channels=2)
    mode = Mode([first, layers.Conv1d.from_psam(spec, first)])
    randomised(mode, 3)
    with torch.no_grad():
        mode.log_hill.zero_()
        for conv in (first, conv_of(mode)):
            conv.log_posbias.zero_()
    inner = Mode([first]).score_windows(table.seqs)
    weights = spec.get_filter(0)
    expected = torch.nn.functional.conv1d(inner, weights, spec.get_bias())
    assert_close(mode.score_windows(table.seqs), expected.detach())
    assert_close(mode(table.seqs), [log_sum(e.flatten().tolist()) for e in expected])


@pytest.mark.parametrize("name", ["RNA", "Protein"])
def test_other_alphabets_score_one_strand(name: str) -> None:
    alphabet: alphabets.Alphabet = getattr(alphabets, name)()
    texts = random_texts(7, 5, 8, "".join(alphabet.alphabet) + "*-")
    drawn = Probes(texts, table_of(texts, alphabet=alphabet))
    psam = layers.PSAM(3, alphabet=alphabet, pairwise_distance=1)
    mode = Mode.from_psam(psam, drawn.table, train_posbias=True)
    randomised(mode, 11)
    assert mode.out_channels == 1
    assert_mode_is_right(mode, drawn)
