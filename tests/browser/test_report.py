"""The page on a fit, in a real browser.

That the browser asks for nothing, and that nothing fails or is said on the console, is
checked by the fixture `opened` in each of these tests.
"""

import io
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from PIL import Image

from tests.browser.conftest import Open, Opened
from tests.plots.runs import KD_SEQ, PAIR

WIDTHS = [390, 820, 1440]
SCHEMES = ["light", "dark"]
PICTURES_OF_PAIR = {"logo-exd", "logo-hox", "spacing-exd-hox", "convergence"}
PICTURES_OF_PAIR |= {"enrichment-of-probes-pair", "enrichment-of-kmers-pair"}


def colour(window: Opened, script: str) -> tuple[float, float, float]:
    """Return a computed colour, 0 to 1."""
    text = window.page.evaluate(script)
    red, green, blue, *_ = (float(x) for x in re.findall(r"[\d.]+", text))
    return red / 255, green / 255, blue / 255


def luminance(rgb: tuple[float, float, float]) -> float:
    """Return the relative luminance of a colour, as WCAG defines it."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def background(window: Opened) -> float:
    script = "getComputedStyle(document.body).backgroundColor"
    return luminance(colour(window, script))


# --- what is seen -------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_every_picture_is_there_and_not_empty(width: int, opened: Open) -> None:
    with opened(width=width) as window:
        figures = window.page.locator("figure")
        names = []
        for index in range(figures.count()):
            figure = figures.nth(index)
            name = figure.locator("button.save").get_attribute("data-save")
            names.append(name.removesuffix(".svg"))
            box = figure.locator("svg").bounding_box()
            assert box["width"] > 150, name
            assert box["height"] > 60, name
            shot = Image.open(io.BytesIO(figure.locator("svg").screenshot()))
            colours = shot.convert("RGB").getcolors(1 << 20)
            assert colours is not None, name
            share = max(n for n, _ in colours) / (shot.width * shot.height)
            assert share < 0.995, f"{name} has nothing in it"
        assert set(names) >= PICTURES_OF_PAIR
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [PAIR, KD_SEQ])
@pytest.mark.parametrize("width", [320, *WIDTHS])
def test_the_page_is_not_wider_than_the_window(
    name: str, width: int, opened: Open
) -> None:
    with opened(name, width=width) as window:
        found = window.page.evaluate("document.documentElement.scrollWidth")
        assert found <= width


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pictures_and_words_stand_out_in_either_theme(
    scheme: str, opened: Open
) -> None:
    with opened(scheme=scheme) as window:
        paper = background(window)
        assert (paper > 0.7) if scheme == "light" else (paper < 0.1)
        for script in (
            "getComputedStyle(document.querySelector('main p')).color",
            "getComputedStyle(document.querySelector('figure svg text')).fill",
        ):
            assert contrast(luminance(colour(window, script)), paper) >= 7


def test_the_button_turns_the_theme_round(opened: Open) -> None:
    for scheme in SCHEMES:
        with opened(scheme=scheme) as window:
            button = window.page.locator("#theme")
            seen = [background(window)]
            for _ in range(2):
                button.press("Enter")
                seen.append(background(window))
            assert seen[0] == seen[2]
            assert contrast(seen[0], seen[1]) > 10


def test_the_theme_follows_the_system_while_the_page_is_open(opened: Open) -> None:
    with opened(scheme="light") as window:
        before = background(window)
        window.page.emulate_media(color_scheme="dark")
        assert contrast(before, background(window)) > 10


# --- for all readers ----------------------------------------------------------------


@pytest.mark.parametrize("name", [PAIR, KD_SEQ])
@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (1440, "light"), (1440, "dark")]
)
def test_axe_finds_nothing(name: str, width: int, scheme: str, opened: Open) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="needs axe-playwright-python: pip install -e '.[browser]'",
    )
    with opened(name, width=width, scheme=scheme) as window:
        found = axe.Axe().run(window.page).response["violations"]
        told = [
            f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:200]}"
            for each in found
            for node in each["nodes"]
        ]
        assert told == []


def test_the_first_stop_of_the_keyboard_leads_to_the_content(opened: Open) -> None:
    with opened() as window:
        window.page.keyboard.press("Tab")
        link = window.page.locator(":focus")
        assert link.get_attribute("href") == "#content"
        assert link.bounding_box()["x"] >= 0
        window.page.keyboard.press("Enter")
        assert window.page.evaluate("document.activeElement.id") == "content"


def test_links_within_the_page_lead_somewhere(opened: Open) -> None:
    with opened() as window:
        script = "[...document.querySelectorAll('a[href^=\"#\"]')].map(x => x.hash)"
        targets = window.page.evaluate(script)
        assert len(targets) > 4
        for target in targets:
            assert window.page.locator(f"[id='{target[1:]}']").count() == 1, target


def test_without_scripts_everything_can_be_read(opened: Open) -> None:
    with opened(java_script_enabled=False) as window:
        assert window.page.locator("figure svg").count() >= len(PICTURES_OF_PAIR)
        assert window.page.locator("button:visible").count() == 0
        assert window.page.locator("a[download]").first.is_visible()


# --- tables -------------------------------------------------------------------------


def shown(window: Opened, table: int, column: int) -> list[Any]:
    """Return what a column of a table is sorted by, from the top."""
    script = """([table, column]) => {
        const found = document.querySelectorAll("table[data-sortable]")[table];
        return [...found.tBodies[0].rows].map((row) => {
            const cell = row.cells[column];
            return cell.dataset.order ?? cell.textContent;
        });
    }"""
    values: list[str] = window.page.evaluate(script, [table, column])
    return values


def numbers(texts: list[str]) -> list[float]:
    found = [float(x.replace(",", "")) for x in texts]
    return [-math.inf if math.isnan(x) else x for x in found]


def test_every_column_sorts_by_keyboard_and_says_so(opened: Open) -> None:
    with opened() as window:
        tables = window.page.locator("table[data-sortable]")
        n_tables = tables.count()
        assert n_tables > 4
        for table in range(n_tables):
            heads = tables.nth(table).locator("thead th")
            for column in range(heads.count()):
                head = heads.nth(column)
                before = sorted(shown(window, table, column))
                is_number = "number" in (head.get_attribute("class") or "")
                for key in ("Enter", "Space"):
                    head.locator("button").press(key)
                    found = shown(window, table, column)
                    assert sorted(found) == before
                    direction = head.get_attribute("aria-sort")
                    said = window.page.locator("[role=status]").text_content()
                    assert direction in said
                    if is_number:
                        down = direction == "descending"
                        values = numbers(found)
                        assert values == sorted(values, reverse=down)
                assert direction == ("ascending" if is_number else "descending")
                assert tables.nth(table).locator("th[aria-sort]").count() == 1


def test_words_are_sorted_as_words(opened: Open) -> None:
    with opened() as window:
        head = window.page.locator("table[data-sortable] th[scope=col]:not(.number)")
        head.first.locator("button").press("Enter")
        table = window.page.evaluate(
            """() => [...document.querySelectorAll("table[data-sortable]")].findIndex(
                (table) => table.querySelector("th[aria-sort]"))"""
        )
        column = head.first.evaluate("(cell) => cell.cellIndex")
        found = shown(window, table, column)
        assert found == sorted(found, key=str.lower)


# --- downloads ----------------------------------------------------------------------


def test_files_are_saved_and_hold_what_they_are_called(
    opened: Open, tmp_path: Path
) -> None:
    with opened(accept_downloads=True) as window:
        links = window.page.locator("a[download]")
        names = []
        for index in range(links.count()):
            with window.page.expect_download() as waited:
                links.nth(index).press("Enter")
            path = tmp_path / waited.value.suggested_filename
            waited.value.save_as(path)
            names.append(path.name)
    assert {"parameters.tsv", "result.json", "config.toml"} <= set(names)
    assert len(names) == len(set(names))
    table = pd.read_csv(tmp_path / "parameters.tsv", sep="\t")
    assert len(table) > 20
    assert table.notna().any(axis=1).all()
    assert {"modes", "experiments"} <= set(
        json.loads((tmp_path / "result.json").read_text())
    )
    config = tomllib.loads((tmp_path / "config.toml").read_text())
    assert [each["name"] for each in config["modes"]][-2:] == ["exd", "hox"]


def test_pictures_are_saved_as_they_would_be_printed(
    opened: Open, tmp_path: Path
) -> None:
    with opened(scheme="dark", accept_downloads=True) as window:
        buttons = window.page.locator("button.save")
        for index in range(buttons.count()):
            with window.page.expect_download() as waited:
                buttons.nth(index).press("Enter")
            path = tmp_path / waited.value.suggested_filename
            waited.value.save_as(path)
            text = path.read_text()
            root = ET.fromstring(text)  # noqa: S314 our own
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert float(root.attrib["width"].removesuffix("pt")) > 100
            assert "var(" not in text
            assert "currentcolor" not in text.lower()
            assert len(list(root.iter())) > 20


# --- paper --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_on_paper_it_is_black_on_white_without_buttons(
    scheme: str, opened: Open
) -> None:
    with opened(width=720, scheme=scheme) as window:
        window.page.locator("#theme").press("Enter")  # whatever was chosen on screen
        window.page.emulate_media(media="print", color_scheme=scheme)
        script = "getComputedStyle(document.querySelector('main p')).color"
        assert luminance(colour(window, script)) < 0.05
        assert background(window) > 0.95
        assert window.page.locator("header button:visible").count() == 0
        assert window.page.locator("button.save:visible").count() == 0
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 720
        pages = window.page.pdf(format="A4")
        assert pages.startswith(b"%PDF")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pages)) < 40
