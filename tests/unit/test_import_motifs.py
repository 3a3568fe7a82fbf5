"""Published motifs, from files, a package, and a server that is not there."""

import io
import json
import sys
import types
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request

import numpy as np
import pytest

from pyprobound.errors import InputError
from pyprobound.external import import_hocomoco, import_jaspar, import_motif_central
from pyprobound.motifs import _fetch
from tests.unit.test_motifs import COUNTS, GOLDEN, JASPAR, PFM, PWM

ENTRY = GOLDEN / "scoring" / "mc_10648.json"
WANTED = np.log(np.array(COUNTS) + np.sqrt(20) / 4)
WANTED -= WANTED.max(0)
AHR = "AHR_HUMAN.H11MO.0.B"
AHR_ENERGIES = [[-1, -1.75], [-1.75, -2.75], [0, -3.75], [-1.5, 0]]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no files, no package, and no server."""
    for name in (_fetch.CENTRAL, _fetch.JASPAR, _fetch.HOCOMOCO):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "pyjaspar", None)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a test has asked the web")

    monkeypatch.setattr(_fetch, "urlopen", refuse)


def serve(monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception) -> list[str]:
    asked = []

    def open_url(request: Request, timeout: float) -> io.BytesIO:
        assert 0 < timeout < 120
        asked.append(request.full_url)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(_fetch, "urlopen", open_url)
    return asked


def energies(psam: Any) -> np.ndarray:
    assert psam.score_reverse
    return psam.get_filter(0)[0].detach().numpy()


def test_motif_central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = json.loads(ENTRY.read_text())
    entry["metadata"] = {"fit_id": 10648, "factors": [{"gene_symbol": "X"}]}
    path = tmp_path / "central.json"
    path.write_text(json.dumps([entry]))
    numbers = np.array(entry["coefficients"]["bindingModes"][0]["mononucleotide"])
    wanted = numbers.reshape(-1, 4).T
    found = energies(import_motif_central(10648, path))
    np.testing.assert_allclose(found, wanted - wanted.max(0), rtol=1e-6)
    with pytest.raises(InputError, match="no fit_id 1"):
        import_motif_central(1, path)
    with pytest.raises(InputError, match="PYPROBOUND_MOTIF_CENTRAL"):
        import_motif_central(10648)
    monkeypatch.setenv("PYPROBOUND_MOTIF_CENTRAL", str(path))
    np.testing.assert_array_equal(energies(import_motif_central(10648)), found)


def test_jaspar_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all.jaspar").write_text(">MA1.1\tX\n1\n1\n1\n1\n" + JASPAR)
    (tmp_path / "MA0004.1.pfm").write_text(PFM)
    for source in (tmp_path / "all.jaspar", tmp_path):
        found = energies(import_jaspar("MA0004.1", source))
        np.testing.assert_allclose(found, WANTED, rtol=1e-6)
    monkeypatch.setenv("PYPROBOUND_JASPAR", str(tmp_path))
    np.testing.assert_allclose(energies(import_jaspar("MA0004.1")), WANTED, rtol=1e-6)
    with pytest.raises(InputError, match=r"MA0002\.1\.jaspar"):
        import_jaspar("MA0002.1")
    with pytest.raises(InputError, match=r"none of 2 motifs is MA0002\.1"):
        import_jaspar("MA0002.1", tmp_path / "all.jaspar")


def test_jaspar_from_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict(zip("ACGT", COUNTS, strict=True))
    found = SimpleNamespace(name="Arnt", matrix_id="MA0004.1", counts=counts)
    base = SimpleNamespace(fetch_motif_by_id={"MA0004.1": found}.get)
    module = types.ModuleType("pyjaspar")
    module.jaspardb = lambda: base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyjaspar", module)
    np.testing.assert_allclose(energies(import_jaspar("MA0004.1")), WANTED, rtol=1e-6)
    asked = serve(monkeypatch, JASPAR.encode())
    import_jaspar("MA0009.1")
    assert len(asked) == 1


def test_jaspar_from_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, JASPAR.encode())
    np.testing.assert_allclose(energies(import_jaspar("MA0004.1")), WANTED, rtol=1e-6)
    assert asked == ["https://jaspar.elixir.no/api/v1/matrix/MA0004.1/?format=jaspar"]


def test_hocomoco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{AHR}.pwm").write_text(PWM)
    for source in (tmp_path, tmp_path / f"{AHR}.pwm"):
        found = energies(import_hocomoco(AHR, source))
        np.testing.assert_allclose(found, AHR_ENERGIES, rtol=1e-6)
    asked = serve(monkeypatch, PWM.encode())
    np.testing.assert_allclose(energies(import_hocomoco(AHR)), AHR_ENERGIES, rtol=1e-6)
    assert asked[0].endswith(f"/hocomoco11/full/HUMAN/mono/pwm/{AHR}.pwm")
    with pytest.raises(InputError, match="H11MO or H12CORE"):
        import_hocomoco("AHR_HUMAN")


MISSING = HTTPError("http://x", 404, "Not Found", Message(), None)
DOWN = HTTPError("http://x", 503, "Busy", Message(), None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (MISSING, "no such entry"),
        (DOWN, "the server says 503"),
        (URLError("no route"), r"no answer \(no route\)"),
        (TimeoutError("timed out"), r"no answer \(timed out\)"),
        (b"\xff\xfe", "no text"),
        (b"<html>", "line 1"),
        (JASPAR[:40].encode(), "line [23]: "),
        (b"", "none of 0 motifs"),
    ],
    ids=str,
)
def test_a_web_that_fails_is_told_in_one_line(
    answer: bytes | Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, answer)
    for load in (import_jaspar, import_hocomoco):
        with pytest.raises(InputError, match=reason) as raised:
            load(AHR)
        assert str(raised.value).startswith("https://")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a/../b", "a b", "é", "?x"])
def test_names_that_are_no_names_go_nowhere(name: str) -> None:
    for load in (import_jaspar, import_hocomoco):
        with pytest.raises(InputError, match="is no name of"):
            load(name)
