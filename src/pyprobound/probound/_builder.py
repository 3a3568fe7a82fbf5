"""The configuration builder: a list of functions becomes a whole configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyprobound.errors import InputError

Json = dict[str, Any]

_DATABASE = (
    "addTableDB",
    "addTableDBs",
    "addSELEXDB",
    "addSELEXTableDB",
    "addSELEXTableDBs",
    "outputDB",
)


def built(file: Path, functions: list[Any]) -> Json:
    """Return the configuration that a list of functions asks for.

    Args:
        file: Where they stand, for messages.
        functions: Objects with a key "function" and its arguments.

    Raises:
        InputError: A function is not known, or an argument is missing or wrong.
    """
    builder = _Builder(file)
    for index, each in enumerate(functions):
        builder.call(index, each)
    return builder.config


class _Builder:
    """The configuration so far."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._where = ""
        self.config: Json = {
            "optimizerSetting": {},
            "modelSettings": {
                "bindingModes": [],
                "bindingModeInteractions": [],
                "enrichmentModel": [],
                "countTable": [],
            },
            "modelFittingConstraints": {
                "bindingModes": [],
                "bindingModeInteractions": [],
                "enrichmentModel": [],
                "countTable": [],
            },
        }
        self._functions: dict[str, Callable[[Json], None]] = {
            "addTable": self._add_table,
            "addSELEX": self._add_selex,
            "addNS": lambda _: self._append("bindingModes", {"size": 0}),
            "addBindingMode": self._add_mode,
            "addInteraction": self._add_interaction,
            "output": lambda x: self._merge("output", {"verbose": True} | x),
            "optimizerSetting": self.config["optimizerSetting"].update,
            "lbfgsSettings": lambda x: self._merge("lbfgsSettings", x),
            "patternSearchSettings": lambda x: self._merge("patternSearchSettings", x),
            "slbfgsSettings": lambda x: self._merge("slbfgsSettings", x),
            "basicConstraints": self._constraints.update,
            "enrichmentModelConstraints": self._constrain_enrichment,
            "bindingModeConstraints": lambda x: self._constrain("bindingModes", x),
            "interactionConstraints": lambda x: self._constrain(
                "bindingModeInteractions", x
            ),
            "symmetry": self._symmetry,
            "bindingModeSeed": self._seed_mode,
            "enrichmentModelSeed": self._seed_enrichment,
            "setAlphabet": self._settings.update,
            "NRLBConstraints": self._nrlb,
        }

    @property
    def _settings(self) -> Json:
        found: Json = self.config["modelSettings"]
        return found

    @property
    def _constraints(self) -> Json:
        found: Json = self.config["modelFittingConstraints"]
        return found

    def _error(self, rule: str) -> InputError:
        return InputError(f"{self._file}: {self._where}: {rule}")

    def call(self, index: int, given: object) -> None:
        """Carry out one function."""
        name = given.get("function") if isinstance(given, dict) else None
        self._where = f"function {index}"
        if not isinstance(given, dict) or not isinstance(name, str):
            raise self._error('is no object with a key "function"')
        self._where = f"function {index} ({name})"
        if name in _DATABASE:
            raise self._error("reads a database, which this format's users never had")
        if name not in self._functions:
            known = ", ".join(self._functions)
            raise self._error(f"is not known; known are {known}")
        arguments = {key: value for key, value in given.items() if key != "function"}
        self._functions[name](arguments)

    def _need(self, arguments: Json, *keys: str) -> None:
        missing = [key for key in keys if key not in arguments]
        if missing:
            raise self._error(f"needs {', '.join(missing)}")

    def _append(self, kind: str, entry: Json) -> None:
        self._settings[kind].append(entry)
        self._constraints[kind].append({})

    def _merge(self, key: str, values: Json) -> None:
        self.config["optimizerSetting"].setdefault(key, {}).update(values)

    def _add_table(self, arguments: Json) -> None:
        self._need(arguments, "countTableFile", "variableRegionLength", "nColumns")
        self._append("countTable", arguments)

    def _add_selex(self, arguments: Json) -> None:
        kept = {key: value for key, value in arguments.items() if key != "rounds"}
        self._append("enrichmentModel", kept)

    def _add_mode(self, arguments: Json) -> None:
        self._need(arguments, "size")
        self._append("bindingModes", arguments)

    def _add_interaction(self, arguments: Json) -> None:
        self._need(arguments, "bindingModes")
        self._append("bindingModeInteractions", arguments)

    def _index(self, kind: str, arguments: Json) -> int:
        self._need(arguments, "index")
        index, number = arguments["index"], len(self._settings[kind])
        if not isinstance(index, int) or not 0 <= index < number:
            raise self._error(f"index {index!r}, but there are {number} of {kind} yet")
        return index

    def _constrain(self, kind: str, arguments: Json) -> None:
        index = self._index(kind, arguments)
        rest = {key: value for key, value in arguments.items() if key != "index"}
        self._constraints[kind][index].update(rest)

    def _constrain_enrichment(self, arguments: Json) -> None:
        if arguments.get("index") != -1:
            self._constrain("enrichmentModel", arguments)
            return
        for index in range(len(self._settings["enrichmentModel"])):
            self._constrain("enrichmentModel", arguments | {"index": index})

    def _symmetry(self, arguments: Json) -> None:
        index = self._index("bindingModes", arguments)
        size = self._settings["bindingModes"][index]["size"]
        text = arguments.get("symmetryString", f"1:{size}:1")
        self._constraints["bindingModes"][index]["symmetryString"] = text

    def _seeds(self, kind: str) -> list[Json]:
        seeding = self.config.setdefault("modelSeeding", {})
        seeds: list[Json] = seeding.setdefault(kind, [])
        missing = len(self._settings[kind]) - len(seeds)
        seeds.extend({} for _ in range(missing))
        return seeds

    def _seed_mode(self, arguments: Json) -> None:
        index = self._index("bindingModes", arguments)
        rest = {key: value for key, value in arguments.items() if key != "index"}
        self._seeds("bindingModes")[index].update(rest)

    def _seed_enrichment(self, arguments: Json) -> None:
        seeds = self._seeds("enrichmentModel")
        rest = {key: value for key, value in arguments.items() if key != "index"}
        if arguments.get("index", -1) == -1:
            for seed in seeds:
                seed.update(rest)
            return
        seeds[self._index("enrichmentModel", arguments)].update(rest)

    def _nrlb(self, arguments: Json) -> None:
        text = arguments.get("symmetryString")
        for entry in self._constraints["bindingModes"] if text else ():
            entry["symmetryString"] = text
