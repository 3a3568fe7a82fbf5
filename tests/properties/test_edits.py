"""Edits of a model's shape: positional values stay with their physical place.

Growing a footprint by l positions on the left and r on the right moves window x of the
forward strand to x − l, and window x of the reverse strand to x − r: the new window
begins where the new positions do. New positions have betas of 0, so that a window that
still exists keeps its score.
"""

import copy
import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pyprobound import (
    Call,
    Cooperativity,
    CountBatch,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    Step,
    layers,
    rounds,
)
from pyprobound.base import Component
from pyprobound.errors import PyProBoundError
from tests.oracles import count, log_sum, mode_score, times
from tests.properties.models import (
    DNA,
    FLANKS,
    Probes,
    assert_close,
    bias_settings,
    conv_of,
    dimer_of,
    dimer_settings,
    probes,
    psam_of,
    random_texts,
    randomised,
    seeds,
    spacing_of,
    spacing_settings,
    table_of,
)

shifts = st.tuples(st.integers(0, 2), st.integers(0, 2))


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return a copy of everything that is saved."""
    return copy.deepcopy(module.state_dict())


def assert_same(first: object, second: object) -> None:
    """Check that two states hold the same, to the last bit."""
    assert type(first) is type(second)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        assert first.dtype == second.dtype
        assert first.shape == second.shape
        assert torch.equal(first.nan_to_num(0.5), second.nan_to_num(0.5))
    elif isinstance(first, dict) and isinstance(second, dict):
        assert list(first) == list(second)
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def assert_sums_of_windows(binding: Mode | Cooperativity, drawn: Probes) -> None:
    """Check that a binding sums up the windows that it shows."""
    hill = binding.log_hill.exp().item()
    windows = binding.score_windows(drawn.seqs).flatten(1).tolist()
    expected = [log_sum(times(hill, score) for score in row) for row in windows]
    assert_close(binding(drawn.seqs), expected)


# --- windows that still exist -----------------------------------------------------


@given(probes(shortest=9, longest=11), bias_settings(), shifts, seeds)
def test_windows_keep_their_scores_when_a_footprint_grows(
    drawn: Probes, bias: dict[str, Any], grown: tuple[int, int], seed: int
) -> None:
    left, right = grown
    if bias["bias_mode"] == "same":
        right = left  # one bias cannot follow two strands that part
    psam = psam_of("a", 3, pairwise_distance=1)
    mode = Mode.from_psam(psam, drawn.table, **(bias | {"normalize": False}))
    randomised(mode, seed)
    before = mode.score_windows(drawn.seqs).detach()
    psam.update_footprint(left_shift=left, right_shift=right)
    after = mode.score_windows(drawn.seqs)
    assert after.shape[-1] == before.shape[-1] - left - right
    for probe, old, new in zip(drawn.read, before, after, strict=True):
        own = count(probe) - psam.kernel_size + 1
        assert_close(new[0, :own], old[0, left : left + own])
        assert_close(new[1, :own], old[1, right : right + own])
    assert_sums_of_windows(mode, drawn)
    mode.check_length_consistency()


@given(probes(shortest=9, longest=11), bias_settings(), shifts, seeds)
def test_windows_keep_their_scores_when_flanks_grow(
    drawn: Probes, bias: dict[str, Any], grown: tuple[int, int], seed: int
) -> None:
    left, right = grown
    if bias["bias_mode"] == "reverse":
        right = left  # flipped over the probe's own windows, of which there are more
    mode = Mode.from_psam(psam_of("a", 3), drawn.table, **(bias | {"normalize": False}))
    randomised(mode, seed)
    before = mode.score_windows(drawn.seqs).detach()
    reads = drawn.read
    table = drawn.table
    table.set_flank_length(
        left=table.left_flank_length + left, right=table.right_flank_length + right
    )
    mode.update_read_length(left_shift=left, right_shift=right)
    after = mode.score_windows(drawn.seqs)
    assert after.shape[-1] == before.shape[-1] + left + right
    for probe, old, new in zip(reads, before, after, strict=True):
        own = count(probe) - 2
        assert_close(new[:, left : left + own], old[:, :own])
    # New places have no bias of their own.
    if bias["bias_bin"] == 1:
        conv = conv_of(mode)
        outside = [*range(left), *range(after.shape[-1] - right, after.shape[-1])]
        assert (conv.log_posbias[..., outside] == 0).all()
    mode.check_length_consistency()


@settings(max_examples=25)
@given(probes(shortest=8, longest=9), dimer_settings(), shifts, shifts, seeds)
def test_pairs_of_windows_keep_their_scores_when_footprints_grow(
    drawn: Probes,
    arguments: dict[str, Any],
    grown_a: tuple[int, int],
    grown_b: tuple[int, int],
    seed: int,
) -> None:
    """The offset of one physical arrangement changes, and ω moves with it."""
    arguments["normalize"] = False
    if arguments["bias_mode"] == "reverse":
        arguments["bias_mode"] = "strand"  # a diagonal is flipped in place, as it is
    if arguments["bias_mode"] == "same":
        grown_a, grown_b = (grown_a[0], grown_a[0]), (grown_b[0], grown_b[0])
    psams = psam_of("a", 3), psam_of("b", 2)
    modes = [Mode.from_psam(psam, drawn.table, train_posbias=True) for psam in psams]
    spacing = spacing_of(modes)
    dimer = dimer_of(spacing, modes, **arguments)
    randomised(dimer, seed)
    before = dimer.score_windows(drawn.seqs).detach()
    for psam, (left, right) in zip(psams, (grown_a, grown_b), strict=True):
        psam.update_footprint(left_shift=left, right_shift=right)
    after = dimer.score_windows(drawn.seqs)
    for probe, old, new in zip(drawn.read, before, after, strict=True):
        own_a, own_b = (count(probe) - psam.kernel_size + 1 for psam in psams)
        for s, t in product(range(2), range(2)):
            m, n = grown_a[s], grown_b[t]
            kept = old[s, t, m : m + own_a, n : n + own_b]
            assert_close(new[s, t, :own_a, :own_b], kept)
    assert_sums_of_windows(dimer, drawn)
    dimer.check_length_consistency()


@settings(max_examples=25)
@given(probes(shortest=7, longest=8), dimer_settings(), shifts, seeds)
def test_pairs_of_windows_keep_their_scores_when_flanks_grow(
    drawn: Probes, arguments: dict[str, Any], grown: tuple[int, int], seed: int
) -> None:
    left, right = grown
    arguments["normalize"] = False
    if arguments["bias_mode"] == "reverse":
        arguments["bias_mode"] = "same"
    table = drawn.table
    modes = [
        Mode.from_psam(psam_of(name, size), table, train_posbias=True)
        for name, size in (("a", 3), ("b", 2))
    ]
    dimer = dimer_of(
        spacing_of(modes, max_overlap=1, max_spacing=4),
        modes,
        **arguments,
    )
    randomised(dimer, seed)
    before, reads = dimer.score_windows(drawn.seqs).detach(), drawn.read
    table.set_flank_length(
        left=table.left_flank_length + left, right=table.right_flank_length + right
    )
    for mode in modes:
        mode.update_read_length(left_shift=left, right_shift=right)
    after = dimer.score_windows(drawn.seqs)
    for probe, old, new in zip(reads, before, after, strict=True):
        own_a, own_b = count(probe) - 2, count(probe) - 1
        kept = new[:, :, left : left + own_a, left : left + own_b]
        assert_close(kept, old[:, :, :own_a, :own_b])
    assert_sums_of_windows(dimer, drawn)


@given(shifts, seeds)
def test_a_footprint_that_grows_with_the_flanks_keeps_every_score(
    grown: tuple[int, int], seed: int
) -> None:
    """As the greedy step does: as many letters as positions, on either side."""
    left = right = grown[0]
    texts = random_texts(seed, 7, 10)
    table = table_of(texts, **FLANKS, left_flank_length=1, right_flank_length=2)
    psam = psam_of("a", 3, pairwise_distance=1)
    mode = Mode.from_psam(psam, table, train_posbias=True, bias_bin=2)
    randomised(mode, seed)
    before = mode(table.seqs).detach()
    table.set_flank_length(left=1 + left, right=2 + right)
    mode.update_read_length(left_shift=left, right_shift=right)
    psam.update_footprint(left_shift=left, right_shift=right)
    assert_close(mode(table.seqs), before)


def test_a_shifted_footprint_takes_its_spacing_along() -> None:
    """A shift by one to the left: the offset of a to b grows by one."""
    table = table_of(["ACGTACGTAC"])
    psams = psam_of("a", 3), psam_of("b", 2)
    modes = [Mode.from_psam(psam, table) for psam in psams]
    spacing = spacing_of(modes)
    dimer_of(spacing, modes)
    with torch.no_grad():
        spacing.log_spacing[0, 9 - 1 + 4] = 5.0  # same strand, b starts 4 after a
        spacing.log_spacing[1, 9 - 1 - 2] = 7.0  # a reversed, b starts 2 before a
    psams[0].update_footprint(left_shift=1, right_shift=-1)
    flat = spacing.get_log_spacing(8, 9)
    middle = 8 - 1
    assert flat[0, 0].nonzero().flatten().tolist() == [middle + 5]
    # On the reverse strand the window moves to the right instead.
    assert flat[1, 0].nonzero().flatten().tolist() == [middle - 3]


@pytest.mark.parametrize("grown", [(1, 0), (0, 2), (2, 1)])
def test_dimers_of_two_tables_keep_the_spacing_that_they_share(
    grown: tuple[int, int],
) -> None:
    """One footprint of both grows; then one table's flanks, which makes more room."""
    model = Workshop(5, {"train_posbias": True}, {"train_posbias": True}, {})
    for which in (0, 1):
        before = [
            dimer.score_windows(table.seqs).detach()
            for dimer, table in zip(model.dimers, model.tables, strict=True)
        ]
        model.psams[which].update_footprint(*grown)
        for table, texts, dimer, old_windows in zip(
            model.tables, model.texts, model.dimers, before, strict=True
        ):
            for probe, old, new in zip(
                Probes(texts, table).read,
                old_windows,
                dimer.score_windows(table.seqs),
                strict=True,
            ):
                own = [count(probe) - psam.kernel_size + 1 for psam in model.psams]
                for s, t in product(range(2), range(2)):
                    first = [0, 0]
                    first[which] = grown[(s, t)[which]]
                    rows = slice(first[0], first[0] + own[0])
                    columns = slice(first[1], first[1] + own[1])
                    kept = old[s, t, rows, columns]
                    assert_close(new[s, t, : own[0], : own[1]], kept)
    table, dimer = model.tables[0], model.dimers[0]
    score = dimer(table.seqs).detach()
    room = model.spacing.max_num_windows
    model.grow("1", 3, 3)
    assert torch.equal(dimer(table.seqs), score)
    model.dimers[1](model.tables[1].seqs)
    assert model.spacing.max_num_windows > room
    assert torch.equal(dimer(table.seqs), score)


