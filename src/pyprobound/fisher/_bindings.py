"""Scores of bindings and their derivatives, probe by probe.

For a mode, with h the Hill coefficient, s the scores of windows and X the log sum,

    π(x) = exp(h·s(x) − X),      ∂X/∂β = h Σ_x π(x) ∂s(x)/∂β,      ∂X/∂log h = h Σ π s

and ∂s/∂β counts letters: the expected features under the posterior over windows. For a
dimer, π runs over pairs of windows; its marginals are the posteriors of the two modes.
Whatever has no such form is differentiated twice by autograd, one column at a time.
"""

import abc
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from pyprobound._chunking import memory_budget
from pyprobound._evaluation import Evaluation
from pyprobound._numerics import NEG_INF
from pyprobound.base import Binding
from pyprobound.cooperativity import Cooperativity
from pyprobound.fisher._linear import Laid, LinearMap
from pyprobound.fisher._parameters import FreeParameters
from pyprobound.kernels import dimer_posterior, window_features, window_posterior
from pyprobound.layers.conv0d import Conv0d
from pyprobound.layers.conv1d import Conv1d
from pyprobound.mode import Mode

MOST_PROBES = 4096
"""Probes worked on at once: what is made of them should stay in the cache."""

Pieces: TypeAlias = Callable[[slice], Tensor]
"""Maps a piece of the probes to what is made of them, (n, …)."""

Adder: TypeAlias = Callable[[slice, Tensor, Tensor], None]
"""Adds to an output what a piece of the probes, and weights, make of it."""


