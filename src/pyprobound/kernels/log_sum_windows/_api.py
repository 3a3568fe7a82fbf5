"""The public functions for sums over windows: they check, then call the reference."""

from collections.abc import Sequence

from torch import Tensor

from pyprobound._numerics import scale_log
from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import (
    check_channel_bias,
    check_filters,
    check_float,
    check_group,
    check_hill,
    check_sequences,
)
from pyprobound.kernels.log_sum_windows import _reference


def log_sum_windows(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    *,
    dilation: int = 1,
    bias: Tensor | None = None,
    log_bias: Tensor | None = None,
    group: Tensor | None = None,
    hill: Tensor | None = None,
) -> Tensor:
    """Sum over the windows of each probe without storing their scores.

    log Σ_{c,x} exp( hill · (score[n, c, x] + log_bias[group[n], c, x]) )

    Args:
        seqs: As in `window_scores`, and so are `filters`, `embedding`, `pad`,
            `dilation` and `bias`.
        filters: Weights −ΔΔG/RT.
        embedding: Fractions of letters.
        pad: The code that is never scored.
        dilation: Distance between neighbouring positions of the filter.
        bias: Bias of each channel.
        log_bias: Position bias (G, C, W) of each group of probes; −∞ excludes windows.
        group: Index (N,) of each probe's group, int32 or int64; None if G is 1.
        hill: Positive Hill coefficient, 0-dimensional; None is 1.

    Returns:
        Log sums (N,); −∞, with zero gradient, where no window is finite.

    Raises:
        ValueError: A shape does not fit, or pairs come with a dilation above 1.
        TypeError: Codes or groups are not integers, or weights not float32 or float64.
    """
    check_filters(filters, dilation)
    check_sequences(seqs, embedding, pad, filters)
    check_channel_bias(bias, filters)
    check_hill(hill)
    if log_bias is not None:
        channels, _, size = filters[0].shape
        n_windows = max(0, seqs.shape[1] - dilation * (size - 1))
        if log_bias.ndim != 3 or tuple(log_bias.shape[1:]) != (channels, n_windows):
            raise ValueError(
                f"log_bias has shape {tuple(log_bias.shape)}; these probes and filters"
                f" need (groups, {channels}, {n_windows})"
            )
        check_float("log_bias", log_bias, filters[0].dtype)
        check_group(group, len(seqs), len(log_bias))
    n_scores = seqs.numel() * len(filters[0])
    module = implementation("log_sum_windows", filters[0].device, n_scores)
    sums: Tensor = (module or _reference).log_sum_windows(
        seqs,
        filters,
        embedding,
        pad,
        dilation=dilation,
        bias=bias,
        log_bias=log_bias,
        group=None if log_bias is None else group,
        hill=hill,
    )
    return sums


def log_sum(windows: Tensor, *, hill: Tensor | None = None) -> Tensor:
    """Sum over windows that are already scored: log Σ_{c,x} exp(hill · windows).

    Args:
        windows: Scores (N, C, W); −∞ is absent.
        hill: Positive Hill coefficient, 0-dimensional; None is 1.

    Returns:
        Log sums (N,); −∞, with zero gradient, where no window is finite.

    Raises:
        ValueError: A shape does not fit.
        TypeError: The scores are neither float32 nor float64.
    """
    if windows.ndim != 3:
        raise ValueError(f"windows has shape {tuple(windows.shape)}, not (N, C, W)")
    check_float("windows", windows)
    check_hill(hill)
    if tuple(windows.shape[1:]) == (1, 1):  # non-specific binding: nothing to sum
        only = windows[:, 0, 0]
        return only if hill is None else scale_log(only, hill)
    module = implementation("log_sum_windows", windows.device, windows.numel())
    sums: Tensor = (module or _reference).log_sum(windows, hill)
    return sums
