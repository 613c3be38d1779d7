"""Initial weights: exact bounds, variances and orthogonality; and trained weights redrawn from their marginals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stacked.model.stack import StackedAutoencoder, grow
from stacked.runtime.rng import seeded
from stacked.spec import RunSpec, StackSpec
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense
from stacked.stages.initialise import INITS, WEIGHTED, initialise, resample
from stacked.stages.transformer import Transformer
from stacked.util.errors import InputError

#: a layer, its fan-in (what a unit reads) and fan-out (what reads it), strides not counted; torch takes the fan-out over
#: all groups
LAYERS = [
    (lambda: nn.Linear(300, 200), 300, 200),
    (lambda: nn.Conv2d(20, 50, 3, stride=2), 180, 450),
    (lambda: nn.ConvTranspose2d(50, 20, 3, stride=2), 450, 180),
    (lambda: nn.Conv2d(40, 60, 3, groups=2), 180, 540),
    (lambda: nn.ConvTranspose2d(60, 40, 3, groups=2), 270, 360),
]
every_layer = pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [(make(), a, b) for make, a, b in LAYERS],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)


def outputs_first(layer: nn.Module) -> Tensor:
    """The weight as [outputs, inputs x places], written out by hand."""
    weight = layer.get_parameter("weight").detach()
    if isinstance(layer, nn.ConvTranspose2d):
        weight = torch.cat([part.transpose(0, 1) for part in weight.chunk(layer.groups)])
    return weight.flatten(1)


@every_layer
def test_uniform_is_bounded_by_the_fan_in(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    initialise(layer, "uniform")
    weight, bound = outputs_first(layer), fan_in**-0.5
    assert weight.shape[1] == fan_in
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.var() == pytest.approx(bound**2 / 3, rel=0.05)
    assert not layer.get_parameter("bias").any()


@every_layer
def test_xavier_is_bounded_by_both_fans(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    initialise(layer, "xavier")
    weight, bound = outputs_first(layer), math.sqrt(6 / (fan_in + fan_out))
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.var() == pytest.approx(bound**2 / 3, rel=0.05)
    assert not layer.get_parameter("bias").any()


@every_layer
def test_he_is_normal_with_the_variance_of_rectifiers(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    initialise(layer, "he")
    weight = outputs_first(layer)
    assert weight.var() == pytest.approx(2 / fan_in, rel=0.05)
    assert weight.mean().abs() < 5 * math.sqrt(2 / fan_in / weight.numel())
    assert (weight.abs() < math.sqrt(2 / fan_in)).float().mean() == pytest.approx(0.683, abs=0.03)
    assert not layer.get_parameter("bias").any()


@every_layer
def test_orthogonal_is_orthogonal(layer: nn.Module, fan_in: int, fan_out: int) -> None:
    initialise(layer, "orthogonal")
    weight = outputs_first(layer)
    if weight.shape[0] > weight.shape[1]:
        weight = weight.T
    torch.testing.assert_close(weight @ weight.T, torch.eye(weight.shape[0]), rtol=0, atol=1e-5)
    assert not layer.get_parameter("bias").any()


@every_layer
def test_sparse_connects_each_unit_to_15_inputs_by_standard_normal_weights(
    layer: nn.Module, fan_in: int, fan_out: int
) -> None:
    torch.manual_seed(0)
    initialise(layer, "sparse")
    weight = outputs_first(layer)
    assert weight.shape[1] == fan_in
    assert torch.equal((weight != 0).sum(1), torch.full((len(weight),), 15))
    drawn = weight[weight != 0].double()
    # 15 for each of 20 units or more: the mean, the variance and the share within 1 of N(0, 1), within four standard errors
    n = len(drawn)
    assert drawn.mean().abs() < 4 / math.sqrt(n)
    assert drawn.var() == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    assert (drawn.abs() < 1).double().mean() == pytest.approx(0.6827, abs=4 * math.sqrt(0.6827 * 0.3173 / n))
    assert not layer.get_parameter("bias").any()


def test_sparse_draws_each_input_as_often_as_the_others() -> None:
    """20,000 units of 30 inputs: each input has 15 of 30 units' connections, and each pair of inputs 15 * 14 / (30 * 29)."""
    torch.manual_seed(0)
    layer = nn.Linear(30, 20_000)
    initialise(layer, "sparse")
    chosen = (layer.weight.detach() != 0).double()
    together = chosen.T @ chosen / len(chosen)
    pairs = together[~torch.eye(30, dtype=torch.bool)]
    assert together.diagonal().sub(15 / 30).abs().max() < 5 * math.sqrt(0.25 / 20_000)
    share = 15 * 14 / (30 * 29)
    assert pairs.sub(share).abs().max() < 5 * math.sqrt(share * (1 - share) / 20_000)


