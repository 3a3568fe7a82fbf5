"""Reading a configuration; its errors say FILE:LINE: key: rule.

A path in a configuration is relative to the folder of that configuration.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pyprobound.config._positions import Place, key_lines
from pyprobound.config._schema import Config, Section
from pyprobound.errors import ConfigError

_SYNTAX = re.compile(r"(?P<rule>.*) \(at (?:line (?P<line>\d+).*|end of document)\)$")
_SHORT = "experiment"
_LONG = "experiments"


@dataclass(frozen=True)
class Document:
    """A configuration and where its keys stand.

    Attributes:
        config: What it says.
        path: The file.
        lines: The line of each key.
        is_short: Whether the file has one [experiment], not [[experiments]].
    """

    config: Config
    path: Path
    lines: Mapping[Place, int]
    is_short: bool = False

    @property
    def folder(self) -> Path:
        """What the paths in the configuration are relative to."""
        return self.path.parent

    def with_config(self, config: Config) -> "Document":
        """Return the same document with another content."""
        return replace(self, config=config)

    def error(self, place: Place, rule: object) -> ConfigError:
        """Return the error about one key: FILE:LINE: key: rule."""
        written = self._as_written(place)
        known = written
        while known not in self.lines:
            known = known[:-1]
        # an entry that a default or a shorthand stands for is named by what was written
        shown = _shown(written)
        where = f"{self.path}:{self.lines[known]}"
        return ConfigError(f"{where}: {shown}: {rule}" if shown else f"{where}: {rule}")

    def _as_written(self, place: Place) -> Place:
        if self.is_short and place[:1] == (_LONG,):
            return (_SHORT, *place[2:])
        return place


def read_config(path: Path) -> Document:
    """Read and check a configuration.

    Raises:
        ConfigError: It cannot be read, or breaks a rule that needs no table; the
            message names file, line, key and rule.
    """
    text = _text_of(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, error) from None
    document = Document(
        Config.model_construct(), path, key_lines(text), is_short=_SHORT in content
    )
    try:
        config = Config.model_validate(_with_list_of_experiments(document, content))
    except ValidationError as error:
        raise _first_error(document, error) from None
    return document.with_config(config)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise ConfigError(msg) from None
    except IsADirectoryError:
        msg = f"{path}: is a folder; give the file of a configuration"
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        msg = f"{path}: cannot be read ({reason})"
        raise ConfigError(msg) from None


def _syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    match = _SYNTAX.match(str(error))
    if match is None:
        return ConfigError(f"{path}: {error}")
    line = match["line"] or text.count("\n") + 1
    return ConfigError(f"{path}:{line}: {match['rule']}")


def _with_list_of_experiments(
    document: Document, content: dict[str, Any]
) -> dict[str, Any]:
    """Return the content with [experiment] as the one entry of [[experiments]]."""
    if not document.is_short:
        return content
    if _LONG in content:
        rule = f"give one [{_SHORT}] or several [[{_LONG}]], not both"
        raise replace(document, is_short=False).error((_SHORT,), rule)
    rest = {key: value for key, value in content.items() if key != _SHORT}
    return {**rest, _LONG: [content[_SHORT]]}


def _first_error(document: Document, error: ValidationError) -> ConfigError:
    """Return the first error of the file, by line."""
    errors = [
        document.error(*_place_and_rule(document, each["loc"], each))
        for each in error.errors()
    ]
    return min(errors, key=lambda each: _line_of(document.path, each))


def _line_of(path: Path, error: ConfigError) -> int:
    return int(str(error).removeprefix(f"{path}:").partition(":")[0])


def _place_and_rule(
    document: Document, place: Place, error: Mapping[str, Any]
) -> tuple[Place, str]:
    kind, given = error["type"], error["input"]
    if kind == "missing":
        if place == (_LONG,):
            return (), f"there is no [{_SHORT}]; give its table and flanks"
        return place, "missing; it has no default"
    if kind == "extra_forbidden":
        return place, f"unknown key{_hint(place)}"
    # pydantic adds names of types to a place; only what is written can be shown
    while document._as_written(place) not in document.lines:  # noqa: SLF001 own class
        place = place[:-1]
    rule = error["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    if isinstance(given, str | int | float | bool) and kind != "value_error":
        rule += f", not {given!r}"
    return place, rule


def _hint(place: Place) -> str:
    """Return the known key that an unknown one may have been meant for."""
    section = _section_at(place[:-1])
    known = [] if section is None else list(section.model_fields)
    if section is Config:
        known.append(_SHORT)
    close = get_close_matches(str(place[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _section_at(place: Place) -> type[BaseModel] | None:
    """Return the section that stands at a place of the configuration."""
    section: type[BaseModel] | None = Config
    for key in place:
        if isinstance(key, int) or section is None:
            continue
        field = section.model_fields.get(key)
        section = None if field is None else _section_of(field.annotation)
    return section


def _section_of(annotation: object) -> type[BaseModel] | None:
    """Return the section in a type such as list[Section] or Section | None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in get_args(annotation):
        found = _section_of(inner)
        if found is not None:
            return found
    return None


def _shown(place: Place) -> str:
    """Return a place as it is written in messages: modes[1].size."""
    text = ""
    for key in place:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text
