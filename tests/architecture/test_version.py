"""The version is said once; what must repeat it agrees."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from pyprobound._version import __version__

REPOSITORY = Path(__file__).parents[2]


def test_citation_gives_the_version_of_the_package() -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.findall(r"^version: (\S+)$", citation, flags=re.MULTILINE)
    assert cited == [__version__]


def test_installed_distribution_gives_the_version_of_the_package() -> None:
    try:
        installed = version("pyprobound-engine")
    except PackageNotFoundError:
        pytest.skip("the package is on the path but not installed")
    assert installed == __version__
