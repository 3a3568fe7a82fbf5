"""Dimers: log ω of each pair of windows."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._arrangements import names_of, windows_of
from pyprobound.plotting._arrows import shortened
from pyprobound.plotting._bias_tables import first_letter
from pyprobound.plotting._heatmaps import heatmap_plotter
from pyprobound.plotting._ticks import signed

_LONG = 16  # letters of two names that do not stand in one line
_UNIT = "log ω, largest at 0 (ln)"


def cooperativity(
    spacing_matrix: Spacing | Cooperativity, len_a: int = -1, len_b: int = -1
) -> Figure:
    """Draw log ω of each pair of windows, a heat map for each pair of strands.

    Windows are counted by their first letter, from 1, in the scored sequence. The
    largest log ω is put at 0: only differences mean anything.

    Args:
        spacing_matrix: A dimer, its position bias included, or a spacing alone.
        len_a: Number of windows that the probe has of the first mode, as in
            `get_log_spacing_matrix`; −1 for that of the longest probes.
        len_b: Number of windows of the second mode.

    Raises:
        PyProBoundError: No probe has so many windows.
    """
    tables = window_tables(spacing_matrix, len_a, len_b)
    possible = {k: t for k, t in tables.items() if np.isfinite(t.to_numpy()).any()}
    return heatmap_plotter(possible or tables, unit=_UNIT, colours="sequential")


def window_tables(
    dimer: Spacing | Cooperativity, len_a: int = -1, len_b: int = -1
) -> dict[str, pd.DataFrame]:
    """Return log ω, the largest at 0, as tables of windows of the two modes.

    Args:
        dimer: See `cooperativity` for this and the others.
        len_a: Windows of the first mode.
        len_b: Windows of the second mode.

    Returns:
        By names and strands: rows are windows of the first mode, columns of the second.

    Raises:
        PyProBoundError: No probe has so many windows.
    """
    values = _values(dimer, _counts(dimer, (len_a, len_b)))
    possible = values[values.isfinite()]
    if len(possible):
        values = values - possible.max()
    names = [shortened(name) for name in names_of(dimer)]
    rows, columns = (
        pd.Index(range(first, first + count), name=f"first letter of {name}")
        for name, first, count in zip(
            names, _first_letters(dimer), values.shape[2:], strict=True
        )
    )
    between = "\n" if sum(map(len, names)) > _LONG else ", "
    tables = {}
    for pair in np.ndindex(*values.shape[:2]):
        signs = (signed("+-"[strand]) for strand in pair)
        title = between.join(map(" ".join, zip(names, signs, strict=True)))
        tables[title] = pd.DataFrame(values[pair].numpy(), rows, columns)
    return tables


def _counts(dimer: Spacing | Cooperativity, wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the numbers of windows, those of the longest probes where they are −1."""
    longest = windows_of(dimer)
    found = []
    for which, each, most in zip("ab", wanted, longest, strict=True):
        count = each if each >= 0 else most + 1 + each
        known = _known_counts(dimer, which, most)
        if count not in known:
            msg = (
                f"{dimer}: no probe has {count} windows of mode {which}; give"
                f" {known[0]} to {known[-1]}, or -1 for the longest probes"
            )
            raise PyProBoundError(msg)
        found.append(count)
    return found[0], found[1]


def _known_counts(dimer: Spacing | Cooperativity, which: str, most: int) -> list[int]:
    """Return how many windows of a mode probes have."""
    if isinstance(dimer, Spacing):
        return list(range(1, most + 1))
    mode = dimer.mode_a if which == "a" else dimer.mode_b
    lengths = range(mode.min_input_length, mode.max_input_length + 1)
    return sorted({mode.out_len(length) for length in lengths})


def _values(dimer: Spacing | Cooperativity, counts: tuple[int, int]) -> Tensor:
    """Return (strands_a, strands_b, windows_a, windows_b) log ω."""
    with torch.no_grad():
        if isinstance(dimer, Spacing):
            return dimer.get_log_spacing_matrix(*counts).double().cpu()
        table = dimer.get_log_spacing_matrix().double().cpu()
    by_length = table.shape[0] > 1 or table.shape[1] > 1
    values = table[counts] if by_length else table[0, 0]
    return values[:, :, : counts[0], : counts[1]]


def _first_letters(dimer: Spacing | Cooperativity) -> tuple[int, int]:
    if isinstance(dimer, Spacing):
        return 1, 1
    return first_letter(dimer.mode_a), first_letter(dimer.mode_b)
