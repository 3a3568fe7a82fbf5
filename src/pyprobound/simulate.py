"""Drawing count tables from a model whose parameters are known.

    p_ir  ∝  f0_i · (cumulative enrichment of probe i in round r)
    k_.r  ~  Multinomial(reads_r, p_.r)

The probes are distinct, drawn letter by letter, with equal frequencies f0 in the
initial library. The depths follow from the numbers of reads, so that the model is the
one that predicts the table drawn from it.
"""

import gzip
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pyprobound._files import replacing
from pyprobound._version import __version__
from pyprobound.alphabets import Alphabet
from pyprobound.config import (
    BuiltExperiment,
    BuiltModel,
    Document,
    ExperimentSection,
    Probes,
    build_model,
    make_table,
    resolve,
)
from pyprobound.report import parameters
from pyprobound.rounds import BaseRound, Round
from pyprobound.run_directory import RunDirectory
from pyprobound.table import CountTable

_AT_ONCE = 4096  # probes scored at once
_MOST_TRIES = 100


@dataclass(frozen=True)
class Simulation:
    """What was drawn.

    Attributes:
        document: The resolved configuration.
        built: The model, its depths set to what the numbers of reads make them.
        frames: The counts of each experiment, probes in rows.
    """

    document: Document
    built: BuiltModel
    frames: Sequence[pd.DataFrame]


def simulate(document: Document) -> Simulation:
    """Draw a count table for each experiment of a configuration.

    Raises:
        ConfigError: The configuration does not describe a whole model, or what is to
            be drawn; the message names file, line, key and rule.
    """
    section = document.config.simulate
    if section is None:
        raise document.error((), "there is no [simulate]; give n_probes, length, reads")
    lengths = min(section.length), max(section.length)
    probes = [Probes(*lengths) for _ in document.config.experiments]
    document = resolve(document, probes)
    torch.manual_seed(document.config.seed)
    built = build_model(document)
    built.loss.to(torch.float64)
    _check_values(document, built)
    rng = np.random.default_rng(document.config.seed)
    frames = [
        _simulated(document, built, index, rng)
        for index in range(len(built.experiments))
    ]
    return Simulation(document, built, frames)


def _check_values(document: Document, built: BuiltModel) -> None:
    """Check that nothing is left to chance: energies and activities are all given."""
    for index, mode in enumerate(document.config.modes):
        if mode.kind == "psam" and not mode.energies and mode.consensus is None:
            rule = "a simulation needs energies, or a consensus with a scale"
            raise document.error(("modes", index), rule)
    for index, experiment in enumerate(document.config.experiments):
        for number, each in enumerate(experiment.rounds):
            made = built.experiments[index].rounds[str(each.name)]
            for name in _absent(built.experiments[index], made):
                if name not in each.log_activities:
                    place = ("experiments", index, "rounds", number, "log_activities")
                    raise document.error(place, f"{name!r} has no value; give one")


def _absent(experiment: BuiltExperiment, made: BaseRound) -> list[str]:
    """Return the names of what has no activity in a round."""
    if not isinstance(made, Round):
        return []
    names = {id(binding): name for name, binding in experiment.bindings.items()}
    return [
        names[id(part.binding)]
        for part in made.aggregate.components()
        if part.is_absent
    ]


def _simulated(
    document: Document, built: BuiltModel, index: int, rng: np.random.Generator
) -> pd.DataFrame:
    section = document.config.experiments[index]
    experiment = built.experiments[index]
    table = _draw_probes(document, section, built.alphabet, rng)
    observed = [experiment.rounds[str(e.name)] for e in section.rounds if e.observed]
    reads = _reads_of(document, len(observed))
    columns, log_totals = [], []
    for each, n_reads in zip(observed, reads, strict=True):
        log_enrichment = _log_enrichment(each, table[0])
        frequencies = np.exp(log_enrichment - log_enrichment.max())
        log_totals.append(math.log(frequencies.mean()) + float(log_enrichment.max()))
        columns.append(rng.multinomial(n_reads, frequencies / frequencies.sum()))
    _set_depths(observed, reads, log_totals)
    frame = pd.DataFrame(np.stack(columns, axis=1), index=table[1])
    return frame[frame.any(axis=1)].sort_index()


