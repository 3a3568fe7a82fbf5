"""How what a kernel reads depends on the parameters: sparse linear maps.

Filters and biases are gathered from the parameters (symmetry, strands, bins), centred,
or padded: always linearly. The map is found once for a structure, by differentiation,
so that a new kind of symmetry needs no code here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyprobound.fisher._parameters import FreeParameters

BLOCK = 256
"""Entries differentiated at once."""

NOWHERE = -1
"""The column of an entry that is not trained."""


@dataclass(frozen=True)
class LinearMap:
    """The derivatives of some entries with respect to the free parameters, as triples.

    Attributes:
        n_entries: E.
        entry: The entry of each triple.
        column: The free parameter of each triple.
        value: The derivative.
    """

    n_entries: int
    entry: Tensor
    column: Tensor
    value: Tensor

    @classmethod
    def of(cls, entries: Tensor, free: FreeParameters) -> "LinearMap":
        """Return the map that gave `entries`.

        Args:
            entries: A tensor made of the parameters, with its graph.
            free: The parameters.
        """
        flat = entries.flatten()
        empty = torch.zeros(0, dtype=torch.int64)
        found = [(empty, empty, torch.zeros(0, dtype=torch.float64))]
        starts = range(0, len(flat), BLOCK) if flat.requires_grad else ()
        for start in starts:
            rows = torch.arange(start, min(start + BLOCK, len(flat)))
            chosen = torch.zeros(len(rows), len(flat)).to(flat)
            chosen[torch.arange(len(rows)), rows] = 1.0
            gradients = torch.autograd.grad(
                flat,
                free.tensors,
                chosen,
                is_grads_batched=True,
                allow_unused=True,
                retain_graph=True,
            )
            block = free.gather(gradients, lead=1)
            row, column = block.nonzero(as_tuple=True)
            found.append((row + start, column, block[row, column]))
        entry, column, value = (torch.cat(part) for part in zip(*found, strict=True))
        return cls(len(flat), entry, column, value)

    def laid(self, columns: Tensor, device: torch.device) -> "Laid":
        """Return the map onto some columns only.

        Args:
            columns: The free parameters that are wanted, ascending.
            device: Where the map will be used.
        """
        place = torch.searchsorted(columns, self.column)
        picks_one = len(self.entry.unique()) == len(self.entry)
        if picks_one and bool((self.value == 1).all()):
            places = torch.full((self.n_entries,), NOWHERE)
            places[self.entry] = place
            return Laid(len(columns), places.to(device), None)
        matrix = torch.zeros(self.n_entries, len(columns), dtype=torch.float64)
        matrix[self.entry, place] = self.value
        return Laid(len(columns), None, matrix.to(device))


@dataclass(frozen=True)
class Laid:
    """A linear map that is ready to be applied from the right.

    Attributes:
        n_columns: P.
        places: (E,) the column of each entry, `NOWHERE` where it has none, if each has
            at most one and takes it as it is.
        matrix: (E, P) otherwise.
    """

    n_columns: int
    places: Tensor | None
    matrix: Tensor | None

    def add(self, weights: Tensor, out: Tensor) -> None:
        """Add weights · map to `out`.

        Args:
            weights: (n, E).
            out: (n, P).
        """
        if self.places is not None:
            kept = (self.places != NOWHERE).nonzero().squeeze(1)
            out.index_add_(1, self.places[kept], weights[:, kept].to(out.dtype))
        elif self.matrix is not None:
            out += weights.to(out.dtype) @ self.matrix

    def add_grouped(self, weights: Tensor, group: Tensor | None, out: Tensor) -> None:
        """Add weights · map, where each probe has its own block of the entries.

        Args:
            weights: (n, E / groups).
            group: (n,) the block of each probe; None if there is only one.
            out: (n, P).
        """
        if group is None:
            self.add(weights, out)
            return
        size = weights.shape[1]
        if self.places is not None:
            index = self.places.view(-1, size)[group]
            given = weights.to(out.dtype).masked_fill(index == NOWHERE, 0.0)
            out.scatter_add_(1, index.clamp(min=0), given)
        elif self.matrix is not None:
            blocks = self.matrix.view(-1, size, self.n_columns)
            for each in group.unique().tolist():
                rows = (group == each).nonzero().squeeze(1)
                out[rows] += weights[rows].to(out.dtype) @ blocks[each]
