"""Edits of a model's shape during a fit: whole, or without a trace."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Optimizer,
    layers,
    rounds,
)
from pyprobound.base import Call, Step
from pyprobound.procedure import make_plan
from pyprobound.structure import (
    Snapshot,
    apply_edit,
    contributions_of,
    expected_contributions,
    flank_lengths,
    keep_contributions,
    modes_of,
    set_flank_lengths,
)
from tests.unit.fits import (
    DNA,
    FLANKS,
    MOTIF,
    Fit,
    assert_same_state,
    fit_of,
    reads_of,
    state_of,
    table_of,
)

BOTH = {"left_shift": 1, "right_shift": 1}


def trained(fit: Fit, folder: Path, **settings: Any) -> Optimizer[Any]:
    """An optimizer that has fitted everything for a short while."""
    optimizer = fit.optimizer(folder, dtype=torch.float64, epochs=3, **settings)
    optimizer.train_simultaneous()
    return optimizer


# --- flanks -----------------------------------------------------------------------


def test_growing_flanks_takes_along_all_tables_and_modes(tmp_path: Path) -> None:
    fit = fit_of(
        layers.PSAM(5, DNA, name="a"),
        layers.PSAM(4, DNA, name="b"),
        val=reads_of(20, seed=1),
        dimer=True,
    )
    optimizer = trained(fit, tmp_path)
    call = Call(fit.modes[1], "update_read_length", {"left_shift": 2, "right_shift": 1})
    optimizer.run_step(Step([call]))
    assert flank_lengths(fit.tables) == ((2, 1), (2, 1))
    assert [mode.input_shape for mode in fit.modes] == [12, 12, 12]
    optimizer.check_length_consistency()
    for table in fit.tables:
        assert table.seqs.shape[1] == 12
        assert fit.model([table]).negloglik.isfinite()
    assert fit.dimer is not None
    assert fit.dimer.score_windows(fit.table.seqs).shape[3:] == (8, 9)


def test_variable_lengths_grow_with_their_flanks(tmp_path: Path) -> None:
    frame = reads_of(30)
    frame.index = [text[: 7 + i % 3] for i, text in enumerate(frame.index)]
    frame = frame[~frame.index.duplicated()]
    fit = fit_of(frame=frame, min_variable_length=6)
    optimizer = trained(fit, tmp_path)
    assert [fit.modes[1].min_input_length, fit.modes[1].max_input_length] == [6, 9]
    optimizer.run_step(Step([Call(fit.modes[1], "update_read_length", dict(BOTH))]))
    assert [fit.modes[0].min_input_length, fit.modes[0].max_input_length] == [8, 11]
    optimizer.check_length_consistency()
    assert fit.model([fit.table]).negloglik.isfinite()


def two_experiments() -> tuple[
    MultiExperimentLoss, list[CountTable], layers.PSAM, list[list[Mode]]
]:
    """Two experiments that share a motif; the first has two modes of it."""
    psam = layers.PSAM(4, DNA, name="a", increment_flank=True)
    tables, experiments, modes = [], [], []
    for index, number in enumerate((2, 1)):
        table = table_of(reads_of(30, length=8 + index, seed=index))
        start = rounds.InitialRound()
        own = [Mode.from_psam(psam, table, name=str(i)) for i in range(number)]
        selected = [
            rounds.BoundUnsaturatedRound.from_binding([mode], start) for mode in own
        ]
        if number == 2:
            table.target = table.target[:, [0, 1, 1]]
        experiments.append(Experiment([start, *selected]))
        tables.append(table)
        modes.append(own)
    return MultiExperimentLoss(experiments), tables, psam, modes


def test_a_table_that_several_modes_read_grows_once(tmp_path: Path) -> None:
    model, tables, psam, modes = two_experiments()
    (binding_optim,) = model.optim_procedure().values()
    (step,) = [step for step in binding_optim.steps if step.greedy]
    assert [call.cmpt for call in step.calls] == [*modes[0], *modes[1]]
    optimizer = Optimizer(model, tables, checkpoint=tmp_path / "model.pt", device="cpu")
    optimizer.run_step(step)
    assert flank_lengths(tables) == ((1, 1), (1, 1))
    assert [mode.input_shape for own in modes for mode in own] == [10, 10, 11]
    assert psam.kernel_size == 4
    # One mode alone takes its own table along, and the other mode that reads it.
    optimizer.update_read_length([Call(modes[0][1], "update_read_length", dict(BOTH))])
    assert flank_lengths(tables) == ((2, 2), (1, 1))
    assert [mode.input_shape for own in modes for mode in own] == [12, 12, 11]


def test_a_footprint_may_need_the_letters_that_flanks_add(tmp_path: Path) -> None:
    fit = fit_of(layers.PSAM(9, DNA, name="a"))  # as long as the probes
    optimizer = trained(fit, tmp_path)
    grow = Call(fit.psams[0], "update_footprint", dict(BOTH))
    flank = Call(fit.modes[1], "update_read_length", dict(BOTH))
    before = state_of(fit)
    with pytest.raises(ValueError, match=r"kernel_size 11 exceeds .* \(9\)"):
        optimizer.run_step(Step([grow]))
    assert_same_state(state_of(fit), before)
    optimizer.run_step(Step([grow, flank]))
    assert fit.psams[0].kernel_size == 11
    assert fit.modes[1].out_len(fit.table.input_shape) == 1


# --- refusals ---------------------------------------------------------------------


def weak_ends(fit: Fit) -> None:
    """Leave no information in the two outermost positions on the left."""
    with torch.no_grad():
        fit.psams[0].betas.packed(0)[:, :8] = 0.5


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "the flank of a training table": ({"max_left_flank_length": 1}, {}, 2, 0),
    "a footprint at its limit": ({}, {"max_kernel_size": 6}, 0, 1),
    "ends without information": ({}, {"check": True}, 0, 1),
    "a footprint shorter than its pairs": ({}, {}, 0, -2),
    "a footprint longer than a probe": ({}, {}, 0, 5),
    "a step of which only the last call is refused": ({}, {}, 1, 9),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_step_leaves_no_trace(name: str, tmp_path: Path) -> None:
    table, settings, flank, footprint = REFUSED[name]
    check = settings.get("check", False)
    fit = fit_of(
        layers.PSAM(
            5,
            DNA,
            name="a",
            pairwise_distance=2,
            max_kernel_size=settings.get("max_kernel_size"),
        ),
        layers.PSAM(4, DNA, name="b"),
        dimer=True,
        val=reads_of(20, seed=1),
        **table,
    )
    optimizer = trained(fit, tmp_path)
    if check:
        weak_ends(fit)
    before, best = state_of(fit), torch.tensor(0.5)
    both = {"left_shift": footprint, "right_shift": footprint}
    calls = []
    if footprint:
        arguments = both | {"check_threshold": check}
        calls.append(Call(fit.psams[0], "update_footprint", arguments))
    if flank:
        both = {"left_shift": flank, "right_shift": flank}
        calls.append(Call(fit.modes[1], "update_read_length", both))
    with pytest.raises(ValueError, match=r"flank|max_kernel|information|pair|exceeds"):
        optimizer.run_step(Step(calls))
    assert_same_state(state_of(fit), before)
    # As a greedy step it ends the search, and the loss stays what it was.
    assert optimizer.greedy_search(Step(calls, greedy=True), best) == best
    assert optimizer.reason.startswith("refused: ")
    assert_same_state(state_of(fit), before)


def test_flanks_that_only_a_validation_table_lacks_are_refused(tmp_path: Path) -> None:
    fit = fit_of(dimer=True)
    fit.val = table_of(reads_of(20, seed=1), max_left_flank_length=0)
    optimizer = trained(fit, tmp_path)
    before = state_of(fit)
    calls = [Call(fit.modes[1], "update_read_length", dict(BOTH))]
    with pytest.raises(ValueError, match="flank"):
        optimizer.run_step(Step(calls))
    assert_same_state(state_of(fit), before)
    with pytest.raises(ValueError, match="flank"):
        optimizer.update_read_length(calls)
    assert_same_state(state_of(fit), before)


def test_an_edit_that_does_not_fit_together_is_undone(tmp_path: Path) -> None:
    psams = layers.PSAM(5, DNA, name="a"), layers.PSAM(4, DNA, name="b")
    fit = fit_of(*psams, dimer=True)
    optimizer = trained(fit, tmp_path)
    before = state_of(fit)
    # One of the two modes of the dimer alone: its tables and the other one stay.
    call = Call(fit.modes[1].chain[0], "update_input_length", dict(BOTH))
    with pytest.raises(ValueError, match=r"expected the same .* for both modes"):
        apply_edit([call], fit.model, fit.tables)
    assert_same_state(state_of(fit), before)
    optimizer.check_length_consistency()


def test_an_edit_that_is_interrupted_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a"), layers.PSAM(4, DNA, name="b"))
    optimizer = trained(fit, tmp_path)
    before = state_of(fit)

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.psams[1], "shift_heuristic", stop)
    calls = [
        Call(fit.modes[1], "update_read_length", dict(BOTH)),
        Call(fit.psams[0], "update_footprint", dict(BOTH)),
        Call(fit.psams[1], "shift_heuristic", {}),
    ]
    with pytest.raises(KeyboardInterrupt):
        optimizer.greedy_search(Step(calls, greedy=True), torch.tensor(1.0))
    assert_same_state(state_of(fit), before)


# --- greedy steps -----------------------------------------------------------------


def test_a_footprint_grows_to_the_length_of_the_motif(tmp_path: Path) -> None:
    frame = reads_of(250)
    losses = {}
    for grows in (False, True):
        torch.manual_seed(3)
        psam = layers.PSAM(3, DNA, name="a", increment_footprint=grows)
        fit = fit_of(psam, frame=frame)
        folder = tmp_path / str(grows)
        folder.mkdir()
        best = fit.optimizer(folder, dtype=torch.float64).train_sequential()
        losses[grows] = best.item()
        assert fit.loss() == pytest.approx(best.item(), abs=1e-7)
    assert psam.kernel_size >= len(MOTIF)
    assert losses[True] < losses[False] - 0.02
    strands = psam.get_filter(0).argmax(1).tolist()
    assert any(MOTIF in "".join("ACGT"[i] for i in strand) for strand in strands)
    text = (tmp_path / "True" / "fit.log").read_text()
    assert "accepted" in text


def test_a_footprint_grows_no_further_than_it_gains(tmp_path: Path) -> None:
    psam = layers.PSAM(5, DNA, name="a", increment_footprint=True)
    fit = fit_of(psam, frame=reads_of(250))
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64, greedy_threshold=0.05)
    optimizer.train_sequential()
    assert psam.kernel_size == 5
    text = (tmp_path / "fit.log").read_text()
    assert "undone" in text
    assert "accepted" not in text


def test_flanks_grow_as_long_as_the_motif_reaches_into_them(tmp_path: Path) -> None:
    """Some probes hold all but the last letter, which the right flank begins with."""
    frame = reads_of(250)
    frame.index = [
        f"{text[:5]}{MOTIF[:4]}" if i % 4 == 0 else text
        for i, text in enumerate(frame.index)
    ]
    frame = frame[~frame.index.duplicated()]
    frame[1] = frame[1].where(~frame.index.str.endswith(MOTIF[:4]), 80.0)
    psam = layers.PSAM(5, DNA, name="a", increment_flank=True)
    fit = fit_of(psam, frame=frame, val=frame, right_flank="ACTATCG")
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64)
    best = optimizer.train_sequential()
    (title,) = {event.binding for event in fit.events if "PSAM" in event.binding}
    own = [event for event in fit.events if event.binding == title]
    without = min(event.train_loss for event in own if event.step == 1)
    assert best.item() < without - 0.001
    # The attempt that gained too little is undone in both tables and all modes.
    text = (tmp_path / "fit.log").read_text()
    grown = text.count("accepted")
    assert grown >= 1
    assert text.count("undone") == 1
    assert flank_lengths(fit.tables) == ((grown, grown), (grown, grown))
    assert [mode.input_shape for mode in fit.modes] == [9 + 2 * grown] * 2
    optimizer.check_length_consistency()


@pytest.mark.parametrize("how", ["shift_footprint", "shift_footprint_heuristic"])
@pytest.mark.parametrize("by", [2, -2])
def test_an_off_centre_motif_is_recentred(how: str, by: int, tmp_path: Path) -> None:
    motif = "TGACATTC"
    switched_on: dict[str, Any] = {how: True}
    psam = layers.PSAM(8, DNA, name="a", seed=[motif], **switched_on)
    fit = fit_of(psam, frame=reads_of(250, length=13, motif=motif))
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64)
    centred = optimizer.train_sequential()
    optimizer.run_step(
        Step([Call(psam, "update_footprint", {"left_shift": by, "right_shift": -by})])
    )
    aside = optimizer.train_until_convergence()
    assert aside > centred + 0.005
    best = aside
    for step in make_plan(fit.model)[1].steps:
        if step.greedy:
            best = optimizer.greedy_search(step, best)
    assert best.item() == pytest.approx(centred.item(), abs=1e-6)
    strands = psam.get_filter(0).argmax(1).tolist()
    assert motif in {"".join("ACGT"[i] for i in strand) for strand in strands}


def test_a_greedy_edit_that_changes_nothing_ends_the_search(tmp_path: Path) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a", shift_footprint_heuristic=True))
    optimizer = trained(fit, tmp_path)
    with torch.no_grad():
        fit.psams[0].betas.packed(0).zero_()
    best = torch.tensor(1.0)
    step = Step([Call(fit.psams[0], "shift_heuristic", {})], greedy=True)
    assert optimizer.greedy_search(step, best) == best
    assert optimizer.reason == "converged: the edit changes nothing"


# --- contributions ----------------------------------------------------------------


def test_expected_contributions_stay_across_edits(tmp_path: Path) -> None:
    fit = fit_of(
        layers.PSAM(5, DNA, name="a"), layers.PSAM(4, DNA, name="b"), dimer=True
    )
    optimizer = trained(fit, tmp_path)
    with torch.no_grad():  # the letters that a shift drops count for something
        fit.psams[0].betas.packed(0).add_(0.5)
    expected = expected_contributions(fit.model)
    assert len(expected) == 4
    optimizer.run_step(
        Step(
            [
                Call(fit.psams[0], "update_footprint", {"left_shift": -1}),
                Call(fit.modes[1], "update_read_length", dict(BOTH)),
            ]
        )
    )
    moved = [part.expected_log_contribution() for part, _ in expected]
    assert any(
        abs(now - then) > 0.1 for now, (_, then) in zip(moved, expected, strict=True)
    )
    keep_contributions(expected)
    for part, log_contribution in expected:
        found = part.expected_log_contribution()
        assert found == pytest.approx(log_contribution, abs=1e-6)


def test_a_binding_that_is_absent_has_nothing_to_keep() -> None:
    fit = fit_of()
    assert expected_contributions(fit.model) == []
    first, _ = fit.selected.aggregate.components()
    first.set_contribution(0.25)
    ((part, log_contribution),) = expected_contributions(fit.model)
    assert part is first
    assert log_contribution == pytest.approx(0.25)


def test_parts_are_found_once_however_many_share_them() -> None:
    model, _, _, modes = two_experiments()
    assert modes_of(model) == [*modes[0], *modes[1]]
    assert len(contributions_of(model)) == 3
    fit = fit_of(dimer=True)
    assert modes_of(fit.model) == fit.modes
    assert len(contributions_of(fit.model)) == 3


# --- snapshots --------------------------------------------------------------------


def test_a_snapshot_is_restored_whatever_happened_since(tmp_path: Path) -> None:
    fit = fit_of(
        layers.PSAM(5, DNA, name="a"),
        layers.PSAM(4, DNA, name="b"),
        dimer=True,
        val=reads_of(20, seed=1),
    )
    optimizer = trained(fit, tmp_path)
    before = state_of(fit)
    snapshot = Snapshot.of(fit.model, fit.tables)
    loss = fit.loss()
    optimizer.run_step(
        Step(
            [
                Call(fit.modes[1], "update_read_length", dict(BOTH)),
                Call(fit.psams[0], "update_footprint", dict(BOTH)),
                Call(fit.psams[1], "update_footprint", {"right_shift": -1}),
            ]
        )
    )
    optimizer.train_until_convergence()
    assert fit.loss() != loss
    snapshot.restore(fit.model, fit.tables)
    assert_same_state(state_of(fit), before)
    assert fit.loss() == loss


def test_flank_lengths_are_set_for_all_tables_or_none() -> None:
    tables = [table_of(reads_of(9, seed=seed)) for seed in (0, 1)]
    set_flank_lengths(tables, [(1, 0), (0, 2)])
    assert flank_lengths(tables) == ((1, 0), (0, 2))
    with pytest.raises(ValueError, match="shorter"):
        set_flank_lengths(tables, [(3, 3)])
    assert len(FLANKS["left_flank"]) == 7
