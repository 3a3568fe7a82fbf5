"""Position biases as tables of probe length × window, with their errors."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyprobound.errors import PyProBoundError
from pyprobound.layers import Conv0d, Conv1d, Layer, RollSpec
from pyprobound.mode import Mode
from pyprobound.uncertainty import ErrorBars

LENGTH = "letters per probe"
WINDOW = "first letter of the window"
BOTH = "both strands"
_STRANDS = ("+ strand", "\N{MINUS SIGN} strand")


@dataclass(frozen=True)
class BiasTables:
    """The log position bias of a layer, less its mean.

    Attributes:
        bias: By strand or channel a table of probe lengths × windows; NaN where no
            probe of that length has such a window.
        errors: Standard errors, in tables of the same shapes; NaN where the data do
            not identify the bias. None where they are not known.
    """

    bias: dict[str, pd.DataFrame]
    errors: dict[str, pd.DataFrame] | None

    @property
    def n_lengths(self) -> int:
        """The number of probe lengths that have a bias of their own."""
        return len(next(iter(self.bias.values())))

    @property
    def is_biased(self) -> bool:
        """Whether any value differs from another one."""
        tables = (table.fillna(0).to_numpy() for table in self.bias.values())
        return any(bool(table.any()) for table in tables)

    def joined(self) -> "BiasTables":
        """Return a single table, its rows the strands, of tables with one length."""

        def stacked(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
            frame = pd.concat(list(tables.values()))
            frame.index = pd.Index(tables, name=None)
            return {"": frame}

        errors = None if self.errors is None else stacked(self.errors)
        return BiasTables(stacked(self.bias), errors)


def biased_layer(binding: Conv0d | Conv1d | Mode) -> Conv0d | Conv1d:
    """Return the layer that has a position bias: itself, or the last one of a mode.

    Raises:
        PyProBoundError: There is none.
    """
    chain = reversed(binding.chain) if isinstance(binding, Mode) else [binding]
    for layer in chain:
        if isinstance(layer, Conv0d | Conv1d):
            return layer
    msg = f"{binding} has no position bias; give a mode that ends in a Conv1d or Conv0d"
    raise PyProBoundError(msg)


def bias_tables(
    binding: Conv0d | Conv1d | Mode, errors: ErrorBars | None = None
) -> BiasTables:
    """Return the position bias of a layer or mode.

    Windows are numbered by their first letter, from 1, in the scored sequence: what
    padding before the layer adds or trims is allowed for if the mode is given. The mean
    that is taken off is that over all entries, of those that the data see if there are
    errors.

    Args:
        binding: A layer, or a mode that has one with a bias.
        errors: The model's errors.

    Raises:
        PyProBoundError: The mode has no position bias.
    """
    layer = biased_layer(binding)
    if isinstance(layer, Conv0d):
        return _by_length(layer, errors)
    value, error = _centred(layer, errors)
    first = first_letter(binding)
    columns = pd.Index(
        np.arange(first, first + value.shape[2]), name=WINDOW + _justified(binding)
    )
    rows = _lengths(binding, layer, len(value))
    tables: dict[str, pd.DataFrame] = {}
    reaches: dict[str, pd.DataFrame] = {}
    for channel, name in enumerate(_channel_names(layer)):
        tables[name] = pd.DataFrame(value[:, channel].numpy(), rows, columns)
        reaches[name] = pd.DataFrame(error[:, channel].numpy(), rows, columns)
    if len(tables) > 1 and _are_equal(list(tables.values())):
        tables = {BOTH: next(iter(tables.values()))}
        reaches = {BOTH: next(iter(reaches.values()))}
    return BiasTables(tables, None if errors is None else reaches)


def _centred(layer: Conv1d, errors: ErrorBars | None) -> tuple[Tensor, Tensor]:
    """Return the bias and its error by length, channel and window.

    Lengths are those that probes have, or a single one for all of them; values are NaN
    where there is no window.
    """
    stored = layer.log_posbias.detach().double()
    entry = _by_window(layer, torch.arange(stored.numel()).reshape(stored.shape))
    exists = _exists(layer, entry)
    if errors is None:
        value = layer.get_log_posbias().detach().double()[-len(entry) :].cpu()
        known = _entries(value, entry, exists)
        value, error = value - known.mean(), torch.zeros_like(value)
    else:
        found = errors.position_bias(layer)
        value = _by_window(layer, found.value.cpu())
        error = _by_window(layer, found.error.cpu())
    return value.masked_fill(~exists, torch.nan), error.masked_fill(~exists, torch.nan)


def _by_window(layer: Conv1d, stored: Tensor) -> Tensor:
    """Return stored values by length, channel and window, of lengths that occur."""
    values = layer.by_window(stored)
    if len(values) == 1:
        return values
    return values[layer.min_input_length :]


def _exists(layer: Conv1d, values: Tensor) -> Tensor:
    """Return which windows a probe of each length has."""
    longest = layer.max_input_length
    lengths = range(longest - len(values) + 1, longest + 1)
    windows = torch.tensor([layer.out_len(length) for length in lengths])
    return (torch.arange(values.shape[2]) < windows[:, None, None]).expand(values.shape)


def _entries(value: Tensor, entry: Tensor, exists: Tensor) -> Tensor:
    """Return the value of each stored entry that some window reads."""
    seen, place = np.unique(entry[exists].numpy(), return_index=True)
    assert len(seen) == len(place)
    return value[exists][torch.from_numpy(place)]


def _by_length(layer: Conv0d, errors: ErrorBars | None) -> BiasTables:
    columns = pd.Index(
        np.arange(layer.min_input_length, layer.max_input_length + 1), name=LENGTH
    )
    if errors is None:
        bias = layer.get_log_posbias().detach().double().flatten().cpu()
        bias = bias[layer.min_input_length :]
        value, error = bias - bias.mean(), torch.zeros_like(bias)
    else:
        found = errors.position_bias(layer)
        value, error = found.value.flatten().cpu(), found.error.flatten().cpu()

    def row(numbers: Tensor) -> dict[str, pd.DataFrame]:
        return {"": pd.DataFrame([numbers.tolist()], [""], columns)}

    return BiasTables(row(value), None if errors is None else row(error))


def _lengths(binding: Layer | Mode, layer: Conv1d, count: int) -> pd.Index:
    """Return the lengths of the probes, before anything is added or trimmed."""
    longest = layer.max_input_length
    if isinstance(binding, Mode):
        longest -= sum(sum(each.layer_spec.padding) for each in binding.chain)
    return pd.Index(np.arange(longest - count + 1, longest + 1), name=LENGTH)


def first_letter(binding: Layer | Mode) -> int:
    """Return the number, from 1, of the letter that the first window begins with."""
    if not isinstance(binding, Mode):
        return 1
    return 1 - sum(layer.layer_spec.padding[0] for layer in binding.chain)


def _justified(binding: Layer | Mode) -> str:
    """Say so if probes of variable length do not begin at the same place."""
    if not isinstance(binding, Mode):
        return ""
    specs = [layer.layer_spec for layer in binding.chain]
    rolls = [spec.direction for spec in specs if isinstance(spec, RollSpec)]
    if not rolls or rolls[-1] == "left":
        return ""
    where = {"right": "to the right", "center": "in the centre"}[rolls[-1]]
    return f" (probes justified {where})"


def _channel_names(layer: Conv1d) -> list[str]:
    psam = layer.layer_spec
    channels = layer.out_channel_indexing or list(range(psam.out_channels))
    forward = psam.out_channels // psam.n_strands
    reversible = psam.alphabet is not None and psam.alphabet.complement
    names = []
    for channel in channels:
        parts = [f"channel {channel % forward}"] if forward > 1 else []
        if reversible:
            parts.append(_STRANDS[channel // forward])
        names.append(", ".join(parts))
    return names


def _are_equal(tables: list[pd.DataFrame]) -> bool:
    return all(table.equals(tables[0]) for table in tables[1:])
