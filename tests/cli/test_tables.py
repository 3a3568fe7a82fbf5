"""The tables of a fit: read a piece at a time, the same as those of a frame."""

from pathlib import Path

import pytest
import torch

from pyprobound import table as table_module
from pyprobound.alphabets import DNA
from pyprobound.config import make_tables, read_config, read_counts, resolve
from pyprobound.table import CountTable, get_dataframe, sample_dataframe
from tests.cli.cases import MINIMAL, Command, gzipped, table_text

HELD_OUT = "[optimizer]\nvalidation_fraction = 0.3\n"


def tables_of(config: Path) -> tuple[list[CountTable], list[CountTable] | None]:
    document = read_config(config)
    counts = read_counts(document)
    return make_tables(resolve(document, [each.probes for each in counts]), counts)


def test_one_file_never_becomes_a_frame(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = CountTable(get_dataframe("counts.tsv"), DNA())

    def refused(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(table_module, "get_dataframe", refused)
    (table,), held_out = tables_of(experiment / "fit.toml")
    assert held_out is None
    assert torch.equal(table.seqs, expected.seqs)
    assert torch.equal(table.target, expected.target)


def test_held_out_probes_are_those_of_a_frame(experiment: Path) -> None:
    Path("counts.tsv.gz").write_bytes(gzipped(table_text(80)))
    text = MINIMAL.replace("counts.tsv", "counts.tsv.gz") + HELD_OUT
    (experiment / "fit.toml").write_text(text)
    train, held_out = tables_of(experiment / "fit.toml")
    assert held_out is not None
    parts = sample_dataframe(get_dataframe("counts.tsv.gz"), 0.3, 0)
    for table, frame in zip((held_out[0], train[0]), parts, strict=True):
        assert len(table) == len(frame)
        assert [DNA().decode(row) for row in table.seqs] == frame.index.tolist()
        assert table.target.tolist() == frame.to_numpy().tolist()


def test_a_table_that_repeats_a_probe_is_fitted_with_a_warning(
    command: Command, experiment: Path
) -> None:
    first = table_text().splitlines()[0]
    with (experiment / "counts.tsv").open("a") as file:
        file.write(f"{first}\n")
    done = command("fit", "fit.toml", "-q")
    assert done.code == 0
    assert "1 rows repeat an earlier probe; their counts are summed" in done.err


@pytest.mark.parametrize("names", [["counts.tsv"], ["counts.tsv", "more.tsv"]])
def test_an_unknown_letter_names_its_file_once(
    command: Command, experiment: Path, names: list[str]
) -> None:
    lines = table_text().splitlines()
    lines[7] = "ACGTXACGTA\t1\t2"
    (experiment / "counts.tsv").write_text("\n".join(lines))
    (experiment / "more.tsv").write_text("ACGTAAAAAA\t1\n")
    shown = str(names).replace("'", '"')
    (experiment / "fit.toml").write_text(MINIMAL.replace('"counts.tsv"', shown))
    done = command("fit", "fit.toml", "-q")
    assert done.code == 2
    assert done.err.count("counts.tsv") == 1
    assert "letter 'X' at position 4 (from 0) of sequence 7" in done.err
    assert len(done.err.splitlines()) == 1


def test_an_empty_text_to_transliterate_is_refused_with_its_place(
    command: Command, experiment: Path
) -> None:
    text = MINIMAL.replace("table =", 'transliterate = {"" = "A"}\ntable =')
    (experiment / "fit.toml").write_text(text)
    done = command("fit", "fit.toml", "-q")
    assert done.code == 2
    assert "fit.toml" in done.err
    assert "transliterate" in done.err
