"""The posterior over windows is the gradient of their log sum, probe by probe."""

from types import ModuleType

import pytest
import torch

from pyprobound._numerics import NEG_INF
from pyprobound.kernels import log_sum_windows
from pyprobound.kernels.window_posterior import _numba, _reference, window_posterior
from tests.kernels import oracles
from tests.kernels.backends import assert_close, tolerance


@pytest.mark.parametrize("module", [_reference, _numba])
@pytest.mark.parametrize(
    "arguments",
    [
        {"length": 12, "size": 4},
        {"length": 12, "size": 4, "channels": 3, "pair_distances": 2},
        {"length": 14, "size": 4, "dilation": 2, "bias": True},
        {"length": 12, "size": 4, "forbidden": 0.4},
    ],
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_weights_are_the_gradient_of_the_log_sum(
    module: ModuleType, arguments: dict[str, int], biased: bool, dtype: torch.dtype
) -> None:
    model = oracles.random_model(3, **arguments)  # type: ignore[arg-type]
    filters = [each.to(dtype) for each in model.filters]
    embedding, seqs = model.embedding.to(dtype), model.seqs
    bias = None if model.bias is None else model.bias.to(dtype)
    shape = 2, len(filters[0]), model.n_windows
    log_bias = torch.zeros(shape).double()
    group, hill = None, None
    if biased:
        generator = torch.Generator().manual_seed(4)
        log_bias = torch.randn(shape, generator=generator).double()
        log_bias[0, 0, 1] = NEG_INF
        group = torch.arange(len(seqs)) % 2
        hill = torch.tensor(1.3, dtype=dtype)
    found = module.window_posterior(
        seqs,
        filters,
        embedding,
        model.pad,
        dilation=model.dilation,
        bias=bias,
        log_bias=log_bias.to(dtype) if biased else None,
        group=group,
        hill=hill,
    )
    # a bias of its own for each probe gets its gradient probe by probe
    own = log_bias[torch.zeros(len(seqs)).long() if group is None else group]
    own.requires_grad_()
    total = log_sum_windows(
        seqs,
        model.filters,
        model.embedding,
        model.pad,
        dilation=model.dilation,
        bias=model.bias,
        log_bias=own,
        group=torch.arange(len(seqs)),
        hill=None if hill is None else hill.double(),
    )
    (expected,) = torch.autograd.grad(total[total > NEG_INF].sum(), own)
    if hill is not None:
        expected = expected / hill.double()
    pieces = [found(slice(0, 5)), found(slice(5, len(seqs)))]
    weights = torch.cat(pieces)
    assert weights.dtype == dtype
    assert_close(weights, expected, tolerance(dtype))
    assert float(weights[1].abs().sum()) == 0  # a probe without letters


def test_weights_need_a_group_where_there_are_several() -> None:
    model = oracles.random_model(3)
    with pytest.raises(ValueError, match="groups without"):
        window_posterior(
            model.seqs,
            model.filters,
            model.embedding,
            model.pad,
            log_bias=torch.zeros(2, 2, model.n_windows).double(),
        )
