"""`pyprobound score`: models of every source, columns of sites, profiles, formats."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyprobound.cli import _sequences
from pyprobound.run_directory import open_run
from pyprobound.scoring import open_model, profile_sequences, score_sequences
from tests.cli.cases import Command
from tests.cli.test_score import SEQUENCES, dimer_run

MODELS = Path(__file__).parents[1] / "golden/data/probound/scoring"
ENTRIES = ["mc_10648", "mc_11394"]
KINDS = [
    "scores",
    "log_z",
    "affinity",
    "log_affinity",
    "best",
    "ddg",
    "contribution",
    "occupancy",
]
WORDS = [word for kind in KINDS for word in ("--what", kind)]


@pytest.fixture
def central(folder: Path) -> Path:
    """A file of MotifCentral with two models."""
    models = [json.loads((MODELS / f"{name}.json").read_text()) for name in ENTRIES]
    for number, (model, gene) in enumerate(zip(models, ("Abc", "Xyz"), strict=True)):
        model["metadata"] = {"fit_id": number + 7, "factors": [{"gene_symbol": gene}]}
    path = folder / "central.json"
    path.write_text(json.dumps(models))
    return path


def read_back(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True, precise_float=True)
    return pd.read_csv(path, sep="\t", keep_default_na=False)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_run_prints_all_columns_in_every_format(
    command: Command, folder: Path, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    run = dimer_run(folder, flanks="flank_length = 1")
    sequences = [*SEQUENCES[2:], "ACGTTAATGNRA"]
    output = Path(f"scores.{suffix}")
    words = [*WORDS, "--concentration", "0.5", "-o", output]
    done = command("score", run, *words, stdin="\n".join(sequences))
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "warning: no absolute K_D is known: --concentration is in units of the"
        " concentration at which Z is 1\n"
    )
    found = read_back(output)
    model = open_model(run)
    expected = score_sequences(model, sequences, KINDS, concentration=0.5)
    assert list(found["sequence"]) == sequences
    pd.testing.assert_frame_equal(
        found.drop(columns="sequence"),
        expected,
        check_dtype=False,
        rtol=1e-6 if suffix == "tsv" else 1e-13,
    )
    shares = expected.filter(like="contribution:1:")
    assert list(shares) == [f"contribution:1:{x}" for x in ("NS", "a", "b", "a-b")]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    z = np.exp(expected["log_z:1"])
    np.testing.assert_allclose(expected["occupancy:1"], z / 2 / (1 + z / 2))


def test_known_concentrations_are_absolute(command: Command, run: Path) -> None:
    config = run / "config.toml"
    text = config.read_text()
    assert text.count("target_concentration = 1.0") >= 1
    config.write_text(
        text.replace("target_concentration = 1.0", "target_concentration = 2.0")
    )
    done = command("score", run, "--concentration", "3", stdin="ACGTAC\n")
    assert (done.code, done.err) == (0, "")
    _, built = open_run(run)
    concentration = built.experiments[0].rounds["1"].aggregate.log_target_concentration
    found = score_sequences(
        open_model(run), ["ACGTAC"], ["log_z", "occupancy"], concentration=3.0
    )
    z = 3 * math.exp(found["log_z:1"][0] - concentration.item())
    assert found["occupancy:1"][0] == pytest.approx(z / (1 + z), rel=1e-9)


def test_profiles_are_printed_window_by_window(command: Command, run: Path) -> None:
    fasta = ">x long\nACGTT\nAATGC\n>y\nattan\n"
    done = command("score", run, "--profile", "--upper", stdin=fasta)
    assert done.code == 0
    head, *rows = (line.split("\t") for line in done.out.splitlines())
    assert head == ["name", "start", "a:+", "a:-"]
    assert [row[:2] for row in rows] == [
        *(["x", str(i)] for i in range(7)),
        *(["y", str(i)] for i in range(2)),
    ]
    expected = profile_sequences(open_model(run), ["ACGTTAATGC", "ATTAN"])
    printed = np.array([[float(x) for x in row[2:]] for row in rows])
    np.testing.assert_allclose(printed, expected[["a:+", "a:-"]], rtol=1e-6)


def test_long_records_of_fasta_are_read_in_pieces(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGTN"), 5000))
    lines = "\n".join(text[i : i + 60] for i in range(0, 5000, 60))
    fasta = f">one\n{lines}\n>two\nACGTACGT\n"
    words = ["--what", "scores", "--what", "best"]
    whole = command("score", run, *words, stdin=fasta)
    with monkeypatch.context() as patch:
        patch.setattr(_sequences.parts, "__defaults__", (1, 1100))
        patch.setattr("pyprobound.cli._score.LETTERS_AT_ONCE", 1100)
        patch.setattr("pyprobound.cli._score._parts.__defaults__", (1100,))
        pieces = command("score", run, *words, stdin=fasta)
        broken = command("score", run, stdin=fasta.replace("\n>two", "X\n>two"))
    assert whole.code == 0
    assert pieces.out == whole.out
    assert broken.code == 2
    assert broken.err.startswith("error: standard input:1: 'one': letter 'X'")
    assert "letters come before" in broken.err


def test_entries_are_chosen_by_number_or_gene(command: Command, central: Path) -> None:
    sequence = "ACGTACGTACGTACGTACGTACGTAACC"
    for entry, name in (("7", ENTRIES[0]), ("xyz", ENTRIES[1])):
        done = command("score", f"{central}:{entry}", *WORDS[:8], stdin=sequence)
        alone = command("score", MODELS / f"{name}.json", *WORDS[:8], stdin=sequence)
        assert (done.code, alone.code) == (0, 0)
        assert done.out == alone.out


def test_codes_and_short_sequences_of_files_of_probound(
    command: Command, central: Path
) -> None:
    model = f"{central}:7"
    done = command("score", model, stdin="NNRYACGTACGTACGTACGTACGTAACC\n")
    assert done.code == 0
    done = command("score", model, "--allow-short", "--what", "affinity", stdin="AC\n")
    assert done.out == "sequence\taffinity:mode0\nAC\t0\n"
    done = command("score", model, stdin="AC\n")
    assert "2 letters are too few for 'mode0'" in done.err
    assert done.code == 2


REFUSED = {
    "no entry": (["central.json"], "central.json: holds 2 models; choose one by"),
    "unknown entry": (["central.json:9"], "no model has the fit_id or gene '9'"),
    "enrichment": (["central.json:7", "--what", "enrichment"], "is of no experiment"),
    "flanks": (["central.json:7", "--flanks"], "are for runs"),
    "experiment": (["central.json:7", "--experiment", "x"], "has no experiments"),
    "modification": (["central.json:7", "--modification", "x"], "no modification 'x'"),
    "occupancy": (["central.json:7", "--what", "occupancy"], "a free concentration"),
    "negative": (["central.json:7", "--concentration", "-1"], "must be above 0"),
    "profile": (["central.json:7", "--profile", "--what", "ddg"], "leave out --what"),
    "parquet": (["central.json:7", "--format", "parquet"], "name a file with -o"),
    "sites as probes": (["run", "--flanks", "--what", "best"], "goes without --flanks"),
    "run modification": (["run", "--modification", "x"], "is for a file of ProBound"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused(
    command: Command, trained: Path, central: Path, case: str
) -> None:
    shutil.copytree(trained, central.parent / "run")
    words, rule = REFUSED[case]
    done = command("score", *words, stdin="ACGTACGTACGTACGTACGTACGTAACC\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert rule in done.err
