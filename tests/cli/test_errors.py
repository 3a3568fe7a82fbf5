"""Errors from a fit to its result, to a file, and to the scores of sequences."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.cli._sequences import Record
from pyprobound.cli._simulate import run_simulate
from pyprobound.config import make_tables, read_counts
from pyprobound.run_directory import open_errors, open_run
from pyprobound.scoring._trained import SCORES, Scorer, make_scorer
from pyprobound.uncertainty import NORMAL_95, Uncertainty
from tests.cli.cases import LEFT, RIGHT, Command

TRUTH = """\
[experiment]
name = "kd"
[[experiment.rounds]]
kind = "initial"
[[experiment.rounds]]
kind = "bound"
target_concentration = 10.0
library_concentration = 8.0
log_activities = { NS = -6.5, a = -2.0 }
[[experiment.rounds]]
kind = "unbound"
reference = "0"
shares = "1"
[[modes]]
name = "a"
size = 3
energies = { A = [0, -2, -2], C = [-2, -2, 0], G = [-2, 0, -1], T = [-1, -2, -2] }
shift_footprint_heuristic = false
[simulate]
n_probes = 200
length = 8
reads = 30000
"""
DIMER = f"""\
[experiment]
left_flank = "{LEFT}"
right_flank = "{RIGHT}"
flank_length = 1
[[experiment.rounds]]
kind = "initial"
[[experiment.rounds]]
kind = "bound"
log_activities = {{ NS = -3.0, a = -2.0, b = -2.0, a-b = -1.0 }}
[[modes]]
name = "a"
consensus = "TA"
[[modes]]
name = "b"
consensus = "GC"
hill = true
[[dimers]]
modes = ["a", "b"]
max_overlap = 0
max_spacing = 2
normalize = NORMALIZE
hill = true
spacing = [
  {{ offset = 2, log_omega = 1.0 }},
  {{ offset = 3, log_omega = -0.5 }},
  {{ offset = -2, orientation = "opposite", log_omega = 0.5 }},
]
[optimizer]
dtype = "float64"
[simulate]
n_probes = 150
length = 7
reads = 30000
"""


@pytest.fixture(scope="module")
def kd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a fit to a simulated Kd-seq, not to be changed."""
    folder = tmp_path_factory.mktemp("kd")
    (folder / "truth.toml").write_text(TRUTH)
    run_simulate(folder / "truth.toml", folder / "simulated", None, force=False)
    source = folder / "simulated" / "config.toml"
    options = FitOptions(source, folder / "run", None, quiet=True, force=False)
    assert run_fit(options) == 0
    return folder / "run"


def uncertainty_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))["uncertainty"]


def table_of(out: str) -> tuple[list[str], dict[str, list[float]]]:
    head, *rows = (line.split("\t") for line in out.splitlines())
    return head[1:], {row[0]: [float(x) for x in row[1:]] for row in rows}


def test_result_has_values_errors_and_intervals(kd_run: Path) -> None:
    result = json.loads((kd_run / "result.json").read_text(encoding="utf-8"))
    found = result["uncertainty"]
    assert found["dispersion"]["kd"] == pytest.approx(1, abs=0.3)
    assert found["unidentified_directions"] == 3  # a mean for each position
    energies = result["modes"][1]["energies"]
    for letter, row in found["modes"][0]["energies"].items():
        assert row["value"] == pytest.approx(energies[letter], abs=1e-5)
        for value, error, low, high in zip(
            row["value"], row["error"], row["low"], row["high"], strict=True
        ):
            assert error > 0
            assert low == pytest.approx(value - NORMAL_95 * error)
            assert high == pytest.approx(value + NORMAL_95 * error)
    bound = found["experiments"][0]["rounds"][1]
    activities = result["experiments"][0]["rounds"][1]["log_activities"]
    for name, estimate in bound["log_activities"].items():
        assert estimate["value"] == pytest.approx(activities[name], abs=1e-5)
        assert "note" not in estimate


