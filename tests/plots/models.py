"""Small models with biases and spacings, and errors that are known by construction."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyprobound import Cooperativity, Experiment, Mode, Spacing
from pyprobound.alphabets import DNA
from pyprobound.layers import PSAM, Conv1d
from pyprobound.uncertainty import ErrorBars, Estimate, log_omega

ALPHABET = DNA()
LONGEST = 12


class KnownErrors(ErrorBars):
    """Errors 0.10, 0.15, … 0.30 in turn; every eleventh entry is not identified."""

    def of(
        self,
        function: Callable[[], Tensor],
        *,
        is_linear: bool = False,  # noqa: ARG002 as in ErrorBars
    ) -> Estimate:
        """Return the values with the errors of their places."""
        value = function().detach().double()
        place = torch.arange(value.numel()).reshape(value.shape)
        error = 0.1 + 0.05 * (place % 5).double()
        unknown = (place % 11 == 3) | ~value.isfinite()
        error = error.masked_fill(unknown, torch.nan)
        return Estimate(value, error.masked_fill(value == 0, 0.0))

    def seen(self, parameter: Tensor) -> Tensor:
        """Return that everything is seen."""
        return torch.ones_like(parameter, dtype=torch.bool)

    def _log_reads(self, experiment: Experiment) -> Tensor:
        raise NotImplementedError

    def reference(self, dimer: Cooperativity) -> int | None:
        """Return the best arrangement."""
        return int(log_omega(dimer, self.seen).argmax())


def layer_of(
    size: int = 3, shortest: int = LONGEST, longest: int = LONGEST, **arguments: object
) -> Conv1d:
    """Return a motif without preferences and with a random bias."""
    psam = PSAM(size, ALPHABET, name="tf")
    layer = Conv1d(psam, longest, shortest, longest, train_posbias=True, **arguments)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(size)
    with torch.no_grad():
        for each in psam.parameters():
            each.zero_()
        layer.log_posbias.normal_(generator=generator)
    return layer


def dimer_of(
    *sizes: int,
    palindromes: tuple[bool, ...] = (False, False),
    length: int = LONGEST,
    score_reverse_strand: bool = True,
    **arguments: object,
) -> Cooperativity:
    """Return a dimer with random energies and spacings; of one size, a homodimer."""
    generator = torch.Generator().manual_seed(sum(sizes))
    modes = [
        _mode(
            PSAM(
                size,
                ALPHABET,
                symmetry=_palindrome(size) if palindrome else None,
                score_reverse=score_reverse_strand,
                name=name,
            ),
            length,
            generator,
        )
        for name, size, palindrome in zip(("a", "b"), sizes, palindromes, strict=False)
    ]
    first, second = modes[0], modes[-1]
    spacing = Spacing(first.key(), second.key(), **arguments)  # type: ignore[arg-type]
    dimer = Cooperativity(spacing, first, second).double()
    with torch.no_grad():
        spacing.log_spacing.normal_(generator=generator)
    return dimer


def _palindrome(size: int) -> list[int]:
    half = range(1, size // 2 + 1)
    return [*half, *(-each for each in reversed(half))]


def _mode(psam: PSAM, length: int, generator: torch.Generator) -> Mode:
    with torch.no_grad():
        for each in psam.parameters():
            each.normal_(generator=generator)
    return Mode([Conv1d(psam, length, length, length)])


def random_seqs(count: int = 50, length: int = LONGEST) -> Tensor:
    """Return random sequences."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 4, (count, length), generator=generator)
