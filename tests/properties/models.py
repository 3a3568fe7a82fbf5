"""Random models and probes, drawn by Hypothesis; random numbers come from one seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor, nn

from pyprobound import Cooperativity, CountTable, Mode, Spacing, alphabets, layers
from tests.oracles import Letter, read_probe, rows_of

DNA = alphabets.DNA()
FLANKS: dict[str, Any] = {"left_flank": "GACTTAG", "right_flank": "CCTATCG"}
N_PROBES = 3

seeds = st.integers(0, 2**32 - 1)


def generator(seed: int) -> torch.Generator:
    """Return a generator of random tensors of its own."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def randomised(module: nn.Module, seed: int, scale: float = 1.0) -> None:
    """Turn a module to float64 and draw all of its parameters."""
    module.double()
    random_numbers = generator(seed)
    for parameter in module.parameters():
        parameter.normal_(0, scale, generator=random_numbers)


@torch.no_grad()
def punctured(parameter: Tensor, seed: int, fraction: float) -> None:
    """Set a random fraction of a parameter's entries to −∞."""
    drawn = torch.rand(parameter.shape, generator=generator(seed), dtype=torch.float64)
    parameter.masked_fill_(drawn < fraction, float("-inf"))


def random_texts(
    seed: int, low: int, high: int, symbols: str = "ACGT", n_probes: int = N_PROBES
) -> list[str]:
    """Return different probes, the first of length `low`, the second of `high`."""
    rng = random.Random(seed)
    lengths = [low, high] + [rng.randint(low, high) for _ in range(n_probes)]
    texts: dict[str, None] = {}
    for length in lengths:
        texts["".join(rng.choices(symbols, k=length))] = None
    return list(texts)[:n_probes]


def table_of(
    texts: Sequence[str],
    **arguments: Any,
) -> CountTable:
    """Return a table of one column with a read for each probe."""
    alphabet = arguments.pop("alphabet", DNA)
    frame = pd.DataFrame([[1.0]] * len(texts), index=list(texts))
    return CountTable(frame, alphabet, **arguments)


def psam_of(
    name: str,
    size: int,
    **arguments: Any,
) -> layers.PSAM:
    """Return a PSAM over DNA."""
    return layers.PSAM(size, alphabet=DNA, name=name, **arguments)


def conv_of(mode: Mode) -> layers.Conv1d:
    """Return the convolution at the end of a mode."""
    conv = mode.chain[-1]
    assert isinstance(conv, layers.Conv1d)
    return conv


def spacing_of(
    modes: Sequence[Mode],
    **arguments: Any,
) -> Spacing:
    """Return the spacing of two modes."""
    first, second = modes
    return Spacing(first.key(), second.key(), **arguments)


def dimer_of(
    spacing: Spacing,
    modes: Sequence[Mode],
    **arguments: Any,
) -> Cooperativity:
    """Return the dimer of two modes."""
    first, second = modes
    return Cooperativity(spacing, first, second, **arguments)


@dataclass
class Probes:
    """Probes as text, as a table, and as the oracle reads them."""

    texts: list[str]
    table: CountTable

    @property
    def seqs(self) -> Tensor:
        """The encoded probes with their scored flanks."""
        return self.table.seqs

    @property
    def read(self) -> list[list[Letter]]:
        """The probes with flanks and padding, as the oracle reads them."""
        rows = rows_of(self.table, self.texts)
        return [read_probe(self.table.alphabet, row) for row in rows]


@st.composite
def probes(
    draw: DrawFn,
    *,
    shortest: int = 6,
    longest: int = 10,
    symbols: str = "ACGT",
    variable: bool | None = None,
) -> Probes:
    """Draw probes with scored flanks, of one length or of several."""
    low = draw(st.integers(shortest, longest))
    is_variable = draw(st.booleans()) if variable is None else variable
    high = draw(st.integers(low, longest + 2)) if is_variable else low
    texts = random_texts(draw(seeds), low, high, symbols)
    flanks = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    table = table_of(
        texts,
        **FLANKS,
        left_flank_length=flanks[0],
        right_flank_length=flanks[1],
        min_variable_length=low,
        max_variable_length=high,
    )
    return Probes(texts, table)


