"""Dimers: two modes that bind together, depending on spacing and orientation.

    log 1/K_ab(S_i) = log Σ_{x^a, x^b} exp( h_ab · [ log ω_ab(x^a, x^b)
                          + log 1/K_a(S_i, x^a) + log 1/K_b(S_i, x^b) ] )

The sum runs over all pairs of windows (m of mode a, n of mode b) and of strands.
log ω splits in two: `Spacing` holds what depends only on the offset n−m and on the
relative orientation, `Cooperativity` adds a bias for each pair of windows along each
diagonal. Strand symmetry: strands (−,−) read (+,+) backwards, (+,−) read (−,+)
backwards, so that a dimer reads the same from either strand.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation, evaluation_of
from pyprobound._numerics import NEG_INF
from pyprobound.base import (
    Binding,
    BindingOptim,
    Call,
    Component,
    Phase,
    Shaped,
    Spec,
    Step,
)
from pyprobound.geometry import Ledger, Span, first_known, footprint_distance
from pyprobound.kernels import log_sum_dimers
from pyprobound.layers.layer import LayerSpec, ModeKey
from pyprobound.mode import Mode

BOTH_STRANDS = 2


class Spacing(Shaped, Spec):
    """The experiment-independent part of a dimer: ω by offset and orientation.

    Attributes:
        mode_key_a: Specifications of the first mode.
        mode_key_b: Specifications of the second mode.
        log_spacing: (n_strands, 2·max_num_windows − 1); row 0 is the same strand, row
            1 the opposite one; the middle column is offset 0 and columns to its right
            have b to the right of a.
    """

    unfreezable = Literal["all", "spacing"]
    trainable = {"spacing": ("log_spacing",)}  # noqa: RUF012 see base

    def __init__(
        self,
        mode_key_a: Iterable[LayerSpec],
        mode_key_b: Iterable[LayerSpec],
        score_same: bool = True,
        score_reverse: bool = True,
        score_mode: Literal["both", "positive", "negative"] = "both",
        max_overlap: int | None = None,
        max_spacing: int | None = None,
        normalize: bool = False,
        ignore_pad: bool = False,
        name: str = "",
    ) -> None:
        """Initialise with equal ω (log ω = 0) wherever a pair can be.

        Args:
            mode_key_a: Specifications of the first mode.
            mode_key_b: Specifications of the second mode.
            score_same: Whether both may be on the same strand.
            score_reverse: Whether they may be on opposite strands.
            score_mode: "positive" keeps offsets of at least 1, "negative" those of at
                most 0, in + coordinates and for all strand pairs alike.
            max_overlap: Letters that the footprints may share; None for any number.
            max_spacing: Letters that may lie between them; None for any number.
            normalize: Whether to mean-centre log ω over all finite entries.
            ignore_pad: Whether footprints keep the size they have without padding,
                and offsets are measured between physical places.
            name: By default the names of the two modes.

        Raises:
            ValueError: The arguments contradict each other.
        """
        key_a, key_b = ModeKey(mode_key_a), ModeKey(mode_key_b)
        specs = (spec.name for spec in (*key_a, *key_b))
        super().__init__(name=name or "-".join(filter(None, specs)))
        # In a tuple, the specifications are no submodules: the modes hold them.
        self.mode_key_a = key_a
        self.mode_key_b = key_b
        self.score_same = score_same
        self.score_reverse = score_reverse
        self.score_mode = score_mode
        self.max_overlap = max_overlap
        self.max_spacing = max_spacing
        self.normalize = normalize
        self.ignore_pad = ignore_pad
        self._check()
        self._max_num_windows = 1
        self._laid = self._wanted()
        self._ledgers: list[Ledger] | None = None
        self.log_spacing = nn.Parameter(torch.zeros(self.n_strands, 1))

    def _check(self) -> None:
        channels = self.mode_key_a.out_channels, self.mode_key_b.out_channels
        if channels[0] != channels[1] or channels[0] not in {1, BOTH_STRANDS}:
            msg = (
                f"{self}: the modes of a dimer must both score one strand or both"
                f" strands, not {channels[0]} and {channels[1]} channels"
            )
            raise ValueError(msg)
        if self.score_mode not in {"both", "positive", "negative"}:
            msg = f"score_mode {self.score_mode!r} must be both, positive or negative"
            raise ValueError(msg)
        limited = self.max_overlap is not None or self.max_spacing is not None
        if limited and None in self.footprints:
            msg = (
                f"{self}: max_overlap and max_spacing need modes of bounded footprint;"
                " leave them out"
            )
            raise ValueError(msg)

    @property
    def n_strands(self) -> int:
        """The number of strands that the modes score."""
        return self.mode_key_a.out_channels

    @property
    def max_num_windows(self) -> int:
        """The largest number of windows of either mode in any dimer attached."""
        return self._max_num_windows

    @property
    def footprints(self) -> tuple[int | None, int | None]:
        """The letters that a window of either mode covers, None if unbounded."""
        return self._footprint(self.mode_key_a), self._footprint(self.mode_key_b)

    def _footprint(self, key: ModeKey) -> int | None:
        if self.ignore_pad:
            key = ModeKey(spec for spec in key if spec.padding == (0, 0))
        return key.in_len(1, "max")

    def _physical_shift(self) -> int:
        """Return what is added to a window offset to measure physical places."""
        if not self.ignore_pad:
            return 0
        left_a = sum(spec.padding[0] for spec in self.mode_key_a)
        left_b = sum(spec.padding[0] for spec in self.mode_key_b)
        return left_a - left_b

    def letters_covered(self, offset: int) -> tuple[range, range] | None:
        """Return the letters that the two modes cover, those of the first from 0 on.

        Args:
            offset: Window of the second mode minus window of the first.

        Returns:
            None if a footprint is unbounded.
        """
        size_a, size_b = self.footprints
        if size_a is None or size_b is None:
            return None
        start = offset + self._physical_shift()
        return range(size_a), range(start, start + size_b)

    def unfreeze(self, parameter: str = "all") -> None:
        """Turn on the gradient of log_spacing ("all" or "spacing")."""
        super().unfreeze(parameter)

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the step for log_spacing."""
        call = Call(self, "unfreeze", {"parameter": "spacing"})
        binding_optim.steps.append(Step([call], phase=Phase.LETTERS))
        return binding_optim

    # --- coordinates ---------------------------------------------------------------

    def attach(self, n_windows: int) -> None:
        """Make room for modes of so many windows; offsets keep their ω."""
        self._max_num_windows = max(self._max_num_windows, n_windows)
        self.settle()

    def _shifts(self) -> list[int]:
        """Return for each row the distance of the modes' anchors at offset 0.

        An edit of a footprint moves the window, not the anchor: the physical
        arrangement is (offset + shift), and that is what ω belongs to.
        """
        forward_a, reverse_a = self.mode_key_a.anchors
        forward_b = self.mode_key_b.anchors[0]
        # Row 1 is read where a is on the reverse strand and b on the forward one.
        return [forward_b - forward_a, forward_b - reverse_a][: self.n_strands]

    def _wanted(self) -> tuple[Span, ...]:
        half = self._max_num_windows - 1
        return tuple(Span(shift - half, shift + half + 1) for shift in self._shifts())

    def settle(self) -> None:
        """Re-lay log_spacing on the current coordinates."""
        wanted = self._wanted()
        if wanted == self._laid:
            return
        rows = []
        ledgers = []
        for row, span in enumerate(wanted):
            values = self.log_spacing.detach()[row]
            ledger = (
                Ledger.of(values, (self._laid[row],))
                if self._ledgers is None
                else self._ledgers[row].written(values, (self._laid[row],))
            )
            ledgers.append(ledger)
            read = ledger.read((span,))
            rows.append(torch.where(read.isnan(), 0.0, read))
        self._ledgers, self._laid = ledgers, wanted
        self.log_spacing.data = torch.stack(rows)
        self.log_spacing.grad = None

    # --- values --------------------------------------------------------------------

    def get_log_spacing(self, n_windows_a: int, n_windows_b: int) -> Tensor:
        """Return log ω by strands and offset, −∞ where a pair cannot be.

        Args:
            n_windows_a: Windows of the first mode.
            n_windows_b: Windows of the second mode.

        Returns:
            (strands_a, strands_b, n_windows_a + n_windows_b − 1), from offset
            −(n_windows_a − 1) to n_windows_b − 1.
        """
        self.settle()
        offsets = range(-(n_windows_a - 1), n_windows_b)
        middle = self.log_spacing.shape[1] // 2
        half = max(n_windows_a, n_windows_b, middle + 1) - 1
        span = Span(-middle, middle + 1)
        rows = resized_with_gradient(self.log_spacing, span, Span(-half, half + 1))
        stored = rows[:, half + offsets.start : half + offsets.stop]
        # The probe read from its other strand: offset o takes the value of
        # (n_b − n_a) − o, which is the array from n_b − 1 down, flipped.
        pairs = [[stored[0]]]
        if self.n_strands == BOTH_STRANDS:
            pairs = [[stored[0], stored[1].flip(0)], [stored[1], stored[0].flip(0)]]
        values = torch.stack([torch.stack(row) for row in pairs])
        forbidden = self._forbidden(offsets).to(values.device)
        values = values.masked_fill(forbidden, NEG_INF)
        if not self.normalize or bool(forbidden.all()):
            return values
        return values - values[~forbidden].mean()

    def _forbidden(self, offsets: range) -> Tensor:
        """Return which (strands_a, strands_b, offset) cannot be."""
        size_a, size_b = self.footprints
        shift = self._physical_shift()
        apart = [
            0
            if size_a is None or size_b is None
            else footprint_distance(offset + shift, size_a, size_b)
            for offset in offsets
        ]
        distance, offset = torch.tensor(apart), torch.tensor(list(offsets))
        never = torch.zeros(len(offsets), dtype=torch.bool)
        if self.max_overlap is not None:
            never |= distance < -self.max_overlap
        if self.max_spacing is not None:
            never |= distance > self.max_spacing
        if self.score_mode == "positive":
            never |= offset < 1
        elif self.score_mode == "negative":
            never |= offset > 0
        forbidden = never.repeat(self.n_strands, self.n_strands, 1)
        for strand_a in range(self.n_strands):
            for strand_b in range(self.n_strands):
                same = strand_a == strand_b
                if not (self.score_same if same else self.score_reverse):
                    forbidden[strand_a, strand_b] = True
        return forbidden

    def get_log_spacing_matrix(self, n_windows_a: int, n_windows_b: int) -> Tensor:
        """Return log ω of each pair of windows, constant along diagonals.

        Args:
            n_windows_a: Windows of the first mode.
            n_windows_b: Windows of the second mode.

        Returns:
            (strands_a, strands_b, n_windows_a, n_windows_b).
        """
        values = self.get_log_spacing(n_windows_a, n_windows_b)
        first = torch.arange(n_windows_a, device=values.device)
        second = torch.arange(n_windows_b, device=values.device)
        return values[:, :, second - first[:, None] + (n_windows_a - 1)]

    # --- checkpoints ---------------------------------------------------------------

    def owns(self, key: str) -> bool:
        """Tell whether a tensor of PyProBound 1.x is log_spacing."""
        return key == "log_spacing"

    def adopt_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take over the number of windows."""
        self._max_num_windows = tensors["log_spacing"].shape[-1] // 2 + 1
        return dict(tensors)

    def lay_anew(self) -> None:
        """Lay log_spacing as that of a new spacing."""
        self._laid = self._wanted()
        self._ledgers = None
        shape = self.n_strands, 2 * self._max_num_windows - 1
        self.log_spacing.data = self.log_spacing.new_zeros(shape)

    def structure(self) -> dict[str, Any]:
        """Return where log_spacing is laid."""
        return {
            "max_num_windows": self._max_num_windows,
            "laid": [[span.start, span.stop] for span in self._laid],
            "ledgers": [
                {"values": ledger.values, "span": list(astuple(ledger.spans[0]))}
                for ledger in self._ledgers or []
            ],
        }

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over where log_spacing is laid."""
        self._max_num_windows = structure["max_num_windows"]
        self._laid = tuple(Span(*numbers) for numbers in structure["laid"])
        self._ledgers = [
            Ledger(ledger["values"], (Span(*ledger["span"]),))
            for ledger in structure["ledgers"]
        ] or None


