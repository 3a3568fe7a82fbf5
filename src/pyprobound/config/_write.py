"""Writing a configuration as TOML: what `tomllib` reads, and no more."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

_BARE = re.compile(r"[A-Za-z0-9_-]+")

Table = Mapping[str, object]


def to_toml(content: Table) -> str:
    """Return a table as TOML text; a key whose value is None is left out."""
    return "\n".join(_table((), content)) + "\n"


def _table(path: tuple[str, ...], content: Table) -> list[str]:
    """Return the lines of a table: plain values first, then tables under headers."""
    lines, below = [], []
    for key, value in content.items():
        where = (*path, key)
        if isinstance(value, Mapping) and value:
            below += ["", f"[{_dotted(where)}]", *_table(where, value)]
        elif _is_tables(value):
            for entry in value:
                below += ["", f"[[{_dotted(where)}]]", *_table(where, entry)]
        elif value is not None and not isinstance(value, Mapping):
            lines.append(f"{_key(key)} = {_value(value)}")
    return lines + below


def _is_tables(value: object) -> TypeGuard[Sequence[Table]]:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, Mapping) for entry in value)
    )


def _dotted(path: Sequence[str]) -> str:
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's strings are TOML's, but for DEL, which TOML wants escaped
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf, nan
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _string(value)
    msg = f"no TOML for {value!r}"
    raise TypeError(msg)
