"""What a step of a fit does not do twice changes no result, and outlives no step."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from pyprobound import (
    CountBatch,
    CountTable,
    Mode,
    MultiExperimentLoss,
    _epochs,
    layers,
)
from pyprobound._chunking import set_memory_budget
from pyprobound._evaluation import Evaluation, Store
from pyprobound._step_memory import StepMemory
from pyprobound.loss import Loss
from tests.unit.fits import DNA, Fit, assert_same_state, fit_of, reads_of, state_of


class Forgetful(StepMemory):
    """Remembers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ForgetfulStore()

    def loss(
        self, _model: object, _batches: Any, compute: Callable[[], Loss], **_: Any
    ) -> Loss:
        return compute()


class ForgetfulStore(Store):
    """Keeps nothing."""

    @contextmanager
    def used(self) -> Iterator[None]:
        yield


def two_psams() -> list[layers.PSAM]:
    return [layers.PSAM(size, DNA, name=name) for size, name in ((5, "a"), (3, "b"))]


def fitted(
    folder: Path, *, forgetful: bool = False, max_split: int | None = None, **more: Any
) -> tuple[Fit, list[float]]:
    """Fit modes and their dimer, some parts frozen; return the fit and its losses."""
    with pytest.MonkeyPatch.context() as patch:
        if forgetful:
            patch.setattr(_epochs, "StepMemory", Forgetful)
        torch.manual_seed(0)
        fit = with_activities(fit_of(*two_psams(), dimer=True, frame=reads_of(30)))
        fit.model.max_split = max_split
        optimizer = fit.optimizer(folder, epochs=2, **more)
        for part in (fit.psams[0], fit.dimer.spacing if fit.dimer else None, fit.model):
            fit.model.freeze()
            assert part is not None
            part.unfreeze()
            optimizer.train_until_convergence()
    return fit, [event.train_loss for event in fit.events]


def with_activities(fit: Fit) -> Fit:
    """Let every binding enter."""
    aggregate = fit.selected.aggregate
    for part in aggregate.components():
        aggregate.activity_heuristic(part)
    return fit


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """Folders, each of another name."""

    def made() -> Iterator[Path]:
        for number in count():
            folder = tmp_path / str(number)
            folder.mkdir()
            yield folder

    return made()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dtype": torch.float64},
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}},
        {"batch_size": 16},
        {"optim_args": {"max_iter": 1}},
        {"max_split": 12, "optim_args": {"max_iter": 3}},
    ],
    ids=str,
)
def test_fits_with_and_without_memory_agree_to_the_last_bit(
    folders: Iterator[Path], arguments: dict[str, Any]
) -> None:
    fit, losses = fitted(next(folders), **arguments)
    plain, expected = fitted(next(folders), forgetful=True, **arguments)
    assert losses == expected
    assert_same_state(state_of(fit), state_of(plain))


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """Count how often each mode is scored: (its name, whether it is trained)."""
    counts: Counter[tuple[str, bool]] = Counter()
    original = Mode.evaluate_input

    def counting(self: Mode, evaluation: Evaluation) -> Tensor:
        trained = any(p.requires_grad for p in self.parameters())
        counts[self.name, trained] += 1
        return original(self, evaluation)

    monkeypatch.setattr(Mode, "evaluate_input", counting)
    return counts


def test_a_frozen_mode_is_scored_once_in_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = with_activities(fit_of(*two_psams()))
    fit.model.freeze()
    fit.psams[0].unfreeze("monomer")
    optimizer = fit.optimizer(tmp_path, epochs=3, optimizer=torch.optim.LBFGS)
    counts = counted(monkeypatch)
    optimizer.train_until_convergence()
    assert counts["a", True] > 10
    assert {counts["b", False], counts["ns", False]} == {1}
    # The store dies with the step.
    optimizer.train_until_convergence()
    assert {counts["b", False], counts["ns", False]} == {2}


