"""Small trained models, measurements on other probes, and log Z in plain Python."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch

from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.alphabets import DNA
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.layers import PSAM, NonSpecific
from pyprobound.layers.conv1d import Conv1d
from pyprobound.mode import Mode
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from pyprobound.table import CountTable

LETTERS = "ACGT"
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


def probes(n: int, length: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < n:
        found["".join(rng.choice(list(LETTERS), length))] = None
    return list(found)


def table(seqs: Sequence[str], *columns: object, **flanks: object) -> CountTable:
    """Return measurements (1 where none are given) of some probes."""
    given = columns or ([1.0] * len(seqs),)
    frame = pd.DataFrame(dict(enumerate(given)), index=list(seqs))
    return CountTable(frame, DNA(), **flanks)  # type: ignore[arg-type]


def psam(size: int, seed: int, name: str, scale: float = 1.0) -> PSAM:
    made = PSAM(kernel_size=size, alphabet=DNA(), name=name)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for value in made.betas.values():
            value.fill_(scale * float(rng.normal()))
    return made


def trained(
    reads: CountTable,
    *,
    bias: str = "none",
    dimer: bool = False,
    normalize: bool = False,
    nonspecific: bool = True,
    scale: float = 1.0,
) -> BoundUnsaturatedRound:
    """Return a round of a trained model.

    Args:
        reads: The table that it was trained on.
        bias: "none", "length" (a position bias for each length) or "shared".
        dimer: Whether two motifs bind together as well.
        normalize: Whether the spacing is centred.
        nonspecific: Whether anything is bound anywhere.
        scale: How strong the motif is.
    """
    generator = torch.Generator().manual_seed(7)
    tf = Mode.from_psam(
        psam(4, 1, "tf", scale),
        reads,
        train_posbias=bias != "none",
        length_specific_bias=bias == "length",
    )
    if bias != "none":
        conv = tf.chain[0]
        assert isinstance(conv, Conv1d)
        conv.log_posbias.data.normal_(generator=generator)
    parts = [Contribution(tf, log_activity=0.75)]
    if nonspecific:
        mode = Mode.from_nonspecific(NonSpecific(DNA(), name="ns"), reads)
        parts.insert(0, Contribution(mode, log_activity=-2.0))
    if dimer:
        partner = Mode.from_psam(psam(3, 2, "partner"), reads)
        spacing = Spacing(tf.key(), partner.key(), normalize=normalize)
        pair = Cooperativity(spacing, tf, partner)
        spacing.log_spacing.data.normal_(generator=generator)
        parts.append(Contribution(pair, log_activity=-1.0))
    return BoundUnsaturatedRound(Aggregate(parts), InitialRound()).double()


# --- plain Python ---------------------------------------------------------------------


def log_sum(values: Sequence[float]) -> float:
    top = max(values, default=-math.inf)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(value - top) for value in values))


def window_scores(seq: str, motif: PSAM) -> list[list[float]]:
    """Return log 1/K of every window, forward strand first."""
    energies = motif.get_filter(0)[0].tolist()  # (letters, positions)
    size = motif.kernel_size
    strands: list[list[float]] = [[], []]
    for start in range(len(seq) - size + 1):
        site = seq[start : start + size]
        other = [COMPLEMENT[letter] for letter in reversed(site)]
        for scores, letters in zip(strands, (site, other), strict=True):
            found = (energies[LETTERS.index(x)][i] for i, x in enumerate(letters))
            scores.append(sum(found))
    return strands


def dimer_score(
    seq: str, pair: Cooperativity, omega: Sequence[Sequence[float]], widest: int
) -> float:
    """Return the score of a dimer whose ω is known for offsets up to some spacing.

    Args:
        seq: The probe.
        pair: The dimer, for its motifs.
        omega: log ω by orientation and offset, offset 0 in the middle.
        widest: The most letters between the two motifs.
    """
    motifs = [mode.chain[0].layer_spec for mode in (pair.mode_a, pair.mode_b)]
    assert isinstance(motifs[0], PSAM)
    assert isinstance(motifs[1], PSAM)
    a, b = (window_scores(seq, motif) for motif in motifs)
    n_a, n_b = len(a[0]), len(b[0])
    sizes = [motif.kernel_size for motif in motifs]  # type: ignore[union-attr]
    middle = len(omega[0]) // 2
    terms = []
    for s, t, m, n in product(range(2), range(2), range(n_a), range(n_b)):
        offset = n - m
        if max(offset - sizes[0], -offset - sizes[1]) > widest:
            continue
        # read from the other strand where b is on the reverse one
        place = offset if t == 0 else (n_b - n_a) - offset
        terms.append(omega[0 if s == t else 1][middle + place] + a[s][m] + b[t][n])
    return log_sum(terms)
