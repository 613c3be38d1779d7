"""Penalties: exact values, against whole Jacobians, and gradients that reach the weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from stacked.components.penalties import PENALTIES, RHO, SLOPES, first_weight
from stacked.runtime.rng import generator
from stacked.stages import Stage, kinds
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense
from stacked.util.errors import InputError


def penalty(name: str, stage: Stage, x: Tensor, draw: int = 0) -> Tensor:
    x = x.detach().requires_grad_(PENALTIES[name].differentiates)
    with sdpa_kernel(SDPBackend.MATH):  # the only attention that is differentiable twice
        return PENALTIES[name].of(stage, x, stage.encode(x), generator(0, "penalty", draw))


def possible(of: list[str]) -> list[tuple[str, str]]:
    """(kind, penalty) that go together, for sigmoid codes and the kind's own norm."""
    return [
        (kind, name)
        for kind in of
        for name in PENALTIES
        if not PENALTIES[name].refuses(kind, "sigmoid", kinds()[kind].norms[0])
    ]


def of_code(name: str, code: Tensor) -> Tensor:
    return PENALTIES[name].of(Dense.of((2,), 2), code, code, generator(0, "penalty"))


def jacobians(stage: Stage, x: Tensor) -> Tensor:
    """[B, values of the code, values read]."""
    each = vmap(jacrev(lambda one: stage.encode(one[None])[0].flatten()))(x)
    return each.flatten(2).detach()


@pytest.fixture
def dense() -> Stage:
    torch.manual_seed(1)
    return Dense.of((2, 3, 2), 5, activation="sigmoid", output="sigmoid").double()


@pytest.fixture
def conv() -> Stage:
    torch.manual_seed(2)
    return Conv.of((2, 5, 4), 3, activation="sigmoid", output="sigmoid", norm="none").double()


