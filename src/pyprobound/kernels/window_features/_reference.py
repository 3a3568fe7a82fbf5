"""Features of windows as products of weights and letters: what they are.

    entry[c, a, j] = Σ_x w[c, x] · f[x + j·dilation, a]

f[p, a] is the fraction of letter a at position p.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def window_features(
    seqs: Tensor,
    weights: Tensor,
    places: Sequence[Tensor],
    embedding: Tensor,
    out: Tensor,
    dilation: int,
) -> None:
    """Add the features to `out`; see the public function."""
    fractions = functional.embedding(seqs.long(), embedding.to(out.dtype))  # (n, L, A)
    weights = weights.to(out.dtype)
    n_windows = weights.shape[2]
    for distance, columns in enumerate(places):
        features = fractions
        if distance:
            left, right = fractions[:, :-distance], fractions[:, distance:]
            features = (left[..., :, None] * right[..., None, :]).flatten(2)
        flat = columns.flatten(1, -2)  # (C, features, positions)
        for position in range(columns.shape[-1]):
            first = position * dilation
            met = weights @ features[:, first : first + n_windows]  # (n, C, features)
            out.index_add_(1, flat[..., position].flatten(), met.flatten(1))
