"""How often 95% intervals hold the truth, and whether a bootstrap agrees with them.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --only dimer --simulations 20 --replicates 20
    python benchmarks/intervals.py --keep

Tables are drawn from known models and fitted; the intervals are held against the truth:

    psam     −ΔΔG/RT of the letters of a motif, each position's mean taken off, and its
             activity against non-specific binding, in a round that half saturates
    dimer    log ω of every spacing and orientation, its mean taken off
    kd       log K_D of single probes, log [P]_F and letters, from input, bound and
             unbound reads

The reads of a round are drawn from a library of equal parts. A fit in float64 begins at
the truth, to find the optimum that belongs to it; λ is 0. The bootstrap is parametric:
tables are drawn from some of the fits, and fitted again; the standard deviations over
them are compared with the standard errors of those fits.

The numbers go to build/intervals.json; with --keep to results/intervals.json, here, and
those of some kinds (--only kd) to results/intervals-kd.json.

A bias has an error of its own, 0.07 standard errors for 200 simulations of one number:
that of log [P]_F, −0.18 in the first 200, is −0.004 ± 0.025 in 1,500.
"""

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from common import DNA, machine
from numpy.typing import NDArray
from torch import Tensor

import pyprobound
from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    layers,
    rounds,
)
from pyprobound.fisher import CountObjective, TrustRegion
from pyprobound.uncertainty import Uncertainty

KEPT = Path(__file__).parent / "results"
N_PROBES = 4_000
N_SITES = 12
"""Probes whose K_D is asked for."""

PROTEIN, LIBRARY = 20.0, 10.0
"""Concentrations of a Kd-seq, in one unit."""

INPUT, BOUND = 0, 1


class System(NamedTuple):
    """A model with its table, and the numbers that intervals are asked for."""

    model: MultiExperimentLoss
    table: CountTable
    wanted: Mapping[str, Callable[[], Tensor]]


@dataclass(frozen=True)
class Kind:
    """A kind of experiment.

    Attributes:
        length: Letters of a probe.
        reads: Of each round.
        build: Makes the model of a table.
        set_truth: Gives it the values that tables are drawn from.
    """

    length: int
    reads: Sequence[int]
    build: Callable[[CountTable], System]
    set_truth: Callable[[System], None]


# --- models ------------------------------------------------------------------------


