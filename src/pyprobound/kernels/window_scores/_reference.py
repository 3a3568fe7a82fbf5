"""Window scores as matrix products, the definition of what they are.

    score[n, c, x] = Σ_{j,a} f[n, x + j·dilation, a] · β[c, a, j]
                   + Σ_{d,j,a,b} f[n, x + j, a] · f[n, x + j + d, b] · β_d[c, a, b, j]

with f[n, p, a] the fraction of letter a at position p. Sliding a filter along a probe
is one product with a banded matrix, the filter written out once for each of a block of
windows:

                    window 0   1   2
        letter 0          β_0
               1          β_1 β_0
               2              β_1 β_0
               3                  β_1

A block of a few dozen windows wastes some products with zeros, and still is 1.5 to 3
times as fast as a convolution of as many probes on a CPU: nothing is copied, and the
product is a large one. (Nor does it fall under CUDA's default of 10-bit mantissas in
convolutions.)

−∞ never enters a product, where 0 · (−∞) would be NaN. How often a window touches
padding or a forbidden letter is counted with bands of ones, and what is touched is
masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pyprobound._chunking import map_chunks
from pyprobound._numerics import NEG_INF

# Windows per band. Fewer leave small products, more waste work on zeros; of 8 to 128
# this was the fastest for probes of 100 and 300 letters and filters of 12 and 25.
BLOCK = 32


@dataclass(frozen=True)
class Layout:
    """How filters lie along a probe: what stays fixed while their weights change.

    Attributes:
        n_windows: W, the windows of a probe.
        touch: Band of ones of a filter over its positions, to count padding.
        forbidden: Bands of ones where the weights are −∞, one per filter; empty if no
            weight is.
    """

    n_windows: int
    touch: Tensor
    forbidden: tuple[Tensor, ...]


def window_scores(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    dilation: int,
    bias: Tensor | None,
) -> Tensor:
    """Score all windows of sequences of codes; see the public function."""
    n_windows = count_windows(seqs.shape[1], filters, dilation)
    if n_windows == 0:
        return no_windows(len(seqs), filters)
    layout, bands = lay_out(filters, n_windows, dilation)
    embedding = embedding.to(filters[0])
    pair_table = tabulate_pairs(embedding) if len(filters) > 1 else None

    def scores(codes: Tensor, bias: Tensor | None, *bands: Tensor) -> Tensor:
        features = code_features(codes, embedding, pair_table, len(bands))
        windows = score(features, codes == pad, layout, bands)
        return windows if bias is None else windows + bias[:, None]

    return map_chunks(
        scores,
        [seqs],
        [bias, *bands],
        bytes_per_probe=bytes_per_probe(seqs.shape[1], filters, n_windows),
    )


def soft_window_scores(
    x: Tensor,
    filters: Sequence[Tensor],
    dilation: int,
    bias: Tensor | None,
    *,
    unfold: bool,
) -> Tensor:
    """Score all windows of soft sequences; see the public function."""
    length = x.shape[2]
    n_windows = count_windows(length, filters, dilation)
    if n_windows == 0:
        return no_windows(len(x), filters)
    layout, bands = lay_out(filters, n_windows, dilation)
    finite = [weights.masked_fill(weights == NEG_INF, 0.0) for weights in filters]

    def scores(soft: Tensor, bias: Tensor | None, *weights: Tensor) -> Tensor:
        absent = (soft == NEG_INF).any(1)  # (n, L)
        letters = soft.masked_fill(absent[:, None], 0.0).transpose(1, 2)  # (n, L, A)
        features = letter_features(letters, len(weights))
        if unfold:
            windows = unfolded(features, weights, dilation)
            windows = mask(windows, features, absent, layout)
        else:
            windows = score(features, absent, layout, weights)
        return windows if bias is None else windows + bias[:, None]

    copies = filters[0].shape[2] if unfold else 1
    return map_chunks(
        scores,
        [x],
        [bias, *(finite if unfold else bands)],
        bytes_per_probe=copies * bytes_per_probe(length, filters, n_windows),
    )


def count_windows(length: int, filters: Sequence[Tensor], dilation: int) -> int:
    """Return W = L − dilation·(k − 1), or 0 where no window fits."""
    return max(0, length - dilation * (filters[0].shape[2] - 1))


def no_windows(n_probes: int, filters: Sequence[Tensor]) -> Tensor:
    """Return scores (N, C, 0) that depend, with zero gradient, on the filters."""
    channels = filters[0].shape[0]
    nothing = filters[0][:, :, :0].sum()
    return nothing + filters[0].new_zeros((n_probes, channels, 0))


def bytes_per_probe(length: int, filters: Sequence[Tensor], n_windows: int) -> int:
    """Return a bound on the temporaries for one probe, backward pass included.

    What belongs to no probe (bands, the table of pairs of codes) is not counted.
    """
    channels, letters, _ = filters[0].shape
    features = length * letters * (1 + letters * (len(filters) - 1))
    # features and their indicators; scores, counts, exponentials, gradients, masks
    n_values = 2 * features + 5 * channels * n_windows
    return filters[0].element_size() * n_values + 16 * length


def lay_out(
    filters: Sequence[Tensor], n_windows: int, dilation: int
) -> tuple[Layout, list[Tensor]]:
    """Write filters out as bands, (span, features, C, block) each.

    Returns:
        The layout, and the bands of the finite weights (−∞ replaced by 0).
    """
    block = min(BLOCK, n_windows)
    flat = [weights.reshape(len(weights), -1, weights.shape[-1]) for weights in filters]
    barred = [weights == NEG_INF for weights in flat]
    bands = [
        lay_band(weights.masked_fill(bar, 0.0), block, dilation)
        for weights, bar in zip(flat, barred, strict=True)
    ]
    forbidden: tuple[Tensor, ...] = ()
    if torch.stack([bar.any() for bar in barred]).any():
        forbidden = tuple(
            lay_band(bar.to(filters[0].dtype), block, dilation) for bar in barred
        )
    touch = lay_band(flat[0].new_ones((1, 1, flat[0].shape[2])), block, dilation)
    return Layout(n_windows, touch, forbidden), bands


def lay_band(weights: Tensor, block: int, dilation: int) -> Tensor:
    """Write a filter out for each of `block` neighbouring windows.

    band[p, f, c, x] = weights[c, f, (p − x) / dilation], 0 where that is no position.

    Args:
        weights: (C, features, size).
        block: Number of windows.
        dilation: Distance between neighbouring positions.

    Returns:
        Band of shape (span, features, C, block), span = block + dilation·(size − 1).
    """
    channels, features, size = weights.shape
    span = block + dilation * (size - 1)
    place = torch.arange(span, device=weights.device)[:, None]
    place = place - torch.arange(block, device=weights.device)  # (span, block)
    outside = (place < 0) | (place >= dilation * size) | (place % dilation != 0)
    position = (place // dilation).masked_fill(outside, size)
    # position `size` is a row of zeros; an embedding's gradient is deterministic
    table = functional.pad(weights.flatten(0, 1).t(), (0, 0, 0, 1))
    band = functional.embedding(position, table)  # (span, block, C·features)
    band = band.view(span, block, channels, features)
    return band.permute(0, 3, 2, 1).contiguous()


def tabulate_pairs(embedding: Tensor) -> Tensor:
    """Return the products of the fractions of two codes, (n_codes², A²)."""
    products = embedding[:, None, :, None] * embedding[None, :, None, :]
    return products.flatten(2).flatten(0, 1)


def code_features(
    codes: Tensor, embedding: Tensor, pair_table: Tensor | None, n_filters: int
) -> list[Tensor]:
    """Return what filters act on, from codes (n, L) of any integer type.

    Args:
        codes: Codes of letters.
        embedding: Fractions (n_codes, A).
        pair_table: From `tabulate_pairs` where there are pairs: rows looked up are made
            several times faster than products of four letters each.
        n_filters: One for single letters, and one per pair distance.

    Returns:
        Fractions of letters (n, L, A), then of pairs (n, L − d, A²) at distance d.
    """
    # embedding tables are indexed by int32 and int64 only
    codes = codes if codes.dtype == torch.int64 else codes.int()
    features = [functional.embedding(codes, embedding)]
    if pair_table is not None:
        for distance in range(1, n_filters):
            pairs = codes[:, :-distance] * len(embedding) + codes[:, distance:]
            features.append(functional.embedding(pairs, pair_table))
    return features


def letter_features(letters: Tensor, n_filters: int) -> list[Tensor]:
    """Return the letters (n, L, A) and their products (n, L − d, A²) at distance d."""
    features = [letters]
    for distance in range(1, n_filters):
        left, right = letters[:, :-distance], letters[:, distance:]
        features.append((left[..., :, None] * right[..., None, :]).flatten(2))
    return features


def score(
    features: Sequence[Tensor], absent: Tensor, layout: Layout, bands: Sequence[Tensor]
) -> Tensor:
    """Score the windows of probes with the bands of `lay_out`.

    Args:
        features: From `code_features` or `letter_features`, 0 at padding.
        absent: Where the padding is, (n, L).
        layout: From `lay_out`.
        bands: From `lay_out`, with other values if need be (scaled, say).

    Returns:
        Scores (n, C, W).
    """
    scores = slide(features, bands, layout.n_windows)
    return mask(scores, features, absent, layout)


def slide(
    features: Sequence[Tensor], bands: Sequence[Tensor], n_windows: int
) -> Tensor:
    """Return (n, C, W), the sum over features (n, L, F) of their products with bands.

    A feature's window x starts at position x.
    """
    _, _, channels, block = bands[0].shape
    rows = [feature.flatten(1) for feature in features]  # (n, L·F)
    pieces = []
    for start in range(0, n_windows, block):
        width = min(block, n_windows - start)
        piece: Tensor | None = None
        for row, band in zip(rows, bands, strict=True):
            depth = band.shape[1]
            span = len(band) - block + width
            weights = band[:span, :, :, :width].reshape(span * depth, channels * width)
            covered = row[:, start * depth : (start + span) * depth]
            piece = (
                covered @ weights
                if piece is None
                else torch.addmm(piece, covered, weights)
            )
        assert piece is not None  # there is always the filter of single letters
        pieces.append(piece.view(-1, channels, width))  # (n, C, width)
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


def unfolded(
    features: Sequence[Tensor], filters: Sequence[Tensor], dilation: int
) -> Tensor:
    """Return (n, C, W) from copies of all windows; the same as `slide` with bands."""
    total: Tensor | None = None
    for feature, weights in zip(features, filters, strict=True):
        size = weights.shape[-1]
        windows = feature.unfold(1, dilation * (size - 1) + 1, 1)[..., ::dilation]
        part = torch.einsum("nwfj,cfj->ncw", windows, weights.flatten(1, -2))
        total = part if total is None else total + part
    assert total is not None  # there is always the filter of single letters
    return total


def mask(
    scores: Tensor, features: Sequence[Tensor], absent: Tensor, layout: Layout
) -> Tensor:
    """Return scores with −∞ in windows that touch padding or a forbidden letter."""
    if absent.any():
        padding = absent[..., None].to(scores.dtype)
        touches = slide([padding], [layout.touch], layout.n_windows)  # (n, 1, W)
        scores = scores.masked_fill(touches > 0, NEG_INF)
    if layout.forbidden:
        present = [(feature > 0).to(scores.dtype) for feature in features]
        touches = slide(present, layout.forbidden, layout.n_windows)  # (n, C, W)
        scores = scores.masked_fill(touches > 0, NEG_INF)
    return scores
