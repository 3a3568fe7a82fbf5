"""Pictures in a page: unique names, the reader's colours, words for all."""

import re
from html import escape

from pyprobound.plotting._style import FAINT, INK

_HEAD = re.compile(r"<svg\b([^>]*)>", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_VIEW_BOX = re.compile(r'viewBox="([^"]*)"')
_IDS = re.compile(r'(\bid="|href="#|url\(#)')
_NEWLINES = re.compile(r"\n\s*")


def inlined(svg: str, prefix: str, label: str) -> str:
    """Return an SVG element to stand in a page.

    Args:
        svg: What `pyprobound.plotting.svg` returns.
        prefix: What its ids begin with; unique on the page, safe as an id.
        label: What the picture says, in words.

    Returns:
        The element without metadata and namespaces, which HTML knows without being
        told; text and lines in the page's colours.
    """
    head = _HEAD.search(svg)
    view = _VIEW_BOX.search(head[1]) if head else None
    if head is None or view is None:
        msg = "no SVG element with a viewBox"
        raise ValueError(msg)
    width, height = (float(x) for x in view[1].split()[2:])
    inside = _IDS.sub(rf"\g<1>{prefix}-", _METADATA.sub("", svg[head.end() :]))
    opening = (
        f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(label)}"'
        f' style="--width: {width:.0f}; --height: {height:.0f}">'
    )
    return _themed(opening + inside).strip()


def _themed(svg: str) -> str:
    """Return a picture whose ink is the page's."""
    themed = svg.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    return _NEWLINES.sub("\n", themed)
