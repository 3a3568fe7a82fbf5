"""Layers: what they refuse, and lengths through them as numbers and tensors."""

from collections.abc import Callable

import pytest
import torch

from pyprobound import CountTable, alphabets, layers
from pyprobound.layers import (
    PSAM,
    Conv0d,
    Conv1d,
    EmptyLayerSpec,
    Layer,
    LayerSpec,
    MaxPool1d,
    MaxPool1dSpec,
    ModeKey,
    ModuleLayer,
    ModuleSpec,
    NonSpecific,
    Pad,
    PadSpec,
    Roll,
    RollSpec,
)
from pyprobound.layers.layer import InMode, OutMode
from tests.unit.fits import DNA, reads_of, table_of


def table(length: int = 9) -> CountTable:
    return table_of(reads_of(6, length=length))


OUT_MODES: tuple[OutMode, ...] = ("min", "max", "shape")
IN_MODES: tuple[InMode, ...] = ("min", "max")
SPECS: dict[str, LayerSpec] = {
    "empty": EmptyLayerSpec(2, 4),
    "PSAM": PSAM(4, DNA),
    "dilated PSAM": PSAM(3, DNA, dilation=2),
    "non-specific": NonSpecific(DNA),
    "pad": PadSpec(DNA, 2, 1),
    "trim": PadSpec(DNA, -2, 1),
    "roll": RollSpec(DNA, "right"),
    "cut": RollSpec(DNA, "left", max_length=5),
    "pool": MaxPool1dSpec(2, 3),
    "pool of whole windows": MaxPool1dSpec(2, 3, ceil_mode=False),
    "module": ModuleSpec(DNA, torch.nn.Identity()),
}


@pytest.mark.parametrize("name", SPECS)
def test_lengths_are_alike_for_numbers_and_tensors(name: str) -> None:
    spec = SPECS[name]
    lengths = range(1, 14)
    for mode in OUT_MODES:
        each = [spec.out_len(length, mode) for length in lengths]
        assert spec.out_len(torch.tensor(list(lengths)), mode).tolist() == each
        assert min(each) >= 0
    for mode in IN_MODES:
        for length in range(1, 6):
            number = spec.in_len(length, mode)
            tensor = spec.in_len(torch.tensor(length), mode)
            assert (None if tensor is None else int(tensor)) == number


@pytest.mark.parametrize("name", SPECS)
def test_lengths_that_go_in_bound_what_comes_out(name: str) -> None:
    spec = SPECS[name]
    for length in range(1, 12):
        fewest, most = spec.out_len(length, "min"), spec.out_len(length, "max")
        assert fewest <= spec.out_len(length) <= most
        if fewest == 0:
            continue
        low, high = spec.in_len(fewest, "min"), spec.in_len(most, "max")
        assert low is not None
        assert low <= length
        assert high is None or length <= high


def test_a_key_chains_its_layers() -> None:
    key = ModeKey([PadSpec(DNA, 1, 2), PSAM(4, DNA), MaxPool1dSpec(2, 3)])
    assert key.in_channels == 4
    assert key.out_channels == 2
    assert key.out_len(9) == 3  # 12 letters, 9 windows
    assert key.out_len(torch.tensor([2, 9, 10])).tolist() == [1, 3, 4]
    assert key.in_len(1, "max") == 3  # 3 windows, 6 letters, 3 of which are added
    assert key.in_len(1, "min") == 1
    assert ModeKey([NonSpecific(DNA)]).in_len(1) is None
    assert (
        ModeKey([RollSpec(DNA, "left", max_length=5), PSAM(4, DNA)]).in_len(2) is None
    )


def test_keys_are_equal_where_they_hold_the_same_specifications() -> None:
    psam = PSAM(3, DNA)
    assert ModeKey([psam]) == ModeKey([psam])
    assert hash(ModeKey([psam])) == hash(ModeKey([psam]))
    assert ModeKey([psam]) != ModeKey([PSAM(3, DNA)])


def test_layers_have_the_channels_and_lengths_of_their_input() -> None:
    reads = table()
    conv = Conv1d.from_psam(PSAM(4, DNA), reads)
    assert (conv.in_channels, conv.out_channels) == (4, 2)
    assert (conv.input_shape, conv.min_input_length, conv.max_input_length) == (9, 9, 9)
    pool = MaxPool1d.from_spec(MaxPool1dSpec(2, 4), conv)
    assert (pool.input_shape, pool.out_len(pool.input_shape)) == (6, 2)
    assert (conv.in_len(2), pool.in_len(2)) == (5, 8)
    for layer in (conv, pool):
        assert list(layer.components()) == [layer.layer_spec]
        layer.check_length_consistency()


def test_letters_are_counted_in_codes_and_in_fractions() -> None:
    frame = reads_of(6)
    frame.index = [text[: 5 + i % 4] for i, text in enumerate(frame.index)]
    reads = table_of(frame)
    expected = [len(text) for text in frame.index]
    pad = Pad.from_spec(PadSpec(DNA, 1, 1), reads)
    assert pad.lengths(reads.seqs).tolist() == expected
    assert pad.lengths(DNA.embed(reads.seqs)).tolist() == expected
    pool = MaxPool1d.from_spec(
        MaxPool1dSpec(2, 2), Conv1d.from_psam(PSAM(3, DNA), reads)
    )
    assert pool.lengths(torch.zeros(3, 5)).tolist() == [5, 5, 5]


