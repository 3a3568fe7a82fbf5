"""PSAMs: keys, filters, seeds, information, gauge, shared and frozen betas."""

import copy
import math
import statistics
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    alphabets,
    layers,
    rounds,
)
from tests.oracles import Energies, log_sum, mean
from tests.properties.models import (
    DNA,
    Probes,
    assert_close,
    palindrome,
    probes,
    psam_settings,
    random_texts,
    randomised,
    seeds,
    table_of,
)

# --- betas ------------------------------------------------------------------------


def expected_keys(psam: layers.PSAM) -> set[str]:
    """Return the external keys by their definition, position by position."""
    n = psam.in_channels
    forward = psam.out_channels // psam.n_strands
    classes = [abs(cls) for cls in psam.symmetry]
    keys = {f"{cls}-{i}" for cls in classes for i in range(n * forward)}
    for i, j in Energies(psam).pairs():
        low, high = sorted((classes[i], classes[j]))
        for channel, x, y in product(range(forward), range(n), range(n)):
            if low != high or x <= y:
                keys.add(f"{low}-{high}-{channel * n * n + n * x + y}")
    return keys


@given(psam_settings(), seeds)
def test_filters_hold_the_beta_of_each_key(psam: dict[str, Any], seed: int) -> None:
    made = layers.PSAM(**psam)
    randomised(made, seed)
    assert set(made.betas) == expected_keys(made)
    assert len(made.betas) == len(list(made.betas)) == len(made.betas.values())
    energies = Energies(made)
    forward = made.out_channels // made.n_strands
    for distance in range(made.pairwise_distance + 1):
        found = made.get_filter(distance)
        size = made.kernel_size - distance
        letters = (4,) if distance == 0 else (4, 4)
        assert found.shape == (made.out_channels, *letters, size)
        for channel, position in product(range(forward), range(size)):
            if distance == 0:
                table = energies.single[channel, position]
                assert_close(found[channel, :, position], [row[0] for row in table])
            else:
                table = energies.pair[channel, position, position + distance]
                assert_close(found[channel, :, :, position], table)


@given(psam_settings(), seeds)
def test_the_reverse_filter_is_the_reverse_complement(
    psam: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**(psam | {"score_reverse": True, "out_channels": 4}))
    randomised(made, seed)
    for distance in range(made.pairwise_distance + 1):
        first, second = made.get_filter(distance).split(2)
        flipped = first.flip(tuple(range(1, first.ndim)))
        if distance:
            flipped = flipped.transpose(1, 2)
        assert_close(second, flipped.detach())


