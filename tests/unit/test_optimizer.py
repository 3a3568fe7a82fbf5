"""Fits: what is kept, on disk and in the model, and when a fit ends."""

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from pyprobound import CountBatch, EvenSampler, MultiExperimentLoss, layers
from pyprobound._epochs import CEILING, bounded
from pyprobound.base import Call, Step
from pyprobound.errors import CheckpointError, PyProBoundError
from pyprobound.loss import Loss
from pyprobound.optimizer import Optimizer, ProgressEvent
from pyprobound.procedure import make_plan
from tests.unit.fits import (
    DNA,
    FLANKS,
    MOTIF,
    Fit,
    assert_same_state,
    fit_of,
    reads_of,
    state_of,
)


def total(event: ProgressEvent) -> float:
    return event.train_loss + event.train_regularization


def best_of(fit: Fit) -> float:
    return min(total(event) for event in fit.events)


def on_disk(fit: Fit, folder: Path) -> float:
    """The loss of the model in the checkpoint."""
    other = fit_of(*[layers.PSAM(p.kernel_size, DNA, name=p.name) for p in fit.psams])
    other.model.double().reload(folder / "model.pt")
    return other.loss()


def erratic(fit: Fit, folder: Path, **arguments: Any) -> Optimizer[Any]:
    """An optimizer whose loss rises again after some epochs."""
    settings = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.2}}
    return fit.optimizer(folder, **(settings | arguments))


# --- the best model ---------------------------------------------------------------


def test_the_best_model_is_left_in_the_model_and_on_disk(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = erratic(fit, tmp_path, dtype=torch.float64, patience=5, epochs=60)
    best = optimizer.train_simultaneous()
    losses = [total(event) for event in fit.events]
    assert losses[-1] > min(losses) + 1e-3  # or there would be nothing to keep
    assert best.dtype == torch.float64  # float32 would round what the next must beat
    assert best.item() == pytest.approx(min(losses), abs=1e-12)
    assert fit.loss() == pytest.approx(min(losses), abs=1e-12)
    assert on_disk(fit, tmp_path) == pytest.approx(min(losses), abs=1e-12)
    assert [event.best for event in fit.events].count(True) > 1
    assert fit.events[losses.index(min(losses))].best


def test_a_model_that_must_beat_a_loss_is_not_kept_unless_it_does(
    tmp_path: Path,
) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=2)
    before = state_of(fit)
    bar = torch.tensor(0.01)
    assert optimizer.train_until_convergence(best_loss=bar) == bar
    assert_same_state(state_of(fit), before)
    assert not (tmp_path / "model.pt").exists()


def test_the_sequential_fit_ends_with_the_loss_it_returns(tmp_path: Path) -> None:
    fit = fit_of()
    best = fit.optimizer(tmp_path, dtype=torch.float64).train_sequential()
    assert fit.loss() == pytest.approx(best.item(), abs=1e-12)
    assert on_disk(fit, tmp_path) == pytest.approx(best.item(), abs=1e-12)
    strands = fit.psams[0].get_filter(0).argmax(1).tolist()
    assert MOTIF in {"".join("ACGT"[i] for i in strand) for strand in strands}


@pytest.mark.parametrize("maintain_loss", [True, False])
def test_maintained_loss_never_rises_between_the_steps_of_a_binding(
    tmp_path: Path, *, maintain_loss: bool
) -> None:
    # Every step starts with an epoch that makes things worse.
    fit = fit_of()
    settings: dict[str, Any] = {"patience": 1, "epochs": 1, "dtype": torch.float64}
    optimizer = erratic(fit, tmp_path, optim_args={"lr": 200.0}, **settings)
    kept = []
    for stage in make_plan(fit.model):
        best = optimizer.run_stage(stage, maintain_loss=maintain_loss)
        kept.append((best.item(), fit.loss()))
    for best_loss, loss in kept:
        assert loss == pytest.approx(best_loss, abs=1e-12)
    marks = [(event.step, event.epoch, event.best) for event in fit.events]
    firsts = [best for step, epoch, best in marks if step > 0 and epoch == 0]
    # The model that a step starts from beats nothing but a bar that was forgotten.
    assert any(firsts) is not maintain_loss


