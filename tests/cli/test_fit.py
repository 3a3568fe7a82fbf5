"""A fit leaves a run directory that says what was fitted, how, and what came out."""

import json
import math
import tomllib
from pathlib import Path

import pytest
import torch

from pyprobound._version import __version__
from pyprobound.alphabets import DNA
from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.layers import PSAM
from pyprobound.mode import Mode
from pyprobound.report import consensus
from pyprobound.run_directory import open_run
from tests.cli.cases import MINIMAL, Command, gzipped, listing, table_text

FILES = {
    "config.toml",
    "model.pt",
    "result.json",
    "errors.npz",
    "log.jsonl",
    "log.txt",
}


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def test_run_directory_holds_everything(run: Path) -> None:
    assert set(listing(run)) == FILES


def test_result_says_what_was_fitted_and_with_what(run: Path) -> None:
    result = result_of(run)
    assert result["format"] == 1
    assert result["interrupted"] is False
    assert result["seed"] == 0
    assert result["versions"]["pyprobound"] == __version__
    assert result["versions"]["torch"] == torch.__version__
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 2**20
    assert [each["kind"] for each in result["modes"]] == ["nonspecific", "psam"]
    assert result["tables"][0]["probes"] == 50
    losses = result["loss_per_read"]
    assert losses["total"] == pytest.approx(losses["data"] + losses["penalty"])


def test_reported_loss_is_the_least_of_the_log(run: Path) -> None:
    events = [json.loads(x) for x in (run / "log.jsonl").read_text().splitlines()]
    epochs = [each for each in events if "ended" not in each]
    last = [each for each in epochs if each["binding"] == events[-1]["binding"]]
    best = min(each["train_loss"] + each["train_regularization"] for each in last)
    assert result_of(run)["loss_per_read"]["total"] == pytest.approx(best, abs=1e-6)


def test_steps_of_the_result_are_those_of_the_log(run: Path) -> None:
    steps = result_of(run)["steps"]
    events = [json.loads(x) for x in (run / "log.jsonl").read_text().splitlines()]
    assert [each["binding"] for each in steps] == sorted(
        (each["binding"] for each in steps), key=lambda name: name != "NonSpecific-NS"
    )
    for step in steps:
        own = [
            each
            for each in events
            if (each["binding"], each["step"]) == (step["binding"], step["step"])
        ]
        *epochs, end = own
        if step["epoch"] is None:
            assert not epochs
            assert step["ended"] == "converged: the edit changes nothing"
        else:
            assert step["train_loss"] in [each["train_loss"] for each in epochs]
        assert (step["epoch"], step["ended"]) == (end["epoch"], end["ended"])
        assert end["ended"].startswith(("converged: ", "budget: "))
    assert steps[-1]["ended"] == result_of(run)["ended"]


def test_a_step_that_fits_nothing_says_why(command: Command, experiment: Path) -> None:
    grows = "increment_footprint = true\nmax_size = 4\n"
    text = MINIMAL.replace("size = 4\n", f"size = 4\n{grows}")
    (experiment / "fit.toml").write_text(text)
    done = command("fit", "fit.toml")
    assert done.code == 0
    refused = [
        each
        for each in result_of(experiment / "fit.run")["steps"]
        if each["ended"].startswith("refused: ")
    ]
    assert refused
    assert all(each["train_loss"] is None for each in refused)
    for each in refused:
        shown = f"{each['binding']} step {each['step']}: {each['ended']}\n"
        assert shown in done.err


def test_energies_have_mean_zero_and_differ_from_the_betas_by_it(run: Path) -> None:
    energies = result_of(run)["modes"][1]["energies"]
    columns = list(zip(*energies.values(), strict=True))
    assert [sum(column) for column in columns] == pytest.approx([0] * 4, abs=1e-6)
    _, built = open_run(run)
    psam = built.specs.modes["a"]
    assert isinstance(psam, PSAM)
    filters = psam.get_filter(0)[0].tolist()
    for position, column in enumerate(columns):
        raw = [row[position] for row in filters]
        mean = sum(raw) / 4
        assert column == pytest.approx([x - mean for x in raw], abs=1e-6)


def test_reported_activities_and_energies_give_the_models_aggregate(run: Path) -> None:
    """Whatever the gauge, log Z is the same: checked on one probe by hand."""
    result = result_of(run)
    energies = result["modes"][1]["energies"]
    activities = result["experiments"][0]["rounds"][1]["log_activities"]
    probe = "ACGTTAATGC"
    other = probe[::-1].translate(str.maketrans("ACGT", "TGCA"))
    affinity = torch.tensor(0.0, dtype=torch.float64)
    for strand in (probe, other):
        for start in range(len(probe) - 3):
            window = strand[start : start + 4]
            score = sum(energies[letter][i] for i, letter in enumerate(window))
            affinity += torch.tensor(score, dtype=torch.float64).exp()
    expected = torch.logaddexp(
        torch.tensor(activities["NS"]) + torch.tensor(len(probe)).log(),
        torch.tensor(activities["a"]) + affinity.log(),
    )
    _, built = open_run(run)
    selected = built.experiments[0].rounds["1"]
    with torch.no_grad():
        found = selected.log_aggregate(DNA().encode([probe]))
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


