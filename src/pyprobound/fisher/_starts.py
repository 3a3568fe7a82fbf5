"""Where a motif that begins from noise begins: short fits of a sample of the probes.

From small random betas the first steps follow the data, not the noise, and mostly lead
to one motif; a few more starts, and the motif moved by a position, guard against the
others. Each start is fitted to some thousand probes, and the best goes on with all.

A motif that has grown is moved by a position in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from pyprobound.aggregate import Contribution
from pyprobound.base import Call
from pyprobound.fisher._objective import CountObjective
from pyprobound.fisher._trust_region import TrustRegion
from pyprobound.layers.psam import PSAM
from pyprobound.loss import MultiExperimentLoss
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch

MOST_PROBES = 20_000
MOST_STEPS, FEW_STEPS = 30, 4
MOST_SHIFTS, MOST_CANDIDATES = 3, 3
CLOSE = 3e-3
"""The loss per read by which motifs are compared again."""

ALIKE = 0.4
"""How far motifs that are taken for the same one may be apart, as a part of them."""

ROUGH = 1e-5
"""The predicted decrease that ends a short fit."""

SMALL = 0.03
"""A start of which the noise decides nothing, as a part of the usual one."""


def motifs_of_noise(model: nn.Module) -> list[PSAM]:
    """Return the PSAMs that are about to be trained from a random start."""
    return [
        module
        for module in model.modules()
        if isinstance(module, PSAM)
        and module.betas.packed(0).requires_grad
        and module.is_noise
    ]


@dataclass(frozen=True)
class Start:
    """How motifs of noise were started.

    Attributes:
        text: In words.
        passes: How often the tables have been gone through, samples counting as the
            part that they are.
    """

    text: str
    passes: float


def grown_motifs(calls: Iterable[Call]) -> list[PSAM]:
    """Return the PSAMs whose footprints an edit makes longer, if they are trained."""
    return [
        call.cmpt
        for call in calls
        if isinstance(call.cmpt, PSAM)
        and call.fun == "update_footprint"
        and call.kwargs.get("left_shift", 0) + call.kwargs.get("right_shift", 0) > 0
        and call.cmpt.betas.packed(0).requires_grad
    ]


def choose_start(model: MultiExperimentLoss, batches: Sequence[CountBatch]) -> Start:
    """Move motifs that are noise to the best of several starts.

    All that is trained moves with them, activities and depths too, to where a short fit
    left them.

    Args:
        model: The loss.
        batches: A table for each of its experiments.

    Returns:
        What was done.
    """
    motifs = motifs_of_noise(model)
    with _activities_trained(model):
        rough, whole = _searches(model, batches, motifs)
        small, drawn, again = _draws(motifs)
        rough.try_all([small, drawn])
        if len(rough.candidates()) > 1:  # they do not agree
            rough.try_all([again], afresh=True)
        rough.slide(MOST_SHIFTS)
        return _settled(rough, whole)


def choose_frame(
    model: MultiExperimentLoss, batches: Sequence[CountBatch], motifs: Sequence[PSAM]
) -> Start:
    """Move motifs whose footprint has changed a position to either side, if that helps.

    A footprint that has grown by one position on both sides may be better off with two
    on one side: to the fit these are minima apart.

    Args:
        model: The loss.
        batches: A table for each of its experiments.
        motifs: The motifs, all of which are trained.

    Returns:
        What was done.
    """
    with _activities_trained(model):
        rough, whole = _searches(model, batches, motifs)
        rough.try_all([lambda: True])
        if rough.slide(1):
            return _settled(rough, whole)
        rough.go_back()
        passes = rough.passes * rough.probes / whole.probes
        return Start(f"stays where it is, of {rough.tried} frames", passes)


def _searches(
    model: MultiExperimentLoss,
    batches: Sequence[CountBatch],
    motifs: Sequence[PSAM],
) -> tuple["_Search", "_Search"]:
    """Return a search on a sample and one on all, which is the same if they are few."""
    sample = [_sampled(batch) for batch in batches]
    rough = _Search(CountObjective(model, sample), motifs, MOST_STEPS)
    if all(a is b for a, b in zip(sample, batches, strict=True)):
        return rough, rough
    whole = CountObjective(model, batches)
    return rough, _Search(whole, motifs, FEW_STEPS)


def _settled(rough: "_Search", whole: "_Search") -> Start:
    """Go to the best point of all.

    The sample cannot tell motifs apart that are worth nearly the same.
    """
    text = f"best of {rough.tried} starts on {rough.probes} probes: {rough.best:.7g}"
    passes = float(rough.passes)
    if whole is not rough:
        whole.compare(rough.candidates())
        passes = rough.passes * rough.probes / whole.probes + whole.passes
    whole.finish()
    return Start(text + rough.unfinished, passes)


@contextmanager
def _activities_trained(model: MultiExperimentLoss) -> Iterator[None]:
    """Let activities and depths take part: a motif is judged by its worth."""
    held: list[tuple[Contribution | BaseRound, str, Tensor]] = []
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
            parameter.requires_grad_(False)


def _draws(motifs: Sequence[PSAM]) -> Sequence[Callable[[], bool]]:
    """Return ways to begin; each tells whether it could."""

    def shrink() -> bool:
        for psam in motifs:
            psam.shrink(SMALL)
        return True

    def draw() -> bool:
        for psam in motifs:
            psam.draw()
        return True

    return shrink, lambda: True, draw


@dataclass(frozen=True)
class _Fit:
    """A short fit: the loss it leads to, its parameters, and the motifs' letters."""

    value: float
    point: Tensor
    letters: list[Tensor]

    def resembles(self, other: "_Fit") -> bool:
        """Tell whether the motifs are the same, on whichever strand."""
        return all(
            _is_alike(mine, its)
            for mine, its in zip(self.letters, other.letters, strict=True)
        )


