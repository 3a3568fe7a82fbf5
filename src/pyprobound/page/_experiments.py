"""The sections on experiments: activities by round, absolute constants."""

import math
from collections.abc import Sequence
from typing import Any

from pyprobound.page._agreement import agreement
from pyprobound.page._content import Block, Cell, Column, Facts, Prose, Section, Table
from pyprobound.page._numbers import (
    count_cell,
    estimate_cell,
    interval,
    listed,
    number_cell,
    significant,
)
from pyprobound.page._render import anchor
from pyprobound.page._run import Numbers, Run
from pyprobound.uncertainty import NOT_IDENTIFIED

_KINDS = {
    "initial": "initial library",
    "bound": "bound",
    "bound_unsaturated": "bound, unsaturated",
    "unbound": "unbound",
    "rho_gamma": "bound, with ρ and γ",
    "exponential": "reaction product",
}


def experiments_section(run: Run) -> Section:
    """Return the section on all experiments."""
    numbers = run.numbers["experiments"]
    sections = [_experiment(run, index) for index in range(len(numbers))]
    blocks: list[Block] = []
    if run.tables is None:
        blocks.append(
            Prose(
                "Observed and predicted enrichment are not shown, because the count"
                f" tables were not at hand: {run.no_tables}."
            )
        )
    title = "Experiment" if len(sections) == 1 else "Experiments"
    return Section("experiments", title, blocks, sections)


def _experiment(run: Run, index: int) -> Section:
    numbers = run.numbers["experiments"][index]
    errors = None
    if run.uncertainty is not None:
        errors = run.uncertainty["experiments"][index]
    blocks: list[Block] = [_rounds(run, index, errors), *agreement(run, index)]
    table = _activities(numbers, errors)
    if table is not None:
        blocks += [table] if _any_identified(errors) else []
        blocks += _about_activities(errors)
    ratios = _relative(errors)
    if ratios is not None:
        blocks.append(ratios)
    sections = []
    if errors is not None and errors.get("kd_seq") is not None:
        sections.append(_kd_seq(run, index, errors["kd_seq"]))
    name = str(numbers["name"])
    return Section(anchor("experiment", name), name, blocks, sections)


# --- rounds ------------------------------------------------------------------------


def _rounds(run: Run, index: int, errors: Numbers | None) -> Table:
    numbers = run.numbers["experiments"][index]["rounds"]
    reads = _reads_by_round(run, index)
    rows = []
    for number, each in enumerate(numbers):
        own = {} if errors is None else errors["rounds"][number]["log_depth"]
        depth = estimate_cell(
            each["log_depth"], own.get("error"), has_errors=errors is not None
        )
        n_reads = reads.get(each["name"])
        cell = Cell("not sequenced", -1.0) if n_reads is None else count_cell(n_reads)
        reference = each["reference"]
        rows.append(
            [
                Cell(str(each["name"])),
                Cell(_KINDS[each["kind"]]),
                Cell("–" if reference is None else str(reference)),
                cell,
                depth,
            ]
        )
    return Table(
        f"Rounds of {run.numbers['experiments'][index]['name']}",
        [
            Column("Round", is_number=False),
            Column("Kind", is_number=False),
            Column("Selected from", is_number=False),
            Column("Reads"),
            Column("Depth", "natural log"),
        ],
        rows,
    )


def _reads_by_round(run: Run, index: int) -> dict[str, float]:
    """Return the reads of the observed rounds by name."""
    tables = run.numbers.get("tables", [])
    if index >= len(tables):
        return {}
    observed = [
        str(each["name"])
        for each in run.numbers["experiments"][index]["rounds"]
        if each["observed"]
    ]
    return dict(zip(observed, tables[index]["counts_per_round"], strict=True))


# --- activities --------------------------------------------------------------------


def _activities(numbers: Numbers, errors: Numbers | None) -> Table | None:
    rounds = [x for x in numbers["rounds"] if "log_activities" in x]
    if not rounds:
        return None
    names = list(dict.fromkeys(n for x in rounds for n in x["log_activities"]))
    by_name = {} if errors is None else {x["name"]: x for x in errors["rounds"]}
    rows = []
    for name in names:
        cells = [Cell(name)]
        for each in rounds:
            own = by_name.get(each["name"], {}).get("log_activities", {}).get(name, {})
            value = own.get("value", each["log_activities"].get(name))
            cells.append(
                estimate_cell(value, own.get("error"), has_errors=errors is not None)
            )
        rows.append(cells)
    return Table(
        f"Log activities in {numbers['name']}: how much of each binding there is",
        [
            Column("Binding", is_number=False),
            *(Column(f"Round {each['name']}") for each in rounds),
        ],
        rows,
    )


