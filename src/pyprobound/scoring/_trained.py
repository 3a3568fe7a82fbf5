"""A trained model, made to score sequences of any length.

The bindings are built anew for the lengths of each chunk of sequences, around the
trained PSAMs and spacings. A bare sequence has neither the flanks nor the position bias
of an experiment's probes; a sequence taken as a probe has both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from warnings import warn

import torch
from torch import Tensor, nn

from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF, logsumexp
from pyprobound.alphabets import WILDCARD
from pyprobound.base import Binding
from pyprobound.config import (
    BuiltExperiment,
    BuiltModel,
    DimerSection,
    Document,
    ExperimentSection,
    ProbeLengths,
    build_dimer,
    build_mode,
    make_spacing,
)
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.layers import PSAM, Conv0d, Conv1d
from pyprobound.mode import Mode
from pyprobound.rounds import BaseRound, Round
from pyprobound.scoring._records import Part, Record, error_of, refuse_unknown
from pyprobound.structure import mean_taken_off, reach_of
from pyprobound.uncertainty import (
    Aliases,
    Rows,
    ScoreRows,
    Uncertainty,
    with_gradients,
)

SCORES = "scores"
LOG_Z = "log_z"
ENRICHMENT = "enrichment"


def make_scorer(
    document: Document,
    built: BuiltModel,
    experiment: str | None,
    *,
    as_probes: bool,
) -> "Scorer":
    """Return the scorer of one experiment of a model.

    Args:
        document: The resolved configuration.
        built: The trained model.
        experiment: Its name; by default the first one.
        as_probes: Whether sequences have the flanks and biases of its probes.

    Raises:
        PyProBoundError: There is no such experiment.
    """
    names = [str(each.name) for each in document.config.experiments]
    if experiment is not None and experiment not in names:
        msg = f"no experiment {experiment!r}; the model has {', '.join(names)}"
        raise PyProBoundError(msg)
    index = 0 if experiment is None else names.index(experiment)
    scorer = Scorer(document, built, index, as_probes)
    if scorer.has_bias and not as_probes:
        warn(
            "the position bias of the experiment's probes is left out; --flanks scores"
            " sequences as such probes",
            stacklevel=2,
        )
    return scorer


@dataclass(frozen=True)
class Scorer:
    """What one experiment of a trained model says of sequences.

    Attributes:
        document: The resolved configuration.
        built: The trained model.
        index: Which experiment.
        as_probes: Whether sequences have the flanks and biases of its probes.
    """

    document: Document
    built: BuiltModel
    index: int
    as_probes: bool

    @property
    def section(self) -> ExperimentSection:
        """The experiment in the configuration."""
        return self.document.config.experiments[self.index]

    @property
    def trained(self) -> BuiltExperiment:
        """The experiment in the model."""
        return self.built.experiments[self.index]

    @cached_property
    def has_bias(self) -> bool:
        """Whether a position bias was trained."""
        return any(_has_bias(binding) for binding in self.trained.bindings.values())

    @cached_property
    def selections(self) -> dict[str, Round]:
        """The rounds in which something binds."""
        rounds = self.trained.rounds.items()
        return {name: each for name, each in rounds if isinstance(each, Round)}

    def columns(self, what: Sequence[str]) -> list[str]:
        """Return the names of the values."""
        names: list[str] = []
        for each in what:
            if each == SCORES:
                names += self.trained.bindings
            else:
                names += [f"{each}:{name}" for name in self.selections]
        return names

    def values(self, chunk: Sequence[Record], what: Sequence[str]) -> Tensor:
        """Return the values of some sequences, (sequences, columns).

        Raises:
            InputError: A letter is unknown or a sequence too short; the message names
                the record.
        """
        with torch.no_grad():
            seqs, bindings, _ = self._ready(chunk)
            evaluation = Evaluation(seqs)
            scores = {n: evaluation(each.evaluate) for n, each in bindings.items()}
            columns = [column for each in what for column in self.column(each, scores)]
        return torch.stack(columns, 1)

    def rows(
        self, chunk: Sequence[Record], what: Sequence[str], errors: Uncertainty
    ) -> list[Rows]:
        """Return the values of some sequences with their derivatives, by column.

        Scores are in the gauge of the errors but for their values, which are those of
        `values`: only the constant differs.

        Raises:
            PyProBoundError: As `values` does; or a sequence is too long.
        """
        with torch.enable_grad(), with_gradients(errors.free.tensors):
            seqs, bindings, aliases = self._ready(chunk)
            found = ScoreRows.of(
                list(bindings.values()),
                seqs,
                errors.free,
                trained=[self.trained.bindings[name] for name in bindings],
                aliases=aliases,
            )
            return [
                column for each in what for column in self._rows(each, found, errors)
            ]

    def _rows(self, what: str, found: ScoreRows, errors: Uncertainty) -> list[Rows]:
        if what == SCORES:
            is_biased = self.as_probes
            slopes = [
                errors.constant_of(each, is_biased=is_biased)[1]
                for each in self.trained.bindings.values()
            ]
            nothing = torch.zeros((), dtype=torch.float64)
            return [found.score(i).less(nothing, x) for i, x in enumerate(slopes)]
        if what == LOG_Z:
            return [found.log_aggregate(each) for each in self.selections.values()]
        return [found.log_enrichment(each) for each in self.selections.values()]

    def _ready(
        self, chunk: Sequence[Record]
    ) -> tuple[Tensor, Mapping[str, Binding], Aliases]:
        """Return the codes of sequences, what scores them, and what that is made of."""
        seqs, reads = self._encode(chunk)
        bindings, aliases = self._bindings(reads, chunk)
        if self._uses_trained:
            missing = ProbeLengths.of(self.section).input_shape - seqs.shape[1]
            padding = self.built.alphabet.neginf_pad
            seqs = torch.nn.functional.pad(seqs, (0, missing), value=padding)
        return seqs, bindings, aliases

    def column(self, what: str, scores: Mapping[str, Tensor]) -> list[Tensor]:
        if what == SCORES:
            return list(scores.values())
        if what == LOG_Z:
            return [self._log_z(each, scores) for each in self.selections.values()]
        return [self._log_enrichment(each, scores) for each in self.selections.values()]

    def _log_z(self, each: BaseRound, scores: Mapping[str, Tensor]) -> Tensor:
        """Return log Z of each sequence in a round (0 in the initial one)."""
        first = next(iter(scores.values()))
        if not isinstance(each, Round):
            return torch.zeros_like(first)
        names = {id(binding): n for n, binding in self.trained.bindings.items()}
        terms = [
            part.log_activity + scores[names[id(part.binding)]]
            for part in each.aggregate.present()
        ]
        if not terms:
            return torch.full_like(first, NEG_INF)
        log_total = logsumexp(torch.stack(terms), 0)
        return each.aggregate.log_target_concentration + log_total

    def _log_enrichment(self, each: BaseRound, scores: Mapping[str, Tensor]) -> Tensor:
        """Return the log enrichment over the start of a round's chain."""
        steps = [
            link.log_enrichment_of(self._log_z(link, scores)) for link in each.chain()
        ]
        return torch.stack(steps).sum(0)

    # --- sequences -----------------------------------------------------------------

    def _encode(self, chunk: Sequence[Record]) -> tuple[Tensor, ProbeLengths]:
        """Return the codes of sequences and their lengths, flanks included."""
        alphabet = self.built.alphabet
        texts = [each.sequence for each in chunk]
        if self.as_probes:
            for old, new in self.section.transliterate.items():
                texts = [text.replace(old, new) for text in texts]
        written = [
            Record(record.name, text, record.where)
            for record, text in zip(chunk, texts, strict=True)
        ]
        try:
            seqs = alphabet.encode(texts)
        except InputError:
            refuse_unknown(alphabet, [Part(each, 0, True) for each in written])
            raise
        if (seqs == alphabet.neginf_pad).any():
            refuse_unknown(alphabet, [Part(each, 0, True) for each in written])
        lengths = [len(text) // alphabet.monomer_length for text in texts]
        if self.as_probes:
            texts, lengths = self._with_flanks(texts, lengths)
            seqs = alphabet.encode(texts)
        return seqs, ProbeLengths(max(lengths), min(lengths), max(lengths))

    def _with_flanks(
        self, texts: Sequence[str], lengths: Sequence[int]
    ) -> tuple[list[str], list[int]]:
        """Return sequences with the scored flanks of the experiment's probes."""
        section, width = self.section, self.built.alphabet.monomer_length
        left, right = section.left_flank, section.right_flank
        if section.transliterate_flanks:
            for old, new in section.transliterate.items():
                left, right = left.replace(old, new), right.replace(old, new)
        n_left = (section.left_flank_length or 0) * width
        n_right = (section.right_flank_length or 0) * width
        # unknown letters where the flank is not known that far
        before = left.rjust(n_left, WILDCARD)[len(left.rjust(n_left)) - n_left :]
        after = right.ljust(n_right, WILDCARD)[:n_right]
        longest = (section.max_variable_length or 0) if section.wildcard_pad else 0
        filled = [
            before + text + after + WILDCARD * (width * max(0, longest - length))
            for text, length in zip(texts, lengths, strict=True)
        ]
        return filled, [len(text) // width for text in filled]

    # --- bindings ------------------------------------------------------------------

    def _bindings(
        self, reads: ProbeLengths, chunk: Sequence[Record]
    ) -> tuple[Mapping[str, Binding], Aliases]:
        """Return bindings that read sequences of such lengths, and their aliases."""
        self._check_fit(reads, chunk)
        if self._uses_trained:
            self._check_lengths(reads, chunk)
            return self.trained.bindings, {}
        return self.fresh_bindings(reads)

    def _check_fit(self, reads: ProbeLengths, chunk: Sequence[Record]) -> None:
        """Check that every motif fits on the shortest sequence."""
        for name, spec in self.built.specs.modes.items():
            if not isinstance(spec, PSAM) or name not in self.trained.bindings:
                continue
            trims = self.built.specs.trims[name] if self.as_probes else []
            needed = spec.reach - sum(sum(trim.padding) for trim in trims)
            if reads.min_read_length < needed:
                rule = (
                    f"{reads.min_read_length} letters are too few for {name!r}, which"
                    f" covers {needed}; leave out such short sequences"
                )
                raise error_of(_shortest(chunk), rule)

    @property
    def _uses_trained(self) -> bool:
        """Whether the trained bindings score by themselves: a bias has its lengths."""
        return self.as_probes and self.has_bias

    def _check_lengths(self, reads: ProbeLengths, chunk: Sequence[Record]) -> None:
        """Check that sequences are as long as probes that a bias was trained for."""
        trained = ProbeLengths.of(self.section)
        lowest, highest = trained.min_read_length, trained.max_read_length
        for record, length in (
            (_shortest(chunk), reads.min_read_length),
            (_longest(chunk), reads.max_read_length),
        ):
            if not lowest <= length <= highest:
                rule = (
                    f"{length} letters with flanks, but the position bias was trained"
                    f" for {lowest} to {highest}; score without --flanks"
                )
                raise error_of(record, rule)

    def fresh_bindings(self, reads: ProbeLengths) -> tuple[dict[str, Binding], Aliases]:
        """Return the bindings with the trained parameters, built for other lengths.

        Spacings have parameters of their own, which are made of the trained ones.
        """
        config = self.document.config
        sections = {str(mode.name): mode for mode in config.modes}
        specs = self.built.specs
        modes: dict[str, Mode] = {}
        for name, spec in specs.modes.items():
            trained = self._trained_mode(name)
            if trained is None:
                continue
            section = sections.get(name)
            if section is not None:
                section = section.model_copy(update={"position_bias": None})
            trims = specs.trims[name] if self.as_probes else []
            modes[name] = build_mode(section, spec, trims, reads)
            modes[name].log_hill = trained.log_hill
        aliases: dict[nn.Parameter, Tensor] = {}
        dimers = {
            str(dimer.name): self._fresh_dimer(dimer, modes, aliases)
            for dimer in config.dimers
            if str(dimer.name) in self.trained.bindings
        }
        found: dict[str, Binding] = {**modes, **dimers}
        return {name: found[name] for name in self.trained.bindings}, aliases

    def _trained_mode(self, name: str) -> Mode | None:
        binding = self.trained.bindings.get(name)
        return binding if isinstance(binding, Mode) else None

    def _fresh_dimer(
        self,
        section: DimerSection,
        modes: Mapping[str, Mode],
        aliases: dict[nn.Parameter, Tensor],
    ) -> Cooperativity:
        trained = self.trained.bindings[str(section.name)]
        assert isinstance(trained, Cooperativity)
        mode_a, mode_b = (modes[name] for name in section.modes)
        section = section.model_copy(update={"position_bias": None, "normalize": False})
        spacing = make_spacing(section, mode_a.key(), mode_b.key(), reach_of(trained))
        dimer = build_dimer(section, spacing, mode_a, mode_b)
        spacing.attach(trained.spacing.max_num_windows)
        values = _spacing_of(trained, spacing)
        spacing.log_spacing.data = values.detach().clone()
        aliases[spacing.log_spacing] = values
        dimer.log_hill = trained.log_hill
        return dimer


def _spacing_of(trained: Cooperativity, spacing: Spacing) -> Tensor:
    """Return the values that a wider spacing has of a trained one, by offset."""
    stored = trained.spacing.log_spacing
    n_more = (spacing.log_spacing.shape[1] - stored.shape[1]) // 2
    values = stored - mean_taken_off(trained)
    return torch.nn.functional.pad(values, (n_more, n_more))


def _has_bias(binding: Binding) -> bool:
    if isinstance(binding, Cooperativity):
        return binding.train_posbias
    layers = binding.chain if isinstance(binding, Mode) else []
    return any(
        layer.train_posbias for layer in layers if isinstance(layer, Conv0d | Conv1d)
    )


def _shortest(chunk: Sequence[Record]) -> Record:
    return min(chunk, key=lambda each: len(each.sequence))


def _longest(chunk: Sequence[Record]) -> Record:
    return max(chunk, key=lambda each: len(each.sequence))
