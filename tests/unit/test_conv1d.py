"""Position bias of windows: its shape, its reading, and probes it was not made for."""

from typing import Any

import pytest
import torch

from pyprobound import CountTable
from pyprobound.layers import PSAM, Conv1d
from tests.unit.fits import DNA, reads_of, table_of


def table(*, variable: bool = False) -> CountTable:
    frame = reads_of(6)
    if variable:
        frame.index = [text[: 6 + i % 4] for i, text in enumerate(frame.index)]
    return table_of(frame)


def conv(reads: CountTable | None = None, **arguments: Any) -> Conv1d:
    psam = PSAM(4, DNA, name="a")
    return Conv1d.from_psam(psam, reads or table(), train_posbias=True, **arguments)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (4, 2, 6)),
        ({"length_specific_bias": False}, (1, 2, 6)),
        ({"bias_bin": 4}, (4, 2, 2)),
        ({"bias_mode": "same"}, (4, 1, 6)),
        ({"bias_mode": "reverse", "bias_bin": 5}, (4, 1, 2)),
        ({"out_channel_indexing": [1]}, (4, 1, 6)),
    ],
)
def test_the_bias_is_laid_by_length_channel_and_bin(
    arguments: dict[str, Any], shape: tuple[int, ...]
) -> None:
    layer = conv(table(variable=True), **arguments)
    assert layer.log_posbias.shape == shape
    assert not layer.log_posbias.any()
    lengths = 10 if layer.length_specific_bias else 1
    channels = len(layer.out_channel_indexing or [0, 1])
    assert layer.get_log_posbias().shape == (lengths, channels, 6)
    assert layer.out_channels == channels


def test_a_reversed_bias_runs_over_the_probes_own_windows() -> None:
    reads = table(variable=True)
    layer = conv(reads, bias_mode="reverse", length_specific_bias=False)
    with torch.no_grad():
        layer.log_posbias.copy_(torch.arange(6.0))
    bias = layer.get_log_posbias()
    assert bias.shape == (10, 2, 6)
    assert bias[9].tolist() == [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    assert bias[7, 1].tolist() == [3, 2, 1, 0, 0, 0]  # four windows
    assert not bias[:6].any()  # lengths that no probe has


def test_windows_of_a_probe_carry_the_bias_of_its_length() -> None:
    reads = table(variable=True)
    layer = conv(reads)
    plain = layer(reads.seqs).detach()
    with torch.no_grad():
        layer.log_posbias.copy_(torch.arange(4.0)[:, None, None].expand(4, 2, 6))
    added = layer(reads.seqs).detach() - plain
    lengths = layer.lengths(reads.seqs)
    finite = plain.isfinite()
    for row, windows, length in zip(added, finite, lengths.tolist(), strict=True):
        assert windows.sum() == 2 * (length - 3)
        assert torch.allclose(row[windows], torch.tensor(float(length - 6)))


def test_centring_takes_the_mean_off_each_channel() -> None:
    layer = conv(normalize=True)
    with torch.no_grad():
        layer.log_posbias.uniform_(-1, 1)
    bias = layer.get_log_posbias()[-1]
    assert torch.allclose(bias.mean(-1), torch.zeros(2), atol=1e-6)
    stored = layer.log_posbias[0].detach()
    assert torch.allclose(bias - bias[:, :1], stored - stored[:, :1], atol=1e-6)


def test_a_bias_that_is_frozen_at_zero_adds_nothing() -> None:
    reads = table()
    layer = conv(reads)
    scores = layer(reads.seqs)
    layer.freeze()
    assert torch.equal(layer(reads.seqs), scores)
    layer.unfreeze("posbias")
    assert layer.log_posbias.requires_grad
    other = Conv1d.from_psam(layer.layer_spec, reads)
    other.unfreeze("posbias")
    assert not other.log_posbias.requires_grad


def test_probes_of_another_length_read_the_bias_from_their_left() -> None:
    reads = table()
    layer = conv(reads, length_specific_bias=False)
    with torch.no_grad():
        layer.log_posbias.uniform_(-1, 1)
    shorter = reads.seqs[:, :7]
    added = layer(shorter) - layer.score_dense(shorter)
    assert torch.allclose(added[0], layer.log_posbias[0, :, :4], atol=1e-6)
    longer = torch.cat([reads.seqs, reads.seqs], 1)
    with pytest.raises(ValueError, match=r"bias for up to 9 letters, .* have 18"):
        layer(longer)
    layer.freeze()
    with torch.no_grad():
        layer.log_posbias.zero_()
    assert layer(longer).shape == (6, 2, 15)


def test_several_soft_sequences_need_one_hot() -> None:
    reads = table()
    soft = DNA.embed(reads.seqs)
    layer = conv(reads)
    assert layer(soft[:1]).shape == (1, 2, 6)
    with pytest.raises(ValueError, match="soft sequences only with one_hot=True"):
        layer(soft)
    layer.one_hot = True
    assert torch.allclose(layer(soft), layer(reads.seqs), atol=1e-6)


def test_scores_without_bias_are_alike_in_codes_and_fractions() -> None:
    reads = table()
    layer = conv(reads)
    with torch.no_grad():
        layer.log_posbias.fill_(9.0)
    dense, onehot = layer.score_dense(reads.seqs), layer.score_onehot(reads.seqs)
    assert torch.allclose(dense, onehot, atol=1e-6)
    assert torch.allclose(layer(reads.seqs), dense + 9, atol=1e-5)


def test_a_bin_keeps_its_windows_when_the_footprint_grows() -> None:
    layer = conv(bias_bin=2, bias_mode="same", length_specific_bias=False)
    with torch.no_grad():
        layer.log_posbias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    layer.layer_spec.update_footprint(left_shift=1)
    # Window x now begins one letter earlier, so that the first one has no bias yet
    # and the others keep their physical place.
    assert layer.get_log_posbias()[0, 0].tolist() == [1, 2, 2, 3, 3]
    layer.layer_spec.update_footprint(left_shift=-1)
    assert layer.get_log_posbias()[0, 0].tolist() == [1, 1, 2, 2, 3, 3]
