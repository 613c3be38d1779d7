"""The contract of stages: every class found in stacked.stages is held to it."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from stacked.errors import InputError
from stacked.stages import Stage, kinds
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense

SIZES = [(28, 28), (7, 7), (13, 9), (2, 3)]
KINDS = sorted(kinds())


def make(kind: str, shape: tuple[int, ...] = (3, 7, 5), width: int = 6, **options: object) -> Stage:
    return kinds()[kind](shape, width, **options)  # type: ignore[call-arg, arg-type]


def test_the_known_kinds_are_found() -> None:
    assert {"conv", "dense"} <= set(KINDS)


@pytest.mark.parametrize(("kind", "size"), list(itertools.product(KINDS, SIZES)))
def test_shapes_are_told_without_running_and_restored_exactly(kind: str, size: tuple[int, int]) -> None:
    stage = make(kind, (3, *size))
    x = torch.rand(2, 3, *size)
    code = stage.encode(x)
    assert tuple(code.shape[1:]) == stage.code_shape == stage.output_shape((3, *size))
    assert stage.decode(code).shape == x.shape


def test_parameter_counts_are_exact() -> None:
    conv = sum(p.numel() for p in Conv((3, 8, 8), 5).parameters())
    assert conv == (3 * 5 * 9 + 5) + 2 * 5 + (5 * 3 * 9 + 3) + 2 * 3
    assert sum(p.numel() for p in Conv((3, 8, 8), 5, pixels=True).parameters()) == conv - 2 * 3
    assert sum(p.numel() for p in Conv((3, 8, 8), 5, norm="none").parameters()) == conv - 2 * 5 - 2 * 3
    assert sum(p.numel() for p in Dense((10,), 4).parameters()) == 10 * 4 + 4 + 4 * 10 + 10
    assert sum(p.numel() for p in Dense((10,), 4, tied=True).parameters()) == 10 * 4 + 4 + 10


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_means_parameters_and_buffers_stay_and_train_does_not_thaw(kind: str) -> None:
    stage = make(kind).freeze()
    before = copy.deepcopy(stage.state_dict())
    nn.Sequential(stage).train()
    output = stage(torch.rand(4, 3, 7, 5))
    assert not output.requires_grad
    assert not any(module.training for module in stage.modules())
    assert all(torch.equal(before[name], value) for name, value in stage.state_dict().items())
    stage.freeze(False)
    assert all(p.requires_grad for p in stage.parameters())
    assert all(module.training for module in stage.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_every_parameter(kind: str) -> None:
    stage = make(kind, output="sigmoid", activation="sigmoid", pixels=True)
    (stage(torch.rand(8, 3, 7, 5)) - 0.3).square().mean().backward()
    for name, p in stage.named_parameters():
        # the bias before a batch norm has no effect, hence a gradient of rounding errors, but it is reached
        assert p.grad is not None, name


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right_in_float64(kind: str) -> None:
    stage = make(kind, (2, 4, 3), 3, activation="tanh", output="sigmoid", pixels=True).double().eval()
    x = torch.rand(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stage, (x,))


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_few_images(kind: str) -> None:
    stage = make(kind, (1, 6, 6), 24, output="sigmoid", pixels=True)
    x = torch.rand(4, 1, 6, 6)
    optimiser = torch.optim.Adam(stage.parameters(), lr=2e-2)
    for _ in range(800):
        optimiser.zero_grad()
        (stage(x) - x).square().mean().backward()
        optimiser.step()
    assert (stage(x) - x).square().mean() / x.var(0, correction=0).mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_activation_is_the_one_asked_for(kind: str) -> None:
    """A peer ignores it: weights come out the same for ReLU and tanh."""
    x = torch.randn(16, 3, 7, 5)
    code = {}
    for name in ("relu", "tanh", "sigmoid", "softplus", "linear"):
        torch.manual_seed(0)
        code[name] = make(kind, activation=name).encode(x)
    assert torch.equal(code["relu"], code["linear"].relu())
    assert torch.equal(code["tanh"], code["linear"].tanh())
    assert torch.equal(code["sigmoid"], code["linear"].sigmoid())
    assert torch.equal(code["softplus"], nn.functional.softplus(code["linear"]))


def test_tied_is_one_tensor_with_gradient_from_both_uses() -> None:
    stage = Dense((6,), 4, activation="linear", output="linear", tied=True)
    assert [name for name in stage.state_dict() if "weight" in name] == ["encoder.1.weight"]
    x = torch.rand(3, 6)
    stage(x).sum().backward()
    weight = stage.encoder[1].weight
    # d/dW sum(x W^T W + ...) has a term from each use
    code = stage.encode(x).detach()
    expected = code.sum(0)[:, None].expand(4, 6) + weight.detach().sum(1)[:, None] * x.sum(0)[None]
    torch.testing.assert_close(weight.grad, expected)
    for other in (copy.deepcopy(stage), stage.to(torch.float64)):
        with torch.no_grad():
            other.encoder[1].weight.fill_(0.5)
            other.decoder[0].bias.fill_(0)
        dtype = other.encoder[1].weight.dtype
        assert torch.equal(other.decode(torch.ones(1, 4, dtype=dtype)), torch.full((1, 6), 2.0, dtype=dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_width_and_activation_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match="width 0"):
        make(kind, width=0)
    with pytest.raises(InputError, match="'swish' is not known: choose from relu"):
        make(kind, activation="swish")


def test_a_map_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 x 2"):
        Conv((3, 1, 4), 2)
    assert math.prod(Conv((3, 2, 2), 2).code_shape) == 2
