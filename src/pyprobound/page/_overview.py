"""The top of a page: what was fitted to what, and whether to believe it."""

from collections.abc import Sequence

from pyprobound.layers import PSAM
from pyprobound.page._content import Facts, Finding, Verdict
from pyprobound.page._numbers import count, counted, listed, plain
from pyprobound.page._run import Numbers, Run

_RANKS = {"problem": 0, "caution": 1, "note": 2, "fine": 3}


def title_of(run: Run) -> str:
    """Return the title: what was measured."""
    names = [str(each.name) for each in run.document.config.experiments]
    if len(names) > 3:
        return f"Binding model of {counted(len(names), 'experiment')}"
    return f"Binding model of {listed(names)}"


def lead_of(run: Run) -> str:
    """Return what was fitted to what, in one sentence."""
    tables = run.numbers.get("tables", [])
    model = _model_in_words(run)
    if not tables:
        return f"{model}."
    reads = sum(sum(each["counts_per_round"]) for each in tables)
    probes = sum(each["probes"] for each in tables)
    rounds = sum(len(each["counts_per_round"]) for each in tables)
    places = counted(rounds, "round")
    if len(tables) > 1:
        places += f" of {counted(len(tables), 'experiment')}"
    return (
        f"{model}, fitted to {count(reads)} reads of {counted(probes, 'probe')} in"
        f" {places}."
    )


def _model_in_words(run: Run) -> str:
    specs = run.built.specs
    motifs = [(n, x) for n, x in specs.modes.items() if isinstance(x, PSAM)]
    sizes = [
        f"{name} ({counted(each.kernel_size, 'position')})" for name, each in motifs
    ]
    parts = []
    if motifs:
        word = "motif" if len(motifs) == 1 else "motifs"
        parts.append(f"{word} {listed(sizes)}")
    if specs.spacings:
        word = "dimer" if len(specs.spacings) == 1 else "dimers"
        parts.append(f"{word} {listed(list(specs.spacings))}")
    if len(specs.modes) > len(motifs):
        parts.append("non-specific binding")
    text = listed(parts)
    return text[:1].upper() + text[1:]


def facts_of(run: Run) -> Facts:
    """Return what a reader wants to know at once."""
    entries: list[tuple[str, Sequence[str]]] = [("Data", _data_lines(run))]
    losses = run.numbers.get("loss_per_read", {})
    if losses.get("data") is not None:
        data, penalty = (plain(losses[key], 4) for key in ("data", "penalty"))
        lines = [f"{data} nats per read, and a penalty of {penalty}"]
        if losses.get("held_out") is not None:
            lines.append(
                f"{plain(losses['held_out'], 4)} nats per read of held-out probes"
            )
        entries.append(("Loss", lines))
    if run.uncertainty is not None:
        entries.append(("Parameters", [count(run.uncertainty["parameters"])]))
        entries.append(("Scatter of reads", [_dispersion(run.uncertainty)]))
    return Facts(entries)


def _dispersion(errors: Numbers) -> str:
    """Return how much counts scatter, beside what they would by chance alone."""
    known = {name: x for name, x in errors["dispersion"].items() if x is not None}
    shown = [f"{plain(value)} times" for value in known.values()]
    if len(known) > 1:
        shown = [f"{plain(x)} times ({name})" for name, x in known.items()]
    text = f"{listed(shown)} that of random draws (dispersion)"
    if errors["widened"] and max(known.values(), default=0.0) > 1:
        text += "; errors and intervals are widened accordingly"
    return text


def _data_lines(run: Run) -> list[str]:
    lines = []
    tables = run.numbers.get("tables", [])
    for index, each in enumerate(run.document.config.experiments):
        observed = [str(x.name) for x in each.rounds if x.observed]
        shortest, longest = each.min_variable_length, each.max_variable_length
        length = f"{longest}" if shortest == longest else f"{shortest}–{longest}"
        text = f"{each.name}: probes of {length} letters"
        left, right = each.left_flank_length, each.right_flank_length
        if left or right:
            text += f" and {left} + {right} of the flanks"
        if index < len(tables):
            reads = [count(x) for x in tables[index]["counts_per_round"]]
            shown = [f"{n} ({name})" for name, n in zip(observed, reads, strict=True)]
            text += f"; reads by round: {listed(shown)}"
        lines.append(text)
    return lines


# --- verdict -----------------------------------------------------------------------


def verdict_of(run: Run) -> Verdict:
    """Return what speaks against the model, and what the page itself lacks."""
    found = run.diagnosis
    own = _lacking(run)
    if found is None:
        summary = "There is no verdict: it needs the count tables."
        return Verdict(summary, own[0].severity, own)
    told = [
        Finding(each.severity.word, each.code, each.what, each.advice)
        for each in found.findings
    ]
    findings = sorted([*told, *own], key=lambda each: _RANKS[each.severity])
    return Verdict(found.verdict, found.severity.word, findings)


def _lacking(run: Run) -> list[Finding]:
    """Return what the page cannot show, and why."""
    found = []
    if run.result.get("interrupted") and run.diagnosis is None:
        what = "The fit was interrupted; this is the best model until then."
        advice = "Go on with pyprobound fit … --resume."
        found.append(Finding("problem", "interrupted", what, advice))
    if run.tables is None:
        what = f"The page has no comparison with the data: {run.no_tables}."
        advice = "pyprobound report --table FILE says where a table is now."
        found.append(Finding("note", "no-tables", what, advice))
    if run.errors is None:
        what = f"There are no standard errors: {run.no_errors}."
        found.append(Finding("note", "no-errors", what))
    return found
