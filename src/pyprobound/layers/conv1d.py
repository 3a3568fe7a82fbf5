"""Sliding a PSAM along probes, with an optional position bias.

log 1/K(S_i, x) = ω(x) + Σ_φ β_φ · 1_φ(S_i, x)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pyprobound.base import BindingOptim, Call, Phase, Step
from pyprobound.geometry import Ledger, Span, first_known
from pyprobound.kernels import log_sum_windows, soft_window_scores, window_scores
from pyprobound.layers.layer import Layer, Reads, input_of
from pyprobound.layers.psam import PSAM

BiasMode = Literal["channel", "same", "reverse"]


@dataclass(frozen=True)
class Laid:
    """Where a position bias is laid.

    Attributes:
        lengths: Probe lengths, less what flanks have grown.
        places: For each stored channel the places of the windows.
    """

    lengths: Span
    places: tuple[Span, ...]


class Conv1d(Layer):
    """The scores of a PSAM in every window of a probe, in one experiment.

    Attributes:
        layer_spec: The PSAM.
        log_posbias: (lengths, channels, windows/bias_bin) position bias ω; lengths is
            1 unless length_specific_bias.
    """

    unfreezable = Literal["all", "posbias"]
    trainable = {"posbias": ("log_posbias",)}  # noqa: RUF012 see base

    layer_spec: PSAM

    def __init__(
        self,
        psam: PSAM,
        input_shape: int,
        min_input_length: int,
        max_input_length: int,
        train_posbias: bool = False,
        bias_mode: BiasMode = "channel",
        bias_bin: int = 1,
        length_specific_bias: bool = True,
        out_channel_indexing: Sequence[int] | None = None,
        one_hot: bool = False,
        unfold: bool = False,
        normalize: bool = False,
    ) -> None:
        """Initialise without position bias (all 0).

        Args:
            psam: The energies.
            input_shape: Elements of an input.
            min_input_length: The fewest finite ones.
            max_input_length: The most finite ones.
            train_posbias: Whether to train a bias for each window.
            bias_mode: "channel": one per output channel; "same": shared by the
                strands; "reverse": the reverse strand reads it flipped over the
                probe's own windows.
            bias_bin: Neighbouring windows that share a bias.
            length_specific_bias: Whether each probe length has a bias of its own.
            out_channel_indexing: The PSAM's channels to score; all by default.
            one_hot: Whether soft input (probes, letters, length) may be scored.
            unfold: Whether soft input is scored by unfolding it.
            normalize: Whether to mean-centre the bias over all windows.

        Raises:
            ValueError: The arguments contradict each other.
        """
        indexing = None if out_channel_indexing is None else list(out_channel_indexing)
        self._indexing = indexing
        super().__init__(psam, input_shape, min_input_length, max_input_length)
        _check_choices(bias_mode, bias_bin, indexing, psam)
        self._bias_mode = bias_mode
        self._bias_bin = bias_bin
        self._length_specific_bias = length_specific_bias
        self.train_posbias = train_posbias
        self.one_hot = one_hot
        self.unfold = unfold
        self.normalize = normalize
        self._lay()
        self.log_posbias = nn.Parameter(
            torch.zeros(self._shape), requires_grad=train_posbias
        )

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
    ) -> Self:
        """Return a layer that follows a table or another layer."""
        return cls(
            psam,
            *input_of(prev),
            train_posbias=train_posbias,
            bias_mode=bias_mode,
            bias_bin=bias_bin,
            length_specific_bias=length_specific_bias,
            out_channel_indexing=out_channel_indexing,
            one_hot=one_hot,
            unfold=unfold,
            normalize=normalize,
        )

    # --- properties ----------------------------------------------------------------

    @property
    def bias_mode(self) -> BiasMode:
        """Whether the bias is per channel, shared by the strands, or read reversed."""
        return self._bias_mode

    @property
    def bias_bin(self) -> int:
        """Neighbouring windows that share a bias."""
        return self._bias_bin

    @property
    def length_specific_bias(self) -> bool:
        """Whether each probe length has a bias of its own."""
        return self._length_specific_bias

    @property
    def out_channel_indexing(self) -> list[int] | None:
        """The PSAM's channels that are scored, None for all."""
        return self._indexing

    @property
    def out_channels(self) -> int:
        """The number of channels that come out."""
        if self._indexing is None:
            return self.layer_spec.out_channels
        return len(self._indexing)

    @property
    def _channels(self) -> list[int]:
        """The PSAM's channel of each output channel."""
        return self._indexing or list(range(self.layer_spec.out_channels))

    @property
    def _forward_channels(self) -> int:
        return self.layer_spec.out_channels // self.layer_spec.n_strands

    @property
    def _stored(self) -> list[int]:
        """The PSAM's channel by whose strand each stored bias is laid."""
        if self.bias_mode == "channel":
            return self._channels
        forward = self._forward_channels
        return list(dict.fromkeys(channel % forward for channel in self._channels))

    # --- lengths -------------------------------------------------------------------

    def check_input(self) -> None:
        """Check the input's lengths.

        Raises:
            ValueError: The shortest read has no window.
        """
        super().check_input()
        psam = self.layer_spec
        if psam.reach > self.min_input_length:
            missing = psam.reach - self.min_input_length
            msg = (
                f"kernel_size {psam.kernel_size} exceeds the shortest read"
                f" ({self.min_input_length}); score at least {missing} flank letters"
                " more, or drop shorter reads"
            )
            raise ValueError(msg)

    def max_embedding_size(self) -> int:
        """Bound the bytes that scoring one sequence needs."""
        # One-hot letters, windows of all channels, and their exponentials, in float64.
        letters = (self.in_channels + 1) * self.input_shape
        pairs = (
            self.in_channels**2 * self.input_shape * self.layer_spec.pairwise_distance
        )
        return 8 * (letters + pairs + 3 * self.out_channels * self.output.shape)

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the steps for the PSAM and for the position bias."""
        super().update_binding_optim(binding_optim)
        if self.train_posbias:
            call = Call(self, "unfreeze", {"parameter": "posbias"})
            binding_optim.steps.append(Step([call], phase=Phase.POSITION_BIAS))
        return binding_optim

    # --- position bias -------------------------------------------------------------

    def _wanted(self) -> Laid:
        """Return where the bias should be laid on the current coordinates."""
        lengths = Span(0, 1)
        if self._length_specific_bias:
            longest = self.max_input_length + 1
            lengths = Span(self.min_input_length, longest).shifted(-self.input_growth)
        windows = self.out_len(self.input_shape)
        forward, anchors = self._forward_channels, self.layer_spec.anchors
        starts = (
            self.input_start + anchors[channel >= forward] for channel in self._stored
        )
        return Laid(lengths, tuple(Span(start, start + windows) for start in starts))

    def _bins(self, laid: Laid, channel: int) -> Tensor:
        """Return the stored entry of each window of a stored channel."""
        places, origin = laid.places[channel], self._origins[channel]
        bins = torch.arange(places.start - origin, places.stop - origin)
        bins = bins.div(self._bias_bin, rounding_mode="floor")
        return bins - bins[0] if len(bins) else bins

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Lengths, stored channels and bins of the bias of a new layer."""
        bins = -(-len(self._laid.places[0]) // self._bias_bin)
        return len(self._laid.lengths), len(self._stored), bins

    def lay_anew(self) -> None:
        """Lay the bias as that of a new layer."""
        self._lay()
        self.log_posbias.data = self.log_posbias.new_zeros(self._shape)

    def _lay(self) -> None:
        self._laid = self._wanted()
        # Bins are counted from here, so that an edit does not move their borders.
        self._origins = [span.start for span in self._laid.places]
        self._ledgers: list[Ledger] | None = None

    def settle(self) -> None:
        """Re-lay the position bias on the current coordinates.

        Raises:
            ValueError: The shortest read has no window any more.
        """
        wanted = self._wanted()
        if wanted == self._laid:
            return
        self.check_input()
        old = self._expanded(self.log_posbias.detach(), self._laid)
        ledgers, columns = [], []
        for channel, places in enumerate(wanted.places):
            spans = self._laid.lengths, self._laid.places[channel]
            ledger = (
                Ledger.of(old[:, channel], spans)
                if self._ledgers is None
                else self._ledgers[channel].written(old[:, channel], spans)
            )
            values = ledger.read((wanted.lengths, places))
            bins = self._bins(wanted, channel)
            n_bins = int(bins[-1]) + 1 if len(bins) else 0
            columns.append(first_known(values, bins, n_bins))
            ledgers.append(ledger)
        self._ledgers, self._laid = ledgers, wanted
        n_bins = max(column.shape[1] for column in columns)
        padded = [nn.functional.pad(c, (0, n_bins - c.shape[1])) for c in columns]
        self.log_posbias.data = torch.stack(padded, 1)
        self.log_posbias.grad = None

    def _expanded(self, bias: Tensor, laid: Laid) -> Tensor:
        """Return (lengths, stored channels, windows) with the bins spread out."""
        columns = [
            bias[:, channel, self._bins(laid, channel).to(bias.device)]
            for channel in range(len(self._stored))
        ]
        return torch.stack(columns, 1)

    def get_log_posbias(self) -> Tensor:
        """Return the position bias of every window.

        Returns:
            (max_input_length + 1, out_channels, windows) with length_specific_bias,
            the first axis indexed by the probe's number of letters (lengths without
            an entry are 0); else (1, out_channels, windows), unless a reversed bias
            depends on the length.
        """
        self.settle()
        bias: Tensor = self.log_posbias
        if self.normalize:
            bias = bias - bias.mean(-1, keepdim=True)
        return self.by_window(bias)

    def by_window(self, values: Tensor) -> Tensor:
        """Return values of the stored entries as those of every window.

        Args:
            values: Shaped as `log_posbias`: errors of the bias, say.

        Returns:
            Shaped as `get_log_posbias`.
        """
        self.settle()
        stored = self._expanded(values, self._laid)
        by_length = self._length_specific_bias or (
            self.bias_mode == "reverse"
            and self.min_input_length < self.max_input_length
        )
        if not by_length:
            return self._read(stored, self.max_input_length)
        shortest, longest = self.min_input_length, self.max_input_length
        rows = [
            self._read(stored[i : i + 1] if len(stored) > 1 else stored, length)
            for i, length in enumerate(range(shortest, longest + 1))
        ]
        table = torch.cat(rows)
        return nn.functional.pad(table, (0, 0, 0, 0, shortest, 0))

    def _read(self, stored: Tensor, length: int) -> Tensor:
        """Return (1, out_channels, windows) of the stored bias of one probe length."""
        if self.bias_mode == "channel":
            return stored
        forward = self._forward_channels
        windows = self.out_len(length)
        column = {channel: i for i, channel in enumerate(self._stored)}
        channels = []
        for channel in self._channels:
            values = stored[:, column[channel % forward]]
            if self.bias_mode == "reverse" and channel >= forward:
                # A shorter probe is flipped over its own windows.
                own = values[:, :windows].flip(1)
                values = nn.functional.pad(own, (0, values.shape[1] - windows))
            channels.append(values)
        return torch.stack(channels, 1)

    def _bias_of(self, seqs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the bias by group, and the group of each sequence."""
        self.settle()
        stored = self.log_posbias
        if not stored.requires_grad and not bool(stored.any()):
            return None, None
        if seqs.shape[-1] > self.input_shape:
            msg = (
                f"{self} has a position bias for up to {self.input_shape} letters, but"
                f" the probes have {seqs.shape[-1]}; score shorter ones, or follow them"
                " with update_read_length"
            )
            raise ValueError(msg)
        bias = self.get_log_posbias()[..., : self.out_len(seqs.shape[-1])]
        if len(bias) == 1:
            return bias, None
        if self.min_input_length == self.max_input_length == seqs.shape[-1]:
            return bias[-1:], None
        return bias, self.lengths(seqs).clamp(max=len(bias) - 1)

    # --- scores --------------------------------------------------------------------

    def _filters(self) -> tuple[list[Tensor], Tensor]:
        filters, bias = self.layer_spec.filters(), self.layer_spec.get_bias()
        if self._indexing is not None:
            filters = [weights[self._indexing] for weights in filters]
            bias = bias[self._indexing]
        return filters, bias

    def score_onehot(self, seqs: Tensor) -> Tensor:
        """Return window scores without position bias, letters taken as fractions.

        Args:
            seqs: (probes, letters, length) fractions, or (probes, length) codes.

        Returns:
            (probes, out_channels, windows).
        """
        if seqs.ndim == 2:
            if self.alphabet is None:
                msg = f"{self} has no alphabet: it scores (probes, channels, length)"
                raise ValueError(msg)
            seqs = self.alphabet.embed(seqs)
        filters, bias = self._filters()
        return soft_window_scores(
            seqs.to(bias.dtype),
            filters,
            dilation=self.layer_spec.dilation,
            bias=bias,
            unfold=self.unfold,
        )

    def score_dense(self, seqs: Tensor) -> Tensor:
        """Return window scores without position bias.

        Args:
            seqs: (probes, length) letter codes.

        Returns:
            (probes, out_channels, windows).
        """
        filters, bias = self._filters()
        embedding, pad = self._codes(bias)
        return window_scores(
            seqs, filters, embedding, pad, dilation=self.layer_spec.dilation, bias=bias
        )

    def _codes(self, like: Tensor) -> tuple[Tensor, int]:
        if self.alphabet is None:
            msg = f"{self} has no alphabet: it scores (probes, channels, length)"
            raise ValueError(msg)
        embedding = self.alphabet.embedding(like.dtype).to(like.device)
        return embedding, self.alphabet.neginf_pad

    def _is_soft(self, seqs: Tensor) -> bool:
        if seqs.ndim == 2:
            return False
        if self.alphabet is not None and not self.one_hot and len(seqs) > 1:
            msg = f"{self} scores soft sequences only with one_hot=True"
            raise ValueError(msg)
        return True

    def forward(self, seqs: Tensor) -> Tensor:
        """Return the log score of each window, −∞ where it touches padding.

        Args:
            seqs: (probes, length) letter codes or (probes, channels, length) numbers.

        Returns:
            (probes, out_channels, windows).
        """
        soft = self._is_soft(seqs)
        windows = self.score_onehot(seqs) if soft else self.score_dense(seqs)
        bias, group = self._bias_of(seqs)
        if bias is None:
            return windows
        return windows + (bias if group is None else bias[group])

    def log_sum(self, seqs: Tensor, hill: Tensor | None) -> Tensor:
        """Return log Σ_x exp(h · log 1/K(S_i, x)) without keeping the windows.

        Args:
            seqs: (probes, length) letter codes.
            hill: The Hill coefficient h; None for 1.

        Returns:
            (probes,).
        """
        filters, bias = self._filters()
        embedding, pad = self._codes(bias)
        log_bias, group = self._bias_of(seqs)
        return log_sum_windows(
            seqs,
            filters,
            embedding,
            pad,
            dilation=self.layer_spec.dilation,
            bias=bias,
            log_bias=log_bias,
            group=group,
            hill=hill,
        )

    # --- checkpoints ---------------------------------------------------------------

    def structure(self) -> dict[str, Any]:
        """Return the input's lengths and where the position bias is laid."""
        ledgers = self._ledgers or []
        return super().structure() | {
            "lengths": _numbers(self._laid.lengths),
            "places": [_numbers(span) for span in self._laid.places],
            "origins": list(self._origins),
            "ledgers": [
                {"values": ledger.values, "spans": list(map(_numbers, ledger.spans))}
                for ledger in ledgers
            ],
        }

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over the input's lengths and where the position bias is laid."""
        super().adopt_structure(structure)
        places = tuple(Span(*numbers) for numbers in structure["places"])
        self._laid = Laid(Span(*structure["lengths"]), places)
        self._origins = list(structure["origins"])
        ledgers = [
            Ledger(ledger["values"], tuple(Span(*n) for n in ledger["spans"]))
            for ledger in structure["ledgers"]
        ]
        self._ledgers = ledgers or None


def _numbers(span: Span) -> list[int]:
    return [span.start, span.stop]


def _check_choices(
    bias_mode: str, bias_bin: int, indexing: list[int] | None, psam: PSAM
) -> None:
    if bias_mode not in {"channel", "same", "reverse"}:
        msg = f"bias_mode {bias_mode!r} must be 'channel', 'same' or 'reverse'"
        raise ValueError(msg)
    if bias_bin < 1:
        msg = f"bias_bin {bias_bin} must be at least 1"
        raise ValueError(msg)
    if indexing is not None and not (
        indexing and all(0 <= channel < psam.out_channels for channel in indexing)
    ):
        msg = (
            f"out_channel_indexing {indexing} must name at least one of the"
            f" {psam.out_channels} channels 0 … {psam.out_channels - 1}"
        )
        raise ValueError(msg)
