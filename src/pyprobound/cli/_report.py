"""`pyprobound report`: a run directory as a page for a browser."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pyprobound.errors import PyProBoundError


def run_report(path: Path, output: Path | None, tables: Sequence[Path]) -> None:
    """Write the page on a run directory, and say where.

    Raises:
        PyProBoundError: A package that it needs is missing, or the run cannot be read.
    """
    try:
        from pyprobound.page import write_report
    except ImportError as error:
        raise PyProBoundError(missing(error)) from None
    run = write_report(path, output, tables)
    if run.no_tables:
        print(f"no comparison with the data: {run.no_tables}", file=sys.stderr)
    print(run.directory.report if output is None else output)


def missing(error: ImportError) -> str:
    """Return what to do about a package that is not installed."""
    return (
        f"a report needs {error.name}, which is not installed: pip install"
        " 'pyprobound-engine[plots]'"
    )
