"""Tables that files of ProBound name: reads, folds, other folders."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pyprobound.errors import InputError
from pyprobound.probound import Document, Trained, build, read, start_values, train

PROBES = ["ACGTAC", "CCCTGG", "GATTAC", "TTGTCA"]


def document_of(folder: Path, **table: Any) -> Document:
    """Return a configuration of one mode and one table."""
    settings = {
        "countTableFile": "probes.tsv.gz",
        "inputFileType": "tsv.gz",
        "nColumns": 2,
        "variableRegionLength": 6,
        "leftFlank": "GAA",
        "rightFlank": "TTC",
    }
    functions = [
        {"function": "addTable"} | settings | table,
        {"function": "addSELEX"},
        {"function": "addNS"},
        {"function": "addBindingMode", "size": 3},
        {"function": "optimizerSetting", "lambdaL2": 1e-3},
    ]
    (folder / "config.json").write_text(json.dumps(functions))
    return read(folder / "config.json")


def write_gzip(path: Path, lines: list[str]) -> None:
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")


def write_table(folder: Path) -> None:
    lines = [f"{probe}\t{3 + i}\t{9 - i}" for i, probe in enumerate(PROBES)]
    write_gzip(folder / "probes.tsv.gz", lines)


def test_reads_between_the_flanks_are_counted(tmp_path: Path) -> None:
    first = [f"@1\nTTGAA{PROBES[1]}TTCAA\n+\nIIIII", f"GAA{PROBES[0]}TTC"]
    (tmp_path / "r0.fastq").write_text("\n".join([*first, "GAACCTTC", "NNNN"]))
    write_gzip(tmp_path / "r1.fastq.gz", [f"GAA{PROBES[1]}TTC"] * 3)
    document = document_of(
        tmp_path, countTableFile="r0.fastq,r1.fastq.gz", inputFileType="fastq"
    )
    (table,) = build(document, start_values(document)).read_tables()
    codes = table.alphabet.encode(sorted(PROBES[:2]))
    assert table.seqs.equal(codes)
    assert table.target.tolist() == [[1, 0], [1, 3]]


def test_a_file_without_a_probe_is_named(tmp_path: Path) -> None:
    for name in ("r0.fastq", "r1.fastq"):
        (tmp_path / name).write_text("ACGT\n")
    document = document_of(
        tmp_path, countTableFile="r0.fastq,r1.fastq", inputFileType="fastq"
    )
    with pytest.raises(InputError, match=r"r0\.fastq: no line has a probe"):
        build(document, start_values(document)).read_tables()


def test_folds_are_held_out(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_gzip(tmp_path / "probes.folds.gz", ["0", "1", "2", "1"])
    document = document_of(tmp_path, testFolds=[1])
    model = build(document, start_values(document))
    (kept,), (held_out,) = model.read_tables(), model.read_tables(part="test")
    assert kept.seqs.equal(kept.alphabet.encode([PROBES[0], PROBES[2]]))
    assert held_out.seqs.equal(kept.alphabet.encode([PROBES[1], PROBES[3]]))
    assert model.loss.reads == [float(kept.target.sum())]
    steps: list[Trained] = []
    train(document, procedure="probound", on_step=steps.append)
    found = [step.held_out for step in steps]
    assert all(each is not None and each[0] > 0 for each in found)
    assert found[0] != found[-1]


@pytest.mark.parametrize(
    ("folds", "rule"),
    [
        (["0", "1"], "has not one whole number for each of the 4 probes"),
        (["0", "1", "x", "1"], "has not one whole number"),
        (["1", "1", "1", "1"], "leave no probe to train"),
        (None, "cannot be read"),
    ],
)
def test_folds_that_do_not_fit_are_refused(
    tmp_path: Path, folds: list[str] | None, rule: str
) -> None:
    write_table(tmp_path)
    if folds is not None:
        write_gzip(tmp_path / "probes.folds.gz", folds)
    document = document_of(tmp_path, testFolds=[1])
    with pytest.raises(InputError, match=rf"probes\.folds\.gz: .*{rule}"):
        build(document, start_values(document)).read_tables()


def test_tables_without_folds_have_none_held_out(tmp_path: Path) -> None:
    write_table(tmp_path)
    document = document_of(tmp_path)
    steps: list[Trained] = []
    train(document, on_step=steps.append)
    assert [each.held_out for each in steps] == [None] * len(steps)
