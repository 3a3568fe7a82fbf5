"""Reading files of the Java program: fits, scoring models, configurations."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pyprobound.errors import InputError
from pyprobound.probound._builder import built
from pyprobound.probound._schema import (
    ALL,
    Constraints,
    Content,
    EnrichmentConstraints,
    EnrichmentSettings,
    InteractionConstraints,
    ModeConstraints,
    Part,
    unknown_keys,
)

Json = dict[str, Any]
Line = Literal["last", "best"] | int


@dataclass(frozen=True)
class Document:
    """A model or configuration as the file says it, defaults filled in.

    Attributes:
        path: The file.
        content: What it says.
    """

    path: Path
    content: Content

    @property
    def folder(self) -> Path:
        """Where relative paths begin."""
        return self.path.parent

    def error(self, rule: str) -> InputError:
        """Return an error about the file."""
        return InputError(f"{self.path}: {rule}")

    def with_content(self, **changes: object) -> "Document":
        """Return the document with parts of its content replaced."""
        return Document(self.path, self.content.model_copy(update=changes))


def read(path: str | Path, line: Line = "last") -> Document:
    """Read a fit, a scoring model, or a configuration (built or as functions).

    Args:
        path: A JSON file, or one of JSON lines, as the trainer appends them.
        line: Which model of a file of several: "last", "best" (the lowest objective
            per read), or its number from 0.

    Raises:
        InputError: The file cannot be read, is damaged, or contradicts itself.
    """
    file = Path(path)
    found = read_json(file, line)
    content = built(file, found) if isinstance(found, list) else found
    return parsed(file, content)


def read_json(file: Path, line: Line = "last") -> Json | list[Any]:
    """Return the JSON of a file, or of one line of it.

    Raises:
        InputError: The file cannot be read, or is no JSON.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{file}: cannot be read ({reason})") from None
    lines = [each for each in text.splitlines() if each.strip()]
    if not lines:
        raise InputError(f"{file}: the file is empty")
    if len(lines) > 1 and _is_whole(lines[0]):
        return _chosen(file, lines, line)
    if line not in ("last", "best", 0):
        raise InputError(f"{file}: no line {line}: the file holds one model")
    found = _parsed_json(file, text)
    if isinstance(found, dict | list):
        return found
    raise InputError(f"{file}: is no object {{…}} and no list […]")


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _chosen(file: Path, lines: list[str], line: Line) -> Json:
    if line == "best":
        models = [_object(file, each, i) for i, each in enumerate(lines)]
        return min(models, key=_objective)
    number = len(lines) - 1 if line == "last" else line
    if not -len(lines) <= number < len(lines):
        raise InputError(f"{file}: no line {line}: it has lines 0 … {len(lines) - 1}")
    return _object(file, lines[number], number)


def _objective(model: Json) -> float:
    metadata = model.get("metadata")
    value = metadata.get("logLikelihoodPerRead") if isinstance(metadata, dict) else None
    return float(value) if isinstance(value, int | float) else math.inf


def _object(file: Path, text: str, number: int) -> Json:
    found = _parsed_json(file, text, number + 1)
    if not isinstance(found, dict):
        raise InputError(f"{file}, line {number + 1}: is no object: {{…}}")
    return found


def _parsed_json(file: Path, text: str, line: int | None = None) -> Any:  # noqa: ANN401 as JSON
    try:
        return json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as error:
        row = error.lineno if line is None else line
        msg = f"{file}, line {row}, column {error.colno}: no JSON ({error.msg})"
        raise InputError(msg) from None
    except _NotFiniteError as error:
        raise InputError(
            f"{file}: {error} is no number that a model may have"
        ) from None
    except RecursionError:
        raise InputError(f"{file}: its brackets are nested too deeply") from None


class _NotFiniteError(ValueError):
    pass


def _refused(name: str) -> float:
    raise _NotFiniteError(name)


# --- meaning -----------------------------------------------------------------------


def parsed(file: Path, found: Mapping[str, Any] | list[Any]) -> Document:
    """Return what JSON says, checked, defaults filled in.

    Warns of keys that are not known.

    Raises:
        InputError: A value is missing, of the wrong type, or contradicts another one.
    """
    if not isinstance(found, Mapping) or "modelSettings" not in found:
        msg = f"{file}: has no modelSettings: it is no model or configuration"
        raise InputError(msg)
    try:
        content = Content.model_validate(dict(found))
    except ValidationError as error:
        raise InputError(f"{file}: {_said(error)}") from None
    unknown = list(unknown_keys(content))
    if unknown:
        msg = f"{file}: keys that are not known are ignored: {', '.join(unknown)}"
        warnings.warn(msg, stacklevel=3)
    document = Document(file, content)
    return _completed(document)


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    place = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
    )
    shown = repr(first.get("input"))
    given = f" (found {shown[:60]})" if first["type"] != "missing" else ""
    return f"{place.lstrip('.')}: {first['msg'].lower()}{given}"


