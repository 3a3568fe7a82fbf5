"""Models of this library as files of the Java program, and what those cannot hold.

A round is written as Z^ρ (1+Z)^γ of what binds in it, a chain of selections as
cumulative enrichment. A dimer is a full matrix of positions, which also takes up the
position biases of its modes: the format's own interactions leave them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyprobound.aggregate import Aggregate
from pyprobound.alphabets import Alphabet
from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.layers.conv0d import Conv0d, NonSpecific
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.psam import PSAM
from pyprobound.loss import MultiExperimentLoss
from pyprobound.mode import Mode
from pyprobound.probound._coefficients import Array, Coefficients, shapes
from pyprobound.probound._files import Document
from pyprobound.probound._packing import allowed_pairs
from pyprobound.probound._schema import (
    Constraints,
    Content,
    CountTableSettings,
    EnrichmentConstraints,
    EnrichmentSettings,
    InteractionConstraints,
    InteractionSettings,
    ModeConstraints,
    ModelSettings,
    ModeSettings,
    OptimizerSettings,
)
from pyprobound.rounds import (
    BaseRound,
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
    Round,
    UnboundRound,
)
from pyprobound.table import CountTable

NEVER = -60.0
"""log ω of what cannot be, where the format has no word for it: e⁻⁶⁰ is nothing."""

ABSENT = -60.0
"""log α of a binding that is absent from a round."""


class CannotHoldError(PyProBoundError):
    """A model has a part that the format has no words for."""


def exported(
    model: MultiExperimentLoss,
    tables: Sequence[CountTable],
    files: Sequence[str] | None = None,
) -> tuple[Document, Coefficients]:
    """Return a model as a fit of the Java program.

    Args:
        model: The model.
        tables: Its count tables.
        files: Where they are, for the file to name.

    Returns:
        What the file says, and its numbers: reading them again gives a model with the
        same window sums, shares and likelihood.

    Raises:
        CannotHoldError: The format cannot hold a part of the model; the message names
            it.
    """
    experiments = [each for each in model.components() if isinstance(each, Experiment)]
    names = list(files or [f"table{i}.tsv.gz" for i in range(len(tables))])
    with torch.no_grad():
        return _Export(model, experiments, tables, names).made()


@dataclass
class _Column:
    """A column of a table: how it is selected from the column before it.

    Attributes:
        selected: The round.
        rho: ρ.
        gamma: γ.
        delta: δ of exponential kinetics, None for any other round.
    """

    selected: BaseRound
    rho: float = 0.0
    gamma: float = 0.0
    delta: float | None = None


class _Export:
    """The file of a model."""

    def __init__(
        self,
        model: MultiExperimentLoss,
        experiments: Sequence[Experiment],
        tables: Sequence[CountTable],
        files: Sequence[str],
    ) -> None:
        self._model, self._experiments = model, experiments
        self._tables, self._files = tables, files
        self._columns = [_columns(each) for each in experiments]
        self._specs: list[PSAM | NonSpecific] = []
        self._dimers: list[object] = []
        self._modes_of_dimer: list[tuple[int, int]] = []
        for each in experiments:
            for binding in _bindings(each):
                self._list(binding)

    def _list(self, binding: Binding) -> None:
        if isinstance(binding, Mode):
            self._index(binding)
        elif isinstance(binding, Cooperativity):
            modes = self._index(binding.mode_a), self._index(binding.mode_b)
            if not any(binding.spacing is each for each in self._dimers):
                self._dimers.append(binding.spacing)
                self._modes_of_dimer.append(modes)
        else:
            raise CannotHoldError(f"{binding}: the format has no such binding")

    def _index(self, mode: Mode) -> int:
        """Return the index of a mode's energies, listed if they are new."""
        spec = _spec_of(mode)
        for index, known in enumerate(self._specs):
            if known is spec:
                return index
        self._specs.append(spec)
        return len(self._specs) - 1

    # --- the file ------------------------------------------------------------------

    def made(self) -> tuple[Document, Coefficients]:
        """Return what the file says and its numbers."""
        settings = self._settings()
        numbers = shapes(settings)
        for index, spec in enumerate(self._specs):
            if isinstance(spec, PSAM):
                _write_energies(spec, numbers, index)
        for experiment in range(len(self._experiments)):
            self._write_experiment(settings, numbers, experiment)
        constraints = Constraints(
            binding_modes=[ModeConstraints()] * len(settings.binding_modes),
            binding_mode_interactions=[
                InteractionConstraints(experiment_specific_interaction=True)
            ]
            * len(settings.binding_mode_interactions),
            enrichment_model=[EnrichmentConstraints()] * len(self._experiments),
        )
        optimizer = OptimizerSettings(
            lambdaL2=self._model.lambda_l2,
            pseudocount=self._model.pseudocount,
            exp_bound=self._model.exponential_bound,
        )
        content = Content(
            model_settings=settings,
            model_fitting_constraints=constraints,
            optimizer_setting=optimizer,
        )
        return Document(Path("model"), content), numbers

    def _settings(self) -> ModelSettings:
        alphabet = self._tables[0].alphabet
        tables = [self._table(i) for i in range(len(self._tables))]
        return ModelSettings(
            letter_order="".join(alphabet.alphabet),
            letter_complement=_complements(alphabet),
            binding_modes=[self._mode(i) for i in range(len(self._specs))],
            binding_mode_interactions=[
                InteractionSettings(
                    binding_modes=list(modes),
                    position_bias=True,
                    max_overlap=max(_size(self._specs[m]) for m in modes),
                )
                for modes in self._modes_of_dimer
            ],
            enrichment_model=[self._enrichment(i) for i in range(len(tables))],
            count_table=tables,
        )

    def _table(self, index: int) -> CountTableSettings:
        table, columns = self._tables[index], self._columns[index]
        length = table.max_read_length - table.left_flank_length
        length -= table.right_flank_length
        if table.min_read_length != table.max_read_length:
            raise CannotHoldError(
                f"table {index}: probes of {table.min_read_length} to"
                f" {table.max_read_length} letters; the format has one length"
            )
        observed = list(self._experiments[index].rounds)
        if [id(each) for each in observed] != [id(c.selected) for c in columns]:
            raise CannotHoldError(
                f"experiment {index}: a round without a column, or columns in another"
                " order than their selection"
            )
        return CountTableSettings(
            count_table_file=self._files[index],
            input_file_type="tsv.gz" if self._files[index].endswith("gz") else "tsv",
            n_columns=len(columns),
            variable_region_length=length,
            left_flank=_text(table, table.left_flank),
            right_flank=_text(table, table.right_flank),
        )

    def _mode(self, index: int) -> ModeSettings:
        spec = self._specs[index]
        modes = [m for e in self._experiments for m in _modes(e) if _spec_of(m) is spec]
        flanks = {
            _flank(mode, self._tables[i])
            for i, each in enumerate(self._experiments)
            for mode in _modes(each)
            if _spec_of(mode) is spec
        }
        if len(flanks) > 1:
            raise CannotHoldError(
                f"{spec}: scores flanks of {sorted(flanks)} letters; the format has"
                " one number for a mode"
            )
        if isinstance(spec, NonSpecific):
            return ModeSettings(size=0)
        return ModeSettings(
            size=spec.kernel_size,
            flank_length=flanks.pop(),
            dinucleotide_distance=spec.pairwise_distance,
            position_bias=any(_bias(mode) is not None for mode in modes),
            single_strand=not spec.score_reverse,
        )

    def _enrichment(self, index: int) -> EnrichmentSettings:
        columns = self._columns[index]
        kinetics = any(each.delta is not None for each in columns)
        chained = _is_chain(columns)
        if kinetics and chained and len(columns) > 2:
            raise CannotHoldError(
                f"experiment {index}: a chain of exponential rounds: the format"
                " compares each with the start"
            )
        if kinetics and any(each.delta is None for each in columns[1:]):
            raise CannotHoldError(f"experiment {index}: rounds of different kinds")
        first = columns[0].selected
        if not isinstance(first, InitialRound):
            raise CannotHoldError(f"{first}: the first column must be the initial one")
        return EnrichmentSettings(
            model_type="ExponentialKinetics" if kinetics else "RhoGamma",
            binding_modes=list(range(len(self._specs))),
            binding_mode_interactions=list(range(len(self._dimers))),
            cumulative_enrichment=chained,
        )

    # --- numbers -------------------------------------------------------------------

    def _write_experiment(
        self, settings: ModelSettings, numbers: Coefficients, experiment: int
    ) -> None:
        columns = self._columns[experiment]
        for index, spec in enumerate(self._specs):
            mode = self._mode_in(experiment, spec)
            if mode is not None and numbers.modes[index].bias:
                bias = _bias(mode)
                if bias is not None:
                    numbers.modes[index].bias[experiment][...] = bias
        for index, spacing in enumerate(self._dimers):
            dimer = self._dimer_in(experiment, spacing)
            if dimer is not None:
                matrix = _matrix(dimer)
                allowed = allowed_pairs(settings, index, experiment)
                numbers.interactions[index].matrices[experiment][allowed] = matrix[
                    allowed
                ]
        for number, column in enumerate(columns):
            numbers.depths[experiment][number] = float(column.selected.log_depth)
            values = numbers.enrichment[experiment]
            if "rho" in values:
                values["rho"][number] = column.rho
                values["gamma"][number] = column.gamma
            else:
                is_start = column.delta is None  # e^40 to 1: nothing has happened yet
                values["delta"][number] = 40.0 if is_start else column.delta
            self._write_activities(numbers, experiment, number, column)

    def _write_activities(
        self, numbers: Coefficients, experiment: int, number: int, column: _Column
    ) -> None:
        for mode in numbers.modes:
            mode.activity[experiment][number] = ABSENT
        for each in numbers.interactions:
            each.activity[experiment][number] = ABSENT
        selected = column.selected
        if not isinstance(selected, Round):
            return
        total = float(selected.aggregate.log_target_concentration)
        for part in selected.aggregate.present():
            value = total + float(part.log_activity)
            binding = part.binding
            if isinstance(binding, Mode):
                index = self._index(binding)
                value += _constant(binding)
                numbers.modes[index].activity[experiment][number] = value
            elif isinstance(binding, Cooperativity):
                index = [s is binding.spacing for s in self._dimers].index(True)
                value += _constant(binding.mode_a) + _constant(binding.mode_b)
                numbers.interactions[index].activity[experiment][number] = value

    def _mode_in(self, experiment: int, spec: object) -> Mode | None:
        found = _modes(self._experiments[experiment])
        return next((mode for mode in found if _spec_of(mode) is spec), None)

    def _dimer_in(self, experiment: int, spacing: object) -> Cooperativity | None:
        for binding in _bindings(self._experiments[experiment]):
            if isinstance(binding, Cooperativity) and binding.spacing is spacing:
                return binding
        return None


