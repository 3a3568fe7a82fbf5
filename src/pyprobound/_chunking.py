"""Work through many probes in pieces, so that memory stays within a budget.

Two limits set the length of a piece. On a CPU its temporaries should stay in the
processor's cache, which makes a sum over windows about 1.6 times as fast as all probes
at once; everywhere they must fit the memory budget. What the backward pass needs is
kept while all pieces of a call together fit the budget, and recomputed piece by piece
otherwise: gradients then cost one more forward pass and no memory.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyprobound.errors import PyProBoundError

BUDGET_VARIABLE = "PYPROBOUND_MEMORY_BUDGET"
DEFAULT_BUDGET = 256 * 2**20  # bytes
CACHE_BYTES = 16 * 2**20  # estimates are generous: half of it is what an L3 holds


@dataclass
class _Setting:
    """The budget that `set_memory_budget` asked for, if it did."""

    n_bytes: int | None = None


_setting = _Setting()


def set_memory_budget(n_bytes: int | None) -> None:
    """Bound the memory of temporaries; probes are worked through in pieces that fit.

    It bounds what one operation on scores needs while it runs, results and gradients
    excluded; the pieces in which `score` goes through a batch; and what a fit keeps of
    windows that are not trained. A small budget costs time, no accuracy.

    Args:
        n_bytes: The bound in bytes; None goes back to the environment variable
            PYPROBOUND_MEMORY_BUDGET (in MiB) or, without it, to 256 MiB.

    Raises:
        ValueError: The bound is not positive.
    """
    if n_bytes is not None and n_bytes <= 0:
        raise ValueError(
            f"memory budget {n_bytes} is not positive; give a number of bytes"
        )
    _setting.n_bytes = n_bytes


def memory_budget() -> int:
    """Return the bound on temporaries in bytes, see `set_memory_budget`.

    Raises:
        PyProBoundError: PYPROBOUND_MEMORY_BUDGET is not a positive number.
    """
    if _setting.n_bytes is not None:
        return _setting.n_bytes
    text = os.environ.get(BUDGET_VARIABLE)
    if text is None:
        return DEFAULT_BUDGET
    try:
        mebibytes = float(text)
    except ValueError:
        mebibytes = math.nan
    if not 0 < mebibytes < math.inf:
        raise PyProBoundError(
            f"{BUDGET_VARIABLE}={text!r} is not a positive number of MiB; try 256"
        )
    return max(1, int(mebibytes * 2**20))


def chunk_length(
    bytes_per_probe: int, device: torch.device | None = None, *, share: int = 1
) -> int:
    """Return how many probes to work on at once, at least one.

    Args:
        bytes_per_probe: The temporaries that one probe needs.
        device: Where they lie; None is the CPU.
        share: Use only this part of the budget: 2 is one half.
    """
    budget = memory_budget() // share
    if device is None or device.type == "cpu":
        budget = min(budget, CACHE_BYTES)
    return max(1, budget // max(1, bytes_per_probe))


def map_chunks(
    function: Callable[..., Tensor],
    per_probe: Sequence[Tensor | None],
    shared: Sequence[Tensor | None] = (),
    *,
    bytes_per_probe: int,
    share: int = 1,
) -> Tensor:
    """Return `function(*per_probe, *shared)`, computed some probes at a time.

    Args:
        function: Maps tensors (n, …) and shared ones to a result (n, …), each probe on
            its own. Whatever is to receive gradients must be among its arguments.
        per_probe: Tensors (N, …), the first one not None; None is passed on as it is.
        shared: Further arguments, the same for all probes.
        bytes_per_probe: The temporaries of one probe, backward pass included.
        share: Use only this part of the budget, where that many calls share it.

    Returns:
        The results joined along the first axis, shape (N, …). They depend on the
        budget only through rounding in the gradients of what is shared.
    """
    first = per_probe[0]
    if first is None:
        raise ValueError(
            "the first of per_probe says how many probes there are; it is None"
        )
    step = chunk_length(bytes_per_probe, first.device, share=share)
    if len(first) <= step:
        return function(*per_probe, *shared)
    # split, not slices: its gradient is one concatenation, a slice's is all N rows
    columns = [repeat(None) if t is None else torch.split(t, step) for t in per_probe]
    chunks = zip(*columns, strict=False)  # repeat(None) has no end
    too_much_to_keep = len(first) * bytes_per_probe > memory_budget() // share
    if too_much_to_keep and _differentiable(*per_probe, *shared):
        return torch.cat([_recomputed(function, *chunk, *shared) for chunk in chunks])
    return torch.cat([function(*chunk, *shared) for chunk in chunks])


def _differentiable(*arguments: Tensor | None) -> bool:
    """Tell whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in arguments
    )


def _recomputed(function: Callable[..., Tensor], *arguments: Tensor | None) -> Tensor:
    """Return `function(*arguments)`, to be computed again in the backward pass."""
    result: Tensor = checkpoint(
        function, *arguments, use_reentrant=False, preserve_rng_state=False
    )
    return result
