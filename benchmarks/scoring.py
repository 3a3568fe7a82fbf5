"""Scores of all windows of a long sequence, on both strands, next to a convolution.

    python benchmarks/scoring.py --threads 1
    python benchmarks/scoring.py --letters 4000000 --size 18

The yardstick is what one would write in a minute: one-hot letters (made beforehand),
`conv1d` with the filters of both strands, on the same letters in the same pieces. The
profile stores the score of every window; the sum and the best window store nothing.
Speeds are millions of letters per second, by all threads; with --threads 1 per core.
"""

import math

import numpy as np
import torch
from measure import Case, Report, parser_of
from torch import Tensor
from torch.nn import functional

from pyprobound.alphabets import DNA
from pyprobound.scoring import Motif, SiteModel, State
from pyprobound.scoring._records import LETTERS_AT_ONCE, parts_of
from pyprobound.scoring._stream import rows_of, segments, stream, windows_of


def model_of(size: int, pairs: int, dtype: torch.dtype) -> SiteModel:
    """Return a random motif."""
    torch.manual_seed(0)
    single = torch.randn(1, 4, size, dtype=dtype)
    filters = [torch.cat([single, single.flip(1, 2)])]
    for d in range(1, pairs + 1):
        double = torch.randn(1, 4, 4, size - d, dtype=dtype)
        filters.append(torch.cat([double, double.flip(1, 2, 3).transpose(1, 2)]))
    motif = Motif("m", tuple(filters), torch.zeros(2, dtype=dtype))
    return SiteModel(DNA(), [motif], [], [], ["m"], [State("model", {"m": 0.0})])


def case_of(letters: int, size: int, pairs: int, dtype: torch.dtype) -> Case:
    """Return the work for a random sequence and a random motif."""
    model = model_of(size, pairs, dtype)
    motif = model.motifs[0]
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, letters)
    text = np.frombuffer(b"ACGT", np.uint8)[codes].tobytes().decode()
    batches = list(segments(model, parts_of([text], ["x"], 1)))
    one_hot = functional.one_hot(torch.from_numpy(codes), 4).to(dtype).T.contiguous()
    pieces = one_hot[None].split(LETTERS_AT_ONCE, 2)

    def plain() -> list[float]:
        # the largest is read, so that no piece is left out
        return [float(functional.conv1d(x, motif.filters[0]).max()) for x in pieces]

    def profile() -> list[Tensor]:
        kept = []
        for batch in batches:
            rows = rows_of(model, batch)
            kept.append(windows_of(model, motif, rows, rows.step)[0, 0, 0].clone())
        return kept

    def whole(*, with_sites: bool) -> float:
        found = stream(model, parts_of([text], ["x"], 1), with_sites=with_sites)
        return math.fsum(float(each.scores["m"][0]) for _, each in found)

    name = f"{letters / 1e6:g} Mb, {size}-mer, both strands, {str(dtype)[6:]}"
    if pairs:
        name += f", {pairs} pair distances"
    return Case(
        name,
        {
            "conv1d": plain,
            "all windows": profile,
            "sum, from text": lambda: whole(with_sites=False),
            "sum and best, from text": lambda: whole(with_sites=True),
        },
        "conv1d",
    )


def main() -> None:
    """Measure the scorer."""
    made = parser_of(__doc__)
    made.add_argument("--letters", type=int, default=4_000_000)
    made.add_argument("--size", type=int, default=12)
    options = made.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    report = Report()
    sizes = [(options.size, 0), *([(18, 0), (options.size, 1)] if options.grow else [])]
    for size, pairs in sizes:
        for dtype in (torch.float32, torch.float64):
            case = case_of(options.letters, size, pairs, dtype)
            rows = report.add(case, options.repeats, {})
            for row in rows:
                speed = options.letters / row.seconds / 1e6
                print(f"  {row.variant:24s} {speed:9.1f} Mbp/s")
    report.write(options.json)


if __name__ == "__main__":
    main()
