"""What the public functions of the kernels demand of their arguments.

Shapes, types, and the range of groups. Codes are not read: a table checks its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)


def check_filters(filters: Sequence[Tensor], dilation: int) -> None:
    """Check shapes and types of the weights of single letters and pairs.

    Args:
        filters: (C, A, k), then (C, A, A, k − d) for pairs at distance d = 1, 2, ….
        dilation: Distance in letters between neighbouring positions of the filter.

    Raises:
        ValueError: A shape does not fit, or pairs come with a dilation.
        TypeError: The weights are neither float32 nor float64, or differ in type.
    """
    if not filters:
        raise ValueError(
            "filters is empty; give at least the single-letter weights (C, A, k)"
        )
    if filters[0].ndim != 3 or 0 in filters[0].shape:
        raise ValueError(
            f"filters[0] has shape {tuple(filters[0].shape)}, not (C, A, k) above 0"
        )
    channels, letters, size = filters[0].shape
    for distance, pairs in enumerate(filters[1:], start=1):
        expected = (channels, letters, letters, size - distance)
        if tuple(pairs.shape) != expected or distance >= size:
            raise ValueError(
                f"filters[{distance}] has shape {tuple(pairs.shape)}; pairs at distance"
                f" {distance} (of {size} positions, so at most {size - 1}) need"
                f" {expected}"
            )
    if dilation < 1 or (dilation > 1 and len(filters) > 1):
        raise ValueError(
            f"dilation {dilation} with {len(filters) - 1} pair distances; it must be at"
            " least 1, and 1 where there are pair weights"
        )
    for weights in filters:
        check_float("filters", weights, filters[0].dtype)


def check_sequences(
    seqs: Tensor, embedding: Tensor, pad: int, filters: Sequence[Tensor]
) -> None:
    """Check codes (N, L) and the table (n_codes, A) of what they stand for.

    Raises:
        ValueError: A shape does not fit, or `pad` is not one of the codes.
        TypeError: The codes are not integers.
    """
    if seqs.is_floating_point() or seqs.is_complex() or seqs.dtype == torch.bool:
        raise TypeError(
            f"seqs has type {seqs.dtype}; codes are integers, soft sequences have"
            f" a function of their own, soft_window_scores"
        )
    if seqs.ndim != 2:
        raise ValueError(f"seqs has shape {tuple(seqs.shape)}, not (N, L)")
    letters = filters[0].shape[1]
    if embedding.ndim != 2 or embedding.shape[1] != letters:
        raise ValueError(
            f"embedding has shape {tuple(embedding.shape)}; filters of {letters}"
            f" letters need (n_codes, {letters})"
        )
    if not 0 <= pad < len(embedding):
        raise ValueError(
            f"pad {pad} is not one of the {len(embedding)} codes of the embedding"
        )


def check_channel_bias(bias: Tensor | None, filters: Sequence[Tensor]) -> None:
    """Check the optional bias (C,) of each channel.

    Raises:
        ValueError: Its shape does not fit.
        TypeError: Its type is not that of the filters.
    """
    if bias is None:
        return
    if tuple(bias.shape) != (len(filters[0]),):
        raise ValueError(
            f"bias has shape {tuple(bias.shape)}, not ({len(filters[0])},)"
        )
    check_float("bias", bias, filters[0].dtype)


def check_group(group: Tensor | None, n_probes: int, n_groups: int) -> None:
    """Check the optional index (N,) of the group that each probe belongs to.

    Raises:
        ValueError: Its length does not fit, it is missing where groups differ, or it
            names a group that is not there.
        TypeError: It holds no integers.
    """
    if group is None:
        if n_groups != 1:
            raise ValueError(
                f"{n_groups} groups without `group`, which says each probe's own"
            )
        return
    if group.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"group has type {group.dtype}; indices are int32 or int64")
    if tuple(group.shape) != (n_probes,):
        raise ValueError(
            f"group has shape {tuple(group.shape)}; {n_probes} probes need"
            f" ({n_probes},)"
        )
    if n_probes and not 0 <= int(group.min()) <= int(group.max()) < n_groups:
        raise ValueError(
            f"group runs from {int(group.min())} to {int(group.max())}; the groups"
            f" are 0 to {n_groups - 1}"
        )


def check_hill(hill: Tensor | None) -> None:
    """Check that the optional Hill coefficient is one number.

    Raises:
        ValueError: It has axes.
    """
    if hill is not None and hill.ndim != 0:
        raise ValueError(
            f"hill has shape {tuple(hill.shape)}; it is one number for all probes"
        )


def check_float(name: str, values: Tensor, dtype: torch.dtype | None = None) -> None:
    """Check that `values` are float32 or float64, and of `dtype` if that is given.

    Raises:
        TypeError: They are not.
    """
    if values.dtype not in FLOATS:
        raise TypeError(
            f"{name} has type {values.dtype}; kernels take float32 and float64"
        )
    if dtype is not None and values.dtype != dtype:
        raise TypeError(
            f"{name} has type {values.dtype} where the other arguments have {dtype}"
        )
