"""Converting motif files, and listing a MotifCentral file, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyprobound import probound
from pyprobound.config import make_tables, read_counts
from pyprobound.motifs import read_motifs
from pyprobound.run_directory import open_run
from tests.cli.cases import Command, listing

SCORING = Path(__file__).parents[1] / "golden/data/probound/scoring"


def factor(symbol: str, name: str, taxon: int) -> dict[str, object]:
    return {"gene_symbol": symbol, "gene_name": name, "tax_id": taxon}


METADATA = [
    {
        "fit_id": 10648,
        "factors": [factor("HOXA1", "homeobox A1", 9606)],
        "experiments": [["Yin2017", "HOXA1_x"]],
    },
    {
        "fit_id": 11394,
        "factors": [factor("exd", "extradenticle", 7227), factor("Ubx", "y", 7227)],
        "experiments": [["Slattery2011", "exd_Ubx"], ["Yang2017", "z"]],
    },
    {
        "fit_id": 11458,
        "factors": [factor("Hoxa10", "homeobox A10", 10090)],
        "experiments": [["Yin2017", "Hoxa10_y"]],
    },
]


@pytest.fixture
def central(folder: Path) -> Path:
    """A small MotifCentral file."""
    entries = []
    for metadata in METADATA:
        path = SCORING / f"mc_{metadata['fit_id']}.json"
        entries.append(json.loads(path.read_text()) | {"metadata": metadata})
    (folder / "central.json").write_text(json.dumps(entries))
    return folder / "central.json"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], [10648, 11394, 11458]),
        (["--gene", "HOXA*"], [10648, 11458]),
        (["--gene", "hoxa1"], [10648]),
        (["--gene", "ubx"], [11394]),
        (["--species", "human"], [10648]),
        (["--species", "Mus musculus"], [11458]),
        (["--species", "7227"], [11394]),
        (["--study", "yang"], [11394]),
        (["--factor", "homeobox"], [10648, 11458]),
        (["--factor", "homeobox", "--study", "Yin", "--species", "mouse"], [11458]),
    ],
)
def test_models_are_found(
    central: Path, command: Command, words: list[str], found: list[int]
) -> None:
    done = command("models", central, *words)
    assert (done.code, done.err) == (0, "")
    header, *rows = done.out.splitlines()
    assert header.split() == ["fit_id", "gene", "species", "study", "size", "consensus"]
    assert [int(row.split()[0]) for row in rows] == found
    listed = json.loads(command("models", central, *words, "--json").out)
    assert [each["fit_id"] for each in listed] == found
    assert [each["consensus"] for each in listed] == [row.split()[-1] for row in rows]


def test_a_row_says_what_the_entry_says(central: Path, command: Command) -> None:
    row = command("models", central, "--gene", "exd").out.splitlines()[1].split()
    motif = read_motifs(central)[1]
    assert row[:4] == ["11394", "exd-Ubx", "fly", "Slattery2011,Yang2017"]
    assert row[4:] == [str(motif.size), motif.consensus]


def test_no_model_agrees(central: Path, command: Command) -> None:
    done = command("models", central, "--gene", "none")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("name", ["11394", "exd-Ubx", "UBX"])
def test_one_motif_is_selected(central: Path, command: Command, name: str) -> None:
    done = command("convert", central, "a.meme", "--select", name)
    assert (done.code, done.out, done.err) == (0, "", "")
    found = read_motifs(central.parent / "a.meme")
    wanted = read_motifs(central)[1].at_best()
    assert [each.identifier for each in found] == ["11394"]
    np.testing.assert_allclose(found[0].energies(), wanted.values, atol=1e-12)
    done = command("convert", central, "a.meme", "--select", "nobody")
    assert done.code == 2
    assert "none of 3 motifs is 'nobody'" in done.err


def test_pseudocounts_and_formats(folder: Path, command: Command) -> None:
    (folder / "m").write_text(">m\n3\t0\n1\t4\n0\t0\n0\t0\n")
    words = ["--from", "pfm", "--to", "hocomoco-pwm", "--pseudocount", "4"]
    done = command("convert", "m", "n", *words)
    assert done.code == 0
    assert "number of sites" in done.err
    found = read_motifs(folder / "n", "hocomoco-pwm")[0].values
    wanted = np.log([[4 / 4, 1 / 5], [2 / 4, 1], [1 / 4, 1 / 5], [1 / 4, 1 / 5]])
    np.testing.assert_allclose(found, wanted, atol=1e-15)


def test_a_failed_conversion_leaves_nothing(folder: Path, command: Command) -> None:
    (folder / "bad.jaspar").write_text(">m\n1\nx\n1\n1\n")
    (folder / "b.meme").write_text("old")
    before = listing(folder)
    done = command("convert", "bad.jaspar", "b.meme")
    assert done.code == 2
    assert done.err == "error: bad.jaspar, line 3: 'x' is no number\n"
    assert listing(folder) == before


def test_a_run_directory_is_converted(
    trained: Path, folder: Path, command: Command
) -> None:
    for target in ("a.json", "a.meme", "a.toml"):
        done = command("convert", trained, target)
        assert done.code == 0
        assert done.err.count("warning: ") == 1
        assert done.err.count("\n") == 1
    _, built = open_run(trained)
    spec = next(x for x in built.loss.modules() if type(x).__name__ == "PSAM")
    energies = spec.get_filter(0)[0].detach().numpy()
    for target in ("a.json", "a.toml"):
        np.testing.assert_array_equal(read_motifs(folder / target)[0].values, energies)
    found = read_motifs(folder / "a.meme")[0].energies()
    np.testing.assert_allclose(found, energies - energies.max(0), atol=1e-6)


def test_a_whole_model_is_converted(
    trained: Path, folder: Path, command: Command
) -> None:
    done = command("convert", trained, "a.models.json", "--whole")
    assert (done.code, done.out, done.err) == (0, "", "")
    model = probound.build(probound.read(folder / "a.models.json"))
    tables = model.read_tables()  # found where the file says
    document, built = open_run(trained)
    counts = make_tables(document, read_counts(document))[0]
    with torch.no_grad():
        found = next(iter(model.loss.components()))(tables[0].seqs)
        wanted = built.experiments[0].experiment(counts[0].seqs)
    torch.testing.assert_close(found, wanted.double(), atol=2e-5, rtol=0)
    done = command("convert", trained, "b.meme", "--whole", "--to", "meme")
    assert done.code == 2
    assert "--whole" in done.err
    assert not (folder / "b.meme").exists()