def reads(stage: Stage, batch: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(batch, *stage.in_shape, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("activation", SLOPES)
def test_contractive_is_the_norm_of_the_whole_jacobian(activation: str) -> None:
    torch.manual_seed(0)
    stage = Dense.of((2, 3, 2), 5, activation=activation).double()
    x = reads(stage)
    expected = jacobians(stage, x).square().sum((1, 2)).mean()
    assert expected > 0.01
    torch.testing.assert_close(penalty("contractive", stage, x), expected, rtol=1e-10, atol=0)


def test_contractive_knows_the_slope_of_every_activation_it_does_not_refuse() -> None:
    refuses = PENALTIES["contractive"].refuses
    for activation in ACTIVATIONS:
        assert refuses("dense", activation, "none") is None
    assert SLOPES.keys() == ACTIVATIONS.keys()  # so that none has to be refused
    shape = "its closed form holds for a dense stage without norm, not for {}; use 'contractive-estimate'"
    assert refuses("conv", "relu", "none") == shape.format("a conv stage")
    assert refuses("dense", "relu", "batch") == shape.format("a stage with norm 'batch'")


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_the_estimate_is_right_on_average(name: str, request: pytest.FixtureRequest) -> None:
    """Within five standard errors, and these below 5 %."""
    stage: Stage = request.getfixturevalue(name)
    x = reads(stage, 2)
    expected = jacobians(stage, x).square().sum((1, 2)).mean().item()
    draws = torch.stack([penalty("contractive-estimate", stage, x, draw).detach() for draw in range(400)])
    error = draws.std().item() / math.sqrt(len(draws))
    assert error < 0.05 * expected
    assert abs(draws.mean().item() - expected) <= 5 * error


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_one_draw_of_the_estimate_is_a_row_of_signs_times_the_jacobian(
    name: str, request: pytest.FixtureRequest
) -> None:
    stage: Stage = request.getfixturevalue(name)
    x = reads(stage)
    bits = torch.randint(0, 2, (4, *stage.code_shape), generator=generator(0, "penalty", 5))
    signs = (2 * bits - 1).double().flatten(1)
    assert set(signs.unique().tolist()) == {-1, 1}
    expected = torch.einsum("bi,bij->bj", signs, jacobians(stage, x)).square().sum(1).mean()
    torch.testing.assert_close(penalty("contractive-estimate", stage, x, 5), expected, rtol=1e-10, atol=0)


def test_under_batch_norm_the_estimate_is_of_the_jacobian_of_the_whole_batch() -> None:
    torch.manual_seed(4)
    stage = Conv.of((1, 4, 4), 2, activation="tanh", norm="batch").double().train()
    x = reads(stage, 3)
    whole = torch.autograd.functional.jacobian(stage.encode, x)
    assert isinstance(whole, Tensor)
    expected = whole.square().sum().item() / 3
    draws = torch.stack([penalty("contractive-estimate", stage, x, draw).detach() for draw in range(600)])
    assert abs(draws.mean().item() - expected) <= 5 * draws.std().item() / math.sqrt(len(draws))


@pytest.mark.parametrize(("stage_name", "name"), possible(["dense", "conv"]))
def test_gradients_reach_the_weights_and_are_right(stage_name: str, name: str, request: pytest.FixtureRequest) -> None:
    """Of every penalty that the stage can have; the estimate's go through its own derivative."""
    stage: Stage = request.getfixturevalue(stage_name)
    x, params = reads(stage, 2), tuple(stage.parameters())
    assert torch.autograd.gradcheck(lambda *_: penalty(name, stage, x), params)
    (grad,) = torch.autograd.grad(penalty(name, stage, x), [first_parameter(stage)])
    assert grad.abs().max() > 1e-6


def first_parameter(stage: Stage) -> Tensor:
    return next(p for p in stage.encoder.parameters() if p.dim() > 1)


@pytest.mark.parametrize(("kind", "name"), possible(list(kinds())))
def test_every_stage_trains_with_every_penalty_it_is_not_refused(kind: str, name: str) -> None:
    """In a training step as the loop makes it: with the default norm, in single precision."""
    make = kinds()[kind]
    stage = make.of((3, 8, 8), 8, activation="sigmoid", output="sigmoid", norm=make.norms[0])
    value = penalty(name, stage, torch.rand(4, 3, 8, 8))
    assert value.shape == ()
    assert value.item() > 0
    value.backward()
    grads = [p.grad for p in stage.encoder.parameters() if p.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_drawn_from_the_generator_alone(name: str, conv: Stage, dense: Stage) -> None:
    stage = dense if PENALTIES[name].refuses("conv", "sigmoid", "none") else conv
    x = reads(stage)
    torch.manual_seed(0)
    once = penalty(name, stage, x)
    torch.manual_seed(1)
    assert torch.equal(penalty(name, stage, x), once)


def test_sparsity_by_hand() -> None:
    code = torch.tensor([[0.5, -1.0], [0.0, 0.5]])
    assert of_code("l1", code).item() == 0.5

    half = RHO * math.log(RHO / 0.5) + (1 - RHO) * math.log((1 - RHO) / 0.5)
    assert half == pytest.approx(0.4946, abs=1e-4)
    units = torch.tensor([[0.4, RHO], [0.6, RHO]], dtype=torch.float64)  # means 1/2 and rho
    assert of_code("kl", units).item() == pytest.approx(half / 2, rel=1e-12)
    assert of_code("kl", torch.full((4, 7), RHO, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-15)
    maps = torch.tensor([0.2, 0.8, 0.6, 0.4], dtype=torch.float64).view(1, 1, 2, 2).repeat(3, 2, 1, 1)
    assert of_code("kl", maps).item() == pytest.approx(half, rel=1e-12)


def test_saturated_units_cost_much_but_not_infinity() -> None:
    for value in (0.0, 1.0):
        code = torch.full((4, 3), value, requires_grad=True)
        loss = of_code("kl", code)
        loss.backward()
        assert 1 < loss.item() < 100
        assert code.grad is not None
        assert code.grad.isfinite().all()


def test_kl_is_for_sigmoid_codes() -> None:
    refuses = PENALTIES["kl"].refuses
    assert refuses("conv", "sigmoid", "batch") is None
    expected = "it needs a code in (0, 1), not that of activation 'relu'; use activation 'sigmoid', or penalty 'l1'"
    assert refuses("dense", "relu", "none") == expected


def test_the_others_refuse_nothing() -> None:
    for name in set(PENALTIES) - {"kl", "contractive"}:
        assert PENALTIES[name].refuses("conv", "relu", "batch") is None


@pytest.mark.parametrize(("values", "units"), [(9, 4), (4, 9), (5, 5)])
def test_orthogonality_vanishes_for_orthonormal_rows_or_columns(values: int, units: int) -> None:
    stage = Dense.of((values,), units).double()
    nn.init.orthogonal_(first_parameter(stage))
    assert penalty("orthogonality", stage, reads(stage)).item() < 1e-28
    with torch.no_grad():
        first_parameter(stage).mul_(2)
    # 4 I - I has the square 9 for each of its rows
    assert penalty("orthogonality", stage, reads(stage)).item() == pytest.approx(9, rel=1e-12)


def test_orthogonality_of_filters_is_that_of_their_flattened_values(conv: Stage) -> None:
    weight = first_weight(conv)
    assert weight.shape == (3, 2 * 9)
    with torch.no_grad():
        weight.copy_(torch.eye(3, 18))
    assert penalty("orthogonality", conv, reads(conv)).item() == 0


def test_a_stage_without_a_weight_to_find_is_told() -> None:
    stage = Dense.of((4,), 4)
    stage.encoder = nn.Sequential(nn.Sigmoid())
    with pytest.raises(InputError, match="the encoder of a dense stage has no linear layer or convolution"):
        penalty("orthogonality", stage, torch.rand(2, 4))


@pytest.mark.parametrize("stage_name", ["dense", "conv"])
def test_weight_decay_has_the_weight_as_its_gradient(stage_name: str, request: pytest.FixtureRequest) -> None:
    stage: Stage = request.getfixturevalue(stage_name)
    (0.3 * penalty("weight-decay", stage, reads(stage))).backward()
    for p in stage.parameters():
        assert (p.grad is None) == (p.dim() == 1)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, 0.3 * p.detach(), rtol=1e-12, atol=0)


def test_weight_decay_counts_a_tied_weight_once_and_no_norms() -> None:
    tied = Dense.of((6,), 4, tied=True)
    expected = first_parameter(tied).square().sum() / 2
    torch.testing.assert_close(penalty("weight-decay", tied, torch.rand(2, 6)), expected)
    conv = Conv.of((3, 8, 8), 5, norm="batch")
    kernels = [m.weight for m in conv.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    total = torch.stack([w.square().sum() for w in kernels]).sum() / 2
    torch.testing.assert_close(penalty("weight-decay", conv, torch.rand(2, 3, 8, 8)), total)
