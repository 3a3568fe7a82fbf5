"""Features of windows: the gradient of window scores, probe by probe."""

from types import ModuleType

import pytest
import torch

from pyprobound import alphabets
from pyprobound.kernels import window_features, window_scores
from pyprobound.kernels.window_features import _numba, _reference

DNA = alphabets.DNA()
LENGTH, N_PROBES = 9, 7


def filters_of(channels: int, size: int, n_pairs: int) -> list[torch.Tensor]:
    """Return filters of letters and of pairs, all 0."""
    shapes = [(channels, 4, size)]
    shapes += [(channels, 4, 4, size - d) for d in range(1, n_pairs + 1)]
    return [torch.zeros(shape, dtype=torch.float64) for shape in shapes]


def probes(symbols: str) -> torch.Tensor:
    """Return random codes of some symbols."""
    generator = torch.Generator().manual_seed(2)
    drawn = torch.randint(len(symbols), (N_PROBES, LENGTH), generator=generator)
    texts = ["".join(symbols[i] for i in row) for row in drawn.tolist()]
    return DNA.encode(texts, LENGTH)


@pytest.mark.parametrize("module", [_reference, _numba])
@pytest.mark.parametrize("symbols", ["ACGT", "ACGTNRY-"])
@pytest.mark.parametrize(
    ("size", "n_pairs", "dilation"),
    [(1, 0, 1), (4, 0, 1), (3, 0, 2), (4, 2, 1), (9, 0, 1)],
)
def test_features_are_the_gradient_of_weighted_scores(
    module: ModuleType, symbols: str, size: int, n_pairs: int, dilation: int
) -> None:
    filters = filters_of(2, size, n_pairs)
    seqs, embedding = probes(symbols), DNA.embedding(torch.float64)
    n_windows = LENGTH - dilation * (size - 1)
    weights = torch.rand(N_PROBES, 2, n_windows, dtype=torch.float64)
    sizes = [f.numel() for f in filters]
    # pairs of neighbouring entries share a column
    columns = torch.arange(sum(sizes)) // 2
    places = [
        part.view(f.shape)
        for part, f in zip(torch.split(columns, sizes), filters, strict=True)
    ]
    n_columns = int(columns.max()) + 1
    out = torch.zeros(N_PROBES, n_columns, dtype=torch.float64)
    module.window_features(seqs, weights, places, embedding, out, dilation)
    for parameter in filters:
        parameter.requires_grad_()
    scores = window_scores(seqs, filters, embedding, DNA.neginf_pad, dilation=dilation)
    for i in range(N_PROBES):
        found = torch.autograd.grad(
            (scores[i] * weights[i]).sum(), filters, retain_graph=True
        )
        flat = torch.cat([gradient.flatten() for gradient in found])
        expected = torch.zeros(n_columns, dtype=torch.float64)
        torch.testing.assert_close(out[i], expected.index_add(0, columns, flat))


def test_windows_of_padding_have_no_weight_and_no_features() -> None:
    seqs = DNA.encode(["ACGT", "ACGTACG"], 7)
    weights = torch.ones(2, 1, 5, dtype=torch.float64)
    weights[0, 0, 2:] = 0
    places = [torch.arange(12).view(1, 4, 3)]
    out = window_features(seqs, weights, places, DNA.embedding(torch.float64), 12)
    assert out.sum(1).tolist() == [6.0, 15.0]


def test_weights_must_fit_the_windows() -> None:
    places = [torch.arange(12).view(1, 4, 3)]
    with pytest.raises(ValueError, match="these probes and filters need"):
        window_features(
            probes("ACGT"), torch.ones(N_PROBES, 1, 3), places, DNA.embedding(), 12
        )
