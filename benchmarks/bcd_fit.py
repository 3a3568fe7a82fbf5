"""Time, memory and objective of fitting the Bicoid HT-SELEX table.

    python benchmarks/bcd_fit.py
    python benchmarks/bcd_fit.py --seeds 5
    python benchmarks/bcd_fit.py path/to/table.tsv.gz --probes 20000 --seeds 1

The model is that of the published fit: non-specific binding and a 12-mer, five letters
of either flank scored, an initial round and four chained unsaturated rounds, λ₂ = 1e-6
and a pseudocount of 20. The published objective is 1.248579 per read.

First the gradient of the objective (windows, rounds, loss and penalty), beside the
yardstick: one-hot `conv1d` and `logsumexp` of the 12-mer alone. Then fits, if seeds are
asked for.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Literal

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
    peak_mebibytes,
    peak_memory,
    sampled,
)
from measure import Case, Report, peaks_of, run_once
from torch import Tensor
from torch.nn import functional

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    get_dataframe,
    layers,
    rounds,
    use_backend,
)

TABLE = DATA / "bcd" / "countTable.Nitta2015.bcd_KD_TTGCCG20NTA.tsv.gz"


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


def gradient_case(table: CountTable, pseudocount: float) -> Case:
    """Return the gradient of the objective, beside that of a plain convolution."""
    psam, model = build(table, pseudocount)
    for module in model.modules():
        if isinstance(module, rounds.Round):
            for part in module.aggregate.components():
                module.aggregate.activity_heuristic(part)
    model.unfreeze()

    made: list[Tensor] = []

    def convolution() -> Tensor:
        if not made:  # once, in the run that warms up
            one_hot = functional.one_hot(table.seqs.long(), len(DNA.alphabet))
            made.append(one_hot.float().transpose(1, 2).contiguous())
        windows = functional.conv1d(made[0], psam.get_filter(0))
        total = windows.flatten(1).logsumexp(1).sum()
        torch.autograd.backward(total)
        return total

    def gradient(name: Literal["numba", "reference"]) -> Callable[[], Tensor]:
        def work() -> Tensor:
            model.zero_grad()
            with use_backend(name):
                loss = model([table])
                total = loss.negloglik + loss.regularization
                torch.autograd.backward(total)
            return total

        return work

    variants: dict[str, Callable[[], object]] = {"conv1d of the motif": convolution}
    variants |= {"reference": gradient("reference"), "numba": gradient("numba")}
    return Case(
        f"gradient of the Bcd model, {len(table):,} probes",
        variants,
        "conv1d of the motif",
    )


def command_line() -> argparse.Namespace:
    """Return the arguments."""
    made = parser(__doc__, TABLE)
    made.set_defaults(seeds=0)
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--first-seed", type=int, default=0, help="of the starts")
    made.add_argument("--once", metavar="VARIANT", help="do this, and print the memory")
    made.add_argument("--json", metavar="FILE", help="write the rows there")
    return arguments(made)


def main() -> None:
    """Measure the gradient, then fit from each seed."""
    options = command_line()
    start = time.perf_counter()
    frame = sampled(get_dataframe(str(options.table)), options.probes)
    table = BCD.table(frame)
    seconds = time.perf_counter() - start
    del frame
    reads = float(table.counts_per_round.sum())
    # A sample of the probes gets its share of the pseudocount.
    pseudocount = 20 * reads / 400_000
    torch.manual_seed(0)
    case = gradient_case(table, pseudocount)
    if options.once:
        run_once(case, options.once)
        return
    print(machine())
    print(
        f"{len(table):,} probes, {reads:,.0f} reads, read in {seconds:.1f} s,"
        f" peak memory {peak_memory()}"
    )
    report = Report()
    same = [str(options.table)]
    if options.probes:
        same += ["--probes", str(options.probes)]
    report.add(case, options.repeats, peaks_of(case, __file__, same))
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
        report.fits.append(
            {
                "fit": f"Bcd model, {len(table):,} probes, seed {seed}",
                "backend": os.environ.get("PYPROBOUND_BACKEND", "auto"),
                "objective": loss + penalty,
                "seconds": run.seconds,
                "losses": run.evaluations,
                "peak_mib": peak_mebibytes(),
            }
        )
    report.write(options.json)


if __name__ == "__main__":
    main()
