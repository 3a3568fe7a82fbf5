"""Alphabets: codes, strings there and back, embeddings, identity."""

import copy
import pickle
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyprobound._texts import Texts
from pyprobound.alphabets import DNA, RNA, Alphabet, Codon, Protein
from pyprobound.errors import InputError

INF = float("inf")
IUPAC = {
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
METHYLATED = Alphabet("ACMGKT", complement=True, encoding={"N": "ACMGKT", "S": "CG"})
ALPHABETS = [DNA(), RNA(), Codon(), Protein(), METHYLATED, Alphabet("äöü")]


def fractions(alphabet: Alphabet, symbol: str) -> list[float]:
    """One symbol's row of the embedding, as the definition has it."""
    if symbol == " ":
        return [-INF] * alphabet.n_letters
    letters = alphabet.get_encoding[symbol]
    return [
        1 / len(letters) if i in letters else 0.0 for i in range(alphabet.n_letters)
    ]


# -- codes ---------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=repr)
def test_letters_come_first_then_padding_wildcard_and_zero(alphabet: Alphabet) -> None:
    n = len(alphabet.alphabet)
    assert alphabet.n_letters == n
    assert [alphabet.get_index[x] for x in alphabet.alphabet] == list(range(n))
    assert alphabet.neginf_pad == alphabet.get_index[" "] == n
    assert alphabet.wildcard_pad == alphabet.get_index["*"] == n + 1
    assert alphabet.zero_pad == alphabet.get_index["-"] == n + 2
    assert set(alphabet.get_index.values()) == set(range(alphabet.n_codes))


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=repr)
def test_reserved_codes_stand_for_all_letters_or_none(alphabet: Alphabet) -> None:
    assert alphabet.get_encoding["*"] == tuple(range(alphabet.n_letters))
    assert alphabet.get_encoding["-"] == alphabet.get_encoding[" "] == ()
    assert alphabet.get_inv_encoding[()] == "-"
    assert alphabet.get_inv_encoding[tuple(range(alphabet.n_letters))] == "*"


def test_built_in_alphabets_have_their_letters_in_order() -> None:
    assert "".join(DNA().alphabet) == "ACGT"
    assert "".join(RNA().alphabet) == "ACGU"
    assert "".join(Protein().alphabet) == "ACDEFGHIKLMNPQRSTVWY"
    assert list(Codon().alphabet) == ["".join(x) for x in product("ACGT", repeat=3)]
    assert Codon().monomer_length == 3


def test_only_dna_is_double_stranded() -> None:
    assert DNA().complement
    assert DNA().complement_index == (3, 2, 1, 0)
    assert not any(x.complement for x in (RNA(), Codon(), Protein()))
    with pytest.raises(ValueError, match=r"RNA\(\) has no complement"):
        _ = RNA().complement_index


def test_iupac_codes_follow_in_order_and_n_shares_the_wildcard() -> None:
    dna = DNA()
    assert dna.get_index["N"] == dna.wildcard_pad
    assert [dna.get_index[x] for x in "RYSWKMBDHV"] == list(range(7, 17))
    for code, letters in IUPAC.items():
        indices = tuple("ACGT".index(x) for x in letters)
        assert dna.get_encoding[code] == indices
        assert dna.get_inv_encoding[indices] == ("*" if code == "N" else code)


def test_protein_knows_its_ambiguous_amino_acids() -> None:
    protein = Protein()
    for code, letters in {"B": "DN", "Z": "EQ", "J": "IL"}.items():
        members = {protein.alphabet[i] for i in protein.get_encoding[code]}
        assert members == set(letters)
    assert protein.get_index["X"] == protein.wildcard_pad
    assert protein.get_index["N"] == protein.alphabet.index("N")  # asparagine


