"""How a fit went: its steps in words, what each gained, why it ended."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pyprobound.page._content import Cell, Column, Picture, Prose, Section, Table
from pyprobound.page._numbers import (
    count_cell,
    counted,
    listed,
    plain,
    significant,
)
from pyprobound.page._run import Numbers, Run
from pyprobound.plotting import svg
from pyprobound.plotting._convergence import Stretch, convergence

_CALL = re.compile(r"(?P<who>.+?)\.(?P<what>\w+)\((?P<how>.*)\)$", re.DOTALL)
_STEP = re.compile(r"\tStep (\d+): ")
_STAGE = "### Binding: "
_ENDINGS = ("converged", "undone", "stopped", "accepted", "refused")


@dataclass(frozen=True)
class Fitted:
    """One fit of a step: a greedy step has several.

    Attributes:
        binding: What was being fitted.
        step: The number of the step in its plan.
        call: The calls that opened it.
        events: Its evaluations.
    """

    binding: str
    step: int
    call: str
    events: Sequence[Numbers]

    @property
    def losses(self) -> list[float]:
        """Loss and penalty of each evaluation."""
        return [x["train_loss"] + x["train_regularization"] for x in self.events]


def fits_of(events: Sequence[Numbers]) -> list[Fitted]:
    """Return the fits of a log: an epoch that is no later than the last begins one."""
    numbers: list[int] = []
    for before, event in zip([None, *events], events, strict=False):
        is_new = before is None or (
            (before["binding"], before["step"]) != (event["binding"], event["step"])
            or event["epoch"] <= before["epoch"]
        )
        numbers.append((numbers[-1] if numbers else -1) + is_new)
    found = []
    for _, group in groupby(zip(numbers, events, strict=True), lambda x: x[0]):
        own = [event for _, event in group]
        first = own[0]
        found.append(Fitted(first["binding"], first["step"], first["call"], own))
    return found


def stretches_of(events: Sequence[Numbers]) -> list[Stretch]:
    """Return the fits of a log as they are drawn."""
    return [
        Stretch(
            title_of(each.binding), each.losses, [x["val_loss"] for x in each.events]
        )
        for each in fits_of(events)
    ]


def history(run: Run) -> Section:
    """Return the section on how the fit went."""
    fits = fits_of(run.events)
    blocks: list[Prose | Picture | Table] = [Prose(_ending(run, fits))]
    if not fits:
        return Section("convergence", "Convergence", blocks)
    blocks.append(
        Picture(
            "convergence",
            "Loss of every evaluation",
            svg(convergence(stretches_of(run.events))),
            "Negative log likelihood plus penalty, per read, after every pass; a new"
            " band is a new part of the model. A fit that is done ends flat.",
            _described(fits),
        )
    )
    blocks.append(_steps_table(fits, _log_endings(run.directory.log)))
    return Section("convergence", "Convergence", blocks)


def _ending(run: Run, fits: Sequence[Fitted]) -> str:
    n_events = sum(len(each.events) for each in fits)
    text = ""
    if run.result.get("interrupted"):
        text = "The fit was interrupted: what is shown is the best model until then. "
    if fits:
        text += (
            f"{counted(len(fits), 'fit')} with {counted(n_events, 'evaluation')}"
            f" took {duration(fits[-1].events[-1]['seconds'])}. "
        )
    elif not run.events:
        text += "There is no log of the fit. "
    ended = run.result.get("ended")
    if ended and not run.result.get("interrupted"):
        text += f"The last one ended because: {ended}."
    return text.strip()


def _described(fits: Sequence[Fitted]) -> str:
    losses = [loss for each in fits for loss in each.losses]
    last = fits[-1].losses
    return (
        f"The loss per read falls from {plain(losses[0], 4)} to {plain(min(last), 4)};"
        f" over the {counted(len(last), 'evaluation')} of the last step it changes by"
        f" {plain(last[0] - min(last), 6)}."
    )


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _steps_table(
    fits: Sequence[Fitted], endings: Mapping[tuple[str, int], Sequence[str]]
) -> Table:
    rows = []
    used: dict[tuple[str, int], Iterator[str]] = {
        key: iter(texts) for key, texts in endings.items()
    }
    for number, each in enumerate(fits, 1):
        ending = next(used.get((each.binding, each.step), iter(())), "")
        finite = [loss for loss in each.losses if loss == loss]  # noqa: PLR0124 NaN
        best = min(finite, default=float("nan"))
        gain = each.losses[0] - best
        rows.append(
            [
                Cell(f"{number}", number),
                Cell(title_of(each.binding)),
                Cell(words_of(each.call)),
                count_cell(len(each.events)),
                Cell(plain(best, 6), best),
                Cell(_gain(gain), gain),
                Cell(ending or "–"),
            ]
        )
    columns = [
        Column("Step"),
        Column("Part", is_number=False),
        Column("What was fitted", is_number=False),
        Column("Evaluations"),
        Column("Best loss", "per read"),
        Column("Gain", "per read"),
        Column("End", is_number=False),
    ]
    return Table("Steps of the fit", columns, rows)


def _gain(gain: float) -> str:
    return significant(gain, 1) if 0 < abs(gain) < 1e-4 else plain(gain, 4)


def _log_endings(path: Path) -> dict[tuple[str, int], list[str]]:
    """Return why each fit of a step ended, as the fit's own words have it."""
    found: dict[tuple[str, int], list[str]] = {}
    binding, step = "", -1
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        match = _STEP.match(line)
        if line.startswith(_STAGE):
            binding, step = line.removeprefix(_STAGE), -1
        elif match is not None:
            step = int(match[1])
        elif line.strip().startswith(_ENDINGS):
            word, _, rest = line.strip().partition(":")
            own = found.setdefault((binding, step), [])
            if word in ("undone", "accepted") and own:
                own[-1] = f"{word}:{rest}" if word == "undone" else own[-1]
            else:
                own.append(line.strip().partition("; best loss")[0])
    return found


