"""Edits of a configuration that keep its sections fitting each other.

A mode that goes, goes from the rounds and takes its dimers along; a mode that comes,
comes where the one that it repeats is.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeAlias

from pyprobound.config._schema import (
    PALINDROME,
    Config,
    DimerSection,
    ExperimentSection,
    ModeBiasSection,
    ModeSection,
    RoundSection,
)

Edit: TypeAlias = Callable[[Config], Config]
_BOUND = ("bound_unsaturated", "bound")


def motifs_of(config: Config) -> list[ModeSection]:
    """Return the modes that are motifs."""
    return [mode for mode in config.modes if mode.kind == "psam"]


def with_names(config: Config) -> Config:
    """Name modes and dimers that have none as `resolve` would."""
    modes = [
        mode.model_copy(update={"name": mode.name or f"mode{index}"})
        for index, mode in enumerate(config.modes)
    ]
    dimers = [
        each.model_copy(update={"name": each.name or "-".join(each.modes)})
        for each in config.dimers
    ]
    return config.model_copy(update={"modes": modes, "dimers": dimers})


# --- one key of some motifs --------------------------------------------------------


def mode_edit(key: str, names: Collection[str], value: object) -> Edit:
    """Return the edit that gives a key of some motifs a value of [select]."""

    def changed(mode: ModeSection) -> ModeSection:
        if mode.name not in names:
            return mode
        return mode.model_copy(update={key: _as_in_section(mode, key, value)})

    return partial(_with_modes, changed)


def with_sizes(sizes: Mapping[str, int], config: Config) -> Config:
    """Give each motif that is named its size."""
    for name, size in sizes.items():
        config = mode_edit("size", [name], size)(config)
    return config


def _with_modes(change: Callable[[ModeSection], ModeSection], config: Config) -> Config:
    return config.model_copy(update={"modes": [change(x) for x in config.modes]})


def _as_in_section(mode: ModeSection, key: str, value: object) -> object:
    """Return a value of [select] as [[modes]] has it."""
    if key == "symmetry":
        return PALINDROME if value == PALINDROME else None
    if key == "position_bias":
        return (mode.position_bias or ModeBiasSection()) if value else None
    return value


# --- modes and dimers that come and go ---------------------------------------------


def with_n_modes(number: int, config: Config) -> Config:
    """Keep the first motifs, or repeat the last one, until there are so many."""
    motifs = motifs_of(config)
    config = _without_modes([str(mode.name) for mode in motifs[number:]], config)
    taken = {str(mode.name) for mode in config.modes}
    last = motifs[-1]
    for index in range(len(motifs) + 1, number + 1):
        name = f"{last.name}_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        config = _with_copy(last, name, config)
    return config


def with_dimer(is_new: bool, is_there: bool, config: Config) -> Config:
    """Take all dimers out, or see that there is one.

    Args:
        is_new: Whether a dimer would be one that the configuration does not describe:
            of the first two motifs, or of the only one with itself.
        is_there: Whether there is to be a dimer.
        config: What is edited.
    """
    if not is_there:
        return _without_dimers([str(each.name) for each in config.dimers], config)
    motifs = [str(mode.name) for mode in motifs_of(config)]
    if not is_new or not motifs:
        return config
    pair = (motifs * 2)[:2]
    dimer = DimerSection(modes=pair, name="-".join(pair))
    return config.model_copy(update={"dimers": [dimer]})


def _with_copy(mode: ModeSection, name: str, config: Config) -> Config:
    """Add a motif of the shape of another one, wherever that one is listed."""
    blank: dict[str, object] = {
        "seed": None,
        "energies": {},
        "betas": {},
        "consensus": None,
    }
    copy = mode.model_copy(update={"name": name, **blank})

    def beside(names: list[str] | None) -> list[str] | None:
        return [*names, name] if names and mode.name in names else names

    config = config.model_copy(update={"modes": [*config.modes, copy]})
    return _with_lists("modes", beside, config)


def _without_modes(names: Collection[str], config: Config) -> Config:
    """Remove modes, and the dimers that they are partners in."""
    gone = [str(x.name) for x in config.dimers if not set(names).isdisjoint(x.modes)]
    config = _without_dimers(gone, config)
    modes = [mode for mode in config.modes if mode.name not in names]
    config = config.model_copy(update={"modes": modes})
    return _unlisted("modes", names, config)


def _without_dimers(names: Collection[str], config: Config) -> Config:
    dimers = [each for each in config.dimers if each.name not in names]
    config = config.model_copy(update={"dimers": dimers})
    return _unlisted("dimers", names, config)


def _unlisted(key: str, names: Collection[str], config: Config) -> Config:
    """Remove names from the lists of experiments and rounds, and their activities."""

    def kept(listed: list[str] | None) -> list[str] | None:
        return listed and [each for each in listed if each not in names]

    def inactive(section: RoundSection) -> RoundSection:
        activities = {
            name: value
            for name, value in section.log_activities.items()
            if name not in names
        }
        return section.model_copy(update={"log_activities": activities})

    return _with_rounds(inactive, _with_lists(key, kept, config))


def _with_lists(
    key: str, change: Callable[[list[str] | None], list[str] | None], config: Config
) -> Config:
    """Change the lists of modes or dimers of all experiments and rounds."""

    def changed(section: ExperimentSection) -> ExperimentSection:
        return section.model_copy(update={key: change(getattr(section, key))})

    experiments = [changed(each) for each in config.experiments]
    config = config.model_copy(update={"experiments": experiments})

    def changed_round(section: RoundSection) -> RoundSection:
        return section.model_copy(update={key: change(getattr(section, key))})

    return _with_rounds(changed_round, config)


# --- rounds ------------------------------------------------------------------------


def has_bound_rounds(config: Config) -> bool:
    """Tell whether any round is of a kind that saturates, or might."""
    return any(each.kind in _BOUND for x in config.experiments for each in x.rounds)


def with_saturation(saturated: bool, config: Config) -> Config:
    """Let all bound libraries saturate, or none."""

    def changed(section: RoundSection) -> RoundSection:
        if section.kind not in _BOUND:
            return section
        return section.model_copy(update={"kind": _BOUND[saturated]})

    return _with_rounds(changed, config)


def _with_rounds(
    change: Callable[[RoundSection], RoundSection], config: Config
) -> Config:
    experiments = [
        each.model_copy(update={"rounds": [change(x) for x in each.rounds]})
        for each in config.experiments
    ]
    return config.model_copy(update={"experiments": experiments})