# --- there and back ---------------------------------------------------------------


class Workshop:
    """Two tables of different lengths, two PSAMs, dimers that share a spacing."""

    def __init__(
        self,
        seed: int,
        bias: dict[str, Any],
        dimer: dict[str, Any],
        spacing: dict[str, Any],
    ) -> None:
        self.texts = [random_texts(seed, 7, 9), random_texts(seed + 1, 10, 12)]
        self.tables = [
            table_of(
                texts,
                **FLANKS,
                left_flank_length=1,
                right_flank_length=2,
                max_left_flank_length=12,
                max_right_flank_length=12,
            )
            for texts in self.texts
        ]
        self.psams = [psam_of("a", 3, pairwise_distance=1), psam_of("b", 2)]
        self.modes = [
            [Mode.from_psam(psam, table, **bias) for psam in self.psams]
            for table in self.tables
        ]
        self.spacing = spacing_of(self.modes[0], name="ab", **spacing)
        self.dimers = [dimer_of(self.spacing, m, **dimer) for m in self.modes]
        self.all = nn.ModuleList([*self.dimers])
        randomised(self.all, seed)

    def scores(self) -> list[Tensor]:
        with torch.no_grad():
            return [
                scored
                for table, modes, dimer in zip(
                    self.tables, self.modes, self.dimers, strict=True
                )
                for part in (*modes, dimer)
                for scored in (part(table.seqs), part.score_windows(table.seqs))
            ]

    def grow(self, what: str, left: int, right: int) -> None:
        if what in "ab":
            self.psams["ab".index(what)].update_footprint(left, right)
            return
        table, modes = self.tables[int(what)], self.modes[int(what)]
        table.set_flank_length(
            left=table.left_flank_length + left, right=table.right_flank_length + right
        )
        for mode in modes:
            mode.update_read_length(left, right)

    def check(self) -> None:
        for dimer in self.dimers:
            dimer.check_length_consistency()


