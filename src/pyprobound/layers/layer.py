"""What all layers share: lengths through a layer, and its place in the input.

A `LayerSpec` is independent of the experiment and may sit in many layers; a `Layer`
belongs to one experiment and knows the lengths of its input. A `ModeKey` is a chain of
specifications: bindings with equal keys are trained together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast
from weakref import WeakSet

from torch import Tensor, nn

from pyprobound import alphabets
from pyprobound._typing import Length
from pyprobound.base import BindingOptim, Component, Shaped, Spec, Transform

_LENGTHS = ("_input_shape", "_min_input_length", "_max_input_length")

OutMode = Literal["min", "max", "shape"]
InMode = Literal["min", "max"]


class LengthManager(Protocol):
    """Something that sequences of some length go through."""

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""

    @property
    def in_channels(self) -> int:
        """The number of channels that go in."""

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length that comes out when `length` goes in.

        Args:
            length: Elements that go in.
            mode: "shape" counts elements; "min" and "max" bound the finite ones.
        """

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the length that goes in when `length` comes out.

        Args:
            length: Elements that come out.
            mode: Whether the smallest or the largest such length; the largest is None
                where the receptive field is unbounded.
        """


@dataclass(frozen=True)
class Geometry:
    """Where an array of letters or windows lies.

    Attributes:
        start: Coordinate of its first element; 0 is where it began its life.
        shape: Its number of elements.
        shortest: The fewest finite elements of any probe.
        longest: The most.
    """

    start: int
    shape: int
    shortest: int
    longest: int


class LayerSpec(Shaped, Spec):
    """The experiment-independent part of a layer.

    Attributes:
        layers: The layers it sits in (weakly): they may refuse an edit.
    """

    def __init__(self, out_channels: int, in_channels: int, name: str = "") -> None:
        """Initialise with the number of channels that come out and go in."""
        super().__init__(name=name)
        self._out_channels = out_channels
        self._in_channels = in_channels
        self.layers: WeakSet[Layer] = WeakSet()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the layers out: a copy belongs to the copies of its layers."""
        return {key: value for key, value in vars(self).items() if key != "layers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start without layers, which enter themselves."""
        nn.Module.__setstate__(self, state)
        self.layers = WeakSet()

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""
        return self._out_channels

    @property
    def in_channels(self) -> int:
        """The number of channels that go in."""
        return self._in_channels

    def components(self) -> Iterator[Component]:
        """Iterate over no children."""
        return iter(())

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length that comes out: by default unchanged."""
        return length

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the length that goes in: unchanged, unless a class says otherwise."""
        return length

    @property
    def anchors(self) -> tuple[int, int]:
        """Where the first letter of the original footprint lies in window 0.

        In letters from the window's first one, for the forward and the reverse
        strand: what an edit of the footprint changes, and so what positional
        parameters follow.
        """
        return (0, 0)

    @property
    def padding(self) -> tuple[int, int]:
        """Letters added to the left and the right."""
        return (0, 0)

    def structure(self) -> dict[str, Any]:
        """Return nothing: the structure is fixed, unless a class says otherwise."""
        return {}

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over nothing."""


class EmptyLayerSpec(LayerSpec):
    """A specification without parameters that changes no length."""


class Layer(Shaped, Transform):
    """One step from sequences to window scores, in one experiment.

    Attributes:
        layer_spec: The experiment-independent part.
        input_start: Coordinate of the first input element; flanks that grow to the
            left make it negative.
        input_growth: Elements that every input has gained on both sides.
    """

    def __init__(
        self,
        layer_spec: LayerSpec,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
        name: str = "",
    ) -> None:
        """Initialise for inputs of `input_shape` elements, some of them padding.

        Args:
            layer_spec: The experiment-independent part.
            input_shape: Elements of an input.
            min_input_length: The fewest finite ones.
            max_input_length: The most finite ones.
            name: By default the specification's.

        Raises:
            ValueError: The lengths contradict each other or the layer.
        """
        super().__init__(name=name or layer_spec.name)
        self.layer_spec = layer_spec
        self.input_start = 0
        self.input_growth = 0
        self._input_shape = input_shape
        self._min_input_length = min_input_length
        self._max_input_length = max_input_length
        self.check_input()
        layer_spec.layers.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Enter a copy among the layers of its specification."""
        nn.Module.__setstate__(self, state)
        self.layer_spec.layers.add(self)

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""
        return self.layer_spec.out_channels

    @property
    def in_channels(self) -> int:
        """The number of channels that go in."""
        return self.layer_spec.in_channels

    @property
    def input_shape(self) -> int:
        """The number of elements of an input, padding included."""
        return self._input_shape

    @property
    def min_input_length(self) -> int:
        """The fewest finite elements of any input."""
        return self._min_input_length

    @property
    def max_input_length(self) -> int:
        """The most finite elements of any input."""
        return self._max_input_length

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length that comes out when `length` goes in."""
        return self.layer_spec.out_len(length, mode)

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the length that goes in when `length` comes out."""
        return self.layer_spec.in_len(length, mode)

    def components(self) -> Iterator[Component]:
        """Iterate over the specification."""
        yield self.layer_spec

    @property
    def output(self) -> Geometry:
        """Where the output lies."""
        return Geometry(
            start=self.input_start + self.layer_spec.anchors[0],
            shape=self.out_len(self.input_shape, "shape"),
            shortest=self.out_len(self.min_input_length, "min"),
            longest=self.out_len(self.max_input_length, "max"),
        )

    def check_input(self) -> None:
        """Check the input's lengths.

        Raises:
            ValueError: They contradict each other, or nothing would come out.
        """
        low, high = self.min_input_length, self.max_input_length
        if not 0 <= low <= high <= self.input_shape:
            msg = (
                f"{self}: lengths must satisfy 0 <= shortest <= longest <= input_shape,"
                f" not {low}, {high}, {self.input_shape}"
            )
            raise ValueError(msg)

    def check_length_consistency(self) -> None:
        """Check that the lengths agree with the parameters.

        Raises:
            RuntimeError: They do not.
        """
        self.settle()

    def lengths(self, seqs: Tensor) -> Tensor:
        """Return the number of finite letters of each sequence, (probes,).

        Args:
            seqs: (probes, length) letter codes or (probes, channels, length) numbers.
        """
        if seqs.ndim == 3:
            return (seqs > float("-inf")).any(1).sum(1)
        alphabet = self.alphabet
        if alphabet is None:
            return seqs.new_full((len(seqs),), seqs.shape[1]).long()
        return (seqs != alphabet.neginf_pad).sum(1)

    @property
    def alphabet(self) -> "alphabets.Alphabet | None":
        """The alphabet of the letter codes that go in, None where numbers do."""
        return cast(
            "alphabets.Alphabet | None", getattr(self.layer_spec, "alphabet", None)
        )

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the steps that this layer and its specification need."""
        return self.layer_spec.update_binding_optim(binding_optim)

    def update_input_length(
        self,
        left_shift: int = 0,
        right_shift: int = 0,
        min_len_shift: int = 0,
        max_len_shift: int = 0,
        new_min_len: int | None = None,
        new_max_len: int | None = None,
    ) -> None:
        """Follow a change of the input's lengths; positional values keep their place.

        Args:
            left_shift: Elements added on the left of every input.
            right_shift: Elements added on the right.
            min_len_shift: Further change of the fewest finite elements.
            max_len_shift: Further change of the most.
            new_min_len: The fewest, instead of a change.
            new_max_len: The most, instead of a change.

        Raises:
            ValueError: The layer cannot take such inputs; nothing is changed then.
        """
        before = self.input_start, self.input_growth, self._input_shape
        bounds = self._min_input_length, self._max_input_length
        added = left_shift + right_shift
        low = bounds[0] + added + min_len_shift if new_min_len is None else new_min_len
        high = bounds[1] + added + max_len_shift if new_max_len is None else new_max_len
        self.input_start -= left_shift
        self.input_growth += added
        self._input_shape += high - bounds[1]
        self._min_input_length, self._max_input_length = low, high
        try:
            self.check_input()
        except ValueError:
            self.input_start, self.input_growth, self._input_shape = before
            self._min_input_length, self._max_input_length = bounds
            raise
        self.settle()

    def follow(self, old: Geometry, new: Geometry) -> None:
        """Follow the change of the previous layer's output from `old` to `new`."""
        # The right end moves with whatever the left end does not explain.
        left = old.start - new.start
        self.update_input_length(
            left_shift=left,
            right_shift=new.longest - old.longest - left,
            min_len_shift=(new.shortest - old.shortest) - (new.longest - old.longest),
        )

    def structure(self) -> dict[str, Any]:
        """Return the input's lengths and coordinate."""
        return {
            "input_start": self.input_start,
            "input_growth": self.input_growth,
            "input_shape": self._input_shape,
            "min_input_length": self._min_input_length,
            "max_input_length": self._max_input_length,
        }

    def owns(self, key: str) -> bool:
        """Tell whether a tensor of PyProBound 1.x is one of the input's lengths."""
        return key in _LENGTHS

    def adopt_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take over the input's lengths, and begin at coordinate 0."""
        lengths = [int(tensors[key]) for key in _LENGTHS]
        self.input_start = self.input_growth = 0
        self._input_shape, self._min_input_length, self._max_input_length = lengths
        self.check_input()
        return {}

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over the input's lengths and coordinate."""
        self.input_start = structure["input_start"]
        self.input_growth = structure["input_growth"]
        self._input_shape = structure["input_shape"]
        self._min_input_length = structure["min_input_length"]
        self._max_input_length = structure["max_input_length"]


class ModeKey(tuple[LayerSpec, ...]):
    """The specifications of a mode's layers, in order.

    Two keys are equal where they hold the very same specifications.
    """

    __slots__ = ()

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""
        return self[-1].out_channels

    @property
    def in_channels(self) -> int:
        """The number of channels that go in."""
        return self[0].in_channels

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the length that comes out when `length` goes in."""
        for spec in self:
            length = spec.out_len(length, mode)
        return length

    def in_len(self, length: Length, mode: InMode = "max") -> Length | None:
        """Return the length that goes in when `length` comes out."""
        required: Length | None = length
        for spec in reversed(self):
            if required is None:
                return None
            required = spec.in_len(required, mode)
        return required

    @property
    def anchors(self) -> tuple[int, int]:
        """Where the original footprint lies in window 0, on either strand."""
        forward, reverse = zip(*(spec.anchors for spec in self), strict=True)
        return (sum(forward), sum(reverse))


class Reads(Protocol):
    """What a first layer reads from: a table of probes with scored flanks."""

    @property
    def input_shape(self) -> int:
        """Letters of a probe with flanks, padding included."""

    @property
    def min_read_length(self) -> int:
        """The fewest finite letters."""

    @property
    def max_read_length(self) -> int:
        """The most finite letters."""


def input_of(prev: Reads | Layer) -> tuple[int, int, int]:
    """Return (input_shape, shortest, longest) of what follows a table or a layer."""
    if isinstance(prev, Layer):
        output = prev.output
        return output.shape, output.shortest, output.longest
    return prev.input_shape, prev.min_read_length, prev.max_read_length