# --- interruptions and numbers that are none --------------------------------------


class Interrupted:
    """Raises KeyboardInterrupt after some epochs, as Ctrl-C would."""

    def __init__(self, fit: Fit, after: int) -> None:
        self.fit = fit
        self.after = after

    def __call__(self, event: ProgressEvent) -> None:
        self.fit.events.append(event)
        if len(self.fit.events) == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 5, 14, 17])
def test_an_interrupted_fit_keeps_its_best_model(after: int, tmp_path: Path) -> None:
    fit = fit_of()
    stop = Interrupted(fit, after)
    optimizer = erratic(fit, tmp_path, on_progress=stop, dtype=torch.float64)
    with pytest.raises(KeyboardInterrupt):
        optimizer.train_simultaneous()
    assert len(fit.events) == after
    assert fit.loss() == pytest.approx(best_of(fit), abs=1e-12)
    assert on_disk(fit, tmp_path) == pytest.approx(best_of(fit), abs=1e-12)


def test_an_interrupted_sequential_fit_keeps_the_best_of_all_its_steps(
    tmp_path: Path,
) -> None:
    whole = fit_of()
    torch.manual_seed(1)
    whole.optimizer(tmp_path).train_sequential()
    for after in range(1, len(whole.events), 4):
        folder = tmp_path / str(after)
        folder.mkdir()
        fit = fit_of()
        torch.manual_seed(1)
        stop = Interrupted(fit, after)
        optimizer = fit.optimizer(folder, on_progress=stop, dtype=torch.float64)
        with pytest.raises(KeyboardInterrupt):
            optimizer.train_sequential()
        assert fit.loss() == pytest.approx(best_of(fit), abs=1e-12)
        assert on_disk(fit, folder) == pytest.approx(best_of(fit), abs=1e-12)


def test_the_end_of_every_step_is_told_with_its_reason(tmp_path: Path) -> None:
    psam = layers.PSAM(
        4,
        DNA,
        name="a",
        increment_footprint=True,
        increment_flank=True,
        max_kernel_size=6,
    )
    fit = fit_of(psam, frame=reads_of(40, length=7), **FLANKS)
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64, greedy_threshold=1e-4)
    best = optimizer.train_sequential()
    places = [(each.binding, each.step) for each in fit.ends]
    assert places == sorted(places, key=lambda place: place[0] == "PSAM-a")
    assert set(places) >= {(each.binding, each.step) for each in fit.events}
    for stage in make_plan(fit.model):
        numbers = {number for title, number in places if title == stage.title}
        assert numbers == set(range(len(stage.steps)))
    for end in fit.ends:
        own = [x for x in fit.events if (x.binding, x.step) == (end.binding, end.step)]
        if end.epoch is None:
            assert end.loss is None
            assert end.ended.startswith(("refused: ", "converged: the edit changes"))
        elif "; " not in end.ended.replace("kept; ", ""):
            assert end.ended.startswith(("converged: ", "budget: ", "stuck: "))
            assert (end.call, end.epoch) == (own[-1].call, own[-1].epoch)
    judged = [end.ended for end in fit.ends if "accepted" in end.ended]
    assert judged
    assert all("; accepted: a gain of " in each for each in judged)
    last = fit.ends[-1]
    assert last.loss == pytest.approx(best.item())
    assert last.ended == optimizer.reason
    total_of_best = min(total(each) for each in fit.events if each.call == last.call)
    assert last.loss == pytest.approx(total_of_best, abs=1e-12)


