"""Pictures of a stack: images above their reconstructions from each depth, and filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stacked.data import Splits
from stacked.evaluation import evaluate
from stacked.evaluation.evaluate import spread
from stacked.model.stack import StackedAutoencoder

#: Number of images in a picture of reconstructions.
SHOWN = 14
#: The most filters that are stored for a first layer that reads whole images.
FILTERS = 64
#: Number of values of a code that is drawn as a map.
MAP = 2


def grid(stack: StackedAutoencoder, images: Tensor, scale: int = 3) -> NDArray[np.uint8]:
    """Return a picture [H, W, 3] of images above their reconstructions; small images are enlarged `scale` times."""
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
    """Return the arrays that figures of a trained stack need.

    These are test images and their reconstructions from each depth, uint8 [N, H, W, C]; the first stage's filters [F, C, k, k];
    and, if the bottleneck has two values, the codes [N, 2] of all test images with their labels [N].
    """
    images = splits.test.inputs[spread(len(splits.test), SHOWN)]
    found = {"originals": images.permute(0, 2, 3, 1).numpy()}
    for k in range(1, stack.depth + 1):
        found[f"depth{k}"] = evaluate.reconstructed(stack, images, k).permute(0, 2, 3, 1).numpy()
    if (first := filters(stack)) is not None:
        found["filters"] = first.detach().cpu().numpy()
    if torch.Size(stack.latent_shape).numel() == MAP:
        found["codes"] = evaluate.codes(stack, splits.test.inputs, stack.depth).numpy().astype(np.float16)
        found["labels"] = splits.test.labels.numpy().astype(np.int16)
    return found


def filters(stack: StackedAutoencoder) -> Tensor | None:
    """Return the weights of the first layer as filters [F, C, h, w]; at most FILTERS, if they are as large as images."""
    for layer in stack.stages[0].encoder:
        if isinstance(layer, torch.nn.Conv2d):
            return layer.weight
        if isinstance(layer, torch.nn.Linear):
            return layer.weight[:FILTERS].unflatten(1, stack.input_shape) if len(stack.input_shape) == 3 else None
    return None
