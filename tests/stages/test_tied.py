"""Tied stages: the decoder has the weights of the encoder, transposed or flipped."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages import Stage
from stacked.stages.conv import Conv
from stacked.stages.dense import Dense
from stacked.stages.pooled import PooledConv
from stacked.stages.tied import TiedConvTranspose


def tied_stages() -> list[Stage]:
    return [
        Dense.of((2, 6, 6), 4, activation="linear", output="linear", tied=True),
        Conv.of((2, 6, 6), 4, activation="linear", output="linear", norm="none", tied=True),
        PooledConv.of((2, 6, 6), 4, activation="linear", output="linear", norm="none", tied=True, unpool="zeros"),
    ]


@pytest.mark.parametrize("stage", tied_stages(), ids=lambda stage: stage.kind)
def test_tied_is_one_tensor_with_gradient_from_both_uses(stage: Stage) -> None:
    weights = [name for name in stage.state_dict() if "weight" in name]
    assert weights == (["encoder.1.weight"] if stage.kind == "dense" else ["encoder.0.weight"])
    x = torch.rand(3, 2, 6, 6)

    def gradients(stage: Stage) -> list[Tensor]:
        """Of the weight: with both uses, and with the code or the decoder held constant."""
        (weight,) = (p for name, p in stage.named_parameters() if name in weights)
        code, switches = stage.encode_with_switches(x.to(weight.dtype))
        (decoding,) = torch.autograd.grad(stage.decode(code.detach(), switches=switches).square().sum(), weight)
        (both,) = torch.autograd.grad(stage.decode(code, switches=switches).square().sum(), weight)
        # the decoder on a copy of the weight, so that only the encoder's use is seen
        frozen = copy.deepcopy(stage).requires_grad_(False)
        (encoding,) = torch.autograd.grad(frozen.decode(code_of(stage), switches=switches).square().sum(), weight)
        return [both, encoding, decoding]

    def code_of(stage: Stage) -> Tensor:
        return stage.encode(x.to(next(stage.parameters()).dtype))

    file = io.BytesIO()
    torch.save(stage.state_dict(), file)
    file.seek(0)
    loaded = copy.deepcopy(stage)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (stage, copy.deepcopy(stage), loaded, copy.deepcopy(stage).double()):
        both, encoding, decoding = gradients(other)
        assert encoding.abs().sum() > 0
        assert decoding.abs().sum() > 0
        torch.testing.assert_close(both, encoding + decoding)
        with torch.no_grad():  # the decoder sees what is written to the encoder
            other.get_parameter(weights[0]).zero_()
            other.get_parameter("decoder.0.bias" if stage.kind != "conv-pool" else "decoder.1.bias").fill_(0.5)
        assert torch.equal(other(x.to(both.dtype)), torch.full_like(x, 0.5, dtype=both.dtype))


def test_tied_dense_has_the_gradient_of_the_formula() -> None:
    stage = Dense.of((6,), 4, activation="linear", output="linear", tied=True)
    x = torch.rand(3, 6)
    stage(x).sum().backward()
    weight = stage.get_parameter("encoder.1.weight")
    # d/dW sum(x W^T W + ...) has a term from each use
    code = stage.encode(x).detach()
    expected = code.sum(0)[:, None].expand(4, 6) + weight.detach().sum(1)[:, None] * x.sum(0)[None]
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (1, 5), (2, 3), (2, 5)])
def test_a_tied_transposed_convolution_is_a_convolution_with_flipped_filters(stride: int, kernel: int) -> None:
    conv = nn.Conv2d(2, 5, kernel, stride=stride, padding=kernel // 2).double()
    back = TiedConvTranspose(conv)
    nn.init.normal_(back.bias)
    code = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    stuffed = code.new_zeros(3, 5, 3 * stride + 1, 5 * stride + 1)
    stuffed[:, :, ::stride, ::stride] = code
    flipped = conv.weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(back(code), F.conv2d(stuffed, flipped, back.bias, padding=kernel // 2))
    expected = F.conv_transpose2d(code, conv.weight, back.bias, stride, kernel // 2, stride - 1)
    assert torch.equal(back(code, output_size=(4 * stride, 6 * stride)), expected)
