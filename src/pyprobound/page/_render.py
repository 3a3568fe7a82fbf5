"""From the data of a page to its HTML."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pyprobound.page._content import Download, Page, Picture
from pyprobound.page._svg import inlined

_UNSAFE = re.compile(r"[^a-z0-9]+")


def rendered(page: Page) -> str:
    """Return a page as HTML that needs nothing from elsewhere."""
    style, script = _file("style.css"), _file("script.js")
    text = (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            style=Markup(style),  # noqa: S704 our own files
            script=Markup(script),  # noqa: S704 likewise
            script_hash=_hash(script),
            picture_of=_Pictures(),
            next_name=_Names("t"),
            data_uri=data_uri,
        )
    )
    return f"{text}\n"


def anchor(*words: str) -> str:
    """Return an id made of words, whatever they are written in."""
    return _UNSAFE.sub("-", "-".join(words).lower()).strip("-")


def data_uri(file: Download) -> str:
    """Return the content of a file as the address of a link."""
    content = base64.b64encode(file.content.encode()).decode()
    return f"data:{file.media_type};charset=utf-8;base64,{content}"


class _Names:
    """Gives ids that no other part of the page has."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._numbers = prefix, count(1)

    def __call__(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"


class _Pictures:
    """Inlines pictures, each with ids of its own."""

    def __init__(self) -> None:
        self._names = _Names("p")

    def __call__(self, picture: Picture) -> Markup:
        prefix = self._names()
        label = f"{picture.title}. {picture.description}"
        return Markup(inlined(picture.svg, prefix, label))  # noqa: S704 matplotlib escapes its text


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pyprobound.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _file(name: str) -> str:
    folder: Any = files("pyprobound.page")
    text: str = (folder / "templates" / name).read_text(encoding="utf-8")
    return text


def _hash(script: str) -> str:
    """Return what a content-security policy knows a script by."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