def resized_with_gradient(values: Tensor, old: Span, new: Span) -> Tensor:
    """Return `values`, laid over `old` along the last axis, padded with 0 to `new`."""
    if old == new:
        return values
    return nn.functional.pad(values, (old.start - new.start, new.stop - old.stop))


@dataclass(frozen=True)
class DimerPlaces:
    """Where a dimer's position bias is laid.

    Attributes:
        n_windows: Windows of either mode.
        first: For each stored strand pair, the places of window 0 of either mode.
        lengths: The probe lengths of either mode, less what flanks have grown.
    """

    n_windows: tuple[int, int]
    first: tuple[tuple[int, int], ...]
    lengths: tuple[Span, Span]

    def spans(self, pair: int) -> tuple[Span, Span, Span, Span]:
        """Return the spans of lengths and places of one stored strand pair."""
        places = (
            Span(start, start + windows)
            for start, windows in zip(self.first[pair], self.n_windows, strict=True)
        )
        first, second = places
        return (*self.lengths, first, second)


@dataclass(frozen=True)
class Bins:
    """Where each pair of windows finds its bias in the concatenated diagonals.

    Attributes:
        sizes: Entries of each diagonal, by offset from −(n_a−1) to n_b−1.
        entry: (stored strand pairs, n_windows_a, n_windows_b) index of each pair.
    """

    sizes: list[int]
    entry: Tensor

    @classmethod
    def of(cls, places: DimerPlaces, born: DimerPlaces, bias_bin: int) -> "Bins":
        """Return the bins of a layout.

        Bins are counted along a diagonal from where it began when the dimer was made
        (`born`), so that an edit does not move their borders.
        """
        n_a, n_b = places.n_windows
        m = torch.arange(n_a)[:, None]
        offset = torch.arange(n_b) - m
        begins = (-offset).clamp(min=0)  # m at the start of the diagonal
        bins = []
        for now, then in zip(places.first, born.first, strict=True):
            moved_a, moved_b = now[0] - then[0], now[1] - then[1]
            origin = (moved_a - moved_b - offset).clamp(min=0)
            number, first = (
                torch.div(place + moved_a - origin, bias_bin, rounding_mode="floor")
                for place in (m, begins)
            )
            bins.append(number - first)
        stacked = torch.stack(bins)
        sizes = [
            1 + int(stacked[:, offset == value].max()) for value in range(1 - n_a, n_b)
        ]
        before = torch.tensor([0, *sizes]).cumsum(0)
        return cls(sizes, stacked + before[offset + (n_a - 1)])


