"""Configurations of the Java program against its formulas in plain Python."""

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyprobound.probound import build, read, start_values, value_of
from pyprobound.probound._coefficients import Coefficients

LENGTH, LEFT, RIGHT = 9, "GATTC", "TGCAA"
Array = NDArray[np.float64]


def settings_of(**changes: Any) -> dict[str, Any]:
    """Return the settings of a small model with one table."""
    table = {
        "countTableFile": "table.tsv",
        "nColumns": 3,
        "variableRegionLength": LENGTH,
        "leftFlank": LEFT,
        "rightFlank": RIGHT,
    }
    table |= changes.pop("table", {})
    found = {
        "bindingModes": [{"size": 0}, {"size": 4, "flankLength": 1}],
        "enrichmentModel": [changes.pop("enrichment", {})],
        "countTable": [table],
    }
    return found | changes


TWO = [{"size": 0}, {"size": 4, "flankLength": 1}, {"size": 3, "flankLength": 2}]
BIASED = [{"size": 0}, {"size": 4, "flankLength": 1, "positionBias": True}]
SINGLE = [{"size": 4, "singleStrand": True}, {"size": 3, "flankLength": 2}]

CASES: dict[str, dict[str, Any]] = {
    "plain": settings_of(),
    "free fraction": settings_of(
        enrichment={"modelType": "InputFreeFraction", "cumulativeEnrichment": False},
        table={"nColumns": 4},
    ),
    "saturated, not cumulative": settings_of(
        enrichment={"bindingSaturation": True, "cumulativeEnrichment": False}
    ),
    "exponential": settings_of(enrichment={"modelType": "Exponential"}),
    "rho gamma, not cumulative": settings_of(
        enrichment={"modelType": "RhoGamma", "cumulativeEnrichment": False}
    ),
    "some columns": settings_of(table={"modeledColumns": [0, 2]}),
    "modes of some columns": settings_of(
        enrichment={"roundSpecificBindingModes": [[0], [0], [0, 1]]}
    ),
    "one mode of two": settings_of(bindingModes=TWO, enrichment={"bindingModes": [2]}),
    "bias and interaction with itself": settings_of(
        bindingModes=BIASED,
        bindingModeInteractions=[{"bindingModes": [1, 1], "maxSpacing": 2}],
    ),
    "interaction with position bias": settings_of(
        bindingModes=TWO,
        bindingModeInteractions=[
            {"bindingModes": [2, 1], "positionBias": True, "maxOverlap": 1}
        ],
    ),
    "interaction of one strand and two": settings_of(
        bindingModes=SINGLE,
        bindingModeInteractions=[{"bindingModes": [0, 1], "maxOverlap": 3}],
    ),
    "interaction of one strand": settings_of(
        bindingModes=[SINGLE[0], SINGLE[1] | {"singleStrand": True}],
        bindingModeInteractions=[{"bindingModes": [1, 0]}],
    ),
    "pairs farther than the motif": settings_of(
        bindingModes=[{"size": 3, "dinucleotideDistance": 7}]
    ),
    "modified, in part": settings_of(
        bindingModes=[
            {
                "size": 4,
                "dinucleotideDistance": 2,
                "modifications": [
                    {"name": "x", "mononucleotide": ["C"], "dinucleotide": [["CG"]]},
                    {
                        "name": "y",
                        "mononucleotide": ["A", "T"],
                        "dinucleotide": [[], ["AT", "GG"]],
                    },
                ],
            }
        ],
        enrichment={"modifications": ["y"]},
    ),
    "log-normal errors": settings_of(table={"errorModel": "LogNormal"}),
    "normal errors, no probe bias": settings_of(
        table={"errorModel": "Normal", "probeBias": False}
    ),
    "replaced letters": settings_of(
        table={"transliterate": {"in": ["CG", "T"], "out": ["GC", "A"]}}
    ),
    "letters of one's own": settings_of(letterOrder="TCGA"),
}


