"""The sections on binding modes: what letters are worth, where motifs bind."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from pyprobound.config import ModeSection
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.page._content import (
    Block,
    Cell,
    Column,
    Facts,
    Picture,
    Prose,
    Section,
    Table,
)
from pyprobound.page._figures import attempted, side_by_side
from pyprobound.page._numbers import (
    counted,
    estimate_cell,
    factor_cell,
    listed,
    significant,
)
from pyprobound.page._render import anchor
from pyprobound.page._run import Numbers, Run
from pyprobound.page._sites import relative, single_mutants, spelled, strongest
from pyprobound.plotting import logo, posbias, svg
from pyprobound.uncertainty import NOT_IDENTIFIED

_N_SITES = 12
_PER_POSITION = 0.5
"""Inches of a logo for each position."""
_NARROWEST, _WIDEST = 3.4, 7.2


def modes_section(run: Run) -> Section | None:
    """Return the section on binding modes; None if there is no motif."""
    sections = [
        _mode_section(run, name, spec)
        for name, spec in run.built.specs.modes.items()
        if isinstance(spec, PSAM)
    ]
    if not sections:
        return None
    blocks: list[Block] = []
    if run.errors is None:
        blocks.append(Prose(f"There are no standard errors: {run.no_errors}.", True))
    return Section("modes", "Binding modes", blocks, sections)


def _mode_section(run: Run, name: str, psam: PSAM) -> Section:
    blocks: list[Block] = [
        _facts(run, name, psam),
        attempted("The logo", lambda: _logo(run, name, psam)),
    ]
    blocks += [_ratios(run, psam), _sites(run, psam), *_biases(run, name)]
    blocks.append(_energies(run, name))
    return Section(anchor("mode", name), name, blocks)


def _logo(run: Run, name: str, psam: PSAM) -> Picture:
    """Draw the energies as letters."""
    width = min(_WIDEST, max(_NARROWEST, 0.9 + _PER_POSITION * psam.kernel_size))
    figure = logo(psam, width=width, errors=run.errors)
    caption = (
        "Energies −ΔΔG/RT by position; what stands above the line binds better than the"
        " mean of its position."
    )
    if run.errors is not None:
        caption += " Bars are 95% intervals; pale letters are not identified."
    if psam.pairwise_distance:
        caption += " Below, what pairs of letters add."
    return Picture(
        anchor("logo", name),
        f"Energy logo of {name}",
        svg(figure),
        caption,
        described_motif(run, psam, name),
    )


def section_of(run: Run, name: str) -> ModeSection | None:
    """Return the configuration of a mode."""
    return next((x for x in run.document.config.modes if x.name == name), None)


def numbers_of_mode(run: Run, name: str) -> Numbers:
    """Return the parameters of a mode."""
    found: Numbers = next(x for x in run.numbers["modes"] if x["name"] == name)
    return found


def words_of_symmetry(psam: PSAM) -> str:
    """Return what ties the positions of a motif, in words; empty if nothing does."""
    symmetry = list(psam.symmetry)
    size = len(symmetry)
    if len({abs(x) for x in symmetry if x}) == size:
        return ""
    if all(symmetry[i] == -symmetry[size - 1 - i] for i in range(size)):
        return "reverse-complement palindrome"
    return f"positions tied as {', '.join(map(str, symmetry))}"


def _facts(run: Run, name: str, psam: PSAM) -> Facts:
    numbers = numbers_of_mode(run, name)
    consensus = numbers["consensus"]
    shown = [f"{consensus}"]
    if psam.score_reverse:
        shown.append("binds either strand")
    entries: list[tuple[str, Sequence[str]]] = [
        ("Consensus", [shown[0] + (f"  ({shown[1]})" if shown[1:] else "")]),
        ("Footprint", [counted(psam.kernel_size, "position")]),
    ]
    symmetry = words_of_symmetry(psam)
    if symmetry:
        entries.append(("Symmetry", [symmetry]))
    if psam.pairwise_distance:
        reach = psam.pairwise_distance
        text = "neighbouring positions"
        if reach > 1:
            text = f"positions up to {reach} apart"
        entries.append(("Letter pairs", [f"of {text}"]))
    if run.errors is not None:
        known = run.errors.letters(psam).error.flatten()
        missing = int(known.isnan().sum())
        known = known[~known.isnan()]
        if len(known):
            text = f"median ± {significant(float(known.median()), 2)}, largest ± "
            text += f"{significant(float(known.max()), 2)} RT"
            if missing:
                text += f"; {counted(missing, 'letter')} {NOT_IDENTIFIED}"
            entries.append(("Letter energies", [text]))
    partners = [
        str(each.name) for each in run.document.config.dimers if name in each.modes
    ]
    if partners:
        entries.append(("Takes part in", [listed(partners)]))
    return Facts(entries)


def _ratios(run: Run, psam: PSAM) -> Table:
    """Return how many times weaker each single mutant of the best site binds."""
    alphabet = run.built.alphabet
    mutants = single_mutants(psam)
    size, n_letters = mutants.shape[:2]
    found = relative(psam, mutants.flatten(0, 1), run.errors)
    values = found.value.view(size, n_letters)
    errors = found.error.view(size, n_letters)
    best = strongest(psam, 1)[0].tolist()
    has_errors = run.errors is not None
    rows = []
    for position in range(size):
        letter = alphabet.alphabet[best[position]]
        cells = [Cell(f"{position + 1} {letter}", position)]
        for letter in range(n_letters):
            value, error = values[position, letter], errors[position, letter]
            cells.append(
                Cell("1", 1.0, mark=True)
                if letter == best[position]
                else factor_cell(-float(value), float(error), has_errors=has_errors)
            )
        rows.append(cells)
    interval = ", below it the 95% interval" if has_errors else ""
    return Table(
        f"Relative affinity of {psam.name}: K_D of each single mutant of the strongest"
        f" site, as a multiple of that site's{interval}",
        [
            Column("Best letter"),
            *(Column(letter) for letter in alphabet.alphabet),
        ],
        rows,
    )


def _sites(run: Run, psam: PSAM) -> Table:
    alphabet = run.built.alphabet
    codes = strongest(psam, _N_SITES)
    found = relative(psam, codes, run.errors)
    rows = []
    for site, value, error in zip(
        codes, found.value.tolist(), found.error.tolist(), strict=True
    ):
        cells = [Cell(spelled(site, alphabet))]
        if psam.score_reverse:
            cells.append(Cell(_reverse(spelled(site, alphabet), run)))
        shown = factor_cell(value, error, has_errors=run.errors is not None)
        cells.append(replace(shown, detail=""))
        if run.errors is not None:
            cells.append(Cell(shown.detail or "–", shown.order))
        rows.append(cells)
    other = [Column("Other strand", is_number=False)] if psam.score_reverse else []
    return Table(
        f"Strongest sites of {psam.name}: affinity relative to the best",
        [
            Column("Site", is_number=False),
            *other,
            Column("Relative affinity"),
            *([] if run.errors is None else [Column("95% interval")]),
        ],
        rows,
    )


def _biases(run: Run, name: str) -> list[Block]:
    """Draw the position bias of a mode in each experiment in which it has one."""
    found = []
    sections = run.document.config.experiments
    for section, each in zip(sections, run.built.experiments, strict=True):
        mode = each.bindings.get(name)
        if not isinstance(mode, Mode) or not _is_biased(mode):
            continue
        flanks = section.left_flank_length or 0, section.right_flank_length or 0
        draw = partial(_bias, run, name, mode, str(section.name), flanks)
        found.append(attempted("The position bias", draw))
    return side_by_side(found)


def _is_biased(mode: Mode) -> bool:
    last = mode.chain[-1]
    return isinstance(last, Conv0d | Conv1d) and last.train_posbias


def _bias(
    run: Run, name: str, mode: Mode, experiment: str, flanks: tuple[int, int]
) -> Picture:
    figure = posbias(mode, errors=run.errors, flanks=flanks)
    caption = (
        f"How much better {name} binds at a position of the probes of {experiment} than"
        " its letters say, as a natural logarithm."
    )
    if run.errors is not None:
        caption += " Bands are 95% intervals."
    return Picture(
        anchor("position-bias", name, experiment),
        f"Position bias of {name} in {experiment}",
        svg(figure),
        caption,
        _described_bias(mode),
    )


def _described_bias(mode: Mode) -> str:
    last = mode.chain[-1]
    assert isinstance(last, Conv0d | Conv1d)
    bias = last.log_posbias.detach()
    spread = math.exp(float(bias.max() - bias.min()))
    return (
        f"From the worst to the best position it changes {significant(spread, 2)}-fold."
    )


def _reverse(site: str, run: Run) -> str:
    """Return a site as the other strand reads it: letter i pairs with letter −1 − i."""
    letters = list(run.built.alphabet.alphabet)
    length = len(letters[0])
    parts = [site[i : i + length] for i in range(0, len(site), length)]
    paired = dict(zip(letters, reversed(letters), strict=True))
    return "".join(paired[part] for part in reversed(parts))


def _energies(run: Run, name: str) -> Table:
    numbers = numbers_of_mode(run, name)
    energies = numbers["energies"]
    errors = None
    if run.uncertainty is not None:
        known = next(x for x in run.uncertainty["modes"] if x["name"] == name)
        errors = known["energies"]
    rows = []
    for position in range(numbers["size"]):
        cells = [Cell(f"{position + 1}", position)]
        for letter, values in energies.items():
            error = None if errors is None else errors[letter]["error"][position]
            cells.append(
                estimate_cell(values[position], error, has_errors=errors is not None)
            )
        rows.append(cells)
    plus = "" if errors is None else " ± standard error"
    return Table(
        f"Energies −ΔΔG/RT of {name}, mean 0 at each position{plus}",
        [Column("Position"), *(Column(letter) for letter in energies)],
        rows,
    )


@torch.no_grad()
def described_motif(run: Run, psam: PSAM, name: str) -> str:
    """Return what a motif says, in words, for those who do not see its logo."""
    mutants = single_mutants(psam)
    size, n_letters = mutants.shape[:2]
    found = relative(psam, mutants.flatten(0, 1), None).value.view(size, n_letters)
    spread = found.min(1).values
    strong = int(spread.argmin())
    fold = math.exp(-float(spread[strong]))
    best = spelled(strongest(psam, 1)[0], run.built.alphabet)
    return (
        f"{name} binds {best} best; position {strong + 1} matters most: its worst"
        f" letter weakens binding {significant(fold, 2)} times."
    )
