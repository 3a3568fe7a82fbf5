"""The command: fit a model, choose one, score with it, simulate experiments.

    pyprobound fit CONFIG.toml        pyprobound score MODEL SEQS
    pyprobound select CONFIG.toml     pyprobound simulate TRUTH.toml
    pyprobound convert A B            pyprobound models FILE
    pyprobound report RUN_DIR         pyprobound plot logo|… MODEL

Bad input is one line on standard error and exit code 2. What a command needs is
imported when it runs, so that `--help` is quick.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pyprobound._version import __version__
from pyprobound.cli._plot import plot
from pyprobound.cli._told import told
from pyprobound.errors import PyProBoundError


class Procedure(StrEnum):
    """How `fit` goes about a configuration of the Java program."""

    ENGINE = "engine"
    PROBOUND = "probound"


class What(StrEnum):
    """What `score` prints of a sequence."""

    SCORES = "scores"
    LOG_Z = "log_z"
    ENRICHMENT = "enrichment"
    AFFINITY = "affinity"
    LOG_AFFINITY = "log_affinity"
    BEST = "best"
    DDG = "ddg"
    CONTRIBUTION = "contribution"
    OCCUPANCY = "occupancy"


class TableFormat(StrEnum):
    """How `score` writes its table."""

    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"


app = typer.Typer(
    name="pyprobound",
    epilog="Every command has its own help: pyprobound fit --help",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets are TOML's here, and line breaks are meant
)
app.add_typer(plot)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"pyprobound {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and stop.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Biophysical models of protein binding, learned from count data such as SELEX."""


@app.command()
def fit(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="What to fit, and to what.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Run directory; by default the configuration's, or CONFIG.run.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed, instead of the file's.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in a directory in use.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a fit that was interrupted or died."),
    ] = False,
    procedure: Annotated[
        Procedure | None,
        typer.Option(
            help="Of a CONFIG.json: probound takes the Java program's own steps."
        ),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Count table, instead of the one that a CONFIG.json names. May be"
            " repeated.",
        ),
    ] = None,
    errors: Annotated[
        bool | None,
        typer.Option(
            "--errors/--no-errors",
            help="Whether to compute standard errors, which takes one pass over the"
            " tables; by default the configuration says (yes, if it says nothing).",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Whether to write the page report.html at the end.",
        ),
    ] = True,
) -> None:
    """Fit a model to count tables.

    A small configuration, see docs/config.md for all keys:

    \b
        [experiment]
        table = "counts.tsv.gz"
        left_flank = "GTTCAGAGTTC"
        right_flank = "CCAGCTGTCGT"
        [[modes]]
        name = "bcd"
        size = 12
        flank_length = 5

    CONFIG.json is a configuration of the Java program ProBound, a list of functions or
    whole; its models go to NAME.models.json.

    The run directory gets the model (model.pt), the configuration with every default
    filled in, parameters and losses (result.json), a log (log.jsonl) and, of a fit that
    has come to its end, a page for a browser (report.html). Ctrl-C keeps the best model
    so far; the same command with --resume goes on after the last epoch, whatever has
    ended the fit. With [select], the model is chosen first: pyprobound select.

    \b
    Examples:
        pyprobound fit bcd.toml
        pyprobound fit bcd.toml -o runs/seed3 --seed 3
        pyprobound fit bcd.toml -o runs/seed3 --seed 3 --resume
    """
    with told():
        if config.suffix == ".json":
            if resume:
                raise PyProBoundError(f"--resume is for a CONFIG.toml, not {config}")
            from pyprobound.cli._fit_probound import ProBoundOptions, run_probound

            if errors:
                msg = f"--errors is for a CONFIG.toml, not {config}"
                raise PyProBoundError(msg)
            asked = ProBoundOptions(
                config,
                output,
                seed,
                (procedure or Procedure.ENGINE).value,
                table or [],
                quiet=quiet,
                force=force,
            )
            raise typer.Exit(run_probound(asked))
        for name, given in (("procedure", procedure), ("table", table)):
            if given:
                raise PyProBoundError(f"--{name} is for a CONFIG.json, not {config}")
        from pyprobound.cli._fit import FitOptions
        from pyprobound.cli._select import run_fit_or_select

        options = FitOptions(
            config,
            output,
            seed,
            quiet=quiet,
            force=force,
            errors=errors,
            resume=resume,
            report=report,
        )
        code = run_fit_or_select(options)
    raise typer.Exit(code)


