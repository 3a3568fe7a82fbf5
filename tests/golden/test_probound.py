"""Files of the Java program against the numbers that it gives for them."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyprobound.layers import NonSpecific
from pyprobound.probound import (
    Coefficients,
    FileModel,
    Trained,
    build,
    consensus,
    expected_counts,
    in_mismatch_gauge,
    numbers_of,
    read,
    scoring_model,
    train,
    value_of,
)
from pyprobound.probound._coefficients import _value, written
from pyprobound.rounds import Round

DATA = Path(__file__).parent / "data" / "probound"
FULL = sorted(path.name[:-12] for path in (DATA / "full").glob("*.config.json"))
TRAINED = sorted(path.name[:-11] for path in (DATA / "train").glob("*.trace.json"))
SCORED = list(
    csv.DictReader(
        (DATA / "scoring/models.tsv").read_text().splitlines(), delimiter="\t"
    )
)
GAUGED = ["syn_di1_k8", "syn_di3_k9", "syn_meth", "syn_multi3", "bcd_line7"]
TOLERANCE = 1e-9

each_full = pytest.mark.parametrize("name", FULL)


def golden(folder: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / folder / name).read_text())
    return found


def model_of(name: str) -> FileModel:
    document = read(DATA / "full" / f"{name}.config.json")
    return build(
        document, numbers_of(document, golden("full", f"{name}.json")["coefficients"])
    )


def rows_of(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def flat(numbers: Coefficients) -> NDArray[np.float64]:
    return np.concatenate([array.ravel() for _, array in numbers.arrays()])


def close(found: Any, wanted: Any, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(wanted), rtol=tolerance, atol=tolerance
    )


def test_no_case_is_missing() -> None:
    assert (len(FULL), len(TRAINED), len(SCORED)) == (21, 5, 25)


@each_full
def test_objective_and_gradient_agree(name: str) -> None:
    case, model = golden("full", f"{name}.json"), model_of(name)
    tables = model.read_tables()
    value = value_of(model.loss, tables)
    close(value.value, case["value"])
    close(value.negloglik, case["logLikelihood"])
    close(value.penalty, case["regularization"])
    close(value.losses, case["unpenalizedLogLikelihoodPerRead"])
    parts = model.loss(tables)
    gradient = model.numbers.gradient(parts.negloglik + parts.regularization)
    close(gradient, case["gradient"])


@each_full
def test_packing_agrees(name: str) -> None:
    case, model = golden("full", f"{name}.json"), model_of(name)
    packing, values = model.numbers.packing.numpy(), model.numbers.values()
    wanted = []
    for place, shape in model.numbers.arrays:
        _, found = _value(case["packing"], place)
        size = int(np.prod(shape))
        wanted.append(np.full(size, -1) if found is None else np.ravel(found))
    np.testing.assert_array_equal(packing, np.concatenate(wanted))
    free = np.zeros(packing.max() + 1)
    free[packing[packing >= 0]] = values.detach().numpy()[packing >= 0]
    close(free, case["parameters"])


@each_full
@torch.no_grad()
def test_sums_agree(name: str) -> None:
    case, model = golden("full", f"{name}.json"), model_of(name)
    settings = model.document.content.model_settings
    for index, (experiment, table) in enumerate(
        zip(model.loss.components(), model.read_tables(), strict=True)
    ):
        probes = case["tables"][index]["probes"]
        codes = table.seqs[: len(probes)]
        columns = settings.count_table[index].columns
        cumulative = settings.enrichment_model[index].cumulative_enrichment
        for column, each in zip(columns, experiment.rounds, strict=True):
            if not isinstance(each, Round):
                assert column == 0
                assert cumulative
                continue
            wanted = [probe["alphaRI"][column] for probe in probes]
            close(each.log_aggregate(codes).exp(), wanted)
            kinds = "alphaSeq", "alphaInt"
            sums = [[*probe[kinds[0]], *probe[kinds[1]]] for probe in probes]
            parts = each.aggregate.components()
            scores = [part.binding(codes).exp() for part in parts]
            close(torch.stack(scores, 1), sums)
            factors = [probe["deltaKappa"][column] for probe in probes]
            close(each.log_enrichment(codes).exp(), factors)


@each_full
def test_predicted_counts_agree(name: str) -> None:
    model = model_of(name)
    for index, table in enumerate(model.read_tables()):
        path = DATA / "full" / f"{name}.table{index}.predicted.tsv.gz"
        rows = [row for row in rows_of(path) if row[0] != "sequence"]
        wanted = [[float(x) for x in row[1:]] for row in rows]
        close(expected_counts(model.loss, index, table), wanted, 1e-6)


@each_full
def test_numbers_are_written_as_they_were_read(name: str) -> None:
    case = golden("full", f"{name}.json")
    document = read(DATA / "full" / f"{name}.config.json")
    numbers = numbers_of(document, case["coefficients"])
    model = build(document, numbers)
    before = flat(numbers).copy()
    model.numbers.read_into(numbers)
    np.testing.assert_array_equal(flat(numbers), before)
    again = numbers_of(document, json.loads(json.dumps(written(numbers))))
    np.testing.assert_array_equal(flat(again), before)


@pytest.mark.parametrize("row", SCORED, ids=lambda row: row["name"])
def test_scoring_models_agree(row: dict[str, str]) -> None:
    document = read(DATA / "scoring" / f"{row['name']}.json")
    numbers = numbers_of(document, document.content.coefficients)
    modifications = [each for each in row["modifications"].split(",") if each]
    model = scoring_model(document, numbers, modifications)
    texts = (DATA / "scoring" / row["sequences"]).read_text().split()
    codes = model.alphabet.encode(texts)
    sums = rows_of(DATA / "scoring" / f"{row['name']}.sums.tsv.gz")[1:]
    assert [each[0] for each in sums] == texts
    wanted = np.array([[float(x) for x in each[1:]] for each in sums])
    close(model.log_affinity(codes).exp(), wanted[:, 0])
    close(model.mode_sums(codes).exp(), wanted[:, 1:])
    for index, mode, strand, scores in rows_of(
        DATA / "scoring" / f"{row['name']}.windows.tsv.gz"
    )[1:]:
        assert not isinstance(model.modes[int(mode)].spec, NonSpecific)
        found = model.windows(codes[int(index)][None], int(mode))[0].exp()
        linear = [float(x) for x in scores.split(",")]
        if strand == "-" and len(found) == 1:
            assert not any(linear)
            continue
        close(found["+-".index(strand)], linear)


@pytest.mark.parametrize("name", GAUGED)
def test_mismatch_gauge_agrees(name: str) -> None:
    if name == "bcd_line7":
        document = read(DATA / "transforms/bcd_fit_input.models.json", 7)
    else:
        document = read(DATA / "scoring" / f"{name}.json")
    found = in_mismatch_gauge(numbers_of(document, document.content.coefficients))
    case = golden("transforms", f"{name}.gauge.json")
    close(flat(found), flat(numbers_of(document, case["coefficients"])))


def test_consensus_agrees() -> None:
    fit = read(DATA / "transforms/bcd_fit_input.models.json")
    document, numbers = consensus(fit, numbers_of(fit, fit.content.coefficients))
    known = read(DATA / "transforms/bcd_line7.consensus.json")
    close(flat(numbers), flat(numbers_of(known, known.content.coefficients)))
    model = scoring_model(document, numbers)
    path = DATA / "transforms/bcd_line7.consensus.affinitySum.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()][1:]
    codes = model.alphabet.encode([row[0] for row in rows])
    close(model.log_affinity(codes).exp(), [float(row[1]) for row in rows])


@pytest.mark.parametrize("name", TRAINED)
def test_training_takes_the_same_steps(name: str) -> None:
    document = read(DATA / "train" / f"{name}.builder.json")
    steps: list[Trained] = []
    train(document, procedure="probound", on_step=steps.append)
    wanted = json.loads((DATA / "train" / f"{name}.trace.json").read_text())
    assert [each.name for each in steps] == [each["fitName"] for each in wanted]
    for step, known in zip(steps, wanted, strict=True):
        assert step.value.value < known["logLikelihoodPerRead"] + 1e-6
        # A fit that ends lower has gone on where the other one stopped.
        assert step.value.value > known["logLikelihoodPerRead"] - 1e-5
