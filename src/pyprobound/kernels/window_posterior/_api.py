"""The public function for the posterior over windows: it checks, then calls on."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import (
    check_channel_bias,
    check_filters,
    check_float,
    check_group,
    check_hill,
    check_sequences,
)
from pyprobound.kernels.window_posterior import _reference

Posterior: TypeAlias = Callable[[slice], Tensor]
"""Maps a piece of the probes to their weights (n, C, W)."""


def window_posterior(
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
) -> Posterior:
    """Return what gives each window its share in the sum over windows.

    π[n, c, x] = exp( h · (score[n, c, x] + log_bias[group[n], c, x]) − X[n] )

    with X of `log_sum_windows`, of which π is the gradient by the scaled scores. There
    is no gradient of it. Weights are made for a piece of the probes at a time, as they
    take far more memory than their sums; what all pieces need is made once.

    Args:
        seqs: As in `log_sum_windows`, and so are all others.
        filters: Weights −ΔΔG/RT.
        embedding: Fractions of letters.
        pad: The code that is never scored.
        dilation: Distance between neighbouring positions of the filter.
        bias: Bias of each channel.
        log_bias: Position bias (G, C, W) of each group of probes.
        group: Index (N,) of each probe's group; None if G is 1.
        hill: Positive Hill coefficient, 0-dimensional; None is 1.

    Returns:
        A function of a slice of the probes that returns their weights (n, C, W), of the
        type of the filters: 0 where a window cannot be bound, and all 0 in a probe
        without any that can.

    Raises:
        ValueError: A shape does not fit, or pairs come with a dilation above 1.
        TypeError: Codes or groups are not integers, or weights not float32 or float64.
    """
    check_filters(filters, dilation)
    check_sequences(seqs, embedding, pad, filters)
    check_channel_bias(bias, filters)
    check_hill(hill)
    if log_bias is not None:
        check_float("log_bias", log_bias, filters[0].dtype)
        check_group(group, len(seqs), len(log_bias))
    n_scores = seqs.numel() * len(filters[0])
    module = implementation("window_posterior", filters[0].device, n_scores)
    made: Posterior = (module or _reference).window_posterior(
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
    return made
