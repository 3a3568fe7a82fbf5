"""The commands of `pyprobound plot`: their arguments and their help.

What they do is in `_pictures`, which is imported when one of them runs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pyprobound.cli._told import told, wanting_plots

plot = typer.Typer(
    name="plot",
    help="Draw one picture of a model, as SVG, PNG or PDF.",
    epilog="Every picture has its own help: pyprobound plot logo --help."
    " docs/plots.md says what each shows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class BiasStyle(StrEnum):
    """How `plot posbias` draws."""

    LINE = "line"
    HEATMAP = "heatmap"


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="Run directory of a fit, or the model.pt in it."
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Ends in .svg, .png or .pdf; an old file goes. Of several pictures each"
        " gets its name, as in FILE-NAME.svg.",
    ),
]
Dpi = Annotated[
    float,
    typer.Option(
        min=10, max=2400, help="Points per inch of a PNG, and of what is rasterised."
    ),
]
Width = Annotated[
    float | None, typer.Option(min=0.5, max=100, help="Of the picture, in inches.")
]
Height = Annotated[
    float | None, typer.Option(min=0.5, max=100, help="Of the picture, in inches.")
]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        "--mode",
        metavar="NAME",
        help="Only this binding mode; by default all. May be repeated.",
    ),
]
Dimers = Annotated[
    list[str] | None,
    typer.Option(
        "--dimer",
        metavar="NAME",
        help="Only this dimer; by default all. May be repeated.",
    ),
]
Experiments = Annotated[
    list[str] | None,
    typer.Option(
        "--experiment",
        metavar="NAME",
        help="Only this experiment; by default all. May be repeated.",
    ),
]
OneExperiment = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        metavar="NAME",
        help="Whose dimer; by default the first experiment's that has it.",
    ),
]
Errors = Annotated[
    bool,
    typer.Option(
        "--errors/--no-errors",
        help="Whether to draw 95% intervals, of a run that has errors.npz.",
    ),
]
Rounds = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Names of the two rounds, before selection and after it; by default the"
        " first and the last with reads.",
    ),
]
Tables = Annotated[
    list[Path] | None,
    typer.Option(
        "--table",
        metavar="FILE",
        help="Where a count table is now, if not where the configuration says. One for"
        " each table, in its order.",
    ),
]
Kernel = Annotated[
    int, typer.Option(min=1, metavar="N", help="Probes that are pooled to a point.")
]
Swap = Annotated[
    bool,
    typer.Option("--swap", help="Look from the second motif, not from the first."),
]
Unit = Annotated[
    str, typer.Option(help="Of the concentrations in the configuration, such as nM.")
]


@plot.command()
def logo(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Run directory or model.pt; or a file of motifs in any format of"
            " docs/motifs.md; or FILE.json:ENTRY of MotifCentral.",
        ),
    ],
    output: Output,
    mode: Modes = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Draw the reverse complement.")
    ] = False,
    errors: Errors = True,
    width: Width = None,
    height: Annotated[
        float | None,
        typer.Option(min=0.5, max=100, help="Of the letters, in inches."),
    ] = None,
    dpi: Dpi = 200,
) -> None:
    """Draw motifs: −ΔΔG/RT of their letters.

    Letters are stacked by sign about the mean of their position; letter pairs are maps
    below.

    \b
    Examples:
        pyprobound plot logo bcd.run -o bcd.svg
        pyprobound plot logo exd_hox.run --mode hox --reverse -o hox.pdf
        pyprobound plot logo MotifCentral.v1.0.0.json:CTCF -o ctcf.png --dpi 300
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Target, logos, write

        write(
            Target(output, dpi),
            logos(
                model, mode or [], reverse=reverse, errors=errors, size=(width, height)
            ),
        )


