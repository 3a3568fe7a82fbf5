"""Models of every kind on small tables, and their information by brute force."""

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from pyprobound import (
    Cooperativity,
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    Spacing,
    alphabets,
    layers,
    rounds,
)
from pyprobound.fisher import FreeParameters

DNA = alphabets.DNA()
FLANKS: dict[str, Any] = {
    "left_flank": "GACTTAG",
    "right_flank": "CCTATCG",
    "left_flank_length": 1,
    "right_flank_length": 2,
}

Case = tuple[MultiExperimentLoss, list[CountTable]]


def table_of(
    n_rounds: int = 2,
    n_probes: int = 12,
    lengths: tuple[int, int] = (7, 7),
    seed: int = 0,
    letters: str = "ACGT",
) -> CountTable:
    """Return random probes with random counts, zeros among them."""
    rng = random.Random(seed)
    rows: dict[str, list[float]] = {}
    while len(rows) < n_probes:
        text = "".join(rng.choices(letters, k=rng.randint(*lengths)))
        counts = [float(rng.choice([0, 1, 2, 7])) for _ in range(n_rounds)]
        rows[text] = [1 + counts[0], *counts[1:]]  # every probe has a read
    frame = pd.DataFrame(rows.values(), index=list(rows))
    return CountTable(
        frame,
        DNA,
        min_variable_length=lengths[0],
        max_variable_length=lengths[1],
        **FLANKS,
    )


@torch.no_grad()
def randomised(model: MultiExperimentLoss, seed: int = 1) -> MultiExperimentLoss:
    """Turn a model to float64, let everything enter, draw and unfreeze all of it."""
    model.double()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        drawn = torch.empty_like(parameter).normal_(0, 0.4, generator=generator)
        parameter.copy_(drawn - 1 if name.endswith("delta") else drawn)
    model.unfreeze()
    return model


def experiment_of(
    table: CountTable,
    bindings: list[Any],
    kind: type[rounds.Round] = rounds.BoundUnsaturatedRound,
) -> Experiment:
    """Return an experiment of a chain of rounds of one kind."""
    n_columns = len(table.counts_per_round)
    chain = rounds.repeat_round(bindings, n_columns - 1, kind)
    return Experiment(chain, counts_per_round=table.counts_per_round)


def modes_of(table: CountTable, **arguments: Any) -> list[Mode]:
    """Return non-specific binding and a motif."""
    psam = {
        key: arguments.pop(key)
        for key in list(arguments)
        if key in {"pairwise_distance", "symmetry", "normalize_psam", "train_bias"}
    }
    psam["normalize"] = psam.pop("normalize_psam", False)
    spec = layers.PSAM(3, DNA, name="a", **psam)
    nonspecific = layers.NonSpecific(DNA, name="ns")
    return [
        Mode.from_nonspecific(nonspecific, table),
        Mode.from_psam(spec, table, **arguments),
    ]


def motif(lengths: tuple[int, int] = (7, 7), **arguments: Any) -> Case:
    """Return a motif in one round of selection."""
    table = table_of(lengths=lengths)
    model = MultiExperimentLoss([experiment_of(table, modes_of(table, **arguments))])
    return randomised(model), [table]


def selected(kind: type[rounds.Round]) -> Case:
    """Return two rounds of one kind."""
    table = table_of(n_rounds=3)
    model = MultiExperimentLoss([experiment_of(table, modes_of(table), kind)])
    return randomised(model), [table]


def kd_seq() -> Case:
    """Return an input, a bound and an unbound library, the concentration trained."""
    table = table_of(n_rounds=3)
    start = rounds.InitialRound()
    bound = rounds.BoundRound.from_binding(
        modes_of(table), start, train_concentration=True, library_concentration=0.2
    )
    unbound = rounds.UnboundRound.from_round(bound)
    experiment = Experiment(
        [start, bound, unbound], counts_per_round=table.counts_per_round
    )
    return randomised(MultiExperimentLoss([experiment], pseudocount=3)), [table]


