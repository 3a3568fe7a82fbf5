"""Filling in every default, and checking that the sections fit each other.

A resolved configuration says everything that a model is built from: names, rounds,
which bindings each round has, scored flanks and the lengths of the probes. It needs no
table any more, so a run directory can be scored with by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyprobound.config._positions import Place
from pyprobound.config._read import Document
from pyprobound.config._schema import (
    NONSPECIFIC,
    PALINDROME,
    Config,
    DimerSection,
    ExperimentSection,
    ModeSection,
    RoundSection,
)


@dataclass(frozen=True)
class Probes:
    """What a model has to know of a count table.

    Attributes:
        shortest: Letters of the shortest variable region.
        longest: Letters of the longest one.
        n_columns: Columns of counts; None where there is no table.
        sha256: Of each file.
    """

    shortest: int
    longest: int
    n_columns: int | None = None
    sha256: tuple[str, ...] = ()


def resolve(document: Document, probes: Sequence[Probes]) -> Document:
    """Return the document with every default filled in.

    Args:
        document: What was read.
        probes: The probes of each experiment.

    Raises:
        ConfigError: Sections contradict each other or a table; the message names file,
            line, key and rule.
    """
    document = document.with_config(_with_names(document))
    _check_dimers(document)
    experiments = [
        _resolved_experiment(document, index, each) for index, each in enumerate(probes)
    ]
    config = document.config.model_copy(update={"experiments": experiments})
    document = document.with_config(config)
    _check_trims(document)
    _check_use(document)
    return document


def binding_names(config: Config) -> list[str]:
    """Return the names of modes and dimers, in the order in which they are fitted."""
    return [*_mode_names(config), *(str(each.name) for each in config.dimers)]


def experiments_with(config: Config, mode: ModeSection) -> list[ExperimentSection]:
    """Return the resolved experiments whose rounds hold a mode, or a dimer of it."""
    return [
        each for each in config.experiments if mode in _bound_in(config, each.rounds)
    ]


def trim_of(mode: ModeSection, experiment: ExperimentSection) -> tuple[int, int]:
    """Return how many scored flank letters a mode leaves out on either side."""
    scored = experiment.left_flank_length or 0, experiment.right_flank_length or 0
    if mode.flank_length is None:
        return 0, 0
    return scored[0] - mode.flank_length, scored[1] - mode.flank_length


# --- names -------------------------------------------------------------------------


def _with_names(document: Document) -> Config:
    config = document.config
    modes = [
        _resolved_mode(document, index, mode) for index, mode in enumerate(config.modes)
    ]
    dimers = [
        each.model_copy(update={"name": each.name or "-".join(each.modes)})
        for each in config.dimers
    ]
    nonspecific = config.nonspecific
    if nonspecific is None:
        nonspecific = all(mode.kind == "psam" for mode in modes)
    experiments = [
        each.model_copy(update={"name": each.name or f"experiment{index}"})
        for index, each in enumerate(config.experiments)
    ]
    _check_unique(document, "experiments", [str(each.name) for each in experiments])
    taken = [NONSPECIFIC] if nonspecific else []
    _check_unique(document, "modes", [str(each.name) for each in modes], taken)
    taken += [str(each.name) for each in modes]
    _check_unique(document, "dimers", [str(each.name) for each in dimers], taken)
    update = {
        "modes": modes,
        "dimers": dimers,
        "nonspecific": nonspecific,
        "experiments": experiments,
    }
    return config.model_copy(update=update)


def _check_unique(
    document: Document, section: str, names: Sequence[str], taken: Sequence[str] = ()
) -> None:
    seen = set(taken)
    for index, name in enumerate(names):
        if name in seen:
            rule = (
                f"{name!r} is taken; each mode, dimer and experiment has its own name"
            )
            raise document.error((section, index, "name"), rule)
        seen.add(name)


def _mode_names(config: Config) -> list[str]:
    names = [NONSPECIFIC] if config.nonspecific else []
    return names + [str(mode.name) for mode in config.modes]


def _resolved_mode(document: Document, index: int, mode: ModeSection) -> ModeSection:
    place: Place = ("modes", index)
    update: dict[str, object] = {"name": mode.name or f"mode{index}"}
    if mode.kind == "psam":
        size = _size_of(document, place, mode)
        update |= {"size": size, "seed": _centred(document, place, mode.seed, size)}
        if mode.symmetry == PALINDROME:
            if size % 2:
                rule = f"a palindrome has an even number of positions, not {size}"
                raise document.error((*place, "symmetry"), rule)
            half = list(range(1, size // 2 + 1))
            update["symmetry"] = half + [-each for each in reversed(half)]
    elif mode.size is not None:
        rule = "a nonspecific mode has no size; leave it out"
        raise document.error((*place, "size"), rule)
    return mode.model_copy(update=update)


def _size_of(document: Document, place: Place, mode: ModeSection) -> int:
    """Return the number of positions that all keys of a mode agree on."""
    sizes = {f"energies.{key}": len(row) for key, row in mode.energies.items()}
    if mode.consensus is not None:
        sizes["consensus"] = len(mode.consensus)
    if mode.size is not None:
        sizes = {"size": mode.size, **sizes}
    if not sizes:
        rule = "missing; give the number of positions of the motif"
        raise document.error((*place, "size"), rule)
    first, *others = sizes.items()
    for key, size in others:
        if size != first[1]:
            rule = f"{size} positions, but {first[0]} has {first[1]}"
            raise document.error((*place, *key.split(".", 1)), rule)
    return first[1]


def _centred(
    document: Document, place: Place, seed: list[str] | None, size: int
) -> list[str] | None:
    """Return the seed with '-' (random) at the positions that it does not reach."""
    if seed is None:
        return None
    missing = size - len(seed)
    if missing < 0:
        rule = f"{len(seed)} codes for {size} positions; shorten the seed"
        raise document.error((*place, "seed"), rule)
    left = missing // 2
    return ["-"] * left + seed + ["-"] * (missing - left)


def _check_dimers(document: Document) -> None:
    modes = {str(mode.name): mode for mode in document.config.modes}
    for index, dimer in enumerate(document.config.dimers):
        place: Place = ("dimers", index, "modes")
        for position, name in enumerate(dimer.modes):
            if name not in modes or modes[name].kind != "psam":
                motifs = [key for key, mode in modes.items() if mode.kind == "psam"]
                rule = f"{name!r} is no motif of [[modes]]; there are {_some(motifs)}"
                raise document.error((*place, position), rule)
        first, second = (modes[name] for name in dimer.modes)
        if first.flank_length != second.flank_length:
            rule = (
                "the modes of a dimer score the same flank letters, but flank_length is"
                f" {_or_all(first.flank_length)} and {_or_all(second.flank_length)}"
            )
            raise document.error(place, rule)


def _or_all(length: int | None) -> str:
    return "not given" if length is None else str(length)


def _some(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


# --- experiments -------------------------------------------------------------------


def _resolved_experiment(
    document: Document, index: int, probes: Probes
) -> ExperimentSection:
    place: Place = ("experiments", index)
    config = document.config
    experiment = config.experiments[index]
    known_dimers = [str(each.name) for each in config.dimers]
    modes = _chosen(document, (*place, "modes"), experiment.modes, _mode_names(config))
    dimers = _chosen(document, (*place, "dimers"), experiment.dimers, known_dimers)
    experiment = experiment.model_copy(
        update={"modes": modes, "dimers": dimers, "sha256": list(probes.sha256)}
    )
    rounds = _resolved_rounds(document, place, experiment, probes)
    update: dict[str, object] = {
        "rounds": rounds,
        "min_variable_length": probes.shortest,
        "max_variable_length": probes.longest,
        **_resolved_flanks(document, place, experiment, _bound_in(config, rounds)),
    }
    return experiment.model_copy(update=update)


def _chosen(
    document: Document,
    place: Place,
    names: Sequence[str] | None,
    known: Sequence[str],
) -> list[str]:
    """Return the names given, all that are known by default."""
    if names is None:
        return list(known)
    for index, name in enumerate(names):
        if name not in known:
            rule = f"there is no {name!r}; known are {_some(known)}"
            raise document.error((*place, index), rule)
    return [name for name in known if name in names]


def _bound_in(config: Config, rounds: Iterable[RoundSection]) -> list[ModeSection]:
    """Return the modes that rounds hold, by themselves or in a dimer."""
    names = _used_modes(config.dimers, rounds)
    return [mode for mode in config.modes if mode.name in names]


def _used_modes(
    dimers: Iterable[DimerSection], rounds: Iterable[RoundSection]
) -> set[str]:
    names: set[str] = set()
    partners = {str(dimer.name): dimer.modes for dimer in dimers}
    for each in rounds:
        names.update(each.modes or [])
        for dimer in each.dimers or []:
            names.update(partners[dimer])
    return names


def _resolved_flanks(
    document: Document,
    place: Place,
    experiment: ExperimentSection,
    modes: Sequence[ModeSection],
) -> Mapping[str, object]:
    """Return the lengths of the scored flanks and how far they may grow."""
    wanted = max((mode.flank_length or 0 for mode in modes), default=0)
    lengths, limits = {}, {}
    for side, flank in (
        ("left", experiment.left_flank),
        ("right", experiment.right_flank),
    ):
        given = getattr(experiment, f"{side}_flank_length")
        length = next(
            each
            for each in (given, experiment.flank_length, wanted)
            if each is not None
        )
        limit = getattr(experiment, f"max_{side}_flank_length")
        if limit is None:
            limit = experiment.max_flank_length
        if length < wanted:
            rule = f"{side}: {length} is less than the flank_length {wanted} of a mode"
            raise document.error((*place, "flank_length"), rule)
        if limit is None and length > len(flank):
            rule = (
                f"{length} letters are to be scored, but the {side}_flank has"
                f" {len(flank)}; give more of it, or max_flank_length to score '*'"
            )
            raise document.error((*place, f"{side}_flank"), rule)
        lengths[f"{side}_flank_length"], limits[f"max_{side}_flank_length"] = (
            length,
            limit,
        )
    return {**lengths, **limits, "flank_length": None, "max_flank_length": None}


def _check_trims(document: Document) -> None:
    """Check that a mode leaves out the same flank letters in all experiments."""
    config = document.config
    for index, mode in enumerate(config.modes):
        trims = {trim_of(mode, each) for each in experiments_with(config, mode)}
        if len(trims) > 1:
            rule = (
                "the experiments score flanks of different lengths; make them alike, or"
                " leave out the mode's flank_length"
            )
            raise document.error(("modes", index, "flank_length"), rule)


def _check_use(document: Document) -> None:
    """Check that every mode and dimer is in some round."""
    config = document.config
    rounds = [each for one in config.experiments for each in one.rounds]
    used = _used_modes(config.dimers, rounds)
    for index, mode in enumerate(config.modes):
        if mode.name not in used:
            rule = f"no round uses the mode {mode.name!r}; name it in one, or remove it"
            raise document.error(("modes", index), rule)
    used = {name for each in rounds for name in each.dimers or []}
    for index, dimer in enumerate(config.dimers):
        if dimer.name not in used:
            rule = (
                f"no round uses the dimer {dimer.name!r}; name it in one, or remove it"
            )
            raise document.error(("dimers", index), rule)


# --- rounds ------------------------------------------------------------------------


def _resolved_rounds(
    document: Document,
    place: Place,
    experiment: ExperimentSection,
    probes: Probes,
) -> list[RoundSection]:
    given = experiment.rounds or default_rounds(probes.n_columns or 0)
    place = (*place, "rounds")
    observed = sum(each.observed for each in given)
    _check_number(document, place, observed, probes.n_columns)
    names = [each.name or str(index) for index, each in enumerate(given)]
    _check_round_names(document, place, names)
    rounds: list[RoundSection] = []
    for index in range(len(given)):
        here = (*place, index)
        filled = given[index].model_copy(update={"name": names[index]})
        rounds.append(_resolved_round(document, here, experiment, filled, rounds))
    _check_unobserved(document, place, rounds)
    return rounds


def _check_unobserved(
    document: Document, place: Place, rounds: Sequence[RoundSection]
) -> None:
    """Check that some library was selected from each unobserved round."""
    references = {each.reference for each in rounds}
    for index, each in enumerate(rounds):
        if not each.observed and each.name not in references:
            rule = f"no round has the unobserved round {each.name!r} as its reference"
            raise document.error((*place, index), rule)


def default_rounds(n_columns: int) -> list[RoundSection]:
    """Return an initial library and a chain of libraries selected from it."""
    first = [RoundSection(kind="initial")]
    return (first + [RoundSection(kind="bound_unsaturated")] * n_columns)[:n_columns]


def _check_number(
    document: Document, place: Place, observed: int, n_columns: int | None
) -> None:
    if n_columns is not None and observed != n_columns:
        rule = (
            f"{observed} observed rounds, but the table has {n_columns} columns of"
            " counts; give a round for each (observed = false where there is none)"
        )
        raise document.error(place, rule)
    if observed < 2:
        rule = (
            f"only {observed} round with counts; a fit needs at least two, such as an"
            " initial library and a selected one"
        )
        raise document.error(place, rule)


def _check_round_names(document: Document, place: Place, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error((*place, index, "name"), f"{name!r} is taken")


def _resolved_round(
    document: Document,
    place: Place,
    experiment: ExperimentSection,
    section: RoundSection,
    before: Sequence[RoundSection],
) -> RoundSection:
    """Return a round with its reference, bindings and depth filled in.

    Args:
        document: For errors.
        place: Of the round.
        experiment: Its experiment, with modes and dimers filled in.
        section: The round.
        before: The rounds before it, filled in.
    """
    if section.kind == "initial":
        return _resolved_initial(document, place, section)
    reference = section.reference
    if reference is None and before:
        reference = before[-1].name
    elif reference is not None:
        reference = _earlier(document, (*place, "reference"), reference, before).name
    update = {
        "reference": reference,
        "train_depth": _trains_depth(document, place, section, before),
    }
    if section.shares is not None:
        update["shares"] = _shared(document, place, section, before)
        return section.model_copy(update=update)
    bound = {
        key: _chosen(
            document, (*place, key), getattr(section, key), getattr(experiment, key)
        )
        for key in ("modes", "dimers")
    }
    names = [*bound["modes"], *bound["dimers"]]
    if not names:
        raise document.error(place, "nothing binds in this round; give modes or dimers")
    for name in section.log_activities:
        if name not in names:
            rule = f"this round holds no {name!r}; it holds {_some(names)}"
            raise document.error((*place, "log_activities", name), rule)
    return section.model_copy(update={**update, **bound})


_OF_SELECTION = frozenset(
    {
        "dimers",
        "log_activities",
        "log_depth",
        "modes",
        "reference",
        "shares",
        "train_concentration",
        "train_depth",
    }
)
"""Keys that only a round of selection has."""


def _resolved_initial(
    document: Document, place: Place, section: RoundSection
) -> RoundSection:
    for key in sorted(_OF_SELECTION):
        if getattr(section, key):
            rule = f"an initial round has no {key}; leave it out"
            raise document.error((*place, key), rule)
    update = {"modes": [], "dimers": [], "train_depth": False}
    return section.model_copy(update=update)


def _earlier(
    document: Document, place: Place, name: str, before: Sequence[RoundSection]
) -> RoundSection:
    """Return the earlier round of a name or an index."""
    for each in before:
        if each.name == name:
            return each
    if name.isdigit() and int(name) < len(before):
        return before[int(name)]
    names = _some(str(each.name) for each in before)
    rule = f"no earlier round {name!r}; there are {names}"
    raise document.error(place, rule)


def _shared(
    document: Document,
    place: Place,
    section: RoundSection,
    before: Sequence[RoundSection],
) -> str:
    """Return the name of the round whose protein and bindings a round shares."""
    for key in ("modes", "dimers", "log_activities"):
        if getattr(section, key):
            rule = "a round that shares another's protein has the same; leave it out"
            raise document.error((*place, key), rule)
    other = _earlier(document, (*place, "shares"), str(section.shares), before)
    if other.kind == "initial":
        rule = f"nothing binds in the initial round {other.name!r}"
        raise document.error((*place, "shares"), rule)
    return str(other.name)


def _trains_depth(
    document: Document,
    place: Place,
    section: RoundSection,
    before: Sequence[RoundSection],
) -> bool:
    """Return whether a round's depth is trained: one observed round's is fixed."""
    if not section.observed:
        if section.train_depth:
            rule = "an unobserved round has no reads to train its depth on"
            raise document.error((*place, "train_depth"), rule)
        return False
    if section.train_depth is not None:
        return section.train_depth
    return any(each.observed for each in before)
