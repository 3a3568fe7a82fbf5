"""Errors go through a file unchanged, and only with the model they belong to."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyprobound.errors import CheckpointError
from pyprobound.uncertainty import Uncertainty
from tests.uncertainty.models import LIBRARIES, KdSeq, fitted_kd_seq


@pytest.fixture(scope="module")
def made() -> KdSeq:
    return fitted_kd_seq()


@pytest.fixture
def path(made: KdSeq, tmp_path: Path) -> Path:
    saved = tmp_path / "errors.npz"
    Uncertainty(made.model, [made.table]).save(saved)
    return saved


def test_errors_go_through_a_file_unchanged(made: KdSeq, path: Path) -> None:
    before = Uncertainty(made.model, [made.table])
    after = Uncertainty.load(path, made.model)
    assert after.dispersion == before.dispersion
    assert after.is_widened
    assert torch.equal(after.covariance, before.covariance)
    for name in ("log_free_protein", "log_kd"):
        arguments = (
            made.experiment,
            *([made.table.seqs[:5]] if name == "log_kd" else []),
        )
        one, other = (
            getattr(each, name)(*arguments, *LIBRARIES) for each in (before, after)
        )
        assert torch.equal(one.error, other.error)


def changed(path: Path, **arrays: object) -> None:
    with np.load(io.BytesIO(path.read_bytes())) as archive:
        content = {key: archive[key] for key in archive.files}
    np.savez(path, **(content | arrays))  # type: ignore[arg-type]


def test_another_model_is_refused(path: Path) -> None:
    other = fitted_kd_seq(seed=1)
    with pytest.raises(CheckpointError, match="belongs to other parameters"):
        Uncertainty.load(path, other.model)


def test_damaged_and_later_files_are_refused(made: KdSeq, path: Path) -> None:
    whole = path.read_bytes()
    changed(path, header=np.array(json.dumps({"format": 99})))
    with pytest.raises(CheckpointError, match="format 99 of a later version"):
        Uncertainty.load(path, made.model)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        Uncertainty.load(path, made.model)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        Uncertainty.load(path, made.model)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        Uncertainty.load(path, made.model)
