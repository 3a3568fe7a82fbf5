"""The top of a page: what was fitted to what, and whether to believe it."""

from collections.abc import Sequence

from pyprobound.layers import PSAM
from pyprobound.page._content import Facts, Finding, Verdict
from pyprobound.page._numbers import count, counted, listed, plain
from pyprobound.page._run import Run

_RANKS = {"problem": 0, "warning": 1, "note": 2}


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
        lines = [f"{data} per read, penalty {penalty}"]
        if losses.get("held_out") is not None:
            lines.append(f"{plain(losses['held_out'], 4)} per read of held-out probes")
        entries.append(("Loss", lines))
    if run.uncertainty is not None:
        shown = []
        for name, value in run.uncertainty["dispersion"].items():
            if value is not None:
                shown.append(f"{plain(value)} ({name})")
        wide = run.uncertainty["widened"] and any(
            (x or 0) > 1 for x in run.uncertainty["dispersion"].values()
        )
        text = ", ".join(shown) + (
            ": the errors are widened by its root" if wide else ""
        )
        entries.append(("Dispersion", [text]))
        entries.append(("Parameters", [count(run.uncertainty["parameters"])]))
    return Facts(entries)


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
            shown = [f"{n} in {name}" for name, n in zip(observed, reads, strict=True)]
            text += f"; reads: {listed(shown)}"
        lines.append(text)
    return lines


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Return findings, the worst first, and their sum in one sentence."""
    ranked = sorted(findings, key=lambda each: _RANKS[each.severity])
    numbers = {key: sum(x.severity == key for x in ranked) for key in _RANKS}
    level = ranked[0].severity if ranked else "good"
    if not ranked:
        return Verdict("Nothing speaks against this model.", "good", ())
    words = {"problem": "problem", "warning": "caution", "note": "note"}
    told = [counted(n, words[key]) for key, n in numbers.items() if n]
    summary = {
        "problem": "Do not rely on this model before you have read this",
        "warning": "Usable, with care",
        "note": "Nothing speaks against this model",
    }[level]
    return Verdict(f"{summary}: {listed(told)}.", level, ranked)


def findings_of(run: Run) -> list[Finding]:
    """Return what the page itself knows to be amiss."""
    found = []
    if run.result.get("interrupted"):
        found.append(
            Finding(
                "warning",
                "interrupted",
                "The fit was interrupted; this is the best model until then.",
                advice="Go on with pyprobound fit … --resume.",
            )
        )
    if run.errors is None:
        found.append(
            Finding(
                "note",
                "no-errors",
                f"There are no standard errors: {run.no_errors}.",
            )
        )
    if run.tables is None:
        found.append(
            Finding(
                "note",
                "no-tables",
                f"The page has no comparison with the data: {run.no_tables}.",
                advice="pyprobound report --table FILE says where a table is now.",
            )
        )
    return found
