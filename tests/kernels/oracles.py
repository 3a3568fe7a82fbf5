"""The kernels once more, in plain Python: one loop per index, math.fsum for sums."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

NEG_INF = float("-inf")


@dataclass(frozen=True)
class Model:
    """Random probes and filters, float64 on the CPU.

    Codes are the letters, then `pad`, any letter, no letter, and the first two letters.
    """

    seqs: Tensor  # (N, L)
    filters: list[Tensor]  # (C, A, k), (C, A, A, k − d)
    embedding: Tensor  # (n_codes, A)
    pad: int
    dilation: int = 1
    bias: Tensor | None = None  # (C,)
    n_windows: int = field(init=False)

    def __post_init__(self) -> None:
        reach = self.dilation * (self.filters[0].shape[2] - 1)
        object.__setattr__(self, "n_windows", max(0, self.seqs.shape[1] - reach))


def embedding_table(n_letters: int) -> Tensor:
    """Return the fractions (n_letters + 4, n_letters) that the codes stand for."""
    pad = torch.zeros(1, n_letters, dtype=torch.float64)
    any_letter = torch.full_like(pad, 1 / n_letters)
    first_two = torch.zeros_like(pad)
    first_two[:, :2] = 0.5
    letters = torch.eye(n_letters, dtype=torch.float64)
    return torch.cat([letters, pad, any_letter, torch.zeros_like(pad), first_two])


def random_model(
    seed: int,
    *,
    n_probes: int = 9,
    length: int = 11,
    n_letters: int = 4,
    size: int = 4,
    channels: int = 2,
    pair_distances: int = 0,
    dilation: int = 1,
    bias: bool = False,
    forbidden: float = 0.0,
) -> Model:
    """Return probes with every kind of code, padded by 0 to `length` on the right.

    `forbidden` is the fraction of weights that are −∞.
    """
    random = torch.Generator().manual_seed(seed)
    pad = n_letters
    seqs = torch.randint(0, n_letters, (n_probes, length), generator=random)
    special = torch.randint(pad + 1, pad + 4, seqs.shape, generator=random)
    is_special = torch.rand(seqs.shape, generator=random) < 0.15
    seqs = torch.where(is_special, special, seqs)
    lengths = torch.randint(length // 2, length + 1, (n_probes, 1), generator=random)
    lengths[:1] = length
    lengths[1:2] = 0
    seqs = seqs.masked_fill(torch.arange(length) >= lengths, pad)
    shapes: list[tuple[int, ...]] = [(channels, n_letters, size)]
    shapes += [
        (channels, n_letters, n_letters, size - distance)
        for distance in range(1, pair_distances + 1)
    ]
    filters = []
    for shape in shapes:
        weights = torch.randn(shape, generator=random, dtype=torch.float64)
        is_forbidden = torch.rand(shape, generator=random) < forbidden
        filters.append(weights.masked_fill(is_forbidden, NEG_INF))
    channel_bias = torch.randn(channels, generator=random, dtype=torch.float64)
    return Model(
        seqs=seqs.to(torch.uint8),
        filters=filters,
        embedding=embedding_table(n_letters),
        pad=pad,
        dilation=dilation,
        bias=channel_bias if bias else None,
    )


def window_scores(model: Model) -> Tensor:
    """Score every window, (N, C, W), letter by letter and pair by pair."""
    fractions = model.embedding.tolist()
    soft = [
        [None if code == model.pad else fractions[code] for code in probe]
        for probe in model.seqs.tolist()
    ]
    return soft_window_scores(soft, model)


def soft_window_scores(
    soft: Sequence[Sequence[Sequence[float] | None]], model: Model
) -> Tensor:
    """Score every window of `soft`: per probe and position, fractions or None."""
    channels = len(model.filters[0])
    filters = [weights.tolist() for weights in model.filters]
    bias = [0.0] * channels if model.bias is None else model.bias.tolist()
    scores = [
        [
            [
                bias[c]
                + _window(probe[x :: model.dilation], [f[c] for f in filters], model)
                for x in range(model.n_windows)
            ]
            for c in range(channels)
        ]
        for probe in soft
    ]
    result = torch.tensor(scores, dtype=torch.float64)
    return result.reshape(len(soft), channels, model.n_windows)


def _window(
    letters: Sequence[Sequence[float] | None], filters: list[list], model: Model
) -> float:
    """Score the window at the start of `letters` on one channel."""
    size = model.filters[0].shape[2]
    covered = []
    for fractions in letters[:size]:
        if fractions is None:
            return NEG_INF
        covered.append(fractions)
    terms = []
    for position, fractions in enumerate(covered):
        for letter, fraction in enumerate(fractions):
            if fraction > 0:
                terms.append(fraction * filters[0][letter][position])
    for distance in range(1, len(filters)):
        for position in range(size - distance):
            left, right = covered[position], covered[position + distance]
            for (i, p), (j, q) in itertools.product(enumerate(left), enumerate(right)):
                if p * q > 0:
                    terms.append(p * q * filters[distance][i][j][position])
    return math.fsum(terms)


def log_sum_exp(values: Sequence[float]) -> float:
    """Return log Σ exp(values)."""
    top = max(values, default=NEG_INF)
    if top == NEG_INF:
        return NEG_INF
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def log_sum(windows: Tensor, hill: float = 1.0) -> Tensor:
    """Return log Σ exp(hill · windows) of each probe, (N,)."""
    return torch.tensor(
        [
            log_sum_exp([hill * v for v in probe])
            for probe in windows.flatten(1).tolist()
        ],
        dtype=torch.float64,
    )


@dataclass(frozen=True)
class Dimers:
    """Scores of two modes' windows and their cooperativity, float64 on the CPU."""

    a: Tensor  # (N, Sa, La)
    b: Tensor  # (N, Sb, Lb)
    log_omega: Tensor  # (G, Sa, Sb, La, Lb)
    group: Tensor | None = None  # (N,)
    hill: float = 1.0


