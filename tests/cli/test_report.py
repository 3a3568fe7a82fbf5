"""`pyprobound report`, and the page at the end of a fit."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.cases import Command, listing


def test_report_goes_into_the_run_directory(command: Command, run: Path) -> None:
    done = command("report", run)
    assert done.code == 0, done.err
    assert done.out.strip() == str(run / "report.html")
    assert done.err == ""
    assert "<h1>" in (run / "report.html").read_text(encoding="utf-8")


def test_report_goes_where_it_is_asked_to(command: Command, run: Path) -> None:
    done = command("report", run, "-o", "page.html")
    assert done.code == 0, done.err
    assert Path("page.html").exists()
    assert not (run / "report.html").exists()


def test_report_without_its_table_says_so_in_one_line(
    command: Command, run: Path
) -> None:
    (run.parent / "counts.tsv").unlink()
    done = command("report", run)
    assert done.code == 0
    assert done.err.startswith("no comparison with the data: ")
    assert "counts.tsv: no such file" in done.err
    assert done.err.count("\n") == 1


def test_report_reads_a_table_that_has_moved(command: Command, run: Path) -> None:
    (run.parent / "counts.tsv").rename("moved.tsv")
    done = command("report", run, "--table", "moved.tsv")
    assert done.code == 0, done.err
    assert done.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing/config.toml: no such file"),
        (["run", "--table", "none.tsv"], "none.tsv: no such file"),
        (["run", "--table", "other.tsv"], "another table than the one"),
        (["run", "--table", "counts.tsv", "--table", "counts.tsv"], "1 times, not 2"),
        (["run", "-o", "none/page.html"], "none/page.html: cannot be written"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, run: Path, words: list[str], message: str
) -> None:
    (run.parent / "other.tsv").write_text("ACGTACGTAC\t1\t2\n")
    before = listing(run)
    done = command("report", *words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert listing(run) == before


def test_damaged_result_is_named(command: Command, run: Path) -> None:
    (run / "result.json").write_text("{")
    done = command("report", run)
    assert done.code == 2
    assert "result.json: damaged" in done.err


def test_fit_ends_with_a_page(command: Command, experiment: Path) -> None:
    done = command("fit", "fit.toml", "-o", "run", "--report")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].endswith("run/report.html")
    assert (experiment / "run" / "report.html").exists()


def test_fit_without_a_page_makes_none(command: Command, experiment: Path) -> None:
    command("fit", "fit.toml", "-o", "run", "--report")
    done = command("fit", "fit.toml", "-o", "run", "--force", "--no-report")
    assert done.code == 0, done.err
    assert not (experiment / "run" / "report.html").exists()


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_missing_packages_are_named_and_lose_no_fit(
    command: Command,
    experiment: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    for name in list(sys.modules):
        if name.startswith(("pyprobound.page", "pyprobound.plotting")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = command("fit", "fit.toml", "-o", "run", "--report", "--quiet")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert missing in line
    assert "pip install 'pyprobound-engine[plots]'" in line
    assert (experiment / "run" / "result.json").exists()
    again = command("report", "run")
    assert again.code == 2
    assert "pip install 'pyprobound-engine[plots]'" in again.err


def test_failing_report_loses_no_fit(
    command: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        msg = "no\nreason"
        raise RuntimeError(msg)

    monkeypatch.setattr("pyprobound.page.write_page", fail)
    done = command("fit", "fit.toml", "-o", "run", "--report", "--quiet")
    assert done.code == 0
    assert done.err == (
        "no report (RuntimeError: no reason); try again: pyprobound report run\n"
    )
    result = json.loads((experiment / "run" / "result.json").read_text())
    assert result["interrupted"] is False


def test_selection_is_on_the_page_of_the_chosen_model(
    command: Command, experiment: Path
) -> None:
    with (experiment / "fit.toml").open("a") as file:
        file.write("[select]\nsizes = [3, 4]\n[optimizer]\nepochs = 3\n")
    done = command("fit", "fit.toml", "-o", "run", "--report", "--quiet")
    assert done.code == 0, done.err
    text = (experiment / "run" / "report.html").read_text(encoding="utf-8")
    assert "Models that were compared" in text
    result = json.loads((experiment / "run" / "result.json").read_text())
    assert result["selection"]["chosen"] in text
