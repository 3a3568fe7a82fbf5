"""The documentation is true: its code runs, its output is right, its links lead on.

The ```python blocks of a page run in order, in one namespace and an empty folder. A
```text block that follows one is what it prints. A name such as `pyprobound.mode.Mode`
must exist, and so must the file and the heading that a link points to.
"""

import contextlib
import importlib
import io
import re
import runpy
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted([REPOSITORY / "README.md", *DOCS.rglob("*.md")])
LINKED = sorted({*PAGES, *REPOSITORY.glob("*.md")})
THEORY = sorted((DOCS / "theory").glob("*.md"))
SLOW = {"guide.md"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code on a page.

    Attributes:
        line: Of its first line, from 1.
        code: What is run.
        output: What it prints; None if the page does not say.
    """

    line: int
    code: str
    output: str | None


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run in one thread: the models are small, and threads would only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def _blocks(text: str) -> list[Block]:
    """Return the Python blocks of a page, each with the output that follows it."""
    fences = list(FENCE.finditer(text))
    blocks = []
    for fence, following in zip_longest(fences, fences[1:]):
        if fence[1] != "python":
            continue
        output = None
        if following is not None and following[1] == "text":
            between = text[fence.end() : following.start()]
            output = following[2] if not between.strip() else None
        blocks.append(Block(text.count("\n", 0, fence.start(2)) + 1, fence[2], output))
    return blocks


def _run(name: str, text: str) -> None:
    """Run the blocks of a page; fail where one raises or prints something else."""
    namespace: dict[str, object] = {"__name__": name}
    for block in _blocks(text):
        # Empty lines before the code make a traceback show the line of the page.
        code = compile("\n" * (block.line - 1) + block.code, name, "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102 our own pages
        if block.output is not None:
            where = f"{name}, line {block.line}"
            assert printed.getvalue() == block.output, where


def _prose(text: str) -> str:
    """Return a page without its blocks."""
    return FENCE.sub("", text)


def _headings(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", _prose(text), re.MULTILINE)
    anchors: list[str] = []
    for title in titles:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        before = sum(re.fullmatch(rf"{anchor}(-\d+)?", x) is not None for x in anchors)
        anchors.append(f"{anchor}-{before}" if before else anchor)
    return set(anchors)


def _broken_links(page: Path, text: str) -> list[str]:
    """Return the links within the repository that lead nowhere."""
    broken = []
    prose = re.sub(r"`[^`]*`", "", _prose(text))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            anchor and anchor not in _headings(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    return broken


def _exists(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or can be reached from one."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        for part in parts[size:]:
            if part not in dir(found):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.name in SLOW else ())
        for page in PAGES
        if "```python" in page.read_text(encoding="utf-8")
    ],
    ids=_name,
)
def test_code_of_a_page_runs_and_prints_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _run(_name(page), page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", LINKED, ids=_name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert _broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_names_of_the_package_exist(page: Path) -> None:
    prose = _prose(page.read_text(encoding="utf-8"))
    names = set(re.findall(r"`(pyprobound(?:\.\w+)+)`", prose))
    assert [name for name in sorted(names) if not _exists(name)] == []


@pytest.mark.parametrize("page", THEORY, ids=_name)
def test_theory_has_an_example_whose_numbers_are_checked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "a-worked-example" in _headings(text)
    assert any(block.output for block in _blocks(text))


@pytest.mark.parametrize(
    "page", [x for x in PAGES if x.is_relative_to(DOCS)], ids=_name
)
def test_index_leads_to_every_page(page: Path) -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#\s]+)", index)
    assert page == DOCS / "README.md" or page in [DOCS / link for link in linked]


def test_api_page_is_what_the_docstrings_say() -> None:
    script = runpy.run_path(str(DOCS / "make_api.py"))
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    assert script["make_page"]() == page, "run `python docs/make_api.py`"


def test_api_page_has_every_promised_class_and_function() -> None:
    signatures = REPOSITORY / "tests" / "architecture" / "signatures.txt"
    text = signatures.read_text(encoding="utf-8")
    promised = set(re.findall(r"^(?:class|def) (\w+)", text, re.MULTILINE))
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert promised
    assert promised <= described


# --- the checks themselves ------------------------------------------------------------


def test_blocks_share_a_namespace_and_output_must_agree() -> None:
    page = (
        "```python\nx = 2\n```\n\nand\n\n```python\nprint(x)\n```\n\n```text\n{}\n```\n"
    )
    _run("page", page.format(2))
    with pytest.raises(AssertionError, match="page, line 8"):
        _run("page", page.format(3))


def test_text_is_the_output_of_the_block_just_before_it_alone() -> None:
    apart = "```python\nprint(1)\n```\n\nnot its output\n\n```text\n2\n```\n"
    assert [block.output for block in _blocks(apart)] == [None]


def test_error_of_a_block_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _run("page", "# Title\n\n```python\nx = 0\n1 / x\n```\n")
    assert caught.traceback[-1].lineno == 4  # from 0


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.md", False),
        ("other.md#a-title-of-two", False),
        ("#here", False),
        ("https://example.org/nowhere", False),
        ("missing.md", True),
        ("other.md#no-title", True),
        ("#there", True),
    ],
)
def test_links_are_checked(tmp_path: Path, link: str, is_broken: bool) -> None:
    (tmp_path / "other.md").write_text("## A title, of two\n", encoding="utf-8")
    page, text = tmp_path / "page.md", f"# Here\n\n[text]({link})\n"
    page.write_text(text, encoding="utf-8")
    assert _broken_links(page, text) == ([link] if is_broken else [])


@pytest.mark.parametrize(
    ("name", "is_there"),
    [
        ("pyprobound.mode", True),
        ("pyprobound.mode.Mode.from_psam", True),
        ("pyprobound.mode.Mode.from_nothing", False),
        ("pyprobound.no_module.Mode", False),
    ],
)
def test_names_are_checked(name: str, is_there: bool) -> None:
    assert _exists(name) == is_there
