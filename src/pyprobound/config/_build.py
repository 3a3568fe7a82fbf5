"""Building a model from a resolved configuration.

What does not depend on an experiment (PSAMs, spacings) is built once and shared; each
experiment has its own modes, dimers, activities and depths. The bindings can be built
again for sequences of other lengths, which is how `pyprobound score` reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pyprobound.aggregate import Aggregate
from pyprobound.alphabets import Alphabet
from pyprobound.base import Binding
from pyprobound.config._positions import Place
from pyprobound.config._read import Document
from pyprobound.config._resolve import experiments_with, trim_of
from pyprobound.config._schema import (
    NONSPECIFIC,
    DimerBiasSection,
    DimerSection,
    ExperimentSection,
    ModeBiasSection,
    ModeSection,
    RoundSection,
)
from pyprobound.config._tables import make_alphabet
from pyprobound.config._values import start_activities, start_psam, start_spacing
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.layers import (
    PSAM,
    Conv0d,
    Conv1d,
    Layer,
    LayerSpec,
    ModeKey,
    NonSpecific,
    Pad,
    PadSpec,
    Roll,
    RollSpec,
    get_padding_layers,
)
from pyprobound.layers.layer import Reads
from pyprobound.loss import MultiExperimentLoss
from pyprobound.mode import Mode
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
class ProbeLengths:
    """The lengths of probes, flanks included: what a mode reads of a table.

    Attributes:
        input_shape: Letters with padding.
        min_read_length: The fewest letters.
        max_read_length: The most letters.
    """

    input_shape: int
    min_read_length: int
    max_read_length: int

    @classmethod
    def of(cls, experiment: ExperimentSection) -> "ProbeLengths":
        """Return the lengths that a resolved experiment's table has."""
        flanks = (experiment.left_flank_length or 0) + (
            experiment.right_flank_length or 0
        )
        longest = (experiment.max_variable_length or 0) + flanks
        shortest = (experiment.min_variable_length or 0) + flanks
        return cls(longest, longest if experiment.wildcard_pad else shortest, longest)


@dataclass(frozen=True)
class Specs:
    """What does not depend on an experiment.

    Attributes:
        modes: The specification of each mode, by name.
        trims: The specifications of the layers that trim a mode's flanks, by name.
        spacings: The specification of each dimer, by name.
    """

    modes: Mapping[str, PSAM | NonSpecific]
    trims: Mapping[str, Sequence[LayerSpec]]
    spacings: Mapping[str, Spacing]

    def key(self, mode: str) -> ModeKey:
        """Return the specifications of all layers of a mode."""
        return ModeKey([*self.trims[mode], self.modes[mode]])


@dataclass(frozen=True)
class BuiltExperiment:
    """One experiment of a model, its parts by name.

    Attributes:
        experiment: The experiment.
        bindings: Modes and dimers in the order in which they are fitted; those that
            are only partners in a dimer come last.
        rounds: The rounds, unobserved ones included, in the configuration's order.
    """

    experiment: Experiment
    bindings: Mapping[str, Binding]
    rounds: Mapping[str, BaseRound]


@dataclass(frozen=True)
class BuiltModel:
    """A model and its parts by name.

    Attributes:
        alphabet: What probes are written in.
        loss: The model.
        specs: What does not depend on an experiment.
        experiments: The experiments, in the configuration's order.
    """

    alphabet: Alphabet
    loss: MultiExperimentLoss
    specs: Specs
    experiments: Sequence[BuiltExperiment]


def build_model(
    document: Document, tables: Sequence[CountTable] | None = None
) -> BuiltModel:
    """Build the model of a resolved configuration.

    Args:
        document: The resolved configuration.
        tables: The training tables, whose read counts a pseudocount needs; without
            them the model can score, but not be fitted.

    Raises:
        ConfigError: The sections contradict each other, or a probe is too short.
    """
    alphabet = make_alphabet(document)
    specs = build_specs(document, alphabet)
    experiments = [
        _build_experiment(document, specs, index, tables)
        for index in range(len(document.config.experiments))
    ]
    for index, dimer in enumerate(document.config.dimers):
        start_spacing(document, index, specs.spacings[str(dimer.name)])
    loss = _build_loss(document, experiments)
    return BuiltModel(alphabet, loss, specs, experiments)


