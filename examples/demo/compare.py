"""How well did the truth come back?

    python examples/demo/compare.py SIMULATED RUN

reads the truth.json of a simulation and the result.json of a fit of its table. A motif
is only determined up to its strand, and to a shift by which it still fits the table, so
the two are compared in the best alignment.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Motif = Sequence[Sequence[float]]
"""Energies (position, letter), mean 0 at each position."""


@dataclass(frozen=True)
class Alignment:
    """Two motifs, one laid over the other.

    Attributes:
        pairs: The energies of the truth and of the fit, where both have a position.
        shift: Position of the fit that lies on the first one of the truth.
        is_reversed: Whether the fit is read from the other strand.
    """

    pairs: Sequence[tuple[float, float]]
    shift: int
    is_reversed: bool

    @property
    def error(self) -> float:
        """Root mean square difference, in units of RT."""
        return math.sqrt(sum((x - y) ** 2 for x, y in self.pairs) / len(self.pairs))

    @property
    def correlation(self) -> float:
        """Pearson's r (the means are 0)."""
        xy = sum(x * y for x, y in self.pairs)
        xx = sum(x * x for x, _ in self.pairs)
        yy = sum(y * y for _, y in self.pairs)
        return xy / math.sqrt(xx * yy)


def motif_of(result: Mapping[str, object], name: str) -> Motif:
    """Return the energies of a mode of truth.json or result.json."""
    modes = result["modes"]
    assert isinstance(modes, list)
    energies = next(mode["energies"] for mode in modes if mode["name"] == name)
    return list(zip(*energies.values(), strict=True))


def aligned(truth: Motif, fitted: Motif, most_shift: int = 3) -> Alignment:
    """Return the alignment in which two motifs are most alike."""
    found = []
    for is_reversed in (False, True):
        read = [row[::-1] for row in fitted[::-1]] if is_reversed else fitted
        for shift in range(-most_shift, most_shift + 1):
            pairs = [
                pair
                for i, row in enumerate(truth)
                if 0 <= i + shift < len(read)
                for pair in zip(row, read[i + shift], strict=True)
            ]
            found.append(Alignment(pairs, shift, is_reversed))
    return max(found, key=lambda each: sum(x * y for x, y in each.pairs))


def preferences(result: Mapping[str, object], name: str) -> list[float]:
    """Return log α(mode) − log α(NS) of each round: the depth drops out."""
    experiments = result["experiments"]
    assert isinstance(experiments, list)
    rounds = experiments[0]["rounds"]
    selected = [each["log_activities"] for each in rounds if "log_activities" in each]
    return [activities[name] - activities["NS"] for activities in selected]


def loss_of(result: Mapping[str, object]) -> float:
    """Return the data loss per read."""
    losses = result["loss_per_read"]
    assert isinstance(losses, dict)
    return float(losses["data"])


def main(simulated: Path, run: Path, name: str = "tf") -> None:
    """Print the comparison."""
    truth = json.loads((simulated / "truth.json").read_text(encoding="utf-8"))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    best = aligned(motif_of(truth, name), motif_of(result, name))
    strand = "other" if best.is_reversed else "same"
    print("How well did the truth come back?")
    print(
        f"  energies    r = {best.correlation:.4f}, rms difference {best.error:.3f} RT"
        f" ({strand} strand, shift {best.shift})"
    )
    pairs = zip(preferences(truth, name), preferences(result, name), strict=True)
    for number, (true, fitted) in enumerate(pairs, 1):
        print(
            f"  round {number}     log activity over non-specific:"
            f" {true:.2f} is {fitted:.2f} in the fit"
        )
    print(
        f"  loss        {loss_of(result):.5f} per read;"
        f" of the truth itself {loss_of(truth):.5f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
