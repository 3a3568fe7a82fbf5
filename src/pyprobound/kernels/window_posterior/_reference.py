"""The posterior over windows from their scores: what it is."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF, logsumexp, scale_log
from pyprobound.kernels.window_scores import window_scores


def window_posterior(
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
) -> Callable[[slice], Tensor]:
    """Return what gives windows their weights; see the public function."""

    @torch.no_grad()
    def weights_of(rows: slice) -> Tensor:
        scores = window_scores(
            seqs[rows], filters, embedding, pad, dilation=dilation, bias=bias
        )
        if log_bias is not None:
            scores = scores + (log_bias if group is None else log_bias[group[rows]])
        if hill is not None:
            scores = scale_log(scores, hill)
        total = logsumexp(scores, (1, 2))
        return (scores - total.masked_fill(total == NEG_INF, 0.0)[:, None, None]).exp()

    return weights_of
