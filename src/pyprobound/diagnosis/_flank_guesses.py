"""What flanks might be, where those that are given do not fit: common mistakes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pyprobound.diagnosis._evidence import Sample, shares
from pyprobound.diagnosis._score_tests import ScoreTests, Tested
from pyprobound.diagnosis._windows import Motif, gain_of_windows

Flanks = tuple[Tensor, Tensor]


def guesses(sample: Sample, motif: Motif, n_parameters: int) -> dict[str, Tested]:
    """Test what the flanks would be, were those given a common mistake.

    Args:
        sample: An experiment.
        motif: One of its motifs, without position bias.
        n_parameters: P.

    Returns:
        For each mistake, in words, the test of its log Z against the given flanks'.
    """
    table, plain = sample.table, sample.plain
    if motif.conv.train_posbias or table.wildcard_pad:
        return {}
    bindings = plain.selection.bindings
    own = [i for i, each in enumerate(bindings) if each is motif.mode]
    if not own:
        return {}
    codes = motif.codes(plain.seqs)
    share = shares(plain)[-1, own[0]]
    changes = {}
    for mistake, flanks in _alternatives(sample):
        gain = gain_of_windows(motif, codes, _with_flanks(codes, motif, flanks, sample))
        if bool(gain.any()):
            changes[mistake] = torch.log1p(share * torch.expm1(gain))[:, None]
    if not changes:
        return {}
    tests = ScoreTests.of(
        n_parameters, dict.fromkeys(changes, 1), plain.counts.shape[1]
    )
    together = torch.cat(list(changes.values()), 1)
    makers = [
        (index, list(changes), together.__getitem__, 8 * len(changes))
        for index in range(len(bindings))
    ]
    with torch.no_grad():
        tests.add(plain, makers)
    return {mistake: tests.test([mistake]) for mistake in changes}


def _alternatives(sample: Sample) -> Iterator[tuple[str, Flanks]]:
    alphabet = sample.table.alphabet
    left = alphabet.translate(sample.table.left_flank)
    right = alphabet.translate(sample.table.right_flank)
    yield "left and right were swapped", (right, left)
    yield "each was read backwards", (left.flip(0), right.flip(0))
    yield "they were swapped and read backwards", (right.flip(0), left.flip(0))
    yield "the left one had a letter too many at its end", (left[:-1], right)
    yield "the right one had a letter too many at its start", (left, right[1:])
    if alphabet.complement:
        # complements are the letters in reversed order, other codes stay
        n = alphabet.n_letters
        other = [torch.where(x < n, n - 1 - x, x).flip(0) for x in (left, right)]
        yield "they were those of the other strand", (other[1], other[0])
        yield "each was its reverse complement", (other[0], other[1])


def _with_flanks(codes: Tensor, motif: Motif, flanks: Flanks, sample: Sample) -> Tensor:
    """Return what a motif slides along, with other flank letters."""
    alphabet = sample.table.alphabet
    n_left, n_right = motif.flanks
    unknown = codes.new_full((max(n_left, n_right),), alphabet.wildcard_pad)
    left = torch.cat([unknown, flanks[0].to(codes)])
    right = torch.cat([flanks[1].to(codes), unknown])
    changed = codes.clone()
    changed[:, :n_left] = left[len(left) - n_left :]
    ends = (codes != alphabet.neginf_pad).sum(1, keepdim=True) - n_right
    places = ends + torch.arange(n_right)
    return changed.scatter(1, places, right[:n_right].expand(len(codes), -1))
