"""A model as a file of the Java program says it, made of the library's parts.

Every number of the file has a place in a parameter (`Places`); what the model does not
use (the activity of a column that nothing selects) is kept beside it. So numbers are
read, written back, and penalised alike, and a gradient can be given in the file's
order.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyprobound._numerics import NEG_INF
from pyprobound.aggregate import Aggregate, Contribution
from pyprobound.alphabets import Alphabet
from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.experiment import Experiment
from pyprobound.layers.conv0d import NonSpecific
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.pad import get_padding_layers
from pyprobound.layers.psam import PSAM
from pyprobound.mode import Mode
from pyprobound.probound._coefficients import Coefficients
from pyprobound.probound._files import Document
from pyprobound.probound._packing import FIXED, Letters, allowed_pairs, packing_of
from pyprobound.probound._parts import GrowthRound, Modification, ModifiedPSAM, Pool
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


@dataclass(frozen=True)
class Lengths:
    """Probes of one length, flanks included, for layers to read."""

    input_shape: int

    @property
    def min_read_length(self) -> int:
        """The length."""
        return self.input_shape

    @property
    def max_read_length(self) -> int:
        """The length."""
        return self.input_shape


def alphabet_of(letters: Letters) -> tuple[Alphabet, list[int]]:
    """Return an alphabet, and the index in it of each letter of the file.

    Both strands can be scored where at most one letter is its own complement.
    """
    n = len(letters.order)
    natural = all(letters.complement[i] == n - 1 - i for i in range(n))
    order = range(n) if natural else letters.paired
    own = sum(letters.complement[i] == i for i in range(n))
    places = [0] * n
    for place, index in enumerate(order):
        places[index] = place
    return Alphabet([letters.order[i] for i in order], complement=own <= 1), places


Place = tuple[nn.Parameter, NDArray[np.int64]]


@dataclass
class Places:
    """Where the numbers of a file stand in the parameters of a model.

    Attributes:
        parameters: The parameters.
        where: By array of the file, the index of each of its numbers in all parameters
            laid end to end; −1 where the model does not use it.
    """

    parameters: list[nn.Parameter] = field(default_factory=list)
    where: dict[tuple[object, ...], NDArray[np.int64]] = field(default_factory=dict)
    _offsets: dict[int, int] = field(default_factory=dict)
    _size: int = 0

    def add(
        self,
        place: tuple[object, ...],
        shape: tuple[int, ...],
        parameter: nn.Parameter,
        index: NDArray[np.int64] | int,
        at: tuple[Any, ...] | int = (),
    ) -> None:
        """Note that numbers of an array of a shape are entries of a parameter."""
        if id(parameter) not in self._offsets:
            self._offsets[id(parameter)] = self._size
            self.parameters.append(parameter)
            self._size += parameter.numel()
        known = self.where.setdefault(place, np.full(shape, FIXED, dtype=np.int64))
        moved = np.asarray(index)
        offset = self._offsets[id(parameter)]
        known[at] = np.where(moved < 0, FIXED, moved + offset)


class Builder:
    """Makes the parts of a model and notes where its numbers stand."""

    def __init__(self, document: Document, numbers: Coefficients) -> None:
        """Begin with the numbers of a document."""
        self._document, self._numbers = document, numbers
        self._settings = document.content.model_settings
        self._letters = Letters.of(self._settings)
        self.alphabet, self._index = alphabet_of(self._letters)
        self.places = Places()
        self._specs: dict[tuple[int, tuple[str, ...]], PSAM | NonSpecific] = {}
        self._modifications: dict[tuple[int, str], Modification] = {}
        self._modes: dict[tuple[int, int, str], Mode] = {}
        self._dimers: dict[tuple[int, int], Cooperativity] = {}
        self._concentrations: list[tuple[Aggregate, float]] = []
        self._reads: dict[int, tuple[int, int, int]] = {}

    # --- probes --------------------------------------------------------------------

    def flank(self, experiment: int) -> int:
        """Return the letters of either flank that any mode of an experiment scores.

        Raises:
            InputError: A flank is shorter.
        """
        model = self._settings.enrichment_model[experiment]
        used = set(model.binding_modes)
        for index in model.binding_mode_interactions:
            used |= set(self._settings.binding_mode_interactions[index].binding_modes)
        wanted = [self._settings.binding_modes[m].flank_length for m in used]
        table = self._settings.count_table[experiment]
        shorter = min(len(table.left_flank), len(table.right_flank))
        if max(wanted, default=0) > shorter:
            rule = f"a mode's flankLength {max(wanted)} exceeds a flank of {shorter}"
            raise self._document.error(
                f"modelSettings.countTable[{experiment}]: {rule}"
            )
        return max(wanted, default=0)

    def read(self, experiment: int, table: CountTable) -> None:
        """Let modes read a table as it is, whatever flanks it scores."""
        left, right = table.left_flank_length, table.right_flank_length
        self._reads[experiment] = table.input_shape, left, right

    def _given(self, experiment: int) -> tuple[int, int, int]:
        """Return the letters of a probe, and how many of them are either flank's."""
        if experiment not in self._reads:
            table = self._settings.count_table[experiment]
            flank = self.flank(experiment)
            length = table.variable_region_length + 2 * flank
            self._reads[experiment] = length, flank, flank
        return self._reads[experiment]

    def use(
        self,
        experiment: int = 0,
        specs: Iterable[PSAM | NonSpecific] = (),
        modes: Iterable[Mode] = (),
        dimers: Iterable[Cooperativity] = (),
    ) -> None:
        """Take parts that are made already, in the order of the file.

        Args:
            experiment: Whose modes and dimers.
            specs: The energies of all modes.
            modes: The modes.
            dimers: The interactions.
        """
        for index, spec in enumerate(specs):
            self._specs[index, ()] = spec
            if isinstance(spec, PSAM):
                self._place_energies(index, spec)
        for index, mode in enumerate(modes):
            self._modes[index, experiment, "whole"] = mode
        for index, dimer in enumerate(dimers):
            self._dimers[index, experiment] = dimer

    # --- modes ---------------------------------------------------------------------

    def spec(self, mode: int, modified: Sequence[str] = ()) -> PSAM | NonSpecific:
        """Return the energies of a mode, in probes with some modifications."""
        settings = self._settings.binding_modes[mode]
        names = [each.name for each in settings.modifications]
        present = tuple(name for name in names if name in modified)
        key = mode, present
        if key in self._specs:
            return self._specs[key]
        if settings.size == 0:
            made: PSAM | NonSpecific = NonSpecific(
                self.alphabet, ignore_length=True, name=f"mode{mode}"
            )
        elif present:
            base = self.spec(mode)
            assert isinstance(base, PSAM)
            made = ModifiedPSAM(base, [self._modification(mode, n) for n in present])
        else:
            made = self._psam(mode)
        self._specs[key] = made
        return made

    def _psam(self, mode: int) -> PSAM:
        settings = self._settings.binding_modes[mode]
        if not settings.fit_log_activity:
            rule = "fitLogActivity: false (linear activities) has no meaning here"
            raise self._document.error(f"modelSettings.bindingModes[{mode}]: {rule}")
        if not (settings.single_strand or self.alphabet.complement):
            rule = "letters that are their own complement allow one strand only"
            raise self._document.error(f"modelSettings.bindingModes[{mode}]: {rule}")
        psam = PSAM(
            settings.size,
            self.alphabet,
            pairwise_distance=settings.distance,
            score_reverse=not settings.single_strand,
            name=f"mode{mode}",
        )
        self._place_energies(mode, psam)
        return psam

    def _place_energies(self, mode: int, psam: PSAM) -> None:
        settings = self._settings.binding_modes[mode]
        n, at = len(self._index), np.array(self._index)
        position = np.arange(settings.size)
        letters = position[:, None] * n + at
        self.places.add(("letters", mode), letters.shape, psam.betas.packed(0), letters)
        for distance in range(1, settings.distance + 1):
            first = (position[: settings.size - distance, None] * n + at)[..., None]
            pairs = first * n + at
            place = ("pairs", mode, distance)
            self.places.add(place, pairs.shape, psam.betas.packed(distance), pairs)

    def _modification(self, mode: int, name: str) -> Modification:
        if (mode, name) in self._modifications:
            return self._modifications[mode, name]
        settings = self._settings.binding_modes[mode]
        names = [each.name for each in settings.modifications]
        number = names.index(name)
        found = settings.modifications[number]
        pairs = found.dinucleotide[: settings.distance]
        made = Modification(
            settings.size,
            len(self._index),
            [self._code(mode, letter) for letter in found.mononucleotide],
            [
                [(self._code(mode, pair[0]), self._code(mode, pair[-1])) for pair in by]
                for by in pairs
            ],
            name=name,
        )
        for parameter, place in (
            (made.letters, ("shifted letters", mode, number)),
            *(
                (each, ("shifted pairs", mode, number, distance))
                for distance, each in enumerate(made.pairs, 1)
            ),
        ):
            index = np.arange(parameter.numel()).reshape(parameter.shape)
            self.places.add(place, index.shape, parameter, index)
        self._modifications[mode, name] = made
        return made

    def _code(self, mode: int, letter: str) -> int:
        if letter not in self._letters.order:
            rule = f"a modification of {letter!r}, which is no letter"
            raise self._document.error(f"modelSettings.bindingModes[{mode}]: {rule}")
        return self._index[self._letters.order.index(letter)]

    def mode(self, mode: int, experiment: int, kind: str = "whole") -> Mode:
        """Return a mode in an experiment.

        Args:
            mode: Which one.
            experiment: Which one.
            kind: "whole" with its position bias, "bare" without, as interactions use
                it; "stranded" for one strand of a bare mode that is paired with a
                mode on both.
        """
        if kind == "bare" and not self._numbers.modes[mode].bias:
            kind = "whole"
        key = mode, experiment, kind
        if key in self._modes:
            return self._modes[key]
        if kind == "whole":
            made = self._whole_mode(mode, experiment)
        else:
            made = self._bare_mode(self.mode(mode, experiment), kind)
        self._modes[key] = made
        return made

    def _whole_mode(self, mode: int, experiment: int) -> Mode:
        settings = self._settings.binding_modes[mode]
        modified = self._settings.enrichment_model[experiment].modifications
        spec = self.spec(mode, modified)
        length, left, right = self._given(experiment)
        reads = Lengths(length)
        if isinstance(spec, NonSpecific):
            return Mode.from_nonspecific(spec, reads)
        ends = settings.flank_length - left, settings.flank_length - right
        layers = get_padding_layers(self.alphabet, reads, *ends)
        has_bias = bool(self._numbers.modes[mode].bias)
        conv = Conv1d.from_psam(
            spec,
            layers[-1] if layers else reads,
            train_posbias=has_bias,
            length_specific_bias=False,
        )
        if has_bias:
            self._place_bias(mode, experiment, conv)
        return Mode([*layers, conv])

    def _bare_mode(self, whole: Mode, kind: str) -> Mode:
        """Return a mode without its position bias, on both strands if so asked."""
        *layers, last = whole.chain
        spec = last.layer_spec
        assert isinstance(spec, PSAM)
        if kind == "stranded":
            spec = self._both_stranded(spec)
        reads = Lengths(whole.input_shape)
        conv = Conv1d.from_psam(
            spec, layers[-1] if layers else reads, length_specific_bias=False
        )
        if kind == "stranded":
            with torch.no_grad():
                conv.log_posbias[:, 1] = NEG_INF
        return Mode([*layers, conv])

    def _both_stranded(self, spec: PSAM) -> PSAM:
        """Return a PSAM of one strand as one of both, sharing its betas."""
        made = PSAM(
            spec.kernel_size,
            self.alphabet,
            pairwise_distance=spec.pairwise_distance,
            name=spec.name,
        )
        spec.betas.shared = True
        made.betas = spec.betas
        return made

    def _place_bias(self, mode: int, experiment: int, conv: Conv1d) -> None:
        shape = self._numbers.modes[mode].bias[experiment].shape
        strands, windows = conv.log_posbias.shape[1:]
        index = np.full(shape, FIXED, dtype=np.int64)
        index[0] = np.arange(windows)
        if strands > 1:
            # Frames of the reverse strand are counted from its own end.
            index[1] = 2 * windows - 1 - np.arange(windows)
        place = ("bias", mode, experiment)
        self.places.add(place, shape, conv.log_posbias, index)

    # --- interactions --------------------------------------------------------------

    def dimer(self, interaction: int, experiment: int) -> Cooperativity:
        """Return an interaction in an experiment."""
        key = interaction, experiment
        if key in self._dimers:
            return self._dimers[key]
        settings = self._settings.binding_mode_interactions[interaction]
        single = [
            self._settings.binding_modes[m].single_strand
            for m in settings.binding_modes
        ]
        kinds = [
            "stranded" if alone and not all(single) else "bare" for alone in single
        ]
        mode_a, mode_b = (
            self.mode(m, experiment, kind)
            for m, kind in zip(settings.binding_modes, kinds, strict=True)
        )
        spacing = Spacing(
            mode_a.key(),
            mode_b.key(),
            max_overlap=settings.max_overlap,
            max_spacing=None if settings.max_spacing == -1 else settings.max_spacing,
            ignore_pad=True,
            name=f"interaction{interaction}.{experiment}",
        )
        even = self._is_even(interaction, experiment)
        dimer = Cooperativity(
            spacing,
            mode_a,
            mode_b,
            train_posbias=not even,
            length_specific_bias=False,
        )
        place = ("matrix", interaction, experiment)
        shape = self._numbers.interactions[interaction].matrices[experiment].shape
        for strands in np.ndindex(dimer.n_strands, dimer.n_strands):
            if even:
                index = _spacing_index(spacing, strands, shape[2:])
                self.places.add(place, shape, spacing.log_spacing, index, strands)
            else:
                self._place_matrix(place, shape, dimer, strands)
        known = self.places.where[place]
        known[~allowed_pairs(self._settings, interaction, experiment)] = FIXED
        self._dimers[key] = dimer
        return dimer

    def _is_even(self, interaction: int, experiment: int) -> bool:
        """Tell whether an interaction depends on the distance alone."""
        settings = self._settings.binding_mode_interactions[interaction]
        if settings.position_bias:
            return False
        matrix = self._numbers.interactions[interaction].matrices[experiment]
        allowed = allowed_pairs(self._settings, interaction, experiment)
        last = matrix.shape[3] - 1
        seen: dict[object, float] = {}
        for s0, s1, x0, x1 in np.argwhere(allowed):
            key = (0, x1 - x0) if s0 == s1 else (1, last - x1 - x0)
            value = float(matrix[s0, s1, x0, x1])
            if seen.setdefault(key, value) != value:
                return False
        return True

    def _place_matrix(
        self,
        place: tuple[object, ...],
        shape: tuple[int, ...],
        dimer: Cooperativity,
        strands: tuple[int, ...],
    ) -> None:
        n_a, n_b = shape[2:]
        first, second = (
            _forward(n, s) for n, s in zip((n_a, n_b), strands, strict=True)
        )
        n = dimer.n_strands
        for diagonal, parameter in enumerate(dimer.log_posbias):
            offset = diagonal - (n_a - 1)
            own = second[None, :] - first[:, None] == offset
            along = first[:, None] - max(0, -offset)
            before = (strands[0] * n + strands[1]) * parameter.shape[-1]
            index = np.broadcast_to(along, own.shape)[own] + before
            at = (*strands, *np.nonzero(own))
            self.places.add(place, shape, parameter, index, at)

    # --- experiments ---------------------------------------------------------------

    def rounds(self, experiment: int) -> list[BaseRound]:
        """Return the rounds of an experiment, one for each column of its table."""
        model = self._settings.enrichment_model[experiment]
        if model.model_type == "InputFreeFraction":
            rounds = self._free_fractions(experiment)
        else:
            rounds = self._chained(experiment)
        place = ("h", experiment)
        for column, each in enumerate(rounds):
            self.places.add(place, (len(rounds),), each.log_depth, 0, column)
        return rounds

    def experiment(self, experiment: int) -> Experiment:
        """Return an experiment of the columns in the likelihood."""
        table = self._settings.count_table[experiment]
        rounds = self.rounds(experiment)
        kept = [rounds[column] for column in table.columns]
        for each in rounds:
            each.train_depth = False
            each.log_depth.requires_grad_(False)
        made = Experiment(kept, name=f"experiment{experiment}")
        for each in kept:
            each.train_depth = True
            each.log_depth.requires_grad_()
        return made

    def _chained(self, experiment: int) -> list[BaseRound]:
        table = self._settings.count_table[experiment]
        model = self._settings.enrichment_model[experiment]
        start = InitialRound()
        if not model.cumulative_enrichment:
            columns = range(table.n_columns)
            return [self._round(experiment, column, start) for column in columns]
        rounds: list[BaseRound] = [start]
        for column in range(1, table.n_columns):
            rounds.append(self._round(experiment, column, rounds[-1]))
        return rounds

    def _round(self, experiment: int, column: int, reference: BaseRound) -> BaseRound:
        model = self._settings.enrichment_model[experiment]
        aggregate = self.aggregate(experiment, column)
        if aggregate is None:
            return _Unselected(reference)
        count = self._settings.count_table[experiment].n_columns
        made: Round
        if model.model_type == "RhoGamma":
            made = RhoGammaRound(aggregate, reference)
            for name in ("rho", "gamma"):
                place = (name, experiment)
                self.places.add(place, (count,), getattr(made, name), 0, column)
        elif model.model_type == "ExponentialKinetics":
            made = ExponentialRound(aggregate, reference)
            self.places.add(("delta", experiment), (count,), made.delta, 0, column)
        elif model.model_type == "Exponential":
            made = GrowthRound(aggregate, reference)
        elif model.binding_saturation:
            made = BoundRound(aggregate, reference)
        else:
            made = BoundUnsaturatedRound(aggregate, reference)
        return made

    def _free_fractions(self, experiment: int) -> list[BaseRound]:
        """Return input, free library, and libraries bound to competing proteins."""
        start = InitialRound()
        count = self._settings.count_table[experiment].n_columns
        aggregates = [self.aggregate(experiment, r) for r in range(2, count)]
        present = [each for each in aggregates if each is not None]
        if not present:
            return [start, *(_Unselected(start) for _ in range(count - 1))]
        pool = present[0] if len(present) == 1 else Pool(present)
        free = UnboundRound(pool, start)
        bound = [
            _Unselected(free) if each is None else BoundUnsaturatedRound(each, free)
            for each in aggregates
        ]
        return [start, free, *bound]

    def aggregate(self, experiment: int, column: int) -> Aggregate | None:
        """Return what binds in a column; None if the model has nothing that binds."""
        model = self._settings.enrichment_model[experiment]
        count = self._settings.count_table[experiment].n_columns
        if model.concentration == 0:
            rule = "concentration: 0: nothing binds; leave the table out"
            where = f"modelSettings.enrichmentModel[{experiment}]"
            raise self._document.error(f"{where}.{rule}")
        parts = []
        for kind, listed, by_column, make in (
            (
                "activity",
                model.binding_modes,
                model.round_specific_binding_modes,
                self.mode,
            ),
            (
                "dimer activity",
                model.binding_mode_interactions,
                model.round_specific_binding_mode_interactions,
                self.dimer,
            ),
        ):
            for index in listed:
                if not self._is_included(kind, index):
                    continue
                binding: Binding = make(index, experiment)
                part = Contribution(binding, log_activity=0.0)
                if by_column != [[]] and index not in by_column[column]:
                    part = Contribution(binding, train_activity=False)
                else:
                    place = (kind, index, experiment)
                    self.places.add(place, (count,), part.log_activity, 0, column)
                parts.append(part)
        if not parts:
            return None
        made = Aggregate(parts)
        self._concentrations.append((made, model.concentration))
        return made

    def set_concentrations(self) -> None:
        """Give the aggregates their concentrations, in the precision they have."""
        with torch.no_grad():
            for aggregate, concentration in self._concentrations:
                aggregate.log_target_concentration.fill_(math.log(concentration))

    def _is_included(self, kind: str, index: int) -> bool:
        settings = self._settings
        part = (
            settings.binding_modes[index]
            if kind == "activity"
            else settings.binding_mode_interactions[index]
        )
        return part.include_component is not False