def _is_alike(first: Tensor, second: Tensor) -> bool:
    """Tell whether two filters (channels, letters, positions) are nearly the same."""
    first, second = (each - each.mean(1, keepdim=True) for each in (first, second))
    # The other strand is the second half of the channels.
    apart = min(
        float((first - each).norm())
        for each in (second, second.roll(len(second) // 2, 0))
    )
    return apart < ALIKE * float(first.norm() + second.norm()) / 2


class _Search:
    """Short fits of one objective, and the best point so far."""

    def __init__(
        self,
        objective: CountObjective,
        motifs: Sequence[PSAM],
        most_steps: int,
    ) -> None:
        self._objective, self._most_steps = objective, most_steps
        self._motifs = motifs
        self._start = self._point = objective.free.get()
        self._found: list[_Fit] = []
        self._n_unfinished = 0
        self.best = float("inf")
        self.tried = 0

    @property
    def probes(self) -> int:
        """How many probes the fits go through."""
        return self._objective.n_probes

    @property
    def passes(self) -> int:
        """How often the probes have been gone through."""
        return self._objective.passes

    @property
    def unfinished(self) -> str:
        """What is to be said about fits that were cut short."""
        if not self._n_unfinished:
            return ""
        return f" ({self._n_unfinished} of them ended after {self._most_steps} steps)"

    def slide(self, most: int) -> bool:
        """Move the motifs of the best point by a position, as long as that is better.

        Args:
            most: How often to either side.

        Returns:
            Whether any other place is better.
        """
        before = self.best
        for psam in self._motifs:
            for by in (1, -1):
                for _ in range(most):
                    if not self.try_all([partial(psam.slide, by)]):
                        break
        return self.best < before

    def try_all(
        self, ways: Sequence[Callable[[], bool]], *, afresh: bool = False
    ) -> bool:
        """Begin in several ways, each from the best point before any of them.

        Args:
            ways: Each changes the parameters, and tells whether it could.
            afresh: Whether to begin from where the search began.

        Returns:
            Whether one is better.
        """
        free = self._objective.free
        origin, before = self._start if afresh else self._point, self.best
        for begin in ways:
            free.set(origin)
            if begin():
                self._fit()
        return self.best < before

    def compare(self, points: Sequence[Tensor]) -> None:
        """Begin at several points; a single one needs no comparison."""
        self._point = points[0]
        if len(points) == 1:
            return
        for point in points:
            self._objective.free.set(point)
            self._fit()

    def _fit(self) -> None:
        self.tried += 1
        region = TrustRegion(self._objective, tolerance=ROUGH)
        for _ in islice(region.iterate(), self._most_steps):
            pass
        self._n_unfinished += not region.reason
        value = region.promise
        point = self._objective.free.get()
        letters = [psam.get_filter(0).detach() for psam in self._motifs]
        self._found.append(_Fit(value, point, letters))
        if value < self.best:
            self.best, self._point = value, point

    def candidates(self) -> list[Tensor]:
        """Return the best points that are different motifs, the best one first."""
        kept: list[_Fit] = []
        for fit in sorted(self._found, key=lambda each: each.value):
            is_new = not any(fit.resembles(other) for other in kept)
            if is_new and fit.value < self.best + CLOSE:
                kept.append(fit)
        return [fit.point for fit in kept[:MOST_CANDIDATES]] or [self._point]

    def go_back(self) -> None:
        """Go to where the search began."""
        self._objective.free.set(self._start)

    def finish(self) -> None:
        """Go to the best point; to where it began if there is none."""
        self._objective.free.set(self._point)


def _sampled(batch: CountBatch) -> CountBatch:
    """Return a batch of so many probes, drawn at random."""
    if batch.seqs.ndim == 1 or len(batch.seqs) <= MOST_PROBES:
        return batch
    rows = torch.randperm(len(batch.seqs))[:MOST_PROBES].sort().values
    rows = rows.to(batch.seqs.device)
    return CountBatch(batch.seqs[rows], batch.target[rows])
