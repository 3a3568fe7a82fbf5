"""What is measured of a fit: everything that goes through the probes does it here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyprobound.base import Binding
from pyprobound.config import BuiltExperiment, BuiltModel, Document
from pyprobound.cooperativity import Cooperativity
from pyprobound.diagnosis._kmers import Words, word_size
from pyprobound.diagnosis._score_tests import Maker, ScoreTests
from pyprobound.diagnosis._windows import (
    Motif,
    Places,
    gain_of_windows,
    motif_of,
    outside_letters,
    places_of,
    window_weights,
    with_letters,
)
from pyprobound.fisher import (
    MOST_PARAMETERS,
    FreeParameters,
    PlainTable,
    is_plain,
    penalty_of,
)
from pyprobound.layers import Conv0d
from pyprobound.mode import Mode
from pyprobound.table import CountBatch, CountTable
from pyprobound.uncertainty import all_trained

MOST_PROBES, MOST_PROBES_OF_DIMERS = 40_000, 10_000
"""Probes of each table that features are made for, drawn at random."""

MOST_SINGLE = 64
"""Parameters that are differentiated one at a time, at most."""

N_WORDS = 16
"""Words that are tested as features: those with the largest residuals."""

SEED = 1


@dataclass(frozen=True)
class Sample:
    """Some probes of one experiment.

    Attributes:
        built: The experiment.
        table: All of its probes.
        rows: Those that were drawn, of the distinct ones.
        plain: The experiment on these, ready for derivatives.
        motifs: Its motifs, by name.
    """

    built: BuiltExperiment
    table: CountTable
    rows: Tensor
    plain: PlainTable
    motifs: Mapping[str, Motif]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.built.experiment.name)


@dataclass(frozen=True)
class Residual:
    """A word whose probes are read more often than predicted, or less.

    Attributes:
        word: As text.
        key: Its block of features.
        n_words: From how many words it was chosen.
    """

    word: str
    key: str
    n_words: int


@dataclass
class Evidence:
    """Score tests of one model, and where their features belong.

    Attributes:
        tests: The tests.
        optimism: What the fitted parameters gain by chance, in nats.
        samples: The experiments that took part.
        places: For each experiment and mode how its windows are divided.
        residuals: For each experiment the words with the largest residuals.
    """

    tests: ScoreTests
    optimism: float
    samples: Sequence[Sample]
    places: dict[tuple[str, str], Places] = field(default_factory=dict)
    residuals: dict[str, list[Residual]] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Tell whether there is a block of features of this name."""
        return key in self.tests.places


def evidence_of(
    document: Document, built: BuiltModel, tables: Sequence[CountTable]
) -> Evidence | None:
    """Go through a sample of the probes; None where there are no such derivatives."""
    with all_trained(built.loss):
        free = FreeParameters(built.loss)
        experiments = [each.experiment for each in built.experiments]
        if not 0 < len(free) <= MOST_PARAMETERS or not all(map(is_plain, experiments)):
            return None
        samples = [
            _sample(document, index, each, table, free)
            for index, (each, table) in enumerate(
                zip(built.experiments, tables, strict=True)
            )
        ]
        n_single = sum(each.plain.n_single_columns for each in samples)
        is_bound = all(each.plain.selection.bindings for each in samples)
        if n_single > MOST_SINGLE or not is_bound:
            return None
        return _gathered(samples, len(free), penalty_of(built.loss, free)[2])


def _sample(
    document: Document,
    index: int,
    built: BuiltExperiment,
    table: CountTable,
    free: FreeParameters,
) -> Sample:
    distinct = table.distinct
    read = (distinct.target.sum(1) > 0).nonzero().flatten()
    is_dimer = any(isinstance(b, Cooperativity) for b in built.bindings.values())
    most = MOST_PROBES_OF_DIMERS if is_dimer else MOST_PROBES
    if len(read) > most:
        generator = torch.Generator().manual_seed(SEED)
        drawn = torch.randperm(len(read), generator=generator)[:most]
        read = read[drawn.sort().values]
    batch = CountBatch(distinct.seqs[read].cpu(), distinct.target[read].cpu())
    plain = PlainTable(built.experiment, batch, free, full=False)
    motifs = {}
    for name, binding in built.bindings.items():
        flanks = seen_flanks(document, index, name, table)
        motif = motif_of(name, binding, flanks)
        if motif is not None:
            motifs[name] = motif
    return Sample(built, table, read, plain, motifs)


def seen_flanks(
    document: Document, index: int, mode: str, table: CountTable
) -> tuple[int, int]:
    """Return the flank letters that a mode sees on either side of a table's probes."""
    left, right = trimmed(document, index, mode)
    return table.left_flank_length - left, table.right_flank_length - right


def trimmed(document: Document, index: int, mode: str) -> tuple[int, int]:
    """Return the flank letters that a table scores and a mode leaves out."""
    sections = [each for each in document.config.modes if each.name == mode]
    experiment = document.config.experiments[index]
    if not sections or sections[0].flank_length is None:
        return 0, 0
    own = sections[0].flank_length
    scored = experiment.left_flank_length or 0, experiment.right_flank_length or 0
    return max(0, scored[0] - own), max(0, scored[1] - own)


# --- features ----------------------------------------------------------------------


@dataclass
class _Plan:
    """Blocks of features, and what makes them for each sample."""

    sizes: dict[str, int] = field(default_factory=dict)
    makers: list[list[tuple[int, Sequence[str], Maker, int]]] = field(
        default_factory=list
    )


