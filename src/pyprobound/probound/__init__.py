"""Files of the Java program: read, evaluated, fitted, scored and written exactly.

    document = read("out.models.json")          the last model of a fit
    model = build(document)                      its objective
    tables = model.read_tables()
    model.loss(tables)

Every configuration of the format can be built; the numbers of the file and the
parameters of the model are two views of one thing (`Numbers`).
"""

from pyprobound.probound._coefficients import Coefficients
from pyprobound.probound._export import CannotHoldError, exported
from pyprobound.probound._files import Document, read
from pyprobound.probound._minimise import minimise
from pyprobound.probound._objective import (
    ProBoundLoss,
    Value,
    expected_counts,
    value_of,
)
from pyprobound.probound._open import FileModel, build, numbers_of
from pyprobound.probound._scoring import ScoringMode, ScoringModel, scoring_model
from pyprobound.probound._start import start_values
from pyprobound.probound._tables import relocated
from pyprobound.probound._train import Procedure, Trained, Training, train
from pyprobound.probound._transforms import consensus, in_mismatch_gauge
from pyprobound.probound._write import to_json, write_models

__all__ = [
    "CannotHoldError",
    "Coefficients",
    "Document",
    "FileModel",
    "ProBoundLoss",
    "Procedure",
    "ScoringMode",
    "ScoringModel",
    "Trained",
    "Training",
    "Value",
    "build",
    "consensus",
    "expected_counts",
    "exported",
    "in_mismatch_gauge",
    "minimise",
    "numbers_of",
    "read",
    "relocated",
    "scoring_model",
    "start_values",
    "to_json",
    "train",
    "value_of",
    "write_models",
]
