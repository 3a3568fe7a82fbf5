"""Spacings and dimers: what they refuse, and what a shared spacing knows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pyprobound import Cooperativity, CountTable, Mode, Spacing, alphabets
from pyprobound.layers import PSAM, Conv1d, NonSpecific
from tests.unit.fits import DNA, reads_of, table_of


def table(length: int = 9) -> CountTable:
    return table_of(reads_of(6, length=length))


def mode(name: str = "a", size: int = 3, **arguments: Any) -> Mode:
    return Mode.from_psam(PSAM(size, DNA, name=name, **arguments), table())


def spacing(**arguments: Any) -> Spacing:
    return Spacing(mode().key(), mode("b").key(), **arguments)


def dimer(**arguments: Any) -> Cooperativity:
    first, second = mode("a"), mode("b", 4)
    return Cooperativity(Spacing(first.key(), second.key()), first, second, **arguments)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "one strand and two": (
        lambda: Spacing(mode().key(), mode("b", score_reverse=False).key()),
        r"must both score one strand or both strands, not 2 and 1 channels",
    ),
    "several motifs in one mode": (
        lambda: Spacing(mode(out_channels=4).key(), mode(out_channels=4).key()),
        "not 4 and 4 channels",
    ),
    "a score mode that is none": (
        lambda: spacing(score_mode="left"),
        "score_mode 'left' must be both, positive or negative",
    ),
    "limits without a footprint": (
        lambda: Spacing(
            [NonSpecific(alphabets.RNA(), name="ns")],
            [NonSpecific(alphabets.RNA())],
            max_overlap=2,
        ),
        "max_overlap and max_spacing need modes of bounded footprint",
    ),
    "other specifications": (
        lambda: Cooperativity(spacing(), mode(), mode("b")),
        (
            r"mode_a \(Mode-a\) is made of other specifications than those of"
            r" Spacing-a-b; build the spacing from Mode-a\.key\(\)"
        ),
    ),
    "a bias mode that is none": (
        lambda: dimer(bias_mode="channel"),
        "bias_mode 'channel' must be 'strand', 'same' or 'reverse'",
    ),
    "bins of nothing": (lambda: dimer(bias_bin=0), "bias_bin 0 must be at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_make_no_dimer_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mode_that_scores_part_of_the_strands_is_refused() -> None:
    psam = PSAM(3, DNA, name="a")
    forward = Mode([Conv1d.from_psam(psam, table(), out_channel_indexing=[0])])
    both = Spacing([psam], [psam])
    message = r"mode_a \(Mode-a\) scores 1 channels, Spacing-a-a 2 strands"
    with pytest.raises(ValueError, match=message):
        Cooperativity(both, forward, forward)


def test_a_dimer_is_named_after_its_spacing() -> None:
    assert str(dimer()) == "Cooperativity-a-b"
    assert str(spacing(name="pair")) == "Spacing-pair"
    assert dimer().key()[0].name == "a-b"
    assert list(spacing().components()) == []
    pair = dimer()
    assert list(pair.components()) == [pair.mode_a, pair.mode_b]


def test_a_spacing_holds_offsets_for_the_largest_mode_attached() -> None:
    first, second = mode("a"), mode("b", 4)
    shared = Spacing(first.key(), second.key())
    assert shared.max_num_windows == 1
    Cooperativity(shared, first, second)
    assert shared.max_num_windows == 7
    assert shared.log_spacing.shape == (2, 13)
    psam_a, psam_b = first.key()[0], second.key()[0]
    assert isinstance(psam_a, PSAM)
    assert isinstance(psam_b, PSAM)
    longer_a, longer_b = (Mode.from_psam(psam, table(12)) for psam in (psam_a, psam_b))
    with torch.no_grad():
        shared.log_spacing.copy_(torch.arange(26.0).reshape(2, 13))
    Cooperativity(shared, longer_a, longer_b)
    assert shared.max_num_windows == 10
    kept = shared.log_spacing[:, 3:-3]
    assert torch.equal(kept, torch.arange(26.0).reshape(2, 13))
    assert not shared.log_spacing[:, :3].any()


@pytest.mark.parametrize("train", [True, False])
def test_the_bias_is_trained_where_it_is_asked_for(*, train: bool) -> None:
    pair = dimer(train_posbias=train, train_hill=train)
    pair.freeze()
    pair.unfreeze("posbias")
    pair.unfreeze("hill")
    assert all(bias.requires_grad is train for bias in pair.log_posbias)
    assert pair.log_hill.requires_grad is train
    before = pair.spacing.log_spacing.requires_grad
    pair.unfreeze("all")
    assert (before, pair.spacing.log_spacing.requires_grad) == (False, True)
    with pytest.raises(ValueError, match="cannot unfreeze 'spacing'"):
        pair.unfreeze("spacing")


def test_hill_raises_every_pair_to_its_power() -> None:
    pair = dimer(train_hill=True)
    seqs = table().seqs
    trained, plain = pair.hill, pair(seqs)
    assert trained is not None
    pair.freeze()
    assert pair.hill is None
    assert torch.allclose(pair(seqs), plain)
    with torch.no_grad():
        pair.log_hill.fill_(0.7)
    exponent = torch.tensor(0.7).exp()
    windows = pair.score_windows(seqs).flatten(1)
    assert torch.allclose(pair(seqs), (exponent * windows).logsumexp(1), atol=1e-5)


def test_pairs_of_windows_have_their_documented_shape() -> None:
    pair = dimer(train_posbias=True)
    assert pair.score_windows(table().seqs).shape == (6, 2, 2, 7, 6)
    assert pair.get_log_spacing().shape == (2, 2, 12)
    assert pair.get_log_spacing_matrix().shape == (8, 7, 2, 2, 7, 6)
    diagonals = pair.get_log_spacing_diagonals()
    assert [d.shape[-1] for d in diagonals] == [1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]
    assert {d.shape[:4] for d in diagonals} == {(8, 7, 2, 2)}
    assert pair.expected_sequence().shape == (1, 4, 9)