# --- reading a model ---------------------------------------------------------------


def _bindings(experiment: Experiment) -> list[Binding]:
    """Return what binds in any round, each once."""
    found: dict[int, Binding] = {}
    for each in experiment.components():
        if isinstance(each, Round):
            if type(each.aggregate) is not Aggregate:
                raise CannotHoldError(f"{each.aggregate}: a class of its own")
            for part in each.aggregate.components():
                found[id(part.binding)] = part.binding
    return list(found.values())


def _modes(experiment: Experiment) -> list[Mode]:
    """Return the modes, those of dimers included, each once."""
    found: dict[int, Mode] = {}
    for binding in _bindings(experiment):
        if isinstance(binding, Mode):
            found[id(binding)] = binding
        elif isinstance(binding, Cooperativity):
            for mode in binding.components():
                found.setdefault(id(mode), mode)
    return list(found.values())


def _spec_of(mode: Mode) -> PSAM | NonSpecific:
    last = mode.chain[-1]
    if mode.hill is not None:
        raise CannotHoldError(f"{mode}: a Hill coefficient")
    if isinstance(last, Conv0d):
        return last.layer_spec
    if not isinstance(last, Conv1d):
        raise CannotHoldError(f"{mode}: ends in {last}, not in a motif")
    psam = last.layer_spec
    if type(psam) is not PSAM or psam.alphabet is None:
        raise CannotHoldError(f"{psam}: energies of another kind")
    if psam.dilation > 1:
        raise CannotHoldError(f"{psam}: positions {psam.dilation} letters apart")
    if psam.out_channels != psam.n_strands or last.out_channel_indexing is not None:
        raise CannotHoldError(f"{psam}: several channels")
    return psam


