"""What models must compute, in plain Python: loops over windows, pairs and letters.

Written from the formulas alone, in float64. Of the package only parameters and settings
are read: no filter, no kernel, no coordinates. A probe is a list of positions, each a
tuple of letter fractions, or None for padding.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from torch import Tensor

from pyprobound import Cooperativity, CountTable, Mode, Spacing
from pyprobound.alphabets import Alphabet
from pyprobound.layers import (
    PSAM,
    Conv0d,
    Conv1d,
    LayerSpec,
    MaxPool1dSpec,
    ModeKey,
    NonSpecific,
    PadSpec,
    RollSpec,
)

NEG_INF = -math.inf

Letter = tuple[float, ...] | None
Probe = Sequence[Letter]
Windows = list[list[float]]
"""Scores by channel and window."""

Pairs = dict[tuple[int, int, int, int], float]
"""Values by strand of a, strand of b, window of a and window of b."""


# --- probes -----------------------------------------------------------------------


def letter(alphabet: Alphabet, symbol: str) -> Letter:
    """Return the fractions of one symbol, None for ' '."""
    if symbol == " ":
        return None
    n_letters = len(alphabet.alphabet)
    if symbol in {"*", "N"} and symbol not in alphabet.alphabet:
        return (1 / n_letters,) * n_letters
    chosen = alphabet.get_encoding[symbol]
    return tuple(1 / len(chosen) if i in chosen else 0.0 for i in range(n_letters))


def read_probe(alphabet: Alphabet, text: str) -> list[Letter]:
    """Return a probe from its text, one character to a letter."""
    return [letter(alphabet, symbol) for symbol in text]


def rows_of(table: CountTable, texts: Iterable[str]) -> list[str]:
    """Return the texts that a table scores: flank, probe, flank and padding."""
    left, right = table.left_flank_length, table.right_flank_length
    before = table.left_flank[::-1].ljust(left, "*")[:left][::-1]
    after = table.right_flank.ljust(right, "*")[:right]
    return [f"{before}{text}{after}".ljust(table.input_shape) for text in texts]


def reverse_complement(probe: Probe) -> list[Letter]:
    """Return the other strand: an alphabet's letters reversed are complements."""
    return [None if part is None else part[::-1] for part in reversed(probe)]


def count(probe: Probe) -> int:
    """Return the number of letters that are no padding."""
    return sum(part is not None for part in probe)


# --- sums -------------------------------------------------------------------------


def log_sum(values: Iterable[float]) -> float:
    """Return log Σ exp(values), −∞ where there is nothing to add."""
    terms = [value for value in values if value > NEG_INF]
    if not terms:
        return NEG_INF
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    listed = list(values)
    return math.fsum(listed) / len(listed)


def times(factor: float, value: float) -> float:
    """Return factor · value, where −∞ stays −∞."""
    return NEG_INF if value == NEG_INF else factor * value


# --- PSAM -------------------------------------------------------------------------


