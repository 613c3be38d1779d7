"""How near restored images are to the originals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: arrays of the size of the images that structural similarity makes at once
MAPS = 5


def quality(restored: Tensor, images: Tensor) -> dict[str, float]:
    """PSNR in dB and, where it is defined, SSIM of restored images, floats or uint8, against uint8 ones: means over images."""
    import torch

    errors = torch.cat([(back - clean).square().flatten(1).mean(1) for back, clean in pairs(restored, images)])
    return {"psnr": float(-10 * errors.clamp_min(1e-12).log10().mean()), **similarity(restored, images)}


def similarity(restored: Tensor, images: Tensor) -> dict[str, float]:
    """The mean SSIM of restored images, floats or uint8, against uint8 ones; nothing where they are smaller than its window."""
    from stacked.components.ssim import WINDOW, ssim_map

    if min(images.shape[2:]) < WINDOW:
        return {}
    total = sum(float(ssim_map(back, clean).mean()) * len(back) for back, clean in pairs(restored, images))
    return {"ssim": total / len(images)}


def pairs(restored: Tensor, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Restored images and the originals, chunk by chunk, as floats that are cut to [0, 1]."""
    import torch

    from stacked.util.chunks import chunks

    for index in chunks(len(images), MAPS * images[0].numel()):
        back = restored[index]
        back = back.float().div(255) if back.dtype == torch.uint8 else back.clamp(0, 1)
        yield back, images[index].float().div(255)
