"""The same model in other words: mismatch gauge, consensus model, single modes.

In the mismatch gauge the best window of a mode scores 0: single-letter energies are
those of its single mutants, pair energies what double mutants add. The score that is
taken off goes to the activity.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyprobound.probound._coefficients import (
    Array,
    Coefficients,
    ModeNumbers,
    frames,
)
from pyprobound.probound._files import Document
from pyprobound.probound._schema import (
    Constraints,
    ModeConstraints,
    ModelSettings,
)

Codes = NDArray[np.int64]

MOST_STATES = 2**16
"""Contexts of letters for which the best window is found exactly."""


def best_window(letters: Array, pairs: list[Array]) -> Codes:
    """Return the letters of the best window, (positions,) int64.

    Found exactly, letter by letter with the best continuation of every context of as
    many letters as pairs reach over, so long as there are at most `MOST_STATES`
    contexts; beyond that, the best of the contexts that are best so far are kept.

    Args:
        letters: (positions, letters) energies.
        pairs: By distance from 1, (positions − distance, letters, letters).
    """
    size, n = letters.shape
    reach = max((d for d, each in enumerate(pairs, 1) if each.any()), default=0)
    prefixes = np.zeros((1, 0), dtype=np.int64)
    scores = np.zeros(1)
    for position in range(size):
        added = np.repeat(letters[position][None, :], len(prefixes), axis=0)
        for distance in range(1, min(reach, position) + 1):
            before = prefixes[:, position - distance]
            added = added + pairs[distance - 1][position - distance][before]
        scores = (scores[:, None] + added).ravel()
        prefixes = np.concatenate(
            [
                np.repeat(prefixes, n, axis=0),
                np.tile(np.arange(n), len(prefixes))[:, None],
            ],
            axis=1,
        )
        prefixes, scores = _kept(prefixes, scores, reach)
    best: Codes = prefixes[int(scores.argmax())]
    return best


def _kept(prefixes: Codes, scores: Array, reach: int) -> tuple[Codes, Array]:
    """Return the best prefix of each context, at most `MOST_STATES` of them."""
    order = np.argsort(-scores, kind="stable")
    contexts = prefixes[order, max(0, prefixes.shape[1] - reach) :]
    _, first = np.unique(contexts, axis=0, return_index=True)
    chosen = order[np.sort(first)][:MOST_STATES]
    return prefixes[chosen], scores[chosen]


def mismatch_gauge(numbers: ModeNumbers) -> tuple[ModeNumbers, float]:
    """Return a mode in the mismatch gauge, and the score of its best window.

    Position biases and activities are left alone.
    """
    letters, pairs = numbers.letters, numbers.pairs
    size = len(letters)
    if size == 0:
        return numbers, 0.0
    best = best_window(letters, pairs)
    position = np.arange(size)
    total = float(letters[position, best].sum())
    single = letters - letters[position, best][:, None]
    doubles = []
    for distance, each in enumerate(pairs, 1):
        at = np.arange(size - distance)
        first, second = best[at], best[at + distance]
        own = each[at, first, second]
        total += float(own.sum())
        left = each[at, :, second] - own[:, None]
        right = each[at, first, :] - own[:, None]
        single[at] += left
        single[at + distance] += right
        doubles.append(each - own[:, None, None] - left[:, :, None] - right[:, None, :])
    return replace(numbers, letters=single, pairs=doubles), total


def in_mismatch_gauge(numbers: Coefficients) -> Coefficients:
    """Return a model whose best windows (and mean position biases) score 0.

    Interactions are left alone, for they cannot be told so: their modes' scores change.
    """
    modes = []
    for mode in numbers.modes:
        moved, best = mismatch_gauge(mode)
        means = [_log_mean(bias) for bias in mode.bias] or [0.0] * len(mode.activity)
        modes.append(
            replace(
                moved,
                activity=[
                    each + best + mean
                    for each, mean in zip(mode.activity, means, strict=True)
                ],
                bias=[
                    bias - mean for bias, mean in zip(mode.bias, means, strict=False)
                ],
            )
        )
    return replace(numbers, modes=modes)


def _log_mean(values: Array) -> float:
    return float(np.logaddexp.reduce(values, axis=None)) - math.log(values.size)


def consensus(
    document: Document, numbers: Coefficients
) -> tuple[Document, Coefficients]:
    """Return one scoring model for all experiments and rounds of a fit.

    Position biases, interactions, flanks and rounds are dropped; the activity of a mode
    is its mean over selected columns, the largest of each column taken as 1.

    Raises:
        InputError: The fit has no mode with a footprint.
    """
    settings = document.content.model_settings
    sizes = [mode.size for mode in settings.binding_modes if mode.size > 1]
    if not sizes:
        raise document.error("no mode has a size above 1: nothing to score with")
    gauged = in_mismatch_gauge(numbers)
    activities = _mean_activities(settings, gauged)
    smallest = min(sizes)
    chosen = next(m for m in settings.binding_modes if m.size == smallest)
    template = settings.binding_modes.index(chosen)
    modes, all_numbers = [], []
    for index, (mode, own, activity) in enumerate(
        zip(settings.binding_modes, gauged.modes, activities, strict=True)
    ):
        size, letters, pairs, shift = mode.size, own.letters, own.pairs, 0.0
        if size <= 1:
            shift = _frame_ratio(settings, index, template)
            size = smallest
            letters = np.zeros((size, len(settings.letter_order)))
            pairs = [np.zeros_like(each) for each in gauged.modes[template].pairs]
        changes = {
            "size": size,
            "flank_length": 0,
            "position_bias": False,
            "dinucleotide_distance": len(pairs),
        }
        modes.append(mode.model_copy(update=changes))
        all_numbers.append(
            ModeNumbers(letters, pairs, [np.array([activity + shift])], [], own.shifts)
        )
    made = settings.model_copy(
        update={
            "binding_modes": modes,
            "binding_mode_interactions": [],
            "enrichment_model": [],
            "count_table": [],
        }
    )
    scoring = document.with_content(
        model_settings=made,
        model_fitting_constraints=Constraints(
            binding_modes=[ModeConstraints()] * len(modes)
        ),
        coefficients=None,
        metadata={},
    )
    return scoring, Coefficients(all_numbers, [], [], [])


def _mean_activities(settings: ModelSettings, numbers: Coefficients) -> list[float]:
    """Return the log mean relative activity of each mode over selected columns."""
    rows: list[list[float]] = [[] for _ in numbers.modes]
    for experiment, model in enumerate(settings.enrichment_model):
        count = settings.count_table[experiment].n_columns
        first = 1 if model.model_type == "SELEX" else 0
        for column in range(first, count):
            values = [
                float(mode.activity[experiment][column]) for mode in numbers.modes
            ]
            for row, value in zip(rows, values, strict=True):
                row.append(value - max(values))
    if not settings.enrichment_model:
        return [float(mode.activity[0][0]) for mode in numbers.modes]
    return [_log_mean(np.array(row)) for row in rows]


def _frame_ratio(settings: ModelSettings, mode: int, template: int) -> float:
    """Return the log ratio of frames, a mode's own over a template's, on average."""
    ratios = []
    for experiment in range(len(settings.count_table)):
        own = settings.binding_modes[mode].size
        old = 2 * frames(settings, mode, experiment) if own else 1
        ratios.append(math.log(old / (2 * frames(settings, template, experiment))))
    return sum(ratios) / len(ratios) if ratios else 0.0
