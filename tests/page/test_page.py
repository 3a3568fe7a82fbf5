"""A page holds what it promises, in HTML that needs nothing from elsewhere."""

import csv
import io
import json
import math
import re
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from pyprobound.page import rendered, write_report
from pyprobound.page._content import (
    Cell,
    Column,
    Facts,
    Page,
    Picture,
    Prose,
    Section,
    Table,
)
from tests.page.conftest import (
    KD_FIT,
    ONE,
    PEPTIDES,
    RICH,
    Fitted,
    page,
    page_text,
    saved,
)
from tests.page.html import downloads, parsed, tables

KINDS = {"one": ONE, "rich": RICH, "peptides": PEPTIDES, "kd": KD_FIT}


@pytest.fixture(params=KINDS)
def text(request: pytest.FixtureRequest, fits: Fitted) -> str:
    """The page that a fit of each kind has left in its folder."""
    return (fits(KINDS[request.param]) / "report.html").read_text(encoding="utf-8")


# --- any page ----------------------------------------------------------------------


def test_page_is_well_formed_and_its_references_lead_somewhere(text: str) -> None:
    tree = parsed(text)
    ids = [each.attributes["id"] for each in tree.all() if "id" in each.attributes]
    assert sorted(set(ids)) == sorted(ids)
    wanted = [
        name
        for each in tree.all()
        for key in ("aria-labelledby", "aria-describedby")
        for name in each.attributes.get(key, "").split()
    ]
    wanted += [
        each.attributes[key].removeprefix("#")
        for each in tree.all()
        for key in ("href", "xlink:href")
        if each.attributes.get(key, "").startswith("#")
    ]
    wanted += re.findall(r"url\(#([^)]*)\)", text)
    assert set(wanted) <= set(ids)
    assert wanted


