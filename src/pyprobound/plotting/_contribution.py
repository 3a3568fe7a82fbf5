"""Which binding makes up the aggregate, from the weakest probes to the strongest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.base import Binding
from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv0d
from pyprobound.mode import Mode
from pyprobound.plotting._agreement import SIDE, number_text, ratio_ticks
from pyprobound.plotting._panels import legend_columns
from pyprobound.plotting._pooled import Floats, check_kernel, starts_of
from pyprobound.plotting._style import FAINT, new_figure, series, settings
from pyprobound.rounds import BaseRound, Round
from pyprobound.table import CountBatch, score

_BINS = 200  # of log Z, before those with few probes are joined


@dataclass(frozen=True)
class Shares:
    """Mean shares of bindings in the aggregate, of probes that are bound alike.

    Attributes:
        edges: log Z between pools, ascending, (pool + 1,).
        n_probes: Probes of each pool, (pool,).
        shares: (binding, pool); they add up to 1.
        median: log Z of the median probe.
    """

    edges: Floats
    n_probes: NDArray[np.int64]
    shares: Floats
    median: float


def contribution(
    rnd: BaseRound | Aggregate,
    batch: CountBatch,
    kernel: int = 500,
    max_split: int | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw the share of each binding in the aggregate, from weak probes to strong ones.

    A share is α_a/K_a over the sum of all bindings': the part of the protein on the
    probe that is bound in this way. Probes are pooled by their log Z, in steps of
    equal width or wider, so that each pool has at least `kernel` of them; shares are
    means over a pool. Above them, the number of probes of each affinity.

    Args:
        rnd: A round, or its aggregate.
        batch: Probes, a table for instance.
        kernel: The fewest probes of a pool.
        max_split: Largest number of probes scored at once; by default what fits the
            memory budget.
        title: Of the picture.

    Raises:
        PyProBoundError: (a ValueError) The round has no aggregate, nothing binds any
            probe, or `kernel` is less than 1.
    """
    aggregate = _aggregate_of(rnd)
    parts = aggregate.present()
    _, terms = score(_Terms(aggregate, parts), batch, max_split=max_split)
    found = shares_of(terms, kernel)
    if not len(found.n_probes):
        msg = (
            f"nothing binds any probe of the batch in {rnd}; there is nothing to share"
        )
        raise PyProBoundError(msg)
    with settings():
        figure, axes = new_figure(SIDE, SIDE, rows=2, ratios=(1, 2.5), share_x=True)
        _draw_numbers(axes[0], found)
        _draw_shares(axes[1], found, [part.binding for part in parts])
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=legend_columns(labels, SIDE),
        )
        if title:
            figure.suptitle(title)
    return figure


def _aggregate_of(rnd: BaseRound | Aggregate) -> Aggregate:
    if isinstance(rnd, Aggregate):
        return rnd
    if not isinstance(rnd, Round):
        msg = f"{rnd} has no aggregate: nothing was selected; give a later round"
        raise PyProBoundError(msg)
    return rnd.aggregate


class _Terms(nn.Module):
    """What the bindings of an aggregate add to it, as `score` asks for it."""

    def __init__(self, aggregate: Aggregate, parts: Sequence[Contribution]) -> None:
        super().__init__()
        self.aggregate = aggregate
        self.parts = parts

    def max_embedding_size(self) -> int:
        return self.aggregate.max_embedding_size()

    def forward(self, seqs: Tensor) -> Tensor:
        """Return log [P]_T + log α_a + log 1/K_a, (probes, bindings)."""
        evaluation = Evaluation(seqs)
        terms = [evaluation(part.evaluate) for part in self.parts]
        if not terms:
            return torch.empty(len(seqs), 0)
        return torch.stack(terms, 1) + self.aggregate.log_target_concentration


def shares_of(terms: Tensor, kernel: int) -> Shares:
    """Return mean shares of bindings over probes of about the same log Z.

    Probes that nothing binds are left out.

    Args:
        terms: What each binding adds to Z, as logarithms, (probe, binding).
        kernel: The fewest probes of a pool.

    Raises:
        PyProBoundError: (a ValueError) `kernel` is less than 1.
    """
    check_kernel(kernel)
    log_total = torch.logsumexp(terms.double(), 1)
    is_bound = log_total > -math.inf
    log_total, terms = log_total[is_bound], terms[is_bound]
    n = terms.shape[1]
    if not len(log_total):
        return Shares(np.empty(0), np.empty(0, np.int64), np.empty((n, 0)), math.nan)
    low, high = float(log_total.min()), float(log_total.max())
    if high == low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    bins = edges[1:-1].searchsorted(log_total.numpy(), side="right")
    n_probes = np.bincount(bins, minlength=_BINS)
    sums = np.stack(
        [
            np.bincount(bins, (terms[:, a] - log_total).exp().numpy(), _BINS)
            for a in range(n)
        ]
    )
    # joined from the strongest on: what is left over goes to the many weak ones
    starts = starts_of(n_probes[::-1, None].astype(np.float64), (kernel,))
    firsts = np.sort(_BINS - np.append(starts[1:], _BINS))
    pooled = np.add.reduceat(n_probes, firsts)
    return Shares(
        np.append(edges[firsts], edges[-1]),
        pooled,
        np.add.reduceat(sums, firsts, axis=1) / pooled,
        float(log_total.median()),
    )


def _draw_numbers(ax: Axes, found: Shares) -> None:
    """Draw how many probes there are per unit of log Z, on a logarithmic scale."""
    edges = np.exp(found.edges - found.median)
    per_decade = found.n_probes / np.diff(found.edges) * math.log(10)
    ax.stairs(per_decade, edges, color=FAINT, fill=True, alpha=0.5)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(numticks=4))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("Probes\nper decade", fontsize=8)


def _draw_shares(ax: Axes, found: Shares, bindings: Sequence[Binding]) -> None:
    edges = np.exp(found.edges - found.median)
    specific = [each for each in bindings if not _is_nonspecific(each)]
    colors = dict(zip(map(id, specific), series(len(specific)), strict=True))
    below = np.zeros(found.shares.shape[1])
    for binding, share in zip(bindings, found.shares, strict=True):
        ax.stairs(
            below + share,
            edges,
            baseline=below,
            fill=True,
            color=colors.get(id(binding), FAINT),
            alpha=0.8,
            linewidth=0,
            label=_name_of(binding),
        )
        below = below + share
    ax.set_xscale("log")
    ax.set_xlim(edges[0], edges[-1])
    ticks, minor = ratio_ticks(edges[0], edges[-1], folds=False)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(FixedLocator(minor) if minor else NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("Predicted affinity (median probe: 1)")
    ax.set_ylabel("Share of bound protein")


def _is_nonspecific(binding: Binding) -> bool:
    return isinstance(binding, Mode) and any(
        isinstance(layer, Conv0d) for layer in binding.layers
    )


def _name_of(binding: Binding) -> str:
    """Return what a reader calls a binding: its name, without that of its class."""
    if _is_nonspecific(binding):
        return "non-specific"
    text = str(binding)
    return text.removeprefix(f"{type(binding).__name__}-")