class _Unselected(InitialRound):
    """A column that nothing selects: as its reference."""

    def __init__(self, reference: BaseRound) -> None:
        super().__init__()
        self.reference_round = reference


def _forward(n: int, strand: int) -> NDArray[np.int64]:
    """Return the window, in + coordinates, of each frame of a strand."""
    return np.arange(n) if strand == 0 else np.arange(n)[::-1]


def _spacing_index(
    spacing: Spacing, strands: tuple[int, ...], counts: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return where each pair of frames stands in `log_spacing`, (frames, frames)."""
    n_a, n_b = counts
    first, second = (_forward(n, s) for n, s in zip(counts, strands, strict=True))
    offset = second[None, :] - first[:, None]
    if strands[1] == 1:  # read from the other strand
        offset = (n_b - n_a) - offset
    row = 0 if strands[0] == strands[1] else 1
    width = spacing.log_spacing.shape[1]
    index: NDArray[np.int64] = row * width + width // 2 + offset
    return index


@dataclass(frozen=True)
class Numbers:
    """All numbers of a file as a function of a model's parameters.

    Attributes:
        arrays: The places and shapes of the arrays, in the order of packing.
        parameters: The parameters of the model, then what it does not use.
        where: (numbers,) the index of each in the parameters laid end to end.
        packing: (numbers,) the free parameter of each, −1 where none.
    """

    arrays: list[tuple[tuple[object, ...], tuple[int, ...]]]
    parameters: list[nn.Parameter]
    where: Tensor
    packing: Tensor

    @classmethod
    def of(cls, document: Document, numbers: Coefficients, places: Places) -> "Numbers":
        """Return the numbers of a model, and give the model their values."""
        arrays = [(place, array.shape) for place, array in numbers.arrays()]
        where = [
            places.where.get(place, np.full(shape, FIXED)).ravel()
            for place, shape in arrays
        ]
        index = torch.from_numpy(np.concatenate(where).astype(np.int64))
        values = torch.from_numpy(
            np.concatenate([array.ravel() for _, array in numbers.arrays()])
        )
        packing = packing_of(document, numbers)
        unused = index == FIXED
        kept = nn.Parameter(values[unused].clone())
        total = sum(parameter.numel() for parameter in places.parameters)
        index[unused] = torch.arange(total, total + int(unused.sum()))
        made = cls(arrays, [*places.parameters, kept], index, torch.from_numpy(packing))
        made.write(values)
        return made

    def write(self, values: Tensor) -> None:
        """Give the model the values of all numbers, (numbers,) float64."""
        flat = torch.cat([p.detach().double().flatten() for p in self.parameters])
        flat[self.where] = values
        with torch.no_grad():
            for parameter in self.parameters:
                own, flat = flat[: parameter.numel()], flat[parameter.numel() :]
                parameter.copy_(own.view_as(parameter))

    def values(self) -> Tensor:
        """Return all numbers, (numbers,) float64, with their graph."""
        flat = torch.cat([p.double().flatten() for p in self.parameters])
        return flat[self.where]

    def part(self, values: Tensor, place: tuple[object, ...]) -> Tensor:
        """Return one array out of all numbers."""
        start = 0
        for known, shape in self.arrays:
            size = int(np.prod(shape))
            if known == place:
                return values[start : start + size].view(shape)
            start += size
        raise KeyError(place)

    def read_into(self, numbers: Coefficients) -> None:
        """Write the values into arrays of the same shapes."""
        values = self.values().detach().numpy()
        start = 0
        for _, array in numbers.arrays():
            array[...] = values[start : start + array.size].reshape(array.shape)
            start += array.size

    @property
    def n_free(self) -> int:
        """The number of free parameters."""
        return int(self.packing.max()) + 1

    @property
    def ties(self) -> Tensor:
        """(entries of the parameters,) the free parameter of each, −1 where none."""
        total = sum(parameter.numel() for parameter in self.parameters)
        found = torch.full((total,), FIXED)
        found[self.where] = self.packing
        return found

    def gradient(self, value: Tensor) -> Tensor:
        """Return the derivatives with respect to the free parameters, (free,)."""
        live = [p for p in self.parameters if p.requires_grad]
        found: Sequence[Tensor | None] = torch.autograd.grad(
            value, live, allow_unused=True
        )
        by = {id(p): g for p, g in zip(live, found, strict=True) if g is not None}
        flat = torch.cat(
            [
                by.get(id(p), torch.zeros_like(p)).double().flatten()
                for p in self.parameters
            ]
        )
        ties = self.ties
        result = torch.zeros(self.n_free, dtype=torch.float64)
        return result.index_add(0, ties[ties >= 0], flat[ties >= 0])
