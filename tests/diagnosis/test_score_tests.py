"""Score tests against dense formulas, and their features against plain loops."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyprobound.config import build_model, make_tables, read_counts
from pyprobound.diagnosis._evidence import Evidence, evidence_of
from pyprobound.diagnosis._score_tests import log_chance
from pyprobound.diagnosis._windows import REACH, outside_positions
from pyprobound.layers import Conv1d
from pyprobound.mode import Mode
from pyprobound.rounds import Round
from tests.diagnosis.cases import Opened, drawn, opened

LENGTH, FLANK, SIZE = 14, 4, 8
"""Letters of a probe, of each flank that is scored, and of the motif."""


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A few probes, and the model they were drawn from, whose motif is not trained."""
    folder = tmp_path_factory.mktemp("truth")
    return opened(drawn(folder, probes=60, reads=300, train="false"))


@pytest.fixture(scope="module")
def evidence(truth: Opened) -> Evidence:
    """Its score tests."""
    found = evidence_of(truth.document, truth.built, truth.tables)
    assert found is not None
    return found


def mode_of(truth: Opened) -> Mode:
    """Return the motif's mode."""
    mode = truth.built.experiments[0].bindings["tf"]
    assert isinstance(mode, Mode)
    assert isinstance(mode.chain[-1], Conv1d)
    return mode


def posterior(truth: Opened, seqs: Tensor) -> Tensor:
    """Return the weights of windows, (probes, strands, windows)."""
    with torch.no_grad():
        scores = mode_of(truth).score_windows(seqs).double()
    flat = scores.flatten(1).softmax(1)
    return flat.view(scores.shape)


def letters_by_loops(truth: Opened, seqs: Tensor) -> Tensor:
    """Return the expected letters outside the motif, (probes, positions × letters)."""
    weights = posterior(truth, seqs)
    out = torch.zeros(len(seqs), 2 * REACH, 4, dtype=torch.float64)
    windows = seqs.shape[1] - SIZE + 1
    for i, strand, x in itertools.product(range(len(seqs)), range(2), range(windows)):
        for rank, position in enumerate(outside_positions_from_zero()):
            # the reverse strand is read from the other end
            place = x + position if strand == 0 else x + SIZE - 1 - position
            weight = float(weights[i, strand, x])
            if not 0 <= place < seqs.shape[1]:
                out[i, rank] += weight / 4
                continue
            letter = int(seqs[i, place])
            out[i, rank, letter if strand == 0 else 3 - letter] += weight
    return out.flatten(1)


def outside_positions_from_zero() -> list[int]:
    """Return the two positions on either side of a motif that begins at 0."""
    return [-2, -1, SIZE, SIZE + 1]


def groups_by_loops(truth: Opened, evidence: Evidence, seqs: Tensor) -> Tensor:
    """Return the weight of windows that touch a flank, in the order of the groups."""
    weights = posterior(truth, seqs)
    columns = []
    for strand, side, overlap in evidence.places["drawn", "tf"].overlaps:
        x = FLANK - overlap
        if side == "right":
            x = FLANK + LENGTH + overlap - SIZE
        columns.append(weights[:, strand, x])
    return torch.stack(columns, 1)


