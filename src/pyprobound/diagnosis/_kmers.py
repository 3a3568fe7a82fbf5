"""Words of k letters: which probes have them, and what is made of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound.alphabets import Alphabet

MOST_WORDS = 4096


@dataclass(frozen=True)
class Words:
    """The words of some probes.

    Attributes:
        alphabet: Their letters.
        size: k.
        is_folded: Whether a word and its reverse complement are one.
        number: (n, starts) the number of each word, −1 where a letter is not known.
    """

    alphabet: Alphabet
    size: int
    is_folded: bool
    number: Tensor

    @classmethod
    def of(
        cls, seqs: Tensor, alphabet: Alphabet, *, size: int, is_folded: bool
    ) -> "Words":
        """Find the words of probes, (n, length) codes."""
        n_letters = alphabet.n_letters
        windows = seqs.long().unfold(1, size, 1) if seqs.shape[1] >= size else None
        if windows is None:
            nothing = torch.zeros(len(seqs), 0, dtype=torch.int64)
            return cls(alphabet, size, is_folded, nothing)
        known = (windows < n_letters).all(2)
        powers = n_letters ** torch.arange(size - 1, -1, -1)
        number = (windows * powers).sum(2)
        if is_folded:
            # complements are the letters in reversed order
            reverse = ((n_letters - 1 - windows) * powers.flip(0)).sum(2)
            number = torch.minimum(number, reverse)
        return cls(alphabet, size, is_folded, number.masked_fill(~known, -1))

    @property
    def n_words(self) -> int:
        """How many there could be, those that are never met included."""
        return int(self.alphabet.n_letters**self.size)

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of numbers of probes over those with each word, (words,).

        A probe counts as often as it has the word.

        Args:
            values: (n,) float64.
        """
        flat = self.number.flatten()
        known = flat >= 0
        spread = values[:, None].expand(self.number.shape).flatten()
        return torch.bincount(flat[known], spread[known], minlength=self.n_words)

    def counts(self, words: Tensor) -> Tensor:
        """Return how often each probe has some words, (n, words) float64."""
        return (self.number[:, :, None] == words).sum(1).double()

    def text(self, word: int) -> str:
        """Return a word as text."""
        n_letters, letters = self.alphabet.n_letters, []
        for _ in range(self.size):
            word, letter = divmod(word, n_letters)
            letters.append(self.alphabet.alphabet[letter])
        return "".join(reversed(letters))


def word_size(n_letters: int, longest: int) -> int:
    """Return the k of words of which there are at most `MOST_WORDS`."""
    return min(longest, int(math.log(MOST_WORDS + 0.5) / math.log(n_letters)))
