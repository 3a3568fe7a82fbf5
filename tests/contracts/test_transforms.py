"""What every public Transform keeps: shape, type, gradient, state, text, copies."""

import copy
import inspect
import io
import pickle
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import pyprobound
from pyprobound import Transform, layers, rounds
from pyprobound.base import Component, Spec
from tests.contracts.transforms import (
    N_PROBES,
    TRANSFORMS,
    Contract,
    msle_loss,
    multi_experiment_loss,
    specifications,
    table,
)

each = pytest.mark.parametrize("contract", TRANSFORMS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def public_transforms(module: ModuleType) -> set[type]:
    return {
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, Transform)
        and not inspect.isabstract(kind)
    }


def test_every_public_transform_has_its_contract() -> None:
    public: set[type] = set()
    for name in pyprobound.__all__:
        kind = getattr(pyprobound, name)
        if inspect.isclass(kind) and issubclass(kind, Transform):
            public.add(kind)
    public |= public_transforms(layers) | public_transforms(rounds)
    tested = {type(contract.make()) for contract in TRANSFORMS}
    missing = {
        kind
        for kind in public
        if not inspect.isabstract(kind) and not issubclass(kind, Spec)
    } - tested
    assert missing <= {Transform, layers.Layer, rounds.Round, rounds.BaseRound}


@each_dtype
@each
@torch.no_grad()
def test_shape_and_type(contract: Contract, dtype: torch.dtype) -> None:
    transform, seqs = contract.make().to(dtype), contract.seqs()
    if seqs.is_floating_point():
        seqs = seqs.to(dtype)
    found = transform(seqs)
    assert found.shape == contract.shape
    letters = not contract.is_trained and not seqs.is_floating_point()
    assert found.dtype == (seqs.dtype if letters else dtype)
    assert not found.isnan().any() if found.is_floating_point() else True
    one = transform(seqs[:1])
    assert one.shape == (1, *contract.shape[1:])
    torch.testing.assert_close(one[0], found[0])


@each
@torch.no_grad()
def test_float32_is_close_to_float64(contract: Contract) -> None:
    transform, seqs = contract.make(), contract.seqs()
    single = transform(seqs).double()
    if seqs.is_floating_point():
        seqs = seqs.double()
    torch.testing.assert_close(
        single, transform.double()(seqs).double(), rtol=1e-5, atol=1e-5
    )


@each
def test_gradients_flow_to_what_is_trained(contract: Contract) -> None:
    transform, seqs = contract.make(), contract.seqs()
    if not contract.is_trained:
        seqs = seqs.float().requires_grad_() if seqs.is_floating_point() else seqs
        found = transform(seqs)
        assert found.requires_grad == seqs.requires_grad
        return
    found = transform(seqs)
    finite = found[found.isfinite()]
    weights = torch.linspace(0.5, 1.5, len(finite))
    (weights * finite).sum().backward() if finite.requires_grad else None
    reached = {
        path
        for path, parameter in transform.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    for path, parameter in transform.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), path
        # The reference round's depth is no part of the round itself.
        if parameter.requires_grad:
            assert path in reached or "pool" in path, path
    trained = any(parameter.requires_grad for parameter in transform.parameters())
    assert trained == bool(reached)


@each
@torch.no_grad()
def test_freezing_stops_every_gradient(contract: Contract) -> None:
    transform = contract.make()
    transform.freeze()
    assert not any(parameter.requires_grad for parameter in transform.parameters())
    with torch.enable_grad():
        assert not transform(contract.seqs()).requires_grad


@each
@torch.no_grad()
def test_states_go_round(contract: Contract) -> None:
    transform, other = contract.make(), contract.make()
    for parameter in transform.parameters():
        parameter.uniform_(-0.5, 0.5)
    expected = transform(contract.seqs())
    other.load_state_dict(transform.state_dict())
    torch.testing.assert_close(other(contract.seqs()), expected, rtol=0, atol=0)
    third, file = contract.make(), io.BytesIO()
    transform.save(file, ((1, 2),))
    file.seek(0)
    assert third.reload(file)["flank_lengths"] == ((1, 2),)
    torch.testing.assert_close(third(contract.seqs()), expected, rtol=0, atol=0)


@each
@torch.no_grad()
def test_copies_are_equal_and_independent(contract: Contract) -> None:
    transform, seqs = contract.make(), contract.seqs()
    expected = transform(seqs)
    twin = copy.deepcopy(transform)
    torch.testing.assert_close(twin(seqs), expected, rtol=0, atol=0)
    own = {id(parameter) for parameter in transform.parameters()}
    assert not own & {id(parameter) for parameter in twin.parameters()}
    for parameter in twin.parameters():
        parameter.add_(0.7)
    torch.testing.assert_close(transform(seqs), expected, rtol=0, atol=0)
    assert [name for name, _ in twin.named_parameters()] == [
        name for name, _ in transform.named_parameters()
    ]


