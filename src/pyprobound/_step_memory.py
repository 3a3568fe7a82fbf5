"""What one step of a fit need not do twice.

A step trains some parameters on the same tables until the loss does not improve. In it

*   what is not trained is scored once (`_evaluation.Store`),
*   a table is moved to another device once,
*   a loss is computed once for the same parameters: a line search ends at a place where
    it has been, the next one begins there, and there the closing loss of the epoch is
    asked for in between.

All of it is dropped with the step.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Store, TensorState
from pyprobound.base import Component, state_of
from pyprobound.loss import Loss
from pyprobound.table import Batch, CountBatch

BatchT = TypeVar("BatchT", bound=Batch)

_LOSSES = 64  # more than the losses of two line searches


class _Known(NamedTuple):
    """A loss, what it is the loss of, and the gradients where they were asked for."""

    model: list[object]
    data: list[object]
    loss: Loss
    gradients: list[Tensor | None] | None


class _Moved(NamedTuple):
    """A batch on another device, and the batch that it was made of."""

    source: list[object]
    batch: Batch


class StepMemory:
    """What the evaluations of one step share.

    Attributes:
        store: Results of what is not trained.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.store = Store()
        self._known: deque[_Known] = deque(maxlen=_LOSSES)
        self._moved: dict[tuple[int, torch.device], _Moved] = {}

    def moved(self, batch: BatchT, device: torch.device) -> BatchT:
        """Return a batch on a device, moved there once."""
        source = _content_of(batch)
        if source is None or not isinstance(batch, CountBatch):
            return moved(batch, device)
        key = id(batch), device
        if key not in self._moved or self._moved[key].source != source:
            self._moved[key] = _Moved(source, batch.to(device))
        return cast("BatchT", self._moved[key].batch)

    def loss(
        self,
        model: Component,
        batches: Sequence[Batch],
        compute: Callable[[], Loss],
        *,
        gradients: bool,
    ) -> Loss:
        """Return the loss of a model, and leave its gradients in the parameters.

        Args:
            model: The model.
            batches: Tables.
            compute: Computes the loss and, if they are asked for, the gradients.
            gradients: Whether they are.
        """
        state = _state_of(model)
        contents = [_content_of(batch) for batch in batches]
        if state is None or None in contents:
            return compute()
        data: list[object] = list(contents)
        parameters = list(model.parameters())
        for known in reversed(self._known):
            if known.model == state and known.data == data:
                if not gradients:
                    return known.loss
                if known.gradients is not None:
                    _set_gradients(parameters, known.gradients)
                    return known.loss
        loss = compute()
        found = None
        if gradients:
            found = [None if p.grad is None else p.grad.clone() for p in parameters]
        self._known.append(_Known(state, data, loss, found))
        return loss


def moved(batch: BatchT, device: torch.device) -> BatchT:
    """Return a batch on a device, if it is of a kind that can be moved."""
    move: Callable[[torch.device], BatchT] | None = getattr(batch, "to", None)
    return batch if move is None else move(device)


def _content_of(batch: Batch) -> list[object] | None:
    """Return what tells a batch from others; None where that is not known."""
    if not isinstance(batch, CountBatch):
        return None
    tensors = batch.seqs, batch.target
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [TensorState(tensor) for tensor in tensors]


def _state_of(model: Component) -> list[object] | None:
    """Return all that a loss depends on besides the tables, by value.

    Values are taken off a device all at once: each transfer would wait for it.
    """
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    def noted(tensor: Tensor) -> object:
        values = tensor.detach().reshape(-1)
        by_kind.setdefault((tensor.dtype, tensor.device), []).append(values)
        return tensor.requires_grad, tensor.dtype, tensor.shape

    state = state_of(model, noted)
    if state is None:
        return None
    found: list[object] = []
    for (dtype, _), parts in by_kind.items():
        values = torch.cat(parts)
        if dtype == torch.bfloat16:  # which NumPy has not
            values = values.float()
        found.append(values.numpy(force=True).tobytes())
    return [*found, state]  # what differs most often is compared first


def _set_gradients(
    parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]
) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
