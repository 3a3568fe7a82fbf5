"""The public function for features of windows: it checks, then calls on."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels.window_features import _reference

Features: TypeAlias = Callable[[slice, Tensor, Tensor], None]
"""Adds the features of a piece of the probes, with their weights, to an output."""


def window_features(
    seqs: Tensor,
    places: Sequence[Tensor],
    embedding: Tensor,
    *,
    dilation: int = 1,
) -> Features:
    """Return what adds up the letters that windows meet in each entry of the filters.

        out[n, places[c, a, j]] += Σ_x w[n, c, x] · (fraction of a at x + j·dilation)

    and likewise for pairs. With the posterior over windows as weights it is the
    gradient of the log sum over windows with respect to the filters, probe by probe.
    As these take far more memory than the probes, they are made for a piece at a time.

    Args:
        seqs: Codes (N, L) of any integer type.
        places: The column of each entry of the filters, −1 where it has none: of single
            letters (C, A, k), then of pairs at distance d = 1, 2, … (C, A, A, k − d).
        embedding: Fractions of the A letters that each code stands for, (n_codes, A).
        dilation: Distance in letters between neighbouring positions of the filter.

    Returns:
        A function of a slice of the probes, their weights (n, C, W), 0 where a window
        touches padding, and the output (n, columns), float64, which is changed. It
        raises a ValueError where a shape does not fit.
    """
    channels, _, size = places[0].shape
    n_windows = max(0, seqs.shape[1] - dilation * (size - 1))
    n_scores = len(seqs) * channels * n_windows
    module = implementation("window_features", seqs.device, n_scores)
    add: Features = (module or _reference).window_features(
        seqs, places, embedding, dilation
    )

    def checked(rows: slice, weights: Tensor, out: Tensor) -> None:
        n_probes = len(range(*rows.indices(len(seqs))))
        for name, values, shape in (
            ("weights", weights, (n_probes, channels, n_windows)),
            ("out", out, (n_probes, out.shape[-1])),
        ):
            if tuple(values.shape) != shape:
                raise ValueError(
                    f"{name} has shape {tuple(values.shape)}; these probes and filters"
                    f" need {shape}"
                )
        if n_windows and n_probes:
            add(rows, weights, out)

    return checked
