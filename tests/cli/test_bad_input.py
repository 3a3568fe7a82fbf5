"""Bad input is one line that says what, where and what to do: exit code 2, no files."""

import re
import shutil
from pathlib import Path

import pytest

from pyprobound.base import read_checkpoint
from tests.cli.cases import (
    LEFT,
    MINIMAL,
    Command,
    Done,
    gzipped,
    listing,
    table_text,
)

ROW = "ACGTACGTAC\t1\t2\n"


def assert_refused(done: Done, line: str) -> None:
    assert done.err == f"error: {line}\n"
    assert (done.code, done.out) == (2, "")


def refused(command: Command, folder: Path, line: str, *words: str) -> None:
    """Check that a fit is refused with one line and leaves the folder as it was."""
    before = listing(folder)
    done = command("fit", "fit.toml", *words)
    assert_refused(done, line)
    assert listing(folder) == before
    assert not (folder / "fit.run").exists()


# --- tables ------------------------------------------------------------------------


def test_missing_configuration(command: Command, folder: Path) -> None:
    refused(command, folder, "fit.toml: no such file")


def test_missing_table(command: Command, experiment: Path) -> None:
    (experiment / "counts.tsv").unlink()
    line = "fit.toml:2: experiment.table: counts.tsv: no such file"
    refused(command, experiment, line)


def test_folder_for_a_table(command: Command, experiment: Path) -> None:
    (experiment / "counts.tsv").unlink()
    (experiment / "counts.tsv").mkdir()
    line = "fit.toml:2: experiment.table: counts.tsv: is a folder, not a file"
    refused(command, experiment, line)


