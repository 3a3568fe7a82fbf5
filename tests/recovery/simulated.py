"""Count tables drawn from a known model, and the gauge in which parameters compare.

Reads of round r are drawn with the probabilities that the model gives the probes,

    P(probe i | round r)  ∝  f_i · κ_ir

with a library of equal f_i and κ the cumulative enrichment. Given a probe's total, its
counts then spread over the rounds as the model's likelihood says.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyprobound import (
    BaseLoss,
    CountBatch,
    CountTable,
    Experiment,
    Optimizer,
    alphabets,
    layers,
)

DNA = alphabets.DNA()


def random_texts(number: int, length: int, seed: int) -> list[str]:
    """Return different random probes of one length."""
    rng = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < number:
        texts["".join(rng.choices("ACGT", k=length))] = None
    return list(texts)


def library(texts: Sequence[str]) -> CountTable:
    """Return a table of the probes, one read of each."""
    frame = pd.DataFrame(np.ones((len(texts), 1)), index=list(texts))
    return CountTable(frame, DNA)


def simulated(
    experiment: Experiment, table: CountTable, reads: Sequence[int], seed: int
) -> pd.DataFrame:
    """Draw the reads of each round of an experiment from a library of equal parts.

    Args:
        experiment: The truth.
        table: The library; the flanks that it scores are those of the truth.
        reads: The reads of each round.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        kappa = [
            each.log_cumulative_enrichment(table.seqs)
            for each in experiment.components()
        ]
    columns = [
        rng.multinomial(n, log_kappa.double().softmax(0).numpy())
        for n, log_kappa in zip(reads, kappa, strict=True)
    ]
    counts = pd.DataFrame(np.stack(columns, 1), index=texts_of(table))
    return counts[counts.sum(axis=1) > 0]


def texts_of(table: CountTable) -> list[str]:
    """Return the probes of a table of one length, without flanks."""
    left = table.left_flank_length
    right = table.seqs.shape[1] - table.right_flank_length
    letters = np.array(list("ACGT"))[table.seqs[:, left:right].long().numpy()]
    return ["".join(row) for row in letters]


def fitted(
    model: BaseLoss[CountBatch],
    table: CountTable,
    folder: Path,
    **settings: object,
) -> float:
    """Fit a model in float64, one binding after the other; return its best loss."""
    optimizer = Optimizer(
        model,
        [table],
        checkpoint=folder / "model.pt",
        output=folder / "fit.log",
        device="cpu",
        dtype=torch.float64,
        **settings,  # type: ignore[arg-type]
    )
    return float(optimizer.train_sequential())


def motif(consensus: str, seed: int) -> Tensor:
    """Return energies, (letters, positions), mean 0 at every position.

    A letter that is not the consensus costs between 1.5 and 3 kT.
    """
    generator = torch.Generator().manual_seed(seed)
    energies = -1.5 - 1.5 * torch.rand(
        4, len(consensus), generator=generator, dtype=torch.float64
    )
    for position, letter in enumerate(consensus):
        energies[DNA.get_index[letter], position] = 0
    return energies - energies.mean(0)


def set_energies(psam: layers.PSAM, energies: Tensor) -> None:
    """Give a PSAM energies, (letters, positions)."""
    with torch.no_grad():
        for position in range(energies.shape[1]):
            for letter in range(len(energies)):
                key = f"{position + 1}-{letter}"
                psam.betas[key].copy_(energies[letter, position])


def energies_of(psam: layers.PSAM) -> Tensor:
    """Return the energies of the forward strand, mean 0 at every position.

    Returns:
        (letters, positions), float64.
    """
    energies = psam.get_filter(0)[0].detach().double()
    return energies - energies.mean(0)


def either_strand(energies: Tensor, like: Tensor) -> tuple[Tensor, bool]:
    """Return energies read from the strand that agrees best, and whether reversed."""
    reverse = energies.flip((0, 1))
    turned = bool((reverse - like).norm() < (energies - like).norm())
    return (reverse if turned else energies), turned


def correlation(first: Tensor, second: Tensor) -> float:
    """Return Pearson's correlation of two arrays."""
    pair = torch.stack((first.flatten(), second.flatten()))
    return float(torch.corrcoef(pair)[0, 1])
