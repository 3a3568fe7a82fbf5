"""A simulation draws what its model predicts, and a fit of it finds the model again."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from pyprobound.run_directory import open_run
from pyprobound.table import get_dataframe
from tests.cli.cases import Command, listing

DEMO = Path(__file__).parents[2] / "examples/demo"
TRUTH = """\
seed = 3
[experiment]
left_flank = "GTTCAGAGTTC"
right_flank = "CCAGCTGTCGT"
flank_length = 2
[[experiment.rounds]]
kind = "initial"
[[experiment.rounds]]
kind = "bound_unsaturated"
log_activities = { NS = -6.0, tf = 0.0 }
[[modes]]
name = "tf"
[modes.energies]
A = [-2.0,  0.0,  0.0, -2.0, -1.0, -0.5]
C = [-2.0, -1.5, -2.0, -1.0,  0.0, -0.2]
G = [-1.0, -2.0, -1.5, -2.0, -2.0,  0.0]
T = [ 0.0, -1.0, -2.0,  0.0, -2.0, -1.0]
[simulate]
n_probes = 2000
length = 10
reads = 20000
"""
FIT = """\
[experiment]
table = "out/counts.tsv.gz"
left_flank = "GTTCAGAGTTC"
right_flank = "CCAGCTGTCGT"
[[modes]]
name = "tf"
size = 6
flank_length = 2
seed = "TAATC"
[loss]
pseudocount = 1
"""


@pytest.fixture
def compare() -> Iterator[ModuleType]:
    """The script of the demo that compares a fit with its truth."""
    spec = importlib.util.spec_from_file_location("compare", DEMO / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare"]


def simulated(command: Command, folder: Path, text: str, out: str = "out") -> dict:
    (folder / "truth.toml").write_text(text)
    done = command("simulate", "truth.toml", "-o", out)
    assert (done.code, done.err) == (0, "")
    return json.loads((folder / out / "truth.json").read_text(encoding="utf-8"))


def test_directory_holds_tables_truth_and_a_model(
    command: Command, folder: Path
) -> None:
    simulated(command, folder, TRUTH)
    expected = {"counts.tsv.gz", "truth.json", "model.pt", "config.toml"}
    assert set(listing(folder / "out")) == expected


def test_same_seed_draws_the_same_and_another_does_not(
    command: Command, folder: Path
) -> None:
    for name in ("out", "again"):
        simulated(command, folder, TRUTH, name)
    command("simulate", "truth.toml", "-o", "other", "--seed", "4")
    tables = [
        (folder / name / "counts.tsv.gz").read_bytes()
        for name in ("out", "again", "other")
    ]
    assert tables[0] == tables[1] != tables[2]


def test_numbers_of_reads_and_letters_are_as_asked(
    command: Command, folder: Path
) -> None:
    text = TRUTH.replace("reads = 20000", "reads = [0, 7000]")
    simulated(command, folder, text.replace("length = 10", "length = [8, 10]"))
    frame = get_dataframe(folder / "out/counts.tsv.gz")
    assert frame.sum().tolist() == [0, 7000]
    assert set(frame.index.str.len()) == {8, 10}
    assert frame.index.is_unique
    assert (frame.sum(axis=1) > 0).all()


def test_counts_are_what_the_model_predicts(command: Command, folder: Path) -> None:
    """Pearson's chi-square of all counts against their expectations, by hand."""
    simulated(command, folder, TRUTH.replace("reads = 20000", "reads = 100000"))
    done = command(
        "score", "out", "out/counts.tsv.gz", "--flanks", "--what", "enrichment"
    )
    rows = [line.split("\t") for line in done.out.splitlines()[1:]]
    enrichment = np.exp([float(row[1]) for row in rows])
    frame = get_dataframe(folder / "out/counts.tsv.gz")
    assert list(frame.index) == [row[0] for row in rows]
    # nothing of 2000 probes at 100000 reads was lost, so frequencies are equal
    assert len(frame) == 2000
    for column, weights in ((0, np.ones(2000)), (1, enrichment)):
        expected = 100000 * weights / weights.sum()
        chi_square = ((frame[column] - expected) ** 2 / expected).sum()
        # mean 1999, standard deviation about 63
        assert abs(chi_square - 1999) < 5 * 64


def test_depths_are_those_of_the_reads(command: Command, folder: Path) -> None:
    """With the truth's depths, the predicted reads of each round are the drawn ones."""
    simulated(command, folder, TRUTH.replace("reads = 20000", "reads = [30000, 90000]"))
    document, built = open_run(folder / "out")
    frame = get_dataframe(folder / "out/counts.tsv.gz")
    flanked = document.config.experiments[0]
    probes = [
        flanked.left_flank[-2:] + x + flanked.right_flank[:2] for x in frame.index
    ]
    with torch.no_grad():
        log_p = built.experiments[0].experiment(built.alphabet.encode(probes))
    totals = torch.tensor(frame.sum(axis=1).to_numpy(), dtype=torch.float64)
    predicted = (log_p.double().exp() * totals[:, None]).sum(0).tolist()
    assert predicted == pytest.approx([30000, 90000], rel=0.01)