# --- words -------------------------------------------------------------------------


def title_of(binding: str) -> str:
    """Return the name of what is fitted: PSAM-bcd is bcd."""
    if binding == "all":
        return "all at once"
    names = [_bare(part) for part in binding.split(", ")]
    return listed(names)


def _bare(name: str) -> str:
    for kind in ("PadSpec-", "RollSpec-", "NonSpecific-", "PSAM-", "Spacing-"):
        name = name.removeprefix(kind)
    for kind in ("PSAM-", "NonSpecific-", "PadSpec-"):
        name = name.rpartition(kind)[2] if kind in name else name
    return name


def words_of(call: str) -> str:
    """Return the calls that open a step in words."""
    told: list[str] = []
    for each in call.split("; "):
        words = _words_of_call(each.strip())
        if words and words not in told:
            told.append(words)
    return listed(told) or call


def _words_of_call(call: str) -> str:
    match = _CALL.match(call)
    if match is None:
        return call
    what: str = match["what"]
    values: dict[str, str] = dict(re.findall(r"(\w+)=([^,()]+)", match["how"]))
    if what == "unfreeze":
        parameter = values.get("parameter", "")
        return _UNFROZEN.get(parameter, parameter)
    if what in _PLACES:
        return _moved(_PLACES[what], values)
    if what in _CALLS:
        return _CALLS[what]
    return f"{_bare(match['who'])}: {what.replace('_', ' ')}"


_CALLS = {
    "freeze": "",
    "activity_heuristic": "its activity",
    "shift_heuristic": "centring of the motif",
}
_PLACES = {"update_footprint": "footprint", "update_read_length": "flanks"}
_UNFROZEN = {
    "all": "everything together",
    "monomer": "its letters",
    "pairwise": "its letter pairs",
    "depth": "the depths of the rounds",
    "posbias": "its position bias",
    "spacing": "its spacings",
    "hill": "its Hill coefficient",
    "activity": "activities",
}


def _moved(place: str, values: Mapping[str, str]) -> str:
    left, right = (int(values.get(f"{side}_shift", 0)) for side in ("left", "right"))
    if left == -right and left:
        side = "right" if right > 0 else "left"
        return f"motif moved by {abs(left)} to the {side}"
    return f"{place} longer by {left} and {right}"
