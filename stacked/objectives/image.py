"""The objective "image": the code keeps what is needed to see the image again."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stacked.components.losses import LOSSES, per_example
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.stages.stage import MOST_BLOCKS, Stage
from stacked.stages.transformer import Blocks, MaskToken
from stacked.util.checks import need, whole
from stacked.util.errors import InputError

#: attention heads of the decoder by transformer blocks
HEADS = 4


class Image(Objective):
    """Reconstruction of the image from the block's code by a small decoder of its own (InfoPro, Wang et al. 2021).

    Added to an objective for labels, it keeps information that blocks trained one after another would lose early. Maps are
    enlarged to the size of the image (nearest neighbours) and read by two 3 x 3 convolutions with `width` rectified channels
    between them; a linear layer reads vectors, and maps with another number of dimensions than the examples (those of a
    transformer on vectors). Loss and output activation are those of the pixels in the spec. Differences from the paper's code:
    nearest neighbours instead of bilinear interpolation, whose gradient is not deterministic on a GPU, and no batch norm.

    blocks: number of transformer blocks with 4 heads that decode maps instead (0: none), from a linear map of each position to
    `width` features, with a learned vector at the positions that the block left out, to a linear map of each position to its
    patch of the image (He et al. 2022; one decoder for each block of stages: Luo et al. 2023). Positions must divide the image
    into equal patches. hidden_only: the loss is the mean over the pixels of what the block left out (He et al. 2022), or over
    all where it left nothing out, as in evaluation.
    """

    name = "image"
    needs_images = True
    restores = "images"

    def __init__(
        self, settings: ObjectiveSettings, *, width: int = 12, blocks: int = 0, hidden_only: bool = False
    ) -> None:
        super().__init__(settings)
        code, image = settings.code_shape, settings.image_shape
        self.loss, self.activation = LOSSES[settings.loss], ACTIVATIONS[settings.output]()
        self.hidden_only = hidden_only
        self.mask_token = MaskToken(width) if blocks else None
        if blocks:
            self.embedding, self.decoder = transformer_decoder(settings, width, blocks)
        elif len(code) == 1 or len(code) != len(image):
            flat = [nn.Flatten()] if len(code) > 1 else []
            layers = [*flat, nn.Linear(math.prod(code), math.prod(image)), nn.Unflatten(1, tuple(image))]
            self.decoder = nn.Sequential(*layers)
        else:
            conv, _ = CONVOLUTIONS[len(code) - 1]
            first, last = conv(code[0], width, 3, padding=1), conv(width, image[0], 3, padding=1)
            self.decoder = nn.Sequential(nn.Upsample(size=tuple(image[1:])), first, nn.ReLU(), last)

    @classmethod
    def check(cls, *, width: int = 12, blocks: int = 0, **options: Any) -> None:
        whole(width, "width of objective 'image'")
        whole(blocks, "blocks of objective 'image'", 0, MOST_BLOCKS)
        need(
            not blocks or width % HEADS == 0,
            f"width {width} of objective 'image' with transformer blocks is not allowed: give a multiple of {HEADS}, the number "
            "of attention heads",
        )

    @classmethod
    def refuses(cls, kind: type[Stage], *, blocks: int = 0, **options: Any) -> str | None:
        return (
            "its code is a vector, without positions for transformer blocks: leave blocks out"
            if blocks and not kind.maps
            else None
        )

    @classmethod
    def takes_left_out(cls, *, hidden_only: bool = False, **options: Any) -> bool:
        return hidden_only

    def restored(self, code: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Return the reconstruction [B, *image_shape] as the loss takes it: of a loss on logits before the activation.

        left_out: as in `EncodedBatch`.
        """
        if self.mask_token is not None:
            code = self.mask_token(self.embedding(code), left_out)
        output = self.decoder(code)
        return output if self.loss.logits else self.activation(output)

    def per_example(self, batch: EncodedBatch) -> Tensor:
        values = self.loss.of(self.restored(batch.code, batch.left_out), batch.images)
        if not self.hidden_only or batch.left_out is None:
            return per_example(values)
        hidden = enlarged(batch.left_out, values).expand_as(values).flatten(1)
        counted = hidden | ~hidden.any(1, keepdim=True)  # a small level can round to no hidden patch
        return torch.where(counted, values.flatten(1), 0.0).sum(1) / counted.sum(1)

    def forward(self, batch: EncodedBatch) -> Tensor:
        if self.hidden_only and batch.left_out is not None:
            return self.per_example(batch).mean()
        return self.loss.mean(self.restored(batch.code, batch.left_out), batch.images)


def transformer_decoder(settings: ObjectiveSettings, width: int, blocks: int) -> tuple[nn.Module, nn.Sequential]:
    """Return the layer from a code [B, C, ...] to tokens [B, width, ...], and those from tokens to the image.

    Raises InputError unless the image consists of equal patches, one for each position of the code.
    """
    (channels, *grid), image = settings.code_shape, tuple(settings.image_shape)
    is_vector = len(image) == 1  # which a transformer stage reads as a signal of one channel
    sides = image if is_vector else image[1:]
    patch = sides[0] // grid[0] if grid else 0
    if len(sides) != len(grid) or any(side != patch * n for side, n in zip(sides, grid, strict=True)):
        raise InputError(
            f"objective 'image' with transformer blocks cannot decode codes of {' x '.join(map(str, grid))} positions to "
            f"{' x '.join(map(str, sides))}, which is not one patch of equal sides for each: choose images of such a size, or "
            "leave blocks out"
        )
    need(
        width >= 2 * len(grid),
        f"width {width} of objective 'image' has too few features for places along {len(grid)} dimensions: give 8 or more",
    )
    conv, back = CONVOLUTIONS[len(grid)]
    last = back(width, 1 if is_vector else image[0], patch, stride=patch)
    flat = [nn.Flatten()] if is_vector else []
    return conv(channels, width, 1), nn.Sequential(Blocks(width, HEADS, blocks), last, *flat)


def enlarged(positions: Tensor, values: Tensor) -> Tensor:
    """Return a mask of the positions of a code [B, 1, ...] as one of the pixels [B, ...] nearest to them, to broadcast."""
    if values.dim() == 2:  # a vector, which a transformer stage reads as a signal
        return enlarged(positions, values[:, None])[:, 0]
    return F.interpolate(positions.float(), size=tuple(values.shape[2:])).bool()