# --- specifications ----------------------------------------------------------------


def build_specs(document: Document, alphabet: Alphabet) -> Specs:
    """Return the specifications of all modes and dimers, with their starting values."""
    config = document.config
    modes: dict[str, PSAM | NonSpecific] = {}
    trims: dict[str, Sequence[LayerSpec]] = {}
    if config.nonspecific:
        modes[NONSPECIFIC] = NonSpecific(alphabet, name=NONSPECIFIC)
        trims[NONSPECIFIC] = []
    for index, mode in enumerate(config.modes):
        name = str(mode.name)
        modes[name] = _build_mode_spec(document, index, alphabet)
        trims[name] = _trim_specs(document, mode, alphabet)
    partial = Specs(modes, trims, {})
    spacings = {
        str(dimer.name): _build_spacing(document, index, partial)
        for index, dimer in enumerate(config.dimers)
    }
    return Specs(modes, trims, spacings)


def _build_mode_spec(
    document: Document, index: int, alphabet: Alphabet
) -> PSAM | NonSpecific:
    mode = document.config.modes[index]
    if mode.kind == "nonspecific":
        return NonSpecific(
            alphabet, ignore_length=mode.ignore_length, name=str(mode.name)
        )
    assert mode.size is not None
    try:
        psam = PSAM(
            mode.size,
            alphabet=alphabet,
            pairwise_distance=mode.pairwise_distance,
            dilation=mode.dilation,
            symmetry=mode.symmetry if isinstance(mode.symmetry, list) else None,
            seed=None if mode.seed is None else [mode.seed],
            seed_scale=mode.seed_scale,
            score_reverse=mode.score_reverse,
            shift_footprint=mode.shift_footprint,
            shift_footprint_heuristic=mode.shift_footprint_heuristic,
            increment_footprint=mode.increment_footprint,
            increment_flank=mode.increment_flank,
            increment_flank_with_footprint=mode.increment_flank_with_footprint,
            information_threshold=mode.information_threshold,
            max_kernel_size=mode.max_size,
            normalize=mode.normalize,
            train_bias=mode.train_bias,
            train_betas=mode.train,
            name=str(mode.name),
        )
    except ValueError as error:
        raise document.error(("modes", index), error) from error
    start_psam(document, index, psam)
    return psam


def _trim_specs(
    document: Document, mode: ModeSection, alphabet: Alphabet
) -> Sequence[LayerSpec]:
    """Return the specifications that take off the flank letters a mode leaves out.

    Probes of one length and of several need different layers; where experiments
    differ in it, those for several lengths serve both.
    """
    experiments = experiments_with(document.config, mode)
    left, right = trim_of(mode, experiments[0])
    if left == right == 0:
        return []
    lengths = [ProbeLengths.of(experiment) for experiment in experiments]
    lengths.sort(key=lambda each: each.min_read_length == each.max_read_length)
    layers = get_padding_layers(alphabet, lengths[0], left=-left, right=-right)
    return [layer.layer_spec for layer in layers]


def _build_spacing(document: Document, index: int, specs: Specs) -> Spacing:
    dimer = document.config.dimers[index]
    first, second = dimer.modes
    try:
        return make_spacing(dimer, specs.key(first), specs.key(second))
    except ValueError as error:
        raise document.error(("dimers", index), error) from error


def make_spacing(
    dimer: DimerSection,
    key_a: ModeKey,
    key_b: ModeKey,
    max_spacing: int | None = None,
) -> Spacing:
    """Return the spacing of a dimer, without values.

    Args:
        dimer: Its section.
        key_a: The first mode's specifications.
        key_b: The second one's.
        max_spacing: A further limit on the letters between the two.
    """
    limits = [each for each in (dimer.max_spacing, max_spacing) if each is not None]
    return Spacing(
        key_a,
        key_b,
        score_same=dimer.same_strand,
        score_reverse=dimer.opposite_strand,
        score_mode=dimer.order,
        max_overlap=dimer.max_overlap,
        max_spacing=min(limits, default=None),
        normalize=dimer.normalize,
        # trimmed flanks are no part of a footprint
        ignore_pad=True,
        name=str(dimer.name),
    )


