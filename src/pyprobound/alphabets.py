"""Alphabets: the letters that probes are written in, and their integer codes.

An alphabet of n letters numbers its symbols

    0 … n−1   the letters, in order    1 in the letter's own channel
    n         ' '  padding             −∞ in every channel: never scored
    n + 1     '*'  any letter          1/n in every channel
    n + 2     '-'  zero                0 in every channel
    n + 3 …   further codes (IUPAC)    1/m in the channels of their m letters

A further code that means what an earlier symbol means shares its number: DNA's N is
'*'. Scoring against a PSAM is a product of its weights with these rows, so '*' scores
the mean of a position's weights, and '-' scores 0.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pyprobound._texts import NotTextError, Texts
from pyprobound.errors import InputError

PADDING = " "
WILDCARD = "*"
ZERO = "-"

_SHOWN = 40  # characters of a sequence that an error message repeats
_LARGEST_TABLE = 2**20  # entries of a table of monomers

_IUPAC = {
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


def shorten(sequence: str) -> str:
    """Return the sequence in quotes, cut to what fits in a one-line message."""
    if len(sequence) <= _SHOWN:
        return repr(sequence)
    return repr(sequence[: _SHOWN - 1] + "…")


class Alphabet:
    """The letters of a probe, in order, with the codes that stand for several.

    An alphabet is never changed after its construction. Two alphabets with the same
    letters, complement and codes are equal, whatever their class or colours.

    In strings every symbol takes `monomer_length` characters; a one-character code is
    repeated to that width (``'***'`` is one wildcard among codons).

    Attributes:
        alphabet: The n letters.
        complement: Whether the letters in reversed order are their complements.
        monomer_length: Characters per letter.
        color_scheme: Colours of the letters in logos (a name or letter → colour).
        neginf_pad: Code of ' ' (= n).
        wildcard_pad: Code of '*' (= n + 1).
        zero_pad: Code of '-' (= n + 2).
        get_index: Symbol → code.
        get_encoding: Symbol → ascending indices of the letters it stands for: all for
            '*', none for '-' and for ' ' (which differ in `embed` alone).
        get_inv_encoding: Letter indices → the first symbol that stands for them; no
            letter at all is '-'.
    """

    def __init__(
        self,
        alphabet: Iterable[str],
        complement: bool = False,
        monomer_length: int = 1,
        encoding: Mapping[str, Iterable[str]] | None = None,
        color_scheme: str | dict[str, str | list[float]] | None = None,
    ) -> None:
        """Number the letters and codes.

        Args:
            alphabet: The letters, each of `monomer_length` characters.
            complement: Whether the reversed order of the letters is their complement
                (A, C, G, T ↔ T, G, C, A); both strands are scored then.
            monomer_length: Characters per letter.
            encoding: Further codes and the letters each of them stands for.
            color_scheme: Colours of the letters in logos.

        Raises:
            ValueError: A letter is repeated, reserved or of another length, or a code
                clashes with another symbol or names an unknown letter.
        """
        self.alphabet: tuple[str, ...] = tuple(alphabet)
        self.complement = complement
        self.monomer_length = monomer_length
        self.color_scheme = color_scheme
        self._check_letters()

        n = len(self.alphabet)
        self.neginf_pad = n
        self.wildcard_pad = n + 1
        self.zero_pad = n + 2
        self.get_index: dict[str, int] = {x: i for i, x in enumerate(self.alphabet)}
        self.get_index |= {PADDING: n, WILDCARD: n + 1, ZERO: n + 2}
        self.get_encoding: dict[str, tuple[int, ...]] = {
            x: (i,) for i, x in enumerate(self.alphabet)
        }
        self.get_encoding |= {PADDING: (), WILDCARD: tuple(range(n)), ZERO: ()}
        self.get_inv_encoding: dict[tuple[int, ...], str] = {}
        for symbol, letters in self.get_encoding.items():
            if symbol != PADDING:
                self.get_inv_encoding.setdefault(letters, symbol)
        for code, members in (encoding or {}).items():
            self._add_code(code, members)

        self._symbols = self._written_symbols()
        self._lookup = self._written_codes()
        self._byte_lookup = self._written_bytes()
        self._embeddings: dict[tuple[torch.dtype, torch.device, float], Tensor] = {}

    def _check_letters(self) -> None:
        """Raise ValueError unless the letters are distinct and of the right length."""
        if self.monomer_length < 1:
            msg = f"monomer_length {self.monomer_length} must be at least 1"
            raise ValueError(msg)
        if not self.alphabet:
            msg = "an alphabet needs at least one letter"
            raise ValueError(msg)
        reserved = {x * k for x in " *-" for k in (1, self.monomer_length)}
        seen: set[str] = set()
        for letter in self.alphabet:
            if len(letter) != self.monomer_length:
                msg = (
                    f"letter {letter!r} has {len(letter)} characters, not the "
                    f"monomer_length {self.monomer_length}"
                )
                raise ValueError(msg)
            if letter in reserved:
                msg = f"{letter!r} is reserved, choose another letter"
                raise ValueError(msg)
            if letter in seen:
                msg = f"letter {letter!r} is listed twice"
                raise ValueError(msg)
            seen.add(letter)

    def _add_code(self, code: str, members: Iterable[str]) -> None:
        """Give a code its letters and its number, shared with an equal symbol's."""
        members = tuple(members)
        if len(code) not in {1, self.monomer_length}:
            msg = (
                f"code {code!r} has {len(code)} characters; it needs one, or the "
                f"monomer_length {self.monomer_length}"
            )
            raise ValueError(msg)
        unknown = [x for x in members if x not in self.alphabet]
        if unknown:
            msg = f"code {code!r} stands for {unknown[0]!r}, which is not a letter"
            raise ValueError(msg)
        letters = tuple(sorted({self.get_index[x] for x in members}))
        if code in self.get_index:
            if code == PADDING or self.get_encoding[code] != letters:
                msg = f"code {code!r} is taken: it is a letter or a reserved code"
                raise ValueError(msg)
            return
        twin = self.get_inv_encoding.setdefault(letters, code)
        number = self.n_codes if twin == code else self.get_index[twin]
        self.get_index[code] = number
        self.get_encoding[code] = letters

    def _written(self, symbol: str) -> str:
        """Return a symbol as it is written in a sequence, monomer_length wide."""
        if len(symbol) == self.monomer_length:
            return symbol
        return symbol * self.monomer_length

    def _written_symbols(self) -> tuple[str, ...]:
        """Return the written symbol of every code (the first of those that share)."""
        first: dict[int, str] = {}
        for symbol, number in self.get_index.items():
            first.setdefault(number, self._written(symbol))
        return tuple(first[number] for number in range(self.n_codes))

    def _written_codes(self) -> dict[str, int]:
        """Return written symbol → code; symbols that are written alike must agree."""
        lookup: dict[str, int] = {}
        for symbol, number in self.get_index.items():
            if lookup.setdefault(self._written(symbol), number) != number:
                msg = f"{symbol!r} is written like another symbol, but differs from it"
                raise ValueError(msg)
        return lookup

    def _written_bytes(self) -> tuple[bytes, NDArray[np.generic]] | None:
        """Return the table of codes that a monomer is looked up in, byte by byte.

        Returns:
            The kind of every byte; and the code (n_codes where unknown) of every
            monomer, in a table with an axis of kinds for each of its characters. None
            where that table would be large, or a symbol is not ASCII.
        """
        if not all(x.isascii() for x in self._lookup):
            return None
        width = self.monomer_length
        if width == 1:
            kinds = np.full(256, self.n_codes, self._code_dtype)
            for symbol, number in self._lookup.items():
                kinds[ord(symbol)] = number
            if kinds.dtype == np.uint8:
                return kinds.tobytes(), kinds
        known = sorted({x for symbol in self._lookup for x in symbol})
        n_kinds = len(known) + 1  # the last one is every other byte
        if n_kinds**width > _LARGEST_TABLE:
            return None
        kind = np.full(256, len(known), np.uint8)
        kind[[ord(x) for x in known]] = np.arange(len(known))
        table = np.full((n_kinds,) * width, self.n_codes, self._code_dtype)
        for symbol, code in self._lookup.items():
            table[tuple(map(known.index, symbol))] = code
        return kind.tobytes(), table

    @property
    def n_letters(self) -> int:
        """Number of letters (channels of an embedded probe)."""
        return len(self.alphabet)

    @property
    def n_codes(self) -> int:
        """Number of integer codes: letters, ' ', '*', '-' and further codes."""
        return max(self.get_index.values()) + 1

    @property
    def complement_index(self) -> tuple[int, ...]:
        """Index of the complement of each letter.

        Raises:
            ValueError: The alphabet has no complement.
        """
        if not self.complement:
            msg = f"{self!r} has no complement; only one strand can be scored"
            raise ValueError(msg)
        return tuple(reversed(range(self.n_letters)))

    @property
    def _code_dtype(self) -> np.dtype[Any]:
        """Smallest integer type of NumPy and PyTorch for the codes and one more."""
        # one more than the codes: n_codes itself marks an unknown letter
        types = (np.uint8, np.int16, np.int32)
        return next(np.dtype(t) for t in types if self.n_codes <= np.iinfo(t).max)

    # -- strings and codes -------------------------------------------------------

    def encode(self, sequences: Collection[str], length: int | None = None) -> Tensor:
        """Return the codes of many sequences, left-aligned and padded with ' '.

        Args:
            sequences: The sequences: a list, an array or a pandas Index of strings.
            length: Letters per row; by default the longest sequence's.

        Returns:
            Integer codes of shape (probe, length), uint8 if they fit.

        Raises:
            InputError: A sequence has an unknown letter, is no string, or is longer
                than `length`; the message names it, by row and position from 0.
        """
        if isinstance(sequences, str):
            msg = "encode takes many sequences; translate takes one"
            raise TypeError(msg)
        try:
            texts = Texts.of(sequences)
        except NotTextError as error:
            msg = f"sequence {error.row} is {error.value!r}, not a string"
            raise InputError(msg) from None
        return self.encode_texts(texts, length)

    def encode_texts(
        self, texts: Texts, length: int | None = None, first: int = 0
    ) -> Tensor:
        """Return the codes of strings that lie end to end; see `encode`.

        Args:
            texts: The sequences.
            length: Letters per row; by default the longest sequence's.
            first: The number of the first of them, for messages.

        Raises:
            InputError: As `encode`.
        """
        lengths = texts.lengths
        if self.monomer_length > 1:
            self._check_monomers(texts, first)
            lengths = lengths // self.monomer_length
        longest = int(lengths.max(initial=0))
        if length is None:
            length = longest
        elif longest > length:
            row = int(lengths.argmax())
            msg = (
                f"sequence {first + row} {shorten(texts[row])} has {longest} letters, "
                f"more than {length}"
            )
            raise InputError(msg)
        codes = self._codes(texts.characters)
        if (codes == self.n_codes).any():
            raise InputError(self._unknown_letter(texts, lengths, codes, first))
        return torch.from_numpy(self._pad(codes, lengths, length))

    def _codes(
        self, characters: NDArray[np.uint8] | NDArray[np.uint32]
    ) -> NDArray[np.generic]:
        """Return the code of every monomer of a text, n_codes where unknown."""
        if self._byte_lookup is None or characters.dtype != np.uint8:
            return self._rare_codes(characters)
        kinds, table = self._byte_lookup
        # a table of bytes is applied faster by Python than by NumPy
        text = bytearray(characters).translate(kinds)
        kind = np.frombuffer(text, np.uint8)
        if self.monomer_length == 1:
            return kind if table.dtype == np.uint8 else table[kind]
        columns = kind.reshape(-1, self.monomer_length).T
        number = columns[0].astype(np.intp)
        for column in columns[1:]:
            number *= len(table)
            number += column
        codes: NDArray[np.generic] = table.reshape(-1)[number]
        return codes

    def _rare_codes(
        self, characters: NDArray[np.uint8] | NDArray[np.uint32]
    ) -> NDArray[np.generic]:
        """Return the code of every monomer, whatever its characters are."""
        wide = characters.astype("<u4", copy=False)
        monomers = wide.view(f"<U{self.monomer_length}")
        distinct, which = np.unique(monomers, return_inverse=True)
        codes = [self._lookup.get(x, self.n_codes) for x in distinct.tolist()]
        return np.array(codes, self._code_dtype)[which]

    def _pad(
        self, codes: NDArray[np.generic], lengths: NDArray[np.int64], width: int
    ) -> NDArray[np.generic]:
        """Lay concatenated codes out in rows of `width`, padded on the right."""
        if (lengths == width).all():
            return codes.reshape(len(lengths), width)
        rows = np.full((len(lengths), width), self.neginf_pad, codes.dtype)
        rows[np.arange(width) < lengths[:, None]] = codes  # both in row-major order
        return rows

    def _check_monomers(self, texts: Texts, first: int) -> None:
        """Raise InputError unless every sequence is a whole number of monomers."""
        broken = np.flatnonzero(texts.lengths % self.monomer_length)
        if not broken.size:
            return
        row = int(broken[0])
        msg = (
            f"sequence {first + row} {shorten(texts[row])} has {len(texts[row])} "
            f"characters, not a multiple of the monomer length {self.monomer_length}"
        )
        raise InputError(msg)

    def _unknown_letter(
        self,
        texts: Texts,
        lengths: NDArray[np.int64],
        codes: NDArray[np.generic],
        first: int,
    ) -> str:
        """Describe the first unknown letter of concatenated sequences."""
        place = int((codes == self.n_codes).argmax())
        row = int(np.searchsorted(lengths.cumsum(), place, side="right"))
        position = place - int(lengths[:row].sum())
        start = position * self.monomer_length
        text = texts[row]
        letter = text[start : start + self.monomer_length]
        which = f"sequence {first + row} " if len(texts) > 1 or first else ""
        hint = ", but its capital is" if letter.upper() in self._lookup else ""
        return (
            f"letter {letter!r} at position {position} (from 0) of {which}"
            f"{shorten(text)} is not in the alphabet {self._described()}{hint}"
        )

    def _described(self) -> str:
        """Return the letters and codes for a message, the first ones if many."""
        separator = "" if self.monomer_length == 1 else " "
        known = (*self.alphabet, self._written(PADDING))
        codes = separator.join(x for x in self._lookup if x not in known)
        shown = self.alphabet if self.n_letters <= _SHOWN else (*self.alphabet[:4], "…")
        return f"{separator.join(shown)} (codes {codes})"

    def translate(self, sequence: str) -> Tensor:
        """Return the int64 codes of one sequence, shape (length,).

        Raises:
            InputError: (a ValueError) The sequence has an unknown letter; the message
                names it and its position from 0.

        >>> DNA().translate("GATN*").tolist()
        [2, 0, 3, 5, 5]
        """
        return self.encode([sequence])[0].long()

    def decode(self, codes: Tensor) -> str:
        """Return the sequence of a row of codes, without the padding at its end.

        The inverse of `translate`, up to codes that share a number: DNA's N reads '*'.

        Args:
            codes: Integer codes, shape (length,).

        >>> DNA().decode(DNA().encode(["GAT", "ACGT"])[0])
        'GAT'
        """
        numbers: list[int] = codes.tolist()
        while numbers and numbers[-1] == self.neginf_pad:
            numbers.pop()
        return "".join(self._symbols[number] for number in numbers)

    # -- embeddings --------------------------------------------------------------

    def embedding(
        self, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Return the row of letter fractions of every code.

        The row of ' ' is zeros: whoever uses this table deals with padding by itself,
        as `embed` does. The tensor is shared between calls and must not be written to.

        Args:
            dtype: Floating type, PyTorch's default if not given.
            device: Where the table lies, the CPU if not given.

        Returns:
            Fractions of shape (code, letter).
        """
        return self._embedding(dtype, device, 0.0)

    def _embedding(
        self, dtype: torch.dtype | None, device: torch.device | None, padding: float
    ) -> Tensor:
        """Return the embedding table with `padding` in the row of ' '."""
        dtype = dtype or torch.get_default_dtype()
        device = device or torch.device("cpu")
        key = (dtype, device, padding)
        if key not in self._embeddings:
            rows = np.zeros((self.n_codes, self.n_letters))
            for symbol, letters in self.get_encoding.items():
                rows[self.get_index[symbol], letters] = 1 / max(len(letters), 1)
            rows[self.neginf_pad] = padding
            # a tensor made in inference mode could never serve a gradient later
            with torch.inference_mode(mode=False):
                self._embeddings[key] = torch.tensor(rows, dtype=dtype, device=device)
        return self._embeddings[key]

    def embed(self, seqs: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the letter fractions of probes, with −∞ in all channels of ' '.

        Args:
            seqs: Integer codes, shape (probe, position).
            dtype: Floating type, PyTorch's default if not given.

        Returns:
            Fractions of shape (probe, letter, position).
        """
        table = self._embedding(dtype, seqs.device, float("-inf"))
        rows = functional.embedding(seqs.int(), table)  # (probe, position, letter)
        return rows.transpose(-1, -2).contiguous()

    def pairwise_embed(
        self, seqs: Tensor, dist: int, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the fractions of letter pairs `dist` apart: products of both letters'.

        A pair with ' ' is −∞ in all channels; else one with '-' is 0 in all.

        Args:
            seqs: Integer codes, shape (probe, position).
            dist: Distance of the second letter from the first, at least 1.
            dtype: Floating type, PyTorch's default if not given.

        Returns:
            Fractions of shape (probe, letter², position − dist): channel
            n·(letter at i) + (letter at i + dist).

        Raises:
            ValueError: The distance is not between 1 and the number of positions.
        """
        width = seqs.shape[-1] - dist
        if dist < 1 or width < 0:
            msg = f"dist {dist} must be between 1 and the length {seqs.shape[-1]}"
            raise ValueError(msg)
        table = self.embedding(dtype, seqs.device)
        first, second = seqs[..., :width], seqs[..., dist:]
        rows = functional.embedding(first.int(), table).transpose(-1, -2)
        columns = functional.embedding(second.int(), table).transpose(-1, -2)
        pairs = rows.unsqueeze(-2) * columns.unsqueeze(-3)  # (probe, x, y, position)
        padded = (first == self.neginf_pad) | (second == self.neginf_pad)
        return pairs.flatten(-3, -2).masked_fill_(padded.unsqueeze(-2), float("-inf"))

    # -- identity ----------------------------------------------------------------

    def _content(self) -> tuple[object, ...]:
        """Return all that decides how a probe is encoded and scored."""
        codes = frozenset(
            (x, i, self.get_encoding[x]) for x, i in self.get_index.items()
        )
        return self.alphabet, self.complement, self.monomer_length, codes

    def __eq__(self, other: object) -> bool:
        """Whether both have the same letters, complement and codes."""
        if not isinstance(other, Alphabet):
            return NotImplemented
        return self._content() == other._content()

    def __hash__(self) -> int:
        """Hash the letters, complement and codes."""
        return hash(self._content())

    def __repr__(self) -> str:
        """Return the call that makes a built-in alphabet, or the letters."""
        if type(self) is not Alphabet:
            return f"{type(self).__name__}()"
        letters = ("" if self.monomer_length == 1 else " ").join(self.alphabet)
        return f"Alphabet({letters!r}, complement={self.complement})"

    def __copy__(self) -> Self:
        """Return the alphabet itself, which never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the alphabet itself: copies of a model keep sharing it."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without tables that may lie on a GPU."""
        return self.__dict__ | {"_embeddings": {}}


class DNA(Alphabet):
    """A, C, G, T with the IUPAC codes; both strands are read."""

    def __init__(self) -> None:
        """Number A, C, G, T and the IUPAC codes."""
        super().__init__(
            "ACGT", complement=True, encoding=_IUPAC, color_scheme="classic"
        )


class RNA(Alphabet):
    """A, C, G, U with the IUPAC codes; one strand."""

    def __init__(self) -> None:
        """Number A, C, G, U and the IUPAC codes."""
        encoding = {code: x.replace("T", "U") for code, x in _IUPAC.items()}
        super().__init__("ACGU", encoding=encoding, color_scheme="classic")


class Codon(Alphabet):
    """The 64 triplets of A, C, G, T in lexical order (AAA, AAC, …); one strand."""

    def __init__(self) -> None:
        """Number the triplets; NNN is '*'."""
        triplets = [x + y + z for x in "ACGT" for y in "ACGT" for z in "ACGT"]
        super().__init__(triplets, monomer_length=3, encoding={"NNN": triplets})


class Protein(Alphabet):
    """The 20 amino acids in the order of their one-letter codes; one strand."""

    def __init__(self) -> None:
        """Number the amino acids and B (D, N), Z (E, Q), J (I, L), X (any)."""
        amino_acids = "ACDEFGHIKLMNPQRSTVWY"
        super().__init__(
            amino_acids,
            encoding={"B": "DN", "Z": "EQ", "J": "IL", "X": amino_acids},
            color_scheme="skylign_protein",
        )
