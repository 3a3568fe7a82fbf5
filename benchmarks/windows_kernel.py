"""Sums over windows and their gradient: one motif, both strands, no dimers.

    python benchmarks/windows_kernel.py
    python benchmarks/windows_kernel.py --probes 1000000 --length 40 --size 18 --grow

The yardstick is what one would write in a minute: one-hot letters, `conv1d` with the
filters of both strands, `logsumexp`. The floor is looking up one table entry for each
window, strand and block of the filter, and once more to add its gradient, and nothing
else: the words are given.
"""

import argparse
from collections.abc import Callable
from typing import Literal

import numba
import numpy as np
import torch
from measure import Case, Report, parser_of, peaks_of, run_once
from torch import Tensor
from torch.nn import functional

from pyprobound import use_backend
from pyprobound.kernels import log_sum_windows
from pyprobound.kernels._blocks import Blocks

N_LETTERS, PAD = 4, 4


def case_of(probes: int, length: int, size: int, pairs: int = 0) -> Case:
    """Return the work for random probes and a random filter."""
    torch.manual_seed(0)
    seqs = torch.randint(0, N_LETTERS, (probes, length), dtype=torch.uint8)
    shapes = [(1, N_LETTERS, size)]
    shapes += [(1, N_LETTERS, N_LETTERS, size - d) for d in range(1, pairs + 1)]
    weights = [torch.randn(shape, requires_grad=True) for shape in shapes]
    embedding = torch.eye(PAD + 1, N_LETTERS)
    direction = torch.randn(probes)

    def both_strands() -> list[Tensor]:
        # reverse complement: letters and positions backwards, pairs also end for end
        single = torch.cat([weights[0], weights[0].flip(1, 2)])
        double = [torch.cat([w, w.flip(1, 2, 3).transpose(1, 2)]) for w in weights[1:]]
        return [single, *double]

    def gradient(sums: Callable[[list[Tensor]], Tensor]) -> list[Tensor]:
        total = torch.dot(sums(both_strands()), direction)
        return list(torch.autograd.grad(total, weights))

    made: list[Tensor] = []

    def plain(filters: list[Tensor]) -> Tensor:
        if not made:  # once, in the run that warms up
            one_hot = functional.one_hot(seqs.long(), N_LETTERS).float()
            made.append(one_hot.transpose(1, 2).contiguous())
        return functional.conv1d(made[0], filters[0]).flatten(1).logsumexp(1)

    def kernel(name: Literal["numba", "reference"]) -> Callable[[], list[Tensor]]:
        def sums(filters: list[Tensor]) -> Tensor:
            with use_backend(name):
                return log_sum_windows(seqs, filters, embedding, PAD)

        return lambda: gradient(sums)

    variants: dict[str, Callable[[], object]] = {}
    if not pairs:
        variants["conv1d"] = lambda: gradient(plain)
    variants |= {"reference": kernel("reference"), "numba": kernel("numba")}
    letters = f"{size}-mer" + (f" with {pairs} pair distances" if pairs else "")
    return Case(
        f"gradient of a {letters}, {probes:,} probes of {length} letters",
        variants,
        next(iter(variants)),
        ("look-ups", look_ups(probes, length, size, pairs)),
    )


@numba.njit(nogil=True, parallel=True, fastmath=True)
def _look_up(words, table, gradient, n_blocks):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    n_threads = len(gradient)
    for thread in numba.prange(n_threads):
        total, part = np.float32(0), np.float32(1e-6)
        own = gradient[thread]
        for n in range(thread, len(words), n_threads):
            for block in range(n_blocks):
                for x in range(words.shape[1]):
                    word = words[n, x]
                    total += table[block, word, 0] + table[block, word, 1]
                    own[block, word, 0] += part
                    own[block, word, 1] += part
        own[0, 0, 0] += total


def look_ups(probes: int, length: int, size: int, pairs: int) -> Callable[[], object]:
    """Return what looks up and adds as often as the kernel must, from 1000 probes."""
    blocks = Blocks.of(N_LETTERS, size, pairs)
    assert blocks is not None
    rng = np.random.default_rng(0)
    n_windows, n_words = length - size + 1, blocks.n_words
    n_blocks = len(blocks.positions)
    few = rng.integers(0, n_words, (1000, n_windows)).astype(np.uint32)
    table = rng.random((n_blocks, n_words, 2)).astype(np.float32)
    gradient = np.zeros((torch.get_num_threads(), n_blocks, n_words, 2))

    def work() -> None:
        numba.set_num_threads(torch.get_num_threads())
        for _ in range(probes // len(few)):
            _look_up(few, table, gradient, n_blocks)

    return work


def main() -> None:
    """Measure the kernel, and how it grows."""
    made = parser_of(__doc__)
    made.add_argument("--probes", type=int, default=334_515)
    made.add_argument("--length", type=int, default=30)
    made.add_argument("--size", type=int, default=12)
    made.add_argument("--pairs", type=int, default=0, help="pair distances")
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = options.probes, options.length, options.size, options.pairs
    case = case_of(*sizes)
    if options.once:
        run_once(case, options.once)
        return
    report = Report()
    names = "--probes", "--length", "--size", "--pairs"
    same = [str(x) for pair in zip(names, sizes, strict=True) for x in pair]
    report.add(case, options.repeats, peaks_of(case, __file__, same))
    if options.grow:
        grow(report, options)
    report.write(options.json)


def grow(report: Report, options: argparse.Namespace) -> None:
    """Measure with more and fewer probes, letters, positions, pairs and threads."""
    probes, length, size = options.probes, options.length, options.size
    cases = [(probes // 4, length, size), (probes // 2, length, size)]
    cases += [(probes // 4, letters, size) for letters in (20, 40, 60, 100)]
    cases += [(probes // 4, 40, positions) for positions in (6, 8, 16, 20, 24)]
    for sizes in cases:
        report.add(case_of(*sizes), options.repeats, {})
    report.add(case_of(probes // 4, length, size, 1), options.repeats, {})
    most = torch.get_num_threads()
    for n_threads in range(1, most):
        torch.set_num_threads(n_threads)
        report.add(case_of(probes, length, size), options.repeats, {})
    torch.set_num_threads(most)


if __name__ == "__main__":
    main()
