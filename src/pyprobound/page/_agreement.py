"""How well a model agrees with the reads of an experiment, in pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from pyprobound.errors import PyProBoundError
from pyprobound.page._content import Block, Picture, Prose
from pyprobound.page._figures import attempted, side_by_side
from pyprobound.page._numbers import counted, listed, significant
from pyprobound.page._render import anchor
from pyprobound.page._run import Run
from pyprobound.plotting import (
    Counts,
    contribution,
    kd_consistency,
    keff_consistency,
    kmer_enrichment,
    predicted_counts,
    probe_enrichment,
    svg,
)
from pyprobound.plotting._pooled import compared_columns
from pyprobound.report_errors import kd_seq_libraries, present_parts, selections
from pyprobound.rounds import ExponentialRound, Round
from pyprobound.table import CountTable

_POOL = 500
"""Probes of a pool, and occurrences of a k-mer, where there are enough of them."""
_SMALLEST_POOL = 10
_N_POOLS = 100
_LONGEST_KMER = 6


@dataclass(frozen=True)
class Compared:
    """An experiment beside its table.

    Attributes:
        run: The run.
        index: Which experiment.
        table: Its table.
        counts: Reads as observed and as predicted, (probe, round) each.
    """

    run: Run
    index: int
    table: CountTable
    counts: Counts

    @property
    def name(self) -> str:
        """The name of the experiment."""
        return str(self.run.document.config.experiments[self.index].name)

    @property
    def dispersion(self) -> float | None:
        """How much more than drawn ones the counts scatter, if it is known."""
        errors = self.run.errors
        return None if errors is None else errors.dispersion[self.index]

    @property
    def columns(self) -> tuple[int, int]:
        """The rounds that are compared: input and bound library, or the outermost."""
        libraries = kd_seq_libraries(self.run.built.experiments[self.index])
        return compared_columns(self.counts, libraries and libraries[:2])

    @property
    def kernel(self) -> int:
        """Probes of a pool."""
        return min(_POOL, max(_SMALLEST_POOL, len(self.table) // _N_POOLS))

    @property
    def kmer_length(self) -> int:
        """Letters of the longest k-mers of which most occur often enough."""
        n_letters = self.table.alphabet.n_letters
        n_windows = len(self.table) * self.table.max_read_length
        fits = math.log(max(1.0, n_windows / self.kernel)) / math.log(n_letters)
        return max(1, min(_LONGEST_KMER, int(fits), self.table.min_read_length))


def agreement(run: Run, index: int) -> list[Block]:
    """Return pictures of how well a model agrees with the reads of an experiment."""
    if run.tables is None:
        return []
    experiment = run.built.experiments[index].experiment
    table = run.tables[index]
    found = Compared(run, index, table, predicted_counts(experiment, table))
    try:
        found.columns  # noqa: B018 there may be none to compare
    except PyProBoundError as error:
        return [Prose(f"Enrichment is not shown: {error}.", is_note=True)]
    return side_by_side(_pictures(found))


def _pictures(found: Compared) -> Iterator[Picture | Prose]:
    yield attempted("Enrichment of probes", lambda: _by_probes(found))
    yield attempted("Enrichment of k-mers", lambda: _by_kmers(found))
    if found.run.held_out is not None:
        yield attempted("Enrichment of held-out probes", lambda: _held_out(found))
    share = _last_shared_round(found)
    if share is not None:
        yield attempted("The share of each mode", lambda: _shares(found, share))
    built = found.run.built.experiments[found.index]
    libraries = kd_seq_libraries(built)
    if libraries is not None:
        yield attempted("K_D of probes", lambda: _kd(found, libraries))
    if any(isinstance(each, ExponentialRound) for each in built.rounds.values()):
        yield attempted("Rates of probes", lambda: _rates(found))


# --- enrichment --------------------------------------------------------------------


def _by_probes(found: Compared) -> Picture:
    experiment = found.run.built.experiments[found.index].experiment
    figure = probe_enrichment(
        experiment,
        found.table,
        found.columns,
        kernel=found.kernel,
        counts=found.counts,
        dispersion=found.dispersion,
    )
    return Picture(
        anchor("enrichment-of-probes", found.name),
        "Enrichment of probes",
        svg(figure),
        f"Probes are ordered by predicted enrichment and pooled by {found.kernel}. A"
        " model that fits has its points on the diagonal; bars are 95% intervals of"
        " counting.",
        _told(figure, "enrichment"),
    )


def _held_out(found: Compared) -> Picture:
    """Draw the same of probes that were not fitted."""
    assert found.run.held_out is not None
    experiment = found.run.built.experiments[found.index].experiment
    table = found.run.held_out[found.index]
    counts = predicted_counts(experiment, table)
    kernel = min(found.kernel, max(_SMALLEST_POOL, len(table) // _N_POOLS))
    figure = probe_enrichment(
        experiment,
        table,
        found.columns,
        kernel=kernel,
        counts=counts,
        dispersion=found.dispersion,
    )
    return Picture(
        anchor("enrichment-of-held-out-probes", found.name),
        "Enrichment of held-out probes",
        svg(figure),
        f"The same of the {counted(len(table), 'probe')} that the fit has not seen, in"
        f" pools of {kernel}: these say how well the model foretells.",
        _told(figure, "enrichment"),
    )


def _by_kmers(found: Compared) -> Picture:
    experiment = found.run.built.experiments[found.index].experiment
    length = found.kmer_length
    figure = kmer_enrichment(
        experiment,
        found.table,
        found.columns,
        kmer_length=length,
        kernel=found.kernel,
        counts=found.counts,
        dispersion=found.dispersion,
    )
    return Picture(
        anchor("enrichment-of-kmers", found.name),
        f"Enrichment of {length}-mers",
        svg(figure),
        f"Words of {counted(length, 'letter')}, each with the reads of all probes that"
        " hold it. A word far off the diagonal is one that the model lacks.",
        _told(figure, "enrichment"),
    )


# --- absolute constants, rates, shares ---------------------------------------------


def _kd(found: Compared, libraries: tuple[int, int, int]) -> Picture:
    experiment = found.run.built.experiments[found.index].experiment
    figure = kd_consistency(
        experiment,
        *libraries,
        found.table,
        kernel=found.kernel,
        counts=found.counts,
        dispersion=found.dispersion,
    )
    return Picture(
        anchor("kd-of-probes", found.name),
        "K_D of probes",
        svg(figure),
        "K_D of whole probes from their bound and unbound reads, in the unit of the"
        f" concentrations, against that of the model; pools of {found.kernel}.",
        _told(figure, "K_D"),
    )


def _rates(found: Compared) -> Picture:
    experiment = found.run.built.experiments[found.index].experiment
    figure = keff_consistency(
        experiment,
        found.table,
        kernel=found.kernel,
        counts=found.counts,
        dispersion=found.dispersion,
    )
    return Picture(
        anchor("rates-of-probes", found.name),
        "Effective rates of probes",
        svg(figure),
        "Rates from the fraction of each pool that was modified, against those of the"
        f" model; pools of {found.kernel}.",
        _told(figure, "rate"),
    )


def _last_shared_round(found: Compared) -> Round | None:
    """Return the last round in which more than one binding takes part."""
    built = found.run.built.experiments[found.index]
    rounds = selections(built).values()
    shared = [each for each in rounds if len(present_parts(built, each)) > 1]
    return shared[-1] if shared else None


def _shares(found: Compared, selected: Round) -> Picture:
    built = found.run.built.experiments[found.index]
    names = listed(list(present_parts(built, selected)))
    figure = contribution(selected, found.table, kernel=found.kernel)
    return Picture(
        anchor("shares-of-modes", found.name),
        f"Share of each mode, round {selected.name}",
        svg(figure),
        "How the protein on a probe is bound, from the weakest probes to the strongest;"
        " above, how many probes there are of each affinity.",
        f"The shares of {names} in the bound protein, by predicted affinity of the"
        " probe. What binds sequences apart should take over to the right.",
    )


# --- words -------------------------------------------------------------------------


def _told(figure: Figure, quantity: str) -> str:
    """Return what a picture of agreement says, for those who do not see it."""
    ax = figure.axes[0]
    low, high = (significant(x, 2) for x in ax.get_xlim())
    texts = [line for each in ax.texts for line in each.get_text().splitlines()]
    said = ", ".join(texts)
    return (
        f"Observed against predicted {quantity} on axes from {low} to {high}, with the"
        f" diagonal of perfect agreement. {said}."
    )
