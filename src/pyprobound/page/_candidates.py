"""The section on the models that were compared before one was chosen."""

import math
from collections.abc import Sequence

from pyprobound.page._content import Block, Cell, Column, Prose, Section, Table
from pyprobound.page._numbers import count_cell, counted, plain
from pyprobound.page._run import Numbers, Run

_DIGITS = 6


def candidates_section(run: Run) -> Section | None:
    """Return the section on the candidates of a selection; None if there was none."""
    selection = run.selection
    if not selection:
        return None
    rows: Sequence[Numbers] = selection["candidates"]
    blocks: list[Block] = [Prose(_how(selection)), _table(rows)]
    failed = [each for each in rows if each["failure"]]
    blocks += [Prose(f"{x['candidate']} failed: {x['failure']}", True) for x in failed]
    left = selection.get("not_compared", [])
    if left:
        blocks.append(Prose(f"Not compared, for an interruption: {', '.join(left)}."))
    return Section("candidates", "Models that were compared", blocks)


def _how(selection: Numbers) -> str:
    folds = selection["folds"]
    held_out = f"{plain(100 * selection['held_out'], 0)}% of the sequences"
    times = "" if folds == 1 else f", in each of {folds} folds"
    text = (
        f"Each candidate was fitted without {held_out}{times}, and judged by the reads"
        " of these: the lower the loss, the better it foretells what it has not seen."
    )
    if selection["chosen"] is not None:
        text += f" Chosen is {selection['chosen']}: {selection['rule']}."
    return text


def _table(rows: Sequence[Numbers]) -> Table:
    columns = [
        Column("Candidate", is_number=False),
        Column("Parameters"),
        Column("Loss, fitted", "per read"),
        Column("Loss, held out", "per read"),
        Column("To the best", "per read"),
        Column("Time", "s"),
        Column("", is_number=False),
    ]
    return Table(
        f"{counted(len(rows), 'candidate')} with their held-out loss ± standard error",
        columns,
        [_row(each) for each in rows],
    )


def _row(row: Numbers) -> list[Cell]:
    chosen = bool(row["chosen"])
    words = [word for word in ("best", "chosen") if row[word]]
    if row["failure"]:
        words = ["failed"]
    parameters = row["parameters"]
    return [
        Cell(row["candidate"], mark=chosen),
        Cell("–", -math.inf) if parameters is None else count_cell(parameters),
        _loss(row["train_loss"], None),
        _loss(row["held_out_loss"], row["held_out_error"]),
        _loss(row["difference"], row["difference_error"]),
        Cell(plain(row["seconds"], 1), row["seconds"]),
        Cell(" and ".join(words), mark=chosen),
    ]


def _loss(value: float | None, error: float | None) -> Cell:
    if value is None:
        return Cell("–", math.inf)
    text = plain(value, _DIGITS)
    if error is not None:
        text += f" ± {plain(error, _DIGITS)}"
    return Cell(text, value)
