"""The candidates of a selection: a configuration for each combination of its options.

An option is a list of choices, a choice an edit of the configuration with a label. The
candidates are the product of the options, each resolved like any configuration.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product
from typing import TypeVar

from pyprobound.config import _edits
from pyprobound.config._edits import Edit
from pyprobound.config._read import Document
from pyprobound.config._resolve import Probes, default_rounds, resolve
from pyprobound.config._schema import ALL, Config, ModeSection, SelectSection
from pyprobound.config._tables import make_alphabet
from pyprobound.errors import ConfigError

_STEP = 2  # positions by which the default candidates differ

Value = TypeVar("Value", int, str, bool)


@dataclass(frozen=True)
class Candidate:
    """One of the models to compare.

    Attributes:
        name: What tells it from the others, as in "size=10 symmetry=palindrome".
        document: Its resolved configuration, without [select].
        failure: Why it cannot be resolved, None if it can.
    """

    name: str
    document: Document
    failure: str | None = None


@dataclass(frozen=True)
class _Choice:
    label: str
    edit: Edit


_Option = Sequence[_Choice]


def select_section(document: Document) -> SelectSection:
    """Return how candidates are compared, its seed filled in.

    Raises:
        ConfigError: Keys contradict each other.
    """
    section = document.config.select or SelectSection()
    if section.folds > 1 and "held_out" in section.model_fields_set:
        rule = f"{section.folds} folds hold out all in turn; keep one of the two"
        raise document.error(("select", "held_out"), rule)
    seed = document.config.seed if section.seed is None else section.seed
    return section.model_copy(update={"seed": seed})


def candidates_of(document: Document, probes: Sequence[Probes]) -> list[Candidate]:
    """Return the models to compare, smaller ones first.

    Args:
        document: What was read, with or without [select].
        probes: The probes of each experiment.

    Raises:
        ConfigError: The section names what is not there, there is nothing to compare
            or too much of it, or no candidate can be resolved.
    """
    section = select_section(document)
    config = _edits.with_names(document.config).model_copy(update={"select": None})
    config = _with_rounds(config, probes)
    document = document.with_config(config)
    options = _options(document, section) or _default_options(document)
    _check_number(document, section, options)
    found = _resolved_candidates(document, options, probes)
    if all(each.failure for each in found):
        raise ConfigError(found[0].failure)
    if len(found) == 1:
        rule = f"the only candidate is {found[0].name}; give values to choose from"
        raise document.error(("select",), rule)
    return sorted(found, key=lambda each: _size_of(each.document.config))


def _with_rounds(config: Config, probes: Sequence[Probes]) -> Config:
    """Return the configuration with the rounds that experiments have by default."""
    experiments = [
        each
        if each.rounds
        else each.model_copy(update={"rounds": default_rounds(known.n_columns or 0)})
        for each, known in zip(config.experiments, probes, strict=True)
    ]
    return config.model_copy(update={"experiments": experiments})


def _resolved_candidates(
    document: Document, options: Sequence[_Option], probes: Sequence[Probes]
) -> list[Candidate]:
    """Return a candidate for each different combination of choices."""
    found: list[Candidate] = []
    for choices in product(*options):
        name = " ".join(choice.label for choice in choices)
        config = reduce(lambda x, choice: choice.edit(x), choices, document.config)
        edited = document.with_config(config)
        try:
            candidate = Candidate(name, resolve(edited, probes))
        except ConfigError as error:
            candidate = Candidate(name, edited, str(error))
        if all(each.document.config != candidate.document.config for each in found):
            found.append(candidate)
    return found


def _check_number(
    document: Document, section: SelectSection, options: Sequence[_Option]
) -> None:
    if not options:
        rule = "no motif is free to be varied; give options in [select]"
        raise document.error(("select",), rule)
    number = math.prod(map(len, options))
    if number > section.max_candidates:
        rule = (
            f"{number} candidates are more than {section.max_candidates}; leave values"
            " out, or raise max_candidates"
        )
        raise document.error(("select", "max_candidates"), rule)


def _size_of(config: Config) -> tuple[int, ...]:
    """Return what orders candidates of the same number of parameters."""
    motifs = _edits.motifs_of(config)
    return (
        len(motifs),
        sum(mode.size or 0 for mode in motifs),
        len(config.dimers),
        sum(mode.pairwise_distance for mode in motifs),
        sum(mode.symmetry is None for mode in motifs),
        sum(mode.position_bias is not None for mode in motifs),
        sum(mode.flank_length or 0 for mode in motifs),
        sum(each.kind == "bound" for one in config.experiments for each in one.rounds),
    )


# --- options -----------------------------------------------------------------------


def _options(document: Document, section: SelectSection) -> list[_Option]:
    """Return the options that a section gives, in the order in which they apply."""
    per_mode: Sequence[tuple[str, str, Mapping[str, Sequence[object]]]] = (
        ("sizes", "size", section.sizes),
        ("flank_lengths", "flank_length", section.flank_lengths),
        ("symmetry", "symmetry", section.symmetry),
        ("pairwise_distance", "pairwise_distance", section.pairwise_distance),
        ("position_bias", "position_bias", section.position_bias),
    )
    options: list[_Option] = [
        _mode_option(document, option, key, by_mode, each)
        for option, key, by_mode in per_mode
        for each in by_mode
    ]
    if section.n_modes is not None:
        _check_has_motif(document, "n_modes")
        options.append(_choices("n_modes", section.n_modes, _edits.with_n_modes))
    if section.dimer is not None:
        _check_has_motif(document, "dimer")
        options.append(_dimer_option(document.config, section.dimer))
    if section.saturation is not None:
        if not _edits.has_bound_rounds(document.config):
            rule = "no round is bound or bound_unsaturated"
            raise document.error(("select", "saturation"), rule)
        edit = _edits.with_saturation
        options.append(_choices("saturation", section.saturation, edit))
    return options


def _choices(
    label: str, values: Iterable[Value], edit: Callable[[Value, Config], Config]
) -> _Option:
    """Return one choice for each different value."""
    return [
        _Choice(f"{label}={_text(value)}", partial(edit, value))
        for value in dict.fromkeys(values)
    ]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _mode_option(
    document: Document,
    option: str,
    key: str,
    by_mode: Mapping[str, Sequence[object]],
    name: str,
) -> _Option:
    """Return the choices of one key of one motif, or of all that are not named."""
    values = by_mode[name]
    motifs = [str(mode.name) for mode in _edits.motifs_of(document.config)]
    if name != ALL:
        if name not in motifs:
            some = ", ".join(map(repr, motifs)) or "none"
            rule = f"there is no motif {name!r}; there are {some}"
            raise document.error(("select", option, name), rule)
        names, label = [name], f"{name}.{key}"
    else:
        free = motifs
        if key in {"size", "symmetry", "pairwise_distance"}:
            free = [str(mode.name) for mode in _free_motifs(document.config)]
        names, label = [each for each in free if each not in by_mode], key
    if not names:
        rule = "no motif is free to be varied: their energies are given or not trained"
        raise document.error(("select", option), rule)
    return [
        _Choice(f"{label}={_text(value)}", _edits.mode_edit(key, names, value))
        for value in dict.fromkeys(values)
    ]


def _dimer_option(config: Config, values: Iterable[bool]) -> _Option:
    is_new = not config.dimers
    return _choices("dimer", values, partial(_edits.with_dimer, is_new))


def _check_has_motif(document: Document, option: str) -> None:
    if not _edits.motifs_of(document.config):
        raise document.error(("select", option), "there is no motif in [[modes]]")


def _free_motifs(config: Config) -> list[ModeSection]:
    """Return the motifs whose shape nothing else in the configuration says."""
    return [
        mode
        for mode in _edits.motifs_of(config)
        if mode.train and not (mode.energies or mode.betas or mode.consensus)
    ]


# --- without options ---------------------------------------------------------------


def _default_options(document: Document) -> list[_Option]:
    """Return what is compared where nothing is asked for: docs/select.md says it."""
    config = document.config
    motifs = _edits.motifs_of(config)
    free = [
        mode
        for mode in _free_motifs(config)
        if mode.size is not None and not isinstance(mode.symmetry, list)
    ]
    options: list[_Option] = []
    if free:
        options.append(_default_sizes(free, alone=len(motifs) == 1))
    even = [str(mode.name) for mode in free if (mode.size or 0) % 2 == 0]
    if even and make_alphabet(document).complement:
        options.append(
            [
                _Choice(f"symmetry={each}", _edits.mode_edit("symmetry", even, each))
                for each in ("none", "palindrome")
            ]
        )
    if len(motifs) > 1:
        options.append(
            _choices("n_modes", range(1, len(motifs) + 1), _edits.with_n_modes)
        )
    if config.dimers:
        options.append(_dimer_option(config, [False, True]))
    return options


def _default_sizes(motifs: Sequence[ModeSection], *, alone: bool) -> _Option:
    """Return all motifs two positions shorter, as they are, and two longer."""
    choices = []
    for step in (-_STEP, 0, _STEP):
        sizes = {str(mode.name): (mode.size or 0) + step for mode in motifs}
        if min(sizes.values()) < 1:
            continue
        labels = [
            f"size={size}" if alone else f"{name}.size={size}"
            for name, size in sizes.items()
        ]
        choices.append(_Choice(" ".join(labels), partial(_edits.with_sizes, sizes)))
    return choices
