"""Features of windows as products of weights and letters: what they are.

    entry[c, a, j] = Σ_x w[c, x] · f[x + j·dilation, a]

f[p, a] is the fraction of letter a at position p.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional


def window_features(
    seqs: Tensor, places: Sequence[Tensor], embedding: Tensor, dilation: int
) -> Callable[[slice, Tensor, Tensor], None]:
    """Return what adds the features of a piece; see the public function."""

    def add(rows: slice, weights: Tensor, out: Tensor) -> None:
        fractions = functional.embedding(seqs[rows].long(), embedding.to(out.dtype))
        weights = weights.to(out.dtype)
        n_windows = weights.shape[2]
        for distance, columns in enumerate(places):
            features = fractions  # (n, L, A)
            if distance:
                left, right = fractions[:, :-distance], fractions[:, distance:]
                features = (left[..., :, None] * right[..., None, :]).flatten(2)
            flat = columns.flatten(1, -2)  # (C, features, positions)
            for position in range(columns.shape[-1]):
                first = position * dilation
                # (n, C, features)
                met = weights @ features[:, first : first + n_windows]
                place = flat[..., position].flatten()
                kept = (place >= 0).nonzero().squeeze(1)
                out.index_add_(1, place[kept], met.flatten(1)[:, kept])

    return add