def test_a_code_for_one_letter_shares_that_letters_number() -> None:
    dna = Alphabet("ACGT", encoding={"U": "T", "T": "T", "0": ""})
    assert dna.translate("UT").tolist() == [3, 3]
    assert dna.get_index["0"] == dna.zero_pad
    assert dna.n_codes == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphabet": ""}, "at least one letter"),
        ({"alphabet": "ACA"}, "'A' is listed twice"),
        ({"alphabet": "AC*"}, r"'\*' is reserved"),
        ({"alphabet": ["AA", "--"], "monomer_length": 2}, "'--' is reserved"),
        ({"alphabet": ["AA", "C"], "monomer_length": 2}, "'C' has 1 characters"),
        ({"alphabet": "AC", "monomer_length": 0}, "monomer_length 0"),
        ({"alphabet": "AC", "encoding": {"N": "ACG"}}, "stands for 'G'"),
        ({"alphabet": "AC", "encoding": {"A": "AC"}}, "'A' is taken"),
        ({"alphabet": "AC", "encoding": {"*": "A"}}, r"'\*' is taken"),
        ({"alphabet": "AC", "encoding": {" ": ""}}, "' ' is taken"),
        ({"alphabet": "AC", "encoding": {"NN": "AC"}}, "'NN' has 2 characters"),
        (
            {"alphabet": ["xx", "yy"], "monomer_length": 2, "encoding": {"x": ["yy"]}},
            "'x' is written like another",
        ),
    ],
)
def test_a_contradictory_alphabet_is_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Alphabet(**arguments)  # type: ignore[arg-type]


# -- strings and codes ---------------------------------------------------------------


@given(st.data())
def test_encoding_agrees_with_the_index_letter_by_letter(data: st.DataObject) -> None:
    alphabet = data.draw(st.sampled_from(ALPHABETS))
    width = alphabet.monomer_length
    written = {
        x if len(x) == width else x * width: i for x, i in alphabet.get_index.items()
    }
    sequences = data.draw(
        st.lists(st.lists(st.sampled_from(sorted(written)), max_size=9), max_size=6)
    )
    codes = alphabet.encode(["".join(x) for x in sequences])

    longest = max(map(len, sequences), default=0)
    expected = [
        [written[x] for x in sequence]
        + [alphabet.neginf_pad] * (longest - len(sequence))
        for sequence in sequences
    ]
    assert codes.shape == (len(sequences), longest)
    assert codes.tolist() == expected
    for sequence, row in zip(sequences, codes, strict=True):
        assert alphabet.translate("".join(sequence)).tolist() == [
            written[x] for x in sequence
        ]
        again = alphabet.encode([alphabet.decode(row)], length=longest)[0]
        assert torch.equal(again, row)


@pytest.mark.parametrize(
    "letters",
    [
        ["ACGTACGT", "TTTTTTTT", "CCCCGGGG", "AAAAAAAC"],  # too wide for a table
        ["ÄÖ", "ßé", "AÄ", "€€"],  # not ASCII
        [chr(65 + i) + chr(65 + j) for i in range(20) for j in range(20)],  # two bytes
    ],
    ids=["wide", "not ASCII", "many"],
)
def test_letters_of_any_width_and_number_are_encoded(letters: list[str]) -> None:
    alphabet = Alphabet(letters, monomer_length=len(letters[0]))
    rows = [letters, letters[1:2], letters[::-1]]
    codes = alphabet.encode(["".join(row) for row in rows])
    for row, found in zip(rows, codes.tolist(), strict=True):
        padding = [alphabet.neginf_pad] * (len(letters) - len(row))
        assert found == [letters.index(x) for x in row] + padding
    unknown = "x" * len(letters[0])
    with pytest.raises(InputError, match=f"letter '{unknown}' at position 1"):
        alphabet.encode([letters[0], letters[1] + unknown])


def test_texts_that_go_on_are_numbered_on() -> None:
    texts = Texts.of(["AC", "AX"])
    with pytest.raises(InputError, match="sequence 101 'AX'"):
        DNA().encode_texts(texts, first=100)
    with pytest.raises(InputError, match="sequence 100 'AC' has 2 letters, more than"):
        DNA().encode_texts(texts, 1, first=100)
    with pytest.raises(InputError, match="sequence 100 'AC' has 2 characters, not a"):
        Codon().encode_texts(texts, first=100)


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=repr)
def test_decoding_inverts_translating(alphabet: Alphabet) -> None:
    sequence = "".join(alphabet.alphabet[i] for i in (2, 0, 1, 1))
    assert alphabet.decode(alphabet.translate(sequence)) == sequence


