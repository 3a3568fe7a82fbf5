"""Any torch module as a layer."""

from typing import Self

from torch import Tensor, nn

from pyprobound._numerics import NEG_INF
from pyprobound._typing import Length
from pyprobound.alphabets import Alphabet
from pyprobound.layers.layer import InMode, Layer, LayerSpec, OutMode, Reads, input_of


class ModuleSpec(LayerSpec):
    """A torch module that scores whole probes.

    Attributes:
        alphabet: The alphabet of the sequences.
        module: Maps (probes, letters, length) to (probes, 1, 1).
    """

    def __init__(self, alphabet: Alphabet, module: nn.Module, name: str = "") -> None:
        """Initialise with the module."""
        super().__init__(1, len(alphabet.alphabet), name=name)
        self.alphabet = alphabet
        self.module = module

    def _unfreeze_all(self) -> None:
        self.module.requires_grad_()

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return 1: the whole probe is one window."""
        return length * 0 + 1

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return None for the largest length, which is unbounded."""
        return None if mode == "max" else length


class ModuleLayer(Layer):
    """Scores whole probes with a torch module.

    The module sees letters as fractions; padding is 0 in every channel.
    """

    layer_spec: ModuleSpec

    def __init__(
        self,
        layer_spec: ModuleSpec,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
    ) -> None:
        """Initialise for inputs of `input_shape` letters."""
        super().__init__(layer_spec, input_shape, min_input_length, max_input_length)

    @classmethod
    def from_spec(cls, spec: ModuleSpec, prev: Reads | Layer) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(spec, *input_of(prev))

    def max_embedding_size(self) -> int:
        """Bound the bytes that scoring one sequence needs, the module's own apart."""
        return 8 * self.in_channels * self.input_shape

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the module's score of each probe.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length) fractions.

        Returns:
            (probes, 1, 1).

        Raises:
            ValueError: The module returned another shape.
        """
        if seqs.ndim == 2:
            seqs = self.layer_spec.alphabet.embed(seqs)
        seqs = seqs.masked_fill(seqs == NEG_INF, 0.0)
        parameter = next(self.layer_spec.module.parameters(), None)
        scores: Tensor = self.layer_spec.module(
            seqs if parameter is None else seqs.to(parameter)
        )
        if scores.shape != (len(seqs), 1, 1):
            msg = (
                f"{self}: the module returned shape {tuple(scores.shape)} for"
                f" {len(seqs)} probes; it must return ({len(seqs)}, 1, 1)"
            )
            raise ValueError(msg)
        return scores
