"""Chunked evaluation: the number of images per chunk follows from a fixed number of bytes."""

from __future__ import annotations

import torch
from torch import Tensor

#: Most bytes (as float32) and most images of a chunk. They are constants, so that measurements depend on neither the batch size
#: of training nor the machine.
BYTES, MOST = 16 * 2**20, 500


def chunks(count: int, values: int, most: int = MOST) -> tuple[Tensor, ...]:
    """Split the indices 0 to `count` - 1 into chunks of at most BYTES bytes and `most` images, and at least one image.

    values: float32 values per image, or per intermediate result of an image where that is larger.
    """
    return torch.arange(count).split(max(1, min(most, BYTES // max(4 * values, 1))))
