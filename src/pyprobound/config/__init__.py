"""The configuration of a fit or a simulation: read, resolved, and built into a model.

    file ─ read_config ─> Document ─ resolve ─> Document ─ build_model ─> BuiltModel

Every error is one line: FILE:LINE: key: rule.
"""

from pyprobound.config._build import (
    BuiltExperiment,
    BuiltModel,
    ProbeLengths,
    Specs,
    build_dimer,
    build_mode,
    build_model,
    make_spacing,
)
from pyprobound.config._candidates import Candidate, candidates_of, select_section
from pyprobound.config._read import Document, read_config
from pyprobound.config._resolve import Probes, binding_names, resolve
from pyprobound.config._schema import (
    NONSPECIFIC,
    Config,
    DimerSection,
    ExperimentSection,
    ModeSection,
    OptimizerSection,
    RoundSection,
    SelectSection,
)
from pyprobound.config._tables import Counts, make_table, make_tables, read_counts
from pyprobound.config._write import to_toml

__all__ = [
    "NONSPECIFIC",
    "BuiltExperiment",
    "BuiltModel",
    "Candidate",
    "Config",
    "Counts",
    "DimerSection",
    "Document",
    "ExperimentSection",
    "ModeSection",
    "OptimizerSection",
    "ProbeLengths",
    "Probes",
    "RoundSection",
    "SelectSection",
    "Specs",
    "binding_names",
    "build_dimer",
    "build_mode",
    "build_model",
    "candidates_of",
    "make_spacing",
    "make_table",
    "make_tables",
    "read_config",
    "read_counts",
    "resolve",
    "select_section",
    "to_toml",
]
