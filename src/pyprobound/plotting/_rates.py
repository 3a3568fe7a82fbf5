"""Constants of binding and catalysis: as counts tell them, and as a model does.

    Kd-seq            K_D = [P]_F (k_U/η_U) / (k_B/η_B)
    exponential       e^{−Z} = (σ(−δ) − f) / (σ(−δ) − σ(δ)),   f = (k_j/η_j) / (k_i/η_i)

k are reads of a pool of probes, observed or predicted, and η the depths of the model.
Both are made of the same pools in the same way, so that they agree where the model is
right, whatever probes are in a pool.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.plotting import _agreement
from pyprobound.plotting._pooled import (
    Agreement,
    Counts,
    Floats,
    compared_columns,
    dispersion_or_estimate,
    log_ratios,
    pools_of,
    predicted_counts,
)
from pyprobound.plotting._style import new_figure, series, settings
from pyprobound.rounds import BaseRound, BoundRound, ExponentialRound, UnboundRound
from pyprobound.table import CountBatch


def kd_consistency(
    experiment: Experiment,
    i_index: int,
    b_index: int,
    u_index: int,
    batch: CountBatch,
    kernel: int = 500,
    max_split: int | None = None,
    *,
    counts: Counts | None = None,
    dispersion: float | None = None,
    free_protein: float | None = None,
    unit: str = "",
    title: str = "",
) -> Figure:
    """Draw observed against predicted absolute K_D of pools of probes, in Kd-seq.

    K_D is the concentration of free protein times the ratio of unbound to bound reads,
    each divided by the depth of its round. Probes are pooled, intervals computed, and
    points drawn as in `enrichment_plotter`.

    Args:
        experiment: The model of the rounds.
        i_index: Which observed round is the input.
        b_index: Which one is the bound library, a `BoundRound`.
        u_index: Which one is the unbound library, an `UnboundRound` of the same
            aggregate.
        batch: Probes and their counts, a table for instance.
        kernel: Probes to pool; 1 draws each on its own.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.
        counts: What `predicted_counts` returns of both, if it is known already.
        dispersion: How much more than drawn ones counts scatter; by default what they
            do about the prediction, but at least 1.
        free_protein: [P]_F; by default that of `Experiment.free_protein`.
        unit: Of the concentrations, as they were given to the model: "nM".
        title: Of the picture.

    Raises:
        ValueError: As `Experiment.free_protein`.
        PyProBoundError: (a ValueError) The rounds are not those of Kd-seq, or one has
            no reads; or there is no free protein.
    """
    if free_protein is None:
        free_protein = experiment.free_protein(i_index, b_index, u_index)
    if not free_protein > 0:
        msg = (
            f"a concentration of free protein of {free_protein:.3g} allows for no K_D: "
            "more is bound than there is; check target_concentration and "
            "library_concentration"
        )
        raise PyProBoundError(msg)
    log_depths = _kd_log_depths(experiment, b_index, u_index)
    counts = counts or predicted_counts(experiment, batch, max_split)
    chosen = compared_columns(counts, (b_index, u_index))
    pools = pools_of(counts, chosen, kernel)
    part = log_ratios(pools, dispersion_or_estimate(dispersion, counts))
    part = part.shifted(math.log(free_protein) + log_depths[0] - log_depths[1])
    n_probes = int(pools.n_probes.sum())
    in_unit = f" ({unit})" if unit else " (unit of [P])"
    free = f"[P]$_F$ = {free_protein:.3g} {unit}".rstrip()
    return _picture(
        [part],
        "$K_D$" + in_unit,
        [*_agreement.pooled_text(n_probes, len(pools.n_probes), "probe"), free],
        counted="probes" if kernel == 1 else "pools",
        title=title,
    )


def _kd_log_depths(
    experiment: Experiment, b_index: int, u_index: int
) -> tuple[float, float]:
    """Return log η of the bound and of the unbound round.

    Raises:
        PyProBoundError: (a ValueError) They are not the two parts of one selection.
    """
    bound, unbound = (_round(experiment, i) for i in (b_index, u_index))
    if not (
        isinstance(bound, BoundRound)
        and isinstance(unbound, UnboundRound)
        and bound.aggregate is unbound.aggregate
        and bound.reference_round is unbound.reference_round
    ):
        msg = (
            "K_D needs a bound and an unbound round of the same selection, not "
            f"{bound} and {unbound}; make the latter with UnboundRound.from_round"
        )
        raise PyProBoundError(msg)
    return bound.log_depth.item(), unbound.log_depth.item()


def _round(experiment: Experiment, index: int) -> BaseRound:
    if not 0 <= index < len(experiment.rounds):
        msg = (
            f"column {index} is none of the observed rounds of {experiment}, "
            f"0 … {len(experiment.rounds) - 1}"
        )
        raise PyProBoundError(msg)
    return cast("BaseRound", experiment.rounds[index])


def keff_consistency(
    experiment: Experiment,
    batch: CountBatch,
    columns: Sequence[int] | None = None,
    kernel: int = 500,
    max_split: int | None = None,
    *,
    counts: Counts | None = None,
    dispersion: float | None = None,
    unit: str = "",
    title: str = "",
) -> Figure:
    """Draw observed against predicted effective rates of pools of probes.

    For rounds of exponential kinetics (`ExponentialRound`). The rate is Z/[P]_T, so
    that rounds of several times or concentrations agree with each other: [P]_T is the
    concentration of the round times its time. A pool's is found of the fraction of its
    probes that was modified. Where that is more than all, the rate is infinite; where
    it is less than the background, 0. Both lie at the edge. Otherwise pools are drawn
    as in `enrichment_plotter`, in a colour for each round.

    Args:
        experiment: The model of the rounds.
        batch: Probes and their counts, a table for instance.
        columns: Rounds of exponential kinetics, each of which is compared with the
            round that it was selected from (which may be listed, too); by default all
            with reads.
        kernel: Probes to pool; 1 draws each on its own.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.
        counts: What `predicted_counts` returns of both, if it is known already.
        dispersion: How much more than drawn ones counts scatter; by default what they
            do about the prediction, but at least 1.
        unit: Of the rates: the inverse of that of [P]_T.
        title: Of the picture.

    Raises:
        PyProBoundError: (a ValueError) The batch does not fit the experiment, none of
            the columns is an exponential round, or one of them or its reference round
            has no reads.
    """
    counts = counts or predicted_counts(experiment, batch, max_split)
    pairs = _rate_columns(experiment, counts, columns)
    dispersion = dispersion_or_estimate(dispersion, counts)
    parts, n_pools = [], 0
    for pair in pairs:
        pools = pools_of(counts, pair, kernel)
        part = log_ratios(pools, dispersion)
        parts.append(_log_rates(experiment, pair, part))
        n_pools += len(pools.n_probes)
    n_probes = int((counts.observed.sum(1) > 0).sum())
    names = [_agreement.round_names(experiment, [after])[0] for _, after in pairs]
    return _picture(
        parts,
        f"effective rate ({unit})" if unit else "effective rate",
        _agreement.pooled_text(n_probes, n_pools // len(pairs), "probe"),
        counted="probes" if kernel == 1 else "pools",
        title=title,
        names=names,
    )


def _rate_columns(
    experiment: Experiment, counts: Counts, columns: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Return the columns of exponential rounds after those of their references.

    Raises:
        PyProBoundError: (a ValueError) There is none, or one has no reads.
    """
    column_of = {id(each): column for column, each in enumerate(experiment.rounds)}
    totals = counts.observed.sum(0).tolist()
    chosen = range(len(totals)) if columns is None else columns
    pairs = []
    for column in chosen:
        each = _round(experiment, column)
        if isinstance(each, ExponentialRound):
            before = column_of.get(id(each.reference_round))
            if before is not None and (columns or min(totals[before], totals[column])):
                pairs.append(compared_columns(counts, (before, column)))
    if not pairs:
        msg = (
            f"no column of {list(chosen)} is an exponential round that has reads, as "
            "has the round it was selected from; effective rates need both"
        )
        raise PyProBoundError(msg)
    return pairs


