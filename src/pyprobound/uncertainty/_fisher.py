"""Standard errors of a fitted model, from its Fisher information.

With F_e the information in the reads of table e, a_e its weight per read, and φ_e the
dispersion of its counts, a fit of Σ_e a_e NLL_e scatters around the truth with

    H = Σ_e a_e F_e,      V = Σ_e a_e² φ_e F_e,      covariance = H⁻¹ V H⁻¹

which is φ F⁻¹ for one table. A function f of the parameters has the variance
∇fᵀ · covariance · ∇f (delta method). The penalty is no information: it enters neither.

Some directions of the parameters change nothing: the mean of a position's letters
against an activity, or a letter that was never seen. They are projected out, and a
function that depends on them is reported as not identified; so is one whose standard
error exceeds `LARGEST_ERROR`.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor

from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.fisher import CountObjective, FreeParameters, Moments
from pyprobound.loss import MultiExperimentLoss
from pyprobound.rounds import BaseRound, Round
from pyprobound.table import CountBatch
from pyprobound.uncertainty._estimate import Estimate
from pyprobound.uncertainty._files import Findings, load_findings, save_findings
from pyprobound.uncertainty._gauge import log_omega, moved_constant
from pyprobound.uncertainty._jacobian import gradients, linear
from pyprobound.uncertainty._named import ErrorBars, observed_rounds
from pyprobound.uncertainty._sequences import (
    Rows,
    ScoreRows,
    difference,
    in_pieces,
    rounding_of,
)

LARGEST_ERROR = 10.0
"""In natural logarithms: what is not known to a factor of e^10 is not known at all."""

UNRESOLVED = {torch.float64: 1e-12}
UNRESOLVED_OTHERWISE = 1e-10
"""Information that is rounding, relative to the largest, by precision."""

FARTHEST = 1e4
"""A standard error so large that its direction counts as one without information."""

OUTSIDE = 1e-3
"""The part of a gradient in directions without information that is not rounding."""


class Uncertainty(ErrorBars):
    """How well the data determine a model.

    Attributes:
        free: The parameters, in the order of the covariance.
        covariance: (P, P), 0 in directions without information.
        dispersion: Pearson's χ² per degree of freedom of each table: 1 where counts
            scatter as the model says, more where they scatter more.
        is_widened: Whether the errors are widened by it, where it is above 1.
        unidentified: (P, directions) orthonormal directions without information.
        largest_error: The standard error above which a value is not identified.
    """

    def __init__(
        self,
        model: MultiExperimentLoss,
        tables: Sequence[CountBatch],
        *,
        widen: bool = True,
        largest_error: float = LARGEST_ERROR,
    ) -> None:
        """Compute the information of a fitted model at its parameters.

        All parameters that can be trained take part, frozen now or not, those that are
        not finite (absent activities, excluded windows) excepted.

        Args:
            model: The fitted model.
            tables: What it was fitted to.
            widen: Whether to widen errors by the dispersion, where it is above 1.
            largest_error: The standard error, in natural logarithms, above which a
                value counts as not identified.

        Raises:
            PyProBoundError: There is nothing to train, or no information.
        """
        with all_trained(model):
            objective = CountObjective(model, tables)
            if len(objective.free) == 0:
                raise PyProBoundError("the model has no parameter that can be trained")
            moments = objective.moments()
        reads = [
            torch.atleast_2d(each.target).sum(0, dtype=torch.float64).cpu()
            for each in tables
        ]
        found = _findings(model, objective.free, moments, reads, widen=widen)
        self._take(model, objective.free, found, largest_error)

    def _take(
        self,
        model: MultiExperimentLoss,
        free: FreeParameters,
        found: Findings,
        largest_error: float,
    ) -> None:
        self.free = free
        self.covariance = found.covariance
        self.dispersion = found.dispersion
        self.is_widened = found.is_widened
        self.unidentified = found.unidentified
        self.largest_error = largest_error
        self._reads = found.reads
        self._read_gradients = found.read_gradients
        self._experiments = [
            each for each in model.components() if isinstance(each, Experiment)
        ]
        self._leaves = [
            reads.clamp(min=0).log().requires_grad_() for reads in found.reads
        ]
        self._references: dict[int, int | None] = {}

    # --- files ---------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the covariance to a file, so that tables are not needed again.

        Args:
            path: The file (NumPy's npz), which appears once it is complete.
        """
        found = Findings(
            self.covariance,
            self.unidentified,
            self.dispersion,
            self.is_widened,
            self._reads,
            self._read_gradients,
        )
        save_findings(path, found, self.free, self.largest_error)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: MultiExperimentLoss) -> Self:
        """Read what `save` has written.

        Args:
            path: The file.
            model: The model that it belongs to, with the parameters it had then.

        Raises:
            PyProBoundError: The file is missing or damaged, of a later version, or
                belongs to another model.
        """
        with all_trained(model):
            free = FreeParameters(model)
        found, largest_error = load_findings(path, free)
        self = cls.__new__(cls)
        self._take(model, free, found, largest_error)
        return self

    # --- functions of the parameters -----------------------------------------------

    def of(
        self, function: Callable[[], Tensor], *, is_linear: bool = False
    ) -> Estimate:
        """Return the value and the standard errors of a function of the parameters.

            uncertainty.of(lambda: mode(seqs))

        It takes one gradient for each entry; of many sequences, see `scores`.

        Args:
            function: Computes a tensor of any shape from the model.
            is_linear: A promise that it sums parameters, which saves time.
        """
        with torch.enable_grad(), with_gradients(self.free.tensors):
            value = function()
            jacobian = self._jacobian(value, is_linear=is_linear)
        detached = value.detach().double().cpu()
        errors = self.errors_of(jacobian).view_as(detached)
        return Estimate(detached, errors.masked_fill(~detached.isfinite(), math.nan))

    def _jacobian(self, value: Tensor, *, is_linear: bool = False) -> Tensor:
        """Return the gradient of each entry, (entries, P), reads included."""
        if is_linear:
            return linear(value, self.free)
        own, reads = gradients(value, self.free, self._leaves)
        for each, reads_of, slopes in zip(
            reads, self._reads, self._read_gradients, strict=True
        ):
            # the reads expected at the optimum are those observed
            own += (each / reads_of.clamp(min=1)) @ slopes
        return own

    def errors_of(self, jacobian: Tensor) -> Tensor:
        """Return the standard errors of values with these gradients.

        Args:
            jacobian: (n, P) derivatives with respect to `free`.

        Returns:
            (n,), NaN where a value is not identified.
        """
        variance = ((jacobian @ self.covariance) * jacobian).sum(1)
        error = variance.clamp(min=0).sqrt()
        unknown = self._part_outside(jacobian) > OUTSIDE * jacobian.norm(dim=1)
        unknown |= ~jacobian.isfinite().all(1) | (error > self.largest_error)
        return error.masked_fill(unknown, math.nan)

    def _part_outside(self, jacobian: Tensor) -> Tensor:
        part: Tensor = torch.linalg.vector_norm(jacobian @ self.unidentified, dim=1)
        return part

    def parameters(self) -> list[tuple[str, float, float]]:
        """Return (name, value, standard error) of every parameter, as it stands.

        Single parameters are often not identified where their differences are.
        """
        errors = self.errors_of(torch.eye(len(self.free), dtype=torch.float64))
        return list(
            zip(
                self.free.labels(),
                self.free.get().tolist(),
                errors.tolist(),
                strict=True,
            )
        )

    # --- what the named quantities need --------------------------------------------

    def seen(self, parameter: Tensor) -> Tensor:
        """Return which entries of a parameter the data say anything about.

        Args:
            parameter: One of the model's. What is not trained counts as known.

        Returns:
            Booleans, shaped as the parameter.
        """
        columns = self.free.columns_of(parameter)
        inside = 1 - self.unidentified[columns.clamp(min=0)].square().sum(1)
        known: Tensor = (inside > OUTSIDE**2) | (columns < 0)
        return known.view(parameter.shape)

    def reference(self, dimer: Cooperativity) -> int | None:
        """Return the arrangement that others are compared with.

        It is the best one that the data can tell from another one.

        Args:
            dimer: One of the model's.

        Returns:
            Its place in the flattened (strands_a, strands_b, offsets); None if the two
            cannot bind in any arrangement.
        """
        if id(dimer) not in self._references:
            self._references[id(dimer)] = self._best_of(dimer)
        return self._references[id(dimer)]

    def _best_of(self, dimer: Cooperativity) -> int | None:
        with torch.enable_grad(), with_gradients(self.free.tensors):
            values = log_omega(dimer, self.seen).flatten()
            jacobian = linear(values, self.free)
        possible = values.detach().isfinite()
        ranked = values.detach().argsort(descending=True, stable=True).tolist()
        best = [place for place in ranked if bool(possible[place])]
        for place in best:
            contrasts = jacobian - jacobian[place]
            others = possible & (contrasts.norm(dim=1) > 0)
            if bool((~self.errors_of(contrasts)[others].isnan()).any()):
                return int(place)
        return int(best[0]) if best else None

    def _log_reads(self, experiment: Experiment) -> Tensor:
        for known, leaf in zip(self._experiments, self._leaves, strict=True):
            if known is experiment:
                return leaf
        msg = f"{experiment} is no experiment of this model"
        raise PyProBoundError(msg)

    # --- sequences -----------------------------------------------------------------

    def scores(
        self, binding: Binding, seqs: Tensor, *, reference: Tensor | None = None
    ) -> Estimate:
        """Return the log scores of sequences, less what the gauge moves elsewhere.

        Args:
            binding: One of the model's.
            seqs: (n, length) letter codes.
            reference: (length,) or (n, length) codes; what is returned is the score
                less that of the reference.

        Returns:
            (n,).
        """
        moved = self.constant_of(binding)

        def rows(seqs: Tensor) -> Rows:
            return self._rows([binding], seqs).score(0).less(*moved)

        return self._of_sequences(rows, seqs, reference)

    def log_aggregates(
        self, selected: Round, seqs: Tensor, *, reference: Tensor | None = None
    ) -> Estimate:
        """Return log Z of sequences in a round, whatever the gauge.

        Args:
            selected: One of the model's rounds.
            seqs: (n, length) letter codes.
            reference: (length,) or (n, length) codes; what is returned is log Z less
                that of the reference.

        Returns:
            (n,).
        """
        bindings = bindings_of([selected])

        def rows(seqs: Tensor) -> Rows:
            return self._rows(bindings, seqs).log_aggregate(selected)

        return self._of_sequences(rows, seqs, reference)

    def log_enrichments(
        self, selected: BaseRound, seqs: Tensor, *, reference: Tensor | None = None
    ) -> Estimate:
        """Return the log enrichment of sequences over the start of a round's chain.

        Args:
            selected: One of the model's rounds.
            seqs: (n, length) letter codes.
            reference: (length,) or (n, length) codes; what is returned is the log
                enrichment less that of the reference.

        Returns:
            (n,).
        """
        bindings = bindings_of(selected.chain())

        def rows(seqs: Tensor) -> Rows:
            return self._rows(bindings, seqs).log_enrichment(selected)

        return self._of_sequences(rows, seqs, reference)

    def log_kd(
        self,
        experiment: Experiment,
        seqs: Tensor,
        i_index: int,
        b_index: int,
        u_index: int,
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> Estimate:
        """Return log K_D = log [P]_F − log Z of sequences, from a Kd-seq experiment.

        Args:
            experiment: The experiment; see `log_free_protein` for the others.
            seqs: (n, length) letter codes.
            i_index: Which observed round is the input.
            b_index: Which one is the bound library.
            u_index: Which one is the unbound library.
            target_concentration: [P]_T; by default the bound round's.
            library_concentration: By default the bound round's.

        Raises:
            ValueError: As `free_protein` does.

        Returns:
            (n,).
        """
        chosen = i_index, b_index, u_index
        given = target_concentration, library_concentration
        experiment.free_protein(*chosen, *given)
        bound = experiment.rounds[b_index]
        assert isinstance(bound, Round)  # free_protein has checked
        with torch.enable_grad(), with_gradients(self.free.tensors):
            free = self._log_free_protein(experiment, *chosen, *given)
            slope = self._jacobian(free[None])[0]
        bindings = bindings_of([bound])

        def rows(seqs: Tensor) -> Rows:
            log_z = self._rows(bindings, seqs).log_aggregate(bound)
            less = log_z.less(free.detach().cpu(), slope)
            return Rows(-less.values, -less.jacobian)

        return self._of_sequences(rows, seqs, None)

    def _rows(self, bindings: Sequence[Binding], seqs: Tensor) -> ScoreRows:
        return ScoreRows.of(bindings, seqs, self.free)

    def constant_of(
        self, binding: Binding, *, is_biased: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return what the gauge moves from a binding's scores, and its gradient.

        Args:
            binding: One of the model's.
            is_biased: Whether position biases are part of the scores.

        Returns:
            A scalar and (P,).
        """
        with torch.enable_grad(), with_gradients(self.free.tensors):
            seen = self.seen if is_biased else None
            moved = moved_constant(binding, self.reference, seen)
            slope = self._jacobian(moved[None])[0]
        return moved.detach().double().cpu(), slope

    def _of_sequences(
        self,
        rows: Callable[[Tensor], Rows],
        seqs: Tensor,
        reference: Tensor | None,
    ) -> Estimate:
        seqs = torch.atleast_2d(seqs)
        values, errors = [], []
        with with_gradients(self.free.tensors):
            for place, piece in in_pieces(seqs, len(self.free)):
                found = rows(piece)
                if reference is not None:
                    other = torch.atleast_2d(reference)
                    other = other if len(other) == 1 else other[place]
                    found = difference(found, rows(other), rounding_of(self.free))
                values.append(found.values)
                error = self.errors_of(found.jacobian)
                errors.append(error.masked_fill(~found.values.isfinite(), math.nan))
        if not values:
            nothing = torch.zeros(0, dtype=torch.float64)
            return Estimate(nothing, nothing.clone())
        return Estimate(torch.cat(values), torch.cat(errors))


def bindings_of(rounds: Sequence[BaseRound] | Iterator[BaseRound]) -> list[Binding]:
    """Return what is present in any of some rounds, each once."""
    found: dict[int, Binding] = {}
    for each in rounds:
        if isinstance(each, Round):
            for part in each.aggregate.present():
                found[id(part.binding)] = part.binding
    return list(found.values())


# --- information -------------------------------------------------------------------


def _findings(
    model: MultiExperimentLoss,
    free: FreeParameters,
    moments: Sequence[Moments],
    reads: Sequence[Tensor],
    *,
    widen: bool,
) -> Findings:
    total = sum((each.information for each in moments), torch.zeros(()))
    if not bool(total.isfinite().all()):
        raise PyProBoundError(
            "the information is not finite at these parameters; fit the model first"
        )
    values, vectors = torch.linalg.eigh(total)
    precisions = {parameter.dtype for parameter in free.tensors}
    rounding = max(UNRESOLVED.get(each, UNRESOLVED_OTHERWISE) for each in precisions)
    least = max(1 / FARTHEST**2, rounding * float(values[-1]))
    known = vectors[:, values > least]
    dispersion = [_dispersion(each, len(free)) for each in moments]
    factors = [max(1.0, each) if widen else 1.0 for each in dispersion]
    bread = torch.zeros_like(total)
    filling = torch.zeros_like(total)
    shares = _weights_per_read(model, moments)
    for share, factor, each in zip(shares, factors, moments, strict=True):
        bread += share * each.information
        filling += share**2 * factor * each.information
    inner = torch.linalg.pinv(known.T @ bread @ known, hermitian=True)
    scatter = inner @ (known.T @ filling @ known) @ inner
    experiments = [e for e in model.components() if isinstance(e, Experiment)]
    return Findings(
        known @ scatter @ known.T,
        vectors[:, values <= least],
        dispersion,
        widen,
        reads,
        [
            _read_gradients(experiment, each, free)
            for experiment, each in zip(experiments, moments, strict=True)
        ],
    )


def _read_gradients(
    experiment: Experiment, moments: Moments, free: FreeParameters
) -> Tensor:
    """Return the derivatives of the expected reads of each round, (rounds, P).

    Those of a round are the row of the information that belongs to its depth. All of
    them add up to nothing, which gives the one round whose depth is fixed; if there
    are more, how they share the rest is not known, and their reads are taken as given.
    """
    rounds = observed_rounds(experiment)
    columns = [free.column_of(each.log_depth) for each in rounds]
    found = torch.zeros(len(rounds), len(free), dtype=torch.float64)
    for row, column in zip(found, columns, strict=True):
        if column is not None:
            row.copy_(moments.information[column])
    fixed = [i for i, column in enumerate(columns) if column is None]
    if len(fixed) == 1:
        found[fixed[0]] = -found.sum(0)
    return found


def _dispersion(moments: Moments, n_parameters: int) -> float:
    """Return Pearson's χ² per degree of freedom, NaN without any."""
    freedom = moments.freedom - n_parameters
    return moments.chi2 / freedom if freedom > 0 else math.nan


def _weights_per_read(
    model: MultiExperimentLoss, moments: Sequence[Moments]
) -> list[float]:
    reads = [each.n_reads or 1.0 for each in moments]
    losses = [each.loss / n for each, n in zip(moments, reads, strict=True)]
    weights = model.weights_for(torch.tensor(losses, dtype=torch.float64))
    return [weight / n for weight, n in zip(weights.tolist(), reads, strict=True)]


@contextmanager
def all_trained(model: MultiExperimentLoss) -> Iterator[None]:
    """Unfreeze everything for a while."""
    before = {id(p): p.requires_grad for p in model.parameters()}
    model.unfreeze()
    try:
        yield
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(before.get(id(parameter), False))


@contextmanager
def with_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let some parameters have gradients for a while."""
    before = [parameter.requires_grad for parameter in tensors]
    for parameter in tensors:
        parameter.requires_grad_()
    try:
        yield
    finally:
        for parameter, was in zip(tensors, before, strict=True):
            parameter.requires_grad_(was)
