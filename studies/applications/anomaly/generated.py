"""Kinds of anomalies that are generated: no score or setting was chosen by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: the share of normal images that may be called anomalous
FALSE_ALARMS = 0.05
#: the share of the normal images that calibrate
HELD_OUT = 0.2
#: images of each kind
COUNT = 100
KINDS = ("inverted", "shuffled", "constant", "noise", "checkerboard")


def generated(normal: Tensor, seed: int) -> dict[str, Tensor]:
    """Return uint8 images [N, C, H, W] of each kind, as large as the normal ones.

    inverted: normal images with black and white exchanged. shuffled: the pixels of each normal image in another order. constant:
    one value for all pixels of an image. noise: each pixel drawn uniformly. checkerboard: squares of 1 to 8 pixels of two values.
    """
    import torch

    from stacked.runtime.rng import generator

    count, channels, height, width = normal.shape
    draw = generator(seed, "generated anomalies")

    def values(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=draw, dtype=torch.uint8)

    orders = torch.stack([torch.randperm(height * width, generator=draw) for _ in range(count)])
    shuffled = normal.flatten(2).gather(2, orders[:, None].expand(-1, channels, -1)).reshape(normal.shape)
    size = torch.randint(1, 9, (count, 1, 1), generator=draw)
    is_odd = (torch.arange(height)[:, None] // size + torch.arange(width) // size) % 2 == 1
    one, other = values(2, count, 1, 1, 1)
    images = {
        "inverted": 255 - normal,
        "shuffled": shuffled,
        "constant": values(count, 1, 1, 1).expand(normal.shape),
        "noise": values(*normal.shape),
        "checkerboard": torch.where(is_odd[:, None], one, other).expand(normal.shape),
    }
    return {kind: images[kind].contiguous() for kind in KINDS}
