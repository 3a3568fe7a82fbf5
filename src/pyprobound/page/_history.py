"""How a fit went: its steps in words, what each gained, why it ended."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass
class Fitted:
    """One fit of a step: a greedy step has several.

    Attributes:
        binding: What was being fitted.
        step: The number of the step in its plan.
        call: The calls that opened it.
        events: Its evaluations; none if it left nothing to fit.
        ended: Why it ended, in words; empty if the log does not say.
    """

    binding: str
    step: int
    call: str
    events: list[Numbers] = field(default_factory=list)
    ended: str = ""

    @property
    def losses(self) -> list[float]:
        """Loss and penalty of each evaluation."""
        return [x["train_loss"] + x["train_regularization"] for x in self.events]

    @property
    def best(self) -> float:
        """The lowest loss; NaN without an evaluation."""
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        return min(finite, default=math.nan)

    def goes_on_with(self, event: Numbers) -> bool:
        """Tell whether an event belongs to this fit, which is the last so far."""
        place = self.binding, self.step
        if self.ended or place != (event["binding"], event["step"]):
            return False
        is_end = "ended" in event
        return is_end or not self.events or event["epoch"] > self.events[-1]["epoch"]


def fits_of(events: Sequence[Numbers]) -> list[Fitted]:
    """Return the fits of a log, in order."""
    found: list[Fitted] = []
    for event in events:
        if not found or not found[-1].goes_on_with(event):
            found.append(Fitted(event["binding"], event["step"], event["call"]))
        if "ended" in event:
            found[-1].ended = event["ended"]
        else:
            found[-1].events.append(event)
    return found


def stretches_of(events: Sequence[Numbers]) -> list[Stretch]:
    """Return the fits of a log as they are drawn."""
    return [
        Stretch(
            title_of(each.binding), each.losses, [x["val_loss"] for x in each.events]
        )
        for each in fits_of(events)
        if each.events
    ]


def history(run: Run) -> Section:
    """Return the section on how the fit went."""
    fits = fits_of(run.events)
    evaluated = [each for each in fits if each.events]
    blocks: list[Prose | Picture | Table] = [Prose(_ending(run, evaluated))]
    if not evaluated:
        return Section("convergence", "Convergence", blocks)
    blocks.append(
        Picture(
            "convergence",
            "Loss of every evaluation",
            svg(convergence(stretches_of(run.events))),
            "Negative log likelihood plus penalty, per read, after every pass; a new"
            " band is a new part of the model. A fit that is done ends flat.",
            _described(evaluated),
        )
    )
    blocks.append(_steps_table(fits))
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
    best = fits[-1].best
    return (
        f"The loss per read falls from {plain(losses[0], 4)} to {plain(best, 4)};"
        f" over the {counted(len(last), 'evaluation')} of the last step it changes by"
        f" {plain(last[0] - best, 6)}."
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


def _steps_table(fits: Sequence[Fitted]) -> Table:
    columns = [
        Column("Step"),
        Column("Part", is_number=False),
        Column("What was fitted", is_number=False),
        Column("Evaluations"),
        Column("Best loss", "per read"),
        Column("Gain", "per read"),
        Column("End", is_number=False),
    ]
    rows = [_step_row(number, each) for number, each in enumerate(fits, 1)]
    if not any(each.ended for each in fits):  # an older log
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table("Steps of the fit", columns, rows)


def _step_row(number: int, fit: Fitted) -> list[Cell]:
    gain = fit.losses[0] - fit.best if fit.events else math.nan
    is_small = 0 < abs(gain) < _SMALL_GAIN
    shown = significant(gain, 1) if is_small else plain(gain, 4)
    return [
        Cell(f"{number}", number),
        Cell(title_of(fit.binding)),
        Cell(words_of(fit.call)),
        count_cell(len(fit.events)),
        Cell(plain(fit.best, 6), fit.best),
        Cell(shown, gain),
        Cell(fit.ended or "–"),
    ]


_SMALL_GAIN = 1e-4


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
