"""What is Numba's own: operators, threads, kinds of probes, underflow, messages."""

import logging
import math
import time
from collections.abc import Iterator

import numba as compiler
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from pyprobound._chunking import set_memory_budget
from pyprobound.kernels import _numba as shared
from pyprobound.kernels import _words, log_sum, log_sum_windows, window_scores
from pyprobound.kernels._backends import use_backend
from pyprobound.kernels._blocks import Blocks, block_tables
from pyprobound.kernels._numba import Array
from pyprobound.kernels._words import Words
from pyprobound.kernels.log_sum_windows._numba import (
    log_sum_words,
)
from pyprobound.kernels.log_sum_windows._numba_given import (
    log_sum_given,
)
from pyprobound.kernels.log_sum_windows._numba_tasks import Task
from pyprobound.kernels.window_scores._numba import score_words

PAD, N_CODES = 4, 8
NEG_INF = float("-inf")


@pytest.fixture(autouse=True)
def numba() -> Iterator[None]:
    """Run everything on Numba, and leave the number of threads as it was."""
    n_threads = torch.get_num_threads()
    with use_backend("numba"):
        yield
    torch.set_num_threads(n_threads)


def embedding(dtype: torch.dtype = torch.float64) -> Tensor:
    """Four letters, padding, any letter, zero, and a code for the first two."""
    table = torch.zeros(N_CODES, 4, dtype=dtype)
    table[:4] = torch.eye(4)
    table[5] = 1 / 4
    table[7, :2] = 1 / 2
    return table


def probes(n: int, length: int, *, codes: bool = True, seed: int = 0) -> Tensor:
    """Return random letters, some of them padded, some with other codes inside."""
    generator = torch.Generator().manual_seed(seed)
    seqs = torch.randint(0, 4, (n, length), generator=generator)
    kept = torch.randint(0, length + 1, (n, 1), generator=generator)
    padded = torch.rand(n, 1, generator=generator) < 1 / 3
    seqs[padded & (torch.arange(length) >= kept)] = PAD
    if codes:
        other = torch.rand(n, length, generator=generator) < 1 / length
        drawn = torch.randint(PAD, N_CODES, (n, length), generator=generator)
        seqs[other] = drawn[other]
    return seqs.to(torch.uint8)


def filters(
    channels: int, size: int, pairs: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(channels, 4, size, dtype=dtype),
        *(torch.randn(channels, 4, 4, size - d, dtype=dtype) for d in range(1, pairs)),
    ]


def operands(
    weights: list[Tensor], seqs: Tensor
) -> tuple[list[Tensor], Tensor, Tensor, list[int]]:
    words = Words.of(seqs, weights, embedding(weights[0].dtype), PAD, 1)
    assert words is not None
    letters, codes = words.letters.detach(), words.codes.detach()
    read = [seqs, words.known, words.spans, words.mixed]
    return read, letters.requires_grad_(), codes.requires_grad_(), words.layout()


# --- operators -----------------------------------------------------------------------


@pytest.mark.parametrize("with_codes", [True, False])
def test_the_operators_keep_the_rules_of_torch(with_codes: bool) -> None:
    seqs = probes(12, 9, codes=with_codes)
    read, letters, others, layout = operands(filters(2, 4, 2), seqs)
    n_windows = seqs.shape[1] - 3
    bias = torch.randn(3, n_windows, 2, dtype=torch.float64, requires_grad=True)
    group = torch.arange(12) % 3
    fixed = layout, PAD
    opcheck(score_words, (*read, letters, others, *fixed))
    grad = torch.randn(12, 2, n_windows, dtype=torch.float64, requires_grad=True)
    wanted = [True, with_codes]
    given = grad, [], *read, letters, others, *fixed, wanted
    opcheck(torch.ops.pyprobound.score_words_backward, given)
    arguments = *read, letters, others, bias, group, *fixed
    opcheck(log_sum_words, arguments)
    grad = torch.randn(12, dtype=torch.float64, requires_grad=True)
    wanted = [True, with_codes, True]
    opcheck(torch.ops.pyprobound.log_sum_words_backward, (grad, [], *arguments, wanted))


def test_the_operators_of_given_windows_keep_the_rules_of_torch() -> None:
    windows = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    hill = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    opcheck(log_sum_given, (windows, hill))
    out = log_sum_given(windows, hill).detach()
    grad = torch.randn(7, dtype=torch.float64, requires_grad=True)
    given = grad, [out], windows, hill, [True, True]
    opcheck(torch.ops.pyprobound.log_sum_given_backward, given)


