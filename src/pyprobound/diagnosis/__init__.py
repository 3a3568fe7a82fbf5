"""Is a fit to be believed? Findings about it, the worst first.

    diagnosis = diagnose(document, built, tables, result, errors, held_out)
    print(diagnosis)

What each finding means, and what its threshold rests on: docs/verdict.md.
"""

from pyprobound.diagnosis._diagnose import diagnose
from pyprobound.diagnosis._findings import Diagnosis, Finding, Severity

__all__ = ["Diagnosis", "Finding", "Severity", "diagnose"]
