"""The objective of the Java program: likelihood per read, and its penalties.

    value = Σ_tables w_t NLL_t + λ₂ Σ c² + Dirichlet + Σ_free (e^{θ−B} + e^{−θ−B})

c runs over every number of the file, tied copies and unused ones included; θ over the
free parameters. w_t is one over the reads, or over the probes where errors are not
Poisson's.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound._evaluation import evaluation_of
from pyprobound.base import Transform
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.loss import MultiExperimentLoss
from pyprobound.probound._files import Document
from pyprobound.probound._model import Numbers
from pyprobound.probound._schema import CountTableSettings
from pyprobound.rounds import BaseRound
from pyprobound.table import CountBatch

Active = Callable[[tuple[object, ...]], bool]
"""Which arrays of the file are fitted, by their places."""


def _everything(place: tuple[object, ...]) -> bool:  # noqa: ARG001 as `Active`
    return True


class ProBoundLoss(MultiExperimentLoss):
    """The objective of a file, as a loss of its experiments.

    Attributes:
        numbers: The file's numbers as a function of the parameters.
        structure: What the file says of it.
        reads: For each table the reads in its modelled columns.
        fitted: Which arrays of the file are fitted: energies that are not have no
            pseudocount.
    """

    def __init__(
        self, document: Document, experiments: Sequence[Experiment], numbers: Numbers
    ) -> None:
        """Initialise the objective of some experiments.

        Args:
            document: What the file says.
            experiments: One for each of its tables.
            numbers: Its numbers.
        """
        super().__init__(experiments, weights=[1.0] * len(experiments), lambda_l2=0.0)
        content = document.content
        self.numbers = numbers
        self.unused = numbers.parameters[-1]
        self.reads = [1.0] * len(experiments)
        self.fitted: Active = _everything
        self.structure = content.model_settings
        self._optimizer = content.optimizer_setting

    def know(self, tables: Sequence[CountBatch]) -> None:
        """Take the numbers of reads, by which the pseudocount is diluted."""
        sums = [float(table.target.sum(dtype=torch.float64)) for table in tables]
        self.reads = [each or 1.0 for each in sums]

    def take_part(self, tables: Container[int]) -> None:
        """Let only some tables count, by their index."""
        count = len(self.weights)
        self.weights = tuple(1.0 if i in tables else 0.0 for i in range(count))

    # --- penalties -----------------------------------------------------------------

    def penalty(self) -> Tensor:
        """Return the penalties of all numbers."""
        values = self.numbers.values()
        settings = self._optimizer
        total = settings.lambda_l2 * values.square().sum()
        total = total + self._dirichlet(values)
        free = values[self._first]
        bound = settings.exp_bound
        return total + ((free - bound).exp() + (-free - bound).exp()).sum()

    @property
    def _first(self) -> Tensor:
        """Return a number of each free parameter, (free,)."""
        packing = self.numbers.packing
        first = torch.full((self.numbers.n_free,), len(packing))
        place = torch.arange(len(packing))
        is_free = packing >= 0
        return first.scatter_reduce(0, packing[is_free], place[is_free], "amin")

    def _dirichlet(self, values: Tensor) -> Tensor:
        total = values.new_zeros(())
        for index, mode in enumerate(self.structure.binding_modes):
            if mode.include_component is False or mode.size == 0:
                continue
            if self.fitted(("letters", index)):
                share = self._share(mode.pseudocount_mono)
                letters = self.numbers.part(values, ("letters", index))
                total = total + share * _dirichlet_of(letters)
            share = self._share(mode.pseudocount_di)
            for distance in range(1, mode.distance + 1):
                if not self.fitted(("pairs", index, distance)):
                    continue
                pairs = self.numbers.part(values, ("pairs", index, distance))
                total = total + share * _dirichlet_of(pairs.flatten(1))
        return total

    def _share(self, own: float | None) -> float:
        """Return the pseudocount per read, averaged over the tables."""
        count = self._optimizer.pseudocount if own is None else own
        pairs = zip(self.reads, self.weights, strict=True)
        shares = [1 / reads for reads, weight in pairs if weight > 0]
        return count * sum(shares) / len(shares) if shares else 0.0

    # --- likelihood ----------------------------------------------------------------

    def negloglik(
        self, transform: Transform, batch: CountBatch
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a table, and what it is divided by.

        Args:
            transform: One of the experiments.
            batch: Probes and counts of the modelled columns.
        """
        which = [each is transform for each in self.components()].index(True)
        table = self.structure.count_table[which]
        if table.error_model == "Poisson" and table.probe_bias:
            return super().negloglik(transform, batch)
        assert isinstance(transform, Experiment)
        logits = log_expected(transform, batch.seqs).double()
        counts = batch.target.to(logits)
        total = _loss_of(table, logits, counts)
        if table.error_model == "Poisson":
            return total, counts.sum()
        return total, counts.new_tensor(float(len(counts)))

    @property
    def has_plain_counts(self) -> bool:
        """Whether all tables are multinomial over their columns."""
        return all(
            table.error_model == "Poisson" and table.probe_bias
            for table in self.structure.count_table
        )


