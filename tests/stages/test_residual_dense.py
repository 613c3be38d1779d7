"""Residual dense stages: what they read is added before the activation, in encoder and decoder."""

from __future__ import annotations

import pytest
import torch

from stacked.spec import StackSpec
from stacked.spec.spec import StageSpec
from stacked.stages.dense import Dense
from stacked.stages.norms import NORMS
from stacked.util.errors import InputError
from stacked.util.serialization import to_json


def test_the_code_is_the_activation_of_the_input_plus_the_linear_layer() -> None:
    stage = Dense.of((2, 3), 6, activation="sigmoid", output="tanh", residual=True)
    x = torch.randn(5, 2, 3)
    weight, bias = stage.get_parameter("encoder.1.0.weight"), stage.get_parameter("encoder.1.0.bias")
    code = stage.encode(x)
    torch.testing.assert_close(code, torch.sigmoid(x.flatten(1) + x.flatten(1) @ weight.t() + bias))
    weight, bias = stage.get_parameter("decoder.0.0.weight"), stage.get_parameter("decoder.0.0.bias")
    linear = code + code @ weight.t() + bias
    torch.testing.assert_close(stage.decode_linear(code), linear.view(5, 2, 3))
    torch.testing.assert_close(stage.decode(code), torch.tanh(linear).view(5, 2, 3))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_norm_is_inside_of_the_shortcut(norm: str, tied: bool) -> None:
    """A residual stage is the plain one with the same weights, and its input added where the norm has ended."""
    torch.manual_seed(0)
    plain = Dense.of((6,), 6, norm=norm, activation="linear", output="linear", tied=tied)
    torch.manual_seed(0)
    residual = Dense.of((6,), 6, norm=norm, activation="linear", output="linear", tied=tied, residual=True)
    x = torch.randn(7, 6)
    torch.testing.assert_close(residual.encode(x), x + plain.encode(x))
    torch.testing.assert_close(residual.decode(x), x + plain.decode(x))


def test_without_weights_it_passes_its_input_on() -> None:
    stage = Dense.of((4,), 4, residual=True)
    for parameter in stage.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(3, 4)
    assert torch.equal(stage(x), x)


def test_the_gradient_passes_the_shortcut() -> None:
    """Its derivative with respect to the input is that of x + W x, by plain autograd in float64."""
    stage = Dense.of((4,), 4, activation="linear", residual=True).double()
    x = torch.randn(4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda row: stage.encode(row[None])[0], x)
    weight = stage.get_parameter("encoder.1.0.weight").detach()
    torch.testing.assert_close(jacobian, torch.eye(4, dtype=torch.float64) + weight)


def test_other_widths_are_refused_by_the_stage_and_by_the_spec() -> None:
    message = "a residual dense stage of width 8 cannot add the 108 values that it reads to its code: give it width 108"
    with pytest.raises(InputError, match=message):
        Dense.of((3, 6, 6), 8, residual=True)
    first, second = StageSpec("dense", 16), StageSpec("dense", 8, options={"residual": True})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a residual dense stage of width 8 cannot add the 16 values"):
        StackSpec((first, second))
    StackSpec((StageSpec("dense", 8), second, second))


def test_stages_without_it_keep_their_json_and_their_names_of_weights() -> None:
    assert "residual" not in to_json(StackSpec.of("dense", 8, 8))
    assert list(Dense.of((6,), 6).state_dict()) == [
        *("encoder.1.weight", "encoder.1.bias", "decoder.0.weight", "decoder.0.bias")
    ]
