"""Measurements and their error bars, on the scale on which they are compared.

The first column of a table is y. A second one is a symmetric error e; a second and a
third are a lower and an upper error, e₋ and e₊. Errors are distances from y. With the
observation f, the bar of a measurement and half its length are

    obs = f(y),    lower = f(y − e₋),    upper = f(y + e₊)
    σ = (upper − lower) / 2

with the ends exchanged where f falls. An end that f does not reach (the logarithm of a
number that is not positive) lies at −∞ or ∞, and the other half of the bar counts
twice: σ = upper − obs.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyprobound.errors import PyProBoundError

Observation = Callable[[Tensor], Tensor]


class Measured(NamedTuple):
    """Measurements on the scale of the observation, float64.

    Attributes:
        obs: f(y), (probes,).
        lower: The lower ends of the error bars, (probes,); None without errors.
        upper: The upper ends.
    """

    obs: Tensor
    lower: Tensor | None
    upper: Tensor | None


def measured(target: Tensor, observation: Observation) -> Measured:
    """Return measurements and their error bars as they are observed.

    Args:
        target: (probes, columns) of a table, or (columns,) of one probe.
        observation: f, elementwise.
    """
    y, *errors = torch.atleast_2d(target).to(torch.float64).unbind(1)
    obs = observation(y)
    if not errors:
        return Measured(obs, None, None)
    below, above = observation(y - errors[0]), observation(y + errors[-1])
    falls = (below > obs) | (above < obs)
    lower = torch.where(falls, above, below)
    upper = torch.where(falls, below, above)
    return Measured(
        obs,
        torch.where(lower.isfinite(), lower, -torch.inf),
        torch.where(upper.isfinite(), upper, torch.inf),
    )


def half_bar(obs: Tensor, lower: Tensor | None, upper: Tensor | None) -> Tensor | None:
    """Return σ, half the length of each error bar; None without errors."""
    if lower is None or upper is None:
        return None
    below = torch.where(lower.isfinite(), obs - lower, upper - obs)
    above = torch.where(upper.isfinite(), upper - obs, obs - lower)
    return (below + above) / 2


def check_measurements(target: Tensor, observation: Observation) -> None:
    """Check the measurements of a table.

    Args:
        target: (probes, columns).
        observation: f.

    Raises:
        PyProBoundError: There are more than three columns, or a measurement or its
            error has no place on the scale of the observation; the message names it.
    """
    n_columns = target.shape[1]
    if n_columns > 3:
        msg = (
            f"the table of measurements has {n_columns} columns; give y, y and its"
            " error, or y with a lower and an upper error"
        )
        raise PyProBoundError(msg)
    errors = target[:, 1:]
    if bool((errors < 0).any()):
        row = int((errors < 0).any(1).nonzero()[0])
        msg = (
            f"row {row} (from 0): the error {float(errors[row].min()):g} is negative;"
            " errors are distances from y"
        )
        raise PyProBoundError(msg)
    found = measured(target, observation)
    if found.obs.shape != target.shape[:1]:
        msg = (
            f"observation made the shape {tuple(found.obs.shape)} of"
            f" {tuple(target.shape[:1])}; give an elementwise function"
        )
        raise PyProBoundError(msg)
    wrong = ~found.obs.isfinite()
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        msg = (
            f"row {row} (from 0): the measurement {float(target[row, 0]):g} is observed"
            f" as {float(found.obs[row]):g}; leave it out, or give another observation"
        )
        raise PyProBoundError(msg)
    sigma = half_bar(*found)
    if sigma is not None and not bool(((sigma > 0) & sigma.isfinite()).all()):
        row = int((~((sigma > 0) & sigma.isfinite())).nonzero()[0])
        msg = (
            f"row {row} (from 0): the measurement {float(target[row, 0]):g} has an"
            f" error bar of half length {float(sigma[row]):g}; give errors above 0, or"
            " none at all"
        )
        raise PyProBoundError(msg)
