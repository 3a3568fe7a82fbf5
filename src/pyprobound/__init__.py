"""Biophysical models of how proteins bind DNA, RNA and protein sequences.

A model is built from specifications (PSAM, NonSpecific, Spacing) and what belongs to
one experiment (modes, dimers, rounds), fitted to count tables by maximum likelihood,
and then scores any sequence.

Names are imported when they are first used, so that importing the package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pyprobound._version import __version__

if TYPE_CHECKING:
    from pyprobound import alphabets, layers, rounds
    from pyprobound._chunking import memory_budget, set_memory_budget
    from pyprobound.aggregate import Aggregate, Contribution
    from pyprobound.base import (
        Binding,
        BindingOptim,
        Call,
        Component,
        Spec,
        Step,
        Transform,
    )
    from pyprobound.cooperativity import Cooperativity, Spacing
    from pyprobound.experiment import Experiment
    from pyprobound.kernels import use_backend
    from pyprobound.loss import (
        BaseLoss,
        Loss,
        MultiExperimentLoss,
        MultiRoundMSLELoss,
    )
    from pyprobound.mode import Mode
    from pyprobound.optimizer import Optimizer
    from pyprobound.table import (
        Batch,
        CountBatch,
        CountTable,
        EvenSampler,
        MultitaskLoader,
        Table,
        collate_batch_fn,
        get_dataframe,
        sample_counts,
        sample_dataframe,
        score,
    )

_HOMES = {
    "_chunking": ("memory_budget", "set_memory_budget"),
    "aggregate": ("Aggregate", "Contribution"),
    "base": (
        "Binding",
        "BindingOptim",
        "Call",
        "Component",
        "Spec",
        "Step",
        "Transform",
    ),
    "cooperativity": ("Cooperativity", "Spacing"),
    "experiment": ("Experiment",),
    "kernels": ("use_backend",),
    "loss": ("BaseLoss", "Loss", "MultiExperimentLoss", "MultiRoundMSLELoss"),
    "mode": ("Mode",),
    "optimizer": ("Optimizer",),
    "table": (
        "Batch",
        "CountBatch",
        "CountTable",
        "EvenSampler",
        "MultitaskLoader",
        "Table",
        "collate_batch_fn",
        "get_dataframe",
        "sample_counts",
        "sample_dataframe",
        "score",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = frozenset(
    {"alphabets", "layers", "rounds", *(x for x in _HOMES if not x.startswith("_"))}
)

__all__ = [
    "Aggregate",
    "BaseLoss",
    "Batch",
    "Binding",
    "BindingOptim",
    "Call",
    "Component",
    "Contribution",
    "Cooperativity",
    "CountBatch",
    "CountTable",
    "EvenSampler",
    "Experiment",
    "Loss",
    "Mode",
    "MultiExperimentLoss",
    "MultiRoundMSLELoss",
    "MultitaskLoader",
    "Optimizer",
    "Spacing",
    "Spec",
    "Step",
    "Table",
    "Transform",
    "__version__",
    "alphabets",
    "collate_batch_fn",
    "get_dataframe",
    "layers",
    "memory_budget",
    "rounds",
    "sample_counts",
    "sample_dataframe",
    "score",
    "set_memory_budget",
    "use_backend",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*__all__, *_MODULES})