def test_an_interrupted_greedy_step_is_undone(tmp_path: Path) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a"))
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64)
    best = optimizer.train_sequential()
    before = state_of(fit)
    # One position less cannot be as good; the first epoch of the attempt is stopped.
    optimizer.on_progress = Interrupted(fit, len(fit.events) + 1)
    shrink = Call(fit.psams[0], "update_footprint", {"left_shift": -2})
    with pytest.raises(KeyboardInterrupt):
        optimizer.greedy_search(Step([shrink], greedy=True), best)
    assert_same_state(state_of(fit), before)
    assert on_disk(fit, tmp_path) == pytest.approx(best.item(), abs=1e-12)


class TurnsNaN(MultiExperimentLoss):
    """A loss that is not a number from some call on."""

    calls_left = 10**9

    def forward(self, batches: Iterable[CountBatch]) -> Loss:
        loss = super().forward(batches)
        self.calls_left -= 1
        if self.calls_left >= 0:
            return loss
        return Loss(loss.negloglik * math.nan, loss.regularization)


@pytest.mark.parametrize("engine", [None, torch.optim.Adam])
def test_a_loss_that_turns_nan_does_not_lose_the_best_model(
    engine: type[torch.optim.Optimizer] | None, tmp_path: Path
) -> None:
    fit = fit_of(kind=TurnsNaN)
    optimizer = fit.optimizer(tmp_path, optimizer=engine, dtype=torch.float64)
    assert isinstance(fit.model, TurnsNaN)
    fit.model.calls_left = 40
    best = optimizer.train_simultaneous()
    assert "not a number" in optimizer.reason
    fit.model.calls_left = 10**9
    known = [total(event) for event in fit.events if not math.isnan(total(event))]
    assert len(known) > 1
    assert len(known) < len(fit.events)
    assert best.item() == pytest.approx(min(known), abs=1e-12)
    assert fit.loss() == pytest.approx(min(known), abs=1e-12)
    assert on_disk(fit, tmp_path) == pytest.approx(min(known), abs=1e-12)
    for parameter in fit.model.parameters():
        assert not parameter.isnan().any()


def test_a_sequential_fit_goes_on_from_the_best_model_after_nan(
    tmp_path: Path,
) -> None:
    fit = fit_of(kind=TurnsNaN)
    assert isinstance(fit.model, TurnsNaN)
    fit.model.calls_left = 60
    best = fit.optimizer(tmp_path, dtype=torch.float64).train_sequential()
    fit.model.calls_left = 10**9
    assert math.isfinite(best)
    assert fit.loss() == pytest.approx(best.item(), abs=1e-12)


def test_a_loss_that_is_nan_from_the_start_leaves_the_model_as_it_was(
    tmp_path: Path,
) -> None:
    fit = fit_of(kind=TurnsNaN)
    assert isinstance(fit.model, TurnsNaN)
    fit.model.calls_left = 0
    optimizer = fit.optimizer(tmp_path)
    before = state_of(fit)
    assert optimizer.train_until_convergence() == math.inf
    assert_same_state(state_of(fit), before)
    assert not (tmp_path / "model.pt").exists()


# --- when a fit ends --------------------------------------------------------------


def test_held_out_probes_decide_and_end_the_fit(tmp_path: Path) -> None:
    # Other noise than the training probes', so that a long fit would follow the latter.
    fit = fit_of(
        layers.PSAM(7, DNA, pairwise_distance=3, name="a"),
        frame=reads_of(40),
        val=reads_of(40, seed=5),
    )
    optimizer = fit.optimizer(
        tmp_path, patience=3, optimizer=torch.optim.Adam, optim_args={"lr": 0.05}
    )
    best = optimizer.train_simultaneous()
    held_out = [event.val_loss for event in fit.events]
    assert None not in held_out
    values = [value for value in held_out if value is not None]
    assert best.item() == pytest.approx(min(values))
    assert values.index(min(values)) == len(values) - 1 - 3
    assert optimizer.reason == "converged: no improvement in 3 epochs"
    assert total(fit.events[-1]) < total(fit.events[-4])  # still learning by heart
    assert fit.val is not None
    with torch.no_grad():
        kept = fit.model([fit.val]).negloglik.item()
    assert kept == pytest.approx(min(values), rel=1e-6)


