"""Error bars, as they are propagated through an observation."""

import math

import pytest
import torch

from pyprobound.errors import PyProBoundError
from pyprobound.fitting._measured import check_measurements, half_bar, measured

Y = [1.0, 2.0, 5.0]


def same(y: torch.Tensor) -> torch.Tensor:
    return y


def test_without_errors_there_is_no_bar() -> None:
    found = measured(torch.tensor([[1.0], [2.0]]), torch.log)
    assert found.obs.tolist() == [0.0, math.log(2)]
    assert found.lower is found.upper is None
    assert half_bar(*found) is None


def test_symmetric_errors_are_their_own_half_bars() -> None:
    found = measured(torch.tensor([[1.0, 0.25], [2.0, 0.5]]), same)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower.tolist() == [0.75, 1.5]
    assert found.upper.tolist() == [1.25, 2.5]
    sigma = half_bar(*found)
    assert sigma is not None
    assert sigma.tolist() == [0.25, 0.5]


def test_bars_end_where_the_ends_of_the_bars_of_y_are_observed() -> None:
    found = measured(torch.tensor([[4.0, 2.0, 4.0]]), torch.log)
    sigma = half_bar(*found)
    assert found.lower is not None
    assert found.upper is not None
    assert sigma is not None
    assert float(found.lower) == pytest.approx(math.log(2))
    assert float(found.upper) == pytest.approx(math.log(8))
    assert float(sigma) == pytest.approx((math.log(8) - math.log(2)) / 2)


def test_ends_are_exchanged_where_the_observation_falls() -> None:
    found = measured(torch.tensor([[4.0, 2.0, 4.0]]), lambda y: -y.log())
    assert found.lower is not None
    assert found.upper is not None
    assert float(found.lower) == pytest.approx(-math.log(8))
    assert float(found.upper) == pytest.approx(-math.log(2))


@pytest.mark.parametrize("error", [1.0, 1.5])
def test_other_half_counts_twice_where_an_end_has_no_image(error: float) -> None:
    found = measured(torch.tensor([[1.0, error]]), torch.log)
    assert found.lower is not None
    assert float(found.lower) == -math.inf
    sigma = half_bar(*found)
    assert sigma is not None
    assert float(sigma) == pytest.approx(math.log(1 + error))


def test_single_probe_is_a_table_of_one_row() -> None:
    assert measured(torch.tensor([3.0, 1.0]), same).obs.tolist() == [3.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 1, 1, 1.0]], "4 columns"),
        ([[1, 0.1], [1, -0.1]], r"row 1 \(from 0\): the error -0.1 is negative"),
        ([[1, 0.1], [2, 0.0]], r"row 1 \(from 0\): the measurement 2 has an error bar"),
        ([[1.0], [0.0]], r"row 1 .* the measurement 0 is observed as -inf"),
        ([[1.0], [-1.0]], r"row 1 .* the measurement -1 is observed as nan"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_row(
    rows: list[list[float]], message: str
) -> None:
    with pytest.raises(PyProBoundError, match=message):
        check_measurements(torch.tensor(rows), torch.log)


def test_observation_must_be_elementwise() -> None:
    with pytest.raises(PyProBoundError, match="elementwise"):
        check_measurements(torch.tensor([[1.0], [2.0]]), lambda y: y.sum())
