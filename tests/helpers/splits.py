"""A tiny labelled dataset that needs no file."""

from __future__ import annotations

import torch

from stacked.data.formats.split import Split, Splits


def toy_splits(n: int = 256, size: int = 12, channels: int = 1) -> Splits:
    """Blobs whose place tells their class of 4: n training, n/2 validation and n/2 test images."""
    g = torch.Generator().manual_seed(1)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 4
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        y = (labels // 2 * size / 2 + size / 4)[:, None, None] + torch.randn(count, 1, 1, generator=g)
        x = (labels % 2 * size / 2 + size / 4)[:, None, None] + torch.randn(count, 1, 1, generator=g)
        blob = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6)
        images = (255 * blob).to(torch.uint8)[:, None].expand(-1, channels, -1, -1).contiguous()
        return Split(images, labels)

    return Splits("toy", split(n), split(n // 2), split(n // 2), ("nw", "ne", "sw", "se"))
