"""How many images are computed with at a time: as many as take a fixed number of bytes, whatever the size of one."""

from __future__ import annotations

import torch
from torch import Tensor

#: Bytes of a chunk, as float32, and its images at most: constants, so that no measurement depends on the batch of training or on
#: the machine.
BYTES, MOST = 16 * 2**20, 500


def chunks(count: int, values: int, most: int = MOST) -> tuple[Tensor, ...]:
    """The indices 0 to `count` - 1 in chunks of at most BYTES and `most` images, one image at least.

    values: of an image, or of what is made of it on the way where that has more.
    """
    return torch.arange(count).split(max(1, min(most, BYTES // max(4 * values, 1))))
