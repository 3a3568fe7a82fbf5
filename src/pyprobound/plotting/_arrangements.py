"""The arrangements of a dimer, each once, with log ω and its error.

Some entries of log ω (strands s and t of the two modes, offset o) mean the same sites,
or cannot be told apart by any data:

    a probe read from its other strand     (1−s, 1−t, n_b − n_a − o)
    both modes are one and the same        (t, s, −o)
    the first motif is a palindrome        (1−s, t, o)
    the second one is                      (s, 1−t, o)

They are one arrangement here. Its ω is the mean of theirs: only that is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.geometry import footprint_distance
from pyprobound.layers import PSAM, Conv1d, LayerSpec, ModeKey
from pyprobound.mode import Mode
from pyprobound.uncertainty import ErrorBars, log_omega

NO_DIRECTION = "·"
_STRANDS = "+-"


@dataclass(frozen=True)
class Row:
    """The arrangements with one pair of strands.

    Attributes:
        strands: Those of the first and of the second mode, "+" or "-": of a motif that
            is a palindrome, the strand whose entry is shown.
        value: (offsets,) log ω; −∞ where the two cannot be, NaN where the arrangement
            stands elsewhere, in this row or another.
        error: (offsets,) its standard error; NaN where it is not identified.
    """

    strands: str
    value: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True)
class Arrangements:
    """log ω of a dimer by strands and offset, less that of the reference.

    Attributes:
        names: Of the two modes; the first is the one that is looked from, whose strand
            is +.
        offsets: Window of the second mode minus window of the first.
        gaps: Letters between the footprints at each offset, negative where they
            overlap; None where a footprint is unbounded.
        turned: At which offsets the second one lies to the left of the first.
        rows: The pairs of strands.
        directed: Whether each of the two has a direction: palindromes have none.
        reference: Row and column of the arrangement whose log ω is 0; None if the two
            cannot bind in any.
        has_errors: Whether errors are known.
    """

    names: tuple[str, str]
    offsets: list[int]
    gaps: list[int] | None
    turned: list[bool]
    rows: list[Row]
    directed: tuple[bool, bool]
    reference: tuple[int, int] | None
    has_errors: bool

    @property
    def is_possible(self) -> NDArray[np.bool_]:
        """(rows, offsets) where log ω is a number."""
        return np.array([np.isfinite(row.value) for row in self.rows])

    @property
    def is_unknown(self) -> NDArray[np.bool_]:
        """(rows, offsets) where the data do not identify log ω."""
        unknown = np.array([np.isnan(row.error) for row in self.rows])
        found: NDArray[np.bool_] = self.is_possible & unknown
        return found

    def in_order(self, row: int, *, turned: bool) -> tuple[tuple[str, str], str]:
        """Return names and strands of the two from left to right.

        Args:
            row: The pair of strands.
            turned: Whether the second one lies to the left.
        """
        (first, second), strands = self.names, self.rows[row].strands
        return ((second, first), strands[::-1]) if turned else (self.names, strands)

    def arrows(self, row: int, *, turned: bool) -> str:
        """Return the strands from left to right, "·" for a motif without a direction.

        Args:
            row: The pair of strands.
            turned: Whether the second one lies to the left.
        """
        pairs = zip(self.rows[row].strands, self.directed, strict=True)
        arrows = "".join(strand if has else NO_DIRECTION for strand, has in pairs)
        return arrows[::-1] if turned else arrows


def arrangements_of(
    dimer: Spacing | Cooperativity,
    *,
    swap: bool = False,
    errors: ErrorBars | None = None,
) -> Arrangements:
    """Return the arrangements of a dimer.

    Args:
        dimer: A dimer, or a spacing alone, seen on its longest probes. The bias of a
            dimer is in log ω with its mean along each diagonal.
        swap: Whether to look from the second mode.
        errors: The errors of the dimer's model. The reference is theirs then, else the
            best arrangement.

    Raises:
        PyProBoundError: There are errors, but only a spacing.
    """
    if errors is not None and isinstance(dimer, Spacing):
        msg = f"{dimer}: errors are those of a dimer; give the Cooperativity"
        raise PyProBoundError(msg)
    with torch.no_grad():
        raw = _raw(dimer, errors).detach().double().cpu()
    group = _groups(dimer, raw)
    value, error, reference = _relative(dimer, raw, group, errors)
    n_a, n_b = windows_of(dimer)
    offsets = list(range(1 - n_a, n_b))
    names, directed = names_of(dimer), _are_directed(dimer)
    if swap:
        value, error, group = (
            each.transpose(0, 1).flip(2) for each in (value, error, group)
        )
        offsets = [-offset for offset in reversed(offsets)]
        names, directed = names[::-1], directed[::-1]
    shown = _representatives(group, offsets)
    pairs = [(int(s), int(t)) for s, t in shown.any(2).nonzero()]
    value, groups = value.masked_fill(~shown, torch.nan), group.masked_fill(~shown, -1)
    gaps, turned = _layout(dimer, offsets, swap=swap)
    return Arrangements(
        names=names,
        offsets=offsets,
        gaps=gaps,
        turned=turned,
        rows=[
            Row(
                _STRANDS[pair[0]] + _STRANDS[pair[1]],
                value[pair].numpy(),
                error[pair].numpy(),
            )
            for pair in pairs
        ],
        directed=directed,
        reference=_found(reference, [groups[pair] for pair in pairs]),
        has_errors=errors is not None,
    )


def windows_of(dimer: Spacing | Cooperativity) -> tuple[int, int]:
    """Return the windows of the two modes on the longest probes.

    A spacing knows only the larger number; the wider of the footprints has fewer.
    """
    if isinstance(dimer, Cooperativity):
        return dimer.mode_a.n_windows, dimer.mode_b.n_windows
    sizes = [key.in_len(1, "max") for key in (dimer.mode_key_a, dimer.mode_key_b)]
    most = dimer.max_num_windows
    if None in sizes:
        return most, most
    least = min(size for size in sizes if size is not None)
    a, b = (max(1, most - size + least) for size in sizes if size is not None)
    return a, b


# --- values ------------------------------------------------------------------------


def _raw(dimer: Spacing | Cooperativity, errors: ErrorBars | None) -> Tensor:
    """Return (strands_a, strands_b, offsets) log ω, in no gauge, differentiable."""
    if isinstance(dimer, Spacing):
        return dimer.get_log_spacing(*windows_of(dimer))
    return log_omega(dimer, _all if errors is None else errors.seen)


def _all(parameter: Tensor) -> Tensor:
    return torch.ones_like(parameter, dtype=torch.bool)


def _relative(
    dimer: Spacing | Cooperativity,
    raw: Tensor,
    group: Tensor,
    errors: ErrorBars | None,
) -> tuple[Tensor, Tensor, int | None]:
    """Return log ω less that of the reference, its error, and the reference's group."""
    joined = _joined(raw, group)
    if errors is None:
        place = int(joined.argmax()) if bool(joined.isfinite().any()) else None
        shift = 0.0 if place is None else joined.flatten()[place]
        value, error = joined - shift, torch.zeros_like(joined)
    else:
        assert isinstance(dimer, Cooperativity)
        place = errors.reference(dimer)

        def differences() -> Tensor:
            values = _joined(_raw(dimer, errors), group)
            return values if place is None else values - values.flatten()[place]

        found = errors.of(differences)
        value, error = found.value.cpu(), found.error.cpu()
    return value, error, None if place is None else int(group.flatten()[place])


