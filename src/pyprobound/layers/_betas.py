"""Packed betas: one tensor per pair distance, seen as a mapping from external keys.

The only place that knows both the external keys ("1-0", "1-2-5") and the packing.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import torch
from torch import Tensor, nn

from pyprobound.base import Component

Edited = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""The values of the betas that an edit took away, and of those that it added."""


class Betas(Component):
    """The betas of a PSAM, or of several that share them.

    A mapping from external key to a 0-dimensional view of a parameter. Reading gives
    the value; writing in place under ``torch.no_grad()`` reaches the parameter:
    ``psam.betas["3-0"].fill_(1.0)``. With several forward channels the last part of
    the key is channel·(letters or pairs) + index.

    Attributes:
        frozen: Keys of betas that are never trained.
        shared: Whether several PSAMs hold these betas; none is dropped then.
    """

    def __init__(self, channels: int, n_letters: int, frozen: AbstractSet[str]) -> None:
        """Start without betas."""
        super().__init__()
        self.channels = channels
        self.n_letters = n_letters
        self.frozen = frozenset(frozen)
        self.shared = False
        self._keys: tuple[tuple[str, ...], ...] = ()

    def components(self) -> Iterator[Component]:
        """Iterate over no children."""
        return iter(())

    # --- the mapping ---------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of betas."""
        return self.channels * sum(map(len, self._keys))

    def __bool__(self) -> bool:
        """Stay true, as a module is, without betas too."""
        return True

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys: single letters first, then pairs by distance."""
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is such a beta."""
        return key in self._places

    def __getitem__(self, key: str) -> Tensor:
        """Return the view of one beta.

        Raises:
            KeyError: There is no such beta.
        """
        if key not in self._places:
            msg = f"no beta {key!r}; keys look like {next(iter(self), '1-0')!r}"
            raise KeyError(msg)
        distance, channel, index = self._places[key]
        return self.packed(distance)[channel, index]

    def keys(self) -> list[str]:
        """Return the external keys."""
        return list(self)

    def values(self) -> list[Tensor]:
        """Return the views, in the order of the keys."""
        return [self[key] for key in self]

    def items(self) -> list[tuple[str, Tensor]]:
        """Return (key, view) pairs."""
        return [(key, self[key]) for key in self]

    @cached_property
    def _places(self) -> dict[str, tuple[int, int, int]]:
        return {
            self.external(key, channel): (distance, channel, index)
            for distance, keys in enumerate(self._keys)
            for channel in range(self.channels)
            for index, key in enumerate(keys)
        }

    def external(self, key: str, channel: int) -> str:
        """Return the key of a channel's beta, from that of the first channel's."""
        if channel == 0:
            return key
        *classes, index = key.split("-")
        size = self.n_letters ** len(classes)
        return "-".join((*classes, str(channel * size + int(index))))

    # --- the packing ---------------------------------------------------------------

    def packed(self, distance: int) -> nn.Parameter:
        """Return the tensor of one pair distance, (forward channels, betas)."""
        parameter = self._parameters[str(distance)]
        assert parameter is not None
        return parameter

    def all_packed(self) -> list[nn.Parameter]:
        """Return the tensors of all distances."""
        return [self.packed(distance) for distance in range(len(self._keys))]

    def flat(self) -> Tensor:
        """Return the betas of all distances, (forward channels, betas)."""
        return torch.cat([values for _, values in self.own_values()], 1)

    def own_values(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over the packed tensors, betas that are never trained detached."""
        for distance, parameter in enumerate(self.all_packed()):
            mask = self._frozen_mask[distance]
            if mask is None:
                yield str(distance), parameter
                continue
            yield (
                str(distance),
                torch.where(mask.to(parameter.device), parameter.detach(), parameter),
            )

    @cached_property
    def _frozen_mask(self) -> list[Tensor | None]:
        masks: list[Tensor | None] = []
        for keys in self._keys:
            frozen = [
                [self.external(key, channel) in self.frozen for key in keys]
                for channel in range(self.channels)
            ]
            mask = torch.tensor(frozen, dtype=torch.bool)
            masks.append(mask if bool(mask.any()) else None)
        return masks

    def is_trained(self, distance: int) -> Tensor:
        """Return which betas may be trained, (forward channels, betas)."""
        mask = self._frozen_mask[distance]
        if mask is None:
            return torch.ones_like(self.packed(distance), dtype=torch.bool)
        return ~mask

    @property
    def layout_keys(self) -> tuple[tuple[str, ...], ...]:
        """The external keys of the first forward channel, by distance."""
        return self._keys

    def write(self, flat: Tensor) -> None:
        """Set the betas of all distances to `flat`, (forward channels, betas)."""
        sizes = [len(keys) for keys in self._keys]
        with torch.no_grad():
            for parameter, values in zip(
                self.all_packed(), torch.split(flat, sizes, 1), strict=True
            ):
                parameter.copy_(values)

    def hold(
        self, wanted: Sequence[Sequence[str]], *, train_pairs: bool | None = None
    ) -> Edited:
        """Hold the betas wanted, new ones at 0; drop others unless they are shared.

        Args:
            wanted: External keys of the first forward channel, by distance.
            train_pairs: Whether tensors of new pair distances are trained; by default
                like the pairs that are there.

        Returns:
            The values taken away and added, each (forward channels,).
        """
        old = {
            key: self.packed(distance).detach()[:, index]
            for distance, keys in enumerate(self._keys)
            for index, key in enumerate(keys)
        }
        names = self._with_shared(wanted) if self.shared else wanted
        trained = [parameter.requires_grad for parameter in self.all_packed()]
        if train_pairs is None:
            train_pairs = len(trained) > 1 and trained[1]
        like = self.packed(0) if self._keys else torch.zeros(())
        zero = like.detach().new_zeros(self.channels)
        for distance, keys in enumerate(names):
            columns = [old.get(key, zero) for key in keys]
            data = torch.stack(columns, 1) if columns else zero[:, None][:, :0].clone()
            self._lay(distance, data, train=train_pairs if distance else True)
        for distance in range(len(names), len(self._keys)):
            del self._parameters[str(distance)]
        self.set_keys(names)
        kept = {key for keys in names for key in keys}
        removed = tuple(value for key, value in old.items() if key not in kept)
        added = tuple(
            self.packed(distance).detach()[:, index]
            for distance, keys in enumerate(self._keys)
            for index, key in enumerate(keys)
            if key not in old
        )
        return removed, added

    def set_keys(self, keys: Sequence[Sequence[str]]) -> None:
        """Name the packed betas, whose tensors must follow."""
        self._keys = tuple(tuple(names) for names in keys)
        for derived in ("_places", "_frozen_mask"):
            self.__dict__.pop(derived, None)

    def pack(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the values of single betas as the tensors that hold them.

        Args:
            values: By external key, one number each.
        """
        return [
            torch.stack(
                [
                    torch.stack(
                        [values[self.external(key, c)].reshape(()) for key in keys]
                    )
                    for c in range(self.channels)
                ]
            )
            for keys in self._keys
        ]

    def adopt_keys(self, keys: Sequence[Sequence[str]]) -> None:
        """Take over the keys of a checkpoint; the values follow with the tensors."""
        for distance, names in enumerate(keys):
            shape = (self.channels, len(names))
            like = self.packed(0)
            if distance >= len(self._keys) or self.packed(distance).shape != shape:
                self._lay(distance, like.detach().new_zeros(shape), train=distance == 0)
        for distance in range(len(keys), len(self._keys)):
            del self._parameters[str(distance)]
        self.set_keys(keys)

    def _lay(self, distance: int, data: Tensor, *, train: bool) -> None:
        parameter = self._parameters.get(str(distance))
        if parameter is None:
            new = nn.Parameter(data, requires_grad=train)
            self.register_parameter(str(distance), new)
            return
        # The parameter keeps its identity, so that whoever holds it sees the edit.
        parameter.data = data
        parameter.grad = None

    def _with_shared(self, wanted: Sequence[Sequence[str]]) -> list[list[str]]:
        asked = {key for keys in wanted for key in keys}
        names = [list(keys) for keys in wanted]
        for distance, keys in enumerate(self._keys):
            if distance == len(names):
                names.append([])
            names[distance] += [key for key in keys if key not in asked]
        return names
