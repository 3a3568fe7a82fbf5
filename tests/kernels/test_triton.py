"""The Triton kernels: run in Triton's interpreter, and compiled, without a GPU.

Triton decides when it is imported whether it interprets or compiles. So this module
runs itself, once for each: it is the script that makes the checks of one mode and
prints, for each, what went wrong. On a GPU, all checks of the other modules run with
Triton as well.
"""

import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from pyprobound._numerics import NEG_INF
from pyprobound.kernels._backends import (
    INTERPRET_VARIABLE,
    WITHOUT_TRITON,
    Kernel,
    implementation,
    use_backend,
)
from pyprobound.kernels.selection import Kind
from tests.kernels import (
    test_log_sum_dimers,
    test_log_sum_windows,
    test_selection,
    test_window_features,
    test_window_scores,
)
from tests.kernels.backends import REFERENCE, Backend, backend_of
from tests.kernels.oracles import Model, random_dimers, random_model

REPOSITORY = Path(__file__).parents[2]
DOUBLE = torch.float64

Check = Callable[[], None]


# == checks in the interpreter: against plain loops ===================================

TRITON = backend_of("triton", "cpu")


@contextmanager
def only(module: ModuleType, name: str, keys: Sequence[Any]) -> Iterator[None]:
    """Leave a module some of its cases: an interpreted operation takes 0.1 ms."""
    cases = getattr(module, name)
    some = (
        {key: cases[key] for key in keys}
        if isinstance(cases, dict)
        else [cases[key] for key in keys]
    )
    with patch.object(module, name, some):
        yield


def few_cases(
    check: Callable[[Backend], None], module: ModuleType, name: str, keys: Sequence[Any]
) -> None:
    with only(module, name, keys):
        check(TRITON)


