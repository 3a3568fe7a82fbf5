"""Models from elsewhere: fits of the Java program ProBound, and single motifs.

A fit of ProBound is read as a dictionary (`get_fit_final`), and its parts are made one
by one, or all together (`parse_probound_model`). `pyprobound.probound` reads, fits and
writes the same files as they are, `pyprobound.motifs` motifs in many formats.

Published motifs are looked for in a file or folder first (`source`, or the environment
variables PYPROBOUND_MOTIF_CENTRAL, PYPROBOUND_JASPAR and PYPROBOUND_HOCOMOCO), then in
an installed package, then on the web.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pyprobound.aggregate import Aggregate
from pyprobound.alphabets import DNA, RNA, Alphabet
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import InputError
from pyprobound.layers import PSAM, NonSpecific
from pyprobound.loss import MultiExperimentLoss
from pyprobound.mode import Mode
from pyprobound.motifs import Motif
from pyprobound.motifs._fetch import hocomoco, jaspar, motif_central
from pyprobound.probound import Document, build, numbers_of
from pyprobound.probound._builder import built
from pyprobound.probound._files import parsed, read_json
from pyprobound.probound._model import Builder, Numbers, alphabet_of
from pyprobound.probound._packing import Letters
from pyprobound.probound._tables import table_of
from pyprobound.rounds import BaseRound
from pyprobound.table import CountTable

_FIT, _CONFIG = Path("fit_final"), Path("config")


def get_fit_final(path: str) -> dict[str, Any]:
    """Return the final model of a fit: the last line of the file.

    Args:
        path: What the trainer has written, or a single model.

    Raises:
        InputError: The file cannot be read, or holds no model.
    """
    found = read_json(Path(os.fspath(path)), "last")
    parsed(Path(path), found)  # says what is wrong with it
    assert isinstance(found, dict)
    return found


def parse_probound_alphabet(fit_final: dict[str, Any]) -> Alphabet:
    """Return the alphabet of a fit, complementary letters at mirrored places.

    Args:
        fit_final: See `get_fit_final`, here and below.
    """
    letters = Letters.of(_document(fit_final).content.model_settings)
    return alphabet_of(letters)[0]


def parse_probound_tables(
    fit_final: dict[str, Any], dataframes: Iterable[pd.DataFrame]
) -> list[CountTable]:
    """Return the count tables of a fit, with the flanks that its modes score.

    Args:
        fit_final: A fit.
        dataframes: The counts of each table, indexed by probe.

    Raises:
        InputError: There are too few or too many, or their columns or probes are not
            what the fit says.
    """
    document = _document(fit_final)
    builder = _Parts(document).builder
    frames = list(dataframes)
    count = len(document.content.model_settings.count_table)
    if len(frames) != count:
        raise document.error(f"has {count} count tables, but {len(frames)} are given")
    return [
        table_of(document, index, frame, builder.alphabet, builder.flank(index))
        for index, frame in enumerate(frames)
    ]


def parse_probound_psam(fit_final: dict[str, Any], mode_idx: int) -> PSAM:
    """Return the energies of a mode.

    Args:
        fit_final: A fit.
        mode_idx: Which mode; one with a size.

    Raises:
        InputError: There is no such mode, or it is non-specific.
    """
    parts = _Parts(_document(fit_final))
    parts.check("bindingModes", mode_idx)
    spec = parts.builder.spec(mode_idx)
    if isinstance(spec, NonSpecific):
        raise parts.document.error(f"bindingModes[{mode_idx}] is non-specific (size 0)")
    parts.fill()
    return spec


def parse_probound_modes(
    fit_final: dict[str, Any],
    layer_specs: Iterable[NonSpecific | PSAM],
    count_table: CountTable,
    table_idx: int,
) -> list[Mode]:
    """Return the modes of a fit on one of its tables, position biases included.

    Args:
        fit_final: A fit.
        layer_specs: The energies of all of its modes, which take the fit's values.
        count_table: The table.
        table_idx: Which one it is.

    Raises:
        InputError: There are too few or too many energies, or there is no such table.
    """
    parts = _Parts(_document(fit_final))
    parts.check("countTable", table_idx)
    specs = list(layer_specs)
    count = len(parts.document.content.model_settings.binding_modes)
    if len(specs) != count:
        raise parts.document.error(f"has {count} modes, but {len(specs)} are given")
    parts.builder.use(specs=specs)
    parts.builder.read(table_idx, count_table)
    modes = [parts.builder.mode(index, table_idx) for index in range(count)]
    parts.fill()
    return modes


def parse_probound_interactions(
    fit_final: dict[str, Any], modes: Sequence[Mode], table_idx: int
) -> list[Cooperativity]:
    """Return the interactions of a fit on one of its tables.

    They leave out the position biases of their modes, as the fit does: a mode with one
    has a twin without it, which shares the energies.

    Args:
        fit_final: A fit.
        modes: All of its modes on that table.
        table_idx: Which one it is.

    Raises:
        InputError: There is no such table.
    """
    parts = _Parts(_document(fit_final))
    parts.check("countTable", table_idx)
    parts.builder.use(table_idx, modes=modes)
    found = parts.document.content.model_settings.binding_mode_interactions
    dimers = [parts.builder.dimer(index, table_idx) for index in range(len(found))]
    parts.fill()
    return dimers


def parse_probound_aggregate(
    fit_final: dict[str, Any],
    modes: Iterable[Mode],
    cooperativities: Iterable[Cooperativity],
    table_idx: int,
    round_idx: int,
) -> Aggregate:
    """Return what binds in one column of one table of a fit.

    Args:
        fit_final: A fit.
        modes: All of its modes on that table.
        cooperativities: All of its interactions on that table.
        table_idx: Which table.
        round_idx: Which column.

    Raises:
        InputError: There is no such table or column, or nothing binds.
    """
    parts = _Parts(_document(fit_final))
    parts.check("countTable", table_idx)
    parts.builder.use(table_idx, modes=modes, dimers=cooperativities)
    made = parts.builder.aggregate(table_idx, round_idx)
    if made is None:
        raise parts.document.error(f"enrichmentModel[{table_idx}]: nothing binds")
    parts.fill()
    return made


def parse_probound_rounds(
    fit_final: dict[str, Any],
    modes: Iterable[Mode],
    cooperativities: Iterable[Cooperativity],
    table_idx: int,
) -> list[BaseRound]:
    """Return the rounds of one table of a fit, one for each column.

    Args:
        fit_final: A fit.
        modes: All of its modes on that table.
        cooperativities: All of its interactions on that table.
        table_idx: Which table.

    Raises:
        InputError: There is no such table.
    """
    parts = _Parts(_document(fit_final))
    parts.check("countTable", table_idx)
    parts.builder.use(table_idx, modes=modes, dimers=cooperativities)
    rounds = parts.builder.rounds(table_idx)
    parts.fill()
    return rounds


def parse_probound_model(
    fit_final: dict[str, Any],
    config: dict[str, Any],
    count_tables: Iterable[CountTable],
) -> MultiExperimentLoss:
    """Return the whole model of a fit, with the penalties of its configuration.

    Args:
        fit_final: A fit.
        config: The configuration that it was made with, for its penalties and ties; a
            list of functions or whole.
        count_tables: Its tables, which are set to the flanks that its modes score.

    Raises:
        InputError: There are too few or too many tables, or the configuration is of
            another model.
    """
    document = _document(fit_final)
    settings = parsed(_CONFIG, built(_CONFIG, config) if _is_list(config) else config)
    document = document.with_content(
        optimizer_setting=settings.content.optimizer_setting,
        model_fitting_constraints=settings.content.model_fitting_constraints,
    )
    tables = list(count_tables)
    model = build(document)
    if len(tables) != len(model.flanks):
        rule = f"has {len(model.flanks)} count tables, but {len(tables)} are given"
        raise document.error(rule)
    for table, flank in zip(tables, model.flanks, strict=True):
        table.set_flank_length(left=flank, right=flank)
    model.loss.know(tables)
    return model.loss


def _is_list(config: object) -> TypeGuard[list[Any]]:
    return isinstance(config, list)


def _document(fit_final: Mapping[str, Any]) -> Document:
    return parsed(_FIT, fit_final)


class _Parts:
    """A fit of which parts are made, one by one."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._numbers = numbers_of(document, document.content.coefficients)
        self.builder = Builder(document, self._numbers)

    def check(self, kind: str, index: int) -> None:
        """Check that there is such a mode or table."""
        settings = self.document.content.model_settings
        count = len(settings.binding_modes)
        if kind == "countTable":
            count = len(settings.count_table)
        if not 0 <= index < count:
            rule = f"no {kind}[{index}]: there are {count}"
            raise self.document.error(rule)

    def fill(self) -> None:
        """Give the parts that were made the values of the fit."""
        Numbers.of(self.document, self._numbers, self.builder.places)
        self.builder.set_concentrations()


