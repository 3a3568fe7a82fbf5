"""What a model has learned, as numbers for machines and as text for people.

Everything is reported in one gauge (`GAUGE`); only differences within it mean anything:

    β_i(letter) − mean_i            letters have mean 0 at each position
    log ω − max log ω               the best arrangement of a dimer has ω = 1
    log α + h · (what was moved)    the activities take up the constants
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from pyprobound._numerics import NEG_INF
from pyprobound.alphabets import Alphabet
from pyprobound.base import Binding
from pyprobound.config import BuiltExperiment, BuiltModel, Document
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.report_errors import (
    Json,
    arrangement_errors,
    cell,
    closing_lines,
    finite,
    largest_dimers,
    letters_text,
    present_parts,
    ratio_columns,
)
from pyprobound.rounds import BaseRound, ExponentialRound, RhoGammaRound, Round
from pyprobound.table import CountTable
from pyprobound.uncertainty import NOT_IDENTIFIED, Estimate, Uncertainty

__all__ = [
    "FORMAT",
    "GAUGE",
    "Json",
    "consensus",
    "finite",
    "letter_energies",
    "log_activities",
    "log_omega",
    "moved_constant",
    "parameters",
    "summary",
    "table_numbers",
]

FORMAT = 1
GAUGE = (
    "letter energies have mean 0 at each position; pair energies hold no single-letter "
    "content; log omega of a dimer has its largest value at 0; the activities take up "
    "the constants"
)
_STRONG = 0.9  # bits of a position that is written in capitals
_BEST = 3  # arrangements of a dimer that a summary shows
_OTHER_STRAND = str.maketrans("+-", "-+")
_WEAK = 0.25  # bits of a position that is written as '.'


# --- numbers -----------------------------------------------------------------------


def parameters(document: Document, built: BuiltModel) -> dict[str, Json]:
    """Return all parameters of a model, in the stated gauge.

    Args:
        document: The resolved configuration.
        built: The model.

    Returns:
        What `docs/formats.md` describes under result.json: gauge, modes, dimers and
        experiments. Absent (−∞) is null.
    """
    constants = {
        name: moved_constant(spec)
        for name, spec in built.specs.modes.items()
        if isinstance(spec, PSAM)
    }
    return {
        "gauge": GAUGE,
        "alphabet": list(built.alphabet.alphabet),
        "modes": [
            _psam_numbers(name, spec, built.alphabet)
            if isinstance(spec, PSAM)
            else {"name": name, "kind": "nonspecific"}
            for name, spec in built.specs.modes.items()
        ],
        "dimers": [
            _spacing_numbers(name, dimer)
            for name, dimer in largest_dimers(built).items()
        ],
        "experiments": [
            _experiment_numbers(document, index, each, constants)
            for index, each in enumerate(built.experiments)
        ],
    }


@contextmanager
def _gauge_fixed(psam: PSAM) -> Iterator[None]:
    """Fix a PSAM's gauge for a while."""
    betas, bias = psam.betas.flat().detach().clone(), psam.bias.detach().clone()
    psam.fix_gauge()
    try:
        yield
    finally:
        psam.betas.write(betas)
        with torch.no_grad():
            psam.bias.copy_(bias)


def moved_constant(psam: PSAM) -> float:
    """Return what fixing the gauge takes off every window's score."""
    with _gauge_fixed(psam):
        return psam.bias[0].item()


def letter_energies(psam: PSAM) -> list[list[float]]:
    """Return the energies (letter, position) of a PSAM, in the stated gauge."""
    with _gauge_fixed(psam), torch.no_grad():
        rows: list[list[float]] = psam.get_filter(0)[0].double().tolist()
    return rows


def _psam_numbers(name: str, psam: PSAM, alphabet: Alphabet) -> dict[str, Json]:
    energies = letter_energies(psam)
    with _gauge_fixed(psam):
        pairs = {
            key: value.item()
            for key, value in psam.betas.items()
            if key.count("-") == 2  # "<class>-<class>-<pair>"
        }
    return {
        "name": name,
        "kind": "psam",
        "size": psam.kernel_size,
        "consensus": consensus(energies, alphabet),
        "symmetry": psam.symmetry,
        "pairwise_distance": psam.pairwise_distance,
        "energies": dict(zip(alphabet.alphabet, energies, strict=True)),
        "pairs": pairs,
    }


def consensus(energies: Sequence[Sequence[float]], alphabet: Alphabet) -> str:
    """Return the code of each position: capital where strong, '.' where weak.

    A code stands for the letters that are at least half as likely as the best one.
    Information is that of softmax(energies), in bits of at most log2(letters).

    Args:
        energies: (letter, position) energies.
        alphabet: What they are energies of.
    """
    codes = []
    for column in zip(*energies, strict=True):
        top = max(column)
        weights = [math.exp(energy - top) for energy in column]
        total = sum(weights)
        chances = [weight / total for weight in weights]
        bits = math.log2(len(column)) + sum(p * math.log2(p) for p in chances if p > 0)
        letters = tuple(i for i, weight in enumerate(weights) if weight >= 0.5)
        code = (
            alphabet.get_inv_encoding.get(letters)
            or alphabet.alphabet[column.index(top)]
        )
        code = code if bits >= _STRONG else code.lower()
        codes.append("." * len(code) if bits < _WEAK else code)
    return "".join(codes)


