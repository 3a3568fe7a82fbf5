"""Simulated truths that a selection has to find again, and their tables."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyprobound import CountTable, Experiment, Mode, MultiExperimentLoss
from pyprobound.comparison import Build
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.layers import PSAM, ModeKey, NonSpecific
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from tests.recovery.simulated import (
    DNA,
    motif,
    random_texts,
    set_energies,
    simulated,
)


def model_of(
    tables: Sequence[CountTable],
    *,
    sizes: Sequence[int] = (4,),
    palindrome: bool = False,
    dimer: bool = False,
) -> MultiExperimentLoss:
    """Non-specific binding and motifs, selected once from the initial library."""
    (table,) = tables
    modes = [Mode.from_nonspecific(NonSpecific(DNA, name="ns"), table)]
    for number, size in enumerate(sizes):
        half = list(range(1, size // 2 + 1))
        symmetry = half + [-x for x in reversed(half)] if palindrome else None
        psam = PSAM(size, DNA, symmetry=symmetry, name=f"motif{number}")
        modes.append(Mode.from_psam(psam, table))
    bindings: list = list(modes)
    if dimer:
        keys = [ModeKey([mode.chain[-1].layer_spec]) for mode in modes[1:]]
        spacing = Spacing(keys[0], keys[-1])
        bindings.append(Cooperativity(spacing, modes[1], modes[-1]))
    start = InitialRound()
    selected = BoundUnsaturatedRound.from_binding(bindings, start)
    counts = table.counts_per_round
    experiment = Experiment([start, selected], counts_per_round=counts)
    return MultiExperimentLoss([experiment])


def build(**settings: object) -> Build:
    return partial(model_of, **settings)


def drawn(
    energies: Sequence[Tensor],
    log_activities: Sequence[float],
    *,
    offset: int | None = None,
    n_probes: int = 600,
    reads: int = 12_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Counts of a truth with these motifs, beside non-specific binding.

    Args:
        energies: Of each motif.
        log_activities: Of non-specific binding, the motifs, and the dimer if any.
        offset: Of the second motif to the first in a dimer on one strand.
        n_probes: Different probes.
        reads: Of each round.
        seed: Of the random numbers.
    """
    frame = pd.DataFrame(np.ones((n_probes, 2)), random_texts(n_probes, 12, seed))
    table = CountTable(frame, DNA)
    sizes = [each.shape[1] for each in energies]
    truth = model_of([table], sizes=sizes, dimer=offset is not None)
    (experiment,) = truth.components()
    assert isinstance(experiment, Experiment)
    _, selected = experiment.components()
    (aggregate,) = selected.components()
    for part, value in zip(aggregate.components(), log_activities, strict=True):
        with torch.no_grad():
            part.log_activity.fill_(value)
        if isinstance(part.binding, Cooperativity):
            values = part.binding.spacing.log_spacing
            with torch.no_grad():
                values.fill_(-8.0)
                values[0, values.shape[1] // 2 + (offset or 0)] = 0.0
            continue
        psam = part.binding.chain[-1].layer_spec
        if isinstance(psam, PSAM):
            set_energies(psam, energies[int(psam.name[-1])])
    return simulated(experiment, table, [reads, reads], seed)


def palindromic(consensus: str, seed: int) -> Tensor:
    """Energies that read the same on both strands."""
    energies = motif(consensus, seed)
    return (energies + energies.flip((0, 1))) / 2
