"""The implementations that run every check, and how checks compare numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from pyprobound import kernels
from pyprobound.kernels._backends import use_backend
from pyprobound.kernels.selection import selection_cost

FLOATS = (torch.float64, torch.float32)


@dataclass(frozen=True)
class Backend:
    """One implementation of the kernels on one device.

    The checks make their tensors on the CPU and put them on `device`.
    """

    name: str
    device: torch.device
    window_scores: Callable[..., Tensor]
    soft_window_scores: Callable[..., Tensor]
    log_sum_windows: Callable[..., Tensor]
    log_sum: Callable[..., Tensor]
    log_sum_dimers: Callable[..., Tensor]
    window_features: Callable[..., Tensor]
    selection_cost: Callable[..., Tensor]


def backend_of(name: Literal["numba", "reference", "triton"], device: str) -> Backend:
    """Return the public functions, each called with one implementation."""

    def switched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Any, **kwargs: Any) -> Tensor:
            with use_backend(name):
                return function(*args, **kwargs)

        return call

    return Backend(
        name if device == "cpu" else f"{name}-{device}",
        torch.device(device),
        window_scores=switched(kernels.window_scores),
        soft_window_scores=switched(kernels.soft_window_scores),
        log_sum_windows=switched(kernels.log_sum_windows),
        log_sum=switched(kernels.log_sum),
        log_sum_dimers=switched(kernels.log_sum_dimers),
        window_features=switched(features_of),
        selection_cost=switched(selection_cost),
    )


def features_of(
    seqs: Tensor,
    weights: Tensor,
    places: list[Tensor],
    embedding: Tensor,
    n_columns: int,
    dilation: int = 1,
) -> Tensor:
    """Return the features of windows, made of one piece of the probes after another."""
    out = torch.zeros(len(seqs), n_columns, dtype=torch.float64, device=seqs.device)
    add = kernels.window_features(seqs, places, embedding, dilation=dilation)
    for rows in (slice(0, 3), slice(3, len(seqs))):
        add(rows, weights[rows], out[rows])
    return out


REFERENCE = backend_of("reference", "cpu")
BACKENDS = [REFERENCE, backend_of("numba", "cpu")]
if torch.cuda.is_available():
    BACKENDS += [backend_of("reference", "cuda"), backend_of("triton", "cuda")]

Check = Callable[[Backend], None]


def every(checks: list[Check]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrise a test (backend, check) over all of both."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        names = [check.__name__.removeprefix("check_") for check in checks]
        test = pytest.mark.parametrize("check", checks, ids=names)(test)
        return pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)(test)

    return decorate


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare with `tolerance` times the largest finite magnitude, or 1."""
    expected = expected.to(torch.float64)
    found = found.detach().cpu().to(torch.float64)
    assert found.shape == expected.shape
    finite = expected[expected.isfinite()].abs()
    scale = max(1.0, float(finite.max())) if len(finite) else 1.0
    torch.testing.assert_close(
        found, expected, rtol=0.0, atol=tolerance * scale, equal_nan=False
    )


def tolerance(dtype: torch.dtype) -> float:
    """Return what a few dozen roundings may cost, relative to the largest number."""
    return 64 * torch.finfo(dtype).eps