@plot.command()
def posbias(
    model: Model,
    output: Output,
    mode: Modes = None,
    experiment: Experiments = None,
    style: Annotated[
        BiasStyle | None,
        typer.Option(help="By default lines, and maps of biases by probe length."),
    ] = None,
    errors: Errors = True,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw position biases along the probe.

    \b
    Examples:
        pyprobound plot posbias ctcf.run -o posbias.svg
        pyprobound plot posbias ctcf.run --style heatmap -o posbias.png
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Target, biases, write

        write(
            Target(output, dpi, width, height),
            biases(
                model,
                mode or [],
                experiment or [],
                None if style is None else style.value,
                errors=errors,
            ),
        )


@plot.command()
def spacing(
    model: Model,
    output: Output,
    dimer: Dimers = None,
    experiment: OneExperiment = None,
    swap: Swap = False,
    as_map: Annotated[
        bool,
        typer.Option("--map", help="A map of orientation × letters between motifs."),
    ] = False,
    errors: Errors = True,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw log ω of dimers by spacing.

    For each orientation of the two motifs.

    \b
    Examples:
        pyprobound plot spacing exd_hox.run -o spacing.svg
        pyprobound plot spacing exd_hox.run --map --swap -o map.pdf
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Target, spacings, write

        write(
            Target(output, dpi, width, height),
            spacings(
                model, dimer or [], experiment, swap=swap, as_map=as_map, errors=errors
            ),
        )


@plot.command()
def cooperativity(
    model: Model,
    output: Output,
    dimer: Dimers = None,
    experiment: OneExperiment = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw log ω of dimers by pairs of windows.

    For each pair of strands, position bias of the dimer included.

    \b
    Examples:
        pyprobound plot cooperativity exd_hox.run -o windows.png
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Target, window_pairs, write

        write(
            Target(output, dpi, width, height),
            window_pairs(model, dimer or [], experiment),
        )


@plot.command()
def enrichment(
    model: Model,
    output: Output,
    experiment: Experiments = None,
    rounds: Rounds = None,
    kernel: Kernel = 500,
    table: Tables = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw observed against predicted enrichment.

    Of probes, ordered by predicted enrichment and pooled.

    \b
    Examples:
        pyprobound plot enrichment bcd.run -o enrichment.svg
        pyprobound plot enrichment bcd.run --rounds 0,2 --kernel 100 -o early.png
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Data, Target, probes, write

        data = Data(model, table or [], experiment or [], kernel)
        write(Target(output, dpi, width, height), probes(data, rounds))


@plot.command()
def kmers(
    model: Model,
    output: Output,
    length: Annotated[
        int, typer.Option(min=1, max=12, metavar="K", help="Letters of a k-mer.")
    ] = 3,
    experiment: Experiments = None,
    rounds: Rounds = None,
    kernel: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="The fewest occurrences that make a point."
        ),
    ] = 500,
    table: Tables = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw observed against predicted k-mers.

    Enrichment of every k-mer: one that lies off the diagonal is a motif that the model
    lacks.

    \b
    Examples:
        pyprobound plot kmers bcd.run --length 6 -o kmers.svg
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Data, Target, words, write

        data = Data(model, table or [], experiment or [], kernel)
        write(Target(output, dpi, width, height), words(data, rounds, length))


@plot.command()
def kd(
    model: Model,
    output: Output,
    experiment: Experiments = None,
    unit: Unit = "",
    kernel: Kernel = 500,
    table: Tables = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw observed against predicted K_D (Kd-seq).

    \b
    Examples:
        pyprobound plot kd dll.run --unit nM -o kd.svg
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Data, Target, constants, write

        data = Data(model, table or [], experiment or [], kernel)
        write(Target(output, dpi, width, height), constants(data, unit))


@plot.command()
def keff(
    model: Model,
    output: Output,
    experiment: Experiments = None,
    rounds: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Names of exponential rounds; by default all with reads.",
        ),
    ] = None,
    unit: Annotated[
        str, typer.Option(help="Of the rates: that of 1/concentration/time.")
    ] = "",
    kernel: Kernel = 500,
    table: Tables = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw observed against predicted rates.

    Effective rates of rounds of type "exponential", such as kinase-seq.

    \b
    Examples:
        pyprobound plot keff kinase.run -o keff.svg
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Data, Target, rates, write

        data = Data(model, table or [], experiment or [], kernel)
        write(Target(output, dpi, width, height), rates(data, rounds, unit))


@plot.command()
def contribution(
    model: Model,
    output: Output,
    experiment: Experiments = None,
    selection: Annotated[
        str | None,
        typer.Option(
            "--round", metavar="NAME", help="By default the last in which modes bind."
        ),
    ] = None,
    kernel: Annotated[
        int, typer.Option(min=1, metavar="N", help="The fewest probes of a pool.")
    ] = 500,
    table: Tables = None,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw the share of each mode and dimer.

    Of what is bound, from weak to strong probes.

    \b
    Examples:
        pyprobound plot contribution exd_hox.run -o shares.svg
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Data, Target, shares, write

        data = Data(model, table or [], experiment or [], kernel)
        write(Target(output, dpi, width, height), shares(data, selection))


@plot.command()
def convergence(
    model: Model,
    output: Output,
    width: Width = None,
    height: Height = None,
    dpi: Dpi = 200,
) -> None:
    """Draw how the loss of a fit fell.

    \b
    Examples:
        pyprobound plot convergence bcd.run -o loss.svg
    """
    with told(), wanting_plots():
        from pyprobound.cli._pictures import Target, losses, write

        write(Target(output, dpi, width, height), losses(model))