class ScoreDerivatives(abc.ABC):
    """The derivatives of one binding's log scores for the probes of a table.

    Attributes:
        binding: The binding.
        columns: The free parameters on which it depends, ascending.
        is_closed: Whether a pass over the probes gives all columns.
    """

    is_closed = True

    def __init__(self, binding: Binding, columns: Tensor, seqs: Tensor) -> None:
        """Note what is differentiated by what."""
        self.binding = binding
        self.columns = columns
        self.seqs = seqs

    @abc.abstractmethod
    def at(self, log_scores: Tensor) -> Pieces:
        """Return the derivatives at the current parameters, (n, columns) float64.

        Args:
            log_scores: (N,) the log scores of all probes.
        """

    @abc.abstractmethod
    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one probe."""


def derivatives_of(
    binding: Binding, free: FreeParameters, seqs: Tensor
) -> ScoreDerivatives | None:
    """Return the derivatives of a binding, None where it depends on nothing free.

    Args:
        binding: A mode, a dimer, or any other.
        free: The free parameters.
        seqs: (N, length) the probes.
    """
    columns = _columns(binding, free)
    if len(columns) == 0:
        return None
    if isinstance(binding, Mode) and _is_plain_mode(binding):
        return _ModeDerivatives(binding, free, columns, seqs)
    if isinstance(binding, Cooperativity) and _is_plain_dimer(binding):
        return _DimerDerivatives(binding, free, columns, seqs)
    return _AutogradDerivatives(binding, free, columns, seqs)


def _columns(binding: Binding, free: FreeParameters) -> Tensor:
    known = [free.columns_of(parameter) for parameter in free.among(binding)]
    if not known:
        return torch.zeros(0, dtype=torch.int64)
    columns: Tensor = torch.cat(known).unique()
    return columns[columns >= 0]


def _is_plain_mode(mode: Mode) -> bool:
    """Tell whether a mode ends in a PSAM sliding along letters, as it is written."""
    last = mode.chain[-1]
    return (
        type(mode).evaluate is Mode.evaluate
        and type(mode).evaluate_windows is Mode.evaluate_windows
        and isinstance(last, Conv1d)
        and type(last).forward is Conv1d.forward
        and type(last).log_sum is Conv1d.log_sum
        and last.alphabet is not None
        and not any(list(layer.parameters()) for layer in mode.chain[:-1])
    )


def is_windowless(binding: Binding) -> bool:
    """Tell whether a binding scores any number of probes without keeping windows."""
    return isinstance(binding, Mode) and (
        _is_plain_mode(binding) or isinstance(binding.chain[-1], Conv0d)
    )


def _is_plain_dimer(dimer: Cooperativity) -> bool:
    return (
        type(dimer).evaluate is Cooperativity.evaluate
        and _is_plain_mode(dimer.mode_a)
        and _is_plain_mode(dimer.mode_b)
    )


# --- modes -------------------------------------------------------------------------


class _WindowDerivatives:
    """The derivatives of a weighted sum of the window scores of a PSAM.

    Attributes:
        mode: The mode.
        conv: Its last layer.
        codes: (N, length) what the PSAM slides along.
    """

    def __init__(
        self, mode: Mode, free: FreeParameters, columns: Tensor, seqs: Tensor
    ) -> None:
        conv = mode.chain[-1]
        assert isinstance(conv, Conv1d)
        self.mode, self.conv, self._n_columns = mode, conv, len(columns)
        with torch.no_grad():
            self.codes = mode.evaluate_input(Evaluation(seqs))
        with torch.enable_grad():
            filters, bias = conv._filters()
            posbias, _ = conv._bias_of(self.codes[:1])
            flat = torch.cat([weights.flatten() for weights in filters])
            maps = [LinearMap.of(part, free) for part in (flat, bias)]
            if posbias is not None:
                maps.append(LinearMap.of(posbias, free))
        device = bias.device
        laid = [each.laid(columns, device) for each in maps]
        self._filters, self._bias = laid[:2]
        self._posbias = laid[2] if len(laid) > 2 and len(maps[2].entry) else None
        self._has_bias = len(maps[1].entry) > 0
        self._has_filters = len(maps[0].entry) > 0
        self._shapes = [weights.shape for weights in filters]
        self._places = self._places_of(self._filters, device)
        assert conv.alphabet is not None
        self._embedding = conv.alphabet.embedding(torch.float64).to(device)

    def _places_of(self, filters: Laid, device: torch.device) -> list[Tensor]:
        """Return the column of each entry, or a number for each if columns mix them."""
        sizes = [shape.numel() for shape in self._shapes]
        places = filters.places
        if places is None:
            places = torch.arange(sum(sizes), device=device)
        return [
            part.view(shape)
            for part, shape in zip(
                torch.split(places, sizes), self._shapes, strict=True
            )
        ]

    def posterior(self) -> Pieces:
        """Return what gives windows their weights, at the current parameters."""
        conv, seqs = self.conv, self.codes
        with torch.no_grad():
            filters, bias = conv._filters()
            embedding, pad = conv._codes(bias)
            log_bias, group = conv._bias_of(seqs)
            return window_posterior(
                seqs,
                filters,
                embedding,
                pad,
                dilation=conv.layer_spec.dilation,
                bias=bias,
                log_bias=log_bias,
                group=group,
                hill=self.mode.hill,
            )

    def adder(self) -> Adder:
        """Return what adds Σ_x w(x) ∂s(x)/∂θ of each probe to an output.

        Returns:
            A function of a piece of the probes, of weights (n, channels, windows), 0
            where a window is absent, and of the output (n, columns).
        """
        conv, matrix = self.conv, self._filters.matrix
        add_features = window_features(
            self.codes,
            self._places,
            self._embedding,
            dilation=conv.layer_spec.dilation,
        )

        def add(rows: slice, weights: Tensor, out: Tensor) -> None:
            if self._has_filters and matrix is None:
                add_features(rows, weights, out)
            elif self._has_filters:
                assert matrix is not None
                features = out.new_zeros(len(out), len(matrix))
                add_features(rows, weights, features)
                out += features @ matrix
            if self._has_bias:
                self._bias.add(weights.sum(2), out)
            if self._posbias is not None:
                _, group = conv._bias_of(self.codes[rows])
                self._posbias.add_grouped(weights.flatten(1), group, out)

        return add

    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one probe."""
        n_entries = sum(shape.numel() for shape in self._shapes)
        windows = self.conv.out_channels * self.codes.shape[1]
        return 8 * (2 * n_entries + 4 * windows + 2 * self._n_columns)


