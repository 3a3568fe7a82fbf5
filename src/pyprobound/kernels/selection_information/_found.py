"""What is asked of a table of counts, and what is found."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor

WEIGHT, SETTING, DEPTH = 0, 1, 2
"""Kinds of quantities of the rounds: (WEIGHT, aggregate, binding), (SETTING, link,
index), (DEPTH, column, 0)."""

Enrichment: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Maps log Z (n,) and a link's settings (settings, n) to log enrichments (n,)."""


class Found(NamedTuple):
    """Loss, gradient and information of some probes.

    With u the derivatives of a probe's logits, less their mean over its shares p, the
    gradient is Σ u (K p − k), and the information of two quantities Σ K p u u'.

    Attributes:
        loss: −Σ k log p.
        chi2: Pearson's Σ (k − K p)² / (K p).
        freedom: Σ (columns that can hold the probe − 1) over the probes with reads.
        expected: Σ K p of each column, (columns,).
        gradient: By the rounds' own quantities, (Q,).
        information: Of pairs of them, (Q, Q).
        slopes: The gradient by the scores of each binding asked for, (V, n).
        coupling: The information of pairs of scores, probe by probe, (V, V, n).
        crossing: That of scores and own quantities, (V, Q, n).

    All are float64 on the CPU, but the last three lie where the scores do.
    """

    loss: float
    chi2: float
    freedom: int
    expected: Tensor
    gradient: Tensor
    information: Tensor
    slopes: Tensor
    coupling: Tensor
    crossing: Tensor
