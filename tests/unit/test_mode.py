"""Modes: chains of layers, and what a chain refuses."""

import pytest
import torch

from pyprobound import CountTable, Mode
from pyprobound.layers import (
    PSAM,
    Conv1d,
    MaxPool1d,
    MaxPool1dSpec,
    ModeKey,
    NonSpecific,
    Pad,
    PadSpec,
)
from tests.unit.fits import DNA, reads_of, table_of


def table() -> CountTable:
    return table_of(reads_of(6))


def chain() -> Mode:
    """Two letters more on the left, windows of a 4-mer, pools of three."""
    pad = Pad.from_spec(PadSpec(DNA, left=2, name="pad"), table())
    conv = Conv1d.from_psam(PSAM(4, DNA, name="a"), pad)
    pool = MaxPool1d.from_spec(MaxPool1dSpec(2, 3), conv)
    return Mode([pad, conv, pool])


def test_a_mode_needs_a_layer() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        Mode([])


def test_neighbours_must_agree_in_their_channels() -> None:
    conv = Conv1d.from_psam(PSAM(4, DNA, score_reverse=False), table())
    pool = MaxPool1d.from_spec(MaxPool1dSpec(2, 3), conv)
    message = "Conv1d gives 1 channels, but MaxPool1d takes 2"
    with pytest.raises(ValueError, match=message):
        Mode([conv, pool])


def test_a_mode_is_named_after_its_specifications() -> None:
    assert str(chain()) == "Mode-pad-a"
    assert str(Mode.from_psam(PSAM(4, DNA), table())) == "Mode"
    assert str(Mode.from_psam(PSAM(4, DNA, name="a"), table(), name="b")) == "Mode-b"
    nonspecific = NonSpecific(DNA, name="ns")
    assert str(Mode.from_nonspecific(nonspecific, table())) == "Mode-ns"


def test_a_mode_has_the_lengths_of_its_chain() -> None:
    mode = chain()
    assert (mode.in_channels, mode.out_channels) == (4, 2)
    lengths = mode.input_shape, mode.min_input_length, mode.max_input_length
    assert lengths == (9, 9, 9)
    assert mode.out_len(9) == mode.n_windows == 3  # 11 letters, 8 windows
    assert mode.out_len(torch.tensor([9, 10, 11])).tolist() == [3, 3, 4]
    assert mode.in_len(1) == mode.key().in_len(1) == 4  # 3 windows, 6 letters, 2 added
    assert mode.score_windows(table().seqs).shape == (6, 2, 3)
    assert mode.key() == ModeKey(layer.layer_spec for layer in mode.components())


def test_layers_that_do_not_follow_are_found() -> None:
    mode = chain()
    mode.check_length_consistency()
    mode.chain[1].update_input_length(right_shift=2)
    message = (
        r"Conv1d-a of Mode-pad-a: expected .*\(11, 11, 11\) from Pad-pad, found \(13"
    )
    with pytest.raises(RuntimeError, match=message):
        mode.check_length_consistency()


def test_a_chain_follows_the_read_length_or_stays() -> None:
    mode = chain()
    mode.update_read_length(left_shift=1, right_shift=2)
    assert [layer.input_shape for layer in mode.components()] == [12, 14, 11]
    mode.check_length_consistency()
    before = [str(layer.structure()) for layer in mode.chain]
    with pytest.raises(ValueError, match="exceeds the shortest read"):
        mode.update_read_length(left_shift=-11)
    assert [str(layer.structure()) for layer in mode.chain] == before
    mode.update_read_length(left_shift=-1, right_shift=-2)
    assert [layer.input_shape for layer in mode.components()] == [9, 11, 8]


def test_hill_is_fixed_at_one_unless_it_is_trained_or_set() -> None:
    mode = Mode.from_psam(PSAM(4, DNA), table(), train_hill=True)
    trained = mode.hill
    assert trained is not None
    assert trained.item() == 1
    assert trained.requires_grad
    mode.freeze()
    assert mode.hill is None
    with torch.no_grad():
        mode.log_hill.fill_(0.5)
    windows = mode.score_windows(table().seqs)
    expected = (mode.log_hill.exp() * windows).logsumexp((1, 2))
    assert torch.allclose(mode(table().seqs), expected)


def test_arguments_reach_the_convolution() -> None:
    mode = Mode.from_psam(
        PSAM(4, DNA),
        table(),
        train_posbias=True,
        bias_mode="reverse",
        bias_bin=2,
        length_specific_bias=False,
        out_channel_indexing=[1, 0],
        one_hot=True,
        unfold=True,
        normalize=True,
    )
    (conv,) = mode.components()
    assert isinstance(conv, Conv1d)
    assert conv.train_posbias
    assert conv.bias_mode == "reverse"
    assert conv.bias_bin == 2
    assert not conv.length_specific_bias
    assert conv.out_channel_indexing == [1, 0]
    assert conv.one_hot
    assert conv.unfold
    assert conv.normalize
    assert conv.log_posbias.shape == (1, 1, 3)
    assert conv.log_posbias.requires_grad
