"""Observed against predicted enrichment: of pools of probes, and of k-mers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from pyprobound.alphabets import Alphabet
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.layers import PSAM
from pyprobound.plotting import _agreement
from pyprobound.plotting._kmers import KmerSums, kmer_sums, kmers_pooled
from pyprobound.plotting._pooled import (
    Agreement,
    Counts,
    compared_columns,
    dispersion_or_estimate,
    log_library_ratio,
    log_ratios,
    pools_of,
    predicted_counts,
)
from pyprobound.plotting._style import new_figure, settings
from pyprobound.table import CountBatch, CountTable


def enrichment_plotter(
    ax: Axes,
    counts_obs: Tensor,
    counts_pred: Tensor,
    columns: Sequence[int],
    kernel: int = 1,
    title: str = "",
    *,
    dispersion: float | None = None,
    **kwargs: Any,  # noqa: ANN401 matplotlib's own
) -> PathCollection | PolyCollection:
    """Draw observed against predicted enrichment of probes.

    Enrichment is the share of a round's reads after selection over the share before
    it: 1 is the average of the library. Probes are ordered by predicted enrichment,
    and the counts of each `kernel` of them are summed before they are divided, so that
    no count of 0 is lost. Bars are 95% intervals of counting noise. R² is that of the
    logarithms about the diagonal, each pool weighted by the inverse square of its
    interval. More than 800 pools are drawn as hexagons, coloured by their number. A
    pool without a read in one of the rounds lies at the lower or upper edge.

    Args:
        ax: Where to draw; its scales, limits, ticks and labels are set.
        counts_obs: Reads, (probe, round).
        counts_pred: Predicted reads, (probe, round).
        columns: The two rounds, before selection and after it.
        kernel: Probes to pool.
        title: Of the axes.
        dispersion: How much more than drawn ones counts scatter; by default what they
            do about the prediction, but at least 1.
        **kwargs: Arguments of `Axes.scatter` or `Axes.hexbin`.

    Returns:
        The points, or the hexagons.

    Raises:
        PyProBoundError: (a ValueError) The counts are not of the same shape, the
            columns are not two rounds with reads, or `kernel` is less than 1.
    """
    counts = Counts(counts_obs.detach().cpu(), counts_pred.detach().cpu())
    chosen = compared_columns(counts, columns)
    pools = pools_of(counts, chosen, kernel)
    part = log_ratios(pools, dispersion_or_estimate(dispersion, counts))
    part = part.shifted(-log_library_ratio(counts, chosen))
    n_probes = int(pools.n_probes.sum())
    lines = _agreement.pooled_text(n_probes, len(pools.n_probes), "probe")
    names = f"column {chosen[0]}", f"column {chosen[1]}"
    counted = "probes" if kernel == 1 else "pools"
    return _draw(ax, part, lines, names, title, counted, **kwargs)


def probe_enrichment(
    experiment: Experiment,
    batch: CountBatch,
    columns: Sequence[int] | None = None,
    kernel: int = 500,
    max_split: int | None = None,
    *,
    counts: Counts | None = None,
    dispersion: float | None = None,
    title: str = "",
) -> Figure:
    """Draw observed against predicted enrichment of pools of probes.

    See `enrichment_plotter` for what is drawn.

    Args:
        experiment: The model of the rounds.
        batch: Probes and their counts, a table for instance.
        columns: The two rounds, before selection and after it; by default the first
            and the last one with reads.
        kernel: Probes to pool; 1 draws each on its own.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.
        counts: What `predicted_counts` returns of both, if it is known already.
        dispersion: How much more than drawn ones counts scatter, for instance
            `Uncertainty.dispersion`; by default what they do about the prediction, but
            at least 1.
        title: Of the picture.

    Raises:
        PyProBoundError: (a ValueError) The batch does not fit the experiment, the
            columns are not two rounds with reads, or `kernel` is less than 1.
    """
    counts = counts or predicted_counts(experiment, batch, max_split)
    chosen = compared_columns(counts, columns)
    with settings():
        figure, (ax,) = new_figure(_agreement.SIDE, _agreement.SIDE)
        enrichment_plotter(
            ax,
            *counts,
            columns=chosen,
            kernel=kernel,
            title=title,
            dispersion=dispersion,
        )
        _name_axes(ax, "enrichment", *_agreement.round_names(experiment, chosen))
        _agreement.make_room(figure)
    return figure


def kmer_enrichment(
    experiment: Experiment,
    batch: CountBatch,
    columns: Sequence[int] | None = None,
    kmer_length: int = 3,
    kernel: int = 500,
    max_split: int | None = None,
    *,
    counts: Counts | None = None,
    dispersion: float | None = None,
    both_strands: bool | None = None,
    alphabet: Alphabet | None = None,
    n_named: int = 3,
    title: str = "",
) -> Figure:
    """Draw observed against predicted enrichment of all words of a few letters.

    The counts of a k-mer are those of all probes, as often as it occurs in each.
    Windows with padding or wildcards are skipped, and so are those that all probes
    share, within the flanks. k-mers that occur less than `kernel` times are ordered by
    predicted enrichment and pooled until they occur that often. Intervals take reads
    for independent, which those of a word that overlaps itself are not quite.

    Unlike pools of probes that are predicted alike, k-mers show what the model does not
    know of: one that lies off the diagonal is a motif that it lacks.

    A k-mer and its reverse complement are one where the model's PSAMs read both
    strands (a window that is its own reverse complement counts once).

    Three letters are enough to see a bias of the library. Six to eight are about the
    core of a motif: take as many as leave most k-mers with `kernel` occurrences,
    probes × windows / 4^k.

    Args:
        experiment: The model of the rounds.
        batch: Probes and their counts, a table for instance.
        columns: The two rounds, before selection and after it; by default the first
            and the last one with reads.
        kmer_length: Letters of a k-mer, k.
        kernel: The fewest occurrences that make a point.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.
        counts: What `predicted_counts` returns of both, if it is known already.
        dispersion: How much more than drawn ones counts scatter; by default what they
            do about the prediction, but at least 1.
        both_strands: Whether a k-mer and its reverse complement are one; by default
            as the PSAMs of the model have it.
        alphabet: What the probes are written in; by default the table's, or that of
            the model's PSAMs.
        n_named: How many of the most enriched k-mers are named.
        title: Of the picture.

    Raises:
        PyProBoundError: (a ValueError) The batch does not fit the experiment, the
            columns are not two rounds with reads, `kmer_length` does not suit the
            alphabet or the probes, or `kernel` is less than 1.
    """
    counts = counts or predicted_counts(experiment, batch, max_split)
    chosen = compared_columns(counts, columns)
    alphabet = alphabet or alphabet_of(experiment, batch)
    if both_strands is None:
        both_strands = _reads_both_strands(experiment)
    kmers = _kmers_of(
        batch, counts, chosen, alphabet, kmer_length, both_strands=both_strands
    )
    pools = kmers_pooled(kmers, kernel)
    part = log_ratios(pools, dispersion_or_estimate(dispersion, counts))
    part = part.shifted(-log_library_ratio(counts, chosen))
    one = f"{kmer_length}-mer"
    lines = _agreement.pooled_text(len(kmers.numbers), len(pools.n_probes), one)
    if both_strands:
        lines.append("on both strands")
    is_pooled = len(pools.n_probes) < len(kmers.numbers)
    with settings():
        figure, (ax,) = new_figure(_agreement.SIDE, _agreement.SIDE)
        names = _agreement.round_names(experiment, chosen)
        _draw(ax, part, lines, names, title, "pools" if is_pooled else f"{one}s")
        _name_most_enriched(ax, part, kmers, kernel, n_named)
        _agreement.make_room(figure)
    return figure


def _kmers_of(
    batch: CountBatch,
    counts: Counts,
    columns: tuple[int, int],
    alphabet: Alphabet,
    length: int,
    *,
    both_strands: bool,
) -> KmerSums:
    """Return the counts of k-mers: observed before and after, predicted likewise.

    Raises:
        PyProBoundError: (a ValueError) There is none, or there would be too many.
    """
    both = torch.cat([each[:, list(columns)] for each in counts], dim=1)
    seqs = batch.seqs.cpu().reshape(len(both), -1)
    kmers = kmer_sums(seqs, both, alphabet, length, both_strands=both_strands)
    if not len(kmers.numbers):
        msg = f"no probe has {length} known letters in a row; give a lower kmer_length"
        raise PyProBoundError(msg)
    return kmers


def _name_most_enriched(
    ax: Axes, part: Agreement, kmers: KmerSums, kernel: int, n_named: int
) -> None:
    alone = kmers.stand_alone(kernel).nonzero()[0]
    observed = part.observed[: len(alone)]  # what stands alone comes first, in order
    highest = (-observed).argsort(kind="stable")
    named = highest[np.isfinite(observed[highest])][:n_named]
    texts = [kmers.text(index) for index in alone[named]]
    _agreement.name_points(ax, part, _agreement.Range.of(part), named, texts)


def _draw(
    ax: Axes,
    part: Agreement,
    lines: Sequence[str],
    names: Sequence[str],
    title: str,
    counted: str,
    **kwargs: Any,  # noqa: ANN401 matplotlib's own
) -> PathCollection | PolyCollection:
    """Draw ratios of counts; see `enrichment_plotter`.

    Args:
        ax: Where.
        part: Log enrichments.
        lines: What to write below R².
        names: Of the rounds, before selection and after it.
        title: Of the axes.
        counted: What hexagons are coloured by the number of.
        **kwargs: Arguments of `Axes.scatter` or `Axes.hexbin`.
    """
    shown = _agreement.Range.of(part)
    with settings():
        points = _agreement.draw(ax, part, shown, **kwargs)
        _agreement.frame(ax, part, shown, folds=True)
        _agreement.note(ax, [*_agreement.r2_text(part), *lines], part)
        if isinstance(points, PolyCollection):
            _agreement.colour_bar(ax, points, f"Number of {counted}")
        ax.set_title(title)
    _name_axes(ax, "enrichment", *names)
    return points


def _name_axes(ax: Axes, quantity: str, before: str, after: str) -> None:
    ax.set_xlabel(f"Predicted {quantity}, {after} / {before}")
    ax.set_ylabel(f"Observed {quantity}, {after} / {before}")


def alphabet_of(experiment: Experiment, batch: CountBatch) -> Alphabet:
    """Return what probes are written in.

    Raises:
        PyProBoundError: (a ValueError) Neither the table nor a PSAM knows.
    """
    if isinstance(batch, CountTable):
        return batch.alphabet
    for module in experiment.modules():
        if isinstance(module, PSAM) and module.alphabet is not None:
            return module.alphabet
    msg = f"the alphabet of the probes is not known from {experiment}; give alphabet"
    raise PyProBoundError(msg)


def _reads_both_strands(experiment: Experiment) -> bool:
    return any(
        isinstance(each, PSAM) and each.score_reverse for each in experiment.modules()
    )
