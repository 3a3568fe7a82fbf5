"""Pictures of a large table: how long each takes, and how much memory.

    python benchmarks/pictures.py
    python benchmarks/pictures.py --probes 1000000

Random probes of 40 letters, a motif of 8 letters and non-specific binding; reads in two
rounds as the model says. Counts are predicted once, and each picture is drawn from them
and made an SVG. Times are of the processor, on one thread; memory is the most that the
process has held so far.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from common import DNA, machine, peak_memory

from pyprobound import CountBatch, CountTable, Experiment, Mode, layers, rounds
from pyprobound.plotting import (
    Counts,
    contribution,
    kmer_enrichment,
    predicted_counts,
    probe_enrichment,
    svg,
)

PROBES = 10_000_000
LENGTH = 40
READS = 1.5  # of a probe
ROWS_AT_ONCE = 2**18


def model() -> Experiment:
    """Return a motif and non-specific binding, in one round of selection."""
    torch.manual_seed(0)
    table = CountTable(pd.DataFrame([[1, 1]], index=["A" * LENGTH]), DNA)
    motif = layers.PSAM(8, DNA, seed=["TAATCCGC"], seed_scale=5, name="tf")
    modes = [
        Mode.from_nonspecific(layers.NonSpecific(DNA, name="NS"), table),
        Mode.from_psam(motif, table),
    ]
    experiment = Experiment(rounds.repeat_round(modes, 1, rounds.BoundUnsaturatedRound))
    for each in experiment.rounds[1].aggregate.components():
        each.set_contribution(0)
    return experiment


def drawn(experiment: Experiment, n_probes: int) -> CountBatch:
    """Return random probes, their reads shared out as the model says."""
    rng = np.random.default_rng(0)
    seqs = torch.empty(n_probes, LENGTH, dtype=torch.uint8)
    counts = torch.empty(n_probes, 2)
    for start in range(0, n_probes, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, n_probes))
        n_rows = rows.stop - rows.start
        letters = rng.integers(0, 4, (n_rows, LENGTH), np.uint8)
        seqs[rows] = torch.from_numpy(letters)
        with torch.no_grad():
            shares = experiment(seqs[rows]).double().exp().numpy()
        total = 1 + rng.poisson(READS, n_rows)
        after = rng.binomial(total, shares[:, 1])
        counts[rows] = torch.from_numpy(np.stack([total - after, after], axis=1))
    return CountBatch(seqs, counts)


def pictures(
    experiment: Experiment, batch: CountBatch, counts: Counts
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Iterate over names of pictures, and what draws them."""
    for kernel in (500, 1):
        name = f"pools of {kernel}" if kernel > 1 else "single probes"
        yield (
            name,
            lambda kernel=kernel: svg(
                probe_enrichment(experiment, batch, kernel=kernel, counts=counts)
            ),
        )
    for length in (3, 6, 8, 10):
        yield (
            f"{length}-mers",
            lambda length=length: svg(
                kmer_enrichment(experiment, batch, kmer_length=length, counts=counts)
            ),
        )
    yield "shares of bindings", lambda: svg(contribution(experiment.rounds[1], batch))


def main() -> None:
    """Draw a table, and all pictures of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=PROBES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiment = model()
    batch = drawn(experiment, options.probes)
    print(
        f"{machine()}\n{options.probes:,} probes of {LENGTH} letters: {peak_memory()}"
    )
    clock = time.process_time()
    counts = predicted_counts(experiment, batch)
    seconds = time.process_time() - clock
    print(f"{'counts predicted':20} {seconds:6.1f} s {peak_memory():>10}")
    for name, draw in pictures(experiment, batch, counts):
        clock = time.process_time()
        size = len(str(draw()))
        seconds = time.process_time() - clock
        print(f"{name:20} {seconds:6.1f} s {peak_memory():>10} {size / 1e3:6.0f} kB")


if __name__ == "__main__":
    main()
