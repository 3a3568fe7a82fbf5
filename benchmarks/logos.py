"""Energy logos: by outlines of this package, and by logomaker where it is installed.

    python benchmarks/logos.py
    python benchmarks/logos.py --logos 50 --json logos.json

Motifs of 12 positions with random energies are drawn into axes of their own, and once
more saved as SVG. Times are of the processor; each way is timed several times in turn,
and the quickest counts. Sizes are of the SVG files.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from common import DNA, machine
from matplotlib.axes import Axes

from pyprobound import layers, plotting
from pyprobound.plotting._style import new_figure, settings

SIZE, REPEATS = 12, 3
Draw = Callable[[Axes, layers.PSAM], object]


def motifs(n: int) -> list[layers.PSAM]:
    """Return motifs with normal energies."""
    torch.manual_seed(0)
    made = [layers.PSAM(SIZE, DNA) for _ in range(n)]
    for psam in made:
        with torch.no_grad():
            psam.betas.packed(0).normal_()
    return made


def by_logomaker(ax: Axes, psam: layers.PSAM) -> object:
    """Draw a motif's letters with logomaker."""
    import logomaker  # noqa: PLC0415 may be absent
    import pandas as pd  # noqa: PLC0415 as above

    values = psam.gauge_fixed()[0][0][0].detach().numpy().astype(np.float64)
    frame = pd.DataFrame(values.T, columns=list("ACGT"))
    return logomaker.Logo(frame, ax=ax)


WAYS: dict[str, Draw] = {"outlines": plotting.logomaker_plotter}
if find_spec("logomaker") is not None:
    WAYS["logomaker"] = by_logomaker


def timed(draw: Draw, psams: list[layers.PSAM], *, save: bool) -> tuple[float, int]:
    """Return the processor's seconds for all logos and the bytes of their files."""
    written = 0
    start = time.process_time()
    for psam in psams:
        with settings():
            figure, (ax,) = new_figure(8, 2)
            draw(ax, psam)
        if save:
            written += len(plotting.svg(figure))
    return time.process_time() - start, written


def main() -> None:
    """Time each way and print the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logos", type=int, default=50)
    parser.add_argument("--json", type=Path, help="where to write the numbers as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    psams = motifs(options.logos)
    found: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    for draw in WAYS.values():  # fonts are looked for once
        timed(draw, psams[:1], save=True)
    for _ in range(REPEATS):
        for name, draw in WAYS.items():
            for save, what in ((False, "axes_seconds"), (True, "svg_seconds")):
                seconds, written = timed(draw, psams, save=save)
                found[name][what] = min(seconds, found[name].get(what, np.inf))
                found[name]["kilobytes"] = written / len(psams) / 1000
    print(machine())
    print(f"{options.logos} logos of {SIZE} positions, best of {REPEATS}")
    for name, numbers in found.items():
        print(
            f"{name:>12}  axes {numbers['axes_seconds']:6.2f} s"
            f"  to SVG {numbers['svg_seconds']:6.2f} s"
            f"  {numbers['kilobytes']:5.0f} kB each"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # those of logomaker
    main()
