"""PSNR and SSIM of restored images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: number of arrays of the size of the images that the computation of SSIM holds at once
MAPS = 5


def quality(restored: Tensor, images: Tensor) -> dict[str, float]:
    """Return the mean PSNR in dB, and the mean SSIM if it is defined, of restored images.

    restored: floats in [0, 1] or uint8 [N, C, H, W]. images: the originals, uint8 [N, C, H, W].
    """
    import torch

    errors = torch.cat([(back - clean).square().flatten(1).mean(1) for back, clean in pairs(restored, images)])
    return {"psnr": float(-10 * errors.clamp_min(1e-12).log10().mean()), **similarity(restored, images)}


def similarity(restored: Tensor, images: Tensor) -> dict[str, float]:
    """Return the mean SSIM of restored images; empty if the images are smaller than its window. Arguments as in `quality`."""
    from stacked.components.ssim import WINDOW, ssim_map

    if min(images.shape[2:]) < WINDOW:
        return {}
    total = sum(float(ssim_map(back, clean).mean()) * len(back) for back, clean in pairs(restored, images))
    return {"ssim": total / len(images)}


def pairs(restored: Tensor, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield chunks of restored images and originals as floats, clipped to [0, 1]."""
    import torch

    from stacked.util.chunks import chunks

    for index in chunks(len(images), MAPS * images[0].numel()):
        back = restored[index]
        back = back.float().div(255) if back.dtype == torch.uint8 else back.clamp(0, 1)
        yield back, images[index].float().div(255)