PAIRS_AND_DIMER = """\
[experiment]
table = "counts.tsv"
rounds = ["initial", { kind = "bound", train_concentration = true }]
[[modes]]
name = "a"
size = 3
pairwise_distance = 1
[[modes]]
name = "b"
size = 4
pairwise_distance = 2
hill = true
train_bias = true
[[dimers]]
modes = ["a", "b"]
max_overlap = 1
hill = true
[optimizer]
optimizer = "Adam"
arguments = { lr = 0.2 }
epochs = 5
"""


def reported_windows(mode: dict, strand: str) -> list[float]:
    """Σ of reported letter and pair energies in every window of a strand."""
    size, scores = mode["size"], []
    for start in range(len(strand) - size + 1):
        letters = ["ACGT".index(x) for x in strand[start : start + size]]
        score = sum(mode["energies"]["ACGT"[x]][i] for i, x in enumerate(letters))
        for i, x in enumerate(letters):
            for j in range(i + 1, min(size, i + mode["pairwise_distance"] + 1)):
                score += mode["pairs"][f"{i + 1}-{j + 1}-{4 * x + letters[j]}"]
        scores.append(score)
    return scores


def test_reported_pairs_and_dimers_give_the_models_aggregate(
    command: Command, experiment: Path
) -> None:
    """What result.json says is the whole model, whatever the gauge: log Z by hand."""
    (experiment / "fit.toml").write_text(PAIRS_AND_DIMER)
    assert command("fit", "fit.toml", "-q", "-o", "pairs").code == 0
    result = result_of(experiment / "pairs")
    modes = {each["name"]: each for each in result["modes"]}
    (dimer,) = result["dimers"]
    settings = result["experiments"][0]
    selected = settings["rounds"][1]
    alphas = selected["log_activities"]
    hills = {k: math.exp(x["log_hill"]) for k, x in settings["bindings"].items()}
    assert abs(modes["b"]["pairs"]["1-3-0"]) > 0.01
    assert hills["b"] != 1 != hills["a-b"]
    probe = "TTAATGACGT"
    reverse = probe[::-1].translate(str.maketrans("ACGT", "TGCA"))
    windows = {
        # places are those of the forward strand
        name: {
            "+": reported_windows(modes[name], probe),
            "-": reported_windows(modes[name], reverse)[::-1],
        }
        for name in "ab"
    }
    terms = [alphas["NS"] + math.log(len(probe))]
    for name in "ab":
        terms += [
            alphas[name] + hills[name] * x
            for row in windows[name].values()
            for x in row
        ]
    for strands, row in dimer["log_omega"].items():
        for m, x in enumerate(windows["a"][strands[0]]):
            for n, y in enumerate(windows["b"][strands[1]]):
                omega = row[dimer["offsets"].index(n - m)]
                if omega is not None:
                    terms.append(alphas["a-b"] + hills["a-b"] * (omega + x + y))
    expected = selected["log_target_concentration"] + math.log(
        sum(map(math.exp, terms))
    )
    printed = command("score", "pairs", "--what", "log_z", stdin=probe).out
    assert float(printed.split()[-1]) == pytest.approx(expected, abs=1e-4)


def test_resolved_configuration_fits_again_to_the_same_result(
    command: Command, run: Path
) -> None:
    config = (run / "config.toml").read_text()
    assert tomllib.loads(config)["experiments"][0]["table"] == ["../counts.tsv"]
    Path("deep").mkdir()
    assert command("fit", run / "config.toml", "-o", "deep/again", "-q").code == 0
    again = Path("deep/again")
    table = tomllib.loads((again / "config.toml").read_text())["experiments"][0][
        "table"
    ]
    assert table == ["../../counts.tsv"]
    first, second = result_of(run), result_of(again)
    for key in ("modes", "experiments", "loss_per_read", "tables"):
        del first["experiments"][0]["tables"][:], second["experiments"][0]["tables"][:]
        assert first[key] == second[key]


def test_seed_decides(command: Command, run: Path) -> None:
    assert command("fit", "fit.toml", "-o", "other", "-q", "--seed", "5").code == 0
    other = result_of(Path("other"))
    assert other["seed"] == 5
    assert other["modes"] != result_of(run)["modes"]


