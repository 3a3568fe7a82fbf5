"""Features of the windows in which a motif sits: letters outside it, places, flanks.

All are expected values under the posterior over windows, as the derivatives of a
binding's score are: π(x) = exp(h · s(x) − X) of a mode, its marginals of a dimer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound._evaluation import Evaluation
from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.diagnosis._score_tests import Maker
from pyprobound.kernels import log_sum_windows, window_features
from pyprobound.layers import Conv1d
from pyprobound.mode import Mode

REACH = 2
"""Positions outside a motif that are looked at, on either side."""

MOST_OVERLAPS = 8
"""Windows that reach further into a flank are taken together."""

MOST_BINS = 8
"""Of the windows that do not touch a flank."""


@dataclass(frozen=True)
class Motif:
    """A mode that ends in a PSAM, in one experiment.

    Attributes:
        name: The mode's name.
        mode: The mode.
        flanks: The flank letters that it sees, on the left and on the right.
    """

    name: str
    mode: Mode
    flanks: tuple[int, int]

    @property
    def conv(self) -> Conv1d:
        """Its last layer."""
        last = self.mode.chain[-1]
        assert isinstance(last, Conv1d)
        return last

    def codes(self, seqs: Tensor) -> Tensor:
        """Return what the PSAM slides along, (n, length)."""
        with torch.no_grad():
            return self.mode.evaluate_input(Evaluation(seqs))


def motif_of(name: str, binding: Binding, flanks: tuple[int, int]) -> Motif | None:
    """Return the motif of a binding; None of one without a PSAM of letters."""
    if not isinstance(binding, Mode):
        return None
    last = binding.chain[-1]
    if not isinstance(last, Conv1d) or last.alphabet is None:
        return None
    return Motif(name, binding, flanks)


# --- posteriors --------------------------------------------------------------------


def window_weights(
    binding: Binding, mode: Mode, seqs: Tensor, log_scores: Tensor
) -> Maker:
    """Return what makes h · π of a mode's windows, (n, channels, windows) float64.

    Args:
        binding: The mode, or a dimer of it.
        mode: The mode.
        seqs: (N, length) the probes.
        log_scores: (N,) the log scores X of the binding.
    """

    @torch.no_grad()
    def weights(rows: slice) -> Tensor:
        assert isinstance(binding, Mode | Cooperativity)
        scores = Evaluation(seqs[rows])(binding.evaluate_windows).double()
        hill = binding.hill
        scaled = scores if hill is None else hill.double() * scores
        total = log_scores[rows].double()
        total = total.masked_fill(total.isneginf(), 0.0)
        chances = (scaled - total.view(-1, *[1] * (scores.ndim - 1))).exp()
        if isinstance(binding, Cooperativity):
            own = [(2, 4)] * (binding.mode_a is mode)
            own += [(1, 3)] * (binding.mode_b is mode)
            chances = torch.stack([chances.sum(others) for others in own]).sum(0)
        return chances if hill is None else hill.double() * chances

    return weights


# --- letters outside ---------------------------------------------------------------


def outside_letters(motif: Motif, seqs: Tensor) -> tuple[int, Callable[..., Tensor]]:
    """Return the number of the features of letters just outside a motif, and a maker.

    They are ordered by position (the leftmost first), then by letter, as the forward
    strand of the motif reads them. What is not seen of a probe counts as unknown.
    """
    conv = motif.conv
    psam, alphabet = conv.layer_spec, conv.alphabet
    assert alphabet is not None
    n_letters, size = alphabet.n_letters, psam.kernel_size
    channels = psam.out_channels // psam.n_strands
    outside = [*range(REACH), *range(REACH + size, size + 2 * REACH)]
    places = torch.full((channels, n_letters, size + 2 * REACH), -1)
    letters = torch.arange(n_letters)
    for rank, position in enumerate(outside):
        places[:, :, position] = rank * n_letters + letters
    if psam.score_reverse:
        places = torch.cat([places, places.flip((1, 2))])
    if conv.out_channel_indexing is not None:
        places = places[conv.out_channel_indexing]
    pad = REACH * psam.dilation
    codes = torch.nn.functional.pad(
        motif.codes(seqs), (pad, pad), value=alphabet.wildcard_pad
    )
    n_features = len(outside) * n_letters
    embedding = alphabet.embedding(torch.float64)
    add = window_features(codes, [places], embedding, dilation=psam.dilation)

    def make(rows: slice, weights: Tensor) -> Tensor:
        out = torch.zeros(len(weights), n_features, dtype=torch.float64)
        add(rows, weights.contiguous(), out)
        return out

    return n_features, make


def outside_positions(motif: Motif) -> list[int]:
    """Return the positions of `outside_letters`, from 1: 0 is left of the first."""
    size = motif.conv.layer_spec.kernel_size
    return [*range(1 - REACH, 1), *range(size + 1, size + 1 + REACH)]


# --- places ------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """How the windows of a motif are divided by where they are in a probe.

    Attributes:
        group: (lengths, channels, windows) the group of each window, for each number
            of letters of a probe, from `shortest` on.
        shortest: The fewest letters.
        n_inside: Groups of windows that touch no flank; those that do come after.
        overlaps: For each group of the latter its strand, side and flank letters.
    """

    group: Tensor
    shortest: int
    n_inside: int
    overlaps: list[tuple[int, str, int]]

    @property
    def size(self) -> int:
        """The number of groups."""
        return self.n_inside + len(self.overlaps)

    def make(self, weights: Tensor, lengths: Tensor) -> Tensor:
        """Return the weight of each group, (n, groups).

        Args:
            weights: (n, channels, windows).
            lengths: (n,) letters of each probe.
        """
        out = torch.zeros(len(weights), self.size, dtype=torch.float64)
        if len(self.group) == 1:
            one_hot = torch.nn.functional.one_hot(self.group.flatten(), self.size)
            return weights.flatten(1) @ one_hot.double()
        row = (lengths - self.shortest).clamp(0, len(self.group) - 1).long()
        return out.scatter_add_(1, self.group[row].flatten(1), weights.flatten(1))


def places_of(motif: Motif) -> Places:
    """Divide the windows of a motif."""
    conv, (left, right) = motif.conv, motif.flanks
    psam = conv.layer_spec
    span = psam.dilation * (psam.kernel_size - 1) + 1
    windows = conv.out_len(conv.input_shape)
    strands = [
        channel // (psam.out_channels // psam.n_strands)
        for channel in conv.out_channel_indexing or range(psam.out_channels)
    ]
    lengths = range(conv.min_input_length, conv.max_input_length + 1)
    if lengths.start == lengths.stop - 1:
        lengths = range(conv.input_shape, conv.input_shape + 1)
    start = torch.arange(windows)
    at = torch.tensor(list(lengths))[:, None]
    before = (left - start).clamp(0, min(span, MOST_OVERLAPS)).expand(len(at), -1)
    after = (start + span - (at - right)).clamp(0, min(span, MOST_OVERLAPS))
    keys: dict[tuple[int, str, int], int] = {}
    n_bins = min(MOST_BINS, windows)
    bins = start * n_bins // max(windows, 1)
    used = torch.unique(bins[None].expand(len(at), -1)[(before == 0) & (after == 0)])
    rank = {int(each): i for i, each in enumerate(used)}
    n_inside = len(rank) * len(set(strands))
    group = torch.zeros(len(at), len(strands), windows, dtype=torch.int64)
    for i in range(len(at)):
        for c, strand in enumerate(strands):
            for x in range(windows):
                is_left = bool(before[i, x] >= after[i, x])
                overlap = int(before[i, x] if is_left else after[i, x])
                if overlap == 0:
                    group[i, c, x] = strand * len(rank) + rank[int(bins[x])]
                    continue
                key = strand, "left" if is_left else "right", overlap
                group[i, c, x] = n_inside + keys.setdefault(key, len(keys))
    return Places(group, lengths.start, n_inside, list(keys))


# --- windows beyond the scored flanks ----------------------------------------------


def with_letters(codes: Tensor, letters: Tensor, side: str, pad: int) -> Tensor:
    """Return probes with further letters on one side, (N, longer).

    Args:
        codes: (N, length), padded on the right.
        letters: What comes before all of them, or after each one's own end.
        side: "left" or "right".
        pad: The code of padding.
    """
    more = letters.to(codes).expand(len(codes), -1)
    if side == "left":
        return torch.cat([more, codes], 1)
    longer = torch.nn.functional.pad(codes, (0, len(letters)), value=pad)
    ends = (codes != pad).sum(1, keepdim=True)
    return longer.scatter(1, ends + torch.arange(len(letters)), more)


def gain_of_windows(motif: Motif, codes: Tensor, more: Tensor) -> Tensor:
    """Return X' − X, with the windows that are not scored in X', (N,) float64.

    Args:
        motif: The motif, without position bias.
        codes: (N, length) what its PSAM slides along.
        more: (N, longer) the same with further flank letters.
    """
    psam, hill = motif.conv.layer_spec, motif.mode.hill
    alphabet = motif.conv.alphabet
    assert alphabet is not None
    embedding = alphabet.embedding(psam.bias.dtype)

    def scores(seqs: Tensor) -> Tensor:
        value: Tensor = log_sum_windows(
            seqs,
            psam.filters(),
            embedding,
            alphabet.neginf_pad,
            dilation=psam.dilation,
            bias=psam.get_bias(),
            hill=hill,
        )
        return value.double()

    with torch.no_grad():
        # a probe without a window so far has nothing to compare with
        return (scores(more) - scores(codes)).nan_to_num(0.0, 0.0, 0.0)