@app.command()
def select(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.toml", help="What to choose from, and by what."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Run directory; by default the configuration's, or CONFIG.run.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed, instead of the file's.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in a directory in use.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Whether to write the page report.html at the end.",
        ),
    ] = True,
) -> None:
    """Choose a model by held-out probes, then fit it.

    The configuration is that of a fit, with what to choose from:

    \b
        [select]
        sizes = [8, 10, 12]
        symmetry = ["none", "palindrome"]
        flank_lengths = [0, 5]

    Each combination is fitted to a part of the probes and judged by the others. The
    simplest one within one standard error of the best is then fitted to all probes, as
    `pyprobound fit` does. Without [select], sizes, symmetry, dimers and the number of
    motifs are varied; see docs/select.md. Ctrl-C keeps the table so far.

    \b
    Examples:
        pyprobound select bcd.toml
        pyprobound select bcd.toml -o runs/chosen --seed 3
    """
    with told():
        from pyprobound.cli._fit import FitOptions
        from pyprobound.cli._select import run_select

        options = FitOptions(
            config, output, seed, quiet=quiet, force=force, report=report
        )
        code = run_select(options)
    raise typer.Exit(code)


@app.command()
def score(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run directory or its model.pt; a scoring model or fit of ProBound"
            " (.json); MotifCentral.json:ENTRY, by fit_id or gene.",
        ),
    ],
    sequences: Annotated[
        str,
        typer.Argument(
            metavar="SEQS",
            help="FASTA, TSV (sequence first) or one sequence per line; may be gzipped;"
            " - is standard input.",
        ),
    ] = "-",
    what: Annotated[
        list[What] | None,
        typer.Option(
            help="scores: log score of each mode and dimer (default); log_z: log Z of"
            " each round; enrichment: log enrichment of each round over the initial"
            " library; affinity, log_affinity: sum over windows relative to the best"
            " sequence; best: score, start (from 0), strand and letters of the best"
            " window; ddg: its ΔΔG/RT to the best sequence; contribution: share of Z of"
            " each mode and dimer; occupancy: bound fraction at --concentration. May be"
            " repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to write, not to stdout."
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Whose rounds and flanks; by default the first experiment's."
        ),
    ] = None,
    flanks: Annotated[
        bool,
        typer.Option(
            "--flanks",
            help="Score sequences as probes of the experiment: with its flanks and its"
            " position bias.",
        ),
    ] = False,
    upper: Annotated[
        bool, typer.Option("--upper", help="Read small letters as capitals.")
    ] = False,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors",
            help="Add the standard error and the 95% interval of each value (nan: not"
            " identified), from the errors.npz of the run.",
        ),
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ", help="Print differences from the values of this sequence."
        ),
    ] = None,
    concentration: Annotated[
        float | None,
        typer.Option(
            metavar="C",
            help="Free concentration, adds occupancy: in the unit of the experiment's"
            " target_concentration, else relative.",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Print the scores of all windows, on either strand."
        ),
    ] = False,
    allow_short: Annotated[
        bool,
        typer.Option(
            "--allow-short",
            help="Take sequences shorter than a motif: their sum is 0.",
        ),
    ] = False,
    modification: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of a scoring model: what the sequences carry. May be repeated.",
        ),
    ] = None,
    table_format: Annotated[
        TableFormat | None,
        typer.Option(
            "--format",
            help="By default as the name of -o ends (.parquet, .jsonl), else TSV.",
        ),
    ] = None,
) -> None:
    """Print what a model says of sequences, as a table.

    Scores are natural logarithms: log 1/K of the whole sequence, summed over windows
    and strands. Sequences may differ in length; long ones (chromosomes in FASTA) are
    read piece by piece. docs/scoring.md has all columns and their units.

    \b
    Examples:
        pyprobound score bcd.run peaks.fa > scores.tsv
        echo GGGATTAGGG | pyprobound score bcd.run
        pyprobound score bcd.run counts.tsv.gz --flanks --what enrichment
        pyprobound score bcd.run sites.txt --errors --reference GGGATTAGGG
        pyprobound score bcd.run peaks.fa --what affinity --what best -o peaks.parquet
        pyprobound score MotifCentral.json:Tfe3 chr1.fa --upper --profile
    """
    with told():
        from pyprobound.cli._score import ScoreOptions, run_score

        kinds = list(what or [What.SCORES])
        if concentration is not None and What.OCCUPANCY not in kinds:
            kinds.append(What.OCCUPANCY)
        options = ScoreOptions(
            model,
            sequences,
            tuple(each.value for each in kinds),
            output,
            experiment,
            flanks=flanks,
            upper=upper,
            errors=errors,
            reference=reference,
            concentration=concentration,
            profile=profile,
            allow_short=allow_short,
            modifications=tuple(modification or []),
            format=None if table_format is None else table_format.value,
        )
        run_score(options)


