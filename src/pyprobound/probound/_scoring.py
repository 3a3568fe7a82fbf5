"""Scoring models: modes with one activity each, for sequences of any length.

affinity sum = Σ_modes e^activity · A,      A = Σ_windows e^score (1 for size 0)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound._evaluation import evaluation_of
from pyprobound._numerics import NEG_INF
from pyprobound.alphabets import Alphabet
from pyprobound.layers.conv0d import NonSpecific
from pyprobound.layers.psam import PSAM
from pyprobound.mode import Mode
from pyprobound.probound._coefficients import Coefficients
from pyprobound.probound._files import Document
from pyprobound.probound._model import Builder, Lengths, Numbers


@dataclass(frozen=True)
class ScoringMode:
    """A mode with its activity.

    Attributes:
        name: What it is called.
        spec: Its energies.
        log_activity: log α.
    """

    name: str
    spec: PSAM | NonSpecific
    log_activity: float


@dataclass(frozen=True)
class ScoringModel:
    """What is needed to score sequences.

    Attributes:
        alphabet: What they are written in.
        modes: The modes.
    """

    alphabet: Alphabet
    modes: list[ScoringMode]

    def mode_sums(self, seqs: Tensor) -> Tensor:
        """Return log A of each sequence and mode, (sequences, modes).

        Args:
            seqs: (sequences, length) letter codes of one length.
        """
        with torch.no_grad():
            columns = []
            for each in self.modes:
                reads = Lengths(seqs.shape[1])
                if isinstance(each.spec, NonSpecific):
                    columns.append(torch.zeros(len(seqs), dtype=torch.float64))
                elif each.spec.kernel_size > seqs.shape[1]:
                    none = torch.full((len(seqs),), NEG_INF, dtype=torch.float64)
                    columns.append(none)
                else:
                    mode = Mode.from_psam(each.spec, reads)
                    columns.append(evaluation_of(seqs)(mode.evaluate).double())
        return torch.stack(columns, 1)

    def log_affinity(self, seqs: Tensor) -> Tensor:
        """Return the log affinity sum of each sequence, (sequences,) float64.

        Args:
            seqs: (sequences, length) letter codes of one length.
        """
        activities = torch.tensor(
            [each.log_activity for each in self.modes], dtype=torch.float64
        )
        return (self.mode_sums(seqs) + activities).logsumexp(1)

    def windows(self, seqs: Tensor, mode: int) -> Tensor:
        """Return the log scores of all windows of a mode, without its activity.

        Args:
            seqs: (sequences, length) letter codes of one length.
            mode: Which one; not one of size 0.

        Returns:
            (sequences, strands, windows), both strands in + coordinates.
        """
        spec = self.modes[mode].spec
        assert isinstance(spec, PSAM)
        with torch.no_grad():
            return Mode.from_psam(spec, Lengths(seqs.shape[1])).score_windows(seqs)


def scoring_model(
    document: Document,
    numbers: Coefficients,
    modifications: Sequence[str] = (),
    dtype: torch.dtype = torch.float64,
) -> ScoringModel:
    """Return the modes of a scoring model.

    Args:
        document: What the file says.
        numbers: Its numbers, with one activity for each mode.
        modifications: Which of its modifications the sequences carry.
        dtype: Floating-point type.

    Raises:
        InputError: It has several activities, a position bias or interactions: it is
            a fit, of which a consensus is to be made first.
    """
    settings = document.content.model_settings
    single = all(
        len(mode.activity) == 1 and mode.activity[0].size == 1 and not mode.bias
        for mode in numbers.modes
    )
    if not single or settings.binding_mode_interactions:
        raise document.error(
            "is a fit of experiments; make a scoring model of it first"
        )
    known = {each.name for m in settings.binding_modes for each in m.modifications}
    unknown = sorted(set(modifications) - known)
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        raise document.error(f"no modification {unknown[0]!r}; it has {names}")
    builder = Builder(document, numbers)
    specs = [
        builder.spec(index, modifications)
        for index in range(len(settings.binding_modes))
    ]
    for spec in specs:
        spec.to(dtype)
    Numbers.of(document, numbers, builder.places)
    return ScoringModel(
        builder.alphabet,
        [
            ScoringMode(f"mode{index}", spec, float(mode.activity[0][0]))
            for index, (spec, mode) in enumerate(zip(specs, numbers.modes, strict=True))
        ],
    )