def _log_rates(
    experiment: Experiment, columns: tuple[int, int], ratios: Agreement
) -> Agreement:
    """Return log Z/[P]_T of pools, given log ratios of their reads.

    Args:
        experiment: The model of the rounds.
        columns: The reference round's, and the exponential round's.
        ratios: log k_j − log k_i.
    """
    before, after = (_round(experiment, column) for column in columns)
    assert isinstance(after, ExponentialRound)
    background = torch.sigmoid(after.delta.detach().double()).item()
    if background == 0.5:
        msg = f"{after} has δ = 0: nothing tells modified probes from others"
        raise PyProBoundError(msg)
    log_depth = after.log_depth.item() - before.log_depth.item()
    log_concentration = after.aggregate.log_target_concentration.item()

    def log_rate(log_ratio: Floats) -> Floats:
        modified = (np.exp(log_ratio - log_depth) - background) / (1 - 2 * background)
        with np.errstate(divide="ignore"):
            rate = -np.log1p(-np.clip(modified, 0, 1))
            return np.asarray(np.log(rate) - log_concentration)

    rates = ratios.mapped(log_rate)
    if background < 0.5:
        return rates
    # what is not modified is seen: the more of it, the lower the rate
    return replace(rates, low=rates.high, high=rates.low)


def _picture(
    parts: Sequence[Agreement],
    quantity: str,
    lines: Sequence[str],
    *,
    counted: str,
    title: str,
    names: Sequence[str] = ("",),
) -> Figure:
    """Draw observed against predicted constants.

    Args:
        parts: Their logarithms, of one round each.
        quantity: What they are.
        lines: What to write below R².
        counted: What hexagons are coloured by the number of.
        title: Of the axes.
        names: Of the rounds, for a legend where there are several.
    """
    all_parts = Agreement.of_all(parts)
    shown = _agreement.Range.of(all_parts)
    many = len(all_parts.observed) > _agreement.MOST_POINTS
    with settings():
        figure, (ax,) = new_figure(_agreement.SIDE, _agreement.SIDE)
        if len(parts) == 1 or many:
            points = _agreement.draw(ax, all_parts, shown)
            lines = [*_agreement.r2_text(all_parts), *lines]
            if isinstance(points, PolyCollection):
                _agreement.colour_bar(ax, points, f"Number of {counted}")
                _agreement.make_room(figure)
        else:
            for part, color, name in zip(parts, series(len(parts)), names, strict=True):
                label = ", ".join([name, *_agreement.r2_text(part)])
                _agreement.draw(ax, part, shown, color, label=label)
            ax.legend(loc="lower right", handletextpad=0.1)
        _agreement.frame(ax, all_parts, shown, folds=False)
        _agreement.note(ax, lines, all_parts)
        ax.set_xlabel(f"Predicted {quantity}")
        ax.set_ylabel(f"Observed {quantity}")
        ax.set_title(title)
    return figure
