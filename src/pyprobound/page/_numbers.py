"""Numbers as people read them: few digits, a real minus sign, the unit beside them."""

import math
from collections.abc import Sequence

from pyprobound.page._content import Cell
from pyprobound.uncertainty import NORMAL_95, NOT_IDENTIFIED

MINUS = "−"
_MOST_DIGITS = 3


def plain(value: float, digits: int = 2) -> str:
    """Return a number with so many digits after the point."""
    if not math.isfinite(value):
        return _infinite(value)
    text = f"{value:,.{digits}f}"
    is_zero = not any(x in "123456789" for x in text)
    return text.removeprefix("-") if is_zero else text.replace("-", MINUS)


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits."""
    if not math.isfinite(value):
        return _infinite(value)
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if -4 <= size < 6:
        return plain(value, max(0, digits - 1 - size))
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}·10{_raised(int(exponent))}".replace("-", MINUS)


def count(value: float) -> str:
    """Return a whole number, its thousands apart."""
    return f"{round(value):,}".replace("-", MINUS)


def counted(n: int, word: str, plural: str = "") -> str:
    """Return a number and what it counts: 1 probe, 2 probes."""
    return f"{count(n)} {word if n == 1 else plural or word + 's'}"


def with_error(value: float, error: float | None) -> str:
    """Return ``1.23 ± 0.04``, two digits of the error; or that it is not known."""
    if error is None or math.isnan(error):
        return plain(value)
    if error == 0:
        return plain(value)
    digits = _digits_of(error)
    return f"{plain(value, digits)} ± {plain(error, digits)}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Return an interval of positive numbers."""
    return f"{significant(low, digits)}–{significant(high, digits)}"


def factor_cell(log_value: float, log_error: float, *, has_errors: bool) -> Cell:
    """Return e to the power of a value as a cell, its 95% interval below.

    Args:
        log_value: The value.
        log_error: Its error; NaN is not identified, where there are errors at all.
        has_errors: Whether there are.
    """
    value = math.exp(log_value)
    if not has_errors or log_error == 0:
        return Cell(significant(value), value)
    if math.isnan(log_error):
        return Cell(NOT_IDENTIFIED, value)
    reach = NORMAL_95 * log_error
    low, high = (math.exp(log_value + sign * reach) for sign in (-1, 1))
    return Cell(significant(value), value, detail=interval(low, high))


def estimate_cell(
    value: float | None, error: float | None, *, has_errors: bool
) -> Cell:
    """Return a value with its standard error as a cell.

    Args:
        value: None is absent.
        error: None is not identified, where there are errors at all.
        has_errors: Whether there are.
    """
    if value is None:
        return Cell("absent", -math.inf)
    if error is None and has_errors:
        return Cell(NOT_IDENTIFIED, value)
    return Cell(with_error(value, error), value)


def number_cell(value: float | None, digits: int = 2) -> Cell:
    """Return a number as a cell; an empty one sorts first."""
    return Cell("–", -math.inf) if value is None else Cell(plain(value, digits), value)


def count_cell(value: float) -> Cell:
    """Return a whole number as a cell."""
    return Cell(count(value), value)


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _digits_of(error: float) -> int:
    """Return how many digits after the point show two digits of an error."""
    size = math.floor(math.log10(error))
    return min(_MOST_DIGITS, max(0, 1 - size))


def _infinite(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if value > 0 else f"{MINUS}∞"


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _raised(exponent: int) -> str:
    return str(exponent).translate(_SUPERSCRIPTS)