def energies(consensus: str, seed: int) -> Tensor:
    """Return energies, (letters, positions), mean 0 at every position.

    A letter that is not the consensus costs between 0.5 and 2.5 kT.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (4, len(consensus))
    drawn = -0.5 - 2 * torch.rand(shape, generator=generator, dtype=torch.float64)
    for position, letter in enumerate(consensus):
        drawn[DNA.get_index[letter], position] = 0
    return drawn - drawn.mean(0)


def set_motif(psam: layers.PSAM, consensus: str, seed: int) -> None:
    """Give a PSAM the energies of a consensus."""
    drawn = energies(consensus, seed)
    with torch.no_grad():
        for position in range(drawn.shape[1]):
            for letter in range(len(drawn)):
                psam.betas[f"{position + 1}-{letter}"].fill_(drawn[letter, position])


def set_activities(system: System, log_activities: Sequence[float]) -> None:
    """Give the bindings of the first selected round their activities."""
    with torch.no_grad():
        for part, value in zip(parts_of(system.model), log_activities, strict=True):
            part.log_activity.fill_(value)


def parts_of(model: MultiExperimentLoss) -> list[pyprobound.Contribution]:
    """Return the contributions to the first selected round."""
    return list(bound_round(model).aggregate.components())


def bound_round(model: MultiExperimentLoss) -> rounds.Round:
    """Return the first selected round."""
    experiment = next(iter(model.components()))
    return next(
        each for each in experiment.components() if isinstance(each, rounds.Round)
    )


def system_of(
    chain: Sequence[rounds.BaseRound],
    table: CountTable,
    wanted: Callable[[MultiExperimentLoss], Mapping[str, Callable[[], Tensor]]],
) -> System:
    """Return the model of a chain of rounds, without a penalty, in float64."""
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    model = MultiExperimentLoss([experiment], lambda_l2=0).double()
    return System(model, table, wanted(model))


def centred_letters(psam: layers.PSAM) -> Tensor:
    """Return the letters of the forward strand less their mean at each position."""
    letters = psam.get_filter(0)[0]
    return letters - letters.mean(0)


def motif_and_background(table: CountTable) -> tuple[layers.PSAM, list[Mode]]:
    """Return a 6-mer, and the bindings: non-specific and that."""
    psam = layers.PSAM(6, DNA, name="a")
    nonspecific = layers.NonSpecific(DNA, name="ns")
    modes = [Mode.from_nonspecific(nonspecific, table), Mode.from_psam(psam, table)]
    return psam, modes


def psam_system(table: CountTable) -> System:
    """Return a motif in a saturated round."""
    psam, modes = motif_and_background(table)
    chain = rounds.repeat_round(modes, 1, rounds.BoundRound)

    def wanted(model: MultiExperimentLoss) -> Mapping[str, Callable[[], Tensor]]:
        def activity() -> Tensor:
            nonspecific, specific = parts_of(model)
            means = psam.get_filter(0)[0].mean(0).sum()
            return specific.log_activity + means - nonspecific.log_activity

        return {"letters": lambda: centred_letters(psam), "activity": activity}

    return system_of(chain, table, wanted)


def psam_truth(system: System) -> None:
    """Set energies, and activities that half saturate the best probes."""
    set_motif(motifs_of(system.model)[0], "TGACAT", seed=1)
    set_activities(system, [-5.0, -6.0])


def motifs_of(model: MultiExperimentLoss) -> list[layers.PSAM]:
    """Return the motifs, in order."""
    return [each for each in model.modules() if isinstance(each, layers.PSAM)]


def dimer_system(table: CountTable) -> System:
    """Return two motifs with their dimer, and non-specific binding, unsaturated."""
    psams = [layers.PSAM(4, DNA, name="a"), layers.PSAM(5, DNA, name="b")]
    first, second = (Mode.from_psam(psam, table) for psam in psams)
    spacing = Spacing(first.key(), second.key(), max_overlap=0, max_spacing=2)
    pair = Cooperativity(spacing, first, second)
    nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
    bindings = [nonspecific, first, second, pair]
    chain = rounds.repeat_round(bindings, 1, rounds.BoundUnsaturatedRound)

    def wanted(_: MultiExperimentLoss) -> Mapping[str, Callable[[], Tensor]]:
        def profile() -> Tensor:
            omega = pair.get_log_spacing()[:, 0]  # (same, opposite; offset)
            values = omega[omega.detach().isfinite()]
            return values - values.mean()

        return {"log omega": profile}

    return system_of(chain, table, wanted)


def dimer_truth(system: System) -> None:
    """Set energies, and spacings that differ by up to 3 natural logarithms."""
    for psam, (consensus, seed) in zip(
        motifs_of(system.model), (("TGAC", 2), ("GGCAA", 3)), strict=True
    ):
        set_motif(psam, consensus, seed)
    spacing = next(e for e in system.model.modules() if isinstance(e, Spacing))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        drawn = 3 * torch.rand(spacing.log_spacing.shape, generator=generator)
        spacing.log_spacing.copy_(drawn)
    set_activities(system, [0.0, 0.0, 0.0, 0.0])


def kd_system(table: CountTable) -> System:
    """Return the input, bound and unbound libraries of a Kd-seq."""
    psam, modes = motif_and_background(table)
    start = rounds.InitialRound()
    bound = rounds.BoundRound.from_binding(
        modes, start, target_concentration=PROTEIN, library_concentration=LIBRARY
    )
    sites = table.seqs[:N_SITES]

    def wanted(model: MultiExperimentLoss) -> Mapping[str, Callable[[], Tensor]]:
        def free() -> Tensor:
            return log_free_protein(model, table)

        def constants() -> Tensor:
            return free() - bound.log_aggregate(sites)

        return {
            "log [P]_F": free,
            "log K_D": constants,
            "letters": lambda: centred_letters(psam),
        }

    chain = [start, bound, rounds.UnboundRound.from_round(bound)]
    return system_of(chain, table, wanted)


def log_free_protein(model: MultiExperimentLoss, table: CountTable) -> Tensor:
    """Return log [P]_F, with what the model expects for the reads of the rounds.

    At the optimum these are the observed ones. They scatter together with the depths,
    which are held against them: taken as constants they would double that scatter.
    """
    experiment = next(iter(model.components()))
    expected = table.target.sum(1).double() @ experiment(table.seqs).exp()
    depths = [each.log_depth for each in experiment.components()]
    log_bound = (
        (expected[BOUND] / expected[INPUT]).log() + depths[INPUT] - depths[BOUND]
    )
    return (PROTEIN - LIBRARY * log_bound.exp()).log()


def kd_truth(system: System) -> None:
    """Set energies, and activities by which about half of the library is bound."""
    set_motif(motifs_of(system.model)[0], "TGACAT", seed=5)
    set_activities(system, [-9.5, -7.0])


KINDS = {
    "psam": Kind(12, [200_000, 200_000], psam_system, psam_truth),
    "dimer": Kind(13, [500_000, 500_000], dimer_system, dimer_truth),
    "kd": Kind(12, [200_000] * 3, kd_system, kd_truth),
}

# --- tables ------------------------------------------------------------------------


def library(length: int) -> list[str]:
    """Return different random probes."""
    rng = np.random.default_rng(0)
    texts: dict[str, None] = {}
    while len(texts) < N_PROBES:
        texts["".join(rng.choice(list("ACGT"), length))] = None
    return list(texts)


def table_of(counts: NDArray[np.int64], texts: Sequence[str]) -> CountTable:
    """Return the table of some counts, (probes, rounds)."""
    frame = pd.DataFrame(counts, index=list(texts))
    return CountTable(frame[frame.any(axis=1)], DNA)


def drawn_from_library(
    system: System, reads: Sequence[int], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the reads of each round, of probes that were equally frequent at first."""
    experiment = next(iter(system.model.components()))
    with torch.no_grad():
        shares = [
            each.log_cumulative_enrichment(system.table.seqs).softmax(0).numpy()
            for each in experiment.components()
        ]
    columns = [rng.multinomial(n, p) for n, p in zip(reads, shares, strict=True)]
    return np.stack(columns, 1)