def without_warnings(check: Callable[[Backend], None]) -> None:
    """Make a check of numbers that are none, of which NumPy, the interpreter, warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        check(TRITON)


def shared_checks() -> dict[str, Check]:
    """Return what other implementations have to pass, where it takes seconds.

    Left out are numerical gradients: `gradients` below compares with the reference's.
    """
    scores, sums, dimers = test_window_scores, test_log_sum_windows, test_log_sum_dimers
    counts = test_selection
    quick = [
        scores.check_every_integer_type_scores_alike,
        scores.check_padding_anywhere_excludes_the_windows_that_touch_it,
        scores.check_minus_infinities_receive_zero_gradient,
        scores.check_no_window_still_has_a_gradient_of_zero,
        sums.check_extreme_energies_neither_overflow_nor_vanish,
        sums.check_minus_infinities_receive_zero_gradient,
        sums.check_a_probe_without_windows_passes_no_gradient,
        dimers.check_sums_too_small_for_the_product_are_exact,
        dimers.check_a_homodimer_is_a_dimer_of_two_equal_modes,
        dimers.check_swapping_the_modes_transposes_the_cooperativity,
        dimers.check_independent_windows_factorise,
        dimers.check_a_probe_without_pairs_passes_no_gradient,
        dimers.check_a_mode_without_windows_makes_no_dimer,
        counts.check_reads_of_the_impossible_cost_infinitely_much,
        counts.check_probes_that_cannot_bind_take_no_gradient,
        counts.check_single_reads_count_in_large_tables,
        counts.check_counts_may_be_of_any_type,
        counts.check_what_is_not_trained_takes_no_gradient,
        counts.check_repeats_are_identical,
        *test_window_features.CHECKS,
    ]
    costs = [
        "initial alone",
        "every kind, some weigh nothing",
        "many bindings",
        "no binding",
        "branching, columns in another order",
        "held by no round",
        "no probe",
        "blocks and a rest",
        "steep, some cannot bind",
        "no read",
        "exponential without background",
    ]
    some = {
        scores.check_windows_agree_with_plain_loops: (
            scores,
            "MODELS",
            ["all pairs", "dilated", "forbidden pairs", "many letters", "no letters"],
        ),
        sums.check_sums_of_stored_windows_agree: (sums, "MODELS", [0, 5, 7, 8, 10]),
        sums.check_sums_agree_with_plain_loops: (sums, "MODELS", [1, 3, 5, 9, 10]),
        dimers.check_sums_and_gradients_agree_with_plain_loops: (
            dimers,
            "CASES",
            ["one and two strands", "more groups than probes", "extreme, hill"],
        ),
        counts.check_costs_agree_with_plain_loops: (counts, "CASES", costs),
        counts.check_gradients_agree_with_the_reference_in_float64: (
            counts,
            "CASES",
            costs,
        ),
    }
    unusual = counts.check_what_is_not_a_number_shows
    checks: dict[str, Check] = {name_of(c): partial(c, TRITON) for c in quick}
    checks |= {name_of(c): partial(few_cases, c, *rest) for c, rest in some.items()}
    return checks | {name_of(unusual): partial(without_warnings, unusual)}


def name_of(check: Callable[..., None]) -> str:
    """Return the module of a check and what it checks."""
    module = check.__module__.rpartition("test_")[2]
    return f"{module}-{check.__name__.removeprefix('check_')}"


# == checks in the interpreter: against the reference =================================


def derivatives(function: Callable[..., Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """Return a result, its gradients, and the gradients of a sum of these."""
    torch.manual_seed(3)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    found = function(*leaves)
    weights = torch.randn(found.shape, dtype=found.dtype).requires_grad_()
    first = torch.autograd.grad(found, leaves, weights, create_graph=True)
    absent = [leaf == NEG_INF for leaf in leaves]
    total = sum(
        (gradient * torch.randn(gradient.shape, dtype=found.dtype))[~gone].sum()
        for gradient, gone in zip(first, absent, strict=True)
    )
    second = torch.autograd.grad(
        total, [*leaves, weights], allow_unused=True, materialize_grads=True
    )
    return [found, *first, *second]


def assert_same_derivatives(
    function: Callable[..., Tensor], leaves: list[Tensor]
) -> None:
    """Compare Triton with the reference: `function(backend, *leaves)`."""
    found = derivatives(partial(function, TRITON), leaves)
    expected = derivatives(partial(function, REFERENCE), leaves)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def finite(values: Tensor) -> Tensor:
    """Replace −∞, which has no gradient."""
    return values.masked_fill(values == NEG_INF, 0.0)


def model_leaves(model: Model) -> list[Tensor]:
    bias = [] if model.bias is None else [model.bias]
    return [*model.filters, *bias]


def score(backend: Backend, *leaves: Tensor, model: Model) -> Tensor:
    n = len(model.filters)
    scores = backend.window_scores(
        model.seqs,
        leaves[:n],
        model.embedding,
        model.pad,
        dilation=model.dilation,
        bias=leaves[n] if model.bias is not None else None,
    )
    return finite(scores)


def check_gradients_of_scores() -> None:
    small = partial(random_model, n_probes=5, length=7, size=3, bias=True)
    for model in (
        small(80, pair_distances=2, forbidden=0.1),
        small(81, dilation=2, channels=3, n_letters=3),
    ):
        assert_same_derivatives(partial(score, model=model), model_leaves(model))


def sum_up(
    backend: Backend,
    *leaves: Tensor,
    model: Model,
    group: Tensor | None,
    with_hill: bool,
) -> Tensor:
    n = len(model.filters)
    rest = list(leaves[n:])
    sums = backend.log_sum_windows(
        model.seqs,
        leaves[:n],
        model.embedding,
        model.pad,
        dilation=model.dilation,
        bias=rest.pop(0) if model.bias is not None else None,
        hill=rest.pop() if with_hill else None,
        log_bias=rest.pop() if rest else None,
        group=group,
    )
    return finite(sums)


def check_gradients_of_sums() -> None:
    small = partial(random_model, n_probes=6, length=7, size=3)
    hill = torch.tensor(1.4, dtype=DOUBLE)
    for model, n_groups, with_hill in (
        (small(82, pair_distances=2, forbidden=0.1, bias=True), 3, True),
        (small(83, dilation=2, channels=3, n_letters=3), 1, True),
        (small(84, channels=1, bias=True), 0, False),
    ):
        leaves = model_leaves(model)
        group = None
        if n_groups:
            shape = (n_groups, len(model.filters[0]), model.n_windows)
            log_bias = torch.randn(shape, dtype=DOUBLE)
            leaves.append(log_bias.masked_fill(torch.rand(shape) < 0.2, NEG_INF))
        if n_groups > 1:
            group = torch.arange(len(model.seqs)) % n_groups
        if with_hill:
            leaves.append(hill)
        assert_same_derivatives(
            partial(sum_up, model=model, group=group, with_hill=with_hill), leaves
        )


def check_gradients_of_sums_of_stored_windows() -> None:
    windows = torch.randn(5, 2, 9, dtype=DOUBLE)
    windows[torch.rand(windows.shape) < 0.3] = NEG_INF
    windows[0] = NEG_INF

    def plain(backend: Backend, windows: Tensor) -> Tensor:
        return backend.log_sum(windows)[1:]

    def hill(backend: Backend, windows: Tensor, hill: Tensor) -> Tensor:
        return backend.log_sum(windows, hill=hill)[1:]

    assert_same_derivatives(plain, [windows])
    assert_same_derivatives(hill, [windows, torch.tensor(0.6, dtype=DOUBLE)])


def check_gradients_of_dimers() -> None:
    small = partial(random_dimers, n_probes=5, windows=(3, 2), strands=(1, 2))
    for dimers in (
        small(85, groups=2, absent=0.3),
        small(86, spread=250.0, absent=0.5),
    ):

        def total(
            backend: Backend, *leaves: Tensor, group: Tensor | None = dimers.group
        ) -> Tensor:
            a, b, log_omega, *hill = leaves
            found = backend.log_sum_dimers(
                a, b, log_omega, group=group, hill=hill[0] if hill else None
            )
            return finite(found)

        leaves = [dimers.a, dimers.b, dimers.log_omega]
        assert_same_derivatives(total, leaves)
        assert_same_derivatives(total, [*leaves, torch.tensor(1.2, dtype=DOUBLE)])


def check_gradients_of_costs() -> None:
    case = test_selection.CASES["branching"]
    counts = case.counts[:5]

    def cost(backend: Backend, *leaves: Tensor) -> Tensor:
        *scores, log_weights, settings, log_depths = leaves
        rest = log_weights, settings, log_depths, counts, case.chain
        return backend.selection_cost(scores, *rest)

    shared = case.log_weights, case.settings, case.log_depths
    assert_same_derivatives(cost, [*(each[:5] for each in case.scores), *shared])


def check_tiles_are_small_where_rounds_are_many() -> None:
    kinds = [kind for kind in Kind if kind is not Kind.INITIAL]
    chain = test_selection.chain_of(*(kinds * 4), n_aggregates=5)
    case = test_selection.random_case(94, chain, n_probes=40, n_bindings=3, spread=0.3)
    found = test_selection.with_gradients(TRITON, case)
    expected = test_selection.with_gradients(REFERENCE, case)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def check_spacing_limits_leave_out_what_cannot_pair() -> None:
    from pyprobound.kernels.log_sum_dimers import _triton  # noqa: PLC0415 Linux only

    dimers = random_dimers(91, n_probes=3, windows=(9, 10), absent=0.0)
    place = torch.arange(10)
    far = (place[:9, None] - place).abs() > 1
    log_omega = dimers.log_omega.masked_fill(far, NEG_INF)
    scores = _triton.Scores.of(dimers.a, dimers.b, log_omega, None, None)
    assert scores.partners(8)[0].tolist() == [18, 18, 8]  # of 18
    assert_same_derivatives(
        lambda backend, *leaves: backend.log_sum_dimers(*leaves),
        [dimers.a, dimers.b, log_omega],
    )


def check_programs_work_through_many_tiles() -> None:
    from pyprobound.kernels import _triton as shared  # noqa: PLC0415 Linux only
    from pyprobound.kernels.log_sum_dimers import _triton  # noqa: PLC0415 as above

    # 32 windows to a tile leave room for 8 probes, and for 16 where they are summed
    model = random_model(92, n_probes=50, length=33, size=2, channels=1)
    assert shared.tile_width(model.n_windows, shared.WIDEST) == 32
    sums = partial(sum_up, model=model, group=None, with_hill=False)
    for function in (sums, partial(score, model=model)):
        assert_same_derivatives(function, model_leaves(model))
    dimers = random_dimers(93, n_probes=20, strands=(1, 1), windows=(40, 2))
    assert shared.tile_width(40, _triton.SIDE) < 40
    with patch.object(_triton, "FLUSHED_AFTER", 7):
        assert_same_derivatives(
            lambda backend, *leaves: finite(backend.log_sum_dimers(*leaves)),
            [dimers.a, dimers.b, dimers.log_omega],
        )


def check_gradients_that_are_not_wanted_are_not_made() -> None:
    model = random_model(87, n_probes=3, bias=True)
    dimers = random_dimers(88, n_probes=3)
    log_bias = torch.randn(1, 2, model.n_windows, dtype=DOUBLE)
    for wanted in range(3):
        leaves = [model.filters[0], model.bias, log_bias]
        leaves = [leaf.clone() for leaf in leaves if leaf is not None]
        leaves[wanted].requires_grad_()
        sums = TRITON.log_sum_windows(
            model.seqs,
            leaves[:1],
            model.embedding,
            model.pad,
            bias=leaves[1],
            log_bias=leaves[2],
        )
        sums[0].backward()
        assert [leaf.grad is None for leaf in leaves].count(False) == 1
        assert leaves[wanted].grad is not None
    for wanted in range(3):
        leaves = [t.clone() for t in (dimers.a, dimers.b, dimers.log_omega)]
        leaves[wanted].requires_grad_()
        TRITON.log_sum_dimers(*leaves)[2].backward()
        assert [leaf.grad is None for leaf in leaves].count(False) == 1
        assert leaves[wanted].grad is not None


# == checks in the interpreter: stretches, repeats, operators =========================


def check_triton_is_what_runs() -> None:
    for kernel in get_args(Kernel):
        with use_backend("triton"):
            module = implementation(kernel, torch.device("cpu"), 0)
        if kernel in WITHOUT_TRITON:
            assert module is None
            continue
        assert module is not None
        assert module.__name__.endswith(f"{kernel}._triton")


def check_stretches_add_up_and_repeat_to_the_bit() -> None:
    from pyprobound.kernels import _triton  # noqa: PLC0415 Linux only

    model = random_model(89, n_probes=400, length=4, size=2)
    bias = torch.randn(2, 2, model.n_windows)
    group = torch.randint(0, 2, (400,))
    stretches = _triton.Stretches.of(400, bias.device, 8, group, 2)
    assert stretches.per_group == 3
    filters = [weights.float() for weights in model.filters]
    runs = []
    for backend in (TRITON, TRITON, REFERENCE):
        leaves = [leaf.clone().requires_grad_() for leaf in (*filters, bias)]
        sums = backend.log_sum_windows(
            model.seqs,
            leaves[:1],
            model.embedding,
            model.pad,
            log_bias=leaves[1],
            group=group,
        )
        total = sums[sums.isfinite()].sum()
        runs.append([sums, *torch.autograd.grad(total, leaves)])
    one, other, reference = runs
    for first, second, expected in zip(one, other, reference, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-4)


def check_stretches_hold_every_probe_once() -> None:
    from pyprobound.kernels import _triton  # noqa: PLC0415 Linux only

    group = torch.tensor([3, 1, 1, 0, 3, 3])
    stretches = _triton.Stretches.of(6, group.device, 8, group, 5)
    assert stretches.order is not None
    assert stretches.order.tolist() == [3, 1, 2, 0, 4, 5]
    assert stretches.ends.tolist() == [0, 1, 3, 3, 6, 6]
    large = _triton.Stretches.of(10**6, group.device, 2**24)
    assert large.per_group == 4  # no more than there is memory for


def check_tiles_waste_little() -> None:
    from pyprobound.kernels import _triton  # noqa: PLC0415 Linux only

    for n_columns in (1, 2, 5, 19, 38, 46, 64, 1000):
        width = _triton.tile_width(n_columns, 32)
        assert width & (width - 1) == 0
        assert -(-n_columns // width) * width <= 1.3 * n_columns
    assert _triton.tile_width(1000, 32) == 32


def check_operators_are_registered_as_they_should() -> None:
    ops = torch.ops.pyprobound
    model = random_model(90, n_probes=3, length=5, size=2, pair_distances=1)
    filters = [weights.requires_grad_() for weights in model.filters]
    codes, embedding, pad = model.seqs, model.embedding, model.pad
    scores = torch.randn(3, 2, 4, dtype=DOUBLE)
    grad, sums = torch.randn(2, 3, dtype=DOUBLE)
    sums += 5
    bias = torch.randn(2, 2, 4, dtype=DOUBLE, requires_grad=True)
    group = torch.tensor([0, 1, 1])
    hill = torch.tensor(1.5, dtype=DOUBLE, requires_grad=True)
    given = (codes, filters, embedding, pad, 1)
    stored = scores.clone().requires_grad_()
    a, b = (t.clone().requires_grad_() for t in torch.randn(2, 3, 1, 2, dtype=DOUBLE))
    omega = torch.randn(2, 1, 1, 2, 2, dtype=DOUBLE, requires_grad=True)
    pairs = (a, b, omega, group, hill)
    counts = test_selection.CASES["branching"].counts[:3]
    tables = [torch.randn(shape, dtype=DOUBLE) for shape in ((2, 3), (3, 2), (5, 2), 5)]
    links = [0, -1, -1, 4, 0, 0, 1, 1, 1, 3, 1, 1, 5, 2, 0]
    reads = (
        *(each.requires_grad_() for each in tables),
        *(counts, links, [0, 1, 2, 3, 4], True),
    )
    costs = [torch.tensor(1.0, dtype=DOUBLE), *map(torch.randn_like, tables)]
    for op, arguments in (
        (ops.triton_window_scores, given),
        (ops.triton_window_scores_backward, (scores, [scores], *given, [True])),
        (ops.triton_log_sum_windows, (*given, bias, group)),
        (
            ops.triton_log_sum_windows_backward,
            (grad, [sums], *given, bias, group, [True, True]),
        ),
        (ops.triton_log_sum, (stored, hill)),
        (ops.triton_log_sum_backward, (grad, [sums], stored, hill, [True] * 2)),
        (ops.triton_log_sum_dimers, pairs),
        (ops.triton_log_sum_dimers_backward, (grad, [sums], *pairs, [True] * 4)),
        (ops.triton_selection_cost, reads),
        (ops.triton_selection_cost_backward, (costs[0], costs, *reads, [True] * 4)),
    ):
        tests = ("test_schema", "test_autograd_registration", "test_faketensor")
        opcheck(op, arguments, test_utils=tests)


INTERPRETED: dict[str, Check] = shared_checks() | {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_triton_is_what_runs,
        check_gradients_of_scores,
        check_gradients_of_sums,
        check_gradients_of_sums_of_stored_windows,
        check_gradients_of_dimers,
        check_gradients_of_costs,
        check_tiles_are_small_where_rounds_are_many,
        check_spacing_limits_leave_out_what_cannot_pair,
        check_programs_work_through_many_tiles,
        check_gradients_that_are_not_wanted_are_not_made,
        check_stretches_add_up_and_repeat_to_the_bit,
        check_stretches_hold_every_probe_once,
        check_tiles_waste_little,
        check_operators_are_registered_as_they_should,
    )
}


# == kernels compiled for a GPU that is not there =====================================

CAPABILITY = 80  # of the GPU compiled for: the oldest with fast float64
INTEGERS = {
    "codes": "*u8",
    "group": "*i64",
    "order": "*i64",
    "ends": "*i64",
    "n_partners": "*i32",
    "partners": "*i32",
    "links": "*i32",
    "observed": "*i32",
}
SUMS = ("alphabet", "bias_parts", "entries", "out", "parts")  # always float64
SCORES = (
    "a",
    "b",
    "by_scores",
    "counts",
    "depths",
    "fractions",
    "grad",
    "gradient",
    "hill",
    "log_bias",
    "log_omega",
    "scores",
    "settings",
    "shares",
    "sums",
    "table",
    "weights",
    "windows",
)
NUMBERS = {"PROBES": 64, "WINDOWS": 4, "LETTERS": 4}
NUMBERS |= {"WINDOWS_A": 16, "WINDOWS_B": 16, "FLUSHED": 256, "ENTRIES": 4}
NUMBERS |= {"AGGREGATES": 4, "BINDINGS": 2, "LINKS": 8, "COLUMNS": 8}
KERNELS = (
    "window_scores._score",
    "window_scores._score_gradient",
    "log_sum_windows._sum",
    "log_sum_windows._sum_gradient",
    "log_sum_windows._sum_rows",
    "log_sum_windows._share_rows",
    "log_sum_dimers._sum_pairs",
    "log_sum_dimers._share_pairs",
    "log_sum_dimers._sum_shares",
    "selection._cost",
    "window_features._sum_windows",
    "window_features._sum_entries",
)


def compile_kernel(name: str, dtype: str, *, everything: bool, ones: bool) -> None:
    """Compile a kernel down to the code of a GPU.

    Args:
        name: Its module, and its own.
        dtype: Of scores and weights.
        everything: With all of its options, or none.
        ones: With 1 for every number; such numbers Triton compiles in.
    """
    import triton  # noqa: PLC0415 Linux only
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415 as above

    module, kernel = name.split(".")
    function = getattr(import_module(f"pyprobound.kernels.{module}._triton"), kernel)
    types: dict[str, str] = {}
    fixed: dict[str, int | bool] = {}
    for parameter in function.params:
        known = parameter.name
        if parameter.is_constexpr:
            types[known] = "constexpr"
            fixed[known] = NUMBERS.get(known, everything)
        elif known in SUMS:
            types[known] = "*fp64"
        else:
            number = f"*{dtype}" if known in SCORES else "i32"
            types[known] = INTEGERS.get(known, number)
            if ones and types[known] == "i32":
                types[known], fixed[known] = "constexpr", 1
    source = triton.compiler.ASTSource(function, types, fixed, {})
    target = GPUTarget("cuda", CAPABILITY, 32)
    options = import_module("pyprobound.kernels._triton").OPTIONS
    code = triton.compile(source, target=target, options=options)
    assert code.asm["cubin"]


COMPILED: dict[str, Check] = {
    f"{name}-{variant}": partial(compile_kernel, name, *dtype, **options)
    for name in KERNELS
    for variant, dtype, options in (
        ("everything", ["fp32"], {"everything": True, "ones": False}),
        ("nothing", ["fp64"], {"everything": False, "ones": False}),
        ("ones", ["fp32"], {"everything": True, "ones": True}),
    )
}


# == this module as a script, and its tests ===========================================

MODES = {"interpreted": INTERPRETED, "compiled": COMPILED}


def outcomes(checks: dict[str, Check]) -> dict[str, str]:
    """Make the checks; return what each raised, as text."""
    texts = {}
    for name, check in checks.items():
        torch.manual_seed(0)
        try:
            check()
        except Exception:  # noqa: BLE001 whatever a check raises is reported
            texts[name] = traceback.format_exc()
        else:
            texts[name] = ""
    return texts


@cache
def outcomes_of(mode: str) -> dict[str, str]:
    """Return the outcomes of all checks of a mode, made by this module as a script."""
    interpreted = str(int(mode == "interpreted"))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.kernels.test_triton", mode],
        cwd=REPOSITORY,
        env=os.environ
        | {INTERPRET_VARIABLE: interpreted, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    texts: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return texts


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("triton") is None, reason="needs Triton, which exists for Linux alone"
)
@pytest.mark.parametrize(
    ("mode", "check"),
    [(mode, check) for mode, checks in MODES.items() for check in checks],
)
def test_triton(mode: str, check: str) -> None:
    raised = outcomes_of(mode)[check]
    assert not raised, raised


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    sys.stdout.write(json.dumps(outcomes(MODES[sys.argv[1]])))
