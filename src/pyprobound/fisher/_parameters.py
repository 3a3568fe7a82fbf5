"""The parameters that a fit changes, as one vector."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pyprobound.base import Component


class FreeParameters:
    """The entries of a model's parameters that are trained, in one float64 vector.

    Entries that are not finite (absent activities, excluded windows) and betas that
    are never trained are left out: they keep the values they have.

    Attributes:
        tensors: The parameters that have such entries.
        names: Their names in the model.
    """

    def __init__(self, model: Component) -> None:
        """List the entries that are free now."""
        fixed = _never_trained(model)
        self.tensors: list[nn.Parameter] = []
        self.names: list[str] = []
        self._entries: list[Tensor] = []
        self._columns: dict[int, Tensor] = {}
        self._size = 0
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            free = parameter.detach().isfinite().flatten().cpu()
            if id(parameter) in fixed:
                free &= ~fixed[id(parameter)]
            entries = free.nonzero().squeeze(1)
            if len(entries) == 0:
                continue
            columns = torch.full((len(free),), -1)
            columns[entries] = torch.arange(self._size, self._size + len(entries))
            self.tensors.append(parameter)
            self.names.append(name)
            self._entries.append(entries)
            self._columns[id(parameter)] = columns
            self._size += len(entries)

    def __len__(self) -> int:
        """Return the number of free entries P."""
        return self._size

    def get(self) -> Tensor:
        """Return the values, (P,) float64 on the CPU."""
        if not self.tensors:
            return torch.zeros(0, dtype=torch.float64)
        return torch.cat(
            [
                parameter.detach().flatten().cpu().double()[entries]
                for parameter, entries in zip(self.tensors, self._entries, strict=True)
            ]
        )

    def set(self, values: Tensor) -> None:
        """Write values, (P,), into the parameters, rounded to their precision."""
        with torch.no_grad():
            for parameter, entries in zip(self.tensors, self._entries, strict=True):
                own, values = values[: len(entries)], values[len(entries) :]
                flat = parameter.detach().flatten().clone()
                flat[entries.to(flat.device)] = own.to(flat)
                parameter.copy_(flat.view_as(parameter))

    def columns_of(self, parameter: Tensor) -> Tensor:
        """Return where each entry of a parameter stands in the vector, −1 if nowhere.

        Args:
            parameter: One of the model's parameters.

        Returns:
            (entries,), int64.
        """
        found = self._columns.get(id(parameter))
        return torch.full((parameter.numel(),), -1) if found is None else found

    def has(self, parameter: Tensor) -> bool:
        """Tell whether any entry of a parameter is free."""
        return id(parameter) in self._columns

    def column_of(self, parameter: Tensor) -> int | None:
        """Return where a 0-dimensional parameter stands, None if nowhere."""
        found = self._columns.get(id(parameter))
        return None if found is None else int(found[0])

    def among(self, module: nn.Module) -> list[nn.Parameter]:
        """Return the parameters of a module that have free entries, each once."""
        return [p for p in module.parameters() if self.has(p)]

    def gather(self, gradients: Sequence[Tensor | None], *, lead: int = 0) -> Tensor:
        """Return gradients with respect to `tensors` as (…, P), float64 on the CPU.

        Args:
            gradients: One for each tensor, None for zero, after `lead` further axes.
            lead: The number of axes before those of the tensor.
        """
        shapes = [tuple(g.shape[:lead]) for g in gradients if g is not None]
        shape = shapes[0] if shapes else ()
        rows = []
        for gradient, entries in zip(gradients, self._entries, strict=True):
            if gradient is None:
                rows.append(torch.zeros((*shape, len(entries)), dtype=torch.float64))
                continue
            flat = gradient.detach().reshape(*shape, -1).cpu().double()
            rows.append(flat[..., entries])
        if not rows:
            return torch.zeros((*shape, 0), dtype=torch.float64)
        return torch.cat(rows, -1)

    def spread(self, values: Tensor) -> list[Tensor]:
        """Return values (P,) shaped as `tensors`, 0 in entries that are not free."""
        spread = []
        for parameter, entries in zip(self.tensors, self._entries, strict=True):
            own, values = values[: len(entries)], values[len(entries) :]
            flat = torch.zeros(parameter.numel(), dtype=parameter.dtype)
            flat[entries] = own.to(flat)
            spread.append(flat.view(parameter.shape).to(parameter.device))
        return spread

    def dot(self, gradients: Sequence[Tensor | None], values: Tensor) -> Tensor:
        """Return the scalar product of gradients and values, with its graph.

        Args:
            gradients: One for each of `tensors`, None for zero.
            values: (P,).
        """
        parts = [
            (gradient * own).sum().double()
            for gradient, own in zip(gradients, self.spread(values), strict=True)
            if gradient is not None
        ]
        total = torch.zeros((), dtype=torch.float64)
        return torch.stack(parts).sum() if parts else total

    def labels(self) -> list[str]:
        """Return a name for each free entry: ``…log_activity``, ``…betas.0[0, 3]``."""
        return [
            label
            for name, parameter, entries in zip(
                self.names, self.tensors, self._entries, strict=True
            )
            for label in _labels(name, parameter, entries)
        ]


def _labels(name: str, parameter: Tensor, entries: Tensor) -> Iterator[str]:
    if parameter.ndim == 0:
        yield name
        return
    places = torch.unravel_index(entries, parameter.shape)
    for place in zip(*(axis.tolist() for axis in places), strict=True):
        yield f"{name}[{', '.join(map(str, place))}]"


def _never_trained(model: Component) -> dict[int, Tensor]:
    """Return, by the id of a parameter, which of its entries can never be trained."""
    found: dict[int, Tensor] = {}
    for module in model.modules():
        if not isinstance(module, Component):
            continue
        own = dict(module.named_parameters(recurse=False))
        for name, values in module.own_values():
            parameter = own.get(name)
            if parameter is None or parameter is values:
                continue
            if not parameter.requires_grad:
                continue
            (reached,) = torch.autograd.grad(values.sum(), parameter)
            found[id(parameter)] = (reached == 0).flatten().cpu()
    return found
