"""A page on a fit: one HTML file that needs nothing from elsewhere.

    write_report("bcd.run")                # bcd.run/report.html
    page_of(run), rendered(page)           # its content; its HTML

jinja2 and matplotlib are needed: `pip install 'pyprobound-engine[plots]'`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pyprobound._files import write_text
from pyprobound._version import __version__
from pyprobound.page._candidates import candidates_section
from pyprobound.page._content import Page
from pyprobound.page._dimers import dimers_section
from pyprobound.page._downloads import downloads_section
from pyprobound.page._experiments import experiments_section
from pyprobound.page._history import history
from pyprobound.page._modes import modes_section
from pyprobound.page._overview import (
    facts_of,
    lead_of,
    title_of,
    verdict_of,
)
from pyprobound.page._provenance import provenance
from pyprobound.page._render import rendered
from pyprobound.page._run import Run, open_page_run

__all__ = [
    "Page",
    "Run",
    "open_page_run",
    "page_of",
    "rendered",
    "write_page",
    "write_report",
]


def page_of(run: Run) -> Page:
    """Return the content of the page on a run."""
    sections = [
        modes_section(run),
        dimers_section(run),
        experiments_section(run),
        candidates_section(run),
        history(run),
        downloads_section(run),
        provenance(run),
    ]
    return Page(
        title_of(run),
        lead_of(run),
        [verdict_of(run), facts_of(run)],
        [each for each in sections if each is not None],
        f"Made by pyprobound {__version__}. Logarithms are natural, energies are"
        " −ΔΔG/RT: larger binds better.",
    )


def write_report(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    tables: Sequence[str | os.PathLike[str]] = (),
) -> Run:
    """Write the page on a run directory.

    Args:
        path: The run directory.
        output: The file; by default report.html in the run directory. One that exists
            is replaced once the new one is complete.
        tables: Where the count tables are, in the configuration's order; by default
            where the configuration says.

    Returns:
        The run; its `no_tables` says why the page has no comparison with the data.

    Raises:
        PyProBoundError: The run or a table cannot be read, or the page not written.
    """
    run = open_page_run(Path(path), [Path(each) for each in tables])
    write_page(run, None if output is None else Path(output))
    return run


def write_page(run: Run, output: Path | None = None) -> None:
    """Write the page on a run that is already open.

    Args:
        run: The run.
        output: The file; by default report.html in the run directory.

    Raises:
        PyProBoundError: The page cannot be written.
    """
    write_text(output or run.directory.report, rendered(page_of(run)))