def test_epochs_bound_a_fit(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=3, optimizer=torch.optim.Adam)
    assert optimizer.reason == "not fitted yet"
    optimizer.train_simultaneous()
    assert optimizer.reason == "budget: 3 epochs"
    assert [event.epoch for event in fit.events] == [0, 1, 2, 3]


def test_a_fit_of_whole_tables_ends_where_nothing_is_to_be_gained(
    tmp_path: Path,
) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, dtype=torch.float64)
    optimizer.train_simultaneous()
    assert optimizer.reason.startswith("converged: predicted decrease")
    slopes = torch.autograd.grad(
        sum(fit.model([fit.table]), torch.zeros(())),
        [p for p in fit.model.parameters() if p.requires_grad],
    )
    assert max(slope.abs().max().item() for slope in slopes) < 1e-3


def test_a_model_without_anything_to_train_is_scored_once(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path)
    fit.model.freeze()
    best = optimizer.train_until_convergence()
    assert optimizer.reason == "converged: nothing to train"
    assert best.item() == pytest.approx(fit.loss(), rel=1e-6)
    assert len(fit.events) == 1


def test_a_fit_that_never_converges_does_not_shift_a_footprint_for_ever(
    tmp_path: Path,
) -> None:
    psam = layers.PSAM(5, DNA, name="a")
    fit = fit_of(psam)
    fit.model.unfreeze()
    optimizer = fit.optimizer(
        tmp_path,
        epochs=1,
        greedy_threshold=0,
        optimizer=torch.optim.SGD,
        optim_args={"lr": 1e-3},
    )
    with torch.no_grad():  # nothing is lost by a shift, something gained by an epoch
        psam.shrink(1e-4)
        for part in fit.selected.aggregate.components():
            part.log_activity.fill_(0)
    shift = Call(psam, "update_footprint", {"left_shift": 1, "right_shift": -1})
    optimizer.greedy_search(Step([shift], greedy=True))
    assert (tmp_path / "fit.log").read_text().count("accepted") == psam.kernel_size


def test_a_refused_greedy_step_says_why(tmp_path: Path) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a", max_kernel_size=5))
    optimizer = fit.optimizer(tmp_path)
    grow = Call(fit.psams[0], "update_footprint", {"left_shift": 1})
    before = state_of(fit)
    bar = torch.tensor(3.0)
    assert optimizer.greedy_search(Step([grow], greedy=True), bar) == bar
    assert optimizer.reason == (
        "refused: PSAM-a: 6 positions would exceed max_kernel_size 5"
    )
    assert optimizer.reason in (tmp_path / "fit.log").read_text()
    assert_same_state(state_of(fit), before)


# --- engines ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 16},
        {"batch_size": 16, "sampler": EvenSampler, "sampler_args": {"n_bin": 8}},
        {"batch_size": 10**6, "optim_args": {"lr": 0.05}},
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}},
        {"optimizer": torch.optim.Rprop},
        {"optimizer": torch.optim.LBFGS, "optim_args": {"max_iter": 4}},
    ],
    ids=["default", "batches", "even batches", "one batch", "Adam", "Rprop", "LBFGS"],
)
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_every_engine_lowers_the_loss(
    arguments: dict[str, Any], dtype: torch.dtype | None, tmp_path: Path
) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, dtype=dtype, epochs=30, **arguments)
    best = optimizer.train_simultaneous()
    assert best.item() < total(fit.events[0]) - 0.02
    assert best.item() == pytest.approx(best_of(fit), rel=1e-6)
    assert {p.dtype for p in fit.model.parameters()} == {dtype or torch.float32}


