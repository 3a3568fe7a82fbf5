"""Arrangements of dimers, in words."""

import re

import pytest

from pyprobound.page._dimers import _ranked, _words
from pyprobound.plotting._arrangements import arrangements_of
from tests.plots.models import dimer_of


@pytest.mark.parametrize(
    ("palindromes", "patterns"),
    [
        ((False, False), {"a → → b", "b → → a", "a → ← b", "b ← → a"}),
        ((False, True), {"a → b", "b → a"}),
        ((True, True), {"a b", "b a"}),
    ],
)
def test_only_motifs_with_a_direction_have_arrows(
    palindromes: tuple[bool, bool], patterns: set[str]
) -> None:
    found = arrangements_of(dimer_of(4, 2, palindromes=palindromes))
    words = {_words(found, *place) for place in _ranked(found)}
    assert words == patterns
    for each in words:  # as the picture has it
        n_arrows = len(re.findall("[→←]", each))
        assert n_arrows == palindromes.count(False)
