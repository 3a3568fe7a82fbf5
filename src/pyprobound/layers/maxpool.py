"""The best of neighbouring windows instead of all of them."""

from typing import Self

from torch import Tensor
from torch.nn import functional

from pyprobound._typing import Length
from pyprobound.layers.layer import InMode, Layer, LayerSpec, OutMode, Reads, input_of


class MaxPool1dSpec(LayerSpec):
    """How many neighbouring windows are pooled."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: int,
        ceil_mode: bool = True,
        name: str = "",
    ) -> None:
        """Initialise.

        Args:
            in_channels: Channels that go in (and come out).
            kernel_size: Windows pooled into one.
            ceil_mode: Whether windows left over at the end are pooled too.
            name: Shown in plans and messages.

        Raises:
            ValueError: Fewer than one window is pooled.
        """
        super().__init__(in_channels, in_channels, name=name)
        if kernel_size < 1:
            msg = f"kernel_size {kernel_size} must be at least 1"
            raise ValueError(msg)
        self._kernel_size = kernel_size
        self._ceil_mode = ceil_mode

    @property
    def kernel_size(self) -> int:
        """Windows pooled into one."""
        return self._kernel_size

    @property
    def ceil_mode(self) -> bool:
        """Whether windows left over at the end are pooled too."""
        return self._ceil_mode

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the number of pools.

        A pool is finite where any of its windows is, so that the windows of a shorter
        probe never lose one: only "shape" and "min" drop what is left over.
        """
        if self.ceil_mode or mode == "max":
            return -(-length // self.kernel_size)
        return length // self.kernel_size

    def in_len(self, length: Length, mode: InMode = "max") -> Length:
        """Return the windows in `length` pools."""
        if mode == "min" and self.ceil_mode:
            return (length - 1) * self.kernel_size + 1
        return length * self.kernel_size


class MaxPool1d(Layer):
    """Takes the best of neighbouring windows, channel by channel."""

    layer_spec: MaxPool1dSpec

    def __init__(
        self,
        layer_spec: MaxPool1dSpec,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
    ) -> None:
        """Initialise for inputs of `input_shape` windows."""
        super().__init__(layer_spec, input_shape, min_input_length, max_input_length)

    @classmethod
    def from_spec(cls, spec: MaxPool1dSpec, prev: Reads | Layer) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(spec, *input_of(prev))

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the best of each pool of windows.

        Args:
            seqs: (probes, channels, windows).

        Returns:
            (probes, channels, pools).
        """
        spec = self.layer_spec
        return functional.max_pool1d(
            seqs, spec.kernel_size, spec.kernel_size, ceil_mode=spec.ceil_mode
        )