def positional(model: Workshop) -> dict[str, Tensor]:
    """Return all parameters but log_spacing, which keeps the room it was given."""
    return {
        path: parameter.detach().clone()
        for path, parameter in model.all.named_parameters()
        if not path.endswith("log_spacing")
    }


edits = st.tuples(st.sampled_from("ab01"), st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=20)
@given(
    seeds,
    bias_settings(),
    dimer_settings(),
    spacing_settings(),
    st.lists(edits, min_size=1, max_size=3),
    st.permutations(range(3)),
    st.booleans(),
)
def test_growing_then_shrinking_restores_every_score_to_the_last_bit(
    seed: int,
    bias: dict[str, Any],
    dimer: dict[str, Any],
    spacing: dict[str, Any],
    grown: list[tuple[str, int, int]],
    order: list[int],
    look_in_between: bool,
) -> None:
    """Whatever the order of the steps back, scored in between or not."""
    model = Workshop(seed, bias, dimer, spacing)
    # Footprints need the letters: flanks grow first and shrink last.
    grown = sorted(grown, key=lambda edit: edit[0] in "ab")
    before, values = model.scores(), positional(model)
    for what in "01":
        model.grow(what, 4, 4)
    for edit in grown:
        model.grow(*edit)
        if look_in_between:
            model.scores()
            model.check()
    back = [grown[i] for i in order if i < len(grown)]
    for what, left, right in sorted(back, key=lambda edit: edit[0] not in "ab"):
        model.grow(what, -left, -right)
        if look_in_between:
            model.scores()
    for what in "01":
        model.grow(what, -4, -4)
    model.check()
    assert_same(model.scores(), before)
    assert_same(positional(model), values)