def written_case(folder: Path, settings: dict[str, Any]) -> tuple[Path, list[str]]:
    """Write a configuration and its table; return the file and the probes."""
    draw = np.random.default_rng(3)
    table = settings["countTable"][0]
    probes = sorted({"".join(draw.choice(list("ACGT"), LENGTH)) for _ in range(12)})
    counts = draw.integers(1, 30, (len(probes), table["nColumns"]))
    lines = [
        "\t".join([probe, *map(str, row)])
        for probe, row in zip(probes, counts, strict=True)
    ]
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    config = {"modelSettings": settings, "optimizerSetting": {"lambdaL2": 0.01}}
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path, probes


def randomised(numbers: Coefficients, *, even: bool) -> Coefficients:
    """Fill numbers at random; interactions by distance alone if they are to be even."""
    draw = np.random.default_rng(8)
    for place, array in numbers.arrays():
        array[...] = draw.normal(0, 0.4, array.shape)
        if place[0] == "matrix" and even:
            last = array.shape[3] - 1
            for s0, s1, x0, x1 in np.ndindex(*array.shape):
                apart = x1 - x0 if s0 == s1 else last - x1 - x0
                array[s0, s1, x0, x1] = 0.1 * apart + 0.3 * (s0 == s1)
    return numbers


class Oracle:
    """The formulas, one window at a time."""

    def __init__(self, settings: dict[str, Any], numbers: Coefficients) -> None:
        self.settings, self.numbers = settings, numbers
        self.order = settings.get("letterOrder", "ACGT")
        self.table = settings["countTable"][0]
        self.model = settings["enrichmentModel"][0]

    def windows(self, mode: int, probe: str) -> Array:
        """Return α, (2, frames), each strand in its own coordinates."""
        own, numbers = self.settings["bindingModes"][mode], self.numbers.modes[mode]
        size, flank = own["size"], own.get("flankLength", 0)
        for before, after in zip(
            *(self.table.get("transliterate", {}).get(k, []) for k in ("in", "out")),
            strict=True,
        ):
            probe = probe.replace(before, after)
        text = LEFT[len(LEFT) - flank :] + probe + RIGHT[:flank]
        other = text.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        frames = len(text) - size + 1
        found = np.zeros((2, frames))
        for strand, x in np.ndindex(2, frames):
            if strand and own.get("singleStrand"):
                continue
            window = [self.order.index(c) for c in (text, other)[strand][x : x + size]]
            score = sum(numbers.letters[i, c] for i, c in enumerate(window))
            for d, pairs in enumerate(numbers.pairs, 1):
                score += sum(
                    pairs[i, window[i], window[i + d]] for i in range(size - d)
                )
            score += self.modified(own, numbers, window)
            found[strand, x] = math.exp(score)
        return found

    def modified(self, own: dict[str, Any], numbers: Any, window: list[int]) -> float:
        """Return what modifications add to the score of a window."""
        total = 0.0
        for change, shift in zip(
            own.get("modifications", []), numbers.shifts, strict=True
        ):
            if change["name"] not in self.model.get("modifications", []):
                continue
            text = "".join(self.order[c] for c in window)
            for j, letter in enumerate(change["mononucleotide"]):
                total += sum(
                    shift.letters[i, j] for i, c in enumerate(text) if c == letter
                )
            for d, pairs in enumerate(change["dinucleotide"][: len(shift.pairs)], 1):
                for j, pair in enumerate(pairs):
                    total += sum(
                        shift.pairs[d - 1][i, j]
                        for i in range(len(text) - d)
                        if text[i] + text[i + d] == pair
                    )
        return total

    def mode(self, mode: int, probe: str) -> float:
        """Return A."""
        if self.settings["bindingModes"][mode]["size"] == 0:
            return 1.0
        found = self.windows(mode, probe)
        if self.numbers.modes[mode].bias:
            found = found * np.exp(self.numbers.modes[mode].bias[0])
        return float(found.sum())

    def interaction(self, index: int, probe: str) -> float:
        """Return I."""
        own = self.settings["bindingModeInteractions"][index]
        modes = [self.settings["bindingModes"][m] for m in own["bindingModes"]]
        first, second = (self.windows(m, probe) for m in own["bindingModes"])
        matrix = self.numbers.interactions[index].matrices[0]
        total = 0.0
        for s0, s1, x0, x1 in np.ndindex(*matrix.shape):
            ends = []
            for s, x, mode, values in (
                (s0, x0, modes[0], first),
                (s1, x1, modes[1], second),
            ):
                start = x if s == 0 else values.shape[1] - 1 - x
                start -= mode.get("flankLength", 0)
                ends.append((start, start + mode["size"]))
            spacing = max(ends[1][0] - ends[0][1], ends[0][0] - ends[1][1])
            most = own.get("maxSpacing", -1)
            if -spacing > own.get("maxOverlap", 0) or (most != -1 and spacing > most):
                continue
            weight = math.exp(matrix[s0, s1, x0, x1])
            total += weight * first[s0, x0] * second[s1, x1]
        return total

    def totals(self, probe: str) -> list[float]:
        """Return Z of every column."""
        modes = self.model.get("bindingModes") or range(
            len(self.settings["bindingModes"])
        )
        dimers = range(len(self.settings.get("bindingModeInteractions", [])))
        by_column = self.model.get("roundSpecificBindingModes")
        sums = {m: self.mode(m, probe) for m in modes}
        pairs = {i: self.interaction(i, probe) for i in dimers}
        found = []
        for column in range(self.table["nColumns"]):
            total = sum(
                math.exp(self.numbers.modes[m].activity[0][column]) * sums[m]
                for m in modes
                if by_column is None or m in by_column[column]
            )
            found.append(
                total
                + sum(
                    math.exp(self.numbers.interactions[i].activity[0][column])
                    * pairs[i]
                    for i in dimers
                )
            )
        return found

    def factors(self, z: list[float]) -> list[float]:
        """Return κ of every column."""
        kind, numbers = self.model.get("modelType", "SELEX"), self.numbers.enrichment[0]
        if kind == "InputFreeFraction":
            total = 1 + sum(z[2:])
            return [1, 1 / total, *(each / total for each in z[2:])]
        if kind == "RhoGamma":
            rho, gamma = numbers["rho"], numbers["gamma"]
            steps = [x ** rho[r] * (1 + x) ** gamma[r] for r, x in enumerate(z)]
        elif kind == "Exponential":
            steps = [math.exp(x) for x in z]
        elif self.model.get("bindingSaturation"):
            steps = [x / (1 + x) for x in z]
        else:
            steps = z
        if not self.model.get("cumulativeEnrichment", True):
            return steps
        return [1.0, *np.cumprod(steps[1:])]

    def value(self, rows: dict[str, Array]) -> float:
        """Return the objective without its bound, which is nothing here."""
        columns = self.table.get("modeledColumns", list(range(self.table["nColumns"])))
        depths = self.numbers.depths[0]
        loss = reads = 0.0
        for probe, counts in rows.items():
            kappa = self.factors(self.totals(probe))
            expected = np.array([math.exp(depths[r]) * kappa[r] for r in columns])
            k = counts[columns]
            reads += k.sum()
            loss += self.loss_of(expected, k)
        if self.table.get("errorModel", "Poisson") != "Poisson":
            reads = len(rows)
        squares = sum(float((a**2).sum()) for _, a in self.numbers.arrays())
        return loss / reads + 0.01 * squares

    def loss_of(self, expected: Array, k: Array) -> float:
        """Return the loss of one probe."""
        kind = self.table.get("errorModel", "Poisson")
        if kind == "LogNormal":
            return float((np.log(k / expected) ** 2).sum())
        if kind == "Normal":
            assert not self.table["probeBias"]
            return float(((k - expected) ** 2).sum())
        return float(-(k * np.log(expected / expected.sum())).sum())


