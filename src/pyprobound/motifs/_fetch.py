"""Finding a published motif: in a file or folder, a package, or on the web."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np

from pyprobound._version import __version__
from pyprobound.errors import InputError
from pyprobound.motifs import _jaspar, _rows
from pyprobound.motifs._central import read_entries
from pyprobound.motifs._formats import read_motifs
from pyprobound.motifs._lines import Lines
from pyprobound.motifs._motif import DNA, Motif

CENTRAL = "PYPROBOUND_MOTIF_CENTRAL"
JASPAR = "PYPROBOUND_JASPAR"
HOCOMOCO = "PYPROBOUND_HOCOMOCO"

TIMEOUT = 30.0
"""Seconds that a server may take to answer."""

_LARGEST = 2**22
"""Bytes of an answer that are read: no motif has more."""

_JASPAR_URL = "https://jaspar.elixir.no/api/v1/matrix/{}/?format=jaspar"
_HOCOMOCO_URLS = {
    "H11MO": "https://hocomoco11.autosome.org/final_bundle/hocomoco11/full/{species}"
    "/mono/pwm/{model}.pwm",
    "H12CORE": "https://hocomoco12.autosome.org/final_bundle/hocomoco12/H12CORE/pwm"
    "/{model}.pwm",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Source = str | Path | None


def motif_central(fit_id: int, source: Source = None) -> Motif:
    """Return an entry of a MotifCentral file.

    Raises:
        InputError: No file is given, it cannot be read, or has no such entry.
    """
    place = _place(source, CENTRAL)
    if place is None:
        raise InputError(
            f"MotifCentral's fit {fit_id}: give the file MotifCentral.v1.0.0.json as"
            f" source, or its path in {CENTRAL}"
        )
    for entry in read_entries(place):
        if entry.fit_id == fit_id:
            return entry.motif
    raise InputError(f"{place}: no fit_id {fit_id}")


def jaspar(fit_id: str, source: Source = None) -> Motif:
    """Return a matrix of JASPAR.

    Raises:
        InputError: It is not where it was looked for.
    """
    word = _word(fit_id, "a matrix of JASPAR, like MA0004.1")
    place = _place(source, JASPAR)
    if place is not None:
        return _local(place, word, ("jaspar", "pfm", "meme", "transfac"), None)
    found = _of_package(word)
    if found is not None:
        return found
    url = _JASPAR_URL.format(word)
    motifs = _jaspar.read(Lines(url, _fetched(url, JASPAR)))
    return _only(motifs, word, url)


def hocomoco(model: str, source: Source = None) -> Motif:
    """Return a PWM of HOCOMOCO.

    Raises:
        InputError: It is not where it was looked for.
    """
    word = _word(model, "a model of HOCOMOCO, like GATA1_HUMAN.H11MO.0.A")
    place = _place(source, HOCOMOCO)
    if place is not None:
        return _local(place, word, ("pwm",), "hocomoco-pwm")
    release = next((name for name in _HOCOMOCO_URLS if f".{name}." in word), None)
    if release is None:
        known = " or ".join(_HOCOMOCO_URLS)
        raise InputError(
            f"HOCOMOCO's {word}: names on the web hold {known}; give the file of"
            f" another release as source, or in {HOCOMOCO}"
        )
    species = word.partition(".")[0].rpartition("_")[2]
    url = _HOCOMOCO_URLS[release].format(model=word, species=species)
    text = _fetched(url, HOCOMOCO)
    return _only(_rows.read_hocomoco("energies")(Lines(url, text)), word, url)


def _place(source: Source, variable: str) -> Path | None:
    found = source if source is not None else os.environ.get(variable)
    return Path(found) if found else None


def _word(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of {what}")
    return name


# --- files --------------------------------------------------------------------------


def _local(
    place: Path, name: str, suffixes: tuple[str, ...], form: str | None
) -> Motif:
    """Return a motif of a file, or of the file of its name in a folder."""
    if not place.is_dir():
        return _named(read_motifs(place, form), name, place)
    candidates = [place / f"{name}.{suffix}" for suffix in suffixes]
    for file in candidates:
        if file.is_file():
            return _only(read_motifs(file, form), name, file)
    raise InputError(f"{place}: neither {' nor '.join(f.name for f in candidates)}")


def _named(motifs: list[Motif], name: str, place: object) -> Motif:
    for each in motifs:
        if name in (each.identifier, each.name):
            return each
    raise InputError(f"{place}: none of {len(motifs)} motifs is {name}")


def _only(motifs: list[Motif], name: str, place: object) -> Motif:
    if len(motifs) == 1:
        return motifs[0]
    return _named(motifs, name, place)


# --- packages and the web -----------------------------------------------------------


def _of_package(name: str) -> Motif | None:
    """Return a matrix of the package pyjaspar, if it is installed and has it."""
    try:
        from pyjaspar import jaspardb  # noqa: PLC0415 optional, and slow to import
    except ImportError:
        return None
    found: Any = jaspardb().fetch_motif_by_id(name)
    if found is None:
        return None
    counts = np.array([found.counts[letter] for letter in DNA], dtype=np.float64)
    return Motif(str(found.name), DNA, counts, "counts", str(found.matrix_id))


def _fetched(url: str, variable: str) -> str:
    """Return the text at an address.

    Raises:
        InputError: Nothing, or no text, comes from there.
    """
    request = Request(url, headers={"User-Agent": f"pyprobound/{__version__}"})  # noqa: S310 the scheme is ours
    way = f"download it and name the file in {variable}"
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 likewise
            return bytes(answer.read(_LARGEST)).decode("utf-8")
    except HTTPError as error:
        said = "no such entry" if error.code == 404 else f"the server says {error.code}"
        raise InputError(f"{url}: {said}; {way}") from None
    except (URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url}: no answer ({reason}); {way}") from None
    except UnicodeDecodeError:
        raise InputError(f"{url}: the answer is no text; {way}") from None