def _size(spec: PSAM | NonSpecific) -> int:
    return spec.kernel_size if isinstance(spec, PSAM) else 0


def _flank(mode: Mode, table: CountTable) -> int:
    """Return the letters of either flank that a mode scores."""
    ends = []
    for side, scored in enumerate((table.left_flank_length, table.right_flank_length)):
        added = sum(layer.layer_spec.padding[side] for layer in mode.chain[:-1])
        ends.append(scored + added)
    if isinstance(mode.chain[-1], Conv0d):
        return 0
    if ends[0] != ends[1] or min(ends) < 0:
        raise CannotHoldError(
            f"{mode}: scores {ends[0]} letters of the left flank and {ends[1]} of the"
            " right; the format has one number"
        )
    return ends[0]


def _complements(alphabet: Alphabet) -> str:
    if any(len(letter) > 1 for letter in alphabet.alphabet):
        raise CannotHoldError("letters of several characters")
    letters = alphabet.alphabet
    if not alphabet.complement:
        return ",".join(f"{letter}-{letter}" for letter in letters)
    half = (len(letters) + 1) // 2
    pairs = zip(letters[:half], reversed(letters), strict=False)
    return ",".join(f"{a}-{b}" for a, b in pairs)


def _text(table: CountTable, flank: str) -> str:
    if any(letter not in table.alphabet.alphabet for letter in flank):
        raise CannotHoldError(f"flank {flank!r}: letters that stand for several")
    return flank


