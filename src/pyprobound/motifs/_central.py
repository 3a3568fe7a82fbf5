"""A MotifCentral file: what it has of a gene, a species, a study."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pyprobound.errors import InputError
from pyprobound.motifs._json import factors_of, motifs_of_entry, read_collection
from pyprobound.motifs._motif import Motif

SPECIES = {
    3702: ("Arabidopsis thaliana", "arabidopsis", "thale cress"),
    4932: ("Saccharomyces cerevisiae", "yeast"),
    6239: ("Caenorhabditis elegans", "worm", "c. elegans"),
    7227: ("Drosophila melanogaster", "fly", "fruit fly", "drosophila"),
    7955: ("Danio rerio", "zebrafish"),
    8355: ("Xenopus laevis", "frog", "xenopus"),
    9031: ("Gallus gallus", "chicken"),
    9606: ("Homo sapiens", "human"),
    10090: ("Mus musculus", "mouse"),
    10116: ("Rattus norvegicus", "rat"),
}
"""The scientific name and common names by NCBI taxonomy number."""


@dataclass(frozen=True)
class Entry:
    """An entry of a MotifCentral file.

    Attributes:
        fit_id: Its number.
        genes: The symbols of its genes.
        factors: Their full names.
        taxa: Their species, as NCBI taxonomy numbers.
        studies: The studies.
        experiments: The experiments, one for each study.
        motif: The motif; of several modes the first that tells letters apart.
    """

    fit_id: int
    genes: tuple[str, ...]
    factors: tuple[str, ...]
    taxa: tuple[int, ...]
    studies: tuple[str, ...]
    experiments: tuple[str, ...]
    motif: Motif

    @property
    def species(self) -> list[str]:
        """The names of its species: common ones, or the number of a rare one."""
        return [
            SPECIES[taxon][1] if taxon in SPECIES else str(taxon) for taxon in self.taxa
        ]


def read_entries(path: str | Path) -> list[Entry]:
    """Read a MotifCentral file.

    Raises:
        InputError: It cannot be read, or an entry is no model.
    """
    file = Path(path)
    found = read_collection(file)
    entries = []
    for index, each in enumerate(found):
        motifs = [x for x in motifs_of_entry(file, each, index) if x.is_specific]
        if not motifs:
            raise InputError(f"{file}: entry {index} has no motif")
        entries.append(_entry(each.get("metadata"), index, motifs[0]))
    return entries


def _entry(given: object, index: int, motif: Motif) -> Entry:
    metadata: dict[str, Any] = given if isinstance(given, dict) else {}
    factors = factors_of(metadata)
    taxa = [each.get("tax_id") for each in factors]
    listed = metadata.get("experiments")
    pairs = [
        (str(each[0]), str(each[-1]))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, list) and each
    ]
    fit_id = metadata.get("fit_id")
    return Entry(
        fit_id if isinstance(fit_id, int) else index,
        tuple(str(each["gene_symbol"]) for each in factors),
        tuple(str(each.get("gene_name", "")) for each in factors),
        tuple(dict.fromkeys(taxon for taxon in taxa if isinstance(taxon, int))),
        tuple(dict.fromkeys(study for study, _ in pairs)),
        tuple(experiment for _, experiment in pairs),
        motif,
    )


def find_entries(
    entries: Iterable[Entry],
    gene: str | None = None,
    species: str | None = None,
    study: str | None = None,
    factor: str | None = None,
) -> list[Entry]:
    """Return the entries that agree with all that is asked for, in their order.

    Capitals and small letters are the same.

    Args:
        entries: Where to look.
        gene: A gene symbol; * and ? stand for any letters.
        species: A taxonomy number, or the name of a common species.
        study: A part of the name of a study or an experiment.
        factor: A part of a gene's full name or symbol.
    """
    return [
        each
        for each in entries
        if _agrees(gene, each.genes, whole=True)
        and (species is None or _is_of(species, each.taxa))
        and _agrees(study, (*each.studies, *each.experiments))
        and _agrees(factor, (*each.factors, *each.genes))
    ]


def _agrees(asked: str | None, names: Iterable[str], *, whole: bool = False) -> bool:
    if asked is None:
        return True
    pattern = asked.lower() if whole else f"*{asked.lower()}*"
    return any(fnmatchcase(name.lower(), pattern) for name in names)


def _is_of(species: str, taxa: Iterable[int]) -> bool:
    asked = species.strip().lower()
    return any(
        asked == str(taxon)
        or asked in (name.lower() for name in SPECIES.get(taxon, ()))
        for taxon in taxa
    )
