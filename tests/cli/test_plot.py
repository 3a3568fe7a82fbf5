"""`pyprobound plot`: pictures of runs and motifs as files."""

import builtins
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pyprobound.cli._motif_psams import psam_of
from pyprobound.motifs import Motif
from tests.cli.cases import Command, listing
from tests.plots.runs import KD_SEQ, PAIR, RATES, small_run

OF_PAIR = ["logo", "posbias", "spacing", "cooperativity", "enrichment", "kmers"]
OF_PAIR += ["contribution", "convergence"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Small runs by name, not to be changed."""
    return {
        name: small_run(name, tmp_path_factory.mktemp(name))
        for name in (PAIR, KD_SEQ, RATES)
    }


@pytest.fixture
def pair(runs: Mapping[str, Path]) -> Path:
    return runs[PAIR]


def text_of(picture: Path) -> str:
    """Return all words of an SVG."""
    words = re.findall(r">([^<>]+)</t(?:ext|span)>", picture.read_text())
    return " ".join(words)


@pytest.mark.parametrize("what", OF_PAIR)
def test_every_picture_of_a_run_is_drawn(
    what: str, pair: Path, command: Command, folder: Path
) -> None:
    done = command("plot", what, pair, "-o", "picture.svg")
    assert (done.code, done.err) == (0, "")
    names = done.out.split()
    assert {path.name for path in folder.iterdir()} == set(names)
    for name in names:
        assert (folder / name).read_text().startswith("<?xml")
        assert len(text_of(folder / name)) > 20


@pytest.mark.parametrize(("what", "name"), [("kd", KD_SEQ), ("keff", RATES)])
def test_constants_and_rates_are_drawn_with_their_unit(
    what: str, name: str, runs: Mapping[str, Path], command: Command, folder: Path
) -> None:
    done = command("plot", what, runs[name], "-o", "a.svg", "--unit", "nM")
    assert (done.code, done.err, done.out) == (0, "", "a.svg\n")
    assert "nM" in text_of(folder / "a.svg").replace(" ", "")  # letter by letter


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_name_of_the_file_says_its_format(
    kind: str, pair: Path, command: Command, folder: Path
) -> None:
    path = folder / f"logo.{kind}"
    assert command("plot", "logo", pair, "--mode", "exd", "-o", path).code == 0
    first = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[kind]
    before = path.read_bytes()
    assert before.startswith(first)
    # an old file is replaced, by the same bytes for the same picture
    assert command("plot", "logo", pair, "--mode", "exd", "-o", path).code == 0
    assert path.read_bytes() == before


def test_several_pictures_have_the_names_of_what_they_show(
    pair: Path, command: Command, folder: Path
) -> None:
    done = command("plot", "logo", pair, "-o", "a.b.svg")
    assert done.out.split() == ["a.b-exd.svg", "a.b-hox.svg"]
    done = command("plot", "logo", pair, "-o", "a.b.svg", "--mode", "hox")
    assert done.out.split() == ["a.b.svg"]
    assert (folder / "a.b.svg").read_bytes() == (folder / "a.b-hox.svg").read_bytes()


@pytest.mark.parametrize("what", ["spacing", "enrichment", "convergence"])
def test_a_checkpoint_stands_for_its_run(
    what: str, pair: Path, command: Command, folder: Path
) -> None:
    for model, name in ((pair, "run.svg"), (pair / "model.pt", "file.svg")):
        command("plot", what, model, "-o", name)
    assert (folder / "run.svg").read_bytes() == (folder / "file.svg").read_bytes()


def test_the_log_of_a_fit_that_was_killed_may_end_in_half_a_line(
    pair: Path, command: Command, folder: Path
) -> None:
    copy = shutil.copytree(pair, folder / "run")
    command("plot", "convergence", copy, "-o", "whole.svg")
    with (copy / "log.jsonl").open("a") as file:
        file.write('{"epoch": 7, "train_')
    done = command("plot", "convergence", copy, "-o", "half.svg")
    assert (done.code, done.err) == (0, "")
    assert (folder / "half.svg").read_bytes() == (folder / "whole.svg").read_bytes()


def test_options_change_the_picture(pair: Path, command: Command, folder: Path) -> None:
    asked = {
        "plain": [],
        "reverse": ["--reverse"],
        "no-errors": ["--no-errors"],
        "wide": ["--width", "5"],
        "tall": ["--height", "4"],
    }
    for name, words in asked.items():
        command("plot", "logo", pair, "--mode", "hox", "-o", f"{name}.svg", *words)
    assert len({path.read_bytes() for path in folder.iterdir()}) == len(asked)
    assert "95% intervals" in text_of(folder / "plain.svg")
    assert "95% intervals" not in text_of(folder / "no-errors.svg")
    assert 'width="360pt"' in (folder / "wide.svg").read_text()


def test_size_and_resolution_are_obeyed(
    pair: Path, command: Command, folder: Path
) -> None:
    size = ["--width", "3", "--height", "2", "--dpi", "50"]
    command("plot", "convergence", pair, "-o", "a.png", *size)
    header = (folder / "a.png").read_bytes()[16:24]
    assert [int.from_bytes(header[:4]), int.from_bytes(header[4:])] == [150, 100]


def test_rounds_are_chosen_by_name(pair: Path, command: Command, folder: Path) -> None:
    for rounds in ("R0,R1", "R0,R2"):
        done = command(
            "plot", "enrichment", pair, "--rounds", rounds, "-o", f"{rounds}.svg"
        )
        assert done.code == 0
        assert rounds[3:] in text_of(folder / f"{rounds}.svg")
    done = command("plot", "enrichment", pair, "-o", "default.svg")
    assert (folder / "default.svg").read_bytes() == (folder / "R0,R2.svg").read_bytes()


def test_a_run_without_errors_is_drawn_without_intervals_and_that_is_said(
    pair: Path, command: Command, folder: Path
) -> None:
    copy = shutil.copytree(pair, folder / "run")
    (copy / "errors.npz").unlink()
    done = command("plot", "spacing", copy, "-o", "a.svg")
    assert (done.code, done.out) == (0, "a.svg\n")
    assert done.err == f"no intervals: {copy / 'errors.npz'} is not there\n"
    assert command("plot", "spacing", copy, "-o", "a.svg", "--no-errors").err == ""


def test_tables_that_have_moved_are_told_where_they_are(
    pair: Path, command: Command, folder: Path
) -> None:
    copy = shutil.copytree(pair, folder / "elsewhere" / "run")
    done = command("plot", "kmers", copy, "-o", "a.svg")
    assert done.code == 2
    assert re.fullmatch(
        r"error: .*config\.toml:\d+: .*counts\.tsv\.gz: no such file; this picture"
        r" compares .*--table where they are\n",
        done.err,
    )
    assert not (folder / "a.svg").exists()
    table = pair.parent / "data" / "counts.tsv.gz"
    done = command("plot", "kmers", copy, "-o", "a.svg", "--table", table)
    assert (done.code, done.err) == (0, "")
    # what needs no table is drawn without
    assert command("plot", "convergence", copy, "-o", "b.svg").code == 0


# --- motifs of files ----------------------------------------------------------------


def test_motifs_of_other_programs_are_drawn(command: Command, folder: Path) -> None:
    rows = "A [ 0 9 1 ]\nC [ 1 0 0 ]\nG [ 9 0 0 ]\nT [ 0 1 9 ]\n"
    for name in ("one", "two"):
        with (folder / "motifs.jaspar").open("a") as file:
            file.write(f">M{name} {name}\n{rows}")
    done = command("plot", "logo", "motifs.jaspar", "-o", "a.svg")
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == ["a-one.svg", "a-two.svg"]
    done = command("plot", "logo", "motifs.jaspar", "-o", "a.svg", "--mode", "Mtwo")
    assert done.out.split() == ["a.svg"]
    assert "RT" in text_of(folder / "a.svg")


@pytest.mark.usefixtures("folder")
def test_an_entry_of_motif_central_is_drawn(shared: Path, command: Command) -> None:
    central = shared / "data" / "MotifCentral.v1.0.0.json"
    done = command("plot", "logo", f"{central}:CTCF", "-o", "ctcf.svg")
    assert (done.code, done.err) == (0, "")
    done = command("plot", "logo", central, "-o", "all.svg")
    assert done.code == 2
    assert re.search(r"holds \d+ motifs; choose some with --mode NAME\n$", done.err)


@pytest.mark.parametrize("complement", ["TGCA", ""])
def test_a_motif_becomes_a_psam_of_the_same_energies(complement: str) -> None:
    rng = np.random.default_rng(4)
    pairs = rng.normal(size=(4, 4, 4)), rng.normal(size=(3, 4, 4))
    values = rng.normal(size=(4, 5))
    psam = psam_of(Motif("m", "ACGT", values, pairs=pairs, complement=complement))
    np.testing.assert_allclose(psam.get_filter(0)[0].detach(), values)
    for distance, expected in enumerate(pairs, 1):
        found = psam.get_filter(distance)[0].detach().permute(2, 0, 1)
        np.testing.assert_allclose(found, expected)
    assert psam.score_reverse == bool(complement)


# --- what goes wrong ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["logo", "--mode", "tf"], "no motif 'tf'; there is exd, hox"),
        (["posbias", "--mode", "tf"], "no mode 'tf'; there is NS, exd, hox"),
        (["posbias", "--mode", "exd"], "exd has no position bias; fit one with"),
        (["posbias", "--experiment", "x"], "no experiment 'x'; there is pair"),
        (["spacing", "--dimer", "x"], "no dimer 'x'; there is exd-hox"),
        (["cooperativity", "--experiment", "x"], "no experiment 'x'; there is pair"),
        (
            ["enrichment", "--rounds", "R0,R9"],
            "no observed round 'R9'; there is R0, R1",
        ),
        (["enrichment", "--rounds", "R0"], "--rounds R0: name two rounds, before"),
        (["enrichment", "--table", "none.tsv"], "none.tsv: no such file"),
        (["contribution", "--round", "R0"], "no round with binding 'R0'; there is R1"),
        (["kd"], "not Kd-seq, which has an input, a bound library with"),
        (["keff"], 'no round of type "exponential"'),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    words: list[str], message: str, pair: Path, command: Command, folder: Path
) -> None:
    done = command("plot", words[0], pair, "-o", "a.svg", *words[1:])
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert message in done.err
    assert listing(folder) == {}


def test_a_model_without_dimers_has_no_spacing(
    runs: Mapping[str, Path], command: Command, folder: Path
) -> None:
    done = command("plot", "spacing", runs[KD_SEQ], "-o", "a.svg")
    assert done.code == 2
    assert done.err.endswith("config.toml: has no dimer\n")
    done = command("plot", "posbias", runs[KD_SEQ], "-o", "a.svg")
    assert done.code == 2
    assert "no mode has a position bias; fit one with position_bias" in done.err
    assert listing(folder) == {}


@pytest.mark.parametrize("name", ["a.jpeg", "a", "svg", "no/such/folder.svg"])
def test_where_a_picture_cannot_go_is_told_and_nothing_is_written(
    name: str, pair: Path, command: Command, folder: Path
) -> None:
    done = command("plot", "logo", pair, "--mode", "exd", "-o", name)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "choose another place" in done.err or ".svg, .png or .pdf" in done.err
    assert listing(folder) == {}


@pytest.mark.parametrize("model", ["absent", "empty"])
def test_a_model_that_is_not_there_is_told(
    model: str, command: Command, folder: Path
) -> None:
    (folder / "empty").mkdir()
    for what in ("logo", "enrichment", "convergence"):
        done = command("plot", what, folder / model, "-o", "a.svg")
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert model in done.err


def test_a_run_without_a_log_has_no_convergence(
    pair: Path, command: Command, folder: Path
) -> None:
    copy = shutil.copytree(pair, folder / "run")
    (copy / "log.jsonl").unlink()
    done = command("plot", "convergence", copy, "-o", "a.svg")
    assert done.code == 2
    assert done.err.endswith(
        "log.jsonl: no such file, or nothing in it: no log of a fit\n"
    )


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_matplotlib_the_way_to_install_it_is_told(
    package: str,
    pair: Path,
    command: Command,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = "pyprobound.cli._pictures", "pyprobound.plotting", "pyprobound.page"
    for name in list(sys.modules):
        if name.startswith((package, *ours)):
            monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> ModuleType:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = command("plot", "logo", pair, "-o", "a.svg")
    assert done.code == 2
    assert done.err == (
        f"error: pictures need {package}, which is not installed: pip install"
        " 'pyprobound-engine[plots]'\n"
    )
    assert listing(folder) == {}
