"""Fully connected stages."""

from __future__ import annotations

import math

from torch import nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, Stage
from stacked.stages.tied import TiedLinear


class Dense(Stage):
    """Linear - norm - activation and back; maps are flattened when read and restored by the decoder.

    [B, *in_shape] -> [B, width]. With `tied` the decoder uses the transposed encoder weight (Vincent et al. 2010,
    section 2.2). The decoder's norm is that of the flattened vector; pixels are not normalised.
    """

    kind = "dense"
    maps = False

    def __init__(
        self,
        in_shape: Shape,
        width: int,
        *,
        activation: str = "relu",
        output: str = "relu",
        pixels: bool = False,
        norm: str = "none",
        tied: bool = False,
    ) -> None:
        super().__init__(in_shape, width, activation, output, norm)
        values = math.prod(in_shape)
        linear = nn.Linear(values, width)
        self.encoder = nn.Sequential(nn.Flatten(), linear, *normalised(norm, (width,)), ACTIVATIONS[activation]())
        self.decoder = nn.Sequential(
            TiedLinear(linear) if tied else nn.Linear(width, values),
            *([] if pixels else normalised(norm, (values,))),
            nn.Unflatten(1, tuple(in_shape)),
            ACTIVATIONS[output](),
        )

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width,)
