"""The cost of counts and its gradient, from the scores of bindings that are given.

    python benchmarks/selection_kernel.py
    python benchmarks/selection_kernel.py --probes 50000 --round ExponentialRound --grow

An initial round and a chain of rounds, each with an aggregate of its own, as in the
Bicoid fit. The yardstick is PyTorch, step by step. The floor is one exponential of each
score and of each column, and one logarithm of each aggregate and of their sum, alone.
"""

import argparse
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from measure import Case, Report, parser_of, peaks_of, run_once
from torch import Tensor

from pyprobound import use_backend
from pyprobound.kernels import _numba as shared
from pyprobound.kernels._numba_log import log
from pyprobound.kernels.selection import Chain, Kind, Link, selection_cost

KINDS = {
    "BoundRound": Kind.BOUND,
    "BoundUnsaturatedRound": Kind.UNSATURATED,
    "UnboundRound": Kind.UNBOUND,
    "RhoGammaRound": Kind.RHO_GAMMA,
    "ExponentialRound": Kind.EXPONENTIAL,
}


def case_of(
    probes: int, bindings: int, rounds: int, kind: str, dtype: torch.dtype
) -> Case:
    """Return the work for random scores and counts."""
    torch.manual_seed(0)
    scores = [torch.randn(probes, dtype=dtype) for _ in range(bindings)]
    weights = torch.randn(rounds, bindings, dtype=dtype)
    settings = torch.rand(rounds + 1, 2, dtype=dtype)
    depths = torch.randn(rounds + 1, dtype=dtype)
    # columns lie one after the other, as those of a table do
    counts = torch.randint(0, 4, (rounds + 1, probes)).float().t()
    links = [Link(Kind.INITIAL)]
    links += [Link(KINDS[kind], index, index) for index in range(rounds)]
    chain = Chain(tuple(links), tuple(range(rounds + 1)))
    leaves = [*scores, weights, settings, depths]
    for leaf in leaves:
        leaf.requires_grad_()

    def cost() -> Tensor:
        return selection_cost(scores, weights, settings, depths, counts, chain)

    def kernel(name: Literal["numba", "reference"]) -> Callable[[], object]:
        def gradient() -> object:
            with use_backend(name):
                return torch.autograd.grad(cost(), leaves, materialize_grads=True)

        return gradient

    return Case(
        f"cost of counts and gradient, {probes:,} probes, {bindings} bindings,"
        f" {rounds} times {kind}, {str(dtype).removeprefix('torch.')}",
        {"reference": kernel("reference"), "numba": kernel("numba")},
        "reference",
        ("exponentials and logarithms", elementary(probes, bindings, rounds, dtype)),
    )


@shared.jit
def _elementary(values, n_exps, n_logs, start, stop):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    block = len(values)
    for _ in range(start, stop, block):
        for _ in range(n_exps):
            for i in range(block):
                values[i] = shared.exp(values[i])
        for _ in range(n_logs):
            for i in range(block):
                values[i] = -log(values[i] + values[i])


def elementary(
    probes: int, bindings: int, rounds: int, dtype: torch.dtype
) -> Callable[[], object]:
    """Return what takes as many exponentials and logarithms, and nothing else."""
    block = np.full(128, -0.5, dtype=torch.empty(0, dtype=dtype).numpy().dtype)

    def arguments(_: int, rows: slice) -> tuple[Any, ...]:
        n_exps, n_logs = bindings + rounds + 1, rounds + 1
        return block.copy(), n_exps, n_logs, rows.start, rows.stop

    return lambda: shared.run(_elementary, probes, arguments)


def main() -> None:
    """Measure the kernel, and how it grows."""
    made = parser_of(__doc__)
    made.add_argument("--probes", type=int, default=334_515)
    made.add_argument("--bindings", type=int, default=2)
    made.add_argument("--rounds", type=int, default=4, help="after the initial one")
    made.add_argument("--round", choices=KINDS, default="BoundUnsaturatedRound")
    made.add_argument("--double", action="store_true", help="float64 throughout")
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = torch.float64 if options.double else torch.float32
    sizes = options.probes, options.bindings, options.rounds
    case = case_of(*sizes, options.round, dtype)
    if options.once:
        run_once(case, options.once)
        return
    report = Report()
    names = "--probes", "--bindings", "--rounds"
    same = [str(x) for pair in zip(names, sizes, strict=True) for x in pair]
    same += ["--round", options.round, *(["--double"] if options.double else [])]
    report.add(case, options.repeats, peaks_of(case, __file__, same))
    if options.grow:
        grow(report, options)
    report.write(options.json)


def grow(report: Report, options: argparse.Namespace) -> None:
    """Measure with other numbers of probes, bindings, rounds, kinds and threads."""
    probes, bindings, rounds = options.probes, options.bindings, options.rounds
    cases = [(probes // 4, bindings, rounds), (2 * probes, bindings, rounds)]
    cases += [(probes, bindings, 1), (probes, 2 * bindings, rounds)]
    for sizes in cases:
        case = case_of(*sizes, options.round, torch.float32)
        report.add(case, options.repeats, {})
    for kind in KINDS:
        case = case_of(probes, bindings, rounds, kind, torch.float32)
        report.add(case, options.repeats, {})
    most = torch.get_num_threads()
    case = case_of(probes, bindings, rounds, options.round, torch.float32)
    for threads in range(1, most):
        torch.set_num_threads(threads)
        report.add(case, options.repeats, {})
    torch.set_num_threads(most)


if __name__ == "__main__":
    main()