def test_sparse_connects_units_of_15_inputs_or_fewer_to_all_of_them() -> None:
    for inputs in (1, 6, 15):
        layer = nn.Linear(inputs, 40)
        initialise(layer, "sparse")
        assert (layer.weight != 0).all()


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("kind", ["conv", "residual", "transformer", "dense"])
def test_the_gain_of_a_spec_multiplies_the_weights_and_nothing_else(name: str, kind: str) -> None:
    def made(gain: float) -> StackedAutoencoder:
        spec = replace(StackSpec.of(kind, 8, 4), init=name, gain=gain)
        stack = StackedAutoencoder((1, 16, 16))
        grow(stack, RunSpec(policy="joint", seed=3, stack=spec), 2)
        return stack

    plain, larger = made(1.0), made(4.0)
    multiplied = 0
    for parameter, value in plain.state_dict().items():
        layer, _, what = parameter.rpartition(".")
        is_weight = what == "weight" and isinstance(plain.get_submodule(layer), WEIGHTED)
        assert torch.equal(larger.state_dict()[parameter], 4 * value if is_weight else value), parameter
        multiplied += is_weight
    assert multiplied >= 4


def test_torch_changes_and_draws_nothing() -> None:
    stage = Conv.of((3, 8, 8), 4)
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    state = torch.get_rng_state()
    initialise(stage, "torch")
    assert all(torch.equal(before[name], value) for name, value in stage.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(set(INITS) - {"torch"}))
def test_all_layers_of_a_stage_are_drawn_and_norms_are_left(name: str) -> None:
    stage = Transformer.of((3, 8, 8), 8)
    before = {n: value.clone() for n, value in stage.state_dict().items()}
    torch.manual_seed(3)
    initialise(stage, name)
    for n, value in stage.state_dict().items():
        owner = stage.get_submodule(n.rpartition(".")[0])
        if isinstance(owner, nn.LayerNorm):
            assert torch.equal(value, before[n])
        elif n.endswith("bias"):
            assert not value.any()
        else:
            assert not torch.equal(value, before[n])
    other = Transformer.of((3, 8, 8), 8)
    torch.manual_seed(3)
    initialise(other, name)
    assert all(torch.equal(value, other.state_dict()[n]) for n, value in stage.state_dict().items())


def test_a_tied_layer_has_its_weight_drawn_once_and_its_bias_zeroed() -> None:
    stage = Dense.of((12,), 5, tied=True, activation="linear", output="linear")
    nn.init.ones_(stage.get_parameter("decoder.0.bias"))
    initialise(stage, "orthogonal")
    code = torch.rand(3, 5)
    torch.testing.assert_close(stage.encode(stage.decode(code)), code)  # W W^T = 1 and no biases


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        InputError, match="init 'zeros' is not known: choose from torch, uniform, xavier, he, orthogonal, sparse"
    ):
        initialise(nn.Linear(2, 2), "zeros")


def test_resampling_keeps_each_marginal_and_nothing_else() -> None:
    stage = nn.Sequential(nn.Linear(120, 80), nn.BatchNorm1d(80), nn.Conv2d(8, 16, 5), nn.ConvTranspose2d(16, 8, 5))
    for k, p in enumerate(stage.parameters()):  # no two tensors share a value
        p.data = torch.arange(p.numel()).view_as(p).sqrt() + 1000.0 * k
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    stage[1](torch.randn(9, 80))  # the statistics of the values that the old weights gave
    assert not torch.equal(stage[1].running_mean, before["1.running_mean"])
    resample(stage, 3)
    for name, value in stage.state_dict().items():
        old = before[name]
        if name.startswith("1."):
            assert torch.equal(value, old)
            continue
        assert torch.isin(value, old).all()
        distinct = (
            torch.unique(value).numel() / value.numel()
        )  # 1 - 1/e of them are drawn, some often: with replacement
        assert distinct == pytest.approx(1 - math.exp(-1), abs=0.02 if value.numel() > 1000 else 0.2)
        assert torch.corrcoef(torch.stack([old.flatten(), value.flatten()]))[0, 1].abs() < 4 / math.sqrt(old.numel())
        error = old.std() / math.sqrt(old.numel())
        assert (value.mean() - old.mean()).abs() < 4 * error
        assert value.std() == pytest.approx(float(old.std()), rel=0.05 if value.numel() > 1000 else 0.6)


def test_resampling_draws_a_shared_tensor_once_and_the_same_with_the_same_seed() -> None:
    tied = Dense.of((12,), 5, tied=True)
    weight, bias = tied.get_parameter("encoder.1.weight"), tied.get_parameter("decoder.0.bias")
    nn.init.normal_(bias)
    values = bias.detach().clone()
    twice = nn.Sequential(nn.Linear(12, 5), nn.Linear(12, 5))
    twice[0].weight = twice[1].weight = weight
    for module in (tied, twice):
        with seeded(7, "resampling"):
            expected = weight.detach().flatten()[torch.randint(60, (60,))].view(5, 12)
        resample(module, 7)
        assert torch.equal(weight, expected)
    assert torch.isin(bias, values).all()
    assert not torch.equal(bias, values)
