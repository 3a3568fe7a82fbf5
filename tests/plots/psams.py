"""PSAMs to draw, and errors that can be worked out by hand."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyprobound.alphabets import DNA, Alphabet
from pyprobound.cooperativity import Cooperativity
from pyprobound.experiment import Experiment
from pyprobound.layers import PSAM
from pyprobound.uncertainty import ErrorBars, Estimate


def random_psam(
    size: int,
    alphabet: Alphabet | None = None,
    *,
    seed: int = 0,
    pairs: int = 0,
    symmetry: list[int] | None = None,
    out_channels: int | None = None,
) -> PSAM:
    """A PSAM with normal betas, those of pairs being smaller."""
    psam = PSAM(
        size,
        alphabet or DNA(),
        pairwise_distance=pairs,
        symmetry=symmetry,
        out_channels=out_channels,
        name="tf",
    ).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for distance, packed in enumerate(psam.betas.all_packed()):
            values = torch.from_numpy(rng.normal(size=tuple(packed.shape)))
            packed.copy_(values * (1.0 if distance == 0 else 0.3))
    return psam


class Independent(ErrorBars):
    """Errors of betas that are known independently, each to ±`error`.

    Attributes:
        psam: Whose betas.
        error: The standard error of each.
        unknown: Which values of a function are said to be not identified.
    """

    def __init__(
        self, psam: PSAM, error: float = 1.0, unknown: float | None = None
    ) -> None:
        self.psam = psam
        self.error = error
        self.unknown = unknown

    def of(
        self, function: Callable[[], Tensor], *, is_linear: bool = False
    ) -> Estimate:
        assert is_linear
        value = function()
        variances = []
        for entry in value.flatten():
            found = torch.autograd.grad(
                entry,
                self.psam.betas.all_packed(),
                retain_graph=True,
                allow_unused=True,
            )
            variances.append(sum(float((x**2).sum()) for x in found if x is not None))
        error = self.error * torch.tensor(variances).double().sqrt().reshape(
            value.shape
        )
        if self.unknown is not None:
            draws = np.random.default_rng(1).random(tuple(value.shape))
            error[torch.from_numpy(draws) < self.unknown] = torch.nan
        return Estimate(value.detach().double(), error)

    def seen(self, parameter: Tensor) -> Tensor:
        raise NotImplementedError

    def _log_reads(self, experiment: Experiment) -> Tensor:
        raise NotImplementedError

    def reference(self, dimer: Cooperativity) -> int | None:
        raise NotImplementedError
