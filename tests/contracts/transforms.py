"""One small instance of every public Transform, with what it is given and returns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from pyprobound import (
    Aggregate,
    Contribution,
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    MultiRoundMSLELoss,
    Spacing,
    Transform,
    alphabets,
    layers,
    rounds,
)
from pyprobound.base import Component

DNA = alphabets.DNA()
TEXTS = ["ACGTACGTA", "GGATTA*", "TTTTACG", "CCAGTNAC"]
LONGEST, N_PROBES = 9, len(TEXTS)


def table(n_columns: int = 2) -> CountTable:
    """Return probes of several lengths."""
    rows = [[float(1 + i + j) for j in range(n_columns)] for i in range(N_PROBES)]
    return CountTable(pd.DataFrame(rows, index=TEXTS), DNA)


def codes() -> Tensor:
    """Return the encoded probes."""
    return table().seqs


def numbers() -> Tensor:
    """Return three channels of eight numbers for each probe."""
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(N_PROBES, 3, 8, generator=drawn)


class Letters(nn.Module):
    """Scores a probe by its letters."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.1, -0.2, 0.3, 0.4]))

    def forward(self, seqs: Tensor) -> Tensor:
        return (seqs * self.weights[:, None]).sum((1, 2))[:, None, None]


def psam(name: str = "a", size: int = 3) -> layers.PSAM:
    """Return a PSAM with pairs and a bias."""
    return layers.PSAM(
        size, alphabet=DNA, pairwise_distance=1, train_bias=True, name=name
    )


def conv1d() -> layers.Conv1d:
    return layers.Conv1d.from_psam(psam(), table(), train_posbias=True)


def conv0d() -> layers.Conv0d:
    spec = layers.NonSpecific(DNA, name="ns")
    return layers.Conv0d.from_nonspecific(spec, table(), train_posbias=True)


def pad() -> layers.Pad:
    return layers.Pad.from_spec(layers.PadSpec(DNA, 2, -1, name="pad"), table())


def roll() -> layers.Roll:
    return layers.Roll.from_spec(layers.RollSpec(DNA, "right", name="roll"), table())


def maxpool() -> layers.MaxPool1d:
    return layers.MaxPool1d(layers.MaxPool1dSpec(3, 3, name="pool"), 8, 8, 8)


def module() -> layers.ModuleLayer:
    return layers.ModuleLayer.from_spec(
        layers.ModuleSpec(DNA, Letters(), name="net"), table()
    )


def mode() -> Mode:
    return Mode([conv1d()], train_hill=True)


def nonspecific() -> Mode:
    return Mode([conv0d()])


def dimer() -> Cooperativity:
    first = Mode.from_psam(psam("a", 3), table())
    second = Mode.from_psam(psam("b", 2), table())
    spacing = Spacing(first.key(), second.key(), name="ab")
    return Cooperativity(spacing, first, second, train_hill=True, train_posbias=True)


def contribution() -> Contribution:
    return Contribution(mode(), log_activity=-6.0)


def aggregate() -> Aggregate:
    parts = [
        Contribution(each(), log_activity=-6.0) for each in (nonspecific, mode, dimer)
    ]
    return Aggregate(parts, train_concentration=True, target_concentration=2.0)


def initial() -> rounds.InitialRound:
    return rounds.InitialRound(name="initial")


def bound() -> rounds.BoundRound:
    return rounds.BoundRound(aggregate(), initial(), log_depth=0.5, name="bound")


def unsaturated() -> rounds.BoundUnsaturatedRound:
    return rounds.BoundUnsaturatedRound(aggregate(), initial(), name="unsaturated")


def unbound() -> rounds.UnboundRound:
    return rounds.UnboundRound(aggregate(), initial(), name="unbound")


def rho_gamma() -> rounds.RhoGammaRound:
    return rounds.RhoGammaRound(aggregate(), initial(), rho=0.8, name="exponents")


def exponential() -> rounds.ExponentialRound:
    return rounds.ExponentialRound(aggregate(), initial(), delta=-3.0, name="kinetics")


def experiment() -> Experiment:
    second = bound()
    assert second.reference_round is not None
    observed = [second.reference_round, second]
    return Experiment(observed, table().counts_per_round, name="selex")


@dataclass(frozen=True)
class Contract:
    """What a Transform keeps.

    Attributes:
        make: Builds a fresh instance.
        shape: Of what it returns.
        seqs: Builds what it is given.
        is_trained: Whether it returns numbers that depend on parameters.
    """

    make: Callable[[], Transform]
    shape: tuple[int, ...]
    seqs: Callable[[], Tensor] = codes
    is_trained: bool = True

    def __str__(self) -> str:
        return self.make.__name__


PER_PROBE = (N_PROBES,)

TRANSFORMS = [
    Contract(conv1d, (N_PROBES, 2, LONGEST - 2)),
    Contract(conv0d, (N_PROBES, 1, 1)),
    Contract(pad, (N_PROBES, LONGEST + 1), is_trained=False),
    Contract(roll, (N_PROBES, LONGEST), is_trained=False),
    Contract(maxpool, (N_PROBES, 3, 3), seqs=numbers, is_trained=False),
    Contract(module, (N_PROBES, 1, 1)),
    Contract(mode, PER_PROBE),
    Contract(nonspecific, PER_PROBE),
    Contract(dimer, PER_PROBE),
    Contract(contribution, PER_PROBE),
    Contract(aggregate, PER_PROBE),
    Contract(initial, PER_PROBE),
    Contract(bound, PER_PROBE),
    Contract(unsaturated, PER_PROBE),
    Contract(unbound, PER_PROBE),
    Contract(rho_gamma, PER_PROBE),
    Contract(exponential, PER_PROBE),
    Contract(experiment, (N_PROBES, 2)),
]


def multi_experiment_loss() -> MultiExperimentLoss:
    return MultiExperimentLoss([experiment()], pseudocount=1.0)


def msle_loss() -> MultiRoundMSLELoss:
    return MultiRoundMSLELoss([rounds.BoundRound(aggregate(), None, name="pbm")])


def specifications() -> Iterator[Component]:
    """Iterate over one of every specification."""
    yield psam()
    yield layers.NonSpecific(DNA, name="ns")
    yield layers.PadSpec(DNA, 1, 1)
    yield layers.RollSpec(DNA, "left")
    yield layers.MaxPool1dSpec(2, 2)
    yield layers.ModuleSpec(DNA, Letters())
    yield layers.EmptyLayerSpec(4, 4)
    yield dimer().spacing
