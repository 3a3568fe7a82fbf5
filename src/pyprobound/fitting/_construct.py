"""A trained model laid on other probes than those it was trained on.

Motifs and spacings mean the same on any probe. What belongs to the experiment is
re-laid on the lengths of the new table: a position bias keeps the places (and, where it
depends on the length of a probe, the lengths) that both tables have and is 0 elsewhere;
a dimer has the spacings that its training probes had room for, and no others.
"""

import torch

from pyprobound.base import Component
from pyprobound.cooperativity import Cooperativity, Spacing
from pyprobound.errors import PyProBoundError
from pyprobound.layers.layer import Reads
from pyprobound.structure import mean_taken_off, modes_of, reach_of


def lay_construct(copied: Component, table: Reads) -> None:
    """Lay a copy of a trained model on the lengths of a table.

    Args:
        copied: A round or an aggregate; changed.
        table: The probes that it is to score.

    Raises:
        PyProBoundError: A layer cannot take such probes.
    """
    dimers = [each for each in copied.modules() if isinstance(each, Cooperativity)]
    for spacing in {id(each.spacing): each.spacing for each in dimers}.values():
        _keep_to_what_was_seen(spacing, [x for x in dimers if x.spacing is spacing])
    try:
        for mode in modes_of(copied):
            mode.update_read_length(
                new_min_len=table.min_read_length, new_max_len=table.max_read_length
            )
        copied.settle()
    except ValueError as error:
        raise PyProBoundError(str(error)) from error


def _keep_to_what_was_seen(spacing: Spacing, dimers: list[Cooperativity]) -> None:
    """Exclude spacings that no training probe had room for, and fix the gauge.

    The mean that `normalize` takes off is that of the training probes; over more
    offsets it would be another one.
    """
    reaches = [reach_of(each) for each in dimers]
    known = [each for each in reaches if each is not None]
    if len(known) == len(reaches):
        limits = [max(known)]
        if spacing.max_spacing is not None:
            limits.append(spacing.max_spacing)
        spacing.max_spacing = min(limits)
    with torch.no_grad():
        spacing.log_spacing.sub_(mean_taken_off(dimers[0]))
    spacing.normalize = False
