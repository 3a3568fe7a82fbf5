"""Every motif format: what is written is read again; damage is told in one line."""

import string
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyprobound.errors import PyProBoundError
from pyprobound.motifs import FORMATS, Motif, read_motifs, write_motifs

each_format = pytest.mark.parametrize("name", FORMATS)
few = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

words = st.text(string.ascii_letters + string.digits + "._:()", min_size=1, max_size=9)
numbers = st.floats(-30, 0, allow_subnormal=False)


@st.composite
def energies(draw: st.DrawFn) -> np.ndarray:
    size = draw(st.integers(1, 7))
    drawn = draw(st.lists(numbers, min_size=4 * size, max_size=4 * size))
    values = np.array(drawn).reshape(4, size)
    values[0] -= 1  # never the same for all letters, which is no motif
    values[1] = 0
    return values


@st.composite
def motifs(draw: st.DrawFn) -> list[Motif]:
    skewed = np.array(draw(st.lists(st.integers(1, 9), min_size=4, max_size=4)))
    names = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    return [
        Motif(f"x{name}", "ACGT", draw(energies()), background=skewed / skewed.sum())
        for name in names
    ]


def rewritten(folder: Path, name: str, given: list[Motif]) -> list[Motif]:
    suffix = (FORMATS[name].suffixes or (".json",))[0]
    path = folder / f"file{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_motifs(path, given, name)
    return read_motifs(path, name, pseudocount=0)


@each_format
@few
@given(given_motifs=motifs())
def test_energies_come_back(
    name: str, given_motifs: list[Motif], tmp_path: Path
) -> None:
    found = rewritten(tmp_path, name, given_motifs)
    assert len(found) == len(given_motifs)
    for new, old in zip(found, given_motifs, strict=True):
        assert new.name == old.name or name in ("probound", "motifcentral")
        np.testing.assert_allclose(
            new.at_best().values, old.values, rtol=1e-12, atol=1e-12
        )


@each_format
@few
@given(given_motifs=motifs())
def test_what_was_read_is_written_the_same(
    name: str, given_motifs: list[Motif], tmp_path: Path
) -> None:
    first = rewritten(tmp_path, name, given_motifs)
    again = rewritten(tmp_path, name, first)
    for new, old in zip(again, first, strict=True):
        assert (new.name, new.identifier) == (old.name, old.identifier)
        np.testing.assert_allclose(new.values, old.values, rtol=1e-14, atol=1e-300)
        np.testing.assert_allclose(new.background, old.background, rtol=1e-14)


@each_format
@few
@given(given_motifs=motifs(), keep=st.floats(0, 1), data=st.data())
def test_damage_is_told_in_one_line(
    name: str,
    given_motifs: list[Motif],
    keep: float,
    data: st.DataObject,
    tmp_path: Path,
) -> None:
    rewritten(tmp_path, name, given_motifs)
    path = next(tmp_path.glob("file.*"))
    content = path.read_bytes()
    for damaged in (
        content[: int(keep * len(content))],
        b"".join(
            bytes([data.draw(st.integers(0, 255))]) + part
            for part in (content[: len(content) // 2], content[len(content) // 2 :])
        ),
        content.replace(*data.draw(st.sampled_from(REPLACED))),
    ):
        path.write_bytes(damaged)
        for known in (name, None):
            said = refusal(path, known)
            assert said is None or (str(path) in said and len(said.splitlines()) == 1)


def refusal(path: Path, name: str | None) -> str | None:
    """Return what is said of a file that is refused; any other error is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_motifs(path, name)
        except PyProBoundError as error:
            return str(error)
    return None


REPLACED = [
    (b"0", b"-"),
    (b"0", b"nan"),
    (b"1", b"1e999"),
    (b" ", b""),
    (b"\t", b"\n"),
    (b"\n", b" "),
    (b"[", b"{"),
    (b"0.", b""),
    (b"A", b"X"),
]


@settings(few, max_examples=6)
@given(text=st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    for name in FORMATS:
        with pytest.raises(PyProBoundError, match="file") as raised:
            read_motifs(path, name)
        assert len(str(raised.value).splitlines()) == 1
