"""Colours of letters: legible on any page, apart for readers of any colour vision."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pyprobound.alphabets import DNA, RNA, Alphabet, Codon, Protein
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._letters import (
    BASES,
    DARK,
    GROUPS,
    LEAST_CONTRAST,
    WHITE,
    letter_styles,
    palette,
)
from pyprobound.plotting._vision import READERS, contrast, distance, seen

# Pairs of the data that Sharma, Wu and Dalal (2005) publish to test CIEDE2000 with:
# around blue, around grey, at opposite hues, far apart, near black.
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def least_distance(colours: Sequence[str]) -> dict[str, float]:
    """The distance of the two most alike colours, to each reader."""
    looks = seen([to_rgb(colour) for colour in colours])
    first, second = np.triu_indices(len(colours), 1)
    found = distance(looks[:, first], looks[:, second]).min(1)
    return dict(zip(READERS, found.tolist(), strict=True))


def colours_of(letters: Sequence[str], alphabet: Alphabet | None = None) -> list[str]:
    return [style.colour for style in letter_styles(letters, alphabet).values()]


# --- colour vision -------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_distance_is_ciede2000(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    a, b = np.array(first, dtype=float), np.array(second, dtype=float)
    assert distance(a, b) == pytest.approx(expected, abs=5e-5)
    assert distance(b, a) == pytest.approx(expected, abs=5e-5)


def test_distance_of_grey_and_of_the_same_colour() -> None:
    grey, white = np.array([50.0, 0, 0]), np.array([100.0, 0, 0])
    assert distance(grey, grey) == 0
    assert np.isfinite(distance(grey, white))


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast(to_rgb("#767676"), to_rgb("white")) == pytest.approx(4.54, abs=0.01)


def test_lab_of_known_colours() -> None:
    normal = seen([to_rgb("white"), to_rgb("red"), to_rgb("blue")])[0]
    assert normal[0] == pytest.approx([100, 0, 0], abs=0.01)
    assert normal[1] == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert normal[2] == pytest.approx([32.30, 79.19, -107.86], abs=0.02)


def test_readers_confuse_what_they_are_known_to_confuse() -> None:
    def told(first: str, second: str) -> dict[str, float]:
        return least_distance([first, second])

    greys = seen([to_rgb("#404040"), to_rgb("#c0c0c0")])
    np.testing.assert_allclose(greys, greys[:1].repeat(4, 0), atol=0.05)
    red_green = told("#c83200", "#788c00")
    assert red_green["normal"] > 4 * red_green["deuteranopia"]
    blue_green = told("#0072b2", "#008080")
    assert blue_green["normal"] > 2 * blue_green["tritanopia"]


# --- letters -------------------------------------------------------------------------

ALPHABETS = {
    "DNA": DNA(),
    "RNA": RNA(),
    "Protein": Protein(),
    "Codon": Codon(),
    "methylated": Alphabet("AmCGgT", complement=True),
    "arbitrary": Alphabet("ZYXWVUTSRQ"),
}


@pytest.mark.parametrize("name", ALPHABETS)
def test_all_letters_are_legible_on_white_and_on_dark_pages(name: str) -> None:
    for colour in colours_of(ALPHABETS[name].alphabet, ALPHABETS[name]):
        for page in (WHITE, DARK):
            assert contrast(to_rgb(colour), to_rgb(page)) >= LEAST_CONTRAST, colour


def test_all_readers_tell_the_bases_apart() -> None:
    found = least_distance(colours_of("ACGT", DNA()))
    assert min(found.values()) > 18
    assert found["normal"] > 25
    assert colours_of("ACGU", RNA()) == colours_of("ACGT", DNA())


def test_all_readers_tell_groups_of_amino_acids_apart() -> None:
    styles = letter_styles(Protein().alphabet, Protein())
    assert sorted("".join(GROUPS)) == sorted(styles)
    for group, colour in GROUPS.items():
        assert {styles[letter].colour for letter in group} == {colour}
    assert min(least_distance(list(GROUPS.values())).values()) > 15


@pytest.mark.parametrize(("n", "least"), [(2, 25), (4, 16), (8, 10), (20, 5)])
def test_generated_colours_are_as_far_apart_as_they_can_be(
    n: int, least: float
) -> None:
    found = palette(n)
    assert len(set(found)) == n
    assert min(least_distance(found).values()) > least


def test_generated_colours_differ_from_those_taken() -> None:
    taken = tuple(sorted(set(BASES.values())))
    assert min(least_distance([*taken, *palette(2, taken)]).values()) > 12
    assert palette(0, taken) == ()


def test_changed_bases_have_their_base_s_colour_and_a_bar() -> None:
    styles = letter_styles("AmCGgT", Alphabet("AmCGgT", complement=True))
    assert styles["m"].colour == styles["C"].colour
    assert styles["g"].colour == styles["G"].colour
    marked = [letter for letter, style in styles.items() if style.is_marked]
    assert marked == ["m", "g"]


def test_a_letter_opposite_of_a_changed_base_is_the_opposite_base() -> None:
    # x pairs with m, a changed C
    styles = letter_styles("AmCGxT", Alphabet("AmCGxT", complement=True))
    assert styles["x"].colour == BASES["G"]
    assert styles["x"].is_marked


def test_codons_have_the_colours_of_what_they_code() -> None:
    dna, protein = (letter_styles(x().alphabet, x()) for x in (Codon, Protein))
    assert dna["ATG"] == protein["M"]
    assert dna["GAA"] == dna["GAC"] == protein["D"]
    assert dna["TAA"] == dna["TGA"]
    assert dna["TAA"].colour not in GROUPS.values()
    assert letter_styles(["AUG", "UUU"])["AUG"] == protein["M"]


def test_letters_of_few_amino_acids_are_no_protein() -> None:
    styles = letter_styles("WXYZ")
    assert len({style.colour for style in styles.values()}) == 4


def test_an_alphabet_s_own_colours_and_the_caller_s() -> None:
    own = Alphabet("ACGT", color_scheme={"A": "red", "C": [0, 0, 1]})
    styles = letter_styles("ACGT", own)
    assert [style.colour for style in styles.values()] == [
        "#ff0000",
        "#0000ff",
        BASES["G"],
        BASES["T"],
    ]
    all_green = letter_styles("ACGT", own, "#008000")
    assert {style.colour for style in all_green.values()} == {"#008000"}
    assert letter_styles("ACGT", own, {"T": "black", "?": "red"})["T"].colour == (
        "#000000"
    )


@pytest.mark.parametrize("scheme", ["rainbows", {"A": "no colour"}, {"A": [1, 2]}])
def test_a_colour_that_is_none_is_told(scheme: str | dict[str, str]) -> None:
    with pytest.raises(PyProBoundError, match="is no colour; give one"):
        letter_styles("ACGT", DNA(), scheme)
