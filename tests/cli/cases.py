"""What the tests of the command share: small tables, and what a command has printed."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEFT, RIGHT = "GTTCAGAGTTC", "CCAGCTGTCGT"
MINIMAL = f"""\
[experiment]
table = "counts.tsv"
left_flank = "{LEFT}"
right_flank = "{RIGHT}"

[[modes]]
name = "a"
size = 4
"""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


def random_probes(n: int, length: int, seed: int = 0) -> list[str]:
    """Distinct random probes."""
    rng = np.random.default_rng(seed)
    drawn = {"".join(rng.choice(list("ACGT"), length)): None for _ in range(2 * n)}
    return list(drawn)[:n]


def table_text(n: int = 50, length: int = 10, n_rounds: int = 2) -> str:
    """A count table in which probes with TAAT are enriched."""
    rows = []
    for number, probe in enumerate(random_probes(n, length)):
        selected = 9 if "TAAT" in probe or "ATTA" in probe else 1
        counts = [1 + number % 3, *[selected] * (n_rounds - 1)]
        rows.append("\t".join([probe, *map(str, counts)]))
    return "\n".join(rows) + "\n"


def listing(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)
