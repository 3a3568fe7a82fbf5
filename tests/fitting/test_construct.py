"""A trained model on other probes: what is re-laid, against plain Python."""

import copy
import math
from itertools import chain

import pytest
import torch

from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.fitting import Fit
from pyprobound.layers.conv1d import Conv1d
from pyprobound.rounds import BoundUnsaturatedRound
from tests.fitting.models import (
    dimer_score,
    log_sum,
    probes,
    psam,
    table,
    trained,
    window_scores,
)

TRAINED_LENGTH = 20
LENGTHS = [12, 20, 36]


def identity(log_z: torch.Tensor) -> torch.Tensor:
    return log_z


def motif_of(selected: BoundUnsaturatedRound) -> Conv1d:
    conv = list(selected.aggregate.components())[1].binding.chain[0]  # type: ignore[attr-defined]
    assert isinstance(conv, Conv1d)
    return conv


def pair_of(selected: BoundUnsaturatedRound) -> Cooperativity:
    pair = list(selected.aggregate.components())[2].binding
    assert isinstance(pair, Cooperativity)
    return pair


def expected(seq: str, specific: float, more: float = -math.inf) -> float:
    """Return log Z, given what the motif and a dimer make of a probe."""
    nonspecific = -2.0 + math.log(len(seq))
    return log_sum([nonspecific, 0.75 + specific, -1.0 + more])


@pytest.mark.parametrize("length", LENGTHS)
def test_motifs_score_probes_of_any_length(length: int) -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)))
    seqs = probes(6, length, seed=1)
    fit = Fit(selected, table(seqs), identity, update_construct=True)
    motif = motif_of(selected).layer_spec
    wanted = [
        expected(seq, log_sum([*chain(*window_scores(seq, motif))])) for seq in seqs
    ]
    found = fit.score(fit.dataset)[1]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12)


def test_probes_of_several_lengths_with_flanks_of_their_own() -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)))
    seqs = [*probes(3, 9, seed=1), *probes(3, 31, seed=2)]
    data = table(
        seqs,
        left_flank="TTGAC",
        right_flank="CAT",
        left_flank_length=4,
        right_flank_length=3,
    )
    fit = Fit(selected, data, identity, update_construct=True)
    motif = motif_of(selected).layer_spec
    whole = [f"TGAC{seq}CAT" for seq in seqs]
    wanted = [
        expected(seq, log_sum([*chain(*window_scores(seq, motif))])) for seq in whole
    ]
    assert fit.score(data)[1].tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("bias", ["length", "shared"])
def test_position_bias_keeps_places_and_lengths_that_both_tables_have(
    bias: str, length: int
) -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)), bias=bias)
    conv = motif_of(selected)
    stored = conv.log_posbias.detach()[0].tolist()  # (channels, windows)
    seqs = probes(4, length, seed=3)
    fit = Fit(selected, table(seqs), identity, update_construct=True)

    def log_bias(strand: int, window: int) -> float:
        if bias == "length" and length != TRAINED_LENGTH:
            return 0.0
        return stored[strand][window] if window < len(stored[strand]) else 0.0

    wanted = []
    for seq in seqs:
        scores = window_scores(seq, conv.layer_spec)
        terms = [
            score + log_bias(strand, window)
            for strand, own in enumerate(scores)
            for window, score in enumerate(own)
        ]
        wanted.append(expected(seq, log_sum(terms)))
    assert fit.score(fit.dataset)[1].tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_dimers_have_the_spacings_that_training_probes_had_room_for(
    length: int,
) -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)), dimer=True)
    pair = pair_of(selected)
    widest = TRAINED_LENGTH - 4 - 3  # two motifs at the ends of a training probe
    # Offsets beyond those of the training probes are never read.
    omega = torch.nn.functional.pad(
        pair.spacing.log_spacing.detach(), (40, 40), value=math.nan
    ).tolist()
    seqs = probes(3, length, seed=4)
    fit = Fit(selected, table(seqs), identity, update_construct=True)
    motif = motif_of(selected).layer_spec
    wanted = [
        expected(
            seq,
            log_sum([*chain(*window_scores(seq, motif))]),
            dimer_score(seq, pair, omega, widest),
        )
        for seq in seqs
    ]
    assert fit.score(fit.dataset)[1].tolist() == pytest.approx(wanted, rel=1e-12)


def test_centred_spacing_keeps_the_mean_of_the_training_probes() -> None:
    reads = table(probes(5, TRAINED_LENGTH))
    selected = trained(reads, dimer=True, normalize=True)
    pair = pair_of(selected)
    seqs = probes(3, 30, seed=5)
    fit = Fit(selected, table(seqs), identity, update_construct=True)
    assert isinstance(fit.rnd, BoundUnsaturatedRound)
    laid, known = pair_of(fit.rnd).get_log_spacing(), pair.get_log_spacing()
    more = 30 - TRAINED_LENGTH
    n_offsets = known.shape[-1]
    # strand b forward: the same offsets; they are mirrored where it is reverse
    same = laid[:, 0, more : more + n_offsets]
    assert torch.allclose(same, known[:, 0], atol=1e-12)


def test_original_is_never_changed() -> None:
    reads = table(probes(8, TRAINED_LENGTH))
    selected = trained(reads, bias="shared", dimer=True, normalize=True)
    before = copy.deepcopy(selected.state_dict())
    scores = selected.log_aggregate(reads.seqs).detach()
    flags = [parameter.requires_grad for parameter in selected.parameters()]
    seqs = probes(12, 28, seed=6)
    y = torch.linspace(0.5, 3.0, 12).tolist()
    fit = Fit(
        selected,
        table(seqs, y),
        identity,
        update_construct=True,
        train_offset=True,
        train_posbias=True,
    )
    with torch.no_grad():
        for parameter in fit.parameters():
            parameter.add_(1.0)
    after = selected.state_dict()
    assert before.keys() == after.keys()
    tensors = [key for key, value in before.items() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(before[key], after[key]) for key in tensors)
    assert [p.requires_grad for p in selected.parameters()] == flags
    assert torch.equal(selected.log_aggregate(reads.seqs).detach(), scores)
    assert pair_of(selected).spacing.normalize
    assert pair_of(selected).spacing.max_spacing is None


def test_other_lengths_need_update_construct() -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)))
    with pytest.raises(RuntimeError, match=r"36.*; give update_construct=True"):
        Fit(selected, table(probes(4, 36)), identity)


def test_probe_shorter_than_a_motif_is_refused() -> None:
    selected = trained(table(probes(5, TRAINED_LENGTH)))
    with pytest.raises(PyProBoundError, match=r"kernel_size 4 exceeds .* \(3\)"):
        Fit(selected, table(["ACG"]), identity, update_construct=True)


def test_oracle_reads_motifs_on_both_strands() -> None:
    forward, reverse = window_scores("ACGTAC", psam(4, 1, "tf"))
    assert window_scores("GTACGT", psam(4, 1, "tf")) == [reverse[::-1], forward[::-1]]
