"""An experiment: rounds that were sequenced together, and how reads spread over them.

    log p_ir = log softmax over the observed rounds r of the rounds' outputs

A round may be unobserved (a bias step between two sequenced libraries): it is found
through the chain of reference rounds and enters the enrichment, but not the softmax.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF
from pyprobound.base import Transform
from pyprobound.rounds import BaseRound, Round


class Experiment(Transform):
    """The rounds of one count table, one for each of its columns.

    Attributes:
        rounds: The observed rounds, a `torch.nn.ModuleList`.
        unobserved_rounds: The reference rounds that have no column.
    """

    def __init__(
        self,
        rounds: Iterable[BaseRound],
        counts_per_round: Tensor | list[float] | None = None,
        name: str = "",
    ) -> None:
        """Initialise an experiment.

        Args:
            rounds: The observed rounds, in the order of the table's columns.
            counts_per_round: The total number of reads of each, which free_protein
                and a pseudocount need.
            name: Shown in plans and messages.

        Raises:
            ValueError: There is no round, one comes twice, all depths are trained, an
                unobserved round's depth is, or the counts do not fit.
        """
        super().__init__(name=name)
        observed = list(rounds)
        in_order = list(_with_references(observed))
        is_observed = {id(each) for each in observed}
        unobserved = [each for each in in_order if id(each) not in is_observed]
        _check_rounds(observed, unobserved)
        self.rounds = nn.ModuleList(observed)
        self.unobserved_rounds = nn.ModuleList(unobserved)
        for index, each in enumerate(in_order):
            each.name = each.name or str(index)
        self._counts_per_round: Tensor | None = None
        if counts_per_round is not None:
            self.counts_per_round = torch.as_tensor(counts_per_round)

    @property
    def counts_per_round(self) -> Tensor:
        """The total number of reads of each observed round, float64 on the CPU.

        Raises:
            ValueError: It is not known yet, or set to what does not fit the rounds.
        """
        if self._counts_per_round is None:
            msg = (
                f"{self} does not know its read counts; give counts_per_round, for "
                "instance the table's"
            )
            raise ValueError(msg)
        return self._counts_per_round

    @counts_per_round.setter
    def counts_per_round(self, counts: Tensor | Sequence[float]) -> None:
        # float64: float32 stops counting single reads past 2**24.
        values = torch.as_tensor(counts).detach().to("cpu", torch.float64, copy=True)
        if values.shape != (len(self.rounds),):
            msg = (
                f"{self} has {len(self.rounds)} observed rounds, but counts_per_round "
                f"has {values.numel()} numbers; give one for each"
            )
            raise ValueError(msg)
        if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
            msg = f"counts_per_round {values.tolist()} must be counts: 0 or more"
            raise ValueError(msg)
        self._counts_per_round = values

    def components(self) -> Iterator[BaseRound]:
        """Iterate over all rounds, references before the rounds that use them."""
        return _with_references(self._observed())

    def _observed(self) -> list[BaseRound]:
        return cast("list[BaseRound]", list(self.rounds))

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        """Return log p, (probes, observed rounds).

        A probe that no observed round can contain is −∞ in all of them.
        """
        outputs = [evaluation(each.evaluate) for each in self._observed()]
        logits = torch.stack(outputs, dim=1)  # (probes, rounds)
        nowhere = (logits == NEG_INF).all(1, keepdim=True)
        log_p = logits.masked_fill(nowhere, 0.0).log_softmax(1)
        return log_p.masked_fill(nowhere, NEG_INF)

    def free_protein(
        self,
        i_index: int,
        b_index: int,
        u_index: int,
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> float:
        """Return the concentration of free protein in a Kd-seq experiment.

            p(B) = (k_B/k_I) (η_I/η_B),    [P]_F = [P]_T − [library] p(B)

        k are total read counts and η sequencing depths. Divided by Z(S), [P]_F is the
        absolute K_D of a sequence S.

        Args:
            i_index: Which observed round is the input.
            b_index: Which one is the bound library.
            u_index: Which one is the unbound library.
            target_concentration: [P]_T; by default the bound round's.
            library_concentration: By default the bound round's.

        Raises:
            ValueError: The rounds are not three of the observed ones, the input has no
                read, the bound round has no aggregate, or a count or concentration
                is not known.
        """
        chosen = (i_index, b_index, u_index)
        n_rounds = len(self.rounds)
        if len(set(chosen)) < len(chosen) or not all(0 <= i < n_rounds for i in chosen):
            msg = (
                f"free_protein needs three different rounds out of 0 … {n_rounds - 1}, "
                f"not {chosen}: input, bound and unbound"
            )
            raise ValueError(msg)
        counts: list[float] = self.counts_per_round.tolist()
        if counts[i_index] == 0:
            msg = f"the input round {i_index} has no read, so that p(B) is not defined"
            raise ValueError(msg)
        bound = self._observed()[b_index]
        if not isinstance(bound, Round):
            msg = f"{bound} has no aggregate; give the index of the bound round"
            raise ValueError(msg)  # noqa: TRY004 the index is wrong, not a type
        if target_concentration is None:
            target_concentration = float(
                bound.aggregate.log_target_concentration.detach().exp()
            )
        if library_concentration is None:
            library_concentration = bound.library_concentration
        log_depths = [each.log_depth.detach() for each in self._observed()]
        depth_ratio = float((log_depths[i_index] - log_depths[b_index]).exp())
        p_bound = counts[b_index] / counts[i_index] * depth_ratio
        return target_concentration - library_concentration * p_bound


def _with_references(observed: Iterable[BaseRound]) -> Iterator[BaseRound]:
    """Iterate over rounds and their references, each once, references first."""
    seen: set[int] = set()
    for each in observed:
        for link in reversed(list(each.chain())):
            if id(link) not in seen:
                seen.add(id(link))
                yield link


def _check_rounds(observed: list[BaseRound], unobserved: list[BaseRound]) -> None:
    if not observed:
        msg = "an experiment needs at least one observed round; give rounds"
        raise ValueError(msg)
    if len({id(each) for each in observed}) < len(observed):
        msg = (
            f"a round is given twice among {[str(each) for each in observed]}; each "
            "column of a table has a round of its own"
        )
        raise ValueError(msg)
    if all(each.train_depth for each in observed):
        msg = (
            "all sequencing depths are trained, but only their ratios matter; give one "
            "observed round train_depth=False, or begin with an InitialRound"
        )
        raise ValueError(msg)
    for each in unobserved:
        if each.train_depth:
            msg = (
                f"the unobserved round {each} has no reads to train its depth on; give "
                "it train_depth=False, or list it among the observed rounds"
            )
            raise ValueError(msg)
