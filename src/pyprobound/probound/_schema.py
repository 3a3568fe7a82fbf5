"""What stands in a file of the Java program, with the program's defaults.

The names in the files are camelCase; here they are the same words with underscores. A
key that is not known is kept apart (`unknown_keys`), not refused: other tools add keys.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

ALL = -1
"""Stands for every index, where indices are listed."""

ModelType = Literal[
    "SELEX", "RhoGamma", "Exponential", "ExponentialKinetics", "InputFreeFraction"
]
ErrorModel = Literal["Poisson", "Normal", "LogNormal"]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Limit = Annotated[int, Field(ge=-1)]


class Part(BaseModel):
    """An object of the file."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="allow", frozen=True, populate_by_name=True
    )


class Transliterate(Part):
    """Replacements in the probes, in order."""

    from_: list[str] = Field(default=[], alias="in")
    to: list[str] = Field(default=[], alias="out")


class CountTableSettings(Part):
    """A count table: where it is, what surrounds its probes, how errors scatter."""

    count_table_file: str
    input_file_type: Literal["tsv", "tsv.gz", "fastq", "dat"] = "tsv"
    n_columns: Annotated[int, Field(ge=2)]
    variable_region_length: Positive
    left_flank: str = ""
    right_flank: str = ""
    modeled_columns: list[Limit] = [ALL]
    test_folds: list[int] = []
    probe_bias: bool = True
    error_model: ErrorModel = "Poisson"
    transliterate: Transliterate = Transliterate()

    @property
    def columns(self) -> list[int]:
        """The columns in the likelihood."""
        if self.modeled_columns == [ALL]:
            return list(range(self.n_columns))
        return self.modeled_columns


class EnrichmentSettings(Part):
    """How what binds is enriched from column to column of a table."""

    model_type: ModelType = "SELEX"
    binding_modes: list[Limit] = [ALL]
    binding_mode_interactions: list[Limit] = [ALL]
    round_specific_binding_modes: list[list[Count]] = [[]]
    round_specific_binding_mode_interactions: list[list[Count]] = [[]]
    concentration: NonNegative = 1
    cumulative_enrichment: bool = True
    modifications: list[str] = []
    binding_saturation: bool = False


class ModificationSettings(Part):
    """The letters (and pairs, by distance) whose energies a modification shifts."""

    name: str
    mononucleotide: list[str] = []
    dinucleotide: list[list[str]] = []


class ModeSettings(Part):
    """A binding mode; size 0 is non-specific binding."""

    size: Count
    flank_length: Count = 0
    dinucleotide_distance: Count = 0
    position_bias: bool = False
    single_strand: bool = False
    fit_log_activity: bool = True
    pseudocount_mono: NonNegative | None = Field(default=None, alias="pseudocount_mono")
    pseudocount_di: NonNegative | None = Field(default=None, alias="pseudocount_di")
    modifications: list[ModificationSettings] = []
    include_component: bool | None = None

    @property
    def distance(self) -> int:
        """The largest distance of letter pairs that the size has room for."""
        return max(0, min(self.size - 1, self.dinucleotide_distance))


class InteractionSettings(Part):
    """Two modes that bind together."""

    binding_modes: Annotated[list[Count], Field(min_length=2, max_length=2)]
    position_bias: bool = False
    max_overlap: int = 0
    max_spacing: int = -1
    fit_log_activity: bool = True
    include_component: bool | None = None


class ModelSettings(Part):
    """The structure of a model."""

    letter_complement: str = "C-G,A-T"
    letter_order: str = ""
    binding_modes: list[ModeSettings] = []
    binding_mode_interactions: list[InteractionSettings] = []
    enrichment_model: list[EnrichmentSettings] = []
    count_table: list[CountTableSettings] = []


class ModeConstraints(Part):
    """What of a mode is tied, fitted or varied."""

    symmetry_string: str = "null"
    optimize_size: bool = False
    optimize_flank_length: bool = False
    optimize_size_heuristic: bool = False
    optimize_motif_shift: bool = False
    optimize_motif_shift_heuristic: bool = False
    fitting_stages: list[dict[str, bool]] = []
    max_size: Limit = -1
    max_flank_length: Limit = -1
    min_size: Limit = -1
    information_threshold: float = 0.1
    position_bias_bin_width: Positive = 1
    round_specific_activity: bool = True
    experiment_specific_activity: bool = True
    experiment_specific_position_bias: bool = True


