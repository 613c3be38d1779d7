"""Fully connected stages."""

from __future__ import annotations

import math

from torch import nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, Stage, StageSettings
from stacked.stages.tied import TiedLinear


class Dense(Stage):
    """Linear - norm - activation and back; maps are flattened by the encoder and restored by the decoder.

    [B, *in_shape] -> [B, width], for inputs of any shape. Without `bias` neither layer has one. With `tied` the decoder uses the
    transposed encoder weight (Vincent et al. 2010, section 2.2). The decoder's norm acts on the flattened vector; a stage that
    reconstructs pixels has none.
    """

    kind = "dense"
    maps = False

    def __init__(self, settings: StageSettings, *, tied: bool = False, bias: bool = True) -> None:
        super().__init__(settings)
        values = math.prod(settings.in_shape)
        linear = nn.Linear(values, settings.width, bias=bias)
        self.encoder = nn.Sequential(
            nn.Flatten(), linear, *normalised(settings.norm, (settings.width,)), ACTIVATIONS[settings.activation]()
        )
        self.decoder = nn.Sequential(
            TiedLinear(linear) if tied else nn.Linear(settings.width, values, bias=bias),
            *([] if settings.pixels else normalised(settings.norm, (values,))),
            nn.Unflatten(1, tuple(settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width,)
