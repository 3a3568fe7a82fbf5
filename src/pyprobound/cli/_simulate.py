"""`pyprobound simulate`: from a configuration with values to a folder of tables."""

from pathlib import Path

from pyprobound.config import Document, read_config
from pyprobound.run_directory import RunDirectory
from pyprobound.simulate import simulate, write_simulation


def run_simulate(config: Path, output: Path, seed: int | None, *, force: bool) -> None:
    """Draw the tables of a configuration and write them."""
    run = RunDirectory(output)
    run.check(force=force)
    simulation = simulate(with_seed(read_config(config), seed))
    names = write_simulation(run, simulation)
    for name, frame in zip(names, simulation.frames, strict=True):
        reads = ", ".join(f"{x:,}" for x in frame.sum().tolist())
        print(f"{output / name}: {len(frame):,} probes; reads {reads}")
    print(f"The truth is in {run.truth}")


def with_seed(document: Document, seed: int | None) -> Document:
    """Return the document with another seed, where one is given."""
    if seed is None:
        return document
    return document.with_config(document.config.model_copy(update={"seed": seed}))
