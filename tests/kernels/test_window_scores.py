"""Scores of windows: against plain loops, at the edges, and their gradients."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pyprobound import kernels
from pyprobound._chunking import set_memory_budget
from tests.kernels import oracles
from tests.kernels.backends import (
    FLOATS,
    Backend,
    Check,
    assert_close,
    every,
    tolerance,
)
from tests.kernels.oracles import NEG_INF, Model, random_model

MODELS = {
    "dna": random_model(0),
    "one channel": random_model(1, channels=1, bias=True),
    "pairs": random_model(2, pair_distances=2, bias=True),
    "all pairs": random_model(3, n_letters=3, size=4, pair_distances=3),
    "dilated": random_model(4, dilation=3, size=3, bias=True),
    "forbidden letters": random_model(5, forbidden=0.2, size=3),
    "forbidden pairs": random_model(6, forbidden=0.1, size=3, pair_distances=2),
    "forbidden, dilated": random_model(7, forbidden=0.3, size=2, dilation=4),
    "all forbidden": random_model(8, forbidden=1.0, size=2),
    "many letters": random_model(9, n_letters=20, size=3, pair_distances=1),
    "one position": random_model(10, size=1, channels=3),
    "one window": random_model(11, length=4, size=4),
    "no window": random_model(12, length=3, size=4),
    "no letters": random_model(13, length=0, size=4),
    "no probes": random_model(14, n_probes=0),
    "blocks": random_model(15, n_probes=3, length=75, size=5, pair_distances=1),
    "dilated blocks": random_model(16, n_probes=3, length=75, size=5, dilation=3),
}


def score(backend: Backend, model: Model, dtype: torch.dtype = torch.float64) -> Tensor:
    return backend.window_scores(
        model.seqs.to(backend.device),
        [weights.to(backend.device, dtype) for weights in model.filters],
        model.embedding.to(backend.device),
        model.pad,
        dilation=model.dilation,
        bias=None if model.bias is None else model.bias.to(backend.device, dtype),
    )


def soft_sequences(model: Model) -> Tensor:
    """Return the fractions (N, A, L) of the codes, −∞ at padding."""
    soft = model.embedding[model.seqs.long()].transpose(1, 2)
    return soft.masked_fill((model.seqs == model.pad)[:, None], NEG_INF)


def score_soft(
    backend: Backend,
    soft: Tensor,
    model: Model,
    dtype: torch.dtype = torch.float64,
    *,
    unfold: bool = False,
) -> Tensor:
    return backend.soft_window_scores(
        soft.to(backend.device, dtype),
        [weights.to(backend.device, dtype) for weights in model.filters],
        dilation=model.dilation,
        bias=None if model.bias is None else model.bias.to(backend.device, dtype),
        unfold=unfold,
    )


def finite(scores: Tensor) -> Tensor:
    """Replace −∞, of which no differences can be taken."""
    return scores.masked_fill(scores == NEG_INF, 0.0)


def check_windows_agree_with_plain_loops(backend: Backend) -> None:
    for dtype in FLOATS:
        for model in MODELS.values():
            found = score(backend, model, dtype)
            assert found.dtype == dtype
            assert_close(found, oracles.window_scores(model), tolerance(dtype))


def check_soft_sequences_of_codes_score_as_the_codes(backend: Backend) -> None:
    for dtype in FLOATS:
        for model in MODELS.values():
            expected = oracles.window_scores(model)
            for unfold in (False, True):
                soft = soft_sequences(model)
                found = score_soft(backend, soft, model, dtype, unfold=unfold)
                assert_close(found, expected, tolerance(dtype))


def check_soft_sequences_agree_with_plain_loops(backend: Backend) -> None:
    for model in MODELS.values():
        shape = (len(model.seqs), model.seqs.shape[1], model.embedding.shape[1])
        soft = torch.rand(shape, dtype=torch.float64).log_softmax(2).exp()
        absent = torch.rand(shape[:2]) < 0.1
        rows = [
            [None if gone else row for row, gone in zip(probe, absences, strict=True)]
            for probe, absences in zip(soft.tolist(), absent.tolist(), strict=True)
        ]
        expected = oracles.soft_window_scores(rows, model)
        x = soft.masked_fill(absent[..., None], NEG_INF).transpose(1, 2)
        for unfold in (False, True):
            found = score_soft(backend, x, model, unfold=unfold)
            assert_close(found, expected, tolerance(torch.float64))


def check_every_integer_type_scores_alike(backend: Backend) -> None:
    model = MODELS["pairs"]
    expected = score(backend, model)
    for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        found = score(backend, replace(model, seqs=model.seqs.to(dtype)))
        assert torch.equal(found, expected)


def check_padding_anywhere_excludes_the_windows_that_touch_it(backend: Backend) -> None:
    model = random_model(20, dilation=2, size=3)
    seqs = model.seqs.clone()
    seqs[:, 4] = model.pad
    model = replace(model, seqs=seqs)
    found = score(backend, model)
    assert_close(found, oracles.window_scores(model), tolerance(torch.float64))
    assert (found[:, :, [0, 2, 4]] == NEG_INF).all()  # letters x, x + 2, x + 4
    assert (found[0, :, [1, 3, 5, 6]] > NEG_INF).all()


def check_scores_do_not_depend_on_the_memory_budget(backend: Backend) -> None:
    for name in ("pairs", "forbidden letters", "dilated"):
        model = MODELS[name]
        expected = score(backend, model)
        for n_bytes in (1, 5000):
            set_memory_budget(n_bytes)
            assert_close(score(backend, model), expected.cpu(), 1e-14)
            for unfold in (False, True):
                soft = soft_sequences(model)
                found = score_soft(backend, soft, model, unfold=unfold)
                assert_close(found, expected.cpu(), 1e-14)
        set_memory_budget(None)


def check_gradients_of_weights_and_bias(backend: Backend) -> None:
    small = partial(random_model, n_probes=4, length=6, n_letters=2, size=3)
    models = [
        small(22, pair_distances=2, forbidden=0.1),
        small(23, dilation=2, forbidden=0.1),
    ]
    for model in models:
        scores, leaves = differentiable_scores(backend, model)
        for n_bytes in (None, 1):
            set_memory_budget(n_bytes)
            assert gradcheck(scores, leaves)


def differentiable_scores(
    backend: Backend, model: Model
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return scores without −∞, as a function of finite weights and a bias."""
    device = backend.device
    seqs, embedding = model.seqs.to(device), model.embedding.to(device)
    forbidden = [(weights == NEG_INF).to(device) for weights in model.filters]
    leaves = [weights.masked_fill(weights == NEG_INF, 0.0) for weights in model.filters]
    leaves.append(torch.tensor([0.5, -0.5], dtype=torch.float64))
    leaves = [leaf.to(device).requires_grad_() for leaf in leaves]

    def scores(*leaves: Tensor) -> Tensor:
        *weights, bias = leaves
        filters = [
            weight.masked_fill(bar, NEG_INF)
            for weight, bar in zip(weights, forbidden, strict=True)
        ]
        windows = backend.window_scores(
            seqs, filters, embedding, model.pad, dilation=model.dilation, bias=bias
        )
        return finite(windows)

    return scores, leaves