# --- bindings ----------------------------------------------------------------------


def build_mode(
    mode: ModeSection | None,
    spec: PSAM | NonSpecific,
    trims: Sequence[LayerSpec],
    reads: Reads,
) -> Mode:
    """Return a mode that reads probes.

    Args:
        mode: Its section; None for the mode that `nonspecific = true` adds.
        spec: Its specification.
        trims: What takes off the flank letters that it leaves out.
        reads: The lengths of the probes.

    Raises:
        ValueError: The probes are too short for it.
    """
    section = mode or ModeSection(kind="nonspecific", name=NONSPECIFIC)
    layers = trimming_layers(trims, reads)
    prev: Reads | Layer = layers[-1] if layers else reads
    has_bias = section.position_bias is not None
    if isinstance(spec, NonSpecific):
        layers.append(Conv0d.from_nonspecific(spec, prev, train_posbias=has_bias))
        return Mode(layers, name=spec.name)
    bias = section.position_bias or ModeBiasSection(length_specific=False)
    layers.append(
        Conv1d.from_psam(
            spec,
            prev,
            train_posbias=has_bias,
            bias_mode=bias.mode,
            bias_bin=bias.bin,
            length_specific_bias=bias.length_specific,
            normalize=bias.normalize,
        )
    )
    return Mode(layers, train_hill=section.hill, name=spec.name)


def trimming_layers(trims: Sequence[LayerSpec], reads: Reads) -> list[Layer]:
    """Return layers of given specifications that read probes."""
    layers: list[Layer] = []
    for spec in trims:
        prev: Reads | Layer = layers[-1] if layers else reads
        if isinstance(spec, PadSpec):
            layers.append(Pad.from_spec(spec, prev))
        elif isinstance(spec, RollSpec):
            layers.append(Roll.from_spec(spec, prev))
        else:
            msg = f"{spec} does not trim"
            raise TypeError(msg)
    return layers


def build_dimer(
    dimer: DimerSection, spacing: Spacing, mode_a: Mode, mode_b: Mode
) -> Cooperativity:
    """Return a dimer of two modes."""
    bias = dimer.position_bias or DimerBiasSection(length_specific=False)
    return Cooperativity(
        spacing,
        mode_a,
        mode_b,
        train_hill=dimer.hill,
        train_posbias=dimer.position_bias is not None,
        bias_mode=bias.mode,
        bias_bin=bias.bin,
        length_specific_bias=bias.length_specific,
        normalize=bias.normalize,
    )


def _build_bindings(
    document: Document, specs: Specs, experiment: ExperimentSection
) -> dict[str, Binding]:
    """Return the modes and dimers of an experiment, in the order of fitting."""
    config = document.config
    sections = {str(mode.name): (i, mode) for i, mode in enumerate(config.modes)}
    dimers = [
        (index, dimer)
        for index, dimer in enumerate(config.dimers)
        if any(str(dimer.name) in (each.dimers or []) for each in experiment.rounds)
    ]
    direct = {name for each in experiment.rounds for name in each.modes or []}
    partners = {name for _, dimer in dimers for name in dimer.modes}
    reads = ProbeLengths.of(experiment)
    modes: dict[str, Mode] = {}
    for name, spec in specs.modes.items():
        if name in direct | partners:
            index, section = sections.get(name, (-1, None))
            place: Place = ("modes", index, "size") if section else ("nonspecific",)
            try:
                modes[name] = build_mode(section, spec, specs.trims[name], reads)
            except ValueError as error:
                raise document.error(place, error) from error
    bindings: dict[str, Binding] = {n: m for n, m in modes.items() if n in direct}
    for index, dimer in dimers:
        first, second = (modes[name] for name in dimer.modes)
        spacing = specs.spacings[str(dimer.name)]
        try:
            bindings[str(dimer.name)] = build_dimer(dimer, spacing, first, second)
        except ValueError as error:
            raise document.error(("dimers", index), error) from error
    return bindings | modes


