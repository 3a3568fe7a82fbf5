"""Padding probes with '*' (any letter), or trimming them."""

from typing import Self

import torch
from torch import Tensor

from pyprobound._typing import Length
from pyprobound.alphabets import Alphabet
from pyprobound.layers.layer import InMode, Layer, LayerSpec, OutMode, Reads, input_of
from pyprobound.layers.roll import Roll, RollSpec


class PadSpec(LayerSpec):
    """How many letters are added on either side; negative numbers trim.

    Attributes:
        alphabet: The alphabet of the sequences.
    """

    def __init__(
        self, alphabet: Alphabet, left: int = 0, right: int = 0, name: str = ""
    ) -> None:
        """Initialise with the letters to add on the left and the right."""
        letters = len(alphabet.alphabet)
        super().__init__(letters, letters, name=name)
        self.alphabet = alphabet
        self._left = left
        self._right = right

    @property
    def left(self) -> int:
        """Letters added on the left."""
        return self._left

    @property
    def right(self) -> int:
        """Letters added on the right."""
        return self._right

    @property
    def padding(self) -> tuple[int, int]:
        """Letters added on the left and the right."""
        return self._left, self._right

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length with what is added."""
        padded = length + (self.left + self.right)
        if isinstance(padded, Tensor):
            return padded.clamp(min=0)
        return max(0, padded)

    def in_len(self, length: Length, mode: InMode = "max") -> Length:
        """Return the length without what is added."""
        return length - (self.left + self.right)


class Pad(Layer):
    """Adds '*' (or trims) on either side of every input, its padding included."""

    layer_spec: PadSpec

    def __init__(
        self,
        layer_spec: PadSpec,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
    ) -> None:
        """Initialise for inputs of `input_shape` letters."""
        super().__init__(layer_spec, input_shape, min_input_length, max_input_length)

    @classmethod
    def from_spec(cls, spec: PadSpec, prev: Reads | Layer) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(spec, *input_of(prev))

    def check_input(self) -> None:
        """Check the input's lengths.

        Raises:
            ValueError: Trimming leaves nothing of the shortest read.
        """
        super().check_input()
        left, right = self.layer_spec.padding
        if self.min_input_length + min(0, left) + min(0, right) < 1:
            msg = (
                f"trimming {-min(0, left)} + {-min(0, right)} letters leaves nothing of"
                f" the shortest read ({self.min_input_length}); trim fewer"
            )
            raise ValueError(msg)

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the padded sequences.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length) fractions.

        Returns:
            The same with left + right more letters.
        """
        left, right = self.layer_spec.padding
        kept = seqs[..., max(0, -left) : seqs.shape[-1] - max(0, -right)]
        ends = [self._wild(seqs, left), kept, self._wild(seqs, right)]
        return torch.cat(ends, -1)

    def _wild(self, seqs: Tensor, count: int) -> Tensor:
        alphabet = self.layer_spec.alphabet
        soft = seqs.ndim == 3
        value = 1 / len(alphabet.alphabet) if soft else alphabet.get_index["*"]
        return seqs.new_full((*seqs.shape[:-1], max(0, count)), value)


def get_padding_layers(
    alphabet: Alphabet, prev: Reads | Layer, left: int = 0, right: int = 0
) -> list[Layer]:
    """Return the layers that pad probes at their own ends.

    Shorter, left-aligned probes are justified to the right before their right end is
    padded, and stay so: windows are then counted from the right end.

    Args:
        alphabet: The alphabet of the sequences.
        prev: The table or layer that comes before.
        left: Letters added on the left; negative numbers trim.
        right: Letters added on the right.
    """
    shape, shortest, _ = input_of(prev)
    if shortest == shape:
        if left == right == 0:
            return []
        return [Pad.from_spec(PadSpec(alphabet, left, right), prev)]
    layers: list[Layer] = []
    if left:
        layers.append(Pad.from_spec(PadSpec(alphabet, left=left), prev))
        prev = layers[-1]
    if right:
        layers.append(Roll.from_spec(RollSpec(alphabet, "right"), prev))
        layers.append(Pad.from_spec(PadSpec(alphabet, right=right), layers[-1]))
    return layers