def _joined(values: Tensor, group: Tensor) -> Tensor:
    """Return for each entry the log of the mean ω of its group, differentiable."""
    flat, groups = values.flatten(), group.flatten().to(values.device)
    present = flat.isfinite().nonzero()[:, 0]
    if len(present) == 0:
        return values
    found, own = flat[present], groups[present]
    top = found.detach().max()
    sums = found.new_zeros(len(groups)).index_add(0, own, (found - top).exp())
    sizes = torch.bincount(groups, minlength=len(groups)).clamp(min=1)
    exists = sums.detach() > 0
    logs = torch.where(exists, sums, 1.0).log() - sizes.log() + top
    joined: Tensor = logs.masked_fill(~exists, -torch.inf)[groups]
    return joined.reshape(values.shape)


# --- what is one arrangement -------------------------------------------------------


def _groups(dimer: Spacing | Cooperativity, values: Tensor) -> Tensor:
    """Return for each entry of log ω the smallest place in its group."""
    places = torch.arange(values.numel()).reshape(values.shape)
    twins = []
    mirrored = values.flip(0, 1, 2)
    if torch.allclose(values, mirrored, atol=1e-6):
        twins.append(places.flip(0, 1, 2))
    if not _is_biased(dimer):
        if _is_homodimer(dimer):
            twins.append(places.transpose(0, 1).flip(2))
        for axis, mode in enumerate(_modes(dimer)):
            if _is_palindrome(mode):
                twins.append(places.flip(axis))
    group = places
    while True:
        smaller = group
        for twin in twins:
            smaller = torch.minimum(smaller, smaller.flatten()[twin])
        if torch.equal(smaller, group):
            return group
        group = smaller


