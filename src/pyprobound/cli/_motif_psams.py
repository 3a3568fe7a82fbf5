"""Motifs of files as PSAMs, to be drawn."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pyprobound.alphabets import DNA, RNA, Alphabet, Protein
from pyprobound.cli._motifs import selected
from pyprobound.layers import PSAM
from pyprobound.motifs import Motif, read_motifs
from pyprobound.scoring._sources import place_of

_ALPHABETS: dict[str, Alphabet] = {
    "".join(each.alphabet): each for each in (DNA(), RNA(), Protein())
}


def psams_of_file(path: Path, names: Sequence[str]) -> dict[str, PSAM]:
    """Return the motifs of a file as PSAMs, by name.

    Args:
        path: A file of any format that `read_motifs` knows, or FILE.json:ENTRY.
        names: Accessions, names or genes; empty for all.

    Raises:
        PyProBoundError: The file cannot be read, or a name is not in it.
    """
    file, entry = place_of(path)
    wanted = [*([] if entry is None else [entry]), *names]
    motifs = read_motifs(file)
    if wanted:
        motifs = [each for name in wanted for each in selected(file, motifs, name)]
    specific = [each for each in motifs if each.is_specific] or motifs
    found: dict[str, PSAM] = {}
    for number, each in enumerate(specific, 1):
        name = each.name or each.identifier or str(number)
        if name in found:
            name = f"{name}.{each.identifier or number}"
        found[name] = psam_of(each)
    return found


@torch.no_grad()
def psam_of(motif: Motif) -> PSAM:
    """Return a motif as a PSAM with its energies, letter pairs included."""
    alphabet = _ALPHABETS.get(motif.letters)
    if alphabet is None:
        alphabet = Alphabet(list(motif.letters), complement=bool(motif.complement))
    psam = PSAM(
        motif.size,
        alphabet,
        pairwise_distance=len(motif.pairs),
        score_reverse=bool(motif.complement) and alphabet.complement,
        name=motif.name,
    ).to(torch.float64)
    n = len(motif.letters)
    for position, energies in enumerate(motif.energies().T, 1):
        for letter, energy in enumerate(energies):
            psam.betas[f"{position}-{letter}"].fill_(float(energy))
    for distance, pairs in enumerate(motif.pairs, 1):
        for position, energies in enumerate(pairs, 1):
            for pair, energy in enumerate(energies.reshape(n * n)):
                key = f"{position}-{position + distance}-{pair}"
                psam.betas[key].fill_(float(energy))
    return psam
