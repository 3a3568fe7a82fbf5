"""Where a regression begins: the best of many overall activities and backgrounds.

The scale of Z is that of the experiment in which the model was trained. Where another
assay saturates, no step may lead there, so that all scales are tried: log Z + s.

With x = pred(log Z + s), slope and intercept have closed forms. `Fit` is a weighted
linear regression. `LogFit` is log obs ≈ m + log(e^x + e^t) with t = b − m: for each t,
m is a weighted mean, and all t are tried.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

N_SCALES = 41
BEYOND = 6.0
"""How far the scales that are tried go beyond those where Z is 1 for some probe."""

N_BACKGROUNDS = 64
GAIN = 1e-6
"""The part of the loss by which starts, or where they lead, count as different."""

MOST_PROBES = 10_000


class Start(NamedTuple):
    """Where a regression may begin.

    Attributes:
        loss: The mean of χ² there.
        m: Slope, or log of the signal.
        b: Intercept, or log of the background.
        shift: What is added to all log activities.
    """

    loss: float
    m: float
    b: float
    shift: float = 0.0


Offsets = Callable[[Tensor, Tensor, Tensor], Start]
"""The best m and b, given x, obs, and the weights 1/σ² of the measurements."""


def best_starts(
    log_z: Tensor,
    obs: Tensor,
    weights: Tensor,
    prediction: Callable[[Tensor], Tensor],
    offsets: Offsets,
    *,
    scales: bool,
) -> list[Start]:
    """Return good starts, the best first.

    Args:
        log_z: (probes,) log Z, some of it −∞.
        obs: (probes,) what was observed.
        weights: (probes,) 1/σ².
        prediction: Makes x of log Z.
        offsets: Finds m and b.
        scales: Whether other overall activities are tried.

    Returns:
        The best start at the model's own scale; with scales, the best where no probe is
        saturated, where some are, and where all are, too. Those that are no other than
        the model's own, because the scale of Z does not matter, are left out.
    """
    known = offsets(prediction(log_z), obs, weights)
    present = log_z[log_z.isfinite()]
    if not scales or len(present) == 0:
        return [known]
    low, high = -float(present.max()), -float(present.min())
    best: dict[tuple[bool, bool], Start] = {}
    for shift in torch.linspace(low - BEYOND, high + BEYOND, N_SCALES).tolist():
        found = offsets(prediction(log_z + shift), obs, weights)
        regime = shift > low, shift > high
        if regime not in best or found.loss < best[regime].loss:
            best[regime] = found._replace(shift=shift)
    others = [x for x in best.values() if abs(x.loss - known.loss) > GAIN * known.loss]
    return sorted([known, *others])


def sampled(
    log_z: Tensor, obs: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log Z and other values of `MOST_PROBES` probes, evenly by log Z."""
    every = -(-len(log_z) // MOST_PROBES)
    rows = log_z.argsort()[::every]
    return log_z[rows], obs[rows], weights[rows]


def linear_offsets(x: Tensor, obs: Tensor, weights: Tensor) -> Start:
    """Return slope and intercept of a weighted linear regression.

    Where x does not vary, or is not finite, the slope is 0.
    """
    total = weights.sum()
    mean_x, mean_y = (weights @ x) / total, (weights @ obs) / total
    dx, dy = x - mean_x, obs - mean_y
    spread = weights @ dx.square()
    slope = torch.where(spread > 0, (weights @ (dx * dy)) / spread, 0.0)
    if not bool(slope.isfinite()):
        slope, mean_x = torch.zeros_like(mean_y), torch.zeros_like(mean_y)
    left = dy - slope * (x - mean_x).nan_to_num(0.0, 0.0, 0.0)
    loss = float((weights @ left.square()) / len(obs))
    return Start(loss, float(slope), float(mean_y - slope * mean_x))


def background_offsets(x: Tensor, obs: Tensor, weights: Tensor) -> Start:
    """Return log signal m and log background b that explain logarithms best."""
    present = x[x.isfinite()]
    if len(present) == 0:
        mean = float((weights @ obs) / weights.sum())
        loss = float((weights @ (obs - mean).square()) / len(obs))
        return Start(loss, 0.0, mean)
    low, high = float(present.min()) - BEYOND, float(present.max()) + BEYOND
    starts = []
    for t in torch.linspace(low, high, N_BACKGROUNDS).tolist():
        explained = torch.logaddexp(x, torch.full_like(x, t))
        m = (weights @ (obs - explained)) / weights.sum()
        loss = float((weights @ (obs - m - explained).square()) / len(obs))
        starts.append(Start(loss, float(m), float(m) + t))
    return min(starts)
