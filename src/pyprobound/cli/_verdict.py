"""The verdict on a fit that has ended, or the reason why there is none."""

from collections.abc import Mapping, Sequence

import torch

from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.config import BuiltModel, Document
from pyprobound.diagnosis import Diagnosis, diagnose
from pyprobound.report import Json
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty


def verdict_of(
    best: tuple[Document, BuiltModel] | None,
    tables: Sequence[CountTable],
    held_out: Sequence[CountTable] | None,
    result: Mapping[str, Json],
    errors: Uncertainty | str,
) -> Diagnosis | str:
    """Return what is to be thought of a model, or why nothing was, in words.

    Args:
        best: The model that was kept, if there is one.
        tables: What it was fitted to, with the flanks that it scores.
        held_out: What was held out, likewise.
        result: What result.json says so far.
        errors: The errors of the model, or why it has none.
    """
    if best is None or result["interrupted"]:
        return "the fit was interrupted"
    document, built = best
    built.loss.to(torch.float64)
    known = errors if isinstance(errors, Uncertainty) else None
    try:
        with raised_signals():
            return diagnose(document, built, tables, result, known, held_out)
    except Interrupted as signal:
        return f"interrupted by {signal}"


def verdict_numbers(verdict: Diagnosis | str) -> dict[str, Json]:
    """Return what result.json says of the verdict."""
    return {"skipped": verdict} if isinstance(verdict, str) else verdict.to_json()


def verdict_lines(verdict: Diagnosis | str) -> str:
    """Return what is printed of the verdict: problems and cautions."""
    if isinstance(verdict, str):
        return f"No verdict: {verdict}"
    return str(verdict)
