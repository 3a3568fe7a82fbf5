"""Candidates are told apart by held-out sequences; the right model wins."""

import io
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pyprobound import CountTable, Experiment, Mode, MultiExperimentLoss, Optimizer
from pyprobound.comparison import Build, Comparison, compare
from pyprobound.held_out import split_by_sequence
from pyprobound.layers import NonSpecific
from pyprobound.rounds import BoundUnsaturatedRound, InitialRound
from tests.recovery.simulated import DNA, motif, random_texts
from tests.selection.truths import build, drawn, palindromic


def names(found: Comparison) -> list[str]:
    return [row.candidate for row in found.rows]


# --- the right model wins ----------------------------------------------------------


def test_right_size_wins() -> None:
    counts = drawn([motif("TGACA", seed=1)], [0.0, 3.0])
    table = CountTable(counts, DNA)
    sizes = {f"size={size}": build(sizes=[size]) for size in (3, 5, 7)}
    found = compare(sizes, [table])
    assert found.chosen == "size=5"
    assert names(found) == ["size=3", "size=5", "size=7"]
    short, right, long = found.rows
    assert (short.parameters, right.parameters, long.parameters) == (15, 23, 31)
    assert short.difference > 3 * short.difference_error
    assert short.train_loss > right.train_loss


def test_a_palindrome_is_recognised() -> None:
    symmetries = {
        "none": build(sizes=[4]),
        "palindrome": build(sizes=[4], palindrome=True),
    }
    symmetric = CountTable(drawn([palindromic("TGCA", seed=1)], [0.0, 2.0]), DNA)
    other = CountTable(drawn([motif("TGAC", seed=1)], [0.0, 2.0]), DNA)
    found = compare(symmetries, [symmetric])
    # the motif without symmetry is as good, but has twice the parameters
    assert abs(found.rows[0].difference - found.rows[1].difference) < 1e-3
    assert found.chosen == "palindrome"
    assert compare(symmetries, [other]).chosen == "none"


def test_right_number_of_modes_wins() -> None:
    numbers = {"1": build(sizes=[4]), "2": build(sizes=[4, 4])}
    first, second = motif("TGAC", seed=1), motif("CCTT", seed=2)
    one = CountTable(drawn([first], [0.0, 2.0]), DNA)
    two = CountTable(drawn([first, second], [0.0, 2.0, 2.0]), DNA)
    assert compare(numbers, [one]).chosen == "1"
    assert compare(numbers, [two]).chosen == "2"


def test_a_dimer_wins_where_there_is_one() -> None:
    dimers = {"without": build(sizes=[4]), "with": build(sizes=[4], dimer=True)}
    energies = [motif("TGAC", seed=1)]
    alone = CountTable(drawn(energies, [0.0, 2.0]), DNA)
    together = CountTable(drawn(energies, [0.0, 0.0, 4.0], offset=5), DNA)
    assert compare(dimers, [alone]).chosen == "without"
    assert compare(dimers, [together]).chosen == "with"


# --- loss and errors ---------------------------------------------------------------


def nonspecific(log_depth: float, n_tables: int = 1) -> Build:
    """A model that is nothing but the depth of its second round."""

    def made(tables: Sequence[CountTable]) -> MultiExperimentLoss:
        experiments = []
        for table in tables:
            mode = Mode.from_nonspecific(NonSpecific(DNA, name="ns"), table)
            start = InitialRound()
            end = BoundUnsaturatedRound.from_binding([mode], start)
            (part,) = end.aggregate.components()
            experiments.append(Experiment([start, end]).double())
            with torch.no_grad():
                end.log_depth.fill_(log_depth)
                part.log_activity.fill_(-math.log(table.input_shape))
        return MultiExperimentLoss(experiments, weights=[1.0, 3.0][:n_tables])

    return made


def leave(*_: object) -> None:
    """Do not fit."""


def costs(rows: np.ndarray, log_depth: float) -> np.ndarray:
    """−Σ k log p of each row, with p the logistic shares of the two depths."""
    log_p = np.array([0.0, log_depth]) - math.log(1 + math.exp(log_depth))
    return -(rows * log_p).sum(1)


def scattered(texts: list[str], seed: int) -> CountTable:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, 8, (len(texts), 2))) + 1
    return CountTable(pd.DataFrame(counts, texts), DNA)