class Cooperativity(Shaped, Binding):
    """Experiment-specific dimer cooperativity modeling with position bias.

    Attributes:
        spacing: The experiment-independent specification of the dimer.
        mode_a: The first binding mode contributing to the dimer.
        mode_b: The second one; may be the same.
        log_hill: The Hill coefficient in log space (0-dimensional).
        log_posbias: The bias of each pair of windows: one tensor per diagonal, offset
            from −(n_a−1) to n_b−1, each (lengths_a, lengths_b, n_strands, n_strands
            or 1, ceil(diagonal length / bias_bin)).
    """

    unfreezable = Literal["all", "hill", "posbias"]
    trainable = {  # noqa: RUF012 see base
        "hill": ("log_hill",),
        "posbias": ("log_posbias",),
    }

    def __init__(
        self,
        spacing: Spacing,
        mode_a: Mode,
        mode_b: Mode,
        train_hill: bool = False,
        train_posbias: bool = False,
        bias_mode: Literal["strand", "same", "reverse"] = "strand",
        bias_bin: int = 1,
        length_specific_bias: bool = True,
        normalize: bool = False,
    ) -> None:
        """Initialise the experiment-specific dimer cooperativity.

        Args:
            spacing: The experiment-independent specification of the dimer.
            mode_a: The first binding mode contributing to the dimer.
            mode_b: The second binding mode contributing to the dimer.
            train_hill: Whether to train a Hill coefficient for the dimer.
            train_posbias: Whether to train a bias for each pair of windows.
            bias_mode: Whether to train a separate bias for each strand, use the same
                bias across both strands, or a reversed bias for the opposite strand.
            bias_bin: Neighbours along a diagonal that share a bias.
            length_specific_bias: Whether each probe length has a bias of its own.
            normalize: Whether to mean-centre log_posbias over all windows.

        Raises:
            ValueError: A mode is not the one that the spacing describes, or the
                arguments contradict each other.
        """
        super().__init__(name=spacing.name)
        keys = spacing.mode_key_a, spacing.mode_key_b
        for which, mode, key in zip("ab", (mode_a, mode_b), keys, strict=True):
            if mode.key() != key:
                msg = (
                    f"mode_{which} ({mode}) is made of other specifications than those"
                    f" of {spacing}; build the spacing from {mode}.key()"
                )
                raise ValueError(msg)
            if mode.out_channels != spacing.n_strands:
                msg = (
                    f"mode_{which} ({mode}) scores {mode.out_channels} channels,"
                    f" {spacing} {spacing.n_strands} strands"
                )
                raise ValueError(msg)
        if bias_mode not in {"strand", "same", "reverse"}:
            msg = f"bias_mode {bias_mode!r} must be 'strand', 'same' or 'reverse'"
            raise ValueError(msg)
        if bias_bin < 1:
            msg = f"bias_bin {bias_bin} must be at least 1"
            raise ValueError(msg)
        self.spacing = spacing
        self.mode_a = mode_a
        self.mode_b = mode_b
        self.train_hill = train_hill
        self.train_posbias = train_posbias
        self._bias_mode = bias_mode
        self._bias_bin = bias_bin
        self._length_specific_bias = length_specific_bias
        self.normalize = normalize
        self.log_hill = nn.Parameter(torch.zeros(()), requires_grad=train_hill)
        self._laid = self._born = self._wanted()
        self._bins = Bins.of(self._laid, self._born, bias_bin)
        self._ledgers: list[Ledger] | None = None
        shape = [len(span) for span in self._laid.lengths] + self._strand_shape
        self.log_posbias = nn.ParameterList(
            nn.Parameter(torch.zeros(*shape, size), requires_grad=train_posbias)
            for size in self._bins.sizes
        )
        spacing.attach(max(self._laid.n_windows))

    # --- properties ----------------------------------------------------------------

    @property
    def n_strands(self) -> int:
        """The number of output channels of the component modes."""
        return self.spacing.n_strands

    @property
    def bias_mode(self) -> Literal["strand", "same", "reverse"]:
        """Whether the bias is per strand pair, shared by the strands, or reversed."""
        return self._bias_mode

    @property
    def bias_bin(self) -> int:
        """Neighbours along a diagonal that share a bias."""
        return self._bias_bin

    @property
    def length_specific_bias(self) -> bool:
        """Whether each probe length has a bias of its own."""
        return self._length_specific_bias

    @property
    def _strand_shape(self) -> list[int]:
        return [self.n_strands, self.n_strands if self.bias_mode == "strand" else 1]

    @property
    def _stored(self) -> list[tuple[int, int]]:
        """The strands of a and b by which each stored bias is laid."""
        rows, columns = self._strand_shape
        # Row 1 of a shared bias is the opposite strand: a reverse, b forward.
        return [(row, column) for row in range(rows) for column in range(columns)]

    def key(self) -> tuple[Spec]:
        """Return the specification of a binding component: the spacing.

        All binding components with the same specification are optimized together in
        the sequential optimization procedure.
        """
        return (self.spacing,)

    def components(self) -> Iterator[Mode]:
        """Iterate over the modes."""
        yield self.mode_a
        if self.mode_b is not self.mode_a:
            yield self.mode_b

    def max_embedding_size(self) -> int:
        """Return three times what the smaller of the two modes needs, in bytes."""
        modes = self.mode_a, self.mode_b
        return 3 * min(mode.max_embedding_size() for mode in modes)

    def check_length_consistency(self) -> None:
        """Check that input lengths of binding components are consistent.

        Raises:
            RuntimeError: There is an input mismatch between components.
        """
        super().check_length_consistency()
        inputs = [
            (mode.input_shape, mode.min_input_length, mode.max_input_length)
            for mode in (self.mode_a, self.mode_b)
        ]
        if inputs[0] != inputs[1]:
            msg = (
                f"{self}: expected the same (input_shape, shortest, longest) for both"
                f" modes, found {inputs[0]} for {self.mode_a} and {inputs[1]} for"
                f" {self.mode_b}"
            )
            raise RuntimeError(msg)

    def _unfreeze_all(self) -> None:
        super()._unfreeze_all()
        self.spacing.unfreeze()

    def unfreeze(self, parameter: str = "all") -> None:
        """Turn on the gradient of "all", "hill" or "posbias"."""
        super().unfreeze(parameter)

    def extend_steps(
        self,
        path: tuple[Component, ...],
        binding_optim: BindingOptim,
        order: Mapping[tuple[Spec, ...], BindingOptim],
    ) -> BindingOptim:
        """Add the steps of modes that have no entry yet, the spacing and the bias."""
        for mode in self.components():
            if mode.key() not in order:
                own = mode.extend_steps(path, BindingOptim([(*path, mode)], []), order)
                binding_optim.steps.extend(own.steps)
        binding_optim = self.spacing.update_binding_optim(binding_optim)
        if self.train_posbias:
            call = Call(self, "unfreeze", {"parameter": "posbias"})
            binding_optim.steps.append(Step([call], phase=Phase.POSITION_BIAS))
        return binding_optim

    # --- coordinates ---------------------------------------------------------------

    def _wanted(self) -> DimerPlaces:
        """Return where the bias should be laid on the current coordinates."""
        modes = self.mode_a, self.mode_b
        first = tuple(
            (
                _first_place(self.mode_a, strand_a),
                _first_place(self.mode_b, strand_b),
            )
            for strand_a, strand_b in self._stored
        )
        lengths = [
            Span(mode.min_input_length, mode.max_input_length + 1).shifted(
                -mode.chain[0].input_growth
            )
            if self._length_specific_bias
            else Span(0, 1)
            for mode in modes
        ]
        n_windows = self.mode_a.n_windows, self.mode_b.n_windows
        return DimerPlaces(n_windows, first, (lengths[0], lengths[1]))

    def settle(self) -> None:
        """Let the modes settle, then re-lay the bias and make room in the spacing."""
        super().settle()
        wanted = self._wanted()
        if wanted != self._laid:
            self._relay(wanted)
        self.spacing.attach(max(wanted.n_windows))

    def _relay(self, wanted: DimerPlaces) -> None:
        stored = torch.cat([bias.detach() for bias in self.log_posbias], -1)
        old = self._expanded(stored.flatten(2, 3), self._bins.entry)
        ledgers = []
        for pair, values in enumerate(old.unbind(2)):
            spans = self._laid.spans(pair)
            ledgers.append(
                Ledger.of(values, spans)
                if self._ledgers is None
                else self._ledgers[pair].written(values, spans)
            )
        bins = Bins.of(wanted, self._born, self._bias_bin)
        read = [ledger.read(wanted.spans(i)) for i, ledger in enumerate(ledgers)]
        entries = [
            first_known(values.flatten(2), entry.flatten(), sum(bins.sizes))
            for values, entry in zip(read, bins.entry, strict=True)
        ]
        laid = torch.stack(entries, 2)
        self._ledgers, self._laid, self._bins = ledgers, wanted, bins
        self._keep_diagonals(len(bins.sizes))
        for bias, values in zip(
            self.log_posbias, torch.split(laid, bins.sizes, -1), strict=True
        ):
            shape = [*values.shape[:2], *self._strand_shape, -1]
            bias.data = values.reshape(shape).clone()
            bias.grad = None

    def _keep_diagonals(self, count: int) -> None:
        """Have so many diagonals, new ones without values yet."""
        trained = any(bias.requires_grad for bias in self.log_posbias)
        kept = list(self.log_posbias)[:count]
        for _ in range(len(kept), count):
            empty = torch.zeros_like(self.log_hill).reshape(1)
            kept.append(nn.Parameter(empty, requires_grad=trained))
        if count != len(self.log_posbias):
            self.log_posbias = nn.ParameterList(kept)

    # --- bias ----------------------------------------------------------------------

    def _concatenated(self) -> Tensor:
        """Return (lengths_a, lengths_b, stored strand pairs, entries)."""
        diagonals: list[Tensor] = list(self.log_posbias)
        if self.normalize:
            diagonals = [bias - bias.mean(-1, keepdim=True) for bias in diagonals]
        return torch.cat(diagonals, -1).flatten(2, 3)

    def _expanded(self, bias: Tensor, entry: Tensor) -> Tensor:
        """Return (…, stored strand pairs, n_windows_a, n_windows_b)."""
        entry = entry.to(bias.device)
        pairs = [bias[..., pair, :][..., index] for pair, index in enumerate(entry)]
        return torch.stack(pairs, -3)

    def _read(self, bias: Tensor) -> Tensor:
        """Return (…, strands_a, strands_b, n_windows_a, n_windows_b).

        Args:
            bias: (…, stored strand pairs, entries).
        """
        entry = self._bins.entry
        expanded = self._expanded(bias, entry)
        if self.bias_mode == "strand":
            shape = (self.n_strands, self.n_strands)
            return torch.unflatten(expanded, -3, shape)
        if self.n_strands == 1:
            return expanded.unsqueeze(-3)
        mirrored = expanded
        if self.bias_mode == "reverse":
            mirrored = self._expanded(bias, _flipped_along_diagonals(entry))
        same, opposite = expanded.unbind(-3)
        same_mirrored, opposite_mirrored = mirrored.unbind(-3)
        first = torch.stack([same, opposite_mirrored], -3)
        second = torch.stack([opposite, same_mirrored], -3)
        return torch.stack([first, second], -4)

    @property
    def _is_biased(self) -> bool:
        return any(bias.requires_grad or bool(bias.any()) for bias in self.log_posbias)

    def _windows_of_lengths(self) -> tuple[list[int], list[int]]:
        """Return the number of windows of each probe length, in either mode."""
        modes = self.mode_a, self.mode_b
        counts = [
            [
                mode.out_len(length, "max")
                for length in range(mode.min_input_length, mode.max_input_length + 1)
            ]
            for mode in modes
        ]
        return counts[0], counts[1]

    def get_log_spacing(self) -> Tensor:
        """Return the flattened cooperativity log ω(x^a, x^b).

        Returns:
            The cooperativity by offset, of shape (n_strands_a, n_strands_b,
            out_length_a + out_length_b − 1).
        """
        self.settle()
        return self.spacing.get_log_spacing(*self._laid.n_windows)

    def get_log_spacing_diagonals(self) -> list[Tensor]:
        """Return the cooperativity position bias along each diagonal.

        Returns:
            For each offset n−m, the bias of each pair of windows, spacing included:
            (input_lengths_a, input_lengths_b, n_strands_a, n_strands_b,
            diagonal_length), the first two axes indexed by the probe's number of
            windows in each mode (numbers that no probe has are 0).
        """
        matrix = self._omega_by_windows()
        n_a, n_b = self._laid.n_windows
        return [matrix.diagonal(offset, -2, -1) for offset in range(1 - n_a, n_b)]

    def get_log_spacing_matrix(self) -> Tensor:
        """Return the cooperativity of each pair of windows.

        Returns:
            (input_lengths_a, input_lengths_b, n_strands_a, n_strands_b, out_length_a,
            out_length_b), the first two axes indexed by the probe's number of windows
            in each mode (numbers that no probe has are 0); they are 1 where the bias
            does not depend on the length, or is neither trained nor different from 0.
        """
        if not self._is_biased:
            return self._spacing_matrix()[None, None]
        return self._omega_by_windows()

    def _spacing_matrix(self) -> Tensor:
        self.settle()
        return self.spacing.get_log_spacing_matrix(*self._laid.n_windows)

    def _omega_by_windows(self) -> Tensor:
        spacing = self._spacing_matrix()
        omega = self._read(self._concatenated()) + spacing
        if not self._length_specific_bias:
            return omega
        shape = [windows + 1 for windows in self._laid.n_windows]
        table = omega.new_zeros(*shape, *omega.shape[2:])
        rows, columns = self._windows_of_lengths()
        row, column = torch.tensor(rows), torch.tensor(columns)
        return table.index_put((row[:, None], column[None, :]), omega)

    def _omega(self, evaluation: Evaluation) -> tuple[Tensor, Tensor | None]:
        """Return log ω by group of probes, and the group of each probe."""
        n_a = evaluation(self.mode_a.evaluate_windows).shape[-1]
        n_b = evaluation(self.mode_b.evaluate_windows).shape[-1]
        spacing = self.spacing.get_log_spacing_matrix(n_a, n_b)
        if not self._is_biased:
            return spacing[None], None
        bias, group = self._bias_of(evaluation)
        if n_a > self._laid.n_windows[0] or n_b > self._laid.n_windows[1]:
            msg = (
                f"{self} has a bias for up to {self.mode_a.input_shape} letters, but"
                f" the probes have {evaluation.seqs.shape[-1]}; score shorter ones"
            )
            raise ValueError(msg)
        return bias[..., :n_a, :n_b] + spacing, group

    def _bias_of(self, evaluation: Evaluation) -> tuple[Tensor, Tensor | None]:
        """Return the bias by group of probes, and the group of each probe."""
        bias = self._concatenated()
        counts = bias.shape[0] * bias.shape[1]
        if counts == 1:
            return self._read(bias[0]), None
        place_a, known_a = _length_index(self.mode_a, evaluation)
        place_b, known_b = _length_index(self.mode_b, evaluation)
        # Probes without an entry share one more group, which has no bias.
        pair = torch.where(known_a & known_b, place_a * bias.shape[1] + place_b, counts)
        present, group = torch.unique(pair, return_inverse=True)
        flat = nn.functional.pad(bias.flatten(0, 1), (0, 0, 0, 0, 0, 1))
        return self._read(flat[present]), group

    # --- scores --------------------------------------------------------------------

    @property
    def hill(self) -> Tensor | None:
        """The Hill coefficient h; None where it is fixed at 1."""
        if not self.log_hill.requires_grad and float(self.log_hill) == 0:
            return None
        return self.log_hill.exp()

    def expected_sequence(self) -> Tensor:
        """Return the uninformative prior of the input: (1, letters, longest probe)."""
        return self.mode_a.expected_sequence()

    def evaluate_windows(self, evaluation: Evaluation) -> Tensor:
        """Return (probes, strands_a, strands_b, n_windows_a, n_windows_b)."""
        self.settle()
        log_omega, group = self._omega(evaluation)
        first = evaluation(self.mode_a.evaluate_windows)
        second = evaluation(self.mode_b.evaluate_windows)
        pairs = first[:, :, None, :, None] + second[:, None, :, None, :]
        return pairs + (log_omega if group is None else log_omega[group])

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return the log score of each probe, (probes,)."""
        self.settle()
        log_omega, group = self._omega(evaluation)
        return log_sum_dimers(
            evaluation(self.mode_a.evaluate_windows),
            evaluation(self.mode_b.evaluate_windows),
            log_omega,
            group=group,
            hill=self.hill,
        )

    def score_windows(self, seqs: Tensor) -> Tensor:
        """Return the log score of each pair of windows before summing over them.

        Args:
            seqs: (minibatch, length) or (minibatch, in_channels, in_length).

        Returns:
            (minibatch, n_strands_a, n_strands_b, out_length_a, out_length_b).
        """
        return evaluation_of(seqs)(self.evaluate_windows)

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the log score of each sequence.

        Args:
            seqs: (minibatch, length) or (minibatch, in_channels, length).

        Returns:
            (minibatch,); −∞ where no pair can be.
        """
        return super().forward(seqs)

    # --- checkpoints ---------------------------------------------------------------

    def lay_anew(self) -> None:
        """Lay the bias as that of a new dimer."""
        self._laid = self._born = self._wanted()
        self._bins = Bins.of(self._laid, self._born, self._bias_bin)
        self._ledgers = None
        self._keep_diagonals(len(self._bins.sizes))
        shape = [len(span) for span in self._laid.lengths] + self._strand_shape
        for bias, size in zip(self.log_posbias, self._bins.sizes, strict=True):
            bias.data = bias.new_zeros(*shape, size)

    def structure(self) -> dict[str, Any]:
        """Return where the position bias is laid."""
        return {
            "laid": _numbers(self._laid),
            "born": _numbers(self._born),
            "ledgers": [
                {"values": ledger.values, "spans": [astuple(s) for s in ledger.spans]}
                for ledger in self._ledgers or []
            ],
        }

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over where the position bias is laid."""
        self._laid = _places(structure["laid"])
        self._born = _places(structure["born"])
        self._bins = Bins.of(self._laid, self._born, self._bias_bin)
        self._ledgers = [
            Ledger(ledger["values"], tuple(Span(*span) for span in ledger["spans"]))
            for ledger in structure["ledgers"]
        ] or None
        self._keep_diagonals(len(self._bins.sizes))


def _first_place(mode: Mode, strand: int) -> int:
    """Return the coordinate of the mode's original footprint in window 0."""
    return mode.chain[0].input_start + mode.key().anchors[strand]