def test_quiet_prints_nothing(command: Command, experiment: Path) -> None:
    assert (experiment / "fit.toml").exists()
    done = command("fit", "fit.toml", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_plain_lines_and_a_summary_where_there_is_no_terminal(
    command: Command, experiment: Path
) -> None:
    done = command("fit", "fit.toml")
    assert "\x1b" not in done.err
    lines = done.err.splitlines()
    assert lines
    assert all(" step " in line for line in lines)
    assert all("loss" in line or "edit changes nothing" in line for line in lines)
    assert len(lines) == len(set(lines))
    for word in ("Modes", "non-specific", "Log activities in", "Loss per read", "Time"):
        assert word in done.out
    assert f"Files in fit.run: {', '.join(sorted(FILES))}".split(":")[0] in done.out
    assert set(listing(experiment / "fit.run")) == FILES


def test_output_of_the_configuration_is_relative_to_it(
    command: Command, experiment: Path
) -> None:
    Path("sub").mkdir()
    text = 'output = "here"\n' + MINIMAL.replace("counts.tsv", "../counts.tsv")
    (experiment / "sub/fit.toml").write_text(text)
    assert command("fit", "sub/fit.toml", "-q").code == 0
    assert set(listing(experiment / "sub/here")) == FILES


def test_gzip_and_parquet_tables_give_the_same_fit(command: Command, run: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    Path("counts.tsv.gz").write_bytes(gzipped(table_text()))
    frame = pandas.read_csv("counts.tsv", sep="\t", header=None)
    frame.rename(columns=str).to_parquet("counts.parquet", index=False)
    for name in ("counts.tsv.gz", "counts.parquet"):
        Path("fit.toml").write_text(MINIMAL.replace("counts.tsv", name))
        assert command("fit", "fit.toml", "-o", name + ".run", "-q").code == 0
        assert result_of(Path(name + ".run"))["modes"] == result_of(run)["modes"]


def test_several_tables_are_columns_side_by_side(command: Command, run: Path) -> None:
    rows = [line.split("\t") for line in table_text().splitlines()]
    for number in (1, 2):
        text = "".join(f"{row[0]}\t{row[number]}\n" for row in rows)
        Path(f"r{number}.tsv").write_text(text)
    tables = '["r1.tsv", "r2.tsv"]'
    Path("fit.toml").write_text(MINIMAL.replace('"counts.tsv"', tables))
    assert command("fit", "fit.toml", "-o", "joined", "-q").code == 0
    assert result_of(Path("joined"))["modes"] == result_of(run)["modes"]


def test_held_out_probes_decide_and_are_reported(
    command: Command, experiment: Path
) -> None:
    text = MINIMAL + "[optimizer]\nvalidation_fraction = 0.2\n"
    (experiment / "fit.toml").write_text(text)
    assert command("fit", "fit.toml", "-q").code == 0
    result = result_of(experiment / "fit.run")
    assert result["tables"][0]["probes"] == 40
    events = (experiment / "fit.run/log.jsonl").read_text().splitlines()
    losses = [json.loads(x) for x in events]
    last = [each for each in losses if each["binding"] == losses[-1]["binding"]]
    best = min(each["val_loss"] for each in last if "ended" not in each)
    assert result["loss_per_read"]["held_out"] == pytest.approx(best, abs=1e-6)


EVERY_PROCEDURE = """\
[loss]
pseudocount = 1
lambda_l1 = 1e-5
[optimizer]
procedure = "simultaneous"
optimizer = "Adam"
arguments = { lr = 0.05 }
batch_size = 20
epochs = 3
dtype = "float64"
threads = 1
device = "cpu"
"""


def test_settings_reach_the_optimizer(command: Command, experiment: Path) -> None:
    (experiment / "fit.toml").write_text(MINIMAL + EVERY_PROCEDURE)
    done = command("fit", "fit.toml")
    assert done.code == 0
    log = (experiment / "fit.run/log.txt").read_text()
    events = (experiment / "fit.run/log.jsonl").read_text().splitlines()
    assert [json.loads(x)["epoch"] for x in events] == [0, 1, 2, 3, 3]
    assert json.loads(events[-1])["ended"] == "budget: 3 epochs"
    assert "epoch" in log
    state = torch.load(experiment / "fit.run/model.pt", weights_only=True)["state_dict"]
    floating = [x for x in state.values() if isinstance(x, torch.Tensor)]
    assert {x.dtype for x in floating if x.is_floating_point()} == {torch.float64}


EVERYTHING = """\
seed = 3
alphabet = "DNA"

[[experiments]]
name = "first"
table = "counts.tsv"
left_flank = "GTTCAGAGTTC"
right_flank = "CCAGCTGTCGT"
flank_length = 3
max_flank_length = 5
rounds = ["initial", { kind = "bound", target_concentration = 2.0 }]

[[experiments]]
name = "second"
table = "kdseq.tsv"
left_flank = "ACGTA"
right_flank = "ACGTA"
flank_length = 3

[[experiments.rounds]]
kind = "initial"
name = "input"
[[experiments.rounds]]
kind = "rho_gamma"
name = "hidden"
observed = false
modes = ["NS", "b"]
dimers = []
[[experiments.rounds]]
kind = "bound"
name = "bound"
library_concentration = 3.0
train_concentration = true
[[experiments.rounds]]
kind = "unbound"
name = "unbound"
reference = "hidden"
shares = "bound"

[[modes]]
name = "a"
size = 4
flank_length = 2
seed = "TA"
pairwise_distance = 1
hill = true
position_bias = { mode = "same", bin = 2 }
increment_footprint = true
max_size = 5

[[modes]]
name = "b"
size = 4
symmetry = "palindrome"
position_bias = true

[[modes]]
name = "c"
size = 3
score_reverse = true
train = false
consensus = "GCA"

[[dimers]]
modes = ["b", "c"]
name = "bc"
max_overlap = 1
max_spacing = 3
order = "positive"
normalize = true
position_bias = { bin = 3 }
hill = true

[loss]
pseudocount = 2
weights = [1, 0.5]
exclude_regularization = "log_posbias"

[optimizer]
optimizer = "Adam"
arguments = { lr = 0.1 }
epochs = 2
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of part, on two tables, one of them of many lengths."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "counts.tsv").write_text(table_text())
    rows = [line.split("\t") for line in table_text(n_rounds=3).splitlines()]
    shortened = ["\t".join([r[0][: 7 + i % 4], *r[1:]]) for i, r in enumerate(rows)]
    (folder / "kdseq.tsv").write_text("\n".join(shortened) + "\n")
    (folder / "fit.toml").write_text(EVERYTHING)
    assert (
        run_fit(FitOptions(folder / "fit.toml", folder / "all", None, True, False)) == 0
    )
    return folder / "all"


def test_every_part_is_fitted_reported_and_read_back(
    command: Command, everything: Path
) -> None:
    result = result_of(everything)
    assert [each["name"] for each in result["modes"]] == ["NS", "a", "b", "c"]
    assert result["modes"][2]["symmetry"] == [1, 2, -2, -1]
    assert result["modes"][1]["pairs"]
    dimer = result["dimers"][0]
    values = [x for row in dimer["log_omega"].values() for x in row if x is not None]
    assert max(values) == 0
    assert any(x is None for row in dimer["log_omega"].values() for x in row)
    second = result["experiments"][1]
    assert [each["observed"] for each in second["rounds"]] == [True, False, True, True]
    shared = [second["rounds"][i]["log_activities"] for i in (2, 3)]
    assert shared[0] == shared[1]
    assert set(second["rounds"][1]["log_activities"]) == {"NS", "b"}
    assert {"rho", "gamma"} <= second["rounds"][1].keys()
    assert second["bindings"]["a"]["position_bias"] is not None
    done = command("score", everything, "--experiment", "second", stdin="ACGTACGTA\n")
    assert done.code == 0
    assert done.out.splitlines()[0].split("\t")[1:] == ["NS", "a", "b", "c", "bc"]


def test_fixed_energies_stay(everything: Path) -> None:
    energies = result_of(everything)["modes"][3]["energies"]
    best = [max(energies, key=lambda letter: energies[letter][i]) for i in range(3)]
    assert best == ["G", "C", "A"]
    assert energies["G"][0] - energies["A"][0] == pytest.approx(2.0)


def test_modes_score_their_own_flanks(everything: Path) -> None:
    _, built = open_run(everything)
    modes = {
        name: each
        for name, each in built.experiments[0].bindings.items()
        if isinstance(each, Mode)
    }
    assert {each.max_input_length for each in modes.values()} == {16}
    seen = {name: each.chain[-1].max_input_length for name, each in modes.items()}
    assert seen == {"NS": 16, "a": 14, "b": 16, "c": 16}


def test_consensus_is_capital_where_strong_and_a_dot_where_weak() -> None:
    # letters A, C, G, T at five positions
    columns = [
        [5, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 1.5, 0, 0],
        [5, 0, 5, 0],
        [2, 0, 2, 0],
    ]
    energies = [list(row) for row in zip(*columns, strict=True)]
    assert consensus(energies, DNA()) == "A.cRr"


def test_a_fit_without_a_finite_loss_is_an_error(
    command: Command, experiment: Path
) -> None:
    betas = 'betas = { "1-0" = -900.0 }\n'
    (experiment / "fit.toml").write_text(MINIMAL + betas)
    done = command("fit", "fit.toml", "-o", "run", "--quiet")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("error: no fit has a finite loss: the penalty of ")
    assert line.endswith("start from smaller values, or raise exponential_bound")
    assert not (experiment / "run" / "result.json").exists()
