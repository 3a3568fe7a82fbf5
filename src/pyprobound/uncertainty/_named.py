"""The quantities of a model that have names, each in a stated gauge."""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from pyprobound.aggregate import Contribution
from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.experiment import Experiment
from pyprobound.layers.conv0d import Conv0d
from pyprobound.layers.conv1d import Conv1d
from pyprobound.layers.psam import PSAM
from pyprobound.mode import Mode
from pyprobound.rounds import BaseRound, Round
from pyprobound.uncertainty._estimate import Estimate
from pyprobound.uncertainty._gauge import (
    best_site,
    diagonal_means,
    log_omega,
    moved_constant,
    stored_bias,
)


class ErrorBars(abc.ABC):
    """Values of a fitted model with their standard errors.

    All are natural logarithms, energies in units of RT. What no data can tell has the
    error NaN: a part of the gauge, or what was never seen.
    """

    @abc.abstractmethod
    def of(
        self, function: Callable[[], Tensor], *, is_linear: bool = False
    ) -> Estimate:
        """Return the value and the standard errors of a function of the parameters.

            errors.of(lambda: mode(seqs))

        Args:
            function: Computes a tensor of any shape from the model.
            is_linear: A promise that it sums parameters, which saves time.
        """

    @abc.abstractmethod
    def seen(self, parameter: Tensor) -> Tensor:
        """Return which entries of a parameter the data say anything about.

        Args:
            parameter: One of the model's. What is not trained counts as known.

        Returns:
            Booleans, shaped as the parameter.
        """

    @abc.abstractmethod
    def _log_reads(self, experiment: Experiment) -> Tensor:
        """Return the log reads of each observed round, which scatter as well."""

    @abc.abstractmethod
    def reference(self, dimer: Cooperativity) -> int | None:
        """Return the arrangement that others are compared with.

        It is the best one that the data can tell from another one.

        Args:
            dimer: One of the model's.

        Returns:
            Its place in the flattened (strands_a, strands_b, offsets); None if the two
            cannot bind in any arrangement.
        """

    # --- letters -------------------------------------------------------------------

    def letters(self, psam: PSAM) -> Estimate:
        """Return −ΔΔG/RT of every letter, less the mean of its position.

        With pair features, the letters have all of the single-letter content.

        Args:
            psam: One of the model's.

        Returns:
            (forward channels, letters, positions).
        """
        return self.of(lambda: psam.gauge_fixed()[0][0], is_linear=True)

    def letter_differences(self, psam: PSAM) -> Estimate:
        """Return −ΔΔG/RT of every letter, less that of the best one of its position.

        Args:
            psam: One of the model's.

        Returns:
            (forward channels, letters, positions); the best ones are 0 without error.
        """

        def differences() -> Tensor:
            letters = psam.gauge_fixed()[0][0]
            best = letters.detach().argmax(1, keepdim=True)
            return letters - letters.gather(1, best)

        return self.of(differences, is_linear=True)

    def pairs(self, psam: PSAM, distance: int) -> Estimate:
        """Return the energies of letter pairs, which hold no single-letter content.

        Each letter's mean over its partners is 0 (where a symmetry ties positions of
        which only some take part in the pair, it is not).

        Args:
            psam: One of the model's.
            distance: From the first letter to the second.

        Returns:
            (forward channels, letters, letters, positions − distance).

        Raises:
            PyProBoundError: The PSAM has no pairs at that distance.
        """
        if not 1 <= distance <= psam.pairwise_distance:
            msg = (
                f"{psam} has no pairs at distance {distance}; its pairwise_distance is"
                f" {psam.pairwise_distance}"
            )
            raise PyProBoundError(msg)
        return self.of(lambda: psam.gauge_fixed()[0][distance], is_linear=True)

    # --- dimers --------------------------------------------------------------------

    def log_omega(self, dimer: Cooperativity) -> Estimate:
        """Return log ω of every arrangement, less that of the reference.

        The reference, see `reference`, is 0 without error. A bias of the dimer has its
        mean 0 along each diagonal: log ω holds it.

        Args:
            dimer: One of the model's.

        Returns:
            (strands_a, strands_b, offsets), as `get_log_spacing`; where the two cannot
            be the value is −∞ and the error NaN.
        """
        place = self.reference(dimer)

        def differences() -> Tensor:
            values = log_omega(dimer, self.seen)
            return values if place is None else values - values.flatten()[place]

        return self.of(differences, is_linear=True)

    def cooperativity(self, selected: Round, dimer: Cooperativity) -> Estimate:
        """Return how much likelier the two bind together than independently.

            log ω + log α_ab − log α_a − log α_b − log [P]_T

        It depends on no gauge: 0 says that neither notices the other. Where a round is
        unsaturated the data know activities only up to a factor, and so not this.

        Args:
            selected: The round whose activities are meant.
            dimer: A dimer that binds in it, with both of its modes.

        Returns:
            (strands_a, strands_b, offsets).

        Raises:
            PyProBoundError: The dimer or one of its modes is absent there, or has a
                Hill coefficient, with which there is no such ratio.
        """
        present = {id(part.binding): part for part in selected.aggregate.present()}
        wanted = [dimer, dimer.mode_a, dimer.mode_b]
        for each in wanted:
            if id(each) not in present:
                msg = f"{each} does not bind in {selected}: no cooperativity to compare"
                raise PyProBoundError(msg)
            if each.hill is not None:
                msg = f"{each} has a Hill coefficient: its activity is no ratio of two"
                raise PyProBoundError(msg)
        pair, first, second = (present[id(each)] for each in wanted)

        def value() -> Tensor:
            activities = pair.log_activity - first.log_activity - second.log_activity
            values = log_omega(dimer, self.seen) + activities
            return values - selected.aggregate.log_target_concentration

        return self.of(value)

    # --- biases --------------------------------------------------------------------

    def position_bias(self, layer: Conv1d | Conv0d) -> Estimate:
        """Return the log bias of each window, less its mean over what is seen.

        Args:
            layer: The last layer of a mode.

        Returns:
            Shaped as `log_posbias`: (lengths, stored channels, bins of windows).
        """
        known = self.seen(layer.log_posbias)

        def centred() -> Tensor:
            bias = stored_bias(layer)
            assert bias is not None
            mean: Tensor = bias[known].mean() if bool(known.any()) else bias.mean()
            return bias - mean

        found = self.of(centred, is_linear=True)
        # an entry that no probe has is a constant, less the mean of the others
        return Estimate(found.value, found.error.masked_fill(~known, torch.nan))

    def dimer_bias(self, dimer: Cooperativity) -> list[Estimate]:
        """Return the log bias of pairs of windows, less its mean along the diagonal.

        Args:
            dimer: One of the model's.

        Returns:
            One for each offset, shaped as in `log_posbias`: (lengths_a, lengths_b,
            strands, strands or 1, bins).
        """
        return [self._diagonal(dimer, index) for index in range(len(dimer.log_posbias))]

    def _diagonal(self, dimer: Cooperativity, index: int) -> Estimate:
        known = self.seen(dimer.log_posbias[index])

        def less_the_mean() -> Tensor:
            bias = dimer.log_posbias[index]
            if dimer.normalize:
                bias = bias - bias.mean(-1, keepdim=True)
            means = diagonal_means(dimer, self.seen)[..., index]
            rows, columns = bias.shape[2:4]
            # a shared bias is laid by the strand of a, with b forward: column 0
            read = means if columns > 1 else means[:rows, :1]
            centred: Tensor = bias - read[:, :, None]
            return centred

        found = self.of(less_the_mean, is_linear=True)
        return Estimate(found.value, found.error.masked_fill(~known, torch.nan))

    # --- activities ----------------------------------------------------------------

    def moved_constant(self, binding: Binding) -> Tensor:
        """Return what the gauge adds to the log activity of a binding, a scalar.

        Args:
            binding: One of the model's: of a motif the means of its letters and of its
                position bias, of a dimer those of its modes and the reference's log ω,
                times the Hill coefficient.
        """
        return moved_constant(binding, self.reference, self.seen)

    def log_activity(self, part: Contribution) -> Estimate:
        """Return log α, which takes up the constants of its binding.

        Activities of a round are known up to a common factor where it is unsaturated:
        then compare them, see `activity_ratio`.

        Args:
            part: A contribution.
        """
        return self.of(lambda: self._activity(part))

    def activity_ratio(self, first: Contribution, second: Contribution) -> Estimate:
        """Return the log ratio of two activities, both in the gauge of `log_activity`.

        Args:
            first: A contribution.
            second: Another one, of the same binding in another round, say.
        """
        return self.of(lambda: self._activity(first) - self._activity(second))

    def _activity(self, part: Contribution) -> Tensor:
        return part.log_activity + self.moved_constant(part.binding)

    def log_hill(self, binding: Mode | Cooperativity) -> Estimate:
        """Return the log Hill coefficient: 0 without error where it is not trained."""
        return self.of(lambda: binding.log_hill)

    # --- Kd-seq --------------------------------------------------------------------

    def log_free_protein(
        self,
        experiment: Experiment,
        i_index: int,
        b_index: int,
        u_index: int,
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> Estimate:
        """Return log [P]_F of a Kd-seq experiment, in the log unit of concentrations.

        The reads of the libraries, of which [P]_F is made, scatter with the rest.

        Args:
            experiment: The experiment; see its `free_protein` for the others.
            i_index: Which observed round is the input.
            b_index: Which one is the bound library.
            u_index: Which one is the unbound library.
            target_concentration: [P]_T; by default the bound round's.
            library_concentration: By default the bound round's.

        Raises:
            ValueError: As `free_protein` does.
        """
        chosen = i_index, b_index, u_index
        given = target_concentration, library_concentration
        experiment.free_protein(*chosen, *given)
        return self.of(lambda: self._log_free_protein(experiment, *chosen, *given))

    def _log_free_protein(
        self,
        experiment: Experiment,
        i_index: int,
        b_index: int,
        u_index: int,  # noqa: ARG002 as in Experiment.free_protein, which checks it
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> Tensor:
        """Return log [P]_F, differentiable; NaN where nothing is left."""
        bound = _bound_of(experiment, b_index)
        total = bound.aggregate.log_target_concentration.double().exp()
        if target_concentration is not None:
            total = torch.full_like(total, target_concentration)
        if library_concentration is None:
            library_concentration = bound.library_concentration
        depths = [each.log_depth for each in observed_rounds(experiment)]
        log_reads = self._log_reads(experiment)
        log_bound = log_reads[b_index] - log_reads[i_index]
        log_bound = log_bound + depths[i_index] - depths[b_index]
        return (total - library_concentration * log_bound.exp()).log()

    def log_site_kd(
        self,
        experiment: Experiment,
        mode: Mode,
        i_index: int,
        b_index: int,
        u_index: int,
        target_concentration: float | None = None,
        library_concentration: float | None = None,
    ) -> Estimate:
        """Return log K_D of the site of a motif's best letters, in one window alone.

            log [P]_F − log [P]_T − log α − h · (the site's score)

        Args:
            experiment: A Kd-seq experiment; see `log_free_protein` for the others.
            mode: A motif that binds in its bound round.
            i_index: Which observed round is the input.
            b_index: Which one is the bound library.
            u_index: Which one is the unbound library.
            target_concentration: [P]_T; by default the bound round's.
            library_concentration: By default the bound round's.

        Raises:
            PyProBoundError: The mode does not bind in the bound round, or ends in no
                single motif.
            ValueError: As `free_protein` does.
        """
        chosen = i_index, b_index, u_index
        given = target_concentration, library_concentration
        experiment.free_protein(*chosen, *given)
        aggregate = _bound_of(experiment, b_index).aggregate
        parts = [part for part in aggregate.present() if part.binding is mode]
        if not parts or best_site(mode) is None:
            msg = f"{mode} is no motif that binds in the bound round {b_index}"
            raise PyProBoundError(msg)

        def value() -> Tensor:
            site = best_site(mode)
            assert site is not None
            score = mode.log_hill.exp() * site + self._activity(parts[0])
            free = self._log_free_protein(experiment, *chosen, *given)
            return free - aggregate.log_target_concentration - score

        return self.of(value)


def observed_rounds(experiment: Experiment) -> list[BaseRound]:
    """Return the observed rounds, as a list of their type."""
    return [each for each in experiment.rounds if isinstance(each, BaseRound)]


def _bound_of(experiment: Experiment, index: int) -> Round:
    bound = experiment.rounds[index]
    assert isinstance(bound, Round)  # free_protein has checked
    return bound
