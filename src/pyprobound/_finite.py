"""Fits that leave the finite numbers: noticing them, and telling the user why."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pyprobound._numerics import NEG_INF
from pyprobound.base import Component
from pyprobound.experiment import Experiment
from pyprobound.loss import BaseLoss
from pyprobound.table import Batch, CountBatch

AT_ONCE = 65_536  # probes scored at once


def n_finite(parameters: Iterable[Tensor]) -> int:
    """Return how many entries of parameters are finite.

    Those that are not count neither for the model nor for its penalty: a parameter that
    a step throws out of the finite numbers would be rid of both.
    """
    return sum(int(each.detach().isfinite().sum()) for each in parameters)


def why_not_finite(model: BaseLoss[Batch], tables: Sequence[Batch]) -> str:
    """Return what keeps the loss of a model from being finite, in one line.

    Args:
        model: The model.
        tables: Its tables: those of the training, then those held out, if there are.
    """
    components = list(model.components())
    for index, table in enumerate(tables):
        each = components[index % len(components)]
        if isinstance(each, Experiment) and isinstance(table, CountBatch):
            reason = _impossible(each, table)
            if reason is not None:
                return reason
    with torch.no_grad():
        penalty = float(model.penalty())
    if not math.isfinite(penalty):
        name, value = _largest(model)
        return (
            f"the penalty of {name} = {value:.3g} is not finite; start from smaller"
            " values, or raise exponential_bound"
        )
    name, value = _largest(model)
    return (
        f"the loss is not finite where the fit begins (its largest parameter is {name}"
        f" = {value:.3g}); start from smaller values"
    )


def _impossible(experiment: Experiment, table: CountBatch) -> str | None:
    """Return which reads a model says cannot be, None if there are none."""
    seqs, counts = torch.atleast_2d(table.seqs), torch.atleast_2d(table.target)
    places = [parameter.device for parameter in experiment.parameters()]
    for rows, reads in zip(seqs.split(AT_ONCE), counts.split(AT_ONCE), strict=True):
        with torch.no_grad():
            log_p: Tensor = experiment(rows.to(places[0])).cpu()
        wrong = (log_p == NEG_INF) & (reads.cpu() > 0)
        if bool(wrong.any()):
            probe, column = (int(each[0]) for each in wrong.nonzero(as_tuple=True))
            text = _text_of(experiment, rows[probe])
            return (
                f"{experiment}: {text} has reads in round {column} (counted from 0),"
                " where the model says it cannot be, because nothing binds it; add"
                " non-specific binding, or leave such probes out"
            )
    return None


def _text_of(experiment: Experiment, codes: Tensor) -> str:
    """Return a probe as its user knows it, flanks included."""
    for module in experiment.modules():
        alphabet = getattr(module, "alphabet", None)
        if alphabet is not None:
            return repr(str(alphabet.decode(codes)).strip())
    return "a probe"


def _largest(model: Component) -> tuple[str, float]:
    """Return the name and the value of the finite parameter of largest magnitude."""
    found = ("none", 0.0)
    for name, parameter in model.named_parameters():
        values = parameter.detach().flatten().double()
        values = values[values.isfinite()]
        if len(values):
            value = float(values[values.abs().argmax()])
            found = max(found, (name, value), key=lambda each: abs(each[1]))
    return found