def test_translate_gives_int64_and_encode_the_smallest_type() -> None:
    assert DNA().translate("").shape == (0,)
    assert DNA().translate("ACGT").dtype == torch.int64
    assert DNA().encode(["ACGT"]).dtype == torch.uint8
    large = Alphabet([chr(0x4E00 + i) for i in range(300)])
    codes = large.encode([large.alphabet[299] + large.alphabet[0] + "*"])
    assert codes.dtype == torch.int16
    assert codes.tolist() == [[299, 0, 301]]


def test_encode_pads_to_the_length_asked_for() -> None:
    assert DNA().encode(["GA", "", "T"], length=3).tolist() == [
        [2, 0, 4],
        [4, 4, 4],
        [3, 4, 4],
    ]
    assert DNA().encode([], length=3).shape == (0, 3)
    assert DNA().encode([]).shape == (0, 0)
    with pytest.raises(InputError, match="sequence 1 'ACGT' has 4 letters, more than"):
        DNA().encode(["A", "ACGT"], length=3)


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        lambda x: np.array(x, dtype=object),
        pd.Index,
        lambda x: pd.Index(x, dtype=object),
        lambda x: pd.Index(x, dtype=pd.StringDtype("python")),
        pd.Series,
        dict.fromkeys,
    ],
)
def test_encode_takes_any_collection_of_strings(make: object) -> None:
    assert callable(make)
    codes = DNA().encode(make(["ACG", "TNA"]))
    assert codes.tolist() == [[0, 1, 2], [3, 5, 0]]


@pytest.mark.parametrize("alphabet", [DNA(), Alphabet("ACGTé")], ids=["bytes", "any"])
def test_an_unknown_letter_is_named_with_sequence_and_position(
    alphabet: Alphabet,
) -> None:
    with pytest.raises(
        InputError, match=r"letter 'X' at position 2 \(from 0\) of sequence 1 'GAXT'"
    ):
        alphabet.encode(["ACG", "GAXT", "X"])
    with pytest.raises(InputError, match=r"position 0 \(from 0\) of sequence 2 'XA'"):
        alphabet.encode(["ACG", "", "XA"])
    with pytest.raises(ValueError, match=r"letter '€' at position 1 .* of 'A€'"):
        alphabet.translate("A€")


def test_error_messages_stay_short_and_give_the_way_out() -> None:
    with pytest.raises(InputError) as error:
        DNA().translate("A" * 500 + "c")
    assert "position 500" in str(error.value)
    assert "its capital is" in str(error.value)
    assert len(str(error.value)) < 200
    with pytest.raises(InputError) as error:
        Codon().translate("AAAXXX")
    assert "letter 'XXX' at position 1" in str(error.value)
    assert len(str(error.value)) < 200


def test_codons_are_read_three_characters_at_a_time() -> None:
    codon = Codon()
    assert codon.translate("AAAAACTTT").tolist() == [0, 1, 63]
    assert codon.translate("***NNN---").tolist() == [65, 65, 66]
    assert codon.decode(torch.tensor([0, 65, 66, 64, 64])) == "AAA***---"
    with pytest.raises(InputError, match="sequence 1 'AAAA' has 4 characters, not a"):
        codon.encode(["AAA", "AAAA"])


def test_what_is_no_string_is_refused() -> None:
    with pytest.raises(InputError, match="sequence 1 is nan, not a string"):
        DNA().encode(pd.Index(["A", float("nan")]))
    with pytest.raises(InputError, match="sequence 0 is 7, not a string"):
        DNA().encode([7])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="translate takes one"):
        DNA().encode("ACGT")


