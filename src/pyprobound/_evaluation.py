"""One evaluation: every quantity of a forward pass over one batch, computed once.

An `Evaluation` is made for one batch of sequences, handed down explicitly, and dies
with the call, so there is nothing to invalidate and an exception leaves nothing
behind. A quantity is a bound method that takes the evaluation:

    windows = evaluation(self.mode_a.evaluate_windows)

What is not trained scores the same probes the same in every evaluation of a fit. While
a `Store` is in use, evaluations take such quantities from it.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pyprobound._chunking import memory_budget

_current: ContextVar["Evaluation | None"] = ContextVar("evaluation", default=None)
_store: ContextVar["Store | None"] = ContextVar("store", default=None)


class Evaluation:
    """The sequences of one forward pass and what has been computed of them.

    Attributes:
        seqs: (probes, length) letter codes or (probes, letters, length) soft letters.
    """

    def __init__(self, seqs: Tensor) -> None:
        """Start an evaluation of `seqs` in which nothing is computed yet."""
        self.seqs = seqs
        self._known: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def __call__(self, quantity: Callable[["Evaluation"], Tensor]) -> Tensor:
        """Return the quantity, computing it at the first request only."""

        def compute() -> Tensor:
            store = _store.get()
            return quantity(self) if store is None else store.value_of(quantity, self)

        return self.remember(quantity, self.seqs, compute)

    def knows(self, quantity: Callable[["Evaluation"], Tensor]) -> bool:
        """Tell whether the quantity has been computed already."""
        return (quantity, id(self.seqs)) in self._known

    def remember(
        self, quantity: Hashable, seqs: Tensor, compute: Callable[[], Tensor]
    ) -> Tensor:
        """Return the quantity of `seqs`, from `compute` at the first request."""
        key = (quantity, id(seqs))
        if key not in self._known:
            with _made_current(self):
                value = compute()
            # The sequences are kept with the value, so that their id stays theirs.
            self._known[key] = (seqs, value)
        return self._known[key][1]


@contextmanager
def _made_current(evaluation: Evaluation) -> Iterator[None]:
    token = _current.set(evaluation)
    try:
        yield
    finally:
        _current.reset(token)


def evaluation_of(seqs: Tensor) -> Evaluation:
    """Return the evaluation of `seqs` in progress, or a new one."""
    current = _current.get()
    if current is not None and current.seqs is seqs:
        return current
    return Evaluation(seqs)


def remembered(
    quantity: Hashable, seqs: Tensor, compute: Callable[[], Tensor]
) -> Tensor:
    """Return a quantity of any `seqs` within the evaluation in progress.

    Without one, the outermost call is an evaluation of its own and forgets
    everything when it returns. It serves `Transform.cache`, whose documented
    signature has no room for the evaluation.
    """
    evaluation = _current.get() or Evaluation(seqs)
    return evaluation.remember(quantity, seqs, compute)


# --- from one evaluation to the next -----------------------------------------------


class TensorState:
    """A tensor as it is now: equal to what is the same tensor with the same content."""

    def __init__(self, tensor: Tensor) -> None:
        """Note which tensor it is, where its content lies, and its version."""
        self._tensor = tensor
        # The content is held, so that nothing else can come to lie there.
        self._content = tensor.detach()
        self._version = tensor._version  # noqa: SLF001 public in all but its name

    def __eq__(self, other: object) -> bool:
        """Whether it is the same tensor, not written to and with no other content."""
        if not isinstance(other, TensorState):
            return NotImplemented
        mine, its = self._content, other._content
        return (
            self._tensor is other._tensor
            and self._version == other._version
            and mine.data_ptr() == its.data_ptr()
            and mine.shape == its.shape
        )

    __hash__ = None  # type: ignore[assignment]  # as Python says of what compares by value


@runtime_checkable
class Fixable(Protocol):
    """What can tell whether its results will be the same again."""

    def fixed_state(self) -> list[object] | None:
        """Return all that its results depend on; None where a part is trained."""


class _Kept(NamedTuple):
    """A result, what it depends on, and the sequences (so that they stay there)."""

    value: Tensor
    state: list[object]
    seqs: Tensor


class Store:
    """Results of what does not change, for the evaluations of one step of a fit.

    A result is kept for the tensor of sequences that it was computed of — for the same
    place in memory, unchanged since — while its owner has no trained parameter, and is
    as it was. Of quantities that are computed from each other only the outermost is
    kept. A number for each probe is always kept, what is larger (the windows that a
    dimer asks for) within the memory budget.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._kept: dict[Hashable, _Kept] = {}
        self._room = memory_budget()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let evaluations take what they can from here."""
        with _storing(self):
            yield

    def value_of(
        self, quantity: Callable[[Evaluation], Tensor], evaluation: Evaluation
    ) -> Tensor:
        """Return a quantity, from an earlier evaluation where nothing has changed."""
        owner, seqs = getattr(quantity, "__self__", None), evaluation.seqs
        lasting = not (seqs.requires_grad or seqs.is_inference())
        state = owner.fixed_state() if lasting and isinstance(owner, Fixable) else None
        if state is None or owner is None:
            return quantity(evaluation)
        key = (quantity, _place_of(seqs), _precision(seqs))
        kept = self._kept.get(key)
        if kept is not None and kept.state == state:
            return kept.value
        with _storing(None):
            value = quantity(evaluation)
        # Computing may have laid parameters anew.
        state = owner.fixed_state()
        if state is not None:
            self._keep(key, _Kept(value, state, seqs.detach()))
        return value

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        if kept.value.requires_grad or kept.value.is_inference():
            return
        before = self._kept.pop(key, None)
        if before is not None:
            self._room += _n_bytes(before.value)
        if _n_bytes(kept.value) <= self._room:
            self._room -= _n_bytes(kept.value)
            self._kept[key] = kept


def _n_bytes(value: Tensor) -> int:
    """Return the bytes of a result that count: none of one number for each probe."""
    return 0 if value.ndim == 1 else value.nbytes


def _place_of(seqs: Tensor) -> Hashable:
    """Return where sequences lie, and how often what lies there was written to."""
    version = seqs._version  # noqa: SLF001 public in all but its name
    return seqs.data_ptr(), seqs.shape, seqs.stride(), seqs.dtype, seqs.device, version


def _precision(seqs: Tensor) -> Hashable:
    """Return what decides about the type of results, besides parameters."""
    kind = seqs.device.type
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


@contextmanager
def _storing(store: Store | None) -> Iterator[None]:
    token = _store.set(store)
    try:
        yield
    finally:
        _store.reset(token)
