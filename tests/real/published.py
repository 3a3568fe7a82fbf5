"""Published fits put into this package's model.

A fit of the original program lists, for each binding mode, energies (position by
position, in the order A, C, G, T), a log activity for each column, and for each column
a log depth h. Column r is Π_{t≤r} Z_t enriched; column 0 has no selection before it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyprobound import (
    CountTable,
    Experiment,
    Mode,
    MultiExperimentLoss,
    alphabets,
    get_dataframe,
    layers,
    rounds,
)

DNA = alphabets.DNA()
LAMBDA_L2 = 1e-6
PSEUDOCOUNT = 20


@dataclass(frozen=True)
class Published:
    """One fitted model, as its file gives it."""

    fit: dict[str, Any]

    @classmethod
    def from_file(cls, path: Path) -> "Published":
        """Read a model, the last one of a file with a model in each line."""
        text = path.read_text()
        lines = text.splitlines()
        whole = lines[0] == "{"
        return cls(json.loads(text if whole else lines[-1]))

    @property
    def modes(self) -> list[dict[str, Any]]:
        """The settings of the binding modes."""
        return list(self.fit["modelSettings"]["bindingModes"])

    @property
    def negloglik(self) -> float:
        """The negative log likelihood in total, in nats."""
        return float(self.fit["metadata"]["logLikelihood"])

    @property
    def regularization(self) -> float:
        """The penalty per read."""
        return float(self.fit["metadata"]["regularization"])

    @property
    def objective(self) -> float:
        """Negative log likelihood per read, and penalty."""
        return float(self.fit["metadata"]["logLikelihoodPerRead"])

    def table(self, counts: Path) -> CountTable:
        """Return the counts with the longest flanks that any mode scores."""
        settings = self.fit["modelSettings"]["countTable"][0]
        flank = max(mode["flankLength"] for mode in self.modes)
        return CountTable(
            get_dataframe(str(counts)),
            DNA,
            left_flank=settings["leftFlank"],
            right_flank=settings["rightFlank"],
            left_flank_length=flank,
            right_flank_length=flank,
        )

    def model(self, table: CountTable) -> MultiExperimentLoss:
        """Return the model with the published parameters, in float64."""
        bindings = [self._binding(mode, table) for mode in self.modes]
        n_columns = len(table.counts_per_round)
        chain = rounds.repeat_round(
            bindings, n_columns - 1, rounds.BoundUnsaturatedRound
        )
        experiment = Experiment(chain, counts_per_round=table.counts_per_round)
        model = MultiExperimentLoss(
            [experiment], lambda_l2=LAMBDA_L2, pseudocount=PSEUDOCOUNT
        ).double()
        self._fill(bindings, chain)
        return model

    def _binding(self, mode: dict[str, Any], table: CountTable) -> Mode:
        if mode["size"] == 0:
            # One for each probe, whatever its length.
            return Mode.from_nonspecific(
                layers.NonSpecific(DNA, ignore_length=True), table
            )
        psam = layers.PSAM(mode["size"], DNA)
        trimmed = mode["flankLength"] - table.left_flank_length
        before = layers.get_padding_layers(DNA, table, trimmed, trimmed)
        last = before[-1] if before else table
        return Mode([*before, layers.Conv1d.from_psam(psam, last)])

    @torch.no_grad()
    def _fill(
        self,
        bindings: list[Mode],
        chain: list[rounds.InitialRound | rounds.Round],
    ) -> None:
        coefficients = self.fit["coefficients"]
        for column, (each, depth) in enumerate(
            zip(chain, coefficients["countTable"][0]["h"], strict=True)
        ):
            each.log_depth.fill_(depth)
            if isinstance(each, rounds.InitialRound):
                continue  # the activities of its column never enter
            for contribution, mode in zip(
                each.aggregate.components(), coefficients["bindingModes"], strict=True
            ):
                contribution.log_activity.fill_(mode["activity"][0][column])
        for binding, mode in zip(bindings, coefficients["bindingModes"], strict=True):
            spec = binding.key()[-1]
            if isinstance(spec, layers.PSAM):
                for place, energy in enumerate(mode["mononucleotide"]):
                    key = f"{place // 4 + 1}-{place % 4}"
                    spec.betas[key].fill_(energy)
