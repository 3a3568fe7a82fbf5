"""Scores of sequences agree with plain Python, and with the model on its own table."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pyprobound.alphabets import DNA
from pyprobound.base import Binding
from pyprobound.cli import _columns, _score
from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.config import BuiltModel
from pyprobound.cooperativity import Cooperativity
from pyprobound.layers import PSAM
from pyprobound.rounds import Round
from pyprobound.run_directory import open_run
from pyprobound.table import CountTable, get_dataframe
from tests.cli.cases import (
    LEFT,
    MINIMAL,
    RIGHT,
    Command,
    gzipped,
    random_probes,
    table_text,
)

COMPLEMENT = str.maketrans("ACGT", "TGCA")
SEQUENCES = ["ACGTTAATGC", "ATTA", "TTTTAATCCCGATTACAGATTACA", "ACGTACGTACGTAC"]


def table_of(out: str) -> dict[str, dict[str, float]]:
    """Read what was printed: {name: {column: value}}."""
    head, *rows = (line.split("\t") for line in out.splitlines())
    return {
        row[0]: {k: float(x) for k, x in zip(head[1:], row[1:], strict=True)}
        for row in rows
    }


def window_scores(psam: PSAM, sequence: str) -> list[list[float]]:
    """Σ β of every window, on either strand, by plain Python."""
    filters = psam.get_filter(0).double().tolist()
    index = "ACGT".index
    return [
        [
            sum(matrix[index(sequence[x + i])][i] for i in range(psam.kernel_size))
            for x in range(len(sequence) - psam.kernel_size + 1)
        ]
        for matrix in filters
    ]


def log_sum_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(x - top) for x in values))


def psam_of(built: BuiltModel, name: str) -> PSAM:
    psam = built.specs.modes[name]
    assert isinstance(psam, PSAM)
    return psam


def test_scores_of_sequences_agree_with_plain_python(
    command: Command, run: Path
) -> None:
    done = command("score", run, stdin="\n".join(SEQUENCES))
    assert done.code == 0
    _, built = open_run(run)
    for sequence, row in table_of(done.out).items():
        strands = window_scores(psam_of(built, "a"), sequence)
        expected = log_sum_exp([x for strand in strands for x in strand])
        assert row["a"] == pytest.approx(expected, abs=1e-5)
        assert row["NS"] == pytest.approx(math.log(len(sequence)), abs=1e-5)
    assert list(table_of(done.out)) == SEQUENCES


def test_log_z_and_enrichment_follow_from_scores_and_activities(
    command: Command, run: Path
) -> None:
    words = [x for each in ("scores", "log_z", "enrichment") for x in ("--what", each)]
    done = command("score", run, *words, stdin="\n".join(SEQUENCES))
    _, built = open_run(run)
    selected = built.experiments[0].rounds["1"]
    assert isinstance(selected, Round)
    ns, a = (part.log_activity.item() for part in selected.aggregate.components())
    for row in table_of(done.out).values():
        expected = log_sum_exp([ns + row["NS"], a + row["a"]])
        assert row["log_z:1"] == pytest.approx(expected, abs=1e-5)
        assert row["enrichment:1"] == pytest.approx(expected, abs=1e-5)


def test_both_strands_of_a_sequence_score_alike(command: Command, run: Path) -> None:
    reverse = [each[::-1].translate(COMPLEMENT) for each in SEQUENCES]
    forward, backward = (
        table_of(command("score", run, stdin="\n".join(each)).out)
        for each in (SEQUENCES, reverse)
    )
    for one, other in zip(forward.values(), backward.values(), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_fasta_lines_tsv_and_gzip_are_read_alike(command: Command, run: Path) -> None:
    fasta = "".join(f">s{i} x\n{x[:3]}\n{x[3:]}\n\n" for i, x in enumerate(SEQUENCES))
    lines = "\n".join(SEQUENCES)
    tsv = "".join(f"{each}\t{i}\n" for i, each in enumerate(SEQUENCES))
    Path("seqs.fa.gz").write_bytes(gzipped(fasta))
    Path("seqs.tsv").write_text(tsv)
    expected = table_of(command("score", run, stdin=lines).out)
    outputs = [
        command("score", run, "seqs.fa.gz").out,
        command("score", run, stdin=gzipped(fasta)).out,
        command("score", run, "seqs.tsv").out,
        command("score", run / "model.pt", "-", stdin=tsv.replace("\n", "\r\n")).out,
    ]
    for out in outputs:
        assert list(table_of(out).values()) == list(expected.values())
    assert list(table_of(outputs[0])) == ["s0", "s1", "s2", "s3"]
    assert outputs[0].startswith("name\tNS\ta\n")
    assert outputs[2].startswith("sequence\tNS\ta\n")


def test_small_letters_are_read_when_asked(command: Command, run: Path) -> None:
    assert command("score", run, stdin="acgtTAAT\n").code == 2
    small = table_of(command("score", run, "--upper", stdin="acgtTAAT\n").out)
    large = table_of(command("score", run, stdin="ACGTTAAT\n").out)
    assert list(small.values()) == list(large.values())


def test_chunks_do_not_change_scores(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(
        probe[: 4 + i % 20] for i, probe in enumerate(random_probes(60, 24))
    )
    whole = command("score", run, stdin=text).out
    monkeypatch.setattr(_score, "_LETTERS_AT_ONCE", 50)
    small = command("score", run, stdin=text).out
    monkeypatch.setattr(_columns, "_RECORDS_AT_ONCE", 1)
    single = command("score", run, stdin=text).out
    for other in (small, single):
        for one, two in zip(
            table_of(whole).items(), table_of(other).items(), strict=True
        ):
            assert one[0] == two[0]
            assert one[1] == pytest.approx(two[1], abs=1e-5)


def test_scores_go_to_a_file(command: Command, run: Path) -> None:
    printed = command("score", run, stdin="ACGTTAAT\n")
    done = command("score", run, "-o", "scores.tsv", stdin="ACGTTAAT\n")
    assert (done.code, done.out) == (0, "")
    assert Path("scores.tsv").read_text() == printed.out


def test_reader_that_goes_away_is_no_error(run: Path) -> None:
    Path("many.txt").write_text("ACGTACGTAC\n" * 40000)
    script = "import sys; from pyprobound.cli import main; main()"
    words = [sys.executable, "-c", script, "score", str(run), "many.txt"]
    # The reference has nothing to compile, and so nothing to announce.
    environment = os.environ | {"PYPROBOUND_BACKEND": "reference"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"sequence\tNS\ta\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# --- sequences as probes of the experiment -----------------------------------------


DIMER = f"""\
[experiment]
table = "counts.tsv"
left_flank = "{LEFT}"
right_flank = "{RIGHT}"
FLANKS
[[modes]]
name = "a"
size = 3
MODE
[[modes]]
name = "b"
size = 4
MODE
[[dimers]]
modes = ["a", "b"]
DIMER
[optimizer]
optimizer = "Adam"
arguments = {{ lr = 0.2 }}
epochs = 4
THRESHOLD
"""


def dimer_run(
    folder: Path,
    *,
    flanks: str = "",
    mode: str = "",
    dimer: str = "",
    threshold: str = "",
    shortest: int = 10,
) -> Path:
    """Fit a model with a dimer to probes of `shortest` to 10 letters."""
    rows = [line.split("\t") for line in table_text().splitlines()]
    cut = range(shortest, 11)
    shortened = [
        "\t".join([row[0][: cut[i % len(cut)]], *row[1:]]) for i, row in enumerate(rows)
    ]
    (folder / "counts.tsv").write_text("\n".join(shortened) + "\n")
    text = DIMER.replace("FLANKS", flanks).replace("MODE", mode)
    text = text.replace("DIMER", dimer).replace("THRESHOLD", threshold)
    (folder / "dimer.toml").write_text(text)
    options = FitOptions(folder / "dimer.toml", folder / "dimer", None, True, False)
    assert run_fit(options) == 0
    return folder / "dimer"


CASES = {
    "plain": {"flanks": "flank_length = 2"},
    "trimmed": {"flanks": "flank_length = 4", "mode": "flank_length = 1"},
    "lengths": {"flanks": "flank_length = 2", "shortest": 7},
    "trimmed lengths": {
        "flanks": "flank_length = 4",
        "mode": "flank_length = 1",
        "shortest": 7,
    },
    "position bias": {
        "flanks": "flank_length = 1",
        "mode": "position_bias = true",
        "dimer": "position_bias = true\nhill = true",
        "shortest": 9,
    },
    "beyond the flank": {"flanks": "left_flank_length = 14\nmax_flank_length = 20"},
    "grown": {
        "flanks": "flank_length = 1",
        "mode": "increment_flank = true\nincrement_footprint = true\nmax_size = 5",
        "threshold": "greedy_threshold = 0",
    },
    "padded": {
        "flanks": "flank_length = 1\nwildcard_pad = true",
        "shortest": 8,
    },
    "transliterated": {
        "flanks": 'transliterate = { "TAAT" = "TNNT", "CG" = "C" }',
        "shortest": 9,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_probes_score_as_the_model_scores_its_table(
    command: Command, folder: Path, case: str
) -> None:
    run = dimer_run(folder, **CASES[case])  # type: ignore[arg-type]
    done = command(
        "score",
        run,
        "counts.tsv",
        "--flanks",
        "--what",
        "scores",
        "--what",
        "enrichment",
    )
    assert (done.code, done.err) == (0, "")
    document, built = open_run(run)
    section = document.config.experiments[0]
    if case == "grown":
        assert (section.left_flank_length or 0) > 1
    table = CountTable(
        get_dataframe("counts.tsv"),
        DNA(),
        transliterate=section.transliterate,
        left_flank=LEFT,
        right_flank=RIGHT,
        left_flank_length=section.left_flank_length or 0,
        right_flank_length=section.right_flank_length or 0,
        max_left_flank_length=section.max_left_flank_length,
        max_right_flank_length=section.max_right_flank_length,
        wildcard_pad=section.wildcard_pad,
    )
    assert list(table_of(done.out)) == [
        line.split("\t")[0] for line in Path("counts.tsv").read_text().splitlines()
    ]
    printed = torch.tensor([list(row.values()) for row in table_of(done.out).values()])
    experiment = built.experiments[0]
    with torch.no_grad():
        expected = [binding(table.seqs) for binding in experiment.bindings.values()]
        expected.append(experiment.rounds["1"].log_cumulative_enrichment(table.seqs))
    torch.testing.assert_close(printed, torch.stack(expected, 1), rtol=1e-4, atol=1e-4)


def dimer_of(bindings: dict[str, Binding], name: str) -> Cooperativity:
    dimer = bindings[name]
    assert isinstance(dimer, Cooperativity)
    return dimer


@pytest.mark.parametrize("limits", ["", "normalize = true", 'order = "positive"'])
def test_dimer_scores_of_longer_sequences_agree_with_plain_python(
    command: Command, folder: Path, limits: str
) -> None:
    """Arrangements that no training probe had room for do not count."""
    run = dimer_run(folder, dimer=limits, flanks="flank_length = 1")
    sequences = [*SEQUENCES[2:], "ACGTTAATGCAA", "ACGTA"]
    done = command("score", run, stdin="\n".join(sequences))
    assert (done.code, done.err) == (0, "")
    _, built = open_run(run)
    dimer = dimer_of(dict(built.experiments[0].bindings), "a-b")
    n_a, n_b = dimer.mode_a.n_windows, dimer.mode_b.n_windows
    with torch.no_grad():
        # as the model has it for the probes that it was trained on
        log_omega = dimer.spacing.get_log_spacing(n_a, n_b).tolist()
    for sequence, row in table_of(done.out).items():
        a, b = (window_scores(psam_of(built, name), sequence) for name in "ab")
        terms = [
            log_omega[i][j][n - m + n_a - 1] + a[i][m] + b[j][n]
            for i in range(2)
            for j in range(2)
            for m in range(len(a[i]))
            for n in range(len(b[j]))
            if -(n_a - 1) <= n - m <= n_b - 1
        ]
        assert row["a-b"] == pytest.approx(log_sum_exp(terms), abs=1e-4)


def test_position_bias_needs_probes_of_the_lengths_it_was_trained_for(
    command: Command, folder: Path
) -> None:
    run = dimer_run(folder, mode="position_bias = true", flanks="flank_length = 1")
    done = command("score", run, "--flanks", stdin="ACGTACGTAC\nACGTACGTACGT\n")
    assert done.err == (
        "error: standard input:2: 'ACGTACGTACGT': 14 letters with flanks, but the"
        " position bias was trained for 12 to 12; score without --flanks\n"
    )
    assert done.code == 2


def test_position_bias_that_is_left_out_is_told(command: Command, folder: Path) -> None:
    run = dimer_run(folder, mode="position_bias = true")
    done = command("score", run, stdin="ACGTACGTACGT\n")
    assert done.code == 0
    assert done.err == (
        "warning: the position bias of the experiment's probes is left out; --flanks"
        " scores sequences as such probes\n"
    )


def test_trained_in_float64_scores_in_float64(
    command: Command, experiment: Path
) -> None:
    text = MINIMAL + '[optimizer]\ndtype = "float64"\n'
    (experiment / "fit.toml").write_text(text)
    assert command("fit", "fit.toml", "-q").code == 0
    _, built = open_run(Path("fit.run"))
    assert {each.dtype for each in built.loss.parameters()} == {torch.float64}
    assert command("score", "fit.run", stdin="ACGTA\n").code == 0