def _length_index(mode: Mode, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Return each probe's entry among the lengths, and whether it has one."""
    lengths = evaluation(mode.evaluate_lengths)
    low, high = mode.min_input_length, mode.max_input_length
    return lengths - low, (lengths >= low) & (lengths <= high)


def _flipped_along_diagonals(entry: Tensor) -> Tensor:
    """Return (…, n_a, n_b) with every diagonal read from its other end."""
    n_a, n_b = entry.shape[-2:]
    m = torch.arange(n_a)[:, None]
    offset = torch.arange(n_b) - m
    first = (-offset).clamp(min=0)
    last = (n_b - offset).clamp(max=n_a) - 1
    mirrored = first + last - m
    return entry[..., mirrored, mirrored + offset]


def _numbers(places: DimerPlaces) -> dict[str, Any]:
    return {
        "n_windows": list(places.n_windows),
        "first": [list(pair) for pair in places.first],
        "lengths": [list(astuple(span)) for span in places.lengths],
    }


def _places(numbers: Mapping[str, Any]) -> DimerPlaces:
    first, second = (Span(*span) for span in numbers["lengths"])
    n_a, n_b = numbers["n_windows"]
    return DimerPlaces(
        (n_a, n_b), tuple((a, b) for a, b in numbers["first"]), (first, second)
    )