# --- single motifs -----------------------------------------------------------------


def import_matrix(matrix: NDArray[Any], alphabet: Alphabet) -> PSAM:
    """Return a PSAM with given energies.

    Args:
        matrix: −ΔΔG/RT, (letters, positions), letters in the alphabet's order.
        alphabet: The letters.

    Raises:
        ValueError: The matrix has another number of letters, or no position.
    """
    values = np.asarray(matrix, dtype=np.float64)
    n = len(alphabet.alphabet)
    if values.ndim != 2 or values.shape[0] != n or values.shape[1] < 1:
        msg = (
            f"a matrix of shape {values.shape} is not (letters, positions) of the"
            f" alphabet's {n} letters"
        )
        raise ValueError(msg)
    if not np.isfinite(values).all():
        raise ValueError("the matrix holds a number that is not finite")
    psam = PSAM(values.shape[1], alphabet)
    with torch.no_grad():
        psam.betas.packed(0).copy_(torch.from_numpy(values.T.reshape(1, -1).copy()))
    return psam


def import_motif_central(fit_id: int, source: str | Path | None = None) -> PSAM:
    """Return the motif of a MotifCentral entry.

    Args:
        fit_id: Its number.
        source: The MotifCentral file; by default $PYPROBOUND_MOTIF_CENTRAL.

    Raises:
        InputError: There is no such file, or no such entry in it.
    """
    return _psam(motif_central(fit_id, source))


