"""Where each key of a TOML text stands, so that an error can name its line.

`tomllib` forgets positions. The text has passed `tomllib` before it comes here, so the
scanner follows the grammar without checking it.
"""

import re
from bisect import bisect_right

Place = tuple[str | int, ...]
"""Keys and (0-based) indices from the top of a document: ("modes", 1, "size")."""

_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> dict[Place, int]:
    """Return the line (from 1) of every table, key and array entry of a TOML text."""
    return _Scanner(text).scan()


class _Scanner:
    """Walks once through a text, noting the line at which each place begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[Place, int] = {(): 1}
        self._last_entry: dict[Place, int] = {}  # of the arrays of tables

    def scan(self) -> dict[Place, int]:
        table: Place = ()
        self._skip_blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._entry(table)
            self._skip_blank()
        return self._lines

    def _skip_blank(self) -> None:
        self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _note(self, place: Place) -> None:
        self._lines.setdefault(place, bisect_right(self._starts, self._at))

    def _header(self) -> Place:
        """Read [a.b] or [[a.b]] and return the place of the table."""
        width = 2 if self._text.startswith("[[", self._at) else 1
        self._at += width
        keys = self._keys()
        place: Place = ()
        for key in keys[:-1]:
            place = self._inside((*place, key))
        place = (*place, keys[-1])
        if width == 2:
            self._note(place)
            self._last_entry[place] = self._last_entry.get(place, -1) + 1
            place = (*place, self._last_entry[place])
        self._note(place)
        self._at += width
        return place

    def _inside(self, place: Place) -> Place:
        """Return the place itself, or the last entry of an array of tables."""
        self._note(place)
        if place in self._last_entry:
            return (*place, self._last_entry[place])
        return place

    def _keys(self) -> list[str]:
        """Read a (dotted) key, leaving off at what follows it."""
        keys = []
        while True:
            self._skip_blank()
            quoted = self._take(_STRING)
            keys.append(quoted[1:-1] if quoted else self._take(_BARE_KEY))
            self._skip_blank()
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _entry(self, table: Place) -> None:
        """Read key = value."""
        place = table
        for key in self._keys():
            place = (*place, key)
            self._note(place)
        self._at += 1
        self._value(place)

    def _value(self, place: Place) -> None:
        self._skip_blank()
        if self._text.startswith("{", self._at):
            self._inline_table(place)
        elif self._text.startswith("[", self._at):
            self._array(place)
        elif not self._take(_STRING):
            self._take(_SCALAR)

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while self._more("}"):
            self._entry(place)

    def _array(self, place: Place) -> None:
        self._at += 1
        index = 0
        while self._more("]"):
            self._note((*place, index))
            self._value((*place, index))
            index += 1

    def _more(self, closing: str) -> bool:
        """Skip to the next entry; tell whether there is one before `closing`."""
        self._skip_blank()
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip_blank()
        if self._text.startswith(closing, self._at):
            self._at += 1
            return False
        return True