@pytest.mark.parametrize("dimer", [True, False])
def test_mixed_precision_lowers_the_loss_too(tmp_path: Path, *, dimer: bool) -> None:
    fit = fit_of(layers.PSAM(5, DNA, name="a"), dimer=dimer)
    best = fit.optimizer(tmp_path, use_amp=True, epochs=3).train_simultaneous()
    assert best.item() < total(fit.events[0]) - 0.002
    assert {p.dtype for p in fit.model.parameters()} == {torch.float32}


def test_arguments_of_the_engine_are_handed_on(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class Recorder(torch.optim.Adam):
        def __init__(self, params: Any, **arguments: Any) -> None:
            seen.update(arguments)
            super().__init__(params, **arguments)

    fit = fit_of()
    optim_args = {"lr": 0.25, "betas": (0.5, 0.9)}
    fit.optimizer(
        tmp_path, optimizer=Recorder, optim_args=optim_args, epochs=1
    ).train_simultaneous()
    assert seen == optim_args


def test_a_sampler_needs_its_arguments(tmp_path: Path) -> None:
    drawn: list[int] = []

    class Recorder(EvenSampler):
        def __iter__(self) -> Iterator[int]:
            for index in super().__iter__():
                drawn.append(index)
                yield index

    fit = fit_of()
    fit.optimizer(
        tmp_path,
        batch_size=50,
        sampler=Recorder,
        sampler_args={"n_bin": 4},
        epochs=1,
    ).train_simultaneous()
    assert sorted(drawn) == list(range(len(fit.table)))


def test_training_is_repeatable_from_its_seed(tmp_path: Path) -> None:
    results = []
    for name in "ab":
        torch.manual_seed(7)
        (tmp_path / name).mkdir()
        fit = fit_of()
        optimizer = fit.optimizer(tmp_path / name, batch_size=32, epochs=2)
        optimizer.train_sequential()
        results.append(state_of(fit))
    assert_same_state(*results)


def test_training_at_once_lets_absent_bindings_enter(tmp_path: Path) -> None:
    fit = fit_of()
    parts = list(fit.selected.aggregate.components())
    assert all(part.is_absent for part in parts)
    fit.optimizer(tmp_path, epochs=1).train_simultaneous()
    assert not any(part.is_absent for part in parts)
    trained = {name for name, p in fit.model.named_parameters() if p.requires_grad}
    assert any("betas" in name for name in trained)
    assert sum(name.endswith("log_activity") for name in trained) == 2
    # Present ones are left alone.
    activities = [part.log_activity.item() for part in parts]
    again = fit.optimizer(tmp_path, checkpoint=tmp_path / "b.pt", output=io.StringIO())
    again.epochs = 0
    again.train_simultaneous()
    assert [part.log_activity.item() for part in parts] == activities


def test_an_epoch_in_batches_is_the_mean_of_its_batches(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, batch_size=40, dtype=torch.float64)
    for part in fit.selected.aggregate.components():
        fit.selected.aggregate.activity_heuristic(part)
    fit.model.freeze()
    loader = optimizer._epochs.loader(optimizer.train_tables, train=False)
    whole = optimizer.run_one_epoch(False, loader)
    loss = fit.model([fit.table])
    assert whole.negloglik.item() == pytest.approx(loss.negloglik.item(), abs=1e-12)
    batches = optimizer.run_one_epoch(
        False, optimizer._epochs.loader(optimizer.train_tables, train=True)
    )
    assert batches.negloglik.item() == pytest.approx(loss.negloglik.item(), rel=0.05)
    assert batches.regularization.item() == pytest.approx(
        loss.regularization.item(), abs=1e-12
    )


# --- checkpoints ------------------------------------------------------------------


def test_reloading_restores_flanks_of_all_tables_and_every_score(
    tmp_path: Path,
) -> None:
    fit = fit_of(val=reads_of(30, seed=3))
    optimizer = fit.optimizer(tmp_path, epochs=2)
    shift = {"left_shift": 2, "right_shift": 1}
    optimizer.run_step(Step([Call(fit.modes[0], "update_read_length", shift)]))
    optimizer.train_simultaneous()
    fresh = fit_of(val=reads_of(30, seed=3))
    again = fresh.optimizer(
        tmp_path, checkpoint=tmp_path / "other.pt", output=io.StringIO()
    )
    metadata = again.reload(tmp_path / "model.pt")
    assert metadata["flank_lengths"] == ((2, 1),)
    assert_same_state(state_of(fresh), state_of(fit))
    for old, new in zip(fit.tables, fresh.tables, strict=True):
        assert torch.equal(fresh.model([new])[0], fit.model([old])[0])
    again.check_length_consistency()


def test_the_default_checkpoint_is_the_optimizers_own(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=2)
    optimizer.train_simultaneous()
    best = state_of(fit)
    with torch.no_grad():
        for parameter in fit.model.parameters():
            parameter.add_(1.0)
    optimizer.reload()
    assert_same_state(state_of(fit), best)


def test_a_checkpoint_may_be_an_open_file(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=1)
    file = io.BytesIO()
    optimizer.save(file)
    before = state_of(fit)
    optimizer.train_simultaneous()
    file.seek(0)
    optimizer.reload(file)
    assert_same_state(state_of(fit), before)


def test_a_failing_write_leaves_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=3)
    optimizer.train_simultaneous()
    written = (tmp_path / "model.pt").read_bytes()
    whole = torch.save

    def half(content: object, file: IO[bytes]) -> None:
        buffer = io.BytesIO()
        whole(content, buffer)
        file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(PyProBoundError, match="No space left"):
        optimizer.train_until_convergence()
    assert (tmp_path / "model.pt").read_bytes() == written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit.log", "model.pt"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    optimizer = fit_of().optimizer(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.pt: no such file"):
        optimizer.reload()


