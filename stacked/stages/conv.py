"""Convolutional stages, which halve height and width with a stride of 2, or keep them with a stride of 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.maps import Halving, check_stride, odd_padding, upsampled
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, StageSettings
from stacked.stages.tied import TiedConvTranspose


class Conv(Halving):
    """Conv2d(k x k, stride 2 or 1) - norm - activation, and the transposed convolution back.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2; with `stride` 1 the code has the height and width of the
    input, which may then be 1 too. Signals [B, C, L] and volumes [B, C, D, H, W] are read by Conv1d and Conv3d. The decoder's
    output padding follows from the input size, so that odd sizes are restored exactly. `kernel` is k, odd. With `tied` the
    decoder's filters are those of the encoder, flipped (Masci et al. 2011). Without `bias` neither convolution has one. The stage
    that reconstructs pixels does not normalise its output.
    """

    kind = "conv"
    ranks = (1, 2, 3)

    def __init__(
        self, settings: StageSettings, *, kernel: int = 3, tied: bool = False, bias: bool = True, stride: int = 2
    ) -> None:
        super().__init__(settings, kernel=kernel, stride=stride)
        self.stride, self.halves = stride, stride == 2
        make, back = CONVOLUTIONS[len(settings.in_shape) - 1]
        channels, half = settings.in_shape[0], kernel // 2
        extra = odd_padding(settings.in_shape) if self.halves else ()
        conv = make(channels, settings.width, kernel, stride=stride, padding=half, bias=bias)
        self.encoder = nn.Sequential(
            conv, *normalised(settings.norm, self.code_shape), ACTIVATIONS[settings.activation]()
        )
        self.decoder = nn.Sequential(
            TiedConvTranspose(conv, extra)
            if tied
            else back(
                settings.width,
                channels,
                kernel,
                stride=stride,
                padding=half,
                output_padding=extra or 0,
                bias=bias,
            ),
            *([] if settings.pixels else normalised(settings.norm, settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    @classmethod
    def check(cls, width: int, *, stride: int = 2, **options: Any) -> None:
        super().check(width, **options)
        check_stride(stride, cls.kind)

    @classmethod
    def halves_with(cls, **options: Any) -> bool:
        return options.get("stride", 2) == 2

    def output_shape(self, in_shape: Shape) -> Shape:
        return super().output_shape(in_shape) if self.halves else (self.width, *in_shape[1:])

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return upsampled(self.decoder[:-1], code, size)