def check_gradients_of_soft_sequences(backend: Backend) -> None:
    model = random_model(
        21, n_probes=3, length=5, n_letters=2, size=2, pair_distances=1, channels=1
    )
    soft = torch.rand((3, 2, 5), dtype=torch.float64, device=backend.device)
    absent = torch.zeros(3, 1, 5, dtype=torch.bool, device=backend.device)
    absent[1, :, 2] = True
    absent[2] = True
    leaves = [soft, *(weights.to(backend.device) for weights in model.filters)]
    for leaf in leaves:
        leaf.requires_grad_()
    for unfold in (False, True):

        def scores(soft: Tensor, *weights: Tensor, unfold: bool = unfold) -> Tensor:
            x = soft.masked_fill(absent, NEG_INF)
            return finite(backend.soft_window_scores(x, weights, unfold=unfold))

        for n_bytes in (None, 1):
            set_memory_budget(n_bytes)
            assert gradcheck(scores, leaves)
            assert gradgradcheck(scores, leaves)


def check_minus_infinities_receive_zero_gradient(backend: Backend) -> None:
    model = MODELS["forbidden pairs"]
    filters = [weights.to(backend.device).requires_grad_() for weights in model.filters]
    soft = soft_sequences(model).to(backend.device).requires_grad_()
    seqs, embedding = (t.to(backend.device) for t in (model.seqs, model.embedding))
    for scores in (
        backend.window_scores(seqs, filters, embedding, model.pad),
        backend.soft_window_scores(soft, filters),
        backend.soft_window_scores(soft, filters, unfold=True),
    ):
        # windows that are −∞ hand down a gradient of 1 as well
        leaves = [*filters, soft]
        gradients = torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:  # codes do not depend on soft sequences
                assert gradient.isfinite().all()
                assert (gradient[leaf.detach() == NEG_INF] == 0).all()


