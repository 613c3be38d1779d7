"""Fully connected stages."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.stage import Shape, Stage


class TiedLinear(nn.Module):
    """x -> x W + b with the weight W [code, input] of an encoder layer: one tensor, used by both."""

    def __init__(self, encoder: nn.Linear) -> None:
        super().__init__()
        # In a tuple, so that the encoder is not registered a second time: one entry in the state dict, one in parameters().
        self._encoder = (encoder,)
        self.bias = nn.Parameter(encoder.weight.new_zeros(encoder.in_features))

    def forward(self, code: Tensor) -> Tensor:
        return F.linear(code, self._encoder[0].weight.t(), self.bias)


class Dense(Stage):
    """Linear - activation and back; maps are flattened when read and restored by the decoder.

    [B, *in_shape] -> [B, width]. With `tied` the decoder uses the transposed encoder weight (Vincent et al. 2010,
    section 2.2).
    """

    kind = "dense"

    def __init__(
        self,
        in_shape: Shape,
        width: int,
        *,
        activation: str = "relu",
        output: str = "relu",
        pixels: bool = False,
        tied: bool = False,
    ) -> None:
        super().__init__(in_shape, width, activation, output)
        values = math.prod(in_shape)
        linear = nn.Linear(values, width)
        self.encoder = nn.Sequential(nn.Flatten(), linear, ACTIVATIONS[activation]())
        self.decoder = nn.Sequential(
            TiedLinear(linear) if tied else nn.Linear(width, values),
            ACTIVATIONS[output](),
            nn.Unflatten(1, tuple(in_shape)),
        )

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width,)
