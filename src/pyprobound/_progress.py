"""What a fit tells of itself: an event for each epoch, and one for its end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """One epoch of a fit.

    Attributes:
        binding: What is being fitted.
        step: The number of the step in its plan.
        call: The calls that opened the step, as text.
        epoch: The number of the epoch in this fit; 0 is before any training.
        train_loss: Negative log likelihood on the training tables.
        train_regularization: Penalty.
        val_loss: Negative log likelihood on the validation tables, if there are any.
        best: Whether this is the best model so far.
        seconds: Since the optimizer was made; of a fit that goes on from a state file,
            what had passed before is counted too.
    """

    binding: str
    step: int
    call: str
    epoch: int
    train_loss: float
    train_regularization: float
    val_loss: float | None
    best: bool
    seconds: float

    def __str__(self) -> str:
        """Show the epoch as one line."""
        held_out = "" if self.val_loss is None else f"  held out {self.val_loss:.7f}"
        mark = " *" if self.best else ""
        return (
            f"epoch {self.epoch:3d}  loss {self.train_loss:.7f}"
            f"  penalty {self.train_regularization:.7f}"
            f"{held_out}  {self.seconds:.1f} s{mark}"
        )


@dataclass(frozen=True)
class EndEvent:
    """The end of one fit, or of a step that left nothing to fit.

    Attributes:
        binding: What was fitted.
        step: The number of the step in its plan.
        call: The calls that opened the step, as text.
        epoch: The number of the last epoch; None if nothing was fitted.
        loss: The loss of the best model, which decides: with its penalty, or of the
            validation tables. None if nothing was fitted.
        ended: Why it ended, in words, and what became of a greedy step.
        seconds: Since the optimizer was made, as in `ProgressEvent`.
    """

    binding: str
    step: int
    call: str
    epoch: int | None
    loss: float | None
    ended: str
    seconds: float


@dataclass(frozen=True)
class Place:
    """Where in a plan a fit is, for messages."""

    binding: str = "all"
    step: int = 0
    call: str = ""
