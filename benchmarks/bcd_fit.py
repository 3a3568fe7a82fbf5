"""Time, memory and objective of fitting the Bicoid HT-SELEX table.

    python benchmarks/bcd_fit.py --seeds 5
    python benchmarks/bcd_fit.py --gradient-only
    python benchmarks/bcd_fit.py path/to/table.tsv.gz --probes 20000 --epochs 1

The model is that of the published fit: non-specific binding and a 12-mer, five letters
of either flank scored, an initial round and four chained unsaturated rounds, λ₂ = 1e-6
and a pseudocount of 20. The published objective is 1.248579 per read.
"""

import argparse
import time

import torch
from common import (
    BCD,
    DATA,
    DNA,
    arguments,
    consensus,
    fit,
    loss_of,
    machine,
    parser,
    peak_memory,
    sampled,
)

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    get_dataframe,
    layers,
    rounds,
)

TABLE = DATA / "bcd" / "countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz"
REPEATS = 5


def build(
    table: CountTable, pseudocount: float
) -> tuple[layers.PSAM, MultiExperimentLoss]:
    """Return the 12-mer and the model that holds it."""
    psam = layers.PSAM(12, DNA, name="bcd")
    bindings = [
        Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table),
        Mode.from_psam(psam, table),
    ]
    n_columns = len(table.counts_per_round)
    chain = rounds.repeat_round(bindings, n_columns - 1, rounds.BoundUnsaturatedRound)
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    return psam, MultiExperimentLoss([experiment], pseudocount=pseudocount)


def time_gradient(model: MultiExperimentLoss, table: CountTable) -> None:
    """Print the time of the loss of the whole table, and of its gradient."""
    for module in model.modules():
        if isinstance(module, rounds.Round):
            for part in module.aggregate.components():
                module.aggregate.activity_heuristic(part)
    model.unfreeze()
    forward, backward = [], []
    for _ in range(REPEATS):
        model.zero_grad()
        start = time.perf_counter()
        loss = model([table])
        middle = time.perf_counter()
        torch.autograd.backward(loss.negloglik + loss.regularization)
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    there, back = min(forward), min(backward)
    print(
        f"one gradient: {there + back:.3f} s (loss {there:.3f} s, backward"
        f" {back:.3f} s; best of {REPEATS}), peak memory {peak_memory()}"
    )


def command_line() -> argparse.Namespace:
    """Return the arguments."""
    made = parser(__doc__, TABLE)
    made.add_argument("--first-seed", type=int, default=0, help="of the starts")
    made.add_argument(
        "--gradient-only", action="store_true", help="time one gradient, without a fit"
    )
    return arguments(made)


def main() -> None:
    """Time the gradient, then fit from each seed."""
    options = command_line()
    print(machine())
    start = time.perf_counter()
    frame = sampled(get_dataframe(str(options.table)), options.probes)
    table = BCD.table(frame)
    seconds = time.perf_counter() - start
    reads = float(table.counts_per_round.sum())
    print(
        f"{len(table):,} probes, {reads:,.0f} reads, read in {seconds:.1f} s,"
        f" peak memory {peak_memory()}"
    )
    # A sample of the probes gets its share of the pseudocount.
    pseudocount = 20 * reads / 400_000
    torch.manual_seed(0)
    time_gradient(build(table, pseudocount)[1], table)
    if options.gradient_only:
        return
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        torch.manual_seed(seed)
        psam, model = build(table, pseudocount)
        run = fit(model, table, epochs=options.epochs)
        loss, penalty = loss_of(model, table)
        print(
            f"seed {seed}: objective {loss + penalty:.6f} (loss {loss:.6f}, penalty"
            f" {penalty:.6f}), {run.seconds:.1f} s, {run.evaluations:.0f} losses,"
            f" {consensus(psam)}, peak memory {peak_memory()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