# --- what is refused --------------------------------------------------------------


Make = Callable[[], object]
REFUSED: dict[str, tuple[Make, str]] = {
    "a direction that is none": (
        lambda: RollSpec(DNA, "up"),  # type: ignore[arg-type]
        r"direction 'up' must be 'left', 'right' or 'center'",
    ),
    "keeping nothing": (
        lambda: RollSpec(DNA, "left", max_length=0),
        "max_length 0 must keep at least one letter",
    ),
    "pooling nothing": (
        lambda: MaxPool1dSpec(2, 0),
        "kernel_size 0 must be at least 1",
    ),
    "trimming everything": (
        lambda: Pad.from_spec(PadSpec(DNA, -5, -4), table()),
        r"trimming 5 \+ 4 letters leaves nothing of the shortest read \(9\)",
    ),
    "a kernel longer than a probe": (
        lambda: Conv1d.from_psam(PSAM(12, DNA), table(10)),
        (
            r"kernel_size 12 exceeds the shortest read \(10\);"
            r" score at least 2 flank letters"
        ),
    ),
    "lengths in the wrong order": (
        lambda: Conv0d(NonSpecific(DNA), 9, 8, 7),
        r"0 <= shortest <= longest <= input_shape, not 8, 7, 9",
    ),
    "a longest probe beyond the shape": (
        lambda: Roll(RollSpec(DNA, "left"), 9, 3, 10),
        r"not 3, 10, 9",
    ),
    "a bias mode that is none": (
        lambda: Conv1d.from_psam(PSAM(3, DNA), table(), bias_mode="strand"),  # type: ignore[arg-type]
        "bias_mode 'strand' must be 'channel', 'same' or 'reverse'",
    ),
    "bins of nothing": (
        lambda: Conv1d.from_psam(PSAM(3, DNA), table(), bias_bin=0),
        "bias_bin 0 must be at least 1",
    ),
    "no channel at all": (
        lambda: Conv1d.from_psam(PSAM(3, DNA), table(), out_channel_indexing=[]),
        r"out_channel_indexing \[\] must name at least one of the 2 channels 0 … 1",
    ),
    "a channel that is not there": (
        lambda: Conv1d.from_psam(PSAM(3, DNA), table(), out_channel_indexing=[0, 2]),
        r"out_channel_indexing \[0, 2\] must name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_make_no_layer_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_letters_need_an_alphabet() -> None:
    conv = Conv1d(PSAM(2, in_channels=3, out_channels=1), 5, 5, 5)
    codes = torch.zeros(2, 5, dtype=torch.uint8)
    for score in (conv.score_dense, conv.score_onehot):
        with pytest.raises(ValueError, match="has no alphabet"):
            score(codes)
    assert conv(torch.rand(2, 3, 5)).shape == (2, 1, 4)


def test_nonspecific_bias_follows_lengths_that_have_nothing_in_common() -> None:
    conv = Conv0d.from_nonspecific(NonSpecific(DNA), table(), train_posbias=True)
    with torch.no_grad():
        conv.log_posbias.fill_(2.0)
    conv.update_input_length(new_min_len=12, new_max_len=14)
    assert conv.input_shape == 14
    bias = conv.get_log_posbias().flatten()
    assert bias.tolist() == [0.0] * 15


def test_no_padding_makes_no_layer() -> None:
    assert layers.get_padding_layers(DNA, table()) == []
    (pad,) = layers.get_padding_layers(DNA, table(), 1, -2)
    assert pad.out_len(9) == 8
    frame = reads_of(6)
    frame.index = [text[: 5 + i % 4] for i, text in enumerate(frame.index)]
    variable = table_of(frame)
    assert layers.get_padding_layers(DNA, variable) == []
    kinds = [type(x) for x in layers.get_padding_layers(DNA, variable, 1, 1)]
    assert kinds == [Pad, Roll, Pad]
    assert [type(x) for x in layers.get_padding_layers(DNA, variable, left=1)] == [Pad]


SIZES: dict[str, Callable[[CountTable], Layer]] = {
    "Conv1d": lambda reads: Conv1d.from_psam(PSAM(3, DNA, pairwise_distance=1), reads),
    "Conv0d": lambda reads: Conv0d.from_nonspecific(NonSpecific(DNA), reads),
    "ModuleLayer": lambda reads: ModuleLayer.from_spec(
        ModuleSpec(DNA, torch.nn.Identity()), reads
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_size_bounds_what_scoring_needs_and_grows_with_the_probe(name: str) -> None:
    sizes = [SIZES[name](table(length)).max_embedding_size() for length in (6, 9, 12)]
    assert sizes == sorted(set(sizes))
    # At least the letters and the windows themselves.
    assert sizes[0] >= 8 * 6


def test_any_alphabet_has_layers() -> None:
    protein = alphabets.Protein()
    assert NonSpecific(protein).in_channels == 20
    assert RollSpec(protein, "left").out_channels == 20
    assert PSAM(3, protein).out_channels == 1
    with pytest.raises(ValueError, match="complement"):
        PSAM(3, protein, score_reverse=True)
