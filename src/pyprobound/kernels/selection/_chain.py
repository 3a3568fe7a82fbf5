"""Rounds as the kernels see them: plain numbers, without modules."""

from dataclasses import dataclass
from enum import IntEnum

NONE = -1
"""The index of no aggregate, or of no reference round."""


class Kind(IntEnum):
    """The formulas of enrichment; see `_enrichment`."""

    INITIAL = 0
    BOUND = 1
    UNSATURATED = 2
    UNBOUND = 3
    RHO_GAMMA = 4
    EXPONENTIAL = 5


@dataclass(frozen=True)
class Link:
    """One round.

    Attributes:
        kind: How it enriches.
        aggregate: The index of its aggregate; NONE for an initial round.
        reference: The index of the link that was selected from, an earlier one; NONE
            for the first library.
    """

    kind: Kind
    aggregate: int = NONE
    reference: int = NONE


@dataclass(frozen=True)
class Chain:
    """All rounds of an experiment.

    Attributes:
        links: The rounds, references before the rounds that use them.
        observed: The index of the link of each column of counts.
    """

    links: tuple[Link, ...]
    observed: tuple[int, ...]
