"""Many strings at once do what Python's do one by one."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprobound._texts import NotTextError, Texts

# any character but surrogates, with those of interest more often
characters = st.one_of(
    st.sampled_from("ACG *é€\U0001f9ec\n\0"), st.characters(exclude_categories=["Cs"])
)
some_texts = st.lists(st.text(characters, max_size=6), max_size=6)
plain_texts = st.lists(st.text("ACG ", max_size=6), max_size=6)


def listed(texts: Texts) -> list[str]:
    return [texts[row] for row in range(len(texts))]


def arrow_strings(strings: Sequence[str]) -> object:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    return pd.Series(strings, dtype=pd.StringDtype("pyarrow"))


@given(some_texts | plain_texts)
def test_strings_come_back_as_they_were(strings: list[str]) -> None:
    texts = Texts.of(strings)
    assert listed(texts) == strings
    assert texts.lengths.tolist() == list(map(len, strings))
    ascii_only = all(map(str.isascii, strings))
    assert texts.characters.dtype == (np.uint8 if ascii_only else np.uint32)


@given(some_texts | plain_texts, st.data())
def test_arrow_strings_are_read_where_they_lie(
    strings: list[str], data: st.DataObject
) -> None:
    series = arrow_strings(strings)
    assert isinstance(series, pd.Series)
    assert listed(Texts.of(series)) == strings
    start = data.draw(st.integers(0, len(strings)))
    stop = data.draw(st.integers(0, len(strings)))
    assert listed(Texts.of(series[start:stop])) == strings[start:stop]
    # several chunks, of which some are empty
    joined = pd.concat([series, series[:0], series])
    assert listed(Texts.of(pd.Index(joined))) == strings * 2


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda x: np.array(x, dtype=object),
        lambda x: pd.Index(x, dtype=object),
        lambda x: pd.Series(x, dtype="category"),
        lambda x: pd.Series(x, dtype=pd.StringDtype("python")),
        arrow_strings,
        dict.fromkeys,
    ],
)
def test_any_collection_of_strings_is_taken(make: Callable[..., list[str]]) -> None:
    assert listed(Texts.of(make(["AC", "", "GT€"]))) == ["AC", "", "GT€"]


@pytest.mark.parametrize("value", [7, None, float("nan"), ("A",)])
def test_a_value_that_is_no_string_is_named(value: object) -> None:
    with pytest.raises(NotTextError, match=r"value 1 is .*, not a string") as error:
        Texts.of(["A", value])  # type: ignore[list-item]
    assert error.value.row == 1
    assert error.value.value is value


def test_a_missing_arrow_string_is_named() -> None:
    series = arrow_strings(["A", "C", "G"])
    assert isinstance(series, pd.Series)
    series[2] = None
    with pytest.raises(NotTextError, match="value 2 is"):
        Texts.of(series)


@given(some_texts | plain_texts)
def test_stripping_takes_characters_off_the_ends(strings: list[str]) -> None:
    stripped = Texts.of(strings).stripped(" ")
    assert listed(stripped) == [x.rstrip(" ") for x in strings]


@given(
    some_texts | plain_texts,
    st.text("ACG ", min_size=1, max_size=3),
    st.text(characters, max_size=3),
)
def test_replacing_stays_within_each_string(
    strings: list[str], old: str, new: str
) -> None:
    replaced = Texts.of(strings).replaced(old, new)
    assert listed(replaced) == [x.replace(old, new) for x in strings]


@given(some_texts, characters)
def test_a_character_is_found(strings: list[str], character: str) -> None:
    assert Texts.of(strings).holds(character) == (character in "".join(strings))