@pytest.mark.parametrize("name", CASES)
def test_objectives_are_what_the_formulas_say(name: str, tmp_path: Path) -> None:
    settings = CASES[name]
    path, probes = written_case(tmp_path, settings)
    document = read(path)
    even = not any(
        each.get("positionBias") for each in settings.get("bindingModeInteractions", [])
    )
    numbers = randomised(start_values(document), even=even)
    model = build(document, numbers)
    tables = model.read_tables()
    counts = np.loadtxt(
        tmp_path / "table.tsv",
        usecols=range(1, 1 + settings["countTable"][0]["nColumns"]),
    )
    rows = dict(zip(probes, counts, strict=True))
    wanted = Oracle(settings, numbers).value(rows)
    assert value_of(model.loss, tables).value == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_objective(name: str, tmp_path: Path) -> None:
    path, _ = written_case(tmp_path, CASES[name])
    document = read(path)
    model = build(document, randomised(start_values(document), even=True))
    tables = model.read_tables()
    gradient = model.numbers.gradient(sum(model.loss(tables)))
    values, packing = model.numbers.values().detach(), model.numbers.packing
    for free in range(0, model.numbers.n_free, 7):
        moved = []
        for step in (1e-5, -1e-5):
            model.numbers.write(values + step * (packing == free))
            moved.append(value_of(model.loss, tables).value)
        model.numbers.write(values)
        slope = (moved[0] - moved[1]) / 2e-5
        assert float(gradient[free]) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_uneven_matrices_are_read_as_they_are(tmp_path: Path) -> None:
    settings = CASES["bias and interaction with itself"]
    path, probes = written_case(tmp_path, settings)
    document = read(path)
    numbers = randomised(start_values(document), even=False)
    model = build(document, numbers)
    tables = model.read_tables()
    counts = np.loadtxt(tmp_path / "table.tsv", usecols=range(1, 4))
    wanted = Oracle(settings, numbers).value(dict(zip(probes, counts, strict=True)))
    assert value_of(model.loss, tables).value == pytest.approx(wanted, rel=1e-12)


