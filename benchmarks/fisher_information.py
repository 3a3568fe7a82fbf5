"""One pass for loss, gradient and Fisher information of the Bicoid model.

    python benchmarks/fisher_information.py
    python benchmarks/fisher_information.py --probes 50000 --grow

Random probes of 30 letters, an initial round and four chained unsaturated ones, with
non-specific binding and a 12-mer on both strands: what a step of a second-order fit
takes, after its scores are known (the loss alone is the other kind of pass). The
yardstick is the same in PyTorch. The floor is what its matrix products take alone: the
weighted products of all pairs of columns, in float64.
"""

import argparse
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from common import BCD
from measure import Case, Report, parser_of, peaks_of, run_once
from torch import Tensor

from pyprobound import (
    Experiment,
    Mode,
    MultiExperimentLoss,
    alphabets,
    layers,
    rounds,
    use_backend,
)
from pyprobound.fisher import CountObjective
from pyprobound.table import CountBatch

DNA = alphabets.DNA()
PIECE = 4096


def model_of(
    probes: int, size: int, n_rounds: int
) -> tuple[MultiExperimentLoss, CountBatch]:
    """Return a model with everything present and trained, and a table for it."""
    torch.manual_seed(0)
    letters = torch.randint(4, (probes, 20), dtype=torch.uint8)
    counts = torch.randint(0, 3, (n_rounds + 1, probes)).float().t()
    table = BCD.table(_frame(letters[:2], counts[:2]))
    flanks = table.seqs[:1].expand(probes, -1).clone()
    flanks[:, BCD.scored : -BCD.scored] = letters
    bindings = [
        Mode.from_nonspecific(layers.NonSpecific(DNA, name="ns"), table),
        Mode.from_psam(layers.PSAM(size, DNA, name="motif"), table),
    ]
    chain = rounds.repeat_round(bindings, n_rounds, rounds.BoundUnsaturatedRound)
    total = counts.sum(0, dtype=torch.float64)
    experiment = Experiment(chain, counts_per_round=total)
    model = MultiExperimentLoss([experiment], pseudocount=20)
    for module in model.modules():
        if isinstance(module, rounds.Round):
            for part in module.aggregate.components():
                module.aggregate.activity_heuristic(part)
    model.unfreeze()
    return model, CountBatch(flanks, counts)


def _frame(letters: Tensor, counts: Tensor) -> pd.DataFrame:
    texts = ["".join(DNA.alphabet[i] for i in row) for row in letters.tolist()]
    return pd.DataFrame(counts.numpy().astype(np.int64), index=texts)


def case_of(probes: int, size: int, n_rounds: int, *, loss: bool = False) -> Case:
    """Return the pass, or that for the loss alone, at a point not seen before."""
    model, table = model_of(probes, size, n_rounds)

    def a_pass(name: Literal["numba", "reference"]) -> Callable[[], object]:
        with use_backend(name):
            objective = CountObjective(model, [table])
        start = objective.free.get()

        def work() -> object:
            with use_backend(name):
                if not loss:
                    return objective.quadratic()
                objective.free.set(start + 0.01 * torch.randn(len(start)).double())
                return objective.loss()

        return work

    n_free = sum(p.numel() for p in model.parameters() if p.requires_grad)
    what = "loss" if loss else "information"
    floor = None
    if not loss:
        floor = "matrix products", products(probes, 4 * size, n_free - 4 * size)
    return Case(
        f"{what}, {probes:,} probes, a {size}-mer, {n_rounds} rounds",
        {"reference": a_pass("reference"), "numba": a_pass("numba")},
        "reference",
        floor,
    )


def products(probes: int, columns: int, others: int) -> Callable[[], object]:
    """Return the matrix products of a pass, on numbers that are there already."""
    jacobian = torch.rand(PIECE, columns, dtype=torch.float64)
    weighted = torch.rand(columns + others, PIECE, dtype=torch.float64)

    def work() -> None:
        for _ in range(0, probes, PIECE):
            torch.mm(weighted, jacobian)

    return work


def main() -> None:
    """Measure the passes, and how they grow."""
    made = parser_of(__doc__)
    made.add_argument("--probes", type=int, default=334_515)
    made.add_argument("--size", type=int, default=12, help="letters of the motif")
    made.add_argument("--rounds", type=int, default=4, help="after the initial one")
    made.add_argument("--loss", action="store_true", help="the loss alone")
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = options.probes, options.size, options.rounds
    if options.once:
        run_once(case_of(*sizes, loss=options.loss), options.once)
        return
    report = Report()
    names = "--probes", "--size", "--rounds"
    same = [str(x) for pair in zip(names, sizes, strict=True) for x in pair]
    for loss in [True] if options.loss else [False, True]:
        case = case_of(*sizes, loss=loss)
        flags = ["--loss"] if loss else []
        report.add(case, options.repeats, peaks_of(case, __file__, [*same, *flags]))
    if options.grow:
        grow(report, options)
    report.write(options.json)


def grow(report: Report, options: argparse.Namespace) -> None:
    """Measure with other numbers of probes, letters, rounds and threads."""
    probes, size, n_rounds = options.probes, options.size, options.rounds
    cases = [(probes // 4, size, n_rounds), (2 * probes, size, n_rounds)]
    cases += [(probes, 2 * size - 4, n_rounds), (probes, size, 1)]
    for sizes in cases:
        report.add(case_of(*sizes), options.repeats, {})
    most = torch.get_num_threads()
    case = case_of(probes, size, n_rounds)
    for threads in range(1, most):
        torch.set_num_threads(threads)
        report.add(case, options.repeats, {})
    torch.set_num_threads(most)


if __name__ == "__main__":
    main()
