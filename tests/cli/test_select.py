"""`pyprobound select` compares candidates, fits the chosen one, and keeps the table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pyprobound.cli import _select
from pyprobound.comparison import Comparison
from tests.cli.cases import MINIMAL, Command, listing, random_probes

SELECT = '[select]\nsizes = [3, 4]\nsymmetry = ["none", "palindrome"]\n'
SHORT = "[optimizer]\nepochs = 2\n"
QUICK = SHORT + 'optimizer = "Adam"\n'
NAMES = [
    "size=3 symmetry=none",
    "size=3 symmetry=palindrome",
    "size=4 symmetry=palindrome",
    "size=4 symmetry=none",
]


def result_of(run: Path, name: str = "result.json") -> dict:
    return json.loads((run / name).read_text(encoding="utf-8"))


def select(experiment: Path, text: str = SELECT + SHORT) -> None:
    rows = (f"{x}\t1\t{1 + 9 * ('TAAT' in x)}\n" for x in random_probes(300, 8))
    (experiment / "counts.tsv").write_text("".join(rows))
    (experiment / "fit.toml").write_text(MINIMAL + text)


def test_select_fits_the_chosen_candidate(command: Command, experiment: Path) -> None:
    select(experiment)
    done = command("fit", "fit.toml", "-o", "run")
    assert done.code == 0, done.err
    run = experiment / "run"
    assert {"select.tsv", "select.json", "model.pt", "result.json"} <= set(listing(run))

    table = pd.read_csv(run / "select.tsv", sep="\t")
    assert sorted(table["candidate"]) == sorted(NAMES)
    by_name = table.set_index("candidate")
    failed = by_name.loc["size=3 symmetry=palindrome"]
    assert "even number of positions, not 3" in failed["failure"]
    assert pd.isna(failed["held_out_loss"])
    assert by_name["chosen"].sum() == by_name["best"].sum() == 1
    scored = by_name.drop(index=failed.name)
    assert scored["difference"].min() == 0

    selection = result_of(run, "select.json")
    chosen = by_name.index[by_name["chosen"]].item()
    assert selection["chosen"] == chosen
    assert selection["interrupted"] is False
    assert [x["candidate"] for x in selection["candidates"]] == list(table["candidate"])
    result = result_of(run)
    assert result["selection"]["candidates"] == selection["candidates"]
    (motif,) = (mode for mode in result["modes"] if mode["kind"] == "psam")
    assert f"size={motif['size']}" in chosen

    # what a person sees: every candidate, the choice and the fit; progress apart
    for name in NAMES:
        assert name in done.out
        assert f"of 4  {name}: " in done.err
    assert f"Chosen: {chosen}, the fewest parameters" in done.out
    assert "failed: size=3 symmetry=palindrome: fit.toml:" in done.out
    assert "Loss per read" in done.out

    # the configuration is that of a plain fit, which gives the same model
    again = command("fit", "run/config.toml", "-q", "-o", "again")
    assert (again.code, again.out, again.err) == (0, "", "")
    assert result_of(experiment / "again")["modes"] == result["modes"]
    assert "select.tsv" not in listing(experiment / "again")


def test_select_without_a_section_and_quiet(command: Command, experiment: Path) -> None:
    select(experiment, QUICK)
    done = command("select", "fit.toml", "-q", "--seed", "3")
    assert (done.code, done.out, done.err) == (0, "", "")
    selection = result_of(experiment / "fit.run", "select.json")
    names = [each["candidate"] for each in selection["candidates"]]
    assert names[0] == "size=2 symmetry=palindrome"
    assert len(names) == 6
    assert selection["seed"] == result_of(experiment / "fit.run")["seed"] == 3


def test_a_plain_fit_leaves_no_table_of_an_earlier_selection(
    command: Command, experiment: Path
) -> None:
    (experiment / "run").mkdir()
    (experiment / "run/select.tsv").write_text("old")
    (experiment / "fit.toml").write_text(MINIMAL + QUICK)
    assert command("fit", "fit.toml", "-q", "-o", "run", "--force").code == 0
    assert "select.tsv" not in listing(experiment / "run")


def test_validation_and_flanks_of_candidates(
    command: Command, experiment: Path
) -> None:
    settings = QUICK + "validation_fraction = 0.2\n"
    select(experiment, "[select]\nflank_lengths = [0, 2]\nfolds = 2\n" + settings)
    done = command("select", "fit.toml", "-q")
    assert done.code == 0, done.err
    rows = result_of(experiment / "fit.run", "select.json")["candidates"]
    assert [each["failure"] for each in rows] == [None, None]
    assert rows[0]["held_out_loss"] != rows[1]["held_out_loss"]
    loss = result_of(experiment / "fit.run")["loss_per_read"]
    assert loss["held_out"] is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[select]\nsizes = [40, 50]\n",
            "fit.toml:8: modes[0].size: ",
        ),
        (
            "[select]\nsizes = [3, 4]\nheld_out = 0.001\n",
            "fit.toml:9: select: table 0: fewer than two sequences",
        ),
        ("[select]\nsizes = [3, 'x']\n", "fit.toml:10: select.sizes: "),
    ],
)
def test_bad_sections_write_nothing(
    command: Command, experiment: Path, text: str, message: str
) -> None:
    select(experiment, text)
    before = listing(experiment)
    done = command("fit", "fit.toml", "-o", "run")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1
    assert listing(experiment) == before
    assert not (experiment / "run").exists()


def test_candidates_that_all_fail_are_an_error(
    command: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        msg = "no luck"
        raise RuntimeError(msg)

    select(experiment)
    monkeypatch.setattr(_select, "_fit", refuse)
    done = command("select", "fit.toml", "-o", "run", "-q")
    assert done.code == 2
    assert done.err.startswith("error: no candidate could be fitted; size=3")
    assert set(listing(experiment / "run")) == {"select.tsv", "select.json"}


def test_interruption_before_the_first_candidate_writes_nothing(
    command: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    select(experiment, SELECT.replace("3, 4", "4, 6") + SHORT)
    monkeypatch.setattr(_select, "_fit", interrupted)
    done = command("select", "fit.toml", "-o", "run")
    assert done.err == "interrupted by SIGTERM: no candidate was done yet\n"
    assert (done.code, done.out) == (143, "")
    assert not (experiment / "run").exists()


def test_interruption_keeps_the_table_so_far(
    command: Command, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    select(experiment, SELECT + QUICK)
    fit, fitted = _select._fit, []

    def second_is_interrupted(*words: object) -> None:
        fitted.append(1)
        if len(fitted) == 2:
            signal.raise_signal(signal.SIGINT)
        fit(*words)

    monkeypatch.setattr(_select, "_fit", second_is_interrupted)
    done = command("fit", "fit.toml", "-o", "run")
    assert done.code == 130
    last = done.err.splitlines()[-1]
    # the first of the two is the palindrome that cannot be
    assert last == "interrupted by SIGINT: 2 of 4 candidates are in run/select.tsv"
    selection = result_of(experiment / "run", "select.json")
    assert selection["interrupted"] is True
    assert selection["chosen"] is None
    assert len(selection["not_compared"]) == 2
    assert set(listing(experiment / "run")) == {"select.tsv", "select.json"}
    assert NAMES[0] in done.out


@pytest.mark.slow
def test_a_signal_from_outside_keeps_the_table(experiment: Path) -> None:
    """A process of its own, in the midst of a candidate that never ends."""
    endless = '[optimizer]\noptimizer = "Adam"\nepochs = 1000000\npatience = 1000000\n'
    # too long for the probes: a candidate that fails at once, before the endless one
    select(experiment, "[select]\nsizes = [4, 40]\n" + endless)
    script = (
        "from pyprobound.cli import _select\n"
        "_select.candidates_of, given = None, _select.candidates_of\n"
        "_select.candidates_of = lambda *words: given(*words)[::-1]\n"
        "from pyprobound.cli import main; main()"
    )
    words = [sys.executable, "-c", script, "select", "fit.toml", "-o", "run"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        deadline = time.monotonic() + 120
        while not (experiment / "run/select.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err.decode()
    last = err.decode().splitlines()[-1]
    assert last == "interrupted by SIGTERM: 1 of 2 candidates are in run/select.tsv"
    assert set(listing(experiment / "run")) == {"select.tsv", "select.json"}


def test_comparison_of_nothing_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _select.print_table(Comparison([]))
    assert capsys.readouterr().out == ""
