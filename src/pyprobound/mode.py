"""A binding mode: layers from letters to windows, summed over windows.

log 1/K_a(S_i) = log Σ_x exp( h_a · log 1/K_a(S_i, x) )
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation, evaluation_of
from pyprobound._typing import Length
from pyprobound.base import (
    Binding,
    BindingOptim,
    Component,
    Shaped,
    Spec,
    undone_if_refused,
)
from pyprobound.kernels import log_sum
from pyprobound.layers.conv0d import Conv0d, NonSpecific
from pyprobound.layers.conv1d import BiasMode, Conv1d
from pyprobound.layers.layer import Geometry, InMode, Layer, ModeKey, OutMode, Reads
from pyprobound.layers.psam import PSAM


class Mode(Shaped, Binding):
    """Layers applied in turn, the last of which scores windows.

    Attributes:
        layers: The layers, from the sequences on.
        log_hill: The Hill coefficient in log space (0-dimensional).
    """

    unfreezable = Literal["all", "hill"]
    trainable = {"hill": ("log_hill",)}  # noqa: RUF012 see base

    def __init__(
        self,
        layers: Iterable[Layer],
        train_hill: bool = False,
        name: str = "",
    ) -> None:
        """Initialise with layers.

        Args:
            layers: The layers, from the sequences on.
            train_hill: Whether to train a Hill coefficient.
            name: By default the names of the layers' specifications.

        Raises:
            ValueError: There is no layer, or two neighbours do not fit.
        """
        chain = list(layers)
        if not chain:
            msg = "a mode needs at least one layer"
            raise ValueError(msg)
        names = (layer.layer_spec.name for layer in chain)
        super().__init__(name=name or "-".join(filter(None, names)))
        self.layers = nn.ModuleList(chain)
        self.train_hill = train_hill
        self.log_hill = nn.Parameter(torch.zeros(()), requires_grad=train_hill)
        for before, after in pairwise(chain):
            if before.out_channels != after.in_channels:
                msg = (
                    f"{before} gives {before.out_channels} channels, but {after} takes"
                    f" {after.in_channels}"
                )
                raise ValueError(msg)
        # What each layer but the last gave when the next one was made to fit it.
        self._outputs = [layer.output for layer in chain[:-1]]

    @classmethod
    def from_psam(
        cls,
        psam: PSAM,
        prev: Reads | Layer,
        train_posbias: bool = False,
        bias_mode: BiasMode = "channel",
        bias_bin: int = 1,
        length_specific_bias: bool = True,
        out_channel_indexing: Sequence[int] | None = None,
        one_hot: bool = False,
        unfold: bool = False,
        normalize: bool = False,
        train_hill: bool = False,
        name: str = "",
    ) -> Self:
        """Return a mode of one PSAM, which follows a table or a layer (see Conv1d)."""
        layer = Conv1d.from_psam(
            psam,
            prev,
            train_posbias=train_posbias,
            bias_mode=bias_mode,
            bias_bin=bias_bin,
            length_specific_bias=length_specific_bias,
            out_channel_indexing=out_channel_indexing,
            one_hot=one_hot,
            unfold=unfold,
            normalize=normalize,
        )
        return cls([layer], train_hill=train_hill, name=name)

    @classmethod
    def from_nonspecific(
        cls,
        nonspecific: NonSpecific,
        prev: Reads | Layer,
        train_posbias: bool = False,
        name: str = "",
    ) -> Self:
        """Return a mode of non-specific binding (see Conv0d)."""
        layer = Conv0d.from_nonspecific(nonspecific, prev, train_posbias=train_posbias)
        return cls([layer], name=name)

    # --- properties and lengths ----------------------------------------------------

    @property
    def chain(self) -> list[Layer]:
        """The layers, as a list of their type."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""
        return self.chain[-1].out_channels

    @property
    def in_channels(self) -> int:
        """The number of channels (letters) that go in."""
        return self.chain[0].in_channels

    @property
    def input_shape(self) -> int:
        """Letters of a probe with flanks, padding included."""
        return self.chain[0].input_shape

    @property
    def min_input_length(self) -> int:
        """The fewest finite letters of any probe."""
        return self.chain[0].min_input_length

    @property
    def max_input_length(self) -> int:
        """The most finite letters of any probe."""
        return self.chain[0].max_input_length

    def key(self) -> ModeKey:
        """Return the specifications of the layers."""
        return ModeKey(layer.layer_spec for layer in self.chain)

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the number of windows of `length` letters."""
        for layer in self.chain:
            length = layer.out_len(length, mode)
        return length

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the letters that `length` windows cover, None if unbounded."""
        return self.key().in_len(length, mode)

    @property
    def n_windows(self) -> int:
        """The number of windows that come out."""
        self.settle()
        return self.out_len(self.input_shape)

    def components(self) -> Iterator[Layer]:
        """Iterate over the layers."""
        return iter(self.chain)

    def check_length_consistency(self) -> None:
        """Check that each layer takes what the one before gives.

        Raises:
            RuntimeError: One does not.
        """
        try:
            self.settle()
        except ValueError as error:
            raise RuntimeError(str(error)) from error
        for before, after in pairwise(self.chain):
            given = before.output
            expected = given.shape, given.shortest, given.longest
            found = after.input_shape, after.min_input_length, after.max_input_length
            if expected != found:
                msg = (
                    f"{after} of {self}: expected (input_shape, shortest, longest) ="
                    f" {expected} from {before}, found {found}"
                )
                raise RuntimeError(msg)

    def settle(self) -> None:
        """Let every layer follow what the one before it has become."""
        chain = self.chain
        chain[0].settle()
        for i, (before, after) in enumerate(pairwise(chain)):
            given = before.output
            if given != self._outputs[i]:
                after.follow(self._outputs[i], given)
                self._outputs[i] = given
            after.settle()

    def update_read_length(
        self,
        left_shift: int = 0,
        right_shift: int = 0,
        min_len_shift: int = 0,
        max_len_shift: int = 0,
        new_min_len: int | None = None,
        new_max_len: int | None = None,
    ) -> None:
        """Follow a change of the table's flanks or of its probes' lengths.

        Args:
            left_shift: Letters added on the left of every probe.
            right_shift: Letters added on the right.
            min_len_shift: Further change of the shortest length.
            max_len_shift: Further change of the longest length.
            new_min_len: The shortest length, instead of a change.
            new_max_len: The longest length, instead of a change.

        Raises:
            ValueError: A layer cannot take such probes; nothing is changed then.
        """
        with undone_if_refused(self):
            self.chain[0].update_input_length(
                left_shift=left_shift,
                right_shift=right_shift,
                min_len_shift=min_len_shift,
                max_len_shift=max_len_shift,
                new_min_len=new_min_len,
                new_max_len=new_max_len,
            )
            self.settle()

    # --- scores --------------------------------------------------------------------

    @property
    def hill(self) -> Tensor | None:
        """The Hill coefficient h; None where it is fixed at 1."""
        if not self.log_hill.requires_grad and float(self.log_hill) == 0:
            return None
        return self.log_hill.exp()

    def expected_sequence(self) -> Tensor:
        """Return one soft sequence of uniform letters, (1, letters, longest probe)."""
        shape = (1, self.in_channels, self.max_input_length)
        return self.log_hill.new_full(shape, 1 / self.in_channels).detach()

    def evaluate_input(self, evaluation: Evaluation) -> Tensor:
        """Return what the last layer takes."""
        self.settle()
        value = evaluation.seqs
        for layer in self.chain[:-1]:
            value = layer(value)
        return value

    def evaluate_windows(self, evaluation: Evaluation) -> Tensor:
        """Return the log score of each window, (probes, channels, windows)."""
        value: Tensor = self.chain[-1](evaluation(self.evaluate_input))
        return value

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return the log score of each probe, (probes,)."""
        last, value = self.chain[-1], evaluation(self.evaluate_input)
        letters = not value.is_floating_point()
        if (
            isinstance(last, Conv1d)
            and letters
            and not evaluation.knows(self.evaluate_windows)
        ):
            return last.log_sum(value, self.hill)
        return log_sum(evaluation(self.evaluate_windows), hill=self.hill)

    def evaluate_lengths(self, evaluation: Evaluation) -> Tensor:
        """Return the number of letters of each probe, (probes,)."""
        return self.chain[0].lengths(evaluation.seqs)

    def score_windows(self, seqs: Tensor) -> Tensor:
        """Return the log score of each window before summing over them.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).

        Returns:
            (probes, channels, windows).
        """
        return evaluation_of(seqs)(self.evaluate_windows)

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the log score of each probe.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).

        Returns:
            (probes,).
        """
        return super().forward(seqs)

    # --- procedure and checkpoints -------------------------------------------------

    def extend_steps(
        self,
        path: tuple[Component, ...],  # noqa: ARG002 for other bindings
        binding_optim: BindingOptim,
        order: Mapping[tuple[Spec, ...], BindingOptim],  # noqa: ARG002 likewise
    ) -> BindingOptim:
        """Add the steps of the layers."""
        for layer in self.chain:
            binding_optim = layer.update_binding_optim(binding_optim)
        return binding_optim

    def lay_anew(self) -> None:
        """Begin with the outputs that the layers have now."""
        self._outputs = [layer.output for layer in self.chain[:-1]]

    def structure(self) -> dict[str, Any]:
        """Return what each layer but the last gives."""
        return {
            "outputs": [
                [given.start, given.shape, given.shortest, given.longest]
                for given in self._outputs
            ]
        }

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over what each layer but the last gives."""
        self._outputs = [Geometry(*numbers) for numbers in structure["outputs"]]