class Dense:
    """The experiment with the scores of its bindings fixed, by its formulas.

    Attributes:
        counts: (probes, rounds).
        point: The log activities of both rounds, then their log depths.
    """

    def __init__(self, truth: Opened) -> None:
        table = truth.tables[0].distinct
        self.counts, self.seqs = table.target.double(), table.seqs
        built = truth.built.experiments[0]
        with torch.no_grad():
            bindings = [built.bindings[name].double() for name in ("NS", "tf")]
            self.scores = torch.stack([b(self.seqs).double() for b in bindings])
        rounds = [each for each in built.rounds.values() if isinstance(each, Round)]
        activities = [
            part.log_activity
            for each in rounds
            for binding in bindings
            for part in each.aggregate.components()
            if part.binding is binding
        ]
        depths = [each.log_depth for each in rounds]
        self.point = torch.stack([p.detach().double() for p in activities + depths])

    def logits(self, point: Tensor, shifts: Tensor) -> Tensor:
        """Return (probes, rounds), with numbers added to the scores (2, probes)."""
        scores = self.scores + shifts
        first, second = (
            (point[at : at + 2, None] + scores).logsumexp(0) for at in (0, 2)
        )
        nothing = torch.zeros_like(first)
        return torch.stack([nothing, point[4] + first, point[5] + first + second], 1)

    def tested(self, features: Tensor, given: Tensor) -> tuple[float, float]:
        """Return χ² and the gain of features of the motif's score, by dense algebra."""
        both = torch.cat([features, given], 1)
        n = both.shape[1]

        def logits(values: Tensor) -> Tensor:
            shift = both @ values[6:]
            return self.logits(
                values[:6], torch.stack([torch.zeros_like(shift), shift])
            )

        at = torch.cat([self.point, torch.zeros(n, dtype=torch.float64)])
        jacobian = torch.autograd.functional.jacobian(logits, at)
        p = logits(at).softmax(1)
        totals = self.counts.sum(1)
        gradient = torch.einsum(
            "irv,ir->v", jacobian, totals[:, None] * p - self.counts
        )
        centred = jacobian - torch.einsum("ir,irv->iv", p, jacobian)[:, None]
        information = torch.einsum("i,ir,irv,irw->vw", totals, p, centred, centred)
        own = range(6, 6 + features.shape[1])
        rest = [i for i in range(6 + n) if i not in own]
        chosen = list(own)
        taken = information[chosen][:, rest] @ torch.linalg.pinv(
            information[rest][:, rest], rtol=1e-9, hermitian=True
        )
        left = information[chosen][:, chosen] - taken @ information[rest][:, chosen]
        slope = gradient[chosen] - taken @ gradient[rest]
        inverse = torch.linalg.pinv(left, rtol=1e-6, hermitian=True)
        expected = totals[:, None] * p
        pearson = float(((self.counts - expected).square() / expected).sum())
        phi = max(1.0, pearson / (2 * int((totals > 0).sum()) - 6))
        rank = int(torch.linalg.matrix_rank(left, rtol=1e-6, hermitian=True))
        chi2 = float(slope @ inverse @ slope)
        return chi2 / phi, max(0.0, (chi2 - phi * rank) / 2)


def test_letters_outside_are_tested_as_dense_algebra_does(
    truth: Opened, evidence: Evidence
) -> None:
    dense = Dense(truth)
    letters = letters_by_loops(truth, dense.seqs)
    found = evidence.tests.test(["letters drawn tf"])
    chi2, gain = dense.tested(letters, letters[:, :0])
    assert found.freedom == 12  # letters of a position are known but for their sum
    assert found.chi2 == pytest.approx(chi2, rel=1e-6)
    assert found.gain == pytest.approx(gain, rel=1e-6, abs=1e-9)


def test_windows_at_flanks_are_tested_given_others(
    truth: Opened, evidence: Evidence
) -> None:
    dense = Dense(truth)
    letters = letters_by_loops(truth, dense.seqs)
    groups = groups_by_loops(truth, evidence, dense.seqs)
    n_inside = evidence.places["drawn", "tf"].n_inside
    columns = evidence.tests.columns(["places drawn tf"])[n_inside:]
    found = evidence.tests.test(columns, ["letters drawn tf"])
    chi2, gain = dense.tested(groups, letters)
    assert groups.shape[1] == 16  # strands, sides, 1 to 4 letters
    assert found.chi2 == pytest.approx(chi2, rel=1e-5)
    assert found.gain == pytest.approx(gain, rel=1e-5, abs=1e-9)


