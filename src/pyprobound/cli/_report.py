"""`pyprobound report`: a run directory as a page for a browser."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pyprobound.cli._signals import Interrupted, raised_signals
from pyprobound.cli._told import wanting_plots
from pyprobound.config import BuiltModel, Document
from pyprobound.errors import PyProBoundError
from pyprobound.run_directory import RunDirectory
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty


def run_report(path: Path, output: Path | None, tables: Sequence[Path]) -> None:
    """Write the page on a run directory, and say where.

    Raises:
        PyProBoundError: A package that it needs is missing, or the run cannot be read.
    """
    with wanting_plots():
        from pyprobound.page import write_report
    run = write_report(path, output, tables)
    if run.no_tables:
        print(f"no comparison with the data: {run.no_tables}", file=sys.stderr)
    print(run.directory.report if output is None else output)


def report_fit(
    directory: RunDirectory,
    best: tuple[Document, BuiltModel],
    errors: Uncertainty | str,
    tables: Sequence[CountTable],
    held_out: Sequence[CountTable] | None,
    *,
    quiet: bool,
) -> None:
    """Write the page at the end of a fit; what goes wrong is one line, no more.

    The fit is done and on the disk: nothing that happens here may change that.

    Args:
        directory: Where the fit is.
        best: The model that was kept, and its configuration.
        errors: Its errors, or why there are none.
        tables: What it was fitted to.
        held_out: What was held out, if anything was.
        quiet: Whether to say nothing of a page that is written.
    """
    again = f"pyprobound report {directory.path}"
    try:
        with raised_signals():
            with wanting_plots():
                from pyprobound.page import Run, write_page
            write_page(Run(directory, *best, errors, tables, "", held_out))
    except PyProBoundError as error:
        print(f"no report: {error}; then {again}", file=sys.stderr)
    except Interrupted as signal:
        print(f"no report: interrupted by {signal}; {again}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 whatever it is, the fit is done
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"no report ({reason}); try again: {again}", file=sys.stderr)
    else:
        if not quiet:
            print(f"Report for a browser: {directory.report}")
