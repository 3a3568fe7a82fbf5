"""The posterior over pairs, pair by pair: what it is."""

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels.dimer_posterior._found import Found


@torch.no_grad()
def dimer_posterior(
    windows_a: Tensor,
    windows_b: Tensor,
    log_omega: Tensor,
    log_sums: Tensor,
    places: Tensor,
    n_places: int,
    group: Tensor | None,
    hill: Tensor | None,
) -> Found:
    """Sum over pairs; see the public function."""
    n_probes = len(windows_a)
    if group is None:
        group = torch.zeros(n_probes, dtype=torch.int64, device=log_omega.device)
    group = group.long()
    own = log_omega[group]
    scaled = windows_a[:, :, None, :, None] + windows_b[:, None, :, None, :] + own
    if hill is not None:
        scaled, own = hill * scaled, hill * own
    nothing = log_sums == NEG_INF
    total = log_sums.masked_fill(nothing, 0.0).to(scaled.dtype)
    weights = (scaled - total.view(-1, 1, 1, 1, 1)).exp()
    energy = weights.double() * own.masked_fill(own == NEG_INF, 0.0).double()
    of_places = weights.new_zeros(n_probes, n_places + 1, dtype=torch.float64)
    if len(places):
        index = torch.where(places < 0, n_places, places)[group]
        of_places.scatter_add_(1, index.flatten(1), weights.flatten(1).double())
    return Found(
        weights.sum((2, 4)),
        weights.sum((1, 3)),
        of_places[:, :n_places],
        energy.flatten(1).sum(1),
    )