def kinase() -> Case:
    """Return two time points that share their contributions."""
    table = table_of(n_rounds=3)
    start = rounds.InitialRound()
    first = rounds.ExponentialRound.from_binding(modes_of(table), start)
    second = rounds.ExponentialRound.from_round(first, target_concentration=3.0)
    experiment = Experiment(
        [start, first, second], counts_per_round=table.counts_per_round
    )
    return randomised(MultiExperimentLoss([experiment])), [table]


def unobserved() -> Case:
    """Return a round selected from a library that was not sequenced."""
    table = table_of(n_rounds=2)
    start = rounds.InitialRound()
    hidden = rounds.BoundRound.from_binding(modes_of(table), start, train_depth=False)
    last = rounds.BoundUnsaturatedRound(hidden.aggregate, hidden)
    experiment = Experiment([start, last], counts_per_round=table.counts_per_round)
    return randomised(MultiExperimentLoss([experiment])), [table]


def dimer(lengths: tuple[int, int] = (7, 7), **arguments: Any) -> Case:
    """Return two motifs and their dimer."""
    table = table_of(n_probes=10, lengths=lengths)
    spacing = {
        key: arguments.pop(key)
        for key in list(arguments)
        if key in {"max_overlap", "max_spacing", "score_same", "normalize_spacing"}
    }
    spacing["normalize"] = spacing.pop("normalize_spacing", False)
    homo = arguments.pop("homo", False)
    modes = modes_of(table)
    other = modes[1]
    if not homo:
        other = Mode.from_psam(layers.PSAM(2, DNA, name="b"), table, train_posbias=True)
    spec = Spacing(modes[1].key(), other.key(), **spacing)
    pair = Cooperativity(spec, modes[1], other, **arguments)
    bindings = [*modes, pair] if homo else [*modes, other, pair]
    return randomised(MultiExperimentLoss([experiment_of(table, bindings)])), [table]


def several(**arguments: Any) -> Case:
    """Return two experiments of different kinds that share a motif."""
    tables = [table_of(n_rounds=2), table_of(n_rounds=3, seed=5)]
    spec = layers.PSAM(3, DNA, name="shared")
    experiments = [
        experiment_of(table, [Mode.from_psam(spec, table, train_posbias=i == 1)], kind)
        for i, (table, kind) in enumerate(
            zip(tables, [rounds.BoundRound, rounds.RhoGammaRound], strict=True)
        )
    ]
    model = MultiExperimentLoss(experiments, weights=[0.3, 1.1], **arguments)
    return randomised(model), tables


class Counting(nn.Module):
    """A small network that scores whole probes."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (probes, 1, 1)."""
        score = torch.tanh(torch.einsum("nal,a->n", x, self.weights)) * self.scale
        return score[:, None, None]


def network() -> Case:
    """Return a mode that is a torch module, besides a motif."""
    table = table_of()
    spec = layers.ModuleSpec(DNA, Counting(), name="net")
    mode = Mode([layers.ModuleLayer.from_spec(spec, table)])
    model = MultiExperimentLoss([experiment_of(table, [*modes_of(table), mode])])
    return randomised(model), [table]


def pooled() -> Case:
    """Return a motif of which the best of neighbouring windows counts."""
    table = table_of()
    conv = layers.Conv1d.from_psam(layers.PSAM(3, DNA, name="a"), table)
    pool = layers.MaxPool1d.from_spec(layers.MaxPool1dSpec(2, 2), conv)
    model = MultiExperimentLoss([experiment_of(table, [Mode([conv, pool])])])
    return randomised(model), [table]


class OwnExperiment(Experiment):
    """An experiment that goes its own way to the same shares."""

    def evaluate(self, evaluation: Any) -> Tensor:
        """Return log p."""
        return super().evaluate(evaluation) * 1.0