@each
@torch.no_grad()
def test_pickles_go_round(contract: Contract) -> None:
    transform, seqs = contract.make(), contract.seqs()
    twin = pickle.loads(pickle.dumps(transform))  # noqa: S301 - our own
    torch.testing.assert_close(twin(seqs), transform(seqs), rtol=0, atol=0)


@each
def test_texts_name_the_component(contract: Contract) -> None:
    transform = contract.make()
    kind = type(transform).__name__
    assert repr(transform).startswith(kind)
    assert str(transform).startswith(kind)
    assert "\n" not in str(transform)
    assert "object at 0x" not in repr(transform)


@each
def test_children_are_components_and_the_size_is_bounded(contract: Contract) -> None:
    transform = contract.make()
    children = list(transform.components())
    assert all(isinstance(child, Component) for child in children)
    assert transform.max_embedding_size() >= 0
    if children:
        assert transform.max_embedding_size() > 0 or isinstance(transform, layers.Layer)
    transform.check_length_consistency()


@each
@torch.no_grad()
def test_scores_do_not_depend_on_the_integer_type(contract: Contract) -> None:
    transform, seqs = contract.make(), contract.seqs()
    if seqs.is_floating_point():
        return
    expected = transform(seqs)
    for dtype in (torch.int16, torch.int32, torch.int64):
        found = transform(seqs.to(dtype))
        torch.testing.assert_close(found.to(expected.dtype), expected, rtol=0, atol=0)


@each
@torch.no_grad()
def test_no_probes_give_an_empty_result(contract: Contract) -> None:
    found = contract.make()(contract.seqs()[:0])
    assert found.shape == (0, *contract.shape[1:])


@each
@torch.no_grad()
def test_score_works_through_any_method_in_pieces(contract: Contract) -> None:
    transform, data = contract.make(), table()
    if contract.seqs().is_floating_point():
        return
    expected = transform(data.seqs)
    for max_split in (None, 1, 3):
        observed, predicted = pyprobound.score(transform, data, max_split=max_split)
        assert torch.equal(observed, data.target)
        torch.testing.assert_close(predicted, expected)
        assert not predicted.requires_grad
    if isinstance(transform, rounds.BaseRound):
        _, found = pyprobound.score(transform, data, fun="log_enrichment")
        torch.testing.assert_close(found, transform.log_enrichment(data.seqs))


# --- losses and specifications ----------------------------------------------------


@pytest.mark.parametrize("make", [multi_experiment_loss, msle_loss])
def test_losses_keep_the_same_contract(make: type) -> None:
    loss = make()
    data = [table(1 if make is msle_loss else 2)]
    found = loss(data)
    assert isinstance(found, pyprobound.Loss)
    for term in found:
        assert term.shape == ()
        assert term.dtype == torch.float64
        assert term.isfinite()
    assert list(loss.components())
    (found.negloglik + found.regularization).backward()
    assert any(parameter.grad is not None for parameter in loss.parameters())
    twin, file = copy.deepcopy(loss), io.BytesIO()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1)
    assert twin(data).negloglik != found.negloglik
    loss.save(file)
    file.seek(0)
    twin.reload(file)
    assert twin(data).negloglik == found.negloglik
    assert "lambda_l2" in loss.get_setup_string()
    assert "\n" in loss.get_setup_string()


@pytest.mark.parametrize("spec", list(specifications()), ids=lambda s: type(s).__name__)
def test_specifications_score_nothing(spec: Spec) -> None:
    with pytest.raises(NotImplementedError):
        spec()
    assert list(spec.components()) == []
    twin = copy.deepcopy(spec)
    assert twin is not spec
    assert [name for name, _ in twin.named_parameters()] == [
        name for name, _ in spec.named_parameters()
    ]


def test_a_model_moves_as_one() -> None:
    """Turning a whole model to another type reaches every parameter."""
    loss = multi_experiment_loss().double()
    assert {parameter.dtype for parameter in loss.parameters()} == {torch.float64}
    assert loss([table()]).negloglik.isfinite()
    loss.float()
    found = loss([table()])
    assert {parameter.dtype for parameter in loss.parameters()} == {torch.float32}
    assert found.negloglik.isfinite()


def test_a_transform_of_ones_own_needs_only_forward() -> None:
    class Count(Transform):
        def components(self) -> "list[Component]":  # type: ignore[override]
            return []

        def forward(self, seqs: Tensor) -> Tensor:
            return torch.full((len(seqs),), float(seqs.shape[1]))

    count = Count("count")
    assert isinstance(count, nn.Module)
    assert str(count) == "Count-count"
    assert count(table().seqs).tolist() == [9.0] * N_PROBES
    count.unfreeze()
    assert count.optim_procedure() == {}
