"""Fully connected stages."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, Stage, StageSettings
from stacked.stages.tied import TiedLinear
from stacked.util.checks import need


class Shortcut(nn.Sequential):
    """x + F(x), where F are the modules in order, which keep the shape [B, D] of x (He et al. 2016, equation 1)."""

    def forward(self, input: Tensor) -> Tensor:
        added: Tensor = super().forward(input)
        return input + added


class Dense(Stage):
    """Linear - norm - activation and back; maps are flattened by the encoder and restored by the decoder.

    [B, *in_shape] -> [B, width], for inputs of any shape. Without `bias` neither layer has one. With `tied` the decoder uses the
    transposed encoder weight (Vincent et al. 2010, section 2.2). The decoder's norm acts on the flattened vector; a stage that
    reconstructs pixels has none.

    With `residual`, encoder and decoder each add what they read to the normalised output of their linear layer, before the
    activation: code = activation(x + norm(W x + b)) (He et al. 2016, figure 2, with one layer in the block instead of two). The
    input must then have `width` values; InputError if it has not. Without a norm these are the functions of a plain dense stage
    with the weight W + 1, from other initial weights.
    """

    kind = "dense"
    maps = False

    def __init__(
        self, settings: StageSettings, *, tied: bool = False, bias: bool = True, residual: bool = False
    ) -> None:
        super().__init__(settings)
        values = math.prod(settings.in_shape)
        self.check_vector(values, settings.width, residual=residual)
        linear = nn.Linear(values, settings.width, bias=bias)
        back = TiedLinear(linear) if tied else nn.Linear(settings.width, values, bias=bias)
        encoding = [linear, *normalised(settings.norm, (settings.width,))]
        decoding = [back, *([] if settings.pixels else normalised(settings.norm, (values,)))]
        self.encoder = nn.Sequential(
            nn.Flatten(), *([Shortcut(*encoding)] if residual else encoding), ACTIVATIONS[settings.activation]()
        )
        self.decoder = nn.Sequential(
            *([Shortcut(*decoding)] if residual else decoding),
            nn.Unflatten(1, tuple(settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check_vector(cls, values: int, width: int, *, residual: bool = False, **options: Any) -> None:
        need(
            not residual or values == width,
            f"a residual dense stage of width {width} cannot add the {values:,} values that it reads to its code: give it width "
            f"{values}, or leave residual out",
        )

    @classmethod
    def adds_input(cls, *, residual: bool = False, **options: Any) -> bool:
        return residual

    def branch_ends(self) -> list[nn.Module]:
        branches = (module for module in self.modules() if isinstance(module, Shortcut))
        return [branch[-1] for branch in branches]

    def output_shape(self, in_shape: Shape) -> Shape:
        return (self.width,)
