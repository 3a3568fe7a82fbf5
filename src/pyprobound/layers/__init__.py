"""The layers that binding modes are made of."""

from pyprobound.layers.conv0d import Conv0d, NonSpecific
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.layer import (
    EmptyLayerSpec,
    Layer,
    LayerSpec,
    LengthManager,
    ModeKey,
)
from pyprobound.layers.maxpool import MaxPool1d, MaxPool1dSpec
from pyprobound.layers.module import ModuleLayer, ModuleSpec
from pyprobound.layers.pad import Pad, PadSpec, get_padding_layers
from pyprobound.layers.psam import PSAM
from pyprobound.layers.roll import Roll, RollSpec

__all__ = [
    "PSAM",
    "Conv0d",
    "Conv1d",
    "EmptyLayerSpec",
    "Layer",
    "LayerSpec",
    "LengthManager",
    "MaxPool1d",
    "MaxPool1dSpec",
    "ModeKey",
    "ModuleLayer",
    "ModuleSpec",
    "NonSpecific",
    "Pad",
    "PadSpec",
    "Roll",
    "RollSpec",
    "get_padding_layers",
]
