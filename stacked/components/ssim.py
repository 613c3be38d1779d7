"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from stacked.util.checks import need

#: Side of the window in pixels, and the standard deviation of the Gaussian that weights it (section III-C).
WINDOW, SIGMA = 11, 1.5
#: (K1 L)^2 and (K2 L)^2 for values of range L = 1, which keep both quotients finite where an image is black or flat.
C1, C2 = 0.01**2, 0.03**2


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity of images a and b [B, C, H, W] in [0, 1], for each window and channel.

    It lies in [-1, 1], and is 1 only where both agree in the whole window. Only windows inside the image count: [B, C, H-10,
    W-10].
    """
    need(
        a.dim() == 4 and min(a.shape[2:]) >= WINDOW,
        f"structural similarity needs images [B, C, H, W] of at least {WINDOW} x {WINDOW} pixels, "
        f"not values of shape {tuple(a.shape)}",
    )
    mean_a, mean_b, square_a, square_b, product = local_means(torch.stack([a, b, a * a, b * b, a * b]))
    var_a, var_b, cov = square_a - mean_a * mean_a, square_b - mean_b * mean_b, product - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1)
    return luminance * (2 * cov + C2) / (var_a + var_b + C2)


def local_means(maps: Tensor) -> Tensor:
    """Return the Gaussian-weighted mean of maps [..., H, W] over each window inside them, [..., H-10, W-10].

    The separable Gaussian is a product with a band matrix from either side. With its gradient this is 1.2 to 2.4 times faster
    than a depthwise convolution on one core, for images of 224 down to 28 pixels.
    """
    height, width = maps.shape[-2:]
    return band(height, maps) @ maps @ band(width, maps).T


def band(size: int, like: Tensor) -> Tensor:
    """Return a matrix [size - 10, size] whose row i holds the weights, of sum 1, of the window that begins at i."""
    places = torch.arange(size, dtype=like.dtype, device=like.device)
    offset = places - places[: size - WINDOW + 1, None] - WINDOW // 2
    weight = (-offset.square() / (2 * SIGMA**2)).exp() * (offset.abs() <= WINDOW // 2)
    return weight / weight.sum(1, keepdim=True)