EVERYTHING = (
    {"train_posbias": True, "bias_bin": 2, "bias_mode": "reverse", "normalize": True},
    {"train_posbias": True, "bias_bin": 3, "bias_mode": "reverse", "normalize": True},
    {"normalize": True, "max_overlap": 1},
)


def test_edits_keep_the_type_of_a_model_turned_to_float64_later() -> None:
    model = Workshop(3, *EVERYTHING)
    for what in "01ab":
        model.grow(what, 1, 1)
    model.all.float()
    before = [score.dtype for score in model.scores()]
    assert set(before) == {torch.float32}
    model.all.double()
    for what in "ba10":
        model.grow(what, -1, -1)
    model.scores()
    assert {p.dtype for p in model.all.parameters()} == {torch.float64}
    # Values trained in float64 are not rounded on their way through an edit.
    randomised(model.all, 8)
    before_scores = model.scores()
    for by in (1, -1):
        for what in "01ab"[::by]:
            model.grow(what, by, by)
        if by == 1:
            model.scores()
    assert_same(model.scores(), before_scores)


def test_an_edit_keeps_what_is_trained_and_the_parameters_themselves() -> None:
    model = Workshop(3, *EVERYTHING)
    model.dimers[0].freeze()
    model.psams[0].unfreeze("monomer")
    before = {id(p): p.requires_grad for p in model.all.parameters()}
    for what in "01ab":
        model.grow(what, 1, 1)
    model.scores()
    for parameter in model.all.parameters():
        assert (
            before.get(id(parameter), parameter.requires_grad)
            == parameter.requires_grad
        )
    for psam in model.psams:
        for parameter in psam.betas.parameters():
            assert id(parameter) in before


def test_gradients_reach_what_an_edit_has_laid_anew() -> None:
    model = Workshop(3, *EVERYTHING)
    for what in "01ab":
        model.grow(what, 1, 1)
    dimer, table = model.dimers[0], model.tables[0]
    dimer.unfreeze()
    dimer(table.seqs).sum().backward()
    for path, parameter in dimer.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, path
            assert parameter.grad.shape == parameter.shape
            assert parameter.grad.isfinite().all()


def test_values_trained_while_a_footprint_is_grown_stay_with_their_place() -> None:
    """What is changed in between is kept where it is still in sight."""
    table = table_of(["ACGTACGTAC"])
    psam = psam_of("a", 3)
    mode = Mode.from_psam(psam, table, train_posbias=True)
    randomised(mode, 1)
    bias = conv_of(mode).log_posbias.detach().clone()
    psam.update_footprint(left_shift=1, right_shift=1)
    mode.score_windows(table.seqs)
    with torch.no_grad():
        conv_of(mode).log_posbias.add_(1.0)
    psam.update_footprint(left_shift=-1, right_shift=-1)
    mode.score_windows(table.seqs)
    changed = conv_of(mode).log_posbias.detach() - bias
    # The first and the last window were out of sight, on both strands.
    expected = torch.tensor([0.0, *[1.0] * 6, 0.0], dtype=torch.float64)
    assert_close(changed, expected.expand(1, 2, 8))


# --- length changes ---------------------------------------------------------------


def test_new_bounds_of_length_open_entries_without_bias() -> None:
    """A mode moved to a table of longer and shorter probes."""
    old = table_of(["ACGTACG", "ACGTAC"])
    mode = Mode.from_psam(psam_of("a", 3), old, train_posbias=True)
    randomised(mode, 1)
    before = mode.score_windows(old.seqs).detach()
    new = table_of(["ACGTACG", "ACGTAC", "ACGTA", "ACGTACGTA"])
    mode.update_read_length(new_min_len=5, new_max_len=9)
    assert (mode.min_input_length, mode.max_input_length) == (5, 9)
    assert mode.input_shape == new.input_shape
    after = mode.score_windows(new.seqs)
    assert_close(after[0, :, :5], before[0, :, :5])
    assert_close(after[1, :, :4], before[1, :, :4])
    bias = conv_of(mode).log_posbias
    assert bias.shape == (5, 2, 7)
    assert (bias[[0, 3, 4]] == 0).all()
    mode.update_read_length(min_len_shift=1, max_len_shift=-2)
    assert_close(mode.score_windows(old.seqs), before)