def _modes(dimer: Spacing | Cooperativity) -> tuple[Mode | ModeKey, Mode | ModeKey]:
    if isinstance(dimer, Spacing):
        return dimer.mode_key_a, dimer.mode_key_b
    return dimer.mode_a, dimer.mode_b


def _is_biased(dimer: Spacing | Cooperativity) -> bool:
    """Tell whether a dimer has a bias of its own, by pairs of windows."""
    if isinstance(dimer, Spacing):
        return False
    return dimer.train_posbias or any(bool(bias.any()) for bias in dimer.log_posbias)


def _is_homodimer(dimer: Spacing | Cooperativity) -> bool:
    """Tell whether the two modes score every window alike."""
    if isinstance(dimer, Spacing):
        return dimer.mode_key_a == dimer.mode_key_b
    return dimer.mode_a is dimer.mode_b


def _are_directed(dimer: Spacing | Cooperativity) -> tuple[bool, bool]:
    first, second = _modes(dimer)
    return not _is_palindrome(first), not _is_palindrome(second)


def _is_palindrome(mode: Mode | ModeKey) -> bool:
    """Tell whether a mode scores both strands of a window alike."""
    spec: LayerSpec
    if isinstance(mode, Mode):
        last = mode.chain[-1]
        if not isinstance(last, Conv1d):
            return False
        biased = last.train_posbias or bool(last.log_posbias.any())
        if biased and last.bias_mode != "same":
            return False
        spec = last.layer_spec
    else:
        spec = mode[-1]
    if not isinstance(spec, PSAM) or spec.n_strands == 1:
        return False
    return spec.symmetry == [-number for number in reversed(spec.symmetry)]


# --- rows --------------------------------------------------------------------------


def names_of(dimer: Spacing | Cooperativity) -> tuple[str, str]:
    """Return the names of the two modes."""
    modes = _modes(dimer)
    first, second = (
        mode.name
        if isinstance(mode, Mode)
        else "-".join(spec.name for spec in mode if spec.name)
        for mode in modes
    )
    return first or "a", second or "b"


def _layout(
    dimer: Spacing | Cooperativity, offsets: list[int], *, swap: bool
) -> tuple[list[int] | None, list[bool]]:
    """Return the gap at each offset, and whether the second one lies to the left."""
    spacing = dimer if isinstance(dimer, Spacing) else dimer.spacing
    gaps, turned = [], []
    for offset in offsets:
        covered = spacing.letters_covered(-offset if swap else offset)
        if covered is None:
            return None, [each < 0 for each in offsets]
        a, b = covered
        gaps.append(footprint_distance(b.start, len(a), len(b)))
        left_of = (b.start + b.stop) - (a.start + a.stop)  # twice that of the middles
        turned.append(left_of > 0 if swap else left_of < 0)
    return gaps, turned


def _found(group: int | None, rows: Sequence[Tensor]) -> tuple[int, int] | None:
    """Return row and column of a group's representative."""
    for number, row in enumerate(rows):
        if group is not None and bool((row == group).any()):
            return number, int((row == group).nonzero()[0])
    return None


def _representatives(group: Tensor, offsets: list[int]) -> Tensor:
    """Return which entry of each group is shown.

    The first mode is on the + strand if it can be, then the second one, and to its
    right.
    """
    by_offset = sorted(range(len(offsets)), key=lambda i: (offsets[i] < 0, offsets[i]))
    rank = torch.empty_like(group)
    rank[:, :, by_offset] = torch.arange(group.numel()).reshape(group.shape)
    first = torch.full((group.numel(),), group.numel())
    first = first.scatter_reduce(0, group.flatten(), rank.flatten(), "amin")
    return rank == first[group]
