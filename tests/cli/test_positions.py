"""Every key of a TOML text has its line; reading undoes writing."""

import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pyprobound.config import to_toml
from pyprobound.config._positions import Place, key_lines

EVERYTHING = '''\
# a comment with [brackets] and "quotes"
title = "a # is no comment = here"

[owner]
name.first = 'Tom\\'
"quoted key".x = 1 # and one that is

[[modes]]
size = 12
seed = """
[[modes]]
size = 13
"""
[[modes]]
text = \'\'\'
it's = [1]\'\'\'
rounds = [
    "initial", # one
    { kind = "bound", activities = { NS = -1.5, "a b" = 2 } },

    [1,
     2],
]
[modes.energies]
A = [1, 2]
[[modes.spacing]]
offset = 3
[[modes.spacing]]
offset = 4
'''
LINES = {
    ("title",): 2,
    ("owner",): 4,
    ("owner", "name", "first"): 5,
    ("owner", "quoted key", "x"): 6,
    ("modes",): 8,
    ("modes", 0): 8,
    ("modes", 0, "size"): 9,
    ("modes", 0, "seed"): 10,
    ("modes", 1): 14,
    ("modes", 1, "text"): 15,
    ("modes", 1, "rounds"): 17,
    ("modes", 1, "rounds", 0): 18,
    ("modes", 1, "rounds", 1, "kind"): 19,
    ("modes", 1, "rounds", 1, "activities", "NS"): 19,
    ("modes", 1, "rounds", 1, "activities", "a b"): 19,
    ("modes", 1, "rounds", 2): 21,
    ("modes", 1, "rounds", 2, 1): 22,
    ("modes", 1, "energies", "A"): 25,
    ("modes", 1, "spacing", 0, "offset"): 27,
    ("modes", 1, "spacing", 1): 28,
    ("modes", 1, "spacing", 1, "offset"): 29,
}


def places(content: object, at: Place = ()) -> Iterator[Place]:
    """Every place of parsed TOML."""
    yield at
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*at, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from places(value, (*at, index))


def test_each_key_has_the_line_on_which_it_stands() -> None:
    found = key_lines(EVERYTHING)
    assert {place: found[place] for place in LINES} == LINES


def test_every_place_has_a_line_and_no_other_has() -> None:
    assert set(places(tomllib.loads(EVERYTHING))) == set(key_lines(EVERYTHING))


keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1)
plain = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
)
# A list holds plain values or tables: what a configuration is made of.
values = st.recursive(
    plain | st.lists(plain, max_size=3),
    lambda inner: (
        st.dictionaries(keys, inner, min_size=1, max_size=3)
        | st.lists(st.dictionaries(keys, inner, max_size=3), min_size=1, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(keys, values, max_size=4)


@given(documents)
def test_reading_what_was_written_gives_the_same(content: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(content)) == content


@given(documents)
def test_every_place_of_what_was_written_has_a_line(
    content: dict[str, object],
) -> None:
    text = to_toml(content)
    lines = key_lines(text)
    simple = [place for place in places(content) if all(map(is_simple, place))]
    assert set(simple) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def is_simple(key: str | int) -> bool:
    """Whether a key is written without escapes, which the scanner does not read."""
    return isinstance(key, int) or (key.isprintable() and not set(key) & set("\\\"'"))