def drawn_again(system: System, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw the rounds of each read of a table, as the model says."""
    experiment = next(iter(system.model.components()))
    with torch.no_grad():
        p = experiment(system.table.seqs).exp().numpy()
    totals = system.table.target.sum(1).long().numpy()
    return rng.multinomial(totals, p / p.sum(1, keepdims=True))


def fitted(
    kind: Kind, counts: NDArray[np.int64], texts: Sequence[str], start: System
) -> System:
    """Return the model fitted to counts, from the values of another one on."""
    system = kind.build(table_of(counts, texts))
    system.model.load_state_dict(start.model.state_dict())
    system.model.unfreeze()
    region = TrustRegion(
        CountObjective(system.model, [system.table]), tolerance=1e-10, rounding=1e-12
    )
    for _ in region.iterate():
        pass
    if not region.reason.startswith("converged"):
        message = f"a fit of {kind} ended {region.reason}"
        raise RuntimeError(message)
    return system


# --- what is asked -----------------------------------------------------------------


class Answer(NamedTuple):
    """Values and standard errors of one name, flat, of one simulation."""

    value: Tensor
    error: Tensor


def answers(system: System) -> tuple[dict[str, Answer], float]:
    """Return every value that is wanted with its error, and the dispersion."""
    found = Uncertainty(system.model, [system.table])
    estimates = {name: found.of(wanted) for name, wanted in system.wanted.items()}
    return {
        name: Answer(each.value.flatten(), each.error.flatten())
        for name, each in estimates.items()
    }, found.dispersion[0]


def values_of(system: System) -> dict[str, Tensor]:
    """Return every value that is wanted, flat."""
    with torch.no_grad():
        return {name: f().double().flatten() for name, f in system.wanted.items()}


@dataclass(frozen=True)
class Row:
    """What a study found of one quantity.

    Attributes:
        kind: Of experiment.
        quantity: Its name.
        entries: How many of it there are in each simulation.
        simulations: How many there were.
        unidentified: The part that had no error.
        covered: The part of the 95% intervals that held the truth.
        spread: The mean of ((found − true) / error)², 1 if errors are right.
        bias: The mean of (found − true) / error.
        bias_error: The standard error of that mean, over simulations.
        error: The median standard error.
        bootstrap: The median ratio of bootstrap standard deviation to error.
        ratios: The 5th and 95th percentile of that ratio.
    """

    kind: str
    quantity: str
    entries: int
    simulations: int
    unidentified: float
    covered: float
    spread: float
    bias: float
    bias_error: float
    error: float
    bootstrap: float
    ratios: tuple[float, float]


def study(
    name: str, n_simulations: int, n_bootstraps: int, n_replicates: int
) -> tuple[list[Row], dict[str, float]]:
    """Simulate a kind of experiment.

    Args:
        name: Of the kind.
        n_simulations: Tables that are drawn and fitted.
        n_bootstraps: Of how many of them a bootstrap is made.
        n_replicates: Tables of each bootstrap.

    Returns:
        A row for each quantity; the mean dispersion and the seconds of processor time.
    """
    kind, clock = KINDS[name], time.process_time()
    texts = library(kind.length)
    true = kind.build(table_of(np.ones((len(texts), len(kind.reads)), int), texts))
    kind.set_truth(true)
    expected = truth_of(kind, true)
    found: dict[str, list[Answer]] = {key: [] for key in expected}
    ratios: dict[str, list[Tensor]] = {key: [] for key in expected}
    dispersions = []
    for number in range(n_simulations):
        rng = np.random.default_rng([len(name), number])
        counts = drawn_from_library(true, kind.reads, rng)
        system = fitted(kind, counts, texts, true)
        own, dispersion = answers(system)
        dispersions.append(dispersion)
        for key, answer in own.items():
            found[key].append(answer)
        if number < n_bootstraps:
            spreads = bootstrapped(kind, system, counts, texts, n_replicates, rng)
            for key, spread in spreads.items():
                ratios[key].append(spread / own[key].error)
    rows = [
        row_of(name, key, expected[key], found[key], ratios[key]) for key in expected
    ]
    used = time.process_time() - clock
    return rows, {"dispersion": float(np.mean(dispersions)), "seconds": round(used, 1)}


def truth_of(kind: Kind, true: System) -> dict[str, Tensor]:
    """Return the true values.

    The depths of the truth are those that make the expected reads the given ones, which
    [P]_F is computed from.
    """
    experiment = next(iter(true.model.components()))
    with torch.no_grad():
        log_totals = [
            each.log_cumulative_enrichment(true.table.seqs).logsumexp(0)
            for each in experiment.components()
        ]
        depths = [
            math.log(n) - float(log_total)
            for n, log_total in zip(kind.reads, log_totals, strict=True)
        ]
        for each, depth in zip(experiment.components(), depths, strict=True):
            each.log_depth.fill_(depth - depths[0])
    values = values_of(true)
    if "log [P]_F" in values:
        with torch.no_grad():
            bound = bound_round(true.model).log_enrichment(true.table.seqs).exp().mean()
        free = (PROTEIN - LIBRARY * bound).log().double()
        shift = free - values["log [P]_F"]
        values |= {key: values[key] + shift for key in ("log [P]_F", "log K_D")}
    return values


def bootstrapped(
    kind: Kind,
    system: System,
    counts: NDArray[np.int64],
    texts: Sequence[str],
    n_replicates: int,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return the standard deviation of every value over tables drawn from a fit."""
    kept = [text for text, row in zip(texts, counts, strict=True) if row.any()]
    replicates = [
        values_of(fitted(kind, drawn_again(system, rng), kept, system))
        for _ in range(n_replicates)
    ]
    return {
        key: torch.stack([each[key] for each in replicates]).std(0)
        for key in system.wanted
    }


def row_of(
    kind: str,
    key: str,
    expected: Tensor,
    found: Sequence[Answer],
    ratios: Sequence[Tensor],
) -> Row:
    """Return what the simulations say of one quantity."""
    errors = torch.stack([each.error for each in found])
    known = ~errors.isnan()
    all_deviations = (torch.stack([e.value for e in found]) - expected) / errors
    deviations = all_deviations[known]
    means = all_deviations.nanmean(1)  # entries of one simulation go together
    means = means[~means.isnan()]
    ratio = torch.cat(ratios).double() if ratios else torch.full((1,), math.nan)
    ratio = ratio[~ratio.isnan()]
    ends = [float(ratio.quantile(q)) if len(ratio) else math.nan for q in (0.05, 0.95)]
    return Row(
        kind=kind,
        quantity=key,
        entries=len(expected),
        simulations=len(found),
        unidentified=1 - float(known.double().mean()),
        covered=float((deviations.abs() <= 1.959963984540054).double().mean()),
        spread=float(deviations.square().mean()),
        bias=float(deviations.mean()),
        bias_error=float(means.std() / math.sqrt(len(means))),
        error=float(errors[known].median()),
        bootstrap=float(ratio.median()) if len(ratio) else math.nan,
        ratios=(ends[0], ends[1]),
    )


def pooled(rows: Sequence[Row]) -> float:
    """Return the part of all intervals that held the truth."""
    sizes = [row.entries * row.simulations * (1 - row.unidentified) for row in rows]
    held = [row.covered * size for row, size in zip(rows, sizes, strict=True)]
    return sum(held) / sum(sizes)


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    print(
        f"{'kind':<7}{'quantity':<12}{'intervals':>10}{'covered':>9}{'spread':>8}"
        f"{'bias':>16}{'error':>8}{'bootstrap / error':>26}"
    )
    for row in rows:
        low, high = row.ratios
        print(
            f"{row.kind:<7}{row.quantity:<12}{row.entries * row.simulations:>10}"
            f"{row.covered:>9.3f}{row.spread:>8.2f}"
            f"{row.bias:>8.3f} ± {row.bias_error:.3f}{row.error:>8.4f}"
            f"{row.bootstrap:>10.3f} ({low:.3f} to {high:.3f})"
        )
    print(f"all intervals: {pooled(rows):.4f} hold the truth", flush=True)


def plain(row: Mapping[str, object]) -> dict[str, object]:
    """Return a row without what was not asked for, which JSON has no number for."""
    return {
        key: value
        for key, value in row.items()
        if not np.isnan(value if isinstance(value, float | tuple) else 0.0).any()
    }


def main() -> None:
    """Run the study and write its numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--simulations", type=int, default=200, help="of each kind")
    parser.add_argument("--bootstraps", type=int, default=4, help="fits to bootstrap")
    parser.add_argument("--replicates", type=int, default=100, help="of a bootstrap")
    parser.add_argument("--keep", action="store_true", help="as this version's numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (options.simulations, options.bootstraps, options.replicates)
    rows: list[Row] = []
    notes: dict[str, dict[str, float]] = {}
    for name in options.only:
        found, notes[name] = study(name, *sizes)
        rows += found
        show(found)
    if len(options.only) > 1:
        print()
        show(rows)
    content = {
        "version": pyprobound.__version__,
        "machine": machine(),
        "command": f"python benchmarks/{Path(sys.argv[0]).name} "
        + shlex.join(sys.argv[1:]),
        "simulations": options.simulations,
        "bootstraps": options.bootstraps,
        "replicates": options.replicates,
        "tables": {
            name: {"probes": N_PROBES, "reads": list(KINDS[name].reads), **notes[name]}
            for name in options.only
        },
        "covered": pooled(rows),
        "results": [plain(asdict(row)) for row in rows],
    }
    some = "" if options.only == list(KINDS) else "-" + "-".join(options.only)
    name = f"intervals{some}.json" if options.keep else "intervals.json"
    path = (KEPT if options.keep else Path("build")) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