class InteractionConstraints(Part):
    """What of an interaction is tied."""

    round_specific_activity: bool = True
    experiment_specific_activity: bool = True
    experiment_specific_interaction: bool = False


class EnrichmentConstraints(Part):
    """What of an enrichment model is fitted."""

    fit_rho: bool = False
    fit_gamma: bool = False
    fit_delta: list[bool] = [False]
    round_specific_rho: bool = True
    round_specific_gamma: bool = True
    round_specific_delta: bool = True
    try_saturation: bool = False


class Constraints(Part):
    """What is fitted, tied and varied."""

    binding_modes: list[ModeConstraints] = []
    binding_mode_interactions: list[InteractionConstraints] = []
    enrichment_model: list[EnrichmentConstraints] = []
    count_table: list[Part] = []
    add_binding_modes_sequentially: bool = True
    flank_lengths: list[int] = [0]
    n_shifts: int = 0
    single_mode_length_sweep: bool = False


class LBFGSSettings(Part):
    """Settings of the minimiser."""

    memory: int = 100
    max_iters: int = 500
    convergence: float = 1e-7
    mc_search: bool = Field(default=True, alias="MCSearch")


class OutputSettings(Part):
    """Where the program writes."""

    output_path: str | None = None
    base_name: str | None = None
    verbose: bool = False
    store_hessian: bool = False
    print_psam: bool = Field(default=False, alias="printPSAM")
    print_trajectory: bool = False


class OptimizerSettings(Part):
    """Penalties, and how the program minimises."""

    minimizer_type: str = "lbfgs"
    lbfgs_settings: LBFGSSettings = LBFGSSettings()
    pattern_search_settings: dict[str, Any] = {}
    sgd_settings: dict[str, Any] = {}
    slbfgs_settings: dict[str, Any] = {}
    lambda_l2: NonNegative = Field(default=1e-7, alias="lambdaL2")
    pseudocount: NonNegative = 0
    exp_bound: NonNegative = 40
    n_threads: int = 4
    n_retries: int = 3
    likelihood_threshold: float = 0
    fixed_library_size: bool = False
    output: OutputSettings = OutputSettings()


class ModeSeed(Part):
    """Start values of a mode."""

    mononucleotide_iupac: str | None = Field(None, alias="mononucleotideIUPAC")
    mononucleotide_string: str | None = None
    seed_scale: float = 1.0


class Seeding(Part):
    """Start values."""

    binding_modes: list[ModeSeed] = []
    enrichment_model: list[dict[str, list[float]]] = []
    count_table: list[dict[str, list[float]]] = []
    binding_mode_interactions: list[dict[str, Any]] = []


class Content(Part):
    """A whole file (or line of one), but for the coefficients."""

    model_settings: ModelSettings
    model_fitting_constraints: Constraints = Constraints()
    optimizer_setting: OptimizerSettings = OptimizerSettings()
    model_seeding: Seeding = Seeding()
    coefficients: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}


_WRITTEN = {
    "componentName",
    "includeComponent",  # of tables and enrichment models, which follow the modes
    "variationsOptimized",
    "freezingLevel",
    "variationName",
    "variationDescription",
    "round",
    "r0KUsed",
    "r0KsTested",
    "modelError",
    "scoringModel",
    "mononucleotideFile",
}
"""Keys that the program writes or reads without any effect on a model."""


def unknown_keys(part: BaseModel, where: str = "") -> Iterator[str]:
    """Yield the paths of the keys that are not known, ``modelSettings.fooBar``.

    Args:
        part: What was read.
        where: The path of it.
    """
    for key in part.model_extra or {}:
        if key not in _WRITTEN:
            yield f"{where}{key}"
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        path = f"{where}{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from unknown_keys(value, f"{path}.")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, BaseModel):
                    yield from unknown_keys(each, f"{path}[{index}].")