SYMMETRIES = {
    "1:4:1": "ABba",
    "1:5:1": "AB1ba",
    "1:2:0|1:2:0": "AB|AB",
    "1:2:0|0:1:0|-1:2:0": "AB|.|ba",
}


@pytest.mark.parametrize("blocks", SYMMETRIES)
def test_both_kinds_of_symmetry_strings_tie_alike(blocks: str, tmp_path: Path) -> None:
    size = len(SYMMETRIES[blocks].replace("|", ""))
    settings = settings_of(bindingModes=[{"size": size, "dinucleotideDistance": 3}])
    path, _ = written_case(tmp_path, settings)
    found = []
    for text in (blocks, SYMMETRIES[blocks]):
        config = json.loads(path.read_text())
        ties = {"bindingModes": [{"symmetryString": text}]}
        path.write_text(json.dumps(config | {"modelFittingConstraints": ties}))
        document = read(path)
        found.append(build(document, start_values(document)).numbers.packing)
    assert found[0].equal(found[1])
    letters = found[0][: 4 * size]
    assert len(letters.unique()) < len(letters)  # something is tied


def test_a_palindrome_scores_both_strands_alike(tmp_path: Path) -> None:
    settings = settings_of(bindingModes=[{"size": 5, "dinucleotideDistance": 2}])
    path, _ = written_case(tmp_path, settings)
    config = json.loads(path.read_text())
    ties = {"bindingModes": [{"symmetryString": "1:5:1"}]}
    path.write_text(json.dumps(config | {"modelFittingConstraints": ties}))
    document = read(path)
    numbers = start_values(document, seed=5)
    draw = np.random.default_rng(1)
    model = build(document, numbers)
    free = draw.normal(size=model.numbers.n_free)
    values = model.numbers.values().detach()
    packing = model.numbers.packing.numpy()
    values[packing >= 0] = values.new_tensor(free[packing[packing >= 0]])
    model.numbers.write(values)
    model.numbers.read_into(numbers)
    oracle = Oracle(settings, numbers)
    for letters in product("ACGT", repeat=3):
        windows = oracle.windows(0, "".join(letters) * 3)
        np.testing.assert_allclose(windows[0], windows[1][::-1], rtol=1e-12)