BAD_TABLES = {
    "empty": (
        "",
        "counts.tsv: the file is empty; expected probe<TAB>count<TAB>… in each line",
    ),
    "ragged": (
        ROW + "ACGTACGTAA\t1\t2\t3\n",
        "counts.tsv: line 2: 4 columns where the first line has 3",
    ),
    "ragged, fewer columns": (
        ROW + "ACGTACGTAA\t1\n",
        "counts.tsv: line 2: 2 columns where the first line has 3",
    ),
    "negative": (
        ROW + "ACGTACGTAA\t1\t-2\n",
        "counts.tsv: line 2: column 3 is '-2', a negative count",
    ),
    "fractional": (
        ROW + "ACGTACGTAA\t0.5\t2\n",
        "counts.tsv: line 2: column 2 is '0.5', not a whole number",
    ),
    "not a number": (
        ROW + "ACGTACGTAA\tx\t2\n",
        "counts.tsv: line 2: column 2 is 'x', not a count",
    ),
    "header": (
        "probe\tr0\tr1\n" + ROW,
        (
            "counts.tsv: line 1: column 2 is 'r0', not a count"
            " (a header line is not expected)"
        ),
    ),
    "no counts": (
        "ACGTACGTAC\n",
        (
            "counts.tsv: line 1: 'ACGTACGTAC' has no count column after a tab (a header"
            " line is not expected)"
        ),
    ),
    "unknown letter": (
        ROW + "ACGTXCGTAA\t1\t2\n",
        (
            "counts.tsv: letter 'X' at position 4 (from 0) of sequence 1 'ACGTXCGTAA'"
            " is not in the alphabet ACGT (codes *-RYSWKMBDHVN)"
        ),
    ),
    "small letters": (
        "acgtacgtac\t1\t2\n",
        (
            "counts.tsv: letter 'a' at position 0 (from 0) of 'acgtacgtac' is not in"
            " the alphabet ACGT (codes *-RYSWKMBDHVN), but its capital is"
        ),
    ),
    "shorter than the motif": (
        "ACG\t1\t2\nACGTACGTAA\t2\t1\n",
        (
            "fit.toml:8: modes[0].size: kernel_size 4 exceeds the shortest read (3);"
            " score at least 1 flank letters more, or drop shorter reads"
        ),
    ),
    "one round": (
        "ACGTACGTAC\t1\nACGTACGTAA\t2\n",
        (
            "fit.toml:1: experiment.rounds: only 1 round with counts; a fit needs at"
            " least two, such as an initial library and a selected one"
        ),
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_table(command: Command, experiment: Path, name: str) -> None:
    text, line = BAD_TABLES[name]
    (experiment / "counts.tsv").write_text(text)
    refused(command, experiment, line)


def test_truncated_gzip(command: Command, experiment: Path) -> None:
    (experiment / "counts.tsv").write_bytes(gzipped(table_text())[:-20])
    done = command("fit", "fit.toml")
    pattern = r"error: counts\.tsv: cannot be read \(.*\)\n"
    assert re.fullmatch(pattern, done.err)
    assert done.code == 2


def test_duplicate_probes_are_summed_with_a_warning(
    command: Command, experiment: Path
) -> None:
    (experiment / "counts.tsv").write_text(table_text() + "ACGTACGTAC\t1\t2\n" * 2)
    done = command("fit", "fit.toml")
    warning = "counts.tsv: 1 rows repeat an earlier probe; their counts are summed"
    assert f"warning: {warning}\n" in done.err
    assert done.code == 0


def test_table_that_a_checksum_does_not_fit(command: Command, experiment: Path) -> None:
    text = MINIMAL.replace("left_flank", 'sha256 = "0123"\nleft_flank')
    (experiment / "fit.toml").write_text(text)
    line = (
        "fit.toml:3: experiment.sha256: another table than the one of this checksum;"
        " remove it to use this one"
    )
    refused(command, experiment, line)


# --- configurations ----------------------------------------------------------------


# What is written instead of, or below, the minimal configuration, and the error.
BAD_CONFIGS = {
    "syntax": (
        MINIMAL.replace("size = 4", "size 4"),
        "fit.toml:8: Expected '=' after a key in a key/value pair",
    ),
    "open end": (
        MINIMAL + "[loss",
        "fit.toml:9: Expected ']' at the end of a table declaration",
    ),
    "unknown key": (
        MINIMAL.replace("size = 4", "sise = 4"),
        "fit.toml:8: modes[0].sise: unknown key; did you mean size?",
    ),
    "unknown section": (
        MINIMAL + "[optimiser]\nepochs = 3\n",
        "fit.toml:9: optimiser: unknown key; did you mean optimizer?",
    ),
    "nothing alike": (
        MINIMAL + "[loss]\nxyzzy = 3\n",
        (
            "fit.toml:10: loss.xyzzy: unknown key; known are lambda_l2, lambda_l1,"
            " pseudocount, exponential_bound, full_loss, dilute_regularization,"
            " exclude_regularization, equalize_contribution, weights, max_split"
        ),
    ),
    "first error of several": (
        MINIMAL.replace("size = 4", "size = 0").replace("left_flank", "left_flnk"),
        "fit.toml:3: experiment.left_flnk: unknown key; did you mean left_flank?",
    ),
    "wrong type": (
        MINIMAL.replace("size = 4", 'size = "4"'),
        "fit.toml:8: modes[0].size: input should be a valid integer, not '4'",
    ),
    "out of bounds": (
        MINIMAL.replace("size = 4", "size = 0"),
        "fit.toml:8: modes[0].size: input should be greater than or equal to 1, not 0",
    ),
    "no size": (
        MINIMAL.replace("size = 4\n", ""),
        "fit.toml:6: modes[0].size: missing; give the number of positions of the motif",
    ),
    "no experiment": (
        "[[modes]]\nsize = 4\n",
        "fit.toml:1: there is no [experiment]; give its table and flanks",
    ),
    "no table": (
        "[experiment]\n",
        "fit.toml:1: experiment.table: missing; name the file with the counts",
    ),
    "both forms": (
        MINIMAL + "[[experiments]]\n",
        (
            "fit.toml:1: experiment: give one [experiment] or several [[experiments]],"
            " not both"
        ),
    ),
    "unknown letter in a flank": (
        MINIMAL.replace(LEFT, "ACGU"),
        (
            "fit.toml:3: experiment.left_flank: letter 'U' at position 3 (from 0) of"
            " 'ACGU' is not in the alphabet ACGT (codes *-RYSWKMBDHVN)"
        ),
    ),
    "short flank": (
        MINIMAL + "flank_length = 12\n",
        (
            "fit.toml:3: experiment.left_flank: 12 letters are to be scored, but the"
            " left_flank has 11; give more of it, or max_flank_length to score '*'"
        ),
    ),
    "flank of a mode": (
        MINIMAL.replace("[[", "flank_length = 1\n[[") + "flank_length = 3\n",
        (
            "fit.toml:6: experiment.flank_length: left: 1 is less than the flank_length"
            " 3 of a mode"
        ),
    ),
    "too few rounds": (
        MINIMAL.replace("[[", 'rounds = ["initial", "bound", "bound"]\n[['),
        (
            "fit.toml:6: experiment.rounds: 3 observed rounds, but the table has 2"
            " columns of counts; give a round for each (observed = false where there is"
            " none)"
        ),
    ),
    "one round of two columns": (
        MINIMAL.replace("[[", 'rounds = ["initial"]\n[['),
        (
            "fit.toml:6: experiment.rounds: 1 observed rounds, but the table has 2"
            " columns of counts; give a round for each (observed = false where there is"
            " none)"
        ),
    ),
    "unknown kind of round": (
        MINIMAL.replace("[[", 'rounds = ["initial", "bond"]\n[['),
        (
            "fit.toml:6: experiment.rounds[1]: input should be 'initial', 'bound',"
            " 'bound_unsaturated', 'unbound', 'rho_gamma' or 'exponential', not 'bond'"
        ),
    ),
    "unknown reference": (
        MINIMAL.replace("[[", 'rounds = ["initial", {kind="bound",reference="x"}]\n[['),
        (
            "fit.toml:6: experiment.rounds[1].reference: no earlier round 'x'; there"
            " are '0'"
        ),
    ),
    "unobserved and unreferenced": (
        MINIMAL.replace(
            "[[",
            'rounds = ["initial", {kind = "bound", reference = 0},'
            ' {kind = "bound", observed = false}]\n[[',
        ),
        (
            "fit.toml:6: experiment.rounds[2]: no round has the unobserved round '2' as"
            " its reference"
        ),
    ),
    "all depths trained": (
        MINIMAL.replace(
            "[[", 'rounds = [{kind="bound",train_depth=true}, "bound"]\n[['
        ),
        (
            "fit.toml:6: experiment.rounds: all sequencing depths are trained, but only"
            " their ratios matter; give one observed round train_depth=False, or begin"
            " with an InitialRound"
        ),
    ),
    "mode that no round uses": (
        MINIMAL.replace("[[", 'modes = ["NS", "a"]\n[[') + "[[modes]]\nsize = 3\n",
        (
            "fit.toml:10: modes[1]: no round uses the mode 'mode1'; name it in one, or"
            " remove it"
        ),
    ),
    "dimer that no round uses": (
        MINIMAL.replace("[[", "dimers = []\n[[") + '[[dimers]]\nmodes = ["a", "a"]\n',
        (
            "fit.toml:10: dimers[0]: no round uses the dimer 'a-a'; name it in one, or"
            " remove it"
        ),
    ),
    "unknown mode in an experiment": (
        MINIMAL.replace("[[", 'modes = ["NS", "b"]\n[['),
        "fit.toml:6: experiment.modes[1]: there is no 'b'; known are 'NS', 'a'",
    ),
    "nothing binds": (
        MINIMAL.replace("[[", 'rounds = ["initial", {kind="bound",modes=[]}]\n[['),
        (
            "fit.toml:6: experiment.rounds[1]: nothing binds in this round; give modes"
            " or dimers"
        ),
    ),
    "name taken": (
        MINIMAL + '[[modes]]\nname = "NS"\nsize = 3\n',
        (
            "fit.toml:10: modes[1].name: 'NS' is taken; each mode, dimer and experiment"
            " has its own name"
        ),
    ),
    "dimer of an unknown mode": (
        MINIMAL + '[[dimers]]\nmodes = ["a", "b"]\n',
        "fit.toml:10: dimers[0].modes[1]: 'b' is no motif of [[modes]]; there are 'a'",
    ),
    "dimer of unlike flanks": (
        MINIMAL
        + 'flank_length = 2\n[[modes]]\nname = "b"\nsize = 3\n'
        + '[[dimers]]\nmodes = ["a", "b"]\n',
        (
            "fit.toml:14: dimers[0].modes: the modes of a dimer score the same flank"
            " letters, but flank_length is 2 and not given"
        ),
    ),
    "odd palindrome": (
        MINIMAL.replace("size = 4", 'size = 5\nsymmetry = "palindrome"'),
        (
            "fit.toml:9: modes[0].symmetry: a palindrome has an even number of"
            " positions, not 5"
        ),
    ),
    "other word for a symmetry": (
        MINIMAL + 'symmetry = "mirror"\n',
        (
            'fit.toml:9: modes[0].symmetry: must be "palindrome" or a list of classes,'
            " such as [1, 2, -2, -1]"
        ),
    ),
    "symmetry of another size": (
        MINIMAL + "symmetry = [1, 2, -1]\n",
        (
            "fit.toml:6: modes[0]: symmetry [1, 2, -1] has 3 classes for kernel_size 4;"
            " give one per position"
        ),
    ),
    "seed too long": (
        MINIMAL + 'seed = "TAATC"\n',
        "fit.toml:9: modes[0].seed: 5 codes for 4 positions; shorten the seed",
    ),
    "seed of unknown letters": (
        MINIMAL + 'seed = "TAAX"\n',
        (
            "fit.toml:6: modes[0]: seed ['T', 'A', 'A', 'X']: 'X' is no letter or code"
            " of the alphabet"
        ),
    ),
    "energies of another size": (
        MINIMAL + "energies = { A = [0, 0], C = [0, 0], G = [0, 0], T = [0, 0] }\n",
        "fit.toml:9: modes[0].energies.A: 2 positions, but size has 4",
    ),
    "energies without a letter": (
        MINIMAL.replace("size = 4", "energies = { A = [0], C = [0], G = [0] }"),
        "fit.toml:8: modes[0].energies: the letter 'T' has no row",
    ),
    "energies against the symmetry": (
        MINIMAL.replace(
            "size = 4",
            'symmetry = "palindrome"\nconsensus = "AC"',
        ),
        "fit.toml:9: modes[0].consensus: position 1 contradicts the symmetry [1, -1]",
    ),
    "unknown beta": (
        MINIMAL + 'betas = { "9-0" = 1.0 }\n',
        "fit.toml:9: modes[0].betas.9-0: no such beta; keys look like '1-0'",
    ),
    "spacing beyond the probe": (
        MINIMAL
        + '[[dimers]]\nmodes = ["a", "a"]\nspacing = [{offset = 7, log_omega = 1}]\n',
        "fit.toml:11: dimers[0].spacing[0]: 7 is beyond the longest probe (±6)",
    ),
    "unknown optimizer": (
        MINIMAL + '[optimizer]\noptimizer = "Adm"\n',
        "fit.toml:10: optimizer.optimizer: torch.optim has no optimizer 'Adm'",
    ),
    "unknown argument of an optimizer": (
        MINIMAL + '[optimizer]\noptimizer = "Adam"\narguments = { speed = 1 }\n',
        "fit.toml:11: optimizer.arguments.speed: Adam takes no such argument",
    ),
    "arguments of no optimizer": (
        MINIMAL + "[optimizer]\narguments = { lr = 1 }\n",
        (
            "fit.toml:10: optimizer.arguments: arguments of which optimizer? name it"
            " with optimizer"
        ),
    ),
    "unknown alphabet": (
        'alphabet = "dna"\n' + MINIMAL,
        (
            "fit.toml:1: alphabet: input should be 'DNA', 'RNA', 'protein', 'codon' or"
            " 'custom', not 'dna'"
        ),
    ),
    "letter twice": (
        'alphabet = { letters = "ACGTA" }\n' + MINIMAL,
        "fit.toml:1: alphabet: letter 'A' is listed twice",
    ),
    "weights": (
        MINIMAL + "[loss]\nweights = [1, 2]\n",
        "fit.toml:9: loss: 2 weights for 1 components; give one for each",
    ),
    "everything held out": (
        MINIMAL + "[optimizer]\nvalidation_fraction = 0.001\n",
        (
            "fit.toml:10: optimizer.validation_fraction: 0.001 leaves no probe on one"
            " side; choose another fraction"
        ),
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configuration(command: Command, experiment: Path, name: str) -> None:
    text, line = BAD_CONFIGS[name]
    (experiment / "fit.toml").write_text(text)
    refused(command, experiment, line)


def test_device_that_is_not_there(command: Command, experiment: Path) -> None:
    text = MINIMAL + '[optimizer]\ndevice = "nosuch"\n'
    (experiment / "fit.toml").write_text(text)
    done = command("fit", "fit.toml")
    start = "error: fit.toml:10: optimizer.device: 'nosuch' cannot be used here ("
    assert done.err.startswith(start)
    assert (done.code, done.err.count("\n")) == (2, 1)


# --- output ------------------------------------------------------------------------


def test_file_in_place_of_the_run_directory(command: Command, experiment: Path) -> None:
    (experiment / "out").write_text("mine")
    line = "out: out is no folder; choose another one with -o"
    refused(command, experiment, line, "-o", "out")


def test_file_above_the_run_directory(command: Command, experiment: Path) -> None:
    (experiment / "out").write_text("mine")
    line = "out/below: out is no folder; choose another one with -o"
    refused(command, experiment, line, "-o", "out/below")


def test_run_directory_in_use(command: Command, experiment: Path) -> None:
    (experiment / "out").mkdir()
    (experiment / "out/notes.txt").write_text("mine")
    line = (
        "out: the folder is not empty; choose another one with -o, or replace the run"
        " in it with --force"
    )
    refused(command, experiment, line, "-o", "out")


def test_force_replaces_a_run_and_nothing_else(
    command: Command, experiment: Path
) -> None:
    (experiment / "out").mkdir()
    (experiment / "out/notes.txt").write_text("mine")
    (experiment / "out/result.json").write_text("old")
    assert command("fit", "fit.toml", "-o", "out", "--force").code == 0
    assert (experiment / "out/notes.txt").read_text() == "mine"
    assert (experiment / "out/result.json").read_text() != "old"


# --- checkpoints and sequences -----------------------------------------------------


def test_checkpoint_of_another_model(
    command: Command, experiment: Path, run: Path
) -> None:
    text = MINIMAL + '[[modes]]\nname = "b"\nsize = 3\n'
    (experiment / "fit.toml").write_text(text)
    assert command("fit", "fit.toml", "-o", "other", "--quiet").code == 0
    shutil.copy(experiment / "other/model.pt", run / "model.pt")
    done = command("score", "run", stdin="ACGTACGT\n")
    start = "error: run/model.pt: the checkpoint belongs to another model: "
    assert done.err.startswith(start)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_truncated_checkpoint(command: Command, run: Path) -> None:
    content = (run / "model.pt").read_bytes()
    for n_bytes in (0, 10, len(content) // 2, len(content) - 1):
        (run / "model.pt").write_bytes(content[:n_bytes])
        line = (
            "run/model.pt: not a readable checkpoint (cut short, or not written by"
            " save()); use another copy"
        )
        assert_refused(command("score", "run", stdin="ACGTACGT\n"), line)


def test_checkpoint_that_is_whole_is_read(run: Path) -> None:
    assert read_checkpoint(run / "model.pt")["metadata"]["flank_lengths"] == ((0, 0),)


def test_missing_run(command: Command, folder: Path) -> None:
    assert not listing(folder)
    line = "run: no such file or folder; give the folder that a fit has made"
    assert_refused(command("score", "run", stdin="ACGT\n"), line)


def test_checkpoint_without_its_run(command: Command, run: Path) -> None:
    shutil.copy(run / "model.pt", "alone.pt")
    line = "config.toml: no such file; a model is scored with its run directory"
    assert_refused(command("score", "alone.pt", stdin="ACGT\n"), line)


def test_configuration_that_is_no_runs(command: Command, run: Path) -> None:
    shutil.copy("fit.toml", run / "config.toml")
    line = (
        "run/config.toml:1: experiment: min_variable_length and max_variable_length"
        " are missing: no run's config"
    )
    assert_refused(command("score", "run", stdin="ACGT\n"), line)


BAD_SEQUENCES = {
    "nothing": ("\n\n", "standard input: holds no sequence"),
    "unknown letter": (
        "ACGTACGT\nACGUACGT\tx\n",
        (
            "standard input:2: 'ACGUACGT': letter 'U' at position 3 (from 0) of"
            " 'ACGUACGT' is not in the alphabet ACGT (codes *-RYSWKMBDHVN)"
        ),
    ),
    "unknown letter in FASTA": (
        ">one\nACGT\nACGT\n>two 2\nACGT\nAC!T\n",
        (
            "standard input:4: 'two': letter '!' at position 6 (from 0) of 'ACGTAC!T'"
            " is not in the alphabet ACGT (codes *-RYSWKMBDHVN)"
        ),
    ),
    "blank": (
        "ACGT ACGT\n",
        "standard input:1: 'ACGT ACGT': a blank at position 4",
    ),
    "too short": (
        ">long\nACGTACGT\n>short\nACG\n",
        (
            "standard input:3: 'short': 3 letters are too few for 'a', which covers 4;"
            " leave out such short sequences"
        ),
    ),
    "no letters": (
        ">long\nACGTACGT\n>none\n",
        (
            "standard input:3: 'none': 0 letters are too few for 'a', which covers 4;"
            " leave out such short sequences"
        ),
    ),
}


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_bad_sequences(command: Command, run: Path, name: str) -> None:
    text, line = BAD_SEQUENCES[name]
    assert_refused(command("score", run, stdin=text), line)


def test_missing_sequences(command: Command, run: Path) -> None:
    line = "none.fa: cannot be read (No such file or directory)"
    assert_refused(command("score", run, "none.fa"), line)


def test_truncated_sequences(command: Command, run: Path) -> None:
    Path("seqs.gz").write_bytes(gzipped("ACGTACGT\n" * 100)[:-12])
    done = command("score", run, "seqs.gz")
    assert re.fullmatch(r"error: seqs\.gz: cannot be read \(.*\)\n", done.err)
    assert done.code == 2


def test_unwritable_scores(command: Command, run: Path) -> None:
    Path("file").write_text("mine")
    before = listing(Path())
    done = command("score", run, "-o", "file/scores.tsv", stdin="ACGTACGT\n")
    line = "file/scores.tsv: cannot be written (Not a directory); choose another place"
    assert_refused(done, line)
    assert listing(Path()) == before


def test_bad_sequences_leave_no_scores(command: Command, run: Path) -> None:
    done = command("score", run, "-o", "scores.tsv", stdin="ACGTACGT\nACG\n")
    assert done.code == 2
    assert not Path("scores.tsv").exists()


def test_unknown_experiment(command: Command, run: Path) -> None:
    done = command("score", run, "--experiment", "x", stdin="ACGTACGT\n")
    assert_refused(done, "no experiment 'x'; the model has experiment0")


# --- simulations -------------------------------------------------------------------


TRUTH = """\
[experiment]
[[experiment.rounds]]
kind = "initial"
[[experiment.rounds]]
kind = "bound"
log_activities = { NS = -5, a = 0 }
[[modes]]
name = "a"
consensus = "TAAT"
[simulate]
n_probes = 20
length = 8
reads = 100
"""
BAD_TRUTHS = {
    "no settings": (
        TRUTH[: TRUTH.index("[simulate]")],
        "truth.toml:1: there is no [simulate]; give n_probes, length, reads",
    ),
    "no energies": (
        TRUTH.replace('consensus = "TAAT"', "size = 4"),
        (
            "truth.toml:7: modes[0]: a simulation needs energies, or a consensus with a"
            " scale"
        ),
    ),
    "no activity": (
        TRUTH.replace(", a = 0", ""),
        "truth.toml:6: experiment.rounds[1].log_activities: 'a' has no value; give one",
    ),
    "activity of an unknown mode": (
        TRUTH.replace(", a = 0", ", b = 0"),
        (
            "truth.toml:6: experiment.rounds[1].log_activities.b: this round holds no"
            " 'b'; it holds 'NS', 'a'"
        ),
    ),
    "one round": (
        TRUTH.replace('[[experiment.rounds]]\nkind = "initial"\n', ""),
        (
            "truth.toml:2: experiment.rounds: only 1 round with counts; a fit needs at"
            " least two, such as an initial library and a selected one"
        ),
    ),
    "too many probes": (
        TRUTH.replace("length = 8", "length = 4").replace("= 20", "= 300"),
        (
            "truth.toml:11: simulate.n_probes: there are not 300 different probes of"
            " such a length"
        ),
    ),
    "reads of other rounds": (
        TRUTH.replace("reads = 100", "reads = [1, 2, 3]"),
        "truth.toml:13: simulate.reads: 3 numbers for 2 observed rounds",
    ),
    "short probes": (
        TRUTH.replace("length = 8", "length = [8, 3]"),
        (
            "truth.toml:7: modes[0].size: kernel_size 4 exceeds the shortest read (3);"
            " score at least 1 flank letters more, or drop shorter reads"
        ),
    ),
}


@pytest.mark.parametrize("name", BAD_TRUTHS)
def test_bad_truth(command: Command, folder: Path, name: str) -> None:
    text, line = BAD_TRUTHS[name]
    (folder / "truth.toml").write_text(text)
    assert_refused(command("simulate", "truth.toml", "-o", "out"), line)
    assert set(listing(folder)) == {"truth.toml"}
