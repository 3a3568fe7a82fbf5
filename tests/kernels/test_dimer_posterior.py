"""The posterior over pairs of windows is the gradient of their log sum."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.kernels import dimer_posterior
from pyprobound.kernels.dimer_posterior import Found, _numba, _reference

N_PLACES = 5


class Case(NamedTuple):
    """The arguments of a call."""

    a: Tensor
    b: Tensor
    log_omega: Tensor
    places: Tensor
    group: Tensor | None
    hill: Tensor | None

    def sums(self) -> list[float]:
        """The log sums, pair by pair."""
        return [_log_sum(pairs) for pairs in self.pairs()]

    def pairs(self) -> list[list[tuple[float, int, int, float, int]]]:
        """Of each probe the pairs: h·score, window of a and of b, h·ω, place."""
        h = 1.0 if self.hill is None else float(self.hill)
        a, b = self.a.double().tolist(), self.b.double().tolist()
        omega, places = self.log_omega.double().tolist(), self.places.tolist()
        found = []
        for n in range(len(a)):
            g = 0 if self.group is None else int(self.group[n])
            found.append(
                [
                    (
                        h * (a[n][s][x] + b[n][t][y] + omega[g][s][t][x][y]),
                        s * len(a[n][0]) + x,
                        t * len(b[n][0]) + y,
                        h * omega[g][s][t][x][y],
                        places[g][s][t][x][y] if places else -1,
                    )
                    for s in range(len(a[n]))
                    for t in range(len(b[n]))
                    for x in range(len(a[n][0]))
                    for y in range(len(b[n][0]))
                ]
            )
        return found


def _log_sum(pairs: list[tuple[float, int, int, float, int]]) -> float:
    top = max(each[0] for each in pairs)
    if top == -math.inf:
        return top
    return top + math.log(math.fsum(math.exp(each[0] - top) for each in pairs))


def drawn(
    *,
    groups: int = 1,
    hill: float | None = None,
    placed: bool = True,
    absent: float = 0.3,
    scale: float = 2.0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return scale * torch.randn(shape, generator=generator).double()

    def holed(values: Tensor) -> Tensor:
        holes = torch.rand(values.shape, generator=generator) < absent
        return values.masked_fill(holes, NEG_INF)

    a, b = holed(normal(9, 2, 3)), holed(normal(9, 1, 4))
    a[0], b[1] = NEG_INF, NEG_INF
    omega = holed(normal(groups, 2, 1, 3, 4))
    omega[-1, :, :, 1] = NEG_INF
    shape = (groups if placed else 0, 2, 1, 3, 4)
    places = torch.randint(-1, N_PLACES, shape, generator=generator)
    return Case(
        a.to(dtype),
        b.to(dtype),
        omega.to(dtype),
        places,
        torch.arange(9) % groups if groups > 1 else None,
        None if hill is None else torch.tensor(hill, dtype=dtype),
    )


def found_by(module: ModuleType, case: Case) -> Found:
    sums = torch.tensor(case.sums(), dtype=case.a.dtype)
    found: Found = module.dimer_posterior(
        case.a,
        case.b,
        case.log_omega,
        sums,
        case.places,
        N_PLACES,
        case.group,
        case.hill,
    )
    return found


CASES: dict[str, Callable[[], Case]] = {
    "plain": drawn,
    "groups": lambda: drawn(groups=3),
    "hill": lambda: drawn(hill=1.4, groups=2),
    "no places": lambda: drawn(placed=False),
    "nothing": lambda: drawn(absent=1.0),
    "far apart": lambda: drawn(scale=400.0),
    "float32": lambda: drawn(dtype=torch.float32, groups=2),
}


@pytest.mark.parametrize("module", [_reference, _numba])
@pytest.mark.parametrize("name", CASES)
def test_shares_are_those_of_all_pairs_one_by_one(
    name: str, module: ModuleType
) -> None:
    case = CASES[name]()
    found = found_by(module, case)
    rounding = 1e-10 if case.a.dtype == torch.float64 else 2e-5
    for n, (pairs, log_sum) in enumerate(zip(case.pairs(), case.sums(), strict=True)):
        of_a, of_b = [0.0] * 6, [0.0] * 4
        of_places, energy = [0.0] * N_PLACES, 0.0
        for score, x, y, omega, place in pairs:
            share = math.exp(score - log_sum) if score > -math.inf else 0.0
            of_a[x] += share
            of_b[y] += share
            if place >= 0:
                of_places[place] += share
            energy += share * omega if share else 0.0
        for values, expected in zip(
            (found.of_a[n], found.of_b[n], found.of_places[n], found.energy[n]),
            (of_a, of_b, of_places, [energy]),
            strict=True,
        ):
            assert values.flatten().tolist() == pytest.approx(
                expected, rel=rounding, abs=rounding
            )
    assert found.of_places.dtype == found.energy.dtype == torch.float64
    assert found.of_a.dtype == case.a.dtype


def test_probes_beyond_the_range_of_numbers_are_left_to_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    real = _reference.dimer_posterior

    def noted(a: Tensor, *others: object) -> Found:
        asked.append(len(a))
        return real(a, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(_reference, "dimer_posterior", noted)
    found_by(_numba, drawn())
    assert asked == []
    found_by(_numba, drawn(scale=400.0))
    assert 0 < sum(asked) < 9


def test_shapes_that_do_not_fit_are_refused() -> None:
    case = drawn(groups=2)
    sums = torch.zeros(9).double()
    with pytest.raises(ValueError, match="log_omega has shape"):
        dimer_posterior(
            case.a, case.b, case.log_omega[..., :2], sums, case.places, N_PLACES
        )
    with pytest.raises(ValueError, match="places of 1 groups"):
        dimer_posterior(case.a, case.b, case.log_omega, sums, case.places[:1], N_PLACES)
    with pytest.raises(ValueError, match="2 groups without `group`"):
        dimer_posterior(case.a, case.b, case.log_omega, sums, case.places, N_PLACES)
    with pytest.raises(ValueError, match="9 probes in windows_a"):
        dimer_posterior(case.a, case.b, case.log_omega, sums[:3], case.places, N_PLACES)