class Energies:
    """The energies of a PSAM by forward channel, position and letter."""

    def __init__(self, psam: PSAM) -> None:
        """Read the betas by their external keys."""
        self.betas = {key: value.item() for key, value in psam.betas.items()}
        self.symmetry = psam.symmetry
        self.n_letters = psam.in_channels
        self.distance = psam.pairwise_distance
        self.dilation = psam.dilation
        self.both_strands = psam.score_reverse
        self.bias: list[float] = psam.bias.tolist()
        self.normalize = psam.normalize
        self.single = {
            (channel, i): self._centred([[v] for v in self._letters(channel, i)])
            for channel in range(len(self.bias))
            for i in range(len(self.symmetry))
        }
        self.pair = {
            (channel, i, j): self._centred(self._letter_pairs(channel, i, j))
            for channel in range(len(self.bias))
            for i, j in self.pairs()
        }

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Iterate over the pairs of positions that have a feature."""
        for i in range(len(self.symmetry)):
            for j in range(i + 1, min(i + self.distance, len(self.symmetry) - 1) + 1):
                yield i, j

    def _read(self, position: int, x: int) -> int:
        """Return the letter by which a position of negative class is read."""
        return x if self.symmetry[position] > 0 else self.n_letters - 1 - x

    def _letters(self, channel: int, i: int) -> list[float]:
        cls, n = abs(self.symmetry[i]), self.n_letters
        return [self.betas[f"{cls}-{channel * n + self._read(i, x)}"] for x in range(n)]

    def _letter_pairs(self, channel: int, i: int, j: int) -> list[list[float]]:
        n = self.n_letters
        classes = abs(self.symmetry[i]), abs(self.symmetry[j])
        rows = []
        for x in range(n):
            row = []
            for y in range(n):
                first, second = self._read(i, x), self._read(j, y)
                if classes[0] > classes[1]:
                    first, second = second, first
                if classes[0] == classes[1]:
                    first, second = sorted((first, second))
                index = channel * n * n + n * first + second
                row.append(self.betas[f"{min(classes)}-{max(classes)}-{index}"])
            rows.append(row)
        return rows

    def _centred(self, table: list[list[float]]) -> list[list[float]]:
        if not self.normalize:
            return table
        middle = mean(value for row in table for value in row)
        return [[value - middle for value in row] for row in table]

    def window(self, channel: int, letters: Probe) -> float:
        """Return the forward score of the letters of one window."""
        if any(part is None for part in letters):
            return NEG_INF
        present = [part for part in letters if part is not None]
        total = self.bias[channel]
        for i, part in enumerate(present):
            table = self.single[channel, i]
            total += math.fsum(f * row[0] for f, row in zip(part, table, strict=True))
        for i, j in self.pairs():
            table = self.pair[channel, i, j]
            for x, y in product(range(self.n_letters), repeat=2):
                total += present[i][x] * present[j][y] * table[x][y]
        return total

    @property
    def reach(self) -> int:
        """Letters from the first to the last of a window."""
        return (len(self.symmetry) - 1) * self.dilation + 1

    def windows(self, probe: Probe) -> Windows:
        """Return the scores of all windows, reverse strand in the second half."""
        starts = range(len(probe) - self.reach + 1)
        letters = [probe[x : x + self.reach : self.dilation] for x in starts]
        channels = range(len(self.bias))
        forward = [[self.window(c, part) for part in letters] for c in channels]
        if not self.both_strands:
            return forward
        others = [reverse_complement(part) for part in letters]
        return forward + [[self.window(c, part) for part in others] for c in channels]


# --- layers -----------------------------------------------------------------------


def padded(spec: PadSpec, probe: Probe) -> list[Letter]:
    """Return a probe with any letter added, or letters taken off, on either side."""
    n_letters = len(spec.alphabet.alphabet)
    wild: Letter = (1 / n_letters,) * n_letters
    kept = list(probe[max(0, -spec.left) : len(probe) - max(0, -spec.right)])
    return [wild] * max(0, spec.left) + kept + [wild] * max(0, spec.right)


def rolled(spec: RollSpec, probe: Probe) -> list[Letter]:
    """Return a probe justified, cut to the letters kept, and padded again."""
    n_letters = len(spec.alphabet.alphabet)
    wild = (1 / n_letters,) * n_letters
    letters = list(probe)
    absent = {None, wild} if spec.include_n else {None}
    while letters and letters[0] in absent:
        letters.pop(0)
    while letters and letters[-1] in absent:
        letters.pop()
    width = len(probe) if spec.max_length is None else min(len(probe), spec.max_length)
    excess = len(letters) - width
    if excess > 0:
        cut = {"left": 0, "right": excess, "center": excess // 2}[spec.direction]
        return letters[cut : cut + width]
    space = -excess
    before = {"left": 0, "right": space, "center": -(excess // 2)}[spec.direction]
    return [None] * before + letters + [None] * (space - before)


def pooled(spec: MaxPool1dSpec, windows: Windows) -> Windows:
    """Return the best of neighbouring windows."""
    size, n_windows = spec.kernel_size, len(windows[0])
    starts = range(0, n_windows, size)
    if not spec.ceil_mode:
        starts = range(0, n_windows - size + 1, size)
    return [[max(row[x : x + size]) for x in starts] for row in windows]


def position_bias(conv: Conv1d, n_letters: int) -> Windows:
    """Return the position bias of a probe of so many letters."""
    energies_reach = (conv.layer_spec.kernel_size - 1) * conv.layer_spec.dilation + 1
    n_windows = conv.input_shape - energies_reach + 1
    own = n_letters - energies_reach + 1
    forward = conv.layer_spec.out_channels // conv.layer_spec.n_strands
    chosen = conv.out_channel_indexing or list(range(conv.layer_spec.out_channels))
    stored: list[Windows] = conv.log_posbias.tolist()
    entry = 0
    if conv.length_specific_bias:
        if not conv.min_input_length <= n_letters <= conv.max_input_length:
            return [[0.0] * n_windows for _ in chosen]
        entry = n_letters - conv.min_input_length
    rows = stored[entry]
    if conv.normalize:
        rows = [[value - mean(row) for value in row] for row in rows]
    shared = list(dict.fromkeys(channel % forward for channel in chosen))
    bias = []
    for index, channel in enumerate(chosen):
        is_own = conv.bias_mode == "channel"
        row = rows[index if is_own else shared.index(channel % forward)]
        wide = [row[x // conv.bias_bin] for x in range(n_windows)]
        if conv.bias_mode == "reverse" and channel >= forward:
            wide = wide[:own][::-1] + [0.0] * (n_windows - own)
        bias.append(wide)
    return bias


def convolved(conv: Conv1d, probe: Probe) -> Windows:
    """Return the scores of a PSAM in every window, position bias included."""
    windows = Energies(conv.layer_spec).windows(probe)
    if conv.out_channel_indexing is not None:
        windows = [windows[channel] for channel in conv.out_channel_indexing]
    bias = position_bias(conv, count(probe))
    return [
        [score + extra for score, extra in zip(row, extras, strict=True)]
        for row, extras in zip(windows, bias, strict=True)
    ]


def nonspecific(conv: Conv0d, probe: Probe) -> Windows:
    """Return the score of non-specific binding: one window."""
    n_letters = count(probe)
    score = 0.0 if conv.layer_spec.ignore_length else math.log(n_letters)
    if conv.min_input_length <= n_letters <= conv.max_input_length:
        score += conv.log_posbias[n_letters - conv.min_input_length, 0, 0].item()
    return [[score]]


# --- modes ------------------------------------------------------------------------


def mode_windows(mode: Mode, probe: Probe) -> Windows:
    """Return the scores of all windows of a mode."""
    letters, windows = list(probe), [[0.0]]
    for layer in mode.components():
        spec: LayerSpec = layer.layer_spec
        if isinstance(spec, PadSpec):
            letters = padded(spec, letters)
        elif isinstance(spec, RollSpec):
            letters = rolled(spec, letters)
        elif isinstance(layer, Conv1d):
            windows = convolved(layer, letters)
        elif isinstance(layer, Conv0d):
            windows = nonspecific(layer, letters)
        elif isinstance(spec, MaxPool1dSpec):
            windows = pooled(spec, windows)
        else:
            raise TypeError(f"no oracle for {layer}")
    return windows


def mode_score(mode: Mode, probe: Probe) -> float:
    """Return log Σ_x exp(h · log 1/K(S, x))."""
    hill = math.exp(mode.log_hill.item())
    windows = mode_windows(mode, probe)
    return log_sum(times(hill, score) for row in windows for score in row)


# --- dimers -----------------------------------------------------------------------


def _footprint(key: ModeKey, *, ignore_pad: bool) -> int | None:
    size = 1
    for spec in reversed(key):
        if isinstance(spec, PSAM):
            size += (spec.kernel_size - 1) * spec.dilation
        elif isinstance(spec, MaxPool1dSpec):
            size *= spec.kernel_size
        elif isinstance(spec, PadSpec) and not ignore_pad:
            size -= spec.left + spec.right
        elif isinstance(spec, NonSpecific):
            return None
    return size


def _left_pad(key: ModeKey) -> int:
    return sum(spec.left for spec in key if isinstance(spec, PadSpec))


def _may_be(spacing: Spacing, strands: tuple[int, int], offset: int) -> bool:
    """Tell whether a pair of windows can be, by its strands and offset."""
    allowed = spacing.score_same if strands[0] == strands[1] else spacing.score_reverse
    sign = {"both": True, "positive": offset >= 1, "negative": offset <= 0}
    if not (allowed and sign[spacing.score_mode]):
        return False
    key_a, key_b = spacing.mode_key_a, spacing.mode_key_b
    size_a = _footprint(key_a, ignore_pad=spacing.ignore_pad)
    size_b = _footprint(key_b, ignore_pad=spacing.ignore_pad)
    if size_a is None or size_b is None:
        return True
    start = offset
    if spacing.ignore_pad:
        start += _left_pad(key_a) - _left_pad(key_b)
    between = max(start - size_a, -(start + size_b))  # negative where they overlap
    if spacing.max_overlap is not None and -between > spacing.max_overlap:
        return False
    return spacing.max_spacing is None or between <= spacing.max_spacing


def log_spacing(
    spacing: Spacing, n_a: int, n_b: int
) -> dict[tuple[int, int, int], float]:
    """Return log ω by strand of a, strand of b and offset n − m."""
    stored: Windows = spacing.log_spacing.tolist()
    middle = len(stored[0]) // 2
    strands = range(spacing.mode_key_a.out_channels)
    values = {}
    for s, t, offset in product(strands, strands, range(-(n_a - 1), n_b)):
        # The other strand reads the array of offsets from its other end.
        read = offset if t == 0 else (n_b - n_a) - offset
        row = 0 if s == t else 1
        if _may_be(spacing, (s, t), offset):
            values[s, t, offset] = stored[row][middle + read]
        else:
            values[s, t, offset] = NEG_INF
    finite = [value for value in values.values() if value > NEG_INF]
    if spacing.normalize and finite:
        middle_value = mean(finite)
        values = {key: value - middle_value for key, value in values.items()}
    return values


def dimer_bias(dimer: Cooperativity, n_letters: int, n_a: int, n_b: int) -> Pairs:
    """Return the bias of each pair of windows of a probe of so many letters."""
    strands = range(dimer.n_strands)
    entries = [0, 0]
    if dimer.length_specific_bias:
        for which, mode in enumerate((dimer.mode_a, dimer.mode_b)):
            if not mode.min_input_length <= n_letters <= mode.max_input_length:
                keys = product(strands, strands, range(n_a), range(n_b))
                return dict.fromkeys(keys, 0.0)
            entries[which] = n_letters - mode.min_input_length
    values = {}
    for offset in range(-(n_a - 1), n_b):
        diagonal = dimer.log_posbias[offset + n_a - 1][entries[0], entries[1]].tolist()
        first = max(0, -offset)
        size = min(n_a, n_b - offset) - first
        for s, t, place in product(strands, strands, range(size)):
            row, column, along = s, t, place
            if dimer.bias_mode != "strand":
                row, column = int(s != t), 0
                if dimer.bias_mode == "reverse" and t == 1:
                    along = size - 1 - place
            stored = diagonal[row][column]
            value = stored[along // dimer.bias_bin]
            if dimer.normalize:
                value -= mean(stored)
            values[s, t, first + place, first + place + offset] = value
    return values


def log_omega(dimer: Cooperativity, n_letters: int, n_a: int, n_b: int) -> Pairs:
    """Return log ω of each pair of windows, spacing and bias together."""
    spacing = log_spacing(dimer.spacing, n_a, n_b)
    bias = dimer_bias(dimer, n_letters, n_a, n_b)
    return {
        key: value + spacing[key[0], key[1], key[3] - key[2]]
        for key, value in bias.items()
    }


def dimer_windows(dimer: Cooperativity, probe: Probe) -> Pairs:
    """Return the score of each pair of windows."""
    first = mode_windows(dimer.mode_a, probe)
    second = mode_windows(dimer.mode_b, probe)
    omega = log_omega(dimer, count(probe), len(first[0]), len(second[0]))
    return {
        (s, t, m, n): first[s][m] + second[t][n] + value
        for (s, t, m, n), value in omega.items()
    }


def dimer_score(dimer: Cooperativity, probe: Probe) -> float:
    """Return log Σ exp(h · pair) over all pairs of windows and strands."""
    hill = math.exp(dimer.log_hill.item())
    return log_sum(times(hill, pair) for pair in dimer_windows(dimer, probe).values())


def as_soft(probes: Iterable[Probe], like: Tensor) -> Tensor:
    """Return probes as (probes, letters, length) fractions, padding as −∞."""
    rows = []
    for probe in probes:
        n_letters = next(len(part) for part in probe if part is not None)
        rows.append([part or (NEG_INF,) * n_letters for part in probe])
    return like.new_tensor(rows).transpose(1, 2)