# --- rounds, experiments, loss -----------------------------------------------------


def _build_experiment(
    document: Document,
    specs: Specs,
    index: int,
    tables: Sequence[CountTable] | None,
) -> BuiltExperiment:
    section = document.config.experiments[index]
    place: Place = ("experiments", index)
    bindings = _build_bindings(document, specs, section)
    rounds: dict[str, BaseRound] = {}
    for number, each in enumerate(section.rounds):
        try:
            rounds[str(each.name)] = _build_round(each, bindings, rounds)
        except ValueError as error:
            raise document.error((*place, "rounds", number), error) from error
    try:
        experiment = Experiment(
            [rounds[str(each.name)] for each in section.rounds if each.observed],
            counts_per_round=None if tables is None else tables[index].counts_per_round,
            name=str(section.name),
        )
    except ValueError as error:
        raise document.error((*place, "rounds"), error) from error
    return BuiltExperiment(experiment, bindings, rounds)


def _build_round(
    section: RoundSection,
    bindings: Mapping[str, Binding],
    before: Mapping[str, BaseRound],
) -> BaseRound:
    name = str(section.name)
    if section.kind == "initial":
        return InitialRound(name=name)
    reference = None if section.reference is None else before[section.reference]
    aggregate = _aggregate_of(section, bindings, before)
    if section.shares is None:
        start_activities(section, aggregate, bindings)
    train_depth = bool(section.train_depth)
    library = -1.0
    if section.library_concentration is not None:
        library = section.library_concentration
    made = _KINDS[section.kind](
        aggregate,
        reference,
        train_depth=train_depth,
        log_depth=section.log_depth,
        library_concentration=library,
        name=name,
    )
    if isinstance(made, RhoGammaRound):
        with torch.no_grad():
            made.rho.fill_(section.rho)
            made.gamma.fill_(section.gamma)
    if isinstance(made, ExponentialRound):
        made.train_delta = section.train_delta
        with torch.no_grad():
            made.delta.fill_(section.delta).requires_grad_(section.train_delta)
    return made


_KINDS: Mapping[str, type[Round]] = {
    "bound": BoundRound,
    "bound_unsaturated": BoundUnsaturatedRound,
    "unbound": UnboundRound,
    "rho_gamma": RhoGammaRound,
    "exponential": ExponentialRound,
}


def _aggregate_of(
    section: RoundSection,
    bindings: Mapping[str, Binding],
    before: Mapping[str, BaseRound],
) -> Aggregate:
    """Return what binds in a round: its own bindings, or those of an earlier round."""
    if section.shares is None:
        names = [*(section.modes or []), *(section.dimers or [])]
        return Aggregate.from_binding(
            [bindings[name] for name in names],
            train_concentration=section.train_concentration,
            target_concentration=section.target_concentration,
        )
    other = before[section.shares]
    assert isinstance(other, Round)
    if section.kind != "exponential":
        return other.aggregate
    # another time point: the same activities at a concentration of its own
    return Aggregate(
        other.aggregate.components(),
        train_concentration=section.train_concentration,
        target_concentration=section.target_concentration,
    )


def _build_loss(
    document: Document, experiments: Sequence[BuiltExperiment]
) -> MultiExperimentLoss:
    section = document.config.loss
    try:
        return MultiExperimentLoss(
            [each.experiment for each in experiments],
            weights=section.weights,
            lambda_l2=section.lambda_l2,
            lambda_l1=section.lambda_l1,
            pseudocount=section.pseudocount,
            exponential_bound=section.exponential_bound,
            full_loss=section.full_loss,
            dilute_regularization=section.dilute_regularization,
            exclude_regularization=section.exclude_regularization,
            equalize_contribution=section.equalize_contribution,
            max_split=section.max_split,
        )
    except PyProBoundError:
        raise
    except ValueError as error:
        raise document.error(("loss",), error) from error
