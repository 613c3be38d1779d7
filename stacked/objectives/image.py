"""The objective "image": the code keeps what is needed to see the image again."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from stacked.components.losses import LOSSES, per_example
from stacked.objectives.objective import EncodedBatch, Objective, ObjectiveSettings
from stacked.stages.activations import ACTIVATIONS
from stacked.stages.convolutions import CONVOLUTIONS
from stacked.util.checks import whole


class Image(Objective):
    """Reconstruction of the image from the block's code by a small decoder of its own (InfoPro, Wang et al. 2021).

    Added to an objective for labels, it keeps information that blocks trained one after another would lose early. Maps are
    enlarged to the size of the image (nearest neighbours) and read by two 3 x 3 convolutions with `width` rectified channels
    between them; a linear layer reads vectors, and maps with another number of dimensions than the examples (those of a
    transformer on vectors). Loss and output activation are those of the pixels in the spec. Differences from the paper's code:
    nearest neighbours instead of bilinear interpolation, whose gradient is not deterministic on a GPU, and no batch norm.
    """

    name = "image"
    needs_images = True
    restores = "images"

    def __init__(self, settings: ObjectiveSettings, *, width: int = 12) -> None:
        super().__init__(settings)
        code, image = settings.code_shape, settings.image_shape
        self.loss, self.activation = LOSSES[settings.loss], ACTIVATIONS[settings.output]()
        if len(code) == 1 or len(code) != len(image):
            flat = [nn.Flatten()] if len(code) > 1 else []
            layers = [*flat, nn.Linear(math.prod(code), math.prod(image)), nn.Unflatten(1, tuple(image))]
        else:
            conv, _ = CONVOLUTIONS[len(code) - 1]
            first, last = conv(code[0], width, 3, padding=1), conv(width, image[0], 3, padding=1)
            layers = [nn.Upsample(size=tuple(image[1:])), first, nn.ReLU(), last]
        self.decoder = nn.Sequential(*layers)

    @classmethod
    def check(cls, *, width: int = 12, **options: Any) -> None:
        whole(width, "width of objective 'image'")

    def restored(self, code: Tensor) -> Tensor:
        """Return the reconstruction [B, *image_shape] as the loss takes it: of a loss on logits before the activation."""
        output = self.decoder(code)
        return output if self.loss.logits else self.activation(output)

    def per_example(self, batch: EncodedBatch) -> Tensor:
        return per_example(self.loss.of(self.restored(batch.code), batch.images))

    def forward(self, batch: EncodedBatch) -> Tensor:
        return self.loss.mean(self.restored(batch.code), batch.images)
