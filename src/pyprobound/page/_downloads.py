"""Files that travel inside the page: parameters, motifs."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyprobound.config import to_toml
from pyprobound.errors import PyProBoundError
from pyprobound.motifs import FORMATS, read_motifs
from pyprobound.motifs._formats import written
from pyprobound.page._content import Block, Download, Downloads, Prose, Section
from pyprobound.page._run import Numbers, Run
from pyprobound.run_directory import moved

_COLUMNS = (
    "quantity",
    "name",
    "experiment",
    "round",
    "key",
    "position",
    "value",
    "error",
    "low95",
    "high95",
)
_MOTIFS = ("meme", "jaspar", "transfac", "homer", "probound")

Row = dict[str, Any]


def downloads_section(run: Run) -> Section:
    """Return the section with files to save."""
    files = [
        Download(
            "parameters.tsv",
            "All parameters with errors and 95% intervals, one to a line",
            "text/tab-separated-values",
            parameters_tsv(run),
        ),
        Download(
            "result.json",
            "The same and more: parameters, errors, losses, versions",
            "application/json",
            json.dumps(dict(run.numbers), ensure_ascii=False, indent=1),
        ),
        Download(
            "config.toml",
            "The configuration, every default filled in",
            "application/toml",
            to_toml(
                moved(run.document, run.directory.path).model_dump(exclude_none=True)
            ),
        ),
        *_motif_files(run),
    ]
    blocks: list[Block] = [
        Prose(
            "These files are part of this page. Energies are −ΔΔG/RT in natural"
            " logarithms."
        ),
        Downloads(files),
    ]
    return Section("downloads", "Downloads", blocks)


def _motif_files(run: Run) -> Iterator[Download]:
    try:
        motifs = read_motifs(run.directory.path)
    except PyProBoundError:  # no motif, or letters of several characters
        return
    for name in _MOTIFS:
        known = FORMATS[name]
        file = f"motifs{known.suffixes[0]}"
        try:
            text, remarks = written(motifs, known, Path(file))
        except PyProBoundError:  # the format has no such letters
            continue
        title = f"Motifs for {known.title}"
        if remarks:
            title += f" ({'; '.join(remarks)})"
        kind = "application/json" if file.endswith(".json") else "text/plain"
        yield Download(file, title, kind, text)


# --- a table of all parameters -------------------------------------------------------


def parameters_tsv(run: Run) -> str:
    """Return all parameters as a table: one number to a line, with its error.

    What is absent or −∞ has no line; what the data do not identify has no error.
    """
    text = io.StringIO()
    writer = csv.DictWriter(
        text, _COLUMNS, delimiter="\t", lineterminator="\n", restval=""
    )
    writer.writeheader()
    writer.writerows(_rows(run.numbers, run.uncertainty or {}))
    return text.getvalue()


def _rows(numbers: Numbers, errors: Numbers) -> Iterator[Row]:
    for mode in numbers["modes"]:
        if mode["kind"] == "psam":
            yield from _mode_rows(mode, _named(errors.get("modes", []), mode["name"]))
    for dimer in numbers["dimers"]:
        yield from _dimer_rows(dimer, _named(errors.get("dimers", []), dimer["name"]))
    for each in numbers["experiments"]:
        own = _named(errors.get("experiments", []), each["name"])
        yield from _experiment_rows(each, own)


def _named(listed: list[Numbers], name: str) -> Numbers:
    return next((each for each in listed if each["name"] == name), {})


def _mode_rows(mode: Numbers, errors: Numbers) -> Iterator[Row]:
    for letter, values in mode["energies"].items():
        known = errors.get("energies", {}).get(letter, {})
        for index, value in enumerate(values):
            yield {
                "quantity": "energy",
                "name": mode["name"],
                "key": letter,
                "position": index + 1,
                **_estimate(value, known, index),
            }
    for key, value in mode["pairs"].items():
        known = errors.get("pairs", {}).get(key, {})
        yield {
            "quantity": "pair_energy",
            "name": mode["name"],
            "key": key,
            **_estimate(value, known),
        }


def _dimer_rows(dimer: Numbers, errors: Numbers) -> Iterator[Row]:
    for strands, values in dimer["log_omega"].items():
        known = errors.get("log_omega", {}).get(strands, {})
        for index, (offset, value) in enumerate(
            zip(dimer["offsets"], values, strict=True)
        ):
            if value is not None:
                yield {
                    "quantity": "log_omega",
                    "name": dimer["name"],
                    "key": strands,
                    "position": offset,
                    **_estimate(value, known, index),
                }


def _experiment_rows(experiment: Numbers, errors: Numbers) -> Iterator[Row]:
    for each in experiment["rounds"]:
        known = _named(errors.get("rounds", []), each["name"])
        place = {"experiment": experiment["name"], "round": each["name"]}
        for name, value in each.get("log_activities", {}).items():
            if value is not None:
                own = known.get("log_activities", {}).get(name, {})
                yield {
                    "quantity": "log_activity",
                    "name": name,
                    **place,
                    **_estimate(value, own),
                }
        for key in (
            "log_depth",
            "log_target_concentration",
            "rho",
            "gamma",
            "delta",
        ):
            if key in each:
                yield {
                    "quantity": key,
                    **place,
                    **_estimate(each[key], known.get(key, {})),
                }
    for name, binding in experiment["bindings"].items():
        own = errors.get("bindings", {}).get(name, {})
        yield {
            "quantity": "log_hill",
            "name": name,
            "experiment": experiment["name"],
            **_estimate(binding["log_hill"], own.get("log_hill") or {}),
        }


def _estimate(value: float, known: Mapping[str, Any], index: int | None = None) -> Row:
    """Return a value with its error and interval, in all their digits.

    A value with an error is in the gauge of the errors.
    """
    row: Row = {"value": repr(value)}
    for name, key in _ESTIMATE.items():
        own = known.get(key)
        if index is not None and own is not None:
            own = own[index]
        if own is not None:
            row[name] = repr(own)
    return row


_ESTIMATE = {"value": "value", "error": "error", "low95": "low", "high95": "high"}
