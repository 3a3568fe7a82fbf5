"""Operators of PyTorch with gradients, made of plain functions.

A backend says how a result is computed, and its gradients. `differentiable` registers
both as operators, with what PyTorch wants to know of them: the shapes of results, what
to keep for the backward pass, which gradients are wanted, and second derivatives (which
only Hessians and tests need), found from the reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.library import custom_op

Context: TypeAlias = Any
"""What an operator keeps for its backward pass: attributes, and saved tensors."""

Operator: TypeAlias = Any
"""What `torch.library.custom_op` returns: it is called like the function."""

Leaf: TypeAlias = Tensor | Sequence[Tensor] | None
"""What takes gradients: one tensor, some, or none."""


def differentiable(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Sequence[Tensor | None]],
    *,
    empty: Callable[..., Any],
    reference: Callable[..., Tensor],
    leaves: Sequence[str],
    keeps_results: bool = True,
) -> Operator:
    """Register an operator `name`, and `name`_backward; return the first.

        forward(*inputs) → result, or (result, *others)
        backward(grad, results, *inputs, wanted) → gradients

    Args:
        name: Of the operator, in the name space of the package.
        forward: Computes the result. Its annotations are the schema: tensors, numbers,
            lists of them. Results but the first are for the backward pass alone.
        backward: Computes the gradient of each leaf, of a list those of its tensors.
            `wanted` says of each leaf (a list is one) whether they are; what is not
            wanted may be None. `grad` is contiguous.
        empty: Returns uninitialised results, from the inputs.
        reference: Does what `forward` does in differentiable PyTorch, for the result.
        leaves: The parameters of `forward` that take gradients.
        keeps_results: Whether `backward` reads results. If not, it gets none of them.
    """
    parameters = signature(forward).parameters
    places = [list(parameters).index(leaf) for leaf in leaves]
    rules = _Rules(backward, reference, places, keeps_results)

    def gradients(*arguments: Any) -> list[Tensor]:
        return rules.gradients(*arguments)

    gradients.__signature__ = Signature(  # type: ignore[attr-defined]  # torch reads the schema from it
        [
            _parameter("grad", Tensor),
            _parameter("results", Sequence[Tensor]),
            *parameters.values(),
            _parameter("wanted", Sequence[bool]),
        ],
        return_annotation=list[Tensor],
    )
    back = custom_op(f"pyprobound::{name}_backward", gradients, mutates_args=())
    back.register_fake(rules.empty_gradients)
    back.register_autograd(rules.differentiate_again, setup_context=rules.keep_again)

    def differentiate(ctx: Context, grad: Tensor, *_: object) -> tuple[Any, ...]:
        return rules.differentiate(back, ctx, grad)

    operator = custom_op(f"pyprobound::{name}", forward, mutates_args=())
    operator.register_fake(empty)
    operator.register_autograd(differentiate, setup_context=rules.keep)
    return operator


def direct(operator: Operator) -> Callable[..., Any]:
    """Return an operator that is called as a function where no graph is made.

    PyTorch's way to call an operator imports its compiler the first time, which takes 2
    seconds and 100 MiB.
    """

    def call(*arguments: Any) -> Any:
        given = [
            each
            for argument in arguments
            for each in (argument if isinstance(argument, list) else [argument])
            if isinstance(each, Tensor)
        ]
        plain = all(type(each) in (Tensor, nn.Parameter) for each in given)
        graph = torch.is_grad_enabled() and any(each.requires_grad for each in given)
        if plain and not graph and not torch.compiler.is_compiling():
            return operator._init_fn(*arguments)  # noqa: SLF001 what was decorated
        return operator(*arguments)

    return call


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


@dataclass(frozen=True)
class _Rules:
    """How an operator is differentiated, once and twice.

    Attributes:
        backward: See `differentiable`.
        reference: As above.
        places: Where the leaves are among the inputs.
        keeps_results: As above.
    """

    backward: Callable[..., Sequence[Tensor | None]]
    reference: Callable[..., Tensor]
    places: Sequence[int]
    keeps_results: bool

    # == the operator's gradients

    def keep(self, ctx: Context, inputs: Sequence[Any], output: Any) -> None:
        """Keep what the backward pass reads."""
        results = output if isinstance(output, tuple) else (output,)
        ctx.mark_non_differentiable(*results[1:])
        _keep(ctx, [list(results) if self.keeps_results else [], *inputs])

    def differentiate(
        self, back: Operator, ctx: Context, grad: Tensor
    ) -> tuple[Any, ...]:
        """Return the gradients of the inputs, by the operator `back`."""
        results, *inputs = _kept(ctx)
        wanted = [
            any(each is not None and each.requires_grad for each in _listed(leaf))
            for leaf in (inputs[place] for place in self.places)
        ]
        found = back(grad.contiguous(), results, *inputs, wanted)
        needed = zip(found, self._each(inputs, wanted), strict=True)
        return self._spread(inputs, [each if yes else None for each, yes in needed])

    # == the backward operator, and its gradients

    def gradients(
        self, grad: Tensor, results: Sequence[Tensor], *rest: Any
    ) -> list[Tensor]:
        """Return the gradients of all leaves, empty where there is none."""
        *inputs, wanted = rest
        found = self.backward(grad, results, *inputs, wanted)
        return [
            each if each is not None and yes else grad.new_empty(0)
            for each, yes in zip(found, self._each(inputs, wanted), strict=True)
        ]

    def empty_gradients(self, grad: Tensor, _: object, *rest: Any) -> list[Tensor]:
        """Return uninitialised gradients."""
        *inputs, wanted = rest
        needed = zip(self._flat(inputs), self._each(inputs, wanted), strict=True)
        return [
            each.new_empty(each.shape)
            if each is not None and yes
            else grad.new_empty(0)
            for each, yes in needed
        ]

    def keep_again(self, ctx: Context, inputs: Sequence[Any], output: object) -> None:
        """Keep all arguments of the backward operator."""
        del output
        _keep(ctx, inputs)

    def differentiate_again(
        self, ctx: Context, twice: Sequence[Tensor]
    ) -> tuple[Any, ...]:
        """Return the gradients of the arguments of the backward operator."""
        grad, results, *inputs, wanted = _kept(ctx)

        def result(*values: Tensor) -> Tensor:
            return self.reference(*self._with(inputs, values))

        by_grad, *found = second_gradients(
            result,
            self._flat(inputs),
            grad,
            [
                weight if yes else None
                for weight, yes in zip(twice, self._each(inputs, wanted), strict=True)
            ],
        )
        return by_grad, _nothing(results), *self._spread(inputs, found), None

    # == leaves

    def _flat(self, inputs: Sequence[Any]) -> list[Tensor | None]:
        """List the tensors of all leaves; a leaf that is missing is None."""
        return [each for place in self.places for each in _listed(inputs[place])]

    def _each(self, inputs: Sequence[Any], wanted: Sequence[bool]) -> list[bool]:
        """Say of each tensor what `wanted` says of each leaf; nobody wants None."""
        return [
            yes and each is not None
            for place, yes in zip(self.places, wanted, strict=True)
            for each in _listed(inputs[place])
        ]

    def _with(self, inputs: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Return the inputs with other tensors in the leaves."""
        changed, rest = list(inputs), iter(values)
        for place in self.places:
            given = [next(rest) for _ in _listed(inputs[place])]
            changed[place] = given if _is_list(inputs[place]) else given[0]
        return changed

    def _spread(
        self, inputs: Sequence[Any], gradients: Sequence[Tensor | None]
    ) -> tuple[Any, ...]:
        """Return the gradient of each input, given those of the leaves."""
        found = self._with(inputs, gradients)
        return tuple(
            found[place] if place in self.places else _nothing(value)
            for place, value in enumerate(inputs)
        )


