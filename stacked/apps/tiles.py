"""Division of images of any height and width into tiles of one size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def tiled(images: Tensor, size: Sequence[int]) -> Tensor:
    """Return images [N, C, H, W] as tiles [N * n, C, *size], row by row; incomplete tiles repeat the last row and column."""
    (height, width), (down, across) = size, grid(images.shape[2:], size)
    rows = torch.arange(down * height).clamp_max(images.shape[2] - 1)
    columns = torch.arange(across * width).clamp_max(images.shape[3] - 1)
    full = images[:, :, rows][..., columns].unflatten(3, (across, width)).unflatten(2, (down, height))
    return full.permute(0, 2, 4, 1, 3, 5).reshape(-1, images.shape[1], height, width)


def grid(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Return how many tiles of a size cover an image of the height and width in `shape`: (vertically, horizontally)."""
    return -(-shape[0] // size[0]), -(-shape[1] // size[1])


def some_tiles(images: Tensor, size: Sequence[int], most: int) -> Tensor:
    """Return at most `most` tiles of the images, evenly spread."""
    each = math.prod(grid(images.shape[2:], size))
    count = each * len(images)
    chosen = range(0, count, max(1, count // most))[:most]
    return torch.stack([tiled(images[k // each][None], size)[k % each] for k in chosen])
