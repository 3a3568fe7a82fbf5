"""Sums over windows, some probes at a time: the definition of what they are.

    log 1/K(S_n) = log Σ_{c,x} exp( h · (score[n, c, x] + ω[group[n], c, x]) )

A score is linear in the weights, so h enters through them, once for all probes.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from pyprobound._chunking import map_chunks
from pyprobound._numerics import logsumexp, scale_log
from pyprobound.kernels.window_scores._reference import (
    bytes_per_probe,
    code_features,
    count_windows,
    lay_out,
    no_windows,
    score,
    tabulate_pairs,
)


def log_sum_windows(
    seqs: Tensor,
    filters: Sequence[Tensor],
    embedding: Tensor,
    pad: int,
    *,
    dilation: int,
    bias: Tensor | None,
    log_bias: Tensor | None,
    group: Tensor | None,
    hill: Tensor | None,
) -> Tensor:
    """Sum over the windows of each probe; see the public function."""
    n_windows = count_windows(seqs.shape[1], filters, dilation)
    if n_windows == 0:
        return logsumexp(no_windows(len(seqs), filters), (1, 2))
    layout, bands = lay_out(filters, n_windows, dilation)
    added = _total_bias(bias, log_bias)
    if hill is not None:
        bands = [hill * band for band in bands]
        added = None if added is None else scale_log(added, hill)
    embedding = embedding.to(filters[0])
    pair_table = tabulate_pairs(embedding) if len(filters) > 1 else None

    def log_sums(
        codes: Tensor, group: Tensor | None, added: Tensor | None, *bands: Tensor
    ) -> Tensor:
        features = code_features(codes, embedding, pair_table, len(bands))
        windows = score(features, codes == pad, layout, bands)
        if group is not None and added is not None:
            # the gradient of an embedding is deterministic, that of an index is not
            added = functional.embedding(group, added.flatten(1)).view_as(windows)
        return logsumexp(windows if added is None else windows + added, (1, 2))

    return map_chunks(
        log_sums,
        [seqs, group],
        [added, *bands],
        bytes_per_probe=bytes_per_probe(seqs.shape[1], filters, n_windows),
    )


def _total_bias(bias: Tensor | None, log_bias: Tensor | None) -> Tensor | None:
    """Return both biases in one, (G, C, W), or (1, C, 1) without position bias."""
    if bias is None:
        return log_bias
    by_channel = bias[None, :, None]
    return by_channel if log_bias is None else log_bias + by_channel


def log_sum(windows: Tensor, hill: Tensor | None) -> Tensor:
    """Sum over scored windows; see the public function."""

    def log_sums(windows: Tensor, hill: Tensor | None) -> Tensor:
        scaled = windows if hill is None else scale_log(windows, hill)
        return logsumexp(scaled, (1, 2))

    # windows scaled, shifted, exponentiated; gradients of two of them
    per_probe = 5 * windows.element_size() * windows[:1].numel()
    return map_chunks(log_sums, [windows], [hill], bytes_per_probe=per_probe)
