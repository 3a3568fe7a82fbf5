"""Pictures as files: the same picture gives the same bytes; nothing global changes."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from pyprobound import plotting
from pyprobound.errors import PyProBoundError
from pyprobound.plotting._saved import FORMATS
from pyprobound.plotting._style import DIVERGING, new_figure, settings

BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def picture() -> Figure:
    """Draw what makes layouts depend on earlier ones: titles, maps, colour bars."""
    with settings():
        figure, (left, right) = new_figure(3, 1.5, 1, 2)
        left.plot([1, 2, 3], [1, 2, 4])
        left.set_title("Bcd")
        colours = right.imshow(np.eye(5), cmap=DIVERGING)
        figure.colorbar(colours, ax=right, label="log ω")
    return figure


def test_a_picture_has_the_same_bytes_whatever_was_saved_before(tmp_path: Path) -> None:
    used = picture()
    for kind in 2 * FORMATS:
        paths = tmp_path / f"used.{kind}", tmp_path / f"new.{kind}"
        plotting.save(used, paths[0], dpi=100)
        plotting.save(picture(), paths[1], dpi=100)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert paths[0].read_bytes().startswith(BEGINNINGS[kind])


def test_the_text_of_a_picture_is_the_same_each_time() -> None:
    figure = picture()
    texts = {plotting.svg(figure), plotting.svg(figure), plotting.svg(picture())}
    assert len(texts) == 1
    assert texts.pop().startswith("<svg")


def test_a_picture_is_saved_as_it_was_changed_to_be() -> None:
    figure = picture()
    before = plotting.svg(figure)
    figure.axes[0].set_title("Hb")
    after = plotting.svg(figure)
    assert ">Bcd<" in before
    assert ">Hb<" in after


def test_the_text_of_a_picture_has_no_background() -> None:
    assert "#ffffff" not in plotting.svg(picture())


@pytest.mark.parametrize("name", ["a.jpeg", "a", "svg"])
def test_another_ending_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(PyProBoundError, match=r"end the name in \.svg, \.png or \.pdf"):
        plotting.save(picture(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_picture_does_not_depend_on_the_settings_of_the_reader() -> None:
    expected = plotting.svg(picture())
    with mpl.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}
    ):
        assert plotting.svg(picture()) == expected
        assert mpl.rcParams["font.size"] == 30


def test_neither_the_package_nor_saving_imports_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, pyprobound.plotting as plotting\n"
        "from pyprobound.plotting._style import new_figure, settings\n"
        "with settings():\n"
        "    figure, (axes,) = new_figure(2, 2)\n"
        "    axes.plot([1, 2])\n"
        "for kind in ('svg', 'png', 'pdf'):\n"
        "    plotting.save(figure, f'a.{kind}')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    # a backend that would need a display
    environment = {**os.environ, "MPLBACKEND": "qtagg"}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
    )
