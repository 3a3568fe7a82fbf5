"""Fitting a configuration: component by component, then all of them together.

"probound" takes the steps of the Java program, with its start values, its freezing and
an objective that has a pseudocount for what is being fitted alone. "engine" takes the
same components in the same order, but begins a mode from the best of several starts,
centres every motif that is free to move, and keeps one objective throughout.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from pyprobound.probound._coefficients import Coefficients
from pyprobound.probound._files import Document
from pyprobound.probound._minimise import EXACT, minimise
from pyprobound.probound._objective import Active, Value, value_of
from pyprobound.probound._open import FileModel, build
from pyprobound.probound._schema import ModeConstraints, ModelSettings
from pyprobound.probound._start import SUBDOMINANT, Expectation, start_values
from pyprobound.probound._variants import (
    Edit,
    Flags,
    Shape,
    batch,
    bounds_of,
    edited,
)
from pyprobound.table import CountBatch, CountTable

Procedure = Literal["engine", "probound"]

MOST_PROBES = 20_000
"""Probes on which starts are tried."""

STARTS = 3
ROUGH = 1e-5
"""The predicted decrease per read that ends a trial."""

GOOD = 1e-8
"""The predicted decrease per read that ends a fit of the engine's."""

Component = tuple[str, int]
"""("mode" | "interaction" | "saturation" | "kinetics", index)."""


@dataclass(frozen=True)
class State:
    """A model during its training.

    Attributes:
        settings: Its structure, modes and interactions marked as included or not.
        numbers: Its numbers.
        value: The objective, after a fit.
    """

    settings: ModelSettings
    numbers: Coefficients
    value: float = math.inf


@dataclass(frozen=True)
class Trained:
    """What is known after each step of the training.

    Attributes:
        name: Of the step.
        document: The model, as a file has it.
        numbers: Its numbers.
        value: The objective with its parts.
        passes: How often the tables have been gone through, so far.
        reason: Why the step's fit ended.
        held_out: The losses of the test folds, weighted as those of the tables; None
            where there are none.
    """

    name: str
    document: Document
    numbers: Coefficients
    value: Value
    passes: float
    reason: str
    held_out: list[float] | None = None


def train(
    document: Document,
    *,
    procedure: Procedure = "engine",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    tables: Sequence[str | Path] | None = None,
    on_step: Callable[[Trained], None] | None = None,
) -> Trained:
    """Fit a configuration.

    Args:
        document: The configuration.
        procedure: "probound" for the steps of the Java program.
        seed: Of the start values, where they are not given.
        dtype: Of the model while it is fitted.
        tables: Count tables, instead of those that the configuration names.
        on_step: Called after every step.

    Returns:
        The model after the last step.

    Raises:
        InputError: The configuration, or a table, is not as it must be.
    """
    return Training(
        document, procedure=procedure, seed=seed, dtype=dtype, tables=tables
    ).run(on_step)


@dataclass(frozen=True)
class _Options:
    """The arguments of `train`."""

    procedure: Procedure
    seed: int
    dtype: torch.dtype

    @property
    def is_engine(self) -> bool:
        return self.procedure == "engine"


