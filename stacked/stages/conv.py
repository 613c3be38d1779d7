"""Convolutional stages that halve height and width with a stride of 2."""

from __future__ import annotations

from torch import Tensor, nn

from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import Conv2d, ConvTranspose2d
from stacked.stages.maps import Halving, odd_padding, upsampled
from stacked.stages.norms import normalised
from stacked.stages.stage import Shape, StageSettings
from stacked.stages.tied import TiedConvTranspose2d


class Conv(Halving):
    """Conv2d(k x k, stride 2) - norm - activation, and the transposed convolution back.

    [B, C, H, W] -> [B, width, ceil(H/2), ceil(W/2)], for H, W >= 2. The decoder's output padding follows from the input size,
    so that odd sizes are restored exactly. `kernel` is k, odd. With `tied` the decoder's filters are those of the encoder,
    flipped (Masci et al. 2011). The stage that reconstructs pixels does not normalise its output.
    """

    kind = "conv"

    def __init__(self, settings: StageSettings, *, kernel: int = 3, tied: bool = False) -> None:
        super().__init__(settings, kernel=kernel)
        channels, half, extra = settings.in_shape[0], kernel // 2, odd_padding(settings.in_shape)
        conv = Conv2d(channels, settings.width, kernel, stride=2, padding=half)
        self.encoder = nn.Sequential(
            conv, *normalised(settings.norm, self.code_shape), ACTIVATIONS[settings.activation]()
        )
        self.decoder = nn.Sequential(
            TiedConvTranspose2d(conv, extra)
            if tied
            else ConvTranspose2d(settings.width, channels, kernel, stride=2, padding=half, output_padding=extra),
            *([] if settings.pixels else normalised(settings.norm, settings.in_shape)),
            ACTIVATIONS[settings.output](),
        )

    def decode_linear(self, code: Tensor, size: Shape | None = None, switches: Tensor | None = None) -> Tensor:
        return upsampled(self.decoder[:-1], code, size)