class _ModeDerivatives(ScoreDerivatives):
    """A PSAM summed over windows."""

    def __init__(
        self, mode: Mode, free: FreeParameters, columns: Tensor, seqs: Tensor
    ) -> None:
        super().__init__(mode, columns, seqs)
        self._mode = mode
        self._windows = _WindowDerivatives(mode, free, columns, seqs)
        self._hill = _place(free.column_of(mode.log_hill), columns)

    def at(self, log_scores: Tensor) -> Pieces:
        """Return the derivatives, (n, columns) float64."""
        posterior, add = self._windows.posterior(), self._windows.adder()
        hill = self._mode.hill

        @torch.no_grad()
        def derivatives(rows: slice) -> Tensor:
            weights = posterior(rows)
            out = _empty(len(weights), self.columns, weights.device)
            if self._hill is not None:
                # h·s is log π + X, summed with π as weights
                found = log_scores[rows] + torch.xlogy(weights, weights).sum(
                    (1, 2), dtype=out.dtype
                )
                out[:, self._hill] = found.masked_fill(log_scores[rows] == NEG_INF, 0.0)
            if hill is not None:
                weights = hill * weights
            add(rows, weights, out)
            return out

        return derivatives

    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one probe."""
        return self._windows.bytes_per_probe()


class _DimerDerivatives(ScoreDerivatives):
    """Two PSAMs summed over pairs of windows."""

    def __init__(
        self, dimer: Cooperativity, free: FreeParameters, columns: Tensor, seqs: Tensor
    ) -> None:
        super().__init__(dimer, columns, seqs)
        self._dimer = dimer
        modes = [dimer.mode_a, dimer.mode_b]
        self._windows = [
            _WindowDerivatives(mode, free, columns, seqs)
            if len(_columns(mode, free))
            else None
            for mode in modes
        ]
        self._hill = _place(free.column_of(dimer.log_hill), columns)
        # ω: the column of each entry, or a map if columns mix entries
        self._places = torch.zeros(0, dtype=torch.int64, device=seqs.device)
        self._mixed: Laid | None = None
        with torch.enable_grad():
            dimer.settle()
            bias = [b for b in dimer.log_posbias if free.has(b)]
            if bias or free.has(dimer.spacing.log_spacing):
                log_omega = _omega_of_all_groups(dimer, seqs)
                laid = LinearMap.of(log_omega, free).laid(columns, log_omega.device)
                if laid.places is None:
                    self._mixed = laid
                else:
                    self._places = laid.places

    def at(self, log_scores: Tensor) -> Pieces:
        """Return the derivatives, (n, columns) float64."""
        adders = [None if own is None else own.adder() for own in self._windows]

        @torch.no_grad()
        def derivatives(rows: slice) -> Tensor:
            return self._of(rows, log_scores[rows], adders)

        return derivatives

    def _of(
        self, rows: slice, log_scores: Tensor, adders: Sequence[Adder | None]
    ) -> Tensor:
        dimer = self._dimer
        evaluation = Evaluation(self.seqs[rows])
        log_omega, group = _omega_and_group(dimer, evaluation)
        windows = [
            evaluation(mode.evaluate_windows) for mode in (dimer.mode_a, dimer.mode_b)
        ]
        n_columns, hill = len(self.columns), dimer.hill
        found = dimer_posterior(
            windows[0],
            windows[1],
            log_omega,
            log_scores,
            self._places.view(-1, *log_omega.shape[1:]),
            n_columns,
            group=group,
            hill=hill,
        )
        power = 1.0 if hill is None else float(hill)
        out = power * found.of_places
        if self._mixed is not None:
            pairs = windows[0][:, :, None, :, None] + windows[1][:, None, :, None, :]
            pairs = pairs + (log_omega if group is None else log_omega[group])
            weights = power * _posterior(power * pairs, log_scores)
            self._mixed.add_grouped(weights.flatten(1), group, out)
        shares = found.of_a, found.of_b
        if self._hill is not None:
            # h·a, h·b and h·ω of the pairs, each summed with π as weights
            out[:, self._hill] = found.energy + sum(
                (share * power * scores.masked_fill(share == 0, 0.0)).sum(
                    (1, 2), dtype=out.dtype
                )
                for share, scores in zip(shares, windows, strict=True)
            )
        for add, share in zip(adders, shares, strict=True):
            if add is not None:
                add(rows, power * share, out)
        return out

    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one probe."""
        first, second = self._dimer.mode_a, self._dimer.mode_b
        length = self.seqs.shape[1]
        windows_a = first.out_channels * first.out_len(length)
        windows_b = second.out_channels * second.out_len(length)
        own = [w.bytes_per_probe() for w in self._windows if w is not None]
        n_scores = 4 * (windows_a + windows_b)
        if self._mixed is not None:
            n_scores += 4 * windows_a * windows_b
        return 8 * (n_scores + 3 * len(self.columns)) + sum(own)


def _omega_of_all_groups(dimer: Cooperativity, seqs: Tensor) -> Tensor:
    """Return log ω of every group of probes, (groups, Sa, Sb, La, Lb), differentiable.

    Groups are all combinations of lengths (and one more without bias), where the bias
    depends on them.
    """
    spacing = dimer.spacing.get_log_spacing_matrix(*_window_numbers(dimer, seqs))
    if not dimer._is_biased:
        return spacing[None]
    n_a, n_b = spacing.shape[-2:]
    bias = dimer._concatenated()
    flat = bias.flatten(0, 1)
    if len(flat) > 1:
        flat = torch.nn.functional.pad(flat, (0, 0, 0, 0, 0, 1))
    return dimer._read(flat)[..., :n_a, :n_b] + spacing