def test_loss_and_errors_are_those_of_plain_sums() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    depths = {"a": 0.3, "b": -0.5}
    candidates = {name: nonspecific(x) for name, x in depths.items()}
    found = compare(candidates, [table], held_out=0.4, fit=leave)
    (split,) = split_by_sequence([table], held_out=0.4)
    rows = split.held_out_tables()[0].target.double().numpy()
    n = rows.sum(1)
    cost = {name: costs(rows, x) for name, x in depths.items()}
    loss = {name: c.sum() / n.sum() for name, c in cost.items()}

    def error(c: np.ndarray) -> float:
        mean = c.sum() / n.sum()
        residuals = [x - mean * reads for x, reads in zip(c, n, strict=True)]
        size = len(residuals)
        return math.sqrt(size / (size - 1) * sum(x * x for x in residuals)) / n.sum()

    best = min(loss, key=loss.__getitem__)
    for row in found.rows:
        name = row.candidate
        assert row.held_out_loss == pytest.approx(loss[name], rel=1e-12)
        assert row.held_out_error == pytest.approx(error(cost[name]), rel=1e-9)
        apart = cost[name] - cost[best]
        assert row.difference == pytest.approx(loss[name] - loss[best], abs=1e-12)
        assert row.difference_error == pytest.approx(error(apart), abs=1e-12)
        assert row.best == (name == best)
    rest = split.train_tables()[0].target.double().numpy()
    train = costs(rest, depths["a"]).sum() / rest.sum()
    assert found.rows[0].train_loss == pytest.approx(train, rel=1e-12)


def test_error_is_that_of_drawing_the_sequences_again() -> None:
    """The linearised error of the ratio against a bootstrap of whole sequences."""
    table = scattered(random_texts(800, 6, seed=1), seed=2)
    found = compare({"a": nonspecific(0.3)}, [table], held_out=0.5, fit=leave)
    (split,) = split_by_sequence([table], held_out=0.5)
    rows = split.held_out_tables()[0].target.double().numpy()
    cost, n = costs(rows, 0.3), rows.sum(1)
    rng = np.random.default_rng(0)
    drawn_again = [rng.integers(0, len(n), len(n)) for _ in range(2000)]
    losses = [cost[i].sum() / n[i].sum() for i in drawn_again]
    assert found.rows[0].held_out_error == pytest.approx(np.std(losses), rel=0.06)


def test_a_sequence_of_two_tables_is_one_unit() -> None:
    """Two tables with the same reads say no more than one of them."""
    texts = random_texts(60, 5, seed=1)
    tables = [scattered(texts, seed=2), scattered(texts, seed=2)]
    one, two = nonspecific(0.3), nonspecific(0.3, n_tables=2)
    alone = compare({"a": one}, tables[:1], folds=4, fit=leave).rows[0]
    both = compare({"a": two}, tables, folds=4, fit=leave).rows[0]
    # the weights are 1 and 3
    assert both.held_out_loss == pytest.approx(4 * alone.held_out_loss)
    assert both.held_out_error == pytest.approx(4 * alone.held_out_error)


def test_rows_that_repeat_a_sequence_are_one_unit() -> None:
    texts = random_texts(60, 5, seed=1)
    table = scattered(texts, seed=2)
    counts = table.target.numpy()
    halves = np.concatenate([counts * 0.75, counts * 0.25])
    repeated = CountTable(pd.DataFrame(halves, texts * 2), DNA)
    rows = [
        compare({"a": nonspecific(0.3)}, [each], folds=4, fit=leave).rows[0]
        for each in (table, repeated)
    ]
    assert rows[0].held_out_error == pytest.approx(rows[1].held_out_error)


def test_folds_are_pooled() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    found = compare({"a": nonspecific(0.3)}, [table], folds=4, fit=leave)
    rows = table.target.double().numpy()
    loss = costs(rows, 0.3).sum() / rows.sum()
    assert found.rows[0].held_out_loss == pytest.approx(loss, rel=1e-12)


