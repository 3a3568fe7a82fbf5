"""The errors of a model, as numbers for machines and as text for people.

Both come from an `Uncertainty`, whose gauge is that of `report` and one more: position
biases have mean 0 over what the data see. What the data do not identify is said so,
in words, and has no number.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias, Union

import torch
from torch import Tensor

from pyprobound.aggregate import Contribution
from pyprobound.base import Binding
from pyprobound.config import BuiltExperiment, BuiltModel
from pyprobound.cooperativity import Cooperativity
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.rounds import BaseRound, BoundRound, Round, UnboundRound
from pyprobound.uncertainty import NOT_IDENTIFIED, ErrorBars, Estimate, Uncertainty

Json: TypeAlias = Union[  # noqa: UP007 a recursive alias has no | before Python 3.12
    bool, int, float, str, Sequence["Json"], Mapping[str, "Json"], None
]

GAUGE = (
    "letters have mean 0 at each position; pairs hold no single-letter content;"
    " position biases have mean 0 over what the data see; log omega is 0 for the"
    " reference arrangement; the activities take up the constants"
)


# --- numbers -----------------------------------------------------------------------


def error_numbers(built: BuiltModel, errors: Uncertainty) -> dict[str, Json]:
    """Return all estimates with their errors and 95% intervals.

    Args:
        built: The model.
        errors: Its errors.

    Returns:
        What `docs/formats.md` describes under `uncertainty` of result.json.
    """
    names = [str(each.experiment.name) for each in built.experiments]
    return {
        "gauge": GAUGE,
        "parameters": len(errors.free),
        "unidentified_directions": errors.unidentified.shape[1],
        "widened": errors.is_widened,
        "dispersion": {
            name: finite(value)
            for name, value in zip(names, errors.dispersion, strict=True)
        },
        "modes": [
            _psam_numbers(name, spec, built, errors)
            for name, spec in built.specs.modes.items()
            if isinstance(spec, PSAM)
        ],
        "dimers": [
            _dimer_numbers(name, dimer, errors)
            for name, dimer in largest_dimers(built).items()
        ],
        "experiments": [
            _experiment_numbers(each, errors) for each in built.experiments
        ],
    }


def estimate_numbers(found: Estimate) -> dict[str, Json]:
    """Return an estimate as JSON has it: null where there is no number, and why."""
    low, high = found.interval
    numbers: dict[str, Json] = {
        "value": _listed(found.value),
        "error": _listed(found.error),
        "low": _listed(low),
        "high": _listed(high),
    }
    if bool((found.error.isnan() & found.value.isfinite()).any()):
        numbers["note"] = NOT_IDENTIFIED + (" where null" if found.value.ndim else "")
    return numbers


def _listed(values: Tensor) -> Json:
    if values.ndim == 0:
        return finite(values.item())
    return [_listed(each) for each in values]


def finite(value: float) -> float | None:
    """Return a number as JSON has it: null where it is not finite."""
    return value if math.isfinite(value) else None


def _psam_numbers(
    name: str, psam: PSAM, built: BuiltModel, errors: Uncertainty
) -> dict[str, Json]:
    letters = errors.letters(psam)
    rows = {
        letter: Estimate(letters.value[0, i], letters.error[0, i])
        for i, letter in enumerate(built.alphabet.alphabet)
    }
    return {
        "name": name,
        "energies": {key: estimate_numbers(row) for key, row in rows.items()},
        "pairs": {
            key: estimate_numbers(each)
            for key, each in _pairs_by_key(psam, errors).items()
        },
    }


def _pairs_by_key(psam: PSAM, errors: Uncertainty) -> dict[str, Estimate]:
    """Return the pair energies by the keys of the betas."""
    if psam.pairwise_distance == 0:
        return {}
    keys = [key for keys in psam.betas.layout_keys for key in keys]
    found = errors.of(lambda: psam._simplified()[0][0], is_linear=True)  # noqa: SLF001 the order of the betas
    return {
        key: Estimate(value, error)
        for key, value, error in zip(keys, found.value, found.error, strict=True)
        if key.count("-") == 2
    }


def largest_dimers(built: BuiltModel) -> dict[str, Cooperativity]:
    """Return each dimer in the experiment with the most windows."""
    found: dict[str, Cooperativity] = {}
    for experiment in built.experiments:
        for name, binding in experiment.bindings.items():
            if isinstance(binding, Cooperativity) and (
                name not in found
                or binding.mode_a.n_windows > found[name].mode_a.n_windows
            ):
                found[name] = binding
    return {name: found[name] for name in built.specs.spacings if name in found}


def strand_pairs(dimer: Cooperativity) -> list[tuple[str, int, int]]:
    """Return the strands of a and b, as text and as indices."""
    strands = "+-"[: dimer.n_strands]
    return [(a + b, i, j) for i, a in enumerate(strands) for j, b in enumerate(strands)]


def _dimer_numbers(
    name: str, dimer: Cooperativity, errors: Uncertainty
) -> dict[str, Json]:
    found = errors.log_omega(dimer)
    n_offsets = found.value.shape[2]
    first = 1 - dimer.mode_a.n_windows
    place = errors.reference(dimer)
    reference: Json = None
    if place is not None:
        pair, offset = divmod(place, n_offsets)
        reference = {
            "strands": strand_pairs(dimer)[pair][0],
            "offset": first + offset,
        }
    return {
        "name": name,
        "offsets": list(range(first, first + n_offsets)),
        "reference": reference,
        "log_omega": {
            text: estimate_numbers(Estimate(found.value[i, j], found.error[i, j]))
            for text, i, j in strand_pairs(dimer)
        },
    }


def _experiment_numbers(built: BuiltExperiment, errors: Uncertainty) -> dict[str, Json]:
    numbers: dict[str, Json] = {
        "name": str(built.experiment.name),
        "bindings": {
            name: _binding_numbers(binding, errors)
            for name, binding in built.bindings.items()
        },
        "rounds": [
            _round_numbers(built, each, errors) for each in built.rounds.values()
        ],
        "activity_ratios": list(_ratios_of_rounds(built, errors)),
        "kd_seq": None,
    }
    libraries = kd_seq_libraries(built)
    if libraries is not None:
        numbers["kd_seq"] = {
            "libraries": dict(
                zip(("input", "bound", "unbound"), libraries, strict=True)
            ),
            "log_free_protein": estimate_numbers(
                errors.log_free_protein(built.experiment, *libraries)
            ),
            "log_kd_of_best_site": {
                name: estimate_numbers(found)
                for name, found in site_kds(built, errors, libraries).items()
            },
        }
    return numbers


def _binding_numbers(binding: Binding, errors: Uncertainty) -> dict[str, Json]:
    assert isinstance(binding, Mode | Cooperativity)
    hill = errors.log_hill(binding)
    numbers: dict[str, Json] = {"log_hill": None, "position_bias": None}
    if binding.train_hill:
        numbers["log_hill"] = estimate_numbers(hill)
    if isinstance(binding, Cooperativity):
        if binding.train_posbias:
            found = errors.dimer_bias(binding)
            numbers["position_bias"] = [estimate_numbers(each) for each in found]
        return numbers
    last = binding.chain[-1]
    if isinstance(last, Conv0d | Conv1d) and last.train_posbias:
        numbers["position_bias"] = estimate_numbers(errors.position_bias(last))
    return numbers


def _round_numbers(
    built: BuiltExperiment, each: BaseRound, errors: Uncertainty
) -> dict[str, Json]:
    numbers: dict[str, Json] = {
        "name": each.name,
        "log_depth": _parameter_numbers(each.log_depth, errors),
    }
    for name in ("rho", "gamma", "delta"):
        own = getattr(each, name, None)
        if isinstance(own, Tensor):
            numbers[name] = _parameter_numbers(own, errors)
    if not isinstance(each, Round):
        return numbers
    concentration = each.aggregate.log_target_concentration
    parts = present_parts(built, each)
    first = next(iter(parts), None)
    return numbers | {
        "log_target_concentration": _parameter_numbers(concentration, errors),
        "log_activities": {
            name: estimate_numbers(errors.log_activity(part))
            for name, part in parts.items()
        },
        "relative_to": first,
        "log_relative_activities": {
            name: estimate_numbers(errors.activity_ratio(part, parts[str(first)]))
            for name, part in parts.items()
        },
    }


def _parameter_numbers(parameter: Tensor, errors: Uncertainty) -> dict[str, Json]:
    return estimate_numbers(errors.of(lambda: parameter))


def _ratios_of_rounds(
    built: BuiltExperiment, errors: Uncertainty
) -> Iterator[dict[str, Json]]:
    """Iterate over the ratios of activities between neighbouring selections."""
    rounds = selections(built)
    for (before, one), (after, other) in pairwise(rounds.items()):
        parts = present_parts(built, one), present_parts(built, other)
        for name in parts[0].keys() & parts[1].keys():
            ratio = errors.activity_ratio(parts[1][name], parts[0][name])
            yield {
                "binding": name,
                "rounds": [after, before],
                "log_ratio": estimate_numbers(ratio),
            }


def selections(built: BuiltExperiment) -> dict[str, Round]:
    """Return the rounds in which something binds; of those that share it, the first."""
    found: dict[int, tuple[str, Round]] = {}
    for name, each in built.rounds.items():
        if isinstance(each, Round):
            found.setdefault(id(each.aggregate), (name, each))
    return dict(found.values())


def present_parts(built: BuiltExperiment, each: Round) -> dict[str, Contribution]:
    """Return the activities of what is present in a round, by name."""
    names = {id(binding): name for name, binding in built.bindings.items()}
    return {names[id(part.binding)]: part for part in each.aggregate.present()}


def kd_seq_libraries(built: BuiltExperiment) -> tuple[int, int, int] | None:
    """Return which observed rounds are input, bound and unbound library of a Kd-seq.

    Those are a saturated round whose library has a concentration, the library that it
    was selected from, and what was left unbound of it; None where one is missing.
    """
    observed: list[BaseRound] = [
        each for each in built.experiment.rounds if isinstance(each, BaseRound)
    ]
    for index, each in enumerate(observed):
        if not isinstance(each, BoundRound) or not _has_concentration(each):
            continue
        before = [i for i, r in enumerate(observed) if r is each.reference_round]
        rest = [
            i
            for i, other in enumerate(observed)
            if isinstance(other, UnboundRound) and other.aggregate is each.aggregate
        ]
        if before and rest and built.experiment.counts_per_round[before[0]] > 0:
            return before[0], index, rest[0]
    return None


def _has_concentration(each: BaseRound) -> bool:
    try:
        return each.library_concentration > 0
    except ValueError:  # it was not given
        return False


def site_kds(
    built: BuiltExperiment, errors: ErrorBars, libraries: tuple[int, int, int]
) -> dict[str, Estimate]:
    """Return log K_D of the best site of each motif of a Kd-seq experiment."""
    bound = built.experiment.rounds[libraries[1]]
    assert isinstance(bound, Round)
    return {
        name: errors.log_site_kd(built.experiment, part.binding, *libraries)
        for name, part in present_parts(built, bound).items()
        if isinstance(part.binding, Mode) and isinstance(part.binding.chain[-1], Conv1d)
    }


# --- text --------------------------------------------------------------------------


def cell(found: Estimate, digits: int = 3) -> str:
    """Return a single value as text: ``1.234 ± 0.021``, or without an error."""
    value = f"{found.value.item():.{digits}f}"
    if not bool(found.is_identified):
        return value
    return f"{value} ± {found.error.item():.{digits}f}"


def letters_text(psam: PSAM, errors: Uncertainty) -> str:
    """Return how well the letters of a motif are known, in a few words."""
    found = errors.letters(psam).error.flatten()
    known = found[~found.isnan()]
    missing = len(found) - len(known)
    if not len(known):
        return f"letters {NOT_IDENTIFIED}"
    text = f"letters ± {known.median():.3f}, at most {known.max():.3f}"
    return f"{text}; {missing} {NOT_IDENTIFIED}" if missing else text


def ratio_columns(
    built: BuiltExperiment, errors: Uncertainty
) -> tuple[str, Mapping[str, Mapping[str, str]]] | None:
    """Return activities relative to the first binding, where only these are known.

    Returns:
        The first binding's name, and for each such round the cells by name; None if
        all activities are identified, or a round has but one.
    """
    columns: dict[str, dict[str, str]] = {}
    reference = None
    for name, each in selections(built).items():
        parts = present_parts(built, each)
        found = [errors.log_activity(part).is_identified for part in parts.values()]
        if len(parts) < 2 or bool(torch.stack(found).all()):
            continue
        reference = reference or next(iter(parts))
        if reference not in parts:
            continue
        columns[name] = {
            key: _named_cell(errors.activity_ratio(part, parts[reference]))
            for key, part in parts.items()
            if key != reference
        }
    return None if reference is None else (reference, columns)


def _named_cell(found: Estimate) -> str:
    return cell(found) if bool(found.is_identified) else NOT_IDENTIFIED


def closing_lines(built: BuiltModel, errors: Uncertainty) -> list[str]:
    """Return Hill coefficients, affinities and the dispersion as lines."""
    lines: list[str] = []
    for experiment in built.experiments:
        name = experiment.experiment.name
        hills = [
            f"{key} {factor(errors.log_hill(binding))}"
            for key, binding in experiment.bindings.items()
            if isinstance(binding, Mode | Cooperativity) and binding.train_hill
        ]
        if hills:
            lines.append(f"Hill coefficients in {name}: {', '.join(hills)}")
        libraries = kd_seq_libraries(experiment)
        if libraries is not None:
            free = errors.log_free_protein(experiment.experiment, *libraries)
            sites = site_kds(experiment, errors, libraries)
            shown = ", ".join(f"{key} {factor(kd)}" for key, kd in sites.items())
            lines.append(
                f"Free protein in {name}: {factor(free)}; K_D of the best site"
            )
            lines[-1] += f" alone: {shown} (unit of the concentrations)"
    names = [str(each.experiment.name) for each in built.experiments]
    shown = ", ".join(
        f"{value:.2f} ({name})"
        for name, value in zip(names, errors.dispersion, strict=True)
    )
    wide = errors.is_widened and max(errors.dispersion) > 1
    lines.append(
        f"±: standard errors. Dispersion of the counts: {shown}"
        + ("; the errors are widened by its square root" if wide else "")
    )
    return lines


def factor(found: Estimate) -> str:
    """Return e to the power of a value with its 95% interval, as text."""
    value = found.value.exp().item()
    if not bool(found.is_identified):
        return f"{value:.4g} ({NOT_IDENTIFIED})"
    low, high = (each.exp().item() for each in found.interval)
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def arrangement_errors(
    dimer: Cooperativity, errors: Uncertainty
) -> dict[tuple[str, int], Estimate]:
    """Return the estimates of log ω by strands and offset."""
    found = errors.log_omega(dimer)
    first = 1 - dimer.mode_a.n_windows
    places: Sequence[int] = range(found.value.shape[2])
    return {
        (text, first + k): Estimate(found.value[i, j, k], found.error[i, j, k])
        for text, i, j in strand_pairs(dimer)
        for k in places
    }