def log_omega(dimer: Cooperativity) -> tuple[list[int], dict[str, list[float]]]:
    """Return log ω of a dimer by offset, its largest value at 0.

    Returns:
        The offsets (start of b minus start of a), and for the strands of a and b
        ("++", "-+", …) the values, −∞ where the two cannot be.
    """
    n_a, n_b = dimer.mode_a.n_windows, dimer.mode_b.n_windows
    with torch.no_grad():
        values = dimer.spacing.get_log_spacing(n_a, n_b).double()
        values = values - _largest(dimer.spacing, n_a, n_b)
    strands = "+-"[: dimer.n_strands]
    rows = {
        a + b: values[i, j].tolist()
        for i, a in enumerate(strands)
        for j, b in enumerate(strands)
    }
    return list(range(1 - n_a, n_b)), rows


def _largest(spacing: Spacing, n_a: int, n_b: int) -> float:
    with torch.no_grad():
        top: float = spacing.get_log_spacing(n_a, n_b).max().item()
    return 0.0 if top == NEG_INF else top


def _spacing_numbers(name: str, dimer: Cooperativity) -> dict[str, Json]:
    offsets, rows = log_omega(dimer)
    return {
        "name": name,
        "modes": [dimer.mode_a.name, dimer.mode_b.name],
        "offsets": offsets,
        "log_omega": {key: [finite(x) for x in row] for key, row in rows.items()},
    }


def _experiment_numbers(
    document: Document,
    index: int,
    built: BuiltExperiment,
    constants: Mapping[str, float],
) -> dict[str, Json]:
    section = document.config.experiments[index]
    return {
        "name": section.name,
        "tables": section.table,
        "bindings": {
            name: _binding_numbers(binding) for name, binding in built.bindings.items()
        },
        "rounds": [
            {"kind": each.kind, "observed": each.observed}
            | _round_numbers(built, str(each.name), constants)
            for each in section.rounds
        ],
    }


def _binding_numbers(binding: Binding) -> dict[str, Json]:
    """Return what a mode or dimer has of its own in an experiment."""
    if isinstance(binding, Cooperativity):
        biased = binding.train_posbias
        diagonals = [each.detach().tolist() for each in binding.log_posbias]
        return {
            "log_hill": binding.log_hill.item(),
            "position_bias": diagonals if biased else None,
        }
    assert isinstance(binding, Mode)
    last = binding.chain[-1]
    numbers: dict[str, Json] = {"log_hill": binding.log_hill.item()}
    numbers["position_bias"] = None
    if isinstance(last, Conv0d | Conv1d) and last.train_posbias:
        numbers["position_bias"] = last.log_posbias.detach().tolist()
    return numbers


def _round_numbers(
    built: BuiltExperiment, name: str, constants: Mapping[str, float]
) -> dict[str, Json]:
    each = built.rounds[name]
    reference = each.reference_round
    numbers: dict[str, Json] = {
        "name": name,
        "reference": None if reference is None else reference.name,
        "log_depth": each.log_depth.item(),
    }
    if isinstance(each, Round):
        concentration = each.aggregate.log_target_concentration
        numbers["log_target_concentration"] = concentration.item()
        numbers["log_activities"] = {
            key: finite(value)
            for key, value in log_activities(built, each, constants).items()
        }
    if isinstance(each, RhoGammaRound):
        numbers |= {"rho": each.rho.item(), "gamma": each.gamma.item()}
    if isinstance(each, ExponentialRound):
        numbers["delta"] = each.delta.item()
    return numbers


def log_activities(
    built: BuiltExperiment, each: BaseRound, constants: Mapping[str, float]
) -> dict[str, float]:
    """Return log α of each binding in a round, in the stated gauge; −∞ is absent."""
    if not isinstance(each, Round):
        return {}
    names = {id(binding): name for name, binding in built.bindings.items()}
    return {
        names[id(part.binding)]: part.log_activity.item()
        + _moved_to_activity(part.binding, constants)
        for part in each.aggregate.components()
    }


def _moved_to_activity(binding: Binding, constants: Mapping[str, float]) -> float:
    """Return what the stated gauge adds to a binding's log activity."""
    if isinstance(binding, Cooperativity):
        modes = binding.mode_a, binding.mode_b
        moved = sum(constants[mode.name] for mode in modes)
        n_a, n_b = (mode.n_windows for mode in modes)
        moved += _largest(binding.spacing, n_a, n_b)
        return math.exp(binding.log_hill.item()) * moved
    assert isinstance(binding, Mode)
    hill = math.exp(binding.log_hill.item())
    return hill * constants.get(binding.name, 0.0)


