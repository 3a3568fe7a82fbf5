"""One evaluation: every quantity of a forward pass over one batch, computed once.

An `Evaluation` is made for one batch of sequences, handed down explicitly, and dies
with the call, so there is nothing to invalidate and an exception leaves nothing
behind. A quantity is a bound method that takes the evaluation:

    windows = evaluation(self.mode_a.evaluate_windows)
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_current: ContextVar["Evaluation | None"] = ContextVar("evaluation", default=None)


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
        return self.remember(quantity, self.seqs, lambda: quantity(self))

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
