"""Arrangements of a dimer: each once, with what the model says of it."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from pyprobound import Cooperativity, Mode, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv1d
from pyprobound.plotting._arrangement_map import arrangement_table
from pyprobound.plotting._arrangements import (
    Arrangements,
    arrangements_of,
    windows_of,
)
from pyprobound.plotting._window_pairs import window_tables
from pyprobound.report import log_omega as reported
from pyprobound.uncertainty import log_omega
from tests.plots.models import (
    LONGEST,
    KnownErrors,
    dimer_of,
    layer_of,
    random_seqs,
)

OTHER = {"+": "-", "-": "+"}


def rows_of(found: Arrangements) -> dict[str, np.ndarray]:
    return {row.strands: row.value for row in found.rows}


@pytest.mark.parametrize("limits", [{}, {"max_overlap": 1, "max_spacing": 2}], ids=str)
def test_rows_are_those_of_the_summary(limits: dict[str, int]) -> None:
    dimer = dimer_of(3, 5, **limits)
    found = arrangements_of(dimer)
    offsets, rows = reported(dimer)
    assert found.offsets == offsets
    assert found.names == ("a", "b")
    assert list(rows_of(found)) == ["++", "+-"]
    for strands, values in rows_of(found).items():
        np.testing.assert_allclose(values, rows[strands], rtol=1e-12)
    assert found.reference is not None
    row, column = found.reference
    assert found.rows[row].value[column] == 0


@pytest.mark.parametrize("limits", [{}, {"max_overlap": 1, "max_spacing": 2}], ids=str)
def test_swapped_is_the_same_dimer_built_the_other_way(limits: dict[str, int]) -> None:
    dimer = dimer_of(3, 5, **limits)
    found = arrangements_of(dimer, swap=True)
    assert found.names == ("b", "a")
    assert list(rows_of(found)) == ["++", "+-"]
    offsets, rows = reported(dimer)
    for row in found.rows:
        for offset, value in zip(found.offsets, row.value, strict=True):
            strands = row.strands[::-1]  # of a and b
            assert value == pytest.approx(rows[strands][offsets.index(-offset)])


def rebuilt(found: Arrangements) -> dict[tuple[str, int], float]:
    """Return log ω by strands and offset of all that is drawn."""
    return {
        (row.strands, offset): float(value)
        for row in found.rows
        for offset, value in zip(found.offsets, row.value, strict=True)
        if not math.isnan(value)
    }


def score_by_arrangements(dimer: Cooperativity, found: Arrangements) -> Tensor:
    """Return scores of probes, every pair of windows weighed as drawn."""
    drawn = rebuilt(found)
    n_a, n_b = windows_of(dimer)
    omega = torch.full((2, 2, n_a, n_b), torch.nan, dtype=torch.float64)
    mirror = n_b - n_a
    for s, t, m, n in product(range(2), range(2), range(n_a), range(n_b)):
        strands, offset = "+-"[s] + "+-"[t], n - m
        alike = [(strands, offset)]
        if dimer.mode_a is dimer.mode_b:
            alike.append((strands[::-1], -offset))
        for text, place in list(alike):
            signs = zip(text, (dimer.mode_a, dimer.mode_b), strict=True)
            blind = ["+-" if is_blind(mode) else each for each, mode in signs]
            alike += [("".join(pair), place) for pair in product(*blind)]
        alike += [("".join(OTHER[x] for x in text), mirror - o) for text, o in alike]
        values = {drawn[key] for key in alike if key in drawn}
        assert len(values) == 1, (strands, offset)
        omega[s, t, m, n] = values.pop()
    with torch.no_grad():
        a = dimer.mode_a.score_windows(random_seqs())
        b = dimer.mode_b.score_windows(random_seqs())
    pairs = a[:, :, None, :, None] + b[:, None, :, None, :] + omega
    return pairs.flatten(1).logsumexp(1)


def is_blind(mode: Mode) -> bool:
    last = mode.chain[-1]
    assert isinstance(last, Conv1d)
    return min(last.layer_spec.symmetry) < 0


@pytest.mark.parametrize(
    ("sizes", "palindromes", "limits"),
    [
        ((3, 5), (False, False), {}),
        ((4,), (False,), {}),
        ((4,), (True,), {"max_overlap": 0}),
        ((4, 3), (True, False), {"max_spacing": 3}),
        ((3, 4), (False, True), {}),
        ((4, 4), (True, True), {"score_same": False}),
        ((3,), (False,), {"score_reverse": False}),
    ],
)
def test_what_is_drawn_scores_every_probe_as_the_dimer_does(
    sizes: tuple[int, ...], palindromes: tuple[bool, ...], limits: dict[str, int]
) -> None:
    dimer = dimer_of(*sizes, palindromes=palindromes, **limits)
    found = arrangements_of(dimer)
    with torch.no_grad():
        shift = dimer(random_seqs()) - score_by_arrangements(dimer, found)
    torch.testing.assert_close(shift, shift[:1].expand(len(shift)))
    swapped = arrangements_of(dimer, swap=True)
    both = (sorted(rebuilt(each).values()) for each in (found, swapped))
    np.testing.assert_allclose(*both)


def test_a_homodimer_has_each_arrangement_once() -> None:
    found = arrangements_of(dimer_of(4))
    same, opposite = found.rows
    offsets = np.array(found.offsets)
    assert (same.strands, opposite.strands) == ("++", "+-")
    assert np.array_equal(np.isnan(same.value), offsets < 0)
    assert not np.isnan(opposite.value).any()
    blind = arrangements_of(dimer_of(4, palindromes=(True,)))
    assert list(rows_of(blind)) == ["++"]
    assert blind.directed == (False, False)
    assert blind.arrows(0, turned=False) == "··"
    half = arrangements_of(dimer_of(4, 3, palindromes=(True, False)), swap=True)
    assert [half.arrows(0, turned=each) for each in (False, True)] == ["+·", "·+"]
    assert half.in_order(0, turned=True) == (("a", "b"), "++")


def test_one_sided_dimers_keep_both_strands() -> None:
    found = arrangements_of(dimer_of(3, 3, length=9, score_mode="positive"))
    assert list(rows_of(found)) == ["++", "+-", "-+", "--"]
    for row in found.rows:
        assert np.array_equal(np.isfinite(row.value), np.array(found.offsets) >= 1)


def test_one_strand_has_one_row() -> None:
    found = arrangements_of(dimer_of(3, 4, score_reverse_strand=False))
    assert list(rows_of(found)) == ["++"]


def test_gaps_are_letters_between_the_footprints() -> None:
    found = arrangements_of(dimer_of(3, 5))
    gaps = dict(zip(found.offsets, found.gaps or [], strict=True))
    # a covers 0–2, b begins at the offset and covers five letters
    assert [gaps[o] for o in (3, 4, 2, 1)] == [0, 1, -1, -2]
    assert [gaps[o] for o in (-5, -6, -4, -3)] == [0, 1, -1, -2]
    turned = dict(zip(found.offsets, found.turned, strict=True))
    assert [turned[o] for o in (0, -1, -2, 1)] == [False, False, True, False]
    other = arrangements_of(dimer_of(3, 5), swap=True)
    assert dict(zip(other.offsets, other.gaps or [], strict=True)) == {
        -offset: gap for offset, gap in gaps.items()
    }
    assert [other.turned[other.offsets.index(o)] for o in (1, 2, -3)] == [
        False,
        False,
        True,
    ]


def test_a_spacing_alone_is_seen_as_on_the_longest_probes() -> None:
    dimer = dimer_of(3, 5, max_overlap=2)
    alone, whole = arrangements_of(dimer.spacing), arrangements_of(dimer)
    assert windows_of(dimer.spacing) == windows_of(dimer)
    assert alone.offsets == whole.offsets
    for one, other in zip(alone.rows, whole.rows, strict=True):
        assert one.strands == other.strands
        np.testing.assert_array_equal(one.value, other.value)
    with pytest.raises(PyProBoundError, match="give the Cooperativity"):
        arrangements_of(dimer.spacing, errors=KnownErrors())


def test_errors_are_compared_with_their_reference() -> None:
    dimer, errors = dimer_of(3, 5, max_overlap=1, max_spacing=3), KnownErrors()
    found = arrangements_of(dimer, errors=errors)
    known = errors.log_omega(dimer)
    for row, place in zip(found.rows, ((0, 0), (0, 1)), strict=True):
        np.testing.assert_allclose(row.value, known.value[place])
        np.testing.assert_array_equal(row.error, known.error[place])
    flat = errors.reference(dimer)
    assert flat is not None
    assert found.reference is not None
    row, column = found.reference
    assert found.rows[row].value[column] == 0
    assert found.rows[row].error[column] == 0
    assert log_omega(dimer, errors.seen).flatten()[flat] == log_omega(dimer, None).max()
    assert found.is_unknown.any()
    assert not (found.is_unknown & ~found.is_possible).any()


def test_the_bias_of_a_dimer_is_in_its_log_omega_by_its_mean() -> None:
    plain = dimer_of(3, 4)
    dimer = Cooperativity(plain.spacing, plain.mode_a, plain.mode_b, train_posbias=True)
    dimer.double()
    with torch.no_grad():
        for bias in dimer.log_posbias:
            bias.normal_()
        table = dimer.get_log_spacing_matrix()[-1, -1]
    found = arrangements_of(dimer)
    assert list(rows_of(found)) == ["++", "+-", "-+", "--"]
    means = [
        [table[s, t].diagonal(offset).mean().item() for offset in found.offsets]
        for s, t in product(range(2), range(2))
    ]
    values = np.array([row.value for row in found.rows])
    np.testing.assert_allclose(values, np.array(means) - np.max(means), atol=1e-12)


# --- tables --------------------------------------------------------------------------


def test_table_of_orientations() -> None:
    dimer = dimer_of(2, 3, max_overlap=0, max_spacing=1)
    with torch.no_grad():
        dimer.spacing.log_spacing.copy_(
            torch.arange(dimer.spacing.log_spacing.numel()).reshape(2, -1)
        )
    found = arrangements_of(dimer, errors=KnownErrors())
    table = arrangement_table(found)
    assert table.orders == [
        (("a", "b"), "++"),
        (("b", "a"), "++"),
        (("a", "b"), "+-"),
        (("b", "a"), "-+"),
    ]
    assert list(table.value.columns) == [0, 1]
    offsets, rows = reported(dimer)
    expected = [
        [rows["++"][offsets.index(o)] for o in (2, 3)],
        [rows["++"][offsets.index(o)] for o in (-3, -4)],
        [rows["+-"][offsets.index(o)] for o in (2, 3)],
        [rows["+-"][offsets.index(o)] for o in (-3, -4)],
    ]
    np.testing.assert_allclose(table.value, expected)
    flat = {
        (r.strands, o): e
        for r in found.rows
        for o, e in zip(found.offsets, r.error, strict=True)
    }
    np.testing.assert_array_equal(table.error.iloc[1], [flat["++", -3], flat["++", -4]])


def test_windows_are_those_of_the_matrix() -> None:
    dimer = dimer_of(3, 5, max_spacing=4)
    tables = window_tables(dimer)
    assert list(tables) == ["a +, b +", "a +, b −", "a −, b +", "a −, b −"]
    with torch.no_grad():
        matrix = dimer.get_log_spacing_matrix()[0, 0]
    top = matrix.max()
    for (s, t), table in zip(product(range(2), range(2)), tables.values(), strict=True):
        np.testing.assert_allclose(table, matrix[s, t] - top)
        assert (table.index[0], table.index[-1]) == (1, LONGEST - 2)
        assert (table.columns[0], table.columns[-1]) == (1, LONGEST - 4)
    alone = window_tables(dimer.spacing)
    for name, table in tables.items():
        np.testing.assert_array_equal(alone[name], table)


def test_windows_of_shorter_probes() -> None:
    layers = [layer_of(size, shortest=10) for size in (3, 4)]
    modes = [Mode([layer]) for layer in layers]
    spacing = Spacing(modes[0].key(), modes[1].key())
    dimer = Cooperativity(spacing, *modes, train_posbias=True)
    with torch.no_grad():
        for bias in dimer.log_posbias:
            bias.normal_()
        matrix = dimer.get_log_spacing_matrix()
    for lengths, counts in (((8, 9), (8, 9)), ((-1, -1), (10, 9)), ((-2, 7), (9, 7))):
        tables = window_tables(dimer, *lengths)
        n_a, n_b = counts
        expected = matrix[n_a, n_b, :, :, :n_a, :n_b].double()
        found = torch.tensor(np.array(list(tables.values()))).reshape(expected.shape)
        torch.testing.assert_close(found, expected - expected.max())
    for wrong in ((7, -1), (-1, 10), (0, -1), (-12, -1)):
        with pytest.raises(PyProBoundError, match="no probe has"):
            window_tables(dimer, *wrong)
