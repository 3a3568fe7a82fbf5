"""The public function for features of windows: it checks, then calls on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels.window_features import _reference


def window_features(
    seqs: Tensor,
    weights: Tensor,
    places: Sequence[Tensor],
    embedding: Tensor,
    n_columns: int,
    *,
    dilation: int = 1,
) -> Tensor:
    """Sum the letters that weighted windows meet in each entry of the filters.

        out[n, places[c, a, j]] += Σ_x w[n, c, x] · (fraction of a at x + j·dilation)

    and likewise for pairs. With the posterior over windows as weights it is the
    gradient of the log sum over windows with respect to the filters, probe by probe.

    Args:
        seqs: Codes (N, L) of any integer type.
        weights: (N, C, W); 0 where a window touches padding.
        places: The column of each entry of the filters: of single letters (C, A, k),
            then of pairs at distance d = 1, 2, … (C, A, A, k − d), int64.
        embedding: Fractions of the A letters that each code stands for, (n_codes, A).
        n_columns: One more than the largest column.
        dilation: Distance in letters between neighbouring positions of the filter.

    Returns:
        Sums (N, n_columns), float64.

    Raises:
        ValueError: A shape does not fit.
    """
    channels, _, size = places[0].shape
    n_windows = max(0, seqs.shape[1] - dilation * (size - 1))
    if weights.shape != (len(seqs), channels, n_windows):
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}; these probes and filters need"
            f" ({len(seqs)}, {channels}, {n_windows})"
        )
    out = torch.zeros(
        (len(seqs), n_columns), dtype=torch.float64, device=weights.device
    )
    if n_windows and len(seqs):
        module = implementation("window_features", weights.device, weights.numel())
        (module or _reference).window_features(
            seqs, weights, places, embedding, out, dilation
        )
    return out
