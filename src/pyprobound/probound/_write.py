"""Writing models as files that the Java tools read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyprobound._files import write_text
from pyprobound.probound._coefficients import Coefficients, written
from pyprobound.probound._files import Document
from pyprobound.probound._schema import ModelSettings

_NAMES = {
    "bindingModes": "Binding mode {}",
    "bindingModeInteractions": "Binding mode interaction {}",
    "enrichmentModel": "{} enrichment model {}",
    "countTable": "Count table {}",
}


def to_json(
    document: Document,
    numbers: Coefficients,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a model as the file has it.

    Args:
        document: Its structure and settings.
        numbers: Its numbers.
        metadata: What is known of the fit; by default what the document says.
    """
    content = document.content
    found: dict[str, Any] = content.model_dump(
        by_alias=True, exclude_none=True, exclude={"coefficients", "metadata"}
    )
    found["modelSettings"] = _named(content.model_settings, found["modelSettings"])
    found["coefficients"] = written(numbers)
    if not content.model_settings.count_table:
        _reduce(found)
    found["metadata"] = dict(content.metadata if metadata is None else metadata)
    return found


def _named(settings: ModelSettings, found: dict[str, Any]) -> dict[str, Any]:
    """Name the components, and mark them as the trainer marks finished ones."""
    for kind, name in _NAMES.items():
        for index, each in enumerate(found[kind]):
            words = [str(index)]
            if kind == "enrichmentModel":
                words = [settings.enrichment_model[index].model_type, str(index)]
            each.setdefault("componentName", name.format(*words))
            each.setdefault("includeComponent", True)
    return found


def _reduce(found: dict[str, Any]) -> None:
    """Leave out what a scoring model must not have."""
    for part in (found["modelSettings"], found["coefficients"]):
        part.pop("enrichmentModel", None)
        part.pop("countTable", None)
    for each in found["coefficients"]["bindingModes"]:
        each.pop("positionBias", None)
    for key in ("modelFittingConstraints", "optimizerSetting", "modelSeeding"):
        found.pop(key, None)


def write_models(path: Path, models: Sequence[Mapping[str, Any]]) -> None:
    """Write models as JSON lines, all at once.

    Args:
        path: The file; an existing one is replaced once the new one is complete.
        models: What `to_json` gives, one for each line.
    """
    lines = [json.dumps(each, ensure_ascii=False, allow_nan=False) for each in models]
    write_text(path, "".join(f"{line}\n" for line in lines))
