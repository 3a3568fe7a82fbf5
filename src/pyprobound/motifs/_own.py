"""Models of this library: run directories, and energies in a configuration."""

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pyprobound.config import make_table, to_toml
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import InputError
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.loss import MultiExperimentLoss
from pyprobound.mode import Mode
from pyprobound.motifs._motif import Array, Motif
from pyprobound.probound import CannotHoldError, exported, to_json, write_models
from pyprobound.rounds import Round
from pyprobound.run_directory import open_run


def read_run(path: Path) -> list[Motif]:
    """Return the motifs of a run directory, or of its checkpoint.

    A mode's activity is that in the last round in which it binds.
    """
    document, built = open_run(path)
    return motifs_of_model(built.loss, document.path.parent.name or "model")


@torch.no_grad()
def motifs_of_model(model: MultiExperimentLoss, name: str) -> list[Motif]:
    """Return the motifs of a model, in the order in which they first bind.

    Raises:
        InputError: It has none, or one over numbers instead of letters.
    """
    model.settle()
    left_out = _left_out(model)
    activities = _activities(model)
    motifs = []
    specs = [each for each in model.modules() if isinstance(each, PSAM)]
    for index, psam in enumerate(specs):
        activity = activities.get(id(psam), 0.0)
        motifs += list(
            _motifs(psam, psam.name or f"{name}.{index}", activity, left_out)
        )
    if not motifs:
        raise InputError(f"{name}: the model has no motif")
    return motifs


def _motifs(
    psam: PSAM, name: str, activity: float, left_out: tuple[str, ...]
) -> Iterator[Motif]:
    if psam.alphabet is None or any(len(x) > 1 for x in psam.alphabet.alphabet):
        raise InputError(f"{name}: a motif has letters of one character each")
    if psam.dilation > 1:
        left_out = (*left_out, "gaps between positions")
    letters = "".join(psam.alphabet.alphabet)
    channels = psam.out_channels // psam.n_strands
    constant = psam.get_bias().double()
    for channel in range(channels):
        first, *rest = [each[channel].double() for each in psam.filters()]
        yield Motif(
            name if channels == 1 else f"{name}.{channel}",
            letters,
            first.numpy(),
            pairs=tuple(each.permute(2, 0, 1).numpy() for each in rest),
            log_activity=activity + float(constant[channel]),
            complement=letters[::-1] if psam.score_reverse else "",
            left_out=left_out,
        )


def _activities(model: MultiExperimentLoss) -> dict[int, float]:
    """Return log α by the identity of a PSAM, of the last round it binds in."""
    found = {}
    for each in model.modules():
        if isinstance(each, Round):
            for part in each.aggregate.present():
                if isinstance(part.binding, Mode):
                    spec = part.binding.chain[-1].layer_spec
                    found[id(spec)] = float(part.log_activity)
    return found


def _left_out(model: MultiExperimentLoss) -> tuple[str, ...]:
    parts = list(model.modules())
    biased = [each for each in parts if isinstance(each, Conv1d | Conv0d)]
    said = {
        "dimers": any(isinstance(each, Cooperativity) for each in parts),
        "non-specific binding": any(isinstance(each, Conv0d) for each in parts),
        "position bias": any(bool(each.log_posbias.any()) for each in biased),
        "activities of single rounds": sum(isinstance(x, Round) for x in parts) > 1,
    }
    return tuple(word for word, holds in said.items() if holds)


def write_fit(run: str | Path, target: str | Path) -> None:
    """Write the whole model of a run directory as a fit of the Java program.

    Its rounds, dimers and position biases go with it, the counts do not: the file
    names the tables.

    Args:
        run: The run directory, or its checkpoint.
        target: The file; one that exists is replaced once the new one is complete.

    Raises:
        PyProBoundError: The run cannot be read, or the format cannot hold a part of
            the model; the message names it.
    """
    path = Path(target)
    document, built = open_run(Path(run))
    tables, files = [], []
    for section, each in zip(
        document.config.experiments, built.experiments, strict=True
    ):
        if len(section.table) != 1:
            raise CannotHoldError(f"{section.name}: counts in several files")
        length = section.max_variable_length
        assert length is not None  # open_run has seen to it
        # the lengths and flanks of the probes are all that is wanted of them
        probe = built.alphabet.alphabet[0] * length
        counts = pd.DataFrame([[1] * len(each.experiment.rounds)], index=[probe])
        tables.append(make_table(section, counts, built.alphabet))
        place = (document.folder / section.table[0]).resolve()
        files.append(Path(os.path.relpath(place, path.resolve().parent)).as_posix())
    found, numbers = exported(built.loss, tables, files)
    write_models(path, [to_json(found, numbers)])


# --- configurations -----------------------------------------------------------------


def read_toml(path: Path) -> list[Motif]:
    """Return the modes of a configuration that have energies.

    Raises:
        InputError: It cannot be read, or has no such mode.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path}: cannot be read ({reason})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: no TOML ({error})") from None
    modes = content.get("modes")
    listed = modes if isinstance(modes, list) else []
    found = [
        _from_section(path, index, mode)
        for index, mode in enumerate(listed)
        if isinstance(mode, dict) and "energies" in mode
    ]
    if not found:
        raise InputError(f"{path}: no mode with energies")
    return found


def _from_section(path: Path, index: int, mode: dict[str, Any]) -> Motif:
    where = f"{path}: modes[{index}].energies"
    energies = mode["energies"]
    if not isinstance(energies, dict) or not energies:
        raise InputError(f"{where}: a row of numbers for each letter is wanted")
    lengths = {len(row) if isinstance(row, list) else -1 for row in energies.values()}
    if len(lengths) > 1 or min(lengths) < 1:
        raise InputError(f"{where}: rows of the same number of positions are wanted")
    rows = list(energies.values())
    if any(type(x) not in (int, float) for row in rows for x in row):
        raise InputError(f"{where}: a value is no number")
    name = str(mode.get("name", f"{path.stem}.{index}"))
    if any(len(letter) != 1 for letter in energies):
        raise InputError(f"{where}: letters of one character each are wanted")
    single = mode.get("score_reverse") is False
    try:
        return Motif(name, "".join(energies), rows, complement="" if single else None)  # type: ignore[arg-type]  # None or the default
    except (ValueError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from None


def write_toml(motifs: Sequence[Motif]) -> str:
    """Return a text of modes with energies, to be put into a configuration."""
    sections = []
    for motif in motifs:
        values: Array = motif.energies()
        rows = [list(map(float, row)) for row in values]
        section: dict[str, object] = {"name": motif.name, "size": motif.size}
        if motif.letters == "ACGT" and not motif.complement:
            section["score_reverse"] = False
        section["energies"] = dict(zip(motif.letters, rows, strict=True))
        sections.append(section)
    return to_toml({"modes": sections}).lstrip("\n")
