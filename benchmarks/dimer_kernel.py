"""Sums over the pairs of windows of two modes, and their gradient; scores are given.

    python benchmarks/dimer_kernel.py
    python benchmarks/dimer_kernel.py --probes 200000 --length 40 --size 10 --grow

The yardstick is what one would write in a minute: for each offset the `logsumexp`
over the diagonals of all pairs of strands, then that of all offsets. The floor is the
three products of matrices that sums and gradients need (with the weights, with their
transpose, of all probes), by the library that torch comes with, and the exponentials of
the scores; spacing limits and homodimers need less than it does.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from measure import Case, Report, parser_of, peaks_of, run_once
from torch import Tensor

from pyprobound import use_backend
from pyprobound.kernels import log_sum_dimers

STRANDS = 2
NEG_INF = float("-inf")


@dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        probes: Number of probes.
        length: Letters of each.
        size: Positions of the filter of either mode.
        groups: Cooperativities by group of probes: above 1, each pair has its own.
        limit: The largest offset; −1 for any.
        homodimer: Whether both modes are the same.
        double: Whether all is float64.
    """

    probes: int
    length: int
    size: int
    groups: int = 1
    limit: int = -1
    homodimer: bool = False
    double: bool = False

    def __str__(self) -> str:
        kinds = [
            "homodimer" if self.homodimer else "heterodimer",
            f"of two {self.size}-mers",
            *([f"offsets up to {self.limit}"] if self.limit >= 0 else []),
            *([f"{self.groups} groups with position bias"] if self.groups > 1 else []),
            *(["float64"] if self.double else []),
        ]
        return f"{', '.join(kinds)}, {self.probes:,} probes of {self.length} letters"

    @property
    def windows(self) -> int:
        """Windows of either mode on a strand."""
        return self.length - self.size + 1


def case_of(sizes: Sizes) -> Case:
    """Return the work for random scores and a random cooperativity."""
    torch.manual_seed(0)
    n_windows, dtype = sizes.windows, torch.float64 if sizes.double else torch.float32
    shape = (sizes.probes, STRANDS, n_windows)
    a = torch.randn(shape, dtype=dtype, requires_grad=True)
    b = a if sizes.homodimer else torch.randn(shape, dtype=dtype, requires_grad=True)
    direction = torch.randn(sizes.probes, dtype=dtype)
    offset = torch.arange(n_windows) - torch.arange(n_windows)[:, None]
    never = torch.zeros_like(offset, dtype=torch.bool)
    if sizes.limit >= 0:
        never = offset.abs() > sizes.limit
    if sizes.groups > 1:
        bias = torch.randn(
            (sizes.groups, STRANDS, STRANDS, n_windows, n_windows), dtype=dtype
        )
        omega, group = bias.requires_grad_(), torch.arange(sizes.probes) % sizes.groups
    else:
        spacing = torch.randn((STRANDS, STRANDS, 2 * n_windows - 1), dtype=dtype)
        omega, group = spacing.requires_grad_(), None

    def gradient(sums: Callable[[], Tensor]) -> list[Tensor]:
        inputs = [a, omega] if sizes.homodimer else [a, b, omega]
        return list(torch.autograd.grad(torch.dot(sums(), direction), inputs))

    def kernel(name: Literal["numba", "reference"]) -> Callable[[], list[Tensor]]:
        def sums() -> Tensor:
            matrix = omega
            if group is None:
                matrix = omega[None, :, :, offset + n_windows - 1]
            matrix = matrix.masked_fill(never, NEG_INF)
            with use_backend(name):
                return log_sum_dimers(a, b, matrix, group=group)

        return lambda: gradient(sums)

    variants: dict[str, Callable[[], object]] = {}
    if group is None:
        variants["loop over offsets"] = lambda: gradient(
            lambda: over_offsets(a, b, omega, sizes.limit)
        )
    variants |= {"reference": kernel("reference"), "numba": kernel("numba")}
    return Case(
        f"gradient of a {sizes}",
        variants,
        next(iter(variants)),
        ("products of matrices", products(a, b)),
    )


def over_offsets(a: Tensor, b: Tensor, spacing: Tensor, limit: int) -> Tensor:
    """Return log Σ over strands and windows, one offset after the other."""
    n_windows = a.shape[2]
    most = n_windows - 1 if limit < 0 else min(limit, n_windows - 1)
    diagonals = []
    for offset in range(-most, most + 1):
        first, last = max(0, -offset), n_windows - max(0, offset)
        left = a[:, :, None, first:last]
        right = b[:, None, :, first + offset : last + offset]
        omega = spacing[:, :, offset + n_windows - 1, None]
        diagonals.append((left + right + omega).logsumexp((1, 2, 3)))
    return torch.stack(diagonals, 1).logsumexp(1)


def products(a: Tensor, b: Tensor) -> Callable[[], object]:
    """Return what takes the exponentials and products of sums and their gradient."""
    a, b = a.detach().flatten(1), b.detach().flatten(1)
    w = torch.rand(a.shape[1], b.shape[1], dtype=a.dtype)
    buffers = torch.empty_like(a), torch.empty_like(b)
    by_a, by_b, by_w = torch.empty_like(a), torch.empty_like(b), torch.empty_like(w)

    def work() -> None:
        torch.exp(a, out=buffers[0])
        torch.exp(b, out=buffers[1])
        torch.mm(buffers[1], w.T, out=by_a)
        torch.mm(buffers[0], w, out=by_b)
        torch.mm(buffers[0].T, buffers[1], out=by_w)

    return work


def main() -> None:
    """Measure the kernel, and how it grows."""
    made = parser_of(__doc__)
    made.add_argument("--probes", type=int, default=50_000)
    made.add_argument("--length", type=int, default=30)
    made.add_argument("--size", type=int, default=8)
    made.add_argument("--groups", type=int, default=1, help="with position bias")
    made.add_argument("--limit", type=int, default=-1, help="largest offset")
    made.add_argument("--homodimer", action="store_true")
    made.add_argument("--double", action="store_true", help="in float64")
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    given = vars(options)
    sizes = Sizes(**{name: given[name] for name in Sizes.__dataclass_fields__})
    case = case_of(sizes)
    if options.once:
        run_once(case, options.once)
        return
    report = Report()
    report.add(case, options.repeats, peaks_of(case, __file__, as_arguments(sizes)))
    if options.grow:
        grow(report, sizes, options)
    report.write(options.json)


def as_arguments(sizes: Sizes) -> list[str]:
    """Return the command line that measures the same."""
    made: list[str] = []
    for name, value in asdict(sizes).items():
        if isinstance(value, bool):
            made += [f"--{name}"] if value else []
        else:
            made.append(f"--{name}={value}")
    return made


def grow(report: Report, sizes: Sizes, options: argparse.Namespace) -> None:
    """Measure other kinds of dimers, more and fewer probes, letters and threads."""
    cases = [
        replace(sizes, homodimer=True),
        replace(sizes, limit=4),
        replace(sizes, groups=20),
        replace(sizes, double=True),
        replace(sizes, probes=sizes.probes // 4),
        replace(sizes, probes=sizes.probes // 2),
    ]
    few = replace(sizes, probes=sizes.probes // 4)
    cases += [replace(few, length=letters) for letters in (20, 40, 60)]
    for case in cases:
        report.add(case_of(case), options.repeats, {})
    most = torch.get_num_threads()
    for n_threads in range(1, most):
        torch.set_num_threads(n_threads)
        report.add(case_of(sizes), options.repeats, {})
    torch.set_num_threads(most)


if __name__ == "__main__":
    main()
