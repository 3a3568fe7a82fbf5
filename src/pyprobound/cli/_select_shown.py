"""What a person sees of a selection: a line for each candidate, and the table."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.status import Status
from rich.table import Table

from pyprobound.cli._progress import described
from pyprobound.comparison import Comparison, Row
from pyprobound.optimizer import ProgressEvent

_WIDE = 1000


class Shown:
    """What a person sees of a selection: a line for each candidate that is done."""

    def __init__(
        self,
        names: Sequence[str],
        file: TextIO | None = None,
        status: Status | None = None,
    ) -> None:
        """Show on the line of a terminal, in the lines of a file, or nowhere.

        Args:
            names: Of the candidates.
            file: Where lines go.
            status: The line of a terminal.
        """
        self._names = names
        self._file = file
        self._status = status
        self._done = 0

    def row(self, row: Row) -> None:
        """Show a candidate that is done."""
        self._done += 1
        result = f"failed: {row.failure}"
        if row.held_out_loss is not None:
            result = (
                f"held out {row.held_out_loss:.6f} ± {row.held_out_error:.6f},"
                f" {row.parameters} parameters"
            )
        place = f"{self._done} of {len(self._names)}"
        text = f"{row.seconds:7.1f} s  {place}  {row.candidate}: {result}"
        if self._status is not None:
            self._status.console.print(text, markup=False, soft_wrap=True)
        elif self._file is not None:
            print(text, file=self._file, flush=True)

    def event(self, event: ProgressEvent) -> None:
        """Show how far the present candidate is."""
        if self._status is not None:
            name = self._names[min(self._done, len(self._names) - 1)]
            # brackets are rich's markup
            text = f"{name}: {described(event)}".replace("[", r"\[")
            self._status.update(text)


@contextmanager
def shown_on(file: TextIO, names: Sequence[str], *, quiet: bool) -> Iterator[Shown]:
    """Yield what shows a selection, given where standard error goes.

    Args:
        file: Standard error.
        names: Of the candidates.
        quiet: Whether nothing is to be shown.
    """
    if quiet:
        yield Shown(names)
    elif not file.isatty():
        yield Shown(names, file)
    else:
        console = Console(file=file, highlight=False)
        with Status("dividing the probes", console=console) as status:
            yield Shown(names, status=status)


def print_table(found: Comparison) -> None:
    """Print the candidates; those that failed say why below."""
    if not found.rows:
        return
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    for name in ("parameters", "train", "held out", "to the best", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in found.rows:
        table.add_row(*_cells(row))
    # a name that is cut short is of no use: lines are as long as they need to be
    Console(file=sys.stdout, highlight=False, markup=False, width=_WIDE).print(table)
    for row in found.rows:
        if row.failure is not None:
            print(f"failed: {row.candidate}: {row.failure}")


def _cells(row: Row) -> list[str]:
    seconds = f"{row.seconds:.1f}"
    if row.held_out_loss is None:
        return [row.candidate, "", "", "", "", seconds, "failed"]
    marks = {"best": row.best, "chosen": row.chosen}
    return [
        row.candidate,
        str(row.parameters),
        f"{row.train_loss:.6f}",
        f"{row.held_out_loss:.6f} ± {row.held_out_error:.6f}",
        f"{row.difference:.6f} ± {row.difference_error:.6f}",
        seconds,
        ", ".join(mark for mark, is_so in marks.items() if is_so),
    ]
