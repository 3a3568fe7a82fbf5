"""The formats, which of them a file is in, and what each cannot hold."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pyprobound._files import write_text
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.motifs import _jaspar, _json, _meme, _own, _rows, _tables, _transfac
from pyprobound.motifs._lines import Lines
from pyprobound.motifs._motif import DNA, SITES, Motif

_RNA = "ACGU"
_PROTEIN = "ACDEFGHIKLMNPQRSTVWY"
_NUCLEIC = (DNA, _RNA)

ENERGIES, PROBABILITIES, COUNTS = "energies", "probabilities", "counts"


@dataclass(frozen=True)
class Format:
    """A format of motif files.

    Attributes:
        name: What it is called in calls and on the command line.
        title: What it is.
        read: From a path to motifs.
        write: From motifs to the text of a file; none where there is no such file.
        kind: What its numbers are.
        letters: The letters that it can write; any if empty.
        holds: What it has a place for, of what `_FEATURES` lists; "ns" is
            non-specific binding.
        suffixes: Ends of the names of such files.
    """

    name: str
    title: str
    read: Callable[[Path], list[Motif]]
    write: Callable[[Sequence[Motif]], str] | None
    kind: str = ENERGIES
    letters: Sequence[str] = ()
    holds: frozenset[str] = field(default_factory=frozenset)
    suffixes: tuple[str, ...] = ()


def _of_lines(read: Callable[[Lines], list[Motif]]) -> Callable[[Path], list[Motif]]:
    def read_path(path: Path) -> list[Motif]:
        return read(Lines(path, _text(path)))

    return read_path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path}: cannot be read ({reason})") from None


def _read_own(path: Path) -> list[Motif]:
    return _own.read_toml(path) if path.suffix == ".toml" else _own.read_run(path)


_JSON = frozenset({"pairs", "activity", "offsets", "ns", "strands"})
FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "meme",
            "MEME",
            _of_lines(_meme.read),
            _meme.write,
            PROBABILITIES,
            (*_NUCLEIC, _PROTEIN),
            frozenset({"background", "sites", "strands", "accessions"}),
            (".meme",),
        ),
        Format(
            "jaspar",
            "JASPAR",
            _of_lines(_jaspar.read),
            _jaspar.write,
            COUNTS,
            _NUCLEIC,
            frozenset({"sites", "accessions"}),
            (".jaspar",),
        ),
        Format(
            "pfm",
            "JASPAR's bare matrix",
            _of_lines(_jaspar.read),
            _jaspar.write_pfm,
            COUNTS,
            (DNA,),
            frozenset({"sites", "accessions"}),
            (".pfm",),
        ),
        Format(
            "transfac",
            "TRANSFAC",
            _of_lines(_transfac.read),
            _transfac.write,
            COUNTS,
            _NUCLEIC,
            frozenset({"sites", "accessions"}),
            (".transfac",),
        ),
        Format(
            "homer",
            "HOMER",
            _of_lines(_rows.read_homer),
            _rows.write_homer,
            PROBABILITIES,
            (DNA,),
            frozenset(),
            (".homer", ".motif", ".motifs"),
        ),
        Format(
            "uniprobe",
            "UniPROBE",
            _of_lines(_tables.read_uniprobe),
            _tables.write_uniprobe,
            PROBABILITIES,
            _NUCLEIC,
            frozenset(),
            (".uniprobe",),
        ),
        Format(
            "cisbp",
            "CIS-BP",
            _of_lines(_tables.read_cisbp),
            _tables.write_cisbp,
            PROBABILITIES,
            _NUCLEIC,
            frozenset({"accessions"}),
            (".cisbp",),
        ),
        Format(
            "hocomoco-pcm",
            "HOCOMOCO's counts",
            _of_lines(_rows.read_hocomoco("counts")),
            _rows.write_hocomoco("counts"),
            COUNTS,
            (DNA,),
            frozenset({"sites"}),
            (".pcm",),
        ),
        Format(
            "hocomoco-pwm",
            "HOCOMOCO's weights",
            _of_lines(_rows.read_hocomoco("energies")),
            _rows.write_hocomoco("energies"),
            ENERGIES,
            (DNA,),
            frozenset(),
            (".pwm",),
        ),
        Format(
            "motifcentral",
            "MotifCentral",
            _json.read_central,
            _json.write_central,
            holds=_JSON | {"accessions"},
        ),
        Format(
            "probound",
            "ProBound's JSON",
            _json.read_probound,
            _json.write_probound,
            holds=_JSON,
            suffixes=(".json",),
        ),
        Format(
            "pyprobound",
            "our configuration",
            _read_own,
            _own.write_toml,
            holds=frozenset({"strands", "offsets"}),
            suffixes=(".toml",),
        ),
    )
}
"""The formats by name."""


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises:
        PyProBoundError: There is none.
    """
    if name not in FORMATS:
        msg = f"no motif format {name!r}; there are {', '.join(FORMATS)}"
        raise PyProBoundError(msg)
    return FORMATS[name]


