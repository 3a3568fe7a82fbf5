"""A count table larger than memory likes: loaded a piece at a time, and fitted.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --probes 2000000 --format tsv.gz

Random probes of 40 letters and their reads in two rounds are written to a temporary
file, and loaded and fitted — non-specific binding and an 8-mer, a few steps of L-BFGS —
in a process of its own, whose peak memory is the result: 20 million probes are to stay
below 4 GB.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROBES = 20_000_000
LENGTH = 40
FORMATS = ("parquet", "tsv", "tsv.gz")
ROWS_AT_ONCE = 2**18
LIMIT = 4e9  # bytes
LETTERS = np.frombuffer(b"ACGT", np.uint8)


# --- the table ---------------------------------------------------------------------


def pieces(n_probes: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Iterate over letters (probes, length) and counts (probes, rounds)."""
    rng = np.random.default_rng(0)
    for start in range(0, n_probes, ROWS_AT_ONCE):
        n_rows = min(ROWS_AT_ONCE, n_probes - start)
        letters = LETTERS[rng.integers(0, 4, (n_rows, LENGTH))]
        # every probe was read before, and CG makes it more likely to be read after
        pairs = (letters[:, :-1] == ord("C")) & (letters[:, 1:] == ord("G"))
        before = rng.integers(1, 4, n_rows)
        yield letters, np.stack([before, rng.poisson(0.5 * pairs.sum(1))], axis=1)


def write(path: Path, n_probes: int) -> None:
    """Write the table, a piece at a time."""
    if path.suffix == ".parquet":
        write_parquet(path, n_probes)
        return
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as file:
        for letters, counts in pieces(n_probes):
            probes = letters.view(f"S{LENGTH}").reshape(-1).tolist()
            rows = zip(probes, counts.tolist(), strict=True)
            file.writelines(b"%b\t%d\t%d\n" % (probe, *row) for probe, row in rows)


def write_parquet(path: Path, n_probes: int) -> None:
    """Write the table as Parquet, each piece a group of rows."""
    import pyarrow as pa  # noqa: PLC0415 needed for this format alone
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 likewise

    columns = [("probe", pa.string()), ("R0", pa.int64()), ("R1", pa.int64())]
    with ParquetWriter(path, pa.schema(columns)) as writer:
        for letters, counts in pieces(n_probes):
            bounds = np.arange(len(letters) + 1, dtype=np.int32) * LENGTH
            probes = pa.StringArray.from_buffers(
                len(letters), pa.py_buffer(bounds), pa.py_buffer(letters.tobytes())
            )
            arrays = [probes, *map(pa.array, counts.T)]
            writer.write_batch(pa.record_batch(arrays, names=["probe", "R0", "R1"]))


# --- the fit, in a process of its own -------------------------------------------------


def load_and_fit(path: Path, n_iterations: int) -> dict[str, float]:
    """Load the table and fit it; return what it took."""
    import torch  # noqa: PLC0415 the other process needs none of it

    from pyprobound import (  # noqa: PLC0415
        CountTable,
        Experiment,
        Mode,
        MultiExperimentLoss,
        Optimizer,
        alphabets,
        layers,
        rounds,
    )

    dna = alphabets.DNA()
    start = peak_memory()
    clock = time.perf_counter()
    table = CountTable.from_file(path, dna)
    loaded, load_seconds = peak_memory(), time.perf_counter() - clock
    torch.manual_seed(0)
    modes = [
        Mode.from_nonspecific(layers.NonSpecific(dna), table),
        Mode.from_psam(layers.PSAM(8, dna), table),
    ]
    chain = rounds.repeat_round(modes, 1, rounds.BoundUnsaturatedRound)
    model = MultiExperimentLoss([Experiment(chain, table.counts_per_round)])
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        optimizer = Optimizer(
            model,
            [table],
            epochs=1,
            optim_args={"max_iter": n_iterations},
            checkpoint=Path(folder) / "model.pt",
            output=Path(folder) / "fit.log",
        )
        loss = float(optimizer.train_simultaneous())
    return {
        "probes": len(table),
        "loss_per_read": loss,
        "load_seconds": load_seconds,
        "fit_seconds": time.perf_counter() - clock,
        "start_bytes": start,
        "loaded_bytes": loaded,
        "peak_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Return the most memory in bytes that this process has held."""
    status = Path("/proc/self/status")
    if status.is_file():
        # what getrusage says includes the process that started this one
        lines = status.read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
        return int(peak) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Write a table, fit it in another process, and print what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=PROBES)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--iterations", type=int, default=3, help="steps of L-BFGS")
    parser.add_argument("--json", type=Path, help="where to write the numbers as well")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit is not None:
        print(json.dumps(load_and_fit(options.fit, options.iterations)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"counts.{options.format}"
        write(path, options.probes)
        size = path.stat().st_size
        words = ["--fit", str(path), "--iterations", str(options.iterations)]
        done = subprocess.run(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True
        )
    found = json.loads(done.stdout) | {"file_bytes": size, "format": options.format}
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(
        f"{found['probes']:,} probes of {LENGTH} letters ({options.format},"
        f" {size / 1e6:,.0f} MB)\n"
        f"loaded in {found['load_seconds']:.1f} s, peak memory"
        f" {found['loaded_bytes'] / 1e6:,.0f} MB (of which the library itself"
        f" {found['start_bytes'] / 1e6:,.0f} MB)\n"
        f"{options.iterations} iterations in {found['fit_seconds']:.1f} s, loss"
        f" {found['loss_per_read']:.6f} per read\n"
        f"peak memory {found['peak_bytes'] / 1e6:,.0f} MB"
        f" ({'below' if found['peak_bytes'] < LIMIT else 'ABOVE'} {LIMIT / 1e9:.0f} GB)"
    )


if __name__ == "__main__":
    main()
