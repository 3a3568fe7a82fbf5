"""What a model says in a gauge that leaves nothing to choice, differentiable.

    letters         mean 0 at each position; pairs hold no single-letter content
    position bias   mean 0 over the entries that the data see
    log ω           0 at a reference arrangement; a dimer's bias has mean 0 along
                    each diagonal
    log α + h · (what was moved)

where for a mode with Hill coefficient h the constants of its letters and of its bias
are moved, and for a dimer those of both of its modes and the reference's log ω.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.layers.conv0d import Conv0d
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.layer import Layer
from pyprobound.mode import Mode

Seen = Callable[[Tensor], Tensor]
"""Tells which entries of a parameter the data say anything about."""


def psam_constant(mode: Mode) -> Tensor:
    """Return what centring the letters of a motif takes off every window's score.

    Strands and channels share it, unless a PSAM has several forward channels: then a
    single number does not say it, and nothing is taken off.
    """
    last = mode.chain[-1]
    if not isinstance(last, Conv1d) or last.layer_spec.betas.channels > 1:
        return torch.zeros_like(mode.log_hill)
    return last.layer_spec.gauge_fixed()[1][0]


def stored_bias(layer: Layer) -> Tensor | None:
    """Return the position bias of a layer as it is stored; None if it has none."""
    if isinstance(layer, Conv1d):
        bias: Tensor = layer.log_posbias
        return bias - bias.mean(-1, keepdim=True) if layer.normalize else bias
    return layer.log_posbias if isinstance(layer, Conv0d) else None


def bias_mean(layer: Layer, seen: Seen) -> Tensor | None:
    """Return the mean position bias over what is seen; None without a bias."""
    bias = stored_bias(layer)
    if bias is None or not isinstance(layer, Conv0d | Conv1d):
        return None
    return _mean(bias, seen(layer.log_posbias))


def diagonal_means(dimer: Cooperativity, seen: Seen) -> Tensor:
    """Return the mean bias along each diagonal, (strands_a, strands_b, offsets)."""
    columns = []
    for bias in dimer.log_posbias:
        values = bias - bias.mean(-1, keepdim=True) if dimer.normalize else bias
        known = seen(bias)
        rows = [
            [
                _mean(values[:, :, row, column], known[:, :, row, column])
                for column in range(bias.shape[3])
            ]
            for row in range(bias.shape[2])
        ]
        columns.append(torch.stack([torch.stack(row) for row in rows]))
    stored = torch.stack(columns, -1)  # (rows, columns, offsets)
    if dimer.bias_mode == "strand" or dimer.n_strands == 1:
        return stored
    same, opposite = stored[:, 0].unbind(0)
    return torch.stack([torch.stack([same, opposite]), torch.stack([opposite, same])])


def log_omega(dimer: Cooperativity, seen: Seen | None) -> Tensor:
    """Return log ω by strands and offset, −∞ where a pair cannot be.

    Args:
        dimer: The dimer.
        seen: Adds the mean of the dimer's bias along each diagonal; None leaves the
            bias out.
    """
    values = dimer.get_log_spacing()
    return values if seen is None else values + diagonal_means(dimer, seen)


def moved_constant(
    binding: Binding,
    reference: Callable[[Cooperativity], int | None],
    seen: Seen | None,
) -> Tensor:
    """Return what the gauge adds to the log activity of a binding.

    Args:
        binding: A mode, a dimer or any other, which has no constant.
        reference: The place of a dimer's reference in its flattened log ω.
        seen: For the means of position biases; None leaves the biases out.
    """
    if isinstance(binding, Cooperativity):
        moved = _window_constant(binding.mode_a, seen)
        moved = moved + _window_constant(binding.mode_b, seen)
        place = reference(binding)
        if place is not None:
            moved = moved + log_omega(binding, seen).flatten()[place]
        return binding.log_hill.exp() * moved
    if isinstance(binding, Mode):
        return binding.log_hill.exp() * _window_constant(binding, seen)
    return torch.zeros(())


def _window_constant(mode: Mode, seen: Seen | None) -> Tensor:
    constant = psam_constant(mode)
    mean = None if seen is None else bias_mean(mode.chain[-1], seen)
    return constant if mean is None else constant + mean


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean over the known entries; over all if there is none."""
    known = known.to(values.device)
    if not bool(known.any()):
        return values.mean()
    return values[known].mean()


def best_site(mode: Mode) -> Tensor | None:
    """Return the score of the site of the best letters, less the gauge's constant.

    Returns:
        A scalar; None where no letters can be told (several channels, no motif).
    """
    last = mode.chain[-1]
    if not isinstance(last, Conv1d) or last.layer_spec.betas.channels > 1:
        return None
    filters = [each[0] for each in last.layer_spec.gauge_fixed()[0]]
    letters = filters[0].detach().argmax(0)
    places = torch.arange(len(letters))
    total = filters[0][letters, places].sum()
    for distance, pairs in enumerate(filters[1:], 1):
        first, second = letters[:-distance], letters[distance:]
        total = total + pairs[first, second, places[:-distance]].sum()
    return total