def table_numbers(tables: Sequence[CountTable]) -> list[Json]:
    """Return the size and the scored flanks of each table."""
    return [
        {
            "probes": len(table),
            "counts_per_round": table.counts_per_round.tolist(),
            "left_flank_length": table.left_flank_length,
            "right_flank_length": table.right_flank_length,
        }
        for table in tables
    ]


# --- text --------------------------------------------------------------------------


def summary(built: BuiltModel, errors: Uncertainty | None = None) -> str:
    """Return the motifs, dimers and activities of a model as text.

    Args:
        built: The model.
        errors: Its errors, where they are known.
    """
    parts = [
        _motif_lines(built, errors),
        _dimer_lines(built, errors),
        _activity_lines(built, errors),
        [] if errors is None else closing_lines(built, errors),
    ]
    return "\n".join(line for lines in parts for line in lines)


def _motif_lines(built: BuiltModel, errors: Uncertainty | None) -> list[str]:
    width = max(map(len, built.specs.modes), default=0)
    lines = [f"Modes (capitals: {_STRONG} bits or more, dots: less than {_WEAK})"]
    for name, spec in built.specs.modes.items():
        text = "non-specific"
        if isinstance(spec, PSAM):
            text = consensus(letter_energies(spec), built.alphabet)
            if spec.score_reverse:
                reverse = [row[::-1] for row in reversed(letter_energies(spec))]
                text += f"  (reverse: {consensus(reverse, built.alphabet)})"
            if errors is not None:
                text += f"  {letters_text(spec, errors)}"
        lines.append(f"  {name:<{width}}  {text}")
    return lines


def _dimer_lines(built: BuiltModel, errors: Uncertainty | None) -> list[str]:
    lines = []
    for name, dimer in largest_dimers(built).items():
        known = {} if errors is None else arrangement_errors(dimer, errors)
        best = []
        for value, strands, offset in _arrangements(dimer)[:_BEST]:
            shown = _omega_cell(value, known.get((strands, offset)))
            best.append(f"{strands} {offset:+d} ({shown})")
        lines.append(f"  {name}  {', '.join(best)}")
    head = "Dimers: strands and start of b minus start of a (log omega), best first"
    return [head, *lines] if lines else []


def _omega_cell(value: float, known: Estimate | None) -> str:
    if known is None:
        return f"{value:.2f}"
    if not bool(known.is_identified):
        return f"{value:.2f}, {NOT_IDENTIFIED}"
    return cell(known, 2) if float(known.error) > 0 else f"{value:.2f}"


def _arrangements(dimer: Cooperativity) -> list[tuple[float, str, int]]:
    """Return (log ω, strands, offset) of all that can be, the best first.

    An arrangement and the same one read from the other strand are listed once.
    """
    offsets, rows = log_omega(dimer)
    mirror = offsets[0] + offsets[-1]
    found: dict[tuple[str, int], float] = {}
    for strands, row in rows.items():
        for offset, value in zip(offsets, row, strict=True):
            if value == NEG_INF:
                continue
            twin = strands.translate(_OTHER_STRAND), mirror - offset
            if twin not in found:
                found[strands, offset] = value
    ranked = [(value, *place) for place, value in found.items()]
    return sorted(ranked, reverse=True)


def _activity_lines(built: BuiltModel, errors: Uncertainty | None) -> list[str]:
    constants = {
        name: moved_constant(spec)
        for name, spec in built.specs.modes.items()
        if isinstance(spec, PSAM)
    }
    lines = []
    for experiment in built.experiments:
        title = experiment.experiment.name
        columns = {
            name: _activity_cells(experiment, each, constants, errors)
            for name, each in experiment.rounds.items()
            if isinstance(each, Round)
        }
        lines.append(f"Log activities in {title}, by round")
        lines += _grid(columns)
        ratios = None if errors is None else ratio_columns(experiment, errors)
        if ratios is not None:
            lines.append(
                f"Log activities in {title}, less that of {ratios[0]}:"
                " what the data identify"
            )
            lines += _grid(ratios[1])
    return lines


def _activity_cells(
    built: BuiltExperiment,
    each: Round,
    constants: Mapping[str, float],
    errors: Uncertainty | None,
) -> dict[str, str]:
    values = log_activities(built, each, constants)
    cells = {name: _cell(value) for name, value in values.items()}
    if errors is not None:
        for name, part in present_parts(built, each).items():
            found = errors.log_activity(part)
            if bool(found.is_identified):
                cells[name] = cell(found)
    return cells


def _grid(columns: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return columns of cells by name as lines."""
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    width = max(map(len, rows), default=0)
    widths = [
        max(8, len(name), *map(len, column.values()))
        for name, column in columns.items()
    ]
    head = [f"{name:>{w}}" for name, w in zip(columns, widths, strict=True)]
    lines = [f"  {'':<{width}}  {'  '.join(head)}"]
    for row in rows:
        cells = [
            f"{column.get(row, ''):>{w}}"
            for column, w in zip(columns.values(), widths, strict=True)
        ]
        lines.append(f"  {row:<{width}}  {'  '.join(cells)}")
    return lines


def _cell(value: float) -> str:
    return "absent" if value == NEG_INF else f"{value:.3f}"