# --- reading ------------------------------------------------------------------------


def read_motifs(
    path: str | Path,
    format: str | None = None,  # noqa: A002 the word that users expect
    pseudocount: float | None = None,
) -> list[Motif]:
    """Read the motifs of a file.

    Args:
        path: The file, or a run directory.
        format: One of `FORMATS`; by default found out from the file.
        pseudocount: What is added to the counts of every position on the way to
            energies; by default what is usual for the format.

    Returns:
        The motifs, in the order of the file.

    Raises:
        InputError: The file cannot be read as such; the message names the line.
    """
    file = Path(path)
    known = _guess(file) if format is None else format_named(format)
    motifs = known.read(file)
    if not motifs:
        raise InputError(f"{file}: no motif in it ({known.title})")
    if pseudocount is None:
        return motifs
    return [each.with_pseudocount(pseudocount) for each in motifs]


def _guess(file: Path) -> Format:
    if file.is_dir() or file.suffix in (".pt", ".toml"):
        return FORMATS["pyprobound"]
    text = _text(file)
    name = _guess_text(file, text)
    if name is None:
        if not text.strip():
            raise InputError(f"{file}: the file is empty")
        msg = f"{file}: in no known format; name it: {', '.join(FORMATS)}"
        raise InputError(msg)
    return FORMATS[name]


_SIGNS = (
    ("meme", re.compile(r"^MEME version", re.MULTILINE)),
    ("transfac", re.compile(r"^P[0Oo][ \t]", re.MULTILINE)),
    ("cisbp", re.compile(r"^Pos\t", re.MULTILINE)),
    ("uniprobe", re.compile(r"^[ACGTUacgtu]:[ \t]", re.MULTILINE)),
)


def _guess_text(file: Path, text: str) -> str | None:
    start = text.removeprefix("\ufeff").lstrip()
    if start.startswith(("{", "[")):
        return "motifcentral" if _json.is_collection(file) else "probound"
    if start.startswith(">"):
        return _guess_rows(file, start)
    return next((name for name, sign in _SIGNS if sign.search(text)), None)


def _guess_rows(file: Path, text: str) -> str | None:
    header, *lines = text.splitlines()
    rows = []
    for line in lines:
        if line.startswith(">"):
            break
        if line.strip():
            rows.append(line.split())
    if rows and rows[0][0][:1].isalpha():
        return "jaspar"
    if len(header.split("\t")) >= 3:
        return "homer"
    if file.suffix in (".pcm", ".pwm"):
        return f"hocomoco-{file.suffix[1:]}"
    across = len(rows) == 4
    down = bool(rows) and all(len(row) == 4 for row in rows)
    if across and not down:
        return "pfm"
    if down and not across:
        below = any(word.startswith("-") for row in rows for word in row)
        return "hocomoco-pwm" if below else "hocomoco-pcm"
    return "pfm" if across and file.suffix == ".pfm" else None


# --- writing ------------------------------------------------------------------------


def write_motifs(
    path: str | Path,
    motifs: Sequence[Motif],
    format: str | None = None,  # noqa: A002 the word that users expect
) -> None:
    """Write motifs, with one warning of what the format cannot hold.

    Args:
        path: The file; one that exists is replaced once the new one is complete.
        motifs: The motifs.
        format: One of `FORMATS`; by default that of the file's name.

    Raises:
        PyProBoundError: The format has no such letters, or the file cannot be written.
    """
    file = Path(path)
    known = _by_suffix(file) if format is None else format_named(format)
    text, remarks = written(motifs, known, file)
    write_text(file, text)
    if remarks:
        warnings.warn(f"{file}: {'; '.join(remarks)}", stacklevel=2)