def test_a_fit_finds_the_truth_again(
    command: Command, folder: Path, compare: ModuleType
) -> None:
    truth = simulated(command, folder, TRUTH.replace("= 20000", "= 200000"))
    (folder / "fit.toml").write_text(FIT)
    assert command("fit", "fit.toml", "-q").code == 0
    result = json.loads((folder / "fit.run/result.json").read_text(encoding="utf-8"))
    best = compare.aligned(
        compare.motif_of(truth, "tf"), compare.motif_of(result, "tf")
    )
    assert (best.shift, best.is_reversed) == (0, False)
    assert best.error < 0.05
    assert best.correlation > 0.998
    truths, found = (compare.preferences(each, "tf") for each in (truth, result))
    assert found == pytest.approx(truths, abs=0.2)
    # the fit cannot lose to the truth, and wins by about its number of parameters
    gain = compare.loss_of(truth) - compare.loss_of(result)
    assert 0 < gain < 3 * 22 / 400000


def test_demo_says_how_well_the_truth_came_back(
    command: Command, folder: Path, compare: ModuleType, capsys: pytest.CaptureFixture
) -> None:
    simulated(command, folder, TRUTH)
    (folder / "fit.toml").write_text(FIT)
    assert command("fit", "fit.toml", "-q", "-o", "run").code == 0
    compare.main(folder / "out", folder / "run")
    printed = capsys.readouterr().out
    assert "r = 0.99" in printed
    assert "(same strand, shift 0)" in printed


def test_alignment_finds_strand_and_shift(compare: ModuleType) -> None:
    motif = [[1, -1, 0, 0], [0, 2, -1, -1], [0, 0, 3, -3], [-1, 1, 0, 0]]
    other = [row[::-1] for row in [*motif, [0, 0, 0, 0]][::-1]]
    best = compare.aligned(motif, other)
    assert (best.shift, best.is_reversed) == (0, True)
    assert (best.error, best.correlation) == pytest.approx((0, 1))
    best = compare.aligned(motif, [[0, 0, 0, 0], *motif])
    assert (best.shift, best.is_reversed) == (1, False)


DIMER_TRUTH = """\
seed = 3
[experiment]
[[experiment.rounds]]
kind = "initial"
[[experiment.rounds]]
kind = "bound_unsaturated"
log_activities = { NS = -5.0, a = -2.5, b = -3.0, a-b = -4.0 }
[[modes]]
name = "a"
consensus = "GACA"
[[modes]]
name = "b"
consensus = "TTC"
[[dimers]]
modes = ["a", "b"]
max_overlap = 0
max_spacing = 3
[[dimers.spacing]]
offset = 5
log_omega = 4.0
[[dimers.spacing]]
offset = -4
orientation = "opposite"
log_omega = 3.0
[simulate]
n_probes = 10000
length = 12
reads = 200000
"""
DIMER_FIT = """\
[experiment]
table = "out/counts.tsv.gz"
[[modes]]
name = "a"
size = 4
seed = "GACA"
[[modes]]
name = "b"
size = 3
seed = "TTC"
[[dimers]]
modes = ["a", "b"]
max_overlap = 0
max_spacing = 3
[loss]
pseudocount = 1
"""


@pytest.mark.slow
def test_a_fit_finds_a_dimer_and_its_spacing_again(
    command: Command, folder: Path, compare: ModuleType
) -> None:
    truth = simulated(command, folder, DIMER_TRUTH)
    (folder / "fit.toml").write_text(DIMER_FIT)
    assert command("fit", "fit.toml", "-q", "-o", "run").code == 0
    result = json.loads((folder / "run/result.json").read_text(encoding="utf-8"))
    for name in "ab":
        motifs = [compare.motif_of(each, name) for each in (truth, result)]
        assert compare.aligned(*motifs).error < 0.15
    true, found = (
        {
            (strands, offset): value
            for strands, row in each["dimers"][0]["log_omega"].items()
            for offset, value in zip(each["dimers"][0]["offsets"], row, strict=True)
        }
        for each in (truth, result)
    )
    assert true.keys() == found.keys()
    for place, value in true.items():
        if value is None:
            assert found[place] is None
        elif value > -2:  # the two arrangements, and their mirror images
            assert found[place] == pytest.approx(value, abs=0.25)
        else:  # e^-4 of the best one: all that can be seen is that it is far below
            assert found[place] < -2.3
    truths, fits = (compare.preferences(each, "a-b") for each in (truth, result))
    assert fits == pytest.approx(truths, abs=0.5)
    gain = compare.loss_of(truth) - compare.loss_of(result)
    assert 0 < gain < 3 * 45 / 400000
