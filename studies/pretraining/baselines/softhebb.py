"""SoftHebb: Hebbian learning by a soft competition of units, without labels, loss and backward pass (Journé et al. 2023).

The rule is that of section 3 and of the authors' demo (github.com/NeuromorphicComputing/SoftHebb): deep networks of convolutions
learn all layers at once, each batch updating a layer with what the layers below give at that moment. Differences from the demo:
zero padding instead of reflection, one form of pooling, and small default sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: added where a divisor can be 0
TINY = 1e-10


class SoftHebb(nn.Module):
    """Batch norm without parameters - convolution - triangle activation - pooling: [B, C, H, W] -> [B, channels, H/pool, W/pool].

    The triangle activation is max(0, u - mean over the channels) to the power `power`. inverse_temperature: of the softmax by
    which units compete. lr: learning rate. radius: the initial weights are normal, with a standard deviation of `radius` /
    sqrt(C * kernel * kernel), and so of a norm near `radius`; learning brings each norm to 1. kernel: an odd number.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        *,
        pool: int = 2,
        inverse_temperature: float = 1.0,
        power: float = 1.0,
        lr: float = 0.08,
        radius: float = 25.0,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, affine=False)
        scale = radius / math.sqrt(in_channels * kernel**2)
        self.weight: Tensor
        self.register_buffer("weight", scale * torch.randn(channels, in_channels, kernel, kernel))
        self.pool, self.power, self.lr, self.inverse_temperature = pool, power, lr, inverse_temperature

    def forward(self, maps: Tensor) -> Tensor:
        """Return the features of maps [B, C, H, W]."""
        return self.features(self.norm(maps))

    def features(self, normed: Tensor) -> Tensor:
        """Return the features of maps that are normalised already."""
        u = F.conv2d(normed, self.weight, padding=self.weight.shape[2] // 2)
        return F.max_pool2d((u - u.mean(1, keepdim=True)).relu() ** self.power, self.pool, ceil_mode=True)

    @torch.no_grad()
    def learn(self, maps: Tensor) -> Tensor:
        """Update the weights by a batch of maps [B, C, H, W]; return their features by the weights before."""
        normed, kernel = self.norm(maps), self.weight.shape[2]
        found = self.features(normed)
        rows = F.unfold(normed, kernel, padding=kernel // 2).transpose(1, 2).flatten(0, 1)
        flat = self.weight.flatten(1)
        rates = self.lr * (flat.norm(dim=1, keepdim=True) - 1).abs().sqrt()
        change = direction(flat, rows, self.inverse_temperature)
        self.weight += (rates * change).view_as(self.weight)
        return found


def direction(weights: Tensor, rows: Tensor, inverse_temperature: float) -> Tensor:
    """Return the change of the weights [K, D] of K units by rows [N, D], scaled so that its largest value is 1 or -1.

    It is the sum over the rows of y (x - u w), where u = w x and y is the softmax of inverse_temperature * u over the units, with
    the sign of all units but the winner reversed (soft anti-Hebbian plasticity).
    """
    u = rows @ weights.T
    y = -torch.softmax(inverse_temperature * u, dim=1)
    winners = u.argmax(1, keepdim=True)
    y = y.scatter(1, winners, -y.gather(1, winners))
    change = y.T @ rows - (y * u).sum(0)[:, None] * weights
    return change / (change.abs().max() + TINY)


def softhebb(
    images: Tensor,
    channels: Sequence[int],
    *,
    inverse_temperatures: Sequence[float] | None = None,
    kernel: int = 3,
    lr: float = 0.08,
    radius: float = 25.0,
    epochs: int = 1,
    batch_size: int = 10,
    seed: int = 0,
) -> nn.Sequential:
    """Return a network of one layer for each number of channels, in eval mode, that has learned from images [N, C, H, W], floats.

    inverse_temperatures: one for each layer (None: 1). The images of an epoch that do not fill a batch are left out.
    """
    drawn = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [
            SoftHebb(read, given, kernel, inverse_temperature=inverse, lr=lr, radius=radius)
            for read, given, inverse in zip(
                [images.shape[1], *channels], channels, inverse_temperatures or [1.0] * len(channels), strict=False
            )
        ]
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=drawn).split(batch_size):
            if len(batch) == batch_size:
                maps = images[batch]
                for layer in layers:
                    maps = layer.learn(maps)
    return nn.Sequential(*layers).eval()
