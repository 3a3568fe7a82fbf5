"""A real browser without a window, and pages to look at.

Chromium is looked for where PYPROBOUND_CHROMIUM says, then under its usual names.
Without it, or without the extra `browser`, these tests are skipped and say why.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyprobound.page import write_report
from tests.plots.runs import KD_SEQ, PAIR, small_run

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL = "pip install -e '.[browser]'"


@dataclass
class Opened:
    """A page in a window, and what happened since.

    Attributes:
        page: The page (playwright's).
        trouble: Messages on the console, errors of scripts, requests of any kind but
            for the page itself.
    """

    page: Any
    trouble: list[str] = field(default_factory=list)


Open = Callable[..., AbstractContextManager[Opened]]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser (playwright's)."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason=f"needs playwright: {_INSTALL}"
    )
    wanted = os.environ.get("PYPROBOUND_CHROMIUM")
    found = wanted or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium; PYPROBOUND_CHROMIUM says where it is")
    with playwright.sync_playwright() as running:
        # the pages are ours, and containers have no namespaces for a sandbox
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages on two small fits."""
    pages = {}
    for name in (PAIR, KD_SEQ):
        run = small_run(name, tmp_path_factory.mktemp(name))
        write_report(run)
        pages[name] = run / "report.html"
    return pages


@pytest.fixture
def opened(chromium: Any, reports: dict[str, Path]) -> Open:
    """Return what opens a page, for a while.

        with opened("pair", width=390) as window: …

    At the end, whatever the test did, nothing must have gone wrong in the page.
    """

    @contextmanager
    def open_page(
        name: str = PAIR, *, width: int = 1440, scheme: str = "light", **options: Any
    ) -> Iterator[Opened]:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        address = reports[name].as_uri()
        window = Opened(context.new_page())
        _watch(window, address)
        try:
            window.page.goto(address)
            yield window
            assert window.trouble == []
        finally:
            context.close()

    return open_page


def _watch(window: Opened, address: str) -> None:
    def requested(request: Any) -> None:
        if request.url.partition("#")[0] != address and not _is_inside(request.url):
            window.trouble.append(f"asked for {request.url[:100]}")

    page, note = window.page, window.trouble.append
    page.on("request", requested)
    page.on("console", lambda message: note(f"said {message.text}"))
    page.on("pageerror", lambda error: note(f"failed: {error}"))
    page.on("crash", lambda _: note("crashed"))


def _is_inside(address: str) -> bool:
    """Tell whether an address is a part of the page: a file to save."""
    return address.startswith(("data:", "blob:"))