def test_training_and_held_out_reads_are_apart() -> None:
    """What a fit sees is what is not scored."""
    table = scattered(random_texts(50, 5, seed=1), seed=2)
    seen: list[float] = []

    def look(_: MultiExperimentLoss, tables: list[CountTable]) -> None:
        seen.append(float(tables[0].target.sum()))

    compare({"a": nonspecific(0.3)}, [table], folds=5, fit=look)
    total = float(table.target.sum())
    assert len(seen) == 5
    assert sum(total - each for each in seen) == total


# --- the rule, and what goes wrong -------------------------------------------------


def test_simplest_within_one_error_is_chosen_and_order_breaks_ties() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    same = {name: nonspecific(0.1) for name in ("second", "third")}
    found = compare({"far": nonspecific(4.0), **same}, [table], fit=leave)
    assert found.chosen == found.best == "second"
    assert [row.chosen for row in found.rows] == [False, True, False]
    assert found.rows[0].difference > found.rows[0].difference_error > 0
    assert found.frame().loc[1, "candidate"] == "second"


def test_a_candidate_that_fails_is_listed() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    sofar: list[Comparison] = []
    candidates = {"too long": build(sizes=[9]), "fits": nonspecific(0.1)}
    found = compare(candidates, [table], fit=leave, on_candidate=sofar.append)
    assert found.chosen == "fits"
    assert found.rows[0].held_out_loss is None
    assert "9" in str(found.rows[0].failure)
    assert "\n" not in str(found.rows[0].failure)
    assert [names(each) for each in sofar] == [["too long"], ["too long", "fits"]]
    assert sofar[0].chosen is None


def test_a_loss_that_is_not_finite_is_a_failure() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    found = compare({"a": nonspecific(math.inf)}, [table], fit=leave)
    assert found.rows[0].failure == "the loss of a held-out sequence is not finite"
    assert found.chosen is None
    assert found.rows[0].held_out_loss is None


def test_interruption_is_none_of_the_failures() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare({"a": nonspecific(0.1)}, [table], fit=interrupted)


def test_result_does_not_depend_on_the_candidates_before_it(tmp_path: Path) -> None:
    table = CountTable(drawn([motif("TGA", seed=1)], [0.0, 2.0], n_probes=300), DNA)

    def briefly(model: MultiExperimentLoss, tables: list[CountTable]) -> None:
        folder = tempfile.mkdtemp(dir=tmp_path)
        Optimizer(
            model,
            tables,
            epochs=1,
            optimizer=torch.optim.Adam,
            checkpoint=Path(folder) / "model.pt",
            output=io.StringIO(),
        ).train_simultaneous()

    state = torch.random.get_rng_state()
    two, three = ({str(size): build(sizes=[size])} for size in (2, 3))
    alone = compare(three, [table], fit=briefly).rows[0]
    after = compare(two | three, [table], fit=briefly).rows[1]
    assert alone.failure is None
    assert alone.held_out_loss == after.held_out_loss
    assert torch.equal(torch.random.get_rng_state(), state)


def test_flanks_that_a_model_scores_are_scored_in_the_held_out_part() -> None:
    counts = scattered(random_texts(40, 6, seed=1), seed=2).target.numpy()
    frame = pd.DataFrame(counts, random_texts(40, 6, seed=1))
    table = CountTable(frame, DNA, left_flank="ACGT", right_flank="ACGT")

    def flanked(tables: list[CountTable]) -> MultiExperimentLoss:
        tables[0].set_flank_length(2, 1)
        return nonspecific(0.3)(tables)

    found = compare({"a": flanked}, [table], folds=4, fit=leave)
    # non-specific binding depends on the length, and is 1 for that with the flanks
    loss = costs(counts, 0.3).sum() / counts.sum()
    assert found.rows[0].held_out_loss == pytest.approx(loss, rel=1e-12)
    assert table.left_flank_length == 0


def test_table_of_no_candidates_has_its_columns() -> None:
    frame = Comparison([]).frame()
    assert len(frame) == 0
    assert list(frame)[:2] == ["candidate", "parameters"]


def test_a_comparison_needs_candidates_and_tables() -> None:
    table = scattered(random_texts(60, 5, seed=1), seed=2)
    with pytest.raises(ValueError, match="at least one candidate"):
        compare({}, [table])
    with pytest.raises(ValueError, match="at least one table"):
        compare({"a": nonspecific(0.1)}, [])
