"""How near restored images are to the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def quality(restored: Tensor, images: Tensor) -> dict[str, float]:
    """PSNR in dB and SSIM of restored floats against uint8 images, each the mean over images."""
    from stacked.ssim import WINDOW, ssim_map

    clean, restored = images.float().div(255), restored.clamp(0, 1)
    error = (restored - clean).square().flatten(1).mean(1).clamp_min(1e-12)
    found = {"psnr": float(-10 * error.log10().mean())}
    if min(images.shape[2:]) >= WINDOW:
        found["ssim"] = float(ssim_map(restored, clean).mean())
    return found
