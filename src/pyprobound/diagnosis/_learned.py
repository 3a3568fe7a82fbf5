"""Whether anything was learned, and what of it holds for held-out probes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyprobound.config import BuiltModel
from pyprobound.diagnosis._agreement import (
    Explained,
    Predicted,
    explained,
    probe_agreement,
    word_agreement,
)
from pyprobound.diagnosis._evidence import Evidence
from pyprobound.diagnosis._findings import Finding, Severity
from pyprobound.diagnosis._kmers import Words, word_size
from pyprobound.report import Json
from pyprobound.table import CountTable

CHANCE, WEAK = 8.0, 20.0
"""What is explained, in units of what the parameters gain by chance: shuffled tables
stay below the former, see docs/verdict.md."""

POOR, BAD = 0.9, 0.5
"""R² of words, and the explained share, below which a fit does not say the data."""

MANY_READS = 5.0
"""Reads of a probe, on average, that tell what is chance from what is not."""

MOST_LOST = 0.2
"""Of what is explained of fitted probes, what may be missing of held-out ones."""

SURE = 3.0
"""Standard errors."""

MOST_WORDED = 60_000
_NOTHING, _LESS = 50.0, 0.3


@dataclass(frozen=True)
class Learned:
    """What a model explains, all tables together.

    Attributes:
        gain: In nats per read.
        ratio: The same in units of what parameters gain by chance; None if not known.
        is_chance: Whether it may be chance alone.
    """

    gain: float
    ratio: float | None
    is_chance: bool


def learned(
    built: BuiltModel,
    tables: Sequence[CountTable],
    held_out: Sequence[CountTable] | None,
    evidence: Evidence | None,
    numbers: dict[str, Json],
) -> tuple[Learned, list[Finding]]:
    """Compare what is explained with chance, and with held-out probes."""
    predicted = [
        Predicted.of(each, table)
        for each, table in zip(built.experiments, tables, strict=True)
    ]
    parts = [explained(each) for each in predicted]
    reads = [float(table.counts_per_round.sum()) for table in tables]
    total = sum(reads)
    nats = sum(each.gain * n for each, n in zip(parts, reads, strict=True))
    gain = nats / max(total, 1.0)
    ratio = None
    if evidence is not None and evidence.optimism > 0:
        ratio = nats / evidence.optimism
        numbers["chance_gain_per_read"] = evidence.optimism / max(total, 1.0)
        numbers["parameters_known"] = evidence.tests.rank()
    numbers["explained_per_read"] = gain
    numbers["explained_in_units_of_chance"] = ratio
    is_chance = gain <= 0 if ratio is None else ratio < CHANCE
    found = Learned(gain, ratio, is_chance)
    findings = list(_against_chance(found))
    names = [str(each.experiment.name) for each in built.experiments]
    experiments: dict[str, Json] = {}
    for index, name in enumerate(names):
        judged, is_held = predicted[index], False
        if held_out is not None:
            judged, is_held = (
                Predicted.of(built.experiments[index], held_out[index]),
                True,
            )
        own: dict[str, Json] = {}
        experiments[name] = own
        findings += _agreement(name, predicted[index], parts[index], own)
        findings += _depths(name, built, index, predicted[index])
        if is_held:
            findings += _held_out(name, predicted[index], parts[index], judged, own)
    numbers["experiments"] = experiments
    if held_out is None:
        findings.append(_nothing_held_out(found))
    return found, findings


def _against_chance(found: Learned) -> Iterator[Finding]:
    shown = (
        ""
        if found.ratio is None
        else (f", {found.ratio:.1f} times what its parameters gain by chance")
    )
    what = f"The model explains {found.gain:.3g} nats per read{shown}"
    if found.is_chance:
        yield Finding(
            Severity.PROBLEM,
            "nothing-learned",
            f"{what}: it may be chance alone.",
            "Check that reads and probes belong together, that rounds are in their"
            " order, and that the protein bound at all; do not interpret the motif.",
            number=found.ratio,
            weight=_NOTHING,
        )
    elif found.ratio is not None and found.ratio < WEAK:
        yield Finding(
            Severity.CAUTION,
            "weak-signal",
            f"{what}: a weak signal.",
            "Hold probes out (optimizer.validation_fraction), and take a smaller motif"
            " or more reads.",
            number=found.ratio,
            weight=1.0,
        )
    else:
        yield Finding(Severity.FINE, "learned", f"{what}.", number=found.ratio)


def _agreement(
    name: str, predicted: Predicted, part: Explained, own: dict[str, Json]
) -> Iterator[Finding]:
    probes = probe_agreement(predicted)
    words = _word_agreement(predicted)
    mean_reads = predicted.n_reads / max(len(predicted.seqs), 1)
    own |= {
        "loss_per_read": part.loss,
        "loss_without_model": part.null,
        "explained_per_read": part.gain,
        "explained_share": part.share if mean_reads >= MANY_READS else None,
        "r2_probes": _number(probes),
        "r2_words": _number(words),
    }
    where = {"experiment": name}
    known = {
        "bins of probes": probes,
        "words": words,
    }
    known = {over: r2 for over, r2 in known.items() if not math.isnan(r2)}
    shown = " and ".join(f"{r2:.2f} over {over}" for over, r2 in known.items())
    worst = min(known.values(), default=math.nan)
    if worst < POOR:
        yield Finding(
            Severity.PROBLEM if worst < BAD else Severity.CAUTION,
            "poor-agreement",
            f"Predicted and observed reads disagree in {name}: R² {shown},"
            " the scatter of counting taken off.",
            "What is missing from the model is likely among the other findings; look at"
            " the plots of enrichment.",
            where,
            worst,
            weight=0.01 * (1 - worst),
        )
    elif known:
        yield Finding(
            Severity.FINE,
            "agreement",
            f"Predicted and observed reads agree in {name}: R² {shown},"
            " the scatter of counting taken off.",
            where=where,
            number=worst,
        )
    if mean_reads >= MANY_READS and part.share < POOR:
        yield Finding(
            Severity.PROBLEM if part.share < BAD else Severity.CAUTION,
            "unexplained",
            f"Of what differs between the probes of {name} beyond chance, the model"
            f" explains {part.share:.0%}.",
            "Something acts on these counts that is not in the model: another motif,"
            " another flank, or noise of the experiment beyond that of reads.",
            where,
            part.share,
            weight=0.01 * (1 - part.share),
        )


def _word_agreement(predicted: Predicted) -> float:
    seqs = predicted.seqs
    step = -(-len(seqs) // MOST_WORDED)
    some = Predicted(
        seqs[::step],
        predicted.counts[::step],
        predicted.log_p[::step],
        predicted.alphabet,
        predicted.column,
        is_whole=False,
    )
    size = word_size(predicted.alphabet.n_letters, seqs.shape[1])
    words = Words.of(
        some.seqs,
        predicted.alphabet,
        size=size,
        is_folded=predicted.alphabet.complement,
    )
    return word_agreement(some, words)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _depths(
    name: str, built: BuiltModel, index: int, predicted: Predicted
) -> Iterator[Finding]:
    observed = predicted.counts.sum(0)
    expected = (predicted.totals[:, None] * predicted.log_p.exp()).sum(0)
    rounds = built.experiments[index].experiment.rounds
    for column, each in enumerate(rounds):
        where: dict[str, str | int] = {"experiment": name, "round": str(each.name)}
        seen, said = float(observed[column]), float(expected[column])
        if seen == 0:
            yield Finding(
                Severity.FINE,
                "no-reads",
                f"Round {each.name} of {name} has no reads: it only links the others.",
                where=where,
                number=0.0,
            )
        elif abs(seen - said) > max(0.01 * seen, SURE * math.sqrt(seen)):
            yield Finding(
                Severity.CAUTION,
                "depth",
                f"The model expects {said / seen:.0%} of the reads of round {each.name}"
                f" of {name}.",
                "The depth is not at its optimum: fit longer, or train it"
                " (train_depth).",
                where,
                said / seen,
                weight=abs(said / seen - 1) / 10,
            )


def _held_out(
    name: str,
    fitted: Predicted,
    part: Explained,
    judged: Predicted,
    own: dict[str, Json],
) -> Iterator[Finding]:
    shares = fitted.shares()
    gain = judged.loss_of(shares) - judged.loss()
    error = judged.gain_error(shares)
    lost = 1 - gain / part.gain if part.gain > 0 else math.nan
    own |= {
        "held_out_explained_per_read": gain,
        "held_out_error": error,
        "held_out_r2_probes": _number(probe_agreement(judged)),
    }
    where = {"experiment": name}
    what = (
        f"Of held-out probes of {name} the model explains {gain:.3g} ± {error:.1g} nats"
        f" per read, of fitted ones {part.gain:.3g}"
    )
    if gain < SURE * error and part.gain > 0:
        yield Finding(
            Severity.PROBLEM,
            "not-predictive",
            f"{what}: it does not predict.",
            "Do not interpret the motif; a smaller one, or more reads, may hold.",
            where,
            gain,
            weight=_NOTHING - 1,
        )
    elif lost > MOST_LOST and (part.gain - gain) > SURE * error:
        yield Finding(
            Severity.CAUTION,
            "over-fitted",
            f"{what}: {lost:.0%} of it does not hold for probes that were not fitted.",
            "Take fewer parameters (a smaller motif, no pairs, no position bias), a"
            " larger pseudocount, or more reads.",
            where,
            lost,
            weight=_LESS * lost,
        )
    else:
        yield Finding(Severity.FINE, "held-out", f"{what}.", where=where, number=gain)


def _nothing_held_out(found: Learned) -> Finding:
    what = "No probe was held out"
    number = None
    if found.ratio is not None and found.gain > 0:
        number = 1 / found.ratio
        what += f"; of what is explained, about {number:.1%} is fitted noise"
    return Finding(
        Severity.FINE,
        "none-held-out",
        f"{what}.",
        "optimizer.validation_fraction holds some out.",
        number=number,
    )