def import_jaspar(fit_id: str, source: str | Path | None = None) -> PSAM:
    """Return a JASPAR matrix as log-odds with each position's maximum at 0.

    Counts get √N pseudocounts, N being the sites, and the background is uniform.

    Args:
        fit_id: Its accession, such as "MA0004.1".
        source: A file of matrices, or a folder with one of that name; by default
            $PYPROBOUND_JASPAR, else the package pyjaspar if it is installed, else
            JASPAR's server.

    Raises:
        InputError: It is not found; the message says where it was looked for.
    """
    return _psam(jaspar(fit_id, source))


def import_hocomoco(model: str, source: str | Path | None = None) -> PSAM:
    """Return a HOCOMOCO PWM as it is, but for each position's maximum, which is 0.

    Args:
        model: Its name, such as "GATA1_HUMAN.H11MO.0.A".
        source: A file of PWMs, or a folder with one of that name; by default
            $PYPROBOUND_HOCOMOCO, else HOCOMOCO's server.

    Raises:
        InputError: It is not found; the message says where it was looked for.
    """
    return _psam(hocomoco(model, source))


def _psam(motif: Motif) -> PSAM:
    alphabet = RNA() if motif.letters == "ACGU" else DNA()
    if motif.letters != "".join(alphabet.alphabet):
        raise InputError(f"{motif.name}: letters {motif.letters}, not A, C, G and T")
    return import_matrix(motif.at_best().values, alphabet)
