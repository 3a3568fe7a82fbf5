"""How tests/golden/data was made from the golden numbers; none was changed.

    python -m tests.golden.pack GOLDEN

GOLDEN/core/*.json and *.pt are copied. Of GOLDEN/cooperativity/*.npz everything is
kept but

- `score_windows`: kept for the first, a shortest and a longest probe (`probes`);
- `log_spacing_diagonal.I`: their shapes are kept; their numbers are those along the
  diagonals of `log_spacing_matrix`, and 0 for lengths that the bias has no entry for;

and the diagonals' biases are joined to one flat array with its shapes, because each
entry of an archive costs more than most of them hold.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
Array = NDArray[np.float64]


Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


def diagonals(matrix: Array) -> list[Array]:
    """Return the diagonals of the last two axes, from the lowest to the highest."""
    n_a, n_b = matrix.shape[-2:]
    offsets = range(-(n_a - 1), n_b)
    return [np.diagonal(matrix, offset, -2, -1) for offset in offsets]


def listed(arrays: Arrays, stem: str) -> list[Array]:
    """Return the arrays stem.0, stem.1 and so on."""
    count = sum(name.startswith(f"{stem}.") for name in arrays)
    return [arrays.pop(f"{stem}.{index}") for index in range(count)]


def joined(arrays: list[Array]) -> tuple[Array, Integers]:
    """Return the numbers of several arrays in a row, and the arrays' shapes."""
    shapes = np.array([array.shape for array in arrays])
    return np.concatenate([array.ravel() for array in arrays]), shapes


def split(flat: Array, shapes: Integers) -> list[Array]:
    """Return what `joined` was given."""
    ends = np.cumsum(shapes.prod(1))[:-1]
    parts = np.split(flat, ends)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def expected_diagonals(arrays: Arrays) -> list[Array]:
    """Return the case's `log_spacing_diagonal.I` from what is kept of them."""
    expected = []
    matrix, shapes = arrays["log_spacing_matrix"], arrays["log_spacing_diagonal.shapes"]
    lengths_a, lengths_b = arrays["param.log_posbias.shapes"][0, :2]
    for shape, diagonal in zip(shapes, diagonals(matrix), strict=True):
        values = np.broadcast_to(diagonal, shape).copy()
        values[: shape[0] - lengths_a] = 0
        values[:, : shape[1] - lengths_b] = 0
        expected.append(values)
    return expected


def packed(arrays: Arrays, lengths: list[int]) -> Arrays:
    """Return the arrays of a case of cooperativity in the form that is kept."""
    for stem in ("param.log_posbias", "grad.log_posbias"):
        parts = listed(arrays, stem)
        if parts:
            arrays[stem], arrays[f"{stem}.shapes"] = joined(parts)
    found = listed(arrays, "log_spacing_diagonal")
    arrays["log_spacing_diagonal.shapes"] = np.array([d.shape for d in found])
    expected = expected_diagonals(arrays)
    if not all(map(np.array_equal, found, expected)):
        raise ValueError("a diagonal disagrees with the matrix")
    probes = sorted({0, int(np.argmin(lengths)), int(np.argmax(lengths))})
    arrays["probes"] = np.array(probes)
    arrays["score_windows"] = arrays["score_windows"][probes]
    return arrays


def main(golden: Path) -> None:
    """Write tests/golden/data."""
    for folder in ("core", "cooperativity"):
        (DATA / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((golden / folder).glob("*.json")):
            shutil.copyfile(path, DATA / folder / path.name)
    for path in sorted((golden / "core").glob("*.pt")):
        shutil.copyfile(path, DATA / "core" / path.name)
    for path in sorted((golden / "cooperativity").glob("*.npz")):
        case = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path) as archive:
            arrays = packed(dict(archive), [len(seq) for seq in case["seqs"]])
        target = DATA / "cooperativity" / path.name
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
            for name, array in sorted(arrays.items()):
                # A fixed date, so that the same numbers give the same file.
                entry = zipfile.ZipInfo(f"{name}.npy", (2020, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                with out.open(entry, "w") as file:
                    np.lib.format.write_array(file, np.asarray(array, order="C"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
