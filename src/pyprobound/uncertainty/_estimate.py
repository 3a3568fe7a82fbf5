"""A value and how well it is known."""

from dataclasses import dataclass

from torch import Tensor

NORMAL_95 = 1.959963984540054
NOT_IDENTIFIED = "not identified"
"""What is said of a value about which the data say nothing."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Attributes:
        value: What the fitted model says, of any shape, float64.
        error: Its standard error; NaN where the data do not identify it.
    """

    value: Tensor
    error: Tensor

    @property
    def is_identified(self) -> Tensor:
        """Where the data say anything about the value."""
        return ~self.error.isnan()

    @property
    def interval(self) -> tuple[Tensor, Tensor]:
        """The 95% interval, from and to; NaN where the value is not identified."""
        reach = NORMAL_95 * self.error
        return self.value - reach, self.value + reach

    def __str__(self) -> str:
        """Show a single value: ``1.234 ± 0.021``, or that it is not identified."""
        if self.value.numel() != 1:
            return f"{type(self).__name__} of shape {tuple(self.value.shape)}"
        if not bool(self.is_identified):
            return f"{self.value.item():.3f} ({NOT_IDENTIFIED})"
        return f"{self.value.item():.3f} ± {self.error.item():.3f}"