def test_the_windows_of_frozen_modes_serve_a_trained_spacing(
    folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = with_activities(fit_of(*two_psams(), dimer=True, frame=reads_of(30)))
    assert fit.dimer is not None
    fit.model.freeze()
    fit.dimer.spacing.unfreeze()
    counts = counted(monkeypatch)
    fit.optimizer(
        next(folders), epochs=2, optimizer=torch.optim.LBFGS
    ).train_until_convergence()
    # once for the mode's own score, once for the windows
    assert counts["a", False] <= 2
    assert counts["b", False] <= 2
    few = Counter(counts)
    set_memory_budget(1)
    try:
        fit.optimizer(
            next(folders), epochs=2, optimizer=torch.optim.LBFGS
        ).train_until_convergence()
    finally:
        set_memory_budget(None)
    assert counts["a", False] > few["a", False] + 10  # there was no room for windows


def test_no_loss_is_computed_twice_for_the_same_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    original = MultiExperimentLoss._mean_losses

    def recording(self: MultiExperimentLoss, batches: Any) -> Any:
        values = [p.detach().reshape(-1) for p in self.parameters()]
        seen.append(torch.cat(values).numpy().tobytes())
        return original(self, batches)

    monkeypatch.setattr(MultiExperimentLoss, "_mean_losses", recording)
    fit = with_activities(fit_of(*two_psams()))
    fit.model.unfreeze()
    fit.optimizer(tmp_path, epochs=4).train_until_convergence()
    assert len(fit.events) == 5
    assert len(seen) == len(set(seen)) > 20


# --- the store by itself --------------------------------------------------------------


def scored(mode: Mode, seqs: Tensor, store: Store) -> Tensor:
    with store.used():
        return Evaluation(seqs)(mode.evaluate)


def frozen_mode() -> tuple[Mode, CountTable]:
    torch.manual_seed(3)
    fit = fit_of(frame=reads_of(30))
    fit.model.freeze()
    return fit.modes[-1], fit.table


def test_what_is_frozen_is_the_same_tensor_again() -> None:
    mode, table = frozen_mode()
    store = Store()
    first = scored(mode, table.seqs, store)
    assert scored(mode, table.seqs, store) is first
    # a piece of the table that is cut again is the same piece
    piece = scored(mode, table.seqs[3:7], store)
    assert scored(mode, table.seqs[3:7], store) is piece
    assert scored(mode, table.seqs[3:8], store) is not piece
    assert scored(mode, table.seqs.clone(), store) is not first
    assert Evaluation(table.seqs)(mode.evaluate) is not first  # the store is not in use


def test_every_change_is_seen() -> None:
    mode, table = frozen_mode()
    store = Store()
    psam = next(x for x in mode.modules() if isinstance(x, layers.PSAM))
    beta = psam.betas["1-0"]

    def same() -> bool:
        return scored(mode, table.seqs, store) is before

    def fresh() -> Tensor:
        return Evaluation(table.seqs)(mode.evaluate)

    before = scored(mode, table.seqs, store)
    with torch.no_grad():
        beta.add_(1.0)
    assert not same()
    assert torch.equal(scored(mode, table.seqs, store), fresh())
    before = scored(mode, table.seqs, store)
    stored = next(psam.parameters())
    stored.data = stored.data + 1.0
    assert not same()
    before = scored(mode, table.seqs, store)
    table.seqs[0, 0] = (table.seqs[0, 0] + 1) % 4
    assert not same()
    before = scored(mode, table.seqs, store)
    mode.double()
    assert not same()
    assert scored(mode, table.seqs, store).dtype == torch.float64
    before = scored(mode, table.seqs, store)
    psam.update_footprint(left_shift=0, right_shift=-1)
    assert not same()
    assert torch.equal(scored(mode, table.seqs, store), fresh())
    before = scored(mode, table.seqs, store)
    assert same()
    psam.unfreeze("monomer")
    assert not same()
    assert scored(mode, table.seqs, store).requires_grad


def test_what_is_not_the_librarys_own_is_always_computed() -> None:
    mode, table = frozen_mode()
    mode.layers[-1].__class__ = type("Own", (type(mode.layers[-1]),), {})
    store = Store()
    assert scored(mode, table.seqs, store) is not scored(mode, table.seqs, store)


def test_nothing_keeps_the_probes_after_the_store() -> None:
    mode, table = frozen_mode()
    seqs = table.seqs.clone()
    found, store = weakref.ref(seqs), Store()
    value = weakref.ref(scored(mode, seqs, store))
    del seqs, store
    gc.collect()
    assert found() is None
    assert value() is None


def test_a_table_is_moved_to_a_device_once() -> None:
    batch = CountBatch(torch.zeros(3, 2, dtype=torch.uint8), torch.ones(3, 1))
    memory, meta = StepMemory(), torch.device("meta")
    moved = memory.moved(batch, meta)
    assert moved.seqs.device == meta
    assert memory.moved(batch, meta) is moved
    assert memory.moved(batch, torch.device("cpu")) is batch
    batch.seqs = batch.seqs.clone()
    assert memory.moved(batch, meta) is not moved


def test_a_table_that_stays_is_not_copied() -> None:
    table = CountTable(pd.DataFrame({"n": [1, 2]}, index=["AC", "GT"]), DNA)
    assert table.to("cpu") is table
    assert table.to(dtype=torch.float64) is not table
