"""What a dimer adds: held-out losses of the Exd-Hox SELEX-seq, with and without it.

    python benchmarks/exd_hox.py
    python benchmarks/exd_hox.py path/to/table.tsv.gz --probes 6000 --seeds 2

Non-specific binding and two 6-mers, three letters of either flank scored, one round of
unsaturated selection; then the same with the dimer of the two 6-mers, which may overlap
by two letters and be six apart. A tenth of the probes is held out and decides when a
fit ends. The site of the heterodimer reads TGATTNAT.
"""

import torch
from common import (
    DATA,
    DNA,
    EXD_HOX,
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
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    get_dataframe,
    layers,
    rounds,
    sample_dataframe,
)

TABLE = DATA / "exd_hox" / "countTable.ExdHox.R0_R2.GC.tsv.gz"
N_PEAKS = 4


def build(
    table: CountTable, *, dimer: bool
) -> tuple[list[layers.PSAM], Cooperativity | None, MultiExperimentLoss]:
    """Return the 6-mers, their dimer, and the model that holds them."""
    psams = [layers.PSAM(6, DNA, name=name) for name in "ab"]
    first, second = (Mode.from_psam(psam, table) for psam in psams)
    nonspecific = Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table)
    bindings: list[Mode | Cooperativity] = [nonspecific, first, second]
    pair = None
    if dimer:
        spacing = Spacing(first.key(), second.key(), max_overlap=2, max_spacing=6)
        pair = Cooperativity(spacing, first, second)
        bindings.append(pair)
    chain = rounds.repeat_round(bindings, 1, rounds.BoundUnsaturatedRound)
    experiment = Experiment(chain, counts_per_round=table.counts_per_round)
    return psams, pair, MultiExperimentLoss([experiment], pseudocount=20)


def peaks(pair: Cooperativity) -> str:
    """Return the offsets and orientations of largest ω."""
    log_omega = pair.get_log_spacing().detach()[:, 0]  # (same, opposite; offset)
    middle = pair.mode_a.n_windows - 1
    best = log_omega.flatten().topk(N_PEAKS)
    found = []
    for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        row, column = divmod(index, log_omega.shape[1])
        strand = ("same", "opposite")[row]
        found.append(f"{strand} {column - middle:+d}: {value:.1f}")
    return ", ".join(found)


def main() -> None:
    """Fit with and without the dimer from each seed."""
    options = arguments(parser(__doc__, TABLE))
    print(machine())
    frame = sampled(get_dataframe(str(options.table)), options.probes)
    held_out, kept = sample_dataframe(frame, 0.1, random_state=0)
    train, val = EXD_HOX.table(kept), EXD_HOX.table(held_out)
    print(f"{len(train):,} probes to train on, {len(val):,} held out")
    for seed in range(options.seeds):
        for dimer in (False, True):
            torch.manual_seed(seed)
            psams, pair, model = build(train, dimer=dimer)
            run = fit(model, train, val, epochs=options.epochs)
            lost, learnt = loss_of(model, val)[0], loss_of(model, train)[0]
            print(
                f"seed {seed}, {'with' if dimer else 'without'} the dimer: held out"
                f" {lost:.6f}, trained on {learnt:.6f} per read,"
                f" {run.seconds:.1f} s, {run.evaluations} losses,"
                f" all finite: {run.is_finite}, peak memory {peak_memory()}",
                flush=True,
            )
            print("   ", "; ".join(map(consensus, psams)))
            if pair is not None:
                print("    log ω by offset (b − a):", peaks(pair))


if __name__ == "__main__":
    main()
