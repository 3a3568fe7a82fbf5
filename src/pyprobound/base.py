"""The parts that every model is made of, and the plan of its sequential fit.

A `Component` is a named torch module with child components. A `Spec` holds what is
independent of the experiment, a `Transform` maps sequences to numbers, a `Binding` is
a transform that binds: a mode or a dimer. Here live what all of them share: freezing,
saving, structure edits that settle, and the recursion that builds the procedure
(`Call`, `Step`, `BindingOptim`) by which a model is fitted one binding at a time.
"""

import abc
import copy
import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from pyprobound._evaluation import (
    Evaluation,
    TensorState,
    evaluation_of,
    remembered,
)
from pyprobound._files import replacing
from pyprobound._typing import FileLike
from pyprobound._version import __version__
from pyprobound.errors import CheckpointError

ComponentT = TypeVar("ComponentT", bound="Component")


class Phase(IntEnum):
    """The order of the steps by which a binding is fitted."""

    START = 0
    LETTERS = 1
    FLANK = 2
    CENTRE = 3
    SHIFT_LEFT = 4
    SHIFT_RIGHT = 5
    GROW = 6
    POSITION_BIAS = 7
    PAIRS = 8
    ALL = 9


class Call(NamedTuple):
    """A method of a component with its arguments, to be called later."""

    cmpt: "Component"
    fun: str
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        """Show the call as one line: ``PSAM-a.unfreeze(parameter=monomer)``."""
        arguments = ", ".join(f"{key}={value}" for key, value in self.kwargs.items())
        return f"{self.cmpt}.{self.fun}({arguments})"


class Step(NamedTuple):
    """Calls made together, followed by a fit.

    Attributes:
        calls: What is called.
        greedy: Whether the step is repeated as long as the loss falls.
        phase: Where in the procedure the step belongs.
        owner: Whose greedy step it is; those of one owner and phase are one step.
    """

    calls: list[Call]
    greedy: bool = False
    phase: Phase = Phase.LETTERS
    owner: "Component | None" = None


class BindingOptim(NamedTuple):
    """How one binding is fitted.

    Attributes:
        ancestry: The paths from the root of the model to the binding.
        steps: The steps, in order once they are merged.
    """

    ancestry: list[tuple["Component", ...]]
    steps: list[Step]

    def merge_binding_optim(self) -> None:
        """Order the steps by phase, join those of one phase, drop what is repeated."""
        joined: dict[tuple[Phase, bool, int], Step] = {}
        for step in sorted(self.steps, key=lambda step: step.phase):
            key = (step.phase, step.greedy, id(step.owner) if step.greedy else 0)
            calls = joined.setdefault(key, step._replace(calls=[])).calls
            calls.extend(call for call in step.calls if call not in calls)
        self.steps[:] = [step for step in joined.values() if step.calls]