def test_new_bounds_of_length_open_nonspecific_entries_without_bias() -> None:
    old = table_of(["ACGTACG", "ACGTAC"])
    mode = Mode.from_nonspecific(layers.NonSpecific(DNA), old, train_posbias=True)
    randomised(mode, 1)
    (layer,) = mode.chain
    assert isinstance(layer, layers.Conv0d)
    before = layer.log_posbias.flatten().tolist()
    mode.update_read_length(new_min_len=5, new_max_len=9)
    assert layer.log_posbias.flatten().tolist() == [0.0, *before, 0.0, 0.0]
    mode.update_read_length(new_min_len=6, new_max_len=7)
    assert layer.log_posbias.flatten().tolist() == before


@given(probes(variable=True, shortest=8), st.integers(0, 2), st.integers(0, 2), seeds)
def test_nonspecific_bias_follows_the_lengths(
    drawn: Probes, left: int, right: int, seed: int
) -> None:
    mode = Mode.from_nonspecific(
        layers.NonSpecific(DNA), drawn.table, train_posbias=True
    )
    randomised(mode, seed)
    (layer,) = mode.chain
    assert isinstance(layer, layers.Conv0d)
    bias = [layer.get_log_posbias()[count(p)].item() for p in drawn.read]
    mode.update_read_length(left_shift=left, right_shift=right)
    table = drawn.table
    table.set_flank_length(
        table.left_flank_length + left, table.right_flank_length + right
    )
    after = [layer.get_log_posbias()[count(p)].item() for p in drawn.read]
    assert after == bias
    assert_close(mode(drawn.seqs), [mode_score(mode, p) for p in drawn.read])


def test_layers_of_a_chain_follow_each_other() -> None:
    texts = random_texts(4, 7, 10)
    table = table_of(texts, **FLANKS, left_flank_length=1, right_flank_length=1)
    drawn = Probes(texts, table)
    chain: list[layers.Layer] = layers.get_padding_layers(DNA, table, left=1, right=1)
    psam = psam_of("a", 2)
    conv = layers.Conv1d.from_psam(psam, chain[-1], train_posbias=True)
    pool = layers.MaxPool1d.from_spec(layers.MaxPool1dSpec(2, 2), conv)
    mode = Mode([*chain, conv, pool])
    randomised(mode, 5)
    before = mode(table.seqs).detach()
    inner = mode.score_windows(table.seqs).detach()
    table.set_flank_length(left=3, right=3)
    mode.update_read_length(left_shift=2, right_shift=2)
    mode.check_length_consistency()
    assert mode.score_windows(table.seqs).shape[-1] == mode.out_len(table.input_shape)
    psam.update_footprint(left_shift=1, right_shift=1)
    mode.check_length_consistency()
    assert_close(mode(table.seqs), [mode_score(mode, p) for p in drawn.read])
    psam.update_footprint(left_shift=-1, right_shift=-1)
    table.set_flank_length(left=1, right=1)
    mode.update_read_length(left_shift=-2, right_shift=-2)
    assert torch.equal(mode(table.seqs), before)
    assert torch.equal(mode.score_windows(table.seqs), inner)


# --- footprints -------------------------------------------------------------------


def test_new_positions_have_new_classes_and_betas_of_zero() -> None:
    psam = psam_of("a", 3, pairwise_distance=2)
    randomised(psam, 1)
    before = {key: value.item() for key, value in psam.betas.items()}
    removed, added = psam.update_footprint(left_shift=2, right_shift=1)
    assert psam.symmetry == [4, 5, 1, 2, 3, 6]
    assert psam.kernel_size == 6
    after = {key: value.item() for key, value in psam.betas.items()}
    assert removed == ()
    assert len(added) == len(after) - len(before)
    for key, value in after.items():
        assert value == before.get(key, 0.0)
    removed, added = psam.update_footprint(left_shift=-2, right_shift=-1)
    assert len(removed) == len(after) - len(before)
    assert added == ()
    assert {key: value.item() for key, value in psam.betas.items()} == before


def test_a_palindrome_that_grows_alike_stays_one() -> None:
    psam = psam_of("a", 4, symmetry=[1, 2, -2, -1], pairwise_distance=1)
    psam.update_footprint(left_shift=1, right_shift=1)
    mirrored = [-cls for cls in reversed(psam.symmetry)]
    assert psam.symmetry == mirrored
    assert len(set(map(abs, psam.symmetry))) == 3


def test_the_heuristic_centres_the_information() -> None:
    psam = psam_of("a", 5)
    with torch.no_grad():
        for key, beta in psam.betas.items():
            beta.fill_(3.0 if key in {"1-2", "2-0"} else 0.0)
    before = psam.get_filter(0)[0].detach().clone()
    psam.shift_heuristic()
    bits = [psam.get_information(i) for i in range(psam.kernel_size)]
    centre = sum(i * b for i, b in enumerate(bits)) / sum(bits)
    assert abs(centre - 2) <= 0.5
    shift = [b > 0.1 for b in bits].index(True)
    assert shift in {1, 2}
    assert torch.equal(psam.get_filter(0)[0, :, shift : shift + 2], before[:, :2])
    unchanged = psam.symmetry
    psam.shift_heuristic()
    assert psam.symmetry == unchanged