def _gathered(
    samples: Sequence[Sample], n_parameters: int, curvature: Tensor
) -> Evidence:
    plan, places = _Plan(), {}
    residuals = {}
    for sample in samples:
        plan.makers.append([])
        for name, motif in sample.motifs.items():
            divided = places_of(motif)
            places[sample.name, name] = divided
            _plan_windows(plan, sample, motif, divided)
            _plan_missing(plan, sample, motif)
        residuals[sample.name] = _plan_words(plan, sample)
    most_rounds = max(sample.plain.counts.shape[1] for sample in samples)
    tests = ScoreTests.of(n_parameters, plan.sizes, most_rounds)
    with torch.no_grad():
        for sample, makers in zip(samples, plan.makers, strict=True):
            tests.add(sample.plain, makers)
    optimism = tests.optimism(curvature * tests.n_reads)
    return Evidence(tests, optimism, samples, places, residuals)


def _plan_windows(plan: _Plan, sample: Sample, motif: Motif, divided: Places) -> None:
    """Plan the letters outside a motif, and the places of its windows."""
    seqs, scores = sample.plain.seqs, sample.plain.scores()
    n_outside, letters = outside_letters(motif, seqs)
    lengths = motif.conv.lengths(motif.codes(seqs))
    keys = [f"{kind} {sample.name} {motif.name}" for kind in ("letters", "places")]
    bindings = sample.plain.selection.bindings
    is_used = False
    for index, binding in enumerate(bindings):
        if binding is not motif.mode and not _is_dimer_of(binding, motif.mode):
            continue
        is_used = True
        weights = window_weights(binding, motif.mode, seqs, scores[index])

        def make(rows: slice, weights: Maker = weights) -> Tensor:
            made = weights(rows)
            own = divided.make(made, lengths[rows])
            return torch.cat([letters(rows, made), own], 1)

        n_windows = motif.conv.out_channels * motif.conv.input_shape
        plan.makers[-1].append((index, keys, make, 64 * n_windows))
    if is_used:
        plan.sizes |= dict(zip(keys, (n_outside, divided.size), strict=True))


def _is_dimer_of(binding: Binding, mode: Mode) -> bool:
    return isinstance(binding, Cooperativity) and mode in (
        binding.mode_a,
        binding.mode_b,
    )


def _plan_missing(plan: _Plan, sample: Sample, motif: Motif) -> None:
    """Plan the windows that reach further into the flanks than is scored."""
    bindings = sample.plain.selection.bindings
    own = [i for i, each in enumerate(bindings) if each is motif.mode]
    table, psam = sample.table, motif.conv.layer_spec
    if not own or motif.conv.train_posbias or table.wildcard_pad:
        return
    codes = motif.codes(sample.plain.seqs)
    # the furthest window has one letter of the probe
    most = psam.dilation * (psam.kernel_size - 1)
    for side in ("left", "right"):
        seen = motif.flanks[side == "right"]
        flank = table.alphabet.translate(getattr(table, f"{side}_flank"))
        if side == "left":
            letters = flank[max(0, len(flank) - most) : len(flank) - seen]
        else:
            letters = flank[seen:most]
        if seen >= most or len(letters) == 0:
            continue
        more = with_letters(codes, letters, side, table.alphabet.neginf_pad)
        key = f"missing {sample.name} {motif.name} {side}"
        plan.sizes[key] = 1
        gain = gain_of_windows(motif, codes, more)
        # What it does to log Z. Half of it would be that of windows half as strong,
        # roughly: a fit would begin with a step of 1, if they belong to be there.
        share = shares(sample.plain)[-1, own[0]]
        change = torch.log1p(share * torch.expm1(gain))[:, None]
        for index in range(len(bindings)):  # log Z changes as all of its terms do
            plan.makers[-1].append((index, [key], change.__getitem__, 8))


def shares(plain: PlainTable) -> Tensor:
    """Return the share of each binding in Z, (aggregates, bindings, N)."""
    weights = plain.selection.numbers().log_weights
    return (weights[:, :, None] + plain.scores()).softmax(1).nan_to_num(0.0)


# --- words -------------------------------------------------------------------------


def _plan_words(plan: _Plan, sample: Sample) -> list[Residual]:
    """Plan the words whose probes differ most from what is predicted."""
    plain = sample.plain
    alphabet = sample.table.alphabet
    longest = plain.seqs.shape[1]
    size = word_size(alphabet.n_letters, longest)
    is_folded = alphabet.complement and any(
        each.conv.layer_spec.score_reverse for each in sample.motifs.values()
    )
    words = Words.of(plain.seqs, alphabet, size=size, is_folded=is_folded)
    index = _background(plain)
    found = plain.selection.information(plain.scores(), plain.counts, [index])
    pieces = found(slice(0, len(plain.seqs)))
    slope = words.sums(pieces.slopes[0])
    spread = words.sums(pieces.coupling[0, 0])
    z = -slope / spread.clamp(min=1e-300).sqrt()
    z[spread <= 0] = 0
    top = z.topk(min(N_WORDS, len(z))).indices
    top = top[z[top] > 0]
    counts = words.counts(top)
    keys = [f"word {sample.name} {words.text(int(word))}" for word in top]
    plan.sizes |= dict.fromkeys(keys, 1)
    plan.makers[-1].append((index, keys, lambda rows: counts[rows], 0))
    return [
        Residual(words.text(int(word)), key, int((spread > 0).sum()))
        for word, key in zip(top, keys, strict=True)
    ]


def _background(plain: PlainTable) -> int:
    """Return the binding that takes up what no motif does: the non-specific one."""
    bindings = plain.selection.bindings
    for index, binding in enumerate(bindings):
        if isinstance(binding, Mode) and isinstance(binding.chain[-1], Conv0d):
            return index
    return 0
