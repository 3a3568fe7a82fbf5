"""Tables of position biases hold what the layer adds to its windows."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pyprobound import Mode
from pyprobound.errors import PyProBoundError
from pyprobound.layers import (
    PSAM,
    Conv0d,
    Conv1d,
    ModuleLayer,
    ModuleSpec,
    NonSpecific,
    PadSpec,
    RollSpec,
)
from pyprobound.layers.pad import Pad
from pyprobound.layers.roll import Roll
from pyprobound.plotting._bias_tables import BOTH, bias_tables, biased_layer
from tests.plots.models import ALPHABET, LONGEST, KnownErrors, layer_of

KINDS = [
    {"bias_mode": "channel"},
    {"bias_mode": "same", "bias_bin": 2},
    {"bias_mode": "reverse", "bias_bin": 3},
    {"bias_mode": "channel", "length_specific_bias": False},
    {"bias_mode": "reverse", "length_specific_bias": False},
    {"bias_mode": "same", "length_specific_bias": False, "normalize": True},
    {"bias_mode": "channel", "out_channel_indexing": [1]},
]
SHORTEST = 9


def padded(length: int) -> Tensor:
    """Return a probe of so many letters, padded to the longest."""
    seq = torch.full((1, LONGEST), ALPHABET.neginf_pad)
    seq[0, :length] = 0
    return seq


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shortest", [SHORTEST, LONGEST])
def test_values_are_what_a_layer_adds(kind: dict[str, object], shortest: int) -> None:
    layer = layer_of(shortest=shortest, **kind)
    found = bias_tables(layer)
    shown = np.stack([table.to_numpy() for table in found.bias.values()], 1)
    lengths = next(iter(found.bias.values())).index
    added = []
    for length in lengths:
        with torch.no_grad():
            scores = layer(padded(length))[0].double().numpy()
        if BOTH in found.bias:
            np.testing.assert_array_equal(scores[0], scores[1])
            scores = scores[:1]
        added.append(np.where(np.isfinite(scores), scores, np.nan))
    difference = np.stack(added) - shown
    assert np.array_equal(np.isnan(added), np.isnan(shown))
    assert np.nanmax(difference) - np.nanmin(difference) < 1e-6
    assert len(lengths) in {1, LONGEST - shortest + 1}


def entries_of(layer: Conv1d) -> dict[tuple[int, int, int], int]:
    """Return the stored entry of each place of get_log_posbias, by its derivative."""
    found = {}
    values = layer.get_log_posbias()
    for place in np.ndindex(*values.shape):
        (gradient,) = torch.autograd.grad(
            values[place], layer.log_posbias, retain_graph=True, allow_unused=True
        )
        if gradient is not None and bool(gradient.any()):
            found[place] = int(gradient.flatten().argmax())
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_errors_are_those_of_the_stored_entries(kind: dict[str, object]) -> None:
    if kind.get("normalize"):
        kind = kind | {"normalize": False}  # else an entry depends on all of them
    layer = layer_of(shortest=SHORTEST, **kind)
    known = KnownErrors().position_bias(layer)
    found = bias_tables(layer, KnownErrors())
    assert found.errors is not None
    by_place = entries_of(layer)
    n_lengths = len(layer.get_log_posbias())
    for channel, name in enumerate(found.bias):
        values, errors = found.bias[name], found.errors[name]
        for row, column in zip(*np.nonzero(values.notna().to_numpy()), strict=True):
            length = n_lengths - len(values) + row
            entry = by_place[length, channel, column]
            pair = values.iloc[row, column], errors.iloc[row, column]
            expected = known.value.flatten()[entry], known.error.flatten()[entry]
            np.testing.assert_allclose(pair, [float(x) for x in expected], rtol=1e-12)


def test_the_mean_is_that_of_the_entries_that_probes_have() -> None:
    layer = layer_of(shortest=SHORTEST, bias_bin=2, bias_mode="same")
    (table,) = bias_tables(layer).bias.values()
    ones = [row.dropna().to_numpy()[::2] for _, row in table.iterrows()]
    assert abs(np.concatenate(ones).mean()) < 1e-7


def test_windows_are_counted_in_the_scored_sequence() -> None:
    # two letters are trimmed off on the left and one on the right
    spec, psam = PadSpec(ALPHABET, -2, -1), PSAM(1, ALPHABET, score_reverse=False)
    pad = Pad(spec, LONGEST, LONGEST, LONGEST)
    mode = Mode([pad, Conv1d.from_psam(psam, pad, train_posbias=True)])
    with torch.no_grad():
        psam.betas["1-2"].fill_(50.0)
    (table,) = bias_tables(mode).bias.values()
    for letter in range(3, LONGEST):
        seq = torch.zeros((1, LONGEST), dtype=torch.long)
        seq[0, letter - 1] = 2
        assert table.columns[int(mode.score_windows(seq)[0, 0].argmax())] == letter
    assert list(table.index) == [LONGEST]
    assert (table.columns[0], table.columns[-1]) == (3, LONGEST - 1)


def test_justified_probes_are_said_to_be() -> None:
    roll = Roll(RollSpec(ALPHABET, "right"), LONGEST, SHORTEST, LONGEST)
    mode = Mode([roll, Conv1d.from_psam(PSAM(3, ALPHABET), roll, train_posbias=True)])
    table = bias_tables(mode).bias[BOTH]
    said = "first letter of the window (probes justified to the right)"
    assert table.columns.name == said


def test_non_specific_binding_has_a_bias_by_length() -> None:
    layer = Conv0d(NonSpecific(ALPHABET), LONGEST, SHORTEST, LONGEST, True)
    with torch.no_grad():
        layer.log_posbias.copy_(torch.arange(4.0)[:, None, None])
    found = bias_tables(Mode([layer]))
    pd.testing.assert_frame_equal(
        found.bias[""],
        pd.DataFrame(
            [[-1.5, -0.5, 0.5, 1.5]],
            index=[""],
            columns=pd.Index(range(SHORTEST, LONGEST + 1), name="letters per probe"),
        ),
        check_column_type=False,
    )
    assert found.errors is None
    assert found.is_biased


def test_a_mode_without_a_bias_is_refused() -> None:
    module = ModuleLayer(
        ModuleSpec(ALPHABET, torch.nn.Flatten()), LONGEST, LONGEST, LONGEST
    )
    with pytest.raises(PyProBoundError, match="no position bias"):
        biased_layer(Mode([module]))


def test_strands_without_a_difference_are_one() -> None:
    found = bias_tables(layer_of(bias_mode="same"))
    assert list(found.bias) == [BOTH]
    assert list(bias_tables(layer_of()).bias) == ["+ strand", "− strand"]
    psam = PSAM(2, ALPHABET, out_channels=4)
    layer = Conv1d(psam, LONGEST, LONGEST, LONGEST, train_posbias=True)
    with torch.no_grad():
        layer.log_posbias.normal_()
    assert list(bias_tables(layer).bias) == [
        "channel 0, + strand",
        "channel 1, + strand",
        "channel 0, − strand",
        "channel 1, − strand",
    ]
