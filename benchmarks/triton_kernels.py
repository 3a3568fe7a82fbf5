"""Time the Triton kernels against the PyTorch reference on the same GPU.

    python benchmarks/triton_kernels.py [--repeats 5] [--json FILE] [--float64]

Prints, for each kernel, the median time of the result and of the result with its
gradients, the most GPU memory they take beyond the arguments, the ratio to the
reference, and the largest difference from it. A call before the first measured one
compiles. Times are those of the GPU's own clock, from the first launch to the last.

Without a GPU nothing is measured. `--interpreted` then runs all cases on a few probes
in Triton's interpreter, which shows that they run, and no more.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import pyprobound
from pyprobound import kernels
from pyprobound.kernels._backends import INTERPRET_VARIABLE, use_backend
from pyprobound.kernels.selection import Chain, Kind, Link, selection_cost

NEG_INF = float("-inf")
BCD_PROBES, BCD_LENGTH = 334_515, 30
DIMER_PROBES = 50_000
PIECE = 2**15
"""Probes whose features are summed at once."""

ALPHABET = pyprobound.alphabets.DNA()


@dataclass(frozen=True)
class Case:
    """A function of some tensors, all of which receive gradients; of none, as such."""

    name: str
    function: Callable[..., Tensor]
    leaves: list[Tensor]


@dataclass(frozen=True)
class Measured:
    """Median milliseconds, and MiB beyond the arguments."""

    result_ms: float
    gradient_ms: float | None
    peak_mib: float


@dataclass(frozen=True)
class Row:
    """One case: both implementations, and how far apart their values are."""

    name: str
    reference: Measured
    triton: Measured
    difference: float

    def __str__(self) -> str:
        cells = [
            " " * 27
            if slow is None or fast is None
            else f"{slow:9.3f} {fast:9.3f} {slow / fast:6.1f}x"
            for slow, fast in (
                (self.reference.result_ms, self.triton.result_ms),
                (self.reference.gradient_ms, self.triton.gradient_ms),
            )
        ]
        memory = f"{self.reference.peak_mib:8.0f} {self.triton.peak_mib:8.0f}"
        return f"{self.name:34} {'  '.join(cells)}  {memory}  {self.difference:.0e}"


HEADER = (
    f"{'':34} {'result: reference, Triton [ms]':28} {'with gradients [ms]':28}"
    f" {'peak [MiB]':17} difference"
)


# == cases ============================================================================


def cases(device: torch.device, dtype: torch.dtype, share: float) -> Iterator[Case]:
    """Make the cases, one at a time.

    Args:
        device: Where their tensors lie.
        dtype: Of scores and weights.
        share: The part of the probes that is taken.
    """
    random = torch.Generator(device).manual_seed(0)
    options = {"device": device, "dtype": dtype}

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, **options).requires_grad_()

    n_probes = max(2, int(share * BCD_PROBES))
    codes = torch.randint(
        0, 4, (n_probes, BCD_LENGTH), generator=random, device=device
    ).to(torch.uint8)
    embedding = ALPHABET.embedding(dtype, device)
    pad = ALPHABET.neginf_pad
    n_windows = BCD_LENGTH - 11

    def log_sums(*filters: Tensor) -> Tensor:
        return kernels.log_sum_windows(codes, filters, embedding, pad)

    def scores(*filters: Tensor) -> Tensor:
        return kernels.window_scores(codes, filters, embedding, pad)

    letters, neighbours = draw(2, 4, 12), draw(2, 4, 4, 11)
    yield Case("sum of windows, 12-mer", log_sums, [letters])
    yield Case("sum of windows, 12-mer, pairs", log_sums, [letters, neighbours])

    group = torch.randint(0, 8, (n_probes,), generator=random, device=device)

    def biased(letters: Tensor, log_bias: Tensor) -> Tensor:
        return kernels.log_sum_windows(
            codes, [letters], embedding, pad, log_bias=log_bias, group=group
        )

    yield Case(
        "sum of windows, bias of 8 groups", biased, [letters, draw(8, 2, n_windows)]
    )
    yield Case("window scores, 12-mer", scores, [letters])
    stored = draw(n_probes, 2, n_windows)
    yield Case("sum of stored windows", kernels.log_sum, [stored])
    yield from dimers(draw, max(2, int(share * DIMER_PROBES)))
    yield from costs(draw, n_probes)
    yield features(codes, embedding, draw(n_probes, 2, n_windows).detach())


def dimers(draw: Callable[..., Tensor], n_probes: int) -> Iterator[Case]:
    """Make dimers of two 8-mers on 30-mers."""
    n = BCD_LENGTH - 7
    a, b, log_omega = draw(n_probes, 2, n), draw(n_probes, 2, n), draw(1, 2, 2, n, n)
    yield Case("dimers of 8-mers", kernels.log_sum_dimers, [a, b, log_omega])
    place = torch.arange(n, device=a.device)
    far = (place[:, None] - place).abs() > 12
    near = log_omega.detach().masked_fill(far, NEG_INF).requires_grad_()
    yield Case("dimers, spacing up to 12", kernels.log_sum_dimers, [a, b, near])
    steep = [(100 * t.detach()).requires_grad_() for t in (a, b, log_omega)]
    yield Case("dimers, energies of hundreds", kernels.log_sum_dimers, steep)


def costs(draw: Callable[..., Tensor], n_probes: int) -> Iterator[Case]:
    """Make the counts of five rounds, each selected from the one before."""
    counts = draw(6, n_probes).detach().exp().floor().t()  # column by column
    scores = [draw(n_probes), draw(n_probes)]
    for kind in (Kind.RHO_GAMMA, Kind.EXPONENTIAL):
        links = [Link(Kind.INITIAL), *(Link(kind, r, r) for r in range(5))]
        chain = Chain(tuple(links), tuple(range(6)))

        def cost(*leaves: Tensor, chain: Chain = chain) -> Tensor:
            *scores, weights, settings, depths = leaves
            rest = weights, settings, depths, counts, chain
            return selection_cost(scores, *rest)

        shared = [draw(5, 2), draw(6, 2), draw(6)]
        yield Case(f"counts of six columns, {kind.name}", cost, [*scores, *shared])


def features(codes: Tensor, embedding: Tensor, weights: Tensor) -> Case:
    """Make the features of a 12-mer on both strands, and of neighbouring letters."""
    sizes = [2 * 4 * 12, 2 * 16 * 11]
    # as in a symmetric filter, two entries have one column
    columns = torch.arange(sum(sizes), device=codes.device) // 2
    letters, pairs = columns.split(sizes)
    places = [letters.view(2, 4, 12), pairs.view(2, 4, 4, 11)]
    n_columns = sum(sizes) // 2

    def sums() -> Tensor:
        # in pieces, as the Fisher information takes them
        add = kernels.window_features(codes, places, embedding)
        total = codes.new_zeros(n_columns, dtype=torch.float64)
        for start in range(0, len(codes), PIECE):
            shares = weights[start : start + PIECE]
            out = total.new_zeros(len(shares), n_columns)
            add(slice(start, start + PIECE), shares, out)
            total += out.sum(0)
        return total

    return Case("features of windows, pairs", sums, [])


# == measuring ========================================================================


def measured(case: Case, device: torch.device, repeats: int) -> Measured:
    """Time a case, and find what memory it takes."""

    def result() -> Tensor:
        with torch.no_grad():
            return case.function(*case.leaves)

    def gradients() -> tuple[Tensor, ...]:
        found = case.function(*case.leaves)
        return torch.autograd.grad(found, case.leaves, torch.ones_like(found))

    result_ms = milliseconds(result, device, repeats)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    gradient_ms = milliseconds(gradients if case.leaves else result, device, repeats)
    peak = 0.0
    if device.type == "cuda":
        peak = (torch.cuda.max_memory_allocated(device) - before) / 2**20
    return Measured(result_ms, gradient_ms if case.leaves else None, peak)


def milliseconds(
    function: Callable[[], object], device: torch.device, repeats: int
) -> float:
    """Return the median time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            start.record()
            function()
            end.record()
            torch.cuda.synchronize(device)
            times.append(start.elapsed_time(end))
        else:
            before = time.perf_counter()
            function()
            times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