def random_dimers(
    seed: int,
    *,
    n_probes: int = 12,
    strands: tuple[int, int] = (2, 2),
    windows: tuple[int, int] = (5, 4),
    groups: int = 1,
    spread: float = 2.0,
    absent: float = 0.2,
    hill: float = 1.0,
) -> Dimers:
    """Return random dimers with energies within ± `spread`.

    Of the scores and of the cooperativity, the fraction `absent` is −∞; probe 0 has no
    finite score of mode a, probe 1 none of mode b.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        values = 2 * torch.rand(shape, generator=random, dtype=torch.float64) - 1
        missing = torch.rand(shape, generator=random) < absent
        return (spread * values).masked_fill(missing, NEG_INF)

    a, b = (draw(n_probes, s, w) for s, w in zip(strands, windows, strict=True))
    a[:1] = NEG_INF
    b[1:2] = NEG_INF
    group = torch.randint(0, groups, (n_probes,), generator=random)
    return Dimers(
        a=a,
        b=b,
        log_omega=draw(groups, *strands, *windows),
        group=None if groups == 1 else group,
        hill=hill,
    )


@dataclass(frozen=True)
class DimerSums:
    """Log sums of probes, and the gradients of Σ_i weight[i] · (log sum)[i]."""

    log_sums: Tensor
    a: Tensor
    b: Tensor
    log_omega: Tensor
    hill: float


def log_sum_dimers(dimers: Dimers, weights: Sequence[float]) -> DimerSums:
    """Sum over all pairs one by one, with exact gradients.

    A pair's share of its probe's sum is its part of the gradient.
    """
    n_groups, *axes = dimers.log_omega.shape
    a, b, omega = (t.tolist() for t in (dimers.a, dimers.b, dimers.log_omega))
    grad_a, grad_b = torch.zeros_like(dimers.a), torch.zeros_like(dimers.b)
    grad_omega = torch.zeros_like(dimers.log_omega)
    grad_hill, log_sums = 0.0, []
    groups = [0] * len(a) if dimers.group is None else dimers.group.tolist()
    assert max(groups, default=0) < n_groups
    for i, (g, weight) in enumerate(zip(groups, weights, strict=True)):
        pairs = {
            (s, t, m, n): omega[g][s][t][m][n] + a[i][s][m] + b[i][t][n]
            for s, t, m, n in itertools.product(*map(range, axes))
        }
        total = log_sum_exp([dimers.hill * energy for energy in pairs.values()])
        log_sums.append(total)
        for (s, t, m, n), energy in pairs.items():
            if energy == NEG_INF:
                continue
            share = weight * math.exp(dimers.hill * energy - total)
            grad_a[i, s, m] += dimers.hill * share
            grad_b[i, t, n] += dimers.hill * share
            grad_omega[g, s, t, m, n] += dimers.hill * share
            grad_hill += share * energy
    return DimerSums(
        log_sums=torch.tensor(log_sums, dtype=torch.float64),
        a=grad_a,
        b=grad_b,
        log_omega=grad_omega,
        hill=grad_hill,
    )