def test_intervals_of_a_simulated_kd_seq_hold_the_truth(kd_run: Path) -> None:
    """Within four standard errors: a fixed seed, and it cannot be far."""
    found = uncertainty_of(kd_run)
    truth = [[0, -2, -2], [-2, -2, 0], [-2, 0, -1], [-1, -2, -2]]
    true_kd = None
    for letter, row in zip("ACGT", truth, strict=True):
        estimate = found["modes"][0]["energies"][letter]
        for position, (value, error) in enumerate(
            zip(estimate["value"], estimate["error"], strict=True)
        ):
            mean = sum(each[position] for each in truth) / 4
            assert abs(value - (row[position] - mean)) < 4 * error
    kd_seq = found["experiments"][0]["kd_seq"]
    assert kd_seq["libraries"] == {"input": 0, "bound": 1, "unbound": 2}
    free = math.exp(kd_seq["log_free_protein"]["value"])
    assert 2 < free < 10
    # K_D = [P]_F / ([P]_T α) of the best site, whose energy is 0
    true_kd = math.log(free) - math.log(10) + 2.0
    site = kd_seq["log_kd_of_best_site"]["a"]
    assert abs(site["value"] - true_kd) < 4 * site["error"]


def test_what_is_not_identified_is_said_in_words(run: Path) -> None:
    rounds = uncertainty_of(run)["experiments"][0]["rounds"]
    activity = rounds[1]["log_activities"]["a"]
    assert activity["error"] is activity["low"] is activity["high"] is None
    assert activity["note"] == "not identified"


def test_summary_shows_errors(command: Command, experiment: Path) -> None:
    (experiment / "truth.toml").write_text(TRUTH)
    assert command("simulate", "truth.toml", "-o", "simulated").code == 0
    shown = command("fit", "simulated/config.toml", "-o", "kd")
    assert shown.code == 0
    for text in ("letters ±", " ± ", "Free protein in kd: ", "K_D of the best site"):
        assert text in shown.out
    assert "Dispersion of the counts: " in shown.out


def test_errors_can_be_switched_off(
    command: Command, kd_run: Path, folder: Path
) -> None:
    plain = command("fit", kd_run / "config.toml", "-o", "plain", "--no-errors")
    assert plain.code == 0
    assert "±" not in plain.out
    assert uncertainty_of(folder / "plain") == {"skipped": "switched off"}
    assert not (folder / "plain" / "errors.npz").exists()
    config = (kd_run / "config.toml").read_text().replace("errors = true", "")
    config = config.replace("[optimizer]", "[optimizer]\nerrors = false")
    config = config.replace("../simulated", str(kd_run.parent / "simulated"))
    (folder / "off.toml").write_text(config)
    assert command("fit", "off.toml", "-o", "off").code == 0
    assert uncertainty_of(folder / "off") == {"skipped": "switched off"}
    done = command("score", "plain", "--errors", stdin="ACGTACGT\n")
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: plain/errors.npz: no such file")
    assert done.err.count("\n") == 1


def test_fits_of_other_files_have_no_errors(command: Command, folder: Path) -> None:
    (folder / "fit.json").write_text("{}")
    done = command("fit", "fit.json", "--errors")
    assert done.code == 2
    assert done.err == "error: --errors is for a CONFIG.toml, not fit.json\n"


def test_a_run_gives_the_errors_that_its_tables_give(kd_run: Path) -> None:
    document, built = open_run(kd_run)
    train, _ = make_tables(document, read_counts(document))
    saved = open_errors(kd_run, built)
    built.loss.double()
    fresh = Uncertainty(built.loss, train)
    torch.testing.assert_close(saved.covariance, fresh.covariance)
    assert saved.dispersion == pytest.approx(fresh.dispersion)


def test_scores_have_errors_and_intervals(command: Command, kd_run: Path) -> None:
    sequences = ["TTAGCTT", "ACGACGTTTAGC", "AGC"]
    words = ["--what", "scores", "--what", "log_z"]
    text = "\n".join(sequences)
    done = command("score", kd_run, "--errors", *words, stdin=text)
    head, rows = table_of(done.out)
    assert head[4:8] == ["a", "a:se", "a:low95", "a:high95"]
    assert done.err == ""
    plain_head, plain = table_of(command("score", kd_run, *words, stdin=text).out)
    assert head[::4] == plain_head
    _, built = open_run(kd_run)
    errors = open_errors(kd_run, built)
    mode = built.experiments[0].bindings["a"]
    selected = built.experiments[0].rounds["1"]
    for sequence, row in rows.items():
        assert row[::4] == pytest.approx(plain[sequence], rel=1e-6)
        codes = built.alphabet.encode([sequence])
        expected = errors.of(lambda c=codes: mode(c) - errors.moved_constant(mode))
        assert row[5] == pytest.approx(expected.error.item(), rel=1e-4)
        log_z = errors.of(lambda c=codes: selected.log_aggregate(c))
        at = head.index("log_z:1")
        assert row[at + 1] == pytest.approx(log_z.error.item(), rel=1e-4)
        assert row[at + 2] == pytest.approx(row[at] - NORMAL_95 * row[at + 1], rel=1e-5)
        assert row[at + 3] == pytest.approx(row[at] + NORMAL_95 * row[at + 1], rel=1e-5)