def compared(case: Case, device: torch.device, repeats: int) -> Row:
    """Measure a case with both implementations, and compare what they find."""
    names: tuple[Literal["reference"], Literal["triton"]] = ("reference", "triton")
    found, times = [], []
    for name in names:
        with use_backend(name):
            times.append(measured(case, device, repeats))
            sums = case.function(*case.leaves)
            gradients: tuple[Tensor, ...] = ()
            if case.leaves:
                ones = torch.ones_like(sums)
                gradients = torch.autograd.grad(sums, case.leaves, ones)
            found.append([sums.detach(), *gradients])
    gaps = []
    for expected, mine in zip(*found, strict=True):
        scale = max(1.0, float(expected.abs().max()))
        gaps.append(float((mine - expected).abs().max()) / scale)
    return Row(case.name, times[0], times[1], max(gaps))


def main() -> None:
    """Measure, print, and write a file if one is asked for."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--json", type=Path, help="write the numbers to this file, too")
    made.add_argument("--float64", action="store_true", help="instead of float32")
    made.add_argument("--interpreted", action="store_true", help="only show it runs")
    given = made.parse_args()
    if given.interpreted:
        os.environ[INTERPRET_VARIABLE] = "1"
    elif not torch.cuda.is_available():
        print("no GPU here that CUDA finds: nothing is measured")
        return
    device = torch.device("cpu" if given.interpreted else "cuda")
    dtype = torch.float64 if given.float64 else torch.float32
    share = 1e-5 if given.interpreted else 1.0
    place = "interpreted" if given.interpreted else torch.cuda.get_device_name(device)
    print(f"{place}, {dtype}, torch {torch.__version__}\n{HEADER}")
    rows = []
    for case in cases(device, dtype, share):
        rows.append(compared(case, device, given.repeats))
        print(rows[-1], flush=True)
    if given.json is not None:
        machine = {"device": place, "dtype": str(dtype), "torch": torch.__version__}
        content = {**machine, "cases": [asdict(row) for row in rows]}
        given.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
