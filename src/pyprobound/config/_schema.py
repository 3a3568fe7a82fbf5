"""The sections of a configuration: keys, types, bounds and defaults.

`docs/config.md` says what each key means. Values are checked here one by one; whether
they fit each other, and the tables, is the business of `_resolve`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

RoundKind = Literal[
    "initial", "bound", "bound_unsaturated", "unbound", "rho_gamma", "exponential"
]
NONSPECIFIC = "NS"
"""The name of the mode that `nonspecific = true` adds."""
PALINDROME = "palindrome"
ALL = "*"
"""Where a selection has one list of values for all motifs."""


def _listed(value: object) -> object:
    """Let a single value stand for a list of one."""
    return value if isinstance(value, list) else [value]


def _letters(value: object) -> object:
    """Let a string stand for the list of its letters."""
    return list(value) if isinstance(value, str) else value


def _under(key: str) -> BeforeValidator:
    """Let a string stand for a table with that one key."""

    def normalised(value: object) -> object:
        return {key: value} if isinstance(value, str) else value

    return BeforeValidator(normalised)


def _for_all(value: object) -> object:
    """Let a value, or a list of them, stand for a table of all motifs."""
    return value if isinstance(value, dict) else {ALL: _listed(value)}


def _switch(value: object) -> object:
    """Let true stand for a table of defaults, and false for no table."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def _numbered(value: object) -> object:
    """Let an index stand for a name."""
    is_index = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_index else value


def _classes(value: object) -> object:
    """Say in one message what pydantic would say in one for each possible type."""
    if value in (None, PALINDROME):
        return value
    if isinstance(value, list) and all(type(x) is int and x != 0 for x in value):
        return value
    msg = f'must be "{PALINDROME}" or a list of classes, such as [1, 2, -2, -1]'
    raise ValueError(msg)


_Listed = BeforeValidator(_listed)
_Letters = BeforeValidator(_letters)
_Switch = BeforeValidator(_switch)
_Numbered = BeforeValidator(_numbered)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+:-]+$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AlphabetSection(Section):
    """What probes are written in: a known alphabet, or letters of one's own."""

    name: Literal["DNA", "RNA", "protein", "codon", "custom"] = "custom"
    letters: Annotated[list[str], _Letters] = []
    complement: bool = False
    codes: dict[str, Annotated[list[str], _Letters]] = {}


class RoundSection(Section):
    """One library of an experiment, sequenced or not."""

    kind: RoundKind
    name: Name | None = None
    reference: Annotated[str | None, _Numbered] = None
    shares: Annotated[str | None, _Numbered] = None
    observed: bool = True
    modes: list[str] | None = None
    dimers: list[str] | None = None
    train_depth: bool | None = None
    log_depth: float = 0.0
    target_concentration: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    train_concentration: bool = False
    library_concentration: NonNegative | None = None
    rho: float = 1.0
    gamma: float = -1.0
    delta: float = -15.0
    train_delta: bool = True
    log_activities: dict[str, float] = {}


class ExperimentSection(Section):
    """A count table, the flanks of its probes and its rounds."""

    name: Name | None = None
    table: Annotated[list[str], _Listed] = []
    sha256: Annotated[list[str], _Listed] = []
    left_flank: str = ""
    right_flank: str = ""
    flank_length: Count | None = None
    left_flank_length: Count | None = None
    right_flank_length: Count | None = None
    max_flank_length: Count | None = None
    max_left_flank_length: Count | None = None
    max_right_flank_length: Count | None = None
    transliterate: dict[str, str] = {}
    transliterate_flanks: bool = False
    wildcard_pad: bool = False
    min_variable_length: Count | None = None
    max_variable_length: Count | None = None
    modes: list[str] | None = None
    dimers: list[str] | None = None
    rounds: list[Annotated[RoundSection, _under("kind")]] = []


class ModeBiasSection(Section):
    """A bias for each window of a mode."""

    mode: Literal["channel", "same", "reverse"] = "channel"
    bin: Positive = 1
    length_specific: bool = True
    normalize: bool = False


class ModeSection(Section):
    """A binding mode: a motif (psam), or non-specific binding."""

    name: Name | None = None
    kind: Literal["psam", "nonspecific"] = "psam"
    size: Positive | None = None
    flank_length: Count | None = None
    symmetry: Annotated[
        list[int] | Literal["palindrome"] | None, BeforeValidator(_classes)
    ] = None
    pairwise_distance: Count = 0
    dilation: Positive = 1
    score_reverse: bool | None = None
    seed: Annotated[list[str] | None, _Letters] = None
    seed_scale: Positive = 1
    train: bool = True
    train_bias: bool = False
    normalize: bool = False
    hill: bool = False
    position_bias: Annotated[ModeBiasSection | None, _Switch] = None
    ignore_length: bool = False
    increment_footprint: bool = False
    increment_flank: bool = False
    increment_flank_with_footprint: bool = False
    shift_footprint: bool = False
    shift_footprint_heuristic: bool = True
    information_threshold: NonNegative = 0.1
    max_size: Positive | None = None
    energies: dict[str, list[float]] = {}
    betas: dict[str, float] = {}
    consensus: Annotated[list[str] | None, _Letters] = None
    scale: float = 2.0