@app.command()
def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", help="What a fit has left behind.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to write; by default report.html in the run directory.",
        ),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Where a count table is now, if not where the configuration says. One"
            " for each table, in its order.",
        ),
    ] = None,
) -> None:
    """Write a page on a fit, for a browser.

    One HTML file that needs nothing from elsewhere: what was fitted to what, whether to
    believe it, motifs, dimers, how well the model agrees with the reads, how the fit
    went, and all numbers to save. `pyprobound fit` makes it at its end. Where a table
    is gone, the page has no comparison with the data. See docs/report.md.

    \b
    Examples:
        pyprobound report bcd.run
        pyprobound report bcd.run -o bcd.html --table /data/bcd.tsv.gz
    """
    with told():
        from pyprobound.cli._report import run_report

        run_report(run, output, table or [])


@app.command()
def simulate(
    config: Annotated[
        Path,
        typer.Argument(metavar="TRUTH.toml", help="A model with its parameters."),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Where the tables go."),
    ],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed, instead of the file's.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in a directory in use.")
    ] = False,
) -> None:
    """Draw count tables from a model with known parameters.

    The configuration is that of a fit, with values: energies (or a consensus) of each
    mode, log_activities of each round, log_omega of each dimer, and

    \b
        [simulate]
        n_probes = 20000
        length = 16
        reads = 100000

    The directory gets the tables, truth.json, and a model that `score` reads.

    \b
    Examples:
        pyprobound simulate truth.toml -o simulated
        pyprobound score simulated simulated/counts.tsv.gz
    """
    with told():
        from pyprobound.cli._simulate import run_simulate

        run_simulate(config, output, seed, force=force)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="A", help="Motifs, a model of ProBound, or a run directory."
        ),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="B", help="Where to write; an old file goes.")
    ],
    source_format: Annotated[
        str | None,
        typer.Option("--from", metavar="F", help="A's format, if it is not found out."),
    ] = None,
    target_format: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="F", help="B's format, if its name does not tell."
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only the motif of this fit_id, name or gene."),
    ] = None,
    pseudocount: Annotated[
        float | None,
        typer.Option(min=0, help="Added to the counts of every position of A."),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Write the whole model of a run directory, rounds and dimers"
            " included, as a fit of ProBound.",
        ),
    ] = False,
) -> None:
    """Write motifs in another format.

    \b
    Formats: meme jaspar pfm transfac homer uniprobe cisbp hocomoco-pcm
             hocomoco-pwm motifcentral probound pyprobound

    What B cannot hold is named in one warning. See docs/motifs.md.

    \b
    Examples:
        pyprobound convert MA0004.1.jaspar arnt.meme
        pyprobound convert bcd.run bcd.json
        pyprobound convert bcd.run bcd.models.json --whole
        pyprobound convert MotifCentral.v1.0.0.json ctcf.homer --select CTCF
    """
    with told():
        from pyprobound.cli._motifs import ConvertOptions, run_convert

        run_convert(
            ConvertOptions(
                source,
                target,
                source_format,
                target_format,
                select,
                pseudocount,
                whole,
            )
        )


@app.command()
def models(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A MotifCentral file.",
            envvar="PYPROBOUND_MOTIF_CENTRAL",
        ),
    ],
    gene: Annotated[
        str | None, typer.Option(help="Gene symbol; * and ? for any letters.")
    ] = None,
    species: Annotated[
        str | None, typer.Option(help="human, mouse, fly, … or a taxonomy number.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Part of the name of a study or experiment.")
    ] = None,
    factor: Annotated[
        str | None, typer.Option(help="Part of a gene's full name or symbol.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """List the models of a MotifCentral file.

    \b
    Examples:
        pyprobound models MotifCentral.v1.0.0.json --gene 'HOX*' --species human
        pyprobound models MotifCentral.v1.0.0.json --study Nitta2015 --json
    """
    with told():
        from pyprobound.cli._motifs import ModelsOptions, run_models

        run_models(ModelsOptions(file, gene, species, study, factor, as_json))


def main() -> None:
    """Run the command."""
    app(prog_name="pyprobound")
