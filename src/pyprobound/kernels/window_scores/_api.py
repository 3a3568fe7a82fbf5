"""The public functions for window scores: they check, then call the reference."""

from collections.abc import Sequence

from torch import Tensor

from pyprobound.kernels._backends import implementation
from pyprobound.kernels._checks import (
    check_channel_bias,
    check_filters,
    check_float,
    check_sequences,
)
from pyprobound.kernels.window_scores import _reference


def window_scores(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    *,
    dilation: int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Score every window of every probe on every channel.

    Window x covers the letters x, x + dilation, …, x + dilation·(k − 1). Its score is
    Σ (fraction of the letter) · (weight), plus, for pairs, Σ (product of the two
    fractions) · (weight). A window that touches `pad` is −∞, and so is one with a
    positive fraction of a letter (or pair) whose weight is −∞.

    Args:
        seqs: Codes (N, L) of any integer type.
        filters: Weights −ΔΔG/RT: of single letters (C, A, k), then of pairs at distance
            d = 1, 2, … (C, A, A, k − d), as many as there are.
        embedding: Fractions of the A letters that each code stands for, (n_codes, A).
            A row of zeros scores 0.
        pad: The code that is never scored.
        dilation: Distance in letters between neighbouring positions of the filter.
        bias: Added to all windows of a channel, (C,).

    Returns:
        Scores (N, C, W) with W = L − dilation·(k − 1), or 0 if that is negative.
        Gradients are finite; those of a window that is −∞ are zero.

    Raises:
        ValueError: A shape does not fit, or pairs come with a dilation above 1.
        TypeError: Codes are not integers, or weights not float32 or float64.
    """
    check_filters(filters, dilation)
    check_sequences(seqs, embedding, pad, filters)
    check_channel_bias(bias, filters)
    n_scores = seqs.numel() * len(filters[0])
    module = implementation("window_scores", filters[0].device, n_scores)
    windows: Tensor = (module or _reference).window_scores(
        seqs, filters, embedding, pad, dilation, bias
    )
    return windows


def soft_window_scores(
    x: Tensor,
    filters: Sequence[Tensor],
    *,
    dilation: int = 1,
    bias: Tensor | None = None,
    unfold: bool = False,
) -> Tensor:
    """Score every window of sequences given as fractions of letters.

    Args:
        x: Fractions (N, A, L), differentiable. A position that is −∞ in its channels is
            padding: windows that touch it are −∞.
        filters: As in `window_scores`.
        dilation: As in `window_scores`.
        bias: As in `window_scores`.
        unfold: Copy out every window before it is multiplied with the filter, instead
            of sliding the filter: more memory, the same values.

    Returns:
        Scores (N, C, W), as in `window_scores`.

    Raises:
        ValueError: A shape does not fit, or pairs come with a dilation above 1.
        TypeError: Fractions or weights are not float32 or float64, or differ in type.
    """
    check_filters(filters, dilation)
    if x.ndim != 3 or x.shape[1] != filters[0].shape[1]:
        letters = filters[0].shape[1]
        raise ValueError(
            f"x has shape {tuple(x.shape)}; these filters need (N, {letters}, L)"
        )
    check_float("x", x, filters[0].dtype)
    check_channel_bias(bias, filters)
    return _reference.soft_window_scores(x, filters, dilation, bias, unfold=unfold)
