"""`pyprobound plot`: from a model to files of pictures.

Each function yields pictures and what they are called; `write` draws all of them before
it writes the first, so that bad input leaves nothing behind.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from matplotlib.figure import Figure

from pyprobound import plotting
from pyprobound.aggregate import Aggregate
from pyprobound.base import Binding
from pyprobound.cli._motif_psams import psams_of_file
from pyprobound.config import BuiltExperiment, BuiltModel, Document
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.page import Run, open_page_run
from pyprobound.page._history import fits_of, title_of
from pyprobound.plotting._convergence import Stretch, convergence
from pyprobound.plotting._saved import format_of
from pyprobound.report_errors import kd_seq_libraries
from pyprobound.rounds import BaseRound, ExponentialRound
from pyprobound.run_directory import RunDirectory, open_errors, open_run
from pyprobound.table import CountTable
from pyprobound.uncertainty import Uncertainty

T = TypeVar("T")
Picture = tuple[tuple[str, ...], Figure]
"""What a picture is called, by experiment and binding, and the picture."""

_MOST = 50  # pictures at once; more are a slip
_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Target:
    """Where pictures go.

    Attributes:
        file: The name of one; of several, what their names begin and end with.
        dpi: Points per inch.
        width: In inches; None leaves it to the picture.
        height: Likewise.
    """

    file: Path
    dpi: float
    width: float | None = None
    height: float | None = None


def write(target: Target, pictures: Iterable[Picture]) -> None:
    """Draw pictures, write them and print where they are.

    Raises:
        PyProBoundError: The name ends in another way than pictures do, or a picture
            cannot be drawn or written.
    """
    format_of(target.file)  # before a table is read
    drawn = list(pictures)
    for path, (_, figure) in zip(_paths(target.file, drawn), drawn, strict=True):
        width, height = figure.get_size_inches()
        figure.set_size_inches(target.width or width, target.height or height)
        plotting.save(figure, path, target.dpi)
        print(path)


def _paths(file: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Return a file for each picture: FILE itself for one, FILE-NAME for several."""
    if len(pictures) == 1:
        return [file]
    parts = list(zip(*(names for names, _ in pictures), strict=True))
    telling = [each for each in parts if len(set(each)) > 1]
    labels = [_UNSAFE.sub("_", "-".join(x)) for x in zip(*telling, strict=True)]
    if len(set(labels)) < len(pictures):
        labels = [str(number) for number in range(1, len(pictures) + 1)]
    return [file.with_name(f"{file.stem}-{label}{file.suffix}") for label in labels]


# --- the model alone ----------------------------------------------------------------


def logos(
    path: Path,
    modes: Sequence[str],
    *,
    reverse: bool,
    errors: bool,
    size: tuple[float | None, float | None],
) -> Iterator[Picture]:
    """Draw motifs of a run, or of a file of motifs.

    Args:
        path: The model.
        modes: Names of motifs; empty for all.
        reverse: Whether to draw reverse complements.
        errors: Whether to draw intervals where they are known.
        size: Width of the picture and height of its letters, in inches.
    """
    bars = None
    if _is_run(path):
        document, built = _opened(path)
        known = {k: x for k, x in built.specs.modes.items() if isinstance(x, PSAM)}
        psams = _chosen(document.path, "motif", known, modes)
        bars = _errors_of(path, built) if errors else None
    else:
        psams = psams_of_file(path, modes)
    if len(psams) > _MOST:
        msg = f"{path}: holds {len(psams)} motifs; choose some with --mode NAME"
        raise PyProBoundError(msg)
    given = {"width": size[0], "logo_height": size[1]}
    wishes: Any = {key: value for key, value in given.items() if value is not None}
    for name, psam in psams.items():
        figure = plotting.logo(psam, reverse=reverse, errors=bars, **wishes)
        yield (name,), figure


def biases(
    path: Path,
    modes: Sequence[str],
    experiments: Sequence[str],
    style: str | None,
    *,
    errors: bool,
) -> Iterator[Picture]:
    """Draw the position biases of modes, by default of all that have one."""
    document, built = _opened(path)
    bars = _errors_of(path, built) if errors else None
    names = [name for name, binding in _bindings(built) if isinstance(binding, Mode)]
    wanted = _chosen(document.path, "mode", dict(zip(names, names, strict=True)), modes)
    n_drawn = 0
    for name, each in _experiments(document, built, experiments).items():
        section = document.config.experiments[built.experiments.index(each)]
        flanks = section.left_flank_length or 0, section.right_flank_length or 0
        for mode, binding in each.bindings.items():
            if mode not in wanted or not _has_bias(binding):
                continue
            n_drawn += 1
            figure = plotting.posbias(
                cast("Mode", binding),
                cast("Literal['line', 'heatmap'] | None", style),
                errors=bars,
                flanks=flanks,
            )
            yield (name, mode), figure
    if not n_drawn:
        msg = (
            f"{document.path}: {' and '.join(modes) or 'no mode'} has"
            f"{' no' if modes else ' a'} position bias; fit one with"
            " position_bias = true in the section of its mode"
        )
        raise PyProBoundError(msg)


