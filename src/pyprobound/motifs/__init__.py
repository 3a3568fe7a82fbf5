"""Motifs in the formats of others, read and written through one interface.

    motifs = read_motifs("MA0004.1.jaspar")
    write_motifs("arnt.meme", motifs)

`FORMATS` lists them. Energies are −ΔΔG/RT in natural logarithms; probabilities are
those of the letters in bound sites, p_b ∝ q_b · e^(E_b) with the background q. What a
format cannot hold is named in one warning.
"""

from pyprobound.motifs._central import Entry, find_entries, read_entries
from pyprobound.motifs._formats import FORMATS, Format, read_motifs, write_motifs
from pyprobound.motifs._motif import Motif
from pyprobound.motifs._own import write_fit

__all__ = [
    "FORMATS",
    "Entry",
    "Format",
    "Motif",
    "find_entries",
    "read_entries",
    "read_motifs",
    "write_fit",
    "write_motifs",
]