def _reads_of(document: Document, n_rounds: int) -> list[int]:
    section = document.config.simulate
    assert section is not None
    if len(section.reads) == 1:
        return section.reads * n_rounds
    if len(section.reads) != n_rounds:
        rule = f"{len(section.reads)} numbers for {n_rounds} observed rounds"
        raise document.error(("simulate", "reads"), rule)
    return section.reads


def _draw_probes(
    document: Document,
    section: ExperimentSection,
    alphabet: Alphabet,
    rng: np.random.Generator,
) -> tuple[CountTable, list[str]]:
    """Return distinct random probes, as a table with flanks and as text."""
    settings = document.config.simulate
    assert settings is not None
    lengths = np.resize(np.array(settings.length), settings.n_probes)
    letters = np.array(alphabet.alphabet)
    probes: dict[str, None] = {}
    for _ in range(_MOST_TRIES):
        missing = lengths[len(probes) :]
        if not missing.size:
            break
        for length in missing.tolist():
            probes["".join(rng.choice(letters, length))] = None
    if len(probes) < settings.n_probes:
        rule = f"there are not {settings.n_probes} different probes of such a length"
        raise document.error(("simulate", "n_probes"), rule)
    frame = pd.DataFrame({0: 1}, index=list(probes))
    return make_table(section, frame, alphabet), list(probes)


def _log_enrichment(each: BaseRound, table: CountTable) -> NDArray[np.float64]:
    """Return the log cumulative enrichment of each probe, (probes,)."""
    with torch.no_grad():
        parts = [
            each.log_cumulative_enrichment(seqs) for seqs in table.seqs.split(_AT_ONCE)
        ]
    values: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return values


def _set_depths(
    observed: Sequence[BaseRound], reads: Sequence[int], log_totals: Sequence[float]
) -> None:
    """Set log η to log(reads / Σ f0·enrichment), as seen from the fixed round."""
    depths = [
        math.log(max(n_reads, 1)) - log_total
        for n_reads, log_total in zip(reads, log_totals, strict=True)
    ]
    fixed = next(i for i, each in enumerate(observed) if not each.train_depth)
    shift = observed[fixed].log_depth.item() - depths[fixed]
    with torch.no_grad():
        for each, depth in zip(observed, depths, strict=True):
            each.log_depth.fill_(depth + shift)


def write_simulation(run: RunDirectory, simulation: Simulation) -> list[str]:
    """Write tables, truth, configuration and checkpoint; return the tables' names.

    The configuration of the run names the tables, so that the run directory can be
    scored with, and fitted again from the truth.
    """
    document, built = simulation.document, simulation.built
    run.create()
    experiments, names = [], []
    for section, frame in zip(
        document.config.experiments, simulation.frames, strict=True
    ):
        single = len(simulation.frames) == 1
        name = "counts.tsv.gz" if single else f"{section.name}.tsv.gz"
        _write_table(run, name, frame)
        seen = os.path.relpath(run.path / name, document.folder)
        experiments.append(section.model_copy(update={"table": [seen]}))
        names.append(name)
    config = document.config.model_copy(update={"experiments": experiments})
    document = document.with_config(config)
    run.write_config(document)
    settings = document.config.simulate
    assert settings is not None
    content = {
        "pyprobound": __version__,
        "seed": document.config.seed,
        "simulate": settings.model_dump(),
        "loss_per_read": {"data": _loss_of(simulation)},
        **parameters(document, built),
    }
    run.write_json(run.truth, content)
    flanks = tuple(
        (each.left_flank_length or 0, each.right_flank_length or 0)
        for each in document.config.experiments
    )
    built.loss.save(run.model, flanks)
    return names


def _loss_of(simulation: Simulation) -> float:
    """Return the data loss per read of the truth, which a fit can hardly beat."""
    loss, total = simulation.built.loss, 0.0
    for index, frame in enumerate(simulation.frames):
        section = simulation.document.config.experiments[index]
        table = make_table(section, frame, simulation.built.alphabet)
        with torch.no_grad():
            experiment = simulation.built.experiments[index].experiment
            cost, n_reads = loss.negloglik(experiment, table)
        total += loss.weights[index] * float(cost / n_reads)
    return total


def _write_table(run: RunDirectory, name: str, frame: pd.DataFrame) -> None:
    text = io.StringIO()
    frame.to_csv(text, sep="\t", header=False)
    with (
        replacing(run.path / name) as file,
        # no time and no name inside: the same seed gives the same bytes
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
    ):
        packed.write(text.getvalue().encode())
