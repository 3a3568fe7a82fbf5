"""Sums and windows of scoring models of the Java program, by the public calls."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from pyprobound.scoring import open_model, profile_sequences, score_sequences

DATA = Path(__file__).parent / "data" / "probound"
FOLDER = DATA / "scoring"
SCORED = list(
    csv.DictReader((FOLDER / "models.tsv").read_text().splitlines(), delimiter="\t")
)
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def rows_of(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split("\t") for line in file][1:]


@pytest.mark.parametrize("row", SCORED, ids=[row["name"] for row in SCORED])
def test_sums_and_windows_agree(row: dict[str, str]) -> None:
    modifications = [each for each in row["modifications"].split(",") if each]
    model = open_model(FOLDER / f"{row['name']}.json", modifications=modifications)
    texts = (FOLDER / row["sequences"]).read_text().split()
    found = score_sequences(model, texts, ["log_z", "scores"])
    sums = rows_of(FOLDER / f"{row['name']}.sums.tsv.gz")
    assert [each[0] for each in sums] == texts
    wanted = np.array([[float(x) for x in each[1:]] for each in sums])
    np.testing.assert_allclose(np.exp(found.to_numpy()), wanted, **TOLERANCE)
    windows = profile_sequences(model, texts)
    n_checked = 0
    for index, mode, strand, scores in rows_of(
        FOLDER / f"{row['name']}.windows.tsv.gz"
    ):
        column = f"mode{mode}:{strand}"
        linear = [float(x) for x in scores.split(",")]
        if column not in windows:  # one strand only
            assert not any(linear)
            continue
        own = windows.loc[windows["sequence"] == int(index), column].to_numpy()
        own = np.exp(own[: len(linear)])
        np.testing.assert_allclose(own, linear, **TOLERANCE)
        n_checked += 1
    assert n_checked > 0


def test_fit_is_scored_by_its_consensus() -> None:
    path = DATA / "transforms/bcd_fit_input.models.json"
    with pytest.warns(UserWarning, match="is a fit: scored by its consensus"):
        model = open_model(path)
    lines = (DATA / "transforms/bcd_line7.consensus.affinitySum.tsv").read_text()
    rows = [line.split("\t") for line in lines.splitlines()][1:]
    found = score_sequences(model, [row[0] for row in rows], ["log_z"])
    wanted = [float(row[1]) for row in rows]
    np.testing.assert_allclose(np.exp(found["log_z:model"]), wanted, **TOLERANCE)


@pytest.mark.shared
def test_entries_of_motif_central_are_scored(shared: Path) -> None:
    """The best sequence of a motif is found by its own window, on either strand."""
    path = shared / "data" / "MotifCentral.v1.0.0.json"
    for entry in (10109, 12900, 16192):
        model = open_model(f"{path}:{entry}")
        best = model.motifs[0].best
        assert best is not None
        site = "".join(model.alphabet.alphabet[code] for code in best[0])
        text = "A" * 9 + site + "A" * 9
        found = score_sequences(model, [text], ["best", "ddg", "log_affinity"])
        assert found["ddg:mode0"][0] == pytest.approx(0, abs=1e-12)
        assert found["log_affinity:mode0"][0] >= -1e-12
