"""Non-specific binding: every letter of a probe is as good a place as any other.

log 1/K_ns(S_i) = ω(|S_i|) + log |S_i|
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pyprobound._typing import Length
from pyprobound.alphabets import Alphabet
from pyprobound.base import BindingOptim, Call, Phase, Step
from pyprobound.geometry import Span, resized
from pyprobound.layers.layer import InMode, Layer, LayerSpec, OutMode, Reads, input_of


class NonSpecific(LayerSpec):
    """Binding that does not depend on the letters.

    Attributes:
        alphabet: The alphabet of the sequences.
        ignore_length: Whether it does not depend on the length either.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        ignore_length: bool = False,
        name: str = "",
    ) -> None:
        """Initialise for an alphabet."""
        super().__init__(1, len(alphabet.alphabet), name=name)
        self.alphabet = alphabet
        self.ignore_length = ignore_length

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return 1: the whole probe is one window."""
        return length * 0 + 1

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return None for the largest length, which is unbounded."""
        return None if mode == "max" else length


class Conv0d(Layer):
    """The non-specific score of a probe, in one experiment.

    Attributes:
        layer_spec: The specification.
        log_posbias: (lengths, 1, 1) bias ω of each probe length.
    """

    unfreezable = Literal["all", "posbias"]
    trainable = {"posbias": ("log_posbias",)}  # noqa: RUF012 see base

    layer_spec: NonSpecific

    def __init__(
        self,
        nonspecific: NonSpecific,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
        train_posbias: bool = False,
    ) -> None:
        """Initialise without bias (all 0).

        Args:
            nonspecific: The specification.
            input_shape: Elements of an input.
            min_input_length: The fewest finite ones.
            max_input_length: The most finite ones.
            train_posbias: Whether to train a bias for each probe length.
        """
        super().__init__(nonspecific, input_shape, min_input_length, max_input_length)
        self.train_posbias = train_posbias
        self._laid = self._wanted()
        self.log_posbias = nn.Parameter(
            torch.zeros(len(self._laid), 1, 1), requires_grad=train_posbias
        )

    @classmethod
    def from_nonspecific(
        cls,
        nonspecific: NonSpecific,
        prev: Reads | Layer,
        train_posbias: bool = False,
    ) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(nonspecific, *input_of(prev), train_posbias=train_posbias)

    def max_embedding_size(self) -> int:
        """Bound the bytes that scoring one sequence needs."""
        return 8 * (self.input_shape + 2)

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the step for the bias."""
        super().update_binding_optim(binding_optim)
        if self.train_posbias:
            call = Call(self, "unfreeze", {"parameter": "posbias"})
            binding_optim.steps.append(Step([call], phase=Phase.POSITION_BIAS))
        return binding_optim

    def _wanted(self) -> Span:
        lengths = Span(self.min_input_length, self.max_input_length + 1)
        return lengths.shifted(-self.input_growth)

    def lay_anew(self) -> None:
        """Lay the bias as that of a new layer."""
        self._laid = self._wanted()
        self.log_posbias.data = self.log_posbias.new_zeros(len(self._laid), 1, 1)

    def settle(self) -> None:
        """Re-lay the bias on the current lengths."""
        wanted = self._wanted()
        if wanted == self._laid:
            return
        bias = self.log_posbias.detach()
        self.log_posbias.data = resized(bias, self._laid, wanted, 0)
        self.log_posbias.grad = None
        self._laid = wanted

    def get_log_posbias(self) -> Tensor:
        """Return the bias by the probe's number of letters.

        Returns:
            (max_input_length + 1, 1, 1); lengths without an entry are 0.
        """
        self.settle()
        return nn.functional.pad(
            self.log_posbias, (0, 0, 0, 0, self.min_input_length, 0)
        )

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the log score of each probe.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length) fractions.

        Returns:
            (probes, 1, 1).
        """
        bias = self.get_log_posbias()
        if self.min_input_length == self.max_input_length == seqs.shape[-1]:
            lengths = torch.full((len(seqs),), seqs.shape[-1], device=bias.device)
        else:
            lengths = self.lengths(seqs)
        score = bias[lengths.clamp(max=len(bias) - 1)]
        if self.layer_spec.ignore_length:
            return score
        return score + lengths.to(bias.dtype).log()[:, None, None]

    def structure(self) -> dict[str, Any]:
        """Return the input's lengths and where the bias is laid."""
        laid = [self._laid.start, self._laid.stop]
        return super().structure() | {"lengths": laid}

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over the input's lengths and where the bias is laid."""
        super().adopt_structure(structure)
        self._laid = Span(*structure["lengths"])