def test_missing_windows_are_what_longer_flanks_add(
    truth: Opened, evidence: Evidence
) -> None:
    dense = Dense(truth)
    longer = opened_with_flanks(truth, (SIZE - 1, FLANK))
    with torch.no_grad():
        gain = mode_of(longer)(longer.tables[0].distinct.seqs).double()
        gain -= dense.scores[1]
    share = (dense.point[2:4, None] + dense.scores).softmax(0)[1]
    change = torch.log1p(share * torch.expm1(gain))[:, None]
    found = evidence.tests.test(["missing drawn tf left"])

    def logits(values: Tensor) -> Tensor:
        # log Z changes by it: as if the scores of all bindings did
        return dense.logits(values[:6], (change @ values[6:]).expand(2, -1))

    at = torch.cat([dense.point, torch.zeros(1, dtype=torch.float64)])
    jacobian = torch.autograd.functional.jacobian(logits, at)
    residual = dense.counts.sum(1, keepdim=True) * logits(at).softmax(1) - dense.counts
    gradient = torch.einsum("irv,ir->v", jacobian, residual)
    column = evidence.tests.columns(["missing drawn tf left"])
    assert found.freedom == 1
    assert float(evidence.tests.sums.gradient[column]) == pytest.approx(
        float(gradient[6]), rel=1e-8
    )


def opened_with_flanks(truth: Opened, lengths: tuple[int, int]) -> Opened:
    """Return the same model with other scored flanks."""
    left, right = lengths
    section = truth.document.config.experiments[0].model_copy(
        update={"left_flank_length": left, "right_flank_length": right}
    )
    config = truth.document.config.model_copy(update={"experiments": [section]})
    document = truth.document.with_config(config)
    tables, _ = make_tables(document, read_counts(document))
    built = build_model(document, tables)
    built.loss.to(torch.float64)
    return Opened(document, built, tables)


def test_what_the_model_has_already_is_no_feature(evidence: Evidence) -> None:
    # the weights of all windows add up to 1, which is what the activity does
    found = evidence.tests.test(["places drawn tf"])
    assert found.freedom == evidence.places["drawn", "tf"].size - 1
    again = evidence.tests.test(["places drawn tf"], ["places drawn tf"])
    assert (again.chi2, again.freedom, again.gain) == (0, 0, 0)


def test_tests_of_a_true_model_are_those_of_chance(evidence: Evidence) -> None:
    for key in evidence.tests.places:
        if not key.startswith("word"):  # those are chosen for their residuals
            assert evidence.tests.test([key]).log_p > -7


def test_positions_outside_are_counted_from_the_first_of_the_motif(
    evidence: Evidence,
) -> None:
    motif = evidence.samples[0].motifs["tf"]
    assert motif.flanks == (FLANK, FLANK)
    assert outside_positions(motif) == [-1, 0, SIZE + 1, SIZE + 2]


@pytest.mark.parametrize(
    ("chi2", "freedom", "log_p"),
    [(3.841, 1, math.log(0.05)), (18.307, 10, math.log(0.05)), (5.0, 0, 0.0)],
)
def test_chances_are_those_of_tables(chi2: float, freedom: int, log_p: float) -> None:
    assert log_chance(chi2, freedom) == pytest.approx(log_p, abs=1e-3)


def test_chances_too_small_for_numbers_still_fall() -> None:
    found = [log_chance(chi2, 3) for chi2 in (500.0, 5000.0, 50_000.0)]
    assert found[0] > found[1] > found[2] > -30_000
    assert found[1] == pytest.approx(-2489, rel=0.01)


def test_optimism_of_a_true_model_is_its_number_of_parameters(tmp_path: Path) -> None:
    own = opened(drawn(tmp_path, probes=3000, reads=20_000))
    found = evidence_of(own.document, own.built, own.tables)
    assert found is not None
    rank = found.tests.rank()
    # letters but for their means; of each round an activity ratio and a depth
    assert rank == 24 + 4
    # groups of probes, whose gradients scatter: a few percent
    assert found.optimism == pytest.approx(rank, rel=0.25)
