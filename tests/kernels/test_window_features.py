"""Features of windows: the gradient of window scores, probe by probe."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pyprobound import alphabets, set_memory_budget
from pyprobound.kernels import window_features, window_scores
from tests.kernels.backends import Backend, Check, every

DNA = alphabets.DNA()
DOUBLE = torch.float64
LENGTH, N_PROBES = 9, 7


@dataclass(frozen=True)
class Case:
    """Filters, and the symbols that probes are made of."""

    symbols: str
    size: int
    n_pairs: int = 0
    dilation: int = 1

    @property
    def seqs(self) -> Tensor:
        """Random codes."""
        generator = torch.Generator().manual_seed(2)
        shape = (N_PROBES, LENGTH)
        drawn = torch.randint(len(self.symbols), shape, generator=generator)
        texts = ["".join(self.symbols[i] for i in row) for row in drawn.tolist()]
        return DNA.encode(texts, LENGTH)

    @property
    def filters(self) -> list[Tensor]:
        """Weights of letters and of pairs, all 0."""
        shapes = [(2, 4, self.size)]
        shapes += [(2, 4, 4, self.size - d) for d in range(1, self.n_pairs + 1)]
        return [torch.zeros(shape, dtype=DOUBLE) for shape in shapes]

    @property
    def weights(self) -> Tensor:
        """Random weights of the windows."""
        n_windows = LENGTH - self.dilation * (self.size - 1)
        generator = torch.Generator().manual_seed(3)
        return torch.rand(N_PROBES, 2, n_windows, generator=generator, dtype=DOUBLE)

    @property
    def n_entries(self) -> int:
        return sum(each.numel() for each in self.filters)

    def places(self, columns: Tensor) -> list[Tensor]:
        """Cut the columns of all entries in the shapes of the filters."""
        sizes = [each.numel() for each in self.filters]
        return [
            part.view(each.shape)
            for part, each in zip(
                torch.split(columns, sizes), self.filters, strict=True
            )
        ]


CASES = [
    Case(symbols, size, n_pairs, dilation)
    for symbols in ("ACGT", "ACGTNRY-")
    for size, n_pairs, dilation in (
        (1, 0, 1),
        (4, 0, 1),
        (3, 0, 2),
        (4, 2, 1),
        (9, 0, 1),
    )
]


def features(backend: Backend, case: Case, columns: Tensor, weights: Tensor) -> Tensor:
    """Return what the backend finds, on the CPU."""
    device = backend.device
    found = backend.window_features(
        case.seqs.to(device),
        weights.to(device),
        [each.to(device) for each in case.places(columns)],
        DNA.embedding(DOUBLE, device),
        int(columns.max()) + 1,
        dilation=case.dilation,
    )
    assert found.dtype == DOUBLE
    return found.cpu()


def gradients(case: Case) -> Tensor:
    """Return the gradient of the weighted scores of each probe, entry by entry."""
    filters, seqs = [each.requires_grad_() for each in case.filters], case.seqs
    scores = window_scores(
        seqs, filters, DNA.embedding(DOUBLE), DNA.neginf_pad, dilation=case.dilation
    )
    rows = []
    for total in (scores * case.weights).sum((1, 2)):
        found = torch.autograd.grad(total, filters, retain_graph=True)
        rows.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(rows)


def check_features_are_the_gradient_of_weighted_scores(backend: Backend) -> None:
    for case in CASES:
        # pairs of neighbouring entries share a column
        columns = torch.arange(case.n_entries) // 2
        found = features(backend, case, columns, case.weights)
        expected = torch.zeros_like(found).index_add(1, columns, gradients(case))
        torch.testing.assert_close(found, expected)


def check_columns_may_have_all_entries_or_none(backend: Backend) -> None:
    case = Case("ACGTN", 4, 1)
    entries = gradients(case)
    columns = torch.full((case.n_entries,), 3)
    columns[5] = 40
    found = features(backend, case, columns, case.weights)
    assert found.shape == (N_PROBES, 41)
    torch.testing.assert_close(found[:, 40], entries[:, 5])
    torch.testing.assert_close(found.sum(1), entries.sum(1))
    assert (found[:, [0, 1, 2, *range(4, 40)]] == 0).all()


def check_entries_may_have_no_column(backend: Backend) -> None:
    case = Case("ACGTN", 4, 1)
    columns = torch.arange(case.n_entries)
    columns[3:90:2] = -1
    found = features(backend, case, columns, case.weights)
    expected = gradients(case)
    expected[:, 3:90:2] = 0
    torch.testing.assert_close(found, expected)


def check_weights_may_be_float32(backend: Backend) -> None:
    case = Case("ACGT", 4, 1)
    columns = torch.arange(case.n_entries)
    rounded = case.weights.float()
    found = features(backend, case, columns, rounded)
    expected = features(backend, case, columns, rounded.double())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def check_pieces_and_repeats_are_identical(backend: Backend) -> None:
    case = Case("ACGTN", 4, 2)
    columns = torch.arange(case.n_entries) // 3
    whole = features(backend, case, columns, case.weights)
    set_memory_budget(4000)
    again = features(backend, case, columns, case.weights)
    if backend.name == "reference-cuda":  # where `index_add_` adds in any order
        torch.testing.assert_close(again, whole)
    else:
        assert torch.equal(again, whole)


def check_windows_of_padding_have_no_weight_and_no_features(backend: Backend) -> None:
    device = backend.device
    seqs = DNA.encode(["ACGT", "ACGTACG"], 7).to(device)
    weights = torch.ones(2, 1, 5, dtype=DOUBLE, device=device)
    weights[0, 0, 2:] = 0
    places = [torch.arange(12, device=device).view(1, 4, 3)]
    embedding = DNA.embedding(DOUBLE, device)
    out = backend.window_features(seqs, weights, places, embedding, 12)
    assert out.sum(1).tolist() == [6.0, 15.0]


def check_no_window_has_no_features(backend: Backend) -> None:
    device = backend.device
    places = [torch.arange(12, device=device).view(1, 4, 3)]
    embedding = DNA.embedding(DOUBLE, device)
    for n_probes, length in ((2, 2), (0, 5)):
        seqs = torch.zeros(n_probes, length, dtype=torch.uint8, device=device)
        weights = torch.ones(n_probes, 1, max(0, length - 2), device=device)
        out = backend.window_features(seqs, weights, places, embedding, 12)
        assert out.tolist() == [[0.0] * 12] * n_probes


CHECKS: list[Check] = [
    check_features_are_the_gradient_of_weighted_scores,
    check_columns_may_have_all_entries_or_none,
    check_entries_may_have_no_column,
    check_weights_may_be_float32,
    check_pieces_and_repeats_are_identical,
    check_windows_of_padding_have_no_weight_and_no_features,
    check_no_window_has_no_features,
]


@every(CHECKS)
def test_window_features(backend: Backend, check: Check) -> None:
    check(backend)


def test_weights_must_fit_the_windows() -> None:
    places = [torch.arange(12).view(1, 4, 3)]
    add = window_features(Case("ACGT", 3).seqs, places, DNA.embedding())
    out = torch.zeros(N_PROBES, 12, dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"weights has shape .* filters need"):
        add(slice(None), torch.ones(N_PROBES, 1, 3), out)
    with pytest.raises(ValueError, match=r"out has shape .* filters need"):
        add(slice(0, 2), torch.ones(2, 1, LENGTH - 2), out)