class Training:
    """A fit that is ready to run: its tables are read, its start values made."""

    def __init__(
        self,
        document: Document,
        *,
        procedure: Procedure = "engine",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        tables: Sequence[str | Path] | None = None,
    ) -> None:
        """Prepare a fit; see `train`."""
        options = _Options(procedure, seed, dtype)
        self._document, self._options = document, options
        self._on_step: Callable[[Trained], None] | None = None
        self._constraints = document.content.model_fitting_constraints
        settings = document.content.model_settings
        hidden = {"include_component": False}
        settings = settings.model_copy(
            update={
                "binding_modes": [
                    each.model_copy(update=hidden) for each in settings.binding_modes
                ],
                "binding_mode_interactions": [
                    each.model_copy(update=hidden)
                    for each in settings.binding_mode_interactions
                ],
            }
        )
        self._state = State(settings, start_values(document, options.seed))
        whole = build(document, self._state.numbers, options.dtype)
        self._tables: list[CountTable] = whole.read_tables(tables)
        self._test: list[CountTable] = []
        if whole.has_test_folds:
            self._test = whole.read_tables(tables, "test")
        self._levels: dict[Component, int] = {}
        self._stage = ""
        self._passes = 0.0
        self._last: Trained | None = None

    # --- the order -----------------------------------------------------------------

    def _order(self) -> Iterator[list[Component]]:
        """Yield the components in the order of fitting; some are fitted together."""
        interactions = self._state.settings.binding_mode_interactions
        done: set[int] = set()
        for mode in range(len(self._state.settings.binding_modes)):
            yield [("mode", mode)]
            for index, each in enumerate(interactions):
                if index not in done and max(each.binding_modes) <= mode:
                    done.add(index)
                    yield [("interaction", index)]
        models = self._state.settings.enrichment_model
        for index, model in enumerate(models):
            tried = self._constraints.enrichment_model[index].try_saturation
            selex = model.model_type == "SELEX" and not model.binding_saturation
            if tried and selex:
                yield [("saturation", index)]
        kinetics: list[Component] = [
            ("kinetics", index)
            for index, model in enumerate(models)
            if model.model_type == "ExponentialKinetics"
            and any(self._constraints.enrichment_model[index].fit_delta)
        ]
        if kinetics:
            yield kinetics

    def run(self, on_step: Callable[[Trained], None] | None = None) -> Trained:
        """Fit one component after the other; return the last step.

        Args:
            on_step: Called after every step.
        """
        self._on_step = on_step
        for index, models in enumerate(self._state.settings.enrichment_model):
            if models.model_type == "ExponentialKinetics" and any(
                self._constraints.enrichment_model[index].fit_delta
            ):
                self._levels["kinetics", index] = 1
        for number, components in enumerate(self._order()):
            self._stage = f"component{number}"
            kind, index = components[0]
            if kind == "saturation":
                self._try_saturation(index)
            elif kind == "kinetics":
                for component in components:
                    self._levels[component] = 0
                    self._fit(f"{self._stage}-3-f0", self._all())
            else:
                self._add(kind, index)
            self._fit(f"{self._stage}-4-all", self._all())
        assert self._last is not None, "a configuration has a mode"
        return self._last

    # --- one component -------------------------------------------------------------

    def _add(self, kind: str, index: int) -> None:
        before = self._included()
        self._include(kind, index)
        self._start_activity(kind, index, before)
        if kind == "mode" and self._state.settings.binding_modes[index].size:
            self._desaturate(index)
        level = self._highest(kind, index)
        self._levels[kind, index] = level
        if not self._options.is_engine:
            self._fit(f"{self._stage}-0-h", self._depths())
        elif kind == "mode":
            self._choose_start(index)
        self._fit(f"{self._stage}-1-f{level}", self._only(kind, index))
        if kind == "mode":
            self._vary(index)
        while self._levels[kind, index] > 0:
            self._levels[kind, index] -= 1
            name = f"{self._stage}-3-f{self._levels[kind, index]}"
            self._fit(name, self._only(kind, index))

    def _included(self) -> tuple[set[int], set[int]]:
        settings = self._state.settings
        return (
            {i for i, m in enumerate(settings.binding_modes) if m.include_component},
            {
                i
                for i, m in enumerate(settings.binding_mode_interactions)
                if m.include_component
            },
        )

    def _include(self, kind: str, index: int) -> None:
        name = "binding_modes" if kind == "mode" else "binding_mode_interactions"
        parts = list(getattr(self._state.settings, name))
        parts[index] = parts[index].model_copy(update={"include_component": True})
        settings = self._state.settings.model_copy(update={name: parts})
        self._state = replace(self._state, settings=settings)

    def _highest(self, kind: str, index: int) -> int:
        if kind != "mode":
            return 0
        settings = self._state.settings.binding_modes[index]
        return int(settings.position_bias and settings.size > 0) + int(
            settings.distance > 0
        )

    def _start_activity(
        self, kind: str, index: int, before: tuple[set[int], set[int]]
    ) -> None:
        """Give a component a small part of what is bound already."""
        settings, numbers = self._state.settings, self._state.numbers
        expectation = Expectation(settings, numbers)
        parts = numbers.modes if kind == "mode" else numbers.interactions
        for experiment, model in enumerate(settings.enrichment_model):
            if kind == "mode":
                log_sum = expectation.mode(index, experiment)
                log_sum += math.log(model.concentration)
            else:
                log_sum = expectation.interaction(index, experiment)
            if log_sum == -math.inf:
                continue
            totals = expectation.total(experiment, *before)
            for column, total in enumerate(totals):
                share = math.log(SUBDOMINANT * (total or 1.0)) - log_sum
                parts[index].activity[experiment][column] += share

    def _desaturate(self, index: int) -> None:
        """Let what is bound in saturating selections begin far from saturation."""
        settings = self._state.settings
        concentrations = [each.concentration for each in settings.enrichment_model]
        mean = math.exp(sum(map(math.log, concentrations)) / len(concentrations))
        for experiment, model in enumerate(settings.enrichment_model):
            if model.binding_saturation and index in model.binding_modes:
                self._scale(experiment, SUBDOMINANT * model.concentration / mean)

    def _scale(self, experiment: int, wanted: float) -> None:
        """Move the activities of an experiment to an expected Z, depths against it."""
        numbers = self._state.numbers
        modes, interactions = self._included()
        model = self._state.settings.enrichment_model[experiment]
        totals = Expectation(self._state.settings, numbers).total(
            experiment, modes, interactions
        )
        for column, total in enumerate(totals):
            if total <= 0:
                continue
            shift = math.log(wanted / total)
            for index in modes & set(model.binding_modes):
                numbers.modes[index].activity[experiment][column] += shift
            for index in interactions & set(model.binding_mode_interactions):
                numbers.interactions[index].activity[experiment][column] += shift
            numbers.depths[experiment][column] -= shift

    def _try_saturation(self, experiment: int) -> None:
        before, levels = _copied(self._state), dict(self._levels)
        models = list(self._state.settings.enrichment_model)
        saturated = {"binding_saturation": True}
        models[experiment] = models[experiment].model_copy(update=saturated)
        settings = self._state.settings.model_copy(update={"enrichment_model": models})
        self._state = replace(self._state, settings=settings)
        self._scale(experiment, SUBDOMINANT)
        self._fit(f"{self._stage}-1-variation-0-0-h", self._depths())
        self._fit(f"{self._stage}-1-variation-0-1-all", self._all())
        if not self._state.value < before.value:
            self._state, self._levels = before, levels

    def _choose_start(self, mode: int) -> None:
        """Begin a mode from the best of several starts, tried on some probes."""
        seeds = self._document.content.model_seeding.binding_modes
        seed = seeds[mode] if mode < len(seeds) else None
        given = seed and (seed.mononucleotide_iupac or seed.mononucleotide_string)
        if given or self._state.settings.binding_modes[mode].size <= 1:
            return
        self._follow(self._built(self._state))
        tables = [_sampled(table, self._options.seed) for table in self._tables]
        active = self._only("mode", mode)
        best = self._state
        for number in range(STARTS):
            trial = _copied(self._state)
            if number:
                drawn = start_values(self._document, self._options.seed + number)
                trial.numbers.modes[mode].letters[...] = drawn.modes[mode].letters
            trial, found = self._minimised(trial, tables, active, ROUGH, most_steps=30)
            self._passes += found.passes * _part(tables, self._tables)
            if trial.value < best.value:
                best = trial
        self._state = replace(best, value=math.inf)

    # --- variants ------------------------------------------------------------------

    def _vary(self, mode: int) -> None:
        constraints = self._constraints.binding_modes[mode]
        settings = self._state.settings.binding_modes[mode]
        shape = Shape(settings.size, settings.flank_length, 0)
        tried = {shape}
        best, number = _copied(self._state), 0
        threshold = self._document.content.optimizer_setting.likelihood_threshold
        if not self._options.is_engine:
            self._fit(f"{self._stage}-2-variation{number}", self._only("mode", mode))
        if self._state.value < best.value - threshold:
            best = _copied(self._state)
        if constraints.symmetry_string != "null" or settings.size == 0:
            self._state = best
            return
        bounds = bounds_of(self._state.settings, constraints)
        for flags in self._stages(constraints):
            while True:
                letters = best.numbers.modes[mode].letters
                offered = (
                    [edit for edit in edits if shape.edited(edit) not in tried]
                    for edits in batch(shape, letters, flags, constraints, bounds)
                )
                edits = next((each for each in offered if each), [])
                if not edits:
                    break
                start, origin = best, shape
                for edit in edits:
                    tried.add(origin.edited(edit))
                    number += 1
                    self._try(start, mode, edit, number)
                    if self._state.value < best.value - threshold:
                        best, shape = _copied(self._state), origin.edited(edit)
        self._state = best

    def _stages(self, constraints: ModeConstraints) -> list[Flags]:
        """Return what is tried; the engine centres motifs, asked or not."""
        stages = Flags.stages(constraints)
        if self._options.is_engine:
            stages[0] = replace(stages[0], shift_heuristic=True)
        return stages

    def _try(self, start: State, mode: int, edit: Edit, number: int) -> None:
        start = _copied(start)
        settings, numbers = edited(start.settings, start.numbers, mode, edit)
        self._state = State(settings, numbers)
        self._fit(f"{self._stage}-2-variation{number}", self._only("mode", mode))

    # --- fits ----------------------------------------------------------------------

    def _depths(self) -> Active:
        tables = self._fitted_tables()
        return lambda place: place[0] == "h" and place[1] in tables

    def _fitted_tables(self) -> set[int]:
        """Return the tables that select for anything that is included."""
        modes, _ = self._included()
        return {
            experiment
            for experiment, model in enumerate(self._state.settings.enrichment_model)
            if modes & set(model.binding_modes)
        }

    def _kinds(self, kind: str, index: int) -> set[str]:
        """Return the kinds of numbers that are free at a component's level."""
        if kind == "interaction":
            return {"matrix", "dimer activity"}
        level = self._levels[kind, index]
        kinds = {"letters", "shifted letters", "activity"}
        highest = self._highest(kind, index)
        has_pairs = self._state.settings.binding_modes[index].distance > 0
        if has_pairs and level < highest:
            kinds |= {"pairs", "shifted pairs"}
        if level == 0:
            kinds.add("bias")
        return kinds

    def _only(self, kind: str, index: int) -> Active:
        kinds, depths = self._kinds(kind, index), self._depths()
        return lambda place: depths(place) or (place[0] in kinds and place[1] == index)

    def _all(self) -> Active:
        modes, interactions = self._included()
        free = {("mode", i): self._kinds("mode", i) for i in modes}
        dimers = {"matrix", "dimer activity"}
        tables, depths = self._fitted_tables(), self._depths()
        held = {
            i
            for (kind, i), level in self._levels.items()
            if kind == "kinetics" and level
        }

        def active(place: tuple[object, ...]) -> bool:
            kind, index, *_ = place
            assert isinstance(index, int)
            if kind in ("rho", "gamma", "delta"):
                return index in tables and not (kind == "delta" and index in held)
            if kind in dimers:
                return index in interactions
            return depths(place) or kind in free.get(("mode", index), set())

        return active

    def _fit(self, name: str, active: Active) -> None:
        tolerance = GOOD if self._options.is_engine else EXACT
        self._state, found = self._minimised(
            self._state, self._tables, active, tolerance
        )
        self._passes += found.passes
        self._last = Trained(
            name,
            self._document.with_content(model_settings=self._state.settings),
            _copied(self._state).numbers,
            found.parts,
            self._passes,
            found.reason,
            self._held_out(),
        )
        if self._on_step is not None:
            self._on_step(self._last)

    def _held_out(self) -> list[float] | None:
        """Return the losses of the test folds, None where there are none."""
        if not self._test:
            return None
        model = self._built(self._state)
        self._follow(model, self._test)
        model.loss.take_part(self._fitted_tables())
        return value_of(model.loss, self._test).losses

    def _minimised(
        self,
        state: State,
        tables: Sequence[CountTable | CountBatch],
        active: Active,
        tolerance: float,
        most_steps: int = 500,
    ) -> tuple[State, "_Found"]:
        """Return the state at the minimum over some arrays; its numbers are moved."""
        model = self._built(state)
        self._follow(model)
        model.loss.know(self._tables)
        if not self._options.is_engine:
            model.loss.fitted = active
        model.loss.take_part(self._fitted_tables())
        found = minimise(
            model.loss, tables, active, tolerance=tolerance, most_steps=most_steps
        )
        model.numbers.read_into(state.numbers)
        parts = value_of(model.loss, tables)
        moved = replace(state, value=parts.value)
        return moved, _Found(parts, found.passes, found.reason)

    def _built(self, state: State) -> FileModel:
        document = self._document.with_content(model_settings=state.settings)
        return build(document, state.numbers, self._options.dtype)

    def _follow(
        self, model: FileModel, tables: Sequence[CountTable] | None = None
    ) -> None:
        """Score as much of the tables' flanks as the modes do."""
        for table, flank in zip(tables or self._tables, model.flanks, strict=True):
            if table.left_flank_length != flank:
                table.set_flank_length(left=flank, right=flank)


@dataclass(frozen=True)
class _Found:
    """How a fit ended."""

    parts: Value
    passes: float
    reason: str


def _sampled(table: CountTable, seed: int) -> CountBatch:
    """Return a batch of so many probes of a table, drawn at random."""
    if len(table) <= MOST_PROBES:
        return CountBatch(table.seqs, table.target)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(table), generator=draw)[:MOST_PROBES].sort().values
    return CountBatch(table.seqs[rows], table.target[rows])


def _part(sample: Sequence[CountBatch], tables: Sequence[CountTable]) -> float:
    """Return the part of the probes that a sample has."""
    return sum(len(each.target) for each in sample) / sum(map(len, tables))


def _copied(state: State) -> State:
    """Return a state whose numbers can change apart."""
    return replace(state, numbers=deepcopy(state.numbers))