@pytest.mark.parametrize("name", ["model.pt", "fit.log"])
def test_files_that_are_not_empty_give_a_warning(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    fit_of().optimizer(tmp_path)  # an empty file is as good as none
    (tmp_path / name).write_text("something")
    with pytest.warns(UserWarning, match=f"{name} is not empty"):
        fit_of().optimizer(tmp_path)
    assert (tmp_path / name).read_text() == "something"


# --- checks -----------------------------------------------------------------------


def test_every_component_needs_a_table(tmp_path: Path) -> None:
    fit = fit_of()
    with pytest.raises(ValueError, match="train_tables has 2 tables for a model of 1"):
        Optimizer(fit.model, [fit.table] * 2, checkpoint=tmp_path / "model.pt")
    with pytest.raises(ValueError, match="val_tables has 0 tables"):
        Optimizer(fit.model, [fit.table], [], checkpoint=tmp_path / "model.pt")


def test_probes_that_the_model_does_not_take_are_named(tmp_path: Path) -> None:
    fit = fit_of(frame=reads_of(20))
    longer = fit_of(frame=reads_of(20, length=11)).table
    message = (
        r"Mode-ns of Experiment-0 expects \(input_shape, shortest, longest\) ="
        r" \(9, 9, 9\), but its table has \(11, 11, 11\)"
    )
    with pytest.raises(RuntimeError, match=message):
        Optimizer(fit.model, [longer], checkpoint=tmp_path / "model.pt")
    with pytest.raises(RuntimeError, match=message):
        Optimizer(fit.model, [fit.table], [longer], checkpoint=tmp_path / "model.pt")
    optimizer = fit.optimizer(tmp_path)
    fit.table.set_flank_length(left=1)
    with pytest.raises(RuntimeError, match=r"\(9, 9, 9\), but .* \(10, 10, 10\)"):
        optimizer.check_length_consistency()


# --- texts ------------------------------------------------------------------------


def test_the_parameter_string_lists_what_is_trained(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path)
    fit.model.freeze()
    assert optimizer.get_parameter_string() == "### Parameters:"
    fit.psams[0].unfreeze("monomer")
    (line,) = optimizer.get_parameter_string().splitlines()[1:]
    assert line.endswith("layer_spec.betas.0: (1, 20)")


def test_the_setup_string_shows_tables_loss_and_settings(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=17, greedy_threshold=0.125)
    text = optimizer.get_setup_string()
    assert fit.table.get_setup_string() in text
    assert fit.model.get_setup_string() in text
    for line in (
        "optimizer: TrustRegion (Fisher information)",
        "epochs: 17",
        "patience: 10",
        "greedy_threshold: 0.125",
        "batch_size: whole tables",
        "device: cpu",
        f"checkpoint: {tmp_path / 'model.pt'}",
    ):
        assert f"\t{line}\n" in f"{text}\n"
    batches = fit.optimizer(tmp_path, batch_size=8).get_setup_string()
    assert "\toptimizer: Adam\n" in batches
    assert "\tbatch_size: 8\n" in batches


def test_progress_is_printed_and_reported_alike(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path)
    optimizer.train_sequential()
    text = (tmp_path / "fit.log").read_text()
    assert text.count("\tepoch ") == len(fit.events)
    for stage in make_plan(fit.model):
        assert f"### Binding: {stage.title}\n" in text
        for number, step in enumerate(stage.steps):
            calls = "; ".join(map(str, step.calls))
            assert f"\tStep {number}: {calls}\n" in text
            assert (stage.title, number, calls) in {
                (event.binding, event.step, event.call) for event in fit.events
            }
    for event in fit.events:
        assert f"loss {event.train_loss:.7f}" in text
        assert event.val_loss is None
        assert event.seconds >= 0
    seconds = [event.seconds for event in fit.events]
    assert seconds == sorted(seconds)


def test_output_goes_to_a_stream_or_to_the_standard_output_of_the_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = fit_of()
    stream = io.StringIO()
    fit.optimizer(tmp_path, output=stream).print("one", 2, sep="-", end="!")
    assert stream.getvalue() == "one-2!"
    assert capsys.readouterr().out == ""
    Optimizer(fit.model, [fit.table], checkpoint=tmp_path / "model.pt").print("three")
    assert capsys.readouterr().out == "three\n"


def test_a_path_is_appended_to_unless_told_otherwise(tmp_path: Path) -> None:
    optimizer = fit_of().optimizer(tmp_path)
    optimizer.print("one")
    optimizer.print("two")
    assert (tmp_path / "fit.log").read_text() == "one\ntwo\n"
    optimizer.print("three", mode="wt")
    assert (tmp_path / "fit.log").read_text() == "three\n"


def test_the_plan_as_text_is_what_the_fit_runs(tmp_path: Path) -> None:
    fit = fit_of()
    optimizer = fit.optimizer(tmp_path, epochs=1)
    assert optimizer.get_train_sequential() == "\n\n".join(
        map(str, make_plan(fit.model))
    )
    key = fit.modes[1].key()
    assert optimizer.get_train_sequential([[key]]).startswith("### Binding: PSAM-a\n")
    assert "NonSpecific" not in optimizer.get_train_sequential([[key]])
    optimizer.train_sequential(order=[[key]])
    assert {event.binding for event in fit.events} == {"PSAM-a"}


def test_a_line_search_turns_back_from_losses_whose_squares_overflow() -> None:
    x = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    engine = torch.optim.LBFGS([x], lr=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        engine.zero_grad()
        # finite at ±700, where the squares of loss and slope are not
        total = x.double().square().sum() + (x.double().abs() - 40).exp().sum()
        total.backward()
        return bounded(total.detach(), [x])

    for _ in range(3):
        engine.step(closure)
    torch.testing.assert_close(x.detach(), torch.zeros(2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_a_loss_beyond_all_bounds_is_handed_on_as_a_large_one(value: float) -> None:
    x = torch.nn.Parameter(torch.zeros(3))
    x.grad = torch.tensor([math.nan, math.inf, -1.0])
    assert float(bounded(torch.tensor(value, dtype=torch.float64), [x])) == CEILING
    assert x.grad.tolist() == [0.0, CEILING, -1.0]