# --- refused edits ----------------------------------------------------------------


def refusals() -> Iterator[Any]:
    yield pytest.param(
        {"max_kernel_size": 3}, {"left_shift": 1}, "max_kernel_size", id="largest"
    )
    yield pytest.param(
        {"pairwise_distance": 2}, {"right_shift": -1}, "pairwise", id="pairs"
    )
    yield pytest.param({}, {"left_shift": -3}, "0 positions", id="nothing left")
    yield pytest.param({}, {"left_shift": 3, "right_shift": 3}, "7", id="probe")
    yield pytest.param({}, {"left_shift": -4, "right_shift": 5}, "4", id="past the end")


@pytest.mark.parametrize(("psam", "edit", "word"), list(refusals()))
def test_refused_footprints_leave_no_trace(
    psam: dict[str, Any], edit: dict[str, int], word: str
) -> None:
    table = table_of(["ACGTACG"])
    made, other = psam_of("a", 3, **psam), psam_of("b", 2)
    modes = [Mode.from_psam(each, table, train_posbias=True) for each in (made, other)]
    dimer = dimer_of(spacing_of(modes), modes, train_posbias=True)
    randomised(dimer, 3)
    before, score = state_of(dimer), dimer(table.seqs).detach()
    with pytest.raises(ValueError, match=word):
        made.update_footprint(edit.get("left_shift", 0), edit.get("right_shift", 0))
    assert_same(state_of(dimer), before)
    assert torch.equal(dimer(table.seqs), score)


@pytest.mark.parametrize("side", ["left", "right"])
def test_growth_needs_information_on_its_side(side: str) -> None:
    psam = psam_of("a", 6, information_threshold=0.5)
    with torch.no_grad():
        for key, beta in psam.betas.items():
            cls = int(key.split("-")[0])
            strong = cls in ({1, 2} if side == "left" else {5, 6})
            beta.fill_(4.0 if strong and key.endswith("-1") else 0.0)
    strong_side, weak_side = ((1, 0), (0, 1)) if side == "left" else ((0, 1), (1, 0))
    before = state_of(psam)
    for edit in (weak_side, (1, 1)):
        with pytest.raises(ValueError, match="information_threshold"):
            psam.update_footprint(*edit, check_threshold=True)
        assert_same(state_of(psam), before)
    psam.update_footprint(*strong_side, check_threshold=True)
    psam.update_footprint(*weak_side)
    assert psam.kernel_size == 8


def test_one_strong_position_of_the_two_outermost_is_enough() -> None:
    psam = psam_of("a", 4, information_threshold=0.5)
    with torch.no_grad():
        for key, beta in psam.betas.items():
            beta.fill_(4.0 if key in {"2-0", "3-3"} else 0.0)
    psam.update_footprint(left_shift=1, right_shift=1, check_threshold=True)
    assert psam.kernel_size == 6


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"left_shift": -3, "right_shift": -2}, "kernel_size 3"),
        ({"new_min_len": 2}, "kernel_size 3"),
        ({"new_min_len": 8, "new_max_len": 7}, "8, 7"),
        ({"min_len_shift": 5}, "12, 8"),
    ],
)
def test_refused_lengths_leave_no_trace(edit: dict[str, int], message: str) -> None:
    table = table_of(["ACGTACG", "ACGTACGT"])
    mode = Mode.from_psam(psam_of("a", 3), table, train_posbias=True)
    randomised(mode, 3)
    before, score = state_of(mode), mode(table.seqs).detach()
    with pytest.raises(ValueError, match=message):
        mode.update_read_length(**edit)
    assert_same(state_of(mode), before)
    assert torch.equal(mode(table.seqs), score)


def test_a_footprint_must_fit_every_table_it_reads() -> None:
    model = Workshop(3, *EVERYTHING)
    assert model.tables[0].min_read_length == 10
    assert model.tables[1].min_read_length == 13
    before = state_of(model.all)
    with pytest.raises(ValueError, match="10"):
        model.psams[0].update_footprint(left_shift=4, right_shift=4)
    assert_same(state_of(model.all), before)


# --- steps of the procedure -------------------------------------------------------


def experiment_of(model: Workshop) -> MultiExperimentLoss:
    experiments = []
    for modes, dimer in zip(model.modes, model.dimers, strict=True):
        first = rounds.InitialRound()
        second = rounds.BoundUnsaturatedRound.from_binding([*modes, dimer], first)
        experiments.append(Experiment([first, second]))
    loss = MultiExperimentLoss(experiments).double()
    with torch.no_grad():
        for name, parameter in loss.named_parameters():
            if name.endswith("log_activity"):
                parameter.fill_(-1.0)
    return loss


def two_columns(table: CountTable) -> CountTable:
    table.target = torch.cat([table.target, table.target + 1], 1)
    return table