def own_experiment() -> Case:
    """Return an experiment of which nothing is known."""
    table = table_of(n_rounds=3)
    chain = rounds.repeat_round(modes_of(table), 2, rounds.BoundRound)
    experiment = OwnExperiment(chain, counts_per_round=table.counts_per_round)
    return randomised(MultiExperimentLoss([experiment])), [table]


def padded() -> Case:
    """Return probes of several lengths, padded at their own ends first."""
    table = table_of(lengths=(5, 8))
    before = layers.get_padding_layers(DNA, table, 1, 1)
    conv = layers.Conv1d.from_psam(layers.PSAM(3, DNA, name="a"), before[-1])
    model = MultiExperimentLoss([experiment_of(table, [Mode([*before, conv])])])
    return randomised(model), [table]


CASES: dict[str, Callable[[], Case]] = {
    "motif": motif,
    "several lengths": lambda: motif(lengths=(4, 8)),
    "pairs": lambda: motif(pairwise_distance=2),
    "palindrome": lambda: motif(symmetry=[1, 2, -1]),
    "repeat with pairs": lambda: motif(symmetry=[1, 2, 1], pairwise_distance=1),
    "centred letters": lambda: motif(normalize_psam=True, train_bias=True),
    "hill": lambda: motif(train_hill=True),
    "position bias": lambda: motif(train_posbias=True),
    "reversed bias of lengths": lambda: motif(
        lengths=(5, 8), train_posbias=True, bias_mode="reverse", train_hill=True
    ),
    "centred bias in bins": lambda: motif(
        train_posbias=True, bias_bin=2, normalize=True, bias_mode="same"
    ),
    "bound": lambda: selected(rounds.BoundRound),
    "unbound": lambda: selected(rounds.UnboundRound),
    "unsaturated": lambda: selected(rounds.BoundUnsaturatedRound),
    "rho gamma": lambda: selected(rounds.RhoGammaRound),
    "exponential": lambda: selected(rounds.ExponentialRound),
    "kd-seq": kd_seq,
    "kinase": kinase,
    "unobserved": unobserved,
    "dimer": dimer,
    "dimer of few spacings": lambda: dimer(max_overlap=0, max_spacing=2),
    "dimer with hill": lambda: dimer(train_hill=True, normalize_spacing=True),
    "dimer with bias": lambda: dimer(
        lengths=(6, 7), train_posbias=True, bias_mode="same", bias_bin=3
    ),
    "homodimer": lambda: dimer(
        homo=True, train_posbias=True, bias_mode="reverse", bias_bin=2
    ),
    "experiments": several,
    "equalized experiments": lambda: several(equalize_contribution=True),
    "network": network,
    "pooled": pooled,
    "own experiment": own_experiment,
    "padded": padded,
}


def brute_force(
    model: MultiExperimentLoss, tables: list[CountTable]
) -> tuple[Tensor, Tensor]:
    """Return the information and the gradient of the likelihood, probe by probe."""
    free = FreeParameters(model)
    size = len(free)
    information = torch.zeros(size, size, dtype=torch.float64)
    gradient = torch.zeros(size, dtype=torch.float64)
    with torch.no_grad():
        losses = torch.tensor(
            [
                float(model.negloglik(experiment, table)[0] / table.target.sum())
                for experiment, table in zip(model.components(), tables, strict=True)
            ],
            dtype=torch.float64,
        )
        weights = model.weights_for(losses)
    for weight, experiment, table in zip(
        weights.tolist(), model.components(), tables, strict=True
    ):
        scale = weight / float(table.target.sum())
        for i in range(len(table)):
            log_p = experiment(table.seqs[i : i + 1])[0]
            reads, p = table.target[i].double(), log_p.detach().exp()
            rows = []
            for r in range(len(p)):
                found = torch.autograd.grad(
                    log_p[r], free.tensors, retain_graph=True, allow_unused=True
                )
                rows.append(free.gather(found))
            jacobian = torch.stack(rows)
            weighted = jacobian * p[:, None] * reads.sum()
            information += scale * jacobian.T @ weighted
            gradient -= scale * reads @ jacobian
    return information, gradient