def _any_identified(errors: Numbers | None) -> bool:
    return errors is None or any(
        own["error"] is not None for own in _all_activities(errors)
    )


def _all_activities(errors: Numbers) -> list[Numbers]:
    return [
        own
        for each in errors["rounds"]
        for own in each.get("log_activities", {}).values()
    ]


def _about_activities(errors: Numbers | None) -> list[Prose]:
    """Say why activities are not identified, where they are not."""
    if errors is None or all(x["error"] is not None for x in _all_activities(errors)):
        return []
    text = (
        "Log activities say how much of each binding there is. Where a round is far"
        " from saturation, its reads tell them up to a common factor: not one by one,"
        " but relative to each other."
    )
    return [Prose(text, is_note=True)]


def _relative(errors: Numbers | None) -> Table | None:
    """Return activities relative to the first binding's, where there are errors."""
    if errors is None:
        return None
    rounds = [x for x in errors["rounds"] if len(x.get("log_activities", {})) > 1]
    if not rounds:
        return None
    first = rounds[0]["relative_to"]
    rounds = [x for x in rounds if x["relative_to"] == first]
    names = [n for n in rounds[0]["log_relative_activities"] if n != first]
    rows = []
    for name in names:
        cells = [Cell(name)]
        for each in rounds:
            own: dict[str, Any] = each["log_relative_activities"].get(name, {})
            cells.append(
                estimate_cell(own.get("value"), own.get("error"), has_errors=True)
            )
        rows.append(cells)
    return Table(
        f"Log activities in {errors['name']}, relative to {first}",
        [
            Column("Binding", is_number=False),
            *(Column(f"Round {each['name']}") for each in rounds),
        ],
        rows,
    )


# --- absolute constants --------------------------------------------------------------


def _kd_seq(run: Run, index: int, numbers: Numbers) -> Section:
    section = run.document.config.experiments[index]
    observed = [each for each in section.rounds if each.observed]
    libraries = numbers["libraries"]
    bound = observed[libraries["bound"]]
    total, library = bound.target_concentration, bound.library_concentration
    entries: list[tuple[str, Sequence[str]]] = [
        ("Total protein", [f"{significant(total)}"]),
        ("Library", [significant(library or 0.0)]),
        ("Free protein", [_constant(numbers["log_free_protein"])]),
    ]
    rows = []
    for name, each in numbers["log_kd_of_best_site"].items():
        value = each["value"]
        cells = [Cell(name)]
        if each["error"] is None:
            cells += [number_cell(math.exp(value)), Cell(NOT_IDENTIFIED, -math.inf)]
        else:
            low, high = (math.exp(each[key]) for key in ("low", "high"))
            cells += [
                Cell(significant(math.exp(value)), math.exp(value)),
                Cell(interval(low, high), low),
            ]
        rows.append(cells)
    names = listed(
        [str(observed[libraries[x]].name) for x in ("input", "bound", "unbound")]
    )
    return Section(
        anchor("constants", str(section.name)),
        "Absolute affinities",
        [
            Prose(
                f"The libraries {names} of this experiment say how much protein stayed"
                " free, and so how strong binding is in the unit in which the"
                " concentrations were given."
            ),
            Facts(entries),
            Table(
                f"K_D in {section.name} of each motif's strongest site, in one window",
                [
                    Column("Motif", is_number=False),
                    Column("K_D", "unit of the concentrations"),
                    Column("95% interval"),
                ],
                rows,
            ),
        ],
    )


def _constant(estimate: Numbers) -> str:
    value = significant(math.exp(estimate["value"]))
    if estimate["error"] is None:
        return f"{value} ({NOT_IDENTIFIED})"
    low, high = (math.exp(estimate[key]) for key in ("low", "high"))
    return f"{value}, 95% interval {interval(low, high)}"