def check_no_window_still_has_a_gradient_of_zero(backend: Backend) -> None:
    model = MODELS["no window"]
    filters = [weights.to(backend.device).requires_grad_() for weights in model.filters]
    seqs, embedding = (t.to(backend.device) for t in (model.seqs, model.embedding))
    scores = backend.window_scores(seqs, filters, embedding, model.pad)
    assert scores.shape == (len(model.seqs), 2, 0)
    (gradient,) = torch.autograd.grad(scores.sum(), filters)
    assert (gradient == 0).all()


CHECKS: list[Check] = [
    check_windows_agree_with_plain_loops,
    check_soft_sequences_of_codes_score_as_the_codes,
    check_soft_sequences_agree_with_plain_loops,
    check_every_integer_type_scores_alike,
    check_padding_anywhere_excludes_the_windows_that_touch_it,
    check_scores_do_not_depend_on_the_memory_budget,
    check_gradients_of_weights_and_bias,
    check_gradients_of_soft_sequences,
    check_minus_infinities_receive_zero_gradient,
    check_no_window_still_has_a_gradient_of_zero,
]


@every(CHECKS)
def test_window_scores(backend: Backend, check: Check) -> None:
    check(backend)


def test_models_of_these_tests_have_empty_and_full_probes() -> None:
    for name in ("dna", "pairs", "dilated"):
        scores = oracles.window_scores(MODELS[name])
        assert (scores[0] > NEG_INF).all()
        assert (scores[1] == NEG_INF).all()


LETTERS = torch.zeros(2, 4, 3)
CODES = torch.zeros(5, 6, dtype=torch.uint8)
TABLE = oracles.embedding_table(4)


@pytest.mark.parametrize(
    ("filters", "options", "message"),
    [
        ([], {}, "filters is empty"),
        ([LETTERS[0]], {}, r"shape \(4, 3\), not \(C, A, k\)"),
        ([torch.zeros(2, 4, 0)], {}, "above 0"),
        ([LETTERS, torch.zeros(2, 4, 4, 3)], {}, r"need \(2, 4, 4, 2\)"),
        ([torch.zeros(2, 4, 1), torch.zeros(2, 4, 4, 0)], {}, "at most 0"),
        ([LETTERS, torch.zeros(2, 4, 4, 2)], {"dilation": 2}, "1 where there are pair"),
        ([LETTERS], {"dilation": 0}, "dilation 0"),
        ([LETTERS], {"bias": torch.zeros(3)}, r"bias has shape \(3,\), not \(2,\)"),
    ],
)
def test_filters_that_do_not_fit_are_refused(
    filters: list[Tensor], options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.window_scores(CODES, filters, TABLE, 4, **options)
    with pytest.raises(ValueError, match=message):
        kernels.soft_window_scores(torch.zeros(5, 4, 6), filters, **options)


def test_sequences_that_do_not_fit_are_refused() -> None:
    score = kernels.window_scores
    with pytest.raises(TypeError, match="codes are integers"):
        score(CODES.float(), [LETTERS], TABLE, 4)
    with pytest.raises(ValueError, match=r"not \(N, L\)"):
        score(CODES[0], [LETTERS], TABLE, 4)
    with pytest.raises(ValueError, match=r"need \(n_codes, 4\)"):
        score(CODES, [LETTERS], TABLE.t(), 4)
    with pytest.raises(ValueError, match="pad 8 is not one of the 8 codes"):
        score(CODES, [LETTERS], TABLE, 8)
    with pytest.raises(ValueError, match=r"need \(N, 4, L\)"):
        kernels.soft_window_scores(torch.zeros(5, 6, 4), [LETTERS])


def test_types_that_differ_are_refused() -> None:
    with pytest.raises(TypeError, match="kernels take float32 and float64"):
        kernels.window_scores(CODES, [LETTERS.half()], TABLE, 4)
    with pytest.raises(TypeError, match=r"float64 where the other arguments have .*32"):
        kernels.soft_window_scores(torch.zeros(5, 4, 6).double(), [LETTERS])
    with pytest.raises(TypeError, match="bias has type"):
        kernels.window_scores(CODES, [LETTERS], TABLE, 4, bias=torch.zeros(2).double())
