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
            Only one start at a time is looked at: they are many.
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
        starts = max(0, seqs.shape[1] - size + 1)
        number = torch.zeros(len(seqs), starts, dtype=torch.int32)
        reverse, known = number.clone(), torch.ones(number.shape, dtype=torch.bool)
        for position in range(size if starts else 0):
            letters = seqs[:, position : position + starts].int()
            known &= letters < n_letters
            number = number * n_letters + letters
            # complements are the letters in reversed order
            reverse += (n_letters - 1 - letters) * n_letters**position
        if is_folded:
            number = torch.minimum(number, reverse)
        number = number.masked_fill(~known, -1)
        return cls(alphabet, size, is_folded, number)

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
        total = torch.zeros(self.n_words, dtype=torch.float64)
        for start in self.number.unbind(1):
            known = start >= 0
            total += torch.bincount(start[known], values[known], minlength=self.n_words)
        return total

    def counts(self, words: Tensor) -> Tensor:
        """Return how often each probe has some words, (n, words) float64."""
        found = torch.zeros(len(self.number), len(words), dtype=torch.float64)
        for start in self.number.unbind(1):
            found += start[:, None] == words
        return found

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
