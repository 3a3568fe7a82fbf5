"""How the fit ended: converged, out of epochs, stuck, interrupted."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from pyprobound.config import BuiltModel, Document
from pyprobound.diagnosis._findings import Finding, Severity
from pyprobound.fisher import MOST_PARAMETERS, CountObjective, has_information
from pyprobound.report import Json
from pyprobound.table import CountTable
from pyprobound.uncertainty import all_trained

LARGEST_GAIN = 1e-4
"""What another step of a fit that has converged may gain, in nats per read."""

MOST_PROBES = 500_000

FLAT = 1e-10
"""Curvature that is rounding, relative to the largest."""

_BY_INFORMATION = ("predicted decrease", "no step lowers the loss")
_OUT_OF_EPOCHS = 0.5
_WORST = 100.0
"""A weight above all others: what comes after it is not even the model meant."""


def ended(
    document: Document,
    built: BuiltModel,
    tables: Sequence[CountTable],
    result: Mapping[str, Json] | None,
    numbers: dict[str, Json],
) -> Iterator[Finding]:
    """Say how a fit ended."""
    if result is None:
        return
    reason = str(result.get("ended", ""))
    numbers["ended"] = reason
    if result.get("interrupted"):
        yield Finding(
            Severity.PROBLEM,
            "interrupted",
            "The fit was interrupted: the model is the best one until then.",
            "Go on with --resume.",
            weight=_WORST,
        )
        return
    losses = result.get("loss_per_read")
    data = losses.get("data") if isinstance(losses, Mapping) else None
    if reason.startswith("stuck") or (isinstance(losses, Mapping) and data is None):
        yield Finding(
            Severity.PROBLEM,
            "stuck",
            f"The fit got stuck ({reason}).",
            "Look for a parameter that runs away in log.txt; a larger lambda_l2 or"
            " pseudocount holds it.",
            weight=_WORST,
        )
        return
    yield from _converged(document, built, tables, reason, numbers)


def _converged(
    document: Document,
    built: BuiltModel,
    tables: Sequence[CountTable],
    reason: str,
    numbers: dict[str, Json],
) -> Iterator[Finding]:
    if any(words in reason for words in _BY_INFORMATION):
        yield Finding(Severity.FINE, "converged", f"The fit {_sentence(reason)}")
        return
    is_budget = reason.startswith("budget")
    gain = _further_gain(built, tables)
    numbers["further_gain_per_read"] = gain
    if gain is not None and gain <= LARGEST_GAIN:
        said = "ended at its most epochs, yet at a minimum" if is_budget else reason
        yield Finding(
            Severity.FINE, "converged", f"The fit {_sentence(said)}", number=gain
        )
    elif is_budget or gain is not None:
        more = "" if gain is None else f"; another step would gain {gain:.1g} per read"
        yield Finding(
            Severity.PROBLEM if is_budget else Severity.CAUTION,
            "not-converged",
            f"The loss was still falling when the fit ended ({reason}{more}).",
            f"Raise optimizer.epochs above {document.config.optimizer.epochs}, or leave"
            " out optimizer.optimizer for the engine that knows when it is done.",
            number=gain,
            weight=_OUT_OF_EPOCHS,
        )
    else:
        yield Finding(Severity.FINE, "converged", f"The fit {_sentence(reason)}")


def _sentence(reason: str) -> str:
    return f"{reason.rstrip('.')}."


def _further_gain(built: BuiltModel, tables: Sequence[CountTable]) -> float | None:
    """Return what a Newton step would gain, in nats per read; None if not known."""
    if sum(map(len, tables)) > MOST_PROBES or not has_information(built.loss):
        return None
    with all_trained(built.loss):
        objective = CountObjective(built.loss, tables)
        if not 0 < len(objective.free) <= MOST_PARAMETERS or objective.n_single_columns:
            return None
        found = objective.quadratic()
    curvatures, directions = torch.linalg.eigh(found.curvature)
    slopes = directions.T @ found.gradient
    known = curvatures > FLAT * curvatures[-1]
    return float((slopes[known].square() / curvatures[known]).sum() / 2)
