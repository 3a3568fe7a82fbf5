"""The sections on dimers: in which arrangements two motifs bind together."""

import math

from pyprobound.cooperativity import Cooperativity
from pyprobound.page._content import Block, Cell, Column, Picture, Prose, Section, Table
from pyprobound.page._figures import attempted
from pyprobound.page._numbers import (
    counted,
    estimate_cell,
    factor_cell,
    plain,
    significant,
)
from pyprobound.page._render import anchor
from pyprobound.page._run import Run
from pyprobound.plotting import arrangement_map, spacing, svg
from pyprobound.plotting._arrangements import Arrangements, arrangements_of
from pyprobound.report_errors import largest_dimers

_N_BEST = 12
_ARROWS = {"+": "→", "-": "←"}


def dimers_section(run: Run) -> Section | None:
    """Return the section on dimers; None if there is none."""
    dimers = largest_dimers(run.built)
    sections = [_dimer_section(run, name, each) for name, each in dimers.items()]
    return Section("dimers", "Dimers", (), sections) if sections else None


def _dimer_section(run: Run, name: str, dimer: Cooperativity) -> Section:
    found = arrangements_of(dimer, errors=run.errors)
    ranked = _ranked(found)
    blocks: list[Block] = [Prose(f"{' and '.join(found.names)} bind together.")]
    if ranked:
        blocks = [
            Prose(_described(found)),
            attempted("The map", lambda: _map(run, name, dimer, found)),
            attempted("The profile", lambda: _profile(run, name, dimer, found)),
            _best(name, found, ranked),
        ]
    return Section(anchor("dimer", name), name, blocks)


def _ranked(found: Arrangements) -> list[tuple[int, int]]:
    """Return rows and columns of the possible arrangements, the best first."""
    places = [tuple(x) for x in found.is_possible.nonzero()]
    pairs = list(zip(*places, strict=True))
    return sorted(pairs, key=lambda place: -found.rows[place[0]].value[place[1]])


def _words(found: Arrangements, row: int, column: int) -> str:
    """Return an arrangement as it lies on the probe: exd → ← hox."""
    turned = found.turned[column]
    (left, right), _ = found.in_order(row, turned=turned)
    # a palindrome has no direction, hence no arrow
    arrows = (_ARROWS.get(each, "") for each in found.arrows(row, turned=turned))
    return " ".join(word for word in (left, *arrows, right) if word)


def _apart(found: Arrangements, column: int) -> str:
    if found.gaps is None:
        return f"offset {found.offsets[column]}"
    gap = found.gaps[column]
    if gap < 0:
        return f"overlapping by {counted(-gap, 'letter')}"
    return f"{counted(gap, 'letter')} apart"


def _map(run: Run, name: str, dimer: Cooperativity, found: Arrangements) -> Picture:
    caption = (
        "ω of every orientation (arrows point along each motif, left to right) and"
        " distance, as the natural logarithm relative to the best."
    )
    if run.errors is not None:
        caption += " Small numbers are half of a 95% interval."
    return Picture(
        anchor("arrangements", name),
        f"Arrangements of {name}",
        svg(arrangement_map(dimer, errors=run.errors)),
        caption,
        _described(found),
    )


def _profile(run: Run, name: str, dimer: Cooperativity, found: Arrangements) -> Picture:
    caption = "The same by the offset of the motifs, in a colour for each orientation."
    if run.errors is not None:
        caption += " Bars are 95% intervals; hollow points are not identified."
    return Picture(
        anchor("spacing", name),
        f"Spacing of {name}",
        svg(spacing(dimer, errors=run.errors)),
        caption,
        _described(found),
    )


def _described(found: Arrangements) -> str:
    ranked = _ranked(found)
    row, column = ranked[0]
    text = f"Best is {_words(found, row, column)}, {_apart(found, column)}"
    if len(ranked) > 1:
        second = ranked[1]
        best, other = (float(found.rows[i].value[j]) for i, j in (ranked[0], second))
        text += (
            f"; {significant(math.exp(best - other), 2)} times weaker is"
            f" {_words(found, *second)}, {_apart(found, second[1])}"
        )
    return f"{text}."


def _best(name: str, found: Arrangements, ranked: list[tuple[int, int]]) -> Table:
    rows = []
    for row, column in ranked[:_N_BEST]:
        value = float(found.rows[row].value[column])
        error = float(found.rows[row].error[column])
        gap = found.offsets[column] if found.gaps is None else found.gaps[column]
        is_reference = (row, column) == found.reference
        known = 0.0 if is_reference else None if math.isnan(error) else error
        rows.append(
            [
                Cell(_words(found, row, column)),
                Cell(plain(gap, 0), gap),
                estimate_cell(value, known, has_errors=found.has_errors),
                factor_cell(
                    value, 0.0 if is_reference else error, has_errors=found.has_errors
                ),
            ]
        )
    shown = f"{len(rows)} best of {len(ranked)} arrangements"
    if len(rows) == len(ranked):
        shown = counted(len(ranked), "arrangement")
    return Table(
        f"{shown} of {name}, relative to the reference",
        [
            Column("From left to right", is_number=False),
            Column("Offset" if found.gaps is None else "Letters between"),
            Column("log ω", "natural log"),
            Column("ω", "95% interval" if found.has_errors else ""),
        ],
        rows,
    )
