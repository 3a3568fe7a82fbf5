"""The errors of a fit that has ended, or the reason why there are none."""

from collections.abc import Sequence

import torch

from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.config import BuiltModel
from pyprobound.errors import PyProBoundError
from pyprobound.fisher import MOST_PARAMETERS
from pyprobound.report_errors import Json, error_numbers
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty

SWITCHED_OFF = "switched off"


def errors_of(built: BuiltModel, tables: Sequence[CountTable]) -> Uncertainty | str:
    """Return the errors of a fitted model, or why it has none, in words.

    The model is computed with in double precision from here on: what is not identified
    is a matter of digits.

    Args:
        built: The model.
        tables: What it was fitted to, with the flanks that it scores.
    """
    n_parameters = sum(parameter.numel() for parameter in built.loss.parameters())
    if n_parameters > MOST_PARAMETERS:
        return f"{n_parameters} parameters are too many (at most {MOST_PARAMETERS})"
    built.loss.to(torch.float64)
    try:
        with raised_signals():
            return Uncertainty(built.loss, tables)
    except Interrupted as signal:
        return f"interrupted by {signal}"
    except PyProBoundError as error:
        return str(error)


def numbers_of(built: BuiltModel, errors: Uncertainty | str) -> dict[str, Json]:
    """Return what result.json says of the errors."""
    if isinstance(errors, str):
        return {"skipped": errors}
    return error_numbers(built, errors)