class Component(nn.Module, abc.ABC):
    """A named part of a model.

    Attributes:
        name: Shown in plans and messages; may be empty.
    """

    unfreezable = Literal["all"]

    trainable: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """For each word that `unfreeze` takes, the attributes that it reaches.

    A word ``x`` is obeyed unless the component has ``train_x`` False.
    """

    def __init__(self, name: str = "") -> None:
        """Initialise the module under a name."""
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        """Show the component as Class-name."""
        kind = type(self).__name__
        return f"{kind}-{self.name}" if self.name else kind

    def extra_repr(self) -> str:
        """Show the name in the representation of the module."""
        return f"name={self.name!r}" if self.name else ""

    @abc.abstractmethod
    def components(self) -> Iterator["Component"]:
        """Iterate over the child components."""

    def max_embedding_size(self) -> int:
        """Bound the bytes that scoring one sequence needs."""
        return max(
            (child.max_embedding_size() for child in self.components()), default=0
        )

    # --- what is trained -----------------------------------------------------------

    def freeze(self) -> None:
        """Turn off the gradient of every parameter."""
        self.requires_grad_(requires_grad=False)

    def unfreeze(self, parameter: str = "all") -> None:
        """Turn on the gradient of the parameters that a word stands for.

        Args:
            parameter: "all" (recurses into the children), or a word of this class.

        Raises:
            ValueError: The class has no such word.
        """
        if parameter == "all":
            self.settle()
            self._unfreeze_all()
            return
        if parameter not in self.trainable:
            words = ", ".join(repr(word) for word in ("all", *self.trainable))
            msg = (
                f"{type(self).__name__} cannot unfreeze {parameter!r}; it knows {words}"
            )
            raise ValueError(msg)
        self.settle()
        self._unfreeze_word(parameter)

    def _unfreeze_all(self) -> None:
        for word in self.trainable:
            self._unfreeze_word(word)
        for child in self.components():
            child.unfreeze()

    def _unfreeze_word(self, word: str) -> None:
        if not getattr(self, f"train_{word}", True):
            return
        for attribute in self.trainable[word]:
            target = getattr(self, attribute)
            if isinstance(target, Tensor | nn.Module):
                target.requires_grad_()

    def named_values(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Iterate over (name, values) of all parameters, each once.

        Values that can never be trained are detached, so that a penalty on them has
        no gradient.
        """
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix):
            for name, values in _own_values(module):
                if id(module._parameters[name]) not in seen:  # noqa: SLF001 the module's own
                    seen.add(id(module._parameters[name]))  # noqa: SLF001 likewise
                    yield (f"{path}.{name}" if path else name), values

    def own_values(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over (name, values) of the parameters held here, not in children."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield name, parameter

    # --- structure -----------------------------------------------------------------

    def settle(self) -> None:
        """Re-lay positional parameters here and below on the current coordinates.

        Scores do not depend on it: what reads a positional parameter reads it by
        coordinates. It is where new places become parameters that can be trained.
        """
        for child in self.components():
            child.settle()

    def check_length_consistency(self) -> None:
        """Check that the lengths of neighbouring components agree.

        Raises:
            RuntimeError: They do not; the message says what was expected and found.
        """
        for child in self.components():
            child.check_length_consistency()

    # --- files ---------------------------------------------------------------------

    def save(
        self,
        checkpoint: FileLike,
        flank_lengths: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Write {"state_dict", "metadata"}, readable by torch.load(weights_only=True).

        Args:
            checkpoint: A path, written in one piece or not at all, or a binary file.
            flank_lengths: Scored (left, right) flank lengths of each table.

        Raises:
            PyProBoundError: The path cannot be written.
        """
        self.settle()
        content = {
            "state_dict": self.state_dict(),
            "metadata": {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "version": __version__,
                "flank_lengths": tuple((left, right) for left, right in flank_lengths),
            },
        }
        if hasattr(checkpoint, "write"):
            torch.save(content, cast("IO[bytes]", checkpoint))
            return
        with replacing(checkpoint) as file:
            torch.save(content, file)

    def reload(self, checkpoint: FileLike) -> dict[str, Any]:
        """Adopt the structure and the values of a checkpoint.

        Args:
            checkpoint: What `save` wrote, or PyProBound 1.x.

        Returns:
            The checkpoint's metadata.

        Raises:
            CheckpointError: It cannot be read, or belongs to another model; the
                component is then left as it was.
        """
        content = read_checkpoint(checkpoint)
        try:
            self.reload_from_state_dict(content["state_dict"])
        except CheckpointError as error:
            msg = f"{_name_of(checkpoint)}: {error}"
            raise CheckpointError(msg) from None
        return dict(content["metadata"])

    def reload_from_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Adopt the structure and the values of a state dict.

        Raises:
            CheckpointError: It belongs to another model; nothing is changed then.
        """
        self.settle()
        before = copy.deepcopy(self.state_dict())
        if not any(key.endswith("_extra_state") for key in state_dict):
            state_dict = self._with_structure(state_dict, before)
        missing, unknown = before.keys() - state_dict.keys(), state_dict.keys() - before
        missing = {key for key in missing if not _is_elastic(key)}
        unknown = {key for key in unknown if not _is_elastic(key)}
        if missing or unknown:
            msg = (
                "the checkpoint belongs to another model: "
                f"{_some(missing, 'missing')}{'; ' if missing and unknown else ''}"
                f"{_some(unknown, 'not in this model')}"
            )
            raise CheckpointError(msg)
        try:
            self.restore(state_dict)
        except (
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            self.restore(before)
            msg = f"the checkpoint belongs to another model: {_first_line(error)}"
            raise CheckpointError(msg) from error

    def _with_structure(
        self, tensors: Mapping[str, Any], before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the state dict that tensors alone stand for.

        PyProBound 1.x saves a tensor for each beta, and lengths and symmetries as
        tensors too.

        Args:
            tensors: Its state dict.
            before: The state dict of this component, which it has again at the end.
        """
        parts = list(self.named_modules(remove_duplicate=False))
        shaped = [(path, each) for path, each in parts if isinstance(each, Shaped)]
        found = dict(tensors)
        try:
            for path, each in shaped:
                prefix = f"{path}." if path else ""
                own = {
                    key.removeprefix(prefix): found.pop(key)
                    for key in list(found)
                    if key.startswith(prefix) and each.owns(key.removeprefix(prefix))
                }
                converted = each.adopt_tensors(own)
                found |= {f"{prefix}{key}": value for key, value in converted.items()}
            for _, each in shaped:
                each.lay_anew()
            self._check_shapes(found)
            structures = {
                key: copy.deepcopy(value)
                for key, value in self.state_dict().items()
                if key.endswith("_extra_state")
            }
        except KeyError as error:
            msg = f"the checkpoint belongs to another model: {error} is missing"
            raise CheckpointError(msg) from error
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            msg = f"the checkpoint belongs to another model: {_first_line(error)}"
            raise CheckpointError(msg) from error
        finally:
            self.restore(before)
        return found | structures

    def _check_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that values have the shapes of the parameters.

        Raises:
            ValueError: One has not.
        """
        for name, parameter in self.named_parameters(remove_duplicate=False):
            if name in tensors and tensors[name].shape != parameter.shape:
                wanted, given = tuple(parameter.shape), tuple(tensors[name].shape)
                msg = f"{name} has the shape {given}, not {wanted}"
                raise ValueError(msg)

    def restore(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state dict of this very component, without checks."""
        for path, module in self.named_modules():
            key = f"{path}._extra_state" if path else "_extra_state"
            if isinstance(module, Shaped) and key in state_dict:
                module.adopt_structure(state_dict[key])
        for name, parameter in self.named_parameters():
            if name in state_dict and parameter.shape != state_dict[name].shape:
                parameter.data = parameter.new_empty(state_dict[name].shape)
        self.load_state_dict(dict(state_dict))

    # --- the sequential procedure --------------------------------------------------

    def optim_procedure(
        self,
        ancestry: tuple["Component", ...] | None = None,
        current_order: dict[tuple["Spec", ...], BindingOptim] | None = None,
    ) -> dict[tuple["Spec", ...], BindingOptim]:
        """Return the sequential optimization procedure of every binding below.

        Args:
            ancestry: The components from the root of the procedure to this one.
            current_order: What the procedure holds so far; bindings of the same key
                are trained together.

        Returns:
            `current_order`, updated: for each key, in order of first appearance, the
            steps by which it is fitted.
        """
        order = {} if current_order is None else current_order
        self._extend_procedure((*(ancestry or ()), self), order)
        if ancestry is None:
            for binding_optim in order.values():
                binding_optim.merge_binding_optim()
        return order

    def _extend_procedure(
        self,
        path: tuple["Component", ...],
        order: dict[tuple["Spec", ...], BindingOptim],
    ) -> None:
        for child in self.components():
            child.optim_procedure(path, order)

    def start_calls(self, child: "Component") -> Iterable[Call]:  # noqa: ARG002 for subclasses
        """Return what a binding below needs here before it is fitted.

        Args:
            child: The child through which the binding is reached.
        """
        return ()


class Shaped(Component):
    """A component whose structure can change during a fit and is saved with it."""

    @abc.abstractmethod
    def structure(self) -> dict[str, Any]:
        """Return the structure as plain numbers, strings, lists and dicts."""

    @abc.abstractmethod
    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over what `structure` returned."""

    def owns(self, key: str) -> bool:  # noqa: ARG002 for subclasses
        """Tell whether a tensor of PyProBound 1.x says something of the structure.

        Args:
            key: Its name, from this component on.
        """
        return False

    def adopt_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take over the structure that tensors of PyProBound 1.x tell.

        Args:
            tensors: Those that it owns.

        Returns:
            What has become of them: the values, under today's names.
        """
        return dict(tensors)

    def lay_anew(self) -> None:
        """Lay positional parameters as they would be if the structure were new."""

    def get_extra_state(self) -> dict[str, Any]:
        """Return what the state dict holds besides tensors."""
        return self.structure()

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Accept the structure, which `reload_from_state_dict` has adopted already."""


class Spec(Component):
    """Parameters that are independent of the experiment."""

    def components(self) -> Iterator[Component]:
        """Iterate over no children."""
        return iter(())

    def forward(self) -> None:
        """Refuse: a specification scores nothing.

        Raises:
            NotImplementedError: Always.
        """
        msg = f"{self} is a specification; put it in a layer or a mode to score with it"
        raise NotImplementedError(msg)

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the steps that this specification needs; return `binding_optim`."""
        return binding_optim


class Transform(Component):
    """A component that maps sequences to numbers.

    A subclass gives either `evaluate`, from which `forward` follows, or `forward`.
    """

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return the output for the sequences of an evaluation."""
        return self.forward(evaluation.seqs)

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the output for sequences.

        Args:
            seqs: (probes, length) letter codes or (probes, letters, length).
        """
        if type(self).evaluate is Transform.evaluate:
            msg = f"{type(self).__name__} gives neither evaluate() nor forward()"
            raise NotImplementedError(msg)
        return evaluation_of(seqs)(self.evaluate)

    @classmethod
    def cache(
        cls, fun: Callable[[ComponentT, Tensor], Tensor]
    ) -> Callable[[ComponentT, Tensor], Tensor]:
        """Decorate a method of (self, seqs) to be computed once per evaluation.

        Nothing outlives the evaluation of a model, and an exception leaves nothing
        behind.
        """

        @functools.wraps(fun)
        def wrapper(self: ComponentT, seqs: Tensor) -> Tensor:
            return remembered((fun, self), seqs, lambda: fun(self, seqs))

        return wrapper


class Binding(Transform, abc.ABC):
    """A transform that binds: a mode, or a dimer of two modes."""

    @abc.abstractmethod
    def key(self) -> tuple[Spec, ...]:
        """Return the specification of a binding component.

        All binding components with the same specification are optimized together in
        the sequential optimization procedure.
        """

    @abc.abstractmethod
    def expected_sequence(self) -> Tensor:
        """Return the uninformative prior of the input: (1, letters, length)."""

    def fixed_state(self) -> list[object] | None:
        """Return all that scores depend on besides the sequences.

        Returns:
            What is equal as long as scores are; None where a parameter is trained, or
            a part is of a class that is not the library's own.
        """
        tensors = chain(self.parameters(), self.buffers())
        if any(tensor.requires_grad or tensor.is_inference() for tensor in tensors):
            return None
        return state_of(self, TensorState)

    def expected_log_score(self) -> float:
        """Return the log score of the expected sequence."""
        with torch.no_grad():
            return float(self(self.expected_sequence()))

    @abc.abstractmethod
    def score_windows(self, seqs: Tensor) -> Tensor:
        """Return the log score of each window before summing over them."""

    @abc.abstractmethod
    def extend_steps(
        self,
        path: tuple[Component, ...],
        binding_optim: BindingOptim,
        order: Mapping[tuple[Spec, ...], BindingOptim],
    ) -> BindingOptim:
        """Add the steps between the first and the last one of this binding.

        Args:
            path: The components from the root to this one.
            binding_optim: What is known so far; updated and returned.
            order: The whole procedure so far.
        """

    def _extend_procedure(
        self,
        path: tuple[Component, ...],
        order: dict[tuple[Spec, ...], BindingOptim],
    ) -> None:
        binding_optim = order.get(self.key()) or BindingOptim([], [])
        binding_optim.ancestry.append(path)
        binding_optim.steps.append(Step(_start_calls(path), phase=Phase.START))
        binding_optim = self.extend_steps(path, binding_optim, order)
        last = Call(path[0], "unfreeze", {"parameter": "all"})
        binding_optim.steps.append(Step([last], phase=Phase.ALL))
        order[self.key()] = binding_optim


def _start_calls(path: tuple[Component, ...]) -> list[Call]:
    calls = [Call(path[0], "freeze", {})]
    for parent, child in reversed(list(pairwise(path))):
        calls.extend(parent.start_calls(child))
    return calls


_PACKAGE = __name__.partition(".")[0]
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def state_of(
    component: Component, of_tensor: Callable[[Tensor], object]
) -> list[object] | None:
    """Return all that the results of a component depend on besides the sequences.

    Args:
        component: The component.
        of_tensor: What stands for a tensor.

    Returns:
        Its parts, their settings, structure and tensors; None where a part is of a
        class that is not the library's own, so that anything may depend on anything.
    """
    found: list[object] = []
    for module in component.modules():
        kind = type(module)
        ours = kind.__module__.partition(".")[0] == _PACKAGE
        if not ours and kind not in _CONTAINERS:
            return None
        found.append(kind)
        found += [item for item in vars(module).items() if _is_setting(item[1])]
        held = (*module._parameters.values(), *module._buffers.values())  # noqa: SLF001 as torch does
        found += [of_tensor(tensor) for tensor in held if tensor is not None]
        if isinstance(module, Shaped):
            found.append(_with_tensors(module.structure(), of_tensor))
    return found


_SETTINGS = frozenset({bool, int, float, str, type(None)})


def _is_setting(value: object) -> bool:
    kind = type(value)
    if kind is tuple:
        return all(map(_is_setting, cast("tuple[object, ...]", value)))
    return kind in _SETTINGS


def _with_tensors(value: object, of_tensor: Callable[[Tensor], object]) -> object:
    """Return nested lists and dicts with what stands for their tensors."""
    if isinstance(value, list | tuple):
        return [_with_tensors(x, of_tensor) for x in value]
    if isinstance(value, dict):
        return {key: _with_tensors(x, of_tensor) for key, x in value.items()}
    return of_tensor(value) if isinstance(value, Tensor) else value


@contextmanager
def undone_if_refused(component: Component) -> Iterator[None]:
    """Leave a component as it was where an edit of it raises a ValueError."""
    component.settle()
    before = copy.deepcopy(component.state_dict())
    try:
        yield
    except ValueError:
        component.restore(before)
        raise


def _own_values(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    if isinstance(module, Component):
        yield from module.own_values()
        return
    yield from module.named_parameters(recurse=False)


def read_checkpoint(checkpoint: FileLike) -> dict[str, Any]:
    """Return the content of a checkpoint: {"state_dict", "metadata"}.

    Raises:
        CheckpointError: It is missing, truncated, or no checkpoint.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        msg = f"{_name_of(checkpoint)}: no such file"
        raise CheckpointError(msg) from error
    except (RuntimeError, EOFError, OSError, KeyError, pickle.UnpicklingError) as error:
        msg = (
            f"{_name_of(checkpoint)}: not a readable checkpoint (cut short, or not "
            "written by save()); use another copy"
        )
        raise CheckpointError(msg) from error
    if (
        not isinstance(content, dict)
        or not {"state_dict", "metadata"} <= content.keys()
    ):
        msg = f"{_name_of(checkpoint)}: holds no state_dict and metadata; use save()"
        raise CheckpointError(msg)
    return content


def _name_of(checkpoint: FileLike) -> str:
    if isinstance(checkpoint, str | Path):
        return str(checkpoint)
    return str(getattr(checkpoint, "name", "the checkpoint"))


def _is_elastic(key: str) -> bool:
    """Tell whether the number of such entries is part of the structure."""
    stem, _, last = key.rpartition(".")
    return last.isdigit() and stem.endswith("log_posbias")


def _some(keys: set[str], what: str) -> str:
    if not keys:
        return ""
    return f"{len(keys)} entries {what} (such as {min(keys)})"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].startswith("Error(s)") else lines[0]