# --- against the reference -----------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("channels", "size", "pairs", "dilation"),
    [
        (2, 12, 0, 1),
        (2, 5, 0, 1),
        (2, 14, 3, 1),
        (1, 12, 0, 1),
        (3, 9, 9, 1),
        (2, 5, 0, 3),
        (2, 1, 0, 1),
    ],
)
@pytest.mark.parametrize("codes", [True, False])
def test_all_kinds_of_probes_score_as_in_the_reference(
    channels: int,
    size: int,
    pairs: int,
    dilation: int,
    codes: bool,
    dtype: torch.dtype,
) -> None:
    weights = [w.requires_grad_() for w in filters(channels, size, pairs, dtype)]
    with torch.no_grad():
        weights[0][0, 1, 0] = NEG_INF
    seqs = probes(600, 20, codes=codes)
    direction = torch.randn(600, dtype=dtype)
    found = {}
    for name in ("reference", "numba"):
        with use_backend(name):  # type: ignore[arg-type]
            arguments = seqs, weights, embedding(dtype), PAD
            sums = log_sum_windows(*arguments, dilation=dilation)
            windows = window_scores(*arguments, dilation=dilation)
        finite = sums.masked_fill(sums == NEG_INF, 0.0)
        scored = windows.masked_fill(windows == NEG_INF, 0.0)
        total = (finite * direction).sum() + scored.sin().sum()
        found[name] = [sums, windows, *torch.autograd.grad(total, weights)]
    tolerance = 1e-12 if dtype == torch.float64 else 2e-4
    for one, other in zip(found["numba"], found["reference"], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_that_underflow_are_as_accurate_as_others(dtype: torch.dtype) -> None:
    # The best words of the two halves of the filter never meet in these probes: the
    # products are far below the largest that the tables allow.
    weights = torch.zeros(2, 4, 12, dtype=dtype)
    depth = 800.0 if dtype == torch.float64 else 80.0
    weights[:, 0, :6] = depth
    weights[:, 1, 6:] = depth
    seqs = torch.tensor([[2, 3, 2, 2, 3, 3, 2, 2, 2, 3, 2, 3, 2]], dtype=torch.uint8)
    seqs = seqs.repeat(300, 1)
    seqs[1, 4] = 0
    jitter = torch.randn(2, 4, 12, dtype=dtype, generator=torch.manual_seed(0))
    weights = (weights + jitter).requires_grad_()
    sums = log_sum_windows(seqs, [weights], embedding(dtype), PAD)
    (found,) = torch.autograd.grad(sums.sum(), weights)
    with use_backend("reference"):
        exact = weights.detach().double().requires_grad_()
        expected = log_sum_windows(seqs, [exact], embedding(), PAD)
        (gradient,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.double(), gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "size", "biased", "n_blocks"),
    [
        (2, 5, True, 1),
        (2, 12, True, 2),
        (2, 16, True, 3),
        (2, 20, True, 4),
        (2, 27, True, 5),
        (2, 27, False, 5),
        (2, 60, False, 10),
        (1, 5, False, 1),
        (1, 20, True, 4),
        (3, 12, True, 2),
    ],
)
def test_any_number_of_blocks_and_strands_sums_as_in_the_reference(
    channels: int, size: int, biased: bool, n_blocks: int
) -> None:
    # some probes are shorter than the filter, some mixed, some windows excluded
    blocks, length = Blocks.of(4, size, 0), size + 9
    assert blocks is not None
    assert len(blocks.positions) == n_blocks
    seqs = probes(300, length)
    weights = [w.requires_grad_() for w in filters(channels, size)]
    with torch.no_grad():
        weights[0][0, 1, 0] = NEG_INF
    leaves, options = weights, {}
    if biased:
        bias = torch.randn(3, channels, 10, dtype=torch.float64)
        bias[0, :, :4] = NEG_INF
        options = {"log_bias": bias.requires_grad_(), "group": torch.arange(300) % 3}
        leaves = [*weights, bias]
    direction = torch.randn(300, dtype=torch.float64)

    def gradient() -> list[Tensor]:
        sums = log_sum_windows(seqs, weights, embedding(), PAD, **options)
        finite = sums.masked_fill(sums == NEG_INF, 0.0)
        gradients = torch.autograd.grad((finite * direction).sum(), leaves)
        return [sums.detach(), *gradients]

    first, second, third = (gradient() for _ in range(3))
    with use_backend("reference"):
        expected = gradient()
    assert (expected[0] == NEG_INF).any()
    for found, again, same, true in zip(first, second, third, expected, strict=True):
        torch.testing.assert_close(found, true, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(again, true, rtol=1e-11, atol=1e-11)
        assert torch.equal(again, same)


def test_energies_far_below_the_best_need_no_logarithms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Task, "log_sums", fail)
    monkeypatch.setattr(Task, "add_log_gradients", fail)
    seqs = probes(500, 30, codes=False)
    weights = (3 * filters(2, 20)[0]).float().requires_grad_()
    sums = log_sum_windows(seqs, [weights], embedding(torch.float32), PAD)
    best = 2 * weights.detach().amax(1).sum(1).max()
    assert (sums < best / 2 - 45).any()  # e^−45 is what float32 has above its root
    found = sums.masked_fill(sums == NEG_INF, 0.0)
    (gradient,) = torch.autograd.grad(found.sum(), weights)
    with use_backend("reference"):
        exact = weights.detach().double().requires_grad_()
        expected = log_sum_windows(seqs, [exact], embedding(), PAD)
    total = expected.masked_fill(expected == NEG_INF, 0.0).sum()
    (true,) = torch.autograd.grad(total, exact)
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), true, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_codes_of_any_integer_type_are_read(dtype: torch.dtype) -> None:
    seqs = probes(50, 12)
    weights = filters(2, 4)
    expected = log_sum_windows(seqs, weights, embedding(), PAD)
    found = log_sum_windows(seqs.to(dtype), weights, embedding(), PAD)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("code", [N_CODES, 200, -1, 300])
