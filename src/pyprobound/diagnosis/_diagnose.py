"""Is a fit to be believed? All that is looked at, put together."""

from collections.abc import Mapping, Sequence

import torch

from pyprobound.config import BuiltModel, Document
from pyprobound.diagnosis._activities import activities
from pyprobound.diagnosis._evidence import evidence_of
from pyprobound.diagnosis._findings import Diagnosis, Finding
from pyprobound.diagnosis._fit_ended import ended
from pyprobound.diagnosis._learned import learned
from pyprobound.diagnosis._motifs import motifs
from pyprobound.diagnosis._sites import sites
from pyprobound.report import Json
from pyprobound.table import CountTable
from pyprobound.uncertainty import ErrorBars


def diagnose(
    document: Document,
    built: BuiltModel,
    tables: Sequence[CountTable],
    result: Mapping[str, Json] | None = None,
    errors: ErrorBars | None = None,
    held_out: Sequence[CountTable] | None = None,
) -> Diagnosis:
    """Say whether a fit is to be believed, and what speaks against it.

        document, built = open_run(run, tables)
        print(diagnose(document, built, tables))

    Tables of any size take seconds: what is made of single probes is made of a sample.

    Args:
        document: The resolved configuration.
        built: The fitted model.
        tables: What it was fitted to, with the flanks that it scores.
        result: The content of result.json, which says how the fit ended.
        errors: The errors of the model, where they are known.
        held_out: Probes that were not fitted, if there are any.

    Returns:
        The findings, the worst first; docs/verdict.md explains each.
    """
    numbers: dict[str, Json] = {}
    findings: list[Finding] = list(ended(document, built, tables, result, numbers))
    evidence = evidence_of(document, built, tables)
    found, more = learned(built, tables, held_out, evidence, numbers)
    findings += more
    if evidence is not None and not found.is_chance:
        # what is missing from a motif that says nothing says nothing
        findings += sites(evidence, found, numbers)
    n_reads = float(torch.stack([t.counts_per_round.sum() for t in tables]).sum())
    findings += activities(built, evidence, errors, n_reads, numbers)
    findings += motifs(built, errors, numbers)
    return Diagnosis.of(findings, numbers)
