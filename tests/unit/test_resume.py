"""A fit that dies goes on from its state and ends the same, bit for bit."""

import hashlib
import math
import random
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyprobound._descent
from pyprobound import EvenSampler, layers
from pyprobound.base import Call, Step
from pyprobound.errors import CheckpointError
from pyprobound.fit_state import (
    FitState,
    StateFile,
    differences,
    random_state,
    set_random_state,
)
from pyprobound.optimizer import EndEvent, Optimizer, ProgressEvent
from pyprobound.procedure import make_plan
from tests.unit.fits import DNA, Fit, assert_same_state, fit_of, reads_of, state_of


class Killed(BaseException):
    """Ends a fit as a signal would that nothing catches."""


class Mortal(StateFile):
    """Is written after every epoch, and kills the fit after some."""

    def __init__(self, path: Path, lives: float = math.inf) -> None:
        super().__init__(path, share=math.inf)
        self.lives = lives
        self.writes = 0

    def keep(self, make: Callable[[], FitState], *, now: bool = False) -> None:
        super().keep(make, now=now)
        self.writes += 1
        if self.writes >= self.lives:
            raise Killed


FLANKS = {
    f"{most}{side}_flank_length": length
    for side in ("left", "right")
    for most, length in (("", 1), ("max_", 2))
}


def fit_to_be(*, val: bool = False, dimer: bool = False) -> Fit:
    """A model, as every process builds it: greedy steps, and a start from noise."""
    torch.manual_seed(3)
    psam = layers.PSAM(
        4,
        DNA,
        name="a",
        pairwise_distance=1,
        increment_footprint=True,
        increment_flank=True,
        max_kernel_size=6,
    )
    held_out = reads_of(30, length=7, seed=4) if val else None
    frame = reads_of(40, length=7)
    return fit_of(psam, frame=frame, val=held_out, dimer=dimer, **FLANKS)


def process(
    folder: Path,
    state: StateFile | None,
    *,
    val: bool = False,
    dimer: bool = False,
    lambda_l1: float = 0,
    **settings: Any,
) -> tuple[Fit, Optimizer[Any]]:
    """What a process does before it fits."""
    fit = fit_to_be(val=val, dimer=dimer)
    fit.model.lambda_l1 = lambda_l1
    arguments = {"greedy_threshold": 1e-4, "output": folder / "fit.log", **settings}
    return fit, fit.optimizer(folder, state=state, **arguments)


def told(events: Sequence[ProgressEvent | EndEvent]) -> list[dict[str, Any]]:
    """Events as dicts, without the time."""
    return [{**vars(event), "seconds": None} for event in events]


class Drawing(EvenSampler):
    """Draws when it is made, not only when it is used."""

    def __init__(self, table: Any, **arguments: Any) -> None:
        super().__init__(table, **arguments)
        torch.rand(3)