# == arguments ========================================================================


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _listed(leaf: Leaf) -> Sequence[Tensor | None]:
    """Return the tensors of a leaf; one that is missing is None."""
    return [leaf] if leaf is None or isinstance(leaf, Tensor) else leaf


def _nothing(value: Any) -> list[None] | None:
    """Return the gradient of what has none: of a list of tensors, a list."""
    if _is_list(value) and all(isinstance(each, Tensor) for each in value):
        return [None] * len(value)
    return None


def _keep(ctx: Context, values: Sequence[Any]) -> None:
    """Keep arguments for a backward pass, tensors in PyTorch's own care."""
    tensors: list[Tensor] = []

    def frame(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value)
            return ...
        return [frame(each) for each in value] if _is_list(value) else value

    ctx.frame = [frame(value) for value in values]
    ctx.save_for_backward(*tensors)


def _kept(ctx: Context) -> list[Any]:
    """Return what was kept."""
    # once: a checkpoint computes them again at each request
    tensors = iter(ctx.saved_tensors)

    def filled(value: Any) -> Any:
        if value is ...:
            return next(tensors)
        return [filled(each) for each in value] if _is_list(value) else value

    return [filled(value) for value in ctx.frame]


# == second derivatives ===============================================================


def second_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    grad: Tensor,
    twice: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Differentiate the gradients of `function` once more, in plain PyTorch.

    Args:
        function: The reference, a function of the inputs.
        inputs: What gradients were taken of; None where there is no such input.
        grad: The gradient of the result of `function`.
        twice: Gradients of the inputs' gradients, None where unused.

    Returns:
        Gradients of `grad` and of each of the inputs.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: `grad` may itself be made of the inputs, a way that is not ours.
        grad = grad.view_as(grad)
        inputs = [each if each is None else each.view_as(each) for each in inputs]
        found = function(*inputs)
        places = [
            place
            for place, (leaf, weight) in enumerate(zip(inputs, twice, strict=True))
            if leaf is not None and leaf.requires_grad and weight is not None
        ]
        first = torch.autograd.grad(
            found,
            [leaf for place in places if (leaf := inputs[place]) is not None],
            grad,
            create_graph=True,
            materialize_grads=True,
        )
        wanted = [
            leaf for leaf in (grad, *inputs) if leaf is not None and leaf.requires_grad
        ]
        pairs = [
            (gradient, weight)
            for gradient, place in zip(first, places, strict=True)
            if gradient.requires_grad and (weight := twice[place]) is not None
        ]
        second = iter(
            torch.autograd.grad(
                [gradient for gradient, _ in pairs],
                wanted,
                [weight for _, weight in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
            if pairs and wanted
            else [None] * len(wanted)
        )
    return [
        next(second) if leaf is not None and leaf.requires_grad else None
        for leaf in (grad, *inputs)
    ]