def _dirichlet_of(groups: Tensor) -> Tensor:
    """Return Σ_groups [n logsumexp(β) − Σ β] of (groups, n)."""
    return groups.shape[1] * groups.logsumexp(1).sum() - groups.sum()


def log_expected(experiment: Experiment, seqs: Tensor) -> Tensor:
    """Return log(η κ) of each probe and column, (probes, columns)."""
    evaluation = evaluation_of(seqs)
    rounds = [each for each in experiment.rounds if isinstance(each, BaseRound)]
    return torch.stack([evaluation(each.evaluate) for each in rounds], 1)


def expected_counts(model: ProBoundLoss, which: int, batch: CountBatch) -> Tensor:
    """Return the counts that a model expects, (probes, columns) float64.

    Args:
        model: The objective.
        which: Which of its experiments.
        batch: Probes, whose reads are spread over the columns.
    """
    experiment = list(model.components())[which]
    assert isinstance(experiment, Experiment)
    with torch.no_grad():
        logits = log_expected(experiment, batch.seqs).double()
    if not model.structure.count_table[which].probe_bias:
        return logits.exp()
    return batch.target.double().sum(1, keepdim=True) * logits.softmax(1)


def _loss_of(table: CountTableSettings, logits: Tensor, counts: Tensor) -> Tensor:
    """Return the summed loss of errors that are not multinomial."""
    expected = logits.exp()
    if table.error_model == "Poisson":
        return (expected - counts * logits).sum()
    if table.error_model == "LogNormal":
        if bool((counts <= 0).any()):
            msg = (
                f"{table.count_table_file}: errorModel LogNormal needs counts above 0;"
                " leave out probes without reads in a column"
            )
            raise PyProBoundError(msg)
        return (counts.log() - logits).square().sum()
    if table.probe_bias:
        expected = counts.sum(1, keepdim=True) * logits.softmax(1)
    return (counts - expected).square().sum()


@dataclass(frozen=True)
class Value:
    """The objective at a point.

    Attributes:
        value: The objective.
        losses: w_t NLL_t of each table.
        negloglik: Σ NLL_t, in total.
        penalty: All penalties.
    """

    value: float
    losses: list[float]
    negloglik: float
    penalty: float


def value_of(loss: ProBoundLoss, tables: Sequence[CountBatch]) -> Value:
    """Return the objective of tables, with its parts."""
    with torch.no_grad():
        parts = [
            loss.negloglik(each, table)
            for each, table in zip(loss.components(), tables, strict=True)
        ]
        penalty = float(loss.penalty())
    weighted = list(zip(parts, loss.weights, strict=True))
    losses = [weight * float(total / by) for (total, by), weight in weighted]
    total = sum(float(each) for (each, _), weight in weighted if weight > 0)
    return Value(sum(losses) + penalty, losses, total, penalty)
