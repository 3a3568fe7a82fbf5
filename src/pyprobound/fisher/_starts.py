"""Where a motif that begins from noise begins: short fits of a sample of the probes.

From small random betas the first steps follow the data, not the noise, and mostly lead
to one motif; a few more starts, and the motif moved by a position, guard against the
others. Each start is fitted to some thousand probes, and the best goes on with all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from pyprobound.aggregate import Contribution
from pyprobound.fisher._objective import CountObjective
from pyprobound.fisher._trust_region import TrustRegion
from pyprobound.layers.psam import PSAM
from pyprobound.loss import MultiExperimentLoss
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch

MOST_PROBES = 20_000
MOST_STEPS = 30
MOST_SHIFTS = 3
SMALL = 0.03
"""A start of which the noise decides nothing, as a part of the usual one."""


def motifs_of_noise(model: MultiExperimentLoss) -> list[PSAM]:
    """Return the PSAMs that are about to be trained from a random start."""
    return [
        module
        for module in model.modules()
        if isinstance(module, PSAM)
        and module.betas.packed(0).requires_grad
        and module.is_noise
    ]


def choose_start(
    model: MultiExperimentLoss, batches: Sequence[CountBatch]
) -> str | None:
    """Move motifs that are noise to the best of several starts.

    All that is trained moves with them, activities and depths too, to where a short fit
    left them.

    Args:
        model: The loss.
        batches: A table for each of its experiments.

    Returns:
        What was done, in words; None if there is no such motif.
    """
    motifs = motifs_of_noise(model)
    if not motifs:
        return None
    sample = [_sampled(batch) for batch in batches]
    with _activities_trained(model):
        search = _Search(CountObjective(model, sample))
        search.try_all(_draws(motifs))
        for psam in motifs:
            for by in (1, -1):
                for _ in range(MOST_SHIFTS):
                    if not search.try_all(iter([partial(psam.slide, by)])):
                        break
        search.finish()
    n_probes = sum(len(batch.seqs) for batch in sample)
    return f"best of {search.tried} starts on {n_probes} probes: {search.best:.7g}"


@contextmanager
def _activities_trained(model: MultiExperimentLoss) -> Iterator[None]:
    """Let activities and depths take part: a motif is judged by what it can be worth."""
    held = []
    for module in model.modules():
        if isinstance(module, Contribution) and not module.is_absent:
            held.append((module, "activity", module.log_activity))
        elif isinstance(module, BaseRound):
            held.append((module, "depth", module.log_depth))
    fixed = [each for each in held if not each[2].requires_grad]
    for module, word, _ in fixed:
        module.unfreeze(word)
    try:
        yield
    finally:
        for _, _, parameter in fixed:
            parameter.requires_grad_(requires_grad=False)


def _draws(motifs: Sequence[PSAM]) -> Iterator[Callable[[], bool]]:
    """Iterate over ways to begin; each returns whether it could."""

    def shrink() -> bool:
        for psam in motifs:
            psam.shrink(SMALL)
        return True

    def draw() -> bool:
        for psam in motifs:
            psam.draw()
        return True

    yield shrink
    yield lambda: True
    yield draw


class _Search:
    """The best point so far."""

    def __init__(self, objective: CountObjective) -> None:
        self._objective = objective
        self._start = self._point = objective.free.get()
        self.best = float("inf")
        self.tried = 0

    def try_all(self, ways: Iterator[Callable[[], bool]]) -> bool:
        """Begin in several ways, each from the best point; tell whether one is better.

        While there is no best point yet, each begins from the start.
        """
        free = self._objective.free
        origin, improved = self._point, False
        for begin in ways:
            free.set(origin)
            if not begin():
                continue
            self.tried += 1
            value, point = self._fitted()
            if value < self.best:
                self.best, self._point, improved = value, point, True
        return improved

    def _fitted(self) -> tuple[float, Tensor]:
        steps = TrustRegion(self._objective).iterate()
        value = float("inf")
        for loss in islice(steps, MOST_STEPS):
            value = float(loss.negloglik + loss.regularization)
        return value, self._objective.free.get()

    def finish(self) -> None:
        """Go to the best point; to the start if there is none."""
        self._objective.free.set(self._point)


def _sampled(batch: CountBatch) -> CountBatch:
    """Return a batch of so many probes, drawn at random."""
    if batch.seqs.ndim == 1 or len(batch.seqs) <= MOST_PROBES:
        return batch
    rows = torch.randperm(len(batch.seqs))[:MOST_PROBES].sort().values
    rows = rows.to(batch.seqs.device)
    return CountBatch(batch.seqs[rows], batch.target[rows])