class SpacingSection(Section):
    """log ω of a dimer at one offset and orientation."""

    offset: int
    orientation: Literal["same", "opposite"] = "same"
    log_omega: Annotated[float, Field(allow_inf_nan=False)]


class DimerBiasSection(Section):
    """A bias for each pair of windows of a dimer."""

    mode: Literal["strand", "same", "reverse"] = "strand"
    bin: Positive = 1
    length_specific: bool = True
    normalize: bool = False


class DimerSection(Section):
    """Two modes that bind together."""

    modes: Annotated[list[str], Field(min_length=2, max_length=2)]
    name: Name | None = None
    max_overlap: int | None = None
    max_spacing: int | None = None
    same_strand: bool = True
    opposite_strand: bool = True
    order: Literal["both", "positive", "negative"] = "both"
    normalize: bool = False
    hill: bool = False
    position_bias: Annotated[DimerBiasSection | None, _Switch] = None
    log_omega: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    spacing: list[SpacingSection] = []


class LossSection(Section):
    """What is minimised besides the likelihood."""

    lambda_l2: NonNegative = 1e-6
    lambda_l1: NonNegative = 0.0
    pseudocount: NonNegative = 0.0
    exponential_bound: NonNegative = 40.0
    full_loss: bool = False
    dilute_regularization: bool = False
    exclude_regularization: Annotated[list[str], _Listed] = []
    equalize_contribution: bool = False
    weights: list[NonNegative] | None = None
    max_split: Positive | None = None


class OptimizerSection(Section):
    """How the model is fitted."""

    procedure: Literal["sequential", "simultaneous"] = "sequential"
    validation_fraction: Fraction = 0.0
    epochs: Positive = 200
    patience: Positive = 10
    greedy_threshold: NonNegative = 2e-4
    batch_size: Positive | None = None
    optimizer: str | None = None
    arguments: dict[str, float | int | bool | str | list[float]] = {}
    dtype: Literal["float32", "float64"] = "float32"
    device: str | None = None
    threads: Positive | None = None


_SomeCounts = Annotated[list[Count], _Listed, Field(min_length=1)]
_SomePositive = Annotated[list[Positive], _Listed, Field(min_length=1)]
_Switches = Annotated[list[bool], _Listed, Field(min_length=1)]
_Symmetries = Annotated[
    list[Literal["none", "palindrome"]], _Listed, Field(min_length=1)
]
_ForAll = BeforeValidator(_for_all)


class SelectSection(Section):
    """Which models are compared before the best of them is fitted, and how."""

    sizes: Annotated[dict[str, _SomePositive], _ForAll] = {}
    flank_lengths: Annotated[dict[str, _SomeCounts], _ForAll] = {}
    symmetry: Annotated[dict[str, _Symmetries], _ForAll] = {}
    pairwise_distance: Annotated[dict[str, _SomeCounts], _ForAll] = {}
    position_bias: Annotated[dict[str, _Switches], _ForAll] = {}
    n_modes: _SomePositive | None = None
    dimer: _Switches | None = None
    saturation: _Switches | None = None
    held_out: Part = 0.2
    folds: Positive = 1
    sample: Positive | None = None
    max_candidates: Positive = 32
    seed: Count | None = None


class SimulateSection(Section):
    """What `pyprobound simulate` draws."""

    n_probes: Positive
    length: Annotated[list[Positive], _Listed, Field(min_length=1)]
    reads: Annotated[list[Count], _Listed, Field(min_length=1)]


class Config(Section):
    """A whole configuration."""

    seed: Count = 0
    output: str | None = None
    alphabet: Annotated[AlphabetSection, _under("name")] = AlphabetSection(name="DNA")
    nonspecific: bool | None = None
    experiments: Annotated[list[ExperimentSection], Field(min_length=1)]
    modes: list[ModeSection] = []
    dimers: list[DimerSection] = []
    loss: LossSection = LossSection()
    optimizer: OptimizerSection = OptimizerSection()
    select: Annotated[SelectSection | None, _Switch] = None
    simulate: SimulateSection | None = None
