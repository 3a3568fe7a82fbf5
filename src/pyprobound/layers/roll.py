"""Justifying probes of variable length to the left, the right or the centre."""

from typing import Literal, Self

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound._typing import Length
from pyprobound.alphabets import Alphabet
from pyprobound.layers.layer import InMode, Layer, LayerSpec, OutMode, Reads, input_of

Direction = Literal["left", "right", "center"]


class RollSpec(LayerSpec):
    """Where probes are justified to, and how much of that end is kept.

    Attributes:
        alphabet: The alphabet of the sequences.
        direction: The end (or the centre) that probes are justified to.
        include_n: Whether '*' at the ends of a probe is rolled away like padding.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        direction: Direction,
        max_length: int | None = None,
        include_n: bool = False,
        name: str = "",
    ) -> None:
        """Initialise with a direction.

        Args:
            alphabet: The alphabet of the sequences.
            direction: "left", "right" or "center".
            max_length: Letters kept, of that end; all by default.
            include_n: Whether '*' at the ends is treated as padding.
            name: Shown in plans and messages.

        Raises:
            ValueError: There is no such direction, or nothing is kept.
        """
        letters = len(alphabet.alphabet)
        super().__init__(letters, letters, name=name)
        if direction not in {"left", "right", "center"}:
            msg = f"direction {direction!r} must be 'left', 'right' or 'center'"
            raise ValueError(msg)
        if max_length is not None and max_length < 1:
            msg = f"max_length {max_length} must keep at least one letter"
            raise ValueError(msg)
        self.alphabet = alphabet
        self.direction = direction
        self._max_length = max_length
        self.include_n = include_n

    @property
    def max_length(self) -> int | None:
        """Letters kept; None for all."""
        return self._max_length

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length, cut to max_length."""
        if self.max_length is None:
            return length
        if isinstance(length, Tensor):
            return length.clamp(max=self.max_length)
        return min(length, self.max_length)

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the length; None for the largest where more may have been cut off."""
        if self.max_length is None or mode == "min":
            return length
        if isinstance(length, Tensor):
            return None if bool((length >= self.max_length).any()) else length
        return None if length >= self.max_length else length


class Roll(Layer):
    """Justifies every input."""

    layer_spec: RollSpec

    def __init__(
        self,
        layer_spec: RollSpec,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
    ) -> None:
        """Initialise for inputs of `input_shape` letters."""
        super().__init__(layer_spec, input_shape, min_input_length, max_input_length)

    @classmethod
    def from_spec(cls, spec: RollSpec, prev: Reads | Layer) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(spec, *input_of(prev))

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the justified sequences.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length) fractions.

        Returns:
            The same, cut to max_length letters, padded with ' ' (−∞).
        """
        spec = self.layer_spec
        present = self._present(seqs)
        first = present.int().argmax(1)
        count = seqs.shape[-1] - present.int().flip(1).argmax(1) - first
        count = torch.where(present.any(1), count, 0)
        shape = spec.out_len(seqs.shape[-1])
        excess = {
            "left": torch.zeros_like(count),
            "right": count - shape,
            "center": torch.div(count - shape, 2, rounding_mode="floor"),
        }[spec.direction]
        letter = excess[:, None] + torch.arange(shape, device=seqs.device)
        outside = (letter < 0) | (letter >= count[:, None])
        source = (first[:, None] + letter).clamp(0, seqs.shape[-1] - 1)
        if seqs.ndim == 2:
            rolled = seqs.gather(1, source)
            return rolled.masked_fill(outside, spec.alphabet.neginf_pad)
        rolled = seqs.gather(2, source[:, None].expand(-1, seqs.shape[1], -1))
        return rolled.masked_fill(outside[:, None], NEG_INF)

    def _present(self, seqs: Tensor) -> Tensor:
        """Return which elements hold a letter, (probes, length)."""
        alphabet = self.layer_spec.alphabet
        if seqs.ndim == 2:
            present = seqs != alphabet.neginf_pad
            if self.layer_spec.include_n:
                present &= seqs != alphabet.get_index["*"]
            return present
        present = (seqs > NEG_INF).any(1)
        if self.layer_spec.include_n:
            present &= (seqs != seqs[:, :1]).any(1)
        return present