def _completed(document: Document) -> Document:
    """Expand what stands for "all", pad the constraints, and check indices."""
    settings = document.content.model_settings
    n_tables = len(settings.count_table)
    if len(settings.enrichment_model) > n_tables > 0:
        rule = f"{len(settings.enrichment_model)} enrichment models for {n_tables}"
        raise document.error(f"modelSettings: {rule} count tables")
    missing = max(0, n_tables - len(settings.enrichment_model))
    models = [*settings.enrichment_model, *[EnrichmentSettings()] * missing]
    models = [_expanded(document, index, each) for index, each in enumerate(models)]
    letters = settings.letter_order or "".join(sorted(_letters(document)))
    if sorted(letters) != sorted(_letters(document)):
        rule = f"letterOrder {letters!r} and letterComplement"
        raise document.error(f"{rule} {settings.letter_complement!r} differ")
    settings = settings.model_copy(
        update={"enrichment_model": models, "letter_order": letters}
    )
    constraints = document.content.model_fitting_constraints
    padded = {
        "binding_modes": _padded(
            document,
            constraints.binding_modes,
            settings.binding_modes,
            ModeConstraints(),
        ),
        "binding_mode_interactions": _padded(
            document,
            constraints.binding_mode_interactions,
            settings.binding_mode_interactions,
            InteractionConstraints(),
        ),
        "enrichment_model": _padded(
            document, constraints.enrichment_model, models, EnrichmentConstraints()
        ),
    }
    complete: Constraints = constraints.model_copy(update=padded)
    _check_interactions(document)
    return document.with_content(
        model_settings=settings, model_fitting_constraints=complete
    )


def _letters(document: Document) -> set[str]:
    pairs = document.content.model_settings.letter_complement.split(",")
    if any(len(pair) != 3 or pair[1] != "-" for pair in pairs):
        text = document.content.model_settings.letter_complement
        raise document.error(f"letterComplement {text!r} is not like 'C-G,A-T'")
    first, second = [pair[0] for pair in pairs], [pair[2] for pair in pairs]
    letters = set(first) | set(second)
    selfs = sum(a == b for a, b in zip(first, second, strict=True))
    if len(letters) != len(first) + len(second) - selfs:
        text = document.content.model_settings.letter_complement
        raise document.error(f"letterComplement {text!r} names a letter twice")
    return letters


def _padded(
    document: Document, given: list[Any], settings: list[Any], default: Part
) -> list[Any]:
    if len(given) > len(settings):
        rule = f"modelFittingConstraints: {len(given)} entries of one kind for"
        raise document.error(f"{rule} {len(settings)} in modelSettings")
    return [*given, *[default] * (len(settings) - len(given))]


def _expanded(
    document: Document, index: int, model: EnrichmentSettings
) -> EnrichmentSettings:
    settings = document.content.model_settings
    changes = {}
    for name, all_of in (
        ("binding_modes", settings.binding_modes),
        ("binding_mode_interactions", settings.binding_mode_interactions),
    ):
        listed = getattr(model, name)
        chosen = list(range(len(all_of))) if listed == [ALL] else listed
        if any(not 0 <= each < len(all_of) for each in chosen):
            rule = f"names {chosen}, but there are {len(all_of)}"
            raise document.error(
                f"modelSettings.enrichmentModel[{index}].{name} {rule}"
            )
        changes[name] = chosen
    if settings.count_table:
        _check_columns(document, index, model)
    if model.model_type == "InputFreeFraction" and model.cumulative_enrichment:
        rule = "InputFreeFraction needs cumulativeEnrichment: false"
        raise document.error(f"modelSettings.enrichmentModel[{index}]: {rule}")
    return model.model_copy(update=changes)


def _check_columns(document: Document, index: int, model: EnrichmentSettings) -> None:
    table = document.content.model_settings.count_table[index]
    where = f"modelSettings.countTable[{index}]"
    columns = table.columns
    if any(not 0 <= each < table.n_columns for each in columns):
        rule = f"modeledColumns {columns} of {table.n_columns} columns"
        raise document.error(f"{where}: {rule}")
    if len(columns) < 2:
        raise document.error(f"{where}: modeledColumns {columns}: one says nothing")
    for lists in (
        model.round_specific_binding_modes,
        model.round_specific_binding_mode_interactions,
    ):
        if lists != [[]] and len(lists) != table.n_columns:
            rule = f"round-specific lists for {len(lists)} columns, but the table has"
            raise document.error(
                f"modelSettings.enrichmentModel[{index}]: {rule} {table.n_columns}"
            )


def _check_interactions(document: Document) -> None:
    modes = document.content.model_settings.binding_modes
    for index, each in enumerate(
        document.content.model_settings.binding_mode_interactions
    ):
        if any(i >= len(modes) or modes[i].size == 0 for i in each.binding_modes):
            rule = f"bindingModes {each.binding_modes} must name two modes with a size"
            raise document.error(
                f"modelSettings.bindingModeInteractions[{index}]: {rule}"
            )
