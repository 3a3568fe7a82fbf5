"""Files of the Java program, and collections of them as MotifCentral has them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyprobound.errors import InputError
from pyprobound.motifs._motif import DNA, Motif
from pyprobound.probound import Document, consensus, numbers_of, read, to_json
from pyprobound.probound._coefficients import Coefficients, ModeNumbers
from pyprobound.probound._files import parsed, read_json
from pyprobound.probound._schema import Content, ModelSettings, ModeSettings

Json = dict[str, Any]


def is_collection(file: Path) -> bool:
    """Tell whether a file is a list of models, as MotifCentral's is."""
    found = read_json(file)
    return isinstance(found, list) and bool(found) and _is_model(found[0])


def _is_model(found: object) -> bool:
    return isinstance(found, dict) and "modelSettings" in found


# --- reading ------------------------------------------------------------------------


def read_collection(file: Path) -> list[Json]:
    """Return the entries of a collection, as they are.

    Raises:
        InputError: The file cannot be read, or is no list of models.
    """
    found = read_json(file)
    if isinstance(found, dict):
        found = [found]
    for index, entry in enumerate(found):
        if not _is_model(entry):
            raise InputError(f"{file}: entry {index} is no model: no modelSettings")
    return found


def read_central(file: Path) -> list[Motif]:
    """Return the motifs of a collection."""
    found = read_collection(file)
    return [
        motif
        for index, entry in enumerate(found)
        for motif in motifs_of_entry(file, entry, index)
    ]


def motifs_of_entry(file: Path, entry: Json, index: int = 0) -> list[Motif]:
    """Return the motifs of one entry of a collection."""
    metadata = entry.get("metadata")
    facts = metadata if isinstance(metadata, dict) else {}
    identifier = str(facts.get("fit_id", index))
    document = parsed(Path(f"{file}, fit {identifier}"), entry)
    name = "-".join(symbols_of(facts)) or identifier
    return _motifs(document, name, identifier if "fit_id" in facts else "")


def symbols_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return the gene symbols of an entry."""
    return [str(each["gene_symbol"]) for each in factors_of(metadata)]


def factors_of(metadata: Mapping[str, Any]) -> list[Json]:
    """Return the factors of an entry that have a symbol."""
    factors = metadata.get("factors")
    listed = factors if isinstance(factors, list) else []
    return [each for each in listed if isinstance(each, dict) and "gene_symbol" in each]


def read_probound(file: Path) -> list[Motif]:
    """Return the modes of a fit or of a scoring model."""
    return _motifs(read(file), file.name.split(".")[0], "")


def _motifs(document: Document, name: str, identifier: str) -> list[Motif]:
    numbers = numbers_of(document, document.content.coefficients)
    metadata = document.content.metadata
    left_out = _left_out(document, numbers)
    specific = [mode.size > 0 for mode in document.content.model_settings.binding_modes]
    if document.content.model_settings.count_table or left_out:
        document, numbers = consensus(document, numbers)
    settings = document.content.model_settings
    several = len(settings.binding_modes) > 1
    motifs = []
    for index, (mode, own) in enumerate(
        zip(settings.binding_modes, numbers.modes, strict=True)
    ):
        kept = own.letters if specific[index] else own.letters[:0]
        motifs.append(
            Motif(
                _name(mode, f"{name}.mode{index}") if several else name,
                settings.letter_order,
                kept.T.copy(),
                identifier=identifier,
                pairs=tuple(own.pairs) if specific[index] else (),
                log_activity=float(own.activity[0][0]),
                complement="" if mode.single_strand else _complement(settings),
                metadata={"probound": metadata} if metadata else {},
                left_out=left_out,
            )
        )
    return motifs


def _name(mode: ModeSettings, default: str) -> str:
    """Return what a mode is called, unless it is only numbered."""
    name = str((mode.model_extra or {}).get("componentName", ""))
    return default if name.lower().startswith("binding mode") else name or default


def _left_out(document: Document, numbers: Coefficients) -> tuple[str, ...]:
    settings = document.content.model_settings
    modes = settings.binding_modes
    said = {
        "dimers": bool(settings.binding_mode_interactions),
        "position bias": any(mode.bias for mode in numbers.modes),
        "activities of single rounds": bool(settings.count_table),
        "modified letters": any(mode.modifications for mode in modes),
    }
    return tuple(word for word, holds in said.items() if holds)


def _complement(settings: ModelSettings) -> str:
    pairs = settings.letter_complement.split(",")
    table = {pair[0]: pair[2] for pair in pairs}
    table |= {pair[2]: pair[0] for pair in pairs}
    return "".join(table[letter] for letter in settings.letter_order)


# --- writing ------------------------------------------------------------------------


def write_probound(motifs: Sequence[Motif]) -> str:
    """Return the text of one scoring model with a mode for each motif."""
    return json.dumps(scoring_json(motifs), allow_nan=False, ensure_ascii=False) + "\n"


def write_central(motifs: Sequence[Motif]) -> str:
    """Return the text of a collection with an entry for each motif."""
    entries = [scoring_json([motif]) for motif in motifs]
    lines = [json.dumps(each, allow_nan=False, ensure_ascii=False) for each in entries]
    return "[" + ",\n".join(lines) + "]\n"


def scoring_json(motifs: Sequence[Motif]) -> Json:
    """Return one scoring model with a mode for each motif, as the file has it."""
    first = motifs[0]
    distance = [len(motif.pairs) for motif in motifs]
    modes = [
        ModeSettings.model_validate(
            {
                "size": motif.size,
                "dinucleotideDistance": reach,
                "singleStrand": not motif.complement,
                "componentName": motif.name,
            }
        )
        for motif, reach in zip(motifs, distance, strict=True)
    ]
    numbers = [
        ModeNumbers(
            motif.energies().T,
            list(motif.pairs),
            [np.array([motif.log_activity])],
        )
        for motif in motifs
    ]
    settings = ModelSettings(
        letter_order=first.letters,
        letter_complement=_complements(first),
        binding_modes=modes,
    )
    document = Document(Path("motifs"), Content(model_settings=settings))
    known = first.metadata.get("probound")
    metadata = dict(known) if known and len(motifs) == 1 else {}
    if not metadata and len(motifs) == 1 and first.name:
        metadata = {"factors": [{"gene_symbol": first.name}]}
        if first.identifier.isdigit():
            metadata["fit_id"] = int(first.identifier)
    return to_json(document, Coefficients(numbers, [], [], []), metadata)


def _complements(motif: Motif) -> str:
    if motif.letters == DNA:
        return "C-G,A-T"
    complement = motif.complement or motif.letters
    pairs = zip(motif.letters, complement, strict=True)
    return ",".join(
        f"{a}-{b}" for a, b in pairs if motif.letters.index(a) <= motif.letters.index(b)
    )
