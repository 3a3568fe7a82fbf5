"""How a fit went, of a log: its fits, words for its steps."""

import math

import pytest

from pyprobound.page._history import fits_of, stretches_of, title_of, words_of
from pyprobound.page._numbers import significant, with_error


def event(binding: str, step: int, epoch: int, loss: float) -> dict[str, object]:
    return {
        "binding": binding,
        "step": step,
        "call": "x",
        "epoch": epoch,
        "train_loss": loss,
        "train_regularization": 0.5,
        "val_loss": None,
        "best": True,
        "seconds": 1.0,
    }


def end(binding: str, step: int, reason: str) -> dict[str, object]:
    return {"binding": binding, "step": step, "call": "x", "ended": reason}


def test_a_later_epoch_goes_on_and_another_place_or_an_end_does_not() -> None:
    log = [
        event("a", 0, 0, 3.0),
        event("a", 0, 1, 2.0),
        event("a", 0, 0, 2.0),  # the step again
        event("a", 1, 1, 1.0),  # another step
        end("a", 1, "converged"),
        end("a", 2, "nothing to fit"),
        event("a", 3, 0, math.nan),
    ]
    fits = fits_of(log)
    assert [len(each.events) for each in fits] == [2, 1, 1, 0, 1]
    assert [each.ended for each in fits] == ["", "", "converged", "nothing to fit", ""]
    assert fits[0].losses == [3.5, 2.5]
    assert fits[0].best == 2.5
    assert math.isnan(fits[3].best)
    assert math.isnan(fits[4].best)
    assert [len(each.losses) for each in stretches_of(log)] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("MultiExperimentLoss.unfreeze(parameter=all)", "everything together"),
        ("PSAM-a.unfreeze(parameter=monomer)", "its letters"),
        ("PSAM-a.unfreeze(parameter=pairwise)", "its letter pairs"),
        ("PSAM-a.shift_heuristic()", "centring of the motif"),
        (
            "PSAM-a.update_footprint(left_shift=-1, right_shift=1)",
            "motif moved by 1 to the right",
        ),
        (
            "PSAM-a.update_footprint(left_shift=1, right_shift=1)",
            "footprint longer by 1 and 1",
        ),
        (
            (
                "MultiExperimentLoss.freeze(); Aggregate.activity_heuristic("
                "contribution=Contribution( Mode-a )); BoundRound-1.unfreeze("
                "parameter=depth); BoundRound-2.unfreeze(parameter=depth)"
            ),
            "its activity and the depths of the rounds",
        ),
        ("Thing-a.some_edit(x=1)", "Thing-a: some edit"),
    ],
)
def test_calls_are_told_in_words(call: str, words: str) -> None:
    assert words_of(call) == words


@pytest.mark.parametrize(
    ("binding", "title"),
    [
        ("PSAM-bcd", "bcd"),
        ("PadSpec-PSAM-short", "short"),
        ("Spacing-exd-hox", "exd-hox"),
        ("PSAM-a, NonSpecific-NS", "a and NS"),
        ("all", "all at once"),
    ],
)
def test_parts_are_called_by_their_names(binding: str, title: str) -> None:
    assert title_of(binding) == title


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1.23456, 0.0321, "1.235 ± 0.032"),
        (-0.0004, 0.05, "0.000 ± 0.050"),
        (-12.3, 4.56, "−12.3 ± 4.6"),
        (1234.5, 120.0, "1,234 ± 120"),
        (1.0, 1e-6, "1.000 ± 0.000"),
        (1.0, None, "1.00"),
        (1.0, 0.0, "1.00"),
    ],
)
def test_values_have_the_digits_of_their_errors(
    value: float, error: float | None, shown: str
) -> None:
    assert with_error(value, error) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.99999, "1.00"),
        (123456, "123,456"),
        (-0.000123, "−0.000123"),
        (1.5e-9, "1.50·10⁻⁹"),
        (2.5e12, "2.50·10¹²"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert significant(value) == shown
