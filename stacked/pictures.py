"""Pictures of what a stack does: images above their reconstructions, by depth, and its filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked import evaluate
from stacked.data import Splits
from stacked.evaluate import spread
from stacked.stack import StackedAutoencoder

#: Images in a picture of reconstructions.
SHOWN = 14


def grid(stack: StackedAutoencoder, images: Tensor, scale: int = 3) -> NDArray[np.uint8]:
    """A picture [H, W, 3]: images above their reconstructions, enlarged `scale` times where they are small."""
    rows = [images.cpu(), evaluate.reconstructed(stack, images, stack.depth)]
    picture = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    if images.shape[-1] < 100:
        picture = picture.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return (
        picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        if len(picture) == 1
        else picture.permute(1, 2, 0).contiguous().numpy()
    )


def pictures(stack: StackedAutoencoder, splits: Splits) -> dict[str, NDArray[Any]]:
    """Test images and their reconstructions from each depth, uint8 [N, H, W, C], and the first stage's filters."""
    images = splits.test.images[spread(len(splits.test), SHOWN)]
    found = {"originals": images.permute(0, 2, 3, 1).numpy()}
    for k in range(1, stack.depth + 1):
        found[f"depth{k}"] = evaluate.reconstructed(stack, images, k).permute(0, 2, 3, 1).numpy()
    first = stack.stages[0].encoder[0]
    if isinstance(first, torch.nn.Conv2d):
        found["filters"] = first.weight.detach().cpu().numpy()
    return found
