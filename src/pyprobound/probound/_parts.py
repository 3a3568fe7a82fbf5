"""Parts of models that only files of the Java program ask for."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation
from pyprobound._numerics import logsumexp
from pyprobound.aggregate import Aggregate
from pyprobound.base import Component
from pyprobound.layers.psam import PSAM, with_reverse
from pyprobound.rounds import Round


class GrowthRound(Round):
    """A library enriched exponentially by what binds: e^Z."""

    def log_enrichment_of(self, log_aggregate: Tensor) -> Tensor:
        """Return Z."""
        return log_aggregate.exp()


class Pool(Aggregate):
    """Several aggregates at once: log Σ Z.

    Attributes:
        aggregates: The aggregates.
    """

    def __init__(self, aggregates: Sequence[Aggregate]) -> None:
        """Initialise with aggregates."""
        super().__init__(list(aggregates[0].components()))
        self.aggregates = nn.ModuleList(aggregates)
        self._parts = list(aggregates)

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return log Σ Z of each probe, (probes,)."""
        return logsumexp(torch.stack([evaluation(a.evaluate) for a in self._parts]), 0)


class Modification(Component):
    """What a chemical modification adds to some energies of a motif.

    Attributes:
        letters: (positions, modified letters).
        pairs: By distance from 1, (positions − distance, modified pairs).
    """

    unfreezable = Literal["all"]

    def __init__(
        self,
        size: int,
        n_letters: int,
        letters: Sequence[int],
        pairs: Sequence[Sequence[tuple[int, int]]],
        name: str = "",
    ) -> None:
        """Initialise without effect (all 0).

        Args:
            size: Positions of the motif.
            n_letters: Letters of the alphabet.
            letters: The letters whose energies are shifted.
            pairs: By distance from 1, the pairs.
            name: Of the modification.
        """
        super().__init__(name=name)
        self._n_letters = n_letters
        self._where = list(letters), [list(each) for each in pairs]
        self.letters = nn.Parameter(torch.zeros(size, len(letters)))
        self.pairs = nn.ParameterList(
            nn.Parameter(torch.zeros(size - distance, len(each)))
            for distance, each in enumerate(pairs, 1)
        )

    def components(self) -> Iterator[Component]:
        """Iterate over no children."""
        return iter(())

    def shift(self, distance: int) -> Tensor:
        """Return what is added to the forward filter of a distance (0: letters)."""
        n = self._n_letters
        if distance == 0:
            chosen = torch.tensor(self._where[0], dtype=torch.int64)
            values: Tensor = self.letters
            size = n
        elif distance <= len(self.pairs):
            pairs = self._where[1][distance - 1]
            chosen = torch.tensor([a * n + b for a, b in pairs], dtype=torch.int64)
            values = self.pairs[distance - 1]
            size = n * n
        else:
            length = len(self.letters) - distance
            return self.letters.new_zeros(1, n, n, length)
        place = torch.zeros(len(chosen), size, dtype=values.dtype, device=values.device)
        place[torch.arange(len(chosen)), chosen] = 1.0
        added = (values @ place).T  # (letters or pairs, positions)
        shape = (1, n, -1) if distance == 0 else (1, n, n, added.shape[-1])
        return added.reshape(shape)


class ModifiedPSAM(PSAM):
    """A PSAM in an experiment whose probes carry modifications: it shares its betas.

    Attributes:
        modifications: What is added to them.
    """

    def __init__(self, base: PSAM, modifications: Iterable[Modification]) -> None:
        """Initialise from the PSAM of probes without modifications."""
        super().__init__(
            base.kernel_size,
            alphabet=base.alphabet,
            pairwise_distance=base.pairwise_distance,
            score_reverse=base.score_reverse,
            name=base.name,
        )
        base.betas.shared = True
        self.betas = base.betas
        self.modifications = nn.ModuleList(modifications)

    def get_filter(self, dist: int) -> Tensor:
        """Return the filter with what the modifications add; see `PSAM`."""
        filters = super().get_filter(dist)
        for each in self.modifications:
            assert isinstance(each, Modification)
            shift = each.shift(dist).to(filters)
            filters = filters + (with_reverse(shift) if self.score_reverse else shift)
        return filters