def optimizer_of(
    model: Workshop,
    loss: MultiExperimentLoss,
    folder: Path,
    **arguments: Any,
) -> Optimizer[CountBatch]:
    for table in model.tables:
        two_columns(table)
    return Optimizer(
        loss,
        model.tables,
        checkpoint=folder / "model.pt",
        output=io.StringIO(),
        device="cpu",
        **arguments,
    )


def test_a_step_with_one_refused_call_leaves_no_trace(tmp_path: Path) -> None:
    model = Workshop(3, *EVERYTHING)
    loss = experiment_of(model)
    optimizer = optimizer_of(model, loss, tmp_path)
    before = state_of(loss)
    flanks = [(t.left_flank_length, t.right_flank_length) for t in model.tables]
    grow = {"left_shift": 1, "right_shift": 1}
    calls = [
        Call(model.psams[1], "update_footprint", grow),
        Call(model.modes[0][0], "update_read_length", grow),
        Call(model.psams[0], "update_footprint", {"left_shift": 10}),
    ]
    with pytest.raises(ValueError, match="kernel_size"):
        optimizer.run_step(Step(calls, greedy=True))
    assert_same(state_of(loss), before)
    assert flanks == [(t.left_flank_length, t.right_flank_length) for t in model.tables]
    optimizer.run_step(Step(calls[:2], greedy=True))
    assert model.psams[1].kernel_size == 4
    assert model.tables[0].left_flank_length == flanks[0][0] + 1
    assert model.tables[1].left_flank_length == flanks[1][0]
    # Both modes of a table read the longer probes.
    for mode, table in zip(model.modes[0], [model.tables[0]] * 2, strict=True):
        assert mode.input_shape == table.input_shape
    optimizer.check_length_consistency()


def test_flanks_beyond_what_is_known_are_refused_without_a_trace(
    tmp_path: Path,
) -> None:
    model = Workshop(3, *EVERYTHING)
    loss = experiment_of(model)
    optimizer = optimizer_of(model, loss, tmp_path)
    before, rows = state_of(loss), model.tables[0].seqs.clone()
    call = Call(
        model.modes[0][0], "update_read_length", {"left_shift": 2, "right_shift": 19}
    )
    with pytest.raises(ValueError, match="21"):
        optimizer.run_step(Step([call], greedy=True))
    assert_same(state_of(loss), before)
    assert torch.equal(model.tables[0].seqs, rows)


def test_a_greedy_step_that_gains_nothing_is_undone_exactly(tmp_path: Path) -> None:
    model = Workshop(3, *EVERYTHING)
    loss = experiment_of(model)
    optimizer = optimizer_of(model, loss, tmp_path, greedy_threshold=1e9, epochs=1)
    loss.unfreeze()
    best = optimizer.train_until_convergence()
    before = state_of(loss)
    rows = [table.seqs.clone() for table in model.tables]
    grow = {"left_shift": 1, "right_shift": 1}
    calls = [
        Call(model.modes[0][0], "update_read_length", grow),
        Call(model.psams[0], "update_footprint", grow),
    ]
    assert optimizer.greedy_search(Step(calls, greedy=True), best) == best
    assert_same(state_of(loss), before)
    for table, row in zip(model.tables, rows, strict=True):
        assert torch.equal(table.seqs, row)


# --- files and copies -------------------------------------------------------------


def edited_workshop() -> Workshop:
    model = Workshop(3, *EVERYTHING)
    for what in "01ab":
        model.grow(what, 1, 1)
    model.scores()
    randomised(model.all, 77)
    return model


def test_a_fresh_model_adopts_the_structure_of_a_checkpoint(tmp_path: Path) -> None:
    model = edited_workshop()
    loss = experiment_of(model)
    flanks = tuple((t.left_flank_length, t.right_flank_length) for t in model.tables)
    loss.save(tmp_path / "model.pt", flanks)
    fresh = Workshop(4, *EVERYTHING)
    other = experiment_of(fresh)
    metadata = other.reload(tmp_path / "model.pt")
    assert metadata["flank_lengths"] == flanks
    assert {"time", "version"} <= metadata.keys()
    for table, (left, right) in zip(
        fresh.tables, metadata["flank_lengths"], strict=True
    ):
        table.set_flank_length(left, right)
    for found, table in zip(fresh.tables, model.tables, strict=True):
        found.seqs = table.seqs
    assert_same(fresh.scores(), model.scores())
    assert_same(state_of(other), state_of(loss))
    fresh.check()
    # What lies out of sight was saved as well: both go back to the same scores.
    for each in (model, fresh):
        for what in "ba10":
            each.grow(what, -1, -1)
    for found, table in zip(fresh.tables, model.tables, strict=True):
        found.seqs = table.seqs
    assert_same(fresh.scores(), model.scores())


