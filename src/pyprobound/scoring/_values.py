"""Named columns of what is found of sequences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyprobound.alphabets import Alphabet
from pyprobound.errors import PyProBoundError
from pyprobound.scoring._model import Motif, SiteModel, State
from pyprobound.scoring._stream import Found, Site

What = Literal[
    "scores",
    "log_z",
    "enrichment",
    "log_affinity",
    "affinity",
    "best",
    "ddg",
    "contribution",
    "occupancy",
]
KINDS: tuple[What, ...] = get_args(What)
OF_SITES = frozenset({"best", "ddg"})
_OF_STATES = frozenset({"log_z", "contribution", "occupancy", "enrichment"})
_STRANDS = np.array(["+", "-"])

Values = NDArray[Any]
Column = tuple[str, Callable[[Found], Values]]


@dataclass(frozen=True)
class Columns:
    """What is said of each sequence.

    Attributes:
        model: What scores them.
        what: The kinds of values, in their order.
        concentration: Free concentration for "occupancy".
    """

    model: SiteModel
    what: Sequence[What]
    concentration: float | None = None

    def __post_init__(self) -> None:
        """Check what is asked for.

        Raises:
            PyProBoundError: It is not known, or the model cannot say it.
        """
        for each in self.what:
            if each not in KINDS:
                raise PyProBoundError(f"{each!r} is none of {', '.join(KINDS)}")
        if "enrichment" in self.what and self.model.log_enrichment is None:
            raise PyProBoundError(
                "enrichment: this model is of no experiment; log_z is what it has"
            )
        if ("occupancy" in self.what) != (self.concentration is not None):
            raise PyProBoundError(
                "occupancy needs a free concentration, and nothing else does"
            )
        given = self.concentration
        if given is not None and not 0 < given < np.inf:
            raise PyProBoundError(f"concentration {given:g} must be above 0")

    @property
    def with_sites(self) -> bool:
        """Whether best windows are needed."""
        return not OF_SITES.isdisjoint(self.what)

    @property
    def is_relative(self) -> bool:
        """Whether occupancies are of a concentration whose unit is not known."""
        return "occupancy" in self.what and not all(
            state.is_absolute for state in self.model.states
        )

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [name for each in self.what for name, _ in self._columns(each)]

    @torch.no_grad()
    def values(self, found: Found) -> dict[str, Values]:
        """Return the values of some sequences, by column."""
        return {
            name: read(found)
            for each in self.what
            for name, read in self._columns(each)
        }

    def _columns(self, what: What) -> list[Column]:
        if what == "scores":
            return [(name, partial(_score, name)) for name in self.model.order]
        if what in _OF_STATES:
            return [
                column
                for index, state in enumerate(self.model.states)
                for column in self._of_state(what, index, state)
            ]
        return [
            column
            for motif in self.model.motifs
            for column in _of_motif(what, motif, self.model.alphabet)
        ]

    def _of_state(self, what: What, index: int, state: State) -> list[Column]:
        name = f"{what}:{state.name}"
        if what == "log_z":
            return [(name, lambda found: state.log_z(found.scores).numpy())]
        if what == "occupancy":
            assert self.concentration is not None
            log_c = float(np.log(self.concentration))
            return [(name, lambda found: _occupancy(state, found, log_c))]
        if what == "contribution":
            return [
                (f"{name}:{binding}", partial(_contribution, state, binding))
                for binding in self.model.order
                if binding in state.log_activities
            ]
        enrichment = self.model.log_enrichment
        assert enrichment is not None
        return [(name, lambda found: enrichment(found.scores)[index].numpy())]


def _score(name: str, found: Found) -> Values:
    return found.scores[name].numpy()


def _occupancy(state: State, found: Found, log_concentration: float) -> Values:
    log_ratio: Tensor = state.log_affinity(found.scores) + log_concentration
    return log_ratio.sigmoid().numpy()


def _contribution(state: State, binding: str, found: Found) -> Values:
    total = state.log_affinity(found.scores)
    share = (state.terms(found.scores)[binding] - total).exp()
    return share.nan_to_num(0.0).numpy()  # nothing binds: no share either


def _of_motif(what: What, motif: Motif, alphabet: Alphabet) -> list[Column]:
    name = f"{what}:{motif.name}"
    best = motif.log_best

    def log_affinity(found: Found) -> Values:
        return (found.scores[motif.name] - best).numpy()

    if what == "log_affinity":
        return [(name, log_affinity)]
    if what == "affinity":
        return [(name, lambda found: np.exp(log_affinity(found)))]
    if what == "ddg":
        top = motif.best[1] if motif.best is not None else np.nan
        return [(name, lambda found: _ddg(top, found.sites[motif.name]))]
    return [
        (f"best_score:{motif.name}", lambda found: found.sites[motif.name].score),
        (f"best_start:{motif.name}", lambda found: found.sites[motif.name].start),
        (f"best_strand:{motif.name}", lambda found: _strand(found.sites[motif.name])),
        (f"best_site:{motif.name}", partial(_letters, alphabet, motif.name)),
    ]


def _ddg(top: float, site: Site) -> Values:
    found: Values = np.maximum(
        top - site.score, 0.0
    )  # rounding may be on the other side
    return found


def _strand(site: Site) -> Values:
    return np.where(site.start >= 0, _STRANDS[site.strand], "")


def _letters(alphabet: Alphabet, motif: str, found: Found) -> Values:
    """Return the best windows as the motif reads them: − strands reversed."""
    site = found.sites[motif]
    codes = site.codes
    if bool(site.strand.any()):
        turned = _complement(alphabet)[codes[:, ::-1]]
        codes = np.where(site.strand[:, None] == 1, turned, codes)
    symbols = _symbols(alphabet)
    whole = symbols.dtype.itemsize * codes.shape[1] // np.dtype("U1").itemsize
    texts = np.ascontiguousarray(symbols[codes]).view(f"U{whole}")[:, 0]
    return np.where(site.start >= 0, texts, "").astype(object)


@cache
def _symbols(alphabet: Alphabet) -> NDArray[np.str_]:
    """Return how every code is written, all in as many characters."""
    codes = torch.arange(alphabet.n_codes)
    return np.array([alphabet.decode(code[None]) for code in codes])


@cache
def _complement(alphabet: Alphabet) -> NDArray[np.int64]:
    """Return the complement of every code."""
    codes = np.arange(alphabet.n_codes)
    for symbol, number in alphabet.get_index.items():
        members = alphabet.get_encoding[symbol]
        if members:
            other = tuple(sorted(alphabet.complement_index[i] for i in members))
            codes[number] = alphabet.get_index[
                alphabet.get_inv_encoding.get(other, "*")
            ]
    return codes
