"""Whole steps by the Fisher information: what they compute, compare, and say."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyprobound import layers
from pyprobound._evaluation import Evaluation
from pyprobound.aggregate import Aggregate
from pyprobound.base import Call, Step
from pyprobound.mode import Mode
from tests.unit.fits import DNA, MOTIF, Fit, fit_of, reads_of


def with_everything_present(fit: Fit) -> Fit:
    for module in fit.model.modules():
        if isinstance(module, Aggregate):
            for part in module.components():
                module.activity_heuristic(part)
    return fit


def plant(psam: layers.PSAM, letters: str) -> None:
    for position, letter in enumerate(letters):
        psam.betas[f"{position + 1}-{'ACGT'.index(letter)}"].detach().fill_(1.5)


@pytest.mark.parametrize("epochs", [2, 30])
def test_frozen_modes_are_scored_once_however_long_a_step_lasts(
    epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a"), layers.PSAM(5, DNA, name="b"))
    with_everything_present(fit)
    frozen, trained = fit.modes[1:]
    for mode, letters in ((frozen, "GGGTT"), (trained, "TGACA")):
        spec = mode.chain[-1].layer_spec
        assert isinstance(spec, layers.PSAM)
        plant(spec, letters)
    fit.model.freeze()
    trained.unfreeze()
    scored: Counter[Mode] = Counter()
    evaluate = Mode.evaluate

    def counted(self: Mode, evaluation: Evaluation) -> Tensor:
        scored[self] += 1
        return evaluate(self, evaluation)

    monkeypatch.setattr(Mode, "evaluate", counted)
    fit.optimizer(tmp_path, epochs=epochs).train_until_convergence()
    assert scored[frozen] == 1
    assert scored[trained] >= len(fit.events) > 2


def test_a_greedy_step_is_judged_by_where_its_fit_leads(tmp_path: Path) -> None:
    fit = fit_of(
        layers.PSAM(3, DNA, name="a"),
        frame=reads_of(200),
        left_flank_length=2,
        right_flank_length=2,
    )
    with_everything_present(fit)
    plant(fit.psams[0], MOTIF[1:4])
    fit.model.unfreeze()
    optimizer = fit.optimizer(
        tmp_path, dtype=torch.float64, greedy_threshold=0.02, epochs=40
    )
    before = optimizer.train_until_convergence()
    grow = Call(fit.psams[0], "update_footprint", {"left_shift": 1, "right_shift": 1})
    after = optimizer.greedy_search(Step([grow], greedy=True), before)
    assert float(before - after) > 0.02
    # Nothing is left to be gained from where it was judged.
    again = optimizer.train_until_convergence()
    assert float(after) == pytest.approx(float(again), abs=1e-6)
    log = (tmp_path / "fit.log").read_text()
    assert re.search(r"(of \d+ frames|best of \d+ starts)", log)
    assert log.count("accepted: ") == 1
    (undone,) = re.findall(r"undone: a gain of (\S+), and 0.02 is asked for", log)
    assert float(undone) < 0.02
    assert fit.psams[0].kernel_size == 5


def test_every_fit_of_a_procedure_says_why_it_ended(tmp_path: Path) -> None:
    psam = layers.PSAM(
        4, DNA, name="a", increment_footprint=True, shift_footprint_heuristic=True
    )
    fit = fit_of(psam)
    optimizer = fit.optimizer(tmp_path)
    optimizer.train_sequential()
    log = (tmp_path / "fit.log").read_text()
    steps = re.split(r"\tStep \d+: ", log)[1:]
    assert len(steps) == sum(
        line.startswith("\tStep")
        for line in optimizer.get_train_sequential().split("\n")
    )
    for step in steps:
        assert re.search(r"\t\t(converged|refused|stuck|budget): ", step), step
    # Only what nothing follows is polished.
    *others, last = re.findall(r"decrease \S+ below (\S+),", log)
    assert last == "1e-08"
    assert set(others) == {"1e-06"}


def test_a_fit_that_runs_out_of_epochs_says_so(tmp_path: Path) -> None:
    fit = with_everything_present(fit_of())
    fit.model.unfreeze()
    optimizer = fit.optimizer(tmp_path, epochs=1)
    optimizer.train_until_convergence()
    assert optimizer.reason == "budget: 1 epochs"
    assert optimizer.reason in (tmp_path / "fit.log").read_text()


def test_held_out_probes_decide_where_steps_end(tmp_path: Path) -> None:
    fit = fit_of(
        layers.PSAM(7, DNA, pairwise_distance=3, name="a"),
        frame=reads_of(40),
        val=reads_of(40, seed=5),
    )
    best = fit.optimizer(tmp_path, patience=2).train_simultaneous()
    values = [event.val_loss for event in fit.events if event.val_loss is not None]
    assert len(values) == len(fit.events)
    assert float(best) == pytest.approx(min(values))
    # what fits the training probes best is not what is kept
    assert values.index(min(values)) < len(values) - 1
    assert fit.val is not None
    with torch.no_grad():
        kept = float(fit.model([fit.val]).negloglik)
    assert kept == pytest.approx(min(values), rel=1e-6)