# -- embeddings ----------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_embedding_rows_are_equal_fractions_of_the_letters(
    alphabet: Alphabet, dtype: torch.dtype
) -> None:
    rows = alphabet.embedding(dtype)
    assert rows.shape == (alphabet.n_codes, alphabet.n_letters)
    for symbol, number in alphabet.get_index.items():
        if symbol != " ":
            expected = torch.tensor(fractions(alphabet, symbol), dtype=dtype)
            torch.testing.assert_close(rows[number], expected, rtol=0, atol=0)
    assert (rows[alphabet.neginf_pad] == 0).all()
    assert alphabet.embedding(dtype) is rows  # made once


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_embed_puts_letters_in_channels_and_padding_at_minus_infinity(
    dtype: torch.dtype,
) -> None:
    dna = DNA()
    text = "ACGT*-RN "
    embedded = dna.embed(dna.translate(text).to(dtype)[None])
    assert embedded.shape == (1, 4, 9)
    assert embedded.dtype == torch.get_default_dtype()
    expected = torch.tensor([fractions(dna, x) for x in text]).T
    torch.testing.assert_close(embedded[0], expected, rtol=0, atol=0)
    assert dna.embed(dna.encode([text]), torch.float64).dtype == torch.float64


@pytest.mark.parametrize("alphabet", [DNA(), Protein(), METHYLATED], ids=repr)
@pytest.mark.parametrize("dist", [1, 2, 5])
def test_pairwise_embedding_is_the_product_of_both_letters(
    alphabet: Alphabet, dist: int
) -> None:
    text = "GA*C -NTS  T"[: 12 if "N" in alphabet.get_index else 4]
    seqs = alphabet.encode([text])
    pairs = alphabet.pairwise_embed(seqs, dist, torch.float64)
    n = alphabet.n_letters
    assert pairs.shape == (1, n * n, len(text) - dist)
    for i in range(len(text) - dist):
        left, right = text[i], text[i + dist]
        for x, y in product(range(n), repeat=2):
            value = (
                -INF
                if " " in {left, right}
                else fractions(alphabet, left)[x] * fractions(alphabet, right)[y]
            )
            assert pairs[0, n * x + y, i].item() == pytest.approx(value, rel=1e-15)


def test_pairwise_distance_must_fit_the_sequence() -> None:
    seqs = DNA().encode(["ACG"])
    assert DNA().pairwise_embed(seqs, 3).shape == (1, 16, 0)
    for dist in (0, 4):
        with pytest.raises(ValueError, match=f"dist {dist} must be between 1 and"):
            DNA().pairwise_embed(seqs, dist)


def test_an_embedding_made_in_inference_mode_serves_gradients_later() -> None:
    dna = DNA()
    with torch.inference_mode():
        dna.embedding(torch.float64)
    weights = torch.ones(4, dtype=torch.float64, requires_grad=True)
    total = (dna.embedding(torch.float64) @ weights).sum()
    (gradient,) = torch.autograd.grad(total, weights)
    torch.testing.assert_close(gradient, dna.embedding(torch.float64).sum(0))


# -- identity ------------------------------------------------------------------------


def test_alphabets_of_the_same_content_are_equal_and_hash_alike() -> None:
    twin = Alphabet("ACGT", complement=True, encoding=IUPAC, color_scheme="grays")
    assert DNA() == twin
    assert hash(DNA()) == hash(twin)
    assert len({DNA(), DNA(), twin, RNA()}) == 2


@pytest.mark.parametrize(
    "other",
    [
        Alphabet("ACGT", encoding=IUPAC),
        Alphabet("ACGT", complement=True),
        Alphabet("TGCA", complement=True, encoding=IUPAC),
        RNA(),
        "ACGT",
    ],
)
def test_alphabets_of_other_content_differ(other: object) -> None:
    assert DNA() != other


def test_copies_share_the_alphabet_and_pickles_equal_it() -> None:
    dna = DNA()
    dna.embedding()
    assert copy.deepcopy(dna) is dna
    assert copy.copy(dna) is dna
    again = pickle.loads(pickle.dumps(dna))  # noqa: S301 (pickled one line above)
    assert again == dna
    assert torch.equal(again.embedding(), dna.embedding())


def test_repr_says_which_alphabet_it_is() -> None:
    assert repr(Protein()) == "Protein()"
    assert repr(METHYLATED) == "Alphabet('ACMGKT', complement=True)"
    assert repr(Alphabet(["xx", "yy"], monomer_length=2)) == (
        "Alphabet('xx yy', complement=False)"
    )
