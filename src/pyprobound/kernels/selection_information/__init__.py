"""What a table of counts tells about scores and about the rounds themselves."""

from pyprobound.kernels.selection_information._api import selection_information
from pyprobound.kernels.selection_information._found import (
    DEPTH,
    SETTING,
    WEIGHT,
    Enrichment,
    Found,
)
from pyprobound.kernels.selection_information._reference import information_of

__all__ = [
    "DEPTH",
    "SETTING",
    "WEIGHT",
    "Enrichment",
    "Found",
    "information_of",
    "selection_information",
]