def test_a_number_that_is_no_code_is_refused(code: int) -> None:
    seqs = probes(50, 12).int()
    seqs[7, 3] = code
    for function in (log_sum_windows, window_scores):
        with pytest.raises(IndexError, match=r"no code|none of 0 … 7"):
            function(seqs, filters(2, 4), embedding(), PAD)


def test_an_alphabet_of_many_letters_is_left_to_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_letters = 30
    assert Blocks.of(n_letters, 2, 0, most_words=n_letters - 1) is None
    monkeypatch.setattr(Blocks, "of", lambda *_: None)
    table = torch.zeros(n_letters + 1, n_letters, dtype=torch.float64)
    table[:n_letters] = torch.eye(n_letters)
    seqs = torch.tensor([[29, 3, n_letters]])
    weights = torch.randn(1, n_letters, 2, dtype=torch.float64)
    found = window_scores(seqs, [weights], table, n_letters)
    assert found[0, 0].tolist() == [weights[0, 29, 0] + weights[0, 3, 1], NEG_INF]


def test_given_windows_sum_as_in_the_reference() -> None:
    torch.manual_seed(0)
    windows = 30 * torch.randn(400, 2, 17, dtype=torch.float64)
    windows[3] = NEG_INF
    windows[5, 1] = NEG_INF
    hill = torch.tensor(0.7, dtype=torch.float64)
    leaves = windows.requires_grad_(), hill.requires_grad_()
    direction = torch.randn(400, dtype=torch.float64)
    direction[3] = 0
    found = {}
    for name in ("reference", "numba"):
        with use_backend(name):  # type: ignore[arg-type]
            sums = log_sum(windows, hill=hill)
        total = (sums.masked_fill(sums == NEG_INF, 0.0) * direction).sum()
        found[name] = [sums, *torch.autograd.grad(total, leaves)]
    for one, other in zip(found["numba"], found["reference"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "pairs"), [(12, 0), (8, 3), (9, 9)])
def test_a_table_that_was_seen_before_sums_as_at_first(size: int, pairs: int) -> None:
    seqs = torch.randint(0, 4, (700, 20), dtype=torch.uint8)
    weights = [w.requires_grad_() for w in filters(2, size, pairs)]
    bias = torch.randn(1, 2, 21 - size, dtype=torch.float64, requires_grad=True)

    def gradient() -> list[Tensor]:
        sums = log_sum_windows(seqs, weights, embedding(), PAD, log_bias=bias)
        return [sums.detach(), *torch.autograd.grad(sums.sin().sum(), [*weights, bias])]

    first, *others = (gradient() for _ in range(4))
    words = Words.of(seqs, weights, embedding(), PAD, 1)
    assert words is not None
    assert len(words.known) == len(seqs)
    for other in others:
        for one, again in zip(first, other, strict=True):
            torch.testing.assert_close(one, again, rtol=1e-13, atol=1e-13)
    seqs[5] = 3  # a table that was written to is another
    with use_backend("reference"):
        expected = log_sum_windows(seqs, weights, embedding(), PAD, log_bias=bias)
    torch.testing.assert_close(
        log_sum_windows(seqs, weights, embedding(), PAD, log_bias=bias), expected
    )


def test_words_are_kept_within_the_memory_budget_and_as_long_as_the_table() -> None:
    weights = filters(2, 6)
    seqs = torch.randint(0, 4, (700, 20), dtype=torch.uint8)
    before = len(_words._surveys)
    set_memory_budget(4 * 2 * seqs.numel() - 1)
    for _ in range(3):
        words = Words.of(seqs, weights, embedding(), PAD, 1)
        assert words is not None
        assert len(words.known) == 0
    set_memory_budget(None)
    words = Words.of(seqs, weights, embedding(), PAD, 1)
    assert words is not None
    assert len(words.known) == len(seqs)
    assert len(_words._surveys) == before + 1
    del seqs
    assert len(_words._surveys) == before


