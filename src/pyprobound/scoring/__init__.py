"""Scores of sequences of any length, by a model from any source.

    model = open_model("bcd.run")             a run, a file of ProBound, MotifCentral
    score_sequences(model, ["GGGATTAGGG"], ["affinity", "best"])
    profile_sequences(model, ["GGGATTAGGG"])
    SoftScorer(model)(one_hot)                 a torch module, for attribution

docs/scoring.md has all columns and their units.
"""

from pyprobound.scoring._model import Constant, Dimer, Motif, SiteModel, State
from pyprobound.scoring._soft import SoftScorer
from pyprobound.scoring._sources import open_model
from pyprobound.scoring._tables import profile_sequences, score_sequences

__all__ = [
    "Constant",
    "Dimer",
    "Motif",
    "SiteModel",
    "SoftScorer",
    "State",
    "open_model",
    "profile_sequences",
    "score_sequences",
]