@given(psam_settings(), seeds)
def test_betas_are_views_that_write_through(psam: dict[str, Any], seed: int) -> None:
    made = layers.PSAM(**(psam | {"normalize": False}))
    keys = list(made.betas)
    values = torch.rand(len(keys), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for key, value in zip(keys, values, strict=True):
            assert made.betas[key].ndim == 0
            made.betas[key].fill_(value)
    assert_close(torch.stack(made.betas.values()).double(), values.double())
    assert [value.item() for _, value in made.betas.items()] == values.tolist()
    packed = torch.cat([p.detach().flatten() for p in made.betas.parameters()])
    assert_close(packed.double(), values.double())
    torch.nn.init.constant_(made.betas[keys[-1]], 7.0)
    assert made.betas[keys[-1]].item() == 7.0
    with pytest.raises(KeyError, match="no beta"):
        made.betas["0-0"]


def test_betas_lie_in_one_tensor_for_each_distance() -> None:
    psam = layers.PSAM(8, alphabet=DNA, pairwise_distance=3)
    assert len(list(psam.betas.parameters())) == 4


@given(psam_settings())
def test_fresh_betas_are_small_and_pairs_are_zero(psam: dict[str, Any]) -> None:
    made = layers.PSAM(**psam)
    bound = 1 / math.sqrt(4 * made.kernel_size)
    for key, value in made.betas.items():
        if key.count("-") == 1:
            assert abs(value.item()) <= bound
        else:
            assert value.item() == 0
    assert (made.bias == 0).all()


def test_normalize_centres_each_position_of_what_is_scored() -> None:
    psam = layers.PSAM(3, alphabet=DNA, pairwise_distance=1, normalize=True)
    randomised(psam, 1)
    assert_close(psam.get_filter(0).mean(1), torch.zeros(2, 3))
    assert_close(psam.get_filter(1).mean((1, 2)), torch.zeros(2, 2))


def test_get_filter_refuses_a_distance_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="distance 1"):
        layers.PSAM(3, alphabet=DNA).get_filter(1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"kernel_size": 3, "pairwise_distance": 3}, "pairwise_distance"),
        ({"kernel_size": 3, "pairwise_distance": 1, "dilation": 2}, "dilation"),
        ({"kernel_size": 3, "symmetry": [1, 2]}, "symmetry"),
        ({"kernel_size": 3, "symmetry": [1, 0, 2]}, "symmetry"),
        ({"kernel_size": 3, "max_kernel_size": 2}, "max_kernel_size"),
        ({"kernel_size": 3, "out_channels": 3}, "out_channels"),
        ({"kernel_size": 3, "in_channels": 5}, "in_channels"),
        ({"kernel_size": 0}, "position"),
        ({"kernel_size": 2, "seed": ["ACG"]}, "seed"),
        ({"kernel_size": 2, "seed": ["AQ"]}, "Q"),
        ({"kernel_size": 2, "seed": ["AC", "GT"]}, "seed"),
        ({"kernel_size": 2, "symmetry": [1, -1], "seed": ["AC"]}, "class 1"),
        (
            {"kernel_size": 2, "alphabet": alphabets.RNA(), "score_reverse": True},
            "complement",
        ),
        (
            {"kernel_size": 2, "alphabet": alphabets.RNA(), "symmetry": [1, -1]},
            "complement",
        ),
        ({"kernel_size": 2, "alphabet": None}, "in_channels"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    arguments: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        layers.PSAM(**({"alphabet": DNA} | arguments))


# --- seeds ------------------------------------------------------------------------


@pytest.mark.parametrize("seed_scale", [1, 3])
@pytest.mark.parametrize("code", "ACGTRYSWKMBDHV")
def test_seeded_letters_are_best_and_have_the_variance_of_the_start(
    code: str, seed_scale: int
) -> None:
    size = 5
    psam = layers.PSAM(size, alphabet=DNA, seed=[code * size], seed_scale=seed_scale)
    chosen = DNA.get_encoding[code]
    variance = 1 / (3 * 4 * size)  # of a uniform number within ± 1/sqrt(4 · size)
    for position in range(size):
        betas = psam.get_filter(0)[0, :, position].tolist()
        assert statistics.pvariance(betas) == pytest.approx(variance * seed_scale**2)
        best = min(betas[i] for i in chosen)
        assert all(betas[i] < best for i in range(4) if i not in chosen)
        assert len({round(betas[i], 6) for i in chosen}) == 1


def test_a_seed_leaves_dashes_at_random_and_wildcards_at_zero() -> None:
    torch.manual_seed(3)
    plain = layers.PSAM(4, alphabet=DNA).get_filter(0)[0]
    torch.manual_seed(3)
    psam = layers.PSAM(4, alphabet=DNA, seed=["-*N-"])
    found = psam.get_filter(0)[0]
    assert torch.equal(found[:, [0, 3]], plain[:, [0, 3]])
    assert (found[:, [1, 2]] == 0).all()


def test_each_forward_channel_has_its_seed() -> None:
    psam = layers.PSAM(3, alphabet=DNA, out_channels=4, seed=["ACG", "TTT"])
    best = psam.get_filter(0).argmax(1)
    assert best[:2].tolist() == [[0, 1, 2], [3, 3, 3]]
    assert best[2:].tolist() == [[1, 2, 3], [0, 0, 0]]


def test_a_seed_of_a_palindrome_is_read_through_the_complement() -> None:
    psam = layers.PSAM(
        4, alphabet=DNA, symmetry=palindrome(2, odd=False), seed=["ACGT"]
    )
    assert psam.get_filter(0)[0].argmax(0).tolist() == [0, 1, 2, 3]


# --- information, Dirichlet -------------------------------------------------------


@given(psam_settings(), seeds)
def test_information_is_two_bits_less_the_entropy(
    psam: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**(psam | {"out_channels": None}))
    randomised(made, seed, scale=2.0)
    for position in range(made.kernel_size):
        betas = made.get_filter(0)[0, :, position].tolist()
        weights = [math.exp(beta - log_sum(betas)) for beta in betas]
        bits = 2 + sum(w * math.log2(w) for w in weights)
        assert made.get_information(position) == pytest.approx(bits, abs=1e-9)


def test_information_stays_finite_for_impossible_letters() -> None:
    psam = layers.PSAM(1, alphabet=DNA)
    with torch.no_grad():
        for key, value in {"1-0": 0.0, "1-1": 0.0, "1-2": -1e4, "1-3": -1e4}.items():
            psam.betas[key].fill_(value)
    assert psam.get_information(0) == pytest.approx(1.0)


@given(psam_settings(), seeds)
def test_the_dirichlet_term_counts_each_class_once(
    psam: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**psam)
    randomised(made, seed)
    groups: dict[tuple[str, ...], list[float]] = {}
    for key, value in made.betas.items():
        *classes, index = key.split("-")
        channel = int(index) // 4 ** len(classes)
        groups.setdefault((*classes, str(channel)), []).append(value.item())
    expected = sum(
        sum(betas) - len(betas) * log_sum(betas) for betas in groups.values()
    )
    assert made.get_dirichlet().item() == pytest.approx(expected, rel=1e-9)


# --- gauge ------------------------------------------------------------------------


@given(probes(symbols="ACGTACGT*NRYB"), psam_settings(), seeds)
def test_fixing_the_gauge_leaves_every_score_unchanged(
    drawn: Probes, psam: dict[str, Any], seed: int
) -> None:
    made = layers.PSAM(**psam)
    mode = Mode.from_psam(made, drawn.table)
    randomised(mode, seed)
    before = mode.score_windows(drawn.seqs).detach()
    trained = [parameter.requires_grad for parameter in made.parameters()]
    made.fix_gauge()
    assert_close(mode.score_windows(drawn.seqs), before)
    assert [parameter.requires_grad for parameter in made.parameters()] == trained
    groups: dict[str, list[float]] = {}
    for key, value in made.betas.items():
        cls, _, index = key.rpartition("-")
        if "-" not in cls:
            groups.setdefault(f"{cls}/{int(index) // 4}", []).append(value.item())
    for betas in groups.values():
        assert mean(betas) == pytest.approx(0, abs=1e-9)
    again = [value.item() for value in made.betas.values()]
    made.fix_gauge()
    assert [v.item() for v in made.betas.values()] == pytest.approx(again, abs=1e-9)


def test_fixing_the_gauge_leaves_pairs_only_what_letters_cannot_say() -> None:
    psam = layers.PSAM(4, alphabet=DNA, pairwise_distance=3)
    randomised(psam, 9)
    psam.fix_gauge()
    for distance in (1, 2, 3):
        table = psam.get_filter(distance)[0]
        assert_close(table.mean(0), torch.zeros(4, 4 - distance))
        assert_close(table.mean(1), torch.zeros(4, 4 - distance))


def test_a_sum_of_letters_told_as_pairs_becomes_letters() -> None:
    """Pair betas that only add two letters' energies vanish in the gauge."""
    psam = layers.PSAM(2, alphabet=DNA, pairwise_distance=1).double()
    first, second = [0.1, -1.0, 2.0, 0.5], [1.0, 0.0, -0.5, 3.0]
    with torch.no_grad():
        for parameter in psam.parameters():
            parameter.zero_()
        for x, y in product(range(4), range(4)):
            psam.betas[f"1-2-{4 * x + y}"].fill_(first[x] + second[y])
    psam.fix_gauge()
    assert_close(psam.get_filter(1), torch.zeros(2, 4, 4, 1))
    expected = [value - mean(first) for value in first]
    assert_close(psam.get_filter(0)[0, :, 0], expected)
    assert psam.bias.item() == pytest.approx(mean(first) + mean(second))


def test_fixing_the_gauge_of_shared_betas_is_refused() -> None:
    psam = layers.PSAM(3, alphabet=DNA)
    psam.make_indel_psam()
    with pytest.raises(ValueError, match="shares"):
        psam.fix_gauge()


# --- insertions and deletions -----------------------------------------------------


def windows_of(psam: layers.PSAM, text: str) -> list[float]:
    table = table_of([text])
    mode = Mode.from_psam(psam, table).double()
    return mode.score_windows(table.seqs)[0, 0].tolist()


def test_an_inserted_position_scores_nothing_of_its_own() -> None:
    psam = layers.PSAM(4, alphabet=DNA, name="a")
    randomised(psam, 2)
    longer = psam.make_indel_psam([1, 2, 5, 3, 4])
    assert longer.kernel_size == 5
    assert longer.name != psam.name
    with torch.no_grad():
        longer.bias.copy_(psam.bias)
    for middle in "ACGT":
        assert windows_of(longer.double(), f"AC{middle}GT") == pytest.approx(
            windows_of(psam, "ACGT")
        )
    assert psam.make_indel_psam([1, 2, 4], name="short").name == "short"


def test_indel_psams_share_betas() -> None:
    psam = layers.PSAM(4, alphabet=DNA, pairwise_distance=1, name="a")
    randomised(psam, 2)
    longer, shorter = (
        psam.make_indel_psam([1, 2, 5, 3, 4]),
        psam.make_indel_psam([1, 2, 4]),
    )
    with torch.no_grad():
        for other in (longer, shorter):
            other.bias.copy_(psam.bias)
            other.double()
    before = windows_of(psam, "ACGT")[0], windows_of(shorter, "ACG")[0]
    with torch.no_grad():
        psam.betas["1-0"].add_(1.5)
    assert windows_of(psam, "ACGT")[0] == pytest.approx(before[0] + 1.5)
    assert windows_of(shorter, "ACG")[0] == pytest.approx(before[1] + 1.5)
    with torch.no_grad():
        longer.betas["5-2"].add_(2.0)
    assert windows_of(psam, "ACGT")[0] == pytest.approx(before[0] + 1.5)
    mode = Mode.from_psam(longer, table_of(["ACTGT"]))
    mode(table_of(["ACTGT"]).seqs).sum().backward()
    shared = zip(psam.betas.parameters(), longer.betas.parameters(), strict=True)
    for mine, theirs in shared:
        assert mine is theirs
        assert mine.grad is not None


def test_both_psams_with_shared_betas_survive_an_edit() -> None:
    psam = layers.PSAM(4, alphabet=DNA, pairwise_distance=1, name="a")
    randomised(psam, 2)
    other = psam.make_indel_psam([1, 2, 4])
    other.double()
    before = windows_of(other, "ACG"), windows_of(psam, "ACGT")
    psam.update_footprint(left_shift=-1)
    assert windows_of(other, "ACG") == before[0]
    psam.update_footprint(left_shift=1, right_shift=1)
    assert windows_of(other, "ACG") == before[0]
    assert psam.kernel_size == 5
    new = [int(cls) for cls in psam.symmetry if cls not in {1, 2, 3, 4}]
    assert len(set(new)) == 2


# --- what is trained --------------------------------------------------------------


def trained(psam: layers.PSAM) -> list[bool]:
    return [parameter.requires_grad for parameter in psam.betas.parameters()]


def test_words_of_unfreeze_reach_their_betas() -> None:
    psam = layers.PSAM(4, alphabet=DNA, pairwise_distance=2, train_bias=True)
    psam.freeze()
    assert not any(parameter.requires_grad for parameter in psam.parameters())
    psam.unfreeze("monomer")
    assert trained(psam) == [True, False, False]
    psam.freeze()
    psam.unfreeze("pairwise")
    assert trained(psam) == [False, True, True]
    assert not psam.bias.requires_grad
    psam.unfreeze()
    assert trained(psam) == [True, True, True]
    assert psam.bias.requires_grad


@pytest.mark.parametrize("train_bias", [False, True])
@pytest.mark.parametrize("train_betas", [False, True])
def test_unfreezing_all_heeds_what_is_not_to_be_trained(
    *, train_bias: bool, train_betas: bool
) -> None:
    psam = layers.PSAM(
        2,
        alphabet=DNA,
        pairwise_distance=1,
        train_bias=train_bias,
        train_betas=train_betas,
    )
    for _ in range(2):
        assert trained(psam) == [train_betas, train_betas]
        assert psam.bias.requires_grad == train_bias
        psam.freeze()
        psam.unfreeze()
    psam.freeze()
    psam.unfreeze("monomer")
    assert trained(psam) == [train_betas, False]


def selex(psam: layers.PSAM, table: CountTable) -> MultiExperimentLoss:
    """Return the loss of one selection by a PSAM and non-specific binding."""
    first = rounds.InitialRound()
    bindings = [
        Mode.from_nonspecific(layers.NonSpecific(DNA), table),
        Mode.from_psam(psam, table),
    ]
    second = rounds.BoundUnsaturatedRound.from_binding(bindings, first)
    return MultiExperimentLoss([Experiment([first, second], table.counts_per_round)])


def counted(seed: int) -> CountTable:
    """Return probes of which the second round holds those with GG."""
    texts = random_texts(seed, 8, 8, n_probes=40)
    counts = [[5, 60 if "GG" in text else 2] for text in texts]
    return CountTable(pd.DataFrame(counts, index=texts), DNA)


@pytest.mark.parametrize("engine", [None, torch.optim.Adam], ids=["default", "Adam"])
@pytest.mark.parametrize(
    ("positions", "symmetry"),
    [([1], [1, 2, 3]), ([0], [1, 2, -1]), ([0, 2], [1, 1, 2])],
)
def test_frozen_betas_never_change_in_a_fit(
    positions: list[int],
    symmetry: list[int],
    engine: type[torch.optim.Optimizer] | None,
    tmp_path: Path,
) -> None:
    frozen = layers.PSAM.frozen_positions(positions, symmetry, 1, 4)
    chosen = {abs(symmetry[position]) for position in positions}
    assert frozen == {f"{cls}-{i}" for cls in chosen for i in range(4)}
    psam = layers.PSAM(
        3,
        alphabet=DNA,
        symmetry=symmetry,
        pairwise_distance=1,
        frozen_parameters=frozen | {"1-2-5"},
    )
    before = {key: value.item() for key, value in psam.betas.items()}
    table = counted(11)
    Optimizer(
        selex(psam, table),
        [table],
        epochs=2,
        checkpoint=tmp_path / "model.pt",
        output=tmp_path / "log.txt",
        device="cpu",
        optimizer=engine,
    ).train_simultaneous()
    moved = {key for key, value in psam.betas.items() if value.item() != before[key]}
    assert not moved & (frozen | {"1-2-5"})
    assert len(moved) > 5


def test_frozen_betas_receive_no_gradient() -> None:
    psam = layers.PSAM(2, alphabet=DNA, frozen_parameters={"1-0", "2-3"})
    table = table_of(["ACGTAC", "GGGTTT"])
    Mode.from_psam(psam, table)(table.seqs).sum().backward()
    (gradient,) = (parameter.grad for parameter in psam.betas.parameters())
    assert gradient is not None
    for key, value in zip(psam.betas, gradient.flatten().tolist(), strict=True):
        assert (value == 0) == (key in {"1-0", "2-3"})


def test_a_trained_bias_adds_to_every_window_of_its_channel() -> None:
    psam = layers.PSAM(2, alphabet=DNA, out_channels=4, train_bias=True)
    table = table_of(["ACGTAC"])
    mode = Mode.from_psam(psam, table)
    before = mode.score_windows(table.seqs).detach()
    with torch.no_grad():
        psam.bias.copy_(torch.tensor([1.0, -2.0]))
    after = mode.score_windows(table.seqs)
    shift = torch.tensor([1.0, -2.0, 1.0, -2.0])[:, None].expand(4, 5)
    assert_close((after - before)[0].double(), shift.double(), 1e-6)
    assert psam.get_bias().tolist() == [1.0, -2.0, 1.0, -2.0]


def test_copies_share_nothing() -> None:
    psam = layers.PSAM(3, alphabet=DNA, pairwise_distance=1)
    other = copy.deepcopy(psam)
    with torch.no_grad():
        other.betas["1-0"].add_(1.0)
    assert other.betas["1-0"].item() != psam.betas["1-0"].item()
    other.update_footprint(right_shift=1)
    assert psam.kernel_size == 3
    assert set(psam.betas) == expected_keys(psam)
    assert set(other.betas) == expected_keys(other)
