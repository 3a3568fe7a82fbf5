"""Fits to counts drawn from the model scatter as the Fisher information says."""

import pytest
import torch

from pyprobound.errors import PyProBoundError
from pyprobound.uncertainty import (
    Bootstrap,
    ErrorBars,
    Estimate,
    Uncertainty,
    bootstrap,
)
from tests.fisher.models import CASES
from tests.uncertainty.models import LIBRARIES, KdSeq, fitted_kd_seq

N_FITS = 120


@pytest.fixture(scope="module")
def made() -> KdSeq:
    return fitted_kd_seq()


@pytest.fixture(scope="module")
def drawn(made: KdSeq) -> Bootstrap:
    return bootstrap(made.model, [made.table], N_FITS, seed=3)


def named(made: KdSeq, errors: ErrorBars) -> dict[str, Estimate]:
    part = list(made.bound.aggregate.components())[1]
    return {
        "letters": errors.letters(made.psam),
        "activity": errors.log_activity(part),
        "free protein": errors.log_free_protein(made.experiment, *LIBRARIES),
        "site": errors.log_site_kd(made.experiment, made.mode, *LIBRARIES),
        "scores": errors.of(lambda: made.bound.log_aggregate(made.table.seqs[:9])),
    }


def test_bootstrap_and_fisher_agree_within_15_percent(
    made: KdSeq, drawn: Bootstrap
) -> None:
    assert all(reason.startswith("converged") for reason in drawn.reasons)
    narrow = Uncertainty(made.model, [made.table], widen=False)
    expected = named(made, narrow)
    for name, found in named(made, drawn).items():
        torch.testing.assert_close(found.value, expected[name].value)
        ratio = (found.error / expected[name].error).square().mean().sqrt()
        assert float(ratio) == pytest.approx(1, abs=0.15), name


def test_the_model_is_left_as_it_was(made: KdSeq) -> None:
    before = {
        key: value.clone()
        for key, value in made.model.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    first = bootstrap(made.model, [made.table], 2, seed=1)
    first.letters(made.psam)
    for key, value in made.model.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, before[key]), key
    again = bootstrap(made.model, [made.table], 2, seed=1)
    assert torch.equal(first.replicates, again.replicates)
    other = bootstrap(made.model, [made.table], 2, seed=2)
    assert not torch.equal(first.replicates, other.replicates)


def test_what_is_not_identified_stays_so(made: KdSeq, drawn: Bootstrap) -> None:
    single = drawn.of(lambda: made.psam.get_filter(0))
    assert not bool(single.is_identified.any())
    assert drawn.covariance.shape == (len(drawn.fisher.free),) * 2


def test_bad_requests_are_refused(made: KdSeq) -> None:
    with pytest.raises(PyProBoundError, match="at least 2 fits"):
        bootstrap(made.model, [made.table], 1)
    model, tables = CASES["motif"]()
    tables[0].target = tables[0].target + 0.25
    with pytest.raises(PyProBoundError, match="whole numbers"):
        bootstrap(model, tables, 2)
