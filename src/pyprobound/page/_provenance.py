"""How a page and its model were made: what a reader needs to make them again."""

from datetime import UTC, datetime

import matplotlib as mpl

from pyprobound._version import __version__
from pyprobound.page._content import (
    Block,
    Cell,
    Column,
    Command,
    Facts,
    Prose,
    Section,
    Table,
)
from pyprobound.page._history import duration
from pyprobound.page._numbers import count
from pyprobound.page._run import Run


def provenance(run: Run) -> Section:
    """Return the section on seeds, versions, tables and times."""
    result = run.result
    config = run.document.config
    made = (
        datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    )
    entries: list[tuple[str, list[str]]] = []
    if "started" in result:
        took = duration(float(result["seconds"]))
        memory = f"{result['peak_memory_bytes'] / 1e6:,.0f} MB at most"
        again = int(result.get("resumed", 0))
        resumed = f"; gone on with {again} times after a stop" if again else ""
        started = str(result["started"]).replace("T", " ").removesuffix("+00:00")
        entries += [
            ("Fit begun", [f"{started} UTC, took {took}, {memory}{resumed}"]),
        ]
    entries.append(("Seed", [str(result.get("seed", config.seed))]))
    versions = result.get("versions", {})
    if versions:
        entries.append(
            ("Fitted with", [", ".join(f"{k} {v}" for k, v in versions.items())])
        )
    entries.append(
        (
            "Page made",
            [f"{made} UTC by pyprobound {__version__}, matplotlib {mpl.__version__}"],
        )
    )
    blocks: list[Block] = [
        Facts(entries),
        _tables(run),
        Prose("The configuration, saved as config.toml, repeats the fit:"),
        Command("pyprobound fit config.toml -o again"),
    ]
    return Section("provenance", "How this was made", blocks)


def _tables(run: Run) -> Table:
    rows = []
    for number, each in enumerate(run.document.config.experiments):
        known = run.numbers.get("tables", [])
        size = count(known[number]["probes"]) if number < len(known) else "–"
        for name, sha256 in zip(each.table, each.sha256, strict=False):
            rows.append(
                [
                    Cell(str(each.name)),
                    Cell(name.rpartition("/")[2]),
                    Cell(size),
                    Cell(sha256),
                ]
            )
    columns = [
        Column("Experiment", is_number=False),
        Column("File", is_number=False),
        Column("Probes"),
        Column("SHA-256", is_number=False),
    ]
    return Table("Count tables", columns, rows)