def palindrome(half: int, *, odd: bool) -> list[int]:
    """Return a palindromic symmetry; an odd one has no class of its own inside."""
    first = list(range(1, half + 1))
    middle = [half + 1] if odd else []
    return [*first, *middle, *(-cls for cls in reversed(first))]


@st.composite
def psam_settings(
    draw: DrawFn, *, max_size: int = 4, strands: int | None = None
) -> dict[str, Any]:
    """Draw the arguments of a PSAM over DNA."""
    size = draw(st.integers(1, max_size))
    settings: dict[str, Any] = {"kernel_size": size, "alphabet": DNA}
    settings["pairwise_distance"] = draw(st.integers(0, min(2, size - 1)))
    if settings["pairwise_distance"] == 0 and size < 4:
        settings["dilation"] = draw(st.integers(1, 2))
    if draw(st.booleans()):
        classes = st.integers(1, size).flatmap(lambda c: st.sampled_from([c, -c]))
        settings["symmetry"] = draw(st.lists(classes, min_size=size, max_size=size))
    both = draw(st.booleans()) if strands is None else strands == 2
    settings["score_reverse"] = both
    if strands is None and draw(st.booleans()):
        settings["out_channels"] = 4 if both else 2
    settings["normalize"] = draw(st.booleans())
    settings["train_bias"] = draw(st.booleans())
    return settings


@st.composite
def bias_settings(draw: DrawFn) -> dict[str, Any]:
    """Draw the arguments of Conv1d that belong to its position bias."""
    return {
        "train_posbias": True,
        "bias_mode": draw(st.sampled_from(["channel", "same", "reverse"])),
        "bias_bin": draw(st.integers(1, 3)),
        "length_specific_bias": draw(st.booleans()),
        "normalize": draw(st.booleans()),
    }


@st.composite
def dimers(
    draw: DrawFn, table: CountTable, *, strands: int | None = None
) -> Cooperativity:
    """Draw a dimer over a table; its parameters are still the initial ones."""
    n_strands = draw(st.sampled_from([1, 2])) if strands is None else strands
    psams = [
        layers.PSAM(name=name, **draw(psam_settings(max_size=3, strands=n_strands)))
        for name in "ab"
    ]
    bias = st.builds(dict[str, Any]) | bias_settings()
    first = Mode.from_psam(psams[0], table, **draw(bias))
    second = first
    if draw(st.booleans()):
        second = Mode.from_psam(psams[1], table, **draw(bias))
    spacing = spacing_of([first, second], **draw(spacing_settings()))
    return dimer_of(spacing, [first, second], **draw(dimer_settings()))


@st.composite
def spacing_settings(draw: DrawFn) -> dict[str, Any]:
    """Draw the arguments of a Spacing."""
    limit = st.none() | st.integers(0, 3)
    return {
        "score_same": draw(st.booleans()),
        "score_reverse": draw(st.booleans()),
        "score_mode": draw(st.sampled_from(["both", "positive", "negative"])),
        "max_overlap": draw(limit),
        "max_spacing": draw(limit),
        "normalize": draw(st.booleans()),
    }


@st.composite
def dimer_settings(draw: DrawFn) -> dict[str, Any]:
    """Draw the arguments of a Cooperativity."""
    return {
        "train_hill": draw(st.booleans()),
        "train_posbias": True,
        "bias_mode": draw(st.sampled_from(["strand", "same", "reverse"])),
        "bias_bin": draw(st.integers(1, 3)),
        "length_specific_bias": draw(st.booleans()),
        "normalize": draw(st.booleans()),
    }


def assert_close(found: Tensor, expected: object, tolerance: float = 1e-9) -> None:
    """Check values against an oracle, −∞ included."""
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(
        found.detach(), wanted, rtol=tolerance, atol=tolerance, equal_nan=False
    )


def assert_finite_gradients(module: nn.Module, score: Tensor) -> None:
    """Check that every gradient of the finite scores is finite."""
    module.zero_grad()
    finite = score[score.isfinite()]
    if len(finite) == 0 or not score.requires_grad:
        return
    score.masked_fill(~score.isfinite(), 0.0).sum().backward()
    for path, parameter in module.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), path