# --- blocks --------------------------------------------------------------------------


@pytest.mark.parametrize("n_symbols", [2, 4, 17, 20, 64, 100])
def test_every_weight_belongs_to_one_block(n_symbols: int) -> None:
    for size in range(1, 20):
        for distance in range(size):
            blocks = Blocks.of(n_symbols, size, distance)
            if blocks is None:
                continue
            assert blocks.n_words <= 8192
            for d in range(distance + 1):
                owned = [
                    position
                    for block in range(len(blocks.positions))
                    for position in blocks.weights_of(block, d)
                ]
                assert sorted(owned) == list(range(size - d))


def test_tables_hold_the_sum_of_the_weights_that_a_word_meets() -> None:
    weights = filters(1, 3, 3)
    blocks = Blocks.of(4, 3, 2)
    assert blocks is not None
    assert blocks.positions == ((0, 1, 2),)
    table = block_tables(weights, blocks)
    single, near, far = weights
    for a, b, c in ((0, 0, 0), (3, 1, 2), (2, 3, 1)):
        expected = (
            single[0, a, 0] + single[0, b, 1] + single[0, c, 2]
            + near[0, a, b, 0] + near[0, b, c, 1] + far[0, a, c, 0]
        )  # fmt: skip
        torch.testing.assert_close(table[0, 16 * a + 4 * b + c, 0], expected)


# --- elementary functions ------------------------------------------------------------


@shared.jit
def exponentials(values: Array, out: Array) -> None:
    for i in range(len(values)):
        out[i] = shared.exp(values[i])


def test_exponentials_in_float64_are_right_to_two_units() -> None:
    rng = np.random.default_rng(0)
    values = -np.concatenate([rng.random(2000) * scale for scale in (1, 20, 708.39)])
    found = np.empty_like(values)
    exponentials(values, found)
    expected = np.exp(values)
    assert (np.abs(found - expected) <= 2 * np.spacing(expected)).all()


def test_exponentials_in_float64_end_at_zero() -> None:
    values = np.array([0.0, -0.0, -708.39, -708.4, -745.0, -1e300, NEG_INF])
    found = np.empty_like(values)
    exponentials(values, found)
    assert found.tolist() == [1.0, 1.0, pytest.approx(math.exp(-708.39)), 0, 0, 0, 0]


# --- threads -------------------------------------------------------------------------


def gradient(n_threads: int) -> list[Tensor]:
    torch.set_num_threads(n_threads)
    seqs = probes(3000, 15)
    weights = [w.requires_grad_() for w in filters(2, 8, 2, torch.float32)]
    sums = log_sum_windows(seqs, weights, embedding(torch.float32), PAD)
    total = sums.masked_fill(sums == NEG_INF, 0.0).sum()
    return [sums.detach(), *torch.autograd.grad(total, weights)]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_repeats_have_the_same_bits(n_threads: int) -> None:
    first, *others = (gradient(n_threads) for _ in range(4))
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))


def test_the_number_of_threads_changes_rounding_only() -> None:
    for one, three in zip(gradient(1), gradient(3), strict=True):
        torch.testing.assert_close(one, three, rtol=1e-6, atol=1e-5)


def test_stretches_cover_the_probes_once() -> None:
    torch.set_num_threads(3)
    for n_probes in (0, 1, 255, 256, 512, 10_000):
        covered = [
            n for rows in shared.stretches(n_probes) for n in range(n_probes)[rows]
        ]
        assert covered == list(range(n_probes))
    assert len(shared.stretches(10_000)) == 3 * shared.STRETCHES_PER_THREAD
    assert len(shared.stretches(600)) == 2
    assert len(shared.stretches(300)) == 1


def test_an_error_in_a_thread_is_raised() -> None:
    class Failing:
        def __call__(self, thread: int) -> None:
            if thread == 1:
                raise ZeroDivisionError

        def compile(self, signature: object) -> None:
            """Be compiled already."""

    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        shared.run(Failing(), 1000, lambda thread, _: (thread,))


# --- messages ------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "n_messages"), [(0.3, 1), (0.0, 0)])
def test_a_long_compilation_is_announced_once(
    seconds: float,
    n_messages: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shared, "ANNOUNCED_AFTER", 0.05)
    shared._announce.cache_clear()

    class Slow:
        def compile(self, signature: object) -> None:
            assert signature == (compiler.int64,)
            time.sleep(seconds)

        def __call__(self, number: int) -> None:
            """Do nothing."""

    with caplog.at_level(logging.WARNING, logger="pyprobound"):
        for _ in range(2):
            shared.run(Slow(), 1, lambda _, rows: (rows.start,))
    assert len(caplog.records) == n_messages
    assert all("compiling kernels" in record.message for record in caplog.records)
