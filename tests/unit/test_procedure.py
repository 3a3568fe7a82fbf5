"""The plan of a sequential fit: its text, its groups, and editing it."""

import dataclasses
import math
from pathlib import Path

import pytest

from pyprobound import layers
from pyprobound.base import Call, Phase, Step
from pyprobound.procedure import Stage, format_plan, is_improved, make_plan
from tests.unit.fits import DNA, Fit, fit_of


def two_motifs(*, dimer: bool = False) -> Fit:
    psams = [
        layers.PSAM(4, DNA, name=name, pairwise_distance=1, shift_footprint=True)
        for name in "ab"
    ]
    return fit_of(*psams, dimer=dimer)


def words(stage: Stage) -> list[list[str]]:
    return [[str(call) for call in step.calls] for step in stage.steps]


def test_bindings_come_in_their_order_with_their_phases() -> None:
    fit = two_motifs(dimer=True)
    plan = make_plan(fit.model)
    titles = ["NonSpecific-ns", "PSAM-a", "PSAM-b", "Spacing-a-b"]
    assert [stage.title for stage in plan] == titles
    start, letters, left, right, pairs, last = words(plan[1])
    assert start == [
        "MultiExperimentLoss.freeze()",
        "Aggregate.activity_heuristic(contribution=Contribution( Mode-a ))",
        "BoundUnsaturatedRound-1.unfreeze(parameter=depth)",
    ]
    assert letters == ["PSAM-a.unfreeze(parameter=monomer)"]
    assert left == ["PSAM-a.update_footprint(left_shift=1, right_shift=-1)"]
    assert right == ["PSAM-a.update_footprint(left_shift=-1, right_shift=1)"]
    assert pairs == ["PSAM-a.unfreeze(parameter=pairwise)"]
    assert last == ["MultiExperimentLoss.unfreeze(parameter=all)"]
    greedy = [step.greedy for step in plan[1].steps]
    assert greedy == [False, False, True, True, False, False]
    # The motifs have stages of their own, so that only the spacing is left to fit.
    assert words(plan[3])[1] == ["Spacing-a-b.unfreeze(parameter=spacing)"]
    assert len(plan[3].steps) == 3


def test_a_dimer_whose_modes_have_no_stage_takes_them_along() -> None:
    fit = two_motifs(dimer=True)
    contributions = fit.selected.aggregate.contributions
    del contributions[2], contributions[1]  # the motifs on their own
    plan = make_plan(fit.model)
    assert [stage.title for stage in plan] == ["NonSpecific-ns", "Spacing-a-b"]
    letters = words(plan[1])[1]
    assert set(letters) == {
        "PSAM-a.unfreeze(parameter=monomer)",
        "PSAM-b.unfreeze(parameter=monomer)",
        "Spacing-a-b.unfreeze(parameter=spacing)",
    }
    # Each motif shifts on its own; what is not greedy is made together.
    assert sum(step.greedy for step in plan[1].steps) == 4
    pairs = {f"PSAM-{name}.unfreeze(parameter=pairwise)" for name in "ab"}
    assert set(words(plan[1])[-2]) == pairs


def test_groups_are_fitted_together_phase_by_phase() -> None:
    fit = two_motifs()
    nonspecific, first, second = (mode.key() for mode in fit.modes)
    plan = make_plan(fit.model, [[nonspecific, second], [first]])
    assert [stage.title for stage in plan] == ["NonSpecific-ns, PSAM-b", "PSAM-a"]
    together = plan[0]
    assert together.keys == (nonspecific, second)
    start, letters, *_, last = words(together)
    assert start[0] == "MultiExperimentLoss.freeze()"
    assert len([call for call in start if "activity_heuristic" in call]) == 2
    assert len(start) == len(set(start))
    assert letters == ["PSAM-b.unfreeze(parameter=monomer)"]
    assert last == ["MultiExperimentLoss.unfreeze(parameter=all)"]
    assert words(plan[1]) == words(make_plan(fit.model)[1])


def test_a_group_may_leave_bindings_out() -> None:
    fit = two_motifs()
    (stage,) = make_plan(fit.model, [[fit.modes[2].key()]])
    assert stage.title == "PSAM-b"


def test_an_unknown_key_is_refused_with_those_there_are() -> None:
    fit = two_motifs()
    stranger = fit_of(layers.PSAM(4, DNA, name="c")).modes[1].key()
    message = r"no binding PSAM-c; the model has NonSpecific-ns, PSAM-a, PSAM-b"
    with pytest.raises(ValueError, match=message):
        make_plan(fit.model, [[fit.modes[0].key()], [stranger]])


def test_a_plan_prints_one_call_to_a_line() -> None:
    fit = two_motifs()
    plan = make_plan(fit.model)
    text = format_plan(plan)
    blocks = text.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        f"### Binding: {stage.title}" for stage in plan
    ]
    for block, stage in zip(blocks, plan, strict=True):
        lines = block.splitlines()[1:]
        assert [line.strip() for line in lines if line.startswith("\t\t")] == [
            str(call) for step in stage.steps for call in step.calls
        ]
        headings = [line for line in lines if not line.startswith("\t\t")]
        assert headings == [f"\tStep {i}" for i in range(len(stage.steps))]


def test_an_edited_plan_is_run_as_it_is(tmp_path: Path) -> None:
    """Without its greedy steps, and with a footprint fixed from the start."""
    fit = two_motifs()
    optimizer = fit.optimizer(tmp_path, epochs=2)
    plan = []
    for stage in make_plan(fit.model)[:2]:
        steps = [step for step in stage.steps if not step.greedy]
        plan.append(dataclasses.replace(stage, steps=tuple(steps)))
    shrink = Call(fit.psams[0], "update_footprint", {"left_shift": -1})
    first = plan[1].steps[0]
    plan[1].steps[0].calls[:] = [*first.calls, shrink]
    optimizer.train_sequential(plan=plan)
    assert {event.binding for event in fit.events} == {"NonSpecific-ns", "PSAM-a"}
    assert fit.psams[0].kernel_size == 3
    assert fit.psams[0].start == 1
    ran = {(event.binding, event.step, event.call) for event in fit.events}
    assert ran == {
        (stage.title, number, "; ".join(map(str, step.calls)))
        for stage in plan
        for number, step in enumerate(stage.steps)
    }


def test_joined_steps_drop_what_is_repeated_and_what_is_empty() -> None:
    fit = two_motifs()
    psam = fit.psams[0]
    call = Call(psam, "unfreeze", {"parameter": "monomer"})
    stage = make_plan(fit.model)[1]
    binding_optim = fit.model.optim_procedure()[fit.modes[1].key()]
    binding_optim.steps.extend(
        [Step([call], phase=Phase.LETTERS), Step([], phase=Phase.POSITION_BIAS)]
    )
    binding_optim.merge_binding_optim()
    assert [[str(c) for c in step.calls] for step in binding_optim.steps] == words(
        stage
    )


@pytest.mark.parametrize(
    ("before", "after", "improved"),
    [
        (1.0, 0.5, True),
        (1.0, 0.9, False),  # by no more than the threshold
        (1.0, 1.5, False),
        (math.inf, 3.0, True),
        (1.0, math.nan, False),
        (1.0, math.inf, False),
        (math.inf, math.inf, False),
    ],
)
def test_a_greedy_step_must_gain_more_than_the_threshold(
    before: float, after: float, *, improved: bool
) -> None:
    assert is_improved(before, after, 0.1) is improved
