"""What a page is made of: plain data, which a template turns into HTML.

A section holds blocks (prose, facts, tables, pictures, findings, downloads) and further
sections. Nothing here is HTML but the pictures' SVG: all text is escaped when it is
rendered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, Union


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: What it says.
        is_note: Whether it is an aside, such as what a number is relative to.
    """

    kind: ClassVar[str] = "prose"

    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Facts:
    """Terms and what there is to say of each, one or more lines."""

    kind: ClassVar[str] = "facts"

    entries: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Command:
    """A line to be typed into a shell."""

    kind: ClassVar[str] = "command"

    text: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What is shown.
        order: What the cell is sorted by; its text if left out.
        mark: Whether it stands out.
        detail: What is shown below, in small letters.
    """

    text: str
    order: float | str | None = None
    mark: bool = False
    detail: str = ""

    @property
    def key(self) -> str:
        """What the cell is sorted by, as text."""
        return self.text if self.order is None else str(self.order)


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: What it holds.
        unit: In which unit.
        is_number: Whether it is sorted, and aligned, by number.
    """

    title: str
    unit: str = ""
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its head.

    Attributes:
        caption: What it shows.
        columns: Their heads.
        rows: The cells, one for each column.
        is_sortable: Whether readers may sort it.
    """

    kind: ClassVar[str] = "table"

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = True


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: Of the file that a reader saves; unique on the page.
        title: What it shows, in a few words.
        svg: An SVG element, its colours those of `pyprobound.plotting`.
        caption: How to read it.
        description: What it says, for those who do not see it.
    """

    kind: ClassVar[str] = "picture"

    name: str
    title: str
    svg: str
    caption: str
    description: str


@dataclass(frozen=True)
class Gallery:
    """Figures side by side where there is room."""

    kind: ClassVar[str] = "gallery"

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know before believing the model.

    Attributes:
        severity: "problem", "caution", "note" or "fine".
        code: A name for machines.
        what: What was found, in one sentence.
        advice: What to do.
    """

    severity: str
    code: str
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Verdict:
    """All that was found, the worst first.

    Attributes:
        summary: All of it in one sentence.
        level: The worst severity.
        findings: What was found.
    """

    kind: ClassVar[str] = "verdict"

    summary: str
    level: str
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Download:
    """A file in the page.

    Attributes:
        name: Of the file.
        title: What it is.
        media_type: Such as "application/json".
        content: Its text.
    """

    name: str
    title: str
    media_type: str
    content: str


@dataclass(frozen=True)
class Downloads:
    """Files that a reader may save."""

    kind: ClassVar[str] = "downloads"

    files: Sequence[Download]


Block: TypeAlias = Union[  # noqa: UP007 one alternative to a line
    Prose, Facts, Command, Table, Picture, Gallery, Verdict, Downloads
]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id, made of letters, digits and hyphens.
        title: Its heading.
        blocks: What it holds.
        sections: Parts of it, one level of headings below.
    """

    anchor: str
    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence["Section"] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the page and of the document.
        lead: The first sentence: what was fitted to what.
        opening: The blocks before the first section.
        sections: The sections.
        closing: The last line.
    """

    title: str
    lead: str
    opening: Sequence[Block]
    sections: Sequence[Section]
    closing: str = ""
