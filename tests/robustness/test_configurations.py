"""Whatever is fitted ends: no worse than it began, finite, or with a reason."""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st

from pyprobound import Optimizer
from pyprobound.errors import PyProBoundError
from pyprobound.optimizer import ProgressEvent
from pyprobound.table import CountBatch
from tests.robustness.configurations import Drawing, Drawn

ROUNDING = {None: 1e-4, torch.float64: 1e-8}
"""Of an objective, relative to it: with the type of the parameters changes its sum."""

MOST_EPOCHS = 600
"""More than the steps that any of these procedures can take."""

REASON = re.compile(
    r"no fit has a finite loss: .*(start from smaller values|nothing binds it).*"
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let tables and checkpoints warn: probes without a read are meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def fitted(drawn: Drawn, folder: Path, events: list[ProgressEvent]) -> float:
    """Fit what was drawn; return the loss that decides."""
    optimizer: Optimizer[CountBatch] = Optimizer(
        drawn.model,
        drawn.tables,
        checkpoint=folder / "model.pt",
        output=folder / "fit.log",
        device="cpu",
        on_progress=events.append,
        **drawn.settings,
    )
    train = optimizer.train_simultaneous
    if drawn.sequential:
        train = optimizer.train_sequential
    best = float(train())
    assert optimizer.reason.split(":")[0] in {"converged", "budget", "stuck", "refused"}
    return best


def check_end(drawn: Drawn, best: float, events: Sequence[ProgressEvent]) -> None:
    """Check that the model is finite, and where the fit says that it is."""
    with torch.no_grad():
        loss = drawn.model(drawn.tables)
    objective = float(loss.negloglik + loss.regularization)
    assert math.isfinite(objective)
    is_held_out = drawn.settings["val_tables"] is not None
    judged = float(loss.negloglik) if is_held_out else objective
    within = ROUNDING[drawn.settings["dtype"]] * max(1.0, abs(judged))
    assert best == pytest.approx(judged, abs=within)
    # Each binding that enters begins afresh, with a penalty of its own.
    begun = next(each for each in events if each.binding == events[-1].binding)
    start = begun.train_loss + begun.train_regularization
    if is_held_out and math.isfinite(start):
        assert begun.val_loss is not None
        start = begun.val_loss
    assert not best > start + within
    for name, parameter in drawn.model.named_parameters():
        assert not bool(parameter.isnan().any()), name
        assert not bool((parameter == math.inf).any()), name


@given(st.data())
@settings(max_examples=25)
def test_any_configuration_ends_well_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    drawing = Drawing(lambda options: data.draw(st.sampled_from(options)))
    events: list[ProgressEvent] = []
    best, told = None, ""
    with _quiet():
        drawn = drawing.whole()
        note(str(drawn.log))
        try:
            best = fitted(drawn, tmp_path_factory.mktemp("fit"), events)
        except PyProBoundError as error:
            told = str(error)
    assert len(events) < MOST_EPOCHS
    if best is not None:
        check_end(drawn, best, events)
        return
    assert REASON.fullmatch(told)
    # Only what begins far away, or what nothing binds, may have no finite loss.
    assert not (drawn.is_plain and drawn.is_possible)
