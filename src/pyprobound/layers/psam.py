"""The position-specific affinity matrix (PSAM): energies of letters and letter pairs.

    log 1/K(window) = Σ_i β_i(letter_i) + Σ_{i<j, j−i≤D} β_ij(letter_i, letter_j) + bias

β = −ΔΔG/RT (natural logarithm): larger is tighter. On the reverse strand the filter is
the reverse complement.
"""

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pyprobound._typing import Length
from pyprobound.alphabets import Alphabet
from pyprobound.base import BindingOptim, Call, Phase, Step
from pyprobound.layers._betas import Betas, Edited
from pyprobound.layers._symmetry import Group, Layout, grown
from pyprobound.layers.layer import InMode, LayerSpec, OutMode

_Mapped = tuple[
    tuple[Layout, tuple[tuple[str, ...], ...]], tuple[Tensor, tuple[Tensor, ...]]
]


class PSAM(LayerSpec):
    """Energies of the letters (and letter pairs) of a footprint.

    Attributes:
        alphabet: The alphabet, None where numbers go in.
        symmetry: A signed class for each position: equal classes share their betas,
            opposite signs are reverse complements.
        betas: Mapping from external key to a 0-dimensional view of a beta.
        bias: (forward channels,) constants added to every window.
        start: Coordinate of the first position; 0 is where the footprint began its
            life, and growth to the left makes it negative.
    """

    unfreezable = Literal["all", "monomer", "pairwise"]
    trainable = {"monomer": ("betas",), "pairwise": ("betas",)}  # noqa: RUF012 see base

    def __init__(
        self,
        kernel_size: int,
        alphabet: Alphabet | None = None,
        out_channels: int | None = None,
        in_channels: int | None = None,
        pairwise_distance: int = 0,
        dilation: int = 1,
        symmetry: Sequence[int] | None = None,
        seed: Sequence[Sequence[str]] | None = None,
        seed_scale: int = 1,
        score_reverse: bool | None = None,
        shift_footprint: bool = False,
        shift_footprint_heuristic: bool = False,
        increment_footprint: bool = False,
        increment_flank: bool = False,
        increment_flank_with_footprint: bool = False,
        information_threshold: float = 0.1,
        max_kernel_size: int | None = None,
        frozen_parameters: AbstractSet[str] = frozenset(),
        normalize: bool = False,
        train_bias: bool = False,
        train_betas: bool = True,
        name: str = "",
    ) -> None:
        """Initialise with random single-letter betas and pair betas of 0.

        Args:
            kernel_size: Positions of the footprint.
            alphabet: The alphabet of the sequences; None where numbers go in.
            out_channels: Channels that come out, both strands counted; by default one
                per strand.
            in_channels: Channels that go in; by default the alphabet's letters.
            pairwise_distance: The largest distance of letter pairs; 0 for none.
            dilation: Letters from one position to the next.
            symmetry: A signed class for each position; by default 1, 2, …
            seed: For each forward channel a code per position ('-' stays random, '*'
                becomes 0).
            seed_scale: Multiplies the seeded values.
            score_reverse: Whether to score the reverse strand; by default where the
                alphabet has a complement.
            shift_footprint: Greedily shift the footprint to either side.
            shift_footprint_heuristic: Greedily centre the information.
            increment_footprint: Greedily grow the footprint by one on both sides.
            increment_flank: Greedily grow the scored flanks by one on both sides.
            increment_flank_with_footprint: Grow the flanks whenever the footprint
                grows.
            information_threshold: Bits in one of the two outermost positions that
                growth on their side requires.
            max_kernel_size: What growth may not exceed.
            frozen_parameters: Keys of betas that are never trained.
            normalize: Whether to mean-centre each position.
            train_bias: Whether to train a constant per forward channel.
            train_betas: Whether to train the betas.
            name: Shown in plans and messages.

        Raises:
            ValueError: The arguments contradict each other.
        """
        letters = _n_letters(alphabet, in_channels)
        if score_reverse is None:
            score_reverse = alphabet is not None and alphabet.complement
        strands = 2 if score_reverse else 1
        super().__init__(
            strands if out_channels is None else out_channels, letters, name=name
        )
        self.alphabet = alphabet
        self._score_reverse = score_reverse
        self._dilation = dilation
        layout = Layout(
            tuple(range(1, kernel_size + 1) if symmetry is None else symmetry),
            letters,
            pairwise_distance,
        )
        self._check(kernel_size, layout, max_kernel_size)
        self.start = 0
        self.seed = seed
        self.seed_scale = seed_scale
        self.shift_footprint = shift_footprint
        self.shift_footprint_heuristic = shift_footprint_heuristic
        self.increment_footprint = increment_footprint
        self.increment_flank = increment_flank
        self.increment_flank_with_footprint = increment_flank_with_footprint
        self.information_threshold = information_threshold
        self.max_kernel_size = max_kernel_size
        self.normalize = normalize
        self.train_bias = train_bias
        self.train_betas = train_betas
        channels = self.out_channels // strands
        self._layout = layout
        self._mapped: _Mapped | None = None
        self.betas = Betas(channels, letters, frozen_parameters)
        self.betas.hold(layout.keys, train_pairs=train_betas)
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=train_bias)
        for parameter in self.betas.all_packed():
            parameter.requires_grad_(train_betas)
        self._draw()

    def _check(
        self, kernel_size: int, layout: Layout, max_kernel_size: int | None
    ) -> None:
        if len(layout.symmetry) != kernel_size:
            msg = (
                f"symmetry {list(layout.symmetry)} has {len(layout.symmetry)} classes"
                f" for kernel_size {kernel_size}; give one per position"
            )
            raise ValueError(msg)
        if max_kernel_size is not None and kernel_size > max_kernel_size:
            msg = f"kernel_size {kernel_size} exceeds max_kernel_size {max_kernel_size}"
            raise ValueError(msg)
        if self.dilation < 1 or (self.dilation > 1 and layout.pairwise_distance):
            msg = (
                f"dilation {self.dilation} must be at least 1, and 1 with letter pairs"
                f" (pairwise_distance {layout.pairwise_distance})"
            )
            raise ValueError(msg)
        reversible = self.alphabet is None or self.alphabet.complement
        if not reversible and min(layout.symmetry) < 0:
            msg = "negative classes need an alphabet with a complement"
            raise ValueError(msg)
        if not reversible and self.score_reverse:
            msg = "score_reverse needs an alphabet with a complement"
            raise ValueError(msg)
        if self.out_channels < 1 or self.out_channels % self.n_strands:
            msg = (
                f"out_channels {self.out_channels} must be a positive multiple of the"
                f" {self.n_strands} strands scored"
            )
            raise ValueError(msg)

    # --- properties ----------------------------------------------------------------

    @property
    def symmetry(self) -> list[int]:
        """The signed class of each position."""
        return list(self._layout.symmetry)

    @property
    def kernel_size(self) -> int:
        """The number of positions."""
        return len(self._layout.symmetry)

    @property
    def dilation(self) -> int:
        """Letters from one position to the next."""
        return self._dilation

    @property
    def n_strands(self) -> int:
        """The number of strands scored: 1 or 2."""
        return 2 if self._score_reverse else 1

    @property
    def pairwise_distance(self) -> int:
        """The largest distance of letter pairs; 0 for none."""
        return self._layout.pairwise_distance

    @property
    def score_reverse(self) -> bool:
        """Whether the reverse strand is scored."""
        return self._score_reverse

    @property
    def reach(self) -> int:
        """Letters that a window covers."""
        return (self.kernel_size - 1) * self.dilation + 1

    @property
    def anchors(self) -> tuple[int, int]:
        """Where coordinate 0 of the footprint lies in a window, on either strand."""
        stop = self.start + self.kernel_size
        return -self.start * self.dilation, (stop - 1) * self.dilation

    def out_len(self, length: Length, mode: OutMode = "shape") -> Length:
        """Return the number of windows of `length` letters."""
        windows = length - (self.reach - 1)
        if isinstance(windows, Tensor):
            return windows.clamp(min=0)
        return max(0, windows)

    def in_len(self, length: Length, mode: InMode = "max") -> Length:
        """Return the letters that `length` windows cover."""
        return length + (self.reach - 1)

    @staticmethod
    def frozen_positions(
        positions: list[int], symmetry: list[int], out_channels: int, in_channels: int
    ) -> set[str]:
        """Return the keys of all single-letter betas at some positions.

        Args:
            positions: 0-based positions.
            symmetry: The signed class of each position.
            out_channels: Channels that come out.
            in_channels: Letters.
        """
        classes = {abs(symmetry[position]) for position in positions}
        return {
            f"{cls}-{index}"
            for cls in classes
            for index in range(out_channels * in_channels)
        }

    # --- starting values -----------------------------------------------------------

    @property
    def _spread(self) -> float:
        return 1 / math.sqrt(self.in_channels * self.kernel_size)

    @property
    def is_noise(self) -> bool:
        """Whether the betas are as small as a random start, and none was given."""
        if self.seed is not None:
            return False
        largest = max(
            (
                float(packed.detach().abs().max())
                for packed in self.betas.all_packed()
                if packed.numel()  # classes of pairs are listed where they come first
            ),
            default=0.0,
        )
        return largest <= self._spread

    @torch.no_grad()
    def draw(self) -> None:
        """Draw single-letter betas anew, but for those that are never trained."""
        fresh = torch.empty_like(self.betas.packed(0))
        fresh.uniform_(-self._spread, self._spread)
        self._overwrite(fresh)

    @torch.no_grad()
    def shrink(self, factor: float) -> None:
        """Multiply single-letter betas, but for those that are never trained."""
        self._overwrite(self.betas.packed(0) * factor)

    def _overwrite(self, values: Tensor) -> None:
        trained = self.betas.is_trained(0).to(values.device)
        packed = self.betas.packed(0)
        packed.copy_(torch.where(trained, values, packed))

    @torch.no_grad()
    def slide(self, by: int) -> bool:
        """Move single-letter betas to the right, those that enter becoming 0.

        Args:
            by: Positions; negative ones move to the left.

        Returns:
            Whether it could be done: not where positions share betas, where letter
            pairs would have to move too, or where betas are never trained.
        """
        free = len(set(map(abs, self.symmetry))) == self.kernel_size
        plain = free and self.pairwise_distance == 0 and not self.betas.shared
        if not plain or not bool(self.betas.is_trained(0).all()):
            return False
        read = [self._place_of_letters(cls) for cls in self.symmetry]
        old = self.betas.flat().detach().clone()
        new = torch.zeros_like(old)
        for position in range(self.kernel_size):
            if 0 <= position - by < self.kernel_size:
                new[:, read[position]] = old[:, read[position - by]]
        self.betas.write(new)
        return True

    def _place_of_letters(self, cls: int) -> Tensor:
        """Return where the letters of a class lie, as a position of it reads them."""
        where = self._where((abs(cls),))
        return where if cls > 0 else where.flip(0)

    @torch.no_grad()
    def _draw(self) -> None:
        self.betas.packed(0).uniform_(-self._spread, self._spread)
        if self.seed is None:
            return
        if len(self.seed) != self.betas.channels:
            msg = (
                f"seed has {len(self.seed)} strings for {self.betas.channels} forward"
                " channels; give one for each"
            )
            raise ValueError(msg)
        for channel, codes in enumerate(self.seed):
            self._plant(channel, codes)

    def _plant(self, channel: int, codes: Sequence[str]) -> None:
        if self.alphabet is None or len(codes) != self.kernel_size:
            msg = (
                f"seed {codes!r} needs an alphabet and one code for each of the"
                f" {self.kernel_size} positions ('-' leaves a position at random)"
            )
            raise ValueError(msg)
        n = self.in_channels
        planted: dict[int, Tensor] = {}
        for cls, code in zip(self.symmetry, codes, strict=True):
            if code == "-":
                continue
            if code not in self.alphabet.get_encoding or code == " ":
                msg = f"seed {codes!r}: {code!r} is no letter or code of the alphabet"
                raise ValueError(msg)
            chosen = torch.zeros(n, dtype=torch.bool)
            chosen[list(self.alphabet.get_encoding[code])] = True
            chosen = chosen if cls > 0 else chosen.flip(0)
            if not torch.equal(planted.setdefault(abs(cls), chosen), chosen):
                msg = f"seed {codes!r} asks for two different codes in class {abs(cls)}"
                raise ValueError(msg)
        for group, chosen in planted.items():
            start = self._layout.offsets[(group,)]
            self.betas.packed(0)[channel, start : start + n] = self._seeded(chosen)

    def _seeded(self, chosen: Tensor) -> Tensor:
        """Return betas with mean 0 and the variance of the random start, times scale.

        A fraction p of the letters gets σ·sqrt((1−p)/p), the rest −σ·sqrt(p/(1−p)).
        """
        fraction = float(chosen.double().mean())
        if fraction in {0.0, 1.0}:
            return torch.zeros(len(chosen))
        sigma = self.seed_scale * self._spread / math.sqrt(3)
        high = sigma * math.sqrt((1 - fraction) / fraction)
        low = -sigma * math.sqrt(fraction / (1 - fraction))
        return torch.where(chosen, high, low)

    # --- filters -------------------------------------------------------------------

    def get_filter(self, dist: int) -> Tensor:
        """Return the filter of single letters (0) or of pairs at a distance.

        Returns:
            (out_channels, letters, positions) for 0, else
            (out_channels, letters, letters, positions − dist). The second half of the
            channels is the reverse complement if both strands are scored.
        """
        if not 0 <= dist <= self.pairwise_distance:
            msg = (
                f"no filter at distance {dist}: 0 … {self.pairwise_distance} are there"
            )
            raise ValueError(msg)
        forward = self._forward_filter(self.betas.flat(), dist)
        return with_reverse(forward) if self.score_reverse else forward

    def _forward_filter(self, flat: Tensor, dist: int) -> Tensor:
        """Return the forward half of a filter, given all betas in their order."""
        gather = self._maps[1][dist]
        forward = flat[:, gather.to(flat.device)]
        if self.normalize:
            letters = tuple(range(1, forward.ndim - 1))
            forward = forward - forward.mean(letters, keepdim=True)
        return forward

    def filters(self) -> list[Tensor]:
        """Return the filters of single letters and of each pair distance."""
        return [self.get_filter(dist) for dist in range(self.pairwise_distance + 1)]

    @property
    def _order(self) -> Tensor:
        """Where each beta of the layout lies in `betas.flat()`."""
        return self._maps[0]

    @property
    def _maps(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The order, and for each filter where its entries lie in `betas.flat()`."""
        known = (self._layout, self.betas.layout_keys)
        if self._mapped is None or self._mapped[0] != known:
            flat = [key for keys in self.betas.layout_keys for key in keys]
            place = {key: index for index, key in enumerate(flat)}
            wanted = [key for keys in self._layout.keys for key in keys]
            order = torch.tensor([place[key] for key in wanted])
            maps = order, tuple(order[gather] for gather in self._layout.gather)
            self._mapped = (known, maps)
        return self._mapped[1]

    def get_bias(self) -> Tensor:
        """Return the constant of each channel, (out_channels,)."""
        return self.bias.repeat(self.n_strands)

    def get_information(self, position: int) -> float:
        """Return the bits of information of a position, from softmax of its betas."""
        channels = self.betas.channels
        weights = self.get_filter(0).detach()[:channels, :, position].double()
        log_p = weights.log_softmax(1)
        entropy = -(log_p.exp() * log_p.clamp(min=-1e300)).sum(1).mean()
        return (math.log(self.in_channels) - float(entropy)) / math.log(2)

    def get_dirichlet(self) -> Tensor:
        """Return Σ_groups [Σβ − n·logsumexp(β)], each class (or pair of classes) once.

        The log density, up to a constant, of a Dirichlet prior with one count for
        each letter.
        """
        flat = self.betas.flat()
        by_size: dict[int, list[Tensor]] = {}
        for group in self._layout.offsets:
            where = self._where(group)
            by_size.setdefault(len(where), []).append(where)
        total = flat.new_zeros(())
        for size, groups in by_size.items():
            where = torch.cat(groups).to(flat.device)
            betas = flat.index_select(1, where).unflatten(1, (-1, size))
            total = total + betas.sum() - size * betas.logsumexp(2).sum()
        return total

    # --- training ------------------------------------------------------------------

    def _unfreeze_all(self) -> None:
        self.bias.requires_grad_(self.train_bias)
        for parameter in self.betas.all_packed():
            parameter.requires_grad_(self.train_betas)

    def _unfreeze_word(self, word: str) -> None:
        tensors = self.betas.all_packed()
        for parameter in tensors[:1] if word == "monomer" else tensors[1:]:
            parameter.requires_grad_(self.train_betas)

    def update_binding_optim(self, binding_optim: BindingOptim) -> BindingOptim:
        """Add the steps for the betas and the greedy ones that are switched on."""
        steps = binding_optim.steps
        letters = Call(self, "unfreeze", {"parameter": "monomer"})
        steps.append(Step([letters], phase=Phase.LETTERS))
        modes = list(dict.fromkeys(path[-1] for path in binding_optim.ancestry))
        both = {"left_shift": 1, "right_shift": 1}
        flanks = [Call(mode, "update_read_length", dict(both)) for mode in modes]
        grow = Call(self, "update_footprint", both | {"check_threshold": True})
        if self.increment_flank:
            steps.append(Step(flanks, True, Phase.FLANK, self))
        if self.shift_footprint_heuristic:
            centre = Call(self, "shift_heuristic", {})
            steps.append(Step([centre], True, Phase.CENTRE, self))
        if self.shift_footprint:
            for phase, by in ((Phase.SHIFT_LEFT, 1), (Phase.SHIFT_RIGHT, -1)):
                shift = {"left_shift": by, "right_shift": -by}
                call = Call(self, "update_footprint", shift)
                steps.append(Step([call], True, phase, self))
        if self.increment_footprint or self.increment_flank_with_footprint:
            with_flanks = flanks if self.increment_flank_with_footprint else []
            steps.append(Step([grow, *with_flanks], True, Phase.GROW, self))
        if self.pairwise_distance:
            pairs = Call(self, "unfreeze", {"parameter": "pairwise"})
            steps.append(Step([pairs], phase=Phase.PAIRS))
        return binding_optim

    # --- edits ---------------------------------------------------------------------

    def update_params(self, pairwise_grad: bool = False) -> Edited:
        """Hold exactly the betas that the symmetry asks for, new ones at 0.

        Args:
            pairwise_grad: Whether pair betas of a new distance are trained.

        Returns:
            The values taken away and the values added.
        """
        return self.betas.hold(self._layout.keys, train_pairs=pairwise_grad)

    def update_footprint(
        self,
        left_shift: int = 0,
        right_shift: int = 0,
        check_threshold: bool = False,
    ) -> Edited:
        """Grow (positive) or shrink (negative) the footprint on either side.

        New positions get new classes and betas of 0. Growing and shrinking back
        restores every score.

        Args:
            left_shift: Positions added on the left.
            right_shift: Positions added on the right.
            check_threshold: Refuse growth on a side where neither of the two
                outermost positions has information_threshold bits.

        Returns:
            The values of the betas taken away and of those added.

        Raises:
            ValueError: The edit is refused; nothing is changed then.
        """
        size = self.kernel_size + left_shift + right_shift
        self._check_footprint(size, left_shift, right_shift)
        if check_threshold:
            self._check_information(left_shift, right_shift)
        symmetry = grown(self.symmetry, left_shift, right_shift)
        self._layout = Layout(symmetry, self.in_channels, self.pairwise_distance)
        self.start -= left_shift
        return self.betas.hold(self._layout.keys)

    def _check_footprint(self, size: int, left: int, right: int) -> None:
        limit = self.max_kernel_size
        if limit is not None and size > limit:
            msg = f"{self}: {size} positions would exceed max_kernel_size {limit}"
            raise ValueError(msg)
        if size <= self.pairwise_distance:
            msg = (
                f"{self}: {size} positions are too few for pairwise_distance"
                f" {self.pairwise_distance}; keep more, or choose a smaller distance"
            )
            raise ValueError(msg)
        taken = max(0, -left) + max(0, -right)
        if taken >= self.kernel_size:
            msg = (
                f"{self}: taking off {taken} positions leaves none of the"
                f" {self.kernel_size} there are; keep at least one"
            )
            raise ValueError(msg)
        reach = (size - 1) * self.dilation + 1
        for layer in self.layers:
            if size > self.kernel_size and reach > layer.min_input_length:
                msg = (
                    f"kernel_size {size} exceeds the shortest read"
                    f" ({layer.min_input_length}); score longer flanks first"
                )
                raise ValueError(msg)

    def _check_information(self, left: int, right: int) -> None:
        last = self.kernel_size - 1
        for side, by, ends in (
            ("left", left, (0, 1)),
            ("right", right, (last, last - 1)),
        ):
            bits = max(self.get_information(end) for end in ends if 0 <= end <= last)
            if by > 0 and bits < self.information_threshold:
                msg = (
                    f"{self}: the two outermost positions on the {side} have {bits:.3g}"
                    f" bits, less than information_threshold"
                    f" {self.information_threshold}"
                )
                raise ValueError(msg)

    def shift_heuristic(self) -> Edited:
        """Shift the footprint so that its information is centred.

        Returns:
            The values of the betas taken away and of those added.
        """
        bits = [self.get_information(position) for position in range(self.kernel_size)]
        if sum(bits) == 0:
            return (), ()
        mean = sum(i * b for i, b in enumerate(bits)) / sum(bits)
        shift = round(mean - (self.kernel_size - 1) / 2)
        if shift == 0:
            return (), ()
        return self.update_footprint(left_shift=-shift, right_shift=shift)

    def make_indel_psam(
        self, symmetry: Sequence[int] | None = None, name: str | None = None
    ) -> Self:
        """Return a new PSAM that shares the betas of the classes it has in common.

        Args:
            symmetry: The new PSAM's classes; [1, 2, 5, 3, 4] inserts a position of
                the new class 5 (betas of 0), [1, 2, 4] deletes one. By default this
                one's.
            name: By default this one's with "-indel".
        """
        classes = self.symmetry if symmetry is None else list(symmetry)
        new = type(self)(
            len(classes),
            alphabet=self.alphabet,
            out_channels=self.out_channels,
            in_channels=self.in_channels,
            pairwise_distance=self.pairwise_distance,
            dilation=self.dilation,
            symmetry=classes,
            score_reverse=self.score_reverse,
            information_threshold=self.information_threshold,
            max_kernel_size=self.max_kernel_size,
            normalize=self.normalize,
            train_bias=self.train_bias,
            train_betas=self.train_betas,
            name=f"{self.name}-indel" if name is None else name,
        )
        self.betas.shared = True
        new.betas = self.betas
        self.betas.hold(new._layout.keys)  # noqa: SLF001 another PSAM's own
        return new

    @torch.no_grad()
    def fix_gauge(self) -> None:
        """Move what can be said more simply, leaving the score of letters unchanged.

        The single-letter content of pair features goes to the single-letter betas,
        and the mean of each position (and pair) to the bias, betas that are never
        trained included. Where symmetry ties positions of which only some take part
        in a pair, that content stays. ('-', which scores 0 at any position, is no
        letter: windows with it change.)

        Raises:
            ValueError: The betas are shared with another PSAM, whose scores would
                change.
        """
        if self.betas.shared:
            msg = f"{self} shares its betas with another PSAM; fix the gauge of a copy"
            raise ValueError(msg)
        flat, constant = self._simplified()
        self.betas.write(flat)
        self.bias.add_(constant)

    def gauge_fixed(self) -> tuple[list[Tensor], Tensor]:
        """Return energies as `fix_gauge` would leave them, changing nothing.

        Returns:
            The filters of the forward strand by pair distance, (forward channels,
            letters, …, positions − distance), and what every window's score then
            lacks, (forward channels,); all of them differentiable.
        """
        flat, constant = self._simplified()
        distances = range(self.pairwise_distance + 1)
        filters = [self._forward_filter(flat, distance) for distance in distances]
        return filters, self.bias + constant

    def _simplified(self) -> tuple[Tensor, Tensor]:
        """Return the betas in the simple gauge, and what the bias takes up."""
        flat = self.betas.flat().clone()
        constant = torch.zeros_like(self.bias)
        for group in self._layout.offsets:
            if len(group) == 2:
                constant = constant + self._simplify_pair(flat, group)
        for group in self._layout.groups[0]:
            where = self._where(group)
            mean = flat[:, where].mean(1)
            flat[:, where] -= mean[:, None]
            constant = constant + mean * len(self._positions_of(group[0]))
        # With normalize the mean is taken off whenever a filter is read.
        return flat, torch.zeros_like(constant) if self.normalize else constant

    def _simplify_pair(self, flat: Tensor, group: Group) -> Tensor:
        """Move the content of a pair out of it, in `flat`; return its mean."""
        n, where = self.in_channels, self._where(group)
        rows, columns = self._pair_letters(group)
        table = flat.new_zeros(self.betas.channels, n, n)
        table[:, rows, columns] = flat[:, where]
        if group[0] == group[1]:
            table[:, columns, rows] = flat[:, where]
        places = self._places_of_pair(group)
        mean = table.mean((1, 2), keepdim=True)
        table = table - mean
        content = table.mean(2), table.mean(1)
        for side, cls in enumerate(group if group[0] != group[1] else group[:1]):
            seen = [
                sum(position in place for place in places)
                for position in self._positions_of(cls)
            ]
            if len(set(seen)) > 1:
                continue
            flat[:, self._where((cls,))] += content[side] * seen[0]
            if group[0] != group[1]:
                table = table - content[side].unsqueeze(2 - side)
            else:
                table = table - content[0][:, :, None] - content[0][:, None, :]
        flat[:, where] = table[:, rows, columns]
        return mean[:, 0, 0] * len(places)

    def _where(self, group: Group) -> Tensor:
        start = self._layout.offsets[group]
        return self._order[start : start + self._layout.size(group)]

    def _pair_letters(self, group: Group) -> tuple[Tensor, Tensor]:
        index = torch.tensor(list(self._layout.indices(group)))
        return index // self.in_channels, index % self.in_channels

    def _positions_of(self, cls: int) -> list[int]:
        return [i for i, other in enumerate(self.symmetry) if abs(other) == cls]

    def _places_of_pair(self, group: Group) -> list[tuple[int, int]]:
        classes = [abs(cls) for cls in self.symmetry]
        return [
            (i, i + distance)
            for distance in range(1, self.pairwise_distance + 1)
            for i in range(self.kernel_size - distance)
            if tuple(sorted((classes[i], classes[i + distance]))) == group
        ]

    # --- checkpoints ---------------------------------------------------------------

    def structure(self) -> dict[str, Any]:
        """Return the symmetry, the footprint's coordinate and the betas' keys."""
        return {
            "symmetry": self.symmetry,
            "pairwise_distance": self.pairwise_distance,
            "start": self.start,
            "keys": [list(keys) for keys in self.betas.layout_keys],
        }

    def owns(self, key: str) -> bool:
        """Tell whether a tensor of PyProBound 1.x is a beta, the symmetry or bias."""
        return key in ("symmetry", "bias") or _A_BETA.fullmatch(key) is not None

    def adopt_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take over symmetry and letter pairs, and pack the betas.

        Raises:
            ValueError: The betas are not those of such a symmetry.
        """
        symmetry = tuple(int(cls) for cls in tensors["symmetry"])
        values = {
            key.removeprefix("betas."): value
            for key, value in tensors.items()
            if key.startswith("betas.")
        }
        if symmetry != tuple(self.symmetry) or set(values) != set(self.betas):
            self._layout = self._layout_of(symmetry, set(values))
            self.betas.adopt_keys(self._layout.keys)
        self.start = 0
        return {
            "bias": tensors["bias"].reshape(self.bias.shape),
            **{f"betas.{i}": x for i, x in enumerate(self.betas.pack(values))},
        }

    def _layout_of(self, symmetry: tuple[int, ...], betas: AbstractSet[str]) -> Layout:
        """Return the layout of betas with the smallest distance that has them all."""
        channels = range(self.betas.channels)
        for distance in range(len(symmetry)):
            layout = Layout(symmetry, self.in_channels, distance)
            keys = [key for keys in layout.keys for key in keys]
            if {self.betas.external(key, c) for key in keys for c in channels} == betas:
                return layout
        msg = f"{self}: its betas do not follow from the symmetry {list(symmetry)}"
        raise ValueError(msg)

    def adopt_structure(self, structure: Mapping[str, Any]) -> None:
        """Take over the symmetry, the footprint's coordinate and the betas' keys."""
        symmetry = tuple(structure["symmetry"])
        distance = structure["pairwise_distance"]
        self._layout = Layout(symmetry, self.in_channels, distance)
        self.start = structure["start"]
        self.betas.adopt_keys(structure["keys"])


_A_BETA = re.compile(r"betas\.\d+(-\d+){1,2}")


def with_reverse(forward: Tensor) -> Tensor:
    """Return filters with those of the reverse strand as further channels.

    Args:
        forward: (channels, letters, positions), or (channels, letters, letters,
            positions) of pairs.
    """
    # Read from the other end; in a pair the second letter then comes first.
    reverse = forward.flip(tuple(range(1, forward.ndim)))
    if forward.ndim == 4:
        reverse = reverse.transpose(1, 2)
    return torch.cat([forward, reverse])


def _n_letters(alphabet: Alphabet | None, in_channels: int | None) -> int:
    if alphabet is None:
        if in_channels is None:
            msg = "give an alphabet, or in_channels where numbers go in"
            raise ValueError(msg)
        return in_channels
    letters = len(alphabet.alphabet)
    if in_channels not in {None, letters}:
        msg = f"in_channels {in_channels} contradicts an alphabet of {letters} letters"
        raise ValueError(msg)
    return letters