def spacings(
    path: Path,
    dimers: Sequence[str],
    experiment: str | None,
    *,
    swap: bool,
    as_map: bool,
    errors: bool,
) -> Iterator[Picture]:
    """Draw ω of dimers by spacing and orientation."""
    document, built = _opened(path)
    found = _dimers(document, built, dimers, experiment)
    bars = _errors_of(path, built) if errors else None
    draw = plotting.arrangement_map if as_map else plotting.spacing
    for name, dimer in found.items():
        yield (name,), draw(dimer, swap, errors=bars)


def window_pairs(
    path: Path, dimers: Sequence[str], experiment: str | None
) -> Iterator[Picture]:
    """Draw ω of dimers by pairs of windows."""
    document, built = _opened(path)
    for name, dimer in _dimers(document, built, dimers, experiment).items():
        yield (name,), plotting.cooperativity(dimer)


# --- the model and its data ---------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """A run whose tables are needed.

    Attributes:
        path: The run directory.
        tables: Where its tables are now; empty where the configuration says it.
        experiments: Names; empty for all.
        kernel: Probes to pool.
    """

    path: Path
    tables: Sequence[Path]
    experiments: Sequence[str]
    kernel: int

    def opened(self) -> Iterator["Compared"]:
        """Iterate over the experiments and their tables.

        Raises:
            PyProBoundError: The run or a table cannot be read, or an experiment is not
                known.
        """
        run = open_page_run(self.path, self.tables)
        if run.tables is None:
            msg = (
                f"{run.no_tables}; this picture compares the model with the counts: say"
                " with --table where they are"
            )
            raise PyProBoundError(msg)
        chosen = _experiments(run.document, run.built, self.experiments)
        for name, each in chosen.items():
            index = run.built.experiments.index(each)
            yield Compared(name, each, run.tables[index], self.kernel, run, index)


@dataclass(frozen=True)
class Compared:
    """An experiment and the counts to compare it with."""

    name: str
    built: BuiltExperiment
    table: CountTable
    kernel: int
    run: Run
    index: int

    @property
    def dispersion(self) -> float | None:
        """How much more than drawn ones its counts scatter, where the fit has found."""
        errors = self.run.errors
        return None if errors is None else errors.dispersion[self.index]

    def pair(self, rounds: str | None) -> list[int] | None:
        """Return the columns of two rounds that are named, as in "0,2".

        Raises:
            PyProBoundError: They are not two, or not observed rounds.
        """
        found = self.columns(rounds)
        if found is not None and len(set(found)) != 2:
            rule = "name two rounds, before selection and after it, as in R0,R1"
            raise PyProBoundError(f"--rounds {rounds}: {rule}")
        return found

    def columns(self, rounds: str | None) -> list[int] | None:
        """Return the columns of rounds that are named.

        Raises:
            PyProBoundError: One is not an observed round.
        """
        if rounds is None:
            return None
        observed = [str(each.name) for each in self.built.experiment.rounds]
        numbers = {name: number for number, name in enumerate(observed)}
        where = f"{self.run.document.path}: {self.name}"
        chosen = _chosen(where, "observed round", numbers, rounds.split(","))
        return [chosen[name] for name in rounds.split(",")]


def probes(data: Data, rounds: str | None) -> Iterator[Picture]:
    """Draw observed against predicted enrichment of probes."""
    for each in data.opened():
        figure = plotting.probe_enrichment(
            each.built.experiment,
            each.table,
            each.pair(rounds),
            each.kernel,
            dispersion=each.dispersion,
        )
        yield (each.name,), figure


def words(data: Data, rounds: str | None, length: int) -> Iterator[Picture]:
    """Draw observed against predicted enrichment of k-mers."""
    for each in data.opened():
        figure = plotting.kmer_enrichment(
            each.built.experiment,
            each.table,
            each.pair(rounds),
            length,
            each.kernel,
            dispersion=each.dispersion,
        )
        yield (each.name,), figure


def constants(data: Data, unit: str) -> Iterator[Picture]:
    """Draw observed against predicted K_D of the experiments that are Kd-seq."""
    n_drawn = 0
    for each in data.opened():
        libraries = kd_seq_libraries(each.built)
        if libraries is None:
            continue
        n_drawn += 1
        figure = plotting.kd_consistency(
            each.built.experiment,
            *libraries,
            each.table,
            each.kernel,
            dispersion=each.dispersion,
            unit=unit,
        )
        yield (each.name,), figure
    if not n_drawn:
        msg = (
            f"{data.path}: not Kd-seq, which has an input, a bound library with"
            " library_concentration and an unbound library"
        )
        raise PyProBoundError(msg)


def rates(data: Data, rounds: str | None, unit: str) -> Iterator[Picture]:
    """Draw observed against predicted rates of exponential rounds."""
    n_drawn = 0
    for each in data.opened():
        observed = each.built.experiment.rounds
        if not any(isinstance(x, ExponentialRound) for x in observed):
            continue
        n_drawn += 1
        figure = plotting.keff_consistency(
            each.built.experiment,
            each.table,
            each.columns(rounds),
            each.kernel,
            dispersion=each.dispersion,
            unit=unit,
        )
        yield (each.name,), figure
    if not n_drawn:
        msg = f'{data.path}: no round of type "exponential", so there are no rates'
        raise PyProBoundError(msg)


def shares(data: Data, selection: str | None) -> Iterator[Picture]:
    """Draw the shares of bindings in a round, by default the last with any."""
    for each in data.opened():
        rounds = {
            name: x for name, x in each.built.rounds.items() if _binds(x) is not None
        }
        where = f"{data.path}: {each.name}"
        if not rounds:
            raise PyProBoundError(f"{where} has no round in which anything binds")
        name = list(rounds)[-1] if selection is None else selection
        chosen = _chosen(where, "round with binding", rounds, [name])[name]
        figure = plotting.contribution(chosen, each.table, each.kernel)
        yield (each.name,), figure


def losses(path: Path) -> Iterator[Picture]:
    """Draw how the loss of a fit fell."""
    directory = RunDirectory(path if path.is_dir() else path.parent)
    run = Run(directory, *open_run(path), "not asked for")
    if not run.events:
        msg = f"{directory.events}: no such file, or nothing in it: no log of a fit"
        raise PyProBoundError(msg)
    stretches = [
        Stretch(title_of(x.binding), x.losses, [each["val_loss"] for each in x.events])
        for x in fits_of(run.events)
    ]
    yield ("convergence",), convergence(stretches)


# --- models and their parts ---------------------------------------------------------


def _is_run(path: Path) -> bool:
    folder = path if path.is_dir() else path.parent
    return path.is_dir() or (
        path.suffix == ".pt" and RunDirectory(folder).config.exists()
    )


def _opened(path: Path) -> tuple[Document, BuiltModel]:
    document, built = open_run(path)
    built.loss.to(torch.float64)
    return document, built


def _errors_of(path: Path, built: BuiltModel) -> Uncertainty | None:
    """Return the errors of a run; where there are none, that is said."""
    run = RunDirectory(path if path.is_dir() else path.parent)
    if not run.errors.exists():
        print(f"no intervals: {run.errors} is not there", file=sys.stderr)
        return None
    return open_errors(path, built)


def _chosen(
    where: object, kind: str, known: Mapping[str, T], names: Sequence[str]
) -> dict[str, T]:
    """Return what is named, by default all.

    Raises:
        PyProBoundError: A name is not known, or there is nothing of the kind.
    """
    if not known:
        raise PyProBoundError(f"{where}: has no {kind}")
    for name in names:
        if name not in known:
            msg = f"{where}: no {kind} {name!r}; there is {', '.join(known)}"
            raise PyProBoundError(msg)
    return {name: known[name] for name in dict.fromkeys(names or known)}


def _experiments(
    document: Document, built: BuiltModel, names: Sequence[str]
) -> dict[str, BuiltExperiment]:
    sections = document.config.experiments
    known = {
        str(section.name): each
        for section, each in zip(sections, built.experiments, strict=True)
    }
    return _chosen(document.path, "experiment", known, names)


def _bindings(built: BuiltModel) -> Iterator[tuple[str, Binding]]:
    for each in built.experiments:
        yield from each.bindings.items()


def _dimers(
    document: Document,
    built: BuiltModel,
    names: Sequence[str],
    experiment: str | None,
) -> dict[str, Cooperativity]:
    """Return dimers, each of the first experiment that has it."""
    wanted = [] if experiment is None else [experiment]
    known: dict[str, Cooperativity] = {}
    for each in _experiments(document, built, wanted).values():
        for name, binding in each.bindings.items():
            if isinstance(binding, Cooperativity):
                known.setdefault(name, binding)
    return _chosen(document.path, "dimer", known, names)


def _has_bias(binding: Binding) -> bool:
    last = binding.chain[-1] if isinstance(binding, Mode) else None
    if not isinstance(last, Conv0d | Conv1d):
        return False
    return last.train_posbias or bool(last.log_posbias.any())


def _binds(each: BaseRound) -> Aggregate | None:
    """Return what binds in a round, None where nothing does."""
    found = getattr(each, "aggregate", None)
    return found if isinstance(found, Aggregate) and found.present() else None