def test_an_optimizer_takes_the_flanks_from_its_checkpoint(tmp_path: Path) -> None:
    model = edited_workshop()
    optimizer = optimizer_of(model, experiment_of(model), tmp_path)
    optimizer.save(tmp_path / "model.pt")
    fresh = Workshop(3, *EVERYTHING)
    with pytest.warns(UserWarning, match="not empty"):
        second = optimizer_of(fresh, experiment_of(fresh), tmp_path)
    second.reload()
    for old, new in zip(model.tables, fresh.tables, strict=True):
        assert torch.equal(old.seqs, new.seqs)
    assert_same(fresh.scores(), model.scores())
    second.check_length_consistency()


@pytest.mark.parametrize("part", ["psam", "mode", "dimer", "spacing"])
def test_parts_are_saved_and_reloaded_alone(part: str) -> None:
    model, fresh = edited_workshop(), Workshop(4, *EVERYTHING)

    def chosen(workshop: Workshop) -> Component:
        parts: dict[str, Component] = {
            "psam": workshop.psams[0],
            "mode": workshop.modes[0][0],
            "dimer": workshop.dimers[0],
            "spacing": workshop.spacing,
        }
        return parts[part]

    file = io.BytesIO()
    chosen(model).save(file)
    file.seek(0)
    content = torch.load(file, weights_only=True)
    assert content.keys() == {"state_dict", "metadata"}
    assert content["metadata"]["flank_lengths"] == ()
    file.seek(0)
    chosen(fresh).reload(file)
    assert_same(state_of(chosen(fresh)), state_of(chosen(model)))


def test_the_checkpoint_of_another_model_is_refused_without_a_trace() -> None:
    table = table_of(["ACGTACG"])
    mode = Mode.from_psam(psam_of("a", 3), table)
    other = Mode.from_nonspecific(layers.NonSpecific(DNA), table)
    before, file = state_of(mode), io.BytesIO()
    other.save(file)
    file.seek(0)
    with pytest.raises(PyProBoundError, match="another model"):
        mode.reload(file)
    assert_same(state_of(mode), before)
    pairs = Mode.from_psam(psam_of("a", 3, pairwise_distance=1), table)
    broken = state_of(mode)
    broken["layers.0.log_posbias"] = torch.zeros(2)
    with pytest.raises(PyProBoundError, match="another model"):
        pairs.reload_from_state_dict(state_of(mode) | {"more": torch.zeros(1)})


@pytest.mark.parametrize("kept", [0, 10, 700])
def test_a_truncated_checkpoint_is_refused(kept: int, tmp_path: Path) -> None:
    mode = Mode.from_psam(psam_of("a", 3), table_of(["ACGTACG"]))
    before, path = state_of(mode), tmp_path / "model.pt"
    mode.save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(PyProBoundError, match=r"model\.pt"):
        mode.reload(path)
    assert_same(state_of(mode), before)
    with pytest.raises(PyProBoundError, match="no such file"):
        mode.reload(tmp_path / "nowhere.pt")


def test_copies_are_independent_and_hold_together() -> None:
    model = Workshop(3, *EVERYTHING)
    loss = experiment_of(model)
    twin = copy.deepcopy(loss)
    before = [table.seqs for table in model.tables], model.scores(), state_of(loss)
    with torch.no_grad():
        for one, other in zip(loss.parameters(), twin.parameters(), strict=True):
            assert one is not other
            assert torch.equal(one, other)
            other.add_(1.0)
    assert_same(state_of(loss), before[2])
    twin.reload_from_state_dict(before[2])
    (first, second) = (each for each in twin.modules() if isinstance(each, layers.PSAM))
    for psam in (first, second):
        assert psam not in model.psams
        psam.update_footprint(left_shift=1, right_shift=1)
    twin.check_length_consistency()
    seqs = model.tables[0].seqs
    experiment = next(iter(twin.components()))
    assert torch.isfinite(experiment(seqs)).any()
    assert_same(state_of(loss), before[2])
    # The copy's dimers and spacing follow the copy's PSAMs, nothing else does.
    for psam, twin_psam in zip(model.psams, (first, second), strict=True):
        psam.update_footprint(left_shift=1, right_shift=1)
        assert psam.symmetry == twin_psam.symmetry
    loss.settle()
    twin.settle()
    assert_same(state_of(twin), state_of(loss))
    with pytest.raises(ValueError, match="10"):
        first.update_footprint(left_shift=4, right_shift=4)


def test_tables_are_left_alone_by_edits_of_a_mode() -> None:
    table = CountTable(pd.DataFrame([[1.0]], index=["ACGTACG"]), DNA, **FLANKS)
    mode = Mode.from_psam(psam_of("a", 3), table)
    mode.update_read_length(left_shift=1, right_shift=1)
    assert table.input_shape == 7
    assert mode.input_shape == 9