def test_page_asks_for_nothing_from_elsewhere(text: str) -> None:
    assert not re.search(r"https?://|//[a-z]+\.|@import", text)
    tree = parsed(text)
    for each in tree.all():
        for key in ("src", "href", "xlink:href"):
            assert each.attributes.get(key, "#").startswith(("#", "data:")), each
    (policy,) = (
        each.attributes["content"]
        for each in tree.all("meta")
        if each.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")
    assert len(text.encode()) < 3_000_000


def test_headings_go_down_one_level_at_a_time(text: str) -> None:
    levels = [
        int(each.name[1]) for each in parsed(text).all() if re.match(r"h\d$", each.name)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_figure_is_drawn_and_told_in_words(text: str) -> None:
    figures = parsed(text).all("figure")
    assert figures
    for each in figures:
        picture = each.one("svg")
        assert picture.attributes["role"] == "img"
        assert len(picture.attributes["aria-label"]) > 40
        drawn = picture.all("path") + picture.all("image") + picture.all("use")
        assert len(drawn) > 5
        assert picture.all("text")
        assert "nan" not in picture.attributes["viewbox"].lower()
        assert not re.search(r"\bnan\b|\binf\b", picture.text)
        assert each.one("figcaption").text


def test_colours_of_pictures_follow_the_theme(text: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for each in pictures:
        assert "#1f2328" not in each
        assert "#8b949e" not in each
        assert "currentColor" in each


def test_tables_have_heads_and_names(text: str) -> None:
    tree = parsed(text)
    for caption, rows in tables(tree).items():
        assert caption
        assert len({len(row) for row in rows}) == 1, caption
    for each in tree.all("table"):
        heads = each.all("thead")[0].all("th")
        assert all(head.attributes["scope"] == "col" for head in heads)
        for row in each.all("tbody")[0].all("tr"):
            assert row.children[0].attributes["scope"] == "row"


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def test_downloads_hold_the_numbers_of_the_result(fits: Fitted) -> None:
    for kind in KINDS.values():
        run = fits(kind)
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        files = downloads(saved(run))
        assert json.loads(files["result.json"]) == result
        config = (run / "config.toml").read_text(encoding="utf-8")
        assert tomllib.loads(files["config.toml"]) == tomllib.loads(config)
        rows = list(
            csv.DictReader(io.StringIO(files["parameters.tsv"]), delimiter="\t")
        )
        energies = {
            (row["name"], row["key"], int(row["position"])): float(row["value"])
            for row in rows
            if row["quantity"] == "energy"
        }
        expected = {
            (mode["name"], letter, index + 1): value
            for mode in result["modes"]
            if mode["kind"] == "psam"
            for letter, values in mode["energies"].items()
            for index, value in enumerate(values)
        }
        assert energies == pytest.approx(expected, abs=1e-6)


def test_parameters_have_their_errors(fits: Fitted) -> None:
    run = fits(RICH)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    files = downloads(saved(run))
    rows = lines_of(files["parameters.tsv"])
    kinds = {row["quantity"] for row in rows}
    assert {"energy", "pair_energy", "log_omega", "log_activity", "log_depth"} <= kinds
    (dimer,) = result["uncertainty"]["dimers"]
    own = [row for row in rows if row["quantity"] == "log_omega"]
    known = [
        (strands, offset, value, error)
        for strands, found in dimer["log_omega"].items()
        for offset, value, error in zip(
            dimer["offsets"], found["value"], found["error"], strict=True
        )
        if value is not None
    ]
    assert [
        (
            row["key"],
            int(row["position"]),
            float(row["value"]),
            float(row["error"]) if row["error"] else None,
        )
        for row in own
    ] == known


# --- what a page says ----------------------------------------------------------------


def test_opening_says_what_was_fitted_to_what(fits: Fitted) -> None:
    tree = saved(fits(ONE))
    assert tree.one("h1").text == "Binding model of one"
    (lead,) = (x.text for x in tree.all("p") if x.attributes.get("class") == "lead")
    assert "otif a (4 positions) and non-specific binding" in lead
    assert "of 300 probes in 2 rounds" in lead


def test_relative_affinities_are_those_of_the_energies(fits: Fitted) -> None:
    run = fits(KD_FIT)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    energies = result["modes"][1]["energies"]
    (caption,) = (x for x in tables(saved(run)) if x.startswith("Relative affinity"))
    head, *rows = tables(saved(run))[caption]
    assert head[1:] == ["A", "C", "G", "T"]
    for position, row in enumerate(rows):
        column = {letter: energies[letter][position] for letter in energies}
        best = max(column, key=lambda letter: column[letter])
        assert row[0] == f"{position + 1} {best}"
        for letter, cell in zip("ACGT", row[1:], strict=True):
            ratio = math.exp(column[best] - column[letter])
            shown = re.match(r"[\d,.]+", cell)
            assert shown is not None
            digits = shown[0].replace(",", "")
            assert float(digits) == pytest.approx(ratio, rel=0.02), cell


def test_constants_of_kd_seq_are_those_of_the_result(fits: Fitted) -> None:
    run = fits(KD_FIT)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    numbers = result["uncertainty"]["experiments"][0]["kd_seq"]
    kd = math.exp(numbers["log_kd_of_best_site"]["tf"]["value"])
    (rows,) = (x for key, x in tables(saved(run)).items() if key.startswith("K_D in"))
    assert rows[1][0] == "tf"
    assert float(rows[1][1].replace(",", "")) == pytest.approx(kd, rel=0.01)
    (free,) = (
        each.all("dd")[0].text
        for each in saved(run).all("div")
        if any(x.text == "Free protein" for x in each.all("dt"))
        and len(each.all("dt")) == 1
    )
    value = math.exp(numbers["log_free_protein"]["value"])
    assert float(free.partition(",")[0]) == pytest.approx(value, rel=0.01)


def test_steps_of_the_fit_are_told_in_words(fits: Fitted) -> None:
    rows = tables(saved(fits(RICH)))["Steps of the fit"]
    words = {row[2] for row in rows[1:]}
    assert {"everything together", "its letters", "its spacings"} <= words
    assert not any("(" in word for word in words)
    assert any(row[6].startswith("converged") for row in rows[1:])


def test_names_that_look_like_html_are_text() -> None:
    evil = "<script>alert(1)</script>"
    svg = f'<svg viewBox="0 0 1 1"><g id="a"><text>{"x"}</text></g></svg>'
    content = Page(
        evil,
        evil,
        [Facts([(evil, [evil])])],
        [
            Section(
                "s",
                evil,
                [
                    Prose(evil),
                    Table(
                        evil, [Column(evil, evil)], [[Cell(evil, evil, detail=evil)]]
                    ),
                    Picture(evil, evil, svg, evil, evil),
                ],
            )
        ],
    )
    tree = parsed(rendered(content))
    assert len(tree.all("script")) == 1
    assert tree.one("h1").text == evil
    assert evil in tree.one("figure").one("svg").attributes["aria-label"]


# --- what is missing -----------------------------------------------------------------


@pytest.fixture
def run(fits: Fitted, tmp_path: Path) -> Path:
    """A copy of a small fit, beside its table."""
    source = fits(ONE)
    shutil.copy(source.parent / "counts.tsv", tmp_path)
    copy: Path = shutil.copytree(source, tmp_path / "run")
    return copy


def test_page_without_errors_says_so_and_has_none(run: Path) -> None:
    (run / "errors.npz").unlink()
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    result["uncertainty"] = {"skipped": "switched off"}
    (run / "result.json").write_text(json.dumps(result))
    tree = page(run)
    main = tree.one("main").text
    assert "no standard errors: switched off" in main
    shown = " ".join(" ".join(row) for rows in tables(tree).values() for row in rows)
    assert "±" not in shown
    assert "not identified" not in shown


def test_page_without_its_table_says_so(run: Path) -> None:
    (run.parent / "counts.tsv").unlink()
    written = write_report(run)
    assert "counts.tsv" in written.no_tables
    main = parsed((run / "report.html").read_text(encoding="utf-8")).one("main").text
    assert "no comparison with the data" in main
    assert "Energies" in main


def test_tables_may_lie_elsewhere(run: Path) -> None:
    moved = run.parent / "elsewhere.tsv"
    (run.parent / "counts.tsv").rename(moved)
    tree = page(run, moved)
    assert "no comparison with the data" not in tree.one("main").text


def test_page_on_an_interrupted_fit_says_so(run: Path) -> None:
    (run / "errors.npz").unlink()
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    result |= {"interrupted": True, "ended": "interrupted by SIGINT"}
    result["uncertainty"] = {"skipped": "the fit was interrupted"}
    (run / "result.json").write_text(json.dumps(result))
    main = page(run).one("main").text
    assert "The fit was interrupted" in main


def test_page_on_a_fit_that_died_needs_but_its_model(run: Path) -> None:
    for name in ("result.json", "errors.npz", "log.jsonl", "log.txt"):
        (run / name).unlink()
    tree = page(run)
    assert tree.one("h1").text == "Binding model of one"
    assert "There is no log of the fit" in tree.one("main").text
    assert any(x.startswith("Energies") for x in tables(tree))


def test_candidates_of_a_selection_are_on_the_page(run: Path) -> None:
    row = {
        "candidate": "sizes = 4",
        "parameters": 17,
        "train_loss": 0.5,
        "held_out_loss": 0.6,
        "held_out_error": 0.01,
        "difference": 0.0,
        "difference_error": 0.0,
        "best": True,
        "chosen": True,
        "seconds": 1.5,
        "failure": None,
    }
    failed = dict.fromkeys(row) | {
        "candidate": "sizes = 40",
        "best": False,
        "chosen": False,
        "seconds": 0.0,
        "failure": "too long",
    }
    selection = {
        "format": 1,
        "interrupted": False,
        "rule": "the fewest parameters",
        "folds": 2,
        "held_out": 0.5,
        "best": "sizes = 4",
        "chosen": "sizes = 4",
        "not_compared": [],
        "candidates": [row, failed],
    }
    (run / "select.json").write_text(json.dumps(selection))
    tree = page(run)
    (found,) = (x for key, x in tables(tree).items() if "candidate" in key)
    assert found[1][0] == "sizes = 4"
    assert found[1][-1] == "best and chosen"
    assert found[2][-1] == "failed"
    assert "too long" in tree.one("main").text


def test_two_pages_of_a_run_differ_by_the_time_alone(run: Path) -> None:
    first, second = (re.sub(r"\d+ UTC", "", page_text(run)) for _ in range(2))
    assert first == second