def test_a_reference_gives_differences(command: Command, kd_run: Path) -> None:
    text = "TTAGCTT\nACGACGTTTAGC\n"
    plain_head, plain = table_of(command("score", kd_run, stdin=text).out)
    words = ["--reference", "TTAGCTT"]
    head, rows = table_of(command("score", kd_run, *words, stdin=text).out)
    assert head == plain_head
    first, second = plain.values()
    difference = [y - x for x, y in zip(first, second, strict=True)]
    assert rows["TTAGCTT"] == [0.0, 0.0]
    assert rows["ACGACGTTTAGC"] == pytest.approx(difference, abs=1e-5)
    done = command("score", kd_run, *words, "--errors", stdin=text)
    _, found = table_of(done.out)
    assert found["TTAGCTT"] == [0.0] * 8
    assert found["ACGACGTTTAGC"][4] == pytest.approx(difference[1], abs=1e-5)
    assert found["ACGACGTTTAGC"][5] > 0
    bad = command("score", kd_run, "--reference", "TTXX", stdin=text)
    assert bad.code == 2
    assert bad.err.startswith("error: --reference: 'TTXX': ")
    assert bad.out == ""


def test_columns_that_are_not_identified_are_named(command: Command, run: Path) -> None:
    done = command("score", run, "--errors", "--what", "log_z", stdin="ACGTTAATGC\n")
    assert done.code == 0
    assert done.err == (
        "warning: not identified by the data: log_z:1; --reference SEQ prints"
        " differences\n"
    )
    _, rows = table_of(done.out)
    assert all(map(math.isnan, rows["ACGTTAATGC"][1:]))


def slopes_by_differences(
    scorer: Scorer, errors: Uncertainty, chunk: Sequence[Record], directions: Tensor
) -> Tensor:
    """Return the derivatives of scores, without their gauge, along directions.

    Returns:
        (sequences, columns, directions).
    """
    start, step, slopes = errors.free.get(), 1e-5, []
    for direction in directions:
        ends = []
        for sign in (1, -1):
            errors.free.set(start + sign * step * direction)
            with torch.no_grad():
                gauge = [*map(errors.moved_constant, scorer.trained.bindings.values())]
            ends.append(scorer.values(chunk, [SCORES]) - torch.stack(gauge))
        slopes.append((ends[0] - ends[1]) / (2 * step))
    errors.free.set(start)
    return torch.stack(slopes, -1)


@pytest.mark.parametrize(("normalize", "as_probes"), [("true", False), ("false", True)])
def test_dimers_of_other_lengths_have_the_slopes_of_the_trained_one(
    folder: Path, normalize: str, as_probes: bool
) -> None:
    (folder / "truth.toml").write_text(DIMER.replace("NORMALIZE", normalize))
    run_simulate(Path("truth.toml"), Path("run"), None, force=False)
    document, built = open_run(Path("run"))
    tables, _ = make_tables(document, read_counts(document))
    for name, value in (("b", 0.1), ("a-b", -0.2)):
        built.experiments[0].bindings[name].log_hill.data.fill_(value)
    errors = Uncertainty(built.loss, tables, largest_error=math.inf)
    scorer = make_scorer(document, built, None, as_probes=as_probes)
    texts = ["ACGTTAATGCCA", "GATTACA"]
    chunk = [Record(text, text, "test") for text in texts]
    torch.manual_seed(0)
    directions = torch.randn(5, len(errors.free), dtype=torch.float64)
    expected = slopes_by_differences(scorer, errors, chunk, directions)
    for index, rows in enumerate(scorer.rows(chunk, [SCORES], errors)):
        found = rows.jacobian @ directions.T
        torch.testing.assert_close(found, expected[:, index], rtol=1e-5, atol=1e-6)
