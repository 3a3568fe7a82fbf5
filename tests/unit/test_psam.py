"""The mapping of betas by their external keys, and re-reading the symmetry."""

from collections.abc import Callable

import pytest
import torch

from pyprobound.layers import PSAM
from tests.unit.fits import DNA


def test_betas_are_a_mapping_from_external_keys() -> None:
    psam = PSAM(3, DNA, pairwise_distance=1)
    betas = psam.betas
    assert len(betas) == len(list(betas)) == 3 * 4 + 2 * 16
    assert list(betas)[:5] == ["1-0", "1-1", "1-2", "1-3", "2-0"]
    assert list(betas)[12:14] == ["1-2-0", "1-2-1"]
    assert betas.keys() == list(betas)
    assert dict(betas.items()).keys() == set(betas)
    assert len(betas.values()) == len(betas)
    assert "2-3-15" in betas
    assert "1-3-0" not in betas  # two apart
    assert 7 not in betas
    assert all(value.shape == () for value in betas.values())


def test_an_unknown_key_is_named_with_an_example() -> None:
    psam = PSAM(3, DNA)
    with pytest.raises(KeyError, match=r"no beta '4-0'; keys look like '1-0'"):
        psam.betas["4-0"]


def test_betas_are_written_in_place() -> None:
    psam = PSAM(3, DNA, symmetry=[1, 2, -1])
    with torch.no_grad():
        psam.betas["1-0"].fill_(1.5)
        torch.nn.init.constant_(psam.betas["2-3"], -2.0)
    forward, reverse = psam.get_filter(0)
    assert forward[0, 0] == forward[3, 2] == 1.5
    assert forward[3, 1] == -2
    # The reverse complement reads the positions from the other end.
    assert torch.equal(reverse, forward.flip((0, 1)))


def test_several_forward_channels_count_on_in_the_last_part_of_the_key() -> None:
    psam = PSAM(2, DNA, out_channels=4, pairwise_distance=1)
    assert len(psam.betas) == 2 * (2 * 4 + 16)
    with torch.no_grad():
        psam.betas["2-5"].fill_(3.0)
        psam.betas["1-2-18"].fill_(4.0)
    assert psam.get_filter(0)[1, 1, 1] == 3
    assert psam.get_filter(1)[1, 0, 2, 0] == 4


def test_betas_stand_for_a_module_even_without_entries() -> None:
    betas = PSAM(1, DNA).betas
    assert bool(betas)
    assert list(betas.components()) == []


@pytest.mark.parametrize(
    ("edit", "removed", "added"),
    [
        (lambda psam: psam.update_footprint(left_shift=1), 0, 4 + 16),
        (lambda psam: psam.update_footprint(left_shift=-1), 4 + 16, 0),
        (lambda psam: psam.update_footprint(1, -1), 4 + 16, 4 + 16),
        (lambda psam: psam.update_params(), 0, 0),
    ],
    ids=["grown", "shrunk", "shifted", "as it was"],
)
def test_an_edit_returns_what_it_took_away_and_added(
    edit: Callable[[PSAM], tuple[tuple[torch.Tensor, ...], ...]],
    removed: int,
    added: int,
) -> None:
    psam = PSAM(3, DNA, pairwise_distance=1)
    with torch.no_grad():
        for parameter in psam.betas.all_packed():
            parameter.fill_(2.0)
    taken, new = edit(psam)
    assert len(taken) == removed
    assert len(new) == added
    assert all(value.tolist() == [2.0] for value in taken)
    assert all(value.tolist() == [0.0] for value in new)
    assert len(psam.betas) == 4 * psam.kernel_size + 16 * (psam.kernel_size - 1)


def test_a_heuristic_shift_of_what_is_centred_changes_nothing() -> None:
    psam = PSAM(3, DNA)
    with torch.no_grad():
        psam.betas.packed(0).zero_()
    assert psam.shift_heuristic() == ((), ())  # no information at all
    with torch.no_grad():
        psam.betas["2-1"].fill_(2.0)
    assert psam.shift_heuristic() == ((), ())  # in the middle
    assert psam.start == 0


def test_windows_are_counted_for_many_lengths_at_once() -> None:
    psam = PSAM(3, DNA, dilation=2)
    assert psam.reach == 5
    assert psam.out_len(torch.tensor([3, 5, 9])).tolist() == [0, 1, 5]
    assert psam.in_len(torch.tensor([1, 5])).tolist() == [5, 9]


def test_frozen_positions_are_the_keys_of_their_classes() -> None:
    keys = PSAM.frozen_positions([0, 2], [1, 2, -1], 1, 4)
    assert keys == {"1-0", "1-1", "1-2", "1-3"}
    assert PSAM.frozen_positions([1], [1, 2, -1], 2, 2) == {"2-0", "2-1", "2-2", "2-3"}
    psam = PSAM(3, DNA, frozen_parameters=PSAM.frozen_positions([1], [1, 2, 3], 1, 4))
    psam.get_filter(0).sum().backward()
    slope = psam.betas.packed(0).grad
    assert slope is not None
    assert slope.tolist() == [[2.0] * 4 + [0.0] * 4 + [2.0] * 4]


def test_classes_of_pairs_that_were_listed_before_are_no_noise() -> None:
    # Two apart, this palindrome has no class of pairs that is not there one apart.
    psam = PSAM(4, DNA, symmetry=[1, 2, -2, -1], pairwise_distance=2)
    assert [packed.numel() for packed in psam.betas.all_packed()][-1] == 0
    assert psam.is_noise
    with torch.no_grad():
        psam.betas["1-2-3"].fill_(5.0)
    assert not psam.is_noise
