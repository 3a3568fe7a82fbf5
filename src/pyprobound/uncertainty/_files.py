"""The covariance of a fitted model on disk.

A NumPy archive, so that whoever wants it needs no PyTorch: see docs/formats.md.
"""

import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyprobound._files import replacing
from pyprobound.errors import CheckpointError
from pyprobound.fisher import FreeParameters

FORMAT = 1
SAME = 1e-6
"""How closely the model's parameters must be those that the file was made at."""


@dataclass(frozen=True)
class Findings:
    """What the tables say of the errors of a model.

    Attributes:
        covariance: (P, P), 0 in directions without information.
        unidentified: (P, directions) orthonormal, without information.
        dispersion: Of each table.
        is_widened: Whether the dispersion widens the covariance.
        reads: For each table (rounds,) reads.
        read_gradients: For each table (rounds, P), the derivatives of expected reads.
    """

    covariance: Tensor
    unidentified: Tensor
    dispersion: Sequence[float]
    is_widened: bool
    reads: Sequence[Tensor]
    read_gradients: Sequence[Tensor]


def save_findings(
    path: str | os.PathLike[str],
    found: Findings,
    free: FreeParameters,
    largest_error: float,
) -> None:
    """Write findings in one piece."""
    header = {
        "format": FORMAT,
        "largest_error": largest_error,
        "is_widened": found.is_widened,
        "n_tables": len(found.reads),
    }
    arrays = {
        "header": np.array(json.dumps(header)),
        "parameters": np.array(free.labels(), dtype=np.str_),
        "values": free.get().numpy(),
        "covariance": found.covariance.numpy(),
        "unidentified": found.unidentified.numpy(),
        "dispersion": np.array(list(found.dispersion), dtype=np.float64),
    }
    for index, reads in enumerate(found.reads):
        arrays[f"reads_{index}"] = reads.numpy()
        arrays[f"read_gradients_{index}"] = found.read_gradients[index].numpy()
    with replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_findings(
    path: str | os.PathLike[str], free: FreeParameters
) -> tuple[Findings, float]:
    """Read findings and the largest error that counts as one.

    Raises:
        CheckpointError: There is none, or it does not belong to these parameters.
    """
    arrays = _arrays(Path(path))
    try:
        header = json.loads(str(arrays["header"]))
        if header["format"] != FORMAT:
            msg = (
                f"{path}: format {header['format']} of a later version; this one reads"
                f" format {FORMAT}"
            )
            raise CheckpointError(msg)
        _check_parameters(path, arrays, free)
        tensors = {
            key: torch.from_numpy(array)
            for key, array in arrays.items()
            if key not in {"header", "parameters"}
        }
        found = Findings(
            tensors["covariance"],
            tensors["unidentified"],
            tensors["dispersion"].tolist(),
            bool(header["is_widened"]),
            [tensors[f"reads_{i}"] for i in range(header["n_tables"])],
            [tensors[f"read_gradients_{i}"] for i in range(header["n_tables"])],
        )
        return found, float(header["largest_error"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        msg = f"{path}: damaged ({error!r}); make the errors again"
        raise CheckpointError(msg) from None


def _arrays(
    path: Path,
) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]:
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror or error})"
        raise CheckpointError(msg) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        msg = f"{path}: damaged ({reason}); make the errors again"
        raise CheckpointError(msg) from None


def _check_parameters(
    path: str | os.PathLike[str],
    arrays: "dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]",
    free: FreeParameters,
) -> None:
    same = arrays["parameters"].tolist() == free.labels()
    values = free.get().numpy()
    if not same or not np.allclose(arrays["values"], values, rtol=SAME, atol=SAME):
        msg = f"{path}: belongs to other parameters than those of the model beside it"
        raise CheckpointError(msg)