class Coarse(torch.optim.SGD):
    """Keeps numbers of less precision than the parameters have."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                sums = self.state[parameter]
                sums["sum"] = sums.get("sum", 0.0) + parameter.grad.float()
                parameter.data.sub_(0.01 * sums["sum"])
        return loss


Go = Callable[[Optimizer[Any]], torch.Tensor]


def sequentially(optimizer: Optimizer[Any]) -> torch.Tensor:
    return optimizer.train_sequential()


def at_once(optimizer: Optimizer[Any]) -> torch.Tensor:
    return optimizer.train_simultaneous()


CASES: dict[str, tuple[Go, dict[str, Any]]] = {
    "trust region": (sequentially, {"dtype": torch.float64, "epochs": 6}),
    "float32": (sequentially, {"epochs": 3}),
    "kinks": (at_once, {"dtype": torch.float64, "epochs": 6, "lambda_l1": 0.002}),
    "dimer": (sequentially, {"epochs": 1, "dimer": True}),
    "held out": (sequentially, {"epochs": 3, "val": True}),
    "L-BFGS": (
        sequentially,
        {"optimizer": torch.optim.LBFGS, "epochs": 2, "optim_args": {"max_iter": 5}},
    ),
    "L-BFGS at once": (
        at_once,
        {"optimizer": torch.optim.LBFGS, "epochs": 8, "dtype": torch.float64},
    ),
    "Adam in batches": (sequentially, {"batch_size": 15, "epochs": 2}),
    "even batches": (
        at_once,
        {
            "batch_size": 15,
            "sampler": Drawing,
            "sampler_args": {"n_bin": 4},
            "epochs": 6,
            "val": True,
        },
    ),
    "float32 in the engine": (
        at_once,
        {
            "optimizer": Coarse,
            "optim_args": {"lr": 0.01},
            "dtype": torch.float64,
            "epochs": 6,
        },
    ),
    "at once": (at_once, {"dtype": torch.float64, "epochs": 5}),
}


@pytest.mark.filterwarnings("ignore:.* is not empty")
@pytest.mark.parametrize("case", CASES)
def test_a_fit_that_dies_again_and_again_ends_the_same(
    case: str, tmp_path: Path
) -> None:
    go, settings = CASES[case]
    folder = tmp_path / "whole"
    folder.mkdir()
    whole, optimizer = process(folder, None, **settings)
    best = go(optimizer)
    lives = cycle((2, 1, 3, 8))
    file = tmp_path / "fit.state"
    events: list[ProgressEvent] = []
    ends: list[EndEvent] = []
    deaths = 0
    while True:
        state = Mortal(file, next(lives))
        fit, optimizer = process(tmp_path, state, **settings)
        known = state.read() if state.exists() else None
        assert optimizer.resume() is (deaths > 0)
        del events[known.events if known else 0 :]
        del ends[known.ends if known else 0 :]
        try:
            found = go(optimizer)
        except Killed:
            deaths += 1
            continue
        else:
            break
        finally:
            events += fit.events
            ends += fit.ends
    assert deaths > 1
    assert found.item() == best.item()
    assert told(events) == told(whole.events)
    assert told(ends) == told(whole.ends)
    assert_same_state(state_of(fit), state_of(whole))
    dimer = settings.get("dimer", False)
    on_disk = [fit_to_be(dimer=dimer).model for _ in range(2)]
    for model, place in zip(on_disk, (folder, tmp_path), strict=True):
        model.to(settings.get("dtype"))
        model.reload(place / "model.pt")
    for one, other in zip(*(model.parameters() for model in on_disk), strict=True):
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))


def test_keeping_the_state_changes_nothing(tmp_path: Path) -> None:
    results = []
    for name, state in (("a", None), ("b", Mortal(tmp_path / "fit.state"))):
        (tmp_path / name).mkdir()
        fit, optimizer = process(tmp_path / name, state, epochs=2)
        optimizer.train_sequential()
        results.append((state_of(fit), told(fit.events)))
    assert_same_state(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_a_fit_that_dies_while_it_looks_for_a_start_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    whole, optimizer = process(tmp_path / "whole", None, epochs=3)
    optimizer.train_simultaneous()
    search = pyprobound._descent.choose_start

    def dying(*arguments: Any) -> None:
        search(*arguments)
        torch.rand(5)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pyprobound._descent, "choose_start", dying)
        fit, optimizer = process(tmp_path, Mortal(tmp_path / "fit.state"), epochs=3)
        with pytest.raises(Killed):
            optimizer.train_simultaneous()
    assert len(fit.events) == 1
    torch.rand(100)
    again, optimizer = process(tmp_path, Mortal(tmp_path / "fit.state"), epochs=3)
    assert optimizer.resume()
    optimizer.train_simultaneous()
    assert_same_state(state_of(again), state_of(whole))


def test_an_interrupted_fit_goes_on(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, optimizer = process(tmp_path / "whole", None, epochs=3)
    optimizer.train_sequential()

    def stop(event: ProgressEvent) -> None:
        if event.step == 2 and event.epoch == 1:  # of a greedy step
            raise KeyboardInterrupt

    state = StateFile(tmp_path / "fit.state")
    _, optimizer = process(tmp_path, state, epochs=3, on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        optimizer.train_sequential()
    again, optimizer = process(tmp_path, state, epochs=3)
    assert optimizer.resume()
    optimizer.train_sequential()
    assert_same_state(state_of(again), state_of(whole))


@pytest.mark.parametrize("kind", ["stage", "greedy step", "fit"])
def test_parts_of_a_procedure_go_on_as_well(kind: str, tmp_path: Path) -> None:
    def go(fit: Fit, optimizer: Optimizer[Any]) -> torch.Tensor:
        # What comes before is not part of the state, and is done again.
        for part in fit.selected.aggregate.components():
            fit.selected.aggregate.activity_heuristic(part)
        fit.model.unfreeze()
        if kind == "stage":
            return optimizer.run_stage(make_plan(fit.model)[1])
        if kind == "fit":
            return optimizer.train_until_convergence()
        grow = Call(fit.psams[0], "update_footprint", {"left_shift": 1})
        return optimizer.greedy_search(Step([grow], greedy=True))

    results = []
    for lives in (math.inf, 2):
        folder = tmp_path / str(lives)
        folder.mkdir()
        state = Mortal(folder / "fit.state", lives)
        fit, optimizer = process(folder, state, epochs=2)
        try:
            best = go(fit, optimizer)
        except Killed:
            fit, optimizer = process(folder, Mortal(state.path), epochs=2)
            assert optimizer.resume()
            best = go(fit, optimizer)
        results.append((state_of(fit), best.item()))
    assert_same_state(results[1][0], results[0][0])
    assert results[1][1] == results[0][1]


@pytest.mark.parametrize("go", [sequentially, at_once])
def test_a_finished_fit_is_not_done_again(go: Go, tmp_path: Path) -> None:
    fit, optimizer = process(tmp_path, Mortal(tmp_path / "fit.state"), epochs=2)
    best = go(optimizer)
    again, other = process(tmp_path, Mortal(tmp_path / "fit.state"), epochs=2)
    assert other.resume()
    assert go(other).item() == best.item()
    assert again.events == again.ends == []
    assert other.reason == optimizer.reason
    assert other.passes == optimizer.passes > 0
    assert_same_state(state_of(again), state_of(fit))


def test_a_state_that_is_not_resumed_is_lost_with_a_warning(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "fit.state")
    for expected in (0, 1):
        fit, optimizer = process(tmp_path, state, epochs=0)
        with warnings.catch_warnings(record=True) as told_of:
            warnings.simplefilter("always")
            optimizer.train_simultaneous()
            optimizer.train_simultaneous()  # its own state: nothing to tell
        assert [str(each.message) for each in told_of] == expected * [
            f"{state.path}: the fit in it was not resumed; it is lost"
        ]
        assert len(fit.events) == 2


def test_without_a_state_a_fit_begins(tmp_path: Path) -> None:
    _, optimizer = process(tmp_path, None, epochs=1)
    assert not optimizer.resume()
    fit, optimizer = process(tmp_path, StateFile(tmp_path / "fit.state"), epochs=1)
    assert not optimizer.resume()
    optimizer.train_simultaneous()
    assert [event.epoch for event in fit.events] == [0, 1]


# --- what is refused --------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The state of a fit at once that has died."""
    folder = tmp_path_factory.mktemp("written")
    state = Mortal(folder / "fit.state", 3)
    _, optimizer = process(folder, state, optimizer=torch.optim.Adam)
    with pytest.raises(Killed):
        optimizer.train_simultaneous()
    return state.path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda x: x[:0], "cut short"),
        (lambda x: x[:5], "cut short"),
        (lambda x: x[:60], "cut short"),
        (lambda x: x[: len(x) // 2], "cut short or damaged"),
        (lambda x: x[:-1], "cut short or damaged"),
        (lambda x: x[:3000] + bytes([x[3000] ^ 1]) + x[3001:], "cut short or damaged"),
        (lambda x: x + b"\0", "cut short or damaged"),
        (lambda x: b"PK\3\4" + x, "not the state of a fit"),
        (
            lambda x: x.replace(b"pyprobound-state 1", b"pyprobound-state 2", 1),
            "in format 2, of pyprobound",
        ),
    ],
    ids=["empty", "5", "60", "half", "all but one", "bit", "more", "other", "newer"],
)
def test_a_file_that_is_no_state_is_refused_in_one_line(
    damage: Callable[[bytes], bytes], rule: str, written: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "fit.state"
    path.write_bytes(damage(written))
    fit, optimizer = process(tmp_path, StateFile(path), optimizer=torch.optim.Adam)
    before = state_of(fit)
    with pytest.raises(CheckpointError) as error:
        optimizer.resume()
    assert str(error.value).startswith(f"{path}: {rule}")
    assert "to begin anew" in str(error.value)
    assert "\n" not in str(error.value)
    assert_same_state(state_of(fit), before)
    assert path.read_bytes() == damage(written)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"epochs": 7}, "epochs: 200 → 7"),
        ({"optimizer": torch.optim.SGD}, "optimizer: Adam → SGD"),
        ({"optim_args": {"lr": 0.5}}, "optim_args: {} → {'lr': 0.5}"),
        ({"val": True}, "val table 0: nothing → 30 probes"),
        ({"dtype": torch.float64}, "torch.float32 → "),
    ],
    ids=["epochs", "class", "arguments", "tables", "precision"],
)
def test_a_fit_that_has_changed_is_refused_with_the_difference(
    settings: dict[str, Any], change: str, written: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "fit.state"
    path.write_bytes(written)
    arguments = {"optimizer": torch.optim.Adam, **settings}
    _, optimizer = process(tmp_path, StateFile(path), **arguments)
    with pytest.raises(CheckpointError) as error:
        optimizer.resume()
    assert str(error.value).startswith(f"{path}: the fit has changed since: ")
    assert change in str(error.value)


def test_another_call_is_refused(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fit.state"
    path.write_bytes(written)
    fit, optimizer = process(tmp_path, StateFile(path), optimizer=torch.optim.Adam)
    assert optimizer.resume()
    with pytest.raises(CheckpointError, match=r"of another call \(train_simultaneous"):
        optimizer.train_sequential()
    assert fit.events == []
    assert path.read_bytes() == written


def test_another_plan_is_refused(tmp_path: Path) -> None:
    state = Mortal(tmp_path / "fit.state", 3)
    _, optimizer = process(tmp_path, state)
    with pytest.raises(Killed):
        optimizer.train_sequential()
    fit, optimizer = process(tmp_path, Mortal(state.path))
    assert optimizer.resume()
    with pytest.raises(CheckpointError, match="another plan"):
        optimizer.train_sequential(plan=make_plan(fit.model)[:1])


def test_other_circumstances_are_told(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fit.state"
    path.write_bytes(written)
    _, optimizer = process(tmp_path, StateFile(path), optimizer=torch.optim.Adam)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(UserWarning, match="last digits") as told_of:
            assert optimizer.resume()
    finally:
        torch.set_num_threads(threads)
    assert f"threads: {threads} → {threads + 1}" in str(told_of[0].message)


# --- the file ---------------------------------------------------------------------


class Clock:
    """A clock that goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_writing_takes_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("pyprobound.fit_state.time.perf_counter", clock)
    state = FitState([], {}, [], {}, {}, {}, {})
    written: list[float] = []

    def make() -> FitState:
        written.append(clock.now)
        clock.now += 0.5
        return state

    file = StateFile(tmp_path / "fit.state", share=0.02)
    for _ in range(1000):
        file.keep(make)
        clock.now += 0.1
    assert 0.5 * len(written) <= 0.02 * clock.now
    assert 0.5 * (len(written) + 1) > 0.02 * clock.now
    count = len(written)
    file.keep(make, now=True)
    assert len(written) == count + 1


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "fit.state", {"note": ["x", 1, None]})
    tally = {"events": 3, "seconds": 1.5}
    values = torch.tensor([math.nan, -math.inf, 1 / 3], dtype=torch.float64)
    state = FitState([{"a": values}], {}, ["b"], {}, tally, {}, {}, file.about)
    file.keep(lambda: state)
    found = file.read()
    assert torch.equal(found.levels[0]["a"].nan_to_num(7), values.nan_to_num(7))
    assert (found.trained, found.events, found.seconds) == (["b"], 3, 1.5)
    assert found.about == {"note": ["x", 1, None]}
    header, _, content = file.path.read_bytes().partition(b"\n")
    assert header.split()[-1].decode() == hashlib.sha256(content).hexdigest()
    file.remove()
    assert not file.exists()
    with pytest.raises(CheckpointError, match="cannot be read"):
        file.read()


def test_random_numbers_go_on() -> None:
    def draw() -> list[float]:
        numbers = [torch.rand(()).item(), np.random.rand(), random.random()]  # noqa: NPY002
        return [*numbers, torch.randn(()).item(), np.random.randn(), random.gauss()]  # noqa: NPY002

    draw()
    state = random_state()
    first = draw()
    draw()
    set_random_state(state)
    assert draw() == first


def test_differences_name_what_came_and_what_went() -> None:
    old, new = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}
    assert differences(old, new) == ["b: 2 → 4", "c: 3 → nothing", "d: nothing → 5"]