def _write_energies(spec: PSAM, numbers: Coefficients, index: int) -> None:
    own = numbers.modes[index]
    own.letters[...] = _numbers(spec.get_filter(0)[0].T)
    for distance, pairs in enumerate(own.pairs, 1):
        pairs[...] = _numbers(spec.get_filter(distance)[0].permute(2, 0, 1))


def _numbers(values: Tensor) -> Array:
    found: Array = values.detach().double().cpu().numpy()
    return found


def _constant(mode: Mode) -> float:
    """Return what a mode adds to every score, which the format has no place for."""
    last = mode.chain[-1]
    if isinstance(last, Conv1d):
        return float(last.layer_spec.get_bias()[0])
    assert isinstance(last, Conv0d)
    return float(mode(torch.zeros(1, mode.input_shape, dtype=torch.uint8)))


def _bias(mode: Mode) -> Array | None:
    """Return a position bias, (2, frames), in the coordinates of each strand."""
    last = mode.chain[-1]
    if not isinstance(last, Conv1d):
        return None
    if not last.log_posbias.requires_grad and not bool(last.log_posbias.any()):
        return None
    found = _numbers(last.get_log_posbias()[-1])
    strands = np.zeros((2, found.shape[1]))
    strands[0] = found[0]
    if len(found) > 1:
        strands[1] = found[1][::-1]
    return strands


def _matrix(dimer: Cooperativity) -> Array:
    """Return log ω and the modes' biases, in the coordinates of each strand."""
    if dimer.hill is not None:
        raise CannotHoldError(f"{dimer}: a Hill coefficient")
    n_a, n_b = dimer.mode_a.n_windows, dimer.mode_b.n_windows
    values = _numbers(dimer.get_log_spacing_matrix()[-1, -1])
    found = np.full((2, 2, n_a, n_b), NEVER)
    strands = values.shape[0]
    found[:strands, :strands] = np.maximum(values, NEVER)
    for s0, s1 in np.ndindex(strands, strands):
        part = found[s0, s1]
        part = part[::-1] if s0 else part
        found[s0, s1] = part[:, ::-1] if s1 else part
    for axis, mode in ((0, dimer.mode_a), (1, dimer.mode_b)):
        bias = _bias(mode)
        if bias is not None:
            shape = (2, 1, n_a, 1) if axis == 0 else (1, 2, 1, n_b)
            found = found + bias.reshape(shape)
    return found


# --- rounds ------------------------------------------------------------------------


def _columns(experiment: Experiment) -> list[_Column]:
    """Return the columns of a table: observed rounds and those between them."""
    return [_column(each) for each in experiment.components()]


def _column(selected: BaseRound) -> _Column:
    if type(selected) is InitialRound:
        return _Column(selected)
    if type(selected) is BoundRound:
        return _Column(selected, rho=1.0, gamma=-1.0)
    if type(selected) is BoundUnsaturatedRound:
        return _Column(selected, rho=1.0)
    if type(selected) is UnboundRound:
        return _Column(selected, gamma=-1.0)
    if isinstance(selected, RhoGammaRound):
        return _Column(selected, rho=float(selected.rho), gamma=float(selected.gamma))
    if isinstance(selected, ExponentialRound):
        return _Column(selected, delta=float(selected.delta))
    raise CannotHoldError(f"{selected}: a round of another kind")


def _is_chain(columns: Sequence[_Column]) -> bool:
    """Tell whether each column is selected from the one before it.

    Raises:
        CannotHoldError: Neither that, nor all from the first one.
    """
    rounds = [each.selected for each in columns]
    if all(after.reference_round is before for before, after in pairwise(rounds)):
        return True
    if all(each.reference_round is rounds[0] for each in rounds[1:]):
        return False
    raise CannotHoldError("rounds that are selected neither in a chain nor alike")
