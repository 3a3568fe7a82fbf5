"""How well predictions agree with measurements, in a few numbers."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.fitting._measured import half_bar

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Agreement of what was observed with what is predicted, on the fit's own scale.

    All but the last count every measurement alike, error bars or not.

    Attributes:
        n: The number of measurements.
        r_squared: R² = 1 − Σ(obs − pred)² / Σ(obs − mean)²; below 0 where the mean of
            the measurements would have been the better prediction.
        pearson: Pearson's correlation.
        spearman: Spearman's rank correlation.
        rmse: The root of the mean squared difference, in units of obs.
        chi_squared: The mean of ((obs − pred)/σ)², σ being half the error bar; NaN
            without errors.
    """

    n: int
    r_squared: float
    pearson: float
    spearman: float
    rmse: float
    chi_squared: float

    @classmethod
    def of(
        cls, obs: Tensor, pred: Tensor, lower: Tensor | None, upper: Tensor | None
    ) -> Self:
        """Compare what `BaseFit.score` returned."""
        observed, predicted = obs.double().numpy(), pred.double().numpy()
        squares = (observed - predicted) ** 2
        sigma = half_bar(obs.double(), lower, upper)
        chi = squares / sigma.numpy() ** 2 if sigma is not None else [math.nan]
        spread = ((observed - observed.mean()) ** 2).sum()
        return cls(
            len(observed),
            float(1 - squares.sum() / spread) if spread > 0 else math.nan,
            _correlation(observed, predicted),
            _correlation(_ranks(observed), _ranks(predicted)),
            float(squares.mean()) ** 0.5,
            float(np.mean(chi)),
        )

    def __str__(self) -> str:
        """Show all numbers in one line."""
        parts = [
            f"R² = {self.r_squared:.3f}",
            f"Pearson r = {self.pearson:.3f}",
            f"Spearman ρ = {self.spearman:.3f}",
            f"RMSE = {self.rmse:.3g}",
        ]
        if not math.isnan(self.chi_squared):
            parts.append(f"mean χ² = {self.chi_squared:.3g}")
        return ", ".join([*parts, f"n = {self.n}"])


def _correlation(a: Numbers, b: Numbers) -> float:
    """Return Pearson's correlation, NaN where one of both does not vary."""
    a, b = a - a.mean(), b - b.mean()
    length = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / length if length > 0 else math.nan


def _ranks(values: Numbers) -> Numbers:
    """Return the rank of each value; equal values share the mean of theirs."""
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)