def _by_suffix(file: Path) -> Format:
    for each in FORMATS.values():
        if file.name.lower().endswith(each.suffixes) and each.suffixes:
            return each
    msg = f"{file}: its name tells no format; name one: {', '.join(FORMATS)}"
    raise PyProBoundError(msg)


def written(
    motifs: Sequence[Motif], known: Format, file: Path
) -> tuple[str, list[str]]:
    """Return the text of a file, and what there is to say of it, in words.

    Raises:
        PyProBoundError: It cannot hold any of the motifs, or not their letters.
    """
    assert known.write is not None
    keeps_ns = "ns" in known.holds
    kept = [each for each in motifs if keeps_ns or each.is_specific]
    if not kept:
        raise PyProBoundError(f"{file}: no motif to write")
    for each in kept:
        if known.letters and each.letters not in known.letters:
            msg = f"{known.title} holds letters {' or '.join(known.letters)} alone"
            raise PyProBoundError(
                f"{file}: motif {each.name!r} has letters {each.letters}; {msg}"
            )
    _check_alike(kept, known, file)
    remarks = _remarks(motifs, kept, known)
    if "pairs" not in known.holds:
        kept = [each.single_letters() for each in kept]
    if "background" not in known.holds:
        # energies become what is read again with the background that is not said
        kept = [
            replace(each, background=np.zeros(0)) if each.kind == ENERGIES else each
            for each in kept
        ]
    return known.write(kept), remarks


def _check_alike(motifs: Sequence[Motif], known: Format, file: Path) -> None:
    """Check that motifs share what a file has once."""
    first = motifs[0]
    for each in motifs[1:]:
        differ = each.letters != first.letters and known.name in ("meme", "probound")
        if "background" in known.holds:
            differ |= not np.array_equal(each.background, first.background)
        if differ:
            rule = "one file has one alphabet and one background"
            raise PyProBoundError(
                f"{file}: motifs {first.name!r} and {each.name!r} differ; {rule}"
            )


def _remarks(
    motifs: Sequence[Motif], kept: Sequence[Motif], known: Format
) -> list[str]:
    """Return what a format leaves out, and what it had to be given, in words."""
    lost = list(dict.fromkeys(word for each in motifs for word in each.left_out))
    if len(kept) < len(motifs):
        lost.append("non-specific binding")
    lost += [
        words
        for word, words, is_there in _FEATURES
        if word not in known.holds and any(map(is_there, kept))
    ]
    remarks = [f"not kept in {known.title}: {', '.join(lost)}"]
    if known.kind == COUNTS and any(
        each.kind != COUNTS and each.n_sites is None for each in kept
    ):
        rule = "read them with a pseudocount of 0"
        remarks.append(f"counts are of {SITES} sites, for want of a number; {rule}")
    return remarks if lost else remarks[1:]


def _has_pairs(motif: Motif) -> bool:
    return any(bool(each.any()) for each in motif.pairs)


def _has_offsets(motif: Motif) -> bool:
    """Tell whether best letters score other than 0."""
    return motif.kind == ENERGIES and bool((abs(motif.values.max(0)) > 1e-12).any())


def _has_one_strand(motif: Motif) -> bool:
    return motif.letters == DNA and not motif.complement


def _has_accession(motif: Motif) -> bool:
    return motif.identifier not in ("", motif.name)


def _has_sites(motif: Motif) -> bool:
    return motif.kind == COUNTS or motif.n_sites is not None


def _is_skewed(motif: Motif) -> bool:
    return bool((abs(motif.background - 1 / len(motif.letters)) > 1e-9).any())


_FEATURES: tuple[tuple[str, str, Callable[[Motif], bool]], ...] = (
    ("pairs", "letter pairs (what is written are single mutants)", _has_pairs),
    ("activity", "activities", lambda motif: motif.log_activity != 0),
    ("offsets", "the absolute scale of energies", _has_offsets),
    ("strands", "that one strand alone binds", _has_one_strand),
    ("background", "the background", _is_skewed),
    ("accessions", "accessions", _has_accession),
    ("sites", "the number of sites", _has_sites),
)
"""What a format may have no place for, in words, and how it is told."""
