"""The plan of a sequential fit: data that prints, and can be edited before it is run.

    ### Binding: PSAM-a
        Step 0
            MultiExperimentLoss.freeze()
            …

Bindings are fitted one key after the other, in order of first appearance over
experiments, rounds and binding lists.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyprobound.base import BindingOptim, Component, Spec, Step

Key = tuple[Spec, ...]


@dataclass(frozen=True)
class Stage:
    """How the bindings of one or more keys are fitted.

    Attributes:
        keys: The specifications of the bindings.
        steps: The steps, in order.
    """

    keys: tuple[Key, ...]
    steps: tuple[Step, ...]

    @property
    def title(self) -> str:
        """The names of the bindings."""
        return ", ".join("-".join(str(spec) for spec in key) for key in self.keys)

    def __str__(self) -> str:
        """Show the stage as text, one call to a line."""
        lines = [f"### Binding: {self.title}"]
        for number, step in enumerate(self.steps):
            lines.append(f"\tStep {number}")
            lines.extend(f"\t\t{call}" for call in step.calls)
        return "\n".join(lines)


def make_plan(
    model: Component, order: Iterable[Iterable[Key]] | None = None
) -> list[Stage]:
    """Return the stages by which a model is fitted.

    Args:
        model: The root of the model.
        order: Groups of binding keys; those of one group are fitted together. By
            default each key on its own, in order of first appearance.

    Raises:
        ValueError: A key belongs to no binding of the model.
    """
    procedure = model.optim_procedure()
    if order is None:
        return [Stage((key,), tuple(found.steps)) for key, found in procedure.items()]
    return [_joined(list(group), procedure) for group in order]


def _joined(group: Sequence[Key], procedure: dict[Key, BindingOptim]) -> Stage:
    together = BindingOptim([], [])
    for key in map(tuple, group):
        if key not in procedure:
            known = ", ".join(str(Stage((known,), ()).title) for known in procedure)
            msg = f"no binding {Stage((key,), ()).title}; the model has {known}"
            raise ValueError(msg)
        together.ancestry.extend(procedure[key].ancestry)
        together.steps.extend(procedure[key].steps)
    together.merge_binding_optim()
    return Stage(tuple(map(tuple, group)), tuple(together.steps))


def format_plan(plan: Iterable[Stage]) -> str:
    """Return the plan as text."""
    return "\n\n".join(map(str, plan))


def is_improved(before: float, after: float, threshold: float) -> bool:
    """Tell whether a greedy step is accepted: the loss fell by more than a threshold.

    A loss that is not a number is no improvement.
    """
    return before - after > threshold
