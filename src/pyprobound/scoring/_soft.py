"""A torch module that scores letters taken as fractions, for attribution."""

from typing import Literal

import torch
from torch import Tensor, nn

from pyprobound._numerics import logsumexp, scale_log
from pyprobound.errors import PyProBoundError
from pyprobound.kernels import soft_window_scores
from pyprobound.scoring._model import Dimer, Motif, SiteModel


class SoftScorer(nn.Module):
    """Log scores of (N, letters, L) one-hot or soft sequences, differentiable in them.

    On one-hot letters the values are those of `score_sequences`.
    """

    def __init__(
        self,
        model: SiteModel,
        what: Literal["scores", "log_z"] = "log_z",
        name: str | None = None,
    ) -> None:
        """Note what is wanted.

        Args:
            model: From `open_model`.
            what: "scores" (log K of each mode and dimer) or "log_z" (of each state).
            name: Only this mode, dimer or state.

        Raises:
            PyProBoundError: There is no such name.
        """
        super().__init__()
        self.model, self.what = model, what
        known = (
            list(model.order) if what == "scores" else [s.name for s in model.states]
        )
        if name is not None and name not in known:
            raise PyProBoundError(f"{name!r} is none of {', '.join(known)}")
        self.names = known if name is None else [name]
        self._is_single = name is not None

    def forward(self, x: Tensor) -> Tensor:
        """Return natural logarithms.

        Args:
            x: Fractions (N, letters, L) in the order of `model.alphabet.alphabet`,
                float32 or float64. A position of zeros scores as '-'.

        Returns:
            (N, names), in the order of `names`; (N,) where one name was asked for.
        """
        scores = self._scores(x)
        if self.what == "scores":
            columns = [scores[name] for name in self.names]
        else:
            states = {state.name: state for state in self.model.states}
            columns = [states[name].log_z(scores) for name in self.names]
        return columns[0] if self._is_single else torch.stack(columns, 1)

    def _scores(self, x: Tensor) -> dict[str, Tensor]:
        windows = {each.name: _windows(each, x) for each in self.model.motifs}
        scores = {
            each.name: _log_sum(each, windows[each.name]) for each in self.model.motifs
        }
        lengths = torch.full((len(x),), x.shape[2])
        for constant in self.model.constants:
            scores[constant.name] = constant.scores(lengths).to(x)
        for dimer in self.model.dimers:
            a, b = (windows[name] for name in dimer.motifs)
            scores[dimer.name] = _moved(dimer, x).log_sum(a, b, x.shape[2])
        return scores


def _windows(motif: Motif, x: Tensor) -> Tensor:
    return soft_window_scores(
        x,
        [each.to(x) for each in motif.filters],
        dilation=motif.dilation,
        bias=motif.bias.to(x),
    )


def _log_sum(motif: Motif, windows: Tensor) -> Tensor:
    if motif.hill is not None:
        windows = scale_log(windows, motif.hill.to(windows))
    return logsumexp(windows, (1, 2))


def _moved(dimer: Dimer, x: Tensor) -> Dimer:
    hill = None if dimer.hill is None else dimer.hill.to(x)
    return Dimer(dimer.name, dimer.motifs, dimer.log_spacing.to(x), dimer.first, hill)
