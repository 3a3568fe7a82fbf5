"""The energies of a PSAM as they are drawn: which strand, which gauge, which errors."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.layers import PSAM
from pyprobound.layers.psam import with_reverse
from pyprobound.uncertainty import ErrorBars

Array = NDArray[np.float64]

ENERGY = "−ΔΔG/RT"
"""What axes of energies are called."""


@dataclass(frozen=True)
class Energies:
    """−ΔΔG/RT of letters, or of pairs of letters.

    Attributes:
        value: (forward channels, letters, positions), or (forward channels, letters,
            letters, positions − distance).
        error: Their standard errors, shaped alike, NaN where the data do not identify
            the value; None where they are not known.
    """

    value: Array
    error: Array | None


def letter_energies(
    psam: PSAM,
    *,
    reverse: bool = False,
    fix_gauge: bool = True,
    mean_center: bool = True,
    errors: ErrorBars | None = None,
) -> Energies:
    """Return the energies of letters; the PSAM stays as it is.

    Args:
        psam: The PSAM.
        reverse: Whether to return those of the reverse complement.
        fix_gauge: Whether the letters get the single-letter content of pairs.
        mean_center: Whether each position's mean is taken off.
        errors: Where errors come from.

    Raises:
        PyProBoundError: Some are not finite, or there is no reverse complement.
    """

    def wanted() -> Tensor:
        values = _filter(psam, 0, fix_gauge=fix_gauge)
        return values - values.mean(1, keepdim=True) if mean_center else values

    check_reverse(psam, reverse=reverse)
    return _energies(psam, wanted, errors, reverse=reverse)


def pair_energies(
    psam: PSAM,
    distance: int,
    *,
    reverse: bool = False,
    fix_gauge: bool = True,
    errors: ErrorBars | None = None,
) -> Energies:
    """Return the energies of pairs of letters; the PSAM stays as it is.

    Args:
        psam: The PSAM.
        distance: From the first letter to the second.
        reverse: Whether to return those of the reverse complement.
        fix_gauge: Whether the letters get the single-letter content of pairs.
        errors: Where errors come from.

    Raises:
        PyProBoundError: Some are not finite, or there is no reverse complement.
    """
    check_reverse(psam, reverse=reverse)
    return _energies(
        psam,
        lambda: _filter(psam, distance, fix_gauge=fix_gauge),
        errors,
        reverse=reverse,
    )


def letters_of(psam: PSAM) -> tuple[str, ...]:
    """Return the names of the channels that go in."""
    if psam.alphabet is None:
        return tuple(map(str, range(psam.in_channels)))
    return psam.alphabet.alphabet


def positions_of(psam: PSAM, *, reverse: bool) -> list[int]:
    """Return the number of each position as it is drawn, 1 being the motif's first."""
    numbers = [1 + i * psam.dilation for i in range(psam.kernel_size)]
    return numbers[::-1] if reverse else numbers


def check_reverse(psam: PSAM, *, reverse: bool) -> None:
    """Raise PyProBoundError if a reverse complement is asked for and there is none."""
    has_one = psam.score_reverse if psam.alphabet is None else psam.alphabet.complement
    if reverse and not has_one:
        letters = "" if psam.alphabet is None else f" of {psam.alphabet!r}"
        msg = (
            f"reverse: the letters{letters} have no complement; draw {psam} without"
            " reverse"
        )
        raise PyProBoundError(msg)


def check_channel(psam: PSAM, channel: int) -> None:
    """Raise PyProBoundError unless a PSAM has such a forward channel."""
    channels = psam.betas.channels
    if not 0 <= channel < channels:
        msg = f"channel {channel}: {psam} has 0 … {channels - 1} on the forward strand"
        raise PyProBoundError(msg)


def inches(ax: Axes) -> tuple[float, float]:
    """Return the width and height of axes."""
    box = ax.get_window_extent()
    dpi = ax.figure.dpi
    return box.width / dpi, box.height / dpi


def wrapped(text: str, width: float) -> str:
    """Return the label of an axis in lines that fit into so many inches."""
    letters = max(20, int(14 * width))
    lines = [textwrap.fill(line, letters) for line in text.split("\n")]
    return "\n".join(lines)


def height_of(label: str) -> float:
    """Return the inches that the label of an axis takes."""
    return 0.15 * (1 + label.count("\n"))


def _filter(psam: PSAM, distance: int, *, fix_gauge: bool) -> Tensor:
    """Return a filter of the forward strand."""
    if fix_gauge:
        return psam.gauge_fixed()[0][distance].double()
    return psam.get_filter(distance)[: psam.betas.channels].double()


def _energies(
    psam: PSAM, wanted: Callable[[], Tensor], errors: ErrorBars | None, *, reverse: bool
) -> Energies:
    with torch.no_grad():
        value = wanted()
    if not bool(value.isfinite().all()):
        position = int((~value.isfinite()).nonzero()[0, -1])
        msg = (
            f"{psam}: energies at position {position + 1} are not finite; a picture"
            " needs finite ones"
        )
        raise PyProBoundError(msg)
    error = None if errors is None else errors.of(wanted, is_linear=True).error
    return Energies(
        _as_drawn(value, reverse=reverse),
        None if error is None else _as_drawn(error, reverse=reverse),
    )


def _as_drawn(values: Tensor, *, reverse: bool) -> Array:
    if reverse:
        values = with_reverse(values)[len(values) :]
    return values.detach().cpu().numpy()