def _window_numbers(dimer: Cooperativity, seqs: Tensor) -> tuple[int, int]:
    length = seqs.shape[-1]
    return dimer.mode_a.out_len(length), dimer.mode_b.out_len(length)


def _omega_and_group(
    dimer: Cooperativity, evaluation: Evaluation
) -> tuple[Tensor, Tensor | None]:
    """Return log ω of every group, and the group of each probe."""
    log_omega = _omega_of_all_groups(dimer, evaluation.seqs)
    if len(log_omega) == 1:
        return log_omega, None
    n_b = dimer._concatenated().shape[1]
    groups = []
    known = torch.ones(len(evaluation.seqs), dtype=torch.bool, device=log_omega.device)
    for mode in (dimer.mode_a, dimer.mode_b):
        lengths = evaluation(mode.evaluate_lengths)
        low, high = mode.min_input_length, mode.max_input_length
        known &= (lengths >= low) & (lengths <= high)
        groups.append(lengths - low)
    group = torch.where(known, groups[0] * n_b + groups[1], len(log_omega) - 1)
    return log_omega, group


def _place(column: int | None, columns: Tensor) -> int | None:
    return None if column is None else int(torch.searchsorted(columns, column))


def _empty(n_probes: int, columns: Tensor, device: torch.device) -> Tensor:
    shape = n_probes, len(columns)
    return torch.zeros(shape, dtype=torch.float64, device=device)


def _posterior(scaled: Tensor, log_scores: Tensor) -> Tensor:
    """Return exp(scaled − log sum), 0 where there is nothing to sum."""
    nothing = log_scores == NEG_INF
    total = log_scores.masked_fill(nothing, 0.0).to(scaled.dtype)
    lead = (-1, *[1] * (scaled.ndim - 1))
    return (scaled - total.view(lead)).exp()


# --- anything else -----------------------------------------------------------------


class _AutogradDerivatives(ScoreDerivatives):
    """Any binding: columns by differentiating twice.

    g(u) = Σ_i u_i ∂X_i/∂θ is linear in u, so that ∂g_p/∂u is the column of θ_p.
    """

    is_closed = False

    def __init__(
        self, binding: Binding, free: FreeParameters, columns: Tensor, seqs: Tensor
    ) -> None:
        super().__init__(binding, columns, seqs)
        self._tensors = free.among(binding)
        known = [free.columns_of(parameter) for parameter in self._tensors]
        self._places = [
            (index, int(entry), int(torch.searchsorted(columns, column[entry])))
            for index, column in enumerate(known)
            for entry in (column >= 0).nonzero().squeeze(1)
        ]

    def at(self, log_scores: Tensor) -> Pieces:  # noqa: ARG002 not needed
        """Return the derivatives, (n, columns) float64."""

        def derivatives(rows: slice) -> Tensor:
            with torch.enable_grad():
                values = Evaluation(self.seqs[rows])(self.binding.evaluate)
            out = _empty(len(values), self.columns, values.device)
            for column, found in columns_of(values, self._tensors, self._places):
                out[:, column] = found
            return out

        return derivatives

    def bytes_per_probe(self) -> int:
        """Bound the temporaries of one probe."""
        return 8 * (4 * self.binding.max_embedding_size() + len(self.columns))


def columns_of(
    values: Tensor,
    tensors: Sequence[Tensor],
    places: Sequence[tuple[int, int, int]],
) -> list[tuple[int, Tensor]]:
    """Return the derivatives of values with respect to single entries.

    Args:
        values: Any shape, each of them independent of the others.
        tensors: What they were made of.
        places: (tensor, entry, column) of the entries.

    Returns:
        Column and derivative, shaped as `values`, of each entry.
    """
    if not (values.requires_grad and places):
        return []
    with torch.enable_grad():
        u = torch.zeros_like(values, requires_grad=True)
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            values, tensors, u, create_graph=True, allow_unused=True
        )
    found = []
    for index, entry, column in places:
        gradient = gradients[index]
        if gradient is None or not gradient.requires_grad:
            continue
        (derivative,) = torch.autograd.grad(
            gradient.flatten()[entry], u, retain_graph=True
        )
        found.append((column, derivative.detach()))
    return found


def in_chunks(n_probes: int, bytes_per_probe: int) -> list[slice]:
    """Return the pieces in which probes are worked through."""
    step = min(MOST_PROBES, max(1, memory_budget() // max(1, 4 * bytes_per_probe)))
    return [slice(i, min(i + step, n_probes)) for i in range(0, n_probes, step)]
