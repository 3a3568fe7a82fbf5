"""A page as a tree of elements: strict about what browsers forgive."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes

VOID = {"meta", "br", "hr", "img", "link", "input"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, name: str = "", **attributes: str) -> list["Element"]:
        """Elements of a name below this one, in order."""
        return [each for each in self._below() if each.matches(name, attributes)]

    def one(self, name: str = "", **attributes: str) -> "Element":
        (found,) = self.all(name, **attributes)
        return found

    def matches(self, name: str, attributes: dict[str, str]) -> bool:
        wanted = {key.strip("_").replace("_", "-"): x for key, x in attributes.items()}
        return (not name or name == self.name) and all(
            self.attributes.get(key) == value for key, value in wanted.items()
        )

    def _below(self) -> Iterator["Element"]:
        for each in self.children:
            yield each
            yield from each._below()

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for each in self.open:
            each.texts.append(data)


def parsed(text: str) -> Element:
    """The tree of a page whose elements are all closed, in order."""
    builder = _Builder()
    builder.feed(text)
    builder.close()
    assert builder.open == [builder.root], f"<{builder.open[-1].name}> is never closed"
    return builder.root


def downloads(page: Element) -> dict[str, str]:
    """The text of every file that a page offers, by name."""
    found = {}
    for link in page.all("a"):
        if "download" in link.attributes:
            head, _, body = link.attributes["href"].partition(",")
            assert head.startswith("data:")
            content = unquote_to_bytes(body)
            if head.endswith(";base64"):
                content = base64.b64decode(content, validate=True)
            found[link.attributes["download"]] = content.decode()
    return found


def tables(page: Element) -> dict[str, list[list[str]]]:
    """The rows of every table by its caption, the head first."""
    found = {}
    for table in page.all("table"):
        caption = page.one(id=table.attributes["aria-labelledby"]).text
        rows = [[cell.text for cell in row.children] for row in table.all("tr")]
        assert caption not in found, caption
        found[caption] = rows
    return found
